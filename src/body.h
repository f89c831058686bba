/*
 * body: the wire form of a message, RFC 5321 sections 2.3.8 and 4.5.2. Pure.
 *
 * Every line ends in CRLF: CRLF stays, a bare CR or a bare LF becomes CRLF (so "\n.\r\n" can't
 * smuggle an end of data, CVE-2023-51764), then a dot that starts a line is doubled, unless the
 * octets are counted out to the peer (BDAT, RFC 3030). A last line without an end gets one. The
 * final ".CRLF" is the SMTP machine's, not ours.
 */
#ifndef MAILDRAIN_BODY_H
#define MAILDRAIN_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BODY_GROWTH 2 /* IN bytes never give more than BODY_GROWTH * IN + 2 bytes */

struct body {
	bool counted;  /* for BDAT: no dot is doubled; to be set before the first byte */
	bool mid_line; /* bytes of the present line have been written */
	bool
	    after_cr; /* the last byte was CR, its line end is written: an LF now is the same end */
	uint64_t wire; /* octets encoded so far, without the doubled dots, as in struct body_size */
};

struct body_size {
	uint64_t wire; /* octets in wire form without the doubled dots: what SIZE= announces,
			  RFC 1870 section 5 */
	bool has_8bit; /* a byte over 127 */
};

/* A zeroed struct body or body_size is ready for use. */

/* Encodes IN to OUT, which must hold BODY_GROWTH * LEN bytes; returns the bytes written. */
size_t body_encode(struct body *body, const char *in, size_t len, char *out);

/* After the last byte: ends an unended line. OUT holds 2 bytes; returns 0 or 2. */
size_t body_finish(struct body *body, char *out);

/*
 * Turns LEN bytes of the wire form, cut anywhere, into the same lines ended by LF alone, in place.
 * Returns the new length. As a CR stands nowhere but in a line end, it is each CR that goes.
 */
size_t body_decode(char *wire, size_t len);

/* Measures without writing; same state rules, its own struct body. */
void body_measure(struct body *body, const char *in, size_t len, struct body_size *size);
void body_measure_end(struct body *body, struct body_size *size);

#endif
