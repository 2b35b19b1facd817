/* SPDX-License-Identifier: MIT */
/*
 * Calls about the system and the process that fit nowhere else: uname, sysinfo,
 * prctl, arch_prctl, personality, getrandom, membarrier, and those that are refused
 * with the errno of a Linux without the feature.  The host names have a lock.
 */
#include "../boot/boot.h"
#include "../fs/vfs.h"
#include "internal.h"

/* ---- names -------------------------------------------------------------------------------- */

#define NAME_FIELD 65
static struct spinlock name_lock = SPINLOCK_INIT(RANK_HOST_MID + 2);
static char nodename[NAME_FIELD], domainname[NAME_FIELD] = "(none)";

static void first_name(void)
{
	size_t len;
	const char *n = config_get(CONFIG_HOSTNAME, 0, &len);
	if (nodename[0])
		return;
	if (!n || !len) {
		n = "quire";
		len = 5;
	}
	len = quire_min(len, (size_t)NAME_FIELD - 1);
	memcpy(nodename, n, len);
}

void uname_nodename(char out[65])
{
	spin_lock(&name_lock);
	first_name();
	memcpy(out, nodename, NAME_FIELD);
	spin_unlock(&name_lock);
}

SYSCALL1(uname, u64, ubuf)
{
	struct {
		char sysname[NAME_FIELD], nodename[NAME_FIELD], release[NAME_FIELD],
		    version[NAME_FIELD], machine[NAME_FIELD], domainname[NAME_FIELD];
	} u;
	memset(&u, 0, sizeof(u));
	strlcpy(u.sysname, "Linux", NAME_FIELD);
	strlcpy(u.release, "6.1.0-quire", NAME_FIELD);
	strlcpy(u.version, "#1 SMP Quire", NAME_FIELD);
	strlcpy(u.machine, "x86_64", NAME_FIELD);
	uname_nodename(u.nodename);
	spin_lock(&name_lock);
	memcpy(u.domainname, domainname, NAME_FIELD);
	spin_unlock(&name_lock);
	return copy_to_user(ubuf, &u, sizeof(u));
}

static long set_name(char *field, u64 uname_, s64 len)
{
	char new[NAME_FIELD] = {0};
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (len < 0 || len >= NAME_FIELD)
		return -EINVAL;
	if (copy_from_user(new, uname_, (size_t)len))
		return -EFAULT;
	spin_lock(&name_lock);
	memcpy(field, new, NAME_FIELD);
	spin_unlock(&name_lock);
	return 0;
}

SYSCALL2(sethostname, u64, uname_, s32, len)
{
	return set_name(nodename, uname_, len);
}

SYSCALL2(setdomainname, u64, uname_, s32, len)
{
	return set_name(domainname, uname_, len);
}

/* ---- the whole system ---------------------------------------------------------------------------
 */

struct sysinfo_k {
	s64 uptime;
	u64 loads[3], totalram, freeram, sharedram, bufferram, totalswap, freeswap;
	u16 procs, pad;
	u64 totalhigh, freehigh;
	u32 mem_unit, pad2;
};

SYSCALL1(sysinfo, u64, ubuf)
{
	struct sysinfo_k s = {0};
	struct quire_meminfo m;
	u64 load[3];
	quire_meminfo(&m);
	sched_loadavg(load);
	s.uptime = (s64)(time_ns() / NSEC_PER_SEC) + 1;
	for (unsigned i = 0; i < 3; i++)
		s.loads[i] = load[i] << 5; /* 11 bits of fraction to 16 */
	s.totalram = m.total * QUIRE_PAGE_SIZE;
	s.freeram = m.free * QUIRE_PAGE_SIZE;
	s.sharedram = m.shmem * QUIRE_PAGE_SIZE;
	s.procs = (u16)quire_min(nr_threads, 65535u);
	s.mem_unit = 1;
	return copy_to_user(ubuf, &s, sizeof(s));
}

#define GRND_NONBLOCK 1u
#define GRND_RANDOM 2u
#define GRND_INSECURE 4u

SYSCALL3(getrandom, u64, ubuf, u64, len, u32, flags)
{
	u8 chunk[256];
	u64 done = 0;
	if ((flags & ~(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE)) ||
	    (flags & (GRND_RANDOM | GRND_INSECURE)) == (GRND_RANDOM | GRND_INSECURE))
		return -EINVAL;
	len = quire_min(len, 0x7ffff000UL);
	while (done < len) {
		size_t n = quire_min(len - done, sizeof(chunk));
		quire_host_random(chunk, n);
		size_t k = copy_to_user_partial(ubuf + done, chunk, n);
		done += k;
		if (k < n)
			return done ? (long)done : -EFAULT;
		if (signal_pending() && done < len && !(done % QUIRE_PAGE_SIZE))
			break;
	}
	return (long)done;
}

/* ---- the process
 * ------------------------------------------------------------------------------------ */

SYSCALL1(personality, u32, persona)
{
	struct process *p = current()->process;
	u32 old = p->personality;
	if (persona != 0xffffffffu)
		p->personality = persona;
	return old;
}

#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003
#define ARCH_GET_GS 0x1004

SYSCALL2(arch_prctl, int, option, u64, addr)
{
	switch (option) {
	case ARCH_SET_FS:
	case ARCH_SET_GS:
		if (addr >= QUIRE_USER_END)
			return -EPERM;
		segment_base_set(option == ARCH_SET_FS ? SEG_FS : SEG_GS, addr);
		return 0;
	case ARCH_GET_FS:
	case ARCH_GET_GS:
		return put_user_u64(addr, segment_base(option == ARCH_GET_FS ? SEG_FS : SEG_GS));
	}
	return -EINVAL;
}

#define PR_SET_PDEATHSIG 1
#define PR_GET_PDEATHSIG 2
#define PR_GET_DUMPABLE 3
#define PR_SET_DUMPABLE 4
#define PR_GET_KEEPCAPS 7
#define PR_SET_KEEPCAPS 8
#define PR_GET_TIMING 13
#define PR_SET_TIMING 14
#define PR_SET_NAME 15
#define PR_GET_NAME 16
#define PR_GET_SECCOMP 21
#define PR_SET_SECCOMP 22
#define PR_CAPBSET_READ 23
#define PR_CAPBSET_DROP 24
#define PR_GET_TSC 25
#define PR_GET_SECUREBITS 27
#define PR_SET_SECUREBITS 28
#define PR_SET_TIMERSLACK 29
#define PR_GET_TIMERSLACK 30
#define PR_SET_MM 35
#define PR_SET_CHILD_SUBREAPER 36
#define PR_GET_CHILD_SUBREAPER 37
#define PR_SET_NO_NEW_PRIVS 38
#define PR_GET_NO_NEW_PRIVS 39
#define PR_GET_TID_ADDRESS 40
#define PR_SET_THP_DISABLE 41
#define PR_GET_THP_DISABLE 42
#define PR_CAP_AMBIENT 47
#define PR_SET_PTRACER 0x59616d61
#define PR_SET_VMA 0x53564d41
#define KEEP_CAPS 16u

static long set_securebits(u32 bits)
{
	struct cred *c = cred_copy(current()->cred);
	if (!c)
		return -ENOMEM;
	c->securebits = bits;
	cred_install(c);
	return 0;
}

static long prctl_caps(int option, u64 a, u64 b)
{
	const struct cred *old = current()->cred;
	if (option == PR_CAPBSET_READ)
		return a > CAP_LAST ? -EINVAL : (long)(old->cap_bounding >> a & 1);
	if (option == PR_CAPBSET_DROP) {
		if (!capable(CAP_SETPCAP))
			return -EPERM;
		if (a > CAP_LAST)
			return -EINVAL;
		struct cred *c = cred_copy(old);
		if (!c)
			return -ENOMEM;
		c->cap_bounding &= ~(1UL << a);
		cred_install(c);
		return 0;
	}
	/* PR_CAP_AMBIENT: 1 is set, 2 raise, 3 lower, 4 clear all */
	if (a < 1 || a > 4 || (a == 4 ? b != 0 : b > CAP_LAST))
		return -EINVAL;
	if (a == 1)
		return (long)(old->cap_ambient >> b & 1);
	if (a == 2 && !(old->cap_permitted & old->cap_inheritable & 1UL << b))
		return -EPERM;
	struct cred *c = cred_copy(old);
	if (!c)
		return -ENOMEM;
	c->cap_ambient = a == 4   ? 0
			 : a == 2 ? c->cap_ambient | 1UL << b
				  : c->cap_ambient & ~(1UL << b);
	cred_install(c);
	return 0;
}

static long prctl_name(int option, u64 a)
{
	struct task *t = current();
	char name[sizeof(t->comm)] = {0};
	if (option == PR_GET_NAME)
		return copy_to_user(a, t->comm, sizeof(t->comm));
	long n = copy_string_from_user(name, a, sizeof(name) - 1);
	if (n < 0 && n != -ENAMETOOLONG)
		return n;
	name[sizeof(name) - 1] = 0;
	memcpy(t->comm, name, sizeof(name));
	return 0;
}

SYSCALL5(prctl, int, option, u64, a, u64, b, u64, c, u64, d)
{
	struct task *t = current();
	struct process *p = t->process;
	switch (option) {
	case PR_SET_NAME:
	case PR_GET_NAME:
		return prctl_name(option, a);
	case PR_SET_PDEATHSIG:
		if (a > NSIG)
			return -EINVAL;
		t->pdeath_signal = (u32)a;
		return 0;
	case PR_GET_PDEATHSIG:
		return put_user_u32(a, t->pdeath_signal);
	case PR_GET_DUMPABLE:
		return t->uspace->dumpable;
	case PR_SET_DUMPABLE:
		if (a > 1)
			return -EINVAL;
		t->uspace->dumpable = a;
		return 0;
	case PR_GET_KEEPCAPS:
		return !!(t->cred->securebits & KEEP_CAPS);
	case PR_SET_KEEPCAPS:
		if (a > 1)
			return -EINVAL;
		return set_securebits((t->cred->securebits & ~KEEP_CAPS) | (a ? KEEP_CAPS : 0));
	case PR_GET_TIMING:
		return 0;
	case PR_SET_TIMING:
		return a ? -EINVAL : 0;
	case PR_GET_SECCOMP:
		return -EINVAL; /* as a Linux without seccomp */
	case PR_SET_SECCOMP:
		return -EINVAL;
	case PR_CAPBSET_READ:
	case PR_CAPBSET_DROP:
		return prctl_caps(option, a, b);
	case PR_CAP_AMBIENT:
		return c || d ? -EINVAL : prctl_caps(option, a, b);
	case PR_GET_TSC:
		return put_user_u32(a, 1);
	case PR_GET_SECUREBITS:
		return t->cred->securebits;
	case PR_SET_SECUREBITS:
		return capable(CAP_SETPCAP) ? set_securebits((u32)a & 0xff) : -EPERM;
	case PR_SET_TIMERSLACK:
		t->timer_slack = (s64)a > 0 ? a : 50000;
		return 0;
	case PR_GET_TIMERSLACK:
		return (long)t->timer_slack;
	case PR_SET_CHILD_SUBREAPER:
		p->child_subreaper = a;
		return 0;
	case PR_GET_CHILD_SUBREAPER:
		return put_user_u32(a, p->child_subreaper);
	case PR_SET_NO_NEW_PRIVS:
		if (a != 1 || b || c || d)
			return -EINVAL;
		p->no_new_privs = true;
		return 0;
	case PR_GET_NO_NEW_PRIVS:
		return a || b || c || d ? -EINVAL : p->no_new_privs;
	case PR_GET_TID_ADDRESS:
		return put_user_u64(a, t->clear_child_tid);
	case PR_SET_THP_DISABLE:
		return b || c || d ? -EINVAL : 0; /* there are none */
	case PR_GET_THP_DISABLE:
		return a || b || c || d ? -EINVAL : 1;
	case PR_SET_MM:
		return prctl_set_mm((int)a, b, c, d);
	case PR_SET_VMA:
		return -EINVAL; /* as Debian's Linux, which has no names for anonymous memory */
	case PR_SET_PTRACER:
		return -EINVAL;
	}
	syscall_log_missing("an option of prctl");
	return -EINVAL;
}

/* ---- membarrier
 * ---------------------------------------------------------------------------------------- */

#define MB_GLOBAL 1
#define MB_GLOBAL_EXPEDITED 2
#define MB_REGISTER_GLOBAL_EXPEDITED 4
#define MB_PRIVATE_EXPEDITED 8
#define MB_REGISTER_PRIVATE_EXPEDITED 16
#define MB_PRIVATE_EXPEDITED_SYNC_CORE 32
#define MB_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE 64

static void barrier_here(void *unused)
{
	(void)unused;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* the return by IRET serialises as well */
}

static void barrier_on(u64 cpus)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	quire_host_preempt_disable();
	cpus &= ~(1UL << this_cpu()->cpu) & ((1UL << ncpus) - 1);
	if (cpus)
		smp_call(cpus, barrier_here, NULL);
	quire_host_preempt_enable();
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

SYSCALL3(membarrier, int, cmd, u32, flags, int, cpu)
{
	struct uspace *u = current()->uspace;
	(void)cpu;
	if (flags)
		return -EINVAL;
	switch (cmd) {
	case 0:
		return 127; /* all of the above */
	case MB_GLOBAL:
	case MB_GLOBAL_EXPEDITED:
		barrier_on(~0UL);
		return 0;
	case MB_REGISTER_GLOBAL_EXPEDITED:
	case MB_REGISTER_PRIVATE_EXPEDITED:
	case MB_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE:
		__atomic_or_fetch(&u->membarrier, (u32)cmd, __ATOMIC_SEQ_CST);
		return 0;
	case MB_PRIVATE_EXPEDITED:
	case MB_PRIVATE_EXPEDITED_SYNC_CORE:
		if (!(u->membarrier & (u32)cmd << 1))
			return -EPERM;
		barrier_on(__atomic_load_n(&u->cpu_mask, __ATOMIC_SEQ_CST));
		return 0;
	}
	return -EINVAL;
}

/* ---- refused
 * ---------------------------------------------------------------------------------------------- */

#define CLONE_NEWTIME 0x80UL
#define CLONE_FS 0x200UL
#define CLONE_FILES 0x400UL
#define CLONE_NEWNS 0x20000UL
#define CLONE_SYSVSEM 0x40000UL
#define CLONE_NEWUSER 0x10000000UL
/* Memory, signal handlers, the thread group: what only one thread has can't be unshared. */
#define CLONE_TOGETHER 0x10900UL
/* Namespaces that there is one of, each. */
#define CLONE_NEW_ABSENT 0x7e000080UL

static int unshare_fs(struct task *t, u64 flags)
{
	struct fsctx *n = fsctx_copy(t->fs), *old = t->fs;
	int err = n ? 0 : -ENOMEM;
	if (!err && (flags & CLONE_NEWNS))
		err = mnt_ns_unshare(n);
	if (err) {
		fsctx_put(n);
		return err;
	}
	unsigned long irq = spin_lock_irq(&t->process->siglock);
	t->fs = n;
	spin_unlock_irq(&t->process->siglock, irq);
	fsctx_leave(old);
	return 0;
}

SYSCALL1(unshare, u64, flags)
{
	struct task *t = current();
	int err = 0;
	if (flags & ~(CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_NEWNS | CLONE_TOGETHER |
		      CLONE_NEW_ABSENT))
		return -EINVAL;
	if ((flags & (CLONE_TOGETHER | CLONE_NEWUSER)) && t->process->nr_threads > 1)
		return -EINVAL;
	if (flags & CLONE_NEWUSER)
		return -EINVAL;
	if ((flags & (CLONE_NEWNS | CLONE_NEW_ABSENT)) && !capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (flags & CLONE_NEW_ABSENT)
		return -EINVAL;
	if (flags & (CLONE_FS | CLONE_NEWNS))
		err = unshare_fs(t, flags);
	return !err && (flags & CLONE_FILES) ? files_unshare() : err;
}

SYSCALL3(seccomp, u32, op, u32, flags, u64, args)
{
	(void)op, (void)flags, (void)args;
	return -EINVAL;
}

SYSCALL4(reboot, u32, magic, u32, magic2, u32, cmd, u64, arg)
{
	(void)magic, (void)magic2, (void)cmd, (void)arg;
	return -EPERM;
}

SYSCALL3(syslog, int, type, u64, buf, int, len)
{
	(void)buf, (void)len;
	if (type == 10)
		return 0; /* the log's size: it goes to the host */
	return capable(CAP_SYS_ADMIN) ? -EINVAL : -EPERM;
}

SYSCALL0(vhangup)
{
	return -EPERM;
}

#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_CLASS(prio) ((u32)(prio) >> 13)
#define IOPRIO_CLASS_RT 1u
#define IOPRIO_CLASS_IDLE 3u

/* The thread meant by which and who: referenced, or null with *err. */
static struct task *ioprio_task(int which, int who, long *err)
{
	*err = -EINVAL;
	if (which < 1 || which > 3)
		return NULL;
	if (which != IOPRIO_WHO_PROCESS) {
		syscall_log_missing("ioprio_*: groups and users");
		return NULL;
	}
	*err = -ESRCH;
	if (!who) {
		task_get(current());
		return current();
	}
	struct task *t = who > 0 ? task_find((u32)who) : NULL;
	if (t && !t->process) {
		task_put(t);
		t = NULL;
	}
	return t;
}

SYSCALL3(ioprio_set, int, which, int, who, int, prio)
{
	u32 class = IOPRIO_CLASS(prio), level = (u32)prio & 0x1fff;
	long err;
	if (class > IOPRIO_CLASS_IDLE || (class && class < IOPRIO_CLASS_IDLE && level > 7) ||
	    (!class && level))
		return -EINVAL;
	if (class == IOPRIO_CLASS_RT && !capable(CAP_SYS_ADMIN) && !capable(CAP_SYS_NICE))
		return -EPERM;
	struct task *t = ioprio_task(which, who, &err);
	if (!t)
		return err;
	const struct cred *me = current()->cred;
	struct cred *c = task_cred_get(t);
	err =
	    (c && (c->uid == me->euid || c->uid == me->uid)) || capable(CAP_SYS_NICE) ? 0 : -EPERM;
	if (c)
		cred_put(c);
	if (!err)
		t->ioprio = (u32)prio;
	task_put(t);
	return err;
}

SYSCALL2(ioprio_get, int, which, int, who)
{
	long err;
	struct task *t = ioprio_task(which, who, &err);
	if (!t)
		return err;
	err = (long)t->ioprio;
	task_put(t);
	return err;
}
