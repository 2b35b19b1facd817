/* SPDX-License-Identifier: MIT */
/*
 * Terminals: what the line discipline (tty.c), its ioctls (tty_ioctl.c) and the two
 * kinds of terminal, the host's (console.c) and pseudo-terminals (pty.c), share.
 *
 * Locks of one terminal, in their order: in_lock (mutex, RANK_HOST_OUTER + 11)
 * serialises arriving bytes; out_lock (mutex, + 12) output; lock (spin,
 * RANK_HOST_MID + 7) guards the settings and the input buffer.  Who controls a
 * terminal (session, pgrp, process->tty) is guarded by tree_lock.
 * A struct tty is never freed, so that a pointer to one stays good.
 */
#ifndef KERNEL_DEV_TTY_H
#define KERNEL_DEV_TTY_H

#include "../fs/vfs.h"

#define TTY_BUFFER 4096u

struct termios_k { /* Linux's struct termios, as TCGETS gives it */
	u32 iflag, oflag, cflag, lflag;
	u8 line;
	u8 cc[19];
};
struct winsize_k {
	u16 rows, cols, xpixel, ypixel;
};

enum {
	VINTR,
	VQUIT,
	VERASE,
	VKILL,
	VEOF,
	VTIME,
	VMIN,
	VSWTC,
	VSTART,
	VSTOP,
	VSUSP,
	VEOL,
	VREPRINT,
	VDISCARD,
	VWERASE,
	VLNEXT,
	VEOL2
};
enum {
	ISTRIP = 0x20,
	INLCR = 0x40,
	IGNCR = 0x80,
	ICRNL = 0x100,
	IUCLC = 0x200,
	IXON = 0x400,
	IXANY = 0x800,
	IMAXBEL = 0x2000,
	IUTF8 = 0x4000
};
enum { OPOST = 1, OLCUC = 2, ONLCR = 4, OCRNL = 8, ONOCR = 16, ONLRET = 32, XTABS = 0x1800 };
enum {
	ISIG = 1,
	ICANON = 2,
	ECHO = 8,
	ECHOE = 16,
	ECHOK = 32,
	ECHONL = 64,
	NOFLSH = 128,
	TOSTOP = 256,
	ECHOCTL = 512,
	ECHOKE = 2048,
	IEXTEN = 32768,
	EXTPROC = 65536
};

struct tty;
struct tty_driver {
	/* Take up to n bytes for the outside; how many.  out_lock is held.  Sleeps. */
	size_t (*write)(struct tty *t, const u8 *buf, size_t n);
	/* How many bytes write() would take now. */
	size_t (*room)(struct tty *t);
	/* A program is about to read or set it up; may be null. */
	void (*wanted)(struct tty *t);
	/* The input buffer was emptied or flushed, settings changed; may be null. */
	void (*changed)(struct tty *t);
};

struct tty {
	const struct tty_driver *driver;
	struct mutex in_lock, out_lock;
	struct spinlock lock;
	struct waitq rd, wr;
	struct termios_k termios;   /* lock */
	struct winsize_k winsize;   /* lock */
	u32 session, pgrp;          /* tree_lock; 0: none */
	u32 column;                 /* of the cursor; out_lock */
	bool stopped, hung;         /* by ^S; for good or until opened again */
	bool lnext;                 /* the next byte is taken literally; in_lock */
	u32 line_column;            /* where the line being typed began; in_lock */
	u64 head, line, tail;       /* bytes ever: arrived, committed (lines), read; lock */
	u64 delim[TTY_BUFFER / 64]; /* this byte ends a line */
	u64 eof[TTY_BUFFER / 64];   /* this byte is an end of file and isn't read */
	u8 *buf;                    /* TTY_BUFFER bytes */
};

/* 0 or -ENOMEM. */
int tty_setup(struct tty *t, const struct tty_driver *d);
void tty_reset(struct tty *t); /* as new: settings, buffer, not hung up */
/* Bytes came from outside.  Sleeps. */
void tty_receive(struct tty *t, const u8 *bytes, size_t n);
/* How many more bytes of input it takes without loss. */
size_t tty_receive_room(struct tty *t);
void tty_set_winsize(struct tty *t, const struct winsize_k *w);
void tty_hangup(struct tty *t);
/* open(2) of a terminal: becomes the controlling one where that is due. */
int tty_open(struct tty *t, struct file *f);
extern const struct file_ops tty_ops;
s64 tty_ioctl(struct file *f, u32 cmd, u64 arg);
/* 0, -EIO or -ERESTARTSYS: may current's process group do what `sig` would stop it for? */
int tty_job_control(struct tty *t, int sig);
void tty_flush_input(struct tty *t);
void tty_signal(struct tty *t, int sig); /* to the foreground process group */
/* Wait until output has drained; 0 or -ERESTARTSYS. */
int tty_drain(struct tty *t);

/* A session leader exits: its terminal is no longer anybody's.  proc/exit.c calls it. */
void tty_session_exit(struct process *leader);

/* Its device number, for /proc/PID/stat. */
u64 tty_device_number(const struct tty *t);

/* pty.c */
void pty_init(void);
/* Frames of the pairs that exist; they are kept for the next user. */
u64 pty_frames(void);
/* The number of the pseudo-terminal, or -1: it isn't one. */
int pty_index(const struct tty *t);

#endif
