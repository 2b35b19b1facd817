/* SPDX-License-Identifier: MIT */
/*
 * epoll: a set of watched files, and the list of those that may be ready.
 *
 * An item's waiters sit on the watched file's queues; a wake-up puts the item
 * on the ready list.  epoll_wait asks each listed file again before it reports
 * it: a level-triggered item goes back on the list after a report, an
 * edge-triggered one doesn't.  A file may itself be an epoll instance, five deep.
 *
 * Locking: watch_lock (mutex, RANK_HOST_IO) is held by whoever changes which file is
 * watched by which instance, so that the end of a file and the end of an instance
 * exclude each other.  ep->lock (mutex, + 1; nested instances along the direction of
 * watching) guards an instance's items.  ep->ready_lock (spin, interrupts off, the
 * rank of wait queues) guards its ready list, and is taken with a wait queue's lock
 * held.  Watched files aren't referenced: file_put() calls epoll_forget().
 */
#include <quire/string.h>

#include "../syscall/syscall.h"
#include "io.h"

#define EPOLLEXCLUSIVE (1u << 28)
#define EPOLLWAKEUP (1u << 29)
#define EPOLLONESHOT (1u << 30)
#define EPOLLET (1u << 31)
#define EP_FLAGS (EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET)
#define EPOLL_CTL_ADD 1
#define EPOLL_CTL_DEL 2
#define EPOLL_CTL_MOD 3
#define MAX_QUEUES 3u /* that one file's poll may name */
#define MAX_DEPTH 5
#define BATCH 32u
#define FIRST_BUCKETS 16u

struct epoll_event {
	u32 events;
	u64 data;
} __attribute__((packed));

struct epitem {
	struct epoll *ep;
	struct file *file;
	int fd;
	struct epoll_event ev; /* guarded by ep->lock */
	struct list bucket;    /* guarded by ep->lock */
	struct list of_file;   /* in the watch head; guarded by watch_lock */
	struct list ready;     /* guarded by ep->ready_lock */
	u32 nwaiters;
	struct ep_waiter {
		struct waiter w;
		struct epitem *item;
	} waiter[MAX_QUEUES];
};

struct epoll {
	struct mutex lock;
	struct spinlock ready_lock;
	struct list ready;
	struct waitq wait;    /* epoll_wait and poll of the instance */
	struct list *buckets; /* items by descriptor and file */
	u32 nbuckets, nitems;
	struct file *file;
};

struct watch_head { /* file->epitems */
	struct list items;
};

static struct mutex watch_lock = MUTEX_INIT(RANK_HOST_IO);
static const struct file_ops epoll_ops;

static unsigned long ready_lock(struct epoll *ep) ACQUIRES(ep->ready_lock) NO_TSA
{
	unsigned long irq = quire_host_irq_save();
	spin_lock_nested(&ep->ready_lock);
	return irq;
}

/* Put the item on the ready list and wake who waits. */
static void make_ready(struct epitem *it)
{
	struct epoll *ep = it->ep;
	unsigned long irq = ready_lock(ep);
	if (list_empty(&it->ready))
		list_add_tail(&ep->ready, &it->ready);
	spin_unlock_irq(&ep->ready_lock, irq);
	waitq_wake(&ep->wait, 1, POLLIN | POLLRDNORM);
}

static void unready(struct epitem *it)
{
	unsigned long irq = ready_lock(it->ep);
	list_del(&it->ready);
	spin_unlock_irq(&it->ep->ready_lock, irq);
}

static void item_wake(struct waiter *w, u32 key)
{
	struct ep_waiter *ew = quire_container_of(w, struct ep_waiter, w);
	u32 want = __atomic_load_n(&ew->item->ev.events, __ATOMIC_RELAXED);
	if (!(want & ~EP_FLAGS)) /* one-shot, and it was */
		return;
	if (key && !(key & (want | POLLERR | POLLHUP)))
		return;
	make_ready(ew->item);
}

struct item_table {
	struct poll_table table;
	struct epitem *item;
};

static void item_queue(struct poll_table *t, struct waitq *q)
{
	struct epitem *it = ((struct item_table *)t)->item;
	if (it->nwaiters == MAX_QUEUES)
		return;
	struct ep_waiter *ew = &it->waiter[it->nwaiters++];
	ew->item = it;
	list_init(&ew->w.node);
	ew->w.wake = item_wake;
	ew->w.task = current();
	ew->w.exclusive = (it->ev.events & EPOLLEXCLUSIVE) != 0;
	waitq_add(q, &ew->w);
}

static u32 item_poll(struct epitem *it, struct poll_table *pt)
{
	u32 ev = it->file->ops->poll ? it->file->ops->poll(it->file, pt)
				     : POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
	return ev & ((it->ev.events & ~EP_FLAGS) | POLLERR | POLLHUP);
}

/* ---- items ------------------------------------------------------------------------------ */

static struct list *bucket_of(struct epoll *ep, struct file *f, int fd)
{
	return &ep->buckets[((u64)f >> 6 ^ (u32)fd * 0x9e3779b1u) & (ep->nbuckets - 1)];
}

static struct epitem *find_locked(struct epoll *ep, struct file *f, int fd)
{
	struct epitem *it;
	list_for_each (it, bucket_of(ep, f, fd), bucket)
		if (it->file == f && it->fd == fd)
			return it;
	return NULL;
}

static struct list *new_buckets(u32 n)
{
	struct list *b = quire_kmalloc(n * sizeof(*b), GFP_KERNEL);
	for (u32 i = 0; b && i < n; i++)
		list_init(&b[i]);
	return b;
}

/* Twice the buckets; without memory for them the chains just are longer. */
static void grow_locked(struct epoll *ep)
{
	struct list *old = ep->buckets, *b = new_buckets(ep->nbuckets * 2);
	if (!b)
		return;
	u32 n = ep->nbuckets;
	ep->buckets = b;
	ep->nbuckets = n * 2;
	for (u32 i = 0; i < n; i++) {
		struct epitem *it, *next;
		list_for_each_safe (it, next, &old[i], bucket) {
			list_del(&it->bucket);
			list_add(bucket_of(ep, it->file, it->fd), &it->bucket);
		}
	}
	quire_kfree(old);
}

/* watch_lock and ep->lock are held. */
static void remove_locked(struct epitem *it)
{
	for (u32 i = 0; i < it->nwaiters; i++)
		waitq_remove(&it->waiter[i].w);
	unready(it);
	list_del(&it->bucket);
	list_del(&it->of_file);
	struct watch_head *h = it->file->epitems;
	if (list_empty(&h->items)) {
		it->file->epitems = NULL;
		quire_kfree(h);
	}
	it->ep->nitems--;
	quire_kfree(it);
}

void epoll_forget(struct file *f)
{
	mutex_lock(&watch_lock);
	for (;;) {
		struct watch_head *h = f->epitems;
		if (!h)
			break;
		struct epitem *it = list_first(&h->items, struct epitem, of_file);
		struct epoll *ep = it->ep;
		mutex_lock(&ep->lock);
		remove_locked(it);
		mutex_unlock(&ep->lock);
	}
	mutex_unlock(&watch_lock);
}

static int watch_file(struct epitem *it)
{
	struct watch_head *h = it->file->epitems;
	if (!h) {
		h = quire_kmalloc(sizeof(*h), GFP_KERNEL);
		if (!h)
			return -ENOMEM;
		list_init(&h->items);
		it->file->epitems = h;
	}
	list_add(&h->items, &it->of_file);
	return 0;
}

static int add_locked(struct epoll *ep, struct file *f, int fd, const struct epoll_event *ev)
{
	struct epitem *it = quire_kmalloc(sizeof(*it), GFP_KERNEL | GFP_ZERO);
	if (!it)
		return -ENOMEM;
	it->ep = ep;
	it->file = f;
	it->fd = fd;
	it->ev = *ev;
	it->ev.events |= POLLERR | POLLHUP;
	list_init(&it->ready);
	if (watch_file(it)) {
		quire_kfree(it);
		return -ENOMEM;
	}
	if (ep->nitems >= ep->nbuckets * 2)
		grow_locked(ep);
	list_add(bucket_of(ep, f, fd), &it->bucket);
	ep->nitems++;
	struct item_table t = {{item_queue}, it};
	if (item_poll(it, &t.table))
		make_ready(it);
	return 0;
}

static void modify_locked(struct epitem *it, const struct epoll_event *ev)
{
	__atomic_store_n(&it->ev.events, ev->events | POLLERR | POLLHUP, __ATOMIC_SEQ_CST);
	it->ev.data = ev->data;
	if (item_poll(it, NULL))
		make_ready(it);
	else
		unready(it);
}

/* How deep the instances below `f` go, or > MAX_DEPTH when `top` is among them.
 * watch_lock is held, so the graph stands still. */
static int depth_below(struct file *f, struct file *top, int depth)
{
	if (f == top || depth > MAX_DEPTH)
		return MAX_DEPTH + 1;
	if (f->ops != &epoll_ops)
		return depth - 1;
	struct epoll *ep = f->private;
	int deepest = depth;
	for (u32 b = 0; b < ep->nbuckets; b++) {
		struct epitem *it;
		list_for_each (it, &ep->buckets[b], bucket) {
			int d = depth_below(it->file, top, depth + 1);
			deepest = quire_max(deepest, d);
		}
	}
	return deepest;
}

/* How many instances watch f, at most one above the other. */
static int depth_above(struct file *f, int depth)
{
	struct watch_head *h = f->epitems;
	int deepest = depth;
	struct epitem *it;
	if (!h || depth > MAX_DEPTH)
		return depth;
	list_for_each (it, &h->items, of_file) {
		int d = depth_above(it->ep->file, depth + 1);
		deepest = quire_max(deepest, d);
	}
	return deepest;
}

static long ctl(struct epoll *ep, int op, struct file *f, int fd, const struct epoll_event *ev)
{
	long r = -ENOENT;
	mutex_lock(&watch_lock);
	if (op == EPOLL_CTL_ADD && f->ops == &epoll_ops &&
	    depth_below(f, ep->file, 1) + depth_above(ep->file, 0) >= MAX_DEPTH) {
		mutex_unlock(&watch_lock);
		return -ELOOP;
	}
	mutex_lock_nested(&ep->lock);
	struct epitem *it = find_locked(ep, f, fd);
	switch (op) {
	case EPOLL_CTL_ADD:
		r = it ? -EEXIST : add_locked(ep, f, fd, ev);
		break;
	case EPOLL_CTL_DEL:
		if (it) {
			remove_locked(it);
			r = 0;
		}
		break;
	case EPOLL_CTL_MOD:
		if (it && (it->ev.events & EPOLLEXCLUSIVE)) {
			r = -EINVAL;
		} else if (it) {
			modify_locked(it, ev);
			r = 0;
		}
		break;
	default:
		r = -EINVAL;
	}
	mutex_unlock(&ep->lock);
	mutex_unlock(&watch_lock);
	return r;
}

/* ---- waiting ---------------------------------------------------------------------------- */

static bool has_ready(struct epoll *ep)
{
	return __atomic_load_n(&ep->ready.next, __ATOMIC_SEQ_CST) != &ep->ready;
}

/* Take what is ready, at most max, off the list; what stays ready goes back behind. */
static u32 harvest(struct epoll *ep, struct epoll_event *out, u32 max)
{
	struct list again;
	u32 n = 0;
	list_init(&again);
	mutex_lock(&ep->lock);
	while (n < max) {
		unsigned long irq = ready_lock(ep);
		struct epitem *it = NULL;
		if (!list_empty(&ep->ready)) {
			it = list_first(&ep->ready, struct epitem, ready);
			list_del(&it->ready);
		}
		spin_unlock_irq(&ep->ready_lock, irq);
		if (!it)
			break;
		u32 got = item_poll(it, NULL);
		if (!got)
			continue;
		out[n++] = (struct epoll_event){got, it->ev.data};
		if (it->ev.events & EPOLLONESHOT) {
			__atomic_and_fetch(&it->ev.events, EP_FLAGS, __ATOMIC_RELAXED);
		} else if (!(it->ev.events & EPOLLET)) {
			irq = ready_lock(ep);
			if (list_empty(&it->ready)) /* no wake-up listed it meanwhile */
				list_add_tail(&again, &it->ready);
			spin_unlock_irq(&ep->ready_lock, irq);
		}
	}
	unsigned long irq = ready_lock(ep);
	list_splice_tail(&ep->ready, &again);
	bool more = !list_empty(&ep->ready);
	spin_unlock_irq(&ep->ready_lock, irq);
	mutex_unlock(&ep->lock);
	if (more && n)
		waitq_wake(&ep->wait, 1, POLLIN);
	return n;
}

static long wait_for(struct file *f, u64 uevents, int max, u64 deadline)
{
	struct epoll *ep = f->private;
	struct epoll_event batch[BATCH];
	long total = 0;
	for (;;) {
		u32 n = harvest(ep, batch, quire_min((u32)max, BATCH));
		if (n) {
			if (copy_to_user(uevents, batch, n * sizeof(*batch)))
				return -EFAULT;
			return n;
		}
		if (!deadline)
			return total;
		int r = 0;
		struct waiter w = {.exclusive = true};
		list_init(&w.node);
		waitq_add(&ep->wait, &w);
		for (;;) {
			__atomic_store_n(&current()->state, (u32)TASK_INTERRUPTIBLE,
					 __ATOMIC_SEQ_CST);
			if (has_ready(ep))
				break;
			if (signal_pending()) {
				r = -EINTR;
				break;
			}
			if (!schedule_until(deadline)) {
				deadline = 0;
				break;
			}
		}
		__atomic_store_n(&current()->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
		waitq_remove(&w);
		if (r)
			return r;
	}
}

static long wait_fd(int epfd, u64 uevents, int max, u64 deadline)
{
	if (max <= 0 || (u64)max > 0x7fffffffu / sizeof(struct epoll_event))
		return -EINVAL;
	struct file *f = fd_get(epfd);
	if (!f)
		return -EBADF;
	long r = f->ops == &epoll_ops ? wait_for(f, uevents, max, deadline) : -EINVAL;
	file_put(f);
	return r;
}

/* ---- the file --------------------------------------------------------------------------- */

/* Ready when some listed item really is: asks them, as a wake-up may have been false. */
static u32 epoll_poll(struct file *f, struct poll_table *pt)
{
	struct epoll *ep = f->private;
	bool ready = false;
	poll_wait(pt, &ep->wait);
	if (!has_ready(ep))
		return 0;
	mutex_lock_nested(&ep->lock);
	for (;;) {
		unsigned long irq = ready_lock(ep);
		struct epitem *it =
		    list_empty(&ep->ready) ? NULL : list_first(&ep->ready, struct epitem, ready);
		if (it)
			list_del(&it->ready);
		spin_unlock_irq(&ep->ready_lock, irq);
		if (!it)
			break;
		if (!item_poll(it, NULL))
			continue;
		irq = ready_lock(ep);
		if (list_empty(&it->ready))
			list_add(&ep->ready, &it->ready);
		spin_unlock_irq(&ep->ready_lock, irq);
		ready = true;
		break;
	}
	mutex_unlock(&ep->lock);
	return ready ? POLLIN | POLLRDNORM : 0;
}

static void epoll_release(struct file *f)
{
	struct epoll *ep = f->private;
	mutex_lock(&watch_lock);
	mutex_lock(&ep->lock);
	for (u32 b = 0; b < ep->nbuckets; b++)
		while (!list_empty(&ep->buckets[b]))
			remove_locked(list_first(&ep->buckets[b], struct epitem, bucket));
	mutex_unlock(&ep->lock);
	mutex_unlock(&watch_lock);
	quire_kfree(ep->buckets);
	quire_kfree(ep);
}

static const struct file_ops epoll_ops = {.poll = epoll_poll, .release = epoll_release};

static long create(u32 flags)
{
	struct epoll *ep = quire_kmalloc(sizeof(*ep), GFP_KERNEL | GFP_ZERO);
	if (!ep)
		return -ENOMEM;
	mutex_init(&ep->lock, RANK_HOST_IO + 1);
	waitq_init(&ep->wait);
	spin_init(&ep->ready_lock, ep->wait.lock.rank);
	list_init(&ep->ready);
	ep->nbuckets = FIRST_BUCKETS;
	ep->buckets = new_buckets(FIRST_BUCKETS);
	if (!ep->buckets) {
		quire_kfree(ep);
		return -ENOMEM;
	}
	ep->file = anon_file("anon_inode:[eventpoll]", &epoll_ops, O_RDWR, ep);
	if (!ep->file) {
		quire_kfree(ep->buckets);
		quire_kfree(ep);
		return -ENOMEM;
	}
	return anon_install(ep->file, flags);
}

/* ---- the calls -------------------------------------------------------------------------- */

SYSCALL1(epoll_create, int, size)
{
	return size <= 0 ? -EINVAL : create(0);
}
SYSCALL1(epoll_create1, u32, flags)
{
	return flags & ~O_CLOEXEC ? -EINVAL : create(flags);
}

SYSCALL4(epoll_ctl, int, epfd, int, op, int, fd, u64, uev)
{
	struct epoll_event ev = {0, 0};
	if (op != EPOLL_CTL_DEL && copy_from_user(&ev, uev, sizeof(ev)))
		return -EFAULT;
	struct file *ef = fd_get(epfd), *f = fd_get(fd);
	long r;
	if (!ef || !f)
		r = -EBADF;
	else if (!f->ops->poll)
		r = -EPERM;
	else if (ef == f || ef->ops != &epoll_ops)
		r = -EINVAL;
	else if ((ev.events & EPOLLEXCLUSIVE) &&
		 (op == EPOLL_CTL_MOD || f->ops == &epoll_ops || (ev.events & EPOLLONESHOT)))
		r = -EINVAL;
	else
		r = ctl(ef->private, op, f, fd, &ev);
	if (ef)
		file_put(ef);
	if (f)
		file_put(f);
	return r;
}

static u64 ms_deadline(int ms)
{
	return ms < 0 ? ~0UL : ms == 0 ? 0 : deadline_in((u64)ms * 1000000);
}

SYSCALL4(epoll_wait, int, epfd, u64, uevents, int, max, int, ms)
{
	return wait_fd(epfd, uevents, max, ms_deadline(ms));
}

SYSCALL6(epoll_pwait, int, epfd, u64, uevents, int, max, int, ms, u64, umask, u64, size)
{
	long r = sigmask_begin(umask, size);
	if (r)
		return r;
	r = wait_fd(epfd, uevents, max, ms_deadline(ms));
	sigmask_end(r == -EINTR);
	return r;
}

SYSCALL6(epoll_pwait2, int, epfd, u64, uevents, int, max, u64, uts, u64, umask, u64, size)
{
	u64 deadline;
	long r = deadline_from_user(uts, &deadline);
	if (!r)
		r = sigmask_begin(umask, size);
	if (r)
		return r;
	r = wait_fd(epfd, uevents, max, uts && deadline <= time_ns() ? 0 : deadline);
	sigmask_end(r == -EINTR);
	return r;
}
