/* SPDX-License-Identifier: MIT */
/*
 * Putting an address space, a page, or what is at an address into words, for oopses
 * and failed checks.
 *
 * Any context, whatever is locked or broken: it takes no lock but RCU, follows no
 * pointer that it hasn't looked at, and believes frame numbers only within range.
 */
#include <quire/mm.h>

#include "../mm/mm.h"

#define MOST_VMAS 200 /* lines of one dump */

static const char *const flag_name[] = {
    [PG_LOCKED] = "locked",       [PG_WAITERS] = "waiters",
    [PG_UPTODATE] = "uptodate",   [PG_DIRTY] = "dirty",
    [PG_WRITEBACK] = "writeback", [PG_REFERENCED] = "referenced",
    [PG_ACTIVE] = "active",       [PG_LRU] = "lru",
    [PG_ANON] = "anon",           [PG_SWAPBACKED] = "swapbacked",
    [PG_MLOCKED] = "mlocked",     [PG_BUDDY] = "buddy",
    [PG_HEAD] = "head",           [PG_TAIL] = "tail",
    [PG_SLAB] = "slab",           [PG_TABLE] = "table",
    [PG_RESERVED] = "reserved",   [PG_HWPOISON] = "poisoned",
    [PG_READAHEAD] = "readahead",
};

static void log_vma(const struct vma *v)
{
	u64 f = v->flags;

	quire_host_log(QUIRE_LOG_ERR, "  %012lx-%012lx %c%c%c%c flags %lx pgoff %lx %s%s%s",
		       (unsigned long)v->start, (unsigned long)v->end, f & VM_READ ? 'r' : '-',
		       f & VM_WRITE ? 'w' : '-', f & VM_EXEC ? 'x' : '-',
		       f & VM_MAYSHARE ? 's' : 'p', (unsigned long)f, (unsigned long)v->pgoff,
		       v->file ? "file" : "anon", v->anon_vma ? ", has private pages" : "",
		       v->lock ? ", locked" : "");
}

void quire_dump_mm(struct quire_mm *mm)
{
	unsigned n = 0;
	u64 at = 0;

	quire_host_log(
	    QUIRE_LOG_ERR,
	    "mm %p: %d references, %u VMAs, total %lu data %lu exec %lu stack %lu locked "
	    "%lu pages; rss file %ld anon %ld shmem %ld, tables %ld; brk %lx",
	    (void *)mm, mm->refs, mm->map_count, (unsigned long)mm->total_vm,
	    (unsigned long)mm->data_vm, (unsigned long)mm->exec_vm, (unsigned long)mm->stack_vm,
	    (unsigned long)mm->locked_vm, (long)mm->rss[MM_FILE], (long)mm->rss[MM_ANON],
	    (long)mm->rss[MM_SHMEM], (long)mm->tables, (unsigned long)mm->brk);
	quire_rcu_read_lock();
	for (; n < MOST_VMAS; n++) {
		const struct vma *v = vma_find(&mm->index, at);

		if (!v)
			break;
		log_vma(v);
		if (v->end <= at)
			break; /* damaged: it would go on for ever */
		at = v->end;
	}
	quire_rcu_read_unlock();
	if (n == MOST_VMAS)
		quire_host_log(QUIRE_LOG_ERR, "  ...");
}

void quire_dump_page(const struct page *p)
{
	char text[160];
	unsigned n = 0;

	for (unsigned f = 0; f < quire_array_size(flag_name); f++) {
		if (!page_test(p, f))
			continue;
		for (const char *s = flag_name[f]; *s && n < sizeof(text) - 2; s++)
			text[n++] = *s;
		if (n < sizeof(text) - 2)
			text[n++] = ' ';
	}
	text[n ? n - 1 : 0] = 0;
	quire_host_log(QUIRE_LOG_ERR,
		       "page %p: frame %lx, %d references, mapped %d times, index %lx, mapping %p "
		       "flags %lx (%s)",
		       (const void *)p, (unsigned long)page_pfn(p).n, p->refs, p->mapcount,
		       (unsigned long)p->index, p->owner, (unsigned long)p->flags, text);
}

/* ---- an address in words -------------------------------------------------------------- */

static void explain_entry(struct pte e, unsigned level)
{
	const char *what = "is empty: nothing has been mapped there yet";

	if (level > 1 && pte_none(e)) {
		quire_host_log(QUIRE_LOG_ERR, "  there is no page table below level %u", level);
		return;
	}
	switch (pte_kind(e)) {
	case PTE_KIND_NONE:
		break;
	case PTE_KIND_PRESENT:
		quire_host_log(QUIRE_LOG_ERR, "  the entry %lx maps frame %lx: %s, %s, %s%s%s%s",
			       (unsigned long)e.v, (unsigned long)pte_pfn(e).n,
			       e.v & PTE_PROTNONE ? "no access"
			       : e.v & PTE_U      ? "user"
						  : "kernel only",
			       e.v & PTE_W ? "writable" : "read-only",
			       e.v & PTE_NX ? "not executable" : "executable",
			       e.v & PTE_A ? ", accessed" : "", e.v & PTE_D ? ", dirty" : "",
			       e.v & PTE_SPECIAL ? ", special (zero page or given frame)" : "");
		if (pfn_valid(pte_pfn(e)) && !(e.v & PTE_SPECIAL))
			quire_dump_page(pfn_page(pte_pfn(e)));
		return;
	case PTE_KIND_SWAP:
		what = "holds a swap slot";
		break;
	case PTE_KIND_MIGRATION:
		what = "waits for its page to be moved";
		break;
	case PTE_KIND_MARKER:
		what = "holds a userfaultfd marker";
		break;
	case PTE_KIND_POISON:
		what = "names a frame that was retired after a memory failure";
		break;
	default:
		what = "is of no known kind: damaged";
		break;
	}
	quire_host_log(QUIRE_LOG_ERR, "  the entry %lx %s", (unsigned long)e.v, what);
}

static void explain_hole(const struct vma *prev, const struct vma *next, u64 address)
{
	quire_host_log(QUIRE_LOG_ERR, "  no region covers it");
	if (prev)
		quire_host_log(QUIRE_LOG_ERR, "  %lu bytes after the end of",
			       (unsigned long)(address - prev->end));
	if (prev)
		log_vma(prev);
	if (next)
		quire_host_log(QUIRE_LOG_ERR, "  %lu bytes before%s",
			       (unsigned long)(next->start - address),
			       next->flags & VM_GROWSDOWN ? " a stack, which could not grow" : "");
	if (next)
		log_vma(next);
}

void quire_explain_address(struct quire_mm *mm, u64 address)
{
	struct pt_cursor c;
	const struct vma *v;

	quire_host_log(QUIRE_LOG_ERR, "address %lx:", (unsigned long)address);
	if (!mm || address >= QUIRE_USER_END) {
		quire_host_log(QUIRE_LOG_ERR, "  not in user space");
		return;
	}
	if (address < quire_sysctl.mmap_min_addr)
		quire_host_log(QUIRE_LOG_ERR, "  a null pointer, or near one");
	quire_rcu_read_lock();
	v = vma_find(&mm->index, address);
	if (v && v->start <= address)
		log_vma(v);
	else
		explain_hole(vma_find_prev(&mm->index, address), v, address);
	pt_find(&c, mm, address);
	explain_entry(pt_get(&c), c.level);
	quire_rcu_read_unlock();
}
