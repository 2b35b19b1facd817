/* SPDX-License-Identifier: MIT */
/*
 * The mounts that there are at start.
 *
 * The root is the host's file system as a layer; /proc, /sys, /dev and /dev/shm are
 * the kernel's own; each --rw folder is mounted at its own path, written through.
 *
 * Locking: one thread runs.  The file systems over host folders stay for good, so that
 * sync(2) needs no lock to find them.
 */
#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../boot/boot.h"
#include "../dev/hostio.h"
#include "../lib/print.h"
#include "../lib/string.h"
#include "devnode.h"
#include "mount.h"
#include "procfs.h"

/* The file systems over host folders. */
static struct fs **stored;
static unsigned nr_stored;

static void note_stored(struct fs *fs)
{
	struct fs **v = quire_krealloc(stored, (nr_stored + 1) * sizeof(*v), GFP_KERNEL);

	REQUIRE(v);
	v[nr_stored++] = fs;
	stored = v;
}

static int mount_at(const char *path, struct fs *fs, struct dentry *root, const char *source,
		    u32 flags)
{
	struct mount *m;
	struct path at;
	int err = path_lookup(AT_FDCWD, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &at);

	if (err)
		return err;
	m = mount_new(fs, root, flags, source);
	mutex_lock(&mount_mutex);
	err = m ? mount_attach(m, &at, true) : -ENOMEM;
	mutex_unlock(&mount_mutex);
	path_put(&at);
	return err;
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

static void mount_own(const char *path, struct fs *fs, struct dentry *root, u32 flags)
{
	int err;

	if (!fs)
		quire_host_panic("no memory for the file system at %s", path);
	ensure_dir(path);
	err = mount_at(path, fs, root, fs->type, flags);
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

/* The n-th --rw folder's file system, and its name; path is kept. */
static struct fs *rw_fs(unsigned n, const char *path, char tag[16], struct dentry **root, int *err)
{
	struct fs *fs;

	snprintf(tag, 16, "rw%u", n);
	fs = layerfs_new(tag, strcmp(path, "/") ? path : "", true, root, err);
	if (fs)
		note_stored(fs);
	return fs;
}

static void mount_root(void)
{
	struct dentry *root;
	struct fs *fs = NULL;
	char tag[16] = "root", *path;
	struct mount *m;
	int err = 0;

	for (unsigned n = 0; !fs && !err && (path = rw_path(n)); n++) {
		if (!strcmp(path, "/"))
			fs = rw_fs(n, path, tag, &root, &err);
		quire_kfree(path);
	}
	if (!fs && !err)
		fs = layerfs_new("root", "", false, &root, &err);
	if (!fs)
		quire_host_panic("the host's file system can't be reached (9p, error %d)", -err);
	m = mount_new(fs, root, MS_NOATIME, tag);
	if (!m)
		quire_host_panic("no memory for the root");
	mount_first(m);
}

static void mount_dev(void)
{
	struct dentry *root;
	struct fs *fs = devtmpfs(&root);
	char none[] = "";
	int err = fs ? devnode_fill(fs, root) : -ENOMEM;

	if (err)
		quire_host_panic("/dev can't be filled (error %d)", -err);
	mount_own("/dev", fs, root, MS_NOSUID | MS_NOATIME);
	if (memfs_mount(none, &fs, &root))
		fs = NULL;
	mount_own("/dev/shm", fs, root, MS_NOSUID | MS_NODEV | MS_NOATIME);
	mount_own("/dev/pts", devpts(&root), root, MS_NOSUID | MS_NOEXEC | MS_RELATIME);
}

/* Mount the --rw folders whose paths are this long; the longest path's length. */
static size_t mount_rw(size_t len)
{
	struct dentry *root;
	struct fs *fs;
	char tag[16], *path;
	size_t longest = 0;
	int err;

	for (unsigned n = 0; (path = rw_path(n)); n++) {
		longest = quire_max(longest, strlen(path));
		if (strlen(path) != len || !strcmp(path, "/")) {
			quire_kfree(path);
			continue;
		}
		fs = rw_fs(n, path, tag, &root, &err);
		if (fs)
			err = mount_at(path, fs, root, tag, MS_NOATIME);
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
	mount_own("/proc", fs, root, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME);
	fs = sysfs(&root);
	mount_own("/sys", fs, root, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME);
	mount_dev();
}

int vfs_sync_all(void)
{
	int err, first = 0;

	for (unsigned k = 0; k < nr_stored; k++) {
		err = stored[k]->sync ? stored[k]->sync(stored[k]) : 0;
		if (!first)
			first = err;
	}
	return first;
}
