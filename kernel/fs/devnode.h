/* SPDX-License-Identifier: MIT */
/* Inside fs/: device nodes and the table of character devices. */
#ifndef KERNEL_FS_DEVNODE_H
#define KERNEL_FS_DEVNODE_H

#include "vfs.h"

/* Open a character device's inode: ops by its number; -ENXIO when nobody has it. */
int chrdev_open(struct inode *i, struct file *f);
/* Fill a new /dev: nodes of all devices registered so far (later ones come by
 * themselves), the usual links, and the folder shm. */
int devnode_fill(struct fs *fs, struct dentry *root);

#endif
