/* SPDX-License-Identifier: MIT */
/*
 * Locks: a spinlock, a mutex and a reader-writer semaphore, with ranks.
 *
 * A lock is a type here and not a handle of the host's: the fast paths are a
 * few inline instructions, and a spinlock fits in struct page.  Sleeping locks
 * sleep with quire_host_wait() on their own word.
 *
 * Every lock has a rank.  A thread takes locks in rising order of rank only;
 * builds with QUIRE_DEBUG check that at every acquire (vm/base/lock.c) and
 * panic with both locks' ranks.  Two locks of one rank may be held at once
 * only where the second is taken by a _nested call.  The order of the enum
 * *is* the lock order.
 */
#ifndef QUIRE_LOCK_H
#define QUIRE_LOCK_H

#include <quire/host.h>
#include <quire/types.h>

enum quire_rank {
	/* The host's outer locks: held while it calls into the core. */
	RANK_HOST_OUTER = 1, /* .. RANK_HOST_OUTER + 15, e.g. an inode's lock in write(2) */
	/* Sleeping locks of the core. */
	RANK_MMAP = 20,    /* mm->mmap_lock: the set of VMAs of an address space */
	RANK_VMA = 22,     /* a VMA's own lock, read-held by faults */
	RANK_HOST_IO = 24, /* .. + 7: the host's locks taken inside file operations */
	/* the page lock (PG_LOCKED) belongs here; it is a bit and isn't tracked */
	RANK_I_MMAP = 32,   /* mapping->i_mmap_lock: which VMAs map a file */
	RANK_ANON_VMA = 34, /* anon_vma->lock: which VMAs may map an anonymous page */
	/* Spinlocks: no sleeping from here on. */
	RANK_PT = 40,       /* a page-table page's lock: its entries */
	RANK_MAPPING = 44,  /* mapping->lock: the index of a file's cached pages */
	RANK_HOST_MID = 48, /* .. + 15: the host's spinlocks that are held while allocating */
	RANK_LRU = 64,
	RANK_SLAB = 66,
	RANK_ZONE = 68, /* the buddy allocator's free lists */
	RANK_RCU = 70,
	RANK_TRACE = 72,
	RANK_HOST_INNER = 80, /* .. + 15: the scheduler's; quire_host_wake() may take them */
	RANK_MAX = 96,
};

/* Clang's thread-safety analysis; nothing for other compilers. */
#if defined(__clang__)
#define QUIRE_TSA(x) __attribute__((x))
#else
#define QUIRE_TSA(x)
#endif
#define CAPABILITY(name) QUIRE_TSA(capability(name))
#define GUARDED_BY(l) QUIRE_TSA(guarded_by(l))
#define REQUIRES(...) QUIRE_TSA(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) QUIRE_TSA(requires_shared_capability(__VA_ARGS__))
#define ACQUIRES(...) QUIRE_TSA(acquire_capability(__VA_ARGS__))
#define ACQUIRES_SHARED(...) QUIRE_TSA(acquire_shared_capability(__VA_ARGS__))
#define TRY_ACQUIRES(...) QUIRE_TSA(try_acquire_capability(__VA_ARGS__))
#define RELEASES(...) QUIRE_TSA(release_capability(__VA_ARGS__))
#define RELEASES_SHARED(...) QUIRE_TSA(release_shared_capability(__VA_ARGS__))
#define NO_TSA QUIRE_TSA(no_thread_safety_analysis)

/* The ranks a thread holds, one struct in each thread (quire_host_lockset()). */
struct quire_lockset {
	u8 n;
	u8 rank[31];
};

#ifdef QUIRE_DEBUG
void quire_lock_check_acquire(u16 rank, bool nested, bool sleeps);
/* A lock was taken by a try: any order is fine, it is only noted. */
void quire_lock_check_try(u16 rank);
void quire_lock_check_release(u16 rank);
/* Panics when the thread holds a lock of a spinlock's rank: call before sleeping. */
void quire_lock_check_may_sleep(void);
#else
static inline void quire_lock_check_acquire(u16 rank, bool nested, bool sleeps)
{
	(void)rank, (void)nested, (void)sleeps;
}
static inline void quire_lock_check_try(u16 rank)
{
	(void)rank;
}
static inline void quire_lock_check_release(u16 rank)
{
	(void)rank;
}
static inline void quire_lock_check_may_sleep(void)
{
}
#endif

/* ---- spinlock: 4 bytes; preemption is off while it is held --------------------- */

struct CAPABILITY("spinlock") spinlock {
	u16 locked;
	u16 rank;
};

#define SPINLOCK_INIT(r) \
	{                \
		0, (r)   \
	}

static inline void spin_init(struct spinlock *l, enum quire_rank rank)
{
	l->locked = 0;
	l->rank = (u16)rank;
}

static inline bool spin_try_raw(struct spinlock *l)
{
	return __atomic_exchange_n(&l->locked, (u16)1, __ATOMIC_ACQUIRE) == 0;
}

static inline void spin_lock_class(struct spinlock *l, bool nested) ACQUIRES(l) NO_TSA
{
	quire_host_preempt_disable();
	quire_lock_check_acquire(l->rank, nested, false);
	while (quire_unlikely(!spin_try_raw(l)))
		while (__atomic_load_n(&l->locked, __ATOMIC_RELAXED))
			quire_host_relax();
}

static inline void spin_lock(struct spinlock *l) ACQUIRES(l) NO_TSA
{
	spin_lock_class(l, false);
}

/* For a second lock of the same rank; the caller's order prevents deadlock. */
static inline void spin_lock_nested(struct spinlock *l) ACQUIRES(l) NO_TSA
{
	spin_lock_class(l, true);
}

static inline bool spin_trylock(struct spinlock *l) TRY_ACQUIRES(true, l) NO_TSA
{
	quire_host_preempt_disable();
	if (!spin_try_raw(l)) {
		quire_host_preempt_enable();
		return false;
	}
	quire_lock_check_try(l->rank);
	return true;
}

static inline void spin_unlock(struct spinlock *l) RELEASES(l) NO_TSA
{
	quire_lock_check_release(l->rank);
	__atomic_store_n(&l->locked, (u16)0, __ATOMIC_RELEASE);
	quire_host_preempt_enable();
}

static inline unsigned long spin_lock_irq(struct spinlock *l) ACQUIRES(l) NO_TSA
{
	unsigned long irq = quire_host_irq_save();
	spin_lock(l);
	return irq;
}

static inline void spin_unlock_irq(struct spinlock *l, unsigned long irq) RELEASES(l) NO_TSA
{
	/* Interrupts come back before preemption does, so a reschedule happens with them on. */
	quire_lock_check_release(l->rank);
	__atomic_store_n(&l->locked, (u16)0, __ATOMIC_RELEASE);
	quire_host_irq_restore(irq);
	quire_host_preempt_enable();
}

/* ---- mutex: sleeps -------------------------------------------------------------- */

struct CAPABILITY("mutex") mutex {
	u32 word; /* 0 free, 1 held, 2 held and somebody may be waiting */
	u16 rank;
};

#define MUTEX_INIT(r)  \
	{              \
		0, (r) \
	}

void quire_mutex_lock_slow(struct mutex *m);
void quire_mutex_wake(struct mutex *m);

static inline void mutex_init(struct mutex *m, enum quire_rank rank)
{
	m->word = 0;
	m->rank = (u16)rank;
}

static inline void mutex_lock_class(struct mutex *m, bool nested) ACQUIRES(m) NO_TSA
{
	u32 expected = 0;
	quire_lock_check_acquire(m->rank, nested, true);
	if (quire_unlikely(!__atomic_compare_exchange_n(&m->word, &expected, 1u, false,
							__ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
		quire_mutex_lock_slow(m);
}

static inline void mutex_lock(struct mutex *m) ACQUIRES(m) NO_TSA
{
	mutex_lock_class(m, false);
}

static inline void mutex_lock_nested(struct mutex *m) ACQUIRES(m) NO_TSA
{
	mutex_lock_class(m, true);
}

static inline bool mutex_trylock(struct mutex *m) TRY_ACQUIRES(true, m) NO_TSA
{
	u32 expected = 0;
	if (!__atomic_compare_exchange_n(&m->word, &expected, 1u, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return false;
	quire_lock_check_try(m->rank);
	return true;
}

static inline void mutex_unlock(struct mutex *m) RELEASES(m) NO_TSA
{
	quire_lock_check_release(m->rank);
	if (quire_unlikely(__atomic_exchange_n(&m->word, 0u, __ATOMIC_RELEASE) == 2))
		quire_mutex_wake(m);
}

/* ---- reader-writer semaphore: sleeps; writers go before new readers ------------- */

struct CAPABILITY("rwsem") rwsem {
	u32 word;    /* bit 31: a writer holds it; bit 30: a writer waits; below: readers */
	u32 waiters; /* threads asleep on word */
	u16 rank;
};

#define RWSEM_INIT(r)     \
	{                 \
		0, 0, (r) \
	}
#define RWSEM_WRITER (1u << 31)
#define RWSEM_WAITING (1u << 30)

void quire_rwsem_read_slow(struct rwsem *s);
void quire_rwsem_write_slow(struct rwsem *s);
void quire_rwsem_wake(struct rwsem *s);

static inline void rwsem_init(struct rwsem *s, enum quire_rank rank)
{
	s->word = s->waiters = 0;
	s->rank = (u16)rank;
}

static inline bool rwsem_try_read_raw(struct rwsem *s)
{
	u32 w = __atomic_load_n(&s->word, __ATOMIC_RELAXED);
	return !(w & (RWSEM_WRITER | RWSEM_WAITING)) &&
	       __atomic_compare_exchange_n(&s->word, &w, w + 1, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

static inline void read_lock(struct rwsem *s) ACQUIRES_SHARED(s) NO_TSA
{
	quire_lock_check_acquire(s->rank, false, true);
	if (quire_unlikely(!rwsem_try_read_raw(s)))
		quire_rwsem_read_slow(s);
}

static inline bool read_trylock(struct rwsem *s) NO_TSA
{
	if (!rwsem_try_read_raw(s))
		return false;
	quire_lock_check_try(s->rank);
	return true;
}

static inline void read_unlock(struct rwsem *s) RELEASES_SHARED(s) NO_TSA
{
	quire_lock_check_release(s->rank);
	u32 w = __atomic_sub_fetch(&s->word, 1, __ATOMIC_RELEASE);
	if (quire_unlikely((w & RWSEM_WAITING) && !(w & ~RWSEM_WAITING)))
		quire_rwsem_wake(s);
}

static inline void write_lock_class(struct rwsem *s, bool nested) ACQUIRES(s) NO_TSA
{
	u32 expected = 0;
	quire_lock_check_acquire(s->rank, nested, true);
	if (quire_unlikely(!__atomic_compare_exchange_n(&s->word, &expected, RWSEM_WRITER, false,
							__ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
		quire_rwsem_write_slow(s);
}

static inline void write_lock(struct rwsem *s) ACQUIRES(s) NO_TSA
{
	write_lock_class(s, false);
}

static inline void write_lock_nested(struct rwsem *s) ACQUIRES(s) NO_TSA
{
	write_lock_class(s, true);
}

static inline void write_unlock(struct rwsem *s) RELEASES(s) NO_TSA
{
	quire_lock_check_release(s->rank);
	/* RWSEM_WAITING goes as well: readers and writers that slept start even, so that
	 * a stream of writers can't starve the readers. */
	__atomic_and_fetch(&s->word, ~(RWSEM_WRITER | RWSEM_WAITING), __ATOMIC_SEQ_CST);
	if (quire_unlikely(__atomic_load_n(&s->waiters, __ATOMIC_SEQ_CST)))
		quire_rwsem_wake(s);
}

/* Turn a held write lock into a read lock without a gap. */
static inline void write_downgrade(struct rwsem *s) NO_TSA
{
	__atomic_add_fetch(&s->word, 1u - RWSEM_WRITER, __ATOMIC_RELEASE);
	if (__atomic_load_n(&s->waiters, __ATOMIC_SEQ_CST))
		quire_rwsem_wake(s);
}

#endif
