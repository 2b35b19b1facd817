/* SPDX-License-Identifier: MIT */
/*
 * The descriptors of a process: an array of open files with two bitmaps, open
 * and close-on-exec.  Descriptors are given out lowest first.
 *
 * Locking: a table that has one reference belongs to the running task alone
 * (nobody else can come by a reference but through that task or under
 * table->lock with a reference of its own), so look-ups then take no lock.  All
 * changes take table->lock, and look-ups in a shared table do, too.
 *
 * Close is not here in whole: what closing means for locks is in fs/lock.c.
 */
#include "fdtable.h"

#include <quire/string.h>

#include "../syscall/syscall.h"
#include "io.h"

#define FIRST_SIZE 64u /* the embedded array; a multiple of 64 */
#define RLIMIT_NOFILE 7
#define MAX_FDS (1u << 20)

struct fdtable {
	s32 refs;             /* atomic */
	struct spinlock lock; /* RANK_HOST_MID + 3: all below */
	u32 size;             /* descriptors there is room for */
	u32 next;             /* none below this is free */
	struct file **file;
	u64 *open, *cloexec;
	struct file *first_file[FIRST_SIZE];
	u64 first_open[FIRST_SIZE / 64], first_cloexec[FIRST_SIZE / 64];
};

struct fdtable *fdtable_new(void)
{
	struct fdtable *t = quire_kmalloc(sizeof(*t), GFP_KERNEL | GFP_ZERO);
	if (!t)
		return NULL;
	t->refs = 1;
	spin_init(&t->lock, RANK_HOST_MID + 3);
	t->size = FIRST_SIZE;
	t->file = t->first_file;
	t->open = t->first_open;
	t->cloexec = t->first_cloexec;
	return t;
}

void fdtable_get(struct fdtable *t)
{
	__atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
}

bool fdtable_shared(struct fdtable *t)
{
	return __atomic_load_n(&t->refs, __ATOMIC_ACQUIRE) > 1;
}

static void free_arrays(struct fdtable *t, struct file **file)
{
	if (file != t->first_file)
		quire_kfree(file);
}

/* One block holds the three arrays of a grown table. */
static struct file **alloc_arrays(u32 size)
{
	return quire_kmalloc(size * sizeof(struct file *) + size / 4, GFP_KERNEL | GFP_ZERO);
}

static void use_arrays(struct fdtable *t, struct file **file, u32 size)
{
	t->file = file;
	t->open = (u64 *)(file + size);
	t->cloexec = t->open + size / 64;
	t->size = size;
}

/* Make room for descriptor fd.  Called with the lock held, drops it meanwhile. */
static int grow_locked(struct fdtable *t, u32 fd) NO_TSA
{
	u32 size = t->size;
	while (size <= fd)
		size *= 2;
	spin_unlock(&t->lock);
	struct file **file = alloc_arrays(size);
	spin_lock(&t->lock);
	if (!file)
		return -ENOMEM;
	if (t->size >= size) { /* another thread was quicker */
		spin_unlock(&t->lock);
		quire_kfree(file);
		spin_lock(&t->lock);
		return 0;
	}
	struct file **old = t->file;
	u64 *old_open = t->open, *old_cloexec = t->cloexec;
	u32 n = t->size;
	use_arrays(t, file, size);
	memcpy(t->file, old, n * sizeof(*old));
	memcpy(t->open, old_open, n / 8);
	memcpy(t->cloexec, old_cloexec, n / 8);
	spin_unlock(&t->lock);
	free_arrays(t, old);
	spin_lock(&t->lock);
	return 0;
}

struct fdtable *fdtable_copy(struct fdtable *from)
{
	struct fdtable *t = fdtable_new();
	if (!t)
		return NULL;
	spin_lock(&from->lock);
	while (from->size > t->size) {
		u32 size = from->size;
		spin_unlock(&from->lock);
		struct file **file = alloc_arrays(size);
		if (!file) {
			quire_kfree(t);
			return NULL;
		}
		free_arrays(t, t->file);
		use_arrays(t, file, size);
		spin_lock(&from->lock);
	}
	for (u32 w = 0; w < from->size / 64; w++) {
		t->open[w] = from->open[w];
		t->cloexec[w] = from->cloexec[w];
		for (u64 bits = t->open[w]; bits; bits &= bits - 1) {
			u32 fd = w * 64 + (u32)__builtin_ctzl(bits);
			t->file[fd] = from->file[fd];
			if (t->file[fd])
				file_get(t->file[fd]);
			else /* reserved by another thread, not installed yet */
				t->open[w] &= ~(1UL << (fd & 63));
		}
	}
	t->next = from->next;
	for (u32 w = 0; w < t->next / 64 && w < t->size / 64; w++)
		if (~t->open[w])
			t->next = w * 64;
	spin_unlock(&from->lock);
	return t;
}

/* What close(2) does to a file that has left its table. */
static int close_file(struct fdtable *t, struct file *f)
{
	int r = 0;
	if (f->ops && f->ops->flush)
		r = f->ops->flush(f);
	locks_close(f, t);
	file_put(f);
	return r;
}

void fdtable_put(struct fdtable *t)
{
	if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (u32 w = 0; w < t->size / 64; w++)
		for (u64 bits = t->open[w]; bits; bits &= bits - 1) {
			struct file *f = t->file[w * 64 + (u32)__builtin_ctzl(bits)];
			if (f)
				close_file(t, f);
		}
	free_arrays(t, t->file);
	quire_kfree(t);
}

/* Take fd out; null when it isn't open.  The lock is held. */
static struct file *take_locked(struct fdtable *t, u32 fd)
{
	struct file *f = fd < t->size ? t->file[fd] : NULL;
	if (!f)
		return NULL;
	__atomic_store_n(&t->file[fd], NULL, __ATOMIC_RELEASE);
	t->open[fd / 64] &= ~(1UL << (fd & 63));
	t->cloexec[fd / 64] &= ~(1UL << (fd & 63));
	if (fd < t->next)
		t->next = fd;
	return f;
}

void fdtable_close_on_exec(struct fdtable *t)
{
	spin_lock(&t->lock);
	for (u32 w = 0; w < t->size / 64; w++)
		while (t->cloexec[w] & t->open[w]) {
			u32 fd = w * 64 + (u32)__builtin_ctzl(t->cloexec[w] & t->open[w]);
			struct file *f = take_locked(t, fd);
			if (!f) {
				t->cloexec[w] &= ~(1UL << (fd & 63));
				continue;
			}
			spin_unlock(&t->lock);
			close_file(t, f);
			spin_lock(&t->lock);
		}
	spin_unlock(&t->lock);
}

struct file *fd_get(int fd)
{
	struct fdtable *t = current()->files;
	struct file *f = NULL;
	if (quire_likely(__atomic_load_n(&t->refs, __ATOMIC_ACQUIRE) == 1)) {
		if (quire_likely((u32)fd < t->size)) {
			f = t->file[fd];
			if (quire_likely(f))
				file_get(f);
		}
		return f;
	}
	spin_lock(&t->lock);
	if ((u32)fd < t->size) {
		f = t->file[fd];
		if (f)
			file_get(f);
	}
	spin_unlock(&t->lock);
	return f;
}

/* The lowest free descriptor >= from, or size when none is. */
static u32 find_free_locked(struct fdtable *t, u32 from)
{
	if (from < t->next)
		from = t->next;
	for (u32 w = from / 64; w < t->size / 64; w++) {
		u64 free = ~t->open[w];
		if (w == from / 64)
			free &= ~0UL << (from & 63);
		if (free)
			return w * 64 + (u32)__builtin_ctzl(free);
	}
	return from > t->size ? from : t->size;
}

static u64 nofile_limit(void)
{
	u64 lim = current()->process->rlim[RLIMIT_NOFILE].cur;
	return lim < MAX_FDS ? lim : MAX_FDS;
}

static void put_locked(struct fdtable *t, u32 fd, struct file *f, bool cloexec)
{
	u64 bit = 1UL << (fd & 63);
	t->open[fd / 64] |= bit;
	if (cloexec)
		t->cloexec[fd / 64] |= bit;
	else
		t->cloexec[fd / 64] &= ~bit;
	__atomic_store_n(&t->file[fd], f, __ATOMIC_RELEASE);
}

int fd_install(struct file *f, bool cloexec, int at_least)
{
	struct fdtable *t = current()->files;
	int r = -EMFILE;
	u64 limit = nofile_limit();
	spin_lock(&t->lock);
	for (;;) {
		u32 fd = find_free_locked(t, (u32)at_least);
		if (fd >= limit)
			break;
		if (fd >= t->size) {
			r = grow_locked(t, fd);
			if (r < 0)
				break;
			r = -EMFILE;
			continue;
		}
		put_locked(t, fd, f, cloexec);
		if ((u32)at_least <= t->next)
			t->next = fd + 1;
		r = (int)fd;
		break;
	}
	spin_unlock(&t->lock);
	return r;
}

int fd_close(int fd)
{
	struct fdtable *t = current()->files;
	spin_lock(&t->lock);
	struct file *f = take_locked(t, (u32)fd);
	spin_unlock(&t->lock);
	if (!f)
		return -EBADF;
	int r = close_file(t, f);
	/* The descriptor is gone whatever flush said: the call must not be made again. */
	return r == -ERESTARTSYS ? -EINTR : r;
}

int fdtable_next(struct fdtable *t, int from, struct file **out)
{
	int r = -1;
	spin_lock(&t->lock);
	for (u32 fd = (u32)from; fd < t->size; fd++) {
		if (!(fd & 63) && !t->open[fd / 64]) {
			fd += 63;
			continue;
		}
		if (t->file[fd]) {
			*out = t->file[fd];
			file_get(*out);
			r = (int)fd;
			break;
		}
	}
	spin_unlock(&t->lock);
	return r;
}

bool fdtable_cloexec(struct fdtable *t, int fd)
{
	spin_lock(&t->lock);
	bool set = (u32)fd < t->size && t->cloexec[fd / 64] >> (fd & 63) & 1;
	spin_unlock(&t->lock);
	return set;
}

u32 fdtable_size(struct fdtable *t)
{
	return __atomic_load_n(&t->size, __ATOMIC_RELAXED);
}

int fd_set_cloexec(int fd, bool on)
{
	struct fdtable *t = current()->files;
	int r = -EBADF;
	spin_lock(&t->lock);
	if ((u32)fd < t->size && t->file[fd]) {
		put_locked(t, (u32)fd, t->file[fd], on);
		r = 0;
	}
	spin_unlock(&t->lock);
	return r;
}

/* ---- the calls ------------------------------------------------------------------------ */

SYSCALL1(close, int, fd)
{
	return fd_close(fd);
}

/* Put f (whose reference is consumed) at exactly fd; what was there is closed. */
static long install_at(struct file *f, u32 fd, bool cloexec)
{
	struct fdtable *t = current()->files;
	if (fd >= nofile_limit()) {
		file_put(f);
		return -EBADF;
	}
	spin_lock(&t->lock);
	while (fd >= t->size) {
		int r = grow_locked(t, fd);
		if (r < 0) {
			spin_unlock(&t->lock);
			file_put(f);
			return r;
		}
	}
	struct file *old = t->file[fd];
	put_locked(t, fd, f, cloexec);
	spin_unlock(&t->lock);
	if (old)
		close_file(t, old);
	return fd;
}

SYSCALL1(dup, int, fd)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	int r = fd_install(f, false, 0);
	if (r < 0)
		file_put(f);
	return r;
}

SYSCALL2(dup2, int, from, int, to)
{
	struct file *f = fd_get(from);
	if (!f)
		return -EBADF;
	if (from == to) {
		file_put(f);
		return to;
	}
	return install_at(f, (u32)to, false);
}

SYSCALL3(dup3, int, from, int, to, u32, flags)
{
	if ((flags & ~O_CLOEXEC) || from == to)
		return -EINVAL;
	struct file *f = fd_get(from);
	if (!f)
		return -EBADF;
	return install_at(f, (u32)to, flags & O_CLOEXEC);
}

#define CLOSE_RANGE_UNSHARE 2u
#define CLOSE_RANGE_CLOEXEC 4u

SYSCALL3(close_range, u32, first, u32, last, u32, flags)
{
	if ((flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)) || first > last)
		return -EINVAL;
	struct fdtable *t = current()->files;
	if ((flags & CLOSE_RANGE_UNSHARE) && __atomic_load_n(&t->refs, __ATOMIC_ACQUIRE) > 1) {
		struct fdtable *copy = fdtable_copy(t);
		if (!copy)
			return -ENOMEM;
		struct process *p = current()->process;
		unsigned long irq = spin_lock_irq(&p->siglock);
		current()->files = copy;
		spin_unlock_irq(&p->siglock, irq);
		fdtable_put(t);
		t = copy;
	}
	spin_lock(&t->lock);
	for (u64 fd = first; fd <= last && fd < t->size; fd++) {
		if (flags & CLOSE_RANGE_CLOEXEC) {
			if (t->file[fd])
				put_locked(t, (u32)fd, t->file[fd], true);
			continue;
		}
		struct file *f = take_locked(t, (u32)fd);
		if (!f)
			continue;
		spin_unlock(&t->lock);
		close_file(t, f);
		spin_lock(&t->lock);
	}
	spin_unlock(&t->lock);
	return 0;
}
