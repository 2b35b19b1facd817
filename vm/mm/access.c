/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing an address space from outside, as ptrace, /proc/PID/mem and
 * process_vm_readv do, page by page through the host's view of the frame; and what a
 * futex word is identified by.
 *
 * A write that is forced past a missing permission never reaches a file: it makes a
 * private copy, as a copy-on-write fault would, but leaves the entry read-only.
 *
 * Locking: mmap_lock for reading while a page is looked up; the page is held by a
 * reference while its bytes are copied.
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/string.h>

#include "../cache/cache.h"
#include "../reclaim/lru.h"
#include "../rmap/rmap.h"
#include "mm.h"

#define TRIES 16 /* of a page that is taken away again each time it was faulted in */

struct look {
	struct quire_mm *mm;
	u64 addr; /* of the page */
	bool write, force;
	bool own; /* the caller's own space: its keys matter, and looking leaves no trace */
	struct page *page; /* found, with a reference */
	/* Of a mapped page: where it would be in its file; null for anonymous memory. */
	struct quire_mapping *mapping;
	u64 pgoff;
};

enum looked { FOUND, FAULT_IN, DENIED };

static bool allowed(const struct vma *v, const struct look *l)
{
	if ((v->flags & VM_PFNMAP) || (l->own && pkey_refuses(v, l->write)))
		return false;
	if (l->write)
		return (v->flags & VM_WRITE) ||
		       (l->force && (v->flags & (VM_MAYWRITE | VM_SHARED)) == VM_MAYWRITE);
	return (v->flags & VM_READ) || (l->force && (v->flags & VM_MAYREAD));
}

static bool exclusive(const struct page *p)
{
	return page_test(p, PG_ANON) && __atomic_load_n(&p->mapcount, __ATOMIC_ACQUIRE) == 1 &&
	       __atomic_load_n(&p->refs, __ATOMIC_ACQUIRE) == 1;
}

/* The page that the entry maps, if it may be used as it is. */
static bool take_mapped(const struct vma *v, struct look *l)
{
	struct pt_cursor c;
	bool ok = false;

	pt_find(&c, l->mm, l->addr);
	if (c.level != 1)
		return false;
	pt_lock(&c);
	struct pte e = pt_get(&c);
	if (pte_present(e)) {
		struct page *p = pfn_page(pte_pfn(e));

		ok = !l->write || (e.v & PTE_W) ||
		     (!(v->flags & VM_WRITE) && !(e.v & PTE_SPECIAL) && exclusive(p));
		if (ok && l->write && !l->own)
			pt_modify(&c, 0, PTE_A | PTE_D | PTE_SOFTDIRTY);
		if (ok) {
			quire_page_get(p);
			l->page = p;
			l->mapping = e.v & PTE_SPECIAL ? NULL : v->mapping;
			l->pgoff = vma_pgoff_of(v, l->addr);
		}
	}
	pt_unlock(&c);
	return ok;
}

/* What the file (or fresh anonymous memory) has at the address, without mapping it. */
static struct page *unmapped_page(const struct vma *v, u64 addr)
{
	u64 pgoff = vma_pgoff_of(v, addr);
	struct page *p;
	int err;

	if (v->mapping)
		return quire_cache_get(v->mapping, pgoff, &err);
	if (!(v->flags & VM_SPECIAL))
		return quire_page_alloc(0, GFP_KERNEL | GFP_ZERO);
	if (pgoff >= v->special->n || v->special->frame[pgoff].n == QUIRE_NO_FRAME)
		return NULL;
	p = pfn_page(v->special->frame[pgoff]);
	quire_page_get(p);
	return p;
}

/* Put a private copy of what the entry has (`seen`) into its place. */
static bool break_share(struct vma *v, u64 addr)
{
	struct page *from = NULL, *copy = NULL;
	struct pt_cursor c;
	struct pte seen;
	bool done = false;

	if (anon_vma_prepare(v) || pt_make(&c, v->mm, addr, 1, GFP_KERNEL))
		return false;
	pt_lock(&c);
	seen = pt_get(&c);
	if (pte_present(seen)) {
		from = pfn_page(pte_pfn(seen));
		quire_page_get(from);
	}
	pt_unlock(&c);
	if (!from && pte_none(seen))
		from = unmapped_page(v, addr);
	if (from)
		copy = quire_page_alloc(0, GFP_KERNEL | GFP_ACCOUNT);
	if (!copy) {
		if (from)
			quire_page_put(from);
		return false;
	}
	memcpy(page_view(copy), page_view(from), QUIRE_PAGE_SIZE);
	pt_lock(&c);
	if (!((pt_get(&c).v ^ seen.v) & ~(PTE_A | PTE_D))) {
		bool counted = pte_present(seen) && !(seen.v & PTE_SPECIAL);

		pt_set(&c, (struct pte){0});
		if (pte_present(seen))
			quire_host_tlb_flush(v->mm, addr, addr + QUIRE_PAGE_SIZE, false);
		if (counted)
			rmap_remove(from, v);
		rmap_add_anon(copy, v, addr, true);
		lru_add_fresh(copy);
		pt_set(&c, pte_make(page_pfn(copy), v->prot | PTE_A | PTE_D | PTE_SOFTDIRTY));
		done = true;
		if (counted)
			quire_page_put(from); /* the entry's */
	}
	pt_unlock(&c);
	quire_page_put(from);
	if (!done)
		quire_page_put(copy);
	return true; /* done, or somebody else changed the entry: look again */
}

static enum looked look_once(struct look *l)
{
	struct vma *v = vma_find(&l->mm->index, l->addr);

	if (!v || v->start > l->addr || !allowed(v, l))
		return DENIED;
	if (take_mapped(v, l))
		return FOUND;
	if (l->write)
		return v->flags & VM_WRITE                            ? FAULT_IN
		       : break_share(v, l->addr) && take_mapped(v, l) ? FOUND
								      : DENIED;
	if (v->flags & VM_READ)
		return FAULT_IN;
	l->page = unmapped_page(v, l->addr);
	return l->page ? FOUND : DENIED;
}

static bool look_up(struct look *l)
{
	for (unsigned i = 0; i < TRIES; i++) {
		enum looked r;

		if (quire_mm_reaped(l->mm))
			return false;
		read_lock(&l->mm->mmap_lock);
		r = look_once(l);
		read_unlock(&l->mm->mmap_lock);
		if (r != FAULT_IN)
			return r == FOUND;
		if (populate_foreign(l->mm, l->addr, l->write))
			return false;
	}
	return false;
}

size_t quire_mm_access(struct quire_mm *mm, u64 addr, void *buf, size_t n, bool write, bool force)
{
	size_t done = 0;

	while (done < n && addr + done < mm->layout.task_size) {
		u64 at = addr + done, offset = at & ~QUIRE_PAGE_MASK;
		size_t part = quire_min(n - done, QUIRE_PAGE_SIZE - offset);
		struct look l = {
		    .mm = mm, .addr = at & QUIRE_PAGE_MASK, .write = write, .force = force};

		if (!look_up(&l))
			break;
		char *p = (char *)page_view(l.page) + offset;
		memcpy(write ? p : (char *)buf + done, write ? (char *)buf + done : p, part);
		quire_page_put(l.page);
		done += part;
	}
	return done;
}

u64 quire_mm_bring_in(struct quire_mm *mm, u64 addr, u64 len, bool write)
{
	struct look l = {.mm = mm, .write = write};
	u64 top = mm->layout.task_size, at = addr & QUIRE_PAGE_MASK, end;

	if (addr >= top)
		return 0;
	len = quire_min(len, top - addr);
	end = quire_round_up(addr + len, QUIRE_PAGE_SIZE);
	while (at < end) {
		u64 to = 0;

		read_lock(&mm->mmap_lock);
		const struct vma *v = vma_find(&mm->index, at);
		if (v && v->start <= at && allowed(v, &l)) /* no stack grows for it */
			to = quire_min(end, v->end);
		read_unlock(&mm->mmap_lock);
		if (!to || populate_pinned(mm, &at, to, write))
			break;
	}
	return at > addr ? quire_min(at - addr, len) : 0;
}

/* ---- futex keys ---------------------------------------------------------------------- */

enum { KEY_PRIVATE, KEY_SHARED_MM, KEY_MAPPING };

/* By the page that is there, brought in for writing if that is allowed: anonymous memory is
 * known by its place in the address space, other by its place in the file. */
static int shared_key(struct quire_mm *mm, u64 addr, bool write, u64 key[3])
{
	struct look l = {.mm = mm, .addr = addr & QUIRE_PAGE_MASK, .write = true, .own = true};
	bool writable = look_up(&l), anon;

	if (!writable) {
		l.write = false;
		if (write || !look_up(&l))
			return -EFAULT;
	}
	anon = page_test(l.page, PG_ANON);
	quire_page_put(l.page);
	/* Nobody will ever change a private page that can't be written, and wake us. */
	if (anon ? !writable : !l.mapping)
		return -EFAULT;
	key[0] = anon ? (uintptr_t)mm : (uintptr_t)l.mapping;
	key[1] = anon ? addr : l.pgoff << QUIRE_PAGE_SHIFT | (addr & ~QUIRE_PAGE_MASK);
	key[2] = anon ? KEY_SHARED_MM : KEY_MAPPING;
	return 0;
}

int quire_mm_futex_key(struct quire_mm *mm, u64 addr, bool shared, bool write, u64 key[3])
{
	if (addr >= mm->layout.task_size)
		return -EFAULT;
	if (shared)
		return shared_key(mm, addr, write, key);
	key[0] = (uintptr_t)mm;
	key[1] = addr;
	key[2] = KEY_PRIVATE;
	return 0;
}
