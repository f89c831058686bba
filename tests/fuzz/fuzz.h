/*
 * fuzz: what the targets share. A target is a function that gets bytes and asserts what must hold
 * whatever they are. libFuzzer hands them over in a block of just their size, so a step past the
 * end shows.
 *
 * The first bytes of an input decide how the rest is cut and what is done with it; in the seeds
 * they are digits, so that a seed is still a text to read.
 */
#ifndef MAILDRAIN_FUZZ_H
#define MAILDRAIN_FUZZ_H

#undef NDEBUG
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
	const char *at;
	size_t left;
	uint32_t state; /* of the choices that follow from the first bytes */
};

static inline struct fuzz fuzz_start(const uint8_t *data, size_t size)
{
	return (struct fuzz){.at = (const char *)data, .left = size, .state = 1};
}

/* The next byte, 0 behind the end. */
static inline unsigned fuzz_byte(struct fuzz *fuzz)
{
	if (fuzz->left == 0)
		return 0;
	fuzz->left--;
	return (unsigned char)*fuzz->at++;
}

/* Makes the choices that follow depend on the next byte. */
static inline void fuzz_seed(struct fuzz *fuzz)
{
	fuzz->state = fuzz_byte(fuzz) * 2654435761u + 1;
}

/* A number from LEAST to MOST: the same for the same first bytes. */
static inline size_t fuzz_choose(struct fuzz *fuzz, size_t least, size_t most)
{
	fuzz->state = fuzz->state * 1664525u + 1013904223u;
	return least + (fuzz->state >> 8) % (most - least + 1);
}

/* The length of the next piece of LEFT bytes, 1 or more: often short, now and then long. */
static inline size_t fuzz_piece(struct fuzz *fuzz, size_t left)
{
	const size_t most = (size_t)1 << fuzz_choose(fuzz, 0, 12);

	return fuzz_choose(fuzz, 1, most < left ? most : left);
}

/* A string of LEN bytes at BYTES in a block of just its size; a NUL among them ends it early. */
static inline char *fuzz_string(const char *bytes, size_t len)
{
	const size_t end = strnlen(bytes, len);
	char *copy = malloc(end + 1);

	assert(copy != NULL);
	memcpy(copy, bytes, end);
	copy[end] = '\0';
	return copy;
}

/* The next line of the input as a string, without its end. */
static inline char *fuzz_line(struct fuzz *fuzz)
{
	const char *end = fuzz->left > 0 ? memchr(fuzz->at, '\n', fuzz->left) : NULL;
	const size_t len = end != NULL ? (size_t)(end - fuzz->at) : fuzz->left;
	char *line = fuzz_string(len > 0 ? fuzz->at : "", len);

	fuzz->left -= end != NULL ? len + 1 : len;
	fuzz->at += end != NULL ? len + 1 : len;
	return line;
}

#endif
