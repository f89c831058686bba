#include "hash.h"

uint64_t hash_bytes(uint64_t seed, const char *bytes, size_t len)
{
	uint64_t hash = UINT64_C(14695981039346656037) ^ seed;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
	return hash;
}
