/* SPDX-License-Identifier: MIT */
/* vm/debug: the checker passes what is right and finds each damage that is planted. */
#include "unit.h"

#include "../../vm/mm/mm.h"
#include "../../vm/rmap/rmap.h"

static struct quire_mm *mm;
static struct posix_file *file;

/* Something of everything: anonymous, forked, shared and private file pages, a lock. */
static void build(void)
{
	mm = unit_mm();
	file = posix_file_new(16 * PAGE, 3);
	unit_anon(mm, 0, 8, RW);
	for (u64 i = 0; i < 6; i++)
		unit_set(mm, BASE + i * PAGE, i);
	assert_int_equal(quire_mprotect(mm, BASE + 4 * PAGE, PAGE, PROT_READ, -1), 0);
	unit_map(mm, 20, 8, RW, MAP_SHARED, file, 0);
	unit_map(mm, 40, 8, RW, MAP_PRIVATE, file, 4);
	user_touch(mm, BASE + 20 * PAGE, true);
	user_touch(mm, BASE + 40 * PAGE, true);
	user_touch(mm, BASE + 41 * PAGE, false);
	assert_int_equal(quire_mlock(mm, BASE + 2 * PAGE, PAGE, false), 0);
}

static void demolish(void)
{
	posix_mm_put(mm);
	posix_file_put(file);
}

static struct pt_cursor at(u64 page)
{
	struct pt_cursor c;

	pt_find(&c, mm, BASE + page * PAGE);
	return c;
}

static struct page *page_of(u64 page)
{
	struct pt_cursor c = at(page);

	return pfn_page(pte_pfn(pt_get(&c)));
}

static struct vma *vma_of(u64 page)
{
	return vma_find(&mm->index, BASE + page * PAGE);
}

static void writable_in_a_read_only_vma(void)
{
	at(4).entry->v |= PTE_W;
}

static void entry_outside_any_vma(void)
{
	struct pt_cursor c = at(100);

	pt_lock(&c);
	pt_set(&c, pt_get(&(struct pt_cursor){.entry = at(0).entry}));
	pt_unlock(&c);
}

static void frame_swapped(void)
{
	struct pt_cursor a = at(0), b = at(20);
	u64 x = a.entry->v;

	a.entry->v = b.entry->v;
	b.entry->v = x;
}

static void free_frame_mapped(void)
{
	struct page *p = quire_page_alloc(0, GFP_KERNEL);
	struct pt_cursor c = at(0);

	c.entry->v = (c.entry->v & ~PTE_PFN_MASK) | page_pfn(p).n << 12;
	quire_page_put(p);
}

static void mapcount_high(void)
{
	page_of(1)->mapcount++;
}

static void mapcount_low(void)
{
	page_of(20)->mapcount--;
}

static void too_few_references(void)
{
	page_of(1)->refs = 0;
}

static void rss_wrong(void)
{
	mm->rss[MM_ANON]++;
}

static void rss_file_wrong(void)
{
	mm->rss[MM_FILE]--;
}

static void map_count_wrong(void)
{
	mm->map_count++;
}

static void total_vm_wrong(void)
{
	mm->total_vm--;
}

static void locked_vm_wrong(void)
{
	mm->locked_vm = 0;
}

static void used_entries_wrong(void)
{
	at(0).table->pt_used++;
}

static void tables_wrong(void)
{
	mm->tables++;
}

static void vma_overlaps(void)
{
	vma_of(0)->end += 3 * PAGE;
}

static void vma_backwards(void)
{
	vma_of(20)->end = vma_of(20)->start;
}

static void vma_unaligned(void)
{
	vma_of(40)->start += 1;
}

static void anonymous_vma_lost(void)
{
	rmap_remove_vma(vma_of(0));
}

static void file_vma_lost(void)
{
	rmap_remove_vma(vma_of(20));
}

static void wrong_index(void)
{
	page_of(1)->index += 7;
}

static void user_bit_lost(void)
{
	at(1).entry->v &= ~PTE_U;
}

static void bad_kind(void)
{
	at(6).entry->v = 0x1e;
}

static const struct damage {
	const char *name;
	void (*plant)(void);
} damages[] = {
#define D(f)          \
	{             \
#f, f \
	}
    D(writable_in_a_read_only_vma),
    D(entry_outside_any_vma),
    D(frame_swapped),
    D(free_frame_mapped),
    D(mapcount_high),
    D(mapcount_low),
    D(too_few_references),
    D(rss_wrong),
    D(rss_file_wrong),
    D(map_count_wrong),
    D(total_vm_wrong),
    D(locked_vm_wrong),
    D(used_entries_wrong),
    D(tables_wrong),
    D(vma_overlaps),
    D(vma_backwards),
    D(vma_unaligned),
    D(anonymous_vma_lost),
    D(file_vma_lost),
    D(wrong_index),
    D(user_bit_lost),
    D(bad_kind),
#undef D
};

static void plant_and_check(void *arg)
{
	const struct damage *d = arg;

	d->plant();
	quire_check_all();
}

static void damage_is_found(void **state)
{
	(void)state;
	build();
	quire_check_all();
	for (unsigned i = 0; i < quire_array_size(damages); i++) {
		print_message("  %s\n", damages[i].name);
		unit_panics(plant_and_check, (void *)&damages[i], "");
	}
	quire_check_all();
	demolish();
}

static void lost_frame(void *arg)
{
	(void)arg;
	/* A frame that nobody has: taken off its owner's books. */
	page_of(1)->refs++;
	at(1).entry->v = 0;
	at(1).table->pt_used--;
	mm->rss[MM_ANON]--;
	page_of(1)->mapcount--;
	quire_check_all();
}

static void unmapped_behind_its_back(void **state)
{
	(void)state;
	build();
	unit_panics(lost_frame, NULL, "");
	demolish();
}

/* Dumps and explanations are for people; they must not stop on anything. */
static void dumps_say_something(void **state)
{
	(void)state;
	build();
	posix_set_log(QUIRE_LOG_ERR);
	quire_dump_mm(mm);
	quire_dump_page(page_of(0));
	quire_dump_page(page_of(20));
	quire_dump_page(&quire_pages[0]);
	quire_explain_address(mm, BASE);
	quire_explain_address(mm, BASE + 7 * PAGE);
	quire_explain_address(mm, BASE + 8 * PAGE);
	quire_explain_address(mm, 0);
	quire_explain_address(mm, ~0UL);
	posix_set_log(QUIRE_LOG_WARN);
	demolish();
}

static const struct CMUnitTest tests[] = {
    UNIT_TEST(damage_is_found),
    UNIT_TEST(unmapped_behind_its_back),
    UNIT_TEST(dumps_say_something),
};
UNIT_MAIN(tests)
