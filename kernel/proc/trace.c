/* SPDX-License-Identifier: MIT */
/*
 * Tracing: how a traced task stops for its tracer, and what it stops for.
 *
 * A task has at most one tracer, a thread, and is in that thread's list.  It stops by
 * itself, on its way to user mode or within a system call (trace_stop()), says so to
 * the tracer, and sleeps in TASK_TRACED until the tracer (ptrace.c), its own death by
 * SIGKILL or the tracer's end clears JOB_TRACED.
 *
 * The link between the two changes under tree_lock and the traced one's siglock; the
 * state of the stop is guarded by that siglock.  While JOB_FROZEN is set the tracer
 * works on a stopped task, and a SIGKILL's wake-up is put off.
 *
 * The group's stop (SIGSTOP and the like) is a trap for a traced thread: the tracer
 * decides when it goes on.
 */
#include "trace.h"

/* ---- who may --------------------------------------------------------------------------- */

int ptrace_may_access(struct task *t, bool fs_ids)
{
	const struct cred *me = current()->cred;
	u32 uid = fs_ids ? me->fsuid : me->uid, gid = fs_ids ? me->fsgid : me->gid;
	u64 caps = fs_ids ? me->cap_effective : me->cap_permitted;
	if (t == current() || t->process == current()->process)
		return 0;
	if (capable(CAP_SYS_PTRACE))
		return 0;
	struct cred *c = task_cred_get(t);
	if (!c)
		return -EPERM;
	bool ok = uid == c->euid && uid == c->suid && uid == c->uid && gid == c->egid &&
		  gid == c->sgid && gid == c->gid && !(c->cap_permitted & ~caps);
	cred_put(c);
	struct uspace *u = task_uspace_get(t);
	if (u) {
		ok = ok && u->dumpable;
		uspace_put(u);
	}
	return ok ? 0 : -EPERM;
}

u32 trace_tracer_tid(struct task *t)
{
	spin_lock(&tree_lock);
	u32 tid = t->trace.tracer ? t->trace.tracer->tid : 0;
	spin_unlock(&tree_lock);
	return tid;
}

/* ---- the link -------------------------------------------------------------------------- */

void trace_link_locked(struct task *t, struct task *tracer, bool seized, u32 options)
{
	unsigned long irq = spin_lock_irq(&t->process->siglock);
	t->trace.tracer = tracer;
	t->trace.seized = seized;
	t->trace.options = options;
	list_add_tail(&tracer->trace.tracees, &t->trace.traced);
	spin_unlock_irq(&t->process->siglock, irq);
}

void trace_wake_locked(struct task *t, bool resume)
{
	u32 states = 1u << TASK_INTERRUPTIBLE;
	if (resume) {
		t->jobctl &= ~JOB_TRACED;
		states |= 1u << TASK_TRACED;
	}
	task_flag_set(t, TASK_SIGPENDING);
	if (!wake_task(t, states) && t != current())
		sched_kick(t);
}

void trace_notify_locked(struct task *t)
{
	if (t->exiting)
		return;
	t->jobctl |= JOB_TRAP_NOTIFY;
	trace_wake_locked(t, t->jobctl & JOB_LISTENING);
}

void trace_unlink_locked(struct task *t)
{
	struct process *p = t->process;
	if (!t->trace.tracer)
		return;
	unsigned long irq = spin_lock_irq(&p->siglock);
	list_del(&t->trace.traced);
	list_init(&t->trace.traced);
	t->trace.tracer = NULL;
	t->trace.seized = t->trace.syscalls = t->trace.emulate = t->trace.step = false;
	t->trace.options = 0;
	t->syscall_limit = SYSCALL_COUNT;
	t->jobctl &= ~(JOB_TRAPS | JOB_FROZEN);
	if (!t->exiting && (p->stopped || p->stop_count)) {
		t->jobctl |= JOB_STOP_PENDING;
		if (!(t->jobctl & JOB_SIGNAL))
			t->jobctl |= SIGSTOP;
	}
	if (t->jobctl & (JOB_STOP_PENDING | JOB_TRACED))
		trace_wake_locked(t, true);
	spin_unlock_irq(&p->siglock, irq);
}

void trace_detach_locked(struct task *t, struct list *dead)
{
	struct process *p = t->process, *by = t->trace.tracer->process;
	trace_unlink_locked(t);
	if (t->exiting != 3)
		return;
	if (t != p->leader)
		release_thread_locked(t, dead);
	else if (p->zombie && by != p->parent)
		tell_real_parent_locked(p, dead);
}

void trace_inherit_locked(struct task *t)
{
	struct task *me = current();
	if (!me->trace.tracer)
		return;
	trace_link_locked(t, me->trace.tracer, me->trace.seized, me->trace.options);
	if (t->trace.seized)
		t->jobctl |= JOB_TRAP_STOP;
	else
		t->sig_pending.set |= SIGMASK(SIGSTOP);
	task_flag_set(t, TASK_SIGPENDING);
}

void trace_tracer_exits_locked(struct task *tracer, struct list *dead)
{
	struct task *t, *tmp;
	list_for_each_safe (t, tmp, &tracer->trace.tracees, trace.traced) {
		if (t->trace.options & PTRACE_O_EXITKILL)
			send_signal_task(t, SIGKILL, NULL);
		trace_detach_locked(t, dead);
	}
}

/* ---- telling the tracer ------------------------------------------------------------------ */

static void tell_locked(struct task *t, struct process *to, int why, u32 status)
{
	struct siginfo info = {.si_signo = SIGCHLD, .si_code = why};
	u64 user, system, handler = SIG_DFL, flags = 0;
	task_cpu_times(t, &user, &system);
	info.chld.pid = (s32)t->tid;
	info.chld.uid = t->cred->uid;
	info.chld.status = (s32)status;
	info.chld.utime = (s64)(user / 10000000);
	info.chld.stime = (s64)(system / 10000000);
	unsigned long irq = spin_lock_irq(&to->siglock);
	if (to->sighand) {
		handler = to->sighand->action[SIGCHLD - 1].handler;
		flags = to->sighand->action[SIGCHLD - 1].flags;
	}
	spin_unlock_irq(&to->siglock, irq);
	if (handler != SIG_IGN && !(flags & SA_NOCLDSTOP))
		send_signal_process(to, SIGCHLD, &info);
	waitq_wake_all(&to->wait_child);
}

/* Current is in a stop.  group: it was the last one to join its group's stop. */
static void tell_of_stop(struct task *t, int why, u32 code, bool group)
{
	struct process *p = t->process;
	spin_lock(&tree_lock);
	struct task *tracer = t->trace.tracer;
	bool parents = !tracer || tracer->process != p->parent;
	if (tracer)
		tell_locked(t, tracer->process, why, code & 0x7f);
	spin_unlock(&tree_lock);
	if (group && parents)
		notify_parent(p, CLD_STOPPED, (int)p->stop_signal);
}

void trace_tell_continued(struct process *p)
{
	spin_lock(&tree_lock);
	struct task *l = p->leader, *tracer = l ? l->trace.tracer : NULL;
	if (tracer && tracer->process != p->parent)
		tell_locked(l, tracer->process, CLD_CONTINUED, SIGCONT);
	spin_unlock(&tree_lock);
}

/* ---- stopping ---------------------------------------------------------------------------- */

/*
 * Stop until the tracer lets go.  code: for wait(2), CODE << 8 | 0x7f.  info: what
 * PTRACE_GETSIGINFO reads and SETSIGINFO writes; or null.  The signal that the tracer
 * wants to go on with; *stopped false: there was no stop, nobody traces or SIGKILL came.
 */
static u32 trace_stop(u32 code, int why, u64 message, struct siginfo *info, bool *stopped)
{
	struct task *t = current();
	struct process *p = t->process;
	bool group = false;
	unsigned long irq = spin_lock_irq(&p->siglock);
	*stopped = t->trace.tracer && !(t->sig_pending.set & SIGMASK(SIGKILL));
	if (!*stopped) {
		spin_unlock_irq(&p->siglock, irq);
		return code;
	}
	bool trapping = t->jobctl & JOB_TRAPPING;
	if (why == CLD_STOPPED && (t->jobctl & JOB_STOP_PENDING))
		group = participate_locked(t);
	t->jobctl &= ~(JOB_TRAP_STOP | JOB_TRAPPING);
	if (info && info->si_code >> 8 == PTRACE_EVENT_STOP)
		t->jobctl &= ~JOB_TRAP_NOTIFY;
	t->trace.info = info;
	t->trace.message = message;
	t->trace.code = code;
	t->jobctl |= JOB_TRACED;
	__atomic_store_n(&t->state, (u32)TASK_TRACED, __ATOMIC_SEQ_CST);
	spin_unlock_irq(&p->siglock, irq);
	if (trapping)
		waitq_wake_all(&p->wait_exec);
	tell_of_stop(t, why, code, group);
	for (;;) {
		__atomic_store_n(&t->state, (u32)TASK_TRACED, __ATOMIC_SEQ_CST);
		if (!(__atomic_load_n(&t->jobctl, __ATOMIC_SEQ_CST) & JOB_TRACED))
			break;
		schedule();
	}
	__atomic_store_n(&t->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
	irq = spin_lock_irq(&p->siglock);
	code = t->trace.code;
	t->trace.code = 0;
	t->trace.info = NULL;
	t->trace.message = 0;
	t->jobctl &= ~(JOB_LISTENING | JOB_FROZEN);
	signal_recalc_locked(t);
	spin_unlock_irq(&p->siglock, irq);
	return code;
}

/* Stop for something other than a signal: what the tracer gives to go on with, or 0. */
static u32 notify(int sig, u32 code, int why, u64 message)
{
	struct siginfo info = {.si_signo = sig, .si_code = (s32)code};
	bool stopped;
	info.rt.pid = (s32)current()->tid;
	info.rt.uid = current()->cred->uid;
	u32 r = trace_stop(code, why, message, &info, &stopped);
	return stopped ? r : 0;
}

int trace_signal(int sig, struct siginfo *info)
{
	struct task *t = current();
	bool stopped;
	u32 by = 0, uid = 0;
	u32 new = trace_stop((u32)sig, CLD_TRAPPED, 0, info, &stopped);
	if (!new)
		return 0;
	if ((int)new != info->si_signo) {
		spin_lock(&tree_lock);
		if (t->trace.tracer) {
			by = t->trace.tracer->process->tgid;
			uid = t->trace.tracer->cred->uid;
		}
		spin_unlock(&tree_lock);
		*info = (struct siginfo){.si_signo = (s32) new, .rt = {.pid = (s32)by, .uid = uid}};
	}
	unsigned long irq = spin_lock_irq(&t->process->siglock);
	if ((t->sig_blocked & SIGMASK(new)) || (t->sig_pending.set & SIGMASK(SIGKILL))) {
		signal_requeue_locked(t, (int)new, info);
		new = 0;
	}
	spin_unlock_irq(&t->process->siglock, irq);
	return (int)new;
}

void trace_traps(void)
{
	struct task *t = current();
	struct process *p = t->process;
	bool stopped;
	unsigned long irq = spin_lock_irq(&p->siglock);
	u32 sig = t->jobctl & JOB_SIGNAL;
	bool go = t->trace.tracer && (t->jobctl & JOB_TRAPS), seized = t->trace.seized;
	if (!t->trace.tracer)
		t->jobctl &= ~JOB_TRAPS;
	if (seized && !p->stop_count && !p->stopped)
		sig = SIGTRAP;
	spin_unlock_irq(&p->siglock, irq);
	if (!go)
		return;
	if (seized)
		notify((int)sig, sig | PTRACE_EVENT_STOP << 8, CLD_STOPPED, 0);
	else
		trace_stop(sig, CLD_STOPPED, 0, NULL, &stopped);
}

/* ---- events ------------------------------------------------------------------------------ */

/* After a stop within a system call: is its end to be reported as well? */
static void look_at_the_end(struct task *t)
{
	if (t->trace.syscalls || (t->trace.step && !t->trace.emulate))
		task_flag_set(t, TASK_WORK_TRACE);
	else
		task_flag_clear(t, TASK_WORK_TRACE);
}

bool trace_event_wanted(int event)
{
	const struct trace *x = &current()->trace;
	return quire_unlikely(__atomic_load_n(&x->tracer, __ATOMIC_RELAXED) != NULL) &&
	       (x->options & 1u << event);
}

void trace_event(int event, u64 message)
{
	if (!trace_event_wanted(event))
		return;
	notify(SIGTRAP, SIGTRAP | (u32)event << 8, CLD_TRAPPED, message);
	look_at_the_end(current());
}

void trace_exec(u32 old_tid)
{
	struct task *t = current();
	struct siginfo info = {.si_signo = SIGTRAP};
	t->trace.forced_tf = false; /* the registers are new */
	if (trace_event_wanted(PTRACE_EVENT_EXEC)) {
		trace_event(PTRACE_EVENT_EXEC, old_tid);
	} else if (t->trace.tracer && !t->trace.seized) {
		info.rt.pid = (s32)t->process->tgid;
		info.rt.uid = t->cred->uid;
		send_signal_task(t, SIGTRAP, &info);
	}
}

void trace_handler_begins(void)
{
	notify(SIGTRAP, SIGTRAP, CLD_TRAPPED, 0);
}

/* ---- system calls -------------------------------------------------------------------------- */

static void report_syscall(u64 message)
{
	struct task *t = current();
	bool good = t->trace.options & PTRACE_O_TRACESYSGOOD;
	u32 sig = notify(SIGTRAP, SIGTRAP | (good ? 0x80u : 0), CLD_TRAPPED, message);
	if (sig)
		send_signal_task(t, (int)sig, NULL);
}

bool trace_syscall_enter(struct regs *r)
{
	struct task *t = current();
	bool emulate = t->trace.emulate;
	r->rax = (u64)-ENOSYS;
	if (t->trace.syscalls || emulate) {
		report_syscall(PTRACE_EVENTMSG_SYSCALL_ENTRY);
		if (emulate || signal_fatal_pending())
			return false;
	}
	look_at_the_end(t);
	return true;
}

void trace_syscall_exit(struct regs *r)
{
	struct task *t = current();
	struct siginfo info = {.si_signo = SIGTRAP, .si_code = 1 /* TRAP_BRKPT */};
	if (t->trace.step) {
		info.fault.addr = r->rip;
		force_signal(SIGTRAP, &info);
	} else if (t->trace.syscalls) {
		report_syscall(PTRACE_EVENTMSG_SYSCALL_EXIT);
	}
}
