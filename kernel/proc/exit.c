/* SPDX-License-Identifier: MIT */
/*
 * How threads and processes end.
 *
 * A thread gives up what it has, and takes itself off its process; the last one
 * makes the process a zombie, hands its children to a reaper and tells the
 * parent.  A thread other than the leader vanishes at once; the leader stays in the
 * table of ids until the process is reaped (wait.c).
 *
 * The tree (parents, children, threads) changes under tree_lock; everything that
 * may sleep is given up before.
 */
#include "../fs/vfs.h"
#include "internal.h"

/* Let a parent go on that waits in vfork. */
void vfork_release(struct task *t)
{
	struct task *parent = t->vfork_parent;
	if (!parent)
		return;
	t->vfork_parent = NULL;
	__atomic_store_n(&t->vfork_done, 1u, __ATOMIC_SEQ_CST);
	wake_task(parent, WAKE_NORMAL);
	task_put(parent);
}

/* ---- what the thread has ------------------------------------------------------------------ */

static void give_up_memory(struct task *t)
{
	struct uspace *u = t->uspace;
	struct process *p = t->process;
	struct quire_mm_usage usage;
	futex_exit_robust(t);
	if (t->clear_child_tid && __atomic_load_n(&u->refs, __ATOMIC_RELAXED) > 1) {
		if (!put_user_u32(t->clear_child_tid, 0))
			futex_wake_one(t->clear_child_tid);
	}
	t->clear_child_tid = 0;
	quire_mm_usage(u->mm, &usage);
	u64 peak = usage.hiwater_rss * (QUIRE_PAGE_SIZE / 1024);
	unsigned long irq = spin_lock_irq(&p->siglock);
	if (p->maxrss < peak)
		p->maxrss = peak;
	t->uspace = NULL;
	uspace_switch(u, NULL); /* preemption is off under the lock */
	spin_unlock_irq(&p->siglock, irq);
	vfork_release(t);
	uspace_put(u);
}

static void give_up_rest(struct task *t)
{
	struct process *p = t->process;
	unsigned long irq = spin_lock_irq(&p->siglock);
	struct fdtable *files = t->files;
	struct fsctx *fs = t->fs;
	t->files = NULL;
	t->fs = NULL;
	spin_unlock_irq(&p->siglock, irq);
	if (files)
		fdtable_put(files);
	fsctx_put(fs);
}

/* ---- process groups without a guardian ------------------------------------------------------- */

static bool orphaned_locked(u32 pgid, const struct process *ignore)
{
	struct process *p;
	list_for_each (p, &all_processes, all) {
		if (p->pgid != pgid || p == ignore || p->zombie || p->parent == init_process ||
		    !p->parent)
			continue;
		if (p->parent->pgid != pgid && p->parent->sid == p->sid)
			return false;
	}
	return true;
}

bool process_group_orphaned(u32 pgid)
{
	spin_lock(&tree_lock);
	bool r = orphaned_locked(pgid, NULL);
	spin_unlock(&tree_lock);
	return r;
}

static bool has_stopped_locked(u32 pgid)
{
	struct process *p;
	list_for_each (p, &all_processes, all)
		if (p->pgid == pgid && p->stopped)
			return true;
	return false;
}

/* p ends (parent given: p's new state as a child of it is what changed): its group may have
 * lost the last one who could continue it. */
void orphan_check_locked(struct process *p, struct process *parent)
{
	struct process *q, *ignore = parent ? NULL : p;
	if (!parent)
		parent = p->parent;
	if (!parent || parent->pgid == p->pgid || parent->sid != p->sid)
		return;
	if (!orphaned_locked(p->pgid, ignore) || !has_stopped_locked(p->pgid))
		return;
	list_for_each (q, &all_processes, all)
		if (q->pgid == p->pgid) {
			send_signal_process(q, SIGHUP, NULL);
			send_signal_process(q, SIGCONT, NULL);
		}
}

/* ---- telling the parent ------------------------------------------------------------------------
 */

static void child_info(struct siginfo *info, struct process *p, int code, int status)
{
	u64 u = p->utime, s = p->stime;
	memset(info, 0, sizeof(*info));
	info->si_signo = SIGCHLD;
	info->si_code = code;
	info->chld.pid = (s32)p->tgid;
	info->chld.uid = p->leader && p->leader->cred ? p->leader->cred->uid : 0;
	info->chld.status = status;
	info->chld.utime = (s64)(u / 10000000);
	info->chld.stime = (s64)(s / 10000000);
}

static u64 chld_action(struct process *parent, u64 *flags)
{
	u64 h = SIG_DFL;
	unsigned long irq = spin_lock_irq(&parent->siglock);
	*flags = 0;
	if (parent->sighand) {
		h = parent->sighand->action[SIGCHLD - 1].handler;
		*flags = parent->sighand->action[SIGCHLD - 1].flags;
	}
	spin_unlock_irq(&parent->siglock, irq);
	return h;
}

void notify_parent(struct process *p, int code, int status)
{
	struct siginfo info;
	u64 flags;
	spin_lock(&tree_lock);
	struct process *parent = p->parent;
	if (parent) {
		child_info(&info, p, code, status);
		u64 h = chld_action(parent, &flags);
		if (h != SIG_IGN && !(flags & SA_NOCLDSTOP))
			send_signal_process(parent, SIGCHLD, &info);
		waitq_wake_all(&parent->wait_child);
	}
	spin_unlock(&tree_lock);
}

/* The death of p; tree_lock held.  True when nobody will wait for it. */
static bool tell_death_locked(struct process *p)
{
	struct process *parent = p->parent;
	struct siginfo info;
	u64 flags = 0;
	u32 st = p->exit_status;
	bool gone = false;
	child_info(&info, p, st & 0x7f ? CLD_KILLED : CLD_EXITED,
		   st & 0x7f ? (int)(st & 0x7f) : (int)(st >> 8 & 0xff));
	info.si_signo = (s32)p->exit_signal;
	if (p->exit_signal == SIGCHLD) {
		u64 h = chld_action(parent, &flags);
		gone = h == SIG_IGN || (flags & SA_NOCLDWAIT);
		if (h != SIG_IGN)
			send_signal_process(parent, SIGCHLD, &info);
	} else if (p->exit_signal) {
		send_signal_process(parent, (int)p->exit_signal, &info);
	}
	waitq_wake_all(&parent->wait_child);
	return gone;
}

/* ---- the end of a process -----------------------------------------------------------------------
 */

static struct process *reaper_of_locked(struct process *p)
{
	for (struct process *a = p->parent; a && a != init_process; a = a->parent)
		if (a->child_subreaper && !a->zombie)
			return a;
	return init_process;
}

static void reparent_children_locked(struct process *p, struct list *dead)
{
	struct process *reaper = reaper_of_locked(p), *c, *tmp;
	struct task *t;
	list_for_each_safe (c, tmp, &p->children, sibling) {
		c->parent = reaper;
		c->ppid = reaper->tgid;
		list_del(&c->sibling);
		list_add_tail(&reaper->children, &c->sibling);
		list_for_each (t, &c->threads, thread)
			if (t->pdeath_signal)
				send_signal_task(t, (int)t->pdeath_signal, NULL);
		c->exit_signal = SIGCHLD;
		if (c->zombie && tell_death_locked(c)) {
			release_process_locked(c);
			list_add_tail(dead, &c->sibling);
		}
		orphan_check_locked(c, p);
	}
}

/* A session leader's end: its terminal goes, and the foreground group hears of it. */
__attribute__((weak)) void tty_session_exit(struct process *p);
__attribute__((weak)) void tty_session_exit(struct process *p)
{
	p->tty = NULL;
}

void process_finished(struct process *p)
{
	unsigned long irq = spin_lock_irq(&p->siglock);
	struct task *leader = p->leader;
	p->leader = NULL;
	spin_unlock_irq(&p->siglock, irq);
	if (leader)
		task_put(leader);
	process_put(p);
}

/* Count the thread's work as the process's. */
static void account_thread(struct process *p, struct task *t)
{
	u64 u, s;
	task_cpu_times(t, &u, &s);
	p->utime += u;
	p->stime += s;
	p->min_flt += t->min_flt;
	p->maj_flt += t->maj_flt;
	p->nvcsw += t->nvcsw;
	p->nivcsw += t->nivcsw;
	io_counts_add(&p->io, &t->io);
	p->in_blocks += t->io.read_bytes >> 9;
	p->out_blocks += t->io.write_bytes >> 9;
}

/* The thread is no longer one that runs.  True: it was the last. */
static bool leave_process(struct task *t, u32 code, bool *stopped)
{
	struct process *p = t->process;
	unsigned long irq = spin_lock_irq(&p->siglock);
	account_thread(p, t);
	t->exiting = 2;
	bool last = !--p->nr_running;
	if (last && !p->group_exit)
		p->exit_status = code;
	sigpending_flush(&t->sig_pending, ~0UL);
	if (p->stopping && p->stop_count && !--p->stop_count && !last) {
		p->stopped = *stopped = true;
		p->stop_reported = false;
	}
	if (last) {
		sigpending_flush(&p->sig_pending, ~0UL);
		p->stopping = p->stopped = false;
	}
	spin_unlock_irq(&p->siglock, irq);
	return last;
}

static void become_zombie(struct task *t, struct list *dead)
{
	struct process *p = t->process;
	unsigned long irq = spin_lock_irq(&p->siglock);
	struct sighand *s = p->sighand;
	p->sighand = NULL;
	spin_unlock_irq(&p->siglock, irq);
	sighand_put(s);
	reparent_children_locked(p, dead);
	orphan_check_locked(p, NULL);
	p->zombie = true;
	if (tell_death_locked(p)) {
		release_process_locked(p);
		list_add_tail(dead, &p->sibling);
	}
	waitq_wake_all(&p->wait_pidfd);
}

_Noreturn void thread_exit(u32 code)
{
	struct task *t = current();
	struct process *p = t->process;
	struct list dead = LIST_INIT(dead);
	struct process *c, *tmp;
	bool stopped = false;

	irq_enable();
	unsigned long irq = spin_lock_irq(&p->siglock);
	t->exiting = 1;
	bool seems_last = p->nr_running == 1;
	/* Signals meant for this thread's process go to another one from now on. */
	struct task *o;
	list_for_each (o, &p->threads, thread)
		if (o != t && !o->exiting && p->sig_pending.set & ~o->sig_blocked)
			task_flag_set(o, TASK_SIGPENDING);
	spin_unlock_irq(&p->siglock, irq);
	if (seems_last) {
		itimers_exit(p);
		timers_exit(p);
	}
	if (t->uspace)
		give_up_memory(t);
	vfork_release(t);
	give_up_rest(t);

	bool last = leave_process(t, code, &stopped);
	if (stopped)
		notify_parent(p, CLD_STOPPED, (int)p->stop_signal);
	if (last) {
		/* Threads may have made timers while this one was ending. */
		itimers_exit(p);
		timers_exit(p);
		if (p->sid == p->tgid)
			tty_session_exit(p);
	}
	spin_lock(&tree_lock);
	t->sighand = NULL;
	bool leader = p->leader == t;
	if (!leader)
		task_unlink_locked(t);
	if (last)
		become_zombie(t, &dead);
	waitq_wake_all(&p->wait_exec);
	spin_unlock(&tree_lock);
	if (!leader)
		task_put(t); /* the table's reference; the scheduler has its own while we run */
	list_for_each_safe (c, tmp, &dead, sibling) {
		list_del(&c->sibling);
		process_finished(c);
	}
	irq_disable();
	__atomic_store_n(&t->state, (u32)TASK_DEAD, __ATOMIC_RELEASE);
	schedule_exit();
}

_Noreturn void group_exit(u32 wait_status)
{
	struct process *p = current()->process;
	unsigned long irq = spin_lock_irq(&p->siglock);
	if (p->group_exit) {
		wait_status = p->exit_status;
	} else {
		p->group_exit = true;
		p->exit_status = wait_status;
		p->stopping = p->stopped = false;
		kill_other_threads(p, current());
	}
	spin_unlock_irq(&p->siglock, irq);
	thread_exit(wait_status);
}

SYSCALL1(exit, u32, code)
{
	thread_exit((code & 0xff) << 8);
}

SYSCALL1(exit_group, u32, code)
{
	group_exit((code & 0xff) << 8);
}
