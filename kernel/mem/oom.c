/* SPDX-License-Identifier: MIT */
/*
 * The out-of-memory killer: when nothing can be reclaimed, the process that uses
 * most memory dies, so that the rest lives.
 *
 * Badness is resident pages plus page tables, moved by oom_score_adj thousandths
 * of all memory, as proc(5) describes it; -1000 makes a process exempt.  All that
 * share its address space die with it.
 *
 * One victim at a time: whoever finds no memory meanwhile waits for its end.  It may be
 * long about that, even wait for a lock of one who waits for memory: so a kernel
 * thread, which holds no locks, looks after it, takes its private pages away when a while
 * has passed, and lets the next one be chosen when that hasn't helped either.
 *
 * Locking: tree_lock and siglock for the choice.  The chooser may hold any sleeping lock,
 * and so must not be the one who drops the last reference to an address space: the
 * reference that it takes is the thread's.  Nothing here allocates.
 */
#include <quire/host.h>
#include <quire/mm.h>
#include <quire/page.h>

#include "../lib/print.h"
#include "../proc/internal.h"
#include "mem.h"

#define STEP_NS 1000000UL         /* how often the effect is looked at */
#define REAP_AFTER_NS 500000000UL /* for so long a victim may give back its memory itself */
#define REAP_AGAIN_NS 100000000UL /* when its mappings were being changed */
#define PATIENCE_NS 3000000000UL  /* then the next victim may be chosen */

static u32 choosing;         /* somebody looks for a victim; atomic */
static struct uspace *dying; /* the victim's, until its memory is free; atomic, only compared */
static struct uspace *to_see_out; /* the same, with a reference, for the thread; atomic */
static struct waitq reaper_work = WAITQ_INIT(reaper_work);

void oom_show_memory(int level)
{
	struct quire_meminfo m;
	quire_meminfo(&m);
	print_log(level,
		  "memory: %lu KiB in all, %lu free, %lu anonymous, %lu file cache, %lu shared, "
		  "%lu page tables, %lu slab",
		  m.total * 4, m.free * 4, m.anon * 4, m.file_cache * 4, m.shmem * 4,
		  m.page_tables * 4, (m.slab_reclaimable + m.slab_unreclaimable) * 4);
}

/* ---- the thread ------------------------------------------------------------------------ */

static void nap(void)
{
	__atomic_store_n(&current()->state, (u32)TASK_UNINTERRUPTIBLE, __ATOMIC_SEQ_CST);
	schedule_until(time_ns() + STEP_NS);
	__atomic_store_n(&current()->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
}

void oom_freed(struct uspace *u)
{
	__atomic_compare_exchange_n(&dying, &u, NULL, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

static void see_out(struct uspace *u)
{
	u64 start = time_ns(), reap_at = start + REAP_AFTER_NS;
	bool reaped = false;

	/* Once the reference is the only one, dropping it is what frees the memory. */
	while (__atomic_load_n(&u->refs, __ATOMIC_ACQUIRE) > 1 && !reaped &&
	       time_ns() - start < PATIENCE_NS) {
		nap();
		if (time_ns() < reap_at)
			continue;
		reaped = !quire_mm_reap(u->mm, false);
		reap_at = time_ns() + REAP_AGAIN_NS;
	}
	__atomic_store_n(&to_see_out, NULL, __ATOMIC_RELEASE);
	if (__atomic_load_n(&u->refs, __ATOMIC_ACQUIRE) > 1) {
		__atomic_store_n(&u->oom_skip, true, __ATOMIC_RELEASE);
		oom_freed(u);
	}
	uspace_put(u);
}

static void reaper(void *unused)
{
	struct uspace *u;

	(void)unused;
	for (;;) {
		wait_event(&reaper_work,
			   (u = __atomic_load_n(&to_see_out, __ATOMIC_ACQUIRE)) != NULL);
		see_out(u);
	}
}

void oom_init(void)
{
	REQUIRE(kthread_start("oom_reaper", reaper, NULL));
}

/* ---- the choice --------------------------------------------------------------------------- */

struct victim {
	struct process *p; /* with a reference */
	struct uspace *u;  /* the same */
	u64 points;
	struct quire_mm_usage use;
};

static struct uspace *uspace_of_locked(const struct process *p)
{
	struct task *t;

	list_for_each (t, &p->threads, thread)
		if (t->uspace)
			return t->uspace;
	return NULL;
}

/* A child of vfork() uses its parent's memory, and goes with that. */
static bool exempt(const struct process *p)
{
	return p == init_process || p->zombie || p->oom_score_adj <= -1000 ||
	       (p->leader && p->leader->vfork_parent);
}

static void consider_locked(struct victim *best, struct process *p)
{
	struct quire_mm_usage use;
	struct uspace *u;

	if (exempt(p))
		return;
	unsigned long irq = spin_lock_irq(&p->siglock);
	u = uspace_of_locked(p);
	if (u && __atomic_load_n(&u->oom_skip, __ATOMIC_ACQUIRE))
		u = NULL;
	if (u)
		quire_mm_usage(u->mm, &use);
	spin_unlock_irq(&p->siglock, irq);
	if (!u)
		return;
	s64 points = (s64)(use.rss_anon + use.rss_file + use.rss_shmem + use.page_tables);
	points += p->oom_score_adj * (s64)(quire_total_pages() / 1000);
	if (points < 1)
		points = 1;
	if (!best->p || (u64)points > best->points)
		*best = (struct victim){p, NULL, (u64)points, use};
}

/* False: there is none.  Otherwise v->u may still be null: it ends already. */
static bool choose(struct victim *v)
{
	struct process *p;

	*v = (struct victim){0};
	spin_lock(&tree_lock);
	list_for_each (p, &all_processes, all)
		consider_locked(v, p);
	if (v->p) {
		process_get(v->p);
		v->u = process_uspace_get(v->p);
	}
	spin_unlock(&tree_lock);
	return v->p;
}

static void announce(const struct victim *v)
{
	char comm[16] = "?";
	struct process *p = v->p;
	struct task *leader = process_leader_get(p);

	if (leader) {
		memcpy(comm, leader->comm, sizeof(comm) - 1);
		task_put(leader);
	}
	print_log(3,
		  "Out of memory: Killed process %u (%s) total-vm:%lukB, anon-rss:%lukB, "
		  "file-rss:%lukB, shmem-rss:%lukB, pgtables:%lukB oom_score_adj:%d",
		  p->tgid, comm, v->use.total_vm * 4, v->use.rss_anon * 4, v->use.rss_file * 4,
		  v->use.rss_shmem * 4, v->use.page_tables * 4, p->oom_score_adj);
	oom_show_memory(4);
	quire_count(QUIRE_EV_OOM_KILL, 1);
}

static void kill_sharers(const struct uspace *u)
{
	struct process *p;
	struct task *t;

	spin_lock(&tree_lock);
	list_for_each (p, &all_processes, all)
		list_for_each (t, &p->threads, thread)
			if (t->uspace == u && p != init_process) {
				send_signal_process(p, SIGKILL, NULL);
				break;
			}
	spin_unlock(&tree_lock);
}

/* False: there is nobody to kill. */
static bool kill_one(void)
{
	struct victim v;

	if (!choose(&v))
		return false;
	if (v.u) {
		/* One that ends anyway is only waited for. */
		if (!v.p->group_exit)
			announce(&v);
		__atomic_store_n(&dying, v.u, __ATOMIC_RELEASE);
		kill_sharers(v.u);
		__atomic_store_n(&to_see_out, v.u, __ATOMIC_RELEASE);
		waitq_wake_all(&reaper_work);
	}
	process_put(v.p);
	return true;
}

/* ---- out of memory ------------------------------------------------------------------------ */

/* Is there so much, by now, that an allocation is worth another try? */
static bool enough_free(unsigned order)
{
	u64 blocks[QUIRE_ORDERS];

	/* Twice what the core keeps for those who can't wait. */
	u64 reserve = quire_max(32UL, quire_min(quire_total_pages() / 64, 1024UL));

	if (quire_free_pages() <= reserve + (2UL << order))
		return false;
	if (!order)
		return true;
	for (unsigned n = quire_free_blocks(blocks), i = order; i < n; i++)
		if (blocks[i])
			return true;
	return false;
}

bool quire_host_oom(struct quire_mm *mm, unsigned order)
{
	struct uspace *u = __atomic_load_n(&dying, __ATOMIC_ACQUIRE);

	(void)mm;
	if (!u && !__atomic_exchange_n(&choosing, 1, __ATOMIC_ACQUIRE)) {
		bool worth = __atomic_load_n(&dying, __ATOMIC_ACQUIRE) || enough_free(order) ||
			     quire_host_killed() || kill_one();

		u = __atomic_load_n(&dying, __ATOMIC_ACQUIRE);
		__atomic_store_n(&choosing, 0, __ATOMIC_RELEASE);
		if (!worth)
			return false;
	}
	if (!u && !enough_free(order))
		nap();
	while (u && u == __atomic_load_n(&dying, __ATOMIC_ACQUIRE) && !enough_free(order) &&
	       !quire_host_killed())
		nap();
	return !quire_host_killed();
}
