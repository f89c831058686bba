#include "secret.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#define CODE_LEN  3 /* of a reply */
#define PARTS_MAX 4
#define FORMS_MAX 7

/* One way in which a server may repeat a secret: some bytes, or the digits of them in base64. */
struct form {
	struct {
		const char *bytes;
		size_t len;
	} part[PARTS_MAX]; /* one after the other */
	bool base64;
	bool inner; /* only digits that depend on nothing but the bytes from START on */
	size_t start;
};

struct forms {
	struct form form[FORMS_MAX];
	size_t count;
};

enum secret_fault secret_trim(char *text, size_t len, size_t most)
{
	if (len > 0 && text[len - 1] == '\n')
		len -= len > 1 && text[len - 2] == '\r' ? 2 : 1;
	text[len] = '\0';
	if (len == 0)
		return SECRET_EMPTY;
	if (len > most)
		return SECRET_LONG;
	for (size_t i = 0; i < len; i++)
		if (iscntrl((unsigned char)text[i]))
			return SECRET_CONTROL;
	return SECRET_FINE;
}

static void add_part(struct form *form, const char *bytes, size_t len)
{
	size_t i = 0;

	while (form->part[i].bytes != NULL)
		i++;
	form->part[i].bytes = bytes;
	form->part[i].len = len;
}

static size_t byte_count(const struct form *form)
{
	size_t count = 0;

	for (size_t i = 0; i < PARTS_MAX; i++)
		count += form->part[i].len;
	return count;
}

/* The byte at AT; NUL behind the last. */
static char byte_at(const struct form *form, size_t at)
{
	for (size_t i = 0; i < PARTS_MAX; i++) {
		if (at < form->part[i].len)
			return form->part[i].bytes[at];
		at -= form->part[i].len;
	}
	return '\0';
}

/* Base64 without the padding, which a server may have cut. */
static char digit_at(const struct form *form, size_t at)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const size_t byte = at * 6 / 8;
	const unsigned high = (unsigned char)byte_at(form, byte);
	const unsigned low = (unsigned char)byte_at(form, byte + 1);
	const unsigned bits = high << 8 | low;

	return digits[bits >> (10 - at * 6 % 8) & 63];
}

/* The length of FORM if LINE[0..LEN) starts with it, else 0. */
static size_t match(const struct form *form, const char *line, size_t len)
{
	const size_t bytes = byte_count(form);
	size_t from = 0;
	size_t to = bytes;

	if (form->base64) {
		from = (form->start * 8 + 5) / 6;
		to = form->inner ? bytes * 8 / 6 : (bytes * 8 + 5) / 6;
	}
	if (to <= from || to - from > len)
		return 0;
	for (size_t i = from; i < to; i++) {
		if (line[i - from] != (form->base64 ? digit_at(form, i) : byte_at(form, i)))
			return 0;
	}
	return to - from;
}

static struct form *add_form(struct forms *forms, bool base64)
{
	struct form *form = &forms->form[forms->count++];

	*form = (struct form){.base64 = base64};
	return form;
}

/* As it is, and as the response to AUTH LOGIN and AUTH PLAIN. */
static void add_password(struct forms *forms, const char *user, const char *password)
{
	const size_t len = strlen(password);
	struct form *plain;

	add_part(add_form(forms, false), password, len);
	add_part(add_form(forms, true), password, len);
	plain = add_form(forms, true);
	add_part(plain, "", 1);
	add_part(plain, user, strlen(user));
	add_part(plain, "", 1);
	add_part(plain, password, len);
}

/*
 * As it is, and wherever it stands in what is sent in base64: what is before it there shifts its
 * bits in one of three ways.
 */
static void add_token(struct forms *forms, const char *token)
{
	add_part(add_form(forms, false), token, strlen(token));
	for (size_t before = 0; before < 3; before++) {
		struct form *form = add_form(forms, true);

		add_part(form, "\0", before);
		add_part(form, token, strlen(token));
		form->inner = true;
		form->start = before;
	}
}

static struct forms list_forms(const struct secret *secret)
{
	struct forms forms = {.count = 0};

	if (secret->password != NULL)
		add_password(&forms, secret->user != NULL ? secret->user : "", secret->password);
	if (secret->token != NULL)
		add_token(&forms, secret->token);
	return forms;
}

/* How many bytes from the start of LINE[0..LEN) on are to be hidden. */
static size_t longest(const struct forms *forms, const char *line, size_t len)
{
	size_t most = 0;

	for (size_t i = 0; i < forms->count; i++) {
		const size_t found = match(&forms->form[i], line, len);

		most = found > most ? found : most;
	}
	return most;
}

/*
 * All forms in one pass: each is looked for in what the server said, not in what is left of it, as
 * one may stand within another or begin before its last place has ended.
 */
static void copy(
    const char *line, size_t len, const struct secret *secret, size_t code, char *out, size_t size)
{
	const struct forms forms = list_forms(secret);
	size_t hidden = 0; /* bytes from here on */
	size_t i;

	for (i = 0; i < len && i + 1 < size; i++) {
		const size_t more = i < code ? 0 : longest(&forms, line + i, len - i);

		hidden = more > hidden ? more : hidden;
		out[i] = line[i];
		if (hidden == 0)
			continue;
		out[i] = '*';
		hidden--;
	}
	if (size > 0)
		out[i] = '\0';
}

void secret_copy(const char *line, size_t len, const struct secret *secret, char *out, size_t size)
{
	copy(line, len, secret, CODE_LEN, out, size);
}

void secret_mask(char *text, const struct secret *secret)
{
	const size_t len = strlen(text);

	copy(text, len, secret, 0, text, len + 1);
}
