/* SPDX-License-Identifier: MIT */
/* vm/cache: reading, writing, readahead, flushing, truncation, holes, shmem. */
#include "unit.h"

#include "../../vm/cache/cache.h"

static void pattern_is(const u8 *buf, u32 seed, u64 pos, u64 n)
{
	for (u64 i = 0; i < n; i++)
		if (buf[i] != posix_pattern(seed, pos + i))
			fail_msg("byte %lu of the file is %u, not %u", pos + i, buf[i],
				 posix_pattern(seed, pos + i));
}

static void bytes_are(const u8 *buf, u8 b, u64 n)
{
	for (u64 i = 0; i < n; i++)
		if (buf[i] != b)
			fail_msg("byte %lu is %u, not %u", i, buf[i], b);
}

static void reads(void **state)
{
	struct posix_file *f = posix_file_new(100 * PAGE + 123, 5);
	static u8 buf[110 * QUIRE_PAGE_SIZE];

	(void)state;
	assert_int_equal(posix_file_read(f, 0, buf, sizeof(buf)), 100 * PAGE + 123);
	pattern_is(buf, 5, 0, 100 * PAGE + 123);
	assert_true(f->reads <= 10);
	assert_int_equal(f->pages_read, 101);
	assert_int_equal(posix_file_read(f, 777, buf, 10000), 10000);
	pattern_is(buf, 5, 777, 10000);
	assert_int_equal(f->pages_read, 101);
	assert_int_equal(posix_file_read(f, 100 * PAGE + 123, buf, 10), 0);
	assert_int_equal(posix_file_read(f, ~0UL >> 1, buf, 10), 0);
	assert_int_equal(posix_file_read(f, 100 * PAGE, buf, 1000), 123);
	assert_int_equal(posix_file_read(f, 0, buf, 0), 0);
	assert_int_equal(f->map.nr_pages, 101);
	quire_check_all();
	posix_file_put(f);
}

static void sequential_reads_run_ahead(void **state)
{
	struct posix_file *f = posix_file_new(1024 * PAGE, 5);
	u8 buf[4096];

	(void)state;
	for (u64 i = 0; i < 1024; i++) {
		assert_int_equal(posix_file_read(f, i * PAGE, buf, PAGE), PAGE);
		pattern_is(buf, 5, i * PAGE, 16);
	}
	assert_int_equal(f->pages_read, 1024);
	assert_true(f->reads <= 64);
	posix_file_put(f);
}

static void random_reads_do_not(void **state)
{
	struct posix_file *f = posix_file_new(1024 * PAGE, 5);
	u8 b;

	(void)state;
	f->file.ra_mode = 1;
	for (u64 i = 1; i < 20; i++)
		assert_int_equal(posix_file_read(f, (i * 331 % 1024) * PAGE, &b, 1), 1);
	assert_int_equal(f->pages_read, 19);
	posix_file_put(f);
}

static void read_errors(void **state)
{
	struct posix_file *f = posix_file_new(20 * PAGE, 5);
	u8 buf[3 * 4096];

	(void)state;
	f->fail_reads = 100000;
	assert_int_equal(posix_file_read(f, 0, buf, sizeof(buf)), -EIO);
	f->fail_reads = 0;
	assert_int_equal(posix_file_read(f, 0, buf, sizeof(buf)), sizeof(buf));
	pattern_is(buf, 5, 0, sizeof(buf));
	posix_file_put(f);
}

static void writes(void **state)
{
	struct posix_file *f = posix_file_new(10 * PAGE, 5);
	static u8 buf[20 * QUIRE_PAGE_SIZE], back[20 * QUIRE_PAGE_SIZE];

	(void)state;
	memset(buf, 0xab, sizeof(buf));
	/* Part of a page that isn't cached: the rest is read. */
	assert_int_equal(posix_file_write(f, 2 * PAGE + 100, buf, 200), 200);
	assert_int_equal(posix_file_read(f, 2 * PAGE, back, PAGE), PAGE);
	pattern_is(back, 5, 2 * PAGE, 100);
	bytes_are(back + 100, 0xab, 200);
	pattern_is(back + 300, 5, 2 * PAGE + 300, PAGE - 300);
	/* Whole pages aren't read first. */
	u64 read = f->pages_read;
	assert_int_equal(posix_file_write(f, 20 * PAGE, buf, 4 * PAGE), 4 * PAGE);
	assert_int_equal(f->pages_read, read);
	assert_int_equal(f->size, 24 * PAGE);
	assert_int_equal(posix_file_read(f, 12 * PAGE, back, PAGE), PAGE);
	bytes_are(back, 0, PAGE);
	assert_int_equal(f->map.nr_dirty, 5);
	assert_int_equal(f->pages_written, 0);
	assert_int_equal(quire_cache_flush(&f->map, 0, ~0UL), 0);
	assert_int_equal(f->map.nr_dirty, 0);
	assert_int_equal(f->pages_written, 5);
	bytes_are(f->data + 20 * PAGE, 0xab, 4 * PAGE);
	bytes_are(f->data + 2 * PAGE + 100, 0xab, 200);
	assert_int_equal(f->nr_stores, 2);
	assert_int_equal(f->stores[1].pgoff, 20);
	assert_int_equal(f->stores[1].n, 4);
	assert_int_equal(quire_cache_flush(&f->map, 0, ~0UL), 0);
	assert_int_equal(f->pages_written, 5);
	posix_file_put(f);
}

static void write_errors(void **state)
{
	struct posix_file *f = posix_file_new(10 * PAGE, 5);
	u8 buf[4096] = {1};

	(void)state;
	assert_int_equal(posix_file_write(f, 0, buf, PAGE), PAGE);
	f->fail_writes = 1;
	assert_int_equal(quire_cache_flush(&f->map, 0, ~0UL), -EIO);
	f->fail_reads = 100;
	assert_int_equal(posix_file_write(f, 5 * PAGE + 1, buf, 10), -EIO);
	posix_file_put(f);
}

static size_t half(void *arg, void *p, size_t n)
{
	(void)arg;
	memset(p, 9, n / 2);
	return n / 2;
}

static void short_copies(void **state)
{
	struct posix_file *f = posix_file_new(10 * PAGE, 5);
	u8 b;

	(void)state;
	assert_int_equal(quire_cache_write(&f->map, 0, 4 * PAGE, half, NULL), PAGE / 2);
	assert_int_equal(posix_file_read(f, PAGE / 2 - 1, &b, 1), 1);
	assert_int_equal(b, 9);
	assert_int_equal(posix_file_read(f, PAGE / 2, &b, 1), 1);
	assert_int_equal(b, posix_pattern(5, PAGE / 2));
	assert_int_equal(quire_cache_read(&f->map, &f->file, 0, 4 * PAGE, half, NULL), PAGE / 2);
	posix_file_put(f);
}

static size_t faults_always(void *arg, void *p, size_t n)
{
	(void)arg, (void)p, (void)n;
	return 0;
}

static void copies_that_fault(void **state)
{
	struct posix_file *f = posix_file_new(10 * PAGE, 5);

	(void)state;
	assert_int_equal(quire_cache_write(&f->map, 0, PAGE, faults_always, NULL), -EFAULT);
	assert_int_equal(quire_cache_read(&f->map, &f->file, 0, PAGE, faults_always, NULL),
			 -EFAULT);
	posix_file_put(f);
}

/* The buffer of a write is a mapping of the very page that is written. */
struct self_write {
	struct quire_mm *mm;
	u64 addr;
};

static size_t from_user(void *arg, void *p, size_t n)
{
	struct self_write *s = arg;
	u8 buf[4096];

	if (user_read(s->mm, s->addr, buf, n))
		return 0;
	memcpy(p, buf, n);
	s->addr += n;
	return n;
}

static void write_from_own_mapping(void **state)
{
	struct posix_file *f = posix_file_new(4 * PAGE, 5);
	struct quire_mm *mm = unit_mm();
	struct self_write s = {mm, unit_map(mm, 0, 4, PROT_READ, MAP_SHARED, f, 0)};
	u8 buf[4096];

	(void)state;
	assert_int_equal(quire_cache_write(&f->map, 0, 2 * PAGE, from_user, &s), 2 * PAGE);
	assert_int_equal(posix_file_read(f, PAGE, buf, PAGE), PAGE);
	pattern_is(buf, 5, PAGE, PAGE);
	s.addr = BASE + 2 * PAGE;
	assert_int_equal(quire_cache_write(&f->map, 2 * PAGE + 10, 100, from_user, &s), 100);
	assert_int_equal(posix_file_read(f, 2 * PAGE + 10, buf, 100), 100);
	pattern_is(buf, 5, 2 * PAGE, 100);
	quire_check_all();
	posix_mm_put(mm);
	posix_file_put(f);
}

static void truncation(void **state)
{
	struct posix_file *f = posix_file_new(10 * PAGE, 5);
	struct quire_mm *mm = unit_mm();
	u64 a = unit_map(mm, 0, 10, RW, MAP_SHARED, f, 0);
	u64 p = unit_map(mm, 20, 10, RW, MAP_PRIVATE, f, 0);
	static u8 buf[10 * QUIRE_PAGE_SIZE];

	(void)state;
	for (u64 i = 0; i < 10; i++) {
		assert_int_equal(user_touch(mm, a + i * PAGE, true), 0);
		assert_int_equal(user_touch(mm, p + i * PAGE, true), 0);
	}
	posix_file_truncate(f, 3 * PAGE + 10);
	quire_check_all();
	assert_int_equal(f->map.nr_pages, 4);
	assert_int_equal(user_touch(mm, a + 4 * PAGE, false), QUIRE_SIGBUS);
	assert_int_equal(user_touch(mm, p + 4 * PAGE, false), QUIRE_SIGBUS);
	assert_int_equal(user_touch(mm, a + 3 * PAGE, false), 0);
	assert_int_equal(posix_file_read(f, 0, buf, sizeof(buf)), 3 * PAGE + 10);
	posix_file_truncate(f, 10 * PAGE);
	assert_int_equal(posix_file_read(f, 3 * PAGE + 10, buf, sizeof(buf)), 7 * PAGE - 10);
	bytes_are(buf, 0, 7 * PAGE - 10);
	assert_int_equal(user_touch(mm, p + 4 * PAGE, false), 0);
	posix_file_truncate(f, 0);
	assert_int_equal(f->map.nr_pages, 0);
	assert_int_equal(user_touch(mm, a, false), QUIRE_SIGBUS);
	quire_check_all();
	posix_mm_put(mm);
	posix_file_put(f);
}

static void punching(void **state)
{
	struct posix_file *f = posix_shmem_new(10 * PAGE);
	struct quire_mm *mm = unit_mm();
	u64 a = unit_map(mm, 0, 10, RW, MAP_SHARED, f, 0);
	u64 p = unit_map(mm, 20, 10, RW, MAP_PRIVATE, f, 0);

	(void)state;
	for (u64 i = 0; i < 10; i++)
		unit_set(mm, a + i * PAGE + 8, i + 1);
	unit_set(mm, p + 3 * PAGE + 8, 99);
	assert_int_equal(quire_cache_punch(&f->map, 2 * PAGE, 5 * PAGE + 8), 0);
	assert_int_equal(f->map.nr_pages, 7);
	quire_check_all();
	assert_int_equal(unit_get(mm, a + PAGE + 8), 2);
	assert_int_equal(unit_get(mm, a + 2 * PAGE + 8), 0);
	assert_int_equal(unit_get(mm, a + 5 * PAGE + 8), 6);
	/* A private copy stays: the hole is the file's. */
	assert_int_equal(unit_get(mm, p + 3 * PAGE + 8), 99);
	posix_mm_put(mm);
	posix_file_put(f);
}

static void shmem_holes(void **state)
{
	struct posix_file *f = posix_shmem_new(100 * PAGE);
	u8 buf[4096] = {7};

	(void)state;
	assert_int_equal(posix_file_write(f, 10 * PAGE, buf, PAGE), PAGE);
	assert_int_equal(posix_file_write(f, 50 * PAGE, buf, 1), 1);
	assert_int_equal(quire_cache_seek(&f->map, 0, true), 10 * PAGE);
	assert_int_equal(quire_cache_seek(&f->map, 10 * PAGE, false), 11 * PAGE);
	assert_int_equal(quire_cache_seek(&f->map, 11 * PAGE, true), 50 * PAGE);
	assert_int_equal(posix_file_read(f, 30 * PAGE, buf, PAGE), PAGE);
	bytes_are(buf, 0, PAGE);
	/* What was only allocated is a hole, until it is filled. */
	assert_int_equal(quire_cache_fill(&f->map, 20 * PAGE, 22 * PAGE), 0);
	assert_int_equal(quire_cache_seek(&f->map, 11 * PAGE, true), 50 * PAGE);
	assert_int_equal(quire_cache_seek(&f->map, 19 * PAGE, false), 19 * PAGE);
	assert_int_equal(posix_file_write(f, 21 * PAGE + 5, buf, 1), 1);
	assert_int_equal(quire_cache_seek(&f->map, 11 * PAGE, true), 21 * PAGE);
	assert_int_equal(quire_cache_seek(&f->map, 21 * PAGE, false), 22 * PAGE);
	assert_int_equal(posix_file_read(f, 10 * PAGE, buf, 1), 1);
	assert_int_equal(buf[0], 7);
	posix_file_put(f);
}

static void dropping(void **state)
{
	struct posix_file *f = posix_file_new(40 * PAGE, 5);
	struct quire_mm *mm = unit_mm();
	static u8 buf[40 * QUIRE_PAGE_SIZE];
	u64 free;

	(void)state;
	assert_int_equal(posix_file_read(f, 0, buf, sizeof(buf)), sizeof(buf));
	free = posix_settled_free();
	buf[0] = 1;
	assert_int_equal(posix_file_write(f, 7 * PAGE, buf, 1), 1);
	unit_map(mm, 0, 1, PROT_READ, MAP_SHARED, f, 9);
	assert_int_equal(user_touch(mm, BASE, false), 0);
	assert_true(quire_cache_drop(&f->map, 0, ~0UL) >= 37 - quire_sysctl.fault_around_pages);
	assert_int_equal(posix_file_read(f, 7 * PAGE, buf, 1), 1);
	assert_int_equal(buf[0], 1);
	posix_mm_put(mm);
	assert_int_equal(quire_cache_flush(&f->map, 0, ~0UL), 0);
	quire_cache_drop(&f->map, 0, ~0UL);
	assert_int_equal(f->map.nr_pages, 0);
	assert_true(posix_settled_free() >= free + 40);
	posix_file_put(f);
}

static void getting_pages(void **state)
{
	struct posix_file *f = posix_file_new(4 * PAGE, 5);
	struct page *p;
	int err = 0;

	(void)state;
	p = quire_cache_get(&f->map, 2, &err);
	assert_non_null(p);
	pattern_is(page_view(p), 5, 2 * PAGE, PAGE);
	assert_int_equal(p->index, 2);
	assert_ptr_equal(p->mapping, &f->map);
	quire_page_put(p);
	f->fail_reads = 1000;
	quire_cache_drop(&f->map, 0, ~0UL);
	assert_null(quire_cache_get(&f->map, 1, &err));
	assert_int_equal(err, -EIO);
	posix_file_put(f);
}

static void reading_ahead_on_request(void **state)
{
	struct posix_file *f = posix_file_new(40 * PAGE, 5);
	u8 b;

	(void)state;
	quire_cache_readahead(&f->map, 8, 20);
	assert_true(f->pages_read >= 20);
	u64 calls = f->reads;
	assert_int_equal(posix_file_read(f, 20 * PAGE, &b, 1), 1);
	assert_int_equal(f->reads, calls);
	quire_cache_readahead(&f->map, 1000, 20);
	posix_file_put(f);
}

/* The index holds pages at any offset. */
static void far_offsets(void **state)
{
	struct posix_file *f = posix_shmem_new(1UL << 62);
	static const u64 at[] = {0, 63, 64, 4095, 4096, 1UL << 20, 1UL << 35, (1UL << 50) - 1};
	u8 b;

	(void)state;
	for (unsigned i = 0; i < quire_array_size(at); i++) {
		b = (u8)(i + 1);
		assert_int_equal(posix_file_write(f, at[i] * PAGE, &b, 1), 1);
	}
	for (unsigned i = 0; i < quire_array_size(at); i++) {
		assert_int_equal(posix_file_read(f, at[i] * PAGE, &b, 1), 1);
		assert_int_equal(b, i + 1);
		assert_int_equal(cache_next(&f->map, i ? at[i - 1] + 1 : 0, ~0UL), at[i]);
	}
	assert_int_equal(f->map.nr_pages, quire_array_size(at));
	posix_file_truncate(f, 5000 * PAGE);
	assert_int_equal(f->map.nr_pages, 5);
	assert_int_equal(cache_next(&f->map, 4097, ~0UL), ~0UL);
	posix_file_put(f);
}

/* Many reads, writes, truncations and flushes against an array. */
static void against_an_array(void **state)
{
	static u8 model[64 * QUIRE_PAGE_SIZE], buf[64 * QUIRE_PAGE_SIZE];
	struct posix_file *f = posix_file_new(0, 0);
	u64 size = 0, x = 1;

	(void)state;
	for (unsigned n = 0; n < 4000; n++) {
		u64 pos, len;

		x = x * 6364136223846793005u + 1442695040888963407u;
		pos = (x >> 33) % sizeof(model);
		len = (x >> 20 & 1 ? x >> 45 : x >> 55) % (sizeof(model) - pos);
		switch (x >> 60) {
		case 0:
			posix_file_truncate(f, pos);
			if (pos < size)
				memset(model + pos, 0, size - pos);
			size = pos;
			break;
		case 1:
			assert_int_equal(quire_cache_flush(&f->map, pos, pos + len), 0);
			break;
		case 2:
			quire_cache_drop(&f->map, pos, pos + len);
			break;
		case 3:
			quire_reclaim(8);
			break;
		case 4:
		case 5:
		case 6:
		case 7:
		case 8:
			memset(buf, (int)n, len);
			assert_int_equal(posix_file_write(f, pos, buf, len), len);
			memset(model + pos, (int)n, len);
			size = len ? quire_max(size, pos + len) : size;
			break;
		default: {
			u64 expect = pos >= size ? 0 : quire_min(len, size - pos);

			assert_int_equal(posix_file_read(f, pos, buf, len), expect);
			assert_memory_equal(buf, model + pos, expect);
		}
		}
	}
	quire_check_all();
	posix_file_put(f);
}

static const struct CMUnitTest tests[] = {
    UNIT_TEST(reads),
    UNIT_TEST(sequential_reads_run_ahead),
    UNIT_TEST(random_reads_do_not),
    UNIT_TEST(read_errors),
    UNIT_TEST(writes),
    UNIT_TEST(write_errors),
    UNIT_TEST(short_copies),
    UNIT_TEST(copies_that_fault),
    UNIT_TEST(write_from_own_mapping),
    UNIT_TEST(truncation),
    UNIT_TEST(punching),
    UNIT_TEST(shmem_holes),
    UNIT_TEST(dropping),
    UNIT_TEST(getting_pages),
    UNIT_TEST(reading_ahead_on_request),
    UNIT_TEST(far_offsets),
    UNIT_TEST(against_an_array),
};
UNIT_MAIN(tests)
