/* SPDX-License-Identifier: MIT */
/*
 * Page faults: one entry, an outcome, and a record of why it happened.
 *
 * The table of causes is the heart of Quire (vm/fault/fault.c has it in full).
 * Counters, --stat, traces and reports derive from the record and nothing else.
 */
#ifndef QUIRE_FAULT_H
#define QUIRE_FAULT_H

#include <quire/types.h>

struct quire_mm;

/* What the host does now. */
enum quire_outcome {
	QUIRE_DONE_MINOR,  /* run the instruction again */
	QUIRE_DONE_MAJOR,  /* the same; I/O was waited for */
	QUIRE_RETRY,       /* the thread was asked to stop what it does (signal); run again after */
	QUIRE_SEGV_MAPERR, /* SIGSEGV, SEGV_MAPERR */
	QUIRE_SEGV_ACCERR, /* SIGSEGV, SEGV_ACCERR */
	QUIRE_SEGV_PKUERR, /* SIGSEGV, SEGV_PKUERR */
	QUIRE_SIGBUS,      /* SIGBUS, BUS_ADRERR */
	QUIRE_SIGBUS_MCE,  /* SIGBUS, BUS_MCEERR_AR: the frame is poisoned */
	QUIRE_OOM,         /* no memory; the caller was not killed: run again, or give up */
	QUIRE_KILLED,      /* the thread is being killed */
	QUIRE_OUTCOMES
};

/* Why it faulted: X(enum, name in --stat, what it means in words). */
#define QUIRE_CAUSES(X)                                                                           \
	X(CAUSE_NO_REGION, "no-region", "no mapping covers the address")                          \
	X(CAUSE_ACCESS, "access", "the mapping does not allow this access")                       \
	X(CAUSE_STACK_GROWTH, "stack-growth", "the stack grew down to the address")               \
	X(CAUSE_STACK_LIMIT, "stack-limit", "the stack may not grow this far")                    \
	X(CAUSE_ANON_ZERO, "anon-zero", "first read of anonymous memory: the zero page")          \
	X(CAUSE_ANON_WRITE, "anon-write", "first write of anonymous memory: a new zeroed page")   \
	X(CAUSE_FILE_MAP, "file-cached", "file page already in the page cache")                   \
	X(CAUSE_FILE_READ, "file-read", "file page read from the file")                           \
	X(CAUSE_FILE_COW, "file-cow", "first write of a private file page: copied")               \
	X(CAUSE_FILE_EOF, "file-eof", "beyond the end of the mapped file")                        \
	X(CAUSE_FILE_IO, "file-io-error", "the file's page could not be read")                    \
	X(CAUSE_COW_COPY, "cow-copy", "write to a shared private page: copied")                   \
	X(CAUSE_COW_REUSE, "cow-reuse", "write to a private page nobody shares any more: reused") \
	X(CAUSE_COW_ZERO, "cow-zero", "write to the zero page: a new zeroed page")                \
	X(CAUSE_SHARED_DIRTY, "shared-dirty", "first write to a clean shared file page")          \
	X(CAUSE_SPURIOUS, "spurious",                                                             \
	  "the entry already allows it: a stale translation or a race")                           \
	X(CAUSE_MIGRATION, "migration", "waited for a page that was being moved")                 \
	X(CAUSE_POISON, "poisoned", "the frame has been retired")                                 \
	X(CAUSE_KERNEL_LAZY, "kernel-lazy", "lazily allocated kernel range")                      \
	X(CAUSE_PKEY, "pkey", "refused by a protection key")                                      \
	X(CAUSE_NO_MEMORY, "no-memory", "no frame could be found")

enum quire_cause {
#define X(id, name, text) id,
	QUIRE_CAUSES(X)
#undef X
	    QUIRE_CAUSE_COUNT
};

extern const char *const quire_cause_name[QUIRE_CAUSE_COUNT];
extern const char *const quire_cause_text[QUIRE_CAUSE_COUNT];
extern const char *const quire_outcome_name[QUIRE_OUTCOMES];

struct quire_fault_record {
	u64 time; /* ns, when it began */
	u64 cost; /* ns it took, waits included */
	u64 address;
	u64 ip;
	u64 thread;
	u64 vma_start, vma_end; /* 0, 0: no VMA */
	u64 vma_flags;          /* VM_* */
	u64 pgoff;              /* of the page in its file or anonymous region */
	struct pte before, after;
	u16 access;  /* enum quire_access */
	u8 cause;    /* enum quire_cause */
	u8 outcome;  /* enum quire_outcome */
	u32 brought; /* pages that this fault mapped or read, its own included */
	u32 grown;   /* pages the stack grew first */
	u32 retries;
};

/*
 * Handle a page fault of the calling thread at address in mm.
 * access: enum quire_access bits as the hardware reported them.
 * ip: the instruction, for the record.
 * rec is filled in whatever the outcome; it may not be null.
 * Sleeps; no spinlock is held, interrupts are on; mmap_lock must not be held.
 */
enum quire_outcome quire_fault(struct quire_mm *mm, u64 address, unsigned access, u64 ip,
			       struct quire_fault_record *rec);

/* ---- lazily mapped kernel ranges ------------------------------------------------- */

/*
 * Set up [start, end) of the kernel half (root: the kernel's page-table root)
 * for lazily mapped areas; builds the upper table levels once, so that every
 * root that copies the kernel half shares them.  Called once.
 */
int quire_kernel_range_init(struct pfn root, u64 start, u64 end);
/* An area of n pages with an unmapped guard page before it; its page tables are
 * there, its frames come with the first touch.  Returns the start or 0.  Sleeps. */
u64 quire_kernel_area_alloc(u64 pages);
/* Unmaps, frees the frames, flushes.  Sleeps. */
void quire_kernel_area_free(u64 start, u64 pages);
/*
 * A kernel-mode fault at address: true when it was in an allocated lazy area
 * and is mapped now.  Takes no lock and a frame from this CPU's reserve, so it
 * may run on any stack with any lock held, interrupts off.
 */
bool quire_kernel_fault(u64 address, unsigned access, u64 ip, struct quire_fault_record *rec);
/* Refill this CPU's reserve of frames for quire_kernel_fault(); the host calls it
 * where sleeping and allocating is allowed, at least at every thread creation
 * and on return to user mode when quire_kernel_reserve_low() says so. */
void quire_kernel_reserve_fill(void);
bool quire_kernel_reserve_low(void);
/* The same without sleeping, as far as there are frames: for a scheduler, between
 * threads that all use their stacks for the first time. */
void quire_kernel_reserve_top_up(void);
/* Is it a guard page of an area?  For the oops text. */
bool quire_kernel_guard(u64 address);

/* ---- counters ----------------------------------------------------------------------- */

struct quire_fault_totals {
	u64 count[QUIRE_CAUSE_COUNT];
	u64 cost[QUIRE_CAUSE_COUNT];    /* ns */
	u64 brought[QUIRE_CAUSE_COUNT]; /* pages */
	u64 outcome[QUIRE_OUTCOMES];
};
/* The sum over all CPUs since the start. */
void quire_fault_totals(struct quire_fault_totals *out);

#endif
