/* SPDX-License-Identifier: MIT */
/* vm/pt: the cursor, counts of used entries, the gather, freeing of tables. */
#include "unit.h"

#include "../../vm/mm/mm.h"
#include "../../vm/pt/pt.h"

static void entries(void **state)
{
	struct pte e = pte_make((struct pfn){0x1234}, PTE_P | PTE_W | PTE_NX);

	(void)state;
	assert_true(pte_present(e));
	assert_int_equal(pte_pfn(e).n, 0x1234);
	assert_int_equal(pte_kind(e), PTE_KIND_PRESENT);
	e = pte_make_kind(PTE_KIND_SWAP, 0xabcdef);
	assert_false(pte_present(e));
	assert_false(pte_none(e));
	assert_int_equal(pte_kind(e), PTE_KIND_SWAP);
	assert_int_equal(pte_payload(e), 0xabcdef);
	assert_int_equal(pte_kind((struct pte){0}), PTE_KIND_NONE);
}

static void put(struct quire_mm *mm, u64 addr, struct pte e)
{
	struct pt_cursor c;

	assert_int_equal(pt_make(&c, mm, addr, 1, GFP_KERNEL), 0);
	pt_lock(&c);
	pt_set(&c, e);
	pt_unlock(&c);
}

/* Clear addr's entry and free the tables of the whole address space. */
static void clean(struct quire_mm *mm)
{
	struct tlb_gather g;

	gather_init(&g, mm, false);
	gather_range(&g, 0, QUIRE_USER_END);
	pt_free_range(&g, mm, 0, QUIRE_USER_END + PAGE);
	gather_flush(&g);
}

static void find_and_make(void **state)
{
	struct quire_mm *mm = unit_mm();
	struct pt_cursor c;
	u64 tables = unit_usage(mm).page_tables;
	u64 addr = 0x123456789000;

	(void)state;
	pt_find(&c, mm, addr);
	assert_int_equal(c.level, 4);
	assert_true(pte_none(pt_get(&c)));
	assert_int_equal(c.addr, quire_round_down(addr, pt_span(4)));
	assert_int_equal(pt_make(&c, mm, addr, 2, GFP_KERNEL), 0);
	assert_int_equal(c.level, 2);
	assert_int_equal(unit_usage(mm).page_tables, tables + 2);
	pt_find(&c, mm, addr);
	assert_int_equal(c.level, 2);
	assert_int_equal(pt_make(&c, mm, addr, 1, GFP_KERNEL), 0);
	assert_int_equal(c.level, 1);
	assert_int_equal(c.addr, addr);
	assert_int_equal(pt_end(&c), addr + PAGE);
	assert_int_equal(unit_usage(mm).page_tables, tables + 3);
	pt_find(&c, mm, addr + PAGE);
	assert_int_equal(c.level, 1);
	assert_int_equal(c.addr, addr + PAGE);
	pt_find(&c, mm, addr + QUIRE_PMD_SIZE);
	assert_int_equal(c.level, 2);
	clean(mm);
	assert_int_equal(unit_usage(mm).page_tables, tables);
	pt_find(&c, mm, addr);
	assert_int_equal(c.level, 4);
	posix_mm_put(mm);
}

static void next_stays_in_the_table(void **state)
{
	struct quire_mm *mm = unit_mm();
	struct pt_cursor c;
	u64 n = 1;

	(void)state;
	assert_int_equal(pt_make(&c, mm, BASE, 1, GFP_KERNEL), 0);
	while (pt_next(&c))
		assert_int_equal(c.addr, BASE + n++ * PAGE);
	assert_int_equal(n, 512);
	clean(mm);
	posix_mm_put(mm);
}

static void set_returns_the_old(void **state)
{
	struct quire_mm *mm = unit_mm();
	struct pt_cursor c;
	struct pte a = pte_make_kind(PTE_KIND_MARKER, 1), b = pte_make_kind(PTE_KIND_MARKER, 2);

	(void)state;
	assert_int_equal(pt_make(&c, mm, BASE, 1, GFP_KERNEL), 0);
	pt_lock(&c);
	assert_int_equal(c.table->pt_used, 0);
	assert_int_equal(pt_set(&c, a).v, 0);
	assert_int_equal(c.table->pt_used, 1);
	assert_int_equal(pt_set(&c, b).v, a.v);
	assert_int_equal(c.table->pt_used, 1);
	assert_int_equal(pt_modify(&c, 0, PTE_SOFTDIRTY).v, b.v);
	assert_int_equal(pt_modify(&c, PTE_SOFTDIRTY, PTE_UFFD_WP).v, b.v | PTE_SOFTDIRTY);
	assert_int_equal(pt_set(&c, (struct pte){0}).v, b.v | PTE_UFFD_WP);
	assert_int_equal(c.table->pt_used, 0);
	pt_unlock(&c);
	clean(mm);
	posix_mm_put(mm);
}

/* Many addresses over the whole space; each is found where it was put. */
static void many_addresses(void **state)
{
	struct quire_mm *mm = unit_mm();
	struct pt_cursor c;
	u64 tables = unit_usage(mm).page_tables, x = 1;
	static u64 addr[300];

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		addr[i] = quire_round_down(x >> 17, PAGE) % QUIRE_USER_END;
		put(mm, addr[i], pte_make_kind(PTE_KIND_SWAP, addr[i] >> 12));
	}
	for (unsigned i = 0; i < 300; i++) {
		pt_find(&c, mm, addr[i]);
		assert_int_equal(c.level, 1);
		assert_int_equal(pte_payload(pt_get(&c)), addr[i] >> 12);
	}
	for (unsigned i = 0; i < 300; i++)
		put(mm, addr[i], (struct pte){0});
	clean(mm);
	assert_int_equal(unit_usage(mm).page_tables, tables);
	posix_mm_put(mm);
}

/* Freeing a range leaves the tables that a neighbour needs. */
static void neighbours_keep_their_tables(void **state)
{
	struct quire_mm *mm = unit_mm();
	struct tlb_gather g;
	struct pt_cursor c;
	u64 at = 0x40000000, keep = at + 3 * PAGE, far = at + QUIRE_PMD_SIZE;

	(void)state;
	put(mm, keep, pte_make_kind(PTE_KIND_MARKER, 1));
	put(mm, far, pte_make_kind(PTE_KIND_MARKER, 1));
	put(mm, far, (struct pte){0});
	gather_init(&g, mm, false);
	gather_range(&g, far, far + QUIRE_PMD_SIZE);
	pt_free_range(&g, mm, keep + PAGE, far + QUIRE_PMD_SIZE);
	gather_flush(&g);
	pt_find(&c, mm, keep);
	assert_int_equal(c.level, 1);
	assert_int_equal(pte_payload(pt_get(&c)), 1);
	pt_find(&c, mm, far);
	assert_int_equal(c.level, 2);
	put(mm, keep, (struct pte){0});
	clean(mm);
	posix_mm_put(mm);
}

static void gather_frees_after_the_flush(void **state)
{
	struct quire_mm *mm = unit_mm();
	struct tlb_gather g;
	u64 free = posix_settled_free();
	unsigned full = 0;

	(void)state;
	gather_init(&g, mm, false);
	gather_range(&g, BASE, BASE + 200 * PAGE);
	for (unsigned i = 0; i < 200; i++) {
		if (gather_page(&g, quire_page_alloc(0, GFP_KERNEL))) {
			gather_flush(&g);
			full++;
		}
	}
	assert_true(full >= 3);
	assert_true(posix_settled_free() < free);
	gather_flush(&g);
	assert_int_equal(posix_settled_free(), free);
	posix_mm_put(mm);
}

static void tables_fail_cleanly(void **state)
{
	struct quire_mm *mm = unit_mm();
	struct pt_cursor c;
	u64 tables = unit_usage(mm).page_tables;

	(void)state;
	for (unsigned n = 1; n <= 3; n++) {
		quire_fail_nth(n);
		assert_int_equal(pt_make(&c, mm, BASE, 1, GFP_KERNEL), -ENOMEM);
		quire_fail_nth(0);
		clean(mm);
		assert_int_equal(unit_usage(mm).page_tables, tables);
	}
	posix_mm_put(mm);
}

static struct quire_mm *shared_mm;

static void make_tables(void *arg, unsigned i)
{
	(void)arg;
	for (unsigned n = 0; n < 2000; n++) {
		struct pt_cursor c;
		u64 addr = BASE + (n * QUIRE_PMD_SIZE / 7 & QUIRE_PAGE_MASK);

		if (pt_make(&c, shared_mm, addr, 1, GFP_KERNEL) || c.level != 1)
			abort();
		pt_lock(&c);
		if (pte_none(pt_get(&c)))
			pt_set(&c, pte_make_kind(PTE_KIND_MARKER, n));
		else if (pte_payload(pt_get(&c)) != n)
			abort();
		pt_unlock(&c);
		(void)i;
		posix_quiescent();
	}
}

static void racing_makers_share_tables(void **state)
{
	u64 tables;

	(void)state;
	shared_mm = unit_mm();
	tables = unit_usage(shared_mm).page_tables;
	posix_parallel(3, make_tables, NULL);
	for (unsigned n = 0; n < 2000; n++)
		put(shared_mm, BASE + (n * QUIRE_PMD_SIZE / 7 & QUIRE_PAGE_MASK), (struct pte){0});
	clean(shared_mm);
	assert_int_equal(unit_usage(shared_mm).page_tables, tables);
	posix_mm_put(shared_mm);
}

static void kernel_half_is_shared(void **state)
{
	struct quire_mm *mm = unit_mm();
	u64 *root = pfn_view(quire_mm_root(mm)), *kernel = pfn_view(posix_kernel_root());

	(void)state;
	assert_memory_equal(root + 256, kernel + 256, 256 * 8);
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(root[i], 0);
	posix_mm_put(mm);
}

static const struct CMUnitTest tests[] = {
    UNIT_TEST(entries),
    UNIT_TEST(find_and_make),
    UNIT_TEST(next_stays_in_the_table),
    UNIT_TEST(set_returns_the_old),
    UNIT_TEST(many_addresses),
    UNIT_TEST(neighbours_keep_their_tables),
    UNIT_TEST(gather_frees_after_the_flush),
    UNIT_TEST(tables_fail_cleanly),
    UNIT_TEST(racing_makers_share_tables),
    UNIT_TEST(kernel_half_is_shared),
};
UNIT_MAIN(tests)
