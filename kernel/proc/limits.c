/* SPDX-License-Identifier: MIT */
/*
 * Resource limits and usage, and scheduling priorities.
 * Limits are written under tree_lock; single values are read without.
 */
#include "internal.h"

_Static_assert((int)QUIRE_LIMIT_AS == RLIMIT_AS && (int)QUIRE_LIMIT_DATA == RLIMIT_DATA &&
		   (int)QUIRE_LIMIT_STACK == RLIMIT_STACK &&
		   (int)QUIRE_LIMIT_MEMLOCK == RLIMIT_MEMLOCK,
	       "limits by their numbers");

u64 quire_host_limit(enum quire_limit which)
{
	struct process *p = current()->process;

	if (quire_unlikely(!p))
		return ~0UL;
	if (quire_unlikely(which == QUIRE_LIMIT_DATA_HARD))
		return __atomic_load_n(&p->rlim[RLIMIT_DATA].max, __ATOMIC_RELAXED);
	return __atomic_load_n(&p->rlim[which].cur, __ATOMIC_RELAXED);
}

bool quire_host_may(enum quire_right right)
{
	static const u8 of[] = {[QUIRE_MAY_LOCK] = CAP_IPC_LOCK,
				[QUIRE_MAY_MAP_LOW] = CAP_SYS_RAWIO,
				[QUIRE_MAY_ADMIN] = CAP_SYS_ADMIN};
	struct process *p = current()->process;

	if (right == QUIRE_MAY_RUN_DATA)
		return p && (p->personality & PERSONALITY_READ_IMPLIES_EXEC);
	return !p || capable(of[right]);
}

static long set_limit(struct process *p, unsigned which, const struct rlimit *new,
		      struct rlimit *old)
{
	long err = 0;
	if (new &&new->cur > new->max)
		return -EINVAL;
	if (new &&which == RLIMIT_NOFILE &&new->max > 1u << 20)
		return -EPERM;
	bool privileged = capable(CAP_SYS_RESOURCE);
	spin_lock(&tree_lock);
	*old = p->rlim[which];
	if (new &&new->max > old->max && !privileged)
		err = -EPERM;
	else if (new)
		p->rlim[which] = *new;
	spin_unlock(&tree_lock);
	if (new && !err && which == RLIMIT_CPU)
		err = cpu_limit_changed(p);
	return err;
}

/* May current see and set the limits of t? */
static bool same_user(struct task *t)
{
	const struct cred *me = current()->cred;
	struct cred *c = task_cred_get(t);
	if (!c)
		return false;
	bool same = me->uid == c->euid && me->uid == c->suid && me->uid == c->uid &&
		    me->gid == c->egid && me->gid == c->sgid && me->gid == c->gid;
	cred_put(c);
	return same || capable(CAP_SYS_RESOURCE);
}

static long prlimit(s32 pid, u32 which, u64 unew, u64 uold)
{
	struct rlimit new, old;
	if (which >= RLIM_COUNT)
		return -EINVAL;
	if (unew && copy_from_user(&new, unew, sizeof(new)))
		return -EFAULT;
	struct task *t = pid ? task_find((u32)pid) : NULL;
	if (pid && (!t || !t->process)) {
		if (t)
			task_put(t);
		return -ESRCH;
	}
	struct process *p = t ? t->process : current()->process;
	long err = t && p != current()->process && !same_user(t) ? -EPERM : 0;
	if (!err)
		err = set_limit(p, which, unew ? &new : NULL, &old);
	if (t)
		task_put(t);
	if (!err && uold)
		err = copy_to_user(uold, &old, sizeof(old));
	return err;
}

SYSCALL4(prlimit64, s32, pid, u32, which, u64, unew, u64, uold)
{
	return prlimit(pid, which, unew, uold);
}

SYSCALL2(getrlimit, u32, which, u64, uold)
{
	return prlimit(0, which, 0, uold ? uold : 1);
}

SYSCALL2(setrlimit, u32, which, u64, unew)
{
	return prlimit(0, which, unew ? unew : 1, 0);
}

/* ---- the time of real-time tasks ------------------------------------------------------------- */

bool rt_time_over(const struct task *t)
{
	return t->process && t->rt_ran / 1000 >= t->process->rlim[RLIMIT_RTTIME].cur;
}

/* It hasn't slept for longer than it may: it is told once a second, and killed at last. */
void rt_time_signal(struct task *t)
{
	struct process *p = t->process;
	struct rlimit *l = &p->rlim[RLIMIT_RTTIME];
	u64 us = t->rt_ran / 1000;
	spin_lock(&tree_lock);
	int sig = us >= l->max ? SIGKILL : us >= l->cur ? SIGXCPU : 0;
	if (sig == SIGXCPU)
		l->cur += 1000000;
	spin_unlock(&tree_lock);
	if (sig)
		send_signal_process(p, sig, NULL);
}

/* ---- usage -------------------------------------------------------------------------------------
 */

static struct timeval_k tv_of(u64 ns)
{
	return (struct timeval_k){(s64)(ns / NSEC_PER_SEC), (s64)(ns % NSEC_PER_SEC / 1000)};
}

#define RUSAGE_SELF 0
#define RUSAGE_CHILDREN (-1)
#define RUSAGE_THREAD 1
#define RUSAGE_BOTH 2 /* the process and the children it has reaped */

static void add_threads(struct process *p, struct rusage_k *out)
{
	struct task *t;
	unsigned long irq = spin_lock_irq(&p->siglock);
	list_for_each (t, &p->threads, thread) {
		if (t->exiting >= 2)
			continue;
		out->minflt += (s64)t->min_flt;
		out->majflt += (s64)t->maj_flt;
		out->nvcsw += (s64)t->nvcsw;
		out->nivcsw += (s64)t->nivcsw;
		out->inblock += (s64)(t->io.read_bytes >> 9);
		out->oublock += (s64)(t->io.write_bytes >> 9);
	}
	spin_unlock_irq(&p->siglock, irq);
}

void io_counts_add(struct io_counts *sum, const struct io_counts *n)
{
	sum->rchar += n->rchar;
	sum->wchar += n->wchar;
	sum->syscr += n->syscr;
	sum->syscw += n->syscw;
	sum->read_bytes += n->read_bytes;
	sum->write_bytes += n->write_bytes;
}

void process_work(struct process *p, u64 *min_flt, u64 *maj_flt, struct io_counts *io)
{
	struct task *t;
	unsigned long irq = spin_lock_irq(&p->siglock);
	*min_flt = p->min_flt;
	*maj_flt = p->maj_flt;
	*io = p->io;
	list_for_each (t, &p->threads, thread) {
		if (t->exiting == 2)
			continue;
		*min_flt += t->min_flt;
		*maj_flt += t->maj_flt;
		io_counts_add(io, &t->io);
	}
	spin_unlock_irq(&p->siglock, irq);
}

static u64 peak_rss(struct process *p)
{
	struct quire_mm_usage usage;
	u64 peak = p->maxrss;
	if (p == current()->process && current()->uspace) {
		quire_mm_usage(current()->uspace->mm, &usage);
		peak = quire_max(peak, usage.hiwater_rss * (QUIRE_PAGE_SIZE / 1024));
	}
	return peak;
}

void rusage_of(struct process *p, int who, struct rusage_k *out)
{
	u64 user = 0, system = 0, rss = 0;
	memset(out, 0, sizeof(*out));
	if (who != RUSAGE_CHILDREN) {
		process_cpu_times(p, &user, &system);
		out->minflt = (s64)p->min_flt;
		out->majflt = (s64)p->maj_flt;
		out->nvcsw = (s64)p->nvcsw;
		out->nivcsw = (s64)p->nivcsw;
		out->inblock = (s64)p->in_blocks;
		out->oublock = (s64)p->out_blocks;
		add_threads(p, out);
		rss = peak_rss(p);
	}
	if (who != RUSAGE_SELF) {
		user += p->cutime;
		system += p->cstime;
		out->minflt += (s64)p->cmin_flt;
		out->majflt += (s64)p->cmaj_flt;
		out->nvcsw += (s64)p->cnvcsw;
		out->nivcsw += (s64)p->cnivcsw;
		out->inblock += (s64)p->cin_blocks;
		out->oublock += (s64)p->cout_blocks;
		rss = quire_max(rss, p->cmaxrss);
	}
	out->utime = tv_of(user);
	out->stime = tv_of(system);
	out->maxrss = (s64)rss;
}

SYSCALL2(getrusage, int, who, u64, uusage)
{
	struct rusage_k r;
	struct task *t = current();
	u64 user, system;
	if (who != RUSAGE_SELF && who != RUSAGE_CHILDREN && who != RUSAGE_THREAD)
		return -EINVAL;
	if (who != RUSAGE_THREAD) {
		rusage_of(t->process, who, &r);
		return copy_to_user(uusage, &r, sizeof(r));
	}
	memset(&r, 0, sizeof(r));
	task_cpu_times(t, &user, &system);
	r.utime = tv_of(user);
	r.stime = tv_of(system);
	r.minflt = (s64)t->min_flt;
	r.majflt = (s64)t->maj_flt;
	r.nvcsw = (s64)t->nvcsw;
	r.nivcsw = (s64)t->nivcsw;
	r.inblock = (s64)(t->io.read_bytes >> 9);
	r.oublock = (s64)(t->io.write_bytes >> 9);
	r.maxrss = (s64)peak_rss(t->process);
	return copy_to_user(uusage, &r, sizeof(r));
}

/* ---- priorities
 * ------------------------------------------------------------------------------------ */

#define PRIO_PROCESS 0
#define PRIO_PGRP 1
#define PRIO_USER 2

static bool selected(struct task *t, int which, u32 who)
{
	if (which == PRIO_PROCESS)
		return t->tid == who;
	if (which == PRIO_PGRP)
		return t->process->pgid == who;
	return t->cred && t->cred->uid == who;
}

static long set_nice(struct task *t, int nice)
{
	const struct cred *me = current()->cred;
	if (me->euid != t->cred->euid && me->euid != t->cred->uid && !capable(CAP_SYS_NICE))
		return -EPERM;
	u64 rlim = t->process->rlim[RLIMIT_NICE].cur;
	if (nice < t->nice && (u64)(20 - nice) > rlim && !capable(CAP_SYS_NICE))
		return -EACCES;
	pi_set_nice(t, nice);
	return 0;
}

/* Over all tasks that are meant.  set: give them nice; else the highest priority. */
static long each_priority(int which, u32 who, bool set, int nice)
{
	struct process *p;
	struct task *t;
	long r = -ESRCH;
	if (which < PRIO_PROCESS || which > PRIO_USER)
		return -EINVAL;
	if (!who)
		who = which == PRIO_PROCESS ? current()->tid
		      : which == PRIO_PGRP  ? current()->process->pgid
					    : current()->cred->uid;
	spin_lock(&tree_lock);
	list_for_each (p, &all_processes, all)
		list_for_each (t, &p->threads, thread) {
			if (p == init_process || !selected(t, which, who))
				continue;
			if (set) {
				long e = set_nice(t, nice);
				r = e || r == -ESRCH ? e : r;
			} else {
				r = quire_max(r, 20L - t->nice);
			}
		}
	spin_unlock(&tree_lock);
	return r;
}

SYSCALL2(getpriority, int, which, u32, who)
{
	return each_priority(which, who, false, 0);
}

SYSCALL3(setpriority, int, which, u32, who, int, nice)
{
	nice = nice < -20 ? -20 : nice > 19 ? 19 : nice;
	return each_priority(which, who, true, nice);
}
