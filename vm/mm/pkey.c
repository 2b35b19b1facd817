/* SPDX-License-Identifier: MIT */
/*
 * Protection keys: which of the 16 an address space has given out, and the one for
 * memory that may be run but not read.
 *
 * A VMA's key is in its flags, and from there in its entries.  What a thread may do with
 * a key is in a register of its own, which only the host knows (struct quire_pkey_ops).
 * The kernel's accesses for a program heed its keys where the memory is the caller's
 * own; others' memory is looked into without them, as Linux does.
 *
 * Locking: mmap_lock for writing guards the map of keys.
 */
#include <quire/errno.h>

#include "../base/init.h"
#include "mm.h"

#define KEYS 16
#define RIGHTS (PKEY_DISABLE_ACCESS | PKEY_DISABLE_WRITE)

/* Where the MMU has none, key 0 is the only one there is, and it is a strange one: the first
 * program that asks for a key is refused it with EINVAL, and then it is gone. */
void pkey_init_mm(struct quire_mm *mm)
{
	mm->pkeys = core_config.pkeys ? 1 : 0;
	mm->exec_pkey = core_config.pkeys ? -1 : 0;
}

static int take(struct quire_mm *mm)
{
	int key = __builtin_ctz(~mm->pkeys);

	if (key >= (core_config.pkeys ? KEYS : 1))
		return -ENOSPC;
	mm->pkeys |= 1u << key;
	return key;
}

bool pkey_is_allocated(const struct quire_mm *mm, int pkey)
{
	return pkey >= 0 && pkey < KEYS && pkey != mm->exec_pkey && (mm->pkeys >> pkey & 1);
}

bool pkey_refuses(const struct vma *v, bool write)
{
	return core_config.pkeys && !core_config.pkeys->allows(vma_pkey(v), write);
}

unsigned pkey_exec_only(struct quire_mm *mm)
{
	if (!core_config.pkeys)
		return 0;
	if (mm->exec_pkey < 0) {
		int key = take(mm);

		if (key < 0)
			return 0;
		mm->exec_pkey = key;
	} else if (!core_config.pkeys->allows((unsigned)mm->exec_pkey, false)) {
		return (unsigned)mm->exec_pkey;
	}
	core_config.pkeys->set((unsigned)mm->exec_pkey, PKEY_DISABLE_ACCESS);
	return (unsigned)mm->exec_pkey;
}

s64 quire_pkey_alloc(struct quire_mm *mm, u64 flags, u64 rights)
{
	int key;

	if (flags || (rights & ~(u64)RIGHTS))
		return -EINVAL;
	write_lock(&mm->mmap_lock);
	key = take(mm);
	write_unlock(&mm->mmap_lock);
	if (key >= 0 && !core_config.pkeys)
		return -EINVAL;
	if (key >= 0)
		core_config.pkeys->set((unsigned)key, (unsigned)rights);
	return key;
}

s64 quire_pkey_free(struct quire_mm *mm, int pkey)
{
	int err = -EINVAL;

	write_lock(&mm->mmap_lock);
	if (pkey_is_allocated(mm, pkey)) {
		mm->pkeys &= ~(1u << pkey);
		err = 0;
	}
	write_unlock(&mm->mmap_lock);
	return err;
}
