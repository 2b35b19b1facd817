/* SPDX-License-Identifier: MIT */
/* Between socket.c (the calls), scm.c (control messages) and unix*.c (AF_UNIX). */
#ifndef KERNEL_IO_SOCKET_H
#define KERNEL_IO_SOCKET_H

#include "../fs/vfs.h"

enum { SOCK_STREAM = 1, SOCK_DGRAM = 2, SOCK_SEQPACKET = 5 };
#define AF_UNIX 1
enum {
	MSG_OOB = 1,
	MSG_PEEK = 2,
	MSG_CTRUNC = 8,
	MSG_TRUNC = 0x20,
	MSG_DONTWAIT = 0x40,
	MSG_EOR = 0x80,
	MSG_WAITALL = 0x100,
	MSG_NOSIGNAL = 0x4000,
	MSG_WAITFORONE = 0x10000,
	MSG_CMSG_CLOEXEC = 0x40000000,
};
#define SOCK_BUFFER 212992u /* Linux's default for both directions */
#define SCM_MAX_FD 253u

struct ucred_k {
	u32 pid, uid, gid;
};

/* A name: struct sockaddr_un.  len 2: none. */
struct sock_name {
	u32 len; /* bytes of raw that count */
	union {
		u16 family;
		u8 raw[112]; /* family, then a path or a zero and an abstract name */
	};
};

/* What goes along with bytes. */
struct scm {
	struct ucred_k cred;
	bool cred_set; /* sent explicitly */
	u32 nfiles;
	struct file *files[SCM_MAX_FD]; /* referenced */
};

struct packet;
struct unix_sock {
	s32 refs; /* atomic: its file, its peer, who is queued at or sends to it */
	u32 type;
	struct spinlock lock; /* RANK_HOST_MID + 5: all but what is said to be otherwise */
	struct mutex rlock;   /* RANK_HOST_OUTER + 9: one reader at a time */
	struct waitq rd, wr;  /* data or connections to take; room to send */
	struct list queue;    /* packets received */
	u64 bytes;            /* in queue */
	u32 packets;
	struct unix_sock *peer; /* referenced; DGRAM: the default destination */
	bool listening, connected, shut_rd, shut_wr, peer_closed, dead;
	struct list backlog, accept_node; /* connections not yet accepted */
	u32 nbacklog, max_backlog;
	struct sock_name name; /* set once */
	struct list bound;     /* in the table of names; its own lock */
	struct path path;      /* of a socket in the file system */
	struct ucred_k cred, peer_cred;
	s32 error;
	u32 sndbuf, rcvbuf;
	u64 rcvtimeo, sndtimeo; /* ns; 0: for ever */
	bool passcred;
};

void unix_init(void);
struct unix_sock *unix_new(u32 type);
void unix_get(struct unix_sock *s);
void unix_put(struct unix_sock *s);
void unix_close(struct unix_sock *s); /* its file is gone */
void unix_pair(struct unix_sock *a, struct unix_sock *b);
int unix_bind(struct unix_sock *s, const struct sock_name *n);
int unix_listen(struct unix_sock *s, int backlog);
int unix_connect(struct unix_sock *s, const struct sock_name *n, bool nowait);
/* A connection, its reference the caller's; or null and *err. */
struct unix_sock *unix_accept(struct unix_sock *s, bool nowait, int *err);
/* dest null: the peer.  Consumes the files of scm (null: nothing goes along). */
s64 unix_send(struct unix_sock *s, struct iter *it, struct scm *scm, const struct sock_name *dest,
	      u32 flags, bool nowait);
/* out: filled with what came along (files referenced); from: the sender's name. */
s64 unix_recv(struct unix_sock *s, struct iter *it, struct scm *scm, struct sock_name *from,
	      u32 *flags, bool nowait);
int unix_shutdown(struct unix_sock *s, int how);
u32 unix_poll(struct unix_sock *s, struct poll_table *pt);
/* The peer, referenced, or null. */
struct unix_sock *unix_peer(struct unix_sock *s);

/* scm.c: control messages from and to user space. */
int scm_import(struct scm *scm, u64 control, u64 len);
/* Gives the files descriptors and writes what fits; *used and *flags (MSG_CTRUNC). */
void scm_export(struct scm *scm, struct unix_sock *s, u64 control, u64 room, u64 *used, u32 *flags);
void scm_drop(struct scm *scm); /* puts the files */

#endif
