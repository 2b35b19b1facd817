/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID: limits, the out-of-memory score and its adjustment, I/O counts, and what a
 * thread is doing: syscall, timerslack_ns.
 *
 * Locking: as proc_pid.c: single numbers, each true at some moment.
 */
#include <quire/string.h>

#include "../arch/cpu.h"
#include "../lib/print.h"
#include "../lib/string.h"
#include "proc.h"

#define CAP_SYS_NICE 23
#define CAP_SYS_RESOURCE 24
#define SCORE_MIN (-1000)
#define SCORE_MAX 1000
#define ADJ_DISABLE (-17) /* of oom_adj, the old scale */
#define ADJ_MAX 15

/* ---- limits ----------------------------------------------------------------------------- */

static void show_limit(struct seq *s, u64 v)
{
	if (v == ~0UL)
		seq_printf(s, "%-20s ", "unlimited");
	else
		seq_printf(s, "%-20lu ", v);
}

int proc_show_limits(struct seq *s, struct proc_ctx *c)
{
	static const struct {
		const char *name, *unit;
	} lim[RLIM_COUNT] = {
	    {"Max cpu time", "seconds"},     {"Max file size", "bytes"},
	    {"Max data size", "bytes"},      {"Max stack size", "bytes"},
	    {"Max core file size", "bytes"}, {"Max resident set", "bytes"},
	    {"Max processes", "processes"},  {"Max open files", "files"},
	    {"Max locked memory", "bytes"},  {"Max address space", "bytes"},
	    {"Max file locks", "locks"},     {"Max pending signals", "signals"},
	    {"Max msgqueue size", "bytes"},  {"Max nice priority", ""},
	    {"Max realtime priority", ""},   {"Max realtime timeout", "us"},
	};
	seq_printf(s, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
	for (unsigned i = 0; i < RLIM_COUNT; i++) {
		struct rlimit r = c->process->rlim[i];
		seq_printf(s, "%-25s ", lim[i].name);
		show_limit(s, r.cur);
		show_limit(s, r.max);
		if (*lim[i].unit)
			seq_printf(s, "%-10s\n", lim[i].unit);
		else
			seq_putc(s, '\n');
	}
	return 0;
}

/* ---- who is killed when memory is short --------------------------------------------------- */

/* Thousandths of memory in use, moved by the adjustment, on Linux's scale of 0 to 2000: 666
 * for a small process. */
int proc_show_oom_score(struct seq *s, struct proc_ctx *c)
{
	struct uspace *u = proc_uspace(c);
	s64 total = (s64)quire_total_pages(), score = 0, adj = c->process->oom_score_adj;
	if (u && c->process->tgid != 1 && adj != SCORE_MIN) {
		struct quire_mm_usage m;
		quire_mm_usage(u->mm, &m);
		s64 points = (s64)(m.rss_anon + m.rss_file + m.rss_shmem + m.swap + m.page_tables) +
			     adj * (total / 1000);
		score = (1000 + points * 1000 / total) * 2 / 3;
	}
	if (u)
		uspace_put(u);
	seq_printf(s, "%ld\n", score < 0 ? 0 : score);
	return 0;
}

int proc_show_oom_score_adj(struct seq *s, struct proc_ctx *c)
{
	seq_printf(s, "%d\n", c->process->oom_score_adj);
	return 0;
}

bool proc_parse_int(const char *buf, size_t n, s64 *out)
{
	size_t i = 0;
	bool minus = false;
	u64 v = 0, base = 10;
	while (n && (buf[n - 1] == '\n' || buf[n - 1] == ' ' || buf[n - 1] == '\t'))
		n--;
	while (i < n && (buf[i] == ' ' || buf[i] == '\t' || buf[i] == '\n'))
		i++;
	if (i < n && (buf[i] == '-' || buf[i] == '+'))
		minus = buf[i++] == '-';
	if (n - i > 1 && buf[i] == '0') {
		base = (buf[i + 1] | 32) == 'x' && n - i > 2 ? 16 : 8;
		i += base == 16 ? 2 : 1;
	}
	if (i == n || n - i > 12)
		return false;
	for (; i < n; i++) {
		char ch = (char)(buf[i] | 32);
		u64 digit = buf[i] >= '0' && buf[i] <= '9' ? (u64)(buf[i] - '0')
			    : ch >= 'a' && ch <= 'f'       ? (u64)(ch - 'a' + 10)
							   : 16;
		if (digit >= base)
			return false;
		v = v * base + digit;
	}
	*out = minus ? -(s64)v : (s64)v;
	return v <= 0x80000000UL;
}

/* Processes that share the memory are killed together: one adjustment for all. */
static void set_adj(struct proc_ctx *c, s32 adj, bool floor)
{
	struct uspace *u = proc_uspace(c);
	struct process *p;
	c->process->oom_score_adj = adj;
	if (floor)
		c->process->oom_score_adj_min = adj;
	for (u32 pid = 1; u && (p = process_next(pid)) != NULL;) {
		struct uspace *o = p != c->process ? process_uspace_get(p) : NULL;
		if (o == u) {
			p->oom_score_adj = adj;
			if (floor)
				p->oom_score_adj_min = adj;
		}
		if (o)
			uspace_put(o);
		pid = p->tgid + 1;
		process_put(p);
	}
	if (u)
		uspace_put(u);
}

s64 proc_write_oom_score_adj(struct proc_ctx *c, char *buf, size_t n)
{
	s64 adj;
	if (!proc_parse_int(buf, n, &adj) || adj < SCORE_MIN || adj > SCORE_MAX)
		return -EINVAL;
	/* Not below what somebody with the right to it last set. */
	if (adj < c->process->oom_score_adj_min && !capable(CAP_SYS_RESOURCE))
		return -EACCES;
	set_adj(c, (s32)adj, capable(CAP_SYS_RESOURCE));
	return 0;
}

int proc_show_oom_adj(struct seq *s, struct proc_ctx *c)
{
	s32 adj = c->process->oom_score_adj;
	adj = adj == SCORE_MAX ? ADJ_MAX : adj * -ADJ_DISABLE / SCORE_MAX;
	seq_printf(s, "%d\n", quire_min(adj, ADJ_MAX));
	return 0;
}

s64 proc_write_oom_adj(struct proc_ctx *c, char *buf, size_t n)
{
	s64 adj;
	if (!proc_parse_int(buf, n, &adj) ||
	    ((adj < ADJ_DISABLE + 1 || adj > ADJ_MAX) && adj != ADJ_DISABLE))
		return -EINVAL;
	adj = adj == ADJ_MAX ? SCORE_MAX : adj * SCORE_MAX / -ADJ_DISABLE;
	if (adj < c->process->oom_score_adj && !capable(CAP_SYS_RESOURCE))
		return -EACCES;
	set_adj(c, (s32)adj, false);
	return 0;
}

/* ---- I/O -------------------------------------------------------------------------------- */

static void show_counts(struct seq *s, const struct io_counts *io)
{
	seq_printf(s,
		   "rchar: %lu\nwchar: %lu\nsyscr: %lu\nsyscw: %lu\nread_bytes: %lu\n"
		   "write_bytes: %lu\ncancelled_write_bytes: 0\n",
		   io->rchar, io->wchar, io->syscr, io->syscw, io->read_bytes, io->write_bytes);
}

int proc_show_pid_io(struct seq *s, struct proc_ctx *c)
{
	struct io_counts io;
	u64 min, maj;
	process_work(c->process, &min, &maj, &io);
	show_counts(s, &io);
	return 0;
}

int proc_show_tid_io(struct seq *s, struct proc_ctx *c)
{
	show_counts(s, &c->task->io);
	return 0;
}

/* ---- what a thread is at ---------------------------------------------------------------- */

int proc_show_syscall(struct seq *s, struct proc_ctx *c)
{
	struct task *t = c->task;
	if (t != current() && __atomic_load_n(&t->state, __ATOMIC_RELAXED) == TASK_RUNNING) {
		seq_puts(s, "running\n");
		return 0;
	}
	struct regs r = *task_regs(t);
	if ((s64)r.orig_rax < 0)
		seq_printf(s, "-1 0x%lx 0x%lx\n", r.rsp, r.rip);
	else
		seq_printf(s, "%ld 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx\n",
			   (s64)r.orig_rax, r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9, r.rsp, r.rip);
	return 0;
}

static bool may_schedule(struct proc_ctx *c)
{
	return c->process == current()->process || capable(CAP_SYS_NICE);
}

int proc_show_timerslack(struct seq *s, struct proc_ctx *c)
{
	if (!may_schedule(c))
		return -EPERM;
	seq_printf(s, "%lu\n", c->task->timer_slack);
	return 0;
}

s64 proc_write_timerslack(struct proc_ctx *c, char *buf, size_t n)
{
	s64 v;
	if (!proc_parse_int(buf, n, &v) || v < 0)
		return -EINVAL;
	if (!may_schedule(c))
		return -EPERM;
	c->task->timer_slack = v ? (u64)v : 50000;
	return 0;
}
