/* SPDX-License-Identifier: MIT */
/* Seals of memfd files; other files have none. */
#ifndef KERNEL_IO_MEMFD_H
#define KERNEL_IO_MEMFD_H

#include "../fs/vfs.h"

#define F_SEAL_SEAL 1u
#define F_SEAL_SHRINK 2u
#define F_SEAL_GROW 4u
#define F_SEAL_WRITE 8u
#define F_SEAL_FUTURE_WRITE 16u
/* In inode->seals: the inode can be sealed at all. */
#define SEALS_POSSIBLE (1u << 31)

long memfd_add_seals(struct file *f, u32 seals);
long memfd_get_seals(struct file *f);

#endif
