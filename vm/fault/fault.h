/* SPDX-License-Identifier: MIT */
/*
 * What the files of vm/fault share: the context of one fault, and a handler for
 * each row of the table at the top of fault.c.
 *
 * Handlers are called with the VMA read-locked and the cursor on the address's
 * entry of level 1; they fill in the record's cause, `after` and `brought`, and
 * return the outcome, or FAULT_AGAIN when what they were told doesn't hold any
 * more.  Only fault_run() loops.
 */
#ifndef VM_FAULT_H
#define VM_FAULT_H

#include <quire/fault.h>

#include "../mm/mm.h"

struct fault {
	struct quire_mm *mm;
	struct vma *vma;
	u64 addr;  /* of the page */
	u64 pgoff; /* of the page, in file or anonymous region */
	unsigned access;
	bool write;
	struct pt_cursor at;
	struct pte entry; /* as it was when the row was chosen */
	struct quire_fault_record *rec;
};

/* In `access`: somebody else's memory, whose keys don't count. */
#define FAULT_FOREIGN (1u << 15)
/* And for reading: have a private page to oneself, although nobody writes to it. */
#define FAULT_UNSHARE (1u << 14)

#define FAULT_AGAIN ((enum quire_outcome)QUIRE_OUTCOMES)

/* fault.c */
/* Resolve the fault of f->mm, ->addr, ->access; the record is filled, but for its times. */
enum quire_outcome fault_run(struct fault *f);
void fault_totals_add(const struct quire_fault_record *rec);
/* Nothing could be allocated: the cause, and OOM or KILLED. */
enum quire_outcome fault_no_memory(struct fault *f);
static inline enum quire_outcome fault_done(struct fault *f, enum quire_cause cause,
					    struct pte after, unsigned brought)
{
	f->rec->cause = (u8)cause;
	f->rec->after = after;
	f->rec->brought += brought;
	return QUIRE_DONE_MINOR;
}
/* Is the entry as it was, but for what the MMU does to it? */
static inline bool fault_same(const struct fault *f, struct pte now)
{
	return !((now.v ^ f->entry.v) & ~(PTE_A | PTE_D));
}

/* anon.c */
enum quire_outcome fault_anon_read(struct fault *f);
enum quire_outcome fault_anon_write(struct fault *f);
/* Map a new page, filled and with one reference, where f->entry was none.  Takes the
 * reference over unless it returns FAULT_AGAIN.  The VMA has its anon_vma. */
enum quire_outcome fault_map_new(struct fault *f, struct page *p, enum quire_cause cause);

/* file.c */
enum quire_outcome fault_file(struct fault *f);
enum quire_outcome fault_special(struct fault *f);
enum quire_outcome fault_shared_dirty(struct fault *f);

/* cow.c */
enum quire_outcome fault_cow(struct fault *f);
enum quire_outcome fault_unshare(struct fault *f);

/* kernel.c */
void kernel_range_reset(void);
u64 kernel_area_frames(void);    /* frames in areas */
u64 kernel_area_tables(void);    /* page tables of the areas: they stay */
u64 kernel_reserve_frames(void); /* frames in the CPUs' reserves */

#endif
