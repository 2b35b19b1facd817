/* SPDX-License-Identifier: MIT */
/*
 * Waiting for several files at once: poll, ppoll, select, pselect6.
 *
 * A call asks each file what it is ready for, which also puts a waiter on the
 * queues of the file; a wake-up of any sets `triggered` and wakes the task,
 * which then asks all of them again.
 *
 * Locking: none of its own.  The files are held by reference for the whole call.
 */
#include <quire/string.h>

#include "../syscall/syscall.h"
#include "fdtable.h"
#include "io.h"

#define NSEC 1000000000UL
#define INLINE_WAITERS 8u
#define BLOCK_WAITERS 40u
#define RLIMIT_NOFILE 7

struct wait_block {
	struct wait_block *next;
	u32 n;
	struct poll_waiter {
		struct waiter w;
		struct poller *owner;
		u32 events;
	} waiter[BLOCK_WAITERS];
};

struct poller {
	struct poll_table table; /* first */
	struct task *task;
	u32 triggered; /* atomic */
	u32 events;    /* what the file that is being asked is wanted for */
	u32 n;
	bool failed; /* no memory for a waiter */
	struct wait_block *blocks;
	struct poll_waiter first[INLINE_WAITERS];
};

static void poll_wake(struct waiter *w, u32 key)
{
	struct poll_waiter *pw = quire_container_of(w, struct poll_waiter, w);
	if (key && !(key & (pw->events | POLLERR | POLLHUP | POLLNVAL)))
		return;
	__atomic_store_n(&pw->owner->triggered, 1, __ATOMIC_SEQ_CST);
	wake_task(pw->owner->task, WAKE_NORMAL);
}

static void poll_queue(struct poll_table *t, struct waitq *q)
{
	struct poller *p = (struct poller *)t;
	struct poll_waiter *pw;
	if (p->n < INLINE_WAITERS) {
		pw = &p->first[p->n];
	} else {
		struct wait_block *b = p->blocks;
		if (!b || b->n == BLOCK_WAITERS) {
			b = quire_kmalloc(sizeof(*b), GFP_KERNEL);
			if (!b) {
				p->failed = true;
				return;
			}
			b->next = p->blocks;
			b->n = 0;
			p->blocks = b;
		}
		pw = &b->waiter[b->n++];
	}
	p->n++;
	memset(pw, 0, sizeof(*pw));
	list_init(&pw->w.node);
	pw->w.wake = poll_wake;
	pw->w.task = p->task;
	pw->owner = p;
	pw->events = p->events;
	waitq_add(q, &pw->w);
}

static void poller_init(struct poller *p)
{
	p->table.queue = poll_queue;
	p->task = current();
	p->triggered = 0;
	p->n = 0;
	p->failed = false;
	p->blocks = NULL;
}

static void poller_end(struct poller *p)
{
	for (u32 i = 0; i < p->n && i < INLINE_WAITERS; i++)
		waitq_remove(&p->first[i].w);
	while (p->blocks) {
		struct wait_block *b = p->blocks;
		p->blocks = b->next;
		for (u32 i = 0; i < b->n; i++)
			waitq_remove(&b->waiter[i].w);
		quire_kfree(b);
	}
}

/* Sleep until a file reports.  0, -EINTR or -ETIMEDOUT. */
static int poller_sleep(struct poller *p, u64 deadline)
{
	int r = 0;
	for (;;) {
		__atomic_store_n(&current()->state, (u32)TASK_INTERRUPTIBLE, __ATOMIC_SEQ_CST);
		if (__atomic_exchange_n(&p->triggered, 0, __ATOMIC_SEQ_CST))
			break;
		if (signal_pending()) {
			r = -EINTR;
			break;
		}
		if (!schedule_until(deadline)) {
			r = __atomic_exchange_n(&p->triggered, 0, __ATOMIC_SEQ_CST) ? 0
										    : -ETIMEDOUT;
			break;
		}
	}
	__atomic_store_n(&current()->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
	return r;
}

static u32 ask(struct file *f, u32 events, struct poller *p, bool wait)
{
	if (!f->ops->poll)
		return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
	p->events = events;
	return f->ops->poll(f, wait ? &p->table : NULL);
}

u64 deadline_in(u64 ns)
{
	u64 now = time_ns();
	return ns < ~0UL - 1 - now ? now + ns : ~0UL - 1;
}

int deadline_from_user(u64 uts, u64 *deadline)
{
	struct timespec64 ts;
	*deadline = ~0UL;
	if (!uts)
		return 0;
	if (copy_from_user(&ts, uts, sizeof(ts)))
		return -EFAULT;
	if (ts.sec < 0 || (u64)ts.nsec >= NSEC)
		return -EINVAL;
	*deadline =
	    (u64)ts.sec > (1UL << 33) ? ~0UL - 1 : deadline_in((u64)ts.sec * NSEC + (u64)ts.nsec);
	return 0;
}

/* What is left until the deadline, written back as ppoll and pselect6 do (a copy that
 * faults is of no consequence). */
static void time_left(u64 uaddr, u64 deadline, u64 unit)
{
	if (!uaddr)
		return;
	u64 now = time_ns(), left = deadline > now ? deadline - now : 0;
	struct timespec64 ts = {(s64)(left / NSEC), (s64)(left % NSEC / unit)};
	copy_to_user_partial(uaddr, &ts, sizeof(ts));
}

#define LOOK_AGAIN (-EAGAIN)

/* All were asked, and so many are ready: what the call returns, or, after a sleep until
 * something may have changed, LOOK_AGAIN; the last look is one with no deadline left. */
static long sleep_or_end(struct poller *p, long ready, u64 *deadline)
{
	if (ready || !*deadline)
		return ready;
	if (p->failed)
		return -ENOMEM;
	int r = poller_sleep(p, *deadline);
	if (r == -EINTR)
		return r;
	if (r == -ETIMEDOUT)
		*deadline = 0;
	return LOOK_AGAIN;
}

/* ---- poll ------------------------------------------------------------------------------- */

struct pollfd {
	s32 fd;
	s16 events, revents;
};

static long poll_loop(struct pollfd *fds, struct file **files, u32 n, u64 deadline,
		      struct poller *p)
{
	bool wait = deadline != 0;
	for (;;) {
		long ready = 0;
		for (u32 i = 0; i < n; i++) {
			u32 want = (u16)fds[i].events | POLLERR | POLLHUP, got = 0;
			if (fds[i].fd >= 0)
				got = files[i] ? ask(files[i], want, p, wait && !ready) & want
					       : POLLNVAL;
			fds[i].revents = (s16)got;
			ready += got != 0;
		}
		wait = false; /* the waiters stay where they are */
		long r = sleep_or_end(p, ready, &deadline);
		if (r != LOOK_AGAIN)
			return r;
	}
}

static long do_poll_call(u64 ufds, u32 n, u64 deadline)
{
	if (n > current()->process->rlim[RLIMIT_NOFILE].cur || n > 1u << 20)
		return -EINVAL;
	struct {
		struct pollfd fds[INLINE_WAITERS];
		struct file *files[INLINE_WAITERS];
	} few;
	struct pollfd *fds = few.fds;
	struct file **files = few.files;
	void *many = NULL;
	if (n > INLINE_WAITERS) {
		many = quire_kmalloc(n * (sizeof(*fds) + sizeof(*files)), GFP_KERNEL);
		if (!many)
			return -ENOMEM;
		files = many;
		fds = (struct pollfd *)(files + n);
	}
	long r = -EFAULT;
	if (copy_from_user(fds, ufds, n * sizeof(*fds)))
		goto out;
	for (u32 i = 0; i < n; i++)
		files[i] = fds[i].fd >= 0 ? fd_get(fds[i].fd) : NULL;
	struct poller p;
	poller_init(&p);
	r = poll_loop(fds, files, n, deadline, &p);
	poller_end(&p);
	for (u32 i = 0; i < n; i++)
		if (files[i])
			file_put(files[i]);
	if (r >= 0 && copy_to_user(ufds, fds, n * sizeof(*fds)))
		r = -EFAULT;
out:
	quire_kfree(many);
	return r;
}

/* An interrupted call starts again when no handler runs; the time it had to wait
 * begins again then, too, for those that don't tell the caller what is left. */
static long poll_result(long r)
{
	return r == -EINTR ? -ERESTARTNOHAND : r;
}

SYSCALL3(poll, u64, ufds, u32, n, int, ms)
{
	u64 deadline = ms < 0 ? ~0UL : ms == 0 ? 0 : deadline_in((u64)ms * 1000000);
	return poll_result(do_poll_call(ufds, n, deadline));
}

static u64 zero_is_now(u64 uts, u64 deadline)
{
	return uts && deadline <= time_ns() ? 0 : deadline;
}

SYSCALL5(ppoll, u64, ufds, u32, n, u64, uts, u64, umask, u64, size)
{
	u64 deadline;
	long r = deadline_from_user(uts, &deadline);
	if (!r)
		r = sigmask_begin(umask, size);
	if (r)
		return r;
	r = do_poll_call(ufds, n, zero_is_now(uts, deadline));
	sigmask_end(r == -EINTR);
	if (r != -EFAULT)
		time_left(uts, deadline, 1);
	return poll_result(r);
}

/* ---- select ----------------------------------------------------------------------------- */

#define SELECT_IN (POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR)
#define SELECT_OUT (POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR)
#define SELECT_EX POLLPRI

struct sets { /* each `words` long */
	u64 *in[3], *out[3];
	u32 n, words;
	struct file **files;
};

static u32 wanted(const struct sets *s, u32 fd)
{
	static const u32 bits[3] = {SELECT_IN, SELECT_OUT, SELECT_EX};
	u32 ev = 0;
	for (unsigned k = 0; k < 3; k++)
		if (s->in[k][fd / 64] >> (fd & 63) & 1)
			ev |= bits[k];
	return ev;
}

static long select_loop(struct sets *s, u64 deadline, struct poller *p)
{
	static const u32 bits[3] = {SELECT_IN, SELECT_OUT, SELECT_EX};
	bool wait = deadline != 0;
	for (;;) {
		long ready = 0;
		for (u32 fd = 0; fd < s->n; fd++) {
			if (!s->files[fd])
				continue;
			u32 want = wanted(s, fd);
			u32 got = ask(s->files[fd], want, p, wait && !ready);
			for (unsigned k = 0; k < 3; k++)
				if ((got & bits[k]) && s->in[k][fd / 64] >> (fd & 63) & 1) {
					s->out[k][fd / 64] |= 1UL << (fd & 63);
					ready++;
				}
		}
		wait = false;
		long r = sleep_or_end(p, ready, &deadline);
		if (r != LOOK_AGAIN)
			return r;
	}
}

/* Reference every file the sets name. */
static long select_files(struct sets *s)
{
	for (u32 fd = 0; fd < s->n; fd++)
		if (wanted(s, fd) && !(s->files[fd] = fd_get((int)fd)))
			return -EBADF;
	return 0;
}

static long do_select_call(int n, const u64 uset[3], u64 deadline)
{
	if (n < 0)
		return -EINVAL;
	u32 limit = fdtable_size(current()->files); /* as Linux: what lies beyond is ignored */
	struct sets s = {.n = quire_min((u32)n, limit)};
	s.words = (s.n + 63) / 64;
	size_t bytes = (s.n + 7) / 8, set_bytes = s.words * 8;
	char *mem =
	    quire_kmalloc(6 * set_bytes + s.n * sizeof(struct file *) + 8, GFP_KERNEL | GFP_ZERO);
	if (!mem)
		return -ENOMEM;
	s.files = (struct file **)(mem + 6 * set_bytes);
	long r = 0;
	for (unsigned k = 0; k < 3; k++) {
		s.in[k] = (u64 *)(mem + k * set_bytes);
		s.out[k] = (u64 *)(mem + (3 + k) * set_bytes);
		if (uset[k] && copy_from_user(s.in[k], uset[k], quire_round_up(bytes, 8UL)))
			r = -EFAULT;
		if (s.n & 63)
			s.in[k][s.words - 1] &= (1UL << (s.n & 63)) - 1;
	}
	if (!r)
		r = select_files(&s);
	if (!r) {
		struct poller p;
		poller_init(&p);
		r = select_loop(&s, deadline, &p);
		poller_end(&p);
	}
	for (u32 fd = 0; fd < s.n; fd++)
		if (s.files[fd])
			file_put(s.files[fd]);
	for (unsigned k = 0; k < 3 && r >= 0; k++)
		if (uset[k] && copy_to_user(uset[k], s.out[k], quire_round_up(bytes, 8UL)))
			r = -EFAULT;
	quire_kfree(mem);
	return r;
}

SYSCALL5(select, int, n, u64, in, u64, out, u64, ex, u64, utv)
{
	const u64 uset[3] = {in, out, ex};
	u64 deadline = ~0UL;
	if (utv) {
		struct timespec64 tv;
		if (copy_from_user(&tv, utv, sizeof(tv)))
			return -EFAULT;
		if (tv.sec < 0 || tv.nsec < 0)
			return -EINVAL;
		deadline = (u64)tv.sec > (1UL << 33) || (u64)tv.nsec > (1UL << 53)
			       ? ~0UL - 1
			       : deadline_in((u64)tv.sec * NSEC + (u64)tv.nsec * 1000);
	}
	long r = do_select_call(n, uset, zero_is_now(utv, deadline));
	if (r != -EFAULT)
		time_left(utv, deadline, 1000);
	return poll_result(r);
}

SYSCALL6(pselect6, int, n, u64, in, u64, out, u64, ex, u64, uts, u64, usig)
{
	const u64 uset[3] = {in, out, ex};
	u64 deadline, sig[2] = {0, 0};
	if (usig && copy_from_user(sig, usig, sizeof(sig)))
		return -EFAULT;
	long r = deadline_from_user(uts, &deadline);
	if (!r)
		r = sigmask_begin(sig[0], sig[1]);
	if (r)
		return r;
	r = do_select_call(n, uset, zero_is_now(uts, deadline));
	sigmask_end(r == -EINTR);
	if (r != -EFAULT)
		time_left(uts, deadline, 1);
	return poll_result(r);
}
