/*
 * dump: where the messages end in a file of Django's stock file-based backend. Pure.
 *
 * Django writes a record per message: message.as_bytes(), a newline, a rule of 79 dashes, a
 * newline. Nothing else marks the end, so the rule is weighed against the body it stands in:
 *
 *	multipart             rules before the closing boundary belong to the message: Django draws
 *	                      the boundary at random, no body can hold it. After it, only blank
 *	                      lines and the rule may follow, and that rule is the end
 *	base64, quoted-       no such encoded line can be a rule: the first one is the end
 *	printable
 *	any other text        a rule is the end when a header of Django follows at once: an unbroken
 *	                      run of fields that starts with Content-Type or MIME-Version, has
 *	                      Content-Type, Subject and one From, and ends in an empty line. So it
 *	                      is when nothing follows and the caller says the file has settled
 *
 * Two processes may share a file, and the rule of a message that exceeds Python's buffer is a write
 * of its own: the file then reads "A B rule rule". Such a record shows by a second header in it.
 * Any record that can't be told apart for certain comes out with a doubt: it must not be sent.
 * So a text that quotes a whole header, unindented, is held back too.
 *
 * What stays open: a plain text body that holds a rule and then a whole header reads exactly like
 * two records. Whoever decides the text of a mail that way (a contact form) can make up a second
 * message. Nothing in the file can tell, as Django neither escapes the rule nor counts the bytes;
 * the backend that comes with this program has one file per message, and there it can't happen.
 */
#ifndef MAILDRAIN_DUMP_H
#define MAILDRAIN_DUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DUMP_RULE	  79   /* dashes that end a record */
#define DUMP_LINE_KEPT	  256  /* bytes of a line that are looked at */
#define DUMP_BOUNDARY_MAX 200  /* RFC 2046 allows 70 */
#define DUMP_TYPE_MAX	  1024 /* bytes of an unfolded Content-Type */

enum dump_doubt {
	DUMP_CLEAR,
	DUMP_HEADLESS,	/* does not start with a header that has a From */
	DUMP_TANGLED,	/* more than one message, or text that could be one */
	DUMP_BOUNDLESS, /* multipart, and its boundary can't be read */
	DUMP_ENVELOPE	/* starts with an X-Maildrain line, which must not become its envelope */
};

/* Offsets are those of the file. */
struct dump_record {
	uint64_t start;
	uint64_t end;  /* of the message; what follows up to NEXT is Django's */
	uint64_t next; /* where the record after it starts */
	enum dump_doubt doubt;
};

enum dump_state {
	DUMP_START,  /* between records */
	DUMP_HEADER, /* in the header of a record */
	DUMP_TEXT,   /* in a body that may hold rules */
	DUMP_FIRM,   /* in a body that can't */
	DUMP_PARTS,  /* in a multipart body */
	DUMP_TAIL    /* behind its closing boundary */
};

/* A run of header fields, at the start of a record or anywhere in a text. */
struct dump_run {
	bool open;
	uint64_t start;
	unsigned seen; /* which fields that matter */
	bool in_type;  /* the last field is the Content-Type that counts */
	bool encoded;  /* the transfer encoding is base64 or quoted-printable */
	char type[DUMP_TYPE_MAX];
	size_t type_len;
};

struct dump {
	uint64_t offset; /* of the next byte to be taken */
	uint64_t start;	 /* of the present record */
	enum dump_state state;
	enum dump_doubt doubt;
	uint64_t rule_start; /* the last rule in a text, newline included */
	uint64_t rule_end;
	uint64_t line_start;
	char line[DUMP_LINE_KEPT]; /* the present line so far */
	size_t line_len;
	struct dump_run run;
	char closing[DUMP_BOUNDARY_MAX + 5]; /* "--boundary--" */
};

/* Starts to read at OFFSET, which must be 0 or the NEXT of a record. */
void dump_init(struct dump *dump, uint64_t offset);

/*
 * Takes bytes from *AT up to END. True: RECORD is complete, call again with what is left. False:
 * all bytes are taken. The same file gives the same records however it is cut into calls.
 */
bool dump_next(struct dump *dump, const char **at, const char *end, struct dump_record *record);

/*
 * At the end of a file that nobody is writing to: true when RECORD ends just here. To be asked
 * once, and not before the file has settled: the rule may be a part of a text that is still being
 * written.
 */
bool dump_last(struct dump *dump, struct dump_record *record);

/* Whether nothing but Django's rules and blank lines follows the last record. */
bool dump_between(const struct dump *dump);

/* The doubt as a phrase for a person, "holds more than one message …". */
const char *dump_doubt_text(enum dump_doubt doubt);

enum dump_name {
	DUMP_NAME_OTHER, /* not the name of a dump */
	DUMP_NAME_GOOD,
	DUMP_NAME_BAD /* a dump whose O= can't be read, or stands twice */
};

/*
 * Reads NAME: "YYYYmmdd-HHMMSS-ID.log", perhaps with a "-2" that spool.c gave it and fields behind.
 * OFFSET gets the value of O, 0 without it.
 */
enum dump_name dump_name_parse(const char *name, uint64_t *offset);

/* When Django began the dump NAME, which is the name of one: epoch seconds, in local time. */
int64_t dump_name_time(const char *name);

#endif
