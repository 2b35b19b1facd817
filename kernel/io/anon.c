/* SPDX-License-Identifier: MIT */
/*
 * Files without a name in the tree whose inode says nothing: eventfd, epoll,
 * timerfd and signalfd share one.  And the eventfd itself.
 *
 * Locking: an eventfd's counter changes under its wait queue's lock rank of
 * spinlock (RANK_HOST_MID + 5), as it may be written from several threads.
 */
#include "../syscall/syscall.h"
#include "io.h"
#include "socket.h"

static struct fs anon_fs = {.type = "anon_inodefs", .dev = 14, .magic = 0x09041934};
static const struct inode_ops anon_inode_ops;
static struct inode *anon_inode;

void io_init(void)
{
	anon_inode = inode_new(&anon_fs, 0600);
	if (!anon_inode)
		quire_host_panic("no memory for the first inode");
	anon_inode->ops = &anon_inode_ops;
	unix_init();
}

struct file *anon_file(const char *label, const struct file_ops *ops, u32 flags, void *private)
{
	inode_get(anon_inode);
	struct file *f = file_anon(label, anon_inode, ops, flags);
	if (!f) {
		inode_put(anon_inode);
		return NULL;
	}
	f->private = private;
	return f;
}

int anon_install(struct file *f, u32 flags)
{
	int fd = fd_install(f, flags & O_CLOEXEC, 0);
	if (fd < 0)
		file_put(f);
	return fd;
}

int anon_install_pair(struct file *a, struct file *b, u32 flags, u64 ufds)
{
	int fd[2] = {anon_install(a, flags), -1}, r = fd[0];
	if (r < 0) {
		file_put(b);
		return r;
	}
	r = fd[1] = anon_install(b, flags);
	if (r >= 0)
		r = copy_to_user(ufds, fd, sizeof(fd));
	if (r < 0) {
		fd_close(fd[0]);
		if (fd[1] >= 0)
			fd_close(fd[1]);
	}
	return r;
}

/* ---- eventfd ---------------------------------------------------------------------------- */

#define EFD_SEMAPHORE 1u
#define EVENT_MAX (~0UL - 1)

struct eventfd {
	struct spinlock lock; /* count */
	u64 count;
	bool semaphore;
	struct waitq wait;
};

static u64 event_count(struct eventfd *e)
{
	return __atomic_load_n(&e->count, __ATOMIC_SEQ_CST);
}

static s64 event_read(struct file *f, struct iter *it, u64 *pos)
{
	struct eventfd *e = f->private;
	(void)pos;
	if (it->left < sizeof(u64))
		return -EINVAL;
	for (;;) {
		spin_lock(&e->lock);
		u64 v = e->count ? (e->semaphore ? 1 : e->count) : 0;
		__atomic_store_n(&e->count, e->count - v, __ATOMIC_SEQ_CST);
		spin_unlock(&e->lock);
		if (v) {
			waitq_wake_active(&e->wait, POLLOUT | POLLWRNORM);
			return iter_copy_to(it, &v, sizeof(v)) == sizeof(v) ? 8 : -EFAULT;
		}
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(&e->wait, event_count(e)))
			return -ERESTARTSYS;
	}
}

static s64 event_write(struct file *f, struct iter *it, u64 *pos)
{
	struct eventfd *e = f->private;
	u64 v;
	(void)pos;
	if (it->left < sizeof(v))
		return -EINVAL;
	if (iter_copy_from(it, &v, sizeof(v)) != sizeof(v))
		return -EFAULT;
	if (v == ~0UL)
		return -EINVAL;
	for (;;) {
		spin_lock(&e->lock);
		bool fits = EVENT_MAX - e->count >= v;
		if (fits)
			__atomic_store_n(&e->count, e->count + v, __ATOMIC_SEQ_CST);
		spin_unlock(&e->lock);
		if (fits) {
			waitq_wake_active(&e->wait, POLLIN | POLLRDNORM);
			return 8;
		}
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(&e->wait, EVENT_MAX - event_count(e) >= v))
			return -ERESTARTSYS;
	}
}

static u32 event_poll(struct file *f, struct poll_table *pt)
{
	struct eventfd *e = f->private;
	poll_wait(pt, &e->wait);
	u64 c = event_count(e);
	return (c ? POLLIN | POLLRDNORM : 0) | (c < EVENT_MAX ? POLLOUT | POLLWRNORM : 0);
}

static void event_release(struct file *f)
{
	quire_kfree(f->private);
}

static const struct file_ops event_ops = {
    .read = event_read, .write = event_write, .poll = event_poll, .release = event_release};

static long create_eventfd(u32 count, u32 flags)
{
	if (flags & ~(EFD_SEMAPHORE | O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	struct eventfd *e = quire_kmalloc(sizeof(*e), GFP_KERNEL | GFP_ZERO);
	if (!e)
		return -ENOMEM;
	spin_init(&e->lock, RANK_HOST_MID + 5);
	waitq_init(&e->wait);
	e->count = count;
	e->semaphore = flags & EFD_SEMAPHORE;
	struct file *f =
	    anon_file("anon_inode:[eventfd]", &event_ops, O_RDWR | (flags & O_NONBLOCK), e);
	if (!f) {
		quire_kfree(e);
		return -ENOMEM;
	}
	return anon_install(f, flags);
}

SYSCALL1(eventfd, u32, count)
{
	return create_eventfd(count, 0);
}
SYSCALL2(eventfd2, u32, count, u32, flags)
{
	return create_eventfd(count, flags);
}
