/* SPDX-License-Identifier: MIT */
/* The C library's string functions that the kernel uses; as in the C standard. */
#ifndef KERNEL_STRING_H
#define KERNEL_STRING_H

#include <quire/string.h>
#include <quire/types.h>

size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
char *strrchr(const char *s, int c);
char *strstr(const char *s, const char *what);
void *memchr(const void *s, int c, size_t n);
/* Copies at most n - 1 bytes and always terminates (n > 0); returns strlen(src). */
size_t strlcpy(char *dst, const char *src, size_t n);

#endif
