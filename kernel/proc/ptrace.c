/* SPDX-License-Identifier: MIT */
/*
 * ptrace(2): beginning and ending to trace, and the requests to a stopped tracee.
 *
 * A request works on a tracee that is in a stop and off its CPU; JOB_FROZEN keeps it
 * there, so that registers and memory can be used with no lock held.  Only the tracer
 * itself, current, can set it going, and it makes one request at a time.
 *
 * Not here: the i386 requests, block steps, seccomp filters.
 */
#include "trace.h"

#define PTRACE_TRACEME 0
#define PTRACE_PEEKTEXT 1
#define PTRACE_PEEKDATA 2
#define PTRACE_PEEKUSR 3
#define PTRACE_POKETEXT 4
#define PTRACE_POKEDATA 5
#define PTRACE_POKEUSR 6
#define PTRACE_CONT 7
#define PTRACE_KILL 8
#define PTRACE_SINGLESTEP 9
#define PTRACE_GETREGS 12
#define PTRACE_SETREGS 13
#define PTRACE_GETFPREGS 14
#define PTRACE_SETFPREGS 15
#define PTRACE_ATTACH 16
#define PTRACE_DETACH 17
#define PTRACE_OLDSETOPTIONS 21
#define PTRACE_SYSCALL 24
#define PTRACE_ARCH_PRCTL 30
#define PTRACE_SYSEMU 31
#define PTRACE_SYSEMU_SINGLESTEP 32
#define PTRACE_SETOPTIONS 0x4200
#define PTRACE_GETEVENTMSG 0x4201
#define PTRACE_GETSIGINFO 0x4202
#define PTRACE_SETSIGINFO 0x4203
#define PTRACE_GETREGSET 0x4204
#define PTRACE_SETREGSET 0x4205
#define PTRACE_SEIZE 0x4206
#define PTRACE_INTERRUPT 0x4207
#define PTRACE_LISTEN 0x4208
#define PTRACE_PEEKSIGINFO 0x4209
#define PTRACE_GETSIGMASK 0x420a
#define PTRACE_SETSIGMASK 0x420b
#define PTRACE_SECCOMP_GET_FILTER 0x420c
#define PTRACE_SECCOMP_GET_METADATA 0x420d
#define PTRACE_GET_SYSCALL_INFO 0x420e
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f

#define AUDIT_ARCH_X86_64 0xc000003eu
#define SYSCALL_INFO_ENTRY 1
#define SYSCALL_INFO_EXIT 2

/* ---- beginning ---------------------------------------------------------------------------- */

static long check_options(u64 options)
{
	if (options & ~(u64)PTRACE_O_ALL)
		return -EINVAL;
	return options & PTRACE_O_SUSPEND_SECCOMP ? -EINVAL : 0; /* there is none */
}

static long trace_me(void)
{
	struct task *t = current();
	long err = -EPERM;
	spin_lock(&tree_lock);
	/* The kernel's first process starts programs but traces none. */
	if (!t->trace.tracer && t->process->parent != init_process) {
		struct task *parent = parent_thread_locked(t->process);
		err = 0;
		if (parent)
			trace_link_locked(t, parent, false, 0);
	}
	spin_unlock(&tree_lock);
	return err;
}

/* A thread that its group's stop holds becomes one that stopped for its tracer. */
static bool leave_group_stop(struct task *t)
{
	struct process *p = t->process;
	unsigned long irq = spin_lock_irq(&p->siglock);
	bool was = t->jobctl & JOB_STOPPED;
	if (was) {
		t->jobctl = (t->jobctl & ~JOB_STOPPED) | JOB_TRAP_STOP | JOB_TRAPPING;
		task_flag_set(t, TASK_SIGPENDING);
		wake_task(t, 1u << TASK_STOPPED);
	}
	spin_unlock_irq(&p->siglock, irq);
	return was;
}

static long attach(struct task *t, bool seize, u64 addr, u64 options)
{
	struct process *p = t->process;
	long err = 0;
	if (seize) {
		if (addr || (options & ~(u64)PTRACE_O_ALL))
			return -EIO;
		err = check_options(options);
		if (err)
			return err;
	}
	if (!p || p == init_process || t->kernel_thread || p == current()->process)
		return -EPERM;
	err = ptrace_may_access(t, false);
	if (err)
		return err;
	spin_lock(&tree_lock);
	if (t->exiting >= 2 || t->trace.tracer)
		err = -EPERM;
	else
		trace_link_locked(t, current(), seize, seize ? (u32)options : 0);
	bool trapping = false;
	if (!err) {
		if (!seize)
			send_signal_task(t, SIGSTOP, NULL);
		trapping = leave_group_stop(t);
	}
	spin_unlock(&tree_lock);
	if (trapping)
		(void)wait_event_killable(
		    &p->wait_exec,
		    !(__atomic_load_n(&t->jobctl, __ATOMIC_ACQUIRE) & JOB_TRAPPING) || t->exiting);
	return err;
}

/* ---- a stopped tracee ----------------------------------------------------------------------- */

/* t is current's tracee; stopped: and in a stop, where it is kept.  0 or -ESRCH. */
static long take(struct task *t, bool stopped)
{
	struct process *p = t->process;
	long err = -ESRCH;
	if (!p)
		return err;
	unsigned long irq = spin_lock_irq(&p->siglock);
	if (t->trace.tracer == current()) {
		if (!stopped) {
			err = 0;
		} else if ((t->jobctl & (JOB_TRACED | JOB_LISTENING)) == JOB_TRACED &&
			   !(t->sig_pending.set & SIGMASK(SIGKILL))) {
			t->jobctl |= JOB_FROZEN;
			err = 0;
		}
	}
	spin_unlock_irq(&p->siglock, irq);
	/* It may be on its way to sleep, or have been preempted there. */
	while (!err && stopped &&
	       (__atomic_load_n(&t->on_rq, __ATOMIC_ACQUIRE) ||
		__atomic_load_n(&t->on_cpu, __ATOMIC_ACQUIRE)))
		sched_yield_cpu();
	return err;
}

static void let_go(struct task *t)
{
	struct process *p = t->process;
	unsigned long irq = spin_lock_irq(&p->siglock);
	t->jobctl &= ~JOB_FROZEN;
	if (t->sig_pending.set & SIGMASK(SIGKILL)) {
		t->jobctl &= ~JOB_TRACED;
		wake_task(t, 1u << TASK_TRACED);
	}
	spin_unlock_irq(&p->siglock, irq);
}

static long resume(struct task *t, u64 request, u64 sig)
{
	struct process *p = t->process;
	if (sig > NSIG)
		return -EIO;
	t->trace.syscalls = request == PTRACE_SYSCALL;
	t->trace.emulate = request == PTRACE_SYSEMU || request == PTRACE_SYSEMU_SINGLESTEP;
	if (request == PTRACE_SINGLESTEP || request == PTRACE_SYSEMU_SINGLESTEP)
		trace_step_on(t);
	else
		trace_step_off(t);
	trace_slow_calls(t);
	unsigned long irq = spin_lock_irq(&p->siglock);
	t->trace.code = (u32)sig;
	t->jobctl &= ~(JOB_TRACED | JOB_FROZEN);
	wake_task(t, 1u << TASK_TRACED);
	spin_unlock_irq(&p->siglock, irq);
	return 0;
}

static long detach(struct task *t, u64 sig)
{
	struct list dead = LIST_INIT(dead);
	if (sig > NSIG)
		return -EIO;
	trace_step_off(t);
	spin_lock(&tree_lock);
	t->trace.code = (u32)sig;
	trace_detach_locked(t, &dead);
	spin_unlock(&tree_lock);
	finish_dead(&dead);
	return 0;
}

/* ---- stops of PTRACE_SEIZE ------------------------------------------------------------------ */

static long interrupt(struct task *t)
{
	struct process *p = t->process;
	unsigned long irq = spin_lock_irq(&p->siglock);
	bool seized = t->trace.seized;
	if (seized && !t->exiting && !(t->sig_pending.set & SIGMASK(SIGKILL))) {
		t->jobctl |= JOB_TRAP_STOP;
		trace_wake_locked(t, t->jobctl & JOB_LISTENING);
	}
	spin_unlock_irq(&p->siglock, irq);
	return seized ? 0 : -EIO;
}

static long listen(struct task *t)
{
	struct process *p = t->process;
	long err = -EIO;
	unsigned long irq = spin_lock_irq(&p->siglock);
	const struct siginfo *info = t->trace.info;
	if (t->trace.seized && info && info->si_code >> 8 == PTRACE_EVENT_STOP) {
		t->jobctl |= JOB_LISTENING;
		if (t->jobctl & JOB_TRAP_NOTIFY)
			trace_wake_locked(t, true);
		err = 0;
	}
	spin_unlock_irq(&p->siglock, irq);
	return err;
}

/* ---- memory and signals ---------------------------------------------------------------------- */

static bool move_word(struct task *t, u64 addr, u64 *v, bool write)
{
	struct uspace *u = task_uspace_get(t);
	size_t n = 0;
	if (u && (u->dumpable || capable(CAP_SYS_PTRACE)))
		n = quire_mm_access(u->mm, addr, v, sizeof(*v), write, true);
	if (u)
		uspace_put(u);
	return n == sizeof(*v);
}

static long peek(struct task *t, u64 addr, u64 udata)
{
	u64 v;
	return move_word(t, addr, &v, false) ? put_user_u64(udata, v) : -EIO;
}

static long siginfo(struct task *t, u64 udata, bool set)
{
	struct process *p = t->process;
	struct siginfo info;
	if (set && copy_from_user(&info, udata, sizeof(info)))
		return -EFAULT;
	unsigned long irq = spin_lock_irq(&p->siglock);
	bool has = t->trace.info;
	if (has && set)
		*t->trace.info = info;
	else if (has)
		info = *t->trace.info;
	spin_unlock_irq(&p->siglock, irq);
	if (!has)
		return -EINVAL;
	return set ? 0 : copy_to_user(udata, &info, sizeof(info));
}

static long peek_siginfo(struct task *t, u64 uargs, u64 udata)
{
	struct {
		u64 off;
		u32 flags;
		s32 nr;
	} a;
	struct siginfo info;
	s32 i;
	if (copy_from_user(&a, uargs, sizeof(a)))
		return -EFAULT;
	if ((a.flags & ~1u) || a.nr < 0)
		return -EINVAL;
	for (i = 0; i < a.nr; i++) {
		u64 nth = a.off + (u64)i;
		if (nth < a.off || !signal_peek(t, a.flags & 1, nth, &info))
			break;
		if (copy_to_user(udata + (u64)i * sizeof(info), &info, sizeof(info)))
			return i ? i : -EFAULT;
		if (signal_pending()) {
			i++;
			break;
		}
	}
	return i;
}

static long sigmask(struct task *t, u64 size, u64 udata, bool set)
{
	struct process *p = t->process;
	u64 mask = t->restore_sigmask ? t->sig_saved : t->sig_blocked;
	if (size != sizeof(mask))
		return -EINVAL;
	if (!set)
		return put_user_u64(udata, mask);
	if (get_user_u64(&mask, udata))
		return -EFAULT;
	unsigned long irq = spin_lock_irq(&p->siglock);
	t->sig_blocked = mask & ~(SIGMASK(SIGKILL) | SIGMASK(SIGSTOP));
	t->restore_sigmask = false;
	task_flag_clear(t, TASK_WORK_MASK);
	spin_unlock_irq(&p->siglock, irq);
	return 0;
}

/* ---- what it is doing ---------------------------------------------------------------------------
 */

struct syscall_info_k {
	u8 op, pad[3];
	u32 arch;
	u64 ip, sp;
	union {
		struct {
			u64 nr, args[6];
		} entry;
		struct {
			s64 rval;
			u8 is_error;
		} exit;
	};
};

static long syscall_info(struct task *t, u64 user_size, u64 udata)
{
	const struct regs *r = task_regs(t);
	struct syscall_info_k k;
	size_t size = offsetof(struct syscall_info_k, entry);
	memset(&k, 0, sizeof(k));
	k.arch = AUDIT_ARCH_X86_64;
	k.ip = r->rip;
	k.sp = r->rsp;
	if (t->trace.info && t->trace.info->si_code == (SIGTRAP | 0x80)) {
		if (t->trace.message == PTRACE_EVENTMSG_SYSCALL_ENTRY) {
			k.op = SYSCALL_INFO_ENTRY;
			k.entry.nr = (u64)(s64)(s32)r->orig_rax;
			memcpy(k.entry.args, (u64[]){r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9},
			       sizeof(k.entry.args));
			size += sizeof(k.entry);
		} else if (t->trace.message == PTRACE_EVENTMSG_SYSCALL_EXIT) {
			k.op = SYSCALL_INFO_EXIT;
			k.exit.rval = (s64)r->rax;
			k.exit.is_error = r->rax >= (u64)-4095;
			size += sizeof(s64) + sizeof(u8);
		}
	}
	return copy_to_user(udata, &k, quire_min(size, user_size)) ? -EFAULT : (long)size;
}

static long rseq_configuration(struct task *t, u64 user_size, u64 udata)
{
	struct {
		u64 area;
		u32 size, signature, flags, pad;
	} k = {t->rseq, (u32)t->rseq_len, t->rseq_sig, 0, 0};
	size_t n = quire_min(user_size, sizeof(k));
	return copy_to_user(udata, &k, n) ? -EFAULT : (long)sizeof(k);
}

/* ---- the call
 * ------------------------------------------------------------------------------------ */

static long request_on(struct task *t, u64 request, u64 addr, u64 data)
{
	long err;
	switch (request) {
	case PTRACE_PEEKTEXT:
	case PTRACE_PEEKDATA:
		return peek(t, addr, data);
	case PTRACE_POKETEXT:
	case PTRACE_POKEDATA:
		return move_word(t, addr, &data, true) ? 0 : -EIO;
	case PTRACE_PEEKUSR:
		return trace_peek_user(t, addr, data);
	case PTRACE_POKEUSR:
		return trace_poke_user(t, addr, data);
	case PTRACE_GETREGS:
		return trace_regs_to_user(t, data);
	case PTRACE_SETREGS:
		return trace_regs_from_user(t, data);
	case PTRACE_GETFPREGS:
		return trace_fpregs_to_user(t, data);
	case PTRACE_SETFPREGS:
		return trace_fpregs_from_user(t, data);
	case PTRACE_GETREGSET:
	case PTRACE_SETREGSET:
		return trace_regset(t, addr, data, request == PTRACE_SETREGSET);
	case PTRACE_ARCH_PRCTL:
		return trace_arch_prctl(t, data, addr);
	case PTRACE_OLDSETOPTIONS:
	case PTRACE_SETOPTIONS:
		err = check_options(data);
		if (!err)
			t->trace.options = (u32)data;
		return err;
	case PTRACE_GETEVENTMSG:
		return put_user_u64(data, t->trace.message);
	case PTRACE_GETSIGINFO:
	case PTRACE_SETSIGINFO:
		return siginfo(t, data, request == PTRACE_SETSIGINFO);
	case PTRACE_PEEKSIGINFO:
		return peek_siginfo(t, addr, data);
	case PTRACE_GETSIGMASK:
	case PTRACE_SETSIGMASK:
		return sigmask(t, addr, data, request == PTRACE_SETSIGMASK);
	case PTRACE_SECCOMP_GET_FILTER:
	case PTRACE_SECCOMP_GET_METADATA:
		return capable(CAP_SYS_ADMIN) ? -EINVAL : -EACCES;
	case PTRACE_GET_SYSCALL_INFO:
		return syscall_info(t, addr, data);
	case PTRACE_GET_RSEQ_CONFIGURATION:
		return rseq_configuration(t, addr, data);
	case PTRACE_LISTEN:
		return listen(t);
	case PTRACE_CONT:
	case PTRACE_SYSCALL:
	case PTRACE_SINGLESTEP:
	case PTRACE_SYSEMU:
	case PTRACE_SYSEMU_SINGLESTEP:
		return resume(t, request, data);
	case PTRACE_DETACH:
		return detach(t, data);
	}
	return -EIO;
}

SYSCALL4(ptrace, u64, request, s32, pid, u64, addr, u64, data)
{
	if (request == PTRACE_TRACEME)
		return trace_me();
	struct task *t = task_find((u32)pid);
	if (!t)
		return -ESRCH;
	bool any = request == PTRACE_KILL || request == PTRACE_INTERRUPT;
	long err;
	if (request == PTRACE_ATTACH || request == PTRACE_SEIZE) {
		err = attach(t, request == PTRACE_SEIZE, addr, data);
	} else if (!(err = take(t, !any))) {
		if (request == PTRACE_KILL)
			err = send_signal_task(t, SIGKILL, NULL);
		else if (request == PTRACE_INTERRUPT)
			err = interrupt(t);
		else
			err = request_on(t, request, addr, data);
		if (!any && (err || request != PTRACE_DETACH))
			let_go(t);
	}
	task_put(t);
	return err;
}
