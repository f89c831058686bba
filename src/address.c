#include <string.h>

#include "address.h"
#include "utf8.h"

/* Comments within comments. */
#define COMMENT_DEPTH 64

/* Bytes that are kept of an address. A longer one is cut, and is over ADDRESS_MAX all the same. */
#define KEPT_MAX 1024

#define END (-1)

/* The list that is being parsed. */
struct list {
	const char *start;
	const char *at;
	const char *end;
	bool in_group;
	address_each *each;
	address_gap *gap; /* or NULL */
	void *context;
	int stop; /* what EACH said */
	const char *fault;
};

struct text {
	char bytes[KEPT_MAX];
	size_t len;
};

/* What stands before a "<", ":", "@" or "," : a name, or a local part. Quotes are removed. */
struct words {
	struct text text;
	bool quoted; /* a part of it stood in quotes */
	bool gap;    /* white space or a comment between two words, without a dot */
	bool any;
	bool mid_word;	 /* the last token was a word */
	const char *end; /* behind the last token */
};

static bool is_valid_utf8(const char *text, size_t len)
{
	while (len > 0) {
		size_t step = utf8_len(text, len);

		if (step == 0)
			return false;
		text += step;
		len -= step;
	}
	return true;
}

/* Why C may stand in no address of ours. */
static const char *byte_fault(unsigned char c)
{
	if (c == ' ')
		return "a space in the address";
	if (c < 0x20 || c == 0x7f)
		return "a control character in the address";
	if (c == '<' || c == '>')
		return "an angle bracket in the address";
	return NULL;
}

/* The "@" behind the local part: the first one, but for what stands in quotes. */
static const char *find_at(const char *addr, size_t len)
{
	size_t i = 1;

	if (addr[0] != '"')
		return memchr(addr, '@', len);
	while (i < len && addr[i] != '"')
		i += addr[i] == '\\' ? 2 : 1;
	return i < len ? memchr(addr + i, '@', len - i) : NULL;
}

/*
 * Whether nothing stands outside quotes that RFC 5322 section 3.2.3 wants in them. Programs and
 * APIs that read a list where one address is given take "a,b@c" for two.
 */
static bool is_one(const char *addr, size_t len, size_t at)
{
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		if (addr[i] == '"')
			quoted = !quoted;
		else if (quoted)
			i += addr[i] == '\\';
		else if (strchr(i < at ? "(),:;[\\]" : "(),;\\", addr[i]) != NULL)
			return false;
	}
	return !quoted;
}

const char *address_fault(const char *addr, size_t len)
{
	const char *at;

	if (len == 0)
		return "an empty address";
	if (len > ADDRESS_MAX)
		return "an address of more than 254 bytes";
	for (size_t i = 0; i < len; i++) {
		const char *fault = byte_fault((unsigned char)addr[i]);

		if (fault)
			return fault;
	}
	if (!is_valid_utf8(addr, len))
		return "an address that is not valid UTF-8";
	at = find_at(addr, len);
	if (!at)
		return "an address without \"@\"";
	if (at == addr || at == addr + len - 1)
		return "an address with nothing on one side of its \"@\"";
	/* A route, "@a:b@c", and what else servers read differently from each other. */
	if (memchr(at + 1, '@', (size_t)(addr + len - at - 1)))
		return "an address with more than one \"@\"";
	if (!is_one(addr, len, (size_t)(at - addr)))
		return "an address with a character that must stand in quotes";
	return NULL;
}

bool address_is_ascii(const char *addr, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)addr[i] > 127)
			return false;
	return true;
}

static bool fail(struct list *list, const char *fault)
{
	list->fault = fault;
	return false;
}

static int peek(const struct list *list)
{
	return list->at < list->end ? (unsigned char)*list->at : END;
}

static bool is_space(int c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* A byte of an atom. Control characters are: they damn one address, not the list. */
static bool is_atext(int c)
{
	return c != END && !is_space(c) && (c == '\0' || !strchr("()<>[]:;@\\,.\"", c));
}

static void text_add(struct text *text, int c)
{
	if (text->len < sizeof text->bytes)
		text->bytes[text->len++] = (char)c;
}

/* The byte at hand, or the one behind a backslash; END when there is none. */
static int take_unescaped(struct list *list)
{
	if (peek(list) == '\\')
		list->at++;
	return list->at < list->end ? (unsigned char)*list->at++ : END;
}

/* Passes a comment; comments nest. */
static bool skip_comment(struct list *list)
{
	unsigned depth = 0;

	do {
		int c = peek(list);

		if (take_unescaped(list) == END)
			return fail(list, "a comment that is not closed");
		if (c == '(' && ++depth > COMMENT_DEPTH)
			return fail(list, "comments nested too deeply");
		if (c == ')')
			depth--;
	} while (depth > 0);
	return true;
}

/* Passes comments and white space, folded or not. */
static bool skip_cfws(struct list *list)
{
	while (true) {
		if (is_space(peek(list)))
			list->at++;
		else if (peek(list) != '(')
			return true;
		else if (!skip_comment(list))
			return false;
	}
}

static void words_begin(struct words *words)
{
	words->text.len = 0;
	words->quoted = words->gap = words->any = words->mid_word = false;
}

/* Before a word is added: sets it apart from one right before it. */
static void words_separate(struct words *words)
{
	if (words->mid_word) {
		words->gap = true;
		text_add(&words->text, ' ');
	}
	words->mid_word = true;
}

static bool take_quoted(struct list *list, struct words *words)
{
	words_separate(words);
	words->quoted = true;
	list->at++;
	while (peek(list) != '"') {
		bool fold = peek(list) == '\r' || peek(list) == '\n';
		int c = take_unescaped(list);

		if (c == END)
			return fail(list, "a quoted string that is not closed");
		if (!fold)
			text_add(&words->text, c);
	}
	list->at++;
	return true;
}

static void take_atom(struct list *list, struct text *text)
{
	while (is_atext(peek(list)))
		text_add(text, (unsigned char)*list->at++);
}

/* Takes words and dots, as they come; RFC 5322's obsolete syntax lets them stand apart. */
static bool take_words(struct list *list, struct words *words)
{
	words_begin(words);
	words->end = list->at;
	while (skip_cfws(list)) {
		int c = peek(list);

		if (c == '.') {
			list->at++;
			text_add(&words->text, c);
			words->mid_word = false;
		} else if (c == '"') {
			if (!take_quoted(list, words))
				return false;
		} else if (is_atext(c)) {
			words_separate(words);
			take_atom(list, &words->text);
		} else {
			return true;
		}
		words->any = true;
		words->end = list->at;
	}
	return false;
}

/* Whether TEXT can stand without quotes: atoms with single dots between them. */
static bool is_dot_atom(const struct text *text)
{
	for (size_t i = 0; i < text->len; i++) {
		unsigned char c = (unsigned char)text->bytes[i];
		bool edge = i == 0 || i + 1 == text->len || text->bytes[i + 1] == '.';

		if (c == '.' ? edge : !is_atext(c))
			return false;
	}
	return text->len > 0;
}

/* The shortest form of what WORDS say: with quotes only when it had some and needs them. */
static void add_local_part(struct text *address, const struct words *words)
{
	bool quotes = words->quoted && !is_dot_atom(&words->text);

	if (quotes)
		text_add(address, '"');
	for (size_t i = 0; i < words->text.len; i++) {
		int c = (unsigned char)words->text.bytes[i];

		if (quotes && (c == '"' || c == '\\'))
			text_add(address, '\\');
		text_add(address, c);
	}
	if (quotes)
		text_add(address, '"');
}

static bool take_literal(struct list *list, struct text *address)
{
	text_add(address, '[');
	list->at++;
	while (peek(list) != ']') {
		bool space = is_space(peek(list));
		int c = peek(list) == '[' ? END : take_unescaped(list);

		if (c == END)
			return fail(list, "a domain literal that is not closed");
		if (!space)
			text_add(address, c);
	}
	text_add(address, ']');
	list->at++;
	return true;
}

/* Takes the domain behind "@", up to the first thing that can't belong to it. */
static bool take_domain(struct list *list, struct text *address)
{
	bool mid_word = false;

	if (!skip_cfws(list))
		return false;
	if (peek(list) == '[')
		return take_literal(list, address) && skip_cfws(list);
	while (peek(list) == '.' || (is_atext(peek(list)) && !mid_word)) {
		mid_word = peek(list) != '.';
		if (mid_word)
			take_atom(list, address);
		else
			text_add(address, *list->at++);
		if (!skip_cfws(list))
			return false;
	}
	return true;
}

/* Whether WORDS may be the name of somebody on this host. */
static bool is_login(const struct words *words)
{
	const struct text *text = &words->text;

	if (words->gap || !is_dot_atom(text))
		return false;
	for (size_t i = 0; i < text->len; i++)
		if ((unsigned char)text->bytes[i] > 127 ||
		    byte_fault((unsigned char)text->bytes[i]))
			return false;
	return true;
}

/* Makes the addr-spec of WORDS and of the domain that is still to be read. */
static bool take_addr_spec(struct list *list, const struct words *words, struct text *address)
{
	address->len = 0;
	add_local_part(address, words);
	if (peek(list) != '@') {
		if (list->gap != NULL && is_login(words))
			list->gap(list->context, (size_t)(words->end - list->start));
		return true;
	}
	if (words->gap)
		return fail(list, "several words before an \"@\"");
	list->at++;
	text_add(address, '@');
	return take_domain(list, address);
}

static bool give(struct list *list, const struct text *address)
{
	list->stop = list->each(list->context, address->bytes, address->len);
	return list->stop == 0;
}

/* Takes "<", an addr-spec and ">". */
static bool take_angle_addr(struct list *list)
{
	struct words words;
	struct text address;

	list->at++;
	if (!take_words(list, &words))
		return false;
	if (!words.any && (peek(list) == '@' || peek(list) == ','))
		return fail(list, "a route address");
	if (!take_addr_spec(list, &words, &address))
		return false;
	if (peek(list) != '>')
		return fail(list, "a \"<\" without its address and \">\"");
	list->at++;
	return skip_cfws(list) && give(list, &address);
}

static bool open_group(struct list *list, const struct words *words)
{
	if (!words->any)
		return fail(list, "a group without a name");
	if (list->in_group)
		return fail(list, "a group within a group");
	list->in_group = true;
	list->at++;
	return true;
}

/* Takes what stands between two commas, which may be nothing. */
static bool take_element(struct list *list)
{
	struct words words;
	struct text address;

	if (!take_words(list, &words))
		return false;
	while (peek(list) == ':')
		if (!open_group(list, &words) || !take_words(list, &words))
			return false;
	if (peek(list) == '<')
		return take_angle_addr(list);
	if (!words.any && peek(list) != '@')
		return true;
	return take_addr_spec(list, &words, &address) && give(list, &address);
}

/* Takes the ";" of a group, behind which only a comma or the end may stand. */
static bool close_group(struct list *list)
{
	if (!list->in_group)
		return fail(list, "a \";\" outside a group");
	list->in_group = false;
	list->at++;
	if (!skip_cfws(list))
		return false;
	return peek(list) == ',' || peek(list) == END || fail(list, "text right behind a group");
}

/* Takes what ends an element; *MORE says whether another one may follow. */
static bool take_delimiter(struct list *list, bool *more)
{
	if (peek(list) == ';' && !close_group(list))
		return false;
	*more = peek(list) != END;
	if (peek(list) == ',') {
		list->at++;
		return true;
	}
	if (*more)
		return fail(list, "text that belongs to no address");
	return !list->in_group || fail(list, "a group without its \";\"");
}

static int parse(struct list *list, const char *text, size_t len)
{
	bool more = true;

	list->start = list->at = text;
	list->end = text + len;
	while (more && take_element(list) && take_delimiter(list, &more))
		;
	return list->fault ? -1 : list->stop;
}

int address_list(
    const char *text, size_t len, address_each *each, void *context, const char **fault)
{
	struct list list = {.each = each, .context = context};
	const int result = parse(&list, text, len);

	*fault = list.fault;
	return result;
}

static int pass(void *context, const char *addr, size_t len)
{
	(void)context;
	(void)addr;
	(void)len;
	return 0;
}

int address_gaps(const char *text, size_t len, address_gap *gap, void *context)
{
	struct list list = {.each = pass, .gap = gap, .context = context};

	return parse(&list, text, len);
}
