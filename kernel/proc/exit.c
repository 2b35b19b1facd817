/* SPDX-License-Identifier: MIT */
/*
 * How threads and processes end.
 *
 * A thread gives up what it has, and takes itself off its process; the last one
 * makes the process a zombie, hands its children to a reaper and tells the
 * parent.  A thread other than the leader vanishes at once, or when its tracer has heard
 * of its end; the leader stays in the table of ids until the process is reaped (wait.c).
 *
 * The tree (parents, children, threads) changes under tree_lock; everything that
 * may sleep is given up before.
 */
#include "../fs/vfs.h"
#include "trace.h"

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
	futex_exit(t, true);
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
	fsctx_leave(fs);
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

static void death_info(struct siginfo *info, struct process *p, u32 st)
{
	child_info(info, p, st & 0x7f ? CLD_KILLED : CLD_EXITED,
		   st & 0x7f ? (int)(st & 0x7f) : (int)(st >> 8 & 0xff));
}

/* The death of p; tree_lock held.  True when nobody will wait for it. */
static bool tell_death_locked(struct process *p)
{
	struct process *parent = p->parent;
	struct siginfo info;
	u64 flags = 0;
	bool gone = false;
	death_info(&info, p, p->exit_status);
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

/* Of a traced task: the tracer waits for it in any case. */
static void tell_death_to_tracer_locked(struct task *t)
{
	struct process *p = t->process, *to = t->trace.tracer->process;
	bool group = t == p->leader;
	u32 sig = group && to == p->parent ? p->exit_signal : SIGCHLD;
	struct siginfo info;
	u64 flags;
	death_info(&info, p, group ? p->exit_status : t->exit_code);
	info.si_signo = (s32)sig;
	info.chld.pid = (s32)t->tid;
	info.chld.uid = t->cred->uid;
	if (sig && (sig != SIGCHLD || chld_action(to, &flags) != SIG_IGN))
		send_signal_process(to, (int)sig, &info);
	waitq_wake_all(&to->wait_child);
}

void tell_real_parent_locked(struct process *p, struct list *dead)
{
	if (tell_death_locked(p)) {
		release_process_locked(p);
		list_add_tail(dead, &p->sibling);
	}
}

void zombie_locked(struct process *p, struct list *dead)
{
	p->zombie = true;
	if (p->leader->trace.tracer)
		tell_death_to_tracer_locked(p->leader);
	else
		tell_real_parent_locked(p, dead);
	waitq_wake_all(&p->wait_pidfd);
}

/* Threads end in any order, and traced ones stay until their tracers have heard of it. */
static void last_of_group_locked(struct process *p, struct list *dead)
{
	if (!p->nr_running && p->nr_threads == 1 && !p->zombie && p->leader->exiting == 3)
		zombie_locked(p, dead);
	waitq_wake_all(&p->wait_exec);
}

void release_thread_locked(struct task *t, struct list *dead)
{
	task_unlink_locked(t);
	last_of_group_locked(t->process, dead);
	task_put(t);
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
		c->parent_tid = reaper->tgid;
		if (c->zombie && !c->leader->trace.tracer)
			tell_real_parent_locked(c, dead);
		else
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
static bool leave_process(struct task *t, u32 code)
{
	struct process *p = t->process;
	unsigned long irq = spin_lock_irq(&p->siglock);
	account_thread(p, t);
	t->exiting = 2;
	bool last = !--p->nr_running;
	if (last && !p->group_exit)
		p->exit_status = code;
	sigpending_flush(&t->sig_pending, ~0UL);
	if (last) {
		sigpending_flush(&p->sig_pending, ~0UL);
		p->stopped = false;
		p->stop_count = 0;
	}
	spin_unlock_irq(&p->siglock, irq);
	return last;
}

/* Nobody runs any more: what the process had besides its threads. */
static void give_up_process_locked(struct process *p, struct list *dead)
{
	unsigned long irq = spin_lock_irq(&p->siglock);
	struct sighand *s = p->sighand;
	p->sighand = NULL;
	spin_unlock_irq(&p->siglock, irq);
	sighand_put(s);
	reparent_children_locked(p, dead);
	orphan_check_locked(p, NULL);
}

void finish_dead(struct list *dead)
{
	struct process *c, *tmp;
	list_for_each_safe (c, tmp, dead, sibling) {
		list_del(&c->sibling);
		process_finished(c);
	}
}

/* The tracer may look at it for the last time; SIGKILL has done its work. */
static void report_exit(struct task *t, u32 code)
{
	struct process *p = t->process;
	if (!trace_event_wanted(PTRACE_EVENT_EXIT))
		return;
	unsigned long irq = spin_lock_irq(&p->siglock);
	t->sig_pending.set &= ~SIGMASK(SIGKILL);
	spin_unlock_irq(&p->siglock, irq);
	trace_event(PTRACE_EVENT_EXIT, code);
}

/* From now on signals go to other threads; and so does this one's share of a stop. */
static bool begin_exit(struct task *t)
{
	struct process *p = t->process;
	struct task *o;
	bool stopped = false;
	unsigned long irq = spin_lock_irq(&p->siglock);
	t->exiting = 1;
	bool seems_last = p->nr_running == 1;
	list_for_each (o, &p->threads, thread)
		if (o != t && !o->exiting && p->sig_pending.set & ~o->sig_blocked)
			task_flag_set(o, TASK_SIGPENDING);
	if ((t->jobctl & JOB_STOP_PENDING) && !p->group_exit)
		stopped = participate_locked(t);
	spin_unlock_irq(&p->siglock, irq);
	if (stopped)
		notify_parent(p, CLD_STOPPED, (int)p->stop_signal);
	return seems_last;
}

_Noreturn void thread_exit(u32 code)
{
	struct task *t = current();
	struct process *p = t->process;
	struct list dead = LIST_INIT(dead);

	irq_enable();
	report_exit(t, code);
	if (begin_exit(t)) {
		itimers_exit(p);
		timers_exit(p);
	}
	if (t->uspace)
		give_up_memory(t);
	vfork_release(t);
	ioports_release(t);
	give_up_rest(t);

	bool last = leave_process(t, code);
	if (last) {
		/* Threads may have made timers while this one was ending. */
		itimers_exit(p);
		timers_exit(p);
		if (p->sid == p->tgid)
			tty_session_exit(p);
	}
	spin_lock(&tree_lock);
	trace_tracer_exits_locked(t, &dead);
	t->sighand = NULL;
	t->exit_code = p->group_exit ? p->exit_status : code;
	t->exiting = 3;
	bool leader = p->leader == t, stays = leader || t->trace.tracer;
	if (last)
		give_up_process_locked(p, &dead);
	if (!stays)
		task_unlink_locked(t);
	else if (!leader)
		tell_death_to_tracer_locked(t);
	last_of_group_locked(p, &dead);
	spin_unlock(&tree_lock);
	if (!stays)
		task_put(t); /* the table's reference; the scheduler has its own while we run */
	finish_dead(&dead);
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
		p->stopped = false;
		p->stop_count = 0;
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
