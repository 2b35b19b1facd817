/* SPDX-License-Identifier: MIT */
/* Between proc.c and proc_seq.c. */
#ifndef KERNEL_FS_PROC_TEXT_H
#define KERNEL_FS_PROC_TEXT_H

#include "proc.h"

/* f is an open of an entry with show or write; mm_id for its contexts.  0 or -ENOMEM. */
int proc_text_open(struct file *f, u64 mm_id);

#endif
