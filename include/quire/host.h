/* SPDX-License-Identifier: MIT */
/*
 * The host contract: the only thing that the core of Quire asks of its host,
 * which is a kernel (kernel/host.c), or a userspace port (ports/posix/host.c).
 *
 * It comes in rungs.  A newcomer's kernel starts with rung 0 and 1, gets
 * anonymous memory, copy-on-write and mmap, and climbs as it needs more.
 * docs/porting.md is the checklist.
 *
 * Unless its comment says otherwise a host function must not sleep, may be
 * called with any core lock held, and may be called with interrupts off.
 * errno values in this interface are Linux's (quire/errno.h).
 */
#ifndef QUIRE_HOST_H
#define QUIRE_HOST_H

#include <quire/types.h>

struct quire_mm;
struct quire_lockset;
struct page;

/* ---- rung 0: log, panic, memory, TLB, CPU ---------------------------------- */

enum quire_log_level {
	QUIRE_LOG_ERR = 3,
	QUIRE_LOG_WARN = 4,
	QUIRE_LOG_INFO = 6,
	QUIRE_LOG_DEBUG = 7
};

/* Log one line (no newline at its end).  Formats as printf does, for
 * %d %u %x %p %s %c %% with l, ll, z, width and zero padding. */
void quire_host_log(enum quire_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* An invariant is broken: say so and stop the machine.  Any context. */
_Noreturn void quire_host_panic(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Zeroed memory for tables that live as long as the core (the array of struct
 * page, per-CPU areas).  Called from quire_init() only.  Null when there is none. */
void *quire_host_alloc(size_t size, size_t align);

/* Where the host keeps all frames in view: frame n is at base + n * 4096.
 * Passed in struct quire_config; there is no function for it. */

/*
 * Make every CPU that runs mm forget its translations of [start, end).
 * start == 0 && end == ~0UL: of everything in it.  tables: page-table pages are
 * about to be freed as well, so paging-structure caches must go, too.
 * mm == null: the range is the kernel's, on every CPU.
 * Returns when it is done.  Called with page-table locks possibly held, with
 * interrupts on; may spin, doesn't sleep.
 */
void quire_host_tlb_flush(struct quire_mm *mm, u64 start, u64 end, bool tables);

/*
 * The five that the fast paths call.  A host that defines QUIRE_HOST_INLINE to
 * a header's name supplies them there as static inline functions instead; what
 * enabling preemption has to do out of line it calls quire_host_preempt_slow().
 */
#ifdef QUIRE_HOST_INLINE
/* cppcheck-suppress preprocessorErrorDirective */
#include QUIRE_HOST_INLINE
#else
/* This CPU's index, 0 .. QUIRE_MAX_CPUS - 1, stable while preemption is off. */
unsigned quire_host_cpu(void);

/* Keep this thread on its CPU (nests).  No sleeping in between. */
void quire_host_preempt_disable(void);
void quire_host_preempt_enable(void);

/* Turn interrupts off, returning the earlier state, and restore it. */
unsigned long quire_host_irq_save(void);
void quire_host_irq_restore(unsigned long state);

/* Called in the body of every spin loop (pause; a userspace port may yield). */
void quire_host_relax(void);
#endif

/* The calling thread's record of held locks, which the core keeps (lock.h).
 * Only called in builds with QUIRE_DEBUG. */
struct quire_lockset *quire_host_lockset(void);

/* ---- rung 1: threads ---------------------------------------------------------- */

/* Sleep until *key != expected or a quire_host_wake(key), whichever is first;
 * may wake for no reason.  The check and the falling asleep are atomic against
 * quire_host_wake() by another thread (as futex(2) does it).  Sleeps: no
 * spinlock is held. */
void quire_host_wait(const u32 *key, u32 expected);

/* Wake up to n threads that wait on key (n == ~0u: all). */
void quire_host_wake(const u32 *key, unsigned n);

/* Identity of the calling thread, not 0, for lock owners and records. */
u64 quire_host_self(void);

/* Nanoseconds of a monotonic clock. */
u64 quire_host_time_ns(void);

/* Unpredictable bytes (in deterministic runs: reproducible ones). */
void quire_host_random(void *buf, size_t n);

/* True when the calling thread is being killed, so that long work in the core
 * (populate, a retried allocation) stops with -EINTR. */
bool quire_host_killed(void);

/* ---- rung 2: whose limits and rights count ------------------------------------- */

/* Bytes; ~0: none.  The numbers are Linux's of RLIMIT_*.  Where the limit of data is 0 its
 * hard one counts, as there. */
enum quire_limit {
	QUIRE_LIMIT_DATA = 2,
	QUIRE_LIMIT_STACK = 3,
	QUIRE_LIMIT_MEMLOCK = 8,
	QUIRE_LIMIT_AS = 9,
	QUIRE_LIMIT_DATA_HARD = 0x100
};
/* A limit of the calling thread's process, whosever the address space is. */
u64 quire_host_limit(enum quire_limit which);

enum quire_right {
	QUIRE_MAY_LOCK,     /* CAP_IPC_LOCK: the limit of locked memory doesn't apply */
	QUIRE_MAY_MAP_LOW,  /* CAP_SYS_RAWIO: maps below mmap_min_addr */
	QUIRE_MAY_ADMIN,    /* CAP_SYS_ADMIN: retires frames (MADV_HWPOISON), has the reserve */
	QUIRE_MAY_RUN_DATA, /* READ_IMPLIES_EXEC: what may be read may be executed */
};
/* Has the calling thread this right? */
bool quire_host_may(enum quire_right right);

/* ---- rung 3: files: the op table is struct quire_file_ops in quire/cache.h ---- */

/* ---- rung 6: the out-of-memory killer's view ----------------------------------- */

/* No frame could be found for the calling thread's allocation.  The host picks
 * a task, kills it (and says so), and waits, sleeping, until memory came free.
 * Returns true when the allocation is worth another try, false when the caller
 * itself is the victim or nothing is left to kill.  Sleeps; no spinlock held,
 * mmap_lock of the caller's mm may be held. */
bool quire_host_oom(struct quire_mm *mm, unsigned order);

#endif
