/* SPDX-License-Identifier: MIT */
/*
 * signalfd: pending signals of the reader, read from a file.
 *
 * The queue waited on is the reading process's, as Linux has it: a descriptor
 * that was inherited reads the signals of whoever reads.  proc/signal.c wakes
 * wait_signal whenever it queues a signal, and guards the queues.
 */
#include <quire/string.h>

#include "../syscall/syscall.h"
#include "io.h"

#define SIGKILL 9
#define SIGCHLD 17
#define SIGSTOP 19
#define SI_TIMER (-2)

struct signalfd {
	u64 mask; /* signals it is for; atomic */
};

struct signalfd_siginfo { /* Linux's */
	u32 signo;
	s32 err, code;
	u32 pid, uid;
	s32 fd;
	u32 tid, band, overrun, trapno;
	s32 status, value_int;
	u64 value_ptr, utime, stime, addr;
	u16 addr_lsb, pad2;
	s32 syscall;
	u64 call_addr;
	u32 arch;
	u8 pad[28];
};
_Static_assert(sizeof(struct signalfd_siginfo) == 128, "signalfd_siginfo");

static u64 mask_of(struct signalfd *s)
{
	return __atomic_load_n(&s->mask, __ATOMIC_RELAXED);
}

static bool synchronous(int sig, int code)
{
	return code > 0 && (sig == 11 || sig == 7 || sig == 4 || sig == 8 || sig == 5);
}

static void convert(struct signalfd_siginfo *o, const struct siginfo *i)
{
	memset(o, 0, sizeof(*o));
	o->signo = (u32)i->si_signo;
	o->err = i->si_errno;
	o->code = i->si_code;
	if (i->si_code == SI_TIMER) {
		o->tid = (u32)i->timer.tid;
		o->overrun = (u32)i->timer.overrun;
		o->value_ptr = i->timer.value;
		o->value_int = (s32)i->timer.value;
	} else if (synchronous(i->si_signo, i->si_code)) {
		o->addr = i->fault.addr;
		o->addr_lsb = (u16)i->fault.addr_lsb;
	} else {
		o->pid = (u32)i->rt.pid;
		o->uid = i->rt.uid;
		if (i->si_signo == SIGCHLD && i->si_code > 0) {
			o->status = i->chld.status;
			o->utime = (u64)i->chld.utime;
			o->stime = (u64)i->chld.stime;
		} else {
			o->value_ptr = i->rt.value;
			o->value_int = (s32)i->rt.value;
		}
	}
}

static s64 signalfd_read(struct file *f, struct iter *it, u64 *pos)
{
	struct signalfd *s = f->private;
	s64 total = 0;
	(void)pos;
	if (it->left < sizeof(struct signalfd_siginfo))
		return -EINVAL;
	while (it->left >= sizeof(struct signalfd_siginfo)) {
		struct siginfo info;
		struct signalfd_siginfo out;
		if (signal_dequeue(mask_of(s), &info)) {
			convert(&out, &info);
			if (iter_copy_to(it, &out, sizeof(out)) != sizeof(out))
				return total ? total : -EFAULT;
			total += (s64)sizeof(out);
			continue;
		}
		if (total)
			break;
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(&current()->process->wait_signal,
					     signal_pending_set() & mask_of(s)))
			return -ERESTARTSYS;
	}
	return total;
}

static u32 signalfd_poll(struct file *f, struct poll_table *pt)
{
	struct signalfd *s = f->private;
	poll_wait(pt, &current()->process->wait_signal);
	return signal_pending_set() & mask_of(s) ? POLLIN | POLLRDNORM : 0;
}

static void signalfd_release(struct file *f)
{
	quire_kfree(f->private);
}

static const struct file_ops signalfd_ops = {
    .read = signalfd_read, .poll = signalfd_poll, .release = signalfd_release};

static long do_signalfd_call(int fd, u64 umask, u64 size, u32 flags)
{
	u64 mask;
	if ((flags & ~(O_CLOEXEC | O_NONBLOCK)) || size != sizeof(mask))
		return -EINVAL;
	if (get_user_u64(&mask, umask))
		return -EFAULT;
	mask &= ~(1UL << (SIGKILL - 1) | 1UL << (SIGSTOP - 1));
	if (fd != -1) {
		struct file *f = fd_get(fd);
		if (!f)
			return -EBADF;
		long r = f->ops == &signalfd_ops ? fd : -EINVAL;
		if (r == fd) {
			struct signalfd *s = f->private;
			__atomic_store_n(&s->mask, mask, __ATOMIC_RELAXED);
			waitq_wake_all(&current()->process->wait_signal);
		}
		file_put(f);
		return r;
	}
	struct signalfd *s = quire_kmalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	s->mask = mask;
	struct file *f =
	    anon_file("anon_inode:[signalfd]", &signalfd_ops, O_RDWR | (flags & O_NONBLOCK), s);
	if (!f) {
		quire_kfree(s);
		return -ENOMEM;
	}
	return anon_install(f, flags);
}

SYSCALL3(signalfd, int, fd, u64, umask, u64, size)
{
	return do_signalfd_call(fd, umask, size, 0);
}
SYSCALL4(signalfd4, int, fd, u64, umask, u64, size, u32, flags)
{
	return do_signalfd_call(fd, umask, size, flags);
}
