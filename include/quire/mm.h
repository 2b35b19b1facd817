/* SPDX-License-Identifier: MIT */
/*
 * Address spaces, and the system calls on them.
 *
 * Unless its comment says otherwise a function here sleeps, takes mmap_lock by
 * itself, and returns 0 or -errno exactly as Linux 6.1's system call of that
 * name does; arguments are checked here, any value is safe.  Flag values are
 * Linux's for x86-64 (quire/uapi.h).
 */
#ifndef QUIRE_MM_H
#define QUIRE_MM_H

#include <quire/cache.h>
#include <quire/fault.h>
#include <quire/types.h>
#include <quire/uapi.h>

struct quire_mm;

/* ---- the core as a whole --------------------------------------------------------- */

struct quire_range {
	u64 start, end; /* physical bytes, page-aligned */
};

/*
 * Protection keys, a rung that may be left out: what the core asks of an MMU that has 16
 * of them, in bits 59 to 62 of an entry.  Both are about the calling thread, may be called
 * with any lock held, and don't sleep.
 */
struct quire_pkey_ops {
	/* Do the thread's rights for the key let it read data (write it, too)? */
	bool (*allows)(unsigned key, bool write);
	/* The thread's rights for the key from now on: PKEY_DISABLE_ACCESS, _WRITE, 0. */
	void (*set)(unsigned key, unsigned rights);
};

struct quire_config {
	void *frame_base;               /* the host's view of physical address 0 */
	u64 max_pfn;                    /* frames 0 .. max_pfn - 1 get a struct page */
	const struct quire_range *free; /* what the allocator may give out, sorted */
	unsigned nr_free;
	unsigned cpus;                      /* how many there will be, <= QUIRE_MAX_CPUS */
	bool nx;                            /* the MMU knows the no-execute bit */
	const struct quire_pkey_ops *pkeys; /* null: the MMU has no protection keys */
	bool wide;                          /* its tables have five levels, not four */
	struct pfn
	    kernel_root; /* a page-table root whose upper half every mm copies; NO_PFN: none */
};
/* Called once, before anything else, on one CPU.  Panics on a senseless config. */
void quire_init(const struct quire_config *c);

/* System-wide settings (/proc/sys/vm), read at each use; change them any time. */
struct quire_sysctl {
	u32 max_map_count;        /* 65530 */
	u32 overcommit_memory;    /* 0 heuristic, 1 always, 2 strict */
	u32 overcommit_ratio;     /* percent of RAM, 50 */
	u64 overcommit_kbytes;    /* when not 0, instead of the ratio */
	u64 admin_reserve_kbytes; /* strict: kept for those with CAP_SYS_ADMIN */
	u64 user_reserve_kbytes;  /* strict: kept from the largest processes */
	u64 mmap_min_addr;        /* 65536 */
	u32 stack_guard_gap;      /* pages, 256 */
	u32 fault_around_pages;   /* 16 */
	/* VMAs become one by the rules of Linux 6.18, not 6.1: when only what is new or
	 * changed has private pages, too.  For holding the rest against such a Linux. */
	bool newer_merging;
};
extern struct quire_sysctl quire_sysctl;

/* ---- an address space --------------------------------------------------------------- */

/* Where things go; the host sets it at exec, before the first mapping. */
struct quire_layout {
	u64 mmap_base;   /* top-down mappings end here */
	u64 legacy_base; /* bottom-up ones start here; 0: at a third of task_size */
	bool bottom_up;  /* mappings go upwards from there at once (ADDR_COMPAT_LAYOUT) */
	u64 task_size;   /* the end of user space */
	u64 start_code, end_code, start_data, end_data;
	u64 start_brk;
	u64 start_stack;
	u64 arg_start, arg_end, env_start, env_end;
};

/* A new, empty address space with one reference.  host: the host's own state for it. */
int quire_mm_create(void *host, struct quire_mm **out);
/* A copy-on-write copy of parent.  host: the child's. */
int quire_mm_fork(struct quire_mm *parent, void *host, struct quire_mm **out);
void quire_mm_get(struct quire_mm *mm);
/* Drop a reference; the last one unmaps everything and frees the tables.  The mm is
 * not loaded on any CPU any more. */
void quire_mm_put(struct quire_mm *mm);

/* Take private pages away from a process that is being killed and may be long about it.
 * From now on its memory isn't what it was: what reads it from inside the kernel must ask
 * quire_mm_reaped() afterwards; quire_mm_access() fails.  wait: for mmap_lock; otherwise
 * -EAGAIN when somebody changes the mappings. */
int quire_mm_reap(struct quire_mm *mm, bool wait);
bool quire_mm_reaped(const struct quire_mm *mm);

void *quire_mm_host(struct quire_mm *mm);
struct pfn quire_mm_root(struct quire_mm *mm); /* for CR3 */
/* Where the break is, and to say that it is elsewhere (PR_SET_MM: nothing is mapped). */
u64 quire_mm_brk(struct quire_mm *mm);
void quire_mm_set_brk(struct quire_mm *mm, u64 brk);
struct quire_layout *quire_mm_layout(struct quire_mm *mm);

struct quire_mm_usage { /* pages */
	u64 total_vm, data_vm, exec_vm, stack_vm, locked_vm, pinned_vm;
	u64 rss_file, rss_anon, rss_shmem;
	u64 hiwater_rss, hiwater_vm;
	u64 page_tables; /* frames used for tables */
	u64 swap;
	u32 map_count;
};
void quire_mm_usage(struct quire_mm *mm, struct quire_mm_usage *out); /* doesn't sleep */

/* Killing: stop populate loops and the like early; the fault path gives KILLED. */

/* ---- the calls: each as the man page has it ------------------------------------- */

/* file: null for anonymous (one without a mapping is zeroes under a name: /dev/zero); the caller
 * keeps its own reference; offset in bytes.  may: VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC that
 * mprotect may later set, and MAY_NOT_MAP (ENODEV), MAY_NOT_WRITE_SHARED (sealed: EPERM),
 * MAY_REFUSES(errno): what its own mmap says when nothing else is wrong.  The address or
 * -errno. */
#define MAY_NOT_MAP (1UL << 62)
#define MAY_NOT_WRITE_SHARED (1UL << 63)
#define MAY_REFUSES(error) ((u64)(error) << 48)
s64 quire_mmap(struct quire_mm *mm, u64 addr, u64 len, u64 prot, u64 flags, struct quire_file *file,
	       u64 offset, u64 may);
s64 quire_munmap(struct quire_mm *mm, u64 addr, u64 len);
/* mprotect(2) with pkey -1, else pkey_mprotect(2). */
s64 quire_mprotect(struct quire_mm *mm, u64 addr, u64 len, u64 prot, int pkey);
/* mm is the calling thread's own. */
s64 quire_pkey_alloc(struct quire_mm *mm, u64 flags, u64 rights);
s64 quire_pkey_free(struct quire_mm *mm, int pkey);
s64 quire_mremap(struct quire_mm *mm, u64 addr, u64 old_len, u64 new_len, u64 flags, u64 new_addr);
s64 quire_madvise(struct quire_mm *mm, u64 addr, u64 len, int advice);
s64 quire_brk(struct quire_mm *mm, u64 brk); /* the new (or unchanged) break, as the system call */
s64 quire_msync(struct quire_mm *mm, u64 addr, u64 len, int flags);
/* One byte for each page that the mapping of addr has from there on, at most so many, into
 * vec, which the host copies out before it asks for the next: how many, or -errno. */
s64 quire_mincore(struct quire_mm *mm, u64 addr, u64 pages, u8 *vec);
s64 quire_mlock(struct quire_mm *mm, u64 addr, u64 len, bool onfault);
s64 quire_munlock(struct quire_mm *mm, u64 addr, u64 len);
s64 quire_mlockall(struct quire_mm *mm, int flags);
s64 quire_munlockall(struct quire_mm *mm);
s64 quire_remap_file_pages(struct quire_mm *mm, u64 addr, u64 size, u64 prot, u64 pgoff, u64 flags);

/*
 * A special mapping of n given frames (vdso, vvar): not expandable, not
 * copied at fork but shared, not dumped, only unmapped and moved as a whole.
 * With PROT_EXEC it is code, which may be written to after mprotect() and by
 * quire_mm_access(), in private copies; without, it is data that only the program
 * itself reads.  name as /proc/PID/maps shows it (static storage).  The core takes a
 * reference on each frame.
 */
#define QUIRE_NO_FRAME (~0UL)
s64 quire_map_special(struct quire_mm *mm, u64 addr, const struct pfn *frames, u64 n, u64 prot,
		      const char *name);

/* ---- looking in from outside ------------------------------------------------------ */

/* Copy n bytes at addr of mm to or from buf, faulting pages in as the owner would
 * (force: past missing permissions, as ptrace does).  How many bytes were copied. */
size_t quire_mm_access(struct quire_mm *mm, u64 addr, void *buf, size_t n, bool write, bool force);
/* Have the pages of len bytes at addr there for another program's look or write, whatever its
 * keys say.  Of how many bytes they are there.  Sleeps. */
u64 quire_mm_bring_in(struct quire_mm *mm, u64 addr, u64 len, bool write);

/* One VMA, as /proc/PID/maps shows it. */
struct quire_vma_info {
	u64 start, end, flags, pgoff; /* flags: VM_* of quire/uapi.h; pgoff in pages */
	struct quire_file *file;      /* with a reference, put it; or null */
	u64 number;                   /* of nameless shared memory, as of a file; else 0 */
	const char *name; /* "[heap]", "[stack]", "[vdso]", a PR_SET_VMA name, or null */
};
/* The first VMA that ends above addr; false when there is none. */
bool quire_mm_vma_at(struct quire_mm *mm, u64 addr, struct quire_vma_info *out);

/* What smaps shows, in bytes; those that are shares of pages are shifted left by
 * QUIRE_PSS_SHIFT, so that no fraction of a byte gets lost in sums. */
#define QUIRE_PSS_SHIFT 12
struct quire_smaps {
	u64 rss, shared_clean, shared_dirty, private_clean, private_dirty;
	u64 referenced, anonymous, lazyfree, swap;
	u64 pss, pss_dirty, pss_anon, pss_file, pss_shmem, locked; /* shifted */
	u64 active, mapcount_max; /* bytes of pages on the active list; for numa_maps */
};
void quire_mm_smaps(struct quire_mm *mm, u64 start, u64 end, struct quire_smaps *out);

/* What /proc/PID/pagemap shows for each of n pages from addr. */
void quire_mm_pagemap(struct quire_mm *mm, u64 addr, u64 n, u64 *out);
/* /proc/PID/clear_refs: 1 all, 2 anon, 3 file, 4 soft-dirty, 5 reset peak RSS. */
int quire_mm_clear_refs(struct quire_mm *mm, int what);

/*
 * What a futex at addr is about: two words that are equal for two users of the
 * same memory exactly.  shared: by the page, which is brought in (for writing, if that
 * is allowed; write: it has to be); else {mm, addr}.
 * -EFAULT as Linux.  Sleeps when shared.  key[2] says which kind it is.
 */
int quire_mm_futex_key(struct quire_mm *mm, u64 addr, bool shared, bool write, u64 key[3]);

/* /proc/kpageflags and kpagecount: Linux's KPF_* bits of a frame, and how many entries map
 * it.  0 where there is no such frame. */
u64 quire_frame_flags(struct pfn f);
u64 quire_frame_mapcount(struct pfn f);
/* Free blocks of each order from 0 on, for /proc/buddyinfo: how many orders. */
#define QUIRE_ORDERS 11
unsigned quire_free_blocks(u64 nr[QUIRE_ORDERS]);

/* ---- counters of the whole system (meminfo, vmstat) --------------------------------- */

struct quire_meminfo { /* pages */
	u64 total, free, available, file_cache, shmem, anon, mapped, dirty, writeback;
	u64 slab_reclaimable, slab_unreclaimable, page_tables, kernel_areas;
	u64 active_anon, inactive_anon, active_file, inactive_file, unevictable, mlocked;
	u64 committed, commit_limit, per_cpu;
	u64 retired;       /* frames that are never given out again (HWPOISON) */
	u64 kernel_stacks; /* frames of kernel areas that are mapped: a part of kernel_areas */
	u64 reserve;       /* free frames that only those who can't wait may have */
	u64 reserved; /* frames the host had taken before quire_init() and the core's own tables */
};
void quire_meminfo(struct quire_meminfo *out); /* doesn't sleep; but for mlocked, which is 0 */
/* Pages that locked VMAs have.  Sleeps. */
u64 quire_mlocked(void);

/* Named event counters, in /proc/vmstat's order and names. */
#define QUIRE_EVENTS(X)                            \
	X(PGALLOC, "pgalloc_normal")               \
	X(PGFREE, "pgfree")                        \
	X(PGACTIVATE, "pgactivate")                \
	X(PGDEACTIVATE, "pgdeactivate")            \
	X(PGFAULT, "pgfault")                      \
	X(PGMAJFAULT, "pgmajfault")                \
	X(PGREUSE, "pgreuse")                      \
	X(PGSCAN, "pgscan_direct")                 \
	X(PGSTEAL, "pgsteal_direct")               \
	X(PGPGIN, "pgpgin")                        \
	X(PGPGOUT, "pgpgout")                      \
	X(DROP_PAGECACHE, "drop_pagecache")        \
	X(OOM_KILL, "oom_kill")                    \
	X(TLB_FLUSH, "nr_tlb_local_flush_one")     \
	X(TLB_FLUSH_ALL, "nr_tlb_local_flush_all") \
	X(TLB_SHOOTDOWN, "nr_tlb_remote_flush")
enum quire_event {
#define X(id, name) QUIRE_EV_##id,
	QUIRE_EVENTS(X)
#undef X
	    QUIRE_EV_COUNT
};
extern const char *const quire_event_name[QUIRE_EV_COUNT];
u64 quire_event_total(enum quire_event e);
void quire_count(enum quire_event e, u64 n); /* add to this CPU's; any context */

/* ---- checking (vm/debug) -------------------------------------------------------------- */

/* Hold page tables against VMAs, frames, rmap and counters; panics with a dump at
 * the first disagreement.  For quiet moments of tests: no other thread in the core. */
void quire_check_mm(struct quire_mm *mm);
void quire_check_all(void);
/* Log one mm, one page.  Any context. */
void quire_dump_mm(struct quire_mm *mm);
void quire_dump_page(const struct page *p);
/* Say in words what the mm has at address and what the entry holds (for oopses). */
void quire_explain_address(struct quire_mm *mm, u64 address);

/* ---- failing on purpose (tests) ------------------------------------------------------ */

/* The nth allocation from now on (of frames or slab objects, 1 = next) fails once;
 * 0: none.  Returns how many were counted since the last call. */
u64 quire_fail_nth(u64 n);

#endif
