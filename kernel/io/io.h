/* SPDX-License-Identifier: MIT */
/*
 * What kernel/io offers to the rest: pipes for FIFOs, the hooks that closing a
 * file needs, and start-up.
 */
#ifndef KERNEL_IO_H
#define KERNEL_IO_H

#include "../fs/vfs.h"

#define MAX_RW_COUNT 0x7ffff000UL /* the most one call moves, as Linux */

/* Before the first process: the nameless file systems of pipes and sockets. */
void io_init(void);

/* pipe.c: an open of a FIFO.  Sets f->ops and f->private; waits for the other side
 * as fifo(7) says.  0, -ENXIO, -ERESTARTSYS, -ENOMEM. */
int pipe_open(struct inode *i, struct file *f);

/* epoll.c: the last reference to f is about to go, and f->epitems isn't null: nobody
 * watches it any more.  Called before f->ops->release.  Sleeps. */
void epoll_forget(struct file *f);

/* A file over the inode all of eventfd, epoll... share; label as "[eventfd]". */
struct file *anon_file(const char *label, const struct file_ops *ops, u32 flags, void *private);
/* Install f (a reference that is consumed in any case) with O_CLOEXEC from flags. */
int anon_install(struct file *f, u32 flags);

/* rw.c: one read or write with all checks; pos null: the file's own position.
 * Bytes or -errno. */
s64 io_read(struct file *f, struct iter *it, u64 *pos);
s64 io_write(struct file *f, struct iter *it, u64 *pos);

/* Wake q when anybody waits; the caller's change was followed by a full barrier
 * (releasing a mutex or a spinlock with interrupts restored is not enough by itself). */
static inline void waitq_wake_active(struct waitq *q, u32 key)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&q->waiters.next, __ATOMIC_RELAXED) != &q->waiters)
		waitq_wake(q, ~0u, key);
}

/* signalfd.c: current's pending signals changed or may have; proc/signal.c calls it
 * for the target when it queues one.  Any context. */
void signalfd_notify(struct sighand *s);

/* poll.c: deadline in ns of time_ns() from a relative timespec at uaddr (0: ~0, never);
 * 0 or -errno. */
int deadline_from_user(u64 uts, u64 *deadline);

/* sched a signal mask for the duration of a call (ppoll, pselect6, epoll_pwait).
 * umask 0: nothing.  0 or -errno. */
int sigmask_enter(u64 umask, u64 size);
/* The call ends with result r: keep the old mask for the handler, or restore it now. */
long sigmask_leave(u64 umask, long r);

/* socket.c */
bool file_is_socket(struct file *f);

#endif
