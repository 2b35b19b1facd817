/* SPDX-License-Identifier: MIT */
/*
 * What a task does on its way back to user mode: it notices its end, stops,
 * delivers signals, restarts interrupted system calls, and does other work that
 * was put off until here.
 *
 * No lock is held on entry.  The decision what is to be done is made under the
 * process's siglock (signal_next(), join_stop()).
 */
#include "../boot/hostio.h"
#include "../dev/hostio.h"
#include "trace.h"

/* Take part in the group's stop and stay in it; the last thread to stop tells the parent. */
static void join_stop(struct task *t)
{
	struct process *p = t->process;
	bool tell = false;
	unsigned long irq = spin_lock_irq(&p->siglock);
	u32 pending = t->jobctl & JOB_STOP_PENDING;
	if (pending && t->trace.tracer) {
		t->jobctl |= JOB_TRAP_STOP; /* for its tracer, then */
	} else if (pending && !p->group_exit && !(t->sig_pending.set & SIGMASK(SIGKILL))) {
		tell = participate_locked(t);
		t->jobctl |= JOB_STOPPED;
	}
	int sig = (int)p->stop_signal;
	spin_unlock_irq(&p->siglock, irq);
	if (tell)
		notify_parent(p, CLD_STOPPED, sig);
	for (;;) {
		__atomic_store_n(&t->state, (u32)TASK_STOPPED, __ATOMIC_SEQ_CST);
		if (!(__atomic_load_n(&t->jobctl, __ATOMIC_SEQ_CST) & JOB_STOPPED))
			break;
		schedule();
	}
	__atomic_store_n(&t->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
}

/* The end, a stop, or news for the parent. */
static void process_wide(struct task *t)
{
	struct process *p = t->process;
	if (p->group_exit)
		thread_exit(p->exit_status);
	if ((p->exec_task && p->exec_task != t) || (t->sig_pending.set & SIGMASK(SIGKILL)))
		thread_exit(SIGKILL);
	if (__atomic_load_n(&p->notify_cont, __ATOMIC_RELAXED) &&
	    __atomic_exchange_n(&p->notify_cont, false, __ATOMIC_ACQ_REL)) {
		notify_parent(p, CLD_CONTINUED, SIGCONT);
		trace_tell_continued(p);
	}
	if (__atomic_load_n(&t->jobctl, __ATOMIC_RELAXED) & JOB_STOP_PENDING)
		join_stop(t);
	if (__atomic_load_n(&t->jobctl, __ATOMIC_RELAXED) & JOB_TRAPS)
		trace_traps();
}

/* ---- restarting ------------------------------------------------------------------------ */

#define NR_RESTART_SYSCALL 219

static void again(struct regs *r, u64 nr)
{
	r->rax = nr;
	r->rip -= 2; /* the length of SYSCALL */
}

/* On the way back from a system call?  A tracer may say so, or the opposite. */
static bool of_syscall(const struct regs *r)
{
	return (s32)r->orig_rax != -1;
}

/* A handler will run: does the call start over afterwards, or give EINTR? */
static void restart_with_handler(struct regs *r, const struct sigaction_k *act)
{
	switch (-(s64)r->rax) {
	case ERESTARTSYS:
		if (act->flags & SA_RESTART) {
			again(r, r->orig_rax);
			break;
		}
		/* fallthrough */
	case ERESTARTNOHAND:
	case ERESTART_RESTARTBLOCK:
		r->rax = (u64)-EINTR;
		break;
	case ERESTARTNOINTR:
		again(r, r->orig_rax);
		break;
	}
}

static void restart_without_handler(struct regs *r)
{
	switch (-(s64)r->rax) {
	case ERESTARTSYS:
	case ERESTARTNOHAND:
	case ERESTARTNOINTR:
		again(r, r->orig_rax);
		break;
	case ERESTART_RESTARTBLOCK:
		again(r, NR_RESTART_SYSCALL);
		break;
	}
}

/* ---- death by signal --------------------------------------------------------------------- */

static const char *const signal_names[] = {
    [SIGHUP] = "SIGHUP",   [SIGINT] = "SIGINT",   [SIGQUIT] = "SIGQUIT", [SIGILL] = "SIGILL",
    [SIGTRAP] = "SIGTRAP", [SIGABRT] = "SIGABRT", [SIGBUS] = "SIGBUS",   [SIGFPE] = "SIGFPE",
    [SIGKILL] = "SIGKILL", [SIGSEGV] = "SIGSEGV", [SIGPIPE] = "SIGPIPE", [SIGTERM] = "SIGTERM",
    [SIGSYS] = "SIGSYS",   [SIGXCPU] = "SIGXCPU", [SIGXFSZ] = "SIGXFSZ",
};

/* Say which fault it was that nobody handled: to the host when the program itself
 * dies of it, else to the log. */
static void explain_fault(struct task *t, struct regs *r, int sig, const struct siginfo *info)
{
	struct process *p = t->process;
	const struct quire_fault_record *f = &p->last_fault;
	char line[256], key[16] = "";
	int n;
	if (info->si_code <= 0 ||
	    !(sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE || sig == SIGTRAP))
		return;
	if (f->cause == CAUSE_PKEY)
		snprintf(key, sizeof(key), " (key %u)", (u32)(f->vma_flags >> VM_PKEY_SHIFT & 15));
	n = snprintf(line, sizeof(line), "%s[%u]: %s: ", t->comm, p->tgid, signal_names[sig]);
	if ((sig == SIGSEGV || sig == SIGBUS) && info->si_code != SI_KERNEL &&
	    f->cause < QUIRE_CAUSE_COUNT && f->address == info->fault.addr)
		n += snprintf(line + n, sizeof(line) - (size_t)n,
			      "%s address 0x%lx at ip 0x%lx: %s%s",
			      f->access & QUIRE_EXEC    ? "execution of"
			      : f->access & QUIRE_WRITE ? "write to"
							: "read of",
			      f->address, f->ip, quire_cause_text[f->cause], key);
	else if (sig == SIGSEGV && info->si_code == SI_KERNEL)
		n += snprintf(line + n, sizeof(line) - (size_t)n,
			      "general protection fault at ip 0x%lx", r->rip);
	else
		n += snprintf(line + n, sizeof(line) - (size_t)n, "%s at ip 0x%lx",
			      sig == SIGFPE   ? "arithmetic error"
			      : sig == SIGILL ? "invalid instruction"
			      : sig == SIGBUS ? "bus error"
					      : "trap",
			      r->rip);
	if (n >= (int)sizeof(line))
		n = sizeof(line) - 1;
	if (p->parent == init_process)
		hostio_notice(HOSTIO_FATAL, line, (size_t)n);
	quire_host_log(QUIRE_LOG_INFO, "%s", line);
}

/* ---- delivery -------------------------------------------------------------------------------- */

static void deliver(struct regs *r)
{
	struct task *t = current();
	struct siginfo info;
	struct sigaction_k act;
	int sig = signal_next(&info, &act);
	if (!sig)
		return;
	if (act.handler == SIG_DFL) {
		explain_fault(t, r, sig, &info);
		group_exit((u32)sig);
	}
	rseq_abort(r);
	if (of_syscall(r))
		restart_with_handler(r, &act);
	bool stepping = t->trace.step;
	if (stepping)
		trace_step_off(t);
	u64 old = __atomic_load_n(&t->sig_flag, __ATOMIC_RELAXED) & TASK_WORK_MASK ? t->sig_saved
										   : t->sig_blocked;
	if (signal_frame(r, sig, &info, &act, old)) {
		/* No room for the frame: the program can't go on. */
		struct siginfo segv = {.si_signo = SIGSEGV, .si_code = SI_KERNEL};
		if (sig == SIGSEGV) {
			explain_fault(t, r, sig, &info);
			group_exit(SIGSEGV);
		}
		force_signal(SIGSEGV, &segv);
		return;
	}
	task_flag_clear(t, TASK_WORK_MASK);
	t->restore_sigmask = false;
	u64 mask = t->sig_blocked | act.mask;
	if (!(act.flags & SA_NODEFER))
		mask |= SIGMASK(sig);
	set_blocked(mask);
	if (stepping)
		trace_handler_begins();
}

void exit_to_user(struct regs *r, bool from_syscall)
{
	struct task *t = current();
	if (!from_syscall)
		r->orig_rax = ~0UL; /* an error code, perhaps */
	for (;;) {
		if (__atomic_load_n(&this_cpu()->resched, __ATOMIC_RELAXED))
			schedule();
		u32 flags = __atomic_load_n(&t->sig_flag, __ATOMIC_SEQ_CST);
		if (!flags)
			break;
		if (flags & TASK_WORK_SETTID) {
			task_flag_clear(t, TASK_WORK_SETTID);
			(void)put_user_u32(t->set_child_tid, t->tid);
			continue;
		}
		if (flags & TASK_WORK_EXEC) {
			task_flag_clear(t, TASK_WORK_EXEC);
			kernel_first_program(r);
			continue;
		}
		if (flags & TASK_WORK_RTTIME) {
			task_flag_clear(t, TASK_WORK_RTTIME);
			rt_time_signal(t);
			continue;
		}
		if (flags & TASK_WORK_TRACE) {
			task_flag_clear(t, TASK_WORK_TRACE);
			trace_syscall_exit(r);
			continue;
		}
		if (flags & TASK_SIGPENDING) {
			process_wide(t);
			deliver(r);
			continue;
		}
		if (flags & TASK_WORK_MASK) {
			task_flag_clear(t, TASK_WORK_MASK);
			t->restore_sigmask = false;
			set_blocked(t->sig_saved);
			continue;
		}
		if (flags & TASK_WORK_RSEQ) {
			task_flag_clear(t, TASK_WORK_RSEQ);
			rseq_resume(r);
		}
	}
	if (of_syscall(r))
		restart_without_handler(r);
	if (quire_kernel_reserve_low())
		quire_kernel_reserve_fill();
}
