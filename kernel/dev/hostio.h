/* SPDX-License-Identifier: MIT */
/*
 * The channel to `quire run` (boot/hostio.h): descriptors 0, 1 and 2 of the
 * host, the terminal, notices at the end, and signals from outside.
 */
#ifndef KERNEL_DEV_HOSTIO_H
#define KERNEL_DEV_HOSTIO_H

#include "../boot/hostio.h"
#include "../fs/vfs.h"

/* After the virtio devices were probed: find the console port, say hello. */
void hostio_init(void);
/* Open descriptors 0, 1 and 2 of the current task as the configuration says they are
 * on the host.  0 or -errno. */
int hostio_open_stdio(void);
/* Is i one of the inodes behind them?  Then f, a new open of it, is made ready. */
bool hostio_reopen(struct inode *i, struct file *f);
/* Send a notice; splits what is longer than HOSTIO_MAX.  Sleeps; returns when the device
 * has taken it. */
void hostio_notice(u32 type, const void *buf, size_t len);
/* As hostio_notice, with the header's value: HOSTIO_EXIT. */
void hostio_notice_value(u32 type, s32 value);

/* chardev.c, tty.c: register what they have with chrdev_register(); called by vfs_init(),
 * before /dev is filled. */
void chardev_init(void);
void tty_init(void);

/* tty.c, called by hostio.c's dispatch thread. */
void tty_host_input(const u8 *buf, size_t n);
void tty_host_winch(u16 rows, u16 cols);
void tty_host_hangup(void);

/* proc/init.c has it: a signal that `quire run` was sent. */
void proc_host_signal(int sig);

#endif
