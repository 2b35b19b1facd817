/* SPDX-License-Identifier: MIT */
/*
 * mmap(2): which file it is, and whether it may be mapped like this.  What the
 * mapping then is, is the core's (vm/mm/mmap.c).
 *
 * Private mappings of /dev/zero are anonymous memory that goes by its name, and shared
 * ones a nameless file of zeroes, as with MAP_ANONYMOUS.  Locking: none.
 */
#include <quire/mm.h>

#include "../fs/vfs.h"
#include "../io/memfd.h"
#include "../syscall/syscall.h"
#include "mem.h"

#define DEV_ZERO (1UL << 8 | 5) /* character device 1, 5 */

static bool is_dev_zero(const struct inode *i)
{
	return i && S_ISCHR(i->mode) && i->rdev == DEV_ZERO;
}

/* 0 when the file can be mapped at all. */
static int ask_file(struct file *f, u64 prot, u64 flags)
{
	if (f->ops->mmap)
		return f->ops->mmap(f, prot, flags);
	return f->inode && S_ISREG(f->inode->mode) ? 0 : -ENODEV;
}

/* Seals of a memfd: *may loses what they forbid.  0 or -EPERM. */
static int check_seals(const struct inode *i, u64 prot, bool shared, u64 *may)
{
	u32 seals = i ? i->seals : 0;
	if (!shared || !(seals & SEALS_POSSIBLE) || !(seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
		return 0;
	if (prot & PROT_WRITE)
		return -EPERM;
	*may &= ~VM_MAYWRITE;
	return 0;
}

static int check_file(struct file *f, u64 prot, u64 flags, u64 *may)
{
	u64 type = flags & MAP_TYPE;
	bool shared = type == MAP_SHARED || type == MAP_SHARED_VALIDATE;

	if (f->flags & O_PATH)
		return -EBADF;
	/* Types and offsets that can't be, and what it wasn't opened for, the core refuses, after
	 * it has looked at the address. */
	if (shared && !f->can_write)
		*may &= ~VM_MAYWRITE;
	if (!f->can_read)
		*may &= ~VM_MAYREAD;
	if (!f->can_read || (shared && (prot & PROT_WRITE) && !f->can_write))
		return 0;
	int err = ask_file(f, prot, flags);
	if (err)
		return err;
	return check_seals(f->inode, prot, shared, may);
}

SYSCALL6(mmap, u64, addr, u64, len, u64, prot, u64, flags, int, fd, u64, offset)
{
	struct quire_mm *mm = current()->uspace->mm;
	u64 may = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;
	struct file *f = NULL;

	if (offset & ~QUIRE_PAGE_MASK)
		return -EINVAL;
	if (!(flags & MAP_ANONYMOUS)) {
		f = fd_get(fd);
		if (!f)
			return -EBADF;
		int err = len ? check_file(f, prot, flags, &may) : -EINVAL;
		if (err) {
			file_put(f);
			return err;
		}
		if (is_dev_zero(f->inode) && (flags & MAP_TYPE) == MAP_PRIVATE) {
			f->vm.mapping = NULL;
		} else if (is_dev_zero(f->inode)) {
			file_put(f);
			f = NULL;
			flags |= MAP_ANONYMOUS;
		}
	}
	s64 r = quire_mmap(mm, addr, len, prot, flags, f ? &f->vm : NULL, offset, may);
	if (f)
		file_put(f);
	return r;
}
