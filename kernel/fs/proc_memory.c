/* SPDX-License-Identifier: MIT */
/*
 * /proc's files about the machine's memory: meminfo, vmstat, buddyinfo, zoneinfo, slabinfo.
 *
 * What Linux counts and Quire has none of (swap, huge pages, other nodes) is 0 here, as
 * it is there; what isn't counted is not shown.  All memory is one zone, "Normal".
 *
 * No locks: each number is true at some moment of the call.
 */
#include <quire/string.h>

#include "../arch/arch.h"
#include "../boot/boot.h"
#include "../lib/print.h"
#include "../lib/string.h"
#include "proc.h"

#define KB(pages) ((pages)*4)

struct line {
	const char *name;
	u64 n;
};

static void show_kb(struct seq *s, const struct line *l, size_t count)
{
	for (size_t i = 0; i < count; i++)
		seq_printf(s, "%-16s%8lu kB\n", l[i].name, KB(l[i].n));
}

static void show_counts(struct seq *s, const char *indent, const struct line *l, size_t count)
{
	for (size_t i = 0; i < count; i++)
		seq_printf(s, *indent ? "%s%-12s %lu\n" : "%s%s %lu\n", indent, l[i].name, l[i].n);
}

static void read_meminfo(struct quire_meminfo *m)
{
	quire_meminfo(m);
	m->mlocked = quire_mlocked();
	m->unevictable += m->mlocked;
}

/* The counts of the one node, for vmstat and zoneinfo. */
static void show_node(struct seq *s, const char *indent, const struct quire_meminfo *m)
{
	const struct line line[] = {
	    {"nr_inactive_anon", m->inactive_anon},
	    {"nr_active_anon", m->active_anon},
	    {"nr_inactive_file", m->inactive_file},
	    {"nr_active_file", m->active_file},
	    {"nr_unevictable", m->unevictable},
	    {"nr_slab_reclaimable", m->slab_reclaimable},
	    {"nr_slab_unreclaimable", m->slab_unreclaimable},
	    {"nr_anon_pages", m->anon},
	    {"nr_mapped", m->mapped},
	    {"nr_file_pages", m->file_cache + m->shmem},
	    {"nr_dirty", m->dirty},
	    {"nr_writeback", m->writeback},
	    {"nr_writeback_temp", 0},
	    {"nr_shmem", m->shmem},
	    {"nr_shmem_hugepages", 0},
	    {"nr_shmem_pmdmapped", 0},
	    {"nr_file_hugepages", 0},
	    {"nr_file_pmdmapped", 0},
	    {"nr_anon_transparent_hugepages", 0},
	    {"nr_kernel_stack", KB(m->kernel_stacks)},
	    {"nr_page_table_pages", m->page_tables},
	    {"nr_sec_page_table_pages", 0},
	    {"nr_swapcached", 0},
	};
	show_counts(s, indent, line, quire_array_size(line));
}

int proc_show_meminfo(struct seq *s, struct proc_ctx *c)
{
	struct quire_meminfo m;
	(void)c;
	read_meminfo(&m);
	const struct line line[] = {
	    {"MemTotal:", m.total},
	    {"MemFree:", m.free},
	    {"MemAvailable:", m.available},
	    {"Buffers:", 0},
	    {"Cached:", m.file_cache + m.shmem},
	    {"SwapCached:", 0},
	    {"Active:", m.active_anon + m.active_file},
	    {"Inactive:", m.inactive_anon + m.inactive_file},
	    {"Active(anon):", m.active_anon},
	    {"Inactive(anon):", m.inactive_anon},
	    {"Active(file):", m.active_file},
	    {"Inactive(file):", m.inactive_file},
	    {"Unevictable:", m.unevictable},
	    {"Mlocked:", m.mlocked},
	    {"SwapTotal:", 0},
	    {"SwapFree:", 0},
	    {"Zswap:", 0},
	    {"Zswapped:", 0},
	    {"Dirty:", m.dirty},
	    {"Writeback:", m.writeback},
	    {"AnonPages:", m.anon},
	    {"Mapped:", m.mapped},
	    {"Shmem:", m.shmem},
	    {"KReclaimable:", m.slab_reclaimable},
	    {"Slab:", m.slab_reclaimable + m.slab_unreclaimable},
	    {"SReclaimable:", m.slab_reclaimable},
	    {"SUnreclaim:", m.slab_unreclaimable},
	    {"KernelStack:", m.kernel_stacks},
	    {"PageTables:", m.page_tables},
	    {"SecPageTables:", 0},
	    {"NFS_Unstable:", 0},
	    {"Bounce:", 0},
	    {"WritebackTmp:", 0},
	    {"CommitLimit:", m.commit_limit},
	    {"Committed_AS:", m.committed},
	    {"VmallocTotal:", (KERNEL_AREA_END - KERNEL_AREA_START) / QUIRE_PAGE_SIZE},
	    {"VmallocUsed:", m.kernel_stacks},
	    {"VmallocChunk:", 0},
	    {"Percpu:", m.per_cpu},
	};
	static const struct line huge[] = {
	    {"AnonHugePages:", 0}, {"ShmemHugePages:", 0}, {"ShmemPmdMapped:", 0},
	    {"FileHugePages:", 0}, {"FilePmdMapped:", 0},
	};
	show_kb(s, line, quire_array_size(line));
	seq_printf(s, "HardwareCorrupted: %5lu kB\n", KB(m.retired));
	show_kb(s, huge, quire_array_size(huge));
	seq_puts(s, "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\n"
		    "HugePages_Surp:        0\nHugepagesize:       2048 kB\n"
		    "Hugetlb:               0 kB\n");
	seq_printf(s, "%-16s%8lu kB\n%-16s%8lu kB\n", "DirectMap4k:", direct_map[0] * 4,
		   "DirectMap2M:", direct_map[1] << 11);
	if (cpu_features.gbpages)
		seq_printf(s, "%-16s%8lu kB\n", "DirectMap1G:", direct_map[2] << 20);
	return 0;
}

static u64 event(enum quire_event e)
{
	return quire_event_total(e);
}

int proc_show_vmstat(struct seq *s, struct proc_ctx *c)
{
	struct quire_meminfo m;
	(void)c;
	read_meminfo(&m);
	u64 scan = event(QUIRE_EV_PGSCAN), steal = event(QUIRE_EV_PGSTEAL);
	const struct line zone[] = {
	    {"nr_free_pages", m.free},
	    {"nr_zone_inactive_anon", m.inactive_anon},
	    {"nr_zone_active_anon", m.active_anon},
	    {"nr_zone_inactive_file", m.inactive_file},
	    {"nr_zone_active_file", m.active_file},
	    {"nr_zone_unevictable", m.unevictable},
	    {"nr_zone_write_pending", m.dirty + m.writeback},
	    {"nr_mlock", m.mlocked},
	    {"nr_bounce", 0},
	    {"nr_zspages", 0},
	    {"nr_free_cma", 0},
	};
	const struct line line[] = {
	    {"pgpgin", event(QUIRE_EV_PGPGIN)},
	    {"pgpgout", event(QUIRE_EV_PGPGOUT)},
	    {"pswpin", 0},
	    {"pswpout", 0},
	    {"pgalloc_normal", event(QUIRE_EV_PGALLOC)},
	    {"pgfree", event(QUIRE_EV_PGFREE)},
	    {"pgactivate", event(QUIRE_EV_PGACTIVATE)},
	    {"pgdeactivate", event(QUIRE_EV_PGDEACTIVATE)},
	    {"pgfault", event(QUIRE_EV_PGFAULT)},
	    {"pgmajfault", event(QUIRE_EV_PGMAJFAULT)},
	    {"pgreuse", event(QUIRE_EV_PGREUSE)},
	    {"pgsteal_kswapd", 0},
	    {"pgsteal_direct", steal},
	    {"pgscan_kswapd", 0},
	    {"pgscan_direct", scan},
	    {"pgscan_anon", 0},
	    {"pgscan_file", scan},
	    {"pgsteal_anon", 0},
	    {"pgsteal_file", steal},
	    {"drop_pagecache", event(QUIRE_EV_DROP_PAGECACHE)},
	    {"oom_kill", event(QUIRE_EV_OOM_KILL)},
	    {"nr_tlb_local_flush_one", event(QUIRE_EV_TLB_FLUSH)},
	    {"nr_tlb_local_flush_all", event(QUIRE_EV_TLB_FLUSH_ALL)},
	    {"nr_tlb_remote_flush", event(QUIRE_EV_TLB_SHOOTDOWN)},
	    {"swap_ra", 0},
	    {"swap_ra_hit", 0},
	    {"nr_unstable", 0},
	};
	show_counts(s, "", zone, quire_array_size(zone));
	show_node(s, "", &m);
	show_counts(s, "", line, quire_array_size(line));
	return 0;
}

int proc_show_buddyinfo(struct seq *s, struct proc_ctx *c)
{
	u64 nr[QUIRE_ORDERS];
	unsigned orders = quire_free_blocks(nr);
	(void)c;
	seq_printf(s, "Node 0, zone %8s ", "Normal");
	for (unsigned i = 0; i < orders; i++)
		seq_printf(s, "%6lu ", nr[i]);
	seq_putc(s, '\n');
	return 0;
}

int proc_show_zoneinfo(struct seq *s, struct proc_ctx *c)
{
	struct quire_meminfo m;
	(void)c;
	read_meminfo(&m);
	seq_puts(s, "Node 0, zone   Normal\n  per-node stats\n");
	show_node(s, "      ", &m);
	/* One mark only: who may wait leaves the reserve alone. */
	seq_printf(s,
		   "  pages free     %lu\n        boost    0\n        min      %lu\n"
		   "        low      %lu\n        high     %lu\n        spanned  %lu\n"
		   "        present  %lu\n        managed  %lu\n        cma      0\n"
		   "        protection: (0)\n      nr_free_pages %lu\n      nr_mlock     %lu\n"
		   "  start_pfn:           0\n",
		   m.free, m.reserve, m.reserve, m.reserve, quire_nr_pages, quire_nr_pages, m.total,
		   m.free, m.mlocked);
	return 0;
}

static void show_cache(const struct quire_kmem_use *u, void *arg)
{
	struct seq *s = arg;
	/* How many slabs have objects in use isn't counted: those that are kept, have or had. */
	seq_printf(s,
		   "%-17s %6lu %6lu %6lu %4u %4u : tunables %4u %4u %4u : slabdata %6lu %6lu %6u\n",
		   u->name, u->used, u->slabs * u->per_slab, (u64)u->size, u->per_slab,
		   u->slab_pages, 0, 0, 0, u->slabs, u->slabs, 0);
}

int proc_show_slabinfo(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	seq_puts(s, "slabinfo - version: 2.1\n# name            <active_objs> <num_objs> <objsize> "
		    "<objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : "
		    "slabdata <active_slabs> <num_slabs> <sharedavail>\n");
	quire_kmem_each(show_cache, s);
	return 0;
}
