/* SPDX-License-Identifier: MIT */
/*
 * mmap(2): which file it is, and whether it may be mapped like this.  What the
 * mapping then is, is the core's (vm/mm/mmap.c).
 *
 * Locking: none.
 */
#include <quire/mm.h>

#include "../fs/vfs.h"
#include "../io/memfd.h"
#include "../syscall/syscall.h"
#include "mem.h"

/* What the core is to know of the file.  Types and offsets that can't be, and what the file
 * wasn't opened for, it refuses itself, after it has looked at the address. */
static u64 may_of(const struct file *f, u64 flags)
{
	const struct inode *i = f->inode;
	u64 type = flags & MAP_TYPE, may = VM_MAYWRITE;
	bool shared = type == MAP_SHARED || type == MAP_SHARED_VALIDATE;

	if (shared && !f->can_write)
		may = 0;
	if (f->can_read)
		may |= VM_MAYREAD;
	if (!path_noexec(&f->path))
		may |= VM_MAYEXEC;
	int err = f->ops->mmap ? f->ops->mmap(f) : 0;
	if (!f->ops->mmap)
		may |= MAY_NOT_MAP;
	may |= MAY_REFUSES(-err);
	if (i && (i->seals & SEALS_POSSIBLE) && (i->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
		may |= MAY_NOT_WRITE_SHARED;
	return may;
}

SYSCALL6(mmap, u64, addr, u64, len, u64, prot, u64, flags, int, fd, u64, offset)
{
	struct quire_mm *mm = current()->uspace->mm;
	struct file *f = NULL;
	s64 r;

	if (offset & ~QUIRE_PAGE_MASK)
		return -EINVAL;
	if (flags & MAP_ANONYMOUS)
		return quire_mmap(mm, addr, len, prot, flags, NULL, offset,
				  VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC);
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	r = f->flags & O_PATH
		? -EBADF
		: quire_mmap(mm, addr, len, prot, flags, &f->vm, offset, may_of(f, flags));
	file_put(f);
	return r;
}
