/* SPDX-License-Identifier: MIT */
/* vm/mm, continued: mremap, madvise, msync, mincore, and looking in from outside. */
#include "unit.h"

static void mremap_resizes(void **state)
{
	struct quire_mm *mm = unit_mm();

	(void)state;
	unit_anon(mm, 0, 4, RW);
	unit_anon(mm, 10, 1, PROT_READ);
	for (u64 i = 0; i < 4; i++)
		unit_set(mm, BASE + i * PAGE, i + 1);
	assert_int_equal(quire_mremap(mm, BASE, 4 * PAGE, 8 * PAGE, 0, 0), BASE);
	assert_string_equal(unit_layout(mm), "0-8 rw-p, 10-11 r--p");
	assert_int_equal(unit_get(mm, BASE + 3 * PAGE), 4);
	assert_int_equal(unit_get(mm, BASE + 7 * PAGE), 0);
	assert_int_equal(quire_mremap(mm, BASE, 8 * PAGE, 12 * PAGE, 0, 0), -ENOMEM);
	assert_int_equal(quire_mremap(mm, BASE, 8 * PAGE, 2 * PAGE, 0, 0), BASE);
	assert_string_equal(unit_layout(mm), "0-2 rw-p, 10-11 r--p");
	assert_int_equal(unit_usage(mm).rss_anon, 2);
	quire_check_all();
	posix_mm_put(mm);
}

static void mremap_moves(void **state)
{
	struct quire_mm *mm = unit_mm();
	s64 a;

	(void)state;
	unit_anon(mm, 0, 4, RW);
	unit_anon(mm, 4, 1, PROT_READ);
	for (u64 i = 0; i < 4; i++)
		unit_set(mm, BASE + i * PAGE, i + 1);
	a = quire_mremap(mm, BASE, 4 * PAGE, 600 * PAGE, MREMAP_MAYMOVE, 0);
	assert_true(a > 0 && (u64)a != BASE);
	for (u64 i = 0; i < 4; i++)
		assert_int_equal(unit_get(mm, (u64)a + i * PAGE), i + 1);
	assert_int_equal(unit_get(mm, (u64)a + 599 * PAGE), 0);
	assert_int_equal(user_touch(mm, BASE, false), QUIRE_SEGV_MAPERR);
	quire_check_all();
	/* To a given place, over what is there. */
	unit_anon(mm, 50, 3, PROT_READ);
	assert_int_equal(quire_mremap(mm, (u64)a, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				      BASE + 51 * PAGE),
			 (s64)(BASE + 51 * PAGE));
	assert_int_equal(unit_get(mm, BASE + 51 * PAGE), 1);
	assert_int_equal(unit_get(mm, BASE + 52 * PAGE), 2);
	assert_int_equal(unit_get(mm, (u64)a + 2 * PAGE), 3);
	assert_int_equal(user_touch(mm, (u64)a, false), QUIRE_SEGV_MAPERR);
	quire_check_all();
	posix_mm_put(mm);
}

static void mremap_dontunmap(void **state)
{
	struct quire_mm *mm = unit_mm();
	s64 a;

	(void)state;
	unit_anon(mm, 0, 2, RW);
	unit_set(mm, BASE, 9);
	a = quire_mremap(mm, BASE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
	assert_true(a > 0);
	assert_int_equal(unit_get(mm, (u64)a), 9);
	assert_int_equal(unit_get(mm, BASE), 0);
	unit_set(mm, BASE, 10);
	assert_int_equal(unit_get(mm, (u64)a), 9);
	quire_check_all();
	posix_mm_put(mm);
}

static void mremap_duplicates_shared(void **state)
{
	struct posix_file *f = posix_file_new(4 * PAGE, 3);
	struct quire_mm *mm = unit_mm();
	s64 a;
	u8 b = 7;

	(void)state;
	unit_map(mm, 0, 2, RW, MAP_SHARED, f, 1);
	a = quire_mremap(mm, BASE, 0, 2 * PAGE, MREMAP_MAYMOVE, 0);
	assert_true(a > 0);
	assert_int_equal(user_write(mm, BASE, &b, 1), 0);
	b = 0;
	assert_int_equal(user_read(mm, (u64)a, &b, 1), 0);
	assert_int_equal(b, 7);
	unit_anon(mm, 10, 1, RW);
	assert_int_equal(quire_mremap(mm, BASE + 10 * PAGE, 0, PAGE, MREMAP_MAYMOVE, 0), -EINVAL);
	quire_check_all();
	posix_mm_put(mm);
	posix_file_put(f);
}

static void mremap_errors(void **state)
{
	struct quire_mm *mm = unit_mm();

	(void)state;
	unit_anon(mm, 0, 4, RW);
	unit_anon(mm, 4, 4, PROT_READ);
	assert_int_equal(quire_mremap(mm, BASE + 1, PAGE, PAGE, 0, 0), -EINVAL);
	assert_int_equal(quire_mremap(mm, BASE, PAGE, 0, 0, 0), -EINVAL);
	assert_int_equal(quire_mremap(mm, BASE, PAGE, PAGE, 64, 0), -EINVAL);
	assert_int_equal(quire_mremap(mm, BASE, PAGE, PAGE, MREMAP_FIXED, BASE), -EINVAL);
	assert_int_equal(
	    quire_mremap(mm, BASE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, BASE + PAGE),
	    -EINVAL);
	assert_int_equal(quire_mremap(mm, BASE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, 1),
			 -EINVAL);
	assert_int_equal(quire_mremap(mm, BASE + 100 * PAGE, PAGE, 2 * PAGE, 0, 0), -EFAULT);
	assert_int_equal(quire_mremap(mm, BASE + 2 * PAGE, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE, 0),
			 -EFAULT);
	assert_int_equal(quire_mremap(mm, BASE, PAGE, 2 * PAGE, MREMAP_DONTUNMAP, 0), -EINVAL);
	assert_string_equal(unit_layout(mm), "0-4 rw-p, 4-8 r--p");
	posix_mm_put(mm);
}

static void mremap_keeps_cow(void **state)
{
	struct quire_mm *mm = unit_mm(), *child;
	s64 a;

	(void)state;
	unit_anon(mm, 0, 2, RW);
	unit_set(mm, BASE, 1);
	assert_int_equal(quire_mm_fork(mm, NULL, &child), 0);
	a = quire_mremap(child, BASE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			 BASE + 100 * PAGE);
	assert_int_equal(a, BASE + 100 * PAGE);
	quire_check_all();
	unit_set(child, (u64)a, 2);
	assert_int_equal(unit_get(mm, BASE), 1);
	unit_set(mm, BASE, 3);
	assert_int_equal(unit_get(child, (u64)a), 2);
	posix_mm_put(mm);
	posix_mm_put(child);
}

/* ---- madvise ------------------------------------------------------------------------------- */

static void dontneed(void **state)
{
	struct posix_file *f = posix_file_new(4 * PAGE, 3);
	struct quire_mm *mm = unit_mm();
	u8 b = 1;

	(void)state;
	unit_anon(mm, 0, 4, RW);
	unit_set(mm, BASE, 1);
	unit_set(mm, BASE + PAGE, 2);
	assert_int_equal(quire_madvise(mm, BASE, PAGE, MADV_DONTNEED), 0);
	assert_int_equal(unit_get(mm, BASE), 0);
	assert_int_equal(unit_get(mm, BASE + PAGE), 2);
	assert_int_equal(unit_usage(mm).rss_anon, 1);
	unit_map(mm, 10, 4, RW, MAP_PRIVATE, f, 0);
	assert_int_equal(user_write(mm, BASE + 10 * PAGE, &b, 1), 0);
	assert_int_equal(quire_madvise(mm, BASE + 10 * PAGE, PAGE, MADV_DONTNEED), 0);
	assert_int_equal(user_read(mm, BASE + 10 * PAGE, &b, 1), 0);
	assert_int_equal(b, posix_pattern(3, 0));
	/* Over a hole: what is there is done, and ENOMEM. */
	unit_set(mm, BASE + 3 * PAGE, 3);
	assert_int_equal(quire_madvise(mm, BASE + 3 * PAGE, 8 * PAGE, MADV_DONTNEED), -ENOMEM);
	assert_int_equal(unit_get(mm, BASE + 3 * PAGE), 0);
	assert_int_equal(quire_mlock(mm, BASE, PAGE, false), 0);
	assert_int_equal(quire_madvise(mm, BASE, PAGE, MADV_DONTNEED), -EINVAL);
	assert_int_equal(quire_madvise(mm, BASE, PAGE, MADV_DONTNEED_LOCKED), 0);
	quire_check_all();
	posix_mm_put(mm);
	posix_file_put(f);
}

/* Private memory is taken from what ends: locked, copied or not; what is shared stays. */
static void reaped(void **state)
{
	struct posix_file *f = posix_file_new(4 * PAGE, 3);
	struct quire_mm *mm = unit_mm(), *child;
	u8 b = 1;

	(void)state;
	unit_anon(mm, 0, 8, RW);
	for (u64 i = 0; i < 8; i++)
		unit_set(mm, BASE + i * PAGE, i);
	assert_int_equal(quire_mlock(mm, BASE, 4 * PAGE, false), 0);
	unit_map(mm, 10, 4, RW, MAP_PRIVATE, f, 0);
	assert_int_equal(user_write(mm, BASE + 10 * PAGE, &b, 1), 0);
	unit_map(mm, 20, 4, RW, MAP_SHARED, f, 0);
	assert_int_equal(user_write(mm, BASE + 20 * PAGE, &b, 1), 0);
	assert_int_equal(quire_mm_fork(mm, NULL, &child), 0);
	assert_false(quire_mm_reaped(mm));
	assert_int_equal(quire_mm_access(mm, BASE, &b, 1, false, false), 1);
	assert_int_equal(quire_mm_reap(mm, false), 0);
	assert_true(quire_mm_reaped(mm));
	assert_int_equal(unit_usage(mm).rss_anon, 0);
	assert_int_equal(unit_usage(mm).rss_file, 1);
	assert_int_equal(quire_mm_access(mm, BASE, &b, 1, false, false), 0);
	assert_int_equal(quire_mm_access(mm, BASE + PAGE, &b, 1, false, true), 0);
	assert_int_equal(quire_mm_reap(mm, true), 0);
	/* Its child has all that they shared. */
	assert_false(quire_mm_reaped(child));
	for (u64 i = 0; i < 8; i++)
		assert_int_equal(unit_get(child, BASE + i * PAGE), i);
	quire_check_all();
	posix_mm_put(mm);
	posix_mm_put(child);
	posix_file_put(f);
}

static void madvise_errors(void **state)
{
	struct posix_file *f = posix_file_new(4 * PAGE, 3);
	struct quire_mm *mm = unit_mm();

	(void)state;
	unit_anon(mm, 0, 4, RW);
	assert_int_equal(quire_madvise(mm, BASE + 1, PAGE, MADV_DONTNEED), -EINVAL);
	assert_int_equal(quire_madvise(mm, BASE, 0, MADV_DONTNEED), 0);
	assert_int_equal(quire_madvise(mm, BASE, ~0UL, MADV_DONTNEED), -EINVAL);
	assert_int_equal(quire_madvise(mm, BASE, PAGE, 12345), -EINVAL);
	assert_int_equal(quire_madvise(mm, BASE, PAGE, MADV_HUGEPAGE), -EINVAL);
	assert_int_equal(quire_madvise(mm, BASE, PAGE, MADV_MERGEABLE), -EINVAL);
	assert_int_equal(quire_madvise(mm, BASE + 100 * PAGE, PAGE, MADV_NORMAL), -ENOMEM);
	assert_int_equal(quire_madvise(mm, BASE, PAGE, MADV_REMOVE), -EINVAL);
	unit_map(mm, 10, 4, PROT_READ, MAP_SHARED, f, 0);
	assert_int_equal(quire_madvise(mm, BASE + 10 * PAGE, PAGE, MADV_FREE), -EINVAL);
	assert_int_equal(quire_madvise(mm, BASE + 10 * PAGE, PAGE, MADV_WIPEONFORK), -EINVAL);
	posix_mm_put(mm);
	posix_file_put(f);
}

static void advice_splits_and_merges(void **state)
{
	struct quire_mm *mm = unit_mm();

	(void)state;
	unit_anon(mm, 0, 10, RW);
	assert_int_equal(quire_madvise(mm, BASE + 3 * PAGE, 2 * PAGE, MADV_RANDOM), 0);
	assert_string_equal(unit_layout(mm), "0-3 rw-p, 3-5 rw-p, 5-10 rw-p");
	assert_int_equal(quire_madvise(mm, BASE + 3 * PAGE, 2 * PAGE, MADV_NORMAL), 0);
	assert_string_equal(unit_layout(mm), "0-10 rw-p");
	assert_int_equal(quire_madvise(mm, BASE + 5 * PAGE, 5 * PAGE, MADV_DONTDUMP), 0);
	assert_string_equal(unit_layout(mm), "0-5 rw-p, 5-10 rw-p");
	assert_int_equal(quire_madvise(mm, BASE, 10 * PAGE, MADV_DODUMP), 0);
	assert_string_equal(unit_layout(mm), "0-10 rw-p");
	posix_mm_put(mm);
}

static void remove_punches(void **state)
{
	struct posix_file *f = posix_shmem_new(8 * PAGE);
	struct quire_mm *mm = unit_mm();

	(void)state;
	unit_map(mm, 0, 8, RW, MAP_SHARED, f, 0);
	for (u64 i = 0; i < 8; i++)
		unit_set(mm, BASE + i * PAGE, i + 1);
	assert_int_equal(quire_madvise(mm, BASE + 2 * PAGE, 2 * PAGE, MADV_REMOVE), 0);
	assert_int_equal(unit_get(mm, BASE + PAGE), 2);
	assert_int_equal(unit_get(mm, BASE + 2 * PAGE), 0);
	assert_int_equal(unit_get(mm, BASE + 3 * PAGE), 0);
	assert_int_equal(unit_get(mm, BASE + 4 * PAGE), 5);
	quire_check_all();
	posix_mm_put(mm);
	posix_file_put(f);
}

static void populate(void **state)
{
	struct posix_file *f = posix_file_new(8 * PAGE, 4);
	struct quire_mm *mm = unit_mm();

	(void)state;
	unit_anon(mm, 0, 8, RW);
	assert_int_equal(quire_madvise(mm, BASE, 4 * PAGE, MADV_POPULATE_READ), 0);
	assert_int_equal(unit_usage(mm).rss_anon, 0);
	assert_int_equal(quire_madvise(mm, BASE, 4 * PAGE, MADV_POPULATE_WRITE), 0);
	assert_int_equal(unit_usage(mm).rss_anon, 4);
	assert_int_equal(quire_madvise(mm, BASE + 6 * PAGE, 4 * PAGE, MADV_POPULATE_WRITE),
			 -ENOMEM);
	unit_map(mm, 10, 8, PROT_READ, MAP_SHARED, f, 0);
	assert_int_equal(quire_madvise(mm, BASE + 10 * PAGE, 8 * PAGE, MADV_POPULATE_READ), 0);
	assert_int_equal(unit_usage(mm).rss_file, 8);
	assert_int_equal(quire_madvise(mm, BASE + 10 * PAGE, 8 * PAGE, MADV_POPULATE_WRITE),
			 -EINVAL);
	unit_map(mm, 20, 12, PROT_READ, MAP_SHARED, f, 0);
	assert_int_equal(quire_madvise(mm, BASE + 20 * PAGE, 12 * PAGE, MADV_POPULATE_READ),
			 -EFAULT);
	quire_check_all();
	posix_mm_put(mm);
	posix_file_put(f);
}

/* ---- msync, mincore ---------------------------------------------------------------------------
 */

static void msync_calls(void **state)
{
	struct posix_file *f = posix_file_new(8 * PAGE, 4);
	struct quire_mm *mm = unit_mm();
	u8 b = 99;

	(void)state;
	unit_map(mm, 0, 8, RW, MAP_SHARED, f, 0);
	assert_int_equal(user_write(mm, BASE + 3 * PAGE, &b, 1), 0);
	assert_int_equal(user_write(mm, BASE + 5 * PAGE, &b, 1), 0);
	assert_int_equal(quire_msync(mm, BASE + 3 * PAGE, PAGE, MS_SYNC), 0);
	assert_int_equal(f->data[3 * PAGE], 99);
	assert_int_equal(f->pages_written, 1);
	assert_int_equal(quire_msync(mm, BASE, 8 * PAGE, MS_SYNC), 0);
	assert_int_equal(f->data[5 * PAGE], 99);
	assert_int_equal(f->pages_written, 2);
	assert_int_equal(user_write(mm, BASE, &b, 1), 0);
	f->fail_writes = 1;
	assert_int_equal(quire_msync(mm, BASE, 8 * PAGE, MS_SYNC), -EIO);
	assert_int_equal(quire_msync(mm, BASE, PAGE, MS_SYNC | MS_ASYNC), -EINVAL);
	assert_int_equal(quire_msync(mm, BASE, PAGE, 8), -EINVAL);
	assert_int_equal(quire_msync(mm, BASE + 1, PAGE, MS_SYNC), -EINVAL);
	assert_int_equal(quire_msync(mm, BASE + 4 * PAGE, 8 * PAGE, MS_SYNC), -ENOMEM);
	assert_int_equal(quire_mlock(mm, BASE, PAGE, false), 0);
	assert_int_equal(quire_msync(mm, BASE, PAGE, MS_INVALIDATE), -EBUSY);
	posix_mm_put(mm);
	posix_file_put(f);
}

static void mincore_calls(void **state)
{
	struct posix_file *f = posix_file_new(8 * PAGE, 4);
	struct quire_mm *mm = unit_mm();
	u8 vec[8], b;

	(void)state;
	unit_anon(mm, 0, 4, RW);
	unit_set(mm, BASE + PAGE, 1);
	assert_int_equal(quire_mincore(mm, BASE, 4, vec), 4);
	assert_memory_equal(vec, "\0\1\0\0", 4);
	assert_int_equal(quire_mincore(mm, BASE, 5, vec), 4);
	assert_int_equal(quire_mincore(mm, BASE + 4 * PAGE, 1, vec), -ENOMEM);
	unit_map(mm, 10, 8, PROT_READ, MAP_PRIVATE, f, 0);
	assert_int_equal(quire_mincore(mm, BASE + 10 * PAGE, 8, vec), 8);
	assert_memory_equal(vec, "\0\0\0\0\0\0\0\0", 8);
	f->file.ra_mode = 1;
	assert_int_equal(posix_file_read(f, 5 * PAGE, &b, 1), 1);
	assert_int_equal(quire_mincore(mm, BASE + 10 * PAGE, 8, vec), 8);
	assert_int_equal(vec[5], 1);
	assert_int_equal(vec[0], 0);
	posix_mm_put(mm);
	posix_file_put(f);
}

/* ---- from outside
 * --------------------------------------------------------------------------------- */

static void access_from_outside(void **state)
{
	struct quire_mm *mm = unit_mm();
	char text[16] = "", hello[] = "hello world", x[] = "x";
	u64 a = unit_anon(mm, 0, 2, RW);

	(void)state;
	assert_int_equal(quire_mm_access(mm, a + PAGE - 4, hello, 12, true, false), 12);
	assert_int_equal(quire_mm_access(mm, a + PAGE - 4, text, 12, false, false), 12);
	assert_string_equal(text, "hello world");
	assert_int_equal(user_read(mm, a + PAGE - 4, text, 12), 0);
	assert_string_equal(text, "hello world");
	assert_int_equal(quire_mm_access(mm, a + 2 * PAGE - 4, text, 12, false, false), 4);
	assert_int_equal(quire_mprotect(mm, a, PAGE, PROT_READ, -1), 0);
	assert_int_equal(quire_mm_access(mm, a, x, 1, true, false), 0);
	assert_int_equal(quire_mm_access(mm, a, x, 1, true, true), 1);
	assert_int_equal(quire_mm_access(mm, a, text, 1, false, false), 1);
	assert_int_equal(text[0], 'x');
	quire_check_all();
	posix_mm_put(mm);
}

static void smaps(void **state)
{
	struct posix_file *f = posix_file_new(8 * PAGE, 4);
	struct quire_mm *mm = unit_mm(), *child;
	struct quire_smaps s;
	u64 a = unit_anon(mm, 0, 8, RW);

	(void)state;
	for (u64 i = 0; i < 4; i++)
		unit_set(mm, a + i * PAGE, i);
	memset(&s, 0, sizeof(s));
	quire_mm_smaps(mm, a, a + 8 * PAGE, &s);
	assert_int_equal(s.rss, 4 * PAGE);
	assert_int_equal(s.pss >> QUIRE_PSS_SHIFT, 4 * PAGE);
	assert_int_equal(s.private_dirty, 4 * PAGE);
	assert_int_equal(s.anonymous, 4 * PAGE);
	assert_int_equal(s.shared_dirty, 0);
	assert_int_equal(quire_mm_fork(mm, NULL, &child), 0);
	memset(&s, 0, sizeof(s));
	quire_mm_smaps(mm, a, a + 8 * PAGE, &s);
	assert_int_equal(s.rss, 4 * PAGE);
	assert_int_equal(s.pss >> QUIRE_PSS_SHIFT, 2 * PAGE);
	assert_int_equal(s.shared_dirty, 4 * PAGE);
	posix_mm_put(child);
	unit_map(mm, 10, 8, PROT_READ, MAP_SHARED, f, 0);
	assert_int_equal(user_touch(mm, BASE + 10 * PAGE, false), 0);
	memset(&s, 0, sizeof(s));
	quire_mm_smaps(mm, BASE + 10 * PAGE, BASE + 18 * PAGE, &s);
	assert_true(s.rss >= PAGE);
	assert_int_equal(s.private_clean, s.rss);
	assert_int_equal(s.anonymous, 0);
	posix_mm_put(mm);
	posix_file_put(f);
}

static void pagemap_and_soft_dirty(void **state)
{
	struct quire_mm *mm = unit_mm();
	u64 a = unit_anon(mm, 0, 3, RW), e[3];

	(void)state;
	unit_set(mm, a, 1);
	unit_set(mm, a + PAGE, 1);
	quire_mm_pagemap(mm, a, 3, e);
	assert_true(e[0] >> 63);
	assert_true(e[0] >> 55 & 1);
	assert_true(e[0] >> 56 & 1);
	assert_false(e[0] >> 61 & 1);
	assert_int_equal(e[2] >> 63, 0);
	assert_int_equal(e[0] & ((1UL << 55) - 1),
			 (posix_walk(mm, a, &(unsigned){0}) & 0xffffffffff000) >> 12);
	assert_int_equal(quire_mm_clear_refs(mm, 4), 0);
	quire_mm_pagemap(mm, a, 3, e);
	assert_false(e[0] >> 55 & 1);
	assert_false(e[1] >> 55 & 1);
	unit_set(mm, a, 2);
	assert_int_equal(unit_get(mm, a + PAGE), 1);
	quire_mm_pagemap(mm, a, 3, e);
	assert_true(e[0] >> 55 & 1);
	assert_false(e[1] >> 55 & 1);
	quire_check_all();
	posix_mm_put(mm);
}

static void futex_keys(void **state)
{
	struct posix_file *f = posix_shmem_new(4 * PAGE);
	struct quire_mm *mm = unit_mm(), *other = unit_mm();
	u64 a[3], b[3];

	(void)state;
	unit_anon(mm, 0, 2, RW);
	unit_anon(other, 0, 2, RW);
	unit_map(mm, 10, 2, RW, MAP_SHARED, f, 1);
	unit_map(other, 20, 4, RW, MAP_SHARED, f, 0);
	assert_int_equal(quire_mm_futex_key(mm, BASE + 8, false, true, a), 0);
	assert_int_equal(quire_mm_futex_key(other, BASE + 8, false, true, b), 0);
	assert_memory_not_equal(a, b, sizeof(a));
	assert_int_equal(quire_mm_futex_key(mm, BASE + 10 * PAGE + 4, true, true, a), 0);
	assert_int_equal(quire_mm_futex_key(other, BASE + 21 * PAGE + 4, true, true, b), 0);
	assert_memory_equal(a, b, sizeof(a));
	assert_int_equal(quire_mm_futex_key(other, BASE + 21 * PAGE + 8, true, true, b), 0);
	assert_memory_not_equal(a, b, sizeof(a));
	assert_int_equal(quire_mm_futex_key(mm, BASE + 100 * PAGE, true, true, a), -EFAULT);
	posix_mm_put(mm);
	posix_mm_put(other);
	posix_file_put(f);
}

static void remap_pages(void **state)
{
	struct posix_file *f = posix_file_new(8 * PAGE, 4);
	struct quire_mm *mm = unit_mm();
	u8 b;

	(void)state;
	unit_map(mm, 0, 4, RW, MAP_SHARED, f, 0);
	assert_int_equal(quire_remap_file_pages(mm, BASE, PAGE, 0, 6, 0), 0);
	assert_int_equal(user_read(mm, BASE + 3, &b, 1), 0);
	assert_int_equal(b, posix_pattern(4, 6 * PAGE + 3));
	assert_string_equal(unit_layout(mm), "0-1 rw-s@6, 1-4 rw-s@1");
	assert_int_equal(quire_remap_file_pages(mm, BASE, PAGE, PROT_READ, 6, 0), -EINVAL);
	posix_mm_put(mm);
	posix_file_put(f);
}

static const struct CMUnitTest tests[] = {
    UNIT_TEST(mremap_resizes),
    UNIT_TEST(mremap_moves),
    UNIT_TEST(mremap_dontunmap),
    UNIT_TEST(mremap_duplicates_shared),
    UNIT_TEST(mremap_errors),
    UNIT_TEST(mremap_keeps_cow),
    UNIT_TEST(dontneed),
    UNIT_TEST(reaped),
    UNIT_TEST(madvise_errors),
    UNIT_TEST(advice_splits_and_merges),
    UNIT_TEST(remove_punches),
    UNIT_TEST(populate),
    UNIT_TEST(msync_calls),
    UNIT_TEST(mincore_calls),
    UNIT_TEST(access_from_outside),
    UNIT_TEST(smaps),
    UNIT_TEST(pagemap_and_soft_dirty),
    UNIT_TEST(futex_keys),
    UNIT_TEST(remap_pages),
};
UNIT_MAIN(tests)
