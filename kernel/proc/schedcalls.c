/* SPDX-License-Identifier: MIT */
/*
 * The sched_* system calls.  FIFO and RR are real; BATCH and IDLE are remembered but run as
 * NORMAL does; there is no bandwidth for DEADLINE, so who may ask for it gets EBUSY.
 */
#include "internal.h"

#define SCHED_DEADLINE 6
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

static bool same_owner(struct task *t)
{
	u32 me = current()->cred->euid;
	struct cred *c = task_cred_get(t);
	bool same = c && (me == c->euid || me == c->uid);
	if (c)
		cred_put(c);
	return same;
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
	long err = same_owner(t) || capable(CAP_SYS_NICE) ? 0 : -EPERM;
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

struct sched_attr_k {
	u32 size, policy;
	u64 flags;
	s32 nice;
	u32 priority;
	u64 runtime, deadline, period;
	u32 util_min, util_max;
};
#define ATTR_SIZE_FIRST 48 /* before util_min */
#define FLAG_RESET_ON_FORK 1u
#define FLAG_KEEP_POLICY 8u
#define FLAG_KEEP_PARAMS 16u
#define FLAG_UTIL_CLAMP 96u
#define FLAGS_ALL 127u

static bool valid_policy(int p)
{
	return p == SCHED_NORMAL || p == SCHED_FIFO || p == SCHED_RR || p == SCHED_BATCH ||
	       p == SCHED_IDLE || p == SCHED_DEADLINE;
}

/* Is it too much to ask for without the right to? */
static bool needs_right(struct task *t, const struct sched_attr_k *a, u32 policy, bool reset)
{
	const struct rlimit *rlim = t->process->rlim;
	bool nicer = (u64)(20 - a->nice) > rlim[RLIMIT_NICE].cur;
	if ((policy == SCHED_NORMAL || policy == SCHED_BATCH) && a->nice < t->nice && nicer)
		return true;
	if (policy_real_time(policy)) {
		if (policy != t->policy && !rlim[RLIMIT_RTPRIO].cur)
			return true;
		if (a->priority > t->rt_prio && a->priority > rlim[RLIMIT_RTPRIO].cur)
			return true;
	}
	if (policy == SCHED_DEADLINE)
		return true;
	if (t->policy == SCHED_IDLE && policy != SCHED_IDLE &&
	    (u64)(20 - t->nice) > rlim[RLIMIT_NICE].cur)
		return true;
	return !same_owner(t) || (t->reset_on_fork && !reset);
}

/* A reservation: what Linux takes for one. */
static bool valid_deadline(const struct sched_attr_k *a)
{
	u64 period = a->period ? a->period : a->deadline;
	return a->deadline && a->runtime >= 1024 && a->runtime <= a->deadline &&
	       a->deadline <= period && !((a->deadline | a->period) >> 63);
}

static long set_attr(struct task *t, const struct sched_attr_k *a, bool keep_policy)
{
	u32 policy = keep_policy ? t->policy : a->policy;
	bool reset = keep_policy ? t->reset_on_fork : a->flags & FLAG_RESET_ON_FORK;
	if (!valid_policy((int)policy) || (a->flags & ~(u64)FLAGS_ALL) || a->priority > 99)
		return -EINVAL;
	if ((policy == SCHED_DEADLINE && !valid_deadline(a)) ||
	    policy_real_time(policy) != (a->priority != 0))
		return -EINVAL;
	if (needs_right(t, a, policy, reset) && !capable(CAP_SYS_NICE))
		return -EPERM;
	if (a->flags & FLAG_UTIL_CLAMP)
		return -EOPNOTSUPP;
	if (policy == SCHED_DEADLINE)
		return -EBUSY;
	t->reset_on_fork = reset;
	if (a->flags & FLAG_KEEP_PARAMS)
		return 0; /* not even the policy changes */
	bool normal = policy == SCHED_NORMAL || policy == SCHED_BATCH;
	pi_set_policy(t, policy, a->priority, normal ? a->nice : t->nice);
	return 0;
}

/* policy -1: the one it has. */
static long set_policy(s32 pid, int policy, u64 uparam)
{
	struct sched_attr_k a = {.policy = (u32)(policy & ~SCHED_RESET_ON_FORK)};
	if (!uparam || pid < 0)
		return -EINVAL;
	if (get_user_u32(&a.priority, uparam))
		return -EFAULT;
	struct task *t = task_of(pid);
	if (!t)
		return -ESRCH;
	a.nice = t->nice;
	if (policy >= 0 && (policy & SCHED_RESET_ON_FORK))
		a.flags = FLAG_RESET_ON_FORK;
	long err = set_attr(t, &a, policy < 0);
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
	long policy = t->policy | (t->reset_on_fork ? SCHED_RESET_ON_FORK : 0);
	task_put(t);
	return policy;
}

SYSCALL2(sched_getparam, s32, pid, u64, uparam)
{
	if (!uparam || pid < 0)
		return -EINVAL;
	struct task *t = task_of(pid);
	if (!t)
		return -ESRCH;
	u32 prio = t->rt_prio;
	task_put(t);
	return put_user_u32(uparam, prio);
}

static long priority_limit(int policy, int rt)
{
	if (policy == SCHED_FIFO || policy == SCHED_RR)
		return rt;
	return valid_policy(policy) ? 0 : -EINVAL;
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
	u64 ns = t->policy == SCHED_RR ? RR_SLICE_NS : t->policy == SCHED_FIFO ? 0 : 4000000;
	task_put(t);
	return timespec_out(uts, ns);
}

static void get_params(const struct task *t, struct sched_attr_k *a)
{
	if (policy_real_time(t->policy))
		a->priority = t->rt_prio;
	else
		a->nice = t->nice;
}

SYSCALL4(sched_getattr, s32, pid, u64, uattr, u32, size, u32, flags)
{
	struct sched_attr_k a = {0};
	if (!uattr || flags || pid < 0 || size < ATTR_SIZE_FIRST || size > QUIRE_PAGE_SIZE)
		return -EINVAL;
	struct task *t = task_of(pid);
	if (!t)
		return -ESRCH;
	a.policy = t->policy;
	a.flags = t->reset_on_fork ? FLAG_RESET_ON_FORK : 0;
	get_params(t, &a);
	task_put(t);
	a.size = quire_min(size, (u32)sizeof(a));
	return copy_to_user(uattr, &a, a.size);
}

/* The caller's struct, of whatever size; what this kernel doesn't know has to be zero. */
static int attr_in(struct sched_attr_k *a, u64 uattr)
{
	u32 size;
	u8 byte;
	if (get_user_u32(&size, uattr))
		return -EFAULT;
	size = size ? size : ATTR_SIZE_FIRST;
	bool fits = size >= ATTR_SIZE_FIRST && size <= QUIRE_PAGE_SIZE;
	for (u32 i = sizeof(*a); fits && i < size; i++) {
		if (copy_from_user(&byte, uattr + i, 1))
			return -EFAULT;
		fits = !byte;
	}
	if (!fits)
		return put_user_u32(uattr, sizeof(*a)) ? -EFAULT : -E2BIG;
	if (copy_from_user(a, uattr, quire_min(size, (u32)sizeof(*a))))
		return -EFAULT;
	if ((a->flags & FLAG_UTIL_CLAMP) && size < sizeof(*a))
		return -EINVAL;
	a->nice = quire_max(-20, quire_min(a->nice, 19));
	return 0;
}

SYSCALL3(sched_setattr, s32, pid, u64, uattr, u32, flags)
{
	struct sched_attr_k a = {0};
	if (!uattr || pid < 0 || flags)
		return -EINVAL;
	int err = attr_in(&a, uattr);
	if (err)
		return err;
	if ((s32)a.policy < 0)
		return -EINVAL;
	struct task *t = task_of(pid);
	if (!t)
		return -ESRCH;
	if (a.flags & FLAG_KEEP_PARAMS)
		get_params(t, &a);
	long r = set_attr(t, &a, a.flags & FLAG_KEEP_POLICY);
	task_put(t);
	return r;
}

SYSCALL3(getcpu, u64, ucpu, u64, unode, u64, ucache)
{
	(void)ucache;
	u32 cpu = this_cpu()->cpu;
	if ((ucpu && put_user_u32(ucpu, cpu)) || (unode && put_user_u32(unode, 0)))
		return -EFAULT;
	return 0;
}
