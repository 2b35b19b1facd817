/* SPDX-License-Identifier: MIT */
/*
 * RCU by quiescent states: a callback runs once every CPU that isn't idle has
 * passed a point where it holds no references (a context switch, a tick in user
 * mode, idling), counted from when it was queued.
 *
 * Grace periods have numbers.  Starting one marks every CPU that isn't idle; a
 * CPU that reports clears its mark; the last one completes the period.  Each CPU
 * has two lists: `next`, what was queued since, and `wait`, what waits for grace
 * period wait_gp.  (The scheme of P. McKenney's classic RCU.)
 *
 * Locking: gp_lock guards the grace period, a CPU's lock its lists (both
 * RANK_RCU; the CPU's first, then gp_lock nested).  Interrupts are off under both,
 * so quire_rcu_call() may be made anywhere.  Callbacks run with no lock held, on
 * the CPU that finds them due, in quire_rcu_quiescent(); they don't sleep.
 */
#include <quire/assert.h>
#include <quire/page.h>

#include "init.h"

#define RUN_AT_ONCE 256 /* callbacks in one go, so that a tick stays short */

struct rcu_list {
	struct quire_rcu *head, **tail;
};

struct rcu_cpu {
	struct spinlock lock;
	u32 running;          /* callbacks are being run off this CPU's lists; atomic */
	u32 pending;          /* some list isn't empty; written under lock, read without */
	struct rcu_list next; /* the rest: guarded by lock */
	struct rcu_list wait;
	struct rcu_list due;
	u64 wait_gp;
};

static struct rcu_cpu *rcu_cpus;
static struct spinlock gp_lock = SPINLOCK_INIT(RANK_RCU);
static u64 gp_started, gp_done, gp_wanted; /* guarded by gp_lock; gp_done read without */
static u32 gp_marks; /* CPUs that have to report for gp_started; read without lock */
static u32 gp_idle;  /* CPUs that hold no references; guarded by gp_lock */
static u32 gp_left;  /* CPUs that went idle with callbacks on their lists; atomic */

static void list_clear(struct rcu_list *l)
{
	l->head = NULL;
	l->tail = &l->head;
}

static void list_append(struct rcu_list *to, struct rcu_list *from)
{
	if (!from->head)
		return;
	*to->tail = from->head;
	to->tail = from->tail;
	list_clear(from);
}

void rcu_init(void)
{
	rcu_cpus = percpu_alloc(sizeof(*rcu_cpus));
	for (unsigned cpu = 0; cpu < core_config.cpus; cpu++) {
		struct rcu_cpu *c = percpu_at(rcu_cpus, cpu);
		spin_init(&c->lock, RANK_RCU);
		list_clear(&c->next);
		list_clear(&c->wait);
		list_clear(&c->due);
	}
	gp_started = gp_done = gp_wanted = 0;
	gp_marks = gp_left = 0;
	/* The others come in with quire_rcu_idle(false). */
	gp_idle = ((1u << core_config.cpus) - 1) & ~(1u << quire_host_cpu());
}

/* ---- grace periods: gp_lock held ------------------------------------------------------ */

static void gp_complete_if_quiet(void);

static void gp_start(void)
{
	gp_started++;
	__atomic_store_n(&gp_marks, ((1u << core_config.cpus) - 1) & ~gp_idle, __ATOMIC_SEQ_CST);
	gp_complete_if_quiet();
}

static void gp_complete_if_quiet(void)
{
	if (gp_marks || gp_done == gp_started)
		return;
	__atomic_store_n(&gp_done, gp_started, __ATOMIC_RELEASE);
	if (gp_wanted > gp_started)
		gp_start();
}

static void gp_report(unsigned cpu)
{
	__atomic_fetch_and(&gp_marks, ~(1u << cpu), __ATOMIC_SEQ_CST);
	gp_complete_if_quiet();
}

/* The number of a grace period that starts from now on at the earliest. */
static u64 gp_request(void)
{
	u64 gp = gp_started + 1;
	if (gp_wanted < gp)
		gp_wanted = gp;
	if (gp_done == gp_started)
		gp_start();
	return gp;
}

static bool gp_is_done(u64 gp)
{
	return __atomic_load_n(&gp_done, __ATOMIC_ACQUIRE) >= gp;
}

/* ---- callbacks ------------------------------------------------------------------------ */

void quire_rcu_call(struct quire_rcu *r, void (*fn)(struct quire_rcu *))
{
	r->fn = fn;
	r->next = NULL;
	unsigned long irq = quire_host_irq_save();
	quire_host_preempt_disable();
	struct rcu_cpu *c = percpu_at(rcu_cpus, quire_host_cpu());
	spin_lock(&c->lock);
	*c->next.tail = r;
	c->next.tail = &r->next;
	__atomic_store_n(&c->pending, 1, __ATOMIC_RELAXED);
	spin_unlock(&c->lock);
	quire_host_irq_restore(irq);
	quire_host_preempt_enable();
}

/* Move what is due to the list of due ones, and give what is new a grace period. */
static void advance_locked(struct rcu_cpu *c)
{
	for (unsigned round = 0; round < 2; round++) {
		if (c->wait.head && gp_is_done(c->wait_gp))
			list_append(&c->due, &c->wait);
		if (c->wait.head || !c->next.head)
			break;
		list_append(&c->wait, &c->next);
		spin_lock_nested(&gp_lock);
		c->wait_gp = gp_request();
		spin_unlock(&gp_lock);
	}
}

/* Up to RUN_AT_ONCE due callbacks of one CPU's lists, run here. */
static void process(struct rcu_cpu *c)
{
	unsigned long irq = spin_lock_irq(&c->lock);
	advance_locked(c);
	struct quire_rcu *first = c->due.head;
	if (first) {
		struct quire_rcu *last = first;
		for (unsigned n = 1; n < RUN_AT_ONCE && last->next; n++)
			last = last->next;
		c->due.head = last->next;
		if (!c->due.head)
			c->due.tail = &c->due.head;
		last->next = NULL;
		__atomic_add_fetch(&c->running, 1, __ATOMIC_RELAXED);
	}
	bool more = c->due.head || c->wait.head || c->next.head;
	__atomic_store_n(&c->pending, more, __ATOMIC_RELAXED);
	spin_unlock_irq(&c->lock, irq);
	if (!first)
		return;
	while (first) {
		struct quire_rcu *r = first;
		first = r->next;
		r->fn(r);
	}
	__atomic_sub_fetch(&c->running, 1, __ATOMIC_RELEASE);
}

/* Callbacks that CPUs which are idle now had to leave. */
static void process_left(void)
{
	for (unsigned cpu = 0; cpu < core_config.cpus; cpu++) {
		if (!(__atomic_load_n(&gp_left, __ATOMIC_RELAXED) & 1u << cpu))
			continue;
		struct rcu_cpu *c = percpu_at(rcu_cpus, cpu);
		process(c);
		if (!__atomic_load_n(&c->pending, __ATOMIC_RELAXED))
			__atomic_fetch_and(&gp_left, ~(1u << cpu), __ATOMIC_RELAXED);
	}
}

void quire_rcu_quiescent(void)
{
	/* Most often there is nothing to do.  Looking with interrupts off, and not with
	 * preemption off, since enabling that may end in a reschedule, which comes here. */
	unsigned long off = quire_host_irq_save();
	unsigned cpu = quire_host_cpu();
	struct rcu_cpu *c = percpu_at(rcu_cpus, cpu);
	bool marked = __atomic_load_n(&gp_marks, __ATOMIC_RELAXED) >> cpu & 1;
	bool pending = __atomic_load_n(&c->pending, __ATOMIC_RELAXED);
	u32 left = __atomic_load_n(&gp_left, __ATOMIC_RELAXED);
	if (quire_likely(!marked && !pending && !left)) {
		quire_host_irq_restore(off);
		return;
	}
	quire_host_preempt_disable();
	quire_host_irq_restore(off);
	if (marked) {
		unsigned long irq = spin_lock_irq(&gp_lock);
		gp_report(cpu);
		spin_unlock_irq(&gp_lock, irq);
	}
	if (pending) {
		process(c);
		/* A period that only this CPU held up is over with its own report. */
		if (__atomic_load_n(&gp_marks, __ATOMIC_RELAXED) == 1u << cpu) {
			unsigned long irq = spin_lock_irq(&gp_lock);
			gp_report(cpu);
			spin_unlock_irq(&gp_lock, irq);
			process(c);
		}
	}
	if (left)
		process_left();
	quire_host_preempt_enable();
}

void quire_rcu_idle(bool idle)
{
	quire_host_preempt_disable();
	unsigned cpu = quire_host_cpu();
	struct rcu_cpu *c = percpu_at(rcu_cpus, cpu);
	if (idle && __atomic_load_n(&c->pending, __ATOMIC_RELAXED))
		quire_rcu_quiescent();
	unsigned long irq = spin_lock_irq(&gp_lock);
	if (idle) {
		gp_idle |= 1u << cpu;
		gp_report(cpu);
	} else {
		gp_idle &= ~(1u << cpu);
	}
	spin_unlock_irq(&gp_lock, irq);
	if (idle) {
		process(c);
		if (__atomic_load_n(&c->pending, __ATOMIC_RELAXED))
			__atomic_fetch_or(&gp_left, 1u << cpu, __ATOMIC_RELAXED);
		process_left();
	}
	quire_host_preempt_enable();
}

/* Take everything that is queued anywhere. */
static void take_all(struct rcu_list *all)
{
	for (unsigned cpu = 0; cpu < core_config.cpus; cpu++) {
		struct rcu_cpu *c = percpu_at(rcu_cpus, cpu);
		unsigned long irq = spin_lock_irq(&c->lock);
		list_append(all, &c->due);
		list_append(all, &c->wait);
		list_append(all, &c->next);
		__atomic_store_n(&c->pending, 0, __ATOMIC_RELAXED);
		spin_unlock_irq(&c->lock, irq);
	}
}

void quire_rcu_barrier(void)
{
	struct rcu_list all;
	list_clear(&all);
	quire_lock_check_may_sleep();
	take_all(&all);
	unsigned long irq = spin_lock_irq(&gp_lock);
	u64 gp = gp_request();
	spin_unlock_irq(&gp_lock, irq);
	while (!gp_is_done(gp)) {
		quire_rcu_quiescent();
		quire_host_relax();
	}
	while (all.head) {
		struct quire_rcu *r = all.head;
		all.head = r->next;
		r->fn(r);
	}
	for (unsigned cpu = 0; cpu < core_config.cpus; cpu++)
		while (__atomic_load_n(&percpu_at(rcu_cpus, cpu)->running, __ATOMIC_ACQUIRE))
			quire_host_relax();
}
