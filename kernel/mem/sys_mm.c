/* SPDX-License-Identifier: MIT */
/*
 * The system calls on the caller's own address space, but mmap(2).  Nearly all of
 * each is in the core; here are the arguments that the core doesn't see: user
 * buffers, capabilities.  Locking: none.
 */
#include <quire/mm.h>
#include <quire/page.h>

#include "../arch/uaccess.h"
#include "../proc/internal.h"
#include "mem.h"

#define MLOCK_ONFAULT 1

static struct quire_mm *my_mm(void)
{
	return current()->uspace->mm;
}

SYSCALL2(munmap, u64, addr, u64, len)
{
	return quire_munmap(my_mm(), addr, len);
}

SYSCALL3(mprotect, u64, addr, u64, len, u64, prot)
{
	return quire_mprotect(my_mm(), addr, len, prot, -1);
}

SYSCALL5(mremap, u64, addr, u64, old_len, u64, new_len, u64, flags, u64, new_addr)
{
	return quire_mremap(my_mm(), addr, old_len, new_len, flags, new_addr);
}

SYSCALL1(brk, u64, brk)
{
	return quire_brk(my_mm(), brk);
}

SYSCALL3(msync, u64, addr, u64, len, int, flags)
{
	return quire_msync(my_mm(), addr, len, flags);
}

SYSCALL3(madvise, u64, addr, u64, len, int, advice)
{
	return quire_madvise(my_mm(), addr, len, advice);
}

SYSCALL3(mincore, u64, addr, u64, len, u64, uvec)
{
	if (addr & ~QUIRE_PAGE_MASK)
		return -EINVAL;
	if (addr > QUIRE_USER_END || len > QUIRE_USER_END - addr)
		return -ENOMEM;
	u64 pages = (len + QUIRE_PAGE_SIZE - 1) >> QUIRE_PAGE_SHIFT;
	if (uvec > QUIRE_USER_END || pages > QUIRE_USER_END - uvec)
		return -EFAULT;
	u8 *vec = quire_kmalloc(QUIRE_PAGE_SIZE, GFP_KERNEL);
	if (!vec)
		return -EAGAIN;
	s64 r = 0;
	while (pages) {
		r = quire_mincore(my_mm(), addr, quire_min(pages, QUIRE_PAGE_SIZE), vec);
		if (r < 0)
			break;
		u64 n = (u64)r;
		r = copy_to_user(uvec, vec, n);
		if (r)
			break;
		addr += n << QUIRE_PAGE_SHIFT;
		uvec += n;
		pages -= n;
	}
	quire_kfree(vec);
	return r;
}

/* ---- locking ------------------------------------------------------------------------------ */

SYSCALL2(mlock, u64, addr, u64, len)
{
	return quire_mlock(my_mm(), addr, len, false);
}

SYSCALL3(mlock2, u64, addr, u64, len, int, flags)
{
	if (flags & ~MLOCK_ONFAULT)
		return -EINVAL;
	return quire_mlock(my_mm(), addr, len, flags & MLOCK_ONFAULT);
}

SYSCALL2(munlock, u64, addr, u64, len)
{
	return quire_munlock(my_mm(), addr, len);
}

SYSCALL1(mlockall, int, flags)
{
	return quire_mlockall(my_mm(), flags);
}

SYSCALL0(munlockall)
{
	return quire_munlockall(my_mm());
}

/* ---- what hardly anybody calls --------------------------------------------------------------- */

SYSCALL5(remap_file_pages, u64, addr, u64, size, u64, prot, u64, pgoff, u64, flags)
{
	return quire_remap_file_pages(my_mm(), addr, size, prot, pgoff, flags);
}

SYSCALL4(pkey_mprotect, u64, addr, u64, len, u64, prot, int, pkey)
{
	return quire_mprotect(my_mm(), addr, len, prot, pkey);
}

SYSCALL2(pkey_alloc, u64, flags, u64, rights)
{
	return quire_pkey_alloc(my_mm(), flags, rights);
}

SYSCALL1(pkey_free, int, pkey)
{
	return quire_pkey_free(my_mm(), pkey);
}
