/*
 * notice: what every mail is made of that maildrain writes itself: header, dates, texts. Pure.
 *
 * All is written to a stream, whose state the caller looks at when it is done. Lines end in LF, are
 * shorter than 998 octets and hold nothing but ASCII. Texts of others lose what ends a line, so
 * that they can't make a field or a part of their own.
 */
#ifndef MAILDRAIN_NOTICE_H
#define MAILDRAIN_NOTICE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define NOTICE_WORDS_MAX   512 /* bytes of a server's words that are repeated */
#define NOTICE_LINE	   78  /* octets of a line in a text for a person */
#define NOTICE_ADDRESS_MAX 320 /* bytes of an address, which may be a faulty one */

struct notice {
	const char *host;      /* a host name: who reports, and the right side of Message-ID */
	const char *from;      /* address, for From; the envelope has the null sender */
	const char *const *to; /* addresses, without fault as address.h has it */
	size_t to_count;
	const char *subject;
	const char *key; /* letters, digits and dots: no other mail of this host has it */
	int64_t date;	 /* epoch seconds */
};

/*
 * The envelope lines, and the header up to MIME-Version. SUBMITTED is the word for Auto-Submitted,
 * RFC 3834 section 5. An address that is not in ASCII stands in the envelope only.
 */
void notice_header(FILE *out, const struct notice *notice, const char *submitted);

/* "FIELD: Sun, 22 Nov 2026 13:00:00 +0000"; nothing when that is no date of four-digit years. */
void notice_field_date(FILE *out, const char *field, int64_t when);
void notice_date(FILE *out, int64_t when);

/* Up to MOST bytes of TEXT in one line, what can't be shown as "?": for a text part. */
void notice_words(FILE *out, const char *text, size_t most);

/* The same in ASCII, in place of what is not: for a field. Folded when it gets long. */
void notice_field(FILE *out, const char *name, const char *text, size_t most);

/*
 * A body of TYPE with the fields that describe it: TEXT[0..LEN), of lines that end in LF, as it is
 * where that is 7bit with lines of MOST octets or less, and else as quoted-printable.
 */
void notice_body(FILE *out, const char *type, const char *text, size_t len, size_t most);

#endif
