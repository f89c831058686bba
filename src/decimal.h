/*
 * decimal: numbers in digits, for the places that every message passes several times. Pure.
 */
#ifndef MAILDRAIN_DECIMAL_H
#define MAILDRAIN_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

#define DECIMAL_MAX 20 /* digits of a uint64_t */

/*
 * Writes NUMBER to BUF, of DECIMAL_MAX bytes, with zeros in front up to WIDTH digits (20 at most);
 * returns how many bytes it wrote. No NUL follows them.
 */
size_t decimal_write(uint64_t number, unsigned width, char *buf);

#endif
