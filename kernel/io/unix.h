/* SPDX-License-Identifier: MIT */
/* Between unix.c (sockets and connections) and unix_data.c (what goes through them). */
#ifndef KERNEL_IO_UNIX_H
#define KERNEL_IO_UNIX_H

#include "socket.h"

#define UNIX_MAX_PACKETS 4096u /* on one queue */

struct packet {
	struct list node;
	u32 len, off; /* bytes, and how many of a stream have been read */
	struct ucred_k cred;
	bool cred_set;
	struct sock_name from;
	u32 nfiles;
	struct file **files;
	u8 data[];
};

static inline struct ucred_k unix_my_cred(void)
{
	const struct cred *c = current()->cred;
	return (struct ucred_k){current()->process->tgid, c->euid, c->egid};
}

/* May s be sent more? */
static inline bool unix_has_room(struct unix_sock *to)
{
	return __atomic_load_n(&to->bytes, __ATOMIC_RELAXED) < to->rcvbuf &&
	       __atomic_load_n(&to->packets, __ATOMIC_RELAXED) < UNIX_MAX_PACKETS;
}

void unix_packet_free(struct packet *p);
/* The socket of that name, referenced; or null and *err. */
struct unix_sock *unix_find(const struct sock_name *n, u32 type, int *err);

#endif
