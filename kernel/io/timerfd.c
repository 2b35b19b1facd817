/* SPDX-License-Identifier: MIT */
/*
 * timerfd: a timer that is read as a count of expirations.
 *
 * The hardware-facing timer only says that the next expiration is due; how many
 * there were since follows from the clock, so a periodic timer that nobody reads
 * costs one interrupt a period and no more.
 *
 * Locking: t->lock (spin, RANK_HOST_MID + 5) guards deadline, interval and missed;
 * the timer's function takes none of it and only wakes.
 * The wall clock can't be set here, so TFD_TIMER_CANCEL_ON_SET never cancels.
 */
#include "../syscall/syscall.h"
#include "io.h"

#define NSEC 1000000000UL
#define TFD_TIMER_ABSTIME 1u
#define TFD_TIMER_CANCEL_ON_SET 2u
#define CLOCK_REALTIME 0
#define CLOCK_MONOTONIC 1
#define CLOCK_BOOTTIME 7
#define CLOCK_REALTIME_ALARM 8
#define CLOCK_BOOTTIME_ALARM 9
#define CAP_WAKE_ALARM 35
#define TFD_IOC_SET_TICKS 0x40085400u

struct timerfd {
	struct timer timer;
	struct spinlock lock;
	u64 deadline; /* of the next expiration not yet counted, time_ns(); 0: disarmed */
	u64 interval; /* ns; 0: once */
	u64 ticks;    /* counted, not read */
	int clock;
	struct waitq wait;
};

static void timerfd_fired(struct timer *tm)
{
	struct timerfd *t = quire_container_of(tm, struct timerfd, timer);
	waitq_wake(&t->wait, ~0u, POLLIN | POLLRDNORM);
}

/* Count what has expired by now; true when the timer has to be armed for the next. */
static bool count_locked(struct timerfd *t)
{
	u64 now = time_ns();
	if (!t->deadline || now < t->deadline)
		return false;
	if (!t->interval) {
		t->ticks++;
		t->deadline = 0;
		return false;
	}
	u64 n = (now - t->deadline) / t->interval + 1;
	t->ticks += n;
	t->deadline += n * t->interval;
	return true;
}

static bool expired(struct timerfd *t)
{
	u64 d = __atomic_load_n(&t->deadline, __ATOMIC_RELAXED);
	return __atomic_load_n(&t->ticks, __ATOMIC_RELAXED) || (d && time_ns() >= d);
}

static s64 timerfd_read(struct file *f, struct iter *it, u64 *pos)
{
	struct timerfd *t = f->private;
	(void)pos;
	if (it->left < sizeof(u64))
		return -EINVAL;
	for (;;) {
		spin_lock(&t->lock);
		bool again = count_locked(t);
		u64 n = t->ticks, next = t->deadline;
		t->ticks = 0;
		if (again)
			timer_arm(&t->timer, next, timerfd_fired);
		spin_unlock(&t->lock);
		if (n)
			return iter_copy_to(it, &n, sizeof(n)) == sizeof(n) ? 8 : -EFAULT;
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(&t->wait, expired(t)))
			return -ERESTARTSYS;
	}
}

static u32 timerfd_poll(struct file *f, struct poll_table *pt)
{
	struct timerfd *t = f->private;
	poll_wait(pt, &t->wait);
	return expired(t) ? POLLIN | POLLRDNORM : 0;
}

static void timerfd_release(struct file *f)
{
	struct timerfd *t = f->private;
	timer_cancel(&t->timer);
	quire_kfree(t);
}

static s64 timerfd_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct timerfd *t = f->private;
	u64 n;
	if (cmd != TFD_IOC_SET_TICKS)
		return -ENOTTY;
	if (get_user_u64(&n, arg))
		return -EFAULT;
	if (!n)
		return -EINVAL;
	__atomic_store_n(&t->ticks, n, __ATOMIC_SEQ_CST);
	waitq_wake(&t->wait, ~0u, POLLIN);
	return 0;
}

static const struct file_ops timerfd_ops = {
    .read = timerfd_read,
    .poll = timerfd_poll,
    .ioctl = timerfd_ioctl,
    .release = timerfd_release,
};

static bool is_realtime(int clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM;
}

SYSCALL2(timerfd_create, int, clock, u32, flags)
{
	if (flags & ~(O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_MONOTONIC:
	case CLOCK_BOOTTIME:
		break;
	case CLOCK_REALTIME_ALARM:
	case CLOCK_BOOTTIME_ALARM:
		if (!capable(CAP_WAKE_ALARM))
			return -EPERM;
		break;
	default:
		return -EINVAL;
	}
	struct timerfd *t = quire_kmalloc(sizeof(*t), GFP_KERNEL | GFP_ZERO);
	if (!t)
		return -ENOMEM;
	spin_init(&t->lock, RANK_HOST_MID + 5);
	waitq_init(&t->wait);
	list_init(&t->timer.node);
	t->clock = clock;
	struct file *f =
	    anon_file("anon_inode:[timerfd]", &timerfd_ops, O_RDWR | (flags & O_NONBLOCK), t);
	if (!f) {
		quire_kfree(t);
		return -ENOMEM;
	}
	return anon_install(f, flags);
}

struct itimerspec_k {
	struct timespec64 interval, value;
};

static bool to_ns(const struct timespec64 *ts, u64 *ns)
{
	if (ts->sec < 0 || (u64)ts->nsec >= NSEC)
		return false;
	*ns = (u64)ts->sec > (1UL << 33) ? 1UL << 62 : (u64)ts->sec * NSEC + (u64)ts->nsec;
	return true;
}

static struct timespec64 from_ns(u64 ns)
{
	return (struct timespec64){(s64)(ns / NSEC), (s64)(ns % NSEC)};
}

static struct itimerspec_k current_locked(struct timerfd *t)
{
	u64 now = time_ns();
	if (count_locked(t))
		timer_arm(&t->timer, t->deadline, timerfd_fired);
	u64 left = t->deadline > now ? t->deadline - now : 0;
	return (struct itimerspec_k){from_ns(t->interval), from_ns(left)};
}

static struct timerfd *get_timerfd(int fd, struct file **f, long *err)
{
	*f = fd_get(fd);
	*err = -EBADF;
	if (!*f)
		return NULL;
	if ((*f)->ops == &timerfd_ops)
		return (*f)->private;
	*err = -EINVAL;
	file_put(*f);
	return NULL;
}

SYSCALL4(timerfd_settime, int, fd, u32, flags, u64, unew, u64, uold)
{
	struct itimerspec_k new, old;
	u64 value, interval;
	struct file *f;
	long r;
	if (copy_from_user(&new, unew, sizeof(new)))
		return -EFAULT;
	if ((flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)) ||
	    !to_ns(&new.value, &value) || !to_ns(&new.interval, &interval))
		return -EINVAL;
	struct timerfd *t = get_timerfd(fd, &f, &r);
	if (!t)
		return r;
	timer_cancel(&t->timer);
	spin_lock(&t->lock);
	old = current_locked(t);
	u64 deadline = 0;
	if (value && (flags & TFD_TIMER_ABSTIME))
		deadline = is_realtime(t->clock) && value > wall_offset_ns ? value - wall_offset_ns
			   : is_realtime(t->clock)                         ? 1
									   : value;
	else if (value)
		deadline = time_ns() + value;
	__atomic_store_n(&t->deadline, deadline, __ATOMIC_RELAXED);
	t->interval = interval;
	t->ticks = 0;
	if (deadline)
		timer_arm(&t->timer, deadline, timerfd_fired);
	else
		timer_cancel(&t->timer);
	spin_unlock(&t->lock);
	r = uold ? copy_to_user(uold, &old, sizeof(old)) : 0;
	file_put(f);
	return r;
}

SYSCALL2(timerfd_gettime, int, fd, u64, ucur)
{
	struct file *f;
	long r;
	struct timerfd *t = get_timerfd(fd, &f, &r);
	if (!t)
		return r;
	spin_lock(&t->lock);
	struct itimerspec_k cur = current_locked(t);
	spin_unlock(&t->lock);
	file_put(f);
	return copy_to_user(ucur, &cur, sizeof(cur));
}
