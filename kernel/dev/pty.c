/* SPDX-License-Identifier: MIT */
/*
 * Pseudo-terminals: /dev/ptmx gives the master of a new pair, whose slave is
 * /dev/pts/N.  What the master writes is the slave terminal's input; what programs
 * write to the slave is read from the master.
 *
 * Locking: pty_lock (mutex, RANK_HOST_OUTER + 13) guards who has which pair open.
 * pty->lock (spin, RANK_HOST_MID + 9) guards the bytes on their way to the master.
 * Pairs are made when first needed and kept for the next user.
 *
 * Packet mode (TIOCPKT) is refused.
 */
#include <quire/string.h>

#include "../fs/proc.h"
#include "../fs/procfs.h"
#include "../io/io.h"
#include "../lib/print.h"
#include "tty.h"

#define PTYS 32u
#define RING QUIRE_PAGE_SIZE
#define TIOCGPTN 0x80045430u
#define TIOCSPTLCK 0x40045431u
#define TIOCGPTLCK 0x80045439u
#define TIOCGPTPEER 0x5441u
#define TIOCSIG 0x40045436u
#define TIOCSWINSZ 0x5414u
#define TIOCGPGRP 0x540fu
#define TIOCGSID 0x5429u
#define TIOCPKT 0x5420u
#define FIONREAD 0x541bu
#define TIOCOUTQ 0x5411u

struct pty {
	struct tty tty; /* first */
	struct spinlock lock;
	u8 *ring;
	u64 head, tail; /* bytes ever written, read; lock */
	struct waitq master_wait;
	u32 index;
	bool used, locked; /* pty_lock */
	u32 slaves;        /* open files of the slave; pty_lock */
	bool had_slave;
	u32 uid, gid; /* of who made it */
};

static struct mutex pty_lock = MUTEX_INIT(RANK_HOST_OUTER + 13);
static struct pty *ptys[PTYS];

static struct pty *pty_of(struct tty *t)
{
	return (struct pty *)t;
}

static u64 on_the_way(struct pty *p)
{
	return __atomic_load_n(&p->head, __ATOMIC_ACQUIRE) -
	       __atomic_load_n(&p->tail, __ATOMIC_ACQUIRE);
}

/* ---- towards the master ----------------------------------------------------------------- */

static size_t slave_write(struct tty *t, const u8 *buf, size_t n)
{
	struct pty *p = pty_of(t);
	spin_lock(&p->lock);
	n = quire_min(n, (size_t)(RING - (p->head - p->tail)));
	for (size_t i = 0; i < n; i++)
		p->ring[(p->head + i) % RING] = buf[i];
	__atomic_store_n(&p->head, p->head + n, __ATOMIC_RELEASE);
	spin_unlock(&p->lock);
	waitq_wake_active(&p->master_wait, POLLIN | POLLRDNORM);
	return n;
}

static size_t slave_room(struct tty *t)
{
	return RING - on_the_way(pty_of(t));
}

/* The slave read something: the master may write on. */
static void slave_changed(struct tty *t)
{
	waitq_wake_active(&pty_of(t)->master_wait, POLLOUT | POLLWRNORM);
}

static const struct tty_driver pty_driver = {
    .write = slave_write, .room = slave_room, .changed = slave_changed};

int pty_index(const struct tty *t)
{
	return t->driver == &pty_driver ? (int)((const struct pty *)t)->index : -1;
}

static bool slave_gone(struct pty *p)
{
	return p->had_slave && !__atomic_load_n(&p->slaves, __ATOMIC_RELAXED);
}

static s64 master_read(struct file *f, struct iter *it, u64 *pos)
{
	struct pty *p = f->private;
	u8 chunk[256];
	(void)pos;
	if (!it->left)
		return 0;
	while (!on_the_way(p)) {
		if (slave_gone(p))
			return -EIO;
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(&p->master_wait, on_the_way(p) || slave_gone(p)))
			return -ERESTARTSYS;
	}
	s64 total = 0;
	while (it->left) {
		size_t n = 0, max = quire_min(it->left, sizeof(chunk));
		spin_lock(&p->lock);
		while (n < max && p->tail < p->head) {
			chunk[n++] = p->ring[p->tail % RING];
			__atomic_store_n(&p->tail, p->tail + 1, __ATOMIC_RELEASE);
		}
		spin_unlock(&p->lock);
		if (!n)
			break;
		size_t done = iter_copy_to(it, chunk, n);
		total += (s64)done;
		if (done < n)
			return total ? total : -EFAULT;
	}
	waitq_wake_active(&p->tty.wr, POLLOUT | POLLWRNORM);
	return total;
}

static s64 master_write(struct file *f, struct iter *it, u64 *pos)
{
	struct pty *p = f->private;
	u8 chunk[256];
	s64 total = 0;
	(void)pos;
	while (it->left) {
		size_t room = tty_receive_room(&p->tty);
		if (!room) {
			if (total || (f->flags & O_NONBLOCK))
				return total ? total : -EAGAIN;
			if (wait_event_interruptible(&p->master_wait,
						     tty_receive_room(&p->tty) || slave_gone(p)))
				return -ERESTARTSYS;
			continue;
		}
		size_t n = quire_min(quire_min(it->left, sizeof(chunk)), room);
		n = iter_copy_from(it, chunk, n);
		if (!n)
			return total ? total : -EFAULT;
		tty_receive(&p->tty, chunk, n);
		total += (s64)n;
	}
	return total;
}

static u32 master_poll(struct file *f, struct poll_table *pt)
{
	struct pty *p = f->private;
	u32 ev = 0;
	poll_wait(pt, &p->master_wait);
	if (on_the_way(p))
		ev |= POLLIN | POLLRDNORM;
	if (slave_gone(p))
		ev |= POLLHUP;
	if (tty_receive_room(&p->tty))
		ev |= POLLOUT | POLLWRNORM;
	return ev;
}

static s64 open_peer(struct pty *p, u32 flags)
{
	char name[24];
	struct file *f;
	snprintf(name, sizeof(name), "/dev/pts/%u", p->index);
	int r = file_open(AT_FDCWD, name, flags & (O_ACCMODE | O_NOCTTY | O_NONBLOCK), 0, &f);
	return r ? r : anon_install(f, flags);
}

static s64 master_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct pty *p = f->private;
	u32 v;
	switch (cmd) {
	case TIOCGPTN:
		return put_user_u32(arg, p->index);
	case TIOCSPTLCK:
		if (get_user_u32(&v, arg))
			return -EFAULT;
		p->locked = v != 0;
		return 0;
	case TIOCGPTLCK:
		return put_user_u32(arg, p->locked);
	case TIOCGPTPEER:
		return open_peer(p, (u32)arg);
	case TIOCSIG:
		if (arg < 1 || arg > NSIG)
			return -EINVAL;
		tty_signal(&p->tty, (int)arg);
		return 0;
	case TIOCGPGRP:
		return put_user_u32(arg, p->tty.pgrp);
	case TIOCGSID:
		return p->tty.session ? put_user_u32(arg, p->tty.session) : -ENOTTY;
	case FIONREAD:
		return put_user_u32(arg, (u32)on_the_way(p));
	case TIOCOUTQ:
		return put_user_u32(arg, 0);
	case TIOCPKT:
		if (get_user_u32(&v, arg))
			return -EFAULT;
		return v ? -EINVAL : 0;
	}
	/* Settings are the pair's; the slave side answers (its private data is the tty). */
	struct file as_slave = {.private = &p->tty, .flags = f->flags, .can_read = true};
	return tty_ioctl(&as_slave, cmd, arg);
}

static void master_release(struct file *f)
{
	struct pty *p = f->private;
	tty_hangup(&p->tty);
	mutex_lock(&pty_lock);
	if (!p->slaves)
		p->used = false;
	else
		p->locked = true; /* nobody opens it any more; the last slave frees it */
	p->had_slave = false;
	mutex_unlock(&pty_lock);
}

static const struct file_ops master_ops = {
    .read = master_read,
    .write = master_write,
    .poll = master_poll,
    .ioctl = master_ioctl,
    .release = master_release,
};

/* ---- opening ---------------------------------------------------------------------------- */

static struct file_ops slave_ops; /* tty_ops with a release */

static void slave_release(struct file *f)
{
	struct pty *p = pty_of(f->private);
	mutex_lock(&pty_lock);
	p->slaves--;
	if (!p->slaves && p->tty.hung)
		p->used = false;
	mutex_unlock(&pty_lock);
	waitq_wake_all(&p->master_wait);
}

static struct pty *pty_new(u32 index)
{
	struct pty *p = quire_kmalloc(sizeof(*p), GFP_KERNEL | GFP_ZERO);
	struct page *pg = p ? quire_page_alloc(0, GFP_KERNEL) : NULL;
	if (!pg || tty_setup(&p->tty, &pty_driver)) {
		if (pg)
			quire_page_put(pg);
		quire_kfree(p);
		return NULL;
	}
	p->ring = page_view(pg);
	p->index = index;
	spin_init(&p->lock, RANK_HOST_MID + 9);
	waitq_init(&p->master_wait);
	return p;
}

u64 pty_frames(void)
{
	u64 n = 0;
	mutex_lock(&pty_lock);
	for (u32 i = 0; i < PTYS; i++)
		n += ptys[i] ? 2 : 0; /* the way to the slave, and to the master */
	mutex_unlock(&pty_lock);
	return n;
}

static int open_master(struct inode *i, struct file *f)
{
	struct pty *p = NULL;
	int r = -ENOSPC;
	(void)i;
	mutex_lock(&pty_lock);
	for (u32 n = 0; n < PTYS && r == -ENOSPC; n++) {
		if (!ptys[n])
			ptys[n] = pty_new(n);
		p = ptys[n];
		if (!p)
			r = -ENOMEM;
		else if (!p->used)
			r = 0;
	}
	if (!r) {
		tty_reset(&p->tty);
		memset(&p->tty.winsize, 0, sizeof(p->tty.winsize));
		p->head = p->tail = 0;
		p->used = p->locked = true;
		p->uid = current()->cred->fsuid;
		p->gid = current()->cred->fsgid;
		p->had_slave = false;
		f->private = p;
		f->ops = &master_ops;
		f->seekable = false;
	}
	mutex_unlock(&pty_lock);
	return r;
}

static int open_slave(struct inode *i, struct file *f)
{
	u32 n = (u32)(i->rdev & 0xff);
	mutex_lock(&pty_lock);
	struct pty *p = n < PTYS ? ptys[n] : NULL;
	if (!p || !p->used || p->locked || p->tty.hung) {
		mutex_unlock(&pty_lock);
		return -EIO;
	}
	p->slaves++;
	p->had_slave = true;
	mutex_unlock(&pty_lock);
	tty_open(&p->tty, f);
	f->ops = &slave_ops;
	return 0;
}

/* ---- /dev/pts --------------------------------------------------------------------------- */

static void fill_slave(const struct proc_node *n, struct inode *i)
{
	struct pty *p = ptys[n->number];
	i->rdev = 136 << 8 | n->number;
	i->ino = n->number + 3;
	i->uid = p->uid;
	i->gid = p->gid;
}

static const struct proc_entry slave_entry = {"", S_IFCHR | 0620, .fill = fill_slave};

static bool next_slave(const struct proc_node *dir, struct proc_ctx *c, u32 from, u32 *number,
		       struct proc_node *out)
{
	(void)dir, (void)c;
	for (u32 n = from; n < PTYS && ptys[n]; n++)
		if (ptys[n]->used) {
			*number = n;
			*out = (struct proc_node){.entry = &slave_entry, .number = n};
			return true;
		}
	return false;
}

static bool find_slave(const struct proc_node *dir, struct proc_ctx *c, const char *name,
		       size_t len, struct proc_node *out)
{
	u32 want, got;
	return proc_number(name, len, &want) && next_slave(dir, c, want, &got, out) && got == want;
}

static const struct proc_names slave_names = {.find = find_slave, .next = next_slave, .prefix = ""};
static const struct proc_entry no_entries[] = {{0}};
static const struct proc_entry pts_root = {"", S_IFDIR | 0755, .dir = no_entries,
					   .names = &slave_names};

struct fs *devpts(struct dentry **root)
{
	static struct fs *only;
	if (!only)
		only = proc_fs_new("devpts", 22, 0x1cd1, &pts_root, root, false);
	if (only)
		*root = only->root;
	return only;
}

void pty_init(void)
{
	slave_ops = tty_ops;
	slave_ops.release = slave_release;
	chrdev_register(136, CHRDEV_ANY_MINOR, NULL, 0620, &slave_ops, open_slave);
	chrdev_register(5, 2, "ptmx", 0666, &master_ops, open_master);
}
