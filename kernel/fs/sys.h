/* SPDX-License-Identifier: MIT */
/* Between the files of system calls in fs/. */
#ifndef KERNEL_FS_SYS_H
#define KERNEL_FS_SYS_H

#include "dcache.h"

/* path_lookup() of a user's string. */
int lookup_at(int dirfd, u64 upath, u32 flags, struct path *out);

#endif
