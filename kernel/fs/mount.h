/* SPDX-License-Identifier: MIT */
/*
 * Inside fs/: the trees of mounts, and the namespaces that they belong to.
 *
 * A mount shows the tree of a file system, from some directory (or file) of it down, at a
 * mount point.  Each mount belongs to one namespace, whose tree begins at ns->root, or to none:
 * then it isn't in any tree, and goes with its last user.
 */
#ifndef KERNEL_FS_MOUNT_H
#define KERNEL_FS_MOUNT_H

#include "dcache.h"

/* mount(2)'s flags.  Those of MS_MOUNT are a mount's own. */
#define MS_RDONLY 1u
#define MS_NOSUID 2u
#define MS_NODEV 4u
#define MS_NOEXEC 8u
#define MS_REMOUNT 32u
#define MS_NOSYMFOLLOW 256u
#define MS_NOATIME 1024u
#define MS_NODIRATIME 2048u
#define MS_BIND 4096u
#define MS_MOVE 8192u
#define MS_REC 16384u
#define MS_SILENT 32768u
#define MS_UNBINDABLE (1u << 17)
#define MS_PRIVATE (1u << 18)
#define MS_SLAVE (1u << 19)
#define MS_SHARED (1u << 20)
#define MS_RELATIME (1u << 21)
#define MS_STRICTATIME (1u << 24)
#define MS_ATIME (MS_NOATIME | MS_NODIRATIME | MS_RELATIME)
#define MS_MOUNT (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOSYMFOLLOW | MS_ATIME)

struct mount {
	struct fs *fs;       /* in use by it */
	struct dentry *root; /* referenced, as at */
	s32 refs;            /* atomic: paths, the namespace */
	s32 writers;         /* atomic: files open for writing, changes under way */
	u32 flags;           /* MS_MOUNT; atomic */
	u32 id;
	char *source; /* kmalloc'ed */
	/* Guarded by mount_lock: */
	struct mount *parent; /* null: root of its namespace, or in none */
	struct dentry *at;    /* the mount point in parent */
	struct list children, sibling;
	struct list all;     /* in ns->mounts */
	struct list same_fs; /* in fs->mounts */
	struct mnt_ns *ns;   /* null: in none */
	bool unbindable;
	bool expiring; /* umount2(MNT_EXPIRE) has asked, and nobody has used it since */
};

#define NO_MOUNT_ID 13u /* of what is in no tree */

struct mnt_ns {
	s32 refs; /* atomic: fsctx, files of /proc/PID/ns */
	u64 ino;
	struct list mounts; /* guarded by mount_lock, as the rest */
	unsigned nr_mounts;
	struct mount *root;
};

/* Serialises changes of the trees; RANK_HOST_OUTER + 5. */
extern struct mutex mount_mutex;
/* The trees themselves: RANK_HOST_MID + 7.  Changes are made with both. */
extern struct spinlock mount_lock;
extern struct mnt_ns *first_ns;
/* How many mounts a namespace may have (/proc/sys/fs/mount-max); atomic. */
extern unsigned mount_max;

/* A mount in no tree, with one reference, of fs from root on; takes references of its own on
 * both.  Null: no memory. */
struct mount *mount_new(struct fs *fs, struct dentry *root, u32 flags, const char *source);
/* mount_put() that doesn't count as use of it (MNT_EXPIRE). */
void mount_put_unused(struct mount *m);
/* The namespace of the current task. */
struct mnt_ns *current_ns(void);
/* Is m in the tree of that namespace? */
bool mount_is_in(const struct mount *m, const struct mnt_ns *ns);

/* The rest is called with mount_mutex held. */

/* Put the tree below m (its reference becomes the namespace's) on top of whatever is at `to`.
 * -EINVAL: that isn't in the caller's namespace; -ENOENT: it is gone; -ENOTDIR; -ENOSPC:
 * there are too many; -EBUSY: the same file system is there already, and may not be a second
 * time. */
int mount_attach(struct mount *m, const struct path *to, bool twice);
/* Move m, which is attached, to another place.  -ELOOP: that is below it. */
int mount_move(struct mount *m, const struct path *to);
/* A copy of the tree below m, in no namespace, from `root` on; deep: with what is mounted
 * below there, but for the unbindable.  map: called with each pair of mounts; or null. */
struct mount *mount_copy(struct mount *m, struct dentry *root, bool deep,
			 void (*map)(void *arg, struct mount *old, struct mount *copy), void *arg);
/* Take the tree below m apart; its mounts go onto `gone`, for mounts_release(). */
void mount_detach(struct mount *m, struct list *gone);
/* Not mount_mutex: give up what mount_detach() collected.  Sleeps. */
void mounts_release(struct list *gone);
/* Is m used by more than `refs` references, or is something mounted on it? */
bool mount_busy(struct mount *m, s32 refs);

/* Set a mount's flags, or make its file system read-only (or not).  -EBUSY: it is written to. */
int mount_set_flags(struct mount *m, u32 flags);
int fs_set_readonly(struct fs *fs, bool readonly);

/* References to all mounts of the namespace, kmalloc'ed; null: no memory. */
struct mount **mounts_of(struct mnt_ns *ns, unsigned *n);

/* path.c: where d is in its file system; the start inside buf, or null: it doesn't fit. */
char *dentry_name(const struct dentry *d, char *buf, size_t max);

/* memfs.c: what mount(2) makes.  options: "name=value,...", is changed. */
int memfs_mount(char *options, struct fs **out, struct dentry **root);
/* The file system of devices: there is one. */
struct fs *devtmpfs(struct dentry **root);

#endif
