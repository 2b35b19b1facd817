/* SPDX-License-Identifier: MIT */
/* vm/phys: the buddy allocator, per-CPU lists, page references and locks, slab. */
#include "unit.h"

static u64 seed = 12345;

static u64 rnd(u64 n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % n;
}

static void orders(void **state)
{
	(void)state;
	for (unsigned order = 0; order <= 10; order++) {
		u64 free = posix_settled_free();
		struct page *p = quire_page_alloc(order, GFP_KERNEL);

		assert_non_null(p);
		assert_int_equal(page_pfn(p).n & ((1u << order) - 1), 0);
		assert_int_equal(p->refs, 1);
		assert_int_equal(p->mapcount, 0);
		assert_int_equal(posix_settled_free(), free - (1u << order));
		memset(page_view(p), 0x5a, PAGE << order);
		quire_page_put(p);
		assert_int_equal(posix_settled_free(), free);
	}
}

static void zeroed(void **state)
{
	(void)state;
	for (unsigned order = 0; order < 4; order++) {
		struct page *p = quire_page_alloc(order, GFP_KERNEL);
		const u8 *b;

		memset(page_view(p), 0xff, PAGE << order);
		quire_page_put(p);
		p = quire_page_alloc(order, GFP_KERNEL | GFP_ZERO);
		b = page_view(p);
		for (u64 i = 0; i < PAGE << order; i++)
			assert_int_equal(b[i], 0);
		quire_page_put(p);
	}
}

static void references(void **state)
{
	u64 free = posix_settled_free();
	struct page *p = quire_page_alloc(0, GFP_KERNEL);

	(void)state;
	quire_page_get(p);
	assert_true(quire_page_try_get(p));
	assert_int_equal(p->refs, 3);
	quire_page_put(p);
	quire_page_put(p);
	assert_int_equal(posix_settled_free(), free - 1);
	quire_page_put(p);
	assert_int_equal(posix_settled_free(), free);
	assert_false(quire_page_try_get(p));
}

/* Many blocks at once never overlap, and all come together again at the end. */
static void no_overlap(void **state)
{
	enum { N = 400 };
	struct page *p[N] = {NULL};
	u8 order[N], *owner = calloc(posix_max_pfn(), 1);

	(void)state;
	for (unsigned step = 0; step < 20000; step++) {
		u64 i = rnd(N);

		if (p[i]) {
			for (u64 k = 0; k < 1u << order[i]; k++)
				owner[page_pfn(p[i]).n + k] = 0;
			quire_page_put(p[i]);
			p[i] = NULL;
			continue;
		}
		order[i] = (u8)(rnd(4) ? 0 : rnd(6));
		p[i] = quire_page_alloc(order[i], GFP_KERNEL | GFP_NOFAIL_OOM);
		assert_non_null(p[i]);
		for (u64 k = 0; k < 1u << order[i]; k++) {
			assert_int_equal(owner[page_pfn(p[i]).n + k], 0);
			owner[page_pfn(p[i]).n + k] = 1;
		}
	}
	for (unsigned i = 0; i < N; i++)
		if (p[i])
			quire_page_put(p[i]);
	free(owner);
}

/* Take all memory; the last block of each size can be had again after all is freed. */
static void exhaustion(void **state)
{
	struct page *head = NULL, *p;
	u64 n = 0, free = posix_settled_free();

	(void)state;
	while ((p = quire_page_alloc(0, GFP_KERNEL | GFP_NOFAIL_OOM))) {
		p->private = (u64)head;
		head = p;
		n++;
	}
	assert_true(n <= free);
	assert_true(n >= free - free / 10);
	assert_null(quire_page_alloc(3, GFP_KERNEL | GFP_NOFAIL_OOM));
	while (head) {
		p = (struct page *)head->private;
		quire_page_put(head);
		head = p;
	}
	assert_int_equal(posix_settled_free(), free);
	p = quire_page_alloc(10, GFP_KERNEL);
	assert_non_null(p);
	quire_page_put(p);
}

/* Memory for callers that can't sleep is kept back. */
static void atomic_reserve(void **state)
{
	struct page *head = NULL, *p;
	u64 asked = posix_oom_calls();

	(void)state;
	while ((p = quire_page_alloc(0, GFP_KERNEL))) {
		p->private = (u64)head;
		head = p;
	}
	assert_true(posix_oom_calls() > asked);
	p = quire_page_alloc(0, GFP_ATOMIC);
	assert_non_null(p);
	quire_page_put(p);
	while (head) {
		p = (struct page *)head->private;
		quire_page_put(head);
		head = p;
	}
}

static void page_locks(void **state)
{
	struct page *p = quire_page_alloc(0, GFP_KERNEL);

	(void)state;
	assert_true(quire_page_trylock(p));
	assert_false(quire_page_trylock(p));
	quire_page_unlock(p);
	quire_page_lock(p);
	quire_page_unlock(p);
	assert_false(page_test(p, PG_LOCKED));
	quire_page_put(p);
}

static void bump(void *arg, unsigned i)
{
	struct page *p = arg;

	(void)i;
	for (unsigned n = 0; n < 3000; n++) {
		quire_page_lock(p);
		p->index++;
		quire_page_unlock(p);
	}
}

static void page_lock_excludes(void **state)
{
	struct page *p = quire_page_alloc(0, GFP_KERNEL);

	(void)state;
	p->index = 0;
	posix_parallel(3, bump, p);
	assert_int_equal(p->index, 9000);
	quire_page_put(p);
}

static void double_put(void *arg)
{
	struct page *p = quire_page_alloc(0, GFP_KERNEL);

	(void)arg;
	quire_page_put(p);
	quire_page_put(p);
}

static void double_put_panics(void **state)
{
	(void)state;
	unit_panics(double_put, NULL, "");
}

static void churn(void *arg, unsigned i)
{
	struct page *mine[32] = {NULL};
	void *object[32] = {NULL};
	u64 x = i * 977 + 1;

	(void)arg;
	for (unsigned n = 0; n < 8000; n++) {
		unsigned k;

		x = x * 6364136223846793005u + 1442695040888963407u;
		k = x >> 40 & 31;
		if (mine[k]) {
			if (*(u64 *)page_view(mine[k]) != (u64)&mine[k])
				abort();
			quire_page_put(mine[k]);
			quire_kfree(object[k]);
			mine[k] = NULL;
		} else {
			mine[k] = quire_page_alloc(0, GFP_KERNEL);
			*(u64 *)page_view(mine[k]) = (u64)&mine[k];
			object[k] = quire_kmalloc(16 << (k & 7), GFP_KERNEL);
			memset(object[k], (int)i, 16 << (k & 7));
		}
		if (n % 100 == 0)
			posix_quiescent();
	}
	for (unsigned k = 0; k < 32; k++)
		if (mine[k]) {
			quire_page_put(mine[k]);
			quire_kfree(object[k]);
		}
}

static void churn_in_threads(void **state)
{
	(void)state;
	posix_parallel(3, churn, NULL);
}

/* ---- slab -------------------------------------------------------------------------------- */

static void slab_objects(void **state)
{
	static struct quire_kmem *c;
	enum { N = 1000 };
	static u64 *o[N];

	(void)state;
	if (!c)
		c = quire_kmem_create("test-72", 72, 0);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < N; i++) {
			o[i] = quire_kmem_alloc(c, round & 1 ? GFP_ATOMIC | GFP_ZERO : GFP_KERNEL);
			assert_non_null(o[i]);
			assert_int_equal((uintptr_t)o[i] & 7, 0);
			for (unsigned k = 0; (round & 1) && k < 9; k++)
				assert_int_equal(o[i][k], 0);
			for (unsigned k = 0; k < 9; k++)
				o[i][k] = i;
		}
		for (unsigned i = 0; i < N; i++) {
			for (unsigned k = 0; k < 9; k++)
				assert_int_equal(o[i][k], i);
			quire_kmem_free(c, o[i]);
		}
	}
}

static void slab_alignment(void **state)
{
	static struct quire_kmem *c;
	void *o[50];

	(void)state;
	if (!c)
		c = quire_kmem_create("test-100-64", 100, 64);
	for (unsigned i = 0; i < 50; i++) {
		o[i] = quire_kmem_alloc(c, GFP_KERNEL);
		assert_int_equal((uintptr_t)o[i] & 63, 0);
	}
	for (unsigned i = 0; i < 50; i++)
		quire_kmem_free(c, o[i]);
}

static void kmalloc_sizes(void **state)
{
	static const size_t size[] = {1,    8,    16,   17,    100,    512,     2048,
				      2049, 4096, 5000, 65536, 100000, 1 << 20, 4 << 20};

	(void)state;
	for (unsigned i = 0; i < quire_array_size(size); i++) {
		u8 *p = quire_kmalloc(size[i], GFP_KERNEL | GFP_ZERO);

		assert_non_null(p);
		assert_true(quire_ksize(p) >= size[i]);
		for (size_t k = 0; k < size[i]; k += 13)
			assert_int_equal(p[k], 0);
		memset(p, 0xaa, size[i]);
		quire_kfree(p);
	}
	quire_kfree(NULL);
	assert_null(quire_kmalloc(64UL << 20, GFP_KERNEL));
	assert_null(quire_kmalloc(~0UL, GFP_KERNEL));
}

static void krealloc_keeps(void **state)
{
	u8 *p = quire_krealloc(NULL, 10, GFP_KERNEL);

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		p[i] = (u8)i;
	for (size_t n = 20; n < 200000; n = n * 5 / 2) {
		p = quire_krealloc(p, n, GFP_KERNEL);
		assert_non_null(p);
		for (unsigned i = 0; i < 10; i++)
			assert_int_equal(p[i], i);
		p[n - 1] = 7;
	}
	quire_kfree(p);
}

static void slab_double_free(void *arg)
{
	void *p = quire_kmalloc(64, GFP_KERNEL);

	(void)arg;
	quire_kfree(p);
	quire_kfree(p);
}

static void slab_wrong_cache(void *arg)
{
	struct quire_kmem *a = quire_kmem_create("a", 48, 0), *b = quire_kmem_create("b", 48, 0);

	(void)arg;
	quire_kmem_free(b, quire_kmem_alloc(a, GFP_KERNEL));
}

static void slab_misuse_panics(void **state)
{
	(void)state;
	unit_panics(slab_wrong_cache, NULL, "");
	unit_panics(slab_double_free, NULL, "");
}

static void failing_on_purpose(void **state)
{
	struct page *p;
	void *o;

	(void)state;
	quire_fail_nth(1);
	assert_null(quire_page_alloc(0, GFP_KERNEL));
	p = quire_page_alloc(0, GFP_KERNEL);
	assert_non_null(p);
	quire_page_put(p);
	/* An object that needs a new slab page counts twice; these two don't. */
	o = quire_kmalloc(32, GFP_KERNEL);
	quire_kfree(o);
	quire_fail_nth(2);
	o = quire_kmalloc(32, GFP_KERNEL);
	assert_non_null(o);
	assert_null(quire_kmalloc(32, GFP_KERNEL));
	quire_kfree(o);
	assert_true(quire_fail_nth(0) >= 2);
}

static const struct CMUnitTest tests[] = {
    UNIT_TEST(orders),
    UNIT_TEST(zeroed),
    UNIT_TEST(references),
    UNIT_TEST(no_overlap),
    UNIT_TEST(exhaustion),
    UNIT_TEST(atomic_reserve),
    UNIT_TEST(page_locks),
    UNIT_TEST(page_lock_excludes),
    UNIT_TEST(double_put_panics),
    UNIT_TEST(churn_in_threads),
    UNIT_TEST(slab_objects),
    UNIT_TEST(slab_alignment),
    UNIT_TEST(kmalloc_sizes),
    UNIT_TEST(krealloc_keeps),
    UNIT_TEST(slab_misuse_panics),
    UNIT_TEST(failing_on_purpose),
};
UNIT_MAIN(tests)
