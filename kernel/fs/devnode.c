/* SPDX-License-Identifier: MIT */
/*
 * Character devices by number, and the nodes of /dev.
 *
 * Locking: the table only grows; an entry is complete before `ndevices` counts it.
 */
#include "devnode.h"

#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../lib/string.h"
#include "dcache.h"

#define DEVICES_MAX 32

static struct chrdev {
	u32 major, minor, mode;
	const char *name;
	const struct file_ops *ops;
	int (*open)(struct inode *, struct file *);
} devices[DEVICES_MAX];
static unsigned ndevices;
static struct dentry *dev_root; /* null: /dev isn't there yet */

static int make_node(const struct chrdev *c)
{
	struct inode *dir = dev_root->inode;
	struct dentry *d;
	int err;

	mutex_lock(&dir->lock);
	d = dentry_lookup_locked(dev_root, c->name, strlen(c->name), &err);
	if (d && !d->inode)
		err = dir->ops->create(dir, d, S_IFCHR | c->mode, MAKEDEV(c->major, c->minor));
	mutex_unlock(&dir->lock);
	if (d)
		dentry_put(d);
	return err;
}

void chrdev_register(u32 major, u32 minor, const char *name, u32 mode, const struct file_ops *ops,
		     int (*open)(struct inode *, struct file *))
{
	unsigned n = ndevices;

	REQUIRE(n < DEVICES_MAX);
	devices[n] = (struct chrdev){major, minor, mode, name, ops, open};
	__atomic_store_n(&ndevices, n + 1, __ATOMIC_RELEASE);
	if (dev_root && name)
		make_node(&devices[n]);
}

int chrdev_open(struct inode *i, struct file *f)
{
	unsigned n = __atomic_load_n(&ndevices, __ATOMIC_ACQUIRE);

	for (unsigned k = 0; k < n; k++) {
		if (devices[k].major != MAJOR(i->rdev) ||
		    (devices[k].minor != MINOR(i->rdev) && devices[k].minor != CHRDEV_ANY_MINOR))
			continue;
		f->ops = devices[k].ops;
		return devices[k].open ? devices[k].open(i, f) : 0;
	}
	return -ENXIO;
}

static int make_link(const char *name, const char *target)
{
	struct inode *dir = dev_root->inode;
	struct dentry *d;
	int err;

	mutex_lock(&dir->lock);
	d = dentry_lookup_locked(dev_root, name, strlen(name), &err);
	if (d && !d->inode)
		err = dir->ops->symlink(dir, d, target);
	mutex_unlock(&dir->lock);
	if (d)
		dentry_put(d);
	return err;
}

int devnode_fill(struct fs *fs, struct dentry *root)
{
	static const char *const links[][2] = {{"fd", "/proc/self/fd"},
					       {"stdin", "/proc/self/fd/0"},
					       {"stdout", "/proc/self/fd/1"},
					       {"stderr", "/proc/self/fd/2"}};
	struct inode *dir = root->inode;
	struct dentry *shm;
	int err = 0;

	(void)fs;
	dev_root = root;
	for (unsigned k = 0; !err && k < ndevices; k++)
		if (devices[k].name)
			err = make_node(&devices[k]);
	for (unsigned k = 0; !err && k < quire_array_size(links); k++)
		err = make_link(links[k][0], links[k][1]);
	if (err)
		return err;
	mutex_lock(&dir->lock);
	shm = dentry_lookup_locked(root, "shm", 3, &err);
	if (shm && !shm->inode)
		err = dir->ops->mkdir(dir, shm, 0755);
	mutex_unlock(&dir->lock);
	if (shm)
		dentry_put(shm);
	return err;
}
