/* SPDX-License-Identifier: MIT */
/*
 * Advisory locks: flock(2), which belongs to an open file, and fcntl(2)'s record locks,
 * which belong to a process (its descriptor table) or to an open file (OFD).
 *
 * An inode gets a struct inode_locks with its first lock and keeps it.
 *
 * Locking: lock_lock (spin, RANK_HOST_MID + 1) guards every list here; waiting is on
 * the inode's queue, for its generation to change.  Memory is taken before.
 *
 * There are no mandatory locks and no leases.
 */
#include "lock.h"

#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../syscall/syscall.h"
#include "dcache.h"

enum { LOCK_SH = 1, LOCK_EX = 2, LOCK_NB = 4, LOCK_UN = 8 };
enum { F_RDLCK = 0, F_WRLCK = 1, F_UNLCK = 2 };
enum {
	F_GETLK = 5,
	F_SETLK = 6,
	F_SETLKW = 7,
	F_OFD_GETLK = 36,
	F_OFD_SETLK = 37,
	F_OFD_SETLKW = 38
};
#define OFFSET_MAX 0x7fffffffffffffffUL

struct held {
	struct list node; /* in inode_locks->held */
	bool flock;
	u8 type;        /* F_RDLCK, F_WRLCK */
	void *owner;    /* struct file, or struct fdtable */
	s32 pid;        /* -1: OFD */
	u64 start, end; /* inclusive */
};

struct inode_locks {
	struct list held;
	struct waitq wait;
	u32 generation; /* changes whenever a lock is given up */
};

struct blocked { /* a process that waits for a record lock: to find deadlocks */
	struct list node;
	void *owner, *by;
};

struct linux_flock {
	s16 type, whence;
	s32 pad;
	s64 start, len;
	s32 pid, pad2;
};

static struct spinlock lock_lock = SPINLOCK_INIT(RANK_HOST_MID + 1);
static struct list all_blocked = LIST_INIT(all_blocked);

static struct inode_locks *locks_of(struct inode *i)
{
	struct inode_locks *l =
	    __atomic_load_n((struct inode_locks **)&i->flocks, __ATOMIC_ACQUIRE);
	void *none = NULL;

	if (l)
		return l;
	l = quire_kmalloc(sizeof(*l), GFP_KERNEL);
	if (!l)
		return NULL;
	list_init(&l->held);
	waitq_init(&l->wait);
	l->generation = 0;
	if (!__atomic_compare_exchange_n(&i->flocks, &none, (void *)l, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE)) {
		quire_kfree(l);
		l = none;
	}
	return l;
}

void locks_free_inode(struct inode *i)
{
	struct inode_locks *l = i->flocks;

	if (!l)
		return;
	REQUIRE(list_empty(&l->held));
	quire_kfree(l);
	i->flocks = NULL;
}

static struct held *conflict_locked(struct inode_locks *l, const struct held *want)
{
	struct held *h;

	list_for_each (h, &l->held, node)
		if (h->flock == want->flock && h->owner != want->owner && h->start <= want->end &&
		    want->start <= h->end && (h->type == F_WRLCK || want->type == F_WRLCK))
			return h;
	return NULL;
}

/*
 * Give `want` its range: what its owner had there is cut or joined.  want is consumed
 * when it is a lock (its type isn't F_UNLCK), spare when a range is split.
 */
static void apply_locked(struct inode_locks *l, struct held *want, struct held **spare,
			 struct list *freed)
{
	struct held *h, *next;

	list_for_each_safe (h, next, &l->held, node) {
		u64 reach = want->end == OFFSET_MAX ? want->end : want->end + 1;

		if (h->flock != want->flock || h->owner != want->owner || h->start > reach ||
		    (h->end != OFFSET_MAX && h->end + 1 < want->start))
			continue;
		if (h->type == want->type) { /* overlaps or touches: one range */
			want->start = quire_min(want->start, h->start);
			want->end = quire_max(want->end, h->end);
			list_del(&h->node);
			list_add(freed, &h->node);
			continue;
		}
		if (h->start > want->end || h->end < want->start)
			continue;
		if (h->start < want->start && h->end > want->end) {
			struct held *right = *spare;

			*spare = NULL;
			*right = *h;
			right->start = want->end + 1;
			h->end = want->start - 1;
			list_add_tail(&l->held, &right->node);
		} else if (h->start < want->start) {
			h->end = want->start - 1;
		} else if (h->end > want->end) {
			h->start = want->end + 1;
		} else {
			list_del(&h->node);
			list_add(freed, &h->node);
		}
	}
	if (want->type != F_UNLCK)
		list_add_tail(&l->held, &want->node);
}

static void free_list(struct list *freed)
{
	while (!list_empty(freed)) {
		struct held *h = list_first(freed, struct held, node);

		list_del(&h->node);
		quire_kfree(h);
	}
}

/* Would waiting for `by` wait for owner itself in the end? */
static bool deadlock_locked(void *owner, void *by)
{
	struct blocked *b;

	for (unsigned steps = 0; steps < 64; steps++) {
		void *next = NULL;

		if (by == owner)
			return true;
		list_for_each (b, &all_blocked, node)
			if (b->owner == by)
				next = b->by;
		if (!next)
			return false;
		by = next;
	}
	return false;
}

static void released(struct inode_locks *l)
{
	__atomic_add_fetch(&l->generation, 1, __ATOMIC_RELEASE);
	waitq_wake_all(&l->wait);
}

/* Take (or change, or give up) a lock.  0, -EAGAIN, -EDEADLK, -ERESTARTSYS, -ENOLCK. */
static int set_lock(struct inode *i, const struct held *wish, bool wait)
{
	struct inode_locks *l = locks_of(i);
	struct held *want = quire_kmalloc(sizeof(*want), GFP_KERNEL);
	struct held *spare = quire_kmalloc(sizeof(*spare), GFP_KERNEL), *other;
	struct list freed = LIST_INIT(freed);
	int err = -ENOLCK;

	if (!l || !want || !spare)
		goto out;
	*want = *wish;
	for (;;) {
		struct blocked b = {.owner = want->owner};
		u32 seen;

		spin_lock(&lock_lock);
		other = want->type == F_UNLCK ? NULL : conflict_locked(l, want);
		if (!other) {
			apply_locked(l, want, &spare, &freed);
			if (want->type != F_UNLCK)
				want = NULL;
			spin_unlock(&lock_lock);
			released(l);
			err = 0;
			break;
		}
		err = -EAGAIN;
		b.by = other->owner;
		if (wait && !want->flock && want->pid >= 0 && deadlock_locked(b.owner, b.by))
			err = -EDEADLK;
		if (!wait || err == -EDEADLK) {
			spin_unlock(&lock_lock);
			break;
		}
		seen = l->generation;
		list_add(&all_blocked, &b.node);
		spin_unlock(&lock_lock);
		err = wait_event_interruptible(
		    &l->wait, __atomic_load_n(&l->generation, __ATOMIC_ACQUIRE) != seen);
		spin_lock(&lock_lock);
		list_del(&b.node);
		spin_unlock(&lock_lock);
		if (err) {
			err = -ERESTARTSYS;
			break;
		}
	}
out:
	free_list(&freed);
	quire_kfree(want);
	quire_kfree(spare);
	return err;
}

/* Drop every lock of owner (of this kind). */
static void drop_all(struct inode *i, void *owner, bool flock, bool any_kind)
{
	struct inode_locks *l = i->flocks;
	struct list freed = LIST_INIT(freed);
	struct held *h, *next;

	if (!l)
		return;
	spin_lock(&lock_lock);
	list_for_each_safe (h, next, &l->held, node) {
		if (h->owner != owner || (!any_kind && h->flock != flock))
			continue;
		list_del(&h->node);
		list_add(&freed, &h->node);
	}
	spin_unlock(&lock_lock);
	if (!list_empty(&freed))
		released(l);
	free_list(&freed);
}

void locks_release_file(struct file *f)
{
	drop_all(f->inode, f, true, true);
}

void locks_close(struct file *f, void *owner)
{
	if (f->inode && f->inode->flocks)
		drop_all(f->inode, owner, false, false);
}

long file_flock(struct file *f, int op)
{
	struct held want = {.flock = true, .owner = f, .end = OFFSET_MAX, .pid = -1};

	switch (op & ~LOCK_NB) {
	case LOCK_SH:
		want.type = F_RDLCK;
		break;
	case LOCK_EX:
		want.type = F_WRLCK;
		break;
	case LOCK_UN:
		want.type = F_UNLCK;
		break;
	default:
		return -EINVAL;
	}
	if (!f->inode)
		return -EBADF;
	if (want.type != F_UNLCK) {
		/* Changing the type gives the old lock up first, as flock(2) says. */
		struct held none = want;

		none.type = F_UNLCK;
		if (f->inode->flocks)
			set_lock(f->inode, &none, false);
	}
	return set_lock(f->inode, &want, !(op & LOCK_NB));
}

/* The range a struct flock means, in bytes from the file's start. */
static int flock_range(struct file *f, const struct linux_flock *u, u64 *start, u64 *end)
{
	s64 base, from, to;

	switch (u->whence) {
	case 0:
		base = 0;
		break;
	case 1:
		base = (s64)f->pos;
		break;
	case 2:
		base = (s64)i_size(f->inode);
		break;
	default:
		return -EINVAL;
	}
	if (__builtin_add_overflow(base, u->start, &from))
		return -EOVERFLOW;
	if (from < 0)
		return -EINVAL;
	if (u->len > 0) {
		if (__builtin_add_overflow(from, u->len - 1, &to))
			return -EOVERFLOW;
	} else if (u->len < 0) {
		to = from - 1;
		from += u->len;
		if (from < 0)
			return -EINVAL;
	} else {
		to = (s64)OFFSET_MAX;
	}
	*start = (u64)from;
	*end = (u64)to;
	return 0;
}

static long get_lock(struct inode *i, const struct held *want, struct linux_flock *u)
{
	struct inode_locks *l = i->flocks;
	struct held *h = NULL;

	if (!l) {
		u->type = F_UNLCK;
		return 0;
	}
	spin_lock(&lock_lock);
	h = conflict_locked(l, want);
	u->type = F_UNLCK;
	if (h) {
		u->type = h->type;
		u->whence = 0;
		u->start = (s64)h->start;
		u->len = h->end == OFFSET_MAX ? 0 : (s64)(h->end - h->start + 1);
		u->pid = h->pid;
	}
	spin_unlock(&lock_lock);
	return 0;
}

long file_posix_lock(struct file *f, int cmd, u64 uflock)
{
	bool ofd = cmd >= F_OFD_GETLK;
	struct held want = {.owner = ofd ? (void *)f : (void *)current()->files,
			    .pid = ofd ? -1 : (s32)current()->process->tgid};
	struct linux_flock u;
	long r;

	if (copy_from_user(&u, uflock, sizeof(u)))
		return -EFAULT;
	if (!f->inode || (f->flags & O_PATH))
		return -EBADF;
	if (ofd && u.pid)
		return -EINVAL;
	if (u.type < F_RDLCK || u.type > F_UNLCK)
		return -EINVAL;
	r = flock_range(f, &u, &want.start, &want.end);
	if (r)
		return r;
	want.type = (u8)u.type;
	if (cmd == F_GETLK || cmd == F_OFD_GETLK) {
		if (u.type == F_UNLCK)
			return -EINVAL;
		get_lock(f->inode, &want, &u);
		return copy_to_user(uflock, &u, sizeof(u));
	}
	if ((u.type == F_RDLCK && !f->can_read) || (u.type == F_WRLCK && !f->can_write))
		return -EBADF;
	return set_lock(f->inode, &want, cmd == F_SETLKW || cmd == F_OFD_SETLKW);
}

SYSCALL2(flock, int, fd, int, op)
{
	struct file *f = fd_get(fd);
	long r;

	if (!f)
		return -EBADF;
	r = f->flags & O_PATH ? -EBADF : file_flock(f, op);
	file_put(f);
	return r;
}
