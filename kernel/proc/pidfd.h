/* SPDX-License-Identifier: MIT */
/* Descriptors that stand for a process. */
#ifndef KERNEL_PROC_PIDFD_H
#define KERNEL_PROC_PIDFD_H

#include <quire/types.h>

struct process;

int pidfd_pid(int fd, u32 *pid);                 /* 0, or -EBADF */
int pidfd_install(struct process *p, u32 flags); /* the new descriptor, or -errno */

struct file;
/* The process that f stands for, not referenced; null: f is another kind of file. */
struct process *pidfd_process_of(const struct file *f);

#endif
