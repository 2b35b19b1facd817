/* SPDX-License-Identifier: MIT */
/* /proc and /sys: what mount.c needs of them. */
#ifndef KERNEL_FS_PROCFS_H
#define KERNEL_FS_PROCFS_H

#include "vfs.h"

/* The file systems, and their roots, which stay theirs.  Null: no memory.  Each /proc is one of
 * its own. */
struct fs *procfs_new(struct dentry **root);
/* proc_mount.c: the same with the options of mount(2).  0 or -errno. */
int proc_mount(char *options, struct fs **out, struct dentry **root);
struct fs *sysfs(struct dentry **root);
/* dev/pty.c: /dev/pts. */
struct fs *devpts(struct dentry **root);

/* The process whose /proc/PID directory this open file is, with a reference; null: it is
 * another file, or the process is gone (then *gone is set). */
struct process *procfs_process(struct file *f, bool *gone);

#endif
