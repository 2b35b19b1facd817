/* SPDX-License-Identifier: MIT */
/*
 * Waiting for children: wait4, waitid, and reaping.
 *
 * The children of a process and their states are looked at under tree_lock; what
 * goes to the user is collected there and copied out afterwards.
 */
#include "internal.h"
#include "pidfd.h"

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
	struct process *finished; /* reaped: to be freed without the lock */
};

void release_process_locked(struct process *p)
{
	p->reaped = true;
	list_del(&p->sibling);
	list_del(&p->all);
	task_unlink_locked(p->leader);
	p->parent = NULL;
	nr_processes--;
}

static bool matches(const struct wait_query *q, const struct process *c)
{
	if ((q->type == P_PID && c->tgid != q->id) || (q->type == P_PGID && c->pgid != q->id))
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

/* Has child c news of the kind asked for?  It is told once. */
static bool news(struct wait_query *q, struct process *c)
{
	if (c->zombie) {
		if (!(q->options & WEXITED))
			return false;
		answer(q, c, c->exit_status & 0x7f ? CLD_KILLED : CLD_EXITED, c->exit_status);
		if (!(q->options & WNOWAIT)) {
			add_child_times(current()->process, c);
			release_process_locked(c);
			q->finished = c;
		}
		return true;
	}
	if (c->stopped && !c->stop_reported && (q->options & WSTOPPED)) {
		answer(q, c, CLD_STOPPED, c->stop_signal << 8 | 0x7f);
		c->stop_reported = !(q->options & WNOWAIT);
		return true;
	}
	if (c->continued && (q->options & WCONTINUED)) {
		answer(q, c, CLD_CONTINUED, 0xffff);
		if (!(q->options & WNOWAIT))
			c->continued = false;
		return true;
	}
	return false;
}

/* 1: answered; 0: some child may have news later; -ECHILD. */
static int scan(struct wait_query *q)
{
	struct process *c;
	int r = -ECHILD;
	spin_lock(&tree_lock);
	list_for_each (c, &current()->process->children, sibling) {
		if (!matches(q, c))
			continue;
		r = 0;
		if (news(q, c)) {
			r = 1;
			break;
		}
	}
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

static void finish(struct wait_query *q)
{
	if (q->finished)
		process_finished(q->finished);
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
	int r = do_wait(&q);
	if (r <= 0)
		return r;
	finish(&q);
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
	if (!r)
		r = do_wait(&q);
	if (r < 0)
		return r;
	if (r) {
		finish(&q);
		info.si_signo = SIGCHLD;
		info.si_code = q.code;
		info.chld.pid = (s32)q.pid;
		info.chld.uid = q.uid;
		info.chld.status = q.code == CLD_EXITED    ? (s32)(q.status >> 8 & 0xff)
				   : q.code == CLD_STOPPED ? (s32)(q.status >> 8)
				   : q.code == CLD_KILLED  ? (s32)(q.status & 0x7f)
							   : SIGCONT;
		if (urusage && copy_to_user(urusage, &q.usage, sizeof(q.usage)))
			return -EFAULT;
	}
	if (uinfo && copy_to_user(uinfo, &info, sizeof(info)))
		return -EFAULT;
	return 0;
}
