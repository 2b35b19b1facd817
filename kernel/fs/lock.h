/* SPDX-License-Identifier: MIT */
/* Inside fs/: what files and inodes tell lock.c. */
#ifndef KERNEL_FS_LOCK_H
#define KERNEL_FS_LOCK_H

#include "vfs.h"

/* The last reference to f is gone: its flock and OFD locks go. */
void locks_release_file(struct file *f);
/* The inode goes: free what lock.c hung on it. */
void locks_free_inode(struct inode *i);

#endif
