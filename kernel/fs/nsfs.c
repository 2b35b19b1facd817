/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID/ns: the namespaces of a process as files, and the calls that change them.
 *
 * There are namespaces of mounts; of the other kinds there is one each, as on a Linux that
 * was built without them: they have no file, and a new one is refused with EINVAL.
 *
 * Locking: a file holds a reference on its namespace.  A task's namespace is in its fsctx, so
 * who shares that shares the namespace; it changes only by a new fsctx, or in one that
 * nobody else has.
 *
 * What it doesn't do: bind such a file to a name.
 */
#include "../lib/print.h"
#include "../lib/string.h"
#include "../proc/pidfd.h"
#include "../syscall/syscall.h"
#include "mount.h"
#include "proc.h"

#include <quire/page.h>

#define CLONE_NEWNS 0x20000UL
#define NS_GET_USERNS 0xb701u
#define NS_GET_PARENT 0xb702u
#define NS_GET_NSTYPE 0xb703u
#define NS_GET_OWNER_UID 0xb704u

static struct fs nsfs = {.type = "nsfs", .dev = 4, .magic = 0x6e736673, .next_ino = 1};

/* ---- files --------------------------------------------------------------------------------- */

static s64 ns_ioctl(struct file *f, u32 cmd, u64 arg)
{
	(void)f, (void)arg;
	switch (cmd) {
	case NS_GET_NSTYPE:
		return (s64)CLONE_NEWNS;
	case NS_GET_USERNS: /* as without user namespaces */
	case NS_GET_PARENT:
	case NS_GET_OWNER_UID:
		return -EINVAL;
	default:
		return -ENOTTY;
	}
}

static int ns_open(struct inode *i, struct file *f)
{
	f->ops = i->fops;
	f->seekable = false;
	return 0;
}

static void ns_release(struct inode *i)
{
	mnt_ns_put(i->private);
}

static const struct file_ops ns_file_ops = {.ioctl = ns_ioctl};
static const struct inode_ops ns_inode_ops = {.open = ns_open, .release = ns_release};

struct mnt_ns *file_mnt_ns(const struct file *f)
{
	return f->ops == &ns_file_ops ? f->inode->private : NULL;
}

/* ---- /proc/PID/ns ---------------------------------------------------------------------------- */

/* The namespace of the task, referenced; null: it exits. */
static struct mnt_ns *task_mnt_ns(struct task *t)
{
	struct fsctx *fs = task_fs_get(t);
	struct mnt_ns *ns;

	if (!fs)
		return NULL;
	spin_lock(&fs->lock);
	ns = fs->ns;
	mnt_ns_get(ns);
	spin_unlock(&fs->lock);
	fsctx_put(fs);
	return ns;
}

static int mnt_link(struct proc_ctx *c, char *buf, size_t max)
{
	struct mnt_ns *ns = task_mnt_ns(c->task);
	int n;

	if (!ns)
		return -ENOENT;
	n = snprintf(buf, max, "mnt:[%lu]", ns->ino);
	mnt_ns_put(ns);
	return n;
}

static int mnt_path(struct proc_ctx *c, struct path *out)
{
	struct mnt_ns *ns = task_mnt_ns(c->task);
	struct inode *i;
	char label[32];

	if (!ns)
		return -ENOENT;
	snprintf(label, sizeof(label), "mnt:[%lu]", ns->ino);
	i = inode_new(&nsfs, S_IFREG | 0444);
	out->dentry = i ? dentry_new(NULL, label, strlen(label)) : NULL;
	out->mnt = NULL;
	if (!i || !out->dentry) {
		if (i)
			inode_put(i);
		mnt_ns_put(ns);
		return -ENOMEM;
	}
	i->uid = i->gid = 0;
	i->ino = ns->ino;
	i->private = ns;
	i->ops = &ns_inode_ops;
	i->fops = &ns_file_ops;
	out->dentry->unlinked = true; /* goes with its last reference */
	dentry_instantiate(out->dentry, i);
	return 0;
}

const struct proc_entry proc_ns_table[] = {
    {"mnt", S_IFLNK | 0777, .readlink = mnt_link, .follow = mnt_path, .guarded = true},
    {0},
};

/* ---- setns -------------------------------------------------------------------------------------
 */

/* The namespace that fd and type say, referenced, and *err. */
static struct mnt_ns *ns_of_fd(struct file *f, u64 type, int *err)
{
	struct mnt_ns *ns = file_mnt_ns(f);
	struct process *p = pidfd_process_of(f);
	struct task *t;

	*err = -EINVAL;
	if (ns && (!type || type == CLONE_NEWNS)) {
		mnt_ns_get(ns);
		return ns;
	}
	if (!p || type != CLONE_NEWNS)
		return NULL;
	t = process_leader_get(p);
	*err = -ESRCH;
	ns = NULL;
	if (t && proc_may_look(t))
		ns = task_mnt_ns(t);
	else if (t)
		*err = -EPERM;
	if (t)
		task_put(t);
	return ns;
}

static int enter(struct mnt_ns *ns)
{
	struct fsctx *fs = current()->fs;
	struct path root, cwd, was[2];
	struct mnt_ns *old;

	if (!capable(CAP_SYS_ADMIN) || !capable(CAP_SYS_CHROOT))
		return -EPERM;
	if (__atomic_load_n(&fs->users, __ATOMIC_ACQUIRE) != 1)
		return -EINVAL;
	mnt_ns_root(ns, &root);
	cwd = root;
	path_get(&cwd);
	mnt_ns_get(ns);
	spin_lock(&fs->lock);
	old = fs->ns;
	was[0] = *fs->root;
	was[1] = *fs->cwd;
	fs->ns = ns;
	*fs->root = root;
	*fs->cwd = cwd;
	spin_unlock(&fs->lock);
	path_put(&was[0]);
	path_put(&was[1]);
	mnt_ns_put(old);
	return 0;
}

SYSCALL2(setns, int, fd, int, type)
{
	struct file *f = fd_get(fd);
	struct mnt_ns *ns;
	int err;

	if (!f)
		return -EBADF;
	ns = ns_of_fd(f, (u32)type, &err);
	if (ns) {
		err = enter(ns);
		mnt_ns_put(ns);
	}
	file_put(f);
	return err;
}
