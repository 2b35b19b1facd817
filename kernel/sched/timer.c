// SPDX-License-Identifier: MIT
/*
 * Timers: a pairing heap for each CPU, ordered by deadline, and no tick: the CPU's
 * interrupt is programmed for the first one (or the end of a slice).
 * (Fredman, Sedgewick, Sleator, Tarjan: The pairing heap, 1986.)
 *
 * A heap's lock is a plain spinlock word, taken with interrupts off.  Functions run
 * in soft context (arch/irq.c) on the CPU where the timer was armed, without the lock.
 *
 * In the heap, node.next is the next sibling, heap_index the first child, and
 * node.prev the previous sibling, or the parent for a first child, or null at the root.
 */
#include <quire/assert.h>
#include <quire/page.h>

#include "../arch/arch.h"
#include "rq.h"

struct timer_heap {
	u16 lock;
	struct timer *root;
	struct timer *running;
	u64 first; /* deadline of root, ~0: none; read without the lock by the own CPU */
};
static struct timer_heap *heaps[QUIRE_MAX_CPUS];

static struct timer *child(struct timer *t)
{
	return (struct timer *)t->heap_index;
}
static struct timer *sibling(struct timer *t)
{
	return (struct timer *)t->node.next;
}
static struct timer *before(struct timer *t)
{
	return (struct timer *)t->node.prev;
}
static void set_child(struct timer *t, struct timer *c)
{
	t->heap_index = (u64)c;
	if (c)
		c->node.prev = (struct list *)t;
}
static void set_sibling(struct timer *t, struct timer *s)
{
	t->node.next = (struct list *)s;
	if (s)
		s->node.prev = (struct list *)t;
}

/* Two heaps' roots, without siblings, to one. */
static struct timer *meld(struct timer *a, struct timer *b)
{
	if (!a || !b)
		return a ? a : b;
	if (b->deadline < a->deadline) {
		struct timer *t = a;
		a = b;
		b = t;
	}
	set_sibling(b, child(a));
	set_child(a, b);
	a->node.next = a->node.prev = NULL;
	return a;
}

/* The children of a removed root to one heap: in pairs from the left, then from the right. */
static struct timer *meld_children(struct timer *first)
{
	struct timer *pairs = NULL, *result = NULL;

	while (first) {
		struct timer *a = first, *b = sibling(a);
		first = b ? sibling(b) : NULL;
		a->node.next = a->node.prev = NULL;
		if (b)
			b->node.next = b->node.prev = NULL;
		a = meld(a, b);
		a->node.next = (struct list *)pairs;
		pairs = a;
	}
	while (pairs) {
		struct timer *next = sibling(pairs);
		pairs->node.next = pairs->node.prev = NULL;
		result = meld(result, pairs);
		pairs = next;
	}
	return result;
}

static void heap_remove(struct timer_heap *h, struct timer *t)
{
	struct timer *below = meld_children(child(t));

	if (t == h->root) {
		h->root = below;
	} else {
		struct timer *p = before(t), *s = sibling(t);
		if (child(p) == t)
			set_child(p, s);
		else
			set_sibling(p, s);
		h->root = meld(h->root, below);
	}
	t->heap_index = 0;
	t->node.next = t->node.prev = NULL;
	__atomic_store_n(&t->armed, false, __ATOMIC_RELEASE);
	h->first = h->root ? h->root->deadline : ~0UL;
}

static unsigned long lock(struct timer_heap *h)
{
	unsigned long irq = quire_host_irq_save();
	while (__atomic_exchange_n(&h->lock, (u16)1, __ATOMIC_ACQUIRE))
		cpu_relax();
	return irq;
}

static void unlock(struct timer_heap *h, unsigned long irq)
{
	__atomic_store_n(&h->lock, (u16)0, __ATOMIC_RELEASE);
	quire_host_irq_restore(irq);
}

void timer_init_cpu(unsigned cpu)
{
	heaps[cpu] = quire_kmalloc(sizeof(struct timer_heap), GFP_KERNEL | GFP_ZERO);
	REQUIRE(heaps[cpu]);
	heaps[cpu]->first = ~0UL;
}

u64 timer_next(unsigned cpu)
{
	return heaps[cpu]->first;
}

/* Lock the heap t was armed on (its CPU may change until then). */
static struct timer_heap *lock_home(struct timer *t, unsigned long *irq)
{
	for (;;) {
		u32 cpu = __atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE);
		struct timer_heap *h = heaps[cpu];
		*irq = lock(h);
		if (__atomic_load_n(&t->cpu, __ATOMIC_RELAXED) == cpu)
			return h;
		unlock(h, *irq);
	}
}

/*
 * Lock the heap to arm t on: this CPU's, but while its function still runs on another
 * one that CPU's, so that timer_cancel() sees there what it has to wait for.  That CPU
 * looks at its heap again when the function is done.
 */
static struct timer_heap *lock_new_home(struct timer *t, u32 *cpu, unsigned long *irq)
{
	u32 here = this_cpu()->cpu, home = __atomic_load_n(&t->cpu, __ATOMIC_RELAXED);
	struct timer_heap *h = heaps[home];

	if (quire_unlikely(home != here && __atomic_load_n(&h->running, __ATOMIC_ACQUIRE) == t)) {
		*irq = lock(h);
		*cpu = home;
		if (h->running == t)
			return h;
		unlock(h, *irq);
	}
	*cpu = here;
	*irq = lock(heaps[here]);
	return heaps[here];
}

void timer_arm(struct timer *t, u64 deadline, void (*fn)(struct timer *))
{
	unsigned long irq, off = quire_host_irq_save();
	struct timer_heap *h;
	u32 cpu;

	if (__atomic_load_n(&t->armed, __ATOMIC_ACQUIRE)) {
		h = lock_home(t, &irq);
		if (t->armed)
			heap_remove(h, t);
		unlock(h, irq);
	}
	h = lock_new_home(t, &cpu, &irq);
	t->deadline = deadline;
	t->fn = fn;
	__atomic_store_n(&t->cpu, cpu, __ATOMIC_RELEASE);
	t->heap_index = 0;
	t->node.next = t->node.prev = NULL;
	t->armed = true;
	h->root = meld(h->root, t);
	bool first = h->root == t && cpu == this_cpu()->cpu;
	h->first = h->root->deadline;
	unlock(h, irq);
	if (first)
		sched_program_timer();
	quire_host_irq_restore(off);
}

bool timer_cancel(struct timer *t)
{
	unsigned long irq;
	struct timer_heap *h = lock_home(t, &irq);
	bool was = t->armed;

	if (was)
		heap_remove(h, t);
	/* its function may be running: on another CPU that ends without us; here it is
	 * this very function that cancels itself */
	bool wait = h->running == t && h != heaps[this_cpu()->cpu];
	unlock(h, irq);
	while (wait && __atomic_load_n(&h->running, __ATOMIC_ACQUIRE) == t)
		cpu_relax();
	return was;
}

void timer_interrupt(void)
{
	struct timer_heap *h = heaps[this_cpu()->cpu];
	unsigned long irq = lock(h);

	while (h->root && h->root->deadline <= time_ns()) {
		struct timer *t = h->root;
		void (*fn)(struct timer *) = t->fn;

		/* in this order: who finds it not armed also finds it running */
		__atomic_store_n(&h->running, t, __ATOMIC_RELAXED);
		heap_remove(h, t);
		unlock(h, irq);
		fn(t);
		irq = lock(h);
		__atomic_store_n(&h->running, NULL, __ATOMIC_RELEASE);
	}
	sched_program_timer();
	unlock(h, irq);
}

/* ---- sleeping until a time ----------------------------------------------------------------- */

struct sleeper {
	struct timer timer;
	struct task *task;
	bool fired;
};

static void wake_sleeper(struct timer *t)
{
	struct sleeper *s = quire_container_of(t, struct sleeper, timer);
	struct task *task = s->task;

	__atomic_store_n(&s->fired, true, __ATOMIC_RELEASE);
	wake_task(task, WAKE_NORMAL);
}

bool schedule_until(u64 deadline)
{
	struct sleeper s = {.task = current()};

	if (deadline == ~0UL) {
		schedule();
		return true;
	}
	timer_arm(&s.timer, deadline, wake_sleeper);
	schedule();
	timer_cancel(&s.timer);
	return !s.fired;
}
