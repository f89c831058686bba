/*
 * smtp: the transaction machine against a server of any kind.
 *
 * A model of the server reads what the machine puts out, command by command, and matches the
 * replies that the fuzzer has made up with them, in their order. It knows from this alone who has
 * got what, and holds the results of the machine against it. Of servers that take BDAT it is the
 * most awkward kind: it keeps a transaction open until it is completed or reset. By LMTP it answers
 * the dot once for each recipient that it has accepted.
 *
 * An input is: offer, letters, cuts, and then what the server says.
 */
#include <stdio.h>
#include <strings.h>

#include "fuzz.h"
#include "smtp.h"

#define LETTERS	     5 /* submitted in one session */
#define TO_MAX	     3
#define PENDING_MAX  40
#define HEADER(sent) "X-Maildrain-From: <s%zu@example.com>\n" sent "From: a@example.com\n"
#define TO(who)	     "X-Maildrain-To: <" who ">\n"

static const char *const templates[] = {
    HEADER(TO("r0@example.net")) "\ntext\n",
    HEADER(TO("r0@example.net") TO("r1@example.net")) "\n.\r\n..a\r.\n\r\n.\rMAIL FROM:<>\n.",
    HEADER(TO("r0@example.net") TO("r1@example.net") TO("r2@example.net")) "\n\xc3\xb6\n",
    HEADER(TO("r\xc3\xb6@example.net") TO("r1@example.net")) "Subject: \xc3\xb6\n\ntext",
    HEADER(TO("r0@example.net") "X-Maildrain-Done: <r1@example.net> 250 Ok\n") "\n%01500d\n",
    HEADER(TO("r 0@example.net") TO("r1@example.net")) "\n",
    HEADER(TO("r0@example.net") "X-Maildrain-Done: <r1@example.net> 250 Ok\n" TO(
	"r2@example.net")) "\ntext\n",
    /* The last one's file is shorter than it was. */
    HEADER(TO("r0@example.net")) "\ntext\n",
};
#define TEMPLATES (sizeof templates / sizeof templates[0])

struct letter {
	struct message message;
	struct body_size size;
	char *wire; /* what must arrive by DATA, if anything */
	size_t wire_len;
	char *counted; /* the same by BDAT */
	size_t counted_len;
	bool is_short;
	bool returned;
	/* The model's view. */
	bool mail_accepted;
	bool mail_refused;
	bool refused[TO_MAX];
	bool accepted[TO_MAX];	/* 2xx to RCPT */
	bool delivered[TO_MAX]; /* 2xx to the dot behind it */
	bool began;		/* 354 */
	bool dotted;		/* its whole body has gone out, with the dot */
	size_t dots_due;	/* replies to that */
	size_t dots;		/* those that came */
	bool all_taken;		/* each is a 2xx */
	bool said_no;		/* 5xx to something of it */
	bool mailed;
	bool chunked;	/* something of it went out by BDAT */
	size_t arrived; /* octets by BDAT */
};

enum kind { RSET, MAIL, RCPT, DATA, CHUNK, DOT, QUIT };

struct command {
	enum kind kind;
	size_t letter;
	size_t to;
};

struct model {
	struct smtp smtp;
	struct smtp_transaction ring[LETTERS];
	struct fuzz fuzz;
	struct letter letter[LETTERS];
	size_t submitted;
	struct command pending[PENDING_MAX]; /* no reply yet, in order */
	size_t pendings;
	size_t current; /* the letter of the last MAIL */
	bool in_body;
	bool in_chunk; /* octets of BDAT are due */
	size_t chunk_left;
	bool is_last;
	bool open;    /* a transaction may be, or will be when what is on its way gets there */
	bool chunks;  /* a message was taken by BDAT */
	bool goodbye; /* a 421 was said */
	bool quit;
	bool unasked; /* the server has answered what nobody asked */
	char *out;    /* what the machine has given out */
	size_t out_len;
	size_t written;		   /* of that; the model sees no more */
	char line[REPLY_LINE_MAX]; /* of the server, so far */
	size_t line_len;
	size_t replies; /* whole ones */
};

/* ---- letters ---- */

static size_t encode(const struct message *message, bool counted, char **wire)
{
	const size_t len = message->buf_len - message->buf_pos;
	struct body body = {.counted = counted};
	size_t made;

	*wire = malloc(BODY_GROWTH * len + 2);
	assert(*wire != NULL);
	made = body_encode(&body, message->buf + message->buf_pos, len, *wire);
	return made + body_finish(&body, *wire + made);
}

static void letter_wire(struct letter *letter)
{
	struct message *message = &letter->message;
	const size_t len = message->buf_len - message->buf_pos;
	struct body measured = {0};

	letter->wire_len = encode(message, false, &letter->wire);
	letter->counted_len = encode(message, true, &letter->counted);
	body_measure(&measured, message->buf + message->buf_pos, len, &message->size);
	body_measure_end(&measured, &message->size);
}

/* A message that is all in memory. */
static void letter_make(struct letter *letter, size_t kind, size_t number)
{
	struct message *message = &letter->message;
	struct envelope_fault fault;
	char text[4096];
	size_t head;

	memset(letter, 0, sizeof *letter);
	message_init(message);
	message->buf_len = (size_t)snprintf(text, sizeof text, templates[kind], number, 7);
	assert(message->buf_len < sizeof text);
	message->buf = malloc(message->buf_len);
	assert(message->buf != NULL);
	memcpy(message->buf, text, message->buf_len);
	message->buf_room = message->file_pos = message->file_size = message->buf_len;
	head = envelope_head_len(message->buf, message->buf_len);
	assert(envelope_parse(&message->envelope, message->buf, head, &fault) == 0);
	assert(message->envelope.count <= TO_MAX);
	message->buf_pos = message->envelope.block_len;
	for (size_t i = message->buf_pos; i < head; i++)
		message->header_8bit = message->header_8bit || (message->buf[i] & 0x80) != 0;
	letter_wire(letter);
	letter->is_short = kind == TEMPLATES - 1;
	message->file_size += letter->is_short; /* no descriptor: what is missing can't be read */
	envelope_refuse_faulty(&message->envelope);
}

/* ---- the server's side of the dialogue ---- */

static size_t find_to(const struct letter *letter, const char *address, size_t len)
{
	const struct envelope *envelope = &letter->message.envelope;

	for (size_t i = 0; i < envelope->count; i++)
		if (strlen(envelope->recipient[i].address) == len &&
		    memcmp(envelope->recipient[i].address, address, len) == 0)
			return i;
	abort(); /* a RCPT for somebody else */
}

static void model_push(struct model *model, enum kind kind, size_t to)
{
	if (model->pendings > 0) {
		const enum kind last = model->pending[model->pendings - 1].kind;

		assert(model->smtp.offer.pipelining && last != DATA && last != QUIT);
		assert(last != CHUNK);
	}
	assert(model->pendings < PENDING_MAX && !model->quit);
	model->pending[model->pendings++] =
	    (struct command){.kind = kind, .letter = model->current, .to = to};
}

/* All of the letter is out: one reply is due, or as many as have accepted recipients. */
static void model_push_dots(struct model *model)
{
	struct letter *letter = &model->letter[model->current];

	letter->all_taken = true;
	letter->dots_due = 1;
	if (!model->smtp.offer.lmtp) {
		model_push(model, DOT, 0);
		return;
	}
	assert(model->pendings == 0);
	for (size_t i = 0; i < TO_MAX; i++)
		if (letter->accepted[i])
			model->pending[model->pendings++] =
			    (struct command){.kind = DOT, .letter = model->current, .to = i};
	letter->dots_due = model->pendings;
	assert(letter->dots_due > 0);
}

static void model_mail(struct model *model, size_t number)
{
	assert(number < model->submitted && !model->letter[number].mailed);
	assert(!model->open);
	model->current = number;
	model->letter[number].mailed = true;
	model_push(model, MAIL, 0);
}

/* "BDAT": all but what comes first waits for nothing. */
static void model_bdat(struct model *model, size_t size, bool last)
{
	struct letter *letter = &model->letter[model->current];

	assert(model->smtp.offer.chunking && letter->mailed && !letter->dotted);
	if (!model->chunks)
		assert(last ? letter->began : size <= 2 && !letter->chunked);
	letter->chunked = model->open = model->in_chunk = true;
	model->chunk_left = size;
	model->is_last = last;
}

/* A command of the machine: LINE without its CRLF. */
static void model_command(struct model *model, const char *line, size_t len)
{
	unsigned number;
	size_t to = 0;
	int end = 0;

	assert(memchr(line, '\r', len) == NULL && memchr(line, '\n', len) == NULL);
	assert(memchr(line, '\0', len) == NULL && len < SMTP_COMMAND_MAX);
	if (len == 4 && memcmp(line, "RSET", 4) == 0) {
		model->open = false;
		model_push(model, RSET, 0);
	} else if (sscanf(line, "MAIL FROM:<s%u@example.com>", &number) == 1) {
		model_mail(model, number);
	} else if (sscanf(line, "BDAT %u%n", &number, &end) == 1) {
		assert(line[end] == '\0' || strcmp(line + end, " LAST") == 0);
		model_bdat(model, number, line[end] == ' ');
	} else if (len > 10 && memcmp(line, "RCPT TO:<", 9) == 0 && line[len - 1] == '>') {
		to = find_to(&model->letter[model->current], line + 9, len - 10);
		model_push(model, RCPT, to);
	} else if (len == 4 && memcmp(line, "DATA", 4) == 0) {
		model_push(model, DATA, 0);
	} else {
		assert(len == 4 && memcmp(line, "QUIT", 4) == 0);
		model_push(model, QUIT, 0);
		model->quit = true;
	}
}

static bool has_accepted(const struct letter *letter)
{
	for (size_t i = 0; i < TO_MAX; i++)
		if (letter->accepted[i])
			return true;
	return false;
}

/* The length of a body with its dot at the start of what is written; 0 when it has no end yet. */
static size_t body_len(const struct model *model)
{
	const char *end;

	if (model->written >= 3 && memcmp(model->out, ".\r\n", 3) == 0)
		return 3;
	end = memmem(model->out, model->written, "\r\n.\r\n", 5);
	return end == NULL ? 0 : (size_t)(end - model->out) + 5;
}

/* A body has ended: it is the letter, or nothing when nobody was to get it. */
static void model_body(struct model *model, size_t len)
{
	struct letter *letter = &model->letter[model->current];

	if (has_accepted(letter)) {
		assert(!letter->is_short && len - 3 == letter->wire_len);
		assert(memcmp(model->out, letter->wire, letter->wire_len) == 0);
		letter->dotted = true;
	} else {
		assert(len == 3);
	}
	model->in_body = false;
	model_push_dots(model);
}

/* Octets of a chunk have come, LEN of them at most. Returns how many it takes. */
static size_t model_chunk(struct model *model, size_t len)
{
	struct letter *letter = &model->letter[model->current];

	if (len > model->chunk_left)
		len = model->chunk_left;
	assert(letter->arrived + len <= letter->counted_len);
	assert(memcmp(model->out, letter->counted + letter->arrived, len) == 0);
	letter->arrived += len;
	model->chunk_left -= len;
	if (model->chunk_left > 0)
		return len;
	model->in_chunk = false;
	letter->dotted = model->is_last;
	assert(!model->is_last || letter->arrived == letter->counted_len);
	if (model->is_last)
		model_push_dots(model);
	else
		model_push(model, CHUNK, 0);
	return len;
}

/* The same for a command. */
static size_t command_len(const struct model *model)
{
	const char *end = memmem(model->out, model->written, "\r\n", 2);

	return end == NULL ? 0 : (size_t)(end - model->out) + 2;
}

/* The next piece of what is written that can be read, with *LEN; whether there is one. */
static bool model_step(struct model *model, size_t *len)
{
	if (model->in_chunk) {
		*len = model_chunk(model, model->written);
		return *len > 0 || !model->in_chunk;
	}
	*len = model->in_body ? body_len(model) : command_len(model);
	if (*len == 0)
		return false;
	if (model->in_body) {
		model_body(model, *len);
		return true;
	}
	model->out[*len - 2] = '\0';
	model_command(model, model->out, *len - 2);
	return true;
}

/* Reads what is written, as far as it goes. */
static void model_read(struct model *model)
{
	size_t len;

	while (model_step(model, &len)) {
		model->out_len -= len;
		model->written -= len;
		memmove(model->out, model->out + len, model->out_len);
	}
}

/* Whether CODE is the last of many proofs that the server does not know BDAT. */
static bool is_proof(const struct model *model, const struct letter *letter, int code)
{
	return letter->chunked && !model->chunks && letter->dots == 0 &&
	       (code / 100 == 3 || code == 421 || (code >= 500 && code <= 504));
}

static void model_dot_reply(struct model *model, struct letter *letter, size_t to, int code)
{
	const bool taken = code / 100 == 2;

	if (is_proof(model, letter, code))
		letter->dots_due = 0;
	else if (code / 100 != 3) /* which is no answer */
		letter->dots_due--;
	letter->dots++;
	letter->all_taken = letter->all_taken && taken;
	for (size_t i = 0; i < TO_MAX; i++)
		if (!model->smtp.offer.lmtp || i == to)
			letter->delivered[i] = letter->accepted[i] && letter->dotted && taken;
	if (!letter->chunked || !taken || !has_accepted(letter))
		return;
	model->chunks = true;
	if (letter == &model->letter[model->current] && letter->dots_due == 0 && letter->all_taken)
		model->open = false;
}

/* A reply of the server to the first command that waits for one. */
static void model_reply(struct model *model, int code)
{
	struct command command;
	struct letter *letter;

	model->goodbye = model->goodbye || code == 421;
	if (model->pendings == 0) {
		model->unasked = true;
		return;
	}
	command = model->pending[0];
	model->pendings--;
	memmove(model->pending, model->pending + 1, model->pendings * sizeof command);
	letter = &model->letter[command.letter];
	if (command.kind != RSET && command.kind != QUIT && code / 100 == 5)
		letter->said_no = true;
	if (command.kind == RCPT) {
		letter->accepted[command.to] = letter->mail_accepted && code / 100 == 2;
		letter->refused[command.to] = code / 100 > 3;
	}
	if (command.kind == MAIL) {
		letter->mail_accepted = code / 100 == 2;
		letter->mail_refused = code / 100 > 3;
	}
	if (command.kind == CHUNK)
		letter->began = code / 100 == 2 && has_accepted(letter);
	if (command.kind == DATA)
		model->in_body = letter->began = code == 354;
	if (command.kind == DOT)
		model_dot_reply(model, letter, command.to, code);
}

/* A line of the server; the last of a reply has no "-" behind its code. What the machine has not
 * taken, as the session had ended before, has no effect. */
static void model_line(struct model *model)
{
	const char *line = model->line;
	size_t len = model->line_len;

	model->line_len = 0;
	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
		len--;
	if (len >= 3 && (len == 3 || line[3] == ' ') && model->replies++ < model->smtp.replies)
		model_reply(model, (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0'));
}

/* The server says BYTES: to the machine at once, to the model line by line. */
static void say(struct model *model, const char *bytes, size_t len)
{
	smtp_input(&model->smtp, bytes, len);
	for (size_t i = 0; i < len && model->line_len < sizeof model->line; i++) {
		model->line[model->line_len++] = bytes[i];
		if (bytes[i] == '\n')
			model_line(model);
	}
	assert(!model->unasked || model->smtp.end != SMTP_OPEN);
}

/* How much the server says next: mostly a line, so that the dialogue gets on. */
static size_t next_piece(struct fuzz *fuzz)
{
	const char *end = memchr(fuzz->at, '\n', fuzz->left);

	if (end == NULL || fuzz_choose(fuzz, 0, 3) == 0)
		return fuzz_piece(fuzz, fuzz->left);
	return (size_t)(end - fuzz->at) + 1;
}

/* ---- the machine's side ---- */

/* Takes more from the machine; true when there was something. */
static bool take_out(struct model *model)
{
	const size_t room = fuzz_choose(&model->fuzz, SMTP_COMMAND_MAX, 2000);
	const bool open = model->smtp.end == SMTP_OPEN;
	char *buf = malloc(room);
	size_t n;

	assert(buf != NULL);
	n = smtp_output(&model->smtp, buf, room);
	assert(n <= room && (open || n == 0));
	model->out = realloc(model->out, model->out_len + n + 1);
	assert(model->out != NULL);
	memcpy(model->out + model->out_len, buf, n);
	model->out_len += n;
	free(buf);
	return n > 0;
}

/* Mostly all is written, sometimes a part. */
static void put_out(struct model *model)
{
	while (take_out(model) && fuzz_choose(&model->fuzz, 0, 7) > 0) {
		const size_t left = model->out_len - model->written;
		const bool all = fuzz_choose(&model->fuzz, 0, 7) > 0;
		const size_t n = all ? left : fuzz_choose(&model->fuzz, 0, left);

		smtp_written(&model->smtp, n);
		model->written += n;
		model_read(model);
	}
}

static void submit(struct model *model, unsigned kinds)
{
	while (model->submitted < LETTERS && smtp_ready(&model->smtp)) {
		struct letter *letter = &model->letter[model->submitted];

		letter_make(letter, (kinds >> 3 * model->submitted) % TEMPLATES, model->submitted);
		smtp_submit(&model->smtp, &letter->message);
		model->submitted++;
	}
}

/* Who is done has got it by a 2xx to the dot of just this message. */
static void check_recipient(const struct letter *letter, size_t i)
{
	const struct recipient *recipient = &letter->message.envelope.recipient[i];

	if (!recipient->tried) {
		assert(!letter->delivered[i]);
		return;
	}
	assert((recipient->state == RECIPIENT_DONE) == letter->delivered[i]);
	if (recipient->state == RECIPIENT_FAILED && letter->mailed && recipient->asked)
		assert(letter->said_no);
	if (recipient->state == RECIPIENT_FAILED || recipient->state == RECIPIENT_DEFERRED)
		assert(recipient->status[0] != '\0');
}

/* Whether the server may have taken LETTER, which is all out, for somebody. */
static bool may_be_taken(const struct model *model, const struct letter *letter)
{
	bool wanted = !letter->chunked;

	for (size_t i = 0; i < letter->message.envelope.count; i++)
		wanted =
		    wanted || (letter->message.envelope.recipient[i].asked && !letter->refused[i]);
	return letter->dotted && letter->dots_due > 0 && wanted && !letter->mail_refused &&
	       !((letter->chunked || model->smtp.offer.lmtp) && model->goodbye);
}

static void check_result(const struct model *model, const struct letter *letter)
{
	const struct message *message = &letter->message;

	for (size_t i = 0; i < message->envelope.count; i++) {
		check_recipient(letter, i);
		assert(!letter->delivered[i] || message->verdict == MESSAGE_SETTLED);
	}
	if (message->verdict == MESSAGE_SETTLED)
		assert(envelope_count(&message->envelope, RECIPIENT_TODO) == 0);
	/* A message that makes servers hang up is charged; unless it was BDAT that did. */
	if (letter->began && model->smtp.end != SMTP_RELAY_FAULT && !model->smtp.choked)
		assert(message->verdict == MESSAGE_SETTLED);
	assert(!model->smtp.choked || (model->smtp.offer.chunking && !model->chunks));
	/* What has gone out whole is never sent again as if nothing had been. */
	if (may_be_taken(model, letter))
		assert(message->verdict == MESSAGE_SETTLED && message->in_doubt);
	if (message->in_doubt)
		assert(letter->dotted && model->smtp.end != SMTP_OPEN);
	if (message->in_doubt && (letter->chunked || model->smtp.offer.lmtp))
		assert(may_be_taken(model, letter));
	assert(!letter->is_short || !letter->dotted);
}

static void take_finished(struct model *model)
{
	struct message *message;

	while ((message = smtp_finished(&model->smtp)) != NULL) {
		struct letter *letter = NULL;

		for (size_t i = 0; i < model->submitted; i++)
			if (&model->letter[i].message == message)
				letter = &model->letter[i];
		assert(letter != NULL && !letter->returned);
		letter->returned = true;
		check_result(model, letter);
	}
}

static void talk(struct model *model, unsigned kinds)
{
	while (model->fuzz.left > 0 && model->smtp.end == SMTP_OPEN) {
		const size_t piece = next_piece(&model->fuzz);

		submit(model, kinds);
		if (model->submitted == LETTERS)
			smtp_quit(&model->smtp);
		put_out(model);
		say(model, model->fuzz.at, piece);
		model->fuzz.at += piece;
		model->fuzz.left -= piece;
		(void)smtp_phase(&model->smtp);
		take_finished(model);
	}
	smtp_lost(&model->smtp, "the connection is gone");
	take_finished(model);
}

static void model_free(struct model *model)
{
	for (size_t i = 0; i < model->submitted; i++) {
		message_free(&model->letter[i].message);
		free(model->letter[i].wire);
		free(model->letter[i].counted);
	}
	free(model->out);
	free(model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct model *model = calloc(1, sizeof *model);
	struct smtp_offer offer;
	unsigned bits, kinds;

	assert(model != NULL);
	model->fuzz = fuzz_start(data, size);
	bits = fuzz_byte(&model->fuzz);
	offer = (struct smtp_offer){.pipelining = bits & 1,
	    .chunking = !(bits & 16), /* none in a digit */
	    .eightbit = bits & 2,
	    .smtputf8 = bits & 4,
	    .size = bits & 8,
	    .size_max = bits & 64 ? 200 : 0,
	    .lmtp = !(bits & 32)}; /* a capital letter */
	kinds = fuzz_byte(&model->fuzz) | fuzz_byte(&model->fuzz) << 8;
	fuzz_seed(&model->fuzz);
	smtp_init(&model->smtp, &offer, model->ring, LETTERS);
	talk(model, kinds);
	assert(!smtp_ready(&model->smtp) && model->smtp.count == 0);
	for (size_t i = 0; i < model->submitted; i++)
		assert(model->letter[i].returned);
	model_free(model);
	return 0;
}
