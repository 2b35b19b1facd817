/* SPDX-License-Identifier: MIT */
/*
 * The host contract of the core (quire/host.h) for this kernel: log, panic, early
 * memory, waiting, time.  TLB flushes are in tlb.c, random bytes in random.c, the
 * out-of-memory killer in oom.c; the fast ones are inline (host_inline.h).
 *
 * Waiting: threads that sleep on a key hang on one of a few lists, chosen by the
 * key's address.  A bucket's lock (RANK_HOST_INNER, interrupts off) makes "look at
 * the key and join the list" one step against wakers.
 */
#include <quire/assert.h>
#include <quire/host.h>
#include <quire/page.h>

#include "../boot/boot.h"
#include "../lib/print.h"
#include "mem.h"

_Static_assert(offsetof(struct percpu, preempt) == 32, "host_inline.h knows it");
_Static_assert(offsetof(struct percpu, cpu) == 36, "host_inline.h knows it");
_Static_assert(offsetof(struct percpu, resched) == 40, "host_inline.h knows it");

void quire_host_preempt_slow(void)
{
	if (irq_enabled())
		preempt_schedule();
}

void quire_host_log(enum quire_log_level level, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vprint_log((int)level, fmt, ap);
	va_end(ap);
}

void quire_host_panic(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	panic_va(fmt, ap); /* which doesn't come back */
			   /* cppcheck-suppress va_end_missing */
}

void *quire_host_alloc(size_t size, size_t align)
{
	return boot_alloc(size, align);
}

/* Called by debug builds only. */
struct quire_lockset *quire_host_lockset(void)
{
#ifdef QUIRE_DEBUG
	/* A CPU that starts up takes locks before it has a task. */
	static struct quire_lockset starting[QUIRE_MAX_CPUS];
	if (!current())
		return &starting[quire_host_cpu()];
#endif
	return &current()->locks;
}

u64 quire_host_self(void)
{
	return (u64)current();
}

u64 quire_host_time_ns(void)
{
	return time_ns();
}

bool quire_host_killed(void)
{
	return !current()->kernel_thread && signal_fatal_pending();
}

/* ---- waiting ---------------------------------------------------------------------------- */

#define BUCKETS 64

struct sleeper {
	struct list node;
	const u32 *key;
	struct task *task;
	u32 woken; /* written under the bucket's lock, read without */
};

static struct bucket {
	struct spinlock lock;
	struct list sleepers; /* null links: none yet */
} buckets[BUCKETS];

static struct bucket *bucket_of(const u32 *key)
{
	u64 h = ((u64)key >> 2) * 0x9e3779b97f4a7c15UL;
	return &buckets[h >> 58];
}

static unsigned long bucket_lock(struct bucket *b) ACQUIRES(b->lock) NO_TSA
{
	/* Static zeroes until first used: both are set under the lock's own bit. */
	if (quire_unlikely(!b->lock.rank))
		b->lock.rank = RANK_HOST_INNER;
	unsigned long irq = spin_lock_irq(&b->lock);
	if (quire_unlikely(!b->sleepers.next))
		list_init(&b->sleepers);
	return irq;
}

void quire_host_wait(const u32 *key, u32 expected)
{
	struct sleeper me = {.key = key, .task = current()};
	struct bucket *b = bucket_of(key);

	quire_lock_check_may_sleep();
	unsigned long irq = bucket_lock(b);
	if (__atomic_load_n(key, __ATOMIC_SEQ_CST) != expected) {
		spin_unlock_irq(&b->lock, irq);
		return;
	}
	list_add_tail(&b->sleepers, &me.node);
	spin_unlock_irq(&b->lock, irq);
	for (;;) {
		__atomic_store_n(&me.task->state, (u32)TASK_UNINTERRUPTIBLE, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&me.woken, __ATOMIC_SEQ_CST))
			break;
		schedule();
	}
	__atomic_store_n(&me.task->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
	/* The waker may be about to wake us still: it holds the lock until it is done. */
	irq = bucket_lock(b);
	spin_unlock_irq(&b->lock, irq);
}

void quire_host_wake(const u32 *key, unsigned n)
{
	struct bucket *b = bucket_of(key);
	struct sleeper *s, *next;

	unsigned long irq = bucket_lock(b);
	list_for_each_safe (s, next, &b->sleepers, node) {
		if (s->key != key)
			continue;
		if (n-- == 0)
			break;
		list_del(&s->node);
		__atomic_store_n(&s->woken, 1, __ATOMIC_SEQ_CST);
		wake_task(s->task, WAKE_NORMAL);
	}
	spin_unlock_irq(&b->lock, irq);
}
