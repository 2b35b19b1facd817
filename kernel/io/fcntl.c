/* SPDX-License-Identifier: MIT */
/*
 * fcntl and the ioctls that any descriptor takes.  Locks on files are in
 * fs/lock.c; sizes of pipes in pipe.c; seals in memfd.c.
 *
 * Signal-driven I/O (O_ASYNC) is recorded but no signal comes of it; leases and
 * directory notification are refused.
 */
#include "../syscall/syscall.h"
#include "fdtable.h"
#include "io.h"
#include "memfd.h"
#include "pipe.h"

enum {
	F_DUPFD = 0,
	F_GETFD,
	F_SETFD,
	F_GETFL,
	F_SETFL,
	F_GETLK,
	F_SETLK,
	F_SETLKW,
	F_SETOWN,
	F_GETOWN,
	F_SETSIG,
	F_GETSIG,
	F_SETOWN_EX = 15,
	F_GETOWN_EX,
	F_OFD_GETLK = 36,
	F_OFD_SETLK,
	F_OFD_SETLKW,
	F_GETLEASE = 1025,
	F_DUPFD_CLOEXEC = 1030,
	F_SETPIPE_SZ,
	F_GETPIPE_SZ,
	F_ADD_SEALS,
	F_GET_SEALS,
};
#define FD_CLOEXEC 1u
#define F_UNLCK 2
#define RLIMIT_NOFILE 7
#define SETTABLE (O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME)

static long dup_from(struct file *f, u64 at_least, bool cloexec)
{
	if (at_least >= current()->process->rlim[RLIMIT_NOFILE].cur || at_least > 1u << 30)
		return -EINVAL;
	file_get(f);
	int r = fd_install(f, cloexec, (int)at_least);
	if (r < 0)
		file_put(f);
	return r;
}

static long set_flags(struct file *f, u32 flags)
{
	/* A pipe's is for packets. */
	bool takes_direct = f->inode && (S_ISREG(f->inode->mode) || S_ISBLK(f->inode->mode) ||
					 S_ISFIFO(f->inode->mode));
	if ((flags & O_DIRECT) && !(f->flags & O_DIRECT) && !takes_direct)
		return -EINVAL;
	__atomic_store_n(&f->flags, (f->flags & ~SETTABLE) | (flags & SETTABLE), __ATOMIC_RELAXED);
	return 0;
}

/* What F_SETOWN recorded: a pid, or a negated group, in the pointer itself. */
static long owner_ex(struct file *f, bool set, u64 arg)
{
	struct {
		s32 type, pid;
	} o;
	if (set) {
		if (copy_from_user(&o, arg, sizeof(o)))
			return -EFAULT;
		if (o.type < 0 || o.type > 2)
			return -EINVAL;
		f->owner = (void *)(s64)(o.type == 2 ? -o.pid : o.pid);
		return 0;
	}
	s32 v = (s32)(s64)f->owner;
	o.type = v < 0 ? 2 : 1;
	o.pid = v < 0 ? -v : v;
	return copy_to_user(arg, &o, sizeof(o));
}

static long fcntl_file(struct file *f, int fd, u32 cmd, u64 arg)
{
	switch (cmd) {
	case F_DUPFD:
		return dup_from(f, arg, false);
	case F_DUPFD_CLOEXEC:
		return dup_from(f, arg, true);
	case F_GETFD:
		return fdtable_cloexec(current()->files, fd) ? FD_CLOEXEC : 0;
	case F_SETFD:
		return fd_set_cloexec(fd, arg & FD_CLOEXEC);
	case F_GETFL:
		/* 64-bit programs see O_LARGEFILE only on files that open(2) made. */
		return f->flags & ~(O_CLOEXEC | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC);
	}
	if (f->flags & O_PATH)
		return -EBADF;
	switch (cmd) {
	case F_SETFL:
		return set_flags(f, (u32)arg);
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return file_posix_lock(f, (int)cmd, arg);
	case F_SETOWN:
		f->owner = (void *)(s64)(s32)arg;
		return 0;
	case F_GETOWN:
		return (s32)(s64)f->owner;
	case F_SETOWN_EX:
	case F_GETOWN_EX:
		return owner_ex(f, cmd == F_SETOWN_EX, arg);
	case F_GETSIG:
		return 0;
	case F_SETSIG:
		return arg > NSIG ? -EINVAL : 0;
	case F_GETLEASE:
		return F_UNLCK;
	case F_SETPIPE_SZ:
		return pipe_set_size(f, arg);
	case F_GETPIPE_SZ:
		return pipe_get_size(f);
	case F_ADD_SEALS:
		return memfd_add_seals(f, (u32)arg);
	case F_GET_SEALS:
		return memfd_get_seals(f);
	}
	return -EINVAL;
}

SYSCALL3(fcntl, int, fd, u32, cmd, u64, arg)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	long r = fcntl_file(f, fd, cmd, arg);
	file_put(f);
	return r;
}

#define FIONREAD 0x541bu
#define FIONBIO 0x5421u
#define FIOCLEX 0x5451u
#define FIONCLEX 0x5450u
#define FIOASYNC 0x5452u
#define FIOQSIZE 0x5460u
#define FIGETBSZ 2u

static long toggle_flag(struct file *f, u32 flag, u64 arg)
{
	u32 on;
	if (get_user_u32(&on, arg))
		return -EFAULT;
	if (on)
		__atomic_fetch_or(&f->flags, flag, __ATOMIC_RELAXED);
	else
		__atomic_fetch_and(&f->flags, ~flag, __ATOMIC_RELAXED);
	return 0;
}

static long ioctl_regular(struct file *f, u32 cmd, u64 arg)
{
	struct inode *i = f->inode;
	switch (cmd) {
	case FIONREAD: {
		u64 size = i->size, pos = f->pos;
		return put_user_u32(arg, size > pos ? (u32)(size - pos) : 0);
	}
	case FIGETBSZ:
		return put_user_u32(arg, QUIRE_PAGE_SIZE);
	case FIOQSIZE:
		return put_user_u64(arg, i->size);
	}
	return -ENOTTY;
}

SYSCALL3(ioctl, int, fd, u32, cmd, u64, arg)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	long r;
	if (f->flags & O_PATH)
		r = -EBADF;
	else if (cmd == FIOCLEX || cmd == FIONCLEX)
		r = fd_set_cloexec(fd, cmd == FIOCLEX);
	else if (cmd == FIONBIO)
		r = toggle_flag(f, O_NONBLOCK, arg);
	else if (cmd == FIOASYNC)
		r = toggle_flag(f, O_ASYNC, arg);
	else if (f->ops->ioctl)
		r = f->ops->ioctl(f, cmd, arg);
	else if (f->inode && S_ISREG(f->inode->mode))
		r = ioctl_regular(f, cmd, arg);
	else
		r = -ENOTTY;
	file_put(f);
	return r;
}
