// SPDX-License-Identifier: MIT
/*
 * The scheduler's time: what tasks and CPUs used, the tick, and the load averages.
 *
 * A queue's times and its running task's belong to its CPU, with interrupts off; others
 * read them as they are.  The load averages are updated by whoever gets load_lock.
 */
#include <quire/page.h>

#include "../lib/string.h"
#include "../proc/proc.h"
#include "runq.h"

#define LOAD_PERIOD_NS 5000000000UL

static u64 loadavg[3], load_next;
static u8 load_lock;

/* Charge t for the time since it was last looked at. */
void rq_account(struct rq *rq, struct task *t, u64 now, bool user)
{
	u64 spent = now - t->time_mark;

	t->time_mark = now;
	if (now >= rq->rt_period_end) {
		rq->rt_used = 0;
		rq->rt_period_end = now + RT_PERIOD_NS;
	}
	if (t->idle)
		return;
	if (quire_unlikely(prio_real_time(t->prio)))
		rq->rt_used += spent;
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
			     !(__atomic_load_n(&sched_idle_cpus, __ATOMIC_RELAXED) >> i & 1);
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

void sched_load_init(u64 now)
{
	load_next = now + LOAD_PERIOD_NS;
}

/* Real-time tasks have to wait for a while, or needn't any more; or wait elsewhere. */
static bool turn_of_others(const struct rq *rq, const struct task *t)
{
	return prio_real_time(t->prio) ? rq_throttled(rq) && rq->nr > rq->nr_rt
	       : rq->nr_rt             ? !rq_throttled(rq)
				       : __atomic_load_n(&sched_rt_waiting, __ATOMIC_RELAXED);
}

/* First half of the timer interrupt; the timers themselves run in soft context. */
void sched_tick(bool user)
{
	struct rq *rq = this_rq();
	struct task *t = current();
	u64 now = time_ns();

	if (now < rq->tick_at || t->idle)
		return;
	if (quire_unlikely(prio_real_time(t->prio))) {
		/* by ticks, as Linux counts it: what the machine stood still for isn't the task's
		 */
		t->rt_ran += quire_min(now - t->time_mark, (u64)TICK_NS);
		if (rt_time_over(t))
			__atomic_or_fetch(&t->sig_flag, TASK_WORK_RTTIME, __ATOMIC_RELAXED);
	}
	rq_account(rq, t, now, user);
	rq->tick_at = now + TICK_NS;
	bool others = __atomic_load_n(&rq->nr, __ATOMIC_RELAXED);
	if ((others && now >= t->slice_end) || turn_of_others(rq, t) ||
	    !allowed(t, this_cpu()->cpu))
		resched_set(RESCHED_WANTED);
	else if (others)
		rq->tick_at = quire_min(rq->tick_at, t->slice_end);
	if (others)
		rq_wake_idle_cpu(rq);
	else
		rq_balance(rq);
	/* nothing held, nothing read: with depth 0 the interrupted code is quiescent */
	if (!this_cpu()->preempt)
		quire_rcu_quiescent();
	update_load(now);
}
