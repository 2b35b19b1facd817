/* SPDX-License-Identifier: MIT */
/*
 * Clocks and sleeping: the system calls that tell the time, and nanosleep.
 *
 * All clocks are the monotonic one of arch/time.c plus an offset, or the CPU time of
 * a thread or process.  Timers that send signals are in itimer.c.  No locks.
 */
#include "../vdso/vdso.h"
#include "internal.h"

#define CLOCK_REALTIME 0
#define CLOCK_MONOTONIC 1
#define CLOCK_PROCESS_CPUTIME 2
#define CLOCK_THREAD_CPUTIME 3
#define CLOCK_MONOTONIC_RAW 4
#define CLOCK_REALTIME_COARSE 5
#define CLOCK_MONOTONIC_COARSE 6
#define CLOCK_BOOTTIME 7
#define CLOCK_REALTIME_ALARM 8
#define CLOCK_BOOTTIME_ALARM 9
#define CLOCK_TAI 11
#define TIMER_ABSTIME 1
#define TICK_NS 10000000UL

int timespec_in(u64 *ns, u64 uaddr)
{
	struct timespec_k t;
	if (copy_from_user(&t, uaddr, sizeof(t)))
		return -EFAULT;
	if (t.sec < 0 || t.nsec < 0 || t.nsec >= (s64)NSEC_PER_SEC)
		return -EINVAL;
	*ns =
	    (u64)t.sec >= ~0UL / NSEC_PER_SEC ? ~0UL - 1 : (u64)t.sec * NSEC_PER_SEC + (u64)t.nsec;
	return 0;
}

int timespec_out(u64 uaddr, u64 ns)
{
	struct timespec_k t = {(s64)(ns / NSEC_PER_SEC), (s64)(ns % NSEC_PER_SEC)};
	return copy_to_user(uaddr, &t, sizeof(t));
}

u64 cpu_clock_ns(struct process *p, struct task *t, bool user_only)
{
	u64 user, system;
	if (t)
		task_cpu_times(t, &user, &system);
	else
		process_cpu_times(p, &user, &system);
	return user_only ? user : user + system;
}

/* The CPU-time clock of any process or thread: ~pid << 3 | kind, 4: a thread. */
static int dynamic_cpu_clock(s32 id, u64 *ns)
{
	u32 pid = (u32)~id >> 3;
	unsigned kind = id & 3;
	if (kind == 3)
		return -EINVAL; /* a clock device's descriptor */
	struct task *t = pid ? task_find(pid) : current();
	if (!t || !t->process ||
	    ((id & 4) ? t->process != current()->process : t->process->tgid != t->tid)) {
		if (t && pid)
			task_put(t);
		return -EINVAL;
	}
	*ns = cpu_clock_ns(t->process, id & 4 ? t : NULL, kind == 1);
	if (pid)
		task_put(t);
	return 0;
}

static int clock_now(s32 id, u64 *ns)
{
	switch (id) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_TAI:
		*ns = time_ns() + wall_offset_ns;
		return 0;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM:
		*ns = time_ns();
		return 0;
	case CLOCK_PROCESS_CPUTIME:
		*ns = cpu_clock_ns(current()->process, NULL, false);
		return 0;
	case CLOCK_THREAD_CPUTIME:
		*ns = cpu_clock_ns(NULL, current(), false);
		return 0;
	}
	return id < 0 ? dynamic_cpu_clock(id, ns) : -EINVAL;
}

SYSCALL2(clock_gettime, s32, id, u64, uts)
{
	u64 ns;
	int err = clock_now(id, &ns);
	return err ? err : timespec_out(uts, ns);
}

SYSCALL2(clock_getres, s32, id, u64, uts)
{
	u64 ns;
	int err = clock_now(id, &ns);
	if (err || !uts)
		return err;
	return timespec_out(
	    uts, id == CLOCK_REALTIME_COARSE || id == CLOCK_MONOTONIC_COARSE ? TICK_NS : 1);
}

SYSCALL2(clock_settime, s32, id, u64, uts)
{
	u64 ns;
	if (id != CLOCK_REALTIME)
		return -EINVAL;
	int err = timespec_in(&ns, uts);
	if (err)
		return err;
	if (!capable(CAP_SYS_TIME))
		return -EPERM;
	wall_offset_ns = ns - time_ns();
	vdso_wall_changed();
	return 0;
}

SYSCALL2(gettimeofday, u64, utv, u64, utz)
{
	u64 ns = time_ns() + wall_offset_ns;
	struct timeval_k tv = {(s64)(ns / NSEC_PER_SEC), (s64)(ns % NSEC_PER_SEC / 1000)};
	u64 zone = 0;
	if (utv && copy_to_user(utv, &tv, sizeof(tv)))
		return -EFAULT;
	if (utz && copy_to_user(utz, &zone, sizeof(zone)))
		return -EFAULT;
	return 0;
}

SYSCALL2(settimeofday, u64, utv, u64, utz)
{
	struct timeval_k tv;
	(void)utz;
	if (utv && copy_from_user(&tv, utv, sizeof(tv)))
		return -EFAULT;
	if (utv && (tv.usec < 0 || tv.usec >= 1000000 || tv.sec < 0))
		return -EINVAL;
	if (!capable(CAP_SYS_TIME))
		return -EPERM;
	if (utv) {
		wall_offset_ns = (u64)tv.sec * NSEC_PER_SEC + (u64)tv.usec * 1000 - time_ns();
		vdso_wall_changed();
	}
	return 0;
}

SYSCALL1(time, u64, uaddr)
{
	u64 s = (time_ns() + wall_offset_ns) / NSEC_PER_SEC;
	if (uaddr && put_user_u64(uaddr, s))
		return -EFAULT;
	return (long)s;
}

SYSCALL1(times, u64, ubuf)
{
	struct process *p = current()->process;
	u64 user, system;
	process_cpu_times(p, &user, &system);
	u64 t[4] = {user / TICK_NS, system / TICK_NS, p->cutime / TICK_NS, p->cstime / TICK_NS};
	if (ubuf && copy_to_user(ubuf, t, sizeof(t)))
		return -EFAULT;
	return (long)(time_ns() / TICK_NS);
}

/* ---- sleeping ---------------------------------------------------------------------------------
 */

static long sleep_restart(struct task *t);

/* Until the deadline of the monotonic clock.  When a signal comes: relative sleeps tell the
 * rest at urem and can be restarted. */
static long sleep_until(u64 deadline, bool absolute, u64 urem)
{
	struct task *t = current();
	bool over = false;
	while (!over && !signal_pending()) {
		__atomic_store_n(&t->state, (u32)TASK_INTERRUPTIBLE, __ATOMIC_SEQ_CST);
		if (!signal_pending())
			over = !schedule_until(deadline);
		__atomic_store_n(&t->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
	}
	u64 now = time_ns();
	if (over || now >= deadline)
		return 0;
	if (absolute)
		return -ERESTARTNOHAND;
	if (urem && timespec_out(urem, deadline - now))
		return -EFAULT;
	t->restart_data[0] = deadline;
	t->restart_data[1] = urem;
	t->restart = (void *)sleep_restart;
	return -ERESTART_RESTARTBLOCK;
}

static long sleep_restart(struct task *t)
{
	return sleep_until(t->restart_data[0], false, t->restart_data[1]);
}

static u64 from_now(u64 ns)
{
	u64 now = time_ns();
	return now + ns < now ? ~0UL - 1 : now + ns;
}

/* CPU-time clocks don't tick while all sleep: look again and again. */
static long cpu_clock_sleep(s32 id, u64 target)
{
	u64 now;
	for (;;) {
		int err = clock_now(id, &now);
		if (err)
			return err;
		if (now >= target)
			return 0;
		long r = sleep_until(from_now(quire_max(target - now, 1000000UL)), true, 0);
		if (r)
			return r;
	}
}

SYSCALL2(nanosleep, u64, ureq, u64, urem)
{
	u64 ns;
	int err = timespec_in(&ns, ureq);
	return err ? err : sleep_until(from_now(ns), false, urem);
}

SYSCALL4(clock_nanosleep, s32, id, u32, flags, u64, ureq, u64, urem)
{
	u64 ns, now;
	bool absolute = flags & TIMER_ABSTIME;
	if (id == CLOCK_THREAD_CPUTIME || id == CLOCK_MONOTONIC_RAW ||
	    id == CLOCK_REALTIME_COARSE || id == CLOCK_MONOTONIC_COARSE)
		return -EOPNOTSUPP;
	int err = clock_now(id, &now);
	if (!err)
		err = timespec_in(&ns, ureq);
	if (err)
		return err;
	if (id == CLOCK_PROCESS_CPUTIME || id < 0)
		return cpu_clock_sleep(id, absolute ? ns : now + ns);
	if (!absolute)
		return sleep_until(from_now(ns), false, urem);
	return sleep_until(ns > now ? from_now(ns - now) : 0, true, 0);
}

SYSCALL0(restart_syscall)
{
	struct task *t = current();
	long (*fn)(struct task *) = (long (*)(struct task *))t->restart;
	return fn ? fn(t) : -EINTR;
}

/* ---- adjusting: the clock is the host's --------------------------------------------------------
 */

SYSCALL1(adjtimex, u64, utx)
{
	u8 tx[208];
	u32 modes;
	u64 ns = time_ns() + wall_offset_ns, tv[2] = {ns / NSEC_PER_SEC, ns % NSEC_PER_SEC / 1000};
	if (copy_from_user(tx, utx, sizeof(tx)))
		return -EFAULT;
	memcpy(&modes, tx, sizeof(modes));
	if (modes)
		return capable(CAP_SYS_TIME) ? -EOPNOTSUPP : -EPERM;
	memset(tx, 0, sizeof(tx));
	s32 status = 0x40; /* STA_UNSYNC */
	s64 tick = 10000;
	memcpy(tx + 40, &status, sizeof(status));
	memcpy(tx + 72, tv, sizeof(tv));
	memcpy(tx + 88, &tick, sizeof(tick));
	return copy_to_user(utx, tx, sizeof(tx)) ? -EFAULT : 5; /* TIME_ERROR */
}
