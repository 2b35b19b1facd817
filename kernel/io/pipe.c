/* SPDX-License-Identifier: MIT */
/*
 * Pipes and FIFOs; ring.c has what lies in them.
 *
 * Locking: pipe->lock (mutex, RANK_HOST_OUTER + 4) is held while bytes move, user
 * copies included.  The counters are read without it by poll and by the
 * conditions of sleepers, who look again once they hold it.
 * FIFOs: fifo_lock (mutex, RANK_HOST_OUTER + 3) guards which inode has which pipe;
 * a pipe lives as long as some open file or waiting opener has it.
 */
#include "pipe.h"

#include <quire/assert.h>
#include <quire/string.h>

#include "../dev/hostio.h"
#include "../lib/print.h"
#include "../lib/string.h"
#include "../syscall/syscall.h"
#include "io.h"
#include "ring.h"

#define PIPE_BUF 4096u
#define PIPE_SIZE 65536u /* of a new pipe */
#define FIONREAD 0x541b
#define CAP_SYS_RESOURCE 24

static struct mutex fifo_lock = MUTEX_INIT(RANK_HOST_OUTER + 3);
static struct list fifos = LIST_INIT(fifos);
static const struct file_ops pipe_ops;
static const struct inode_ops pipe_inode_ops;
static struct fs pipe_fs = {.type = "pipefs", .dev = 13, .magic = 0x50495045};

static struct pipe *pipe_new(void)
{
	struct pipe *p = quire_kmalloc(sizeof(*p), GFP_KERNEL | GFP_ZERO);
	if (!p)
		return NULL;
	if (!ring_init(p, PIPE_SIZE)) {
		quire_kfree(p);
		return NULL;
	}
	mutex_init(&p->lock, RANK_HOST_OUTER + 4);
	waitq_init(&p->rd);
	waitq_init(&p->wr);
	list_init(&p->fifo_node);
	return p;
}

static void pipe_free(struct pipe *p)
{
	ring_free(p);
	quire_kfree(p);
}

static inline bool has_writers(const struct pipe *p)
{
	return __atomic_load_n(&p->writers, __ATOMIC_RELAXED);
}
static inline bool has_readers(const struct pipe *p)
{
	return __atomic_load_n(&p->readers, __ATOMIC_RELAXED);
}

static s64 wait_readable(struct pipe *p, bool nowait)
{
	if (nowait)
		return -EAGAIN;
	int r = wait_event_interruptible(&p->rd, ring_used(p) || !has_writers(p));
	return r ? -ERESTARTSYS : 0;
}

static s64 wait_writable(struct pipe *p, u64 need, bool nowait)
{
	if (nowait)
		return -EAGAIN;
	int r = wait_event_interruptible(&p->wr, ring_space(p) >= need || !has_readers(p));
	return r ? -ERESTARTSYS : 0;
}

static s64 wait_packet(struct pipe *p, bool nowait)
{
	if (nowait)
		return -EAGAIN;
	int r = wait_event_interruptible(&p->wr, ring_packet_fits(p) || !has_readers(p));
	return r ? -ERESTARTSYS : 0;
}

static s64 pipe_read(struct file *f, struct iter *it, u64 *pos)
{
	struct pipe *p = f->private;
	(void)pos;
	if (!it->left)
		return 0;
	for (;;) {
		mutex_lock(&p->lock);
		if (ring_used(p)) {
			s64 n = ring_take_locked(p, it);
			mutex_unlock(&p->lock);
			if (n >= 0)
				waitq_wake_active(&p->wr, POLLOUT | POLLWRNORM);
			return n;
		}
		bool open = has_writers(p);
		mutex_unlock(&p->lock);
		if (!open)
			return 0;
		s64 r = wait_readable(p, f->flags & O_NONBLOCK);
		if (r)
			return r;
	}
}

void io_sigpipe(void)
{
	struct siginfo info = {.si_signo = 13};
	info.rt.pid = (s32)current()->process->tgid;
	info.rt.uid = current()->cred->uid;
	send_signal_task(current(), 13, &info);
}

static s64 write_pipe(struct file *f, struct iter *it, bool parts)
{
	struct pipe *p = f->private;
	size_t total = 0;
	s64 r = 0;
	/* Up to PIPE_BUF bytes go in one piece; more than that goes as it fits. */
	u64 need = quire_min(it->left, (size_t)quire_min(PIPE_BUF, p->size));
	bool nowait = f->flags & O_NONBLOCK;
	if (nowait && it->left > PIPE_BUF)
		need = 1;
	while (it->left) {
		mutex_lock(&p->lock);
		if (!has_readers(p)) {
			mutex_unlock(&p->lock);
			io_sigpipe();
			r = -EPIPE;
			break;
		}
		need = quire_min(need, it->left);
		if (ring_space(p) < need) {
			mutex_unlock(&p->lock);
			r = wait_writable(p, need, nowait);
			if (r)
				break;
			continue;
		}
		r = ring_give_locked(p, it, quire_min(it->left, (size_t)ring_space(p)), parts);
		mutex_unlock(&p->lock);
		if (r > 0) {
			total += (size_t)r;
			waitq_wake_active(&p->rd, POLLIN | POLLRDNORM);
		} else {
			break;
		}
	}
	return total ? (s64)total : r;
}

/* In packets; only what fits behind bytes that are no packet joins them, as on Linux. */
static s64 write_packets(struct file *f, struct iter *it)
{
	struct pipe *p = f->private;
	size_t total = 0, join = it->left & ~QUIRE_PAGE_MASK;
	s64 r = 0;
	while (it->left) {
		mutex_lock(&p->lock);
		u64 in_page = p->head & ~QUIRE_PAGE_MASK;
		bool joins = !total && join && ring_used(p) && in_page && ring_space(p) >= join &&
			     in_page + join <= QUIRE_PAGE_SIZE;
		bool readers = has_readers(p), fits = joins || ring_packet_fits(p);
		if (readers && fits)
			r = joins ? ring_give_locked(p, it, join, false)
				  : ring_give_packet_locked(p, it,
							    quire_min(it->left, QUIRE_PAGE_SIZE));
		mutex_unlock(&p->lock);
		if (!readers) {
			io_sigpipe();
			r = -EPIPE;
			break;
		}
		if (!fits) {
			r = wait_packet(p, f->flags & O_NONBLOCK);
			if (r)
				break;
			continue;
		}
		waitq_wake_active(&p->rd, POLLIN | POLLRDNORM);
		if (r < 0)
			break;
		total += (size_t)r;
	}
	return total ? (s64)total : r;
}

static s64 pipe_write(struct file *f, struct iter *it, u64 *pos)
{
	(void)pos;
	return f->flags & O_DIRECT ? write_packets(f, it) : write_pipe(f, it, false);
}

s64 pipe_gift(struct file *f, struct iter *it)
{
	return write_pipe(f, it, true);
}

static u32 pipe_poll(struct file *f, struct poll_table *pt)
{
	struct pipe *p = f->private;
	u32 ev = 0;
	if (f->can_read)
		poll_wait(pt, &p->rd);
	if (f->can_write)
		poll_wait(pt, &p->wr);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (f->can_read) {
		if (ring_used(p))
			ev |= POLLIN | POLLRDNORM;
		if (!has_writers(p) && (!p->fifo || p->w_opened))
			ev |= POLLHUP;
	}
	if (f->can_write) {
		if (ring_space(p) >= quire_min(PIPE_BUF, p->size))
			ev |= POLLOUT | POLLWRNORM;
		if (!has_readers(p))
			ev |= POLLERR;
	}
	return ev;
}

static s64 pipe_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct pipe *p = f->private;
	u64 bytes = 0;
	if (cmd != FIONREAD)
		return -ENOTTY;
	mutex_lock(&p->lock);
	for (u64 off = p->tail; off != p->head;) {
		size_t n = p->head - off;
		ring_piece(p, off, &n);
		bytes += n;
		off = ring_behind(p, off, n);
	}
	mutex_unlock(&p->lock);
	return put_user_u32(arg, (u32)bytes);
}

static void fifo_put(struct pipe *p)
{
	mutex_lock(&fifo_lock);
	bool last = --p->users == 0;
	if (last)
		list_del(&p->fifo_node);
	mutex_unlock(&fifo_lock);
	if (last)
		pipe_free(p);
}

static void pipe_release(struct file *f)
{
	struct pipe *p = f->private;
	mutex_lock(&p->lock);
	if (f->can_read)
		p->readers--;
	if (f->can_write)
		p->writers--;
	mutex_unlock(&p->lock);
	waitq_wake_active(&p->rd, POLLIN | POLLHUP);
	waitq_wake_active(&p->wr, POLLOUT | POLLERR);
	if (p->fifo)
		fifo_put(p);
}

/* The inode of a pipe without a name goes with the last end of it. */
static void pipe_inode_release(struct inode *i)
{
	if (i->private)
		pipe_free(i->private);
}

static const struct inode_ops pipe_inode_ops = {.release = pipe_inode_release};

static const struct file_ops pipe_ops = {
    .read = pipe_read,
    .write = pipe_write,
    .poll = pipe_poll,
    .ioctl = pipe_ioctl,
    .release = pipe_release,
};

bool file_is_pipe(struct file *f)
{
	return f->ops == &pipe_ops;
}

/* ---- FIFOs ------------------------------------------------------------------------------ */

static struct pipe *fifo_get(struct inode *i)
{
	struct pipe *p;
	mutex_lock(&fifo_lock);
	list_for_each (p, &fifos, fifo_node)
		if (p->fifo == i)
			goto found;
	p = pipe_new();
	if (p) {
		p->fifo = i;
		list_add(&fifos, &p->fifo_node);
	}
found:
	if (p)
		p->users++;
	mutex_unlock(&fifo_lock);
	return p;
}

/* Wait until the other end has been opened since seen, the count of its openings. */
static int fifo_wait_peer(struct pipe *p, struct file *f, u32 seen)
{
	int r;
	if (f->can_read)
		r = wait_event_interruptible(
		    &p->rd, __atomic_load_n(&p->w_opened, __ATOMIC_RELAXED) != seen);
	else
		r = wait_event_interruptible(
		    &p->wr, __atomic_load_n(&p->r_opened, __ATOMIC_RELAXED) != seen);
	return r ? -ERESTARTSYS : 0;
}

int pipe_open(struct inode *i, struct file *f)
{
	if (f->flags & O_DIRECT) /* only pipe2() and fcntl() set it */
		return -EINVAL;
	if (hostio_reopen(i, f)) /* /dev/stdin, when that is a pipe of the host's */
		return 0;
	/* A pipe without a name is opened again through /proc/PID/fd; nobody waits then. */
	bool nameless = i->ops == &pipe_inode_ops;
	struct pipe *p = nameless ? i->private : fifo_get(i);
	if (!p)
		return -ENOMEM;
	bool nowait = nameless || (f->flags & O_NONBLOCK);
	mutex_lock(&p->lock);
	if (!nameless && f->can_write && !f->can_read && nowait && !p->readers) {
		mutex_unlock(&p->lock);
		fifo_put(p);
		return -ENXIO;
	}
	if (f->can_read) {
		p->readers++;
		p->r_opened++;
	}
	if (f->can_write) {
		p->writers++;
		p->w_opened++;
	}
	/* Decided under the lock: the peer may come, write and go before we look again. */
	bool alone = f->can_read ? !p->writers : !p->readers;
	u32 seen = f->can_read ? p->w_opened : p->r_opened;
	mutex_unlock(&p->lock);
	waitq_wake_active(&p->rd, POLLIN);
	waitq_wake_active(&p->wr, POLLOUT);
	if (!nowait && alone && !(f->can_read && f->can_write)) {
		int r = fifo_wait_peer(p, f, seen);
		if (r) {
			mutex_lock(&p->lock);
			if (f->can_read)
				p->readers--;
			else
				p->writers--;
			mutex_unlock(&p->lock);
			fifo_put(p);
			return r;
		}
	}
	f->private = p;
	f->ops = &pipe_ops;
	f->seekable = false;
	return 0;
}

/* ---- the size, and moves from pipe to pipe -------------------------------------------- */

long pipe_get_size(struct file *f)
{
	return file_is_pipe(f) ? (long)((struct pipe *)f->private)->size : -EBADF;
}

long pipe_set_size(struct file *f, u64 size)
{
	if (!file_is_pipe(f))
		return -EBADF;
	if (size > 1u << 31)
		return -EINVAL;
	if (size > PIPE_MAX_SIZE && !capable(CAP_SYS_RESOURCE))
		return -EPERM;
	struct pipe *p = f->private;
	u32 rounded = QUIRE_PAGE_SIZE;
	while (rounded < size)
		rounded *= 2;
	mutex_lock(&p->lock);
	long r = ring_resize_locked(p, rounded);
	mutex_unlock(&p->lock);
	waitq_wake_active(&p->wr, POLLOUT);
	return r;
}

static void lock_two(struct pipe *a, struct pipe *b) NO_TSA
{
	mutex_lock(a < b ? &a->lock : &b->lock);
	mutex_lock_nested(a < b ? &b->lock : &a->lock);
}

/* Copy up to len bytes from one pipe to another, as far as there is room; packets stay such.
 * *to: behind what was copied. */
static size_t copy_pipe_locked(struct pipe *in, struct pipe *out, u64 len, u64 *to)
{
	size_t done = 0;
	u64 off = in->tail;
	while (done < len && off != in->head) {
		bool packet = ring_slot(in, off)->packet;
		size_t part = quire_min(len - done, in->head - off);
		char *from = ring_piece(in, off, &part);
		if (!packet)
			part = quire_min(part, (size_t)ring_space(out));
		if (packet ? !ring_packet_fits(out) : !part)
			break;
		struct iovec iov;
		struct iter it = iter_kernel(&iov, from, part);
		s64 r = packet ? ring_give_packet_locked(out, &it, part)
			       : ring_give_locked(out, &it, part, false);
		if (r < 0)
			break;
		done += (size_t)r;
		off = ring_behind(in, off, (size_t)r);
	}
	*to = off;
	return done;
}

/* Copy (and with `move` take away) up to len bytes from one pipe to another. */
static s64 pipe_to_pipe(struct pipe *in, struct pipe *out, u64 len, bool nowait, bool move) NO_TSA
{
	for (;;) {
		lock_two(in, out);
		bool empty = !ring_used(in), writers = has_writers(in), readers = has_readers(out);
		bool packet = !empty && ring_slot(in, in->tail)->packet;
		bool room = packet ? ring_packet_fits(out) : ring_space(out) > 0;
		u64 to = in->tail;
		size_t done = readers ? copy_pipe_locked(in, out, len, &to) : 0;
		if (move)
			ring_consume_locked(in, to);
		mutex_unlock(&in->lock);
		mutex_unlock(&out->lock);
		if (!readers) {
			io_sigpipe();
			return -EPIPE;
		}
		if (done) {
			waitq_wake_active(&out->rd, POLLIN | POLLRDNORM);
			if (move)
				waitq_wake_active(&in->wr, POLLOUT | POLLWRNORM);
			return (s64)done;
		}
		if (!empty && room)
			return to == in->tail ? -ENOMEM : 0;
		if (empty && !writers)
			return 0;
		s64 r = empty    ? wait_readable(in, nowait)
			: packet ? wait_packet(out, nowait)
				 : wait_writable(out, 1, nowait);
		if (r)
			return r;
	}
}

s64 pipe_tee(struct file *in, struct file *out, u64 len, bool nowait)
{
	nowait |= ((in->flags | out->flags) & O_NONBLOCK) != 0;
	return len ? pipe_to_pipe(in->private, out->private, len, nowait, false) : 0;
}

s64 pipe_splice_to(struct file *in, struct file *out, u64 *pos, u64 len, bool nowait) NO_TSA
{
	struct pipe *p = in->private;
	nowait |= (in->flags & O_NONBLOCK) != 0;
	if (!len)
		return 0;
	if (file_is_pipe(out)) {
		nowait |= (out->flags & O_NONBLOCK) != 0;
		return p == out->private ? -EINVAL
					 : pipe_to_pipe(p, out->private, len, nowait, true);
	}
	/* Not under pos_lock: this may sleep for as long as nobody writes. */
	bool own = !pos && out->seekable;
	u64 own_pos = out->pos;
	if (own)
		pos = &own_pos;
	s64 total = 0, r = 0;
	mutex_lock(&p->lock);
	while (!ring_used(p) && has_writers(p) && !r) {
		mutex_unlock(&p->lock);
		r = wait_readable(p, nowait);
		mutex_lock(&p->lock);
	}
	while (!r && ring_used(p) && (u64)total < len) {
		size_t n = quire_min(len - (u64)total, ring_used(p));
		struct iovec iov;
		char *from = ring_piece(p, p->tail, &n);
		struct iter it = iter_kernel(&iov, from, n);
		s64 w = n ? io_write(out, &it, pos) : 0;
		if (n && w <= 0) {
			r = w ? w : -EIO;
			break;
		}
		ring_consume_locked(p, ring_behind(p, p->tail, (size_t)w));
		total += w;
		if ((size_t)w < n)
			break;
	}
	mutex_unlock(&p->lock);
	if (own && total)
		out->pos = own_pos;
	if (total)
		waitq_wake_active(&p->wr, POLLOUT | POLLWRNORM);
	return total ? total : r;
}

s64 pipe_splice_from(struct file *out, struct file *in, u64 *pos, u64 len, bool nowait)
{
	struct pipe *p = out->private;
	nowait |= (out->flags & O_NONBLOCK) != 0;
	if (!len)
		return 0;
	s64 r = 0;
	if (!ring_space(p) && has_readers(p))
		r = wait_writable(p, 1, nowait);
	if (r)
		return r;
	size_t n = quire_min(len, quire_max(ring_space(p), (u64)1));
	n = quire_min(n, (size_t)PIPE_SIZE);
	char *buf = quire_kmalloc(n, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	struct iovec iov;
	struct iter it = iter_kernel(&iov, buf, n);
	u64 start = pos ? *pos : 0;
	r = io_read(in, &it, pos);
	if (r > 0) {
		it = iter_kernel(&iov, buf, (size_t)r);
		r = write_pipe(out, &it, false);
		if (pos)
			*pos = start + (r > 0 ? (u64)r : 0);
	}
	quire_kfree(buf);
	return r;
}

/* ---- pipe, pipe2 ------------------------------------------------------------------------ */

static struct file *pipe_end(struct pipe *p, struct inode *i, u32 flags)
{
	char label[32];
	snprintf(label, sizeof(label), "pipe:[%lu]", i->ino);
	inode_get(i);
	struct file *f = file_anon(label, i, &pipe_ops, flags);
	if (!f) {
		inode_put(i);
		return NULL;
	}
	f->private = p;
	return f;
}

static int make_pipe(struct file *end[2], u32 flags)
{
	struct inode *i = inode_new(&pipe_fs, S_IFIFO | 0600);
	struct pipe *p = pipe_new();
	if (!i || !p)
		goto fail;
	i->ops = &pipe_inode_ops;
	i->private = p;
	p->readers = p->writers = 1;
	end[0] = pipe_end(p, i, O_RDONLY | (flags & O_NONBLOCK));
	end[1] = end[0] ? pipe_end(p, i, O_WRONLY | flags) : NULL;
	inode_put(i); /* without an end, the pipe goes with it */
	if (end[1])
		return 0;
	if (end[0])
		file_put(end[0]);
	return -ENOMEM;
fail:
	if (p)
		pipe_free(p);
	if (i)
		inode_put(i);
	return -ENOMEM;
}

static long do_pipe_call(u64 ufds, u32 flags)
{
	if (flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT))
		return -EINVAL;
	struct file *end[2];
	int r = make_pipe(end, flags & (O_NONBLOCK | O_DIRECT));
	return r ? r : anon_install_pair(end[0], end[1], flags, ufds);
}

SYSCALL1(pipe, u64, ufds)
{
	return do_pipe_call(ufds, 0);
}
SYSCALL2(pipe2, u64, ufds, u32, flags)
{
	return do_pipe_call(ufds, flags);
}
