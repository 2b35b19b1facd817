/* SPDX-License-Identifier: MIT */
/*
 * The fault handler: why did this access fault, and what is to be done.
 *
 *   the region is           the entry is          it is    cause          who
 *   ----------------------  --------------------  -------  -------------  ------------------
 *   none                    -                     SEGV     no-region      find_slow
 *   below a stack that may  -                     minor    stack-growth   find_slow, then as
 *     grow                                                                 for its region
 *   below one that may not  -                     SEGV     stack-limit    find_slow
 *   there, access refused   -                     SEGV     access, pkey   check
 *   anonymous, read         none                  minor    anon-zero      fault_anon_read
 *   anonymous, write        none                  minor    anon-write     fault_anon_write
 *   file                    none, page cached     minor    file-cached    fault_file
 *   file                    none, not cached      major    file-read      fault_file
 *   file, past its end      none                  SIGBUS   file-eof       fault_file
 *   file, read fails        none                  SIGBUS   file-io-error  fault_file
 *   file, private, write    none, or read-only    minor    file-cow       fault_file, fault_cow
 *   special (vdso)          none                  minor    file-cached    fault_special
 *   private, write          zero page             minor    cow-zero       fault_cow
 *   private, write          read-only, shared     minor    cow-copy       fault_cow
 *   private, write          read-only, sole user  minor    cow-reuse      fault_cow
 *   private, another        read-only, shared     minor    cow-copy       fault_unshare
 *     program's long look
 *   shared, write           read-only             minor    shared-dirty   fault_shared_dirty
 *   any                     allows the access     minor    spurious       spurious
 *   any                     page is being moved   minor    migration      wait_migration
 *   any                     poisoned              SIGBUS   poisoned       resolve
 *   any                     (no frame to be had)  -        no-memory      fault_no_memory
 *   kernel, lazy area       none                  minor    kernel-lazy    quire_kernel_fault
 *
 * (After M. Gorman, "Understanding the Linux Virtual Memory Manager", table 4.4.)
 *
 * Locking.  The VMA is found in the index under RCU and its read lock is tried; no
 * lock of the mm or of the system is taken.  When that fails, because somebody
 * changes the VMA, or it isn't there, the slow path waits for mmap_lock.  Entries
 * are read without a lock to choose the row, and read again under the lock of
 * their table before they are changed; one that has changed means FAULT_AGAIN.
 *
 * What it doesn't do: deliver signals (the host does), swap, huge pages,
 * userfaultfd.
 */
#include <quire/assert.h>
#include <quire/errno.h>

#include "../base/init.h"
#include "fault.h"

const char *const quire_cause_name[QUIRE_CAUSE_COUNT] = {
#define X(id, name, text) [id] = name,
    QUIRE_CAUSES(X)
#undef X
};

const char *const quire_cause_text[QUIRE_CAUSE_COUNT] = {
#define X(id, name, text) [id] = text,
    QUIRE_CAUSES(X)
#undef X
};

const char *const quire_outcome_name[QUIRE_OUTCOMES] = {
    [QUIRE_DONE_MINOR] = "minor",
    [QUIRE_DONE_MAJOR] = "major",
    [QUIRE_RETRY] = "retry",
    [QUIRE_SEGV_MAPERR] = "SIGSEGV (SEGV_MAPERR)",
    [QUIRE_SEGV_ACCERR] = "SIGSEGV (SEGV_ACCERR)",
    [QUIRE_SEGV_PKUERR] = "SIGSEGV (SEGV_PKUERR)",
    [QUIRE_SIGBUS] = "SIGBUS",
    [QUIRE_SIGBUS_MCE] = "SIGBUS (BUS_MCEERR_AR)",
    [QUIRE_OOM] = "out of memory",
    [QUIRE_KILLED] = "killed",
};

/* ---- totals ------------------------------------------------------------------------------ */

static struct quire_fault_totals *totals; /* per CPU, written with preemption off */

void fault_init(void)
{
	totals = percpu_alloc(sizeof(*totals));
	kernel_range_reset();
}

static inline void bump(u64 *at, u64 n)
{
	__atomic_store_n(at, __atomic_load_n(at, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

void fault_totals_add(const struct quire_fault_record *rec)
{
	struct quire_fault_totals *t;

	quire_host_preempt_disable();
	t = percpu_at(totals, quire_host_cpu());
	bump(&t->count[rec->cause], 1);
	bump(&t->cost[rec->cause], rec->cost);
	bump(&t->brought[rec->cause], rec->brought);
	bump(&t->outcome[rec->outcome], 1);
	quire_host_preempt_enable();
}

void quire_fault_totals(struct quire_fault_totals *out)
{
	u64 *sum = (u64 *)out;

	for (size_t i = 0; i < sizeof(*out) / sizeof(u64); i++) {
		sum[i] = 0;
		for (unsigned cpu = 0; cpu < core_config.cpus; cpu++)
			sum[i] +=
			    __atomic_load_n((u64 *)percpu_at(totals, cpu) + i, __ATOMIC_RELAXED);
	}
}

enum quire_outcome fault_no_memory(struct fault *f)
{
	f->rec->cause = CAUSE_NO_MEMORY;
	return quire_host_killed() ? QUIRE_KILLED : QUIRE_OOM;
}

/* ---- which region -------------------------------------------------------------------------- */

/* Find and read-lock the VMA of the address without any other lock. */
static bool find_fast(struct fault *f)
{
	struct vma *v;

	quire_rcu_read_lock();
	v = vma_find(&f->mm->index, f->addr);
	if (quire_likely(v && vma_read_trylock(v))) {
		/* Its bounds mean something only now that they can't move. */
		if (quire_likely(v->start <= f->addr && f->addr < v->end)) {
			quire_rcu_read_unlock();
			f->vma = v;
			return true;
		}
		vma_read_unlock(v);
	}
	quire_rcu_read_unlock();
	return false;
}

static enum quire_outcome refuse(struct fault *f, enum quire_cause cause, enum quire_outcome o)
{
	f->rec->cause = (u8)cause;
	return o;
}

/* Nothing covers the address: grow the stack above it, if there is one. */
static enum quire_outcome grow_stack(struct fault *f)
{
	enum quire_outcome o = FAULT_AGAIN;
	struct vma *v;
	u64 start;

	write_lock(&f->mm->mmap_lock);
	v = vma_find(&f->mm->index, f->addr);
	if (!v || (v->start > f->addr && !(v->flags & VM_GROWSDOWN))) {
		o = refuse(f, CAUSE_NO_REGION, QUIRE_SEGV_MAPERR);
	} else if (v->start > f->addr) {
		start = v->start;
		int err = vma_expand_down(v, f->addr);

		if (err == -EAGAIN)
			o = fault_no_memory(f);
		else if (err)
			o = refuse(f, CAUSE_STACK_LIMIT, QUIRE_SEGV_MAPERR);
		else
			f->rec->grown += (u32)((start - f->addr) >> QUIRE_PAGE_SHIFT);
	}
	write_unlock(&f->mm->mmap_lock);
	return o;
}

/* The same with mmap_lock.  DONE_MINOR: f->vma is there, read-locked. */
static enum quire_outcome find_slow(struct fault *f)
{
	enum quire_outcome o = FAULT_AGAIN;
	bool below_stack = false;
	struct vma *v;

	read_lock(&f->mm->mmap_lock);
	v = vma_find(&f->mm->index, f->addr);
	if (v && v->start <= f->addr) {
		/* Nobody write-locks a VMA without mmap_lock; from here on its own lock is
		 * enough. */
		if (vma_read_trylock(v)) {
			f->vma = v;
			o = QUIRE_DONE_MINOR;
		}
	} else if (v && (v->flags & VM_GROWSDOWN)) {
		below_stack = true;
	} else {
		o = refuse(f, CAUSE_NO_REGION, QUIRE_SEGV_MAPERR);
	}
	read_unlock(&f->mm->mmap_lock);
	return below_stack ? grow_stack(f) : o;
}

/* ---- is it allowed, and which row is it ---------------------------------------------------- */

/* Does the region's protection key forbid the access?  What the MMU said is final; and what
 * isn't there yet isn't brought in to be refused then. */
static bool key_refuses(const struct fault *f)
{
	if (f->access & QUIRE_RSVD) {
		quire_dump_mm(f->mm);
		quire_host_panic("a reserved bit is set in a page-table entry for %lx",
				 (unsigned long)f->rec->address);
	}
	if (f->access & (QUIRE_EXEC | FAULT_FOREIGN)) /* running code needs no key */
		return false;
	return (f->access & QUIRE_PKEY) || pkey_refuses(f->vma, f->write);
}

/* Fill in the context; refuse what the region doesn't allow. */
static enum quire_outcome check(struct fault *f)
{
	struct quire_fault_record *rec = f->rec;
	struct vma *v = f->vma;
	u64 need;

	f->pgoff = vma_pgoff_of(v, f->addr);
	rec->vma_start = v->start;
	rec->vma_end = v->end;
	rec->vma_flags = v->flags;
	rec->pgoff = f->pgoff;
	if (quire_unlikely((f->access & (QUIRE_RSVD | QUIRE_PKEY | QUIRE_KEY0)) ||
			   v->flags >> VM_PKEY_SHIFT) &&
	    key_refuses(f))
		return refuse(f, CAUSE_PKEY, QUIRE_SEGV_PKUERR);
	if (f->write)
		need = VM_WRITE;
	else if ((f->access & (QUIRE_EXEC | QUIRE_PRESENT)) == (QUIRE_EXEC | QUIRE_PRESENT))
		need = VM_EXEC; /* as Linux: what isn't there is brought in before it is refused */
	else
		need = VM_READ | VM_WRITE | VM_EXEC; /* x86 can't write or run without reading */
	if (quire_unlikely(!(v->flags & need)))
		return refuse(f, CAUSE_ACCESS, QUIRE_SEGV_ACCERR);
	return QUIRE_DONE_MINOR;
}

/* The entry is on its way to another frame: wait for the page's lock, which its mover holds. */
static enum quire_outcome wait_migration(struct fault *f)
{
	struct page *p = pfn_page((struct pfn){pte_payload(f->entry)});

	f->rec->cause = CAUSE_MIGRATION;
	if (quire_page_try_get(p)) {
		quire_page_lock(p);
		quire_page_unlock(p);
		quire_page_put(p);
	}
	return FAULT_AGAIN;
}

/* The entry allows the access: another thread was faster, or the MMU hasn't seen it yet.
 * The same again and again, with nobody changing anything, is neither. */
static enum quire_outcome spurious(struct fault *f)
{
#ifdef QUIRE_DEBUG
	static u64 last_addr, last_thread, times;
	u64 self = quire_host_self();
	bool same = __atomic_exchange_n(&last_addr, f->addr, __ATOMIC_RELAXED) == f->addr &&
		    __atomic_exchange_n(&last_thread, self, __ATOMIC_RELAXED) == self;

	if (!same) {
		__atomic_store_n(&times, 0, __ATOMIC_RELAXED);
	} else if (__atomic_add_fetch(&times, 1, __ATOMIC_RELAXED) > 100000) {
		quire_dump_mm(f->mm);
		quire_host_panic("access %x of %lx faults, and entry %lx allows it", f->access,
				 (unsigned long)f->rec->address, (unsigned long)f->entry.v);
	}
#endif
	/* A translation that is stricter than the entry may linger; one of an absent entry
	 * is never kept. */
	if (f->access & QUIRE_PRESENT)
		quire_host_tlb_flush(f->mm, f->addr, f->addr + QUIRE_PAGE_SIZE, false);
	return fault_done(f, CAUSE_SPURIOUS, f->entry, 0);
}

static enum quire_outcome resolve_present(struct fault *f)
{
	struct pte e = f->entry;
	u64 prot = f->vma->prot;
	struct pte now;

	if (f->write && !(e.v & PTE_W))
		return f->vma->flags & VM_SHARED ? fault_shared_dirty(f) : fault_cow(f);
	if (quire_unlikely(f->access & FAULT_UNSHARE) && !(e.v & PTE_W) &&
	    !(f->vma->flags & VM_SHARED))
		return fault_unshare(f);
	if ((e.v & (PTE_P | PTE_U)) == (PTE_P | PTE_U) &&
	    !((f->access & QUIRE_EXEC) && (e.v & PTE_NX)))
		return spurious(f);
	/* Stricter than its region: mprotect() changes the flags first, then the entries. */
	pt_lock(&f->at);
	now = pt_get(&f->at);
	if (fault_same(f, now))
		pt_modify(&f->at, PTE_PROTNONE | PTE_NX,
			  (prot & (PTE_P | PTE_U | PTE_NX | PTE_PROTNONE)) | PTE_A);
	pt_unlock(&f->at);
	return fault_done(f, CAUSE_SPURIOUS, pt_get(&f->at), 0);
}

static enum quire_outcome resolve(struct fault *f)
{
	struct vma *v = f->vma;

	if (quire_unlikely(pt_make(&f->at, f->mm, f->addr, 1, GFP_KERNEL)))
		return fault_no_memory(f);
	f->entry = pt_get(&f->at);
	f->rec->before = f->entry;
	f->rec->after = f->entry;
	if (quire_likely(pte_none(f->entry))) {
		if (v->mapping)
			return fault_file(f);
		if (quire_unlikely(v->flags & VM_SPECIAL))
			return fault_special(f);
		return f->write ? fault_anon_write(f) : fault_anon_read(f);
	}
	switch (pte_kind(f->entry)) {
	case PTE_KIND_PRESENT:
		return resolve_present(f);
	case PTE_KIND_MIGRATION:
		return wait_migration(f);
	case PTE_KIND_POISON:
		return refuse(f, CAUSE_POISON, QUIRE_SIGBUS_MCE);
	default:
		break;
	}
	if (pte_present(f->entry))
		return resolve_present(f);
	quire_dump_mm(f->mm);
	quire_host_panic("entry %lx for %lx is of no kind that can be", (unsigned long)f->entry.v,
			 (unsigned long)f->addr);
}

/* ---- the whole ----------------------------------------------------------------------------- */

static enum quire_outcome once(struct fault *f)
{
	enum quire_outcome o;

	if (quire_unlikely(!find_fast(f))) {
		o = find_slow(f);
		if (o != QUIRE_DONE_MINOR)
			return o;
	}
	o = check(f);
	if (quire_likely(o == QUIRE_DONE_MINOR))
		o = resolve(f);
	vma_read_unlock(f->vma);
	return o;
}

enum quire_outcome fault_run(struct fault *f)
{
	enum quire_outcome o;

	while (quire_unlikely((o = once(f)) == FAULT_AGAIN)) {
		f->rec->retries++;
		if (quire_host_killed()) {
			o = QUIRE_KILLED;
			break;
		}
	}
	if (quire_unlikely(f->rec->grown) && o <= QUIRE_DONE_MAJOR)
		f->rec->cause = CAUSE_STACK_GROWTH;
	f->rec->outcome = (u8)o;
	return o;
}

enum quire_outcome quire_fault(struct quire_mm *mm, u64 address, unsigned access, u64 ip,
			       struct quire_fault_record *rec)
{
	struct fault f;
	enum quire_outcome o;

	*rec = (struct quire_fault_record){
	    .time = quire_host_time_ns(),
	    .address = address,
	    .ip = ip,
	    .thread = quire_host_self(),
	    .access = (u16)access,
	};
	f.mm = mm;
	f.addr = address & QUIRE_PAGE_MASK;
	f.access = access;
	f.write = access & QUIRE_WRITE;
	f.rec = rec;
	o = fault_run(&f);
	rec->cost = quire_host_time_ns() - rec->time;
	fault_totals_add(rec);
	quire_count(QUIRE_EV_PGFAULT, 1);
	if (o == QUIRE_DONE_MAJOR)
		quire_count(QUIRE_EV_PGMAJFAULT, 1);
	return o;
}
