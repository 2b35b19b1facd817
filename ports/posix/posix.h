/* SPDX-License-Identifier: MIT */
/*
 * The userspace port: the core as an ordinary library.
 *
 * "Physical memory" is one private mapping of the process; a thread is a CPU
 * (its index is given when it enters, and it stays there); the MMU is software
 * that walks the very page tables that hardware would; files are arrays.
 *
 * A program calls posix_boot() once, on the thread that becomes CPU 0.
 */
#ifndef QUIRE_POSIX_H
#define QUIRE_POSIX_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <quire/cache.h>
#include <quire/errno.h>
#include <quire/fault.h>
#include <quire/mm.h>
#include <quire/page.h>

/* ---- host.c: boot, threads ------------------------------------------------------- */

struct posix_config {
	u64 ram;            /* bytes; 0: 64 MiB */
	unsigned cpus;      /* threads that may be in the core at once; 0: 4 */
	u64 seed;           /* of quire_host_random() */
	bool no_nx;         /* an MMU without the no-execute bit */
	bool pkeys;         /* an MMU with protection keys */
	bool deterministic; /* time counts its own calls */
};
/* Make the machine and start the core.  The caller is CPU 0 from now on.  c may be null. */
void posix_boot(const struct posix_config *c);

/* The calling thread becomes a CPU (panics when there are none left), and stops being
 * one.  Between operations it says posix_quiescent(), so that grace periods end. */
void posix_thread_enter(void);
void posix_thread_leave(void);
void posix_quiescent(void);
/* Run fn(arg, i) on n threads, each a CPU, and wait for all.  The caller is idle meanwhile. */
void posix_parallel(unsigned n, void (*fn)(void *arg, unsigned i), void *arg);

/* Wait for all grace periods, give back what caches can, and say how many frames
 * are free: equal before and after anything that leaks nothing. */
u64 posix_settled_free(void);

/* What quire_host_limit() and quire_host_may() say, to every thread.  None but a stack of
 * 8 MiB, and no rights, to begin with. */
struct posix_limits { /* bytes; ~0: none */
	u64 as, data, data_hard, stack, memlock;
	bool may_lock, may_map_low, may_admin, may_run_data;
};
extern struct posix_limits posix_limits;

/* The next calls of quire_host_killed() by this thread say so. */
void posix_set_killed(bool killed);
/* What quire_host_oom() did: how often it was asked. */
u64 posix_oom_calls(void);
/* The root of the kernel half of all address spaces. */
struct pfn posix_kernel_root(void);
/* Frames of the machine; frames a broken entry may name end here. */
u64 posix_max_pfn(void);
bool posix_nx(void);
bool posix_pkeys(void);
/* Lines below this level are written to standard error (default: QUIRE_LOG_WARN). */
void posix_set_log(enum quire_log_level level);

/* ---- mmu.c: accesses as a program would make them --------------------------------- */

/*
 * Read, write, or fetch n bytes at addr in user mode, page by page, faulting as
 * hardware would.  QUIRE_DONE_MINOR (0) when all was done, else the outcome that a
 * kernel would turn into a signal; bytes before the failing page are done.
 */
enum quire_outcome user_read(struct quire_mm *mm, u64 addr, void *buf, size_t n);
enum quire_outcome user_write(struct quire_mm *mm, u64 addr, const void *buf, size_t n);
enum quire_outcome user_exec(struct quire_mm *mm, u64 addr);
/* One byte. */
enum quire_outcome user_touch(struct quire_mm *mm, u64 addr, bool write);
/* The kernel's own access at a kernel address; false when no lazy area is there. */
bool kernel_poke(u64 addr, u8 byte);
bool kernel_peek(u64 addr, u8 *byte);

/* This thread's faults since it last asked for zero: how many, and the last one. */
struct posix_faults {
	u64 taken, minor, major;
	struct quire_fault_record last;
};
struct posix_faults *posix_faults(void);

/* This thread's rights for the protection keys, as the PKRU register has them: two bits for
 * each key, no access and no write.  0x55555554 when a thread begins. */
u32 posix_pkru(void);
void posix_set_pkru(u32 pkru);

/* Drop a reference to mm, and this machine's translations of it. */
void posix_mm_put(struct quire_mm *mm);
/* The raw last-level entry for addr as the MMU sees it (0: none); level in *level. */
u64 posix_walk(struct quire_mm *mm, u64 addr, unsigned *level);

/* ---- file.c: files --------------------------------------------------------------- */

#define POSIX_STORES 256

struct posix_file {
	struct quire_mapping map;
	struct quire_file file;
	u8 *data; /* the store: bytes past size are zero up to cap */
	u64 size, cap;
	u64 writing_end; /* where a write under way ends */
	s32 refs;
	bool store;                            /* false: shmem */
	u32 fail_reads;                        /* fail so many calls of read_pages; atomic */
	u32 fail_writes;                       /* and of write_pages; atomic */
	int error;                             /* with this errno (positive); default EIO */
	void (*on_read)(struct posix_file *f); /* called in each read_pages; or null */
	u64 reads, writes;                     /* calls; atomic */
	u64 pages_read;                        /* atomic */
	u64 pages_written;                     /* atomic */
	u64 dirtied;                           /* calls; atomic */
	unsigned nr_stores;                    /* the store's record: what was written, in order */
	struct {
		u64 pgoff;
		unsigned n;
	} stores[POSIX_STORES];
	int lock; /* spin: data, stores */
};

/* A file of size bytes with one reference; byte i of it is posix_pattern(seed, i), or all
 * zero with seed 0. */
struct posix_file *posix_file_new(u64 size, u32 seed);
struct posix_file *posix_shmem_new(u64 size);
void posix_file_put(struct posix_file *f);
u8 posix_pattern(u32 seed, u64 i);
/* As the system calls: the size follows. */
s64 posix_file_read(struct posix_file *f, u64 pos, void *buf, size_t n);
s64 posix_file_write(struct posix_file *f, u64 pos, const void *buf, size_t n);
void posix_file_truncate(struct posix_file *f, u64 size);

#endif
