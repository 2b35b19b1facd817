/* SPDX-License-Identifier: MIT */
/*
 * Inside fs/: the file system whose upper layer is the cache itself.
 *
 * A node may have a store: a handle on a file of the export below.  What isn't in
 * the cache is read from there; what is changed stays in the cache and is pinned.
 * Without an export it is a file system in memory (/dev, /dev/shm, memfd).  In a
 * layer that writes through (--rw) each change goes to the store first.
 */
#ifndef KERNEL_FS_LAYERFS_H
#define KERNEL_FS_LAYERFS_H

#include "../dev/9p.h"
#include "dcache.h"

#define LAYER_DEVS 16

struct layer_dev {
	u64 mark;      /* the export's mark of a device in file numbers */
	u64 dev;       /* as st_dev has it */
	char *path;    /* of a file that is on it; set once */
	bool resolved; /* dev is the host's */
};

struct layer {
	struct fs fs; /* first */
	struct p9_client *client;
	struct p9_fid *root_fid;
	bool through;
	struct spinlock dev_lock; /* RANK_HOST_MID + 10 */
	u32 ndevs;                /* guarded by dev_lock */
	struct layer_dev devs[LAYER_DEVS];
	const char *base; /* path of the root on the host, "" for "/" */
	/* memfs.c: */
	bool limited;             /* pages and inodes are counted */
	struct quire_space space; /* pages */
	u64 inode_limit, inodes;  /* limit 0: none; atomic */
	u32 mode, uid, gid;       /* of the root, for /proc/mounts */
};

struct node {
	struct inode i;       /* first */
	struct p9_fid *fid;   /* the store; null: there is none (never changes between the two) */
	struct p9_fid *rfid;  /* opened for reading: fid, or what it was; guarded by io_lock */
	struct p9_fid *wfid;  /* the same file opened for writing; guarded by io_lock */
	struct list old_fids; /* what fid was before; guarded by io_lock */
	bool stale;           /* written through: the name fid goes by may be gone; atomic */
	struct mutex io_lock; /* RANK_HOST_IO: opening of fids */
	u64 store_size;       /* bytes of the store that still hold; atomic */
	struct timespec64 read_mtime; /* written through: of the content that is cached */
	u64 key;                      /* the export's number of the file */
	struct list hash;             /* by key; guarded by table_lock */
	struct hint *hint;            /* layerhint.c: names listed lately */
	char *target;                 /* of a symbolic link; null: not read yet; set once */
	u8 dev_index;                 /* in layer->devs */
	bool uncounted;               /* it found no room among its layer's inodes */
	u32 dirty;                    /* differs from the store; atomic */
	u32 synced;                   /* layer_sync()'s pass; guarded by table_lock */
};

static inline struct node *node_of(struct inode *i)
{
	return quire_container_of(i, struct node, i);
}
static inline struct layer *layer_of(struct inode *i)
{
	return quire_container_of(i->fs, struct layer, fs);
}

/* Without content; devices: how many numbers of devices it takes.  Null: no memory. */
struct layer *layer_alloc(const char *type, unsigned devices);
/* A root for it, without a store; null: no memory. */
struct dentry *layer_root(struct layer *l, u32 mode);
/* One more inode of a limited one (false: it is full), and one less. */
bool layer_take_inode(struct layer *l);
void layer_give_inode(struct layer *l);
static inline bool layer_is_full(const struct layer *l)
{
	return l->inode_limit && __atomic_load_n(&l->inodes, __ATOMIC_RELAXED) >= l->inode_limit;
}
/* A node without a store, with one reference; null: no memory, or the layer is full. */
struct node *node_new(struct layer *l, u32 mode);
/* The node of the file fid is a handle of; consumes fid in any case. */
int node_from_fid(struct layer *l, struct p9_fid *fid, struct node **out);
/* The same with its attributes known. */
int node_from_attr(struct layer *l, struct p9_fid *fid, const struct p9_attr *attr,
		   struct node **out);
/* The last name is gone: forget it in the table of nodes. */
void node_gone(struct node *n);
/* Bring a written-through node's attributes up to date with the store. */
int node_refresh(struct inode *i);
/* d is a good name of n: let fid go by it. */
void node_rewalk(struct node *n, struct dentry *d);
/* Open for reading or writing, if it isn't yet. */
int node_open(struct node *n, bool write);
/* layerdev.c: a file's number as on the host, from the export's, and which of layer->devs it
 * is on. */
u64 layer_file_number(struct layer *l, u64 path, u8 *index);
/* d is on the device: where it can be looked for in the host's table of mounts. */
void layer_note_device(struct layer *l, unsigned index, struct dentry *d);
/* st_dev as on the host.  Sleeps. */
u64 layer_device(struct layer *l, unsigned index);

/* The table of the host's mounts is read anew when it is needed again. */
void layer_drop_table(void);

/* layerhint.c: what to look up together.  The directory's lock is held. */
/* A batch of the listing of n was read; first: it is the beginning. */
void hint_add(struct node *n, const u8 *entries, u32 len, bool first);
/* `name` is being looked up: up to max names that probably come next, into names (each
 * NAME_MAX + 1 bytes); how many. */
unsigned hint_next(struct node *n, const char *name, size_t len, char (*names)[NAME_MAX + 1],
		   unsigned max);
void hint_drop(struct node *n);

struct entry { /* of a listing from the store */
	u64 path;
	s64 next;
	u8 type;
	u16 len;
	const char *name;
};
/* Decode the entry at *at of len bytes; false at the end (or nonsense). */
bool layer_next_entry(const u8 *buf, int len, int *at, struct entry *e);

/* layerdir.c */
extern const struct file_ops layer_dir_ops;
int layer_lookup(struct inode *dir, struct dentry *d);
int layer_create(struct inode *dir, struct dentry *d, u32 mode, u64 rdev);
int layer_tmpfile(struct inode *dir, u32 mode, struct inode **out);
int layer_mkdir(struct inode *dir, struct dentry *d, u32 mode);
int layer_symlink(struct inode *dir, struct dentry *d, const char *target);
int layer_link(struct inode *dir, struct dentry *d, struct inode *target);
int layer_unlink(struct inode *dir, struct dentry *d);
int layer_rmdir(struct inode *dir, struct dentry *d);
int layer_rename(struct inode *from, struct dentry *fd, struct inode *to, struct dentry *td,
		 u32 flags);

/* Write dirty pages of all nodes of this layer to the store.  0 or the first -errno. */
int layer_sync(struct fs *fs);

#endif
