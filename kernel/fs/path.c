/* SPDX-License-Identifier: MIT */
/*
 * Path look-up: from a string to a dentry and the mount it is seen through.
 *
 * A walk holds one reference on where it stands.  Names are looked up in the cache
 * first, without the directory's lock.  A symbolic link's target is put in front of what
 * is left of the path, so there is no recursion.
 *
 * Locking: none held between steps.
 */
#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../lib/string.h"
#include "mount.h"

#define LINKS_MAX 40

static void get_fs_path(struct path *out, bool root)
{
	struct fsctx *fs = current()->fs;

	if (!fs) {
		out->mnt = first_ns->root;
		out->dentry = out->mnt->root;
		path_get(out);
		return;
	}
	spin_lock(&fs->lock);
	*out = root ? *fs->root : *fs->cwd;
	path_get(out);
	spin_unlock(&fs->lock);
}

void fs_get_root(struct path *out)
{
	get_fs_path(out, true);
}

void fs_get_cwd(struct path *out)
{
	get_fs_path(out, false);
}

u32 current_umask(void)
{
	struct fsctx *fs = current()->fs;

	return fs ? __atomic_load_n(&fs->umask, __ATOMIC_RELAXED) : 022;
}

void path_get(const struct path *p)
{
	dentry_get(p->dentry);
	if (p->mnt)
		mount_get(p->mnt);
}

void path_put(struct path *p)
{
	if (p->dentry)
		dentry_put(p->dentry);
	if (p->mnt)
		mount_put(p->mnt);
	p->dentry = NULL;
	p->mnt = NULL;
}

/* ---- strings from user space ------------------------------------------------------------ */

int path_from_user(char buf[static PATH_MAX], u64 upath)
{
	long n = copy_string_from_user(buf, upath, PATH_MAX);

	return n < 0 ? (int)n : 0;
}

char *name_from_user(u64 upath, int *err)
{
	char *buf = quire_kmalloc(PATH_MAX, GFP_KERNEL);

	*err = buf ? path_from_user(buf, upath) : -ENOMEM;
	if (*err) {
		quire_kfree(buf);
		return NULL;
	}
	return buf;
}

void name_free(char *name)
{
	quire_kfree(name);
}

/* ---- walking ------------------------------------------------------------------------------- */

int walk_start(struct walk *w, int dirfd, const char *path)
{
	memset(w, 0, offsetof(struct walk, last));
	w->last_len = 0;
	w->last_dot = w->last_dotdot = w->last_slash = false;
	fs_get_root(&w->root);
	if (*path == '/') {
		w->path = w->root;
		path_get(&w->path);
		return 0;
	}
	if (dirfd == AT_FDCWD) {
		fs_get_cwd(&w->path);
		return 0;
	}
	struct file *f = fd_get(dirfd);
	int err = 0;

	if (!f) {
		err = -EBADF;
	} else if (!f->path.dentry || (*path && !S_ISDIR(f->inode->mode))) {
		err = -ENOTDIR;
	} else {
		w->path = f->path;
		path_get(&w->path);
	}
	if (f)
		file_put(f);
	if (err)
		path_put(&w->root);
	return err;
}

void walk_end(struct walk *w)
{
	path_put(&w->path);
	path_put(&w->root);
	quire_kfree(w->buf);
	w->buf = NULL;
	dcache_trim();
}

void walk_enter(struct walk *w, struct dentry *d)
{
	dentry_put(w->path.dentry);
	w->path.dentry = d;
	if (quire_unlikely(__atomic_load_n(&d->mounted, __ATOMIC_ACQUIRE)))
		mount_down(&w->path);
}

/* Does d lie below the root of the mount?  What was moved out from there doesn't. */
static bool is_shown(const struct mount *m, struct dentry *d)
{
	return !m || m->root == m->fs->root || dentry_is_under(d, m->root);
}

static int walk_up(struct walk *w)
{
	struct dentry *parent;

	for (;;) {
		if (w->path.dentry == w->root.dentry && w->path.mnt == w->root.mnt)
			return 0;
		if (!w->path.mnt || w->path.dentry != w->path.mnt->root)
			break;
		/* The root of a mount: on to what it covers. */
		if (!mount_up(&w->path))
			return 0;
	}
	parent = dentry_parent(w->path.dentry);
	if (!is_shown(w->path.mnt, parent)) {
		dentry_put(parent);
		return -ENOENT;
	}
	walk_enter(w, parent);
	return 0;
}

int walk_link(struct walk *w, struct dentry *d, const char *tail, const char **next)
{
	struct inode *i = d->inode;
	size_t tail_len = strlen(tail);
	char *buf = NULL;
	int n = -ELOOP;

	if (++w->links > LINKS_MAX || path_nosymfollow(&w->path))
		goto out;
	buf = quire_kmalloc(PATH_MAX + tail_len + 1, GFP_KERNEL);
	n = -ENOMEM;
	if (!buf)
		goto out;
	if (i->ops->follow) {
		struct path to;

		n = i->ops->follow(i, &to);
		if (!n) {
			path_put(&w->path);
			w->path = to;
			if (tail_len && !S_ISDIR(to.dentry->inode->mode))
				n = -ENOTDIR;
		}
	} else {
		n = i->ops->readlink ? i->ops->readlink(i, buf, PATH_MAX - 1) : -EINVAL;
		if (n == 0)
			n = -ENOENT;
	}
	if (n < 0)
		goto out;
	memcpy(buf + n, tail, tail_len + 1);
	quire_kfree(w->buf); /* tail may lie in it */
	w->buf = buf;
	*next = buf;
	if (n && buf[0] == '/') {
		path_put(&w->path);
		w->path = w->root;
		path_get(&w->path);
	}
	dentry_put(d);
	return 0;
out:
	quire_kfree(buf);
	dentry_put(d);
	return n;
}

static void set_last(struct walk *w, const char *name, size_t len, bool slash)
{
	memcpy(w->last, name, len);
	w->last[len] = 0;
	w->last_len = len;
	w->last_slash = slash;
	w->last_dot = len == 1 && name[0] == '.';
	w->last_dotdot = len == 2 && name[0] == '.' && name[1] == '.';
}

/* One name in the directory the walk stands in.  *p moves on. */
static int walk_name(struct walk *w, const char **p, size_t len, u32 flags)
{
	const char *tail = *p + len, *rest = tail;
	struct dentry *d;
	int err;

	while (*rest == '/')
		rest++;
	d = dentry_lookup(w->path.dentry, *p, len, &err);
	if (!d)
		return err;
	if (!d->inode) {
		dentry_put(d);
		return -ENOENT;
	}
	if (S_ISLNK(d->inode->mode) && (*tail || (flags & LOOKUP_FOLLOW)))
		return walk_link(w, d, tail, p);
	walk_enter(w, d);
	if (*tail && !S_ISDIR(w->path.dentry->inode->mode))
		return -ENOTDIR;
	*p = rest;
	return 0;
}

int walk_along(struct walk *w, const char *p, u32 flags, bool parent)
{
	w->last_len = 0;
	for (;;) {
		struct inode *dir = w->path.dentry->inode;
		const char *rest;
		size_t len = 0;
		int err;

		while (*p == '/')
			p++;
		if (!*p)
			return 0;
		while (p[len] && p[len] != '/')
			len++;
		if (!S_ISDIR(dir->mode))
			return -ENOTDIR;
		err = inode_permission(dir, 1);
		if (err)
			return err;
		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		for (rest = p + len; *rest == '/';)
			rest++;
		if (parent && !*rest) {
			set_last(w, p, len, p[len] == '/');
			return 0;
		}
		if (len == 1 && p[0] == '.') {
			p = rest;
		} else if (len == 2 && p[0] == '.' && p[1] == '.') {
			err = walk_up(w);
			if (err)
				return err;
			p = rest;
		} else {
			err = walk_name(w, &p, len, flags);
			if (err)
				return err;
		}
	}
}

int path_lookup(int dirfd, const char *path, u32 flags, struct path *out)
{
	struct walk w;
	int err;

	if (!*path && !(flags & LOOKUP_EMPTY))
		return -ENOENT;
	err = walk_start(&w, dirfd, path);
	if (err)
		return err;
	err = walk_along(&w, path, flags, false);
	if (!err && (flags & LOOKUP_DIRECTORY) && !S_ISDIR(w.path.dentry->inode->mode))
		err = -ENOTDIR;
	if (!err) {
		*out = w.path;
		w.path = (struct path){0};
	}
	walk_end(&w);
	return err;
}

int path_parent(int dirfd, const char *path, struct path *out, char *last)
{
	struct walk w;
	int err;

	if (!*path)
		return -ENOENT;
	err = walk_start(&w, dirfd, path);
	if (err)
		return err;
	err = walk_along(&w, path, LOOKUP_FOLLOW, true);
	if (!err) {
		*out = w.path;
		path_get(out);
		memcpy(last, w.last, w.last_len);
		last[w.last_len] = 0;
	}
	walk_end(&w);
	return err;
}

/* ---- names of paths -----------------------------------------------------------------------------
 */

static char *prepend(char *at, const char *buf, const char *s, size_t len)
{
	if (!at || (size_t)(at - buf) < len)
		return NULL;
	memcpy(at - len, s, len);
	return at - len;
}

/* The names from p up to root, at the end of the buffer; null when they don't fit. */
static char *name_up_locked(const struct path *p, const struct path *root, char *buf, char *end,
			    bool *reached)
{
	const struct dentry *d = p->dentry;
	const struct mount *m = p->mnt;
	char *at = end;

	*reached = true;
	while (at && !(d == root->dentry && m == root->mnt)) {
		if (m && d == m->root) {
			*reached = m->parent;
			if (!m->parent)
				break;
			d = m->at;
			m = m->parent;
			continue;
		}
		if (!d->parent) { /* moved out of what the mount shows: there is no name */
			*reached = false;
			at = end;
			break;
		}
		at = prepend(at, buf, d->name, d->len);
		at = prepend(at, buf, "/", 1);
		d = d->parent;
	}
	return at == end ? prepend(at, buf, "/", 1) : at;
}

char *path_name_from(const struct path *p, const struct path *root, char *buf, size_t max,
		     bool *reached)
{
	char *end = buf + max - 1, *at;

	*reached = true;
	if (!p->dentry || max < 2)
		return NULL;
	*end = 0;
	if (!p->mnt) /* pipes and the like: the dentry's name is a label */
		return prepend(end, buf, p->dentry->name, p->dentry->len);
	spin_lock(&mount_lock);
	spin_lock(&d_lock);
	at = name_up_locked(p, root, buf, end, reached);
	spin_unlock(&d_lock);
	spin_unlock(&mount_lock);
	return at;
}

char *dentry_name(const struct dentry *d, char *buf, size_t max)
{
	static const char deleted[] = "//deleted";
	char *end = buf + max - 1, *at = end;

	*end = 0;
	if (d->unlinked && d->parent)
		at = end = prepend(end, buf, deleted, sizeof(deleted) - 1);
	spin_lock(&d_lock);
	for (; d->parent; d = d->parent) {
		at = prepend(at, buf, d->name, d->len);
		at = prepend(at, buf, "/", 1);
	}
	spin_unlock(&d_lock);
	return at == end ? prepend(at, buf, "/", 1) : at;
}

char *path_name(const struct path *p, char *buf, size_t max)
{
	static const char deleted[] = " (deleted)";
	bool gone = p->dentry && p->mnt && p->dentry->unlinked && !p->dentry->inode->fs->uncached;
	size_t more = gone ? sizeof(deleted) - 1 : 0;
	struct path root;
	bool reached;
	char *at;

	if (max < more + 2)
		return NULL;
	fs_get_root(&root);
	at = path_name_from(p, &root, buf, max - more, &reached);
	path_put(&root);
	if (at && gone)
		memcpy(buf + max - sizeof(deleted), deleted, sizeof(deleted));
	return at;
}
