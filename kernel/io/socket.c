/* SPDX-License-Identifier: MIT */
/*
 * Sockets as files, and their system calls.  The only family is AF_UNIX (unix.c);
 * others are refused as on a kernel without them.
 *
 * Locking: none of its own.
 */
#include "socket.h"

#include <quire/string.h>

#include "../lib/print.h"
#include "../syscall/syscall.h"
#include "io.h"

#define SOCK_TYPE 0xfu
#define NSEC 1000000000UL
#define SOL_SOCKET 1
#define FIONREAD 0x541bu
#define TIOCOUTQ 0x5411u
#define UIO_MAX 1024u

static struct fs sock_fs = {.type = "sockfs", .dev = 8, .magic = 0x534f434b};
static const struct file_ops sock_ops;

bool file_is_socket(struct file *f)
{
	return f->ops == &sock_ops;
}

/* The socket of a descriptor whose file is referenced in *f; or null and *err. */
static struct unix_sock *get_sock(int fd, struct file **f, long *err)
{
	*f = fd_get(fd);
	*err = -EBADF;
	if (!*f)
		return NULL;
	if (file_is_socket(*f))
		return (*f)->private;
	*err = (*f)->flags & O_PATH ? -EBADF : -ENOTSOCK;
	file_put(*f);
	return NULL;
}

/* ---- the file --------------------------------------------------------------------------- */

static s64 sock_read(struct file *f, struct iter *it, u64 *pos)
{
	u32 flags = 0;
	(void)pos;
	if (!it->left)
		return 0;
	return unix_recv(f->private, it, NULL, NULL, &flags, f->flags & O_NONBLOCK);
}

static s64 sock_write(struct file *f, struct iter *it, u64 *pos)
{
	(void)pos;
	return unix_send(f->private, it, NULL, NULL, 0, f->flags & O_NONBLOCK);
}

static int sock_mmap(const struct file *f)
{
	(void)f;
	return -ENODEV;
}

static u32 sock_poll(struct file *f, struct poll_table *pt)
{
	return unix_poll(f->private, pt);
}

static s64 sock_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct unix_sock *s = f->private, *peer;
	u64 n = 0;
	switch (cmd) {
	case FIONREAD:
		if (s->listening)
			return -EINVAL;
		return put_user_u32(arg, (u32)s->bytes);
	case TIOCOUTQ:
		peer = unix_peer(s);
		if (peer) {
			n = peer->bytes;
			unix_put(peer);
		}
		return put_user_u32(arg, (u32)n);
	}
	return -ENOTTY;
}

static void sock_release(struct file *f)
{
	unix_close(f->private);
}

static const struct file_ops sock_ops = {
    .read = sock_read,
    .write = sock_write,
    .mmap = sock_mmap,
    .poll = sock_poll,
    .ioctl = sock_ioctl,
    .release = sock_release,
};
static const struct inode_ops sock_inode_ops; /* nothing: it can't be opened again */

/* A file for s, whose reference it takes over in any case. */
static struct file *sock_file(struct unix_sock *s, u32 flags)
{
	struct inode *i = inode_new(&sock_fs, S_IFSOCK | 0777);
	char label[40];
	if (!i)
		goto fail;
	i->ops = &sock_inode_ops;
	snprintf(label, sizeof(label), "socket:[%lu]", i->ino);
	struct file *f = file_anon(label, i, &sock_ops, O_RDWR | (flags & O_NONBLOCK));
	if (f) {
		f->private = s;
		return f;
	}
	inode_put(i);
fail:
	unix_close(s);
	return NULL;
}

/* ---- names from and to user space ------------------------------------------------------- */

static int import_name(struct sock_name *n, u64 uaddr, u32 len)
{
	if (len > sizeof(struct sock_name) - sizeof(u32) || len < sizeof(u16))
		return -EINVAL;
	memset(n, 0, sizeof(*n));
	if (copy_from_user(n->raw, uaddr, len))
		return -EFAULT;
	if (len > 110)
		return -EINVAL;
	n->len = len;
	return n->family == AF_UNIX ? 0 : -EINVAL;
}

/* As getsockname(2): cut to the room there is, but say the whole length. */
static int export_name(const struct sock_name *n, u64 uaddr, u64 ulen)
{
	u32 room;
	if (get_user_u32(&room, ulen))
		return -EFAULT;
	if ((s32)room < 0)
		return -EINVAL;
	if (copy_to_user(uaddr, n->raw, quire_min(room, n->len)))
		return -EFAULT;
	return put_user_u32(ulen, n->len);
}

/* ---- making sockets --------------------------------------------------------------------- */

static int check_type(int family, u32 type, int protocol)
{
	if (family < 0 || family > 45)
		return -EAFNOSUPPORT;
	if ((type & ~SOCK_TYPE) & ~(O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	if (family != AF_UNIX)
		return -EAFNOSUPPORT;
	if (protocol && protocol != AF_UNIX)
		return -EPROTONOSUPPORT;
	switch (type & SOCK_TYPE) {
	case SOCK_STREAM:
	case SOCK_DGRAM:
	case SOCK_SEQPACKET:
	case 3: /* SOCK_RAW is taken for SOCK_DGRAM */
		return 0;
	}
	return -ESOCKTNOSUPPORT;
}

static u32 real_type(u32 type)
{
	type &= SOCK_TYPE;
	return type == 3 ? SOCK_DGRAM : type;
}

SYSCALL3(socket, int, family, u32, type, int, protocol)
{
	int r = check_type(family, type, protocol);
	if (r)
		return r;
	struct unix_sock *s = unix_new(real_type(type));
	struct file *f = s ? sock_file(s, type) : NULL;
	return f ? anon_install(f, type) : -ENOMEM;
}

SYSCALL4(socketpair, int, family, u32, type, int, protocol, u64, ufds)
{
	int r = check_type(family, type, protocol);
	if (r)
		return r;
	struct unix_sock *a = unix_new(real_type(type)), *b = unix_new(real_type(type));
	if (a && b)
		unix_pair(a, b);
	struct file *fa = a ? sock_file(a, type) : NULL, *fb = b ? sock_file(b, type) : NULL;
	if (!fa || !fb) {
		if (fa)
			file_put(fa);
		if (fb)
			file_put(fb);
		return -ENOMEM;
	}
	return anon_install_pair(fa, fb, type, ufds);
}

SYSCALL3(bind, int, fd, u64, uaddr, u32, len)
{
	struct sock_name n;
	struct file *f;
	long r;
	struct unix_sock *s = get_sock(fd, &f, &r);
	if (!s)
		return r;
	r = import_name(&n, uaddr, len);
	if (!r)
		r = unix_bind(s, &n);
	file_put(f);
	return r;
}

SYSCALL2(listen, int, fd, int, backlog)
{
	struct file *f;
	long r;
	struct unix_sock *s = get_sock(fd, &f, &r);
	if (!s)
		return r;
	r = unix_listen(s, backlog);
	file_put(f);
	return r;
}

SYSCALL3(connect, int, fd, u64, uaddr, u32, len)
{
	struct sock_name n;
	struct file *f;
	long r;
	struct unix_sock *s = get_sock(fd, &f, &r);
	if (!s)
		return r;
	u16 family = 1;
	if (len >= 2 && copy_from_user(&family, uaddr, 2)) {
		r = -EFAULT;
	} else if (len >= 2 && !family && s->type == SOCK_DGRAM) {
		n.len = 2; /* AF_UNSPEC: no destination any more */
		r = unix_connect(s, &n, false);
	} else {
		r = import_name(&n, uaddr, len);
		if (!r)
			r = unix_connect(s, &n, f->flags & O_NONBLOCK);
	}
	file_put(f);
	return r;
}

static long do_accept_call(int fd, u64 uaddr, u64 ulen, u32 flags)
{
	struct file *f;
	long r;
	int err;
	if (flags & ~(O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	struct unix_sock *s = get_sock(fd, &f, &r);
	if (!s)
		return r;
	struct unix_sock *c = unix_accept(s, f->flags & O_NONBLOCK, &err);
	file_put(f);
	if (!c)
		return err;
	struct sock_name peer = {.len = 2, .family = AF_UNIX};
	struct unix_sock *p = unix_peer(c);
	if (p) {
		peer = p->name;
		unix_put(p);
	}
	struct file *cf = sock_file(c, flags);
	if (!cf)
		return -ENOMEM;
	if (uaddr && (err = export_name(&peer, uaddr, ulen))) {
		file_put(cf);
		return err;
	}
	return anon_install(cf, flags);
}

SYSCALL3(accept, int, fd, u64, uaddr, u64, ulen)
{
	return do_accept_call(fd, uaddr, ulen, 0);
}
SYSCALL4(accept4, int, fd, u64, uaddr, u64, ulen, u32, flags)
{
	return do_accept_call(fd, uaddr, ulen, flags);
}

static long get_name(int fd, u64 uaddr, u64 ulen, bool of_peer)
{
	struct file *f;
	long r;
	struct unix_sock *s = get_sock(fd, &f, &r), *peer = NULL;
	if (!s)
		return r;
	if (of_peer)
		s = peer = unix_peer(s);
	r = s ? export_name(&s->name, uaddr, ulen) : -ENOTCONN;
	if (peer)
		unix_put(peer);
	file_put(f);
	return r;
}

SYSCALL3(getsockname, int, fd, u64, uaddr, u64, ulen)
{
	return get_name(fd, uaddr, ulen, false);
}
SYSCALL3(getpeername, int, fd, u64, uaddr, u64, ulen)
{
	return get_name(fd, uaddr, ulen, true);
}

SYSCALL2(shutdown, int, fd, int, how)
{
	struct file *f;
	long r;
	struct unix_sock *s = get_sock(fd, &f, &r);
	if (!s)
		return r;
	r = unix_shutdown(s, how);
	file_put(f);
	return r;
}

/* ---- messages --------------------------------------------------------------------------- */

struct msghdr_k {
	u64 name;
	u32 namelen, pad;
	u64 iov, iovlen, control, controllen;
	u32 flags, pad2;
};

static bool no_wait(struct file *f, u32 flags)
{
	return (f->flags & O_NONBLOCK) || (flags & MSG_DONTWAIT);
}

SYSCALL6(sendto, int, fd, u64, buf, u64, len, u32, flags, u64, uaddr, u32, addrlen)
{
	struct sock_name n;
	struct iovec iov;
	struct file *f;
	long r;
	struct unix_sock *s = get_sock(fd, &f, &r);
	if (!s)
		return r;
	struct iter it = iter_user(&iov, buf, quire_min(len, MAX_RW_COUNT));
	r = uaddr ? import_name(&n, uaddr, addrlen) : 0;
	if (!r)
		r = unix_send(s, &it, NULL, uaddr ? &n : NULL, flags, no_wait(f, flags));
	file_put(f);
	return r;
}

SYSCALL6(recvfrom, int, fd, u64, buf, u64, len, u32, flags, u64, uaddr, u64, ulen)
{
	struct sock_name from = {.len = 0};
	struct iovec iov;
	struct file *f;
	long r;
	struct unix_sock *s = get_sock(fd, &f, &r);
	if (!s)
		return r;
	struct iter it = iter_user(&iov, buf, quire_min(len, MAX_RW_COUNT));
	r = unix_recv(s, &it, NULL, &from, &flags, no_wait(f, flags));
	file_put(f);
	if (r < 0 || !uaddr)
		return r;
	if (from.len <= 2)
		from.len = 0; /* from nobody with a name */
	int e = export_name(&from, uaddr, ulen);
	return e ? e : r;
}

static long send_message(struct file *f, u64 umsg, u32 flags)
{
	struct msghdr_k m;
	struct sock_name n;
	struct iovec *storage = NULL;
	struct iter it;
	struct scm *scm = NULL;
	if (copy_from_user(&m, umsg, sizeof(m)))
		return -EFAULT;
	if (m.iovlen > UIO_MAX)
		return -EMSGSIZE;
	long r = m.name && m.namelen ? import_name(&n, m.name, m.namelen) : 0;
	if (!r && m.control && m.controllen) {
		scm = quire_kmalloc(sizeof(*scm), GFP_KERNEL | GFP_ZERO);
		r = scm ? scm_import(scm, m.control, m.controllen) : -ENOMEM;
	}
	if (!r)
		r = iter_import(&it, &storage, m.iov, m.iovlen);
	if (r >= 0)
		r = unix_send(f->private, &it, scm, m.name && m.namelen ? &n : NULL, flags,
			      no_wait(f, flags));
	if (scm)
		scm_drop(scm);
	quire_kfree(scm);
	quire_kfree(storage);
	return r;
}

static long recv_message(struct file *f, u64 umsg, u32 flags)
{
	struct msghdr_k m;
	struct sock_name from = {.len = 0};
	struct iovec *storage = NULL;
	struct iter it;
	u64 used = 0;
	if (copy_from_user(&m, umsg, sizeof(m)))
		return -EFAULT;
	if (m.iovlen > UIO_MAX)
		return -EMSGSIZE;
	struct scm *scm = quire_kmalloc(sizeof(*scm), GFP_KERNEL | GFP_ZERO);
	if (!scm)
		return -ENOMEM;
	u32 out = flags;
	long r = iter_import(&it, &storage, m.iov, m.iovlen);
	if (r >= 0)
		r = unix_recv(f->private, &it, scm, &from, &out, no_wait(f, flags));
	if (r >= 0) {
		u32 result = out & (MSG_TRUNC | MSG_CMSG_CLOEXEC);
		if (m.control)
			scm_export(scm, f->private, m.control, m.controllen, &used, &result);
		else if (scm->nfiles)
			result |= MSG_CTRUNC;
		if (((struct unix_sock *)f->private)->type == SOCK_SEQPACKET && r)
			result |= MSG_EOR;
		if (from.len <= 2)
			from.len = 0;
		int e = 0;
		if (m.name)
			e = export_name(&from, m.name, umsg + offsetof(struct msghdr_k, namelen));
		else
			e = put_user_u32(umsg + offsetof(struct msghdr_k, namelen), 0);
		if (!e)
			e = put_user_u64(umsg + offsetof(struct msghdr_k, controllen), used);
		if (!e)
			e = put_user_u32(umsg + offsetof(struct msghdr_k, flags), result);
		if (e)
			r = e;
	}
	scm_drop(scm);
	quire_kfree(scm);
	quire_kfree(storage);
	return r;
}

static long one_message(int fd, u64 umsg, u32 flags, bool send)
{
	struct file *f;
	long r;
	if (!get_sock(fd, &f, &r))
		return r;
	r = send ? send_message(f, umsg, flags) : recv_message(f, umsg, flags);
	file_put(f);
	return r;
}

SYSCALL3(sendmsg, int, fd, u64, umsg, u32, flags)
{
	return one_message(fd, umsg, flags, true);
}
SYSCALL3(recvmsg, int, fd, u64, umsg, u32, flags)
{
	return one_message(fd, umsg, flags, false);
}

#define MMSG_SIZE (sizeof(struct msghdr_k) + 8)

/* How many messages were moved; an error only where there was none. */
static long many_messages(int fd, u64 umsgs, u32 n, u32 flags, u64 deadline, bool send)
{
	struct file *f;
	long r;
	u32 done = 0;
	if (!get_sock(fd, &f, &r))
		return r;
	r = 0;
	for (n = quire_min(n, UIO_MAX); done < n;) {
		u64 at = umsgs + done * MMSG_SIZE;
		u32 how = flags & ~(u32)MSG_WAITFORONE;
		if (done && (flags & MSG_WAITFORONE))
			how |= MSG_DONTWAIT;
		r = send ? send_message(f, at, flags) : recv_message(f, at, how);
		if (r >= 0)
			r = put_user_u32(at + sizeof(struct msghdr_k), (u32)r);
		if (r < 0)
			break;
		done++;
		if (!send && time_ns() >= deadline)
			break;
	}
	file_put(f);
	return done ? done : r;
}

SYSCALL4(sendmmsg, int, fd, u64, umsgs, u32, n, u32, flags)
{
	return many_messages(fd, umsgs, n, flags, 0, true);
}

SYSCALL5(recvmmsg, int, fd, u64, umsgs, u32, n, u32, flags, u64, uts)
{
	u64 deadline;
	long r = deadline_from_user(uts, &deadline);
	return r ? r : many_messages(fd, umsgs, n, flags, deadline, false);
}

/* ---- options ---------------------------------------------------------------------------- */

enum {
	SO_DEBUG = 1,
	SO_REUSEADDR,
	SO_TYPE,
	SO_ERROR,
	SO_DONTROUTE,
	SO_BROADCAST,
	SO_SNDBUF,
	SO_RCVBUF,
	SO_KEEPALIVE,
	SO_OOBINLINE,
	SO_NO_CHECK,
	SO_PRIORITY,
	SO_LINGER,
	SO_BSDCOMPAT,
	SO_REUSEPORT,
	SO_PASSCRED,
	SO_PEERCRED,
	SO_RCVLOWAT,
	SO_SNDLOWAT,
	SO_RCVTIMEO,
	SO_SNDTIMEO,
	SO_ACCEPTCONN = 30,
	SO_SNDBUFFORCE = 32,
	SO_RCVBUFFORCE,
	SO_PROTOCOL = 38,
	SO_DOMAIN,
};

static long set_timeout(u64 *out, u64 uval, u32 len)
{
	struct timespec64 tv;
	if (len < sizeof(tv))
		return -EINVAL;
	if (copy_from_user(&tv, uval, sizeof(tv)))
		return -EFAULT;
	if ((u64)tv.nsec >= 1000000)
		return -EDOM;
	*out = tv.sec < 0                  ? 1
	       : (u64)tv.sec > (1UL << 33) ? 0
					   : (u64)tv.sec * NSEC + (u64)tv.nsec * 1000;
	return 0;
}

static long set_option(struct unix_sock *s, int level, int name, u64 uval, u32 len)
{
	u32 v;
	if (level != SOL_SOCKET)
		return -EOPNOTSUPP;
	if (name == SO_RCVTIMEO || name == SO_SNDTIMEO)
		return set_timeout(name == SO_RCVTIMEO ? &s->rcvtimeo : &s->sndtimeo, uval, len);
	if (len < sizeof(v))
		return -EINVAL;
	if (get_user_u32(&v, uval))
		return -EFAULT;
	switch (name) {
	case SO_SNDBUF:
	case SO_SNDBUFFORCE:
		v = quire_min(v, SOCK_BUFFER);
		s->sndbuf = quire_max(v * 2, 4608u);
		return 0;
	case SO_RCVBUF:
	case SO_RCVBUFFORCE:
		v = quire_min(v, SOCK_BUFFER);
		s->rcvbuf = quire_max(v * 2, 2304u);
		return 0;
	case SO_PASSCRED:
		s->passcred = v != 0;
		return 0;
	case SO_DEBUG:
	case SO_REUSEADDR:
	case SO_DONTROUTE:
	case SO_BROADCAST:
	case SO_KEEPALIVE:
	case SO_OOBINLINE:
	case SO_NO_CHECK:
	case SO_PRIORITY:
	case SO_LINGER:
	case SO_REUSEPORT:
	case SO_RCVLOWAT:
		return 0; /* they say nothing about these sockets */
	}
	return -ENOPROTOOPT;
}

SYSCALL5(setsockopt, int, fd, int, level, int, name, u64, uval, u32, len)
{
	struct file *f;
	long r;
	struct unix_sock *s = get_sock(fd, &f, &r);
	if (!s)
		return r;
	r = (s32)len < 0 ? -EINVAL : set_option(s, level, name, uval, len);
	file_put(f);
	return r;
}

/* The value of an option; its length or -errno. */
static int get_option(struct unix_sock *s, int name, u8 out[16])
{
	u32 v = 0;
	switch (name) {
	case SO_TYPE:
		v = s->type;
		break;
	case SO_ERROR:
		v = (u32)s->error;
		s->error = 0;
		break;
	case SO_SNDBUF:
		v = s->sndbuf;
		break;
	case SO_RCVBUF:
		v = s->rcvbuf;
		break;
	case SO_PASSCRED:
		v = s->passcred;
		break;
	case SO_ACCEPTCONN:
		v = s->listening;
		break;
	case SO_DOMAIN:
		v = AF_UNIX;
		break;
	case SO_RCVLOWAT:
	case SO_SNDLOWAT:
		v = 1;
		break;
	case SO_PEERCRED: {
		struct ucred_k none = {0, ~0u, ~0u};
		memcpy(out, s->peer_cred.pid ? &s->peer_cred : &none, sizeof(none));
		return sizeof(none);
	}
	case SO_RCVTIMEO:
	case SO_SNDTIMEO: {
		u64 ns = name == SO_RCVTIMEO ? s->rcvtimeo : s->sndtimeo;
		struct timespec64 tv = {(s64)(ns / NSEC), (s64)(ns % NSEC / 1000)};
		memcpy(out, &tv, sizeof(tv));
		return sizeof(tv);
	}
	case SO_LINGER:
		memset(out, 0, 8);
		return 8;
	case SO_DEBUG:
	case SO_REUSEADDR:
	case SO_DONTROUTE:
	case SO_BROADCAST:
	case SO_KEEPALIVE:
	case SO_OOBINLINE:
	case SO_NO_CHECK:
	case SO_PRIORITY:
	case SO_REUSEPORT:
	case SO_PROTOCOL:
		break;
	default:
		return -ENOPROTOOPT;
	}
	memcpy(out, &v, sizeof(v));
	return sizeof(v);
}

SYSCALL5(getsockopt, int, fd, int, level, int, name, u64, uval, u64, ulen)
{
	u8 value[16];
	u32 room;
	struct file *f;
	long r;
	struct unix_sock *s = get_sock(fd, &f, &r);
	if (!s)
		return r;
	if (level != SOL_SOCKET)
		r = -EOPNOTSUPP;
	else if (get_user_u32(&room, ulen))
		r = -EFAULT;
	else if ((s32)room < 0)
		r = -EINVAL;
	else
		r = get_option(s, name, value);
	if (r > 0) {
		u32 n = quire_min(room, (u32)r);
		r = copy_to_user(uval, value, n);
		if (!r)
			r = put_user_u32(ulen, n);
	}
	file_put(f);
	return r;
}
