/* SPDX-License-Identifier: MIT */
/*
 * AF_UNIX: stream, datagram and sequenced-packet sockets: their lives, names and
 * connections.  unix_data.c has what goes through them.
 *
 * A connection is two sockets that are each other's peer; a listening one has a queue
 * of sockets whose other end is connected already.
 *
 * Locking: socket.h.  Two sockets' locks are taken in order of address (_nested).
 * names_lock (spin, RANK_HOST_MID + 4) guards the table of bound sockets and is taken
 * first.
 *
 * Descriptors that travel in a circle of sockets nobody can reach are not collected.
 */
#include <quire/string.h>

#include "../lib/string.h"
#include "io.h"
#include "unix.h"

#define NAMES 64u

static struct spinlock names_lock = SPINLOCK_INIT(RANK_HOST_MID + 4);
static struct list names[NAMES];

void unix_init(void)
{
	for (unsigned i = 0; i < NAMES; i++)
		list_init(&names[i]);
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
	s->cred = unix_my_cred();
	s->sndbuf = s->rcvbuf = SOCK_BUFFER;
	return s;
}

void unix_get(struct unix_sock *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
}

void unix_put(struct unix_sock *s)
{
	if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
		return;
	while (!list_empty(&s->queue)) {
		struct packet *p = list_first(&s->queue, struct packet, node);
		list_del(&p->node);
		unix_packet_free(p);
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
		unix_packet_free(p);
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

struct unix_sock *unix_find(const struct sock_name *n, u32 type, int *err)
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
		s->cred = unix_my_cred();
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
		s->cred = unix_my_cred();
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
		struct unix_sock *to = unix_find(n, s->type, &r);
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
	struct unix_sock *to = n->len > sizeof(u16) ? unix_find(n, s->type, &r) : NULL, *old;
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
	if (!s->listening && (!peer || peer->peer != s || unix_has_room(peer)))
		ev |= POLLOUT | POLLWRNORM | POLLWRBAND;
	if (peer)
		unix_put(peer);
	return ev;
}
