/* SPDX-License-Identifier: MIT */
/*
 * Formatted text, and the log channel (port 0xe9), where every line is "<N>text\n"
 * with N its level (3 error .. 7 debug).
 */
#ifndef KERNEL_PRINT_H
#define KERNEL_PRINT_H

#include <quire/types.h>

/* As the C standard's, for %d %i %u %x %X %o %p %s %c %% with flags - 0 + space #, width and
 * precision (also *), and lengths hh h l ll z t j.  The length the whole text would have. */
int snprintf(char *buf, size_t n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int vsnprintf(char *buf, size_t n, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

/* Log one line, when level <= log_level.  Any context. */
void print_log(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void vprint_log(int level, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
extern int log_level; /* 4; 7 with CONFIG_FLAG_VERBOSE */
/* From now on nobody waits for the log's lock: the machine is about to stop. */
void print_log_unlock(void);

#endif
