/* SPDX-License-Identifier: MIT */
/*
 * Event counters (/proc/vmstat): each CPU counts for itself, a reader sums.
 *
 * No locking: a CPU's counters are written by that CPU with preemption off.  An
 * interrupt that counts in the middle of an addition may lose one; they are
 * statistics.
 */
#include <quire/host.h>
#include <quire/mm.h>

#include "../phys/phys.h"
#include "init.h"

struct stat_cpu {
	u64 n[QUIRE_EV_COUNT];
};
static struct stat_cpu *stats;

const char *const quire_event_name[QUIRE_EV_COUNT] = {
#define X(id, name) [QUIRE_EV_##id] = name,
    QUIRE_EVENTS(X)
#undef X
};

void stat_init(void)
{
	stats = percpu_alloc(sizeof(*stats));
}

void quire_count(enum quire_event e, u64 n)
{
	quire_host_preempt_disable();
	u64 *p = &percpu_at(stats, quire_host_cpu())->n[e];
	__atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
	quire_host_preempt_enable();
}

u64 quire_event_total(enum quire_event e)
{
	u64 sum = 0;
	/* The per-CPU lists of frames keep these two themselves; here are the others. */
	if (e == QUIRE_EV_PGALLOC)
		sum = pcp_taken();
	else if (e == QUIRE_EV_PGFREE)
		sum = pcp_given();
	for (unsigned cpu = 0; cpu < core_config.cpus; cpu++)
		sum += __atomic_load_n(&percpu_at(stats, cpu)->n[e], __ATOMIC_RELAXED);
	return sum;
}
