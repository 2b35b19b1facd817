/* SPDX-License-Identifier: MIT */
/*
 * Timers that send signals: setitimer, alarm, and the POSIX timers.
 *
 * All are struct ptimer: a time of some clock, an interval, and a signal whose queue
 * entry was allocated with the timer, since it is sent from the timer interrupt.
 * A timer on a CPU-time clock is looked at when it could have expired at the
 * earliest, and again.
 *
 * Locks: proc_timers.change (sleeping, RANK_HOST_OUTER + 14) is held by the calls that
 * change timers; proc_timers.lock (RANK_HOST_MID + 9, interrupts off) guards the state
 * that the interrupt reads.
 */
#include "internal.h"

#define ITIMER_REAL 0
#define ITIMER_VIRTUAL 1
#define ITIMER_PROF 2
#define CPU_LIMIT 3
#define NR_FIXED 4

/* Clocks of timers; the first are Linux's numbers. */
#define TC_REALTIME 0
#define TC_MONOTONIC 1
#define TC_PROCESS 2
#define TC_THREAD 3
#define TC_BOOTTIME 7
#define TC_TAI 11
#define TC_PROCESS_USER 100

#define SIGEV_SIGNAL 0
#define SIGEV_NONE 1
#define SIGEV_THREAD 2
#define SIGEV_THREAD_ID 4
#define TIMER_ABSTIME 1
#define SHORTEST_NS 20000UL /* between two interrupts of one timer */

struct ptimer {
	struct timer timer;
	struct process *process;
	struct task *thread; /* whom SIGEV_THREAD_ID names, or whose CPU clock it is; or null */
	s32 clock, notify, id;
	bool armed;
	u64 next, interval; /* ns of its clock */
	struct sigentry entry;
	struct list node;
};

struct proc_timers {
	struct mutex change;
	struct spinlock lock;
	struct ptimer it[4]; /* the interval timers, and RLIMIT_CPU's */
	struct list posix;
	s32 next_id;
};

struct itimerval_k {
	struct timeval_k interval, value;
};
struct itimerspec_k {
	struct timespec_k interval, value;
};

/* ---- all kinds --------------------------------------------------------------------------------
 */

static bool cpu_clock(const struct ptimer *pt)
{
	return pt->clock == TC_PROCESS || pt->clock == TC_THREAD || pt->clock == TC_PROCESS_USER;
}

static u64 clock_of(const struct ptimer *pt)
{
	if (cpu_clock(pt))
		return cpu_clock_ns(pt->process, pt->clock == TC_THREAD ? pt->thread : NULL,
				    pt->clock == TC_PROCESS_USER);
	return pt->clock == TC_REALTIME || pt->clock == TC_TAI ? time_ns() + wall_offset_ns
							       : time_ns();
}

static void expired(struct timer *t);

static void arm(struct ptimer *pt, u64 now)
{
	u64 wait = pt->next > now ? pt->next - now : 0, mono = time_ns();
	if (cpu_clock(pt)) {
		u32 n = pt->clock == TC_THREAD ? 1 : pt->process->nr_running;
		wait = quire_max(wait / quire_max(n, 1u), 1000000UL);
	}
	wait = quire_max(wait, SHORTEST_NS);
	timer_arm(&pt->timer, mono + wait < mono ? ~0UL - 1 : mono + wait, expired);
}

/* In the timer interrupt. */
static void expired(struct timer *t)
{
	struct ptimer *pt = quire_container_of(t, struct ptimer, timer);
	struct proc_timers *ts = pt->process->timers;
	bool fire = false;
	spin_lock(&ts->lock);
	u64 now = clock_of(pt);
	if (pt->armed && now >= pt->next) {
		fire = true;
		pt->armed = pt->interval != 0;
		if (pt->interval) {
			u64 missed = (now - pt->next) / pt->interval;
			pt->next += (missed + 1) * pt->interval;
			pt->entry.overrun += (s32)quire_min(missed, 0x3fffffffUL);
		}
	}
	if (pt->armed)
		arm(pt, now);
	spin_unlock(&ts->lock);
	if (fire && pt == &ts->it[CPU_LIMIT] &&
	    now / NSEC_PER_SEC >= pt->process->rlim[RLIMIT_CPU].max)
		send_signal_process(pt->process, SIGKILL, NULL);
	else if (fire && pt->notify != SIGEV_NONE)
		send_sigentry(pt->process, pt->notify == SIGEV_THREAD_ID ? pt->thread : NULL,
			      &pt->entry);
}

static void init_ptimer(struct ptimer *pt, struct process *p, s32 clock, int sig)
{
	memset(pt, 0, sizeof(*pt));
	pt->process = p;
	pt->clock = clock;
	pt->entry.sig = (s16)sig;
	pt->entry.preallocated = true;
	pt->entry.info.si_signo = sig;
	pt->entry.info.si_code = SI_KERNEL;
	list_init(&pt->node);
}

static struct proc_timers *timers_of(struct process *p)
{
	static const int sigs[] = {SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU};
	static const s32 clocks[] = {TC_MONOTONIC, TC_PROCESS_USER, TC_PROCESS, TC_PROCESS};
	struct proc_timers *ts = __atomic_load_n(&p->timers, __ATOMIC_ACQUIRE), *none = NULL;
	if (ts)
		return ts;
	ts = quire_kmalloc(sizeof(*ts), GFP_KERNEL);
	if (!ts)
		return NULL;
	memset(ts, 0, sizeof(*ts));
	mutex_init(&ts->change, RANK_HOST_OUTER + 14);
	spin_init(&ts->lock, RANK_HOST_MID + 9);
	list_init(&ts->posix);
	for (unsigned i = 0; i < NR_FIXED; i++)
		init_ptimer(&ts->it[i], p, clocks[i], sigs[i]);
	if (!__atomic_compare_exchange_n(&p->timers, &none, ts, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE)) {
		quire_kfree(ts);
		return none;
	}
	return ts;
}

/* How long until it expires (0: not armed) and its interval. */
static void get(struct proc_timers *ts, struct ptimer *pt, u64 *left, u64 *interval)
{
	unsigned long irq = spin_lock_irq(&ts->lock);
	u64 now = clock_of(pt);
	*interval = pt->interval;
	*left = !pt->armed ? 0 : pt->next > now ? pt->next - now : 1;
	spin_unlock_irq(&ts->lock, irq);
}

/* value 0 disarms.  The change mutex is held. */
static void set(struct proc_timers *ts, struct ptimer *pt, u64 value, u64 interval, bool absolute)
{
	unsigned long irq = spin_lock_irq(&ts->lock);
	pt->armed = false;
	spin_unlock_irq(&ts->lock, irq);
	timer_cancel(&pt->timer);
	pt->interval = interval;
	if (!value)
		return;
	irq = spin_lock_irq(&ts->lock);
	u64 now = clock_of(pt);
	pt->next = absolute ? value : now + value < now ? ~0UL - 1 : now + value;
	pt->armed = true;
	pt->entry.overrun = 0;
	arm(pt, now);
	spin_unlock_irq(&ts->lock, irq);
}

static void free_posix(struct proc_timers *ts, struct ptimer *pt)
{
	set(ts, pt, 0, 0, false);
	cancel_sigentry(pt->process, &pt->entry);
	list_del(&pt->node);
	if (pt->thread)
		task_put(pt->thread);
	quire_kfree(pt);
}

void timers_exit(struct process *p)
{
	struct proc_timers *ts = p->timers;
	struct ptimer *pt, *tmp;
	if (!ts)
		return;
	mutex_lock(&ts->change);
	list_for_each_safe (pt, tmp, &ts->posix, node)
		free_posix(ts, pt);
	mutex_unlock(&ts->change);
}

void itimers_exit(struct process *p)
{
	struct proc_timers *ts = p->timers;
	if (!ts)
		return;
	mutex_lock(&ts->change);
	for (unsigned i = 0; i < NR_FIXED; i++)
		set(ts, &ts->it[i], 0, 0, false);
	mutex_unlock(&ts->change);
}

/* SIGXCPU at the soft limit and every second after it, SIGKILL at the hard one. */
int cpu_limit_changed(struct process *p)
{
	u64 seconds = p->rlim[RLIMIT_CPU].cur;
	if (seconds >= ~0UL / NSEC_PER_SEC && !p->timers)
		return 0;
	struct proc_timers *ts = timers_of(p);
	if (!ts)
		return -ENOMEM;
	mutex_lock(&ts->change);
	if (seconds >= ~0UL / NSEC_PER_SEC)
		set(ts, &ts->it[CPU_LIMIT], 0, 0, false);
	else
		set(ts, &ts->it[CPU_LIMIT], quire_max(seconds, 1UL) * NSEC_PER_SEC, NSEC_PER_SEC,
		    true);
	mutex_unlock(&ts->change);
	return 0;
}

void timers_free(struct process *p)
{
	/* prlimit(2) can set a limit of CPU time for one that has ended already. */
	for (unsigned i = 0; p->timers && i < NR_FIXED; i++)
		set(p->timers, &p->timers->it[i], 0, 0, false);
	quire_kfree(p->timers);
	p->timers = NULL;
}

/* ---- interval timers ----------------------------------------------------------------------------
 */

static struct timeval_k to_timeval(u64 ns)
{
	return (struct timeval_k){(s64)(ns / NSEC_PER_SEC),
				  (s64)((ns % NSEC_PER_SEC + 999) / 1000)};
}

static int from_timeval(const struct timeval_k *tv, u64 *ns)
{
	if (tv->sec < 0 || tv->usec < 0 || tv->usec >= 1000000)
		return -EINVAL;
	*ns = (u64)tv->sec >= ~0UL / NSEC_PER_SEC / 2
		  ? ~0UL / 2
		  : (u64)tv->sec * NSEC_PER_SEC + (u64)tv->usec * 1000;
	return 0;
}

static int itimer_out(int which, u64 uold)
{
	struct proc_timers *ts = current()->process->timers;
	u64 left = 0, interval = 0;
	if (ts)
		get(ts, &ts->it[which], &left, &interval);
	struct itimerval_k v = {to_timeval(interval), to_timeval(left)};
	if (v.value.usec == 1000000) {
		v.value.usec = 0;
		v.value.sec++;
	}
	return copy_to_user(uold, &v, sizeof(v));
}

SYSCALL2(getitimer, int, which, u64, uold)
{
	if (which < ITIMER_REAL || which > ITIMER_PROF)
		return -EINVAL;
	return itimer_out(which, uold);
}

SYSCALL3(setitimer, int, which, u64, unew, u64, uold)
{
	struct itimerval_k v = {0};
	u64 value = 0, interval = 0;
	if (unew && copy_from_user(&v, unew, sizeof(v)))
		return -EFAULT;
	if (which < ITIMER_REAL || which > ITIMER_PROF || from_timeval(&v.value, &value) ||
	    from_timeval(&v.interval, &interval))
		return -EINVAL;
	struct proc_timers *ts = timers_of(current()->process);
	if (!ts)
		return -ENOMEM;
	mutex_lock(&ts->change);
	int err = uold ? itimer_out(which, uold) : 0;
	if (!err)
		set(ts, &ts->it[which], value, interval, false);
	mutex_unlock(&ts->change);
	return err;
}

SYSCALL1(alarm, u32, seconds)
{
	struct proc_timers *ts = timers_of(current()->process);
	u64 left, interval;
	if (!ts)
		return 0;
	mutex_lock(&ts->change);
	get(ts, &ts->it[ITIMER_REAL], &left, &interval);
	set(ts, &ts->it[ITIMER_REAL], seconds * NSEC_PER_SEC, 0, false);
	mutex_unlock(&ts->change);
	/* Rounded as Linux does: never to 0 while one is set. */
	u64 s = left / NSEC_PER_SEC;
	return left && (!s || left % NSEC_PER_SEC >= NSEC_PER_SEC / 2) ? (long)s + 1 : (long)s;
}

/* ---- POSIX timers
 * ---------------------------------------------------------------------------------- */

struct sigevent_k {
	u64 value;
	s32 signo, notify, tid;
	u8 pad[44];
};
_Static_assert(sizeof(struct sigevent_k) == 64, "struct sigevent");

static struct ptimer *find_posix(struct proc_timers *ts, s32 id)
{
	struct ptimer *pt;
	list_for_each (pt, &ts->posix, node)
		if (pt->id == id)
			return pt;
	return NULL;
}

static bool good_clock(s32 clock)
{
	return clock == TC_REALTIME || clock == TC_MONOTONIC || clock == TC_PROCESS ||
	       clock == TC_THREAD || clock == TC_BOOTTIME || clock == TC_TAI;
}

/* Whom the timer is for; a reference in *out, or null for the process. */
static int event_target(const struct sigevent_k *ev, s32 clock, struct task **out)
{
	*out = NULL;
	if (ev->notify != SIGEV_NONE && (ev->signo < 1 || ev->signo > NSIG))
		return -EINVAL;
	if (ev->notify == SIGEV_THREAD_ID) {
		*out = task_find((u32)ev->tid);
		if (*out && (*out)->process != current()->process) {
			task_put(*out);
			*out = NULL;
		}
		return *out ? 0 : -EINVAL;
	}
	if (ev->notify != SIGEV_SIGNAL && ev->notify != SIGEV_NONE && ev->notify != SIGEV_THREAD)
		return -EINVAL;
	if (clock == TC_THREAD) {
		*out = current();
		task_get(*out);
	}
	return 0;
}

SYSCALL3(timer_create, s32, clock, u64, uevent, u64, uid)
{
	struct process *p = current()->process;
	struct sigevent_k ev = {.signo = SIGALRM, .notify = SIGEV_SIGNAL};
	struct task *target;
	if (!good_clock(clock))
		return clock == 8 || clock == 9 ? -EPERM : clock < 0 ? -EOPNOTSUPP : -EINVAL;
	if (uevent && copy_from_user(&ev, uevent, sizeof(ev)))
		return -EFAULT;
	int err = event_target(&ev, clock, &target);
	if (err)
		return err;
	struct proc_timers *ts = timers_of(p);
	struct ptimer *pt = ts ? quire_kmalloc(sizeof(*pt), GFP_KERNEL) : NULL;
	if (!pt) {
		if (target)
			task_put(target);
		return -EAGAIN;
	}
	init_ptimer(pt, p, clock, ev.signo);
	pt->thread = target;
	pt->notify = ev.notify;
	pt->entry.info.si_code = SI_TIMER;
	mutex_lock(&ts->change);
	pt->id = ts->next_id++;
	pt->entry.info.timer.tid = pt->id;
	pt->entry.info.timer.value = uevent ? ev.value : (u64)pt->id;
	list_add_tail(&ts->posix, &pt->node);
	if (put_user_u32(uid, (u32)pt->id)) {
		free_posix(ts, pt);
		err = -EFAULT;
	}
	mutex_unlock(&ts->change);
	return err;
}

/* Lock the timers of current and find one: null and -EINVAL when it isn't there. */
static struct ptimer *lock_posix(s32 id, struct proc_timers **out) NO_TSA
{
	struct proc_timers *ts = current()->process->timers;
	struct ptimer *pt = NULL;
	*out = ts;
	if (!ts)
		return NULL;
	mutex_lock(&ts->change);
	pt = find_posix(ts, id);
	if (!pt)
		mutex_unlock(&ts->change);
	return pt;
}

static void unlock_posix(struct proc_timers *ts) NO_TSA
{
	mutex_unlock(&ts->change);
}

static struct itimerspec_k spec(u64 left, u64 interval)
{
	return (struct itimerspec_k){
	    {(s64)(interval / NSEC_PER_SEC), (s64)(interval % NSEC_PER_SEC)},
	    {(s64)(left / NSEC_PER_SEC), (s64)(left % NSEC_PER_SEC)}};
}

SYSCALL4(timer_settime, s32, id, u32, flags, u64, unew, u64, uold)
{
	struct proc_timers *ts;
	u64 value, interval, left, old;
	if (!unew)
		return -EINVAL;
	int err = timespec_in(&interval, unew);
	if (!err)
		err = timespec_in(&value, unew + sizeof(struct timespec_k));
	if (err)
		return err;
	struct ptimer *pt = lock_posix(id, &ts);
	if (!pt)
		return -EINVAL;
	get(ts, pt, &left, &old);
	set(ts, pt, value, interval, flags & TIMER_ABSTIME);
	unlock_posix(ts);
	struct itimerspec_k s = spec(left, old);
	return uold ? copy_to_user(uold, &s, sizeof(s)) : 0;
}

SYSCALL2(timer_gettime, s32, id, u64, uold)
{
	struct proc_timers *ts;
	u64 left, interval;
	struct ptimer *pt = lock_posix(id, &ts);
	if (!pt)
		return -EINVAL;
	get(ts, pt, &left, &interval);
	unlock_posix(ts);
	struct itimerspec_k s = spec(left, interval);
	return copy_to_user(uold, &s, sizeof(s));
}

SYSCALL1(timer_getoverrun, s32, id)
{
	struct proc_timers *ts;
	struct ptimer *pt = lock_posix(id, &ts);
	if (!pt)
		return -EINVAL;
	long n = pt->entry.last_overrun;
	unlock_posix(ts);
	return n;
}

SYSCALL1(timer_delete, s32, id)
{
	struct proc_timers *ts;
	struct ptimer *pt = lock_posix(id, &ts);
	if (!pt)
		return -EINVAL;
	free_posix(ts, pt);
	unlock_posix(ts);
	return 0;
}
