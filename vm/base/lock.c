/* SPDX-License-Identifier: MIT */
/*
 * The slow paths of the sleeping locks, and the check of lock ranks.
 *
 * Both locks sleep on their own word with quire_host_wait(), which compares the
 * word once more before it falls asleep, so no wake-up is lost between looking
 * and sleeping.  A short spin comes first where there is another CPU to wait for.
 *
 * The mutex is the three-state futex mutex (U. Drepper, "Futexes are tricky").
 * The reader-writer semaphore lets no new reader in once a writer waits; a
 * writer that leaves clears that mark, so those who sleep then start even and
 * neither side starves.
 *
 * Not here: deadlock detection beyond ranks, priority inheritance.
 */
#include <quire/assert.h>
#include <quire/lock.h>

#include "init.h"

#define SPINS 64

static bool spinning_helps(unsigned tries)
{
	return tries < SPINS && core_config.cpus > 1;
}

void quire_mutex_lock_slow(struct mutex *m)
{
	for (unsigned tries = 0; spinning_helps(tries); tries++) {
		u32 expected = 0;
		if (__atomic_load_n(&m->word, __ATOMIC_RELAXED) == 0 &&
		    __atomic_compare_exchange_n(&m->word, &expected, 1u, false, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return;
		quire_host_relax();
	}
	/* From here on the word says 2: we can't know that nobody else sleeps. */
	while (__atomic_exchange_n(&m->word, 2u, __ATOMIC_ACQUIRE) != 0)
		quire_host_wait(&m->word, 2);
}

void quire_mutex_wake(struct mutex *m)
{
	quire_host_wake(&m->word, 1);
}

void quire_rwsem_read_slow(struct rwsem *s)
{
	for (unsigned tries = 0; spinning_helps(tries); tries++) {
		if (rwsem_try_read_raw(s))
			return;
		quire_host_relax();
	}
	__atomic_add_fetch(&s->waiters, 1, __ATOMIC_SEQ_CST);
	for (;;) {
		u32 w = __atomic_load_n(&s->word, __ATOMIC_SEQ_CST);
		if (w & (RWSEM_WRITER | RWSEM_WAITING))
			quire_host_wait(&s->word, w);
		else if (__atomic_compare_exchange_n(&s->word, &w, w + 1, false, __ATOMIC_ACQUIRE,
						     __ATOMIC_RELAXED))
			break;
	}
	__atomic_sub_fetch(&s->waiters, 1, __ATOMIC_SEQ_CST);
}

void quire_rwsem_write_slow(struct rwsem *s)
{
	__atomic_add_fetch(&s->waiters, 1, __ATOMIC_SEQ_CST);
	for (unsigned tries = 0;; tries++) {
		u32 w = __atomic_load_n(&s->word, __ATOMIC_SEQ_CST);
		if (!(w & ~RWSEM_WAITING)) {
			/* Other writers that wait set the mark again when they look. */
			if (__atomic_compare_exchange_n(&s->word, &w, RWSEM_WRITER, false,
							__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
				break;
			continue;
		}
		if (!(w & RWSEM_WAITING) &&
		    !__atomic_compare_exchange_n(&s->word, &w, w | RWSEM_WAITING, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			continue;
		if (spinning_helps(tries))
			quire_host_relax();
		else
			quire_host_wait(&s->word, w | RWSEM_WAITING);
	}
	__atomic_sub_fetch(&s->waiters, 1, __ATOMIC_SEQ_CST);
}

void quire_rwsem_wake(struct rwsem *s)
{
	quire_host_wake(&s->word, ~0u);
}

#ifdef QUIRE_DEBUG

/* An interrupt may come anywhere in here, and note and drop locks of its own in the same
 * set: so the count goes up before a place is filled, and down after it was emptied (0 is
 * no rank). */
static void note(struct quire_lockset *ls, u16 rank)
{
	unsigned at = ls->n;
	if (at < quire_array_size(ls->rank)) {
		ls->n = (u8)(at + 1);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		ls->rank[at] = (u8)rank;
	} else {
		quire_host_panic("more than %u locks held at once", at);
	}
}

static void drop(struct quire_lockset *ls, unsigned i)
{
	unsigned last = ls->n - 1u;
	for (; i < last; i++)
		ls->rank[i] = ls->rank[i + 1];
	ls->rank[last] = 0;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	ls->n = (u8)last;
}

void quire_lock_check_acquire(u16 rank, bool nested, bool sleeps)
{
	struct quire_lockset *ls = quire_host_lockset();
	if (rank == 0 || rank >= RANK_MAX)
		quire_host_panic("a lock of rank %u: not initialised?", rank);
	for (unsigned i = 0; i < ls->n; i++) {
		u8 held = ls->rank[i];
		if (held > rank || (held == rank && !nested))
			quire_host_panic("lock order: rank %u wanted while rank %u is held", rank,
					 held);
		if (sleeps && held >= RANK_PT)
			quire_host_panic("a sleeping lock (rank %u) under a spinlock (rank %u)",
					 rank, held);
	}
	note(ls, rank);
}

void quire_lock_check_try(u16 rank)
{
	if (rank == 0 || rank >= RANK_MAX)
		quire_host_panic("a lock of rank %u: not initialised?", rank);
	note(quire_host_lockset(), rank);
}

void quire_lock_check_release(u16 rank)
{
	struct quire_lockset *ls = quire_host_lockset();
	for (unsigned i = ls->n; i-- > 0;)
		if (ls->rank[i] == rank) {
			drop(ls, i);
			return;
		}
	quire_host_panic("a lock of rank %u is released that isn't held", rank);
}

void quire_lock_check_may_sleep(void)
{
	struct quire_lockset *ls = quire_host_lockset();
	for (unsigned i = 0; i < ls->n; i++)
		if (ls->rank[i] >= RANK_PT)
			quire_host_panic("sleeping with a spinlock (rank %u) held", ls->rank[i]);
}

#endif
