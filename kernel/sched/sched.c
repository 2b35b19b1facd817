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
 * No real-time classes; nice values only scale the slice.
 */
#include <quire/assert.h>
#include <quire/fault.h>
#include <quire/page.h>

#include "../arch/arch.h"
#include "../lib/string.h"
#include "../proc/proc.h"
#include "rq.h"

#define SLICE_NS 6000000
#define WAKE_PREEMPT_NS 1000000 /* who has run this long gives way to a woken task */
/* A task that wakes another sleeps soon itself, as a rule, so the woken one waits for it
 * that long before another CPU is bothered: that costs more under emulation. */
#define PUSH_NS 200000
#define TICK_NS 10000000 /* a lone task is interrupted this often, for accounting and RCU */
#define LOAD_PERIOD_NS 5000000000UL

struct rq {
	u16 lock;
	u32 nr; /* tasks in queue; read without the lock as a hint */
	struct list queue;
	struct task *idle;
	struct task *prev; /* whom the last switch left */
	bool prev_dead;    /* ... for good: its reference is dropped after the switch */
	bool prev_moves;   /* ... for another CPU's queue: it may not run here any more */
	u64 tick_at;       /* when the running task is to be looked at; ~0: idle */
	bool rcu_idle;
	struct sched_times times;
	u64 idle_mark; /* since when it is idle; 0: it isn't */
} __attribute__((aligned(64)));

void switch_stacks(u64 *save, u64 rsp); /* arch/switch.S */

static struct rq *rqs[QUIRE_MAX_CPUS];
static u64 idle_cpus; /* atomic: CPUs whose idle task runs */
static u64 loadavg[3], load_next;
static u8 load_lock;

static struct rq *this_rq(void)
{
	return this_cpu()->sched;
}

static void rq_lock(struct rq *rq)
{
	while (__atomic_exchange_n(&rq->lock, (u16)1, __ATOMIC_ACQUIRE))
		cpu_relax();
}

/* For a second queue's lock: gives up after a while, so that no two CPUs wait for each
 * other. */
static bool rq_try_lock(struct rq *rq)
{
	for (int i = 0; i < 100; i++) {
		if (!__atomic_exchange_n(&rq->lock, (u16)1, __ATOMIC_ACQUIRE))
			return true;
		cpu_relax();
	}
	return false;
}

static void rq_unlock(struct rq *rq)
{
	__atomic_store_n(&rq->lock, (u16)0, __ATOMIC_RELEASE);
}

static s64 slice_of(const struct task *t)
{
	/* nice -20 .. 19: four times the slice .. a fifth of it */
	return t->nice <= 0 ? SLICE_NS + -t->nice * (SLICE_NS * 3 / 20)
			    : SLICE_NS - t->nice * (SLICE_NS / 24);
}

/* With some of its slice left a task goes to the front; else it waits its turn, and has
 * a new slice then.  So a task that sleeps a lot is served soon, but for no longer
 * than its slice. */
static void enqueue(struct rq *rq, struct task *t)
{
	if (t->budget > SLICE_NS / 8) {
		list_add(&rq->queue, &t->run);
	} else {
		t->budget = slice_of(t);
		list_add_tail(&rq->queue, &t->run);
	}
	__atomic_store_n(&rq->nr, rq->nr + 1, __ATOMIC_RELAXED);
}

static void dequeue(struct rq *rq, struct task *t)
{
	list_del(&t->run);
	__atomic_store_n(&rq->nr, rq->nr - 1, __ATOMIC_RELAXED);
}

static bool allowed(const struct task *t, unsigned cpu)
{
	return __atomic_load_n(&t->affinity, __ATOMIC_RELAXED) >> cpu & 1;
}

/* ---- time: slices, accounting, load ---------------------------------------------------- */

/* Charge t for the time since it was last looked at. */
static void account(struct rq *rq, struct task *t, u64 now, bool user)
{
	u64 spent = now - t->time_mark;

	t->time_mark = now;
	if (t->idle)
		return;
	if (user) {
		t->utime += spent;
		rq->times.user += spent;
	} else {
		t->stime += spent;
		rq->times.system += spent;
	}
}

void sched_program_timer(void)
{
	u64 timer = timer_next(this_cpu()->cpu), tick = this_rq()->tick_at;
	lapic_timer_set(quire_min(timer, tick));
}

u32 sched_nr_running(void)
{
	u32 n = 0;

	for (unsigned i = 0; i < ncpus; i++)
		if (rqs[i])
			n += __atomic_load_n(&rqs[i]->nr, __ATOMIC_RELAXED) +
			     !(__atomic_load_n(&idle_cpus, __ATOMIC_RELAXED) >> i & 1);
	return n;
}

/* The averages over 1, 5 and 15 minutes, as Linux defines them: every 5 s,
 * load = load * e + running * (1 - e), in fixed point of 11 bits. */
static void update_load(u64 now)
{
	static const u64 decay[3] = {1884, 2014, 2037};

	if (now < load_next || __atomic_exchange_n(&load_lock, 1, __ATOMIC_ACQUIRE))
		return;
	u64 running = (u64)sched_nr_running() << 11;
	for (int rounds = 0; now >= load_next && rounds < 1000; rounds++) {
		for (int i = 0; i < 3; i++)
			loadavg[i] = (loadavg[i] * decay[i] + running * (2048 - decay[i])) >> 11;
		load_next += LOAD_PERIOD_NS;
	}
	if (now >= load_next)
		load_next = now + LOAD_PERIOD_NS;
	__atomic_store_n(&load_lock, 0, __ATOMIC_RELEASE);
}

void sched_loadavg(u64 out[3])
{
	update_load(time_ns());
	memcpy(out, loadavg, sizeof(loadavg));
}

void sched_cpu_times(unsigned cpu, struct sched_times *out)
{
	if (cpu >= ncpus || !rqs[cpu]) {
		*out = (struct sched_times){0};
		return;
	}
	*out = rqs[cpu]->times;
	u64 mark = __atomic_load_n(&rqs[cpu]->idle_mark, __ATOMIC_RELAXED), now = time_ns();
	if (mark && now > mark)
		out->idle += now - mark;
}

/* Let an idle CPU that may run something of this one's queue have a look at it. */
static void wake_idle_cpu(struct rq *rq)
{
	u64 idle = __atomic_load_n(&idle_cpus, __ATOMIC_RELAXED), useful = 0;
	struct task *t;

	if (!idle)
		return;
	rq_lock(rq);
	list_for_each (t, &rq->queue, run)
		if ((useful = idle & __atomic_load_n(&t->affinity, __ATOMIC_RELAXED)))
			break;
	rq_unlock(rq);
	if (useful)
		smp_send_resched((unsigned)__builtin_ctzl(useful));
}

/* First half of the timer interrupt; the timers themselves run in soft context. */
void sched_tick(bool user)
{
	struct rq *rq = this_rq();
	struct task *t = current();
	u64 now = time_ns();

	if (now < rq->tick_at || t->idle)
		return;
	account(rq, t, now, user);
	rq->tick_at = now + TICK_NS;
	bool others = __atomic_load_n(&rq->nr, __ATOMIC_RELAXED);
	if ((others && now >= t->slice_end) || !allowed(t, this_cpu()->cpu))
		resched_set(RESCHED_WANTED);
	else if (others)
		rq->tick_at = quire_min(rq->tick_at, t->slice_end);
	if (others)
		wake_idle_cpu(rq);
	/* nothing held, nothing read: with depth 0 the interrupted code is quiescent */
	if (!this_cpu()->preempt)
		quire_rcu_quiescent();
	update_load(now);
}

/* ---- choosing ---------------------------------------------------------------------------- */

static struct task *first_allowed(struct rq *rq, unsigned cpu)
{
	struct task *t;

	list_for_each (t, &rq->queue, run)
		if (allowed(t, cpu))
			return t;
	return NULL;
}

/* Take a task that may run here from another queue.  The own queue's lock is held, so
 * the others' are only tried. */
static struct task *steal(unsigned cpu)
{
	for (unsigned i = 1; i < ncpus; i++) {
		struct rq *other = rqs[(cpu + i) % ncpus];
		if (!other || !__atomic_load_n(&other->nr, __ATOMIC_RELAXED))
			continue;
		if (!rq_try_lock(other))
			continue;
		struct task *t = first_allowed(other, cpu);
		if (t) {
			dequeue(other, t);
			__atomic_store_n(&t->cpu, cpu, __ATOMIC_RELEASE);
		}
		rq_unlock(other);
		if (t)
			return t;
	}
	return NULL;
}

/* May a task woken by the running one wait for it here? */
static bool waits_here(const struct task *t)
{
	return !this_arch()->in_soft && !current()->idle && !this_rq()->nr &&
	       allowed(t, this_cpu()->cpu);
}

/* The CPU for a task that becomes runnable: where it was if that is idle, another idle
 * one, or where it was. */
static unsigned place(const struct task *t, unsigned home)
{
	u64 mask = __atomic_load_n(&t->affinity, __ATOMIC_RELAXED) & ((1UL << ncpus) - 1);
	u64 idle = __atomic_load_n(&idle_cpus, __ATOMIC_RELAXED) & mask;

	if (idle >> home & 1)
		return home;
	if (idle)
		return (unsigned)__builtin_ctzl(idle);
	if (mask >> home & 1 || !mask)
		return home;
	return (unsigned)__builtin_ctzl(mask);
}

/* Somebody waits on this CPU now: preempt, or at least end the running slice in time. */
static void notice_waiting(struct rq *rq, struct task *t)
{
	struct task *cur = current();

	if (cur->idle) {
		resched_set(RESCHED_WANTED);
		return;
	}
	u64 now = time_ns(), look = cur->slice_end;
	if (t->budget > SLICE_NS / 8 && list_first(&rq->queue, struct task, run) == t &&
	    (this_arch()->in_soft || now - cur->time_mark > WAKE_PREEMPT_NS)) {
		resched_set(RESCHED_WANTED);
		return;
	}
	if (__atomic_load_n(&idle_cpus, __ATOMIC_RELAXED))
		look = quire_min(look, now + PUSH_NS);
	if (rq->tick_at > look) {
		rq->tick_at = look;
		sched_program_timer();
	}
}

/* t (on_rq is set, cpu is target, on no list) goes into target's queue.  Interrupts off. */
static void add_to(unsigned target, struct task *t)
{
	struct rq *rq = rqs[target];
	bool own = target == this_cpu()->cpu;

	rq_lock(rq);
	enqueue(rq, t);
	bool was_idle = __atomic_load_n(&idle_cpus, __ATOMIC_RELAXED) >> target & 1;
	if (own)
		notice_waiting(rq, t);
	rq_unlock(rq);
	if (!own && was_idle)
		smp_send_resched(target);
}

bool wake_task(struct task *t, u32 state_mask)
{
	unsigned long irq = quire_host_irq_save();
	struct rq *rq;
	unsigned cpu;
	bool woken = false;

	for (;;) {
		cpu = __atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE);
		rq = rqs[cpu];
		rq_lock(rq);
		if (__atomic_load_n(&t->cpu, __ATOMIC_RELAXED) == cpu)
			break;
		rq_unlock(rq);
	}
	if (!(state_mask >> __atomic_load_n(&t->state, __ATOMIC_SEQ_CST) & 1)) {
		rq_unlock(rq);
	} else {
		woken = true;
		__atomic_store_n(&t->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
		if (t->on_rq) {
			rq_unlock(rq);
		} else {
			unsigned target = waits_here(t) ? this_cpu()->cpu : place(t, cpu);
			t->on_rq = 1;
			__atomic_store_n(&t->cpu, target, __ATOMIC_RELEASE);
			rq_unlock(rq);
			add_to(target, t);
		}
	}
	bool resched = this_cpu()->resched;
	quire_host_irq_restore(irq);
	/* an interrupt's end, or the lock that is held, does it otherwise */
	if (resched && !this_cpu()->preempt)
		preempt_schedule();
	return woken;
}

void task_start(struct task *t)
{
	unsigned long irq = quire_host_irq_save();
	unsigned target = place(t, this_cpu()->cpu);

	t->slice_end = 0;
	t->on_rq = 1;
	__atomic_store_n(&t->cpu, target, __ATOMIC_RELEASE);
	__atomic_store_n(&t->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
	add_to(target, t);
	quire_host_irq_restore(irq);
}

/* ---- switching ---------------------------------------------------------------------------- */

/* The segment bases that user mode may have changed go with the task. */
static void switch_bases(struct task *from, struct task *to)
{
	if (!from->kernel_thread && cpu_features.fsgsbase) {
		u64 fs;
		__asm__ volatile("rdfsbase %0" : "=r"(fs));
		from->fs_base = fs;
		from->gs_base = rdmsr(MSR_KERNEL_GS_BASE);
	}
	if (to->kernel_thread)
		return;
	if (cpu_features.fsgsbase)
		__asm__ volatile("wrfsbase %0" : : "r"(to->fs_base));
	else
		wrmsr(MSR_FS_BASE, to->fs_base);
	wrmsr(MSR_KERNEL_GS_BASE, to->gs_base);
}

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
		target = place(prev, p->cpu);
		__atomic_store_n(&prev->cpu, target, __ATOMIC_RELEASE);
	}
	rq_unlock(rq);
	if (moves)
		add_to(target, prev);
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
		__atomic_or_fetch(&idle_cpus, bit, __ATOMIC_SEQ_CST);
		rq->idle_mark = now;
	} else {
		__atomic_and_fetch(&idle_cpus, ~bit, __ATOMIC_SEQ_CST);
		rq->times.idle += now - rq->idle_mark;
		rq->idle_mark = 0;
	}
}

static void switch_to(struct rq *rq, struct task *prev, struct task *next)
{
	struct percpu *p = this_cpu();
	u64 now = time_ns();

	/* what wasn't seen by a tick counts as the user's, unless it never runs there */
	account(rq, prev, now, !prev->kernel_thread);
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
	rq->prev = prev;
	next->on_cpu = 1;
	p->current = next;
	p->kernel_rsp = next->kstack + KSTACK_PAGES * QUIRE_PAGE_SIZE;
	p->tss->rsp[0] = p->kernel_rsp; /* interrupts and exceptions from user mode */
	if (prev->rseq)
		__atomic_or_fetch(&prev->sig_flag, TASK_WORK_RSEQ, __ATOMIC_RELAXED);
	if (prev->uspace != next->uspace)
		uspace_switch(prev->uspace, next->uspace);
	switch_bases(prev, next);
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
		prev->budget = (s64)(prev->slice_end - time_ns());
		prev->nvcsw++;
		rq->prev_dead = state == TASK_ZOMBIE || state == TASK_DEAD;
		return;
	}
	prev->nivcsw++;
	if (allowed(prev, this_cpu()->cpu)) {
		prev->budget = (s64)(prev->slice_end - time_ns());
		enqueue(rq, prev);
	} else {
		rq->prev_moves = true;
	}
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
	next = first_allowed(rq, p->cpu);
	if (next)
		dequeue(rq, next);
	else if (prev->idle || !stays)
		next = steal(p->cpu);
	leave(rq, prev, preempted);
	if (!next && (next = first_allowed(rq, p->cpu))) /* prev itself */
		dequeue(rq, next);
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

void sched_set_affinity(struct task *t, u64 mask)
{
	__atomic_store_n(&t->affinity, mask, __ATOMIC_RELEASE);
	if (t == current()) {
		quire_host_preempt_disable();
		if (!allowed(t, this_cpu()->cpu))
			resched_set(RESCHED_WANTED);
		quire_host_preempt_enable();
		return;
	}
	unsigned long irq = quire_host_irq_save();
	unsigned cpu = __atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE), target = cpu;
	struct rq *rq = rqs[cpu];

	rq_lock(rq);
	/* waiting in a queue it may not be in: move it; running: its CPU will see */
	bool moves =
	    t->cpu == cpu && t->on_rq && !t->on_cpu && !list_empty(&t->run) && !allowed(t, cpu);
	if (moves) {
		dequeue(rq, t);
		target = place(t, cpu);
		__atomic_store_n(&t->cpu, target, __ATOMIC_RELEASE);
	}
	rq_unlock(rq);
	if (moves)
		add_to(target, t);
	quire_host_irq_restore(irq);
	sched_kick(t);
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
	list_init(&rq->queue);
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
	__atomic_or_fetch(&idle_cpus, 1UL << p->cpu, __ATOMIC_SEQ_CST);
	__atomic_store_n(&rqs[p->cpu], rq, __ATOMIC_RELEASE);
}

void sched_init(void)
{
	extern char boot_stack_top[];

	load_next = time_ns() + LOAD_PERIOD_NS;
	init_rq(task_alloc_idle((u64)boot_stack_top));
}

void sched_init_cpu(u64 stack_top)
{
	init_rq(task_alloc_idle(stack_top));
}
