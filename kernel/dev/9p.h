/* SPDX-License-Identifier: MIT */
/*
 * A client of the 9P2000.L protocol over virtio: one for each exported folder.
 *
 * All calls sleep, may run concurrently, and return 0 (or a count) or -errno as
 * the server gave it.  Memory they take comes from GFP_NOFAIL_OOM allocations, so
 * they may be used for page faults.
 */
#ifndef KERNEL_9P_H
#define KERNEL_9P_H

#include <quire/list.h>
#include <quire/types.h>

struct page;
struct p9_client;

struct p9_fid { /* a handle of the server's on a file */
	struct p9_client *client;
	u32 id;
	struct list pending; /* waits to be clunked */
};

struct p9_qid {
	u8 type;
	u32 version;
	u64 path;
};
#define P9_QTDIR 0x80

struct p9_attr {
	struct p9_qid qid;
	u32 mode, uid, gid;
	u64 nlink, rdev, size, blksize, blocks;
	s64 atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns;
};

enum {
	P9_SET_MODE = 1,
	P9_SET_UID = 2,
	P9_SET_GID = 4,
	P9_SET_SIZE = 8,
	P9_SET_ATIME = 16,
	P9_SET_MTIME = 32,
	P9_SET_CTIME = 64,
	P9_SET_ATIME_TO = 128,
	P9_SET_MTIME_TO = 256,
};
struct p9_setattr {
	u32 valid, mode, uid, gid;
	u64 size;
	s64 atime, atime_ns, mtime, mtime_ns;
};

struct p9_statfs {
	u32 type, bsize;
	u64 blocks, bfree, bavail, files, ffree, fsid;
	u32 namelen;
};

/* Attach to the export with this mount tag.  -ENODEV: there is none. */
int p9_mount(const char *tag, struct p9_client **client, struct p9_fid **root);

/* A new handle on the entry `name` of directory from; name null: on from itself. */
int p9_walk(struct p9_fid *from, const char *name, struct p9_fid **out, struct p9_qid *qid);
/* Walk to n names of a directory and get their attributes, all at the same time.  Each
 * gets its own result; -EAGAIN: it wasn't tried.  n <= P9_BATCH. */
#define P9_BATCH 16
struct p9_lookup {
	const char *name;
	struct p9_fid *fid;
	struct p9_attr attr;
	int err;
};
void p9_lookup_many(struct p9_fid *dir, struct p9_lookup *v, unsigned n);
/* Give a handle up.  Doesn't wait and doesn't sleep. */
void p9_clunk(struct p9_fid *fid);

int p9_getattr(struct p9_fid *fid, struct p9_attr *out);
int p9_setattr(struct p9_fid *fid, const struct p9_setattr *a);
int p9_readlink(struct p9_fid *fid, char *buf, size_t max); /* length, no terminator */
int p9_statfs(struct p9_fid *fid, struct p9_statfs *out);

/* Open for I/O (O_RDONLY ... of Linux). */
int p9_lopen(struct p9_fid *fid, u32 flags);
/* Create and open a regular file; fid, a directory's, becomes the file's. */
int p9_lcreate(struct p9_fid *fid, const char *name, u32 flags, u32 mode, u32 gid);
/* Move bytes of an open file straight to or from n whole pages at consecutive offsets.
 * Bytes moved; reads give fewer at the end of the file. */
s64 p9_read_pages(struct p9_fid *fid, u64 pos, struct page **pages, unsigned n, size_t bytes);
s64 p9_write_pages(struct p9_fid *fid, u64 pos, struct page **pages, unsigned n, size_t bytes);
int p9_fsync(struct p9_fid *fid, bool data_only);
/* Directory entries from a position on, into buf (kmalloc'ed): bytes, 0 at the end.  Each is
 * qid (13), u64 next position, u8 type, u16 length, name. */
int p9_readdir(struct p9_fid *fid, u64 pos, void *buf, u32 max);

int p9_mkdir(struct p9_fid *dir, const char *name, u32 mode, u32 gid);
int p9_symlink(struct p9_fid *dir, const char *name, const char *target, u32 gid);
int p9_link(struct p9_fid *dir, struct p9_fid *target, const char *name);
int p9_renameat(struct p9_fid *from, const char *name, struct p9_fid *to, const char *new_name);
int p9_unlinkat(struct p9_fid *dir, const char *name, bool directory);

#endif
