/* SPDX-License-Identifier: MIT */
/*
 * The checker of the whole system: every address space, then every frame.  A
 * frame's mapcount is the number of entries that map it in all address spaces; a
 * free frame is nobody's; and the frames of each kind are as many as their owners
 * say.
 *
 * Locking: none; for quiet moments, see check.c.
 */
#include <quire/assert.h>
#include <quire/mm.h>
#include <quire/string.h>

#include "../base/init.h"
#include "../phys/phys.h"
#include "../pt/pt.h"
#include "debug.h"

#define WINDOW (1UL << 19) /* frames whose entries are counted in one pass: 2 MiB of counts */

struct window {
	u64 first, n;
	u32 *count;
};

static void count_entry(struct page *p, void *arg)
{
	struct window *w = arg;
	u64 i = page_pfn(p).n - w->first;

	if (i < w->n)
		w->count[i]++;
}

static void count_mm(struct quire_mm *mm, void *arg)
{
	check_mm_pages(mm, count_entry, arg);
}

#define MUST(p, cond)                                                          \
	do {                                                                   \
		if (!(cond)) {                                                 \
			quire_dump_page(p);                                    \
			quire_host_panic("check: frame %lx: not so: %s",       \
					 (unsigned long)page_pfn(p).n, #cond); \
		}                                                              \
	} while (0)

static void check_mapcounts(const struct window *w)
{
	for (u64 i = 0; i < w->n; i++) {
		struct page *p = &quire_pages[w->first + i];

		if (page_test(p, PG_RESERVED) || page_test(p, PG_TAIL) || page_test(p, PG_SLAB) ||
		    page_test(p, PG_TABLE)) {
			MUST(p, w->count[i] == 0);
			continue;
		}
		MUST(p, p->mapcount >= 0 && (u32)p->mapcount == w->count[i]);
	}
}

static void check_mms(void)
{
	u64 size = quire_min(quire_nr_pages, WINDOW);
	struct window w = {0};

	/* When memory is short: more passes over less. */
	while (!(w.count = quire_kmalloc(size * sizeof(*w.count), GFP_KERNEL)) && size > 256)
		size /= 2;
	if (!w.count) {
		quire_host_log(QUIRE_LOG_WARN, "check: no memory to count mappings");
		mm_for_each(count_mm, &w);
		return;
	}
	for (; w.first < quire_nr_pages; w.first += size) {
		w.n = quire_min(quire_nr_pages - w.first, size);
		memset(w.count, 0, w.n * sizeof(*w.count));
		mm_for_each(count_mm, &w);
		check_mapcounts(&w);
	}
	quire_kfree(w.count);
}

/* ---- frames ------------------------------------------------------------------------------- */

struct tally {
	u64 free, slab, tables, anon, reserved, retired, other;
};

static void check_free(struct page *p)
{
	MUST(p, p->mapcount == 0);
	MUST(p, !page_test(p, PG_LRU) && !page_test(p, PG_SLAB) && !page_test(p, PG_TABLE) &&
		    !page_test(p, PG_LOCKED) && !page_test(p, PG_ANON));
}

static void check_anon(struct page *p)
{
	MUST(p, p->mapcount > 0 && p->refs >= p->mapcount);
	MUST(p, p->anon_vma && !page_test(p, PG_TAIL));
}

static void check_frame(struct page *p, struct tally *t)
{
	if (page_test(p, PG_RESERVED)) {
		t->reserved++;
	} else if (page_test(p, PG_TAIL)) {
		return; /* its head stands for it */
	} else if (page_is_free(p)) {
		check_free(p);
		t->free++;
	} else if (page_test(p, PG_SLAB)) {
		t->slab += page_test(p, PG_HEAD) ? 1UL << p->block.order : 1;
	} else if (page_test(p, PG_TABLE)) {
		MUST(p, p->refs == 1 && p->mapcount == 0);
		t->tables++;
	} else if (page_test(p, PG_ANON)) {
		check_anon(p);
		t->anon++;
	} else if (page_test(p, PG_HWPOISON) && p->refs == 0) {
		t->retired++;
	} else {
		t->other++; /* page cache, large kmallocs, the host's own */
	}
}

static void same(const char *what, u64 counted, u64 told)
{
	if (counted != told)
		quire_host_panic("check: %s: %lu frames counted, %lu by the books", what,
				 (unsigned long)counted, (unsigned long)told);
}

void quire_check_all(void)
{
	struct tally t = {0};
	u64 free;

	quire_rcu_barrier();
	check_mms();
	free = quire_free_pages();
	for (u64 i = 0; i < quire_nr_pages; i++)
		check_frame(&quire_pages[i], &t);
	/* A host's own thread may have freed something meanwhile. */
	if (quire_free_pages() == free)
		same("free", t.free, free);
	same("page tables", t.tables, pt_tables_total());
	/* The books have the magazines' memory, too, which isn't marked. */
	if (t.slab > slab_pages())
		same("slab", t.slab, slab_pages());
}
