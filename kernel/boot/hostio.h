/* SPDX-License-Identifier: MIT */
/*
 * The channel between the kernel and `quire run`: messages over one virtio
 * console port.  The command and the kernel both include this.
 *
 * Guest to host: requests that the command carries out on its own descriptors
 * 0, 1 and 2, each answered by one reply with the same tag (replies may come in
 * another order); and notices, which have no reply.  Host to guest: replies and
 * events.  A message is this header and `len` bytes.  Little-endian.
 * Reading only on request means that `quire run` takes no more of its standard
 * input than the program does.
 */
#ifndef KERNEL_BOOT_HOSTIO_H
#define KERNEL_BOOT_HOSTIO_H

#include <stdint.h>

#define HOSTIO_MAX 65536 /* bytes of payload in one message, at most */

struct hostio_msg {
	uint32_t len;   /* payload bytes that follow */
	uint16_t type;  /* enum hostio_type */
	uint16_t fd;    /* 0, 1, 2 */
	uint32_t tag;   /* request: chosen by the guest; reply: the same */
	int32_t value;  /* request: argument; reply: result or -errno */
	int64_t offset; /* PREAD, PWRITE, SEEK: position; else 0 */
};

enum hostio_type {
	/* requests */
	HOSTIO_READ = 1, /* value: most bytes wanted.  Reply: value = bytes, which follow; 0 = end.
			    Blocks until some */
	HOSTIO_WRITE,    /* payload: bytes.  Reply: value = bytes written (all, or an error such as
			    -EPIPE) */
	HOSTIO_POLL,     /* value: POLLIN | POLLOUT wanted.  offset HOSTIO_POLL_WAIT: reply when
			    ready; HOSTIO_POLL_NOW: reply at once.  Reply: value = POLL* bits */
	HOSTIO_CANCEL,   /* tag: of an earlier READ or POLL to give up; that one is answered with
			    -EINTR (or had been) */
	HOSTIO_SEEK,   /* offset, value = whence.  Reply: offset = position; value = 0 or -errno */
	HOSTIO_PREAD,  /* as READ, at offset */
	HOSTIO_PWRITE, /* as WRITE, at offset */
	HOSTIO_FTRUNCATE, /* offset: size */
	HOSTIO_FSTAT,     /* reply payload: struct config_stdio's fd[] element, fresh */
	/* notices from the guest */
	HOSTIO_HELLO = 64, /* the kernel runs: value = HOSTIO_VERSION */
	HOSTIO_EXIT,       /* value: exit status of `quire run`; nothing follows */
	HOSTIO_STAT,       /* payload: text lines of the --stat table, may come in parts */
	HOSTIO_FATAL,      /* payload: one line: why the program died (which fault) */
	HOSTIO_TTY_OUT,    /* payload: bytes for the terminal (raw; the guest did the processing) */
	HOSTIO_TTY_WANT,   /* a program reads, polls or sets up the terminal: from now on the host's
			    * terminal is raw and what is typed comes as HOSTIO_TTY_IN.  Until
			    * then its input and its Ctrl-C are the host's */
	/* events from the host */
	HOSTIO_SIGNAL = 128, /* value: signal that `quire run` got (INT, TERM, HUP, QUIT, TSTP,
				CONT, USR1, USR2) */
	HOSTIO_TTY_IN,       /* payload: bytes typed (host terminal is in raw mode) */
	HOSTIO_WINCH,        /* value: rows << 16 | cols */
	HOSTIO_TTY_HUP,      /* the terminal is gone */
};

#define HOSTIO_POLL_WAIT 0
#define HOSTIO_POLL_NOW 1

#define HOSTIO_VERSION 1

#endif
