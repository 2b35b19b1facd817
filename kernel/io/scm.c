/* SPDX-License-Identifier: MIT */
/*
 * Control messages of sockets: descriptors (SCM_RIGHTS) and credentials
 * (SCM_CREDENTIALS), between user space and struct scm.
 *
 * No locks; struct scm belongs to one call.
 */
#include <quire/string.h>

#include "io.h"
#include "socket.h"

#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define SCM_CREDENTIALS 2
#define CAP_SETGID 6
#define CAP_SETUID 7
#define CAP_SYS_ADMIN 21

struct cmsghdr_k {
	u64 len;
	s32 level, type;
};

static u64 aligned(u64 n)
{
	return (n + 7) & ~7UL;
}

void scm_drop(struct scm *scm)
{
	for (u32 i = 0; i < scm->nfiles; i++)
		file_put(scm->files[i]);
	scm->nfiles = 0;
}

static int import_files(struct scm *scm, u64 data, u64 bytes)
{
	for (u64 i = 0; i + 4 <= bytes; i += 4) {
		u32 fd;
		if (scm->nfiles == SCM_MAX_FD)
			return -EINVAL;
		if (get_user_u32(&fd, data + i))
			return -EFAULT;
		struct file *f = fd_get((int)fd);
		if (!f)
			return -EBADF;
		scm->files[scm->nfiles++] = f;
	}
	return 0;
}

static int import_cred(struct scm *scm, u64 data, u64 bytes)
{
	const struct cred *c = current()->cred;
	struct ucred_k k;
	if (bytes != sizeof(k))
		return -EINVAL;
	if (copy_from_user(&k, data, sizeof(k)))
		return -EFAULT;
	if (k.pid != current()->process->tgid && !capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (k.uid != c->uid && k.uid != c->euid && k.uid != c->suid && !capable(CAP_SETUID))
		return -EPERM;
	if (k.gid != c->gid && k.gid != c->egid && k.gid != c->sgid && !capable(CAP_SETGID))
		return -EPERM;
	scm->cred = k;
	scm->cred_set = true;
	return 0;
}

int scm_import(struct scm *scm, u64 control, u64 len)
{
	struct cmsghdr_k h;
	u64 at = 0;
	int r = 0;
	if (len > 1u << 20)
		return -ENOBUFS;
	while (!r && at + sizeof(h) <= len) {
		if (copy_from_user(&h, control + at, sizeof(h)))
			return -EFAULT;
		if (h.len < sizeof(h) || h.len > len - at)
			return -EINVAL;
		u64 data = control + at + sizeof(h), bytes = h.len - sizeof(h);
		if (h.level == SOL_SOCKET && h.type == SCM_RIGHTS)
			r = import_files(scm, data, bytes);
		else if (h.level == SOL_SOCKET && h.type == SCM_CREDENTIALS)
			r = import_cred(scm, data, bytes);
		else if (h.level == SOL_SOCKET)
			r = -EINVAL;
		at += aligned(h.len);
	}
	return r;
}

/* Write one message of n bytes; false: it doesn't fit whole (or faults). */
static bool export_one(u64 control, u64 room, u64 *used, int type, const void *data, u64 n)
{
	struct cmsghdr_k h = {sizeof(h) + n, SOL_SOCKET, type};
	if (room < *used || room - *used < h.len)
		return false;
	if (copy_to_user(control + *used, &h, sizeof(h)) ||
	    copy_to_user(control + *used + sizeof(h), data, n))
		return false;
	*used = quire_min(*used + aligned(h.len), room);
	return true;
}

static void export_files(struct scm *scm, u64 control, u64 room, u64 *used, u32 *flags)
{
	int fds[SCM_MAX_FD];
	u64 space = room > *used + sizeof(struct cmsghdr_k)
			? (room - *used - sizeof(struct cmsghdr_k)) / 4
			: 0;
	u32 n = 0, all = scm->nfiles;
	while (n < all && n < space) {
		int fd = fd_install(scm->files[n], *flags & MSG_CMSG_CLOEXEC, 0);
		if (fd < 0)
			break;
		fds[n++] = fd;
	}
	for (u32 i = n; i < all; i++)
		file_put(scm->files[i]);
	scm->nfiles = 0;
	if (n < all)
		*flags |= MSG_CTRUNC;
	if (n && !export_one(control, room, used, SCM_RIGHTS, fds, n * 4UL))
		*flags |= MSG_CTRUNC;
}

void scm_export(struct scm *scm, struct unix_sock *s, u64 control, u64 room, u64 *used, u32 *flags)
{
	*used = 0;
	if (s->passcred &&
	    !export_one(control, room, used, SCM_CREDENTIALS, &scm->cred, sizeof(scm->cred)))
		*flags |= MSG_CTRUNC;
	if (scm->nfiles)
		export_files(scm, control, room, used, flags);
}
