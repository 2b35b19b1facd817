/* SPDX-License-Identifier: MIT */
/*
 * Page tables: the x86-64 format, one cursor that walks and edits them, and
 * the TLB gather that makes freeing wait for the flush.
 *
 * Levels count from 1 (a table of 4 KiB entries) to 4 or, where the MMU has five, 5
 * (the root); an entry "of level 2" is a pmd.  With five levels every root's first entry
 * is a table of level 4 that is there from the start to the end: below 2^48, where nearly
 * everything lies, walks begin at it, and cost what they cost with four.
 *
 * Locking.  Every table page has a spinlock (page->ptl, RANK_PT) that guards its
 * entries.  Entries are read without it, atomically; they are changed with it,
 * and always by atomic exchange, since the MMU sets accessed and dirty bits by
 * itself.  A table can't be freed while some VMA that it serves is read-locked
 * by a fault, or while mmap_lock or an rmap lock of such a VMA is held.
 *
 * Source: Intel SDM volume 3, 4.5 (4-level paging and 5-level paging).
 */
#ifndef VM_PT_H
#define VM_PT_H

#include <quire/host.h>
#include <quire/lock.h>
#include <quire/page.h>
#include <quire/types.h>

#define PTE_P (1UL << 0)
#define PTE_W (1UL << 1)
#define PTE_U (1UL << 2)
#define PTE_PWT (1UL << 3)
#define PTE_PCD (1UL << 4)
#define PTE_A (1UL << 5)
#define PTE_D (1UL << 6)
#define PTE_PS (1UL << 7) /* levels 2 and 3: a leaf */
#define PTE_G (1UL << 8)
#define PTE_SPECIAL (1UL << 9)    /* software: no struct page accounting (zero page, vdso) */
#define PTE_SOFTDIRTY (1UL << 10) /* software: written since clear_refs 4 */
#define PTE_UFFD_WP (1UL << 11)   /* software: write-protected by userfaultfd */
/* Software: maps a frame that nobody may access (PROT_NONE).  P is 0, so the MMU faults;
 * all else (frame, A, D, soft-dirty) is as in a present entry, and so it counts as one. */
#define PTE_PROTNONE PTE_G
#define PTE_PKEY_SHIFT 59
#define PTE_NX (1UL << 63)
#define PTE_PFN_MASK 0x000ffffffffff000UL

/*
 * Entries that are not present have kinds, in bits 1-4; P is 0.
 *   none:      all zero
 *   otherwise: bits 1-4 kind, 10 soft-dirty, 11 uffd-wp, 12.. payload
 */
enum pte_kind {
	PTE_KIND_NONE = 0,
	PTE_KIND_SWAP = 1,      /* payload: swap slot */
	PTE_KIND_MIGRATION = 2, /* payload: pfn being moved */
	PTE_KIND_MARKER = 3,    /* payload: userfaultfd marker bits */
	PTE_KIND_POISON = 4,    /* the frame was retired; access gives SIGBUS */
	PTE_KIND_PRESENT = 16,
};
#define PTE_KIND_SHIFT 1

static inline bool pte_none(struct pte e)
{
	return e.v == 0;
}
static inline bool pte_present(struct pte e)
{
	return e.v & (PTE_P | PTE_PROTNONE);
}
static inline enum pte_kind pte_kind(struct pte e)
{
	return pte_present(e) ? PTE_KIND_PRESENT : (enum pte_kind)((e.v >> PTE_KIND_SHIFT) & 15);
}
static inline struct pfn pte_pfn(struct pte e)
{
	return (struct pfn){(e.v & PTE_PFN_MASK) >> QUIRE_PAGE_SHIFT};
}
static inline struct pte pte_make(struct pfn f, u64 bits)
{
	return (struct pte){(f.n << QUIRE_PAGE_SHIFT) | bits};
}
/* An entry of a kind, with a payload of at most 52 bits. */
static inline struct pte pte_make_kind(enum pte_kind k, u64 payload)
{
	return (struct pte){(payload << QUIRE_PAGE_SHIFT) | ((u64)k << PTE_KIND_SHIFT)};
}
static inline u64 pte_payload(struct pte e)
{
	return e.v >> QUIRE_PAGE_SHIFT;
}

struct quire_mm;

/* ---- cursor ---------------------------------------------------------------------- */

/*
 * Stands on one entry of one table.  Set up by pt_find(), pt_make() or moved by
 * pt_next(); the lock is the caller's to take (pt_lock) and drop.
 */
struct pt_cursor {
	struct quire_mm *mm; /* whose tables; null for a bare root */
	u64 addr;            /* start of what the entry covers */
	unsigned level;      /* of the entry: 1 = pte, 2 = pmd, ... */
	struct pte *entry;   /* in the host's view */
	struct page *table;
};

#define PT_LOW_END (1UL << 48) /* mm->low covers what is below */

/* Bytes that an entry of this level covers. */
static inline u64 pt_span(unsigned level)
{
	return 1UL << (QUIRE_PAGE_SHIFT + 9 * (level - 1));
}

/* Stand on the lowest entry that exists for addr: level 1 if there is a table for
 * it, a higher level where the table below is missing (the entry is none) or the
 * entry is a leaf.  No lock is taken.  Doesn't sleep. */
void pt_find(struct pt_cursor *c, struct quire_mm *mm, u64 addr);
/* The same, but no lower than this level: where a table hangs on the entry, it is not
 * entered. */
void pt_find_at(struct pt_cursor *c, struct quire_mm *mm, u64 addr, unsigned level);
/* Stand on addr's entry of the given level, making missing tables.  0, -ENOMEM, or
 * -EEXIST when a leaf of a higher level stands in the way (cursor is on it).  May
 * sleep unless gfp has GFP_ATOMIC. */
int pt_make(struct pt_cursor *c, struct quire_mm *mm, u64 addr, unsigned level, unsigned gfp);
/* Both, for tables that belong to no mm (the kernel's). */
void pt_find_root(struct pt_cursor *c, struct pfn root, u64 addr);
int pt_make_root(struct pt_cursor *c, struct pfn root, u64 addr, unsigned level, unsigned gfp);

/* Stand on the entry of level 1 of *addr, or of the next address that has a table, which
 * is then *addr; false: there is none below end.  For loops over a range. */
bool pt_find_table(struct pt_cursor *c, struct quire_mm *mm, u64 *addr, u64 end);

/* Lock the table the cursor stands in. */
static inline void pt_lock(struct pt_cursor *c) ACQUIRES(c->table->ptl) NO_TSA
{
	spin_lock(&c->table->ptl);
}
static inline void pt_lock_nested(struct pt_cursor *c) ACQUIRES(c->table->ptl) NO_TSA
{
	spin_lock_nested(&c->table->ptl);
}
static inline void pt_unlock(struct pt_cursor *c) RELEASES(c->table->ptl) NO_TSA
{
	spin_unlock(&c->table->ptl);
}

/* Move to the next entry of the same table; false at the table's end (cursor then
 * is unusable: find again from pt_end()).  The lock, if held, stays valid. */
static inline bool pt_next(struct pt_cursor *c)
{
	c->addr += pt_span(c->level);
	c->entry++;
	return ((uintptr_t)c->entry & (QUIRE_PAGE_SIZE - 1)) != 0;
}
/* Where what the cursor's entry covers ends. */
static inline u64 pt_end(const struct pt_cursor *c)
{
	return c->addr + pt_span(c->level);
}

/* Read the entry.  With or without the lock. */
static inline struct pte pt_get(const struct pt_cursor *c)
{
	return (struct pte){__atomic_load_n(&c->entry->v, __ATOMIC_ACQUIRE)};
}
/* Replace the entry; returns what it was, so that no accessed or dirty bit is lost.
 * Keeps table->pt_used.  Lock held.  Flushing is the caller's (gather). */
static inline struct pte pt_set(struct pt_cursor *c, struct pte e)
{
	struct pte old = {__atomic_exchange_n(&c->entry->v, e.v, __ATOMIC_ACQ_REL)};
	u32 used = c->table->pt_used + !pte_none(e) - !pte_none(old);
	/* Written by the lock's holder alone, but looked at by others without it. */
	__atomic_store_n(&c->table->pt_used, used, __ATOMIC_RELAXED);
	return old;
}
/* Clear and set bits; returns what it was.  Lock held; must not change none-ness. */
struct pte pt_modify(struct pt_cursor *c, u64 clear, u64 set);

/*
 * For loops over many entries of one table, its lock held: the loop keeps count of the
 * entries that aren't none, and says it with pt_set_used() before it drops the lock.
 */
static inline struct pte pte_load(const struct pte *entry)
{
	return (struct pte){__atomic_load_n(&entry->v, __ATOMIC_RELAXED)};
}
static inline struct pte pte_take(struct pte *entry) /* leaves none */
{
	return (struct pte){__atomic_exchange_n(&entry->v, 0UL, __ATOMIC_ACQ_REL)};
}
static inline void pte_store(struct pte *entry, struct pte e) /* where none is */
{
	__atomic_store_n(&entry->v, e.v, __ATOMIC_RELEASE);
}
/* The MMU may still set A in what this leaves, but D only where it leaves W. */
static inline void pte_clear_bits(struct pte *entry, u64 bits)
{
	(void)__atomic_fetch_and(&entry->v, ~bits, __ATOMIC_ACQ_REL);
}
static inline void pt_set_used(struct pt_cursor *c, u32 used)
{
	__atomic_store_n(&c->table->pt_used, used, __ATOMIC_RELAXED);
}

/* Give mm a new root, whose upper half is the kernel's (config.kernel_root), and the table
 * that it begins with.  0 or -ENOMEM. */
int pt_root_alloc(struct quire_mm *mm);
void pt_root_free(struct quire_mm *mm);
/* One table, in no tree; mm null: the kernel's.  Not cleared unless gfp says so. */
struct page *pt_table_alloc(struct quire_mm *mm, unsigned gfp);
void pt_table_free(struct page *t);
/* Frames that are page tables made here, roots included; mm->tables counts an mm's
 * of the levels up to 3, as Linux does. */
u64 pt_tables_total(void);

/* ---- TLB gather ------------------------------------------------------------------ */

#define GATHER_PAGES 62
/*
 * Collects what was unmapped: a range to flush, and frames and tables whose last
 * reference may only be dropped after the flush.
 */
struct tlb_gather {
	struct quire_mm *mm;
	u64 start, end; /* union of the ranges; start >= end: none */
	bool tables;    /* page-table pages were unlinked */
	bool whole;     /* the mm is dying and loaded nowhere: no flush needed */
	unsigned n;
	struct page *pages[GATHER_PAGES];
	struct page *freed_tables; /* chained by lru.next */
};
void gather_init(struct tlb_gather *g, struct quire_mm *mm, bool whole);
/* [start, end) has stale translations. */
static inline void gather_range(struct tlb_gather *g, u64 start, u64 end)
{
	g->start = quire_min(g->start, start);
	g->end = quire_max(g->end, end);
}
/* Put page after the flush.  True when the gather is full: the caller then drops its
 * page-table lock, calls gather_flush() and goes on. */
static inline bool gather_page(struct tlb_gather *g, struct page *page)
{
	g->pages[g->n++] = page;
	return g->n == GATHER_PAGES;
}
/* Free this table (unlinked already) after the flush. */
void gather_table(struct tlb_gather *g, struct page *table);
/* Flush and free what has been collected; the gather can be used on.  No page-table
 * lock held. */
void gather_flush(struct tlb_gather *g);

/* Call fn for every entry of level 1 in [start, end) that has a table, under the table's
 * lock.  fn returns true when the entry's translations are stale: they are flushed before
 * this returns. */
void pt_walk(struct quire_mm *mm, u64 start, u64 end,
	     bool (*fn)(struct pt_cursor *c, struct pte e, void *arg), void *arg);

/* Free every table that serves only [floor, ceiling) and is inside it as a whole:
 * unlinks, and gives them to the gather.  All entries below are none.  The caller
 * holds mmap_lock for writing and there is no VMA in [floor, ceiling). */
void pt_free_range(struct tlb_gather *g, struct quire_mm *mm, u64 floor, u64 ceiling);
/* The same, for tables that serve some of [start, end): looks nowhere else, so that it costs
 * what was mapped there and not what lies free around it. */
void pt_free_tables(struct tlb_gather *g, struct quire_mm *mm, u64 start, u64 end, u64 floor,
		    u64 ceiling);

#endif
