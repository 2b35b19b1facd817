/* SPDX-License-Identifier: MIT */
/*
 * AF_UNIX: sending and receiving.
 *
 * What is sent lies in packets on the receiver's queue.  A stream is read across
 * packets, but not across one that carries descriptors.
 *
 * Locking: socket.h.  Packets are filled and emptied without a spinlock held: they are
 * on no queue yet, or the reader's mutex keeps them.
 */
#include <quire/string.h>

#include "../lib/string.h"
#include "io.h"
#include "unix.h"

#define CHUNK 16384u /* of a stream, in one packet */

void unix_packet_free(struct packet *p)
{
	for (u32 i = 0; i < p->nfiles; i++)
		if (p->files[i])
			file_put(p->files[i]);
	quire_kfree(p->files);
	quire_kfree(p);
}

/* ---- sending ---------------------------------------------------------------------------- */

static struct packet *packet_new(struct unix_sock *s, struct iter *it, size_t n, int *err)
{
	struct packet *p = quire_kmalloc(sizeof(*p) + n, GFP_NOFAIL_OOM);
	*err = -ENOBUFS;
	if (!p)
		return NULL;
	memset(p, 0, sizeof(*p));
	p->len = (u32)n;
	p->from = s->name;
	p->cred = unix_my_cred();
	*err = -EFAULT;
	if (iter_copy_from(it, p->data, n) == n)
		return p;
	quire_kfree(p);
	return NULL;
}

/* Move what goes along into the packet. */
static int attach(struct packet *p, struct scm *scm)
{
	if (!scm)
		return 0;
	if (scm->cred_set) {
		p->cred = scm->cred;
		p->cred_set = true;
	}
	if (scm->nfiles) {
		p->files = quire_kmalloc(scm->nfiles * sizeof(*p->files), GFP_KERNEL);
		if (!p->files)
			return -ENOMEM;
		memcpy(p->files, scm->files, scm->nfiles * sizeof(*p->files));
		p->nfiles = scm->nfiles;
		scm->nfiles = 0;
	}
	return 0;
}

static bool refuses(struct unix_sock *s, struct unix_sock *to)
{
	return to->dead || to->shut_rd || s->shut_wr || s->peer_closed;
}

/* Put the packet on the receiver's queue.  0, -EPIPE, or -EAGAIN: full. */
static int deliver(struct unix_sock *s, struct unix_sock *to, struct packet *p)
{
	int r = 0;
	spin_lock(&to->lock);
	if (to->dead || to->shut_rd || s->shut_wr) {
		r = to->dead && s->type == SOCK_DGRAM ? -ECONNREFUSED : -EPIPE;
	} else if (!unix_has_room(to)) {
		r = -EAGAIN;
	} else {
		list_add_tail(&to->queue, &p->node);
		__atomic_store_n(&to->bytes, to->bytes + p->len, __ATOMIC_RELAXED);
		__atomic_store_n(&to->packets, to->packets + 1, __ATOMIC_RELAXED);
	}
	spin_unlock(&to->lock);
	if (!r)
		waitq_wake_active(&to->rd, POLLIN | POLLRDNORM);
	return r;
}

/* Wait for room at `to`.  A connected pair's sender waits on its own queue, which the
 * reader wakes; others wait on the receiver's. */
static int wait_room(struct unix_sock *s, struct unix_sock *to, u64 deadline, bool nowait)
{
	if (nowait)
		return -EAGAIN;
	struct waitq *q = to->peer == s ? &s->wr : &to->wr;
	int r = wait_event_until(q, unix_has_room(to) || refuses(s, to), deadline);
	return r == -EINTR ? -ERESTARTSYS : r == -ETIMEDOUT ? -EAGAIN : 0;
}

static s64 send_one(struct unix_sock *s, struct unix_sock *to, struct iter *it, size_t n,
		    struct scm *scm, bool nowait, u64 deadline)
{
	int r = 0;
	/* Wait first: so no memory is taken while the receiver sleeps on its own. */
	while (!unix_has_room(to) && !refuses(s, to) && !r)
		r = wait_room(s, to, deadline, nowait);
	if (r)
		return r;
	struct packet *p = packet_new(s, it, n, &r);
	if (!p)
		return r;
	r = attach(p, scm);
	while (!r) {
		r = deliver(s, to, p);
		if (r != -EAGAIN)
			break;
		r = wait_room(s, to, deadline, nowait);
	}
	if (r) {
		unix_packet_free(p);
		return r;
	}
	return (s64)n;
}

static s64 send_stream(struct unix_sock *s, struct iter *it, struct scm *scm, u32 flags,
		       bool nowait)
{
	s64 total = 0, r = 0;
	u64 deadline = s->sndtimeo ? deadline_in(s->sndtimeo) : ~0UL;
	struct unix_sock *to = unix_peer(s);
	if (!to)
		r = s->peer_closed || s->shut_wr ? -EPIPE : -ENOTCONN;
	else if (s->shut_wr || s->peer_closed)
		r = -EPIPE;
	while (!r && it->left) {
		s64 n =
		    send_one(s, to, it, quire_min(it->left, (size_t)CHUNK), scm, nowait, deadline);
		if (n < 0)
			r = n;
		else
			total += n;
		scm = NULL; /* it went with the first part */
	}
	if (to)
		unix_put(to);
	if (r == -EPIPE && !total && !(flags & MSG_NOSIGNAL))
		io_sigpipe();
	return total ? total : r;
}

static s64 send_packet(struct unix_sock *s, struct iter *it, struct scm *scm,
		       const struct sock_name *dest, u32 flags, bool nowait)
{
	int err = 0;
	struct unix_sock *to =
	    dest && s->type == SOCK_DGRAM ? unix_find(dest, s->type, &err) : unix_peer(s);
	u64 deadline = s->sndtimeo ? deadline_in(s->sndtimeo) : ~0UL;
	s64 r;
	if (!to) {
		r = err ? err : s->peer_closed ? -EPIPE : -ENOTCONN;
		if (s->type == SOCK_DGRAM && s->error) {
			r = -s->error;
			s->error = 0;
		}
	} else if (to->type != s->type) {
		r = -EPROTOTYPE;
	} else if (it->left > s->sndbuf - 32) {
		r = -EMSGSIZE;
	} else if (s->shut_wr) {
		r = -EPIPE;
	} else {
		r = send_one(s, to, it, it->left, scm, nowait, deadline);
		if (r == -ECONNREFUSED && !dest)
			unix_connect(s, &(struct sock_name){.len = sizeof(u16)}, true);
	}
	if (to)
		unix_put(to);
	if (r == -EPIPE && !(flags & MSG_NOSIGNAL))
		io_sigpipe();
	return r;
}

s64 unix_send(struct unix_sock *s, struct iter *it, struct scm *scm, const struct sock_name *dest,
	      u32 flags, bool nowait)
{
	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (dest && s->type == SOCK_STREAM)
		return s->connected ? -EISCONN : -EOPNOTSUPP;
	return s->type == SOCK_STREAM ? send_stream(s, it, scm, flags, nowait)
				      : send_packet(s, it, scm, dest, flags, nowait);
}

/* ---- receiving -------------------------------------------------------------------------- */

static struct packet *first(struct unix_sock *s)
{
	spin_lock(&s->lock);
	struct packet *p =
	    list_empty(&s->queue) ? NULL : list_first(&s->queue, struct packet, node);
	spin_unlock(&s->lock);
	return p;
}

/* The packet has been read (of a stream: to its end). */
static void take_off(struct unix_sock *s, struct packet *p)
{
	spin_lock(&s->lock);
	bool there = !list_empty(&p->node);
	list_del(&p->node);
	if (there && !s->dead) {
		__atomic_store_n(&s->bytes, s->bytes - p->len, __ATOMIC_RELAXED);
		__atomic_store_n(&s->packets, s->packets - 1, __ATOMIC_RELAXED);
	}
	struct unix_sock *peer = s->peer;
	if (peer)
		unix_get(peer);
	spin_unlock(&s->lock);
	unix_packet_free(p);
	waitq_wake_active(&s->wr, POLLOUT | POLLWRNORM);
	if (peer) {
		waitq_wake_active(&peer->wr, POLLOUT | POLLWRNORM);
		unix_put(peer);
	}
}

static void take_along(struct packet *p, struct scm *scm, bool peek)
{
	scm->cred = p->cred;
	scm->cred_set = p->cred_set;
	for (u32 i = 0; i < p->nfiles; i++) {
		if (peek)
			file_get(p->files[i]);
		scm->files[scm->nfiles++] = p->files[i];
	}
	if (!peek)
		p->nfiles = 0;
}

/* Nothing is queued: 0 for the end, 1 to look again, or -errno.  The reader's mutex is
 * not held. */
static s64 wait_data(struct unix_sock *s, u64 deadline, bool nowait)
{
	bool datagrams = s->type == SOCK_DGRAM; /* whose error the next send tells */
	if (s->error && !datagrams) {
		s32 e = s->error;
		s->error = 0;
		return -e;
	}
	if (!datagrams && !s->connected)
		return s->type == SOCK_STREAM ? -EINVAL : -ENOTCONN;
	if (s->shut_rd || (s->peer_closed && !datagrams))
		return list_empty(&s->queue) ? 0 : 1;
	if (nowait)
		return -EAGAIN;
	int r = wait_event_until(&s->rd,
				 !list_empty(&s->queue) || s->shut_rd ||
				     (!datagrams && (s->peer_closed || s->error)),
				 deadline);
	return r == -EINTR ? -ERESTARTSYS : r == -ETIMEDOUT ? -EAGAIN : 1;
}

static s64 recv_packet(struct unix_sock *s, struct iter *it, struct packet *p, struct scm *scm,
		       u32 *flags)
{
	bool peek = *flags & MSG_PEEK, want_size = *flags & MSG_TRUNC;
	size_t n = quire_min(it->left, (size_t)p->len);
	*flags &= ~(u32)MSG_TRUNC;
	if (iter_copy_to(it, p->data, n) != n) {
		if (!peek) /* as on Linux, it is lost */
			take_off(s, p);
		return -EFAULT;
	}
	s64 r = want_size ? (s64)p->len : (s64)n;
	if (n < p->len)
		*flags |= MSG_TRUNC;
	if (scm)
		take_along(p, scm, peek);
	if (!peek)
		take_off(s, p);
	return r;
}

/* Same sender and nothing that has to be told apart? */
static bool goes_together(struct unix_sock *s, struct scm *scm, const struct packet *p, s64 total)
{
	if (!total)
		return true;
	if (p->nfiles || (scm && scm->nfiles))
		return false;
	return !s->passcred || !scm || !memcmp(&scm->cred, &p->cred, sizeof(p->cred));
}

/* Read on through the packets of a stream; with MSG_PEEK only the first is seen. */
static s64 recv_stream(struct unix_sock *s, struct iter *it, struct packet *p, struct scm *scm,
		       bool peek, s64 total)
{
	while (p && it->left && goes_together(s, scm, p, total)) {
		size_t n = quire_min(it->left, (size_t)(p->len - p->off));
		/* What can't be copied to its end stays as a whole, as on Linux. */
		if (iter_copy_to(it, p->data + p->off, n) < n)
			return total ? total : -EFAULT;
		if (scm)
			take_along(p, scm, peek);
		total += (s64)n;
		if (!peek)
			p->off += (u32)n;
		if (peek)
			break;
		if (p->off == p->len)
			take_off(s, p);
		p = first(s);
	}
	return total;
}

s64 unix_recv(struct unix_sock *s, struct iter *it, struct scm *scm, struct sock_name *from,
	      u32 *flags, bool nowait)
{
	u64 deadline = s->rcvtimeo ? deadline_in(s->rcvtimeo) : ~0UL;
	bool stream = s->type == SOCK_STREAM, peek = *flags & MSG_PEEK;
	s64 total = 0;
	if (*flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (stream && !it->left)
		return 0;
	for (;;) {
		mutex_lock(&s->rlock);
		struct packet *p = first(s);
		s64 r = 0;
		if (p) {
			if (from && !total)
				*from = p->from;
			r = stream ? recv_stream(s, it, p, scm, peek, total)
				   : recv_packet(s, it, p, scm, flags);
		}
		mutex_unlock(&s->rlock);
		if (p && !stream)
			return r;
		if (r > 0)
			total = r;
		if (r < 0)
			return total ? total : r;
		bool more =
		    stream && (*flags & MSG_WAITALL) && it->left && !peek && !(scm && scm->nfiles);
		if (total && !more)
			return total;
		r = wait_data(s, deadline, nowait);
		if (r <= 0)
			return total ? total : r;
	}
}
