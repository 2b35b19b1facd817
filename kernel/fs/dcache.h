/* SPDX-License-Identifier: MIT */
/*
 * Inside fs/: the cache of directory entries and inodes, and what path walking,
 * system calls and file systems do with it.  Others use vfs.h.
 */
#ifndef KERNEL_FS_DCACHE_H
#define KERNEL_FS_DCACHE_H

#include "vfs.h"

extern struct spinlock d_lock;   /* RANK_HOST_MID + 8: hash, child lists, names, parents */
extern struct mutex rename_lock; /* RANK_HOST_OUTER + 6: the shape of the trees */

void dcache_init(void);
void inode_cache_init(void);

/* The cached child, positive or negative, with a reference, or null.  Doesn't sleep. */
struct dentry *dentry_cached(struct dentry *parent, const char *name, size_t len);
/* Look a name up with the directory's lock held: cached, or from the file system. */
struct dentry *dentry_lookup_locked(struct dentry *parent, const char *name, size_t len, int *err);
/* Put a dentry from dentry_new() into the tree. */
void dentry_add(struct dentry *d);
/* Take it out of the tree: its name is free again; it is freed with its last reference. */
void dentry_drop(struct dentry *d);
/* d (in the tree or not) becomes parent's child `name`; name is kmalloc'ed and taken over, len
 * bytes and a terminator.  The rename lock and both directories' locks are held. */
void dentry_move(struct dentry *d, struct dentry *parent, const char *name, size_t len);
/* Give up a dentry from dentry_new() that never got into the tree. */
void dentry_drop_new(struct dentry *d);
/* A file that was open for writing is closed. */
void inode_allow_write_end(struct inode *i);
/* Say that this name's state is only here; gives it its place in readdir's order. */
void dentry_pin(struct dentry *d);
/* Is a an ancestor of d or d itself?  rename_lock held. */
bool dentry_is_under(struct dentry *d, struct dentry *a);
/* Drop unused entries beyond the cache's limit.  Sleeps; no lock held. */
void dcache_trim(void);
/* The parent, with a reference. */
struct dentry *dentry_parent(struct dentry *d);

/* ---- path.c */
struct walk {
	struct path path, root;
	unsigned links;          /* symbolic links followed */
	char *buf;               /* rest of the path after a symbolic link */
	char last[NAME_MAX + 1]; /* the last name, also when it is "." or ".." */
	size_t last_len;         /* 0: the path has no name (it is "/") */
	bool last_dot, last_dotdot;
	bool last_slash; /* slashes followed the last name */
};
/* Start at dirfd (or cwd, or root).  0 or -errno; walk_end() in any case of 0. */
int walk_start(struct walk *w, int dirfd, const char *path);
/* Go along path; parent: stop before the last component, which is left in w->last. */
int walk_along(struct walk *w, const char *path, u32 flags, bool parent);
/* d (reference consumed), just found in w->path's directory, is a symbolic link and `tail`
 * follows it in the path: *next is the rest to go along, from w->path. */
int walk_link(struct walk *w, struct dentry *d, const char *tail, const char **next);
/* Enter the child d (reference consumed), crossing mounts that cover it. */
void walk_enter(struct walk *w, struct dentry *d);
void walk_end(struct walk *w); /* puts path, root and buf */

/* A path string from user space in an allocation of its own; free with name_free(). */
char *name_from_user(u64 upath, int *err);
void name_free(char *name);

/* May the current task add to, or remove victim from, this directory?  0 or -errno. */
int may_create(struct inode *dir);
int may_delete(struct inode *dir, struct dentry *victim, bool is_dir);
bool inode_owner_or_capable(struct inode *i);
void now_coarse(struct timespec64 *t);
u32 current_umask(void);

/* Give up a tree of which no path is left: all its entries go, as soon as nobody has them. */
void dentry_kill_tree(struct dentry *root);

/* inode.c: a mount begins or ceases to use fs.  Sleeps. */
void fs_use(struct fs *fs);
void fs_unuse(struct fs *fs);
/* n numbers for st_dev of file systems without a device. */
u64 fs_new_dev(unsigned n);

/* mount.c: what paths do with mounts.  On to what is mounted on *p, and on that. */
void mount_down(struct path *p);
/* *p is the root of its mount: on to what that covers; false: it isn't mounted on anything. */
bool mount_up(struct path *p);
/* Does something in the caller's namespace cover d? */
bool dentry_is_mountpoint_here(struct dentry *d);
/* d has lost its name: so do the mounts on it, in all namespaces.  Sleeps. */
void mounts_leave(struct dentry *d);
/* root is that of the first namespace. */
void mount_first(struct mount *root);

/* layerfs.c: the file system of this kernel, over the export with this tag, which is the
 * folder `base` of the host ("" for "/"; kept). */
struct fs *layerfs_new(const char *tag, const char *base, bool through, struct dentry **root,
		       int *err);

struct linux_statfs { /* struct statfs of x86-64 */
	s64 type, bsize;
	u64 blocks, bfree, bavail, files, ffree;
	s32 fsid[2];
	s64 namelen, frsize, flags, spare[4];
};
_Static_assert(sizeof(struct linux_statfs) == 120, "struct statfs");

#define MAKEDEV(major, minor) \
	((u64)(((minor)&0xffu) | ((major)&0xfffu) << 8 | (u64)((minor) & ~0xffu) << 12))
#define MAJOR(dev) ((u32)((dev) >> 8 & 0xfff))
#define MINOR(dev) ((u32)(((dev)&0xff) | ((dev) >> 12 & 0xfff00)))

enum {
	CAP_CHOWN = 0,
	CAP_DAC_OVERRIDE = 1,
	CAP_DAC_READ_SEARCH = 2,
	CAP_FOWNER = 3,
	CAP_FSETID = 4,
	CAP_SYS_CHROOT = 18,
	CAP_SYS_ADMIN = 21,
	CAP_MKNOD = 27,
};

#endif
