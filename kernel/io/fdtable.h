/* SPDX-License-Identifier: MIT */
/* What io/ and /proc need of a descriptor table beyond fs/vfs.h. */
#ifndef KERNEL_IO_FDTABLE_H
#define KERNEL_IO_FDTABLE_H

#include "../fs/vfs.h"

/* Is fd of t close-on-exec? */
bool fdtable_cloexec(struct fdtable *t, int fd);
/* Does another task use t as well? */
bool fdtable_shared(struct fdtable *t);
/* How many descriptors it has room for just now: none above is open. */
u32 fdtable_size(struct fdtable *t);
/* 0 or -EBADF; of the current task. */
int fd_set_cloexec(int fd, bool on);

#endif
