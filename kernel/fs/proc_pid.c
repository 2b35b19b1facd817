/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID and /proc/PID/task/TID: what a process and a thread say of themselves.
 *
 * Locking: references to process, thread, address space, credentials are held while
 * text is made; single numbers are read without a lock, each true at some moment.
 */
#include <quire/string.h>

#include "../dev/tty.h"
#include "../io/fdtable.h"
#include "../lib/print.h"
#include "../lib/string.h"
#include "proc.h"

#define TICK_NS 10000000UL /* USER_HZ is 100 */
#define KB(pages) ((pages)*4)
#define PF_FORKNOEXEC 0x40u
#define PF_RANDOMIZE 0x400000u

/* ---- state ------------------------------------------------------------------------------ */

static char state_of(struct proc_ctx *c)
{
	if (c->task->exiting == 3)
		return 'Z';
	switch (__atomic_load_n(&c->task->state, __ATOMIC_RELAXED)) {
	case TASK_RUNNING:
		return 'R';
	case TASK_INTERRUPTIBLE:
		return 'S';
	case TASK_STOPPED:
		return 'T';
	case TASK_TRACED:
		return 't';
	case TASK_ZOMBIE:
		return 'Z';
	case TASK_DEAD:
		return 'X';
	default:
		return 'D';
	}
}

static const char *state_name(char s)
{
	switch (s) {
	case 'R':
		return "running";
	case 'S':
		return "sleeping";
	case 'T':
		return "stopped";
	case 't':
		return "tracing stop";
	case 'Z':
		return "zombie";
	case 'X':
		return "dead";
	default:
		return "disk sleep";
	}
}

static void get_comm(struct task *t, char out[16])
{
	memcpy(out, t->comm, 16);
	out[15] = 0;
}

/* ---- status ----------------------------------------------------------------------------- */

static void status_memory(struct seq *s, struct uspace *u)
{
	struct quire_mm_usage m;
	struct quire_layout *l = quire_mm_layout(u->mm);
	quire_mm_usage(u->mm, &m);
	u64 rss = m.rss_anon + m.rss_file + m.rss_shmem;
	u64 text = (quire_round_up(l->end_code, QUIRE_PAGE_SIZE) -
		    quire_round_down(l->start_code, QUIRE_PAGE_SIZE)) /
		   QUIRE_PAGE_SIZE;
	text = quire_min(text, m.exec_vm);
	seq_printf(s,
		   "VmPeak:\t%8lu kB\nVmSize:\t%8lu kB\nVmLck:\t%8lu kB\nVmPin:\t%8lu kB\n"
		   "VmHWM:\t%8lu kB\nVmRSS:\t%8lu kB\nRssAnon:\t%8lu kB\nRssFile:\t%8lu kB\n"
		   "RssShmem:\t%8lu kB\nVmData:\t%8lu kB\nVmStk:\t%8lu kB\nVmExe:\t%8lu kB\n"
		   "VmLib:\t%8lu kB\nVmPTE:\t%8lu kB\nVmSwap:\t%8lu kB\n",
		   KB(quire_max(m.hiwater_vm, m.total_vm)), KB(m.total_vm), KB(m.locked_vm),
		   KB(m.pinned_vm), KB(quire_max(m.hiwater_rss, rss)), KB(rss), KB(m.rss_anon),
		   KB(m.rss_file), KB(m.rss_shmem), KB(m.data_vm), KB(m.stack_vm), KB(text),
		   KB(m.exec_vm - text), KB(m.page_tables), KB(m.swap));
	seq_puts(s, "HugetlbPages:\t       0 kB\nCoreDumping:\t0\nTHP_enabled:\t0\n");
}

static void status_cred(struct seq *s, const struct cred *c, struct task *t)
{
	struct fdtable *files = task_files_get(t);
	seq_printf(s, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\nFDSize:\t%u\nGroups:\t", c->uid,
		   c->euid, c->suid, c->fsuid, c->gid, c->egid, c->sgid, c->fsgid,
		   files ? fdtable_size(files) : 0);
	if (files)
		fdtable_put(files);
	for (u32 i = 0; i < c->ngroups; i++)
		seq_printf(s, "%u ", c->groups[i]);
	seq_puts(s, c->ngroups ? "\n" : " \n");
}

static void status_signals(struct seq *s, struct proc_ctx *c)
{
	struct signal_sets g;
	signal_sets_of(c->task, &g);
	seq_printf(s,
		   "Threads:\t%u\nSigQ:\t%u/%lu\nSigPnd:\t%016lx\nShdPnd:\t%016lx\n"
		   "SigBlk:\t%016lx\nSigIgn:\t%016lx\nSigCgt:\t%016lx\n",
		   c->process->nr_threads, g.queued, c->process->rlim[11].cur, g.task_pending,
		   g.shared_pending, g.blocked, g.ignored, g.caught);
}

static void status_cpus(struct seq *s, struct task *t)
{
	u64 all = ncpus < 64 ? (1UL << ncpus) - 1 : ~0UL, set = t->affinity & all;
	seq_printf(s, "Cpus_allowed:\t%lx\nCpus_allowed_list:\t", set);
	bool first = true;
	for (unsigned i = 0; i < ncpus; i++) {
		if (!(set >> i & 1))
			continue;
		unsigned last = i;
		while (last + 1 < ncpus && (set >> (last + 1) & 1))
			last++;
		seq_printf(s, first ? "%u" : ",%u", i);
		if (last > i)
			seq_printf(s, "-%u", last);
		first = false;
		i = last;
	}
	/* One node, of the 1024 that Debian's Linux has bits for. */
	seq_puts(s, "\nMems_allowed:\t");
	for (unsigned i = 0; i < 31; i++)
		seq_puts(s, "00000000,");
	seq_puts(s, "00000001\nMems_allowed_list:\t0\n");
}

static int show_status(struct seq *s, struct proc_ctx *c)
{
	struct task *t = c->task;
	struct process *p = c->process;
	struct cred *cred = task_cred_get(t);
	struct fsctx *fs = task_fs_get(t);
	struct uspace *u = proc_uspace(c);
	char comm[16], st = state_of(c);
	get_comm(t, comm);
	seq_puts(s, "Name:\t");
	seq_escape(s, comm, "\n\\");
	seq_putc(s, '\n');
	if (fs)
		seq_printf(s, "Umask:\t%04o\n", fs->umask);
	seq_printf(s, "State:\t%c (%s)\nTgid:\t%u\nNgid:\t0\nPid:\t%u\nPPid:\t%u\nTracerPid:\t%u\n",
		   st, state_name(st), p->tgid, t->tid, p->ppid, trace_tracer_tid(t));
	if (cred)
		status_cred(s, cred, t);
	seq_printf(s, "NStgid:\t%u\nNSpid:\t%u\nNSpgid:\t%u\nNSsid:\t%u\n", p->tgid, t->tid,
		   p->pgid, p->sid);
	if (u)
		status_memory(s, u);
	status_signals(s, c);
	if (cred)
		seq_printf(s,
			   "CapInh:\t%016lx\nCapPrm:\t%016lx\nCapEff:\t%016lx\nCapBnd:\t%016lx\n"
			   "CapAmb:\t%016lx\n",
			   cred->cap_inheritable, cred->cap_permitted, cred->cap_effective,
			   cred->cap_bounding, cred->cap_ambient);
	seq_printf(s,
		   "NoNewPrivs:\t%u\nSeccomp:\t0\nSeccomp_filters:\t0\n"
		   "Speculation_Store_Bypass:\tvulnerable\n"
		   "SpeculationIndirectBranch:\talways enabled\n",
		   p->no_new_privs);
	status_cpus(s, t);
	seq_printf(s, "voluntary_ctxt_switches:\t%lu\nnonvoluntary_ctxt_switches:\t%lu\n", t->nvcsw,
		   t->nivcsw);
	if (u)
		uspace_put(u);
	if (fs)
		fsctx_put(fs);
	if (cred)
		cred_put(cred);
	return 0;
}

/* ---- stat, statm ------------------------------------------------------------------------ */

static u64 terminal_number(struct process *p, s32 *pgrp)
{
	struct tty *t = p->tty;
	*pgrp = t ? (s32)t->pgrp : -1;
	return t ? tty_device_number(t) : 0;
}

static int stat_line(struct seq *s, struct proc_ctx *c, bool whole)
{
	struct process *p = c->process;
	struct task *t = c->task;
	struct uspace *u = proc_uspace(c);
	struct quire_mm_usage m = {0};
	struct quire_layout l = {0};
	struct signal_sets g;
	struct io_counts io;
	u64 user, system, min = t->min_flt, maj = t->maj_flt;
	s32 fg;
	char comm[16];
	bool look = proc_may_look(t);
	char state = state_of(c);
	u64 tty = terminal_number(p, &fg);
	get_comm(t, comm);
	signal_sets_of(t, &g);
	if (u) {
		quire_mm_usage(u->mm, &m);
		if (look)
			l = *quire_mm_layout(u->mm);
		else
			l.start_code = l.end_code = 1; /* there is some, but where is secret */
		uspace_put(u);
	}
	if (whole) {
		process_cpu_times(p, &user, &system);
		process_work(p, &min, &maj, &io);
	} else {
		task_cpu_times(t, &user, &system);
	}
	seq_printf(s, "%u (", t->tid);
	seq_escape(s, comm, "\n\\");
	seq_printf(s, ") %c %u %u %u %lu %d %u %lu %lu %lu %lu ", state, p->ppid, p->pgid, p->sid,
		   tty, fg, (p->randomized ? PF_RANDOMIZE : 0) | (p->did_exec ? 0 : PF_FORKNOEXEC),
		   min, whole ? p->cmin_flt : 0, maj, whole ? p->cmaj_flt : 0);
	seq_printf(s, "%lu %lu %lu %lu %d %d %u 0 %lu %lu %lu %lu ", user / TICK_NS,
		   system / TICK_NS, whole ? p->cutime / TICK_NS : 0,
		   whole ? p->cstime / TICK_NS : 0, t->prio - PRIO_RT, t->nice, p->nr_threads,
		   (whole ? p->start_time : t->start_time) / TICK_NS, m.total_vm * QUIRE_PAGE_SIZE,
		   m.rss_anon + m.rss_file + m.rss_shmem, p->rlim[5].cur);
	/* Whether it waits says only who may look, and of a process only if it has one thread. */
	unsigned waits = look && (!whole || p->nr_threads < 2) && state != 'R';
	seq_printf(s, "%lu %lu %lu 0 0 %lu %lu %lu %lu %u 0 0 %d %u %u %u 0 0 0 ", l.start_code,
		   l.end_code, l.start_stack, g.task_pending & 0x7fffffff, g.blocked & 0x7fffffff,
		   g.ignored & 0x7fffffff, g.caught & 0x7fffffff, waits,
		   t == p->leader ? (int)p->exit_signal : -1, t->cpu, t->rt_prio, t->policy);
	seq_printf(s, "%lu %lu %lu %lu %lu %lu %lu %u\n", l.start_data, l.end_data, l.start_brk,
		   l.arg_start, l.arg_end, l.env_start, l.env_end, look ? p->exit_status : 0);
	return 0;
}

static int show_pid_stat(struct seq *s, struct proc_ctx *c)
{
	return stat_line(s, c, true);
}
static int show_tid_stat(struct seq *s, struct proc_ctx *c)
{
	return stat_line(s, c, false);
}

static int show_statm(struct seq *s, struct proc_ctx *c)
{
	struct uspace *u = proc_uspace(c);
	struct quire_mm_usage m = {0};
	u64 text = 0;
	if (u) {
		struct quire_layout *l = quire_mm_layout(u->mm);
		quire_mm_usage(u->mm, &m);
		text = (quire_round_up(l->end_code, QUIRE_PAGE_SIZE) -
			quire_round_down(l->start_code, QUIRE_PAGE_SIZE)) /
		       QUIRE_PAGE_SIZE;
		uspace_put(u);
	}
	seq_printf(s, "%lu %lu %lu %lu 0 %lu 0\n", m.total_vm,
		   m.rss_anon + m.rss_file + m.rss_shmem, m.rss_file + m.rss_shmem, text,
		   m.data_vm + m.stack_vm);
	return 0;
}

/* ---- the name ---------------------------------------------------------------------------- */

static int show_comm(struct seq *s, struct proc_ctx *c)
{
	char comm[16];
	get_comm(c->task, comm);
	seq_printf(s, "%s\n", comm);
	return 0;
}

static s64 write_comm(struct proc_ctx *c, char *buf, size_t n)
{
	char comm[16] = {0};
	if (c->process != current()->process)
		return -EINVAL;
	if (n && buf[n - 1] == '\n')
		n--;
	memcpy(comm, buf, quire_min(n, sizeof(comm) - 1));
	memcpy(c->task->comm, comm, sizeof(comm));
	return 0;
}

/* ---- links ------------------------------------------------------------------------------ */

static int exe_path(struct proc_ctx *c, struct path *out)
{
	struct uspace *u = proc_uspace(c);
	struct file *f = NULL;
	if (!u)
		return -ENOENT;
	spin_lock(&u->exe_lock);
	f = u->exe;
	if (f)
		file_get(f);
	spin_unlock(&u->exe_lock);
	uspace_put(u);
	if (!f)
		return -ENOENT;
	*out = f->path;
	path_get(out);
	file_put(f);
	return 0;
}

static int fs_path(struct proc_ctx *c, struct path *out, bool root)
{
	struct fsctx *fs = task_fs_get(c->task);
	if (!fs)
		return -ENOENT;
	spin_lock(&fs->lock);
	*out = root ? *fs->root : *fs->cwd;
	path_get(out);
	spin_unlock(&fs->lock);
	fsctx_put(fs);
	return 0;
}

static int cwd_path(struct proc_ctx *c, struct path *out)
{
	return fs_path(c, out, false);
}
static int root_path(struct proc_ctx *c, struct path *out)
{
	return fs_path(c, out, true);
}

static int link_text(struct proc_ctx *c, char *buf, size_t max,
		     int (*get)(struct proc_ctx *, struct path *))
{
	struct path p;
	int r = get(c, &p);
	if (r)
		return r;
	char *page = quire_kmalloc(PATH_MAX, GFP_KERNEL);
	char *name = page ? path_name(&p, page, PATH_MAX) : NULL;
	r = page ? -ENAMETOOLONG : -ENOMEM;
	if (name) {
		r = (int)quire_min(strlen(name), max);
		memcpy(buf, name, (size_t)r);
	}
	quire_kfree(page);
	path_put(&p);
	return r;
}

static int exe_link(struct proc_ctx *c, char *buf, size_t max)
{
	return link_text(c, buf, max, exe_path);
}
static int cwd_link(struct proc_ctx *c, char *buf, size_t max)
{
	return link_text(c, buf, max, cwd_path);
}
static int root_link(struct proc_ctx *c, char *buf, size_t max)
{
	return link_text(c, buf, max, root_path);
}

/* ---- the rest ---------------------------------------------------------------------------- */

static int show_personality(struct seq *s, struct proc_ctx *c)
{
	seq_printf(s, "%08x\n", c->process->personality);
	return 0;
}

static int show_cgroup(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	seq_puts(s, "0::/\n");
	return 0;
}

static int show_loginuid(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	seq_puts(s, "4294967295");
	return 0;
}

/* There is one namespace of users: each is himself. */
static int show_id_map(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	seq_puts(s, "         0          0 4294967295\n");
	return 0;
}

static int show_setgroups(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	seq_puts(s, "allow\n");
	return 0;
}

static int show_wchan(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	seq_putc(s, '0');
	return 0;
}

static int show_children(struct seq *s, struct proc_ctx *c)
{
	u32 pid = 1;
	struct process *p;
	while ((p = process_next(pid))) {
		if (p->ppid == c->process->tgid)
			seq_printf(s, "%u ", p->tgid);
		pid = p->tgid + 1;
		process_put(p);
	}
	return 0;
}

/* ---- threads ---------------------------------------------------------------------------- */

static const struct proc_entry tid_entry = {"", S_IFDIR | 0555, .dir = proc_tid_table};

/* The thread with the lowest id >= from. */
static bool next_thread(const struct proc_node *dir, struct proc_ctx *c, u32 from, u32 *number,
			struct proc_node *out)
{
	u32 best = 0;
	struct task *t;
	spin_lock(&tree_lock);
	list_for_each (t, &c->process->threads, thread)
		if (t->tid >= from && (!best || t->tid < best))
			best = t->tid;
	spin_unlock(&tree_lock);
	if (!best)
		return false;
	*number = best;
	*out = (struct proc_node){.entry = &tid_entry, .pid = dir->pid, .tid = best};
	return true;
}

static bool find_thread(const struct proc_node *dir, struct proc_ctx *c, const char *name,
			size_t len, struct proc_node *out)
{
	u32 tid, got;
	return proc_number(name, len, &tid) && tid && next_thread(dir, c, tid, &got, out) &&
	       got == tid;
}

static const struct proc_names thread_names = {
    .find = find_thread, .next = next_thread, .prefix = ""};
static const struct proc_entry no_entries[] = {{0}};

#define COMMON_ENTRIES                                                                             \
	{"auxv", S_IFREG | 0400, .show = proc_show_auxv, .guarded = true, .keeps = true},          \
	    {"cgroup", S_IFREG | 0444, .show = show_cgroup},                                       \
	    {"clear_refs", S_IFREG | 0200, .write = proc_clear_refs, .guarded = true},             \
	    {"cmdline", S_IFREG | 0444, .show = proc_show_pid_cmdline},                            \
	    {"comm", S_IFREG | 0644, .show = show_comm, .write = write_comm},                      \
	    {"cwd", S_IFLNK | 0777, .readlink = cwd_link, .follow = cwd_path, .guarded = true},    \
	    {"environ", S_IFREG | 0400, .show = proc_show_environ, .guarded = true,                \
	     .keeps = true},                                                                       \
	    {"exe", S_IFLNK | 0777, .readlink = exe_link, .follow = exe_path, .guarded = true},    \
	    {"fd", S_IFDIR | 0500, .dir = no_entries, .names = &proc_fd_names, .guarded = true},   \
	    {"fdinfo", S_IFDIR | 0555, .dir = no_entries, .names = &proc_fdinfo_names,             \
	     .guarded = true},                                                                     \
                                                                                                   \
	    {"gid_map", S_IFREG | 0444, .show = show_id_map},                                      \
	    {"limits", S_IFREG | 0444, .show = proc_show_limits},                                  \
	    {"loginuid", S_IFREG | 0444, .show = show_loginuid},                                   \
	    {"maps", S_IFREG | 0444, .show = proc_show_maps, .guarded = true, .keeps = true},      \
	    {"mem", S_IFREG | 0600, .fops = &proc_mem_ops, .guarded = true, .keeps = true},        \
	    {"mountinfo", S_IFREG | 0444, .show = proc_show_mountinfo},                            \
	    {"mounts", S_IFREG | 0444, .show = proc_show_mounts},                                  \
	    {"ns", S_IFDIR | 0511, .dir = proc_ns_table},                                          \
	    {"numa_maps", S_IFREG | 0444, .show = proc_show_numa_maps, .guarded = true,            \
	     .keeps = true},                                                                       \
	    {"oom_adj", S_IFREG | 0644, .show = proc_show_oom_adj, .write = proc_write_oom_adj},   \
	    {"oom_score", S_IFREG | 0444, .show = proc_show_oom_score},                            \
	    {"oom_score_adj", S_IFREG | 0644, .show = proc_show_oom_score_adj,                     \
	     .write = proc_write_oom_score_adj},                                                   \
	    {"pagemap", S_IFREG | 0400, .fops = &proc_pagemap_ops, .guarded = true,                \
	     .keeps = true},                                                                       \
	    {"personality", S_IFREG | 0400, .show = show_personality, .guarded = true},            \
	    {"projid_map", S_IFREG | 0444, .show = show_id_map},                                   \
	    {"root", S_IFLNK | 0777, .readlink = root_link, .follow = root_path, .guarded = true}, \
	    {"setgroups", S_IFREG | 0444, .show = show_setgroups},                                 \
	    {"smaps", S_IFREG | 0444, .show = proc_show_smaps, .guarded = true, .keeps = true},    \
	    {"smaps_rollup", S_IFREG | 0444, .show = proc_show_smaps_rollup, .guarded = true,      \
	     .keeps = true},                                                                       \
	    {"statm", S_IFREG | 0444, .show = show_statm},                                         \
	    {"sessionid", S_IFREG | 0444, .show = show_loginuid},                                  \
	    {"status", S_IFREG | 0444, .show = show_status},                                       \
	    {"syscall", S_IFREG | 0400, .show = proc_show_syscall, .guarded = true},               \
	    {"uid_map", S_IFREG | 0444, .show = show_id_map},                                      \
	{                                                                                          \
		"wchan", S_IFREG | 0444, .show = show_wchan                                        \
	}

const struct proc_entry proc_pid_table[] = {
    COMMON_ENTRIES,
    {"io", S_IFREG | 0400, .show = proc_show_pid_io, .guarded = true},
    {"map_files", S_IFDIR | 0500, .dir = no_entries, .names = &proc_map_files_names,
     .guarded = true},
    {"mountstats", S_IFREG | 0400, .show = proc_show_mountstats},
    {"stat", S_IFREG | 0444, .show = show_pid_stat},
    {"task", S_IFDIR | 0555, .dir = no_entries, .names = &thread_names},
    {"timerslack_ns", S_IFREG | 0666, .show = proc_show_timerslack, .write = proc_write_timerslack},
    {0},
};
const struct proc_entry proc_tid_table[] = {
    COMMON_ENTRIES,
    {"children", S_IFREG | 0444, .show = show_children},
    {"io", S_IFREG | 0400, .show = proc_show_tid_io, .guarded = true},
    {"stat", S_IFREG | 0444, .show = show_tid_stat},
    {0},
};
