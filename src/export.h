/*
 * export: what status, list and show tell, as JSON (RFC 8259) for programs.
 *
 * The fields are those of maildrain(8), and stay. Times are integers, epoch seconds; what is not
 * known is null. All is written in ASCII. A byte that is no UTF-8 becomes U+FFFD.
 *
 * Each function writes to OUT, and returns 0, or -1 with ERR without memory: OUT is no JSON then.
 */
#ifndef MAILDRAIN_EXPORT_H
#define MAILDRAIN_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "error.h"
#include "history.h"
#include "survey.h"
#include "view.h"

/* The spool at PATH as an object, on lines of its own. */
int export_survey(FILE *out, const struct survey *survey, const struct history *history,
    const char *path, struct error *err);

/* A message as an object on one line, without the line's end. */
int export_message(FILE *out, const struct view *view, struct error *err);

/* What only a look into the file tells. */
struct export_file {
	const char *header; /* as it stands there */
	size_t header_len;
	uint64_t envelope_size; /* bytes of the block, the header and the body */
	uint64_t header_size;
	uint64_t body_size;
	bool body_follows; /* the object is left open for export_body */
};

/* The same with FILE, which is NULL when it could not be read, on lines of its own. */
int export_detail(
    FILE *out, const struct view *view, const struct export_file *file, struct error *err);

/*
 * The body, piece by piece: export_body_begin, export_body for each, export_body_end, which closes
 * the object. *USED gets how many bytes of a piece are written; unless it is the LAST, a character
 * that it may have only a part of is left for the next one.
 */
void export_body_begin(FILE *out);
int export_body(
    FILE *out, const char *text, size_t len, bool last, size_t *used, struct error *err);
void export_body_end(FILE *out);

#endif
