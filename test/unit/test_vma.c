/* SPDX-License-Identifier: MIT */
/* vm/vma: the index against an array, gaps, the VMA's lock. */
#include "unit.h"

#include "../../vm/mm/mm.h"
#include "../../vm/vma/vma.h"

#define SLOTS 3000
#define LOW 0x100000UL

static struct vma *slot[SLOTS]; /* the VMA that covers each page from LOW, or null */
static struct vma_index index_;
static struct quire_mm *owner;
static u64 seed;

static u64 rnd(u64 n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % n;
}

static u64 at(u64 i)
{
	return LOW + i * PAGE;
}

static void fill(u64 a, u64 b, struct vma *v)
{
	for (u64 i = a; i < b; i++)
		slot[i] = v;
}

static struct vma *make(u64 a, u64 b)
{
	struct vma *v = vma_alloc(owner);

	assert_non_null(v);
	v->start = at(a);
	v->end = at(b);
	return v;
}

static void insert(u64 a, u64 b)
{
	struct vma *v = make(a, b);
	struct vma_edit e;

	assert_int_equal(vma_edit_reserve(&e, &index_, 1), 0);
	vma_edit_insert(&e, v);
	vma_edit_done(&e);
	fill(a, b, v);
}

static void dispose(struct vma *v)
{
	vma_write_lock(v);
	vma_detach(v);
	vma_free(v);
}

static void erase(struct vma *v)
{
	struct vma_edit e;

	fill((v->start - LOW) / PAGE, (v->end - LOW) / PAGE, NULL);
	assert_int_equal(vma_edit_reserve(&e, &index_, 1), 0);
	vma_edit_remove(&e, v);
	vma_edit_done(&e);
	dispose(v);
}

/* Where vma_find(), vma_find_prev() and vma_next() should lead from page i. */
static void check_look_ups(u64 i)
{
	u64 k = i, j = i;
	struct vma *found = vma_find(&index_, at(i) + 5), *prev = vma_find_prev(&index_, at(i));

	while (k < SLOTS && !slot[k])
		k++;
	assert_ptr_equal(found, k < SLOTS ? slot[k] : NULL);
	while (j > 0 && !slot[j - 1])
		j--;
	assert_ptr_equal(prev, j > 0 ? slot[j - 1] : NULL);
	if (found) {
		u64 n = (found->end - LOW) / PAGE;

		while (n < SLOTS && !slot[n])
			n++;
		assert_ptr_equal(vma_next(&index_, found), n < SLOTS ? slot[n] : NULL);
	}
}

/* The best free range of len pages in pages [low, high), by looking at every page. */
static u64 naive_gap(u64 len, u64 low, u64 high, bool topdown)
{
	u64 run = 0, best = ~0UL;

	for (u64 i = low; i < high; i++) {
		run = slot[i] ? 0 : run + 1;
		if (run >= len) {
			best = at(i + 1 - len);
			if (!topdown)
				return best;
		}
	}
	return best;
}

static void index_against_an_array(void **state)
{
	(void)state;
	owner = unit_mm();
	vma_index_init(&index_);
	memset(slot, 0, sizeof(slot));
	seed = 7;
	for (unsigned step = 0; step < 30000; step++) {
		u64 a = rnd(SLOTS), len = 1 + rnd(rnd(8) ? 3 : 40), b = quire_min(a + len, SLOTS),
		    k;
		/* Grow for a while, shrink for a while. */
		bool growing = (step / 4000) % 2 == 0;

		if (slot[a] && rnd(100) < (growing ? 20 : 80)) {
			erase(slot[a]);
		} else if (slot[a] && slot[a]->end - slot[a]->start > PAGE && rnd(2)) {
			struct vma *v = slot[a];
			struct vma_edit e;
			u64 cut = rnd((v->end - v->start) / PAGE - 1) + 1;
			u64 start = v->start, end = v->end;

			fill((start - LOW) / PAGE, (end - LOW) / PAGE, NULL);
			if (rnd(2))
				start += cut * PAGE;
			else
				end -= cut * PAGE;
			assert_int_equal(vma_edit_reserve(&e, &index_, 1), 0);
			vma_write_lock(v);
			vma_edit_resize(&e, v, start, end);
			vma_write_unlock(v);
			vma_edit_done(&e);
			assert_int_equal(v->start, start);
			assert_int_equal(v->end, end);
			fill((start - LOW) / PAGE, (end - LOW) / PAGE, v);
		} else if (!slot[a]) {
			for (k = a; k < b && !slot[k]; k++)
				;
			insert(a, k);
		}
		check_look_ups(rnd(SLOTS));
		if (step % 8 == 0) {
			u64 low = rnd(SLOTS), high = low + rnd(SLOTS - low) + 1, n = 1 + rnd(30);

			assert_int_equal(vma_gap(&index_, n * PAGE, at(low), at(high), step % 16),
					 naive_gap(n, low, high, step % 16));
		}
		if (step % 256 == 0)
			posix_quiescent();
	}
	for (u64 i = 0; i < SLOTS; i++)
		if (slot[i])
			erase(slot[i]);
	assert_null(vma_find(&index_, 0));
	vma_index_destroy(&index_);
	posix_mm_put(owner);
}

/* Several changes in one edit: all or, when the reserve fails, none. */
static void edits_of_many(void **state)
{
	struct vma_edit e;
	struct vma *v[60];

	(void)state;
	owner = unit_mm();
	vma_index_init(&index_);
	for (unsigned i = 0; i < 60; i++)
		v[i] = make(i * 2, i * 2 + 1);
	quire_fail_nth(1);
	assert_int_equal(vma_edit_reserve(&e, &index_, 60), -ENOMEM);
	quire_fail_nth(0);
	assert_null(vma_find(&index_, 0));
	assert_int_equal(vma_edit_reserve(&e, &index_, 60), 0);
	for (unsigned i = 0; i < 60; i++)
		vma_edit_insert(&e, v[i]);
	vma_edit_done(&e);
	for (unsigned i = 0; i < 60; i++)
		assert_ptr_equal(vma_find(&index_, at(i * 2)), v[i]);
	assert_int_equal(vma_edit_reserve(&e, &index_, 60), 0);
	for (unsigned i = 0; i < 60; i++)
		vma_edit_remove(&e, v[i]);
	vma_edit_done(&e);
	assert_null(vma_find(&index_, 0));
	for (unsigned i = 0; i < 60; i++)
		dispose(v[i]);
	vma_index_destroy(&index_);
	posix_mm_put(owner);
}

static void gap_edges(void **state)
{
	u64 low = LOW, high = at(100);

	(void)state;
	owner = unit_mm();
	vma_index_init(&index_);
	memset(slot, 0, sizeof(slot));
	assert_int_equal(vma_gap(&index_, PAGE, low, high, true), high - PAGE);
	assert_int_equal(vma_gap(&index_, PAGE, low, high, false), low);
	assert_int_equal(vma_gap(&index_, 100 * PAGE, low, high, true), low);
	assert_int_equal(vma_gap(&index_, 101 * PAGE, low, high, true), ~0UL);
	insert(0, 10);
	insert(90, 100);
	assert_int_equal(vma_gap(&index_, 80 * PAGE, low, high, true), at(10));
	assert_int_equal(vma_gap(&index_, 81 * PAGE, low, high, false), ~0UL);
	insert(50, 51);
	assert_int_equal(vma_gap(&index_, 39 * PAGE, low, high, true), at(51));
	assert_int_equal(vma_gap(&index_, 40 * PAGE, low, high, true), at(10));
	assert_int_equal(vma_gap(&index_, 41 * PAGE, low, high, true), ~0UL);
	erase(slot[0]);
	erase(slot[90]);
	erase(slot[50]);
	vma_index_destroy(&index_);
	posix_mm_put(owner);
}

/* The gap below a stack is smaller by the guard. */
static void gaps_keep_clear_of_stacks(void **state)
{
	u64 guard = quire_sysctl.stack_guard_gap * PAGE, stack = 0x40000000;
	struct vma_edit e;
	struct vma *v;

	(void)state;
	owner = unit_mm();
	vma_index_init(&index_);
	v = vma_alloc(owner);
	v->start = stack;
	v->end = stack + PAGE;
	v->flags = VM_READ | VM_WRITE | VM_GROWSDOWN;
	assert_int_equal(vma_edit_reserve(&e, &index_, 1), 0);
	vma_edit_insert(&e, v);
	vma_edit_done(&e);
	assert_int_equal(vma_gap(&index_, PAGE, 0x30000000, stack + PAGE, true),
			 stack - guard - PAGE);
	assert_int_equal(vma_gap(&index_, guard, stack - guard, stack + PAGE, true), ~0UL);
	assert_int_equal(vma_edit_reserve(&e, &index_, 1), 0);
	vma_edit_remove(&e, v);
	vma_edit_done(&e);
	dispose(v);
	vma_index_destroy(&index_);
	posix_mm_put(owner);
}

static void locks(void **state)
{
	struct vma *v;

	(void)state;
	owner = unit_mm();
	v = make(0, 1);
	assert_true(vma_read_trylock(v));
	assert_true(vma_read_trylock(v));
	vma_read_unlock(v);
	vma_read_unlock(v);
	vma_write_lock(v);
	assert_false(vma_read_trylock(v));
	vma_write_unlock(v);
	assert_true(vma_read_trylock(v));
	vma_read_unlock(v);
	vma_write_lock(v);
	vma_detach(v);
	assert_false(vma_read_trylock(v));
	vma_free(v);
	posix_mm_put(owner);
}

/* ---- readers in other threads ------------------------------------------------------------ */

/* The VMA of an even page, which is always there. */
static bool see(u64 k)
{
	bool right = false;
	struct vma *v;

	quire_rcu_read_lock();
	v = vma_find(&index_, at(k));
	if (v && vma_read_trylock(v)) {
		if (v->mm != owner || v->start >= v->end)
			abort();
		right = v->start == at(k);
		vma_read_unlock(v);
	}
	quire_rcu_read_unlock();
	posix_quiescent();
	return right;
}

/* While the index changes a look-up may miss (its caller then looks again under
 * mmap_lock), but what it finds is a VMA that lives, and it doesn't miss for long. */
static void read_or_edit(void *arg, unsigned i)
{
	(void)arg;
	for (unsigned n = 0; n < 4000; n++) {
		if (i == 0) {
			u64 k = (n * 7) % 500 * 2 + 1;

			if (slot[k])
				erase(slot[k]);
			else
				insert(k, k + 1);
			posix_quiescent();
			continue;
		}
		unsigned tries = 0;
		while (!see((n * 13 + i) % 1000 & ~1UL))
			if (++tries == 10000000)
				abort();
	}
}

static void readers_need_no_lock(void **state)
{
	(void)state;
	owner = unit_mm();
	vma_index_init(&index_);
	memset(slot, 0, sizeof(slot));
	for (unsigned i = 0; i < 1000; i += 2)
		insert(i, i + 1);
	posix_parallel(3, read_or_edit, NULL);
	for (u64 i = 0; i < SLOTS; i++)
		if (slot[i])
			erase(slot[i]);
	vma_index_destroy(&index_);
	posix_mm_put(owner);
}

static const struct CMUnitTest tests[] = {
    UNIT_TEST(index_against_an_array),    UNIT_TEST(edits_of_many), UNIT_TEST(gap_edges),
    UNIT_TEST(gaps_keep_clear_of_stacks), UNIT_TEST(locks),         UNIT_TEST(readers_need_no_lock),
};
UNIT_MAIN(tests)
