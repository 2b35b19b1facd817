/* SPDX-License-Identifier: MIT */
/* Pipes, as splice(2), fcntl(2) and /proc see them. */
#ifndef KERNEL_IO_PIPE_H
#define KERNEL_IO_PIPE_H

#include "../fs/vfs.h"

#define SPLICE_F_MOVE 1u
#define SPLICE_F_NONBLOCK 2u
#define SPLICE_F_MORE 4u
#define SPLICE_F_GIFT 8u
#define SPLICE_F_ALL 15u

#define PIPE_MAX_SIZE (1u << 20) /* /proc/sys/fs/pipe-max-size */

bool file_is_pipe(struct file *f);
/* Move up to len bytes of pipe `in` to out at *pos (null: its own position); of `in` at
 * *pos to pipe `out`.  Bytes or -errno. */
s64 pipe_splice_to(struct file *in, struct file *out, u64 *pos, u64 len, bool nowait);
s64 pipe_splice_from(struct file *out, struct file *in, u64 *pos, u64 len, bool nowait);
/* Copy what pipe `in` has to pipe out, leaving it there.  Two different pipes. */
s64 pipe_tee(struct file *in, struct file *out, u64 len, bool nowait);
/* F_SETPIPE_SZ, F_GETPIPE_SZ: the size in bytes or -errno (-EBADF: not a pipe). */
long pipe_set_size(struct file *f, u64 size);
long pipe_get_size(struct file *f);

/* vmsplice(2): the bytes up to where the buffer ends. */
s64 pipe_gift(struct file *f, struct iter *it);

#endif
