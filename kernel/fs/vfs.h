/* SPDX-License-Identifier: MIT */
/*
 * Files: inodes, directory entries, open files, and path look-up.
 *
 * There is one tree of dentries per mount.  The file system over the host's
 * files (fs/rootfs.c) keeps every change in these very structures: the cache of
 * dentries, inodes and pages *is* the copy-on-write layer.  tmpfs is the same
 * file system without a store below.
 *
 * Locking: inode->lock (mutex, RANK_HOST_OUTER + 8) guards a file's size and
 * content against other writers, and a directory's children; renames take
 * rename_lock (RANK_HOST_OUTER + 6) first and then the inodes' in order of address
 * (_nested).  d_lock (spin, RANK_HOST_MID + 8) guards the hash and the child lists, and
 * look-ups of cached names need nothing else.
 */
#ifndef KERNEL_VFS_H
#define KERNEL_VFS_H

#include <quire/cache.h>

#include "../arch/uaccess.h"
#include "../proc/proc.h"
#include "../sched/sched.h"

/* Linux's values */
#define S_IFMT 0170000u
#define S_IFSOCK 0140000u
#define S_IFLNK 0120000u
#define S_IFREG 0100000u
#define S_IFBLK 0060000u
#define S_IFDIR 0040000u
#define S_IFCHR 0020000u
#define S_IFIFO 0010000u
#define S_ISDIR(m) (((m)&S_IFMT) == S_IFDIR)
#define S_ISREG(m) (((m)&S_IFMT) == S_IFREG)
#define S_ISLNK(m) (((m)&S_IFMT) == S_IFLNK)
#define S_ISCHR(m) (((m)&S_IFMT) == S_IFCHR)
#define S_ISBLK(m) (((m)&S_IFMT) == S_IFBLK)
#define S_ISFIFO(m) (((m)&S_IFMT) == S_IFIFO)
#define S_ISSOCK(m) (((m)&S_IFMT) == S_IFSOCK)

#define O_ACCMODE 3u
#define O_RDONLY 0u
#define O_WRONLY 1u
#define O_RDWR 2u
#define O_CREAT 0100u
#define O_EXCL 0200u
#define O_NOCTTY 0400u
#define O_TRUNC 01000u
#define O_APPEND 02000u
#define O_NONBLOCK 04000u
#define O_DSYNC 010000u
#define O_ASYNC 020000u
#define O_DIRECT 040000u
#define O_LARGEFILE 0100000u
#define O_DIRECTORY 0200000u
#define O_NOFOLLOW 0400000u
#define O_NOATIME 01000000u
#define O_CLOEXEC 02000000u
#define O_SYNC 04010000u
#define O_PATH 010000000u
#define O_TMPFILE 020200000u

#define AT_FDCWD (-100)
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_REMOVEDIR 0x200
#define AT_SYMLINK_FOLLOW 0x400
#define AT_NO_AUTOMOUNT 0x800
#define AT_EMPTY_PATH 0x1000

#define PATH_MAX 4096
#define NAME_MAX 255

struct inode;
struct dentry;
struct mount;
struct file;
struct fs;
struct attr;
struct seq;
struct mnt_ns;

struct timespec64 {
	s64 sec;
	s64 nsec;
};

struct inode_ops {
	/* Directories; the directory's lock is held.  d is negative and gets its inode. */
	int (*lookup)(struct inode *dir,
		      struct dentry *d); /* 0 with d positive or negative, or -errno */
	int (*create)(struct inode *dir, struct dentry *d, u32 mode,
		      u64 rdev); /* any type but dir, symlink */
	int (*mkdir)(struct inode *dir, struct dentry *d, u32 mode);
	int (*symlink)(struct inode *dir, struct dentry *d, const char *target);
	int (*link)(struct inode *dir, struct dentry *d, struct inode *target);
	int (*unlink)(struct inode *dir, struct dentry *d);
	int (*rmdir)(struct inode *dir, struct dentry *d);
	/* A file without a name, its last reference frees it (O_TMPFILE).  May be null. */
	int (*tmpfile)(struct inode *dir, u32 mode, struct inode **out);
	int (*rename)(struct inode *from, struct dentry *fd, struct inode *to, struct dentry *td,
		      u32 flags);
	/* Any inode. */
	int (*readlink)(struct inode *i, char *buf, size_t max); /* length */
	/* /proc/self/exe and the like: jump straight to a path.  Null for ordinary links. */
	int (*follow)(struct inode *i, struct path *out);
	/* Make a change of attributes last (mask: ATTR_*); inode lock held.  Size changes
	 * include the page cache. */
	int (*setattr)(struct inode *i, const struct attr *a);
	int (*refresh)(struct inode *i); /* before stat: bring attributes up to date; may be null */
	/* An opened file gets its ops and private data; default: i->fops. */
	int (*open)(struct inode *i, struct file *f);
	void (*release)(struct inode *i); /* the last reference is gone: drop store handles */
	s64 (*getxattr)(struct inode *i, const char *name, void *buf, size_t size);
	/* Directories whose names come and go by themselves (/proc): is a cached d still
	 * right?  False: it is dropped and looked up again.  No lock is held.  May be null. */
	bool (*revalidate)(struct dentry *d);
	/* May the caller do all the same what the mode forbids?  May be null. */
	bool (*permits)(struct inode *i);
	/* Does something else than the mode forbid all access?  0 or -errno.  May be null. */
	int (*forbids)(struct inode *i);
};

enum {
	ATTR_MODE = 1,
	ATTR_UID = 2,
	ATTR_GID = 4,
	ATTR_SIZE = 8,
	ATTR_ATIME = 16,
	ATTR_MTIME = 32,
	ATTR_CTIME = 64
};
struct attr {
	u32 mask, mode, uid, gid;
	u64 size;
	struct timespec64 atime, mtime, ctime;
};

struct inode {
	const struct inode_ops *ops;
	const struct file_ops *fops;
	struct fs *fs;
	s32 refs;                  /* atomic: dentries, open files, mappings' owners */
	u32 mode, uid, gid, nlink; /* guarded by lock; read without */
	u64 ino, rdev, size, blocks;
	struct timespec64 atime, mtime, ctime;
	struct mutex lock;
	struct quire_mapping mapping;
	u64 writing_end; /* where a write under way ends, else 0; guarded by lock, read without */
	s32 writers;     /* open for writing; < 0: being executed (ETXTBSY) */
	u32 seals;       /* memfd */
	bool linkable;   /* O_TMPFILE: it may get a name though it has none; guarded by lock */
	void *private;   /* the file system's: store handle, pipe, device, proc entry */
	struct list fs_list;
	void *flocks;    /* fs/lock.c */
	struct list lru; /* unused and clean */
	u64 dev;         /* st_dev where it isn't fs->dev; else 0 */
};

struct dentry {
	struct dentry *parent;
	struct inode *inode; /* null: negative (known not to exist) */
	s32 mounted;         /* how many mounts are on it, in any namespace; atomic */
	s32 refs;
	u32 hash;
	struct list hash_node, sibling, children, lru;
	bool complete; /* all children of the directory are in the cache */
	bool unlinked;
	bool pinned;   /* changed here: may not be dropped from the cache */
	bool in_store; /* the store has an entry of this name (maybe another file) */
	bool dead;     /* dropped from the cache; freed after a grace period */
	u16 len;
	u64 seq; /* order of pinned names in their directory, for readdir */
	struct quire_rcu rcu;
	const char *name; /* len bytes and a terminator; changed by rename under d_lock */
	char iname[];     /* where name was at first */
};

struct fs {
	const char *type; /* for /proc/mounts */
	u64 dev;          /* st_dev */
	u32 magic;        /* statfs */
	bool readonly;    /* atomic */
	bool transient;   /* it ends with its last mount; else it stays for good */
	s32 uses;         /* mounts; atomic */
	s32 refs;         /* if transient: its inodes, and one while it is used; atomic */
	struct dentry *root;
	struct list mounts; /* mount->same_fs; guarded by mount_lock */
	/* Options as in /proc/mounts, each with a comma before it.  May be null. */
	void (*show_options)(struct fs *fs, struct seq *s);
	/* mount(2) with MS_REMOUNT: 0 or -errno.  Null: there are no options. */
	int (*remount)(struct fs *fs, char *options);
	void *private;
	void (*statfs)(struct fs *fs, void *linux_statfs);
	u64 next_ino;
	bool noexec;   /* nothing of it is run, or mapped to be run (/proc) */
	bool uncached; /* names aren't kept: each look-up makes its own dentry (/proc) */
	struct quire_kmem
	    *inodes; /* cache that inodes come from, struct inode first; null: default */
	int (*sync)(struct fs *fs); /* store what is dirty; may be null */
	/* Drop a reference; true when it was the last one and nobody can find i any more.
	 * Null: the count alone decides. */
	bool (*inode_last)(struct inode *i);
	/* Attributes or content now differ from the store's.  Doesn't sleep.  May be null. */
	void (*inode_dirty)(struct inode *i);
	/* Make a file's stored content last, after its dirty pages were written.  May be null. */
	int (*fsync)(struct inode *i, bool data_only);
};

struct path {              /* with references on both */
	struct mount *mnt; /* null: in no tree (pipes and the like) */
	struct dentry *dentry;
};

/* ---- open files --------------------------------------------------------------------- */

#define POLLIN 0x001u
#define POLLPRI 0x002u
#define POLLOUT 0x004u
#define POLLERR 0x008u
#define POLLHUP 0x010u
#define POLLNVAL 0x020u
#define POLLRDNORM 0x040u
#define POLLRDBAND 0x080u
#define POLLWRNORM 0x100u
#define POLLWRBAND 0x200u
#define POLLRDHUP 0x2000u

/* poll: adds waiters to the queues a file may become ready on.  Null: don't wait. */
struct poll_table {
	void (*queue)(struct poll_table *p, struct waitq *q);
};
static inline void poll_wait(struct poll_table *p, struct waitq *q)
{
	if (p)
		p->queue(p, q);
}

struct dir_emit { /* getdents: false when the buffer is full */
	bool (*emit)(struct dir_emit *e, const char *name, size_t len, u64 ino, u8 type,
		     s64 next_pos);
};

/* Modes of fallocate(2). */
enum {
	FALLOC_KEEP_SIZE = 1,
	FALLOC_PUNCH = 2,
	FALLOC_COLLAPSE = 8,
	FALLOC_ZERO = 16,
	FALLOC_INSERT = 32,
	FALLOC_UNSHARE = 64
};

struct file_ops {
	/* Bytes or -errno; pos is f->pos or a copy (pread); streams ignore it. */
	s64 (*read)(struct file *f, struct iter *it, u64 *pos);
	s64 (*write)(struct file *f, struct iter *it, u64 *pos);
	u32 (*poll)(struct file *f,
		    struct poll_table *p); /* events that are ready now.  Null: always ready */
	s64 (*ioctl)(struct file *f, u32 cmd, u64 arg);     /* null: -ENOTTY */
	s64 (*seek)(struct file *f, s64 off, int whence);   /* null: -ESPIPE */
	int (*readdir)(struct file *f, struct dir_emit *e); /* from f->pos on */
	/* mmap(2): 0, or -errno, when nothing else is wrong with it.  Null: -ENODEV. */
	int (*mmap)(const struct file *f);
	int (*fsync)(struct file *f, bool data_only);
	s64 (*fallocate)(struct file *f, int mode, u64 off, u64 len);
	int (*flush)(struct file *f);    /* each close(2) */
	void (*release)(struct file *f); /* the last reference is gone */
	void (*show_fdinfo)(struct file *f, char *buf, size_t max);
};

struct file {                 /* an open file description */
	struct quire_file vm; /* first: quire_file <-> file */
	s32 refs;             /* atomic */
	u32 flags;            /* O_*; guarded by lock when changed */
	const struct file_ops *ops;
	struct inode *inode;
	struct path path;      /* mnt may be null (pipes, memfd: name is dentry's) */
	u64 pos;               /* guarded by pos_lock */
	struct mutex pos_lock; /* RANK_HOST_OUTER + 2 */
	bool can_read, can_write, seekable;
	bool writer; /* counted in inode->writers */
	struct quire_rcu rcu;
	void *private;
	void *owner;   /* F_SETOWN */
	void *epitems; /* io/epoll.c: who watches it; file_put() calls epoll_forget() */
};

/* file.c */
struct file *file_alloc(void); /* refs 1; null: no memory */
void file_get(struct file *f);
void file_put(struct file *f);
/* For pipes, sockets, memfd...: an open file over a new inode with no name in the tree;
 * label as /proc/PID/fd shows it ("pipe:[7]", "/memfd:x (deleted)"). */
struct file *file_anon(const char *label, struct inode *i, const struct file_ops *ops, u32 flags);
/* Set the position, from the start or from where it is; there is no end to count from.  The
 * seek of directories and of what is made up on reading, and the last step of others'. */
s64 file_seek(struct file *f, s64 off, int whence);
/* Open by path, checking permissions as open(2).  0 or -errno. */
int file_open(int dirfd, const char *path, u32 flags, u32 mode, struct file **out);
int file_open_path(const struct path *p, u32 flags, struct file **out);
/* A reference unless the last one is gone; files are freed after a grace period, so a
 * descriptor table may be read under RCU. */
bool file_try_get(struct file *f);
/* Writing is denied while a program runs it, running while it is open for writing:
 * 0 or -ETXTBSY.  exec holds inode_deny_write() until it has mapped the program and for as
 * long as it is uspace->exe. */
int inode_deny_write(struct inode *i);
void inode_allow_write(struct inode *i);
/* From inside the kernel, no user iterator: bytes or -errno. */
s64 file_read_kernel(struct file *f, void *buf, size_t n, u64 pos);

/* fdtable.c: the descriptors of a process; ids by lowest free, up to RLIMIT_NOFILE */
struct fdtable *fdtable_new(void);
struct fdtable *fdtable_copy(struct fdtable *t);
void fdtable_get(struct fdtable *t);
void fdtable_put(struct fdtable *t);
void fdtable_close_on_exec(struct fdtable *t);
struct file *fd_get(int fd); /* with a reference, or null (EBADF) */
int fd_install(struct file *f, bool cloexec,
	       int at_least); /* consumes f's reference on success; fd or -EMFILE */
int fd_close(int fd);
/* For /proc/PID/fd: the lowest fd >= from of t with its file referenced, or -1. */
int fdtable_next(struct fdtable *t, int from, struct file **f);

/* ---- look-up ---------------------------------------------------------------------------- */

enum { LOOKUP_FOLLOW = 1, LOOKUP_DIRECTORY = 2, LOOKUP_EMPTY = 4, LOOKUP_CREATE = 8 };
/* Resolve path from dirfd (or the root, or cwd).  0 with references in *out, or -errno
 * (ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG). */
int path_lookup(int dirfd, const char *path, u32 flags, struct path *out);
/* All but the last component: parent in *out, the last name in last[NAME_MAX + 1];
 * -EEXIST/-EINVAL... for "." ".." "/" are the caller's by *last_type. */
int path_parent(int dirfd, const char *path, struct path *out, char *last);
/* User string wrappers. */
int path_from_user(char buf[static PATH_MAX], u64 upath);
void path_get(const struct path *p);
void path_put(struct path *p);
/* The absolute name as the current root sees it, "(deleted)" appended when unlinked; the
 * start inside buf, or an ERR: null when it doesn't fit. */
char *path_name(const struct path *p, char *buf, size_t max);
/* The same as seen from root, without that remark; *reached: it lies below that.  Else the
 * name is that from where its tree begins. */
char *path_name_from(const struct path *p, const struct path *root, char *buf, size_t max,
		     bool *reached);
struct dentry *dentry_lookup(struct dentry *parent, const char *name, size_t len, int *err);
void dentry_get(struct dentry *d);
void dentry_put(struct dentry *d);
/* A directory entry that is not in the tree (yet): negative, one reference, holds one on
 * parent (null: a root).  Null: no memory. */
struct dentry *dentry_new(struct dentry *parent, const char *name, size_t len);
/* Make it positive, for good; consumes the reference on i. */
void dentry_instantiate(struct dentry *d, struct inode *i);
/* A new inode with one reference, times now, owner the caller's fsuid and fsgid. */
struct inode *inode_new(struct fs *fs, u32 mode);
void inode_init(struct inode *i, struct fs *fs, u32 mode); /* the same on allocated memory */
void inode_get(struct inode *i);
void inode_put(struct inode *i);
static inline u64 i_size(const struct inode *i)
{
	return __atomic_load_n(&i->size, __ATOMIC_ACQUIRE);
}
/* 0 or -EACCES; mask: 4 read, 2 write, 1 execute; with fsuid, groups and capabilities. */
int inode_permission(struct inode *i, unsigned mask);
void inode_touch(struct inode *i, u32 mask); /* ATTR_ATIME.. to now */

/* Create a node of any type but directory and symlink (bind(2) of a socket): 0 with *out
 * referenced (null: not wanted), or -errno.  mode: umask is applied. */
int vfs_mknod(int dirfd, const char *path, u32 mode, u64 rdev, struct path *out);
/* Change attributes with the checks of chmod, chown, truncate; takes the lock. */
int vfs_setattr(struct inode *i, struct attr *a);
/* struct stat of Linux x86-64 (144 bytes) of an inode. */
void vfs_fill_stat(struct inode *i, void *linux_stat);
/* The current task's root and working directory; referenced. */
void fs_get_root(struct path *out);
void fs_get_cwd(struct path *out);

/* lock.c: flock(2) and record locks.  User address for uflock: struct flock. */
long file_flock(struct file *f, int op);
long file_posix_lock(struct file *f, int cmd, u64 uflock); /* F_GETLK.. F_OFD_SETLKW */
/* close(2) of any descriptor of f by owner (its struct fdtable): POSIX locks go. */
void locks_close(struct file *f, void *owner);

/* Write dirty pages of --rw folders to the host.  Sleeps. */
int vfs_sync_all(void);

/* Free what is kept of recent directory listings (layerhint.c). */
void vfs_drop_hints(void);

/* mountinit.c */
void vfs_init(void); /* mounts the root over 9p, /proc, /sys, /dev, /dev/shm and the --rw folders */

/* mount.c: mount.h has what the rest of fs/ does with mounts. */
void mount_get(struct mount *m);
void mount_put(struct mount *m);
/* Before something is changed through the mount (null: none), and afterwards: 0 or -EROFS. */
int mount_want_write(struct mount *m);
void mount_drop_write(struct mount *m);
/* What the path's mount (or file system) forbids. */
bool path_readonly(const struct path *p);
bool path_noexec(const struct path *p);
bool path_nodev(const struct path *p);
bool path_nosymfollow(const struct path *p);
struct mnt_ns *first_mnt_ns(void); /* referenced */
void mnt_ns_get(struct mnt_ns *ns);
void mnt_ns_put(struct mnt_ns *ns);
/* fs, which nobody else sees yet, gets a namespace of its own, a copy; its root and working
 * directory are those places in the copy.  0 or -ENOMEM. */
int mnt_ns_unshare(struct fsctx *fs);
/* The root of the namespace, referenced. */
void mnt_ns_root(struct mnt_ns *ns, struct path *out);
/* nsfs.c: the namespace of a file of /proc/PID/ns, not referenced; or null. */
struct mnt_ns *file_mnt_ns(const struct file *f);

/* memfs.c: files that live in memory alone, without a limit. */
struct fs *memfs_new(const char *type, struct dentry **root);
struct inode *memfs_inode(struct fs *fs, u32 mode);
/* generic page-cache file operations: what regular files of every fs use */
extern const struct file_ops cached_file_ops;
u64 inode_mapping_size(struct quire_mapping *m);

/* devices: dev/ registers character devices by number; without a name, /dev has no node */
#define CHRDEV_ANY_MINOR (~0u)
void chrdev_register(u32 major, u32 minor, const char *name, u32 mode, const struct file_ops *ops,
		     int (*open)(struct inode *, struct file *));

#endif
