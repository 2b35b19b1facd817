/* SPDX-License-Identifier: MIT */
/*
 * The sched_* system calls.  There is one scheduling class: the policies BATCH and
 * IDLE are remembered but run as NORMAL does, and real-time ones are refused as they
 * are to a user without the right to them.
 */
#include "internal.h"

#define SCHED_NORMAL 0
#define SCHED_FIFO 1
#define SCHED_RR 2
#define SCHED_BATCH 3
#define SCHED_IDLE 5
#define SCHED_RESET_ON_FORK 0x40000000

SYSCALL0(sched_yield)
{
	sched_yield_cpu();
	return 0;
}

static struct task *task_of(s32 pid)
{
	if (pid < 0)
		return NULL;
	if (!pid) {
		task_get(current());
		return current();
	}
	struct task *t = task_find((u32)pid);
	if (t && !t->process) {
		task_put(t);
		t = NULL;
	}
	return t;
}

static u64 all_cpus(void)
{
	return ncpus >= 64 ? ~0UL : (1UL << ncpus) - 1;
}

SYSCALL3(sched_setaffinity, s32, pid, u32, len, u64, umask)
{
	u64 mask = 0;
	if (copy_from_user(&mask, umask, quire_min(len, (u32)sizeof(mask))))
		return -EFAULT;
	struct task *t = task_of(pid);
	if (!t)
		return -ESRCH;
	long err = may_signal(t->process, 0) || capable(CAP_SYS_NICE) ? 0 : -EPERM;
	mask &= all_cpus();
	if (!err && !mask)
		err = -EINVAL;
	if (!err)
		sched_set_affinity(t, mask);
	task_put(t);
	return err;
}

SYSCALL3(sched_getaffinity, s32, pid, u32, len, u64, umask)
{
	if (len < sizeof(u64) || len % sizeof(u64))
		return -EINVAL;
	struct task *t = task_of(pid);
	if (!t)
		return -ESRCH;
	u64 mask = t->affinity & all_cpus();
	task_put(t);
	return put_user_u64(umask, mask) ? -EFAULT : (long)sizeof(u64);
}

static bool real_time(int policy)
{
	return policy == SCHED_FIFO || policy == SCHED_RR;
}

static long set_policy(s32 pid, int policy, u64 uparam)
{
	s32 prio;
	bool keep = policy < 0; /* sched_setparam */
	if (!uparam || pid < 0)
		return -EINVAL;
	if (get_user_u32((u32 *)&prio, uparam))
		return -EFAULT;
	struct task *t = task_of(pid);
	if (!t)
		return -ESRCH;
	int p = keep ? (int)t->policy : policy & ~SCHED_RESET_ON_FORK;
	long err = 0;
	if (real_time(p))
		err = prio < 1 || prio > 99 ? -EINVAL : -EPERM;
	else if (p != SCHED_NORMAL && p != SCHED_BATCH && p != SCHED_IDLE)
		err = -EINVAL;
	else if (prio)
		err = -EINVAL;
	else if (!may_signal(t->process, 0))
		err = -EPERM;
	else
		t->policy = (u32)p;
	task_put(t);
	return err;
}

SYSCALL3(sched_setscheduler, s32, pid, int, policy, u64, uparam)
{
	return policy < 0 ? -EINVAL : set_policy(pid, policy, uparam);
}

SYSCALL2(sched_setparam, s32, pid, u64, uparam)
{
	return set_policy(pid, -1, uparam);
}

SYSCALL1(sched_getscheduler, s32, pid)
{
	struct task *t = task_of(pid);
	if (!t)
		return pid < 0 ? -EINVAL : -ESRCH;
	long policy = t->policy;
	task_put(t);
	return policy;
}

SYSCALL2(sched_getparam, s32, pid, u64, uparam)
{
	struct task *t = task_of(pid);
	if (!t || !uparam) {
		if (t)
			task_put(t);
		return pid < 0 || !uparam ? -EINVAL : -ESRCH;
	}
	task_put(t);
	return put_user_u32(uparam, 0);
}

static long priority_limit(int policy, int rt)
{
	if (real_time(policy))
		return rt;
	return policy == SCHED_NORMAL || policy == SCHED_BATCH || policy == SCHED_IDLE ? 0
										       : -EINVAL;
}

SYSCALL1(sched_get_priority_max, int, policy)
{
	return priority_limit(policy, 99);
}

SYSCALL1(sched_get_priority_min, int, policy)
{
	return priority_limit(policy, 1);
}

SYSCALL2(sched_rr_get_interval, s32, pid, u64, uts)
{
	struct task *t = task_of(pid);
	if (!t)
		return pid < 0 ? -EINVAL : -ESRCH;
	task_put(t);
	return timespec_out(uts, 4000000);
}

struct sched_attr_k {
	u32 size, policy;
	u64 flags;
	s32 nice;
	u32 priority;
	u64 runtime, deadline, period;
	u32 util_min, util_max;
};

SYSCALL4(sched_getattr, s32, pid, u64, uattr, u32, size, u32, flags)
{
	struct sched_attr_k a = {.size = sizeof(a), .util_max = 1024};
	if (flags || pid < 0 || size < 48 || size > QUIRE_PAGE_SIZE)
		return -EINVAL;
	struct task *t = task_of(pid);
	if (!t)
		return -ESRCH;
	a.policy = t->policy;
	a.nice = t->nice;
	task_put(t);
	a.size = quire_min(size, (u32)sizeof(a));
	return copy_to_user(uattr, &a, a.size);
}

SYSCALL3(sched_setattr, s32, pid, u64, uattr, u32, flags)
{
	struct sched_attr_k a = {0};
	if (flags || pid < 0)
		return -EINVAL;
	if (get_user_u32(&a.size, uattr))
		return -EFAULT;
	u32 size = a.size ? a.size : 48;
	if (size < 48 || size > QUIRE_PAGE_SIZE)
		return -E2BIG;
	if (copy_from_user(&a, uattr, quire_min(size, (u32)sizeof(a))))
		return -EFAULT;
	if (real_time((int)a.policy) || a.policy == 6)
		return -EPERM;
	if (a.policy != SCHED_NORMAL && a.policy != SCHED_BATCH && a.policy != SCHED_IDLE)
		return -EINVAL;
	struct task *t = task_of(pid);
	if (!t)
		return -ESRCH;
	long err = may_signal(t->process, 0) ? 0 : -EPERM;
	if (!err && a.nice < t->nice && !capable(CAP_SYS_NICE) &&
	    (u64)(20 - a.nice) > t->process->rlim[RLIMIT_NICE].cur)
		err = -EPERM;
	if (!err) {
		t->policy = a.policy;
		t->nice = a.nice < -20 ? -20 : a.nice > 19 ? 19 : a.nice;
	}
	task_put(t);
	return err;
}

SYSCALL3(getcpu, u64, ucpu, u64, unode, u64, ucache)
{
	(void)ucache;
	u32 cpu = this_cpu()->cpu;
	if ((ucpu && put_user_u32(ucpu, cpu)) || (unode && put_user_u32(unode, 0)))
		return -EFAULT;
	return 0;
}
