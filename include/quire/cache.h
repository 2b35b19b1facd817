/* SPDX-License-Identifier: MIT */
/*
 * The page cache: the pages of one file (a mapping), read and written through
 * it and mapped from it.  tmpfs and memfd files are mappings without a store.
 *
 * The host embeds a struct quire_mapping in its inode and a struct quire_file
 * in its open file.  Offsets are bytes where named pos, pages where named pgoff.
 */
#ifndef QUIRE_CACHE_H
#define QUIRE_CACHE_H

#include <quire/list.h>
#include <quire/lock.h>
#include <quire/page.h>
#include <quire/types.h>

struct quire_mm;
struct quire_mapping;
struct quire_file;

/* What a mapping asks of the file behind it. */
struct quire_mapping_ops {
	/*
	 * Fill n locked pages at consecutive offsets from pages[0]->index.  Bytes
	 * past the end of the store are zeroed.  Null: there is no store, new pages
	 * are zero (tmpfs).  0 or -errno (then none is up to date).  Sleeps; page
	 * locks, a VMA lock and mmap_lock may be held.
	 */
	int (*read_pages)(struct quire_mapping *m, struct page **pages, unsigned n);
	/* Store n locked dirty pages at consecutive offsets.  Null: dirty pages stay
	 * in memory for good.  Sleeps, as read_pages. */
	int (*write_pages)(struct quire_mapping *m, struct page **pages, unsigned n);
	/* The file's size in bytes.  Doesn't sleep; any lock may be held. */
	u64 (*size)(struct quire_mapping *m);
	/* A shared mapping is about to dirty the page for the first time: update
	 * times, mark the inode dirty.  Doesn't sleep.  May be null. */
	void (*dirtied)(struct quire_mapping *m);
};

/* Room for pages that several mappings have together: a tmpfs. */
struct quire_space {
	u64 limit; /* pages; 0: no limit; atomic */
	u64 used;  /* atomic */
};

struct quire_mapping {
	const struct quire_mapping_ops *ops;
	struct spinlock lock;     /* RANK_MAPPING: the index below */
	u64 nr_pages;             /* pages in the cache; guarded by lock */
	u64 nr_dirty;             /* guarded by lock */
	void *root;               /* index of pages: changed under lock, read under RCU */
	struct rwsem i_mmap_lock; /* RANK_I_MMAP */
	void *i_mmap;             /* the VMAs that map it, by pgoff; guarded by i_mmap_lock */
	s32 writable_maps;        /* shared mappings that may write; < 0: denied (seals); atomic */
	s32 nr_maps;              /* VMAs that map it; atomic */
	u32 writing;              /* pages in write_pages now; atomic, slept on by flush */
	bool swapbacked;          /* shmem: counts as such, not as file cache */
	bool one_by_one;          /* SysV segments: faults map no neighbours, VMAs never merge */
	bool charged; /* each page is charged when it comes (tmpfs): set before the first */
	struct quire_space *space; /* null: not limited; set before the first page */
};

/* Open-file state that the core needs; embedded in the host's open file. */
struct quire_file {
	const struct quire_file_ops *ops;
	struct quire_mapping *mapping; /* null: zeroes (/dev/zero); private mappings of it are
					  anonymous memory, shared ones get a file of their own */
	/* readahead window: guarded by nothing, it is a hint (relaxed atomics) */
	u64 ra_start, ra_size, ra_prev;
	u32 ra_mode; /* 0 normal, 1 random (POSIX_FADV_RANDOM), 2 sequential */
};
struct quire_file_ops {
	void (*get)(struct quire_file *f); /* take a reference: a VMA keeps one */
	void (*put)(struct quire_file *f); /* drop one.  May sleep; mmap_lock may be held. */
	/* Free the store of [start, end) bytes, MADV_REMOVE: 0 or -errno.  Sleeps; no lock of the
	 * core's is held.  Null: -EOPNOTSUPP. */
	int (*punch)(struct quire_file *f, u64 start, u64 end);
	/* May the caller know which pages of it are in memory (mincore)?  Null: yes. */
	bool (*shows_cache)(struct quire_file *f);
};

/* ops: as above.  The mapping is empty and has no VMAs. */
void quire_mapping_init(struct quire_mapping *m, const struct quire_mapping_ops *ops,
			bool swapbacked);
/* Drop all pages, dirty ones too.  No VMA maps it, nobody uses it.  Sleeps. */
void quire_mapping_destroy(struct quire_mapping *m);

/* Move bytes between the host's buffer (arg) and n bytes at p within one page.
 * Returns how many were moved; fewer than n means the buffer faulted (or ended).
 * Called with no core lock held: it may fault and sleep. */
typedef size_t quire_copy_fn(void *arg, void *p, size_t n);

/* Read up to len bytes at pos, not past the file's size.  Bytes moved; when 0,
 * 0 at the end of file or -errno (-EFAULT, -EIO, -ENOMEM, -EINTR).  Sleeps. */
s64 quire_cache_read(struct quire_mapping *m, struct quire_file *ra, u64 pos, size_t len,
		     quire_copy_fn *copy_out, void *arg);
/* Write len bytes at pos.  The host holds the inode's lock, and sets the size
 * afterwards.  Bytes moved, or -errno when none were.  Sleeps. */
s64 quire_cache_write(struct quire_mapping *m, u64 pos, size_t len, quire_copy_fn *copy_in,
		      void *arg);
/* The size shrank to (or grew from) new_size: unmap and drop the pages beyond,
 * clear the rest of the last one.  The host has changed what ops->size() says. */
void quire_cache_truncate(struct quire_mapping *m, u64 new_size);
/* Remove [start, end) bytes: whole pages dropped and unmapped, parts cleared. */
int quire_cache_punch(struct quire_mapping *m, u64 start, u64 end);
/* Make [start, end) bytes present (allocated), as fallocate does, or nothing of it.  0 or
 * -errno. */
int quire_cache_fill(struct quire_mapping *m, u64 start, u64 end);
/* Undo it: pages of [start, end) bytes that have been made so and not used yet go.  Those that
 * were there before quire_cache_fill() came upon them stay. */
void quire_cache_unfill(struct quire_mapping *m, u64 start, u64 end);
/* Store dirty pages of [start, end) bytes.  0 or the first -errno.  Sleeps. */
int quire_cache_flush(struct quire_mapping *m, u64 start, u64 end);
/* Drop clean, unmapped, unlocked pages of [start, end) (POSIX_FADV_DONTNEED). */
u64 quire_cache_drop(struct quire_mapping *m, u64 start, u64 end);
/* Start reading ahead (POSIX_FADV_WILLNEED, MADV_WILLNEED, readahead(2)). */
void quire_cache_readahead(struct quire_mapping *m, u64 pgoff, u64 pages);
/* The next offset >= pos that has (data) or hasn't (hole) a filled page, for SEEK_DATA/HOLE
 * on files without a store; ~0: none (data), or pos is at or beyond the size. */
u64 quire_cache_seek(struct quire_mapping *m, u64 pos, bool data);
/* The page at pgoff, read if need be, with a reference; null and *err otherwise. */
struct page *quire_cache_get(struct quire_mapping *m, u64 pgoff, int *err);

/* Charge (give back) pages of a file in memory that is charged as a whole, as System V's
 * segments are.  False: there is too much already. */
bool quire_charge(struct quire_mm *mm, u64 pages);
void quire_uncharge(u64 pages);

/* ---- reclaim --------------------------------------------------------------------- */

/* Try to free n frames: clean file pages from the cold end of the LRU, empty slab
 * pages, the host's shrinker.  Returns how many came free.  Sleeps. */
u64 quire_reclaim(u64 n);
/* A host's cache (dentries, inodes) that can shrink: called by reclaim, which may
 * hold mmap_lock and page locks: the function try-locks only. */
void quire_set_shrinker(u64 (*shrink)(u64 pages));

#endif
