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
/* Two descriptors, for a pipe or a pair of sockets, whose numbers go to user space.  Takes
 * over both references.  0, or -errno and none is left. */
int anon_install_pair(struct file *a, struct file *b, u32 flags, u64 ufds);

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

/* poll.c: deadline in ns of time_ns() from a relative timespec at uts (0: ~0, never);
 * 0 or -errno. */
int deadline_from_user(u64 uts, u64 *deadline);
/* The deadline that is ns from now; saturates. */
u64 deadline_in(u64 ns);

/* SIGPIPE for current. */
void io_sigpipe(void);

/* socket.c */
bool file_is_socket(struct file *f);

#endif
