/* SPDX-License-Identifier: MIT */
/*
 * Signals: what is pending, and sending.
 *
 * A process's siglock (interrupts off: timers send, too) guards the pending sets
 * and queues of the process and of its threads, its list of threads and its stop
 * state; sighand->lock, inside it, guards the actions.  A set tells which signals are
 * pending; the queue says more about them.  Standard signals are queued once.
 *
 * A sender sets TASK_SIGPENDING of a thread that will handle the signal and wakes
 * it; the thread finds out what there is in deliver.c.  Signals that end the
 * process for sure do so here at once, so that killable waits end.
 */
#include "trace.h"

#define SYNCHRONOUS                                                                \
	(SIGMASK(SIGSEGV) | SIGMASK(SIGBUS) | SIGMASK(SIGILL) | SIGMASK(SIGTRAP) | \
	 SIGMASK(SIGFPE) | SIGMASK(SIGSYS))
#define STOPPING (SIGMASK(SIGSTOP) | SIGMASK(SIGTSTP) | SIGMASK(SIGTTIN) | SIGMASK(SIGTTOU))
#define DEFAULT_IGNORED (SIGMASK(SIGCONT) | SIGMASK(SIGCHLD) | SIGMASK(SIGWINCH) | SIGMASK(SIGURG))
#define DEFAULT_CORE \
	(SYNCHRONOUS | SIGMASK(SIGQUIT) | SIGMASK(SIGABRT) | SIGMASK(SIGXCPU) | SIGMASK(SIGXFSZ))

static struct quire_kmem *entry_cache;
static u64 nr_queued; /* entries of senders' making, system-wide; atomic */

void signal_init(void)
{
	entry_cache = quire_kmem_create("sigqueue", sizeof(struct sigentry), 0);
}

void sigpending_init(struct sigpending *p)
{
	p->set = 0;
	list_init(&p->queue);
}

/* ---- entries ---------------------------------------------------------------------------- */

static void entry_release(struct sigentry *e)
{
	if (e->preallocated) {
		e->queued = false;
		return;
	}
	__atomic_sub_fetch(&nr_queued, 1, __ATOMIC_RELAXED);
	quire_kmem_free(entry_cache, e);
}

/* An interrupt may not allocate; signals from there come without info. */
static struct sigentry *entry_new(int sig, const struct siginfo *info)
{
	struct process *me = current()->process;
	if (in_interrupt())
		return NULL;
	u64 limit = me ? me->rlim[RLIMIT_SIGPENDING].cur : ~0UL;
	bool from_user = info && info->si_code <= 0 && sig >= SIGRTMIN;
	if (__atomic_add_fetch(&nr_queued, 1, __ATOMIC_RELAXED) > limit && from_user)
		goto none;
	struct sigentry *e = quire_kmem_alloc(entry_cache, GFP_ATOMIC);
	if (!e)
		goto none;
	memset(e, 0, sizeof(*e));
	e->sig = (s16)sig;
	if (info)
		e->info = *info;
	else
		e->info.si_code = SI_KERNEL;
	e->info.si_signo = sig;
	return e;
none:
	__atomic_sub_fetch(&nr_queued, 1, __ATOMIC_RELAXED);
	return NULL;
}

void sigpending_flush(struct sigpending *p, u64 mask)
{
	struct sigentry *e, *tmp;
	if (!(p->set & mask))
		return;
	p->set &= ~mask;
	list_for_each_safe (e, tmp, &p->queue, node)
		if (SIGMASK(e->sig) & mask) {
			list_del(&e->node);
			entry_release(e);
		}
}

/* Take one signal of mask off p: its number, or 0. */
static int pending_take(struct sigpending *p, u64 mask, struct siginfo *info)
{
	u64 ready = p->set & mask;
	struct sigentry *e, *found = NULL;
	bool more = false;
	if (!ready)
		return 0;
	if (ready & SYNCHRONOUS)
		ready &= SYNCHRONOUS;
	int sig = __builtin_ctzl(ready) + 1;
	list_for_each (e, &p->queue, node)
		if (e->sig == sig) {
			if (found) {
				more = true;
				break;
			}
			found = e;
		}
	if (!more)
		p->set &= ~SIGMASK(sig);
	memset(info, 0, sizeof(*info));
	info->si_signo = sig;
	if (found) {
		*info = found->info;
		list_del(&found->node);
		if (found->preallocated) {
			found->last_overrun = found->overrun;
			found->overrun = 0;
			if (info->si_code == SI_TIMER)
				info->timer.overrun = found->last_overrun;
		}
		entry_release(found);
	}
	return sig;
}

/* ---- whom it concerns -------------------------------------------------------------------- */

void signal_recalc_locked(struct task *t)
{
	struct process *p = t->process;
	if (((t->sig_pending.set | p->sig_pending.set) & ~t->sig_blocked) ||
	    (t->jobctl & JOB_PENDING) || p->group_exit || p->notify_cont ||
	    (p->exec_task && p->exec_task != t))
		task_flag_set(t, TASK_SIGPENDING);
	else if (t == current())
		task_flag_clear(t, TASK_SIGPENDING);
}

static u64 handler_of(struct process *p, int sig)
{
	return p->sighand ? __atomic_load_n(&p->sighand->action[sig - 1].handler, __ATOMIC_RELAXED)
			  : SIG_IGN;
}

static bool ignored(struct process *p, int sig)
{
	u64 h = handler_of(p, sig);
	return h == SIG_IGN || (h == SIG_DFL && (DEFAULT_IGNORED & SIGMASK(sig)));
}

static bool some_thread_blocks(struct process *p, struct task *only, int sig)
{
	struct task *t;
	if (only)
		return only->sig_blocked & SIGMASK(sig);
	list_for_each (t, &p->threads, thread)
		if (t->sig_blocked & SIGMASK(sig))
			return true;
	return false;
}

void wake_for_signal(struct task *t, bool fatal)
{
	u32 states = 1u << TASK_INTERRUPTIBLE;
	if (fatal) {
		states |= 1u << TASK_KILLABLE | 1u << TASK_STOPPED;
		t->jobctl &= ~JOB_STOPPED;
	}
	if (fatal && !(t->jobctl & JOB_FROZEN)) {
		states |= 1u << TASK_TRACED;
		t->jobctl &= ~JOB_TRACED;
	}
	task_flag_set(t, TASK_SIGPENDING);
	if (!wake_task(t, states) && t != current())
		sched_kick(t);
}

void kill_other_threads(struct process *p, struct task *except)
{
	struct task *t;
	list_for_each (t, &p->threads, thread)
		if (t != except && !t->exiting) {
			t->sig_pending.set |= SIGMASK(SIGKILL);
			t->jobctl &= ~(JOB_PENDING | JOB_STOP_CONSUME);
			wake_for_signal(t, true);
		}
}

/* Will take the signal when told? */
static bool wants(struct task *t, int sig)
{
	return !t->exiting &&
	       (sig == SIGKILL || !(t->sig_blocked & ~t->sig_waiting & SIGMASK(sig)));
}

static struct task *choose_thread(struct process *p, int sig)
{
	struct task *t;
	list_for_each (t, &p->threads, thread)
		if ((t->sig_waiting & SIGMASK(sig)) && wants(t, sig))
			return t;
	t = current();
	if (!in_interrupt() && t->process == p && wants(t, sig))
		return t;
	t = p->leader;
	if (t && wants(t, sig))
		return t;
	list_for_each (t, &p->threads, thread)
		if (wants(t, sig))
			return t;
	return NULL;
}

static bool surely_fatal(struct process *p, int sig)
{
	return sig == SIGKILL || (handler_of(p, sig) == SIG_DFL &&
				  !(SIGMASK(sig) & (DEFAULT_IGNORED | DEFAULT_CORE | STOPPING)));
}

/* Whoever traces it wants to see the signal first. */
static bool shown_to_tracer(struct process *p, struct task *t, int sig)
{
	if (!t)
		t = p->leader;
	return t && t->trace.tracer && sig != SIGKILL;
}

static void tell_thread(struct process *p, struct task *t, int sig)
{
	bool shown = shown_to_tracer(p, t, sig);
	if (t ? !wants(t, sig) : !(t = choose_thread(p, sig)))
		return;
	if (t->sig_waiting & SIGMASK(sig)) { /* it takes the signal itself: no delivery */
		wake_task(t, 1u << TASK_INTERRUPTIBLE);
		return;
	}
	if (!p->group_exit && !shown && surely_fatal(p, sig)) {
		p->group_exit = true;
		p->exit_status = (u32)sig;
		p->stopped = false;
		p->stop_count = 0;
		kill_other_threads(p, NULL);
		return;
	}
	wake_for_signal(t, sig == SIGKILL);
}

/* ---- stop and continue ------------------------------------------------------------------- */

static void flush_everywhere(struct process *p, u64 mask)
{
	struct task *t;
	sigpending_flush(&p->sig_pending, mask);
	list_for_each (t, &p->threads, thread)
		sigpending_flush(&t->sig_pending, mask);
}

/* Stop signals and SIGCONT cancel each other; SIGCONT works even where it is blocked. */
static void stop_or_continue(struct process *p, int sig)
{
	struct task *t;
	if (STOPPING & SIGMASK(sig))
		flush_everywhere(p, SIGMASK(SIGCONT));
	if (sig != SIGCONT)
		return;
	flush_everywhere(p, STOPPING);
	if (p->stopped)
		p->continued = p->notify_cont = true;
	p->stopped = false;
	p->stop_count = 0;
	list_for_each (t, &p->threads, thread) {
		t->jobctl &= ~(JOB_STOP_PENDING | JOB_STOP_CONSUME | JOB_STOP_DEQUEUED);
		if (p->notify_cont)
			task_flag_set(t, TASK_SIGPENDING);
		if (t->trace.seized) {
			trace_notify_locked(t);
		} else {
			t->jobctl &= ~JOB_STOPPED;
			wake_task(t, 1u << TASK_STOPPED);
		}
	}
}

/* ---- sending ------------------------------------------------------------------------------- */

/* siglock held.  e: may be null.  True when e was queued. */
static bool send_locked(struct process *p, struct task *t, int sig, struct sigentry *e)
{
	struct sigpending *q = t ? &t->sig_pending : &p->sig_pending;
	if (!p->sighand || p == init_process)
		return false;
	stop_or_continue(p, sig);
	if (ignored(p, sig) && !shown_to_tracer(p, t, sig) && !some_thread_blocks(p, t, sig))
		return false;
	if (sig < SIGRTMIN && (q->set & SIGMASK(sig)))
		return false;
	q->set |= SIGMASK(sig);
	if (e)
		list_add_tail(&q->queue, &e->node);
	tell_thread(p, t, sig);
	waitq_wake_all(&p->wait_signal);
	return e != NULL;
}

static int send(struct process *p, struct task *t, int sig, const struct siginfo *info)
{
	if (!sig || !p)
		return 0;
	struct sigentry *e = entry_new(sig, info);
	if (!e && info && info->si_code < 0 && sig >= SIGRTMIN && !in_interrupt())
		return -EAGAIN;
	unsigned long irq = spin_lock_irq(&p->siglock);
	bool queued = send_locked(p, t, sig, e);
	spin_unlock_irq(&p->siglock, irq);
	if (e && !queued)
		entry_release(e);
	return 0;
}

void signal_requeue_locked(struct task *t, int sig, const struct siginfo *info)
{
	struct sigentry *e = entry_new(sig, info);
	if (!send_locked(t->process, t, sig, e) && e)
		entry_release(e);
}

/* The nth entry of t's queue, or its process's: false when there are fewer. */
bool signal_peek(struct task *t, bool shared, u64 nth, struct siginfo *info)
{
	struct process *p = t->process;
	struct sigpending *q = shared ? &p->sig_pending : &t->sig_pending;
	struct sigentry *e;
	bool found = false;
	unsigned long irq = spin_lock_irq(&p->siglock);
	list_for_each (e, &q->queue, node)
		if (!nth--) {
			*info = e->info;
			found = true;
			break;
		}
	spin_unlock_irq(&p->siglock, irq);
	return found;
}

int send_signal_task(struct task *t, int sig, const struct siginfo *info)
{
	return send(t->process, t, sig, info);
}

int send_signal_process(struct process *p, int sig, const struct siginfo *info)
{
	return send(p, NULL, sig, info);
}

int send_signal_group(u32 pgid, int sig, const struct siginfo *info)
{
	struct process *p;
	int err = -ESRCH;
	spin_lock(&tree_lock);
	list_for_each (p, &all_processes, all)
		if (p->pgid == pgid && !p->reaped)
			err = send(p, NULL, sig, info);
	spin_unlock(&tree_lock);
	return err;
}

void send_sigentry(struct process *p, struct task *t, struct sigentry *e)
{
	unsigned long irq = spin_lock_irq(&p->siglock);
	if (e->queued) {
		if (e->overrun < 0x7fffffff)
			e->overrun++;
	} else {
		e->queued = true;
		if (!send_locked(p, t, e->sig, e))
			e->queued = false;
	}
	spin_unlock_irq(&p->siglock, irq);
}

void cancel_sigentry(struct process *p, struct sigentry *e)
{
	unsigned long irq = spin_lock_irq(&p->siglock);
	if (e->queued) {
		list_del(&e->node);
		e->queued = false;
	}
	spin_unlock_irq(&p->siglock, irq);
}

void force_signal(int sig, const struct siginfo *info)
{
	struct task *t = current();
	struct process *p = t->process;
	struct sigentry *e = entry_new(sig, info);
	unsigned long irq = spin_lock_irq(&p->siglock);
	u64 h = handler_of(p, sig);
	if (p->sighand && (h == SIG_IGN || (t->sig_blocked & SIGMASK(sig)))) {
		spin_lock(&p->sighand->lock);
		p->sighand->action[sig - 1].handler = SIG_DFL;
		spin_unlock(&p->sighand->lock);
		t->sig_blocked &= ~SIGMASK(sig);
	}
	bool queued = false;
	if (!(t->sig_pending.set & SIGMASK(sig))) {
		t->sig_pending.set |= SIGMASK(sig);
		if (e) {
			list_add_tail(&t->sig_pending.queue, &e->node);
			queued = true;
		}
	}
	if (sig == SIGKILL)
		tell_thread(p, t, sig);
	task_flag_set(t, TASK_SIGPENDING);
	spin_unlock_irq(&p->siglock, irq);
	if (e && !queued)
		entry_release(e);
}

/* ---- taking --------------------------------------------------------------------------------- */

bool signal_pending(void)
{
	return __atomic_load_n(&current()->sig_flag, __ATOMIC_RELAXED) & TASK_SIGPENDING;
}

bool signal_fatal_pending(void)
{
	struct task *t = current();
	if (!(__atomic_load_n(&t->sig_flag, __ATOMIC_RELAXED) & TASK_SIGPENDING) || !t->process)
		return false;
	return (__atomic_load_n(&t->sig_pending.set, __ATOMIC_RELAXED) & SIGMASK(SIGKILL)) ||
	       t->process->group_exit;
}

int signal_dequeue(u64 mask, struct siginfo *info)
{
	struct task *t = current();
	struct process *p = t->process;
	mask &= ~(SIGMASK(SIGKILL) | SIGMASK(SIGSTOP));
	unsigned long irq = spin_lock_irq(&p->siglock);
	int sig = pending_take(&t->sig_pending, mask, info);
	if (!sig)
		sig = pending_take(&p->sig_pending, mask, info);
	if (sig)
		signal_recalc_locked(t);
	spin_unlock_irq(&p->siglock, irq);
	return sig;
}

void signal_wait_for(u64 mask)
{
	struct task *t = current();
	unsigned long irq = spin_lock_irq(&t->process->siglock);
	t->sig_waiting = mask & ~(SIGMASK(SIGKILL) | SIGMASK(SIGSTOP)); /* nobody takes these */
	spin_unlock_irq(&t->process->siglock, irq);
}

u64 signal_pending_set(void)
{
	struct task *t = current();
	return __atomic_load_n(&t->sig_pending.set, __ATOMIC_RELAXED) |
	       __atomic_load_n(&t->process->sig_pending.set, __ATOMIC_RELAXED);
}

void signal_sets_of(struct task *t, struct signal_sets *out)
{
	struct process *p = t->process;
	memset(out, 0, sizeof(*out));
	if (!p)
		return;
	unsigned long irq = spin_lock_irq(&p->siglock);
	out->task_pending = t->sig_pending.set;
	out->shared_pending = p->sig_pending.set;
	out->blocked = t->sig_blocked;
	for (int sig = 1; p->sighand && sig <= NSIG; sig++) {
		u64 h = handler_of(p, sig);
		if (h == SIG_IGN)
			out->ignored |= SIGMASK(sig);
		else if (h != SIG_DFL)
			out->caught |= SIGMASK(sig);
	}
	out->queued = (u32)__atomic_load_n(&nr_queued, __ATOMIC_RELAXED);
	spin_unlock_irq(&p->siglock, irq);
}

bool signal_blocked_or_ignored(int sig)
{
	struct task *t = current();
	return (t->sig_blocked & SIGMASK(sig)) || handler_of(t->process, sig) == SIG_IGN;
}

/* Threads that might take what the current one blocks from now on. */
static void retarget_locked(struct process *p, u64 mask)
{
	struct task *t;
	list_for_each (t, &p->threads, thread)
		if (t != current() && !t->exiting && (mask & ~t->sig_blocked))
			wake_for_signal(t, false);
}

void set_blocked(u64 mask)
{
	struct task *t = current();
	struct process *p = t->process;
	mask &= ~(SIGMASK(SIGKILL) | SIGMASK(SIGSTOP));
	if (mask == t->sig_blocked)
		return;
	unsigned long irq = spin_lock_irq(&p->siglock);
	u64 newly = mask & ~t->sig_blocked & p->sig_pending.set;
	t->sig_blocked = mask;
	if (newly)
		retarget_locked(p, newly);
	signal_recalc_locked(t);
	spin_unlock_irq(&p->siglock, irq);
}

bool participate_locked(struct task *t)
{
	struct process *p = t->process;
	bool counted = t->jobctl & JOB_STOP_CONSUME;
	t->jobctl &= ~(JOB_STOP_PENDING | JOB_STOP_CONSUME | JOB_STOP_DEQUEUED);
	if (!counted)
		return false;
	if (p->stop_count)
		p->stop_count--;
	if (p->stop_count || p->stopped)
		return false;
	p->stopped = true;
	p->stop_reported = p->continued = false;
	return true;
}

/* Begin a stop of the whole process, unless SIGCONT came since; siglock held. */
static void begin_stop_locked(struct process *p, int sig)
{
	struct task *t, *me = current();
	if (!(me->jobctl & JOB_STOP_DEQUEUED) || p->group_exit || p->exec_task ||
	    (me->jobctl & JOB_STOP_PENDING))
		return;
	if (!p->stopped)
		p->stop_signal = (u32)sig;
	p->stop_count = 0;
	list_for_each (t, &p->threads, thread) {
		if (t->exiting || (t->jobctl & JOB_STOPPED))
			continue;
		t->jobctl =
		    (t->jobctl & ~JOB_SIGNAL) | (u32)sig | JOB_STOP_PENDING | JOB_STOP_CONSUME;
		p->stop_count++;
		if (t != me && t->trace.seized)
			trace_notify_locked(t);
		else
			wake_for_signal(t, false);
	}
}

int signal_next(struct siginfo *info, struct sigaction_k *act)
{
	struct task *t = current();
	struct process *p = t->process;
	unsigned long irq = spin_lock_irq(&p->siglock);
	int sig;
	for (;;) {
		u64 allowed = ~t->sig_blocked;
		if ((t->jobctl & JOB_PENDING) || p->group_exit ||
		    (p->exec_task && p->exec_task != t)) {
			sig = 0; /* the caller looks at these first */
			break;
		}
		sig = pending_take(&t->sig_pending, allowed, info);
		if (!sig)
			sig = pending_take(&p->sig_pending, allowed, info);
		if (!sig)
			break;
		if (SIGMASK(sig) & STOPPING)
			t->jobctl |= JOB_STOP_DEQUEUED;
		if (t->trace.tracer && sig != SIGKILL) {
			/* The tracer may make a stop signal of it. */
			t->jobctl |= JOB_STOP_DEQUEUED;
			spin_unlock_irq(&p->siglock, irq);
			sig = trace_signal(sig, info);
			irq = spin_lock_irq(&p->siglock);
			if (!sig)
				continue;
		}
		spin_lock(&p->sighand->lock);
		struct sigaction_k *a = &p->sighand->action[sig - 1];
		*act = *a;
		if (a->handler > SIG_IGN && (a->flags & SA_RESETHAND))
			a->handler = SIG_DFL;
		spin_unlock(&p->sighand->lock);
		if (act->handler == SIG_IGN)
			continue;
		if (act->handler != SIG_DFL || !(SIGMASK(sig) & (DEFAULT_IGNORED | STOPPING)))
			break;
		if (SIGMASK(sig) & DEFAULT_IGNORED)
			continue;
		if (sig != SIGSTOP) { /* looking at the group takes the tree lock */
			spin_unlock_irq(&p->siglock, irq);
			bool orphaned = process_group_orphaned(p->pgid);
			irq = spin_lock_irq(&p->siglock);
			if (orphaned)
				continue;
		}
		begin_stop_locked(p, sig);
	}
	signal_recalc_locked(t);
	spin_unlock_irq(&p->siglock, irq);
	return sig;
}
