/* SPDX-License-Identifier: MIT */
/*
 * The memory and string functions that the compiler itself may call, and that
 * every host therefore has.
 */
#ifndef QUIRE_STRING_H
#define QUIRE_STRING_H

#if __STDC_HOSTED__
#include <string.h>
#else
#include <stddef.h>
void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
#endif

#endif
