/*
 * hash: 64 bits that depend on all of some bytes, FNV-1a. Pure.
 */
#ifndef MAILDRAIN_HASH_H
#define MAILDRAIN_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Of BYTES[0..LEN); another SEED gives others. */
uint64_t hash_bytes(uint64_t seed, const char *bytes, size_t len);

#endif
