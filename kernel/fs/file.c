/* SPDX-License-Identifier: MIT */
/*
 * Open files: allocation, counting, and open(2) itself.
 *
 * Locking: the count is atomic.  Files are freed after a grace period of RCU, so that a
 * descriptor table may be read without a lock (file_try_get()).
 */
#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../io/io.h"
#include "../lib/print.h"
#include "../lib/string.h"
#include "dcache.h"
#include "devnode.h"
#include "lock.h"

static struct quire_kmem *file_cache;

static void vm_file_get(struct quire_file *f)
{
	file_get((struct file *)f);
}

static void vm_file_put(struct quire_file *f)
{
	file_put((struct file *)f);
}

static int vm_file_punch(struct quire_file *vm, u64 start, u64 end)
{
	struct file *f = (struct file *)vm;

	if (!f->ops->fallocate)
		return -EOPNOTSUPP;
	return (int)f->ops->fallocate(f, FALLOC_PUNCH | FALLOC_KEEP_SIZE, start, end - start);
}

/* Who owns the file, or could write to it. */
static bool vm_file_shows_cache(struct quire_file *vm)
{
	struct inode *i = ((struct file *)vm)->inode;

	return current()->cred->fsuid == i->uid || capable(CAP_FOWNER) || !inode_permission(i, 2);
}

static const struct quire_file_ops vm_file_ops = {.get = vm_file_get,
						  .put = vm_file_put,
						  .punch = vm_file_punch,
						  .shows_cache = vm_file_shows_cache};

struct file *file_alloc(void)
{
	struct quire_kmem *cache = __atomic_load_n(&file_cache, __ATOMIC_ACQUIRE);
	struct file *f;

	if (!cache) {
		/* First called by one thread, at boot. */
		cache = quire_kmem_create("file", sizeof(struct file), 0);
		__atomic_store_n(&file_cache, cache, __ATOMIC_RELEASE);
	}
	f = quire_kmem_alloc(cache, GFP_KERNEL);
	if (!f)
		return NULL;
	memset(f, 0, sizeof(*f));
	f->refs = 1;
	f->vm.ops = &vm_file_ops;
	mutex_init(&f->pos_lock, RANK_HOST_OUTER + 2);
	return f;
}

void file_get(struct file *f)
{
	__atomic_add_fetch(&f->refs, 1, __ATOMIC_RELAXED);
}

bool file_try_get(struct file *f)
{
	s32 n = __atomic_load_n(&f->refs, __ATOMIC_RELAXED);

	do {
		if (n <= 0)
			return false;
	} while (!__atomic_compare_exchange_n(&f->refs, &n, n + 1, true, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	return true;
}

static void file_free_rcu(struct quire_rcu *r)
{
	quire_kmem_free(file_cache, quire_container_of(r, struct file, rcu));
}

s64 file_seek(struct file *f, s64 off, int whence)
{
	if (whence < 0 || whence > 1 ||
	    (whence == 1 && __builtin_add_overflow((s64)f->pos, off, &off)) || off < 0)
		return -EINVAL;
	f->pos = (u64)off;
	return off;
}

void file_put(struct file *f)
{
	if (__atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (f->epitems)
		epoll_forget(f);
	if (f->inode)
		locks_release_file(f);
	if (f->ops && f->ops->release)
		f->ops->release(f);
	if (f->writer) {
		inode_allow_write_end(f->inode);
		mount_drop_write(f->path.mnt);
	}
	if (f->inode)
		inode_put(f->inode);
	path_put(&f->path);
	quire_rcu_call(&f->rcu, file_free_rcu);
}

static void set_access(struct file *f, u32 flags)
{
	u32 acc = flags & O_ACCMODE;

	f->flags = flags & ~(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC);
	f->can_read = acc == O_RDONLY || acc == O_RDWR;
	f->can_write = acc == O_WRONLY || acc == O_RDWR;
}

struct file *file_anon(const char *label, struct inode *i, const struct file_ops *ops, u32 flags)
{
	struct dentry *d = dentry_new(NULL, label, strlen(label));
	struct file *f = d ? file_alloc() : NULL;

	if (!f) {
		if (d)
			dentry_drop_new(d);
		return NULL;
	}
	d->unlinked = true; /* freed with its last reference */
	dentry_instantiate(d, i);
	inode_get(i);
	f->inode = i;
	f->path.dentry = d;
	f->ops = ops;
	f->vm.mapping = &i->mapping;
	set_access(f, flags);
	f->seekable = S_ISREG(i->mode);
	return f;
}

s64 file_read_kernel(struct file *f, void *buf, size_t n, u64 pos)
{
	struct iovec iov;
	struct iter it = iter_kernel(&iov, buf, n);

	if (!f->ops || !f->ops->read)
		return -EINVAL;
	s64 r = f->ops->read(f, &it, &pos);
	current()->io.syscr++;
	current()->io.rchar += r > 0 ? (u64)r : 0;
	return r;
}

/* ---- opening ------------------------------------------------------------------------------- */

static int count_writer(struct file *f)
{
	s32 n = __atomic_load_n(&f->inode->writers, __ATOMIC_RELAXED);
	int err = mount_want_write(f->path.mnt);

	if (err)
		return err;
	do {
		if (n < 0) {
			mount_drop_write(f->path.mnt);
			return -ETXTBSY;
		}
	} while (!__atomic_compare_exchange_n(&f->inode->writers, &n, n + 1, true, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	f->writer = true;
	return 0;
}

void inode_allow_write_end(struct inode *i)
{
	__atomic_sub_fetch(&i->writers, 1, __ATOMIC_RELEASE);
}

static int truncate_open(struct inode *i)
{
	struct attr a = {.mask = ATTR_SIZE | ATTR_MTIME};
	int err;

	now_coarse(&a.mtime);
	a.ctime = a.mtime;
	a.mask |= ATTR_CTIME;
	mutex_lock(&i->lock);
	err = i->ops->setattr ? i->ops->setattr(i, &a) : 0;
	mutex_unlock(&i->lock);
	return err;
}

/* May i be opened with these flags?  0 or -errno. */
static int check_open(const struct path *p, u32 flags, bool created)
{
	struct inode *i = p->dentry->inode;
	u32 acc = flags & O_ACCMODE;
	unsigned want = acc == O_RDONLY ? 4 : acc == O_WRONLY ? 2 : 6;
	int err;

	if (S_ISLNK(i->mode))
		return -ELOOP;
	if ((flags & O_DIRECTORY) && !S_ISDIR(i->mode) && !created)
		return -ENOTDIR;
	if (flags & O_TRUNC)
		want |= 2;
	if (S_ISDIR(i->mode) && (want & 2))
		return -EISDIR;
	if (!created) {
		err = inode_permission(i, want);
		if (err)
			return err;
	}
	if ((S_ISCHR(i->mode) || S_ISBLK(i->mode)) && path_nodev(p))
		return -EACCES;
	if (S_ISSOCK(i->mode) || S_ISBLK(i->mode))
		return -ENXIO;
	if ((flags & O_NOATIME) && !inode_owner_or_capable(i))
		return -EPERM;
	return 0;
}

static int attach_ops(struct inode *i, struct file *f)
{
	f->ops = i->fops;
	if (S_ISFIFO(i->mode))
		return pipe_open(i, f);
	if (S_ISCHR(i->mode))
		return chrdev_open(i, f);
	f->seekable = S_ISREG(i->mode) || S_ISDIR(i->mode);
	if (i->ops->open)
		return i->ops->open(i, f);
	return f->ops ? 0 : -ENXIO;
}

static int open_inode(const struct path *p, u32 flags, bool created, struct file **out)
{
	static const struct file_ops path_only_ops;
	struct inode *i = p->dentry->inode;
	struct file *f;
	int err = 0;

	if (!(flags & O_PATH))
		err = check_open(p, flags, created);
	else if ((flags & O_DIRECTORY) && !S_ISDIR(i->mode))
		err = -ENOTDIR;
	if (err)
		return err;
	f = file_alloc();
	if (!f)
		return -ENOMEM;
	inode_get(i);
	f->inode = i;
	f->path = *p;
	path_get(&f->path);
	f->vm.mapping = &i->mapping;
	if (flags & O_PATH) {
		f->flags = flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW);
		f->ops = &path_only_ops;
		*out = f;
		return 0;
	}
	set_access(f, flags | O_LARGEFILE);
	if (f->can_write && S_ISREG(i->mode))
		err = count_writer(f);
	if (!err && (flags & O_TRUNC) && S_ISREG(i->mode) && !created) {
		/* Truncating needs the right to write even when opened for reading. */
		if (!f->writer && __atomic_load_n(&i->writers, __ATOMIC_RELAXED) < 0)
			err = -ETXTBSY;
		else
			err = mount_want_write(p->mnt);
		if (!err) {
			err = truncate_open(i);
			mount_drop_write(p->mnt);
		}
	}
	if (!err) {
		f->flags |= flags & O_NOCTTY; /* for terminals' open alone */
		err = attach_ops(i, f);
		f->flags &= ~O_NOCTTY;
		if (err)
			f->ops = NULL; /* it was not opened: nothing to release */
	}
	if (err) {
		file_put(f);
		return err;
	}
	*out = f;
	return 0;
}

int file_open_path(const struct path *p, u32 flags, struct file **out)
{
	return open_inode(p, flags, false, out);
}

/* The walk stands at the parent.  Open or make the last name; 1: it was a symbolic link, go
 * on along *next. */
static int open_last(struct walk *w, u32 flags, u32 mode, const char **next, bool *created)
{
	struct dentry *parent = w->path.dentry, *d;
	struct inode *dir = parent->inode;
	int err;

	if (!w->last_len || w->last_dot || w->last_dotdot || w->last_slash)
		return flags & O_EXCL && !w->last_slash ? -EEXIST : -EISDIR;
	mutex_lock(&dir->lock);
	d = dentry_lookup_locked(parent, w->last, w->last_len, &err);
	if (d && !d->inode)
		err = mount_want_write(w->path.mnt);
	if (d && !d->inode && !err) {
		err = may_create(dir);
		if (!err)
			err = dir->ops->create
				  ? dir->ops->create(dir, d,
						     S_IFREG | (mode & 07777 & ~current_umask()), 0)
				  : -ENOENT;
		*created = !err;
		mount_drop_write(w->path.mnt);
	}
	mutex_unlock(&dir->lock);
	if (!d)
		return err;
	if (err) {
		dentry_put(d);
		return err;
	}
	if (!*created && (flags & O_EXCL)) {
		dentry_put(d);
		return -EEXIST;
	}
	if (S_ISLNK(d->inode->mode) && !(flags & O_NOFOLLOW)) {
		/* A link of /proc jumps to a file, and no name is left to go along. */
		bool jumps = d->inode->ops->follow;
		err = walk_link(w, d, "", next);
		return err ? err : !jumps;
	}
	walk_enter(w, d);
	return S_ISDIR(w->path.dentry->inode->mode) ? -EISDIR : 0;
}

/* The walk stands at a directory: go on to a new file in it that has no name. */
static int make_tmpfile(struct walk *w, u32 mode, bool linkable)
{
	struct inode *dir = w->path.dentry->inode, *i;
	struct dentry *d;
	char name[24];
	int err, n;

	if (!S_ISDIR(dir->mode))
		return -ENOTDIR;
	err = mount_want_write(w->path.mnt);
	if (err)
		return err;
	err = may_create(dir);
	if (!err && !dir->ops->tmpfile)
		err = -EOPNOTSUPP;
	if (!err)
		err = dir->ops->tmpfile(dir, S_IFREG | (mode & 07777 & ~current_umask()), &i);
	mount_drop_write(w->path.mnt);
	if (err)
		return err;
	n = snprintf(name, sizeof(name), "#%lu", i->ino);
	d = dentry_new(w->path.dentry, name, (size_t)n);
	if (!d) {
		inode_put(i);
		return -ENOMEM;
	}
	d->unlinked = true;
	i->linkable = linkable;
	dentry_instantiate(d, i);
	walk_enter(w, d);
	return 0;
}

int file_open(int dirfd, const char *path, u32 flags, u32 mode, struct file **out)
{
	bool created = false, unnamed = false;
	struct walk w;
	int err;

	if (!*path)
		return -ENOENT;
	if (flags & O_PATH)
		flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	else if ((flags & O_TMPFILE) == O_TMPFILE)
		unnamed = true;
	err = walk_start(&w, dirfd, path);
	if (err)
		return err;
	if (unnamed) {
		err = walk_along(&w, path, LOOKUP_FOLLOW, false);
		if (!err)
			err = make_tmpfile(&w, mode, !(flags & O_EXCL));
		created = true;
	} else if (flags & O_CREAT) {
		do {
			err = walk_along(&w, path, LOOKUP_FOLLOW, true);
			if (!err)
				err = open_last(&w, flags, mode, &path, &created);
		} while (err == 1);
	} else {
		err = walk_along(&w, path, flags & O_NOFOLLOW ? 0 : LOOKUP_FOLLOW, false);
	}
	if (!err)
		err = open_inode(&w.path, flags, created, out);
	walk_end(&w);
	return err;
}
