/* SPDX-License-Identifier: MIT */
/*
 * The host's descriptors 0, 1 and 2 as files of the first program.
 *
 * Streams (pipes, sockets, devices) and regular files alike are read and written
 * by asking `quire run` to do it, at the host's own file position, which other
 * processes out there share.  Nothing is read ahead.  A terminal is no file of
 * this kind: dev/tty.c drives it.
 *
 * Readiness: poll asks the host what is ready now, and when that isn't all, has
 * one standing request for each direction whose reply wakes the pollers.
 *
 * Locking: fd->lock (spin, RANK_HOST_INNER + 3, interrupts off) guards whether
 * those requests are under way; their replies come in interrupt context.
 */
#include <quire/string.h>

#include "../boot/boot.h"
#include "../io/io.h"
#include "../lib/print.h"
#include "channel.h"

#define FIONREAD 0x541bu

struct host_fd {
	u16 fd;
	bool regular;
	struct inode *inode;
	struct waitq wait;
	struct hostio_req standing[2]; /* POLLIN, POLLOUT */
	bool under_way[2];
	struct spinlock lock;
	struct fs fs;
};

static struct host_fd *host_fds[3];
static const struct file_ops reopened_ops;

static struct hostio_msg message(struct host_fd *h, u16 type, s32 value, s64 offset)
{
	return (struct hostio_msg){.type = type, .fd = h->fd, .value = value, .offset = offset};
}

/* Does this read or write say where?  A regular file that was opened again through
 * /proc/PID/fd has a position of its own; the others use the host's. */
static bool positioned(struct file *f, u64 *pos)
{
	return f->seekable && (pos != &f->pos || f->ops == &reopened_ops);
}

/* ---- readiness -------------------------------------------------------------------------- */

static void standing_replied(struct hostio_req *r)
{
	unsigned out = (r->msg.value & (s32)POLLOUT) != 0;
	struct host_fd *h = quire_container_of(r, struct host_fd, standing[out]);
	__atomic_store_n(&h->under_way[out], false, __ATOMIC_RELEASE);
	waitq_wake(&h->wait, ~0u, (u32)r->msg.value | POLLHUP | POLLERR);
}

/* Have the host tell when the direction gets ready, unless it has been asked to. */
static void stand(struct host_fd *h, unsigned out)
{
	unsigned long irq = spin_lock_irq(&h->lock);
	bool had = h->under_way[out];
	h->under_way[out] = true;
	spin_unlock_irq(&h->lock, irq);
	if (had)
		return;
	struct hostio_req *r = &h->standing[out];
	r->msg = message(h, HOSTIO_POLL, out ? (s32)POLLOUT : (s32)POLLIN, HOSTIO_POLL_WAIT);
	r->replied = standing_replied;
	hostio_start(r, NULL);
}

/* What of `events` is ready now. */
static u32 ready_now(struct host_fd *h, u32 events)
{
	if (deterministic || h->regular)
		return events;
	s64 v = hostio_request(message(h, HOSTIO_POLL, (s32)events, HOSTIO_POLL_NOW), NULL, NULL, 0,
			       false, NULL);
	return v < 0 ? POLLERR : (u32)v;
}

static u32 host_poll(struct file *f, struct poll_table *pt)
{
	struct host_fd *h = f->private;
	u32 ev = (f->can_read ? POLLIN : 0) | (f->can_write ? POLLOUT : 0);
	poll_wait(pt, &h->wait);
	u32 got = ready_now(h, ev);
	bool watched = pt || !list_empty(&h->wait.waiters);
	if (watched && f->can_read && !(got & (POLLIN | POLLHUP | POLLERR)))
		stand(h, 0);
	if (watched && f->can_write && !(got & (POLLOUT | POLLERR)))
		stand(h, 1);
	if (got & POLLIN)
		got |= POLLRDNORM;
	if (got & POLLOUT)
		got |= POLLWRNORM;
	return got;
}

/* Who waits for an edge has to hear of what comes after this read or write. */
static void rearm(struct host_fd *h, unsigned out)
{
	if (!h->regular && !deterministic && !list_empty(&h->wait.waiters))
		stand(h, out);
}

/* ---- bytes ------------------------------------------------------------------------------ */

static void *bounce(size_t *n)
{
	*n = quire_min(*n, (size_t)HOSTIO_MAX);
	void *buf = NULL;
	if (*n > QUIRE_PAGE_SIZE)
		buf = quire_kmalloc(*n, GFP_NOFAIL_OOM);
	if (!buf) {
		*n = quire_min(*n, QUIRE_PAGE_SIZE);
		buf = quire_kmalloc(*n, GFP_KERNEL);
	}
	return buf;
}

static s64 host_read(struct file *f, struct iter *it, u64 *pos)
{
	struct host_fd *h = f->private;
	bool at = positioned(f, pos);
	s64 total = 0, r = 0;
	if (!it->left)
		return 0;
	if ((f->flags & O_NONBLOCK) && !h->regular && !ready_now(h, POLLIN)) {
		rearm(h, 0);
		return -EAGAIN;
	}
	size_t room = it->left;
	void *buf = bounce(&room);
	if (!buf)
		return -ENOMEM;
	do {
		size_t n = quire_min(it->left, room);
		r = hostio_request(
		    message(h, at ? HOSTIO_PREAD : HOSTIO_READ, (s32)n, at ? (s64)*pos : 0), NULL,
		    buf, n, true, NULL);
		if (r <= 0)
			break;
		size_t done = iter_copy_to(it, buf, quire_min((size_t)r, n));
		total += (s64)done;
		*pos += done;
		if (done < (size_t)r) {
			r = -EFAULT;
			break;
		}
		if ((size_t)r < n)
			break;
	} while (h->regular && it->left);
	quire_kfree(buf);
	rearm(h, 0);
	if (r == -EINTR)
		r = -ERESTARTSYS;
	return total ? total : r;
}

static int host_refresh(struct inode *i)
{
	struct host_fd *h = i->private;
	struct config_stdio *io = quire_kmalloc(sizeof(*io), GFP_KERNEL);
	if (!io)
		return -ENOMEM;
	s64 r = hostio_request(message(h, HOSTIO_FSTAT, 0, 0), NULL, &io->fd[0], sizeof(io->fd[0]),
			       false, NULL);
	if (!r) {
		i->size = io->fd[0].size;
		i->blocks = (i->size + 511) / 512;
		i->mode = io->fd[0].mode;
	}
	quire_kfree(io);
	return (int)r;
}

static s64 host_write(struct file *f, struct iter *it, u64 *pos)
{
	struct host_fd *h = f->private;
	bool at = positioned(f, pos);
	s64 total = 0, r = 0;
	if (!it->left)
		return 0;
	if ((f->flags & O_NONBLOCK) && !h->regular && !ready_now(h, POLLOUT)) {
		rearm(h, 1);
		return -EAGAIN;
	}
	if (at && (f->flags & O_APPEND) && !host_refresh(f->inode))
		*pos = f->inode->size;
	size_t room = it->left;
	void *buf = bounce(&room);
	if (!buf)
		return -ENOMEM;
	while (it->left) {
		size_t n = iter_copy_from(it, buf, quire_min(it->left, room));
		if (!n) {
			r = -EFAULT;
			break;
		}
		struct hostio_msg m =
		    message(h, at ? HOSTIO_PWRITE : HOSTIO_WRITE, 0, at ? (s64)*pos : 0);
		m.len = (u32)n;
		r = hostio_request(m, buf, NULL, 0, true, NULL);
		if (r <= 0)
			break;
		total += r;
		*pos += (u64)r;
		if ((size_t)r < n)
			break;
	}
	quire_kfree(buf);
	rearm(h, 1);
	if (r == -EPIPE)
		io_sigpipe();
	if (r == -EINTR)
		r = -ERESTARTSYS;
	return total ? total : r;
}

static s64 host_seek(struct file *f, s64 off, int whence)
{
	struct host_fd *h = f->private;
	s64 at = 0;
	s64 r = hostio_request(message(h, HOSTIO_SEEK, whence, off), NULL, NULL, 0, false, &at);
	if (r < 0)
		return r;
	f->pos = (u64)at;
	return at;
}

static s64 reopened_seek(struct file *f, s64 off, int whence)
{
	if (whence == 2 && !host_refresh(f->inode)) {
		if (__builtin_add_overflow((s64)f->inode->size, off, &off))
			return -EINVAL;
		whence = 0;
	}
	return file_seek(f, off, whence);
}

static s64 host_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct host_fd *h = f->private;
	s64 at;
	if (cmd != FIONREAD || !h->regular)
		return -ENOTTY;
	s64 r = host_refresh(f->inode);
	if (!r)
		r = hostio_request(message(h, HOSTIO_SEEK, 1, 0), NULL, NULL, 0, false, &at);
	if (r < 0)
		return r;
	s64 left = (s64)f->inode->size - at;
	return put_user_u32(arg, left > 0 ? (u32)left : 0);
}

static int host_setattr(struct inode *i, const struct attr *a)
{
	if (!(a->mask & ATTR_SIZE))
		return a->mask & (ATTR_MODE | ATTR_UID | ATTR_GID) ? -EPERM : 0;
	s64 r = hostio_request(message(i->private, HOSTIO_FTRUNCATE, 0, (s64)a->size), NULL, NULL,
			       0, false, NULL);
	if (!r)
		i->size = a->size;
	return (int)r;
}

static int host_mmap(const struct file *f)
{
	/* What is written goes past the page cache, so only read-only files have one. */
	return S_ISREG(f->inode->mode) && !f->can_write ? 0 : -ENODEV;
}

static int host_read_pages(struct quire_mapping *m, struct page **pages, unsigned n)
{
	struct inode *i = quire_container_of(m, struct inode, mapping);
	for (unsigned k = 0; k < n; k++) {
		u8 *p = page_view(pages[k]);
		size_t got = 0;
		while (got < QUIRE_PAGE_SIZE) {
			s64 at = (s64)(pages[k]->index * QUIRE_PAGE_SIZE + got);
			s64 r = hostio_request(
			    message(i->private, HOSTIO_PREAD, (s32)(QUIRE_PAGE_SIZE - got), at),
			    NULL, p + got, QUIRE_PAGE_SIZE - got, false, NULL);
			if (r < 0)
				return (int)r;
			if (!r)
				break;
			got += (size_t)r;
		}
		memset(p + got, 0, QUIRE_PAGE_SIZE - got);
	}
	return 0;
}

static const struct file_ops stream_ops = {
    .read = host_read, .write = host_write, .poll = host_poll, .ioctl = host_ioctl};
static const struct file_ops regular_ops = {
    .read = host_read,
    .write = host_write,
    .seek = host_seek,
    .ioctl = host_ioctl,
    .mmap = host_mmap,
};
static const struct file_ops reopened_ops = {
    .read = host_read,
    .write = host_write,
    .seek = reopened_seek,
    .ioctl = host_ioctl,
    .mmap = host_mmap,
};

static int host_open(struct inode *i, struct file *f)
{
	struct host_fd *h = i->private;
	f->private = h;
	f->ops = h->regular ? &reopened_ops : &stream_ops;
	f->seekable = h->regular;
	return 0;
}
static const struct inode_ops host_inode_ops = {
    .setattr = host_setattr, .refresh = host_refresh, .open = host_open};
static const struct quire_mapping_ops host_mapping_ops = {.read_pages = host_read_pages,
							  .size = inode_mapping_size};

/* ---- opening ---------------------------------------------------------------------------- */

static struct host_fd *host_fd_new(const struct config_stdio *io, unsigned fd)
{
	struct host_fd *h = quire_kmalloc(sizeof(*h), GFP_KERNEL | GFP_ZERO);
	if (!h)
		return NULL;
	h->fd = (u16)fd;
	h->regular = io->fd[fd].kind == STDIO_FILE;
	waitq_init(&h->wait);
	spin_init(&h->lock, RANK_HOST_INNER + 3);
	h->fs = (struct fs){.type = "hostfs", .dev = io->fd[fd].dev, .magic = 0x00c0ffee};
	h->inode = inode_new(&h->fs, io->fd[fd].mode);
	if (!h->inode) {
		quire_kfree(h);
		return NULL;
	}
	struct inode *i = h->inode;
	i->ops = &host_inode_ops;
	i->private = h;
	i->ino = io->fd[fd].ino;
	i->rdev = io->fd[fd].rdev;
	i->size = io->fd[fd].size;
	i->blocks = (i->size + 511) / 512;
	i->nlink = 1;
	i->uid = current()->cred->uid;
	i->gid = current()->cred->gid;
	if (h->regular)
		i->mapping.ops = &host_mapping_ops;
	return h;
}

static struct file *open_host(const struct config_stdio *io, unsigned fd)
{
	struct host_fd *h = host_fd_new(io, fd);
	char label[32];
	if (!h)
		return NULL;
	host_fds[fd] = h;
	snprintf(label, sizeof(label),
		 S_ISFIFO(io->fd[fd].mode)   ? "pipe:[%lu]"
		 : S_ISSOCK(io->fd[fd].mode) ? "socket:[%lu]"
					     : "host:[%lu]",
		 io->fd[fd].ino);
	u32 flags = io->fd[fd].flags & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_LARGEFILE);
	inode_get(h->inode); /* one of ours: the descriptor outlives every file here */
	struct file *f = file_anon(label, h->inode, h->regular ? &regular_ops : &stream_ops, flags);
	if (!f)
		return NULL;
	host_open(h->inode, f);
	if (h->regular)
		f->ops = &regular_ops;
	return f;
}

bool hostio_reopen(struct inode *i, struct file *f)
{
	return i->ops == &host_inode_ops && !host_open(i, f);
}

/* A device of the host's that this kernel has as well (/dev/null, most of all) is opened
 * here: nobody could tell the difference, but for the time it takes. */
static struct file *open_same_device(const struct config_stdio *io, unsigned fd)
{
	static const struct {
		u32 minor;
		const char *name;
	} devices[] = {{3, "/dev/null"},
		       {5, "/dev/zero"},
		       {7, "/dev/full"},
		       {8, "/dev/random"},
		       {9, "/dev/urandom"}};
	struct file *f;
	for (unsigned i = 0; S_ISCHR(io->fd[fd].mode) && i < quire_array_size(devices); i++)
		if (io->fd[fd].rdev == (1u << 8 | devices[i].minor) &&
		    !file_open(AT_FDCWD, devices[i].name, io->fd[fd].flags & O_ACCMODE, 0, &f))
			return f;
	return NULL;
}

static struct file *open_tty(void)
{
	struct file *f = NULL;
	int r = file_open(AT_FDCWD, "/dev/console", O_RDWR, 0, &f);
	if (r)
		print_log(QUIRE_LOG_WARN, "the terminal can't be opened: error %d", -r);
	return r ? NULL : f;
}

int hostio_open_stdio(void)
{
	size_t len;
	const struct config_stdio *io = config_get(CONFIG_STDIO, 0, &len);
	struct file *tty = NULL;
	if (!io || len < sizeof(*io))
		return 0;
	for (unsigned fd = 0; fd < 3; fd++) {
		struct file *f = NULL;
		switch (io->fd[fd].kind) {
		case STDIO_STREAM:
		case STDIO_FILE:
			f = open_same_device(io, fd);
			if (!f)
				f = open_host(io, fd);
			break;
		case STDIO_TTY:
			if (!tty)
				tty = open_tty();
			f = tty;
			if (f)
				file_get(f);
			break;
		default:
			continue;
		}
		if (!f)
			return -ENOMEM;
		int r = fd_install(f, false, (int)fd);
		if (r < 0) {
			file_put(f);
			return r;
		}
	}
	if (tty)
		file_put(tty);
	return 0;
}
