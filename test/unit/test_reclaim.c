/* SPDX-License-Identifier: MIT */
/* vm/reclaim: what is freed under pressure, and what must not be. */
#include "unit.h"

static void clean_file_pages_go(void **state)
{
	struct posix_file *f = posix_file_new(500 * PAGE, 5);
	static u8 buf[500 * QUIRE_PAGE_SIZE];
	u64 free;

	(void)state;
	assert_int_equal(posix_file_read(f, 0, buf, sizeof(buf)), sizeof(buf));
	free = posix_settled_free();
	assert_true(quire_reclaim(100) >= 100);
	assert_true(posix_settled_free() >= free + 100);
	assert_true(f->map.nr_pages <= 400);
	quire_check_all();
	for (unsigned i = 0; i < 20; i++)
		quire_reclaim(500);
	assert_true(f->map.nr_pages < 10);
	assert_int_equal(posix_file_read(f, 0, buf, sizeof(buf)), sizeof(buf));
	for (u64 i = 0; i < sizeof(buf); i += 97)
		assert_int_equal(buf[i], posix_pattern(5, i));
	posix_file_put(f);
}

static void mapped_pages_are_unmapped(void **state)
{
	struct posix_file *f = posix_file_new(200 * PAGE, 5);
	struct quire_mm *mm = unit_mm();
	u64 a = unit_map(mm, 0, 200, PROT_READ, MAP_SHARED, f, 0);
	u8 b;

	(void)state;
	for (u64 i = 0; i < 200; i++)
		assert_int_equal(user_touch(mm, a + i * PAGE, false), 0);
	for (unsigned i = 0; i < 20; i++)
		quire_reclaim(200);
	quire_check_all();
	assert_true(f->map.nr_pages < 100);
	assert_true(unit_usage(mm).rss_file < 100);
	for (u64 i = 0; i < 200; i++) {
		assert_int_equal(user_read(mm, a + i * PAGE + 9, &b, 1), 0);
		assert_int_equal(b, posix_pattern(5, i * PAGE + 9));
	}
	posix_mm_put(mm);
	posix_file_put(f);
}

static void dirty_pages_are_written_first(void **state)
{
	struct posix_file *f = posix_file_new(200 * PAGE, 5);
	struct quire_mm *mm = unit_mm();
	u64 a = unit_map(mm, 0, 200, RW, MAP_SHARED, f, 0);

	(void)state;
	for (u64 i = 0; i < 200; i++)
		unit_set(mm, a + i * PAGE, i * 3);
	for (unsigned i = 0; i < 20; i++)
		quire_reclaim(200);
	quire_check_all();
	for (u64 i = 0; i < 200; i++)
		assert_int_equal(unit_get(mm, a + i * PAGE), i * 3);
	posix_mm_put(mm);
	assert_int_equal(quire_cache_flush(&f->map, 0, ~0UL), 0);
	for (u64 i = 0; i < 200; i++)
		assert_int_equal(*(u64 *)(f->data + i * PAGE), i * 3);
	posix_file_put(f);
}

static void failing_writes_lose_nothing(void **state)
{
	struct posix_file *f = posix_file_new(50 * PAGE, 5);
	u64 x;

	(void)state;
	for (u64 i = 0; i < 50; i++)
		assert_int_equal(posix_file_write(f, i * PAGE, &i, 8), 8);
	f->fail_writes = 1000000;
	for (unsigned i = 0; i < 10; i++)
		quire_reclaim(200);
	f->fail_writes = 0;
	for (u64 i = 0; i < 50; i++) {
		assert_int_equal(posix_file_read(f, i * PAGE, &x, 8), 8);
		assert_int_equal(x, i);
	}
	posix_file_put(f);
}

static void shmem_and_anonymous_memory_stay(void **state)
{
	struct posix_file *f = posix_shmem_new(50 * PAGE);
	struct quire_mm *mm = unit_mm();
	u64 a = unit_anon(mm, 0, 50, RW), s = unit_map(mm, 100, 50, RW, MAP_SHARED, f, 0);

	(void)state;
	for (u64 i = 0; i < 50; i++) {
		unit_set(mm, a + i * PAGE, i);
		unit_set(mm, s + i * PAGE, i + 100);
	}
	for (unsigned i = 0; i < 10; i++)
		quire_reclaim(200);
	quire_check_all();
	for (u64 i = 0; i < 50; i++) {
		assert_int_equal(unit_get(mm, a + i * PAGE), i);
		assert_int_equal(unit_get(mm, s + i * PAGE), i + 100);
	}
	posix_mm_put(mm);
	posix_file_put(f);
}

static void locked_pages_stay(void **state)
{
	struct posix_file *f = posix_file_new(50 * PAGE, 5);
	struct quire_mm *mm = unit_mm();
	u64 a = unit_map(mm, 0, 50, PROT_READ, MAP_SHARED, f, 0);

	(void)state;
	assert_int_equal(quire_mlock(mm, a, 50 * PAGE, false), 0);
	for (unsigned i = 0; i < 10; i++)
		quire_reclaim(200);
	assert_int_equal(unit_usage(mm).rss_file, 50);
	quire_check_all();
	posix_mm_put(mm);
	posix_file_put(f);
}

/* Pages that were used again outlive those that were read once. */
static void used_pages_outlive_others(void **state)
{
	struct posix_file *hot = posix_file_new(50 * PAGE, 5),
			  *cold = posix_file_new(2000 * PAGE, 6);
	static u8 buf[50 * QUIRE_PAGE_SIZE];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(posix_file_read(hot, 0, buf, sizeof(buf)), sizeof(buf));
	for (u64 at = 0; at < 2000 * PAGE; at += sizeof(buf))
		assert_int_equal(posix_file_read(cold, at, buf, sizeof(buf)), sizeof(buf));
	quire_reclaim(1000);
	assert_true(hot->map.nr_pages >= 40);
	assert_true(cold->map.nr_pages <= 1100);
	posix_file_put(hot);
	posix_file_put(cold);
}

/* A program that maps and reads far more of a file than memory holds goes on. */
static void more_file_than_memory(void **state)
{
	struct posix_file *f = posix_file_new(quire_total_pages() * PAGE * 3 / 2, 7);
	struct quire_mm *mm = unit_mm();
	u64 n = f->size / PAGE, a = unit_map(mm, 0, n, PROT_READ, MAP_SHARED, f, 0);
	u64 asked = posix_oom_calls();
	u8 b;

	(void)state;
	for (u64 i = 0; i < n; i++) {
		assert_int_equal(user_read(mm, a + i * PAGE + 1, &b, 1), 0);
		assert_int_equal(b, posix_pattern(7, i * PAGE + 1));
	}
	assert_int_equal(posix_oom_calls(), asked);
	quire_check_all();
	posix_mm_put(mm);
	posix_file_put(f);
}

/* The same, writing: dirty pages make room by being written. */
static void more_dirty_than_memory(void **state)
{
	struct posix_file *f = posix_file_new(0, 0);
	u64 n = quire_total_pages() * 5 / 4, asked = posix_oom_calls();
	static u8 buf[16 * QUIRE_PAGE_SIZE];

	(void)state;
	for (u64 i = 0; i < n; i += 16) {
		memset(buf, (int)(i * 7 + 1), sizeof(buf));
		assert_int_equal(posix_file_write(f, i * PAGE, buf, sizeof(buf)), sizeof(buf));
	}
	for (u64 i = 0; i < n; i += 16) {
		assert_int_equal(posix_file_read(f, i * PAGE + 100, buf, 1), 1);
		assert_int_equal(buf[0], (u8)(i * 7 + 1));
	}
	assert_int_equal(posix_oom_calls(), asked);
	posix_file_put(f);
}

static void anonymous_memory_runs_out(void **state)
{
	struct quire_mm *mm = unit_mm();
	u64 n = quire_total_pages() * 2, i;

	(void)state;
	quire_sysctl.overcommit_memory = 1;
	u64 a = unit_anon(mm, 0, n, RW);
	quire_sysctl.overcommit_memory = 0;
	for (i = 0; i < n; i++) {
		enum quire_outcome o = user_touch(mm, a + i * PAGE, true);

		if (o) {
			assert_int_equal(o, QUIRE_OOM);
			break;
		}
	}
	assert_true(i < n && i > quire_total_pages() / 2);
	quire_check_all();
	/* What is there can still be used, and freed. */
	assert_int_equal(unit_get(mm, a + 1000 * PAGE), 1);
	assert_int_equal(quire_munmap(mm, a, n * PAGE), 0);
	a = unit_anon(mm, 0, 100, RW);
	assert_int_equal(user_touch(mm, a, true), 0);
	posix_mm_put(mm);
}

static u64 shrunk;

static u64 shrinker(u64 pages)
{
	shrunk += pages;
	return 0;
}

static void hosts_caches_shrink(void **state)
{
	(void)state;
	quire_set_shrinker(shrinker);
	for (unsigned i = 0; i < 4; i++)
		quire_reclaim(50);
	quire_set_shrinker(NULL);
	assert_true(shrunk > 0);
}

static void meminfo_adds_up(void **state)
{
	struct posix_file *f = posix_file_new(30 * PAGE, 5), *s = posix_shmem_new(10 * PAGE);
	struct quire_meminfo a, b;
	struct quire_mm *mm = unit_mm();
	u64 addr = unit_anon(mm, 0, 25, RW);
	static u8 buf[30 * QUIRE_PAGE_SIZE];

	(void)state;
	posix_settled_free();
	quire_meminfo(&a);
	assert_int_equal(a.total, quire_total_pages());
	assert_true(a.free <= a.total && a.available >= a.free / 2);
	for (u64 i = 0; i < 25; i++)
		unit_set(mm, addr + i * PAGE, 1);
	assert_int_equal(posix_file_read(f, 0, buf, sizeof(buf)), sizeof(buf));
	assert_int_equal(posix_file_write(f, 0, buf, PAGE), PAGE);
	assert_int_equal(posix_file_write(s, 0, buf, 10 * PAGE), 10 * PAGE);
	quire_meminfo(&b);
	assert_int_equal(b.anon, a.anon + 25);
	assert_int_equal(b.file_cache, a.file_cache + 30);
	assert_int_equal(b.shmem, a.shmem + 10);
	assert_int_equal(b.dirty, a.dirty + 1);
	assert_true(b.free <= a.free - 65);
	posix_mm_put(mm);
	posix_file_put(f);
	posix_file_put(s);
	posix_settled_free();
	quire_meminfo(&b);
	assert_int_equal(b.anon, a.anon);
	assert_int_equal(b.file_cache, a.file_cache);
	assert_int_equal(b.shmem, a.shmem);
	assert_int_equal(b.dirty, a.dirty);
}

static int boot(void **state)
{
	struct posix_config c = {.ram = 32u << 20};

	(void)state;
	return unit_boot_with(&c);
}

static const struct CMUnitTest tests[] = {
    UNIT_TEST(clean_file_pages_go),
    UNIT_TEST(mapped_pages_are_unmapped),
    UNIT_TEST(dirty_pages_are_written_first),
    UNIT_TEST(failing_writes_lose_nothing),
    UNIT_TEST(shmem_and_anonymous_memory_stay),
    UNIT_TEST(locked_pages_stay),
    UNIT_TEST(used_pages_outlive_others),
    UNIT_TEST(more_file_than_memory),
    UNIT_TEST(more_dirty_than_memory),
    UNIT_TEST(anonymous_memory_runs_out),
    UNIT_TEST(hosts_caches_shrink),
    UNIT_TEST(meminfo_adds_up),
};
UNIT_MAIN_BOOT(tests, boot)
