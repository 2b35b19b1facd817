/* SPDX-License-Identifier: MIT */
/* vm/rmap: the interval tree, and every mapping of a frame found from the frame. */
#include "unit.h"

#include "../../vm/rmap/rmap.h"

static u64 seed = 99;

static u64 rnd(u64 n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % n;
}

static void intervals(void **state)
{
	enum { N = 300 };
	static struct interval node[N];
	static bool in[N];
	struct interval *root = NULL;

	(void)state;
	memset(in, 0, sizeof(in));
	for (unsigned step = 0; step < 10000; step++) {
		unsigned i = (unsigned)rnd(N), found = 0, expected = 0;
		u64 first = rnd(1000), last = first + rnd(50), before = 0;

		if (in[i]) {
			interval_remove(&root, &node[i]);
		} else {
			node[i].first = rnd(1000);
			node[i].last = node[i].first + rnd(rnd(10) ? 5 : 200);
			interval_insert(&root, &node[i]);
		}
		in[i] = !in[i];
		for (unsigned k = 0; k < N; k++)
			expected += in[k] && node[k].first <= last && node[k].last >= first;
		for (struct interval *n = interval_first(root, first, last); n;
		     n = interval_next(n, first, last)) {
			assert_true(n->first <= last && n->last >= first);
			assert_true(n->first >= before);
			before = n->first;
			found++;
		}
		assert_int_equal(found, expected);
	}
}

/* ---- walks ------------------------------------------------------------------------------ */

struct seen {
	unsigned n;
	u64 addr[64];
	struct quire_mm *mm[64];
};

static bool note(struct page *p, struct vma *v, u64 addr, void *arg)
{
	struct seen *s = arg;
	unsigned level;
	u64 e = posix_walk(v->mm, addr, &level);

	/* A walk names every place where it may be; count those where it is. */
	if ((e & 1) && level == 1 && (e & PTE_PFN_MASK) >> 12 == page_pfn(p).n) {
		s->addr[s->n] = addr;
		s->mm[s->n++] = v->mm;
	}
	return true;
}

static struct page *page_at(struct quire_mm *mm, u64 addr)
{
	unsigned level;
	u64 e = posix_walk(mm, addr, &level);

	assert_true(e & 1);
	return pfn_page((struct pfn){(e & PTE_PFN_MASK) >> 12});
}

static unsigned mappings(struct page *p, struct seen *s)
{
	memset(s, 0, sizeof(*s));
	quire_page_lock(p);
	rmap_walk(p, note, s);
	quire_page_unlock(p);
	return s->n;
}

static void anonymous_pages(void **state)
{
	struct quire_mm *mm = unit_mm(), *child, *grand;
	u64 a = unit_anon(mm, 0, 8, RW);
	struct page *p;
	struct seen s;

	(void)state;
	unit_set(mm, a + 3 * PAGE, 1);
	p = page_at(mm, a + 3 * PAGE);
	assert_int_equal(mappings(p, &s), 1);
	assert_int_equal(s.addr[0], a + 3 * PAGE);
	assert_int_equal(quire_mm_fork(mm, NULL, &child), 0);
	assert_int_equal(quire_mm_fork(child, NULL, &grand), 0);
	assert_int_equal(mappings(p, &s), 3);
	assert_int_equal(p->mapcount, 3);
	/* After splits and moves it is still found. */
	assert_int_equal(quire_mprotect(mm, a + 2 * PAGE, PAGE, PROT_READ, -1), 0);
	assert_int_equal(quire_munmap(mm, a, PAGE), 0);
	assert_int_equal(quire_mremap(child, a, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				      a + 100 * PAGE),
			 (s64)(a + 100 * PAGE));
	assert_int_equal(mappings(p, &s), 3);
	posix_mm_put(mm);
	assert_int_equal(mappings(p, &s), 2);
	unit_set(grand, a + 3 * PAGE, 2);
	assert_int_equal(mappings(p, &s), 1);
	assert_int_equal(s.addr[0], a + 103 * PAGE);
	assert_int_equal(mappings(page_at(grand, a + 3 * PAGE), &s), 1);
	quire_check_all();
	posix_mm_put(child);
	posix_mm_put(grand);
}

static void file_pages(void **state)
{
	struct posix_file *f = posix_file_new(16 * PAGE, 2);
	struct quire_mm *mm = unit_mm(), *other = unit_mm();
	struct page *p;
	struct seen s;

	(void)state;
	unit_map(mm, 0, 16, PROT_READ, MAP_SHARED, f, 0);
	unit_map(mm, 20, 4, PROT_READ, MAP_PRIVATE, f, 4);
	unit_map(other, 0, 8, RW, MAP_SHARED, f, 5);
	assert_int_equal(user_touch(mm, BASE + 5 * PAGE, false), 0);
	assert_int_equal(user_touch(mm, BASE + 21 * PAGE, false), 0);
	assert_int_equal(user_touch(other, BASE, true), 0);
	p = page_at(mm, BASE + 5 * PAGE);
	assert_ptr_equal(p, page_at(other, BASE));
	assert_int_equal(mappings(p, &s), 3);
	assert_int_equal(p->mapcount, 3);
	assert_true(rmap_referenced(p) >= 3);
	assert_int_equal(rmap_referenced(p), 0);
	quire_host_tlb_flush(mm, 0, ~0UL, false);
	assert_int_equal(user_touch(mm, BASE + 5 * PAGE, false), 0);
	quire_page_lock(p);
	assert_true(rmap_referenced(p) >= 1);
	assert_true(rmap_unmap(p));
	quire_page_unlock(p);
	assert_int_equal(p->mapcount, 0);
	assert_int_equal(mappings(p, &s), 0);
	/* The dirty bit moved to the page. */
	assert_true(page_test(p, PG_DIRTY));
	quire_check_all();
	posix_mm_put(mm);
	posix_mm_put(other);
	posix_file_put(f);
}

/* Random forks, splits, moves and exits: each page's mapcount is what walks find. */
static void walks_are_complete(void **state)
{
	struct quire_mm *mm[6] = {unit_mm()};
	struct seen s;

	(void)state;
	unit_anon(mm[0], 0, 32, RW);
	for (unsigned step = 0; step < 400; step++) {
		unsigned i = (unsigned)rnd(6), k = (unsigned)rnd(6);
		u64 at = BASE + rnd(64) * PAGE;
		u8 b = (u8)step;

		if (!mm[i])
			continue;
		switch (rnd(8)) {
		case 0:
			if (!mm[k])
				assert_int_equal(quire_mm_fork(mm[i], NULL, &mm[k]), 0);
			break;
		case 1:
			if (i) {
				posix_mm_put(mm[i]);
				mm[i] = NULL;
				continue;
			}
			break;
		case 2:
			quire_munmap(mm[i], at, PAGE * rnd(4));
			break;
		case 3:
			quire_mremap(mm[i], at, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				     BASE + rnd(64) * PAGE);
			break;
		case 4:
			quire_mprotect(mm[i], at, 3 * PAGE, rnd(2) ? RW : PROT_READ, -1);
			break;
		case 5:
			quire_mmap(mm[i], at, 2 * PAGE, RW, ANON | MAP_FIXED, NULL, 0, 0);
			break;
		default:
			user_write(mm[i], at, &b, 1);
		}
		for (u64 n = 0; n < 64; n++) {
			unsigned level;
			u64 e = posix_walk(mm[i], BASE + n * PAGE, &level);
			struct page *p;

			if (!(e & 1) || (e & PTE_SPECIAL))
				continue;
			p = pfn_page((struct pfn){(e & PTE_PFN_MASK) >> 12});
			assert_int_equal(mappings(p, &s), p->mapcount);
		}
	}
	for (unsigned i = 0; i < 6; i++)
		if (mm[i])
			posix_mm_put(mm[i]);
}

static const struct CMUnitTest tests[] = {
    UNIT_TEST(intervals),
    UNIT_TEST(anonymous_pages),
    UNIT_TEST(file_pages),
    UNIT_TEST(walks_are_complete),
};
UNIT_MAIN(tests)
