/* SPDX-License-Identifier: MIT */
/*
 * Waiting for children and tracees: wait4, waitid, and reaping.
 *
 * The children of a process and their states are looked at under tree_lock; what
 * goes to the user is collected there and copied out afterwards.
 *
 * A traced process is its tracer's to wait for: the parent sees it stop with its group,
 * but its end only when the tracer has seen it, or doesn't trace any more.  A parent
 * that traces its child itself sees it once, as the tracer.
 */
#include "pidfd.h"
#include "trace.h"

#define WNOHANG 1u
#define WSTOPPED 2u
#define WEXITED 4u
#define WCONTINUED 8u
#define WNOWAIT 0x01000000u
#define WNOTHREAD 0x20000000u
#define WALL 0x40000000u
#define WCLONE 0x80000000u

#define P_ALL 0
#define P_PID 1
#define P_PGID 2
#define P_PIDFD 3

struct wait_query {
	int type;
	u32 id, options;
	/* the answer */
	u32 pid, uid, status;
	int code;
	struct rusage_k usage;
	struct list dead; /* reaped: to be freed without the lock */
};

void release_process_locked(struct process *p)
{
	p->reaped = true;
	trace_unlink_locked(p->leader);
	list_del(&p->sibling);
	list_del(&p->all);
	task_unlink_locked(p->leader);
	p->parent = NULL;
	nr_processes--;
}

struct task *parent_thread_locked(struct process *p)
{
	struct task *t = task_find_locked(p->parent_tid);
	if (t && t->process == p->parent && !t->exiting)
		return t;
	list_for_each (t, &p->parent->threads, thread)
		if (!t->exiting)
			return t;
	return NULL;
}

static bool wanted(const struct wait_query *q, u32 id, const struct process *p)
{
	return !((q->type == P_PID && id != q->id) || (q->type == P_PGID && p->pgid != q->id));
}

static bool matches(const struct wait_query *q, struct process *c)
{
	if (!wanted(q, c->tgid, c))
		return false;
	if ((q->options & WNOTHREAD) && parent_thread_locked(c) != current())
		return false;
	if (q->options & WALL)
		return true;
	return (c->exit_signal != SIGCHLD) == !!(q->options & WCLONE);
}

static void add_child_times(struct process *p, const struct process *c)
{
	p->cutime += c->utime + c->cutime;
	p->cstime += c->stime + c->cstime;
	p->cmin_flt += c->min_flt + c->cmin_flt;
	p->cmaj_flt += c->maj_flt + c->cmaj_flt;
	p->cnvcsw += c->nvcsw + c->cnvcsw;
	p->cnivcsw += c->nivcsw + c->cnivcsw;
	p->cin_blocks += c->in_blocks + c->cin_blocks;
	p->cout_blocks += c->out_blocks + c->cout_blocks;
	io_counts_add(&p->io, &c->io);
	p->cmaxrss = quire_max(p->cmaxrss, quire_max(c->maxrss, c->cmaxrss));
}

static void answer(struct wait_query *q, struct process *c, int code, u32 status)
{
	struct cred *cred = c->leader ? c->leader->cred : NULL;
	q->pid = c->tgid;
	q->uid = cred ? cred->uid : 0;
	q->code = code;
	q->status = status;
	rusage_of(c, 2, &q->usage);
}

/* ---- what there is to tell -------------------------------------------------------------- */

static bool end_of_process(struct wait_query *q, struct process *c)
{
	struct process *me = current()->process;
	if (!(q->options & WEXITED))
		return false;
	answer(q, c, c->exit_status & 0x7f ? CLD_KILLED : CLD_EXITED, c->exit_status);
	if (q->options & WNOWAIT)
		return true;
	if (c->parent == me) {
		add_child_times(me, c);
		release_process_locked(c);
		list_add_tail(&q->dead, &c->sibling);
	} else {
		trace_detach_locked(c->leader, &q->dead);
	}
	return true;
}

static bool continued(struct wait_query *q, struct process *c)
{
	if (!c->continued || !(q->options & WCONTINUED))
		return false;
	answer(q, c, CLD_CONTINUED, 0xffff);
	if (!(q->options & WNOWAIT))
		c->continued = false;
	return true;
}

/* Has tracee t news of the kind asked for?  It is told once. */
static bool news_of_tracee(struct wait_query *q, struct task *t)
{
	struct process *p = t->process;
	bool leader = t == p->leader;
	if (leader && p->zombie)
		return end_of_process(q, p);
	if (!leader && t->exiting == 3) {
		u32 st = t->exit_code;
		if (!(q->options & WEXITED))
			return false;
		answer(q, p, st & 0x7f ? CLD_KILLED : CLD_EXITED, st);
		q->pid = t->tid;
		if (!(q->options & WNOWAIT))
			trace_detach_locked(t, &q->dead);
		return true;
	}
	unsigned long irq = spin_lock_irq(&p->siglock);
	bool stopped = (t->jobctl & (JOB_TRACED | JOB_LISTENING)) == JOB_TRACED;
	u32 code = stopped ? t->trace.code : 0;
	if (code && !(q->options & WNOWAIT))
		t->trace.code = 0;
	spin_unlock_irq(&p->siglock, irq);
	if (!code)
		return continued(q, p);
	answer(q, p, CLD_TRAPPED, code << 8 | 0x7f);
	q->pid = t->tid;
	return true;
}

/* The same for child c, which isn't traced or by others. */
static bool news(struct wait_query *q, struct process *c)
{
	if (c->zombie)
		return !c->leader->trace.tracer && end_of_process(q, c);
	if (c->stopped && !c->stop_reported && (q->options & WSTOPPED)) {
		answer(q, c, CLD_STOPPED, c->stop_signal << 8 | 0x7f);
		c->stop_reported = !(q->options & WNOWAIT);
		return true;
	}
	return continued(q, c);
}

static int scan_tracees(struct wait_query *q, struct task *tracer, int r)
{
	struct task *t;
	list_for_each (t, &tracer->trace.tracees, trace.traced) {
		if (!wanted(q, t->tid, t->process))
			continue;
		r = 0;
		if (news_of_tracee(q, t))
			return 1;
	}
	return r;
}

/* 1: answered; 0: some child may have news later; -ECHILD. */
static int scan(struct wait_query *q)
{
	struct process *c, *me = current()->process;
	struct task *t;
	int r = -ECHILD;
	spin_lock(&tree_lock);
	list_for_each (c, &me->children, sibling) {
		struct task *tracer = c->leader->trace.tracer;
		if (!matches(q, c))
			continue;
		r = 0;
		if (tracer && tracer->process == me ? news_of_tracee(q, c->leader) : news(q, c)) {
			r = 1;
			break;
		}
	}
	list_for_each (t, &me->threads, thread)
		if (r != 1 && (t == current() || !(q->options & WNOTHREAD)))
			r = scan_tracees(q, t, r);
	spin_unlock(&tree_lock);
	return r;
}

/* 1: answered; 0: nothing (WNOHANG); -errno. */
static int do_wait(struct wait_query *q)
{
	int r = scan(q), err;
	if (r || (q->options & WNOHANG))
		return r;
	err = wait_event_interruptible(&current()->process->wait_child, (r = scan(q)) != 0);
	return r ? r : err ? -ERESTARTSYS : 0;
}

SYSCALL4(wait4, s32, pid, u64, ustatus, u32, options, u64, urusage)
{
	struct wait_query q = {.options = options | WEXITED};
	if (options & ~(WNOHANG | WSTOPPED | WCONTINUED | WNOTHREAD | WALL | WCLONE))
		return -EINVAL;
	if (pid == (s32)0x80000000)
		return -ESRCH;
	q.type = pid == -1 ? P_ALL : pid > 0 ? P_PID : P_PGID;
	q.id = pid > 0 ? (u32)pid : pid ? (u32)-pid : current()->process->pgid;
	list_init(&q.dead);
	int r = do_wait(&q);
	finish_dead(&q.dead);
	if (r <= 0)
		return r;
	if (ustatus && put_user_u32(ustatus, q.status))
		return -EFAULT;
	if (urusage && copy_to_user(urusage, &q.usage, sizeof(q.usage)))
		return -EFAULT;
	return q.pid;
}

static int waitid_target(struct wait_query *q, int type, s32 id)
{
	q->type = type;
	q->id = (u32)id;
	if (type == P_ALL)
		return 0;
	if (type == P_PID)
		return id > 0 ? 0 : -EINVAL;
	if (type == P_PGID) {
		if (!id)
			q->id = current()->process->pgid;
		return id >= 0 ? 0 : -EINVAL;
	}
	if (type != P_PIDFD)
		return -EINVAL;
	q->type = P_PID;
	return pidfd_pid(id, &q->id);
}

SYSCALL5(waitid, int, type, s32, id, u64, uinfo, u32, options, u64, urusage)
{
	struct wait_query q = {.options = options};
	struct siginfo info = {0};
	if ((options &
	     ~(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | WNOTHREAD | WALL | WCLONE)) ||
	    !(options & (WEXITED | WSTOPPED | WCONTINUED)))
		return -EINVAL;
	int r = waitid_target(&q, type, id);
	list_init(&q.dead);
	if (!r)
		r = do_wait(&q);
	finish_dead(&q.dead);
	if (r < 0)
		return r;
	if (r) {
		info.si_signo = SIGCHLD;
		info.si_code = q.code;
		info.chld.pid = (s32)q.pid;
		info.chld.uid = q.uid;
		info.chld.status = q.code == CLD_EXITED ? (s32)(q.status >> 8 & 0xff)
				   : q.code == CLD_STOPPED || q.code == CLD_TRAPPED
				       ? (s32)(q.status >> 8)
				   : q.code == CLD_KILLED ? (s32)(q.status & 0x7f)
							  : SIGCONT;
		if (urusage && copy_to_user(urusage, &q.usage, sizeof(q.usage)))
			return -EFAULT;
	}
	if (uinfo && copy_to_user(uinfo, &info, sizeof(info)))
		return -EFAULT;
	return 0;
}
