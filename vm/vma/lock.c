/* SPDX-License-Identifier: MIT */
/*
 * The lock of one VMA: many faults read, the holder of mmap_lock writes.
 *
 * One word: the number of readers, and two bits.  Readers only try: while a
 * writer has the VMA (or waits for it) they fall back to mmap_lock, which the
 * writer holds, and so wait there.  There is hence one writer at most, and
 * nobody to wake when it is done.
 *
 * A thread may write-lock many VMAs, so only the taking is checked against the
 * lock ranks, not recorded.
 */
#include <quire/assert.h>

#include "vma.h"

#define READERS (VMA_DETACHED - 1)

bool vma_read_trylock(struct vma *v)
{
	u32 w = __atomic_load_n(&v->lock, __ATOMIC_RELAXED);

	do {
		if (w & (VMA_WRITER | VMA_DETACHED))
			return false;
	} while (!__atomic_compare_exchange_n(&v->lock, &w, w + 1, true, __ATOMIC_ACQUIRE,
					      __ATOMIC_RELAXED));
	quire_lock_check_acquire(RANK_VMA, true, true);
	return true;
}

void vma_read_unlock(struct vma *v)
{
	quire_lock_check_release(RANK_VMA);
	u32 w = __atomic_sub_fetch(&v->lock, 1, __ATOMIC_RELEASE);
	if (quire_unlikely((w & VMA_WRITER) && !(w & READERS)))
		quire_host_wake(&v->lock, 1); /* only the address: v may be freed by now */
}

void vma_write_lock(struct vma *v)
{
	quire_lock_check_acquire(RANK_VMA, true, true);
	quire_lock_check_release(RANK_VMA);
	u32 w = __atomic_or_fetch(&v->lock, VMA_WRITER, __ATOMIC_ACQ_REL);
	while (quire_unlikely(w & READERS)) {
		quire_host_wait(&v->lock, w);
		w = __atomic_load_n(&v->lock, __ATOMIC_ACQUIRE);
	}
}

void vma_write_unlock(struct vma *v)
{
	__atomic_fetch_and(&v->lock, ~VMA_WRITER, __ATOMIC_RELEASE);
}

void vma_detach(struct vma *v)
{
	ASSERT(__atomic_load_n(&v->lock, __ATOMIC_RELAXED) & VMA_WRITER);
	__atomic_fetch_or(&v->lock, VMA_DETACHED, __ATOMIC_RELEASE);
}
