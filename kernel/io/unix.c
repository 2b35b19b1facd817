/* SPDX-License-Identifier: MIT */
/*
 * AF_UNIX: stream, datagram and sequenced-packet sockets.
 *
 * What is sent lies in packets on the receiver's queue.  A stream is read across
 * packets, but not across one that carries descriptors.  A connection is two sockets
 * that are each other's peer; a listening one has a queue of sockets whose other end
 * is connected already.
 *
 * Locking: socket.h.  Two sockets' locks are taken in order of address (_nested).
 * names_lock (spin, RANK_HOST_MID + 4) guards the table of bound sockets and is taken
 * first.  Packets are filled and emptied without a spinlock held: they are on no queue
 * yet, or the reader's mutex keeps them.
 *
 * Descriptors that travel in a circle of sockets nobody can reach are not collected.
 */
#include <quire/string.h>

#include "../lib/string.h"
#include "io.h"
#include "socket.h"

#define CHUNK 16384u      /* of a stream, in one packet */
#define MAX_PACKETS 4096u /* on one queue */
#define NAMES 64u

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

static struct spinlock names_lock = SPINLOCK_INIT(RANK_HOST_MID + 4);
static struct list names[NAMES];

void unix_init(void)
{
	for (unsigned i = 0; i < NAMES; i++)
		list_init(&names[i]);
}

static struct ucred_k my_cred(void)
{
	const struct cred *c = current()->cred;
	return (struct ucred_k){current()->process->tgid, c->euid, c->egid};
}

struct unix_sock *unix_new(u32 type)
{
	struct unix_sock *s = quire_kmalloc(sizeof(*s), GFP_KERNEL | GFP_ZERO);
	if (!s)
		return NULL;
	s->refs = 1;
	s->type = type;
	spin_init(&s->lock, RANK_HOST_MID + 5);
	mutex_init(&s->rlock, RANK_HOST_OUTER + 9);
	waitq_init(&s->rd);
	waitq_init(&s->wr);
	list_init(&s->queue);
	list_init(&s->backlog);
	list_init(&s->accept_node);
	list_init(&s->bound);
	s->name.len = sizeof(u16);
	s->name.family = AF_UNIX;
	s->cred = my_cred();
	s->sndbuf = s->rcvbuf = SOCK_BUFFER;
	return s;
}

void unix_get(struct unix_sock *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
}

static void packet_free(struct packet *p)
{
	for (u32 i = 0; i < p->nfiles; i++)
		if (p->files[i])
			file_put(p->files[i]);
	quire_kfree(p->files);
	quire_kfree(p);
}

void unix_put(struct unix_sock *s)
{
	if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
		return;
	while (!list_empty(&s->queue)) {
		struct packet *p = list_first(&s->queue, struct packet, node);
		list_del(&p->node);
		packet_free(p);
	}
	if (s->peer)
		unix_put(s->peer);
	if (s->path.dentry)
		path_put(&s->path);
	quire_kfree(s);
}

struct unix_sock *unix_peer(struct unix_sock *s)
{
	spin_lock(&s->lock);
	struct unix_sock *p = s->peer;
	if (p)
		unix_get(p);
	spin_unlock(&s->lock);
	return p;
}

static void wake_both(struct unix_sock *s, u32 events)
{
	waitq_wake_active(&s->rd, events);
	waitq_wake_active(&s->wr, events);
}

/* ---- the end of a connection ------------------------------------------------------------ */

/* Its peer p hears that s is gone. */
static void hang_up(struct unix_sock *s, struct unix_sock *p, bool unread)
{
	bool mine = false;
	spin_lock(&p->lock);
	if (s->type != SOCK_DGRAM) {
		p->peer_closed = true;
		if (unread)
			p->error = ECONNRESET;
	}
	if (p->peer == s) {
		mine = true;
		p->peer = NULL;
		if (s->type == SOCK_DGRAM) {
			p->connected = false;
			p->error = ECONNREFUSED; /* what the next send says, once */
		}
	}
	spin_unlock(&p->lock);
	wake_both(p, POLLIN | POLLOUT | POLLHUP | POLLERR);
	if (mine)
		unix_put(s);
}

void unix_close(struct unix_sock *s)
{
	struct list queue, backlog;
	list_init(&queue);
	list_init(&backlog);
	spin_lock(&names_lock);
	list_del(&s->bound);
	spin_unlock(&names_lock);
	spin_lock(&s->lock);
	s->dead = true;
	s->listening = false;
	struct unix_sock *peer = s->peer;
	s->peer = NULL;
	bool unread = !list_empty(&s->queue);
	list_splice_tail(&queue, &s->queue);
	list_splice_tail(&backlog, &s->backlog);
	spin_unlock(&s->lock);
	while (!list_empty(&queue)) {
		struct packet *p = list_first(&queue, struct packet, node);
		list_del(&p->node);
		packet_free(p);
	}
	while (!list_empty(&backlog)) {
		struct unix_sock *c = list_first(&backlog, struct unix_sock, accept_node);
		list_del(&c->accept_node);
		unix_close(c);
	}
	if (peer) {
		hang_up(s, peer, unread);
		unix_put(peer);
	}
	wake_both(s, POLLIN | POLLOUT | POLLHUP);
	unix_put(s);
}

int unix_shutdown(struct unix_sock *s, int how)
{
	if (how < 0 || how > 2)
		return -EINVAL;
	spin_lock(&s->lock);
	s->shut_rd |= how != 1;
	s->shut_wr |= how != 0;
	struct unix_sock *p = s->type != SOCK_DGRAM ? s->peer : NULL;
	if (p)
		unix_get(p);
	spin_unlock(&s->lock);
	if (p) {
		spin_lock(&p->lock);
		p->shut_rd |= how != 0;
		p->shut_wr |= how != 1;
		spin_unlock(&p->lock);
		wake_both(p, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
		unix_put(p);
	}
	wake_both(s, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	return 0;
}

/* ---- names ------------------------------------------------------------------------------ */

static bool is_abstract(const struct sock_name *n)
{
	return n->len > sizeof(u16) && !n->raw[2];
}

static struct list *name_bucket(const struct sock_name *n, const struct inode *i)
{
	u64 h = (u64)i >> 6;
	for (u32 k = 2; !i && k < n->len; k++)
		h = h * 31 + n->raw[k];
	return &names[h % NAMES];
}

/* Abstract names are apart for each type of socket. */
static struct unix_sock *find_locked(const struct sock_name *n, const struct inode *i, u32 type)
{
	struct unix_sock *s;
	list_for_each (s, name_bucket(n, i), bound)
		if (i ? s->path.dentry && s->path.dentry->inode == i
		      : !s->path.dentry && s->type == type && s->name.len == n->len &&
			    !memcmp(s->name.raw, n->raw, n->len))
			return s;
	return NULL;
}

/* The socket of that name, referenced; or null and *err. */
static struct unix_sock *find(const struct sock_name *n, u32 type, int *err)
{
	struct path p = {0};
	struct inode *i = NULL;
	*err = -ECONNREFUSED;
	if (!is_abstract(n)) {
		char name[sizeof(n->raw) + 1] = {0};
		memcpy(name, n->raw + 2, n->len - 2);
		*err = path_lookup(AT_FDCWD, name, LOOKUP_FOLLOW, &p);
		if (*err)
			return NULL;
		i = p.dentry->inode;
		*err = inode_permission(i, 2);
		if (!*err && !S_ISSOCK(i->mode))
			*err = -ECONNREFUSED;
		if (*err) {
			path_put(&p);
			return NULL;
		}
		*err = -ECONNREFUSED;
	}
	spin_lock(&names_lock);
	struct unix_sock *s = find_locked(n, i, type);
	if (s)
		unix_get(s);
	spin_unlock(&names_lock);
	if (p.dentry)
		path_put(&p);
	return s;
}

/* Put s into the table under its name; -EADDRINUSE. */
static int enter_name(struct unix_sock *s, const struct sock_name *n, const struct path *p)
{
	struct inode *i = p->dentry ? p->dentry->inode : NULL;
	int r = -EADDRINUSE;
	spin_lock(&names_lock);
	if (!list_empty(&s->bound)) {
		r = -EINVAL;
	} else if (i || !find_locked(n, NULL, s->type)) {
		s->name = *n;
		s->path = *p;
		list_add(name_bucket(n, i), &s->bound);
		r = 0;
	}
	spin_unlock(&names_lock);
	return r;
}

/* Linux's automatic names: five hexadecimal digits. */
static int bind_any(struct unix_sock *s)
{
	static u32 next;
	for (u32 tries = 0; tries < 1u << 20; tries++) {
		u32 v = __atomic_add_fetch(&next, 1, __ATOMIC_RELAXED) & 0xfffff;
		struct sock_name n;
		memset(&n, 0, sizeof(n));
		n.len = 8;
		n.family = AF_UNIX;
		struct path none = {0};
		for (int i = 0; i < 5; i++)
			n.raw[3 + i] = (u8) "0123456789abcdef"[v >> (16 - 4 * i) & 15];
		int r = enter_name(s, &n, &none);
		if (r != -EADDRINUSE)
			return r;
	}
	return -ENOSPC;
}

int unix_bind(struct unix_sock *s, const struct sock_name *n)
{
	struct path p = {0};
	if (n->len == sizeof(u16))
		return list_empty(&s->bound) ? bind_any(s) : 0;
	if (is_abstract(n))
		return enter_name(s, n, &p);
	char name[sizeof(n->raw) + 1] = {0};
	memcpy(name, n->raw + 2, n->len - 2);
	if (!list_empty(&s->bound)) {
		int taken = path_lookup(AT_FDCWD, name, 0, &p);
		if (!taken)
			path_put(&p);
		return taken ? -EINVAL : -EADDRINUSE;
	}
	int r = vfs_mknod(AT_FDCWD, name, S_IFSOCK | 0777, 0, &p);
	if (r)
		return r == -EEXIST ? -EADDRINUSE : r;
	/* The name ends at its first zero byte, which counts, as on Linux. */
	struct sock_name exact = *n;
	exact.len = (u32)(sizeof(u16) + strlen(name) + 1);
	r = enter_name(s, &exact, &p);
	if (r)
		path_put(&p);
	return r;
}

/* ---- connecting ------------------------------------------------------------------------- */

static void lock_two(struct unix_sock *a, struct unix_sock *b) NO_TSA
{
	spin_lock(a < b ? &a->lock : &b->lock);
	spin_lock_nested(a < b ? &b->lock : &a->lock);
}

static void unlock_two(struct unix_sock *a, struct unix_sock *b) NO_TSA
{
	spin_unlock(a < b ? &b->lock : &a->lock);
	spin_unlock(a < b ? &a->lock : &b->lock);
}

static void join_locked(struct unix_sock *a, struct unix_sock *b)
{
	unix_get(a);
	unix_get(b);
	a->peer = b;
	b->peer = a;
	a->connected = b->connected = true;
	a->peer_cred = b->cred;
	b->peer_cred = a->cred;
}

void unix_pair(struct unix_sock *a, struct unix_sock *b)
{
	lock_two(a, b);
	join_locked(a, b);
	unlock_two(a, b);
}

int unix_listen(struct unix_sock *s, int backlog)
{
	int r = 0;
	if (s->type == SOCK_DGRAM)
		return -EOPNOTSUPP;
	if (s->name.len == sizeof(u16))
		return -EINVAL;
	spin_lock(&s->lock);
	if (s->connected) {
		r = -EINVAL;
	} else {
		s->listening = true;
		s->max_backlog = backlog < 0 || backlog > 4096 ? 4096 : (u32)backlog;
		s->cred = my_cred();
	}
	spin_unlock(&s->lock);
	return r;
}

/* Queue a new end at the listening socket to, connected to s.  -EAGAIN: its queue is full. */
static int offer(struct unix_sock *s, struct unix_sock *to, struct unix_sock *end)
{
	int r = 0;
	end->name = to->name;
	lock_two(s, to);
	if (s->connected)
		r = -EISCONN;
	else if (s->listening)
		r = -EINVAL;
	else if (!to->listening || to->dead)
		r = -ECONNREFUSED;
	else if (to->nbacklog > to->max_backlog)
		r = -EAGAIN;
	if (!r) {
		end->cred = to->cred;
		s->cred = my_cred();
		join_locked(s, end);
		list_add_tail(&to->backlog, &end->accept_node);
		to->nbacklog++;
	}
	unlock_two(s, to);
	return r;
}

static int connect_stream(struct unix_sock *s, const struct sock_name *n, bool nowait)
{
	u64 deadline = s->sndtimeo ? deadline_in(s->sndtimeo) : ~0UL;
	for (;;) {
		int r;
		struct unix_sock *to = find(n, s->type, &r);
		if (!to)
			return r;
		struct unix_sock *end = unix_new(s->type);
		if (to->type != s->type)
			r = -EPROTOTYPE;
		else if (to == s)
			r = -ECONNREFUSED;
		else
			r = end ? offer(s, to, end) : -ENOMEM;
		if (!r) {
			waitq_wake_active(&to->rd, POLLIN | POLLRDNORM);
			unix_put(to);
			return 0;
		}
		if (end)
			unix_put(end);
		if (r == -EAGAIN && !nowait) {
			int w = wait_event_until(
			    &to->wr, !to->listening || to->nbacklog <= to->max_backlog, deadline);
			r = w == -EINTR ? -ERESTARTSYS : w == -ETIMEDOUT ? -EAGAIN : 0;
		}
		unix_put(to);
		if (r)
			return r;
	}
}

static int connect_dgram(struct unix_sock *s, const struct sock_name *n)
{
	int r;
	struct unix_sock *to = n->len > sizeof(u16) ? find(n, s->type, &r) : NULL, *old;
	if (!to && n->len > sizeof(u16))
		return r;
	if (to && to->type != SOCK_DGRAM) {
		unix_put(to);
		return -EPROTOTYPE;
	}
	spin_lock(&s->lock);
	old = s->peer;
	s->peer = to;
	s->connected = to != NULL;
	s->error = 0;
	spin_unlock(&s->lock);
	if (old)
		unix_put(old);
	return 0;
}

int unix_connect(struct unix_sock *s, const struct sock_name *n, bool nowait)
{
	if (s->type == SOCK_DGRAM)
		return connect_dgram(s, n);
	return n->len > sizeof(u16) ? connect_stream(s, n, nowait) : -EINVAL;
}

struct unix_sock *unix_accept(struct unix_sock *s, bool nowait, int *err)
{
	u64 deadline = s->rcvtimeo ? deadline_in(s->rcvtimeo) : ~0UL;
	for (;;) {
		struct unix_sock *c = NULL;
		spin_lock(&s->lock);
		*err = s->type == SOCK_DGRAM ? -EOPNOTSUPP : s->listening ? 0 : -EINVAL;
		if (!*err && s->shut_rd)
			*err = -EINVAL;
		if (!*err && !list_empty(&s->backlog)) {
			c = list_first(&s->backlog, struct unix_sock, accept_node);
			list_del(&c->accept_node);
			s->nbacklog--;
		}
		spin_unlock(&s->lock);
		if (c)
			waitq_wake_active(&s->wr, POLLOUT);
		if (c || *err)
			return c;
		*err = -EAGAIN;
		if (nowait)
			return NULL;
		int r = wait_event_until(&s->rd, !list_empty(&s->backlog) || s->shut_rd, deadline);
		*err = r == -EINTR ? -ERESTARTSYS : r == -ETIMEDOUT ? -EAGAIN : 0;
		if (*err)
			return NULL;
	}
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
	p->cred = my_cred();
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

static bool has_room(struct unix_sock *to)
{
	return __atomic_load_n(&to->bytes, __ATOMIC_RELAXED) < to->rcvbuf &&
	       __atomic_load_n(&to->packets, __ATOMIC_RELAXED) < MAX_PACKETS;
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
	} else if (!has_room(to)) {
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
	int r = wait_event_until(q, has_room(to) || refuses(s, to), deadline);
	return r == -EINTR ? -ERESTARTSYS : r == -ETIMEDOUT ? -EAGAIN : 0;
}

static s64 send_one(struct unix_sock *s, struct unix_sock *to, struct iter *it, size_t n,
		    struct scm *scm, bool nowait, u64 deadline)
{
	int r = 0;
	/* Wait first: so no memory is taken while the receiver sleeps on its own. */
	while (!has_room(to) && !refuses(s, to) && !r)
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
		packet_free(p);
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
	    dest && s->type == SOCK_DGRAM ? find(dest, s->type, &err) : unix_peer(s);
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
			connect_dgram(s, &(struct sock_name){.len = sizeof(u16)});
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
	packet_free(p);
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
	if (s->error && s->type != SOCK_DGRAM) {
		s32 e = s->error;
		s->error = 0;
		return -e;
	}
	if (s->type != SOCK_DGRAM && !s->connected)
		return s->type == SOCK_STREAM ? -EINVAL : -ENOTCONN;
	if (s->shut_rd || (s->peer_closed && s->type != SOCK_DGRAM))
		return list_empty(&s->queue) ? 0 : 1;
	if (nowait)
		return -EAGAIN;
	int r = wait_event_until(
	    &s->rd, !list_empty(&s->queue) || s->shut_rd || s->peer_closed || s->error, deadline);
	return r == -EINTR ? -ERESTARTSYS : r == -ETIMEDOUT ? -EAGAIN : 1;
}

static s64 recv_packet(struct unix_sock *s, struct iter *it, struct packet *p, struct scm *scm,
		       u32 *flags)
{
	bool peek = *flags & MSG_PEEK, want_size = *flags & MSG_TRUNC;
	size_t n = quire_min(it->left, (size_t)p->len);
	*flags &= ~(u32)MSG_TRUNC;
	if (iter_copy_to(it, p->data, n) != n)
		return -EFAULT;
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
		size_t done = iter_copy_to(it, p->data + p->off, n);
		if (done && scm)
			take_along(p, scm, peek);
		total += (s64)done;
		if (!peek)
			p->off += (u32)done;
		if (done < n)
			return total ? total : -EFAULT;
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

/* ---- readiness -------------------------------------------------------------------------- */

u32 unix_poll(struct unix_sock *s, struct poll_table *pt)
{
	u32 ev = 0;
	poll_wait(pt, &s->rd);
	poll_wait(pt, &s->wr);
	struct unix_sock *peer = unix_peer(s);
	bool stream = s->type != SOCK_DGRAM;
	if (s->error && stream)
		ev |= POLLERR;
	if (s->shut_rd || (s->peer_closed && stream))
		ev |= POLLIN | POLLRDNORM | POLLRDHUP;
	if ((s->shut_rd && s->shut_wr) || (s->peer_closed && stream))
		ev |= POLLHUP;
	if (stream && !s->connected && !s->listening)
		ev |= POLLHUP;
	if (!list_empty(&s->queue) || !list_empty(&s->backlog))
		ev |= POLLIN | POLLRDNORM;
	if (!s->listening && (!peer || peer->peer != s || has_room(peer)))
		ev |= POLLOUT | POLLWRNORM | POLLWRBAND;
	if (peer)
		unix_put(peer);
	return ev;
}
