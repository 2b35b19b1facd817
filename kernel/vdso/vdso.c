// SPDX-License-Identifier: MIT
/*
 * The vdso's pages, made once, and mapped into each new program.
 *
 * Their frames are written before the first program and shared by all; the kernel
 * keeps a reference on each for good.  Only vvar's wall clock changes later, in one
 * word.  No locks.
 */
#include <quire/assert.h>
#include <quire/page.h>

#include "../lib/string.h"
#include "../proc/internal.h"
#include "vdso.h"
#include "vvar.h"

extern const char vdso_image[];
extern const u64 vdso_image_size;

static struct vvar *vvar;
static struct pfn vvar_frame[VVAR_PAGES], vdso_frame[VDSO_PAGES];

void vdso_init(void)
{
	size_t size = vdso_image_size;
	struct page *p = quire_page_alloc(0, GFP_KERNEL | GFP_ZERO);
	struct vvar *v;

	REQUIRE(size <= VDSO_PAGES * QUIRE_PAGE_SIZE);
	REQUIRE(p);
	v = page_view(p);
	vvar_frame[0] = page_pfn(p);
	for (unsigned i = 1; i < VVAR_PAGES; i++)
		vvar_frame[i].n = QUIRE_NO_FRAME; /* other clocks', on other machines */
	for (size_t i = 0; i < VDSO_PAGES; i++) {
		size_t at = i * QUIRE_PAGE_SIZE;

		p = quire_page_alloc(0, GFP_KERNEL | GFP_ZERO);
		REQUIRE(p);
		if (at < size)
			memcpy(page_view(p), vdso_image + at,
			       quire_min(size - at, QUIRE_PAGE_SIZE));
		vdso_frame[i] = page_pfn(p);
	}
	time_scale(&v->base_tsc, &v->ns_per_tick);
	vvar = v;
	vdso_wall_changed();
}

void vdso_wall_changed(void)
{
	__atomic_store_n(&vvar->wall_offset, wall_offset_ns, __ATOMIC_RELAXED);
}

/* A place between the stack's end and the end of its 2 MiB, as Linux chooses it; 0: none. */
static u64 choose(u64 stack_top, u64 len)
{
	u64 start = quire_round_up(stack_top, QUIRE_PAGE_SIZE);
	u64 end = quire_min(quire_round_up(start, QUIRE_PMD_SIZE), QUIRE_USER_END);
	u64 r;

	if (start + len > end)
		return 0;
	quire_host_random(&r, sizeof(r));
	return start + r % ((end - len - start) / QUIRE_PAGE_SIZE + 1) * QUIRE_PAGE_SIZE;
}

s64 vdso_map(struct quire_mm *mm, u64 stack_top, bool randomize)
{
	u64 len = (VVAR_PAGES + VDSO_PAGES) * QUIRE_PAGE_SIZE;
	s64 at, code;

	/* The program has no other thread yet: a place found stays free. */
	at = quire_mmap(mm, randomize ? choose(stack_top, len) : 0, len, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS, NULL, 0, 0);
	if (at < 0)
		return at;
	quire_munmap(mm, (u64)at, len);
	code = at + (s64)(VVAR_PAGES * QUIRE_PAGE_SIZE);
	at = quire_map_special(mm, (u64)at, vvar_frame, VVAR_PAGES, PROT_READ, "[vvar]");
	if (at < 0)
		return at;
	at = quire_map_special(mm, (u64)code, vdso_frame, VDSO_PAGES, PROT_READ | PROT_EXEC,
			       "[vdso]");
	return at < 0 || at == code ? at : -ENOMEM;
}
