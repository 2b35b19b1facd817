// SPDX-License-Identifier: MIT
/*
 * The scheduler: one run queue for each CPU, in turn (round robin), with slices
 * that grow with a task's priority.  CPUs with nothing to do take tasks from
 * others' queues; woken tasks go to an idle CPU if there is one.
 *
 * Locking: a run queue's lock, taken with interrupts off, guards its list and the
 * state, cpu and on_rq of the tasks that belong to it.  It is a plain spinlock
 * word and not a ranked one: it is taken by one task and released by the next.
 * The lock is held across the switch itself, so whoever holds it sees no task half
 * switched.  Two queues' locks are never held at once.
 *
 * A task that is about to sleep sets its state, checks its condition, and calls
 * schedule(), which takes it off the queue only if the state is still set.  A task
 * preempted in between keeps its place: preemption never looks at the state.
 *
 * Real-time tasks have a queue of their own, in order of priority, and go before all
 * others (until they have used 95 % of a second); one that waits here while another CPU
 * runs a lower one is taken over by that CPU.  Nice values only scale the slice.
 */
#include <quire/assert.h>
#include <quire/fault.h>
#include <quire/page.h>

#include "../arch/arch.h"
#include "../lib/string.h"
#include "../proc/proc.h"
#include "runq.h"

void switch_stacks(u64 *save, u64 rsp); /* arch/switch.S */

struct rq *rqs[QUIRE_MAX_CPUS];
u64 sched_idle_cpus;

/* ---- switching ---------------------------------------------------------------------------- */

/* In the next task's name, the lock of this CPU's queue held since schedule(). */
static void finish_switch(void)
{
	struct percpu *p = this_cpu();
	struct rq *rq = p->sched;
	struct task *prev = rq->prev;
	bool dead = rq->prev_dead, moves = rq->prev_moves;
	unsigned target = 0;

	prev->on_cpu = 0;
	rq->prev_dead = rq->prev_moves = false;
	if (moves) {
		target = rq_place(prev, p->cpu);
		__atomic_store_n(&prev->cpu, target, __ATOMIC_RELEASE);
	}
	rq_unlock(rq);
	if (moves)
		rq_add(target, prev);
	p->preempt--;
	if (dead)
		task_put(prev);
}

void sched_finish_switch(void)
{
	finish_switch();
	irq_enable();
	if (this_cpu()->resched)
		preempt_schedule();
}

static void set_idle(struct rq *rq, bool idle, u64 now)
{
	u64 bit = 1UL << this_cpu()->cpu;

	if (idle) {
		__atomic_or_fetch(&sched_idle_cpus, bit, __ATOMIC_SEQ_CST);
		rq->idle_mark = now;
	} else {
		__atomic_and_fetch(&sched_idle_cpus, ~bit, __ATOMIC_SEQ_CST);
		rq->times.idle += now - rq->idle_mark;
		rq->idle_mark = 0;
	}
}

static void switch_to(struct rq *rq, struct task *prev, struct task *next)
{
	struct percpu *p = this_cpu();
	u64 now = time_ns();

	/* what wasn't seen by a tick counts as the user's, unless it never runs there */
	rq_account(rq, prev, now, !prev->kernel_thread);
	next->time_mark = now;
	next->slice_end = now + (u64)quire_max(next->budget, 0);
	if (next->idle)
		rq->tick_at = ~0UL;
	else
		rq->tick_at = now + (rq->nr ? quire_min(next->budget, TICK_NS) : TICK_NS);
	if (prev->idle != next->idle)
		set_idle(rq, next->idle, now);
	sched_program_timer();
	rq->times.switches++;
	rq->prio = next->prio;
	rq->prev = prev;
	next->on_cpu = 1;
	p->current = next;
	p->kernel_rsp = next->kstack + KSTACK_PAGES * QUIRE_PAGE_SIZE;
	p->tss->rsp[0] = p->kernel_rsp; /* interrupts and exceptions from user mode */
	if (prev->rseq)
		__atomic_or_fetch(&prev->sig_flag, TASK_WORK_RSEQ, __ATOMIC_RELAXED);
	if (prev->uspace != next->uspace)
		uspace_switch(prev->uspace, next->uspace);
	segments_switch(prev, next);
	if (quire_unlikely(prev->ports_denied != next->ports_denied))
		ports_load(next->ports_denied);
	fpu_switch(prev, next);
	switch_stacks(&prev->rsp, next->rsp);
}

/* The running task leaves its CPU to sleep or for good, or goes back to the queue. */
static void leave(struct rq *rq, struct task *prev, bool preempted)
{
	u32 state = __atomic_load_n(&prev->state, __ATOMIC_SEQ_CST);

	if (prev->idle)
		return;
	if (state != TASK_RUNNING && !preempted) {
		prev->on_rq = 0;
		prev->rt_ran = 0;
		prev->budget = (s64)(prev->slice_end - time_ns());
		prev->nvcsw++;
		rq->prev_dead = state == TASK_ZOMBIE || state == TASK_DEAD;
		return;
	}
	prev->nivcsw++;
	if (allowed(prev, this_cpu()->cpu)) {
		prev->budget = (s64)(prev->slice_end - time_ns());
		enqueue(rq, prev, true);
	} else {
		rq->prev_moves = true;
	}
}

/* prev runs no less than next: then the queue has the say, when prev is in it again. */
static bool rq_says(const struct rq *rq, const struct task *prev, const struct task *next)
{
	if (prio_real_time(prev->prio))
		return prev->prio <= next->prio;
	return prio_real_time(next->prio) && rq_throttled(rq);
}

/* Depth 0, interrupts off; they still are when it returns. */
static void schedule_locked(bool preempted)
{
	struct percpu *p = this_cpu();
	struct rq *rq = p->sched;
	struct task *prev = p->current, *next;
	bool stays = __atomic_load_n(&prev->state, __ATOMIC_SEQ_CST) == TASK_RUNNING || preempted;

	p->preempt++;
	rq_lock(rq);
	resched_clear(RESCHED_WANTED);
	/* prev's state may have changed to running meanwhile, which leave() sees */
	next = rq_first_allowed(rq, p->cpu);
	if (next && stays && quire_unlikely(rq_says(rq, prev, next)))
		next = NULL;
	else if (next)
		dequeue(rq, next);
	else if (prev->idle || !stays)
		next = rq_steal(p->cpu);
	leave(rq, prev, preempted);
	if (!next && (next = rq_first_allowed(rq, p->cpu))) /* prev itself */
		dequeue(rq, next);
	if (quire_unlikely(__atomic_load_n(&sched_rt_waiting, __ATOMIC_RELAXED)))
		next = rq_or_pull_rt(rq, next);
	if (!next)
		next = rq->idle;
	if (next == prev) {
		if (!prev->idle)
			prev->slice_end = time_ns() + (u64)quire_max(prev->budget, 0);
		rq_unlock(rq);
		p->preempt--;
		return;
	}
	switch_to(rq, prev, next);
	/* here prev runs again, perhaps on another CPU */
	finish_switch();
}

/* Somebody waits in another CPU's queue, which an idle one may take. */
static bool others_wait(void)
{
	unsigned cpu = this_cpu()->cpu;

	for (unsigned i = 0; i < ncpus; i++)
		if (i != cpu && rqs[i] && __atomic_load_n(&rqs[i]->nr, __ATOMIC_RELAXED))
			return true;
	return false;
}

/* What is due at every point where this CPU holds nothing. */
static void quiet_point(void)
{
	if (soft_pending())
		soft_run();
	/* depth 1, or enabling preemption in there would come back here for the flag */
	__asm__ volatile("incl %%gs:32" : : : "memory", "cc");
	quire_rcu_quiescent();
	if (quire_unlikely(quire_kernel_reserve_low()))
		quire_kernel_reserve_top_up();
	__asm__ volatile("decl %%gs:32" : : : "memory", "cc");
}

void schedule(void)
{
	ASSERT(this_cpu()->preempt == 0);
	quire_lock_check_may_sleep();
	quiet_point();
	unsigned long irq = quire_host_irq_save();
	schedule_locked(false);
	quire_host_irq_restore(irq);
}

void preempt_schedule(void)
{
	if (!irq_enabled())
		return;
	while (this_cpu()->resched && !this_cpu()->preempt) {
		quiet_point();
		irq_disable();
		if (this_cpu()->resched & RESCHED_WANTED)
			schedule_locked(true);
		irq_enable();
	}
}

/* The interrupted code had depth 0, so it holds no spinlock and is in no RCU section. */
void sched_preempt_irq(void)
{
	quiet_point();
	if (this_cpu()->resched & RESCHED_WANTED)
		schedule_locked(true);
}

void sched_yield_cpu(void)
{
	unsigned long irq = quire_host_irq_save();
	current()->slice_end = 0; /* to the back of the queue */
	if (this_rq()->nr)
		schedule_locked(true);
	else
		current()->slice_end = time_ns() + (u64)slice_of(current());
	quire_host_irq_restore(irq);
	quiet_point();
}

_Noreturn void schedule_exit(void)
{
	quiet_point();
	irq_disable();
	ASSERT(this_cpu()->preempt == 0);
	schedule_locked(false);
	quire_host_panic("a dead task ran");
}

void sched_kick(struct task *t)
{
	unsigned cpu = __atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE);

	if (__atomic_load_n(&t->on_cpu, __ATOMIC_ACQUIRE) && cpu != this_cpu()->cpu)
		smp_send_resched(cpu);
}

/* ---- idling -------------------------------------------------------------------------------- */

void sched_irq_enter(void)
{
	struct rq *rq = this_rq();

	if (rq && rq->rcu_idle) {
		rq->rcu_idle = false;
		quire_rcu_idle(false);
	}
}

_Noreturn void sched_idle(void)
{
	struct rq *rq = this_rq();

	this_cpu()->preempt = 0;
	/* until now this CPU held no references, and counted as idle */
	quire_rcu_idle(false);
	for (;;) {
		irq_disable();
		quiet_point();
		u64 switches = rq->times.switches;
		if (this_cpu()->resched || rq->nr || others_wait())
			schedule_locked(false);
		if (rq->times.switches != switches || this_cpu()->resched) {
			/*
			 * Some other instruction must stand between STI and a PAUSE or CLI,
			 * or no interrupt is ever taken here: QEMU 7.2 carries STI's shadow on
			 * past a PAUSE.
			 */
			__asm__ volatile("sti; nop; nop" : : : "memory");
			continue;
		}
		/* what waits elsewhere may not run here, or its queue was locked: its CPU
		 * interrupts this one again (sched_tick) */
		rq->rcu_idle = true;
		quire_rcu_idle(true);
		sched_program_timer();
		/* STI takes effect after the next instruction, so no wake-up is lost */
		__asm__ volatile("sti; hlt; cli" : : : "memory");
		sched_irq_enter();
	}
}

static void init_rq(struct task *idle)
{
	struct rq *rq = quire_kmalloc(sizeof(*rq), GFP_KERNEL | GFP_ZERO);
	struct percpu *p = this_cpu();

	REQUIRE(rq && idle);
	list_init(&rq->rt);
	list_init(&rq->queue);
	rq->prio = idle->prio;
	rq->idle = idle;
	rq->tick_at = ~0UL;
	rq->idle_mark = time_ns();
	idle->cpu = p->cpu;
	idle->time_mark = rq->idle_mark;
	idle->on_cpu = 1;
	idle->affinity = 1UL << p->cpu;
	p->current = idle;
	p->sched = rq;
	timer_init_cpu(p->cpu);
	__atomic_or_fetch(&sched_idle_cpus, 1UL << p->cpu, __ATOMIC_SEQ_CST);
	__atomic_store_n(&rqs[p->cpu], rq, __ATOMIC_RELEASE);
}

void sched_init(void)
{
	extern char boot_stack_top[];

	sched_load_init(time_ns());
	init_rq(task_alloc_idle((u64)boot_stack_top));
}

void sched_init_cpu(u64 stack_top)
{
	init_rq(task_alloc_idle(stack_top));
}
