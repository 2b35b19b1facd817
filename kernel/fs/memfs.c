/* SPDX-License-Identifier: MIT */
/*
 * tmpfs: file systems in memory, with or without a limit.  Their files and directories are
 * the layered file system's, without a layer below.
 *
 * What mount(2) makes has room for so many pages and inodes, half of memory unless its
 * options say otherwise; what the kernel has for memfds and System V's segments has no
 * limit.
 *
 * Locking: counts are atomic; limits change under mount_mutex.
 *
 * What it doesn't do: huge pages and memory policies, so huge= takes nothing but "never"
 * and mpol= is refused.
 */
#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../lib/string.h"
#include "layerfs.h"
#include "mount.h"
#include "proc.h"

#define TMPFS_MAGIC 0x01021994

/* ---- options ------------------------------------------------------------------------------- */

struct memfs_options {
	enum {
		GIVEN_PAGES = 1,
		GIVEN_INODES = 2,
		GIVEN_MODE = 4,
		GIVEN_UID = 8,
		GIVEN_GID = 16
	} given;
	u64 pages, inodes;
	u32 mode, uid, gid;
	int readonly; /* -1: not said */
};

/* A number of the given base at *s, which moves on; false: there is none. */
static bool number(const char **s, unsigned base, u64 *out)
{
	const char *at = *s;
	u64 v = 0;

	while (*at >= '0' && *at < (char)('0' + base))
		v = v * base + (u64)(*at++ - '0');
	*out = v;
	return at != *s && (*s = at);
}

/* A number with a suffix: K, M, G... */
static bool amount(const char **s, u64 *out)
{
	static const char suffix[] = "KMGTPE";
	const char *k;

	if (!number(s, 10, out))
		return false;
	k = **s ? strchr(suffix, **s & ~0x20) : NULL;
	if (k) {
		*out <<= 10 * (k - suffix + 1);
		++*s;
	}
	return true;
}

static bool take_size(const char *value, struct memfs_options *o)
{
	u64 v;

	if (!amount(&value, &v))
		return false;
	if (*value == '%') {
		value++;
		v = (v << QUIRE_PAGE_SHIFT) * quire_total_pages() / 100;
	}
	o->pages = (v + QUIRE_PAGE_SIZE - 1) >> QUIRE_PAGE_SHIFT;
	o->given |= GIVEN_PAGES;
	return !*value;
}

static bool take_id(const char *value, u32 *id)
{
	u64 v;

	if (!number(&value, 10, &v) || *value || v >= ~0U)
		return false;
	*id = (u32)v;
	return true;
}

static bool take_option(const char *name, const char *value, struct memfs_options *o)
{
	u64 v;

	if (!strcmp(name, "ro") || !strcmp(name, "rw")) {
		o->readonly = name[1] == 'o';
		return !value;
	}
	if (!strcmp(name, "inode32") || !strcmp(name, "inode64"))
		return !value;
	if (!value)
		return false;
	if (!strcmp(name, "size"))
		return take_size(value, o);
	if (!strcmp(name, "nr_blocks")) {
		o->given |= GIVEN_PAGES;
		return amount(&value, &o->pages) && !*value;
	}
	if (!strcmp(name, "nr_inodes")) {
		o->given |= GIVEN_INODES;
		return amount(&value, &o->inodes) && !*value;
	}
	if (!strcmp(name, "mode")) {
		o->given |= GIVEN_MODE;
		if (!number(&value, 8, &v) || *value)
			return false;
		o->mode = (u32)v & 07777;
		return true;
	}
	if (!strcmp(name, "uid")) {
		o->given |= GIVEN_UID;
		return take_id(value, &o->uid);
	}
	if (!strcmp(name, "gid")) {
		o->given |= GIVEN_GID;
		return take_id(value, &o->gid);
	}
	return !strcmp(name, "huge") && !strcmp(value, "never");
}

static int parse(char *options, struct memfs_options *o)
{
	o->readonly = -1;
	while (*options) {
		char *name = options, *value;
		size_t n = 0;

		while (name[n] && name[n] != ',')
			n++;
		options += n + (name[n] == ',');
		name[n] = 0;
		if (!n)
			continue;
		value = strchr(name, '=');
		if (value)
			*value++ = 0;
		if (!take_option(name, value, o))
			return -EINVAL;
	}
	return 0;
}

/* ---- what a file system in memory has ---------------------------------------------------------
 */

static struct layer *layer_of_fs(struct fs *fs)
{
	return quire_container_of(fs, struct layer, fs);
}

static u64 default_limit(void)
{
	return quire_total_pages() / 2;
}

static void memfs_statfs(struct fs *fs, void *out)
{
	struct layer *l = layer_of_fs(fs);
	struct linux_statfs *s = out;
	u64 limit = l->space.limit, used = __atomic_load_n(&l->space.used, __ATOMIC_RELAXED);

	if (limit) {
		s->blocks = limit;
		s->bfree = s->bavail = limit > used ? limit - used : 0;
	}
	if (l->inode_limit) {
		s->files = l->inode_limit;
		s->ffree = l->inode_limit - quire_min(l->inode_limit, l->inodes);
	}
	s->fsid[0] = (s32)fs->dev;
	s->fsid[1] = TMPFS_MAGIC;
}

static void memfs_show_options(struct fs *fs, struct seq *s)
{
	struct layer *l = layer_of_fs(fs);

	if (l->space.limit != default_limit())
		seq_printf(s, ",size=%luk", l->space.limit << (QUIRE_PAGE_SHIFT - 10));
	if (l->inode_limit != default_limit())
		seq_printf(s, ",nr_inodes=%lu", l->inode_limit);
	if (l->mode != 01777)
		seq_printf(s, ",mode=%03o", l->mode);
	if (l->uid)
		seq_printf(s, ",uid=%u", l->uid);
	if (l->gid)
		seq_printf(s, ",gid=%u", l->gid);
	seq_puts(s, ",inode64");
}

static int memfs_remount(struct fs *fs, char *options)
{
	struct memfs_options o = {0};
	struct layer *l = layer_of_fs(fs);
	int err = parse(options, &o);

	if (err)
		return err;
	/* What was without a limit stays so, and what is there must fit. */
	if ((o.given & GIVEN_PAGES) && o.pages && (!l->space.limit || l->space.used > o.pages))
		return -EINVAL;
	if ((o.given & GIVEN_INODES) && o.inodes && (!l->inode_limit || l->inodes > o.inodes))
		return -EINVAL;
	if (o.given & GIVEN_PAGES)
		__atomic_store_n(&l->space.limit, o.pages, __ATOMIC_RELAXED);
	if (o.given & GIVEN_INODES)
		__atomic_store_n(&l->inode_limit, o.inodes, __ATOMIC_RELAXED);
	return 0;
}

bool layer_take_inode(struct layer *l)
{
	u64 limit = __atomic_load_n(&l->inode_limit, __ATOMIC_RELAXED);

	if (__atomic_add_fetch(&l->inodes, 1, __ATOMIC_RELAXED) <= limit || !limit)
		return true;
	layer_give_inode(l);
	return false;
}

void layer_give_inode(struct layer *l)
{
	__atomic_sub_fetch(&l->inodes, 1, __ATOMIC_RELAXED);
}

/* ---- making one ---------------------------------------------------------------------------------
 */

static struct fs *finish(struct layer *l, u32 mode, struct dentry **root)
{
	l->fs.magic = TMPFS_MAGIC;
	l->fs.statfs = memfs_statfs;
	l->mode = mode;
	*root = layer_root(l, S_IFDIR | mode);
	if (!*root) {
		quire_kfree(l);
		return NULL;
	}
	l->fs.root = *root;
	return &l->fs;
}

struct fs *memfs_new(const char *type, struct dentry **root)
{
	struct layer *l = layer_alloc(type, 1);

	return l ? finish(l, 0755, root) : NULL;
}

/* With the limits of a mounted one. */
static struct layer *limited(const char *type)
{
	struct layer *l = layer_alloc(type, 1);

	if (!l)
		return NULL;
	l->space.limit = l->inode_limit = default_limit();
	l->limited = true;
	l->fs.show_options = memfs_show_options;
	l->fs.remount = memfs_remount;
	return l;
}

struct fs *devtmpfs(struct dentry **root)
{
	static struct fs *only;
	struct layer *l;

	if (!only) {
		l = limited("devtmpfs");
		only = l ? finish(l, 0755, root) : NULL;
	}
	if (only)
		*root = only->root;
	return only;
}

int memfs_mount(char *options, struct fs **out, struct dentry **root)
{
	struct memfs_options o = {.mode = 01777};
	int err = parse(options, &o);
	struct layer *l;

	if (err)
		return err;
	l = limited("tmpfs");
	if (!l)
		return -ENOMEM;
	if (o.given & GIVEN_PAGES)
		l->space.limit = o.pages;
	if (o.given & GIVEN_INODES)
		l->inode_limit = o.inodes;
	l->fs.transient = true;
	l->fs.refs = 1;
	*out = finish(l, o.mode, root);
	if (!*out)
		return -ENOMEM;
	l->fs.readonly = o.readonly > 0;
	l->uid = (*root)->inode->uid;
	l->gid = (*root)->inode->gid;
	if (o.given & GIVEN_UID)
		l->uid = (*root)->inode->uid = o.uid;
	if (o.given & GIVEN_GID)
		l->gid = (*root)->inode->gid = o.gid;
	return 0;
}

struct inode *memfs_inode(struct fs *fs, u32 mode)
{
	struct node *n = node_new(layer_of_fs(fs), mode);

	return n ? &n->i : NULL;
}
