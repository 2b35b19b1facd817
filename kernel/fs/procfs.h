/* SPDX-License-Identifier: MIT */
/* /proc and /sys: what mount.c needs of them. */
#ifndef KERNEL_FS_PROCFS_H
#define KERNEL_FS_PROCFS_H

#include "vfs.h"

/* The file systems, and their roots with a reference.  Null: no memory. */
struct fs *procfs_new(struct dentry **root);
struct fs *sysfs_new(struct dentry **root);
/* dev/pty.c: /dev/pts. */
struct fs *devpts_new(struct dentry **root);

#endif
