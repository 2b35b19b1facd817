/* SPDX-License-Identifier: MIT */
/*
 * Mounts: the tree that programs see, put together at start.
 *
 * The root is the host's file system as a layer; /proc, /sys, /dev and /dev/shm are
 * the kernel's own; each --rw folder is mounted at its own path, written through.  A
 * mount is never taken away, so nothing counts them and `mounts` is only appended to
 * while one thread runs.
 */
#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../boot/boot.h"
#include "../dev/hostio.h"
#include "../lib/print.h"
#include "../lib/string.h"
#include "dcache.h"
#include "devnode.h"
#include "procfs.h"

struct list mounts = LIST_INIT(mounts);

static struct mount *mount_new(struct fs *fs, struct dentry *root, const char *options)
{
	struct mount *m = quire_kmalloc(sizeof(*m), GFP_KERNEL | GFP_ZERO);

	if (!m)
		return NULL;
	m->fs = fs;
	m->root = root;
	m->options = options;
	return m;
}

int mount_at(const char *path, struct fs *fs, struct dentry *root, const char *options)
{
	struct mount *m;
	struct path at;
	int err = path_lookup(AT_FDCWD, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &at);

	if (err)
		return err;
	m = mount_new(fs, root, options);
	if (!m) {
		path_put(&at);
		return -ENOMEM;
	}
	m->parent = at.mnt;
	m->at = at.dentry; /* the reference stays with the mount */
	list_add_tail(&mounts, &m->all);
	__atomic_store_n(&at.dentry->mounted, m, __ATOMIC_RELEASE);
	return 0;
}

/* Make sure of a folder to mount on; it is made in the layer only. */
static void ensure_dir(const char *path)
{
	char last[NAME_MAX + 1];
	struct path parent;
	struct dentry *d;
	int err;

	if (path_parent(AT_FDCWD, path, &parent, last))
		return;
	d = dentry_lookup(parent.dentry, last, strlen(last), &err);
	if (d && !d->inode) {
		struct inode *dir = parent.dentry->inode;

		mutex_lock(&dir->lock);
		dir->ops->mkdir(dir, d, 0755);
		mutex_unlock(&dir->lock);
	}
	if (d)
		dentry_put(d);
	path_put(&parent);
}

static void mount_own(const char *path, struct fs *fs, struct dentry *root, const char *options)
{
	int err;

	if (!fs)
		quire_host_panic("no memory for the file system at %s", path);
	ensure_dir(path);
	err = mount_at(path, fs, root, options);
	if (err)
		quire_host_log(QUIRE_LOG_ERR, "%s can't be mounted: error %d", path, -err);
}

/* The path of the n-th folder of --rw, kmalloc'ed; null: there aren't so many. */
static char *rw_path(unsigned n)
{
	size_t len;
	const char *name = config_get(CONFIG_RW, n, &len);
	char *path = name ? quire_kmalloc(len + 1, GFP_KERNEL) : NULL;

	if (!name)
		return NULL;
	REQUIRE(path);
	memcpy(path, name, len);
	path[len] = 0;
	return path;
}

/* The n-th --rw folder's file system; path is kept. */
static struct fs *rw_fs(unsigned n, const char *path, struct dentry **root, int *err)
{
	char *tag = quire_kmalloc(16, GFP_KERNEL); /* stays, for /proc/mounts */

	REQUIRE(tag);
	snprintf(tag, 16, "rw%u", n);
	return layerfs_new(tag, strcmp(path, "/") ? path : "", true, root, err);
}

static void mount_root(void)
{
	struct dentry *root;
	struct fs *fs = NULL;
	struct mount *m;
	char *path;
	int err = 0;

	for (unsigned n = 0; !fs && !err && (path = rw_path(n)); n++) {
		if (!strcmp(path, "/"))
			fs = rw_fs(n, path, &root, &err);
		quire_kfree(path);
	}
	if (!fs && !err)
		fs = layerfs_new("root", "", false, &root, &err);
	if (!fs)
		quire_host_panic("the host's file system can't be reached (9p, error %d)", -err);
	m = mount_new(fs, root, "rw,noatime");
	if (!m)
		quire_host_panic("no memory for the root");
	list_add_tail(&mounts, &m->all);
}

static void mount_dev(void)
{
	struct dentry *root;
	struct fs *fs = memfs_new("devtmpfs", &root);
	int err = fs ? devnode_fill(fs, root) : -ENOMEM;

	if (err)
		quire_host_panic("/dev can't be filled (error %d)", -err);
	mount_own("/dev", fs, root, "rw,nosuid,noatime");
	fs = memfs_new("tmpfs", &root);
	if (fs)
		root->inode->mode = S_IFDIR | 01777;
	mount_own("/dev/shm", fs, root, "rw,nosuid,nodev,noatime");
	fs = devpts_new(&root);
	mount_own("/dev/pts", fs, root, "rw,nosuid,noexec,relatime");
}

/* Mount the --rw folders whose paths are this long; the longest path's length. */
static size_t mount_rw(size_t len)
{
	struct dentry *root;
	struct fs *fs;
	size_t longest = 0;
	char *path;
	int err;

	for (unsigned n = 0; (path = rw_path(n)); n++) {
		longest = quire_max(longest, strlen(path));
		if (strlen(path) != len || !strcmp(path, "/")) {
			quire_kfree(path);
			continue;
		}
		fs = rw_fs(n, path, &root, &err);
		if (fs)
			err = mount_at(path, fs, root, "rw,noatime");
		if (err)
			quire_host_panic("the folder %s of --rw can't be mounted (error %d)", path,
					 -err);
	}
	return longest;
}

void vfs_init(void)
{
	struct dentry *root;
	struct fs *fs;

	dcache_init();
	inode_cache_init();
	mount_root();
	/* Upper folders first, so that one inside another isn't covered. */
	for (size_t len = 1, longest = mount_rw(0); len <= longest; len++)
		mount_rw(len);
	fs = procfs_new(&root);
	mount_own("/proc", fs, root, "rw,nosuid,nodev,noexec,relatime");
	fs = sysfs_new(&root);
	mount_own("/sys", fs, root, "ro,nosuid,nodev,noexec,relatime");
	mount_dev();
}

int vfs_sync_all(void)
{
	struct mount *m;
	int err, first = 0;

	list_for_each (m, &mounts, all) {
		err = m->fs->sync ? m->fs->sync(m->fs) : 0;
		if (!first)
			first = err;
	}
	return first;
}
