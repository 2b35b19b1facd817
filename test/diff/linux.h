/* SPDX-License-Identifier: MIT */
/* What the parts of the executor for a kernel share. */
#ifndef DIFF_LINUX_H
#define DIFF_LINUX_H

#include "diff.h"

extern int file[FILES], segment[SEGMENTS];
extern int maps_fd, pagemap_fd, smaps_fd, status_fd, meminfo_fd, self_fd;
void open_proc(void);
void close_proc(void);
void fail(const char *what);
void usage_begin(void);
extern struct usage at_start;

#endif
