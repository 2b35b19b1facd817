/* SPDX-License-Identifier: MIT */
/*
 * The system calls on signals: actions, masks, waiting, sending.
 * rt_sigreturn and sigaltstack are in sigframe.c.  Locks: see signal.c.
 */
#include "internal.h"

#define SA_KNOWN                                                                           \
	(SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER | \
	 SA_RESETHAND | SA_EXPOSE_TAGBITS | SA_RESTORER)
#define SIGSET_SIZE 8

static bool default_ignored(int sig)
{
	return sig == SIGCONT || sig == SIGCHLD || sig == SIGWINCH || sig == SIGURG;
}

SYSCALL4(rt_sigaction, int, sig, u64, uact, u64, uold, u64, size)
{
	struct process *p = current()->process;
	struct sighand *s = current()->sighand;
	struct sigaction_k act = {0}, old;
	struct task *t;
	if (size != SIGSET_SIZE)
		return -EINVAL;
	if (uact && copy_from_user(&act, uact, sizeof(act)))
		return -EFAULT;
	if (sig < 1 || sig > NSIG || (uact && (sig == SIGKILL || sig == SIGSTOP)))
		return -EINVAL;
	act.mask &= ~(SIGMASK(SIGKILL) | SIGMASK(SIGSTOP));
	act.flags &= SA_KNOWN;
	unsigned long irq = spin_lock_irq(&p->siglock);
	spin_lock(&s->lock);
	old = s->action[sig - 1];
	if (uact)
		s->action[sig - 1] = act;
	spin_unlock(&s->lock);
	if (uact && (act.handler == SIG_IGN || (act.handler == SIG_DFL && default_ignored(sig)))) {
		sigpending_flush(&p->sig_pending, SIGMASK(sig));
		list_for_each (t, &p->threads, thread)
			sigpending_flush(&t->sig_pending, SIGMASK(sig));
	}
	spin_unlock_irq(&p->siglock, irq);
	return uold ? copy_to_user(uold, &old, sizeof(old)) : 0;
}

/* ---- masks --------------------------------------------------------------------------------- */

SYSCALL4(rt_sigprocmask, int, how, u64, uset, u64, uold, u64, size)
{
	u64 old = current()->sig_blocked, set;
	if (size != SIGSET_SIZE)
		return -EINVAL;
	if (uset) {
		if (get_user_u64(&set, uset))
			return -EFAULT;
		if (how == 0)
			set_blocked(old | set);
		else if (how == 1)
			set_blocked(old & ~set);
		else if (how == 2)
			set_blocked(set);
		else
			return -EINVAL;
	}
	return uold ? put_user_u64(uold, old) : 0;
}

SYSCALL2(rt_sigpending, u64, uset, u64, size)
{
	u64 set = signal_pending_set() & current()->sig_blocked;
	if (size > SIGSET_SIZE)
		return -EINVAL;
	return copy_to_user(uset, &set, size);
}

/* Swap the mask in, to be put back when the call is over. */
static void mask_for_now(u64 set)
{
	struct task *t = current();
	if (!t->restore_sigmask)
		t->sig_saved = t->sig_blocked;
	t->restore_sigmask = true;
	set_blocked(set);
}

int sigmask_begin(u64 uset, u64 size)
{
	u64 set;
	if (!uset)
		return 0;
	if (size != SIGSET_SIZE)
		return -EINVAL;
	if (get_user_u64(&set, uset))
		return -EFAULT;
	mask_for_now(set);
	return 0;
}

void sigmask_end(bool interrupted)
{
	struct task *t = current();
	if (!t->restore_sigmask)
		return;
	if (interrupted) {
		task_flag_set(t, TASK_WORK_MASK);
		return;
	}
	t->restore_sigmask = false;
	set_blocked(t->sig_saved);
}

SYSCALL2(rt_sigsuspend, u64, uset, u64, size)
{
	int err = uset ? sigmask_begin(uset, size) : -EFAULT;
	if (err)
		return size != SIGSET_SIZE ? -EINVAL : err;
	while (!signal_pending()) {
		__atomic_store_n(&current()->state, (u32)TASK_INTERRUPTIBLE, __ATOMIC_SEQ_CST);
		if (!signal_pending())
			schedule();
		__atomic_store_n(&current()->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
	}
	sigmask_end(true);
	return -ERESTARTNOHAND;
}

SYSCALL0(pause)
{
	while (!signal_pending()) {
		__atomic_store_n(&current()->state, (u32)TASK_INTERRUPTIBLE, __ATOMIC_SEQ_CST);
		if (!signal_pending())
			schedule();
		__atomic_store_n(&current()->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
	}
	return -ERESTARTNOHAND;
}

SYSCALL4(rt_sigtimedwait, u64, uset, u64, uinfo, u64, utimeout, u64, size)
{
	struct task *t = current();
	struct siginfo info;
	u64 set, deadline = ~0UL, ns;
	if (size != SIGSET_SIZE)
		return -EINVAL;
	if (get_user_u64(&set, uset))
		return -EFAULT;
	if (utimeout) {
		int err = timespec_in(&ns, utimeout);
		if (err)
			return err;
		deadline = time_ns() + ns < ns ? ~0UL : time_ns() + ns;
	}
	int sig = signal_dequeue(set, &info);
	if (!sig && deadline > time_ns()) {
		int err = 0;
		signal_wait_for(set);
		for (;;) {
			__atomic_store_n(&t->state, (u32)TASK_INTERRUPTIBLE, __ATOMIC_SEQ_CST);
			sig = signal_dequeue(set, &info);
			if (sig || err)
				break;
			if (signal_pending())
				err = -EINTR;
			else if (!schedule_until(deadline))
				err = -EAGAIN;
		}
		__atomic_store_n(&t->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
		signal_wait_for(0);
		if (!sig)
			return err;
	}
	if (!sig)
		return -EAGAIN;
	if (uinfo && copy_to_user(uinfo, &info, sizeof(info)))
		return -EFAULT;
	return sig;
}

/* ---- sending -----------------------------------------------------------------------------------
 */

static bool may_signal(struct process *p, int sig)
{
	const struct cred *me = current()->cred;
	struct task *leader = process_leader_get(p);
	struct cred *c = leader ? task_cred_get(leader) : NULL;
	if (leader)
		task_put(leader);
	if (!c)
		return true;
	bool ok = me->euid == c->suid || me->euid == c->uid || me->uid == c->suid ||
		  me->uid == c->uid || capable(CAP_KILL) ||
		  (sig == SIGCONT && current()->process->sid == p->sid);
	cred_put(c);
	return ok;
}

static struct siginfo from_user(int sig, int code)
{
	return (struct siginfo){
	    .si_signo = sig,
	    .si_code = code,
	    .rt = {.pid = (s32)current()->process->tgid, .uid = current()->cred->uid},
	};
}

int check_signal(struct process *p, int sig)
{
	if (sig < 0 || sig > NSIG)
		return -EINVAL;
	return p == current()->process || may_signal(p, sig) ? 0 : -EPERM;
}

/* The process that the thread tid is of. */
static long kill_process(s32 tid, int sig, const struct siginfo *info)
{
	struct task *t = tid > 0 ? task_find((u32)tid) : NULL;
	if (!t)
		return -ESRCH;
	struct process *p = t->process;
	long err = p ? check_signal(p, sig) : -ESRCH;
	if (!err)
		err = send_signal_process(p, sig, info);
	task_put(t);
	return err;
}

/* Every process that matches: pgid, or with 0 all but the first one and the caller, where it
 * doesn't matter who may not be sent it. */
static long kill_many(u32 pgid, int sig, const struct siginfo *info)
{
	struct process *p;
	long err = -ESRCH;
	spin_lock(&tree_lock);
	list_for_each (p, &all_processes, all) {
		if (p->reaped || (pgid && p->pgid != pgid))
			continue;
		if (!pgid && (p == init_process || p == current()->process))
			continue;
		int one = check_signal(p, sig);
		if (!one)
			send_signal_process(p, sig, info);
		if (err)
			err = one == -EPERM && !pgid ? 0 : one;
	}
	spin_unlock(&tree_lock);
	return err;
}

SYSCALL2(kill, s32, pid, int, sig)
{
	struct siginfo info = from_user(sig, SI_USER);
	if (pid > 0)
		return kill_process(pid, sig, &info);
	if (pid == (s32)0x80000000)
		return -ESRCH;
	return kill_many(pid == -1 ? 0 : pid ? (u32)-pid : current()->process->pgid, sig, &info);
}

static long send_thread(s32 tgid, s32 tid, int sig, const struct siginfo *info)
{
	long err = -ESRCH;
	struct task *t = task_find((u32)tid);
	if (!t)
		return err;
	if (t->process && (tgid < 0 || t->process->tgid == (u32)tgid)) {
		err = check_signal(t->process, sig);
		if (!err && !t->exiting)
			err = send_signal_task(t, sig, info);
	}
	task_put(t);
	return err;
}

SYSCALL2(tkill, s32, tid, int, sig)
{
	if (tid <= 0)
		return -EINVAL;
	struct siginfo info = from_user(sig, SI_TKILL);
	return send_thread(-1, tid, sig, &info);
}

SYSCALL3(tgkill, s32, tgid, s32, tid, int, sig)
{
	if (tgid <= 0 || tid <= 0)
		return -EINVAL;
	struct siginfo info = from_user(sig, SI_TKILL);
	return send_thread(tgid, tid, sig, &info);
}

/* What the kernel says itself, and tgkill(2), can be told only to oneself: to the thread tid. */
bool info_is_forged(const struct siginfo *info, u32 tid)
{
	return (info->si_code >= 0 || info->si_code == SI_TKILL) && tid != current()->tid;
}

static int info_in(struct siginfo *info, int sig, u64 uinfo)
{
	if (copy_from_user(info, uinfo, sizeof(*info)))
		return -EFAULT;
	info->si_signo = sig;
	return 0;
}

SYSCALL3(rt_sigqueueinfo, s32, pid, int, sig, u64, uinfo)
{
	struct siginfo info;
	int err = info_in(&info, sig, uinfo);
	if (err)
		return err;
	if (info_is_forged(&info, (u32)pid))
		return -EPERM;
	return kill_process(pid, sig, &info);
}

SYSCALL4(rt_tgsigqueueinfo, s32, tgid, s32, tid, int, sig, u64, uinfo)
{
	struct siginfo info;
	int err = info_in(&info, sig, uinfo);
	if (err)
		return err;
	if (tgid <= 0 || tid <= 0)
		return -EINVAL;
	if (info_is_forged(&info, (u32)tid))
		return -EPERM;
	return send_thread(tgid, tid, sig, &info);
}
