/* SPDX-License-Identifier: MIT */
/*
 * The out-of-memory killer: when nothing can be reclaimed, the process that uses
 * most memory dies, so that the rest lives.
 *
 * Badness is resident pages plus page tables, moved by oom_score_adj thousandths
 * of all memory, as proc(5) describes it; -1000 makes a process exempt.
 *
 * One killing at a time: others that find no memory meanwhile wait for its effect.
 * Nothing here allocates.
 */
#include <quire/host.h>
#include <quire/mm.h>
#include <quire/page.h>

#include "../lib/print.h"
#include "../proc/internal.h"
#include "mem.h"

#define STEP_NS 1000000UL        /* how often the effect is looked at */
#define PATIENCE_NS 3000000000UL /* then the next victim is looked for */

static u32 killing; /* a victim is dying; atomic */
static u32 victim_pid;
static u64 victim_deadline;

struct victim {
	struct process *p;
	u64 points;
	struct quire_mm_usage use;
};

static void consider(struct victim *best, struct process *p)
{
	struct quire_mm_usage use;
	if (p == init_process || p->zombie || p->oom_score_adj <= -1000)
		return;
	struct uspace *u = process_uspace_get(p);
	if (!u)
		return;
	quire_mm_usage(u->mm, &use);
	uspace_put(u);
	s64 points = (s64)(use.rss_anon + use.rss_file + use.rss_shmem + use.page_tables);
	points += p->oom_score_adj * (s64)(quire_total_pages() / 1000);
	if (points < 1)
		points = 1;
	if (best->p && (u64)points <= best->points)
		return;
	if (best->p)
		process_put(best->p);
	process_get(p);
	*best = (struct victim){p, (u64)points, use};
}

static struct victim choose(void)
{
	struct victim best = {0};
	struct process *p;
	for (u32 pid = 1; (p = process_next(pid)) != NULL;) {
		pid = p->tgid + 1;
		consider(&best, p);
		process_put(p);
	}
	return best;
}

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

static bool enough_free(unsigned order)
{
	return quire_free_pages() > quire_total_pages() / 64 + (2UL << order);
}

static void nap(void)
{
	__atomic_store_n(&current()->state, (u32)TASK_UNINTERRUPTIBLE, __ATOMIC_SEQ_CST);
	schedule_until(time_ns() + STEP_NS);
	__atomic_store_n(&current()->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
}

/* Has the victim no memory any more? */
static bool victim_gone(u32 pid)
{
	struct process *p = process_find(pid);
	if (!p)
		return true;
	struct uspace *u = p->zombie ? NULL : process_uspace_get(p);
	process_put(p);
	if (u)
		uspace_put(u);
	return !u;
}

/* Wait for the victim's memory.  False: it takes too long. */
static bool await(unsigned order)
{
	for (;;) {
		if (quire_host_killed())
			return true;
		if (enough_free(order) || victim_gone(victim_pid))
			return true;
		if (time_ns() > victim_deadline)
			return false;
		nap();
	}
}

static void kill_victim(struct victim *v)
{
	char comm[16] = "?";
	struct process *p = v->p;
	struct task *leader = process_leader_get(p);
	if (leader) {
		memcpy(comm, leader->comm, sizeof(comm) - 1);
		task_put(leader);
	}
	print_log(3,
		  "Out of memory: killed process %u (%s), total-vm:%lukB, anon-rss:%lukB, "
		  "file-rss:%lukB, shmem-rss:%lukB, pgtables:%lukB, oom_score_adj:%d",
		  p->tgid, comm, v->use.total_vm * 4, v->use.rss_anon * 4, v->use.rss_file * 4,
		  v->use.rss_shmem * 4, v->use.page_tables * 4, p->oom_score_adj);
	oom_show_memory(4);
	quire_count(QUIRE_EV_OOM_KILL, 1);
	victim_pid = p->tgid;
	victim_deadline = time_ns() + PATIENCE_NS;
	send_signal_process(p, SIGKILL, NULL);
}

bool quire_host_oom(struct quire_mm *mm, unsigned order)
{
	(void)mm;
	u32 none = 0;
	if (quire_host_killed())
		return false;
	if (!__atomic_compare_exchange_n(&killing, &none, 1, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED)) {
		/* Somebody else is at it: see what that brings. */
		for (unsigned i = 0; i < 20 && !quire_host_killed(); i++) {
			if (enough_free(order) || !__atomic_load_n(&killing, __ATOMIC_RELAXED))
				break;
			nap();
		}
		return !quire_host_killed();
	}
	bool worth = true;
	if (!enough_free(order)) {
		struct victim v = choose();
		if (v.p) {
			kill_victim(&v);
			process_put(v.p);
			await(order);
		} else {
			worth = false;
		}
	}
	__atomic_store_n(&killing, 0, __ATOMIC_RELEASE);
	return worth && !quire_host_killed();
}
