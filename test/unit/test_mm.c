/* SPDX-License-Identifier: MIT */
/* vm/mm: mmap, munmap, mprotect, brk, mlock and fork: results, errno, layouts. */
#include "unit.h"

static s64 anon_at(struct quire_mm *mm, u64 addr, u64 len, u64 prot, u64 flags)
{
	return quire_mmap(mm, addr, len, prot, ANON | flags, NULL, 0, 0);
}

/* ---- mmap ------------------------------------------------------------------------------ */

static void mmap_errors(void **state)
{
	struct quire_mm *mm = unit_mm();
	struct posix_file *f = posix_file_new(PAGE, 1);

	(void)state;
	assert_int_equal(anon_at(mm, 0, 0, RW, 0), -EINVAL);
	assert_int_equal(quire_mmap(mm, 0, PAGE, RW, MAP_ANONYMOUS, NULL, 0, 0), -EINVAL);
	assert_int_equal(anon_at(mm, BASE + 1, PAGE, RW, MAP_FIXED), -EINVAL);
	assert_int_equal(anon_at(mm, QUIRE_USER_END, PAGE, RW, MAP_FIXED), -ENOMEM);
	assert_int_equal(anon_at(mm, BASE, QUIRE_USER_END, RW, MAP_FIXED), -ENOMEM);
	assert_int_equal(anon_at(mm, 0, ~0UL, RW, 0), -ENOMEM);
	assert_int_equal(anon_at(mm, 0, 1UL << 47, RW, 0), -ENOMEM);
	assert_int_equal(quire_mmap(mm, 0, PAGE, RW, MAP_PRIVATE, &f->file, 100, MAY_ALL), -EINVAL);
	assert_int_equal(
	    quire_mmap(mm, 0, 2 * PAGE, RW, MAP_PRIVATE, &f->file, ~0UL << 12, MAY_ALL),
	    -EOVERFLOW);
	assert_int_equal(
	    quire_mmap(mm, 0, PAGE, RW, MAP_SHARED_VALIDATE | 1 << 25, &f->file, 0, MAY_ALL),
	    -EOPNOTSUPP);
	unit_anon(mm, 0, 2, RW);
	assert_int_equal(anon_at(mm, BASE + PAGE, PAGE, RW, MAP_FIXED_NOREPLACE), -EEXIST);
	assert_int_equal(anon_at(mm, BASE + 2 * PAGE, PAGE, RW, MAP_FIXED_NOREPLACE),
			 (s64)BASE + 2 * (s64)PAGE);
	assert_string_equal(unit_layout(mm), "0-3 rw-p");
	posix_mm_put(mm);
	posix_file_put(f);
}

static void mmap_places(void **state)
{
	struct quire_mm *mm = unit_mm();
	u64 top = quire_mm_layout(mm)->mmap_base;

	(void)state;
	assert_int_equal(anon_at(mm, 0, 3 * PAGE, RW, 0), top - 3 * PAGE);
	assert_int_equal(anon_at(mm, 0, PAGE, PROT_READ, 0), top - 4 * PAGE);
	/* A hint is taken when it is free, else ignored. */
	assert_int_equal(anon_at(mm, BASE, PAGE, RW, 0), BASE);
	assert_int_equal(anon_at(mm, BASE, PAGE, PROT_READ, 0), top - 5 * PAGE);
	assert_int_equal(anon_at(mm, BASE + PAGE + 7, PAGE, RW, 0), BASE + PAGE);
	/* A hole that fits is used again. */
	assert_int_equal(quire_munmap(mm, top - 2 * PAGE, PAGE), 0);
	assert_int_equal(anon_at(mm, 0, PAGE, PROT_NONE, 0), top - 2 * PAGE);
	assert_true(anon_at(mm, 0, PAGE, RW, MAP_32BIT) < 1L << 32);
	posix_mm_put(mm);
}

static void mmap_replaces(void **state)
{
	struct quire_mm *mm = unit_mm();

	(void)state;
	unit_anon(mm, 0, 10, RW);
	for (u64 i = 0; i < 10; i++)
		unit_set(mm, BASE + i * PAGE, i + 1);
	unit_anon(mm, 3, 2, PROT_READ);
	assert_string_equal(unit_layout(mm), "0-3 rw-p, 3-5 r--p, 5-10 rw-p");
	assert_int_equal(unit_get(mm, BASE + 3 * PAGE), 0);
	assert_int_equal(unit_get(mm, BASE + 2 * PAGE), 3);
	assert_int_equal(unit_get(mm, BASE + 5 * PAGE), 6);
	quire_check_all();
	posix_mm_put(mm);
}

static void mmap_merges(void **state)
{
	struct quire_mm *mm = unit_mm();
	struct posix_file *f = posix_file_new(20 * PAGE, 1);

	(void)state;
	unit_anon(mm, 0, 2, RW);
	unit_anon(mm, 4, 2, RW);
	unit_anon(mm, 2, 2, RW);
	assert_string_equal(unit_layout(mm), "0-6 rw-p");
	unit_map(mm, 10, 2, PROT_READ, MAP_SHARED, f, 0);
	unit_map(mm, 12, 2, PROT_READ, MAP_SHARED, f, 2);
	unit_map(mm, 14, 2, PROT_READ, MAP_SHARED, f, 3);
	unit_map(mm, 16, 2, PROT_READ, MAP_PRIVATE, f, 5);
	assert_string_equal(unit_layout(mm), "0-6 rw-p, 10-14 r--s@0, 14-16 r--s@3, 16-18 r--p@5");
	quire_check_all();
	posix_mm_put(mm);
	posix_file_put(f);
}

static void mmap_populates(void **state)
{
	struct quire_mm *mm = unit_mm();
	s64 a = anon_at(mm, BASE, 20 * PAGE, RW, MAP_POPULATE);

	(void)state;
	assert_int_equal(a, BASE);
	assert_int_equal(unit_usage(mm).rss_anon, 20);
	a = anon_at(mm, BASE + 20 * PAGE, 5 * PAGE, RW, MAP_LOCKED);
	assert_int_equal(unit_usage(mm).rss_anon, 25);
	assert_int_equal(unit_usage(mm).locked_vm, 5);
	unit_set(mm, BASE + 24 * PAGE, 1);
	assert_int_equal(posix_faults()->taken, 0);
	posix_mm_put(mm);
}

static void mmap_limits(void **state)
{
	struct quire_mm *mm = unit_mm();

	(void)state;
	posix_limits.as = 100 * PAGE;
	assert_int_equal(anon_at(mm, BASE, 101 * PAGE, RW, 0), -ENOMEM);
	assert_int_equal(anon_at(mm, BASE, 100 * PAGE, RW, 0), BASE);
	assert_int_equal(anon_at(mm, 0, PAGE, RW, 0), -ENOMEM);
	/* Replacing doesn't count twice. */
	assert_int_equal(anon_at(mm, BASE, 100 * PAGE, RW, MAP_FIXED), BASE);
	posix_limits.as = ~0UL;
	posix_limits.data = 100 * PAGE;
	assert_int_equal(anon_at(mm, 0, PAGE, RW, 0), -ENOMEM);
	assert_true(anon_at(mm, 0, PAGE, PROT_READ, 0) > 0);
	posix_limits.memlock = 2 * PAGE;
	assert_int_equal(quire_mlock(mm, BASE, 3 * PAGE, false), -ENOMEM);
	assert_int_equal(quire_mlock(mm, BASE, 2 * PAGE, false), 0);
	assert_int_equal(anon_at(mm, 0, PAGE, PROT_READ, MAP_LOCKED), -EAGAIN);
	posix_limits.memlock = 0;
	assert_int_equal(quire_mlock(mm, BASE, PAGE, false), -EPERM);
	posix_limits.may_lock = true;
	assert_int_equal(quire_mlock(mm, BASE, 50 * PAGE, false), 0);
	posix_mm_put(mm);
}

static void map_count_limit(void **state)
{
	struct quire_mm *mm = unit_mm();
	u32 max = quire_sysctl.max_map_count;

	(void)state;
	quire_sysctl.max_map_count = 20;
	for (u64 i = 0; i < 20; i++)
		unit_anon(mm, 2 * i, 1, i & 1 ? RW : PROT_READ);
	assert_int_equal(unit_usage(mm).map_count, 20);
	assert_int_equal(anon_at(mm, BASE + 100 * PAGE, PAGE, RW, MAP_FIXED),
			 (s64)(BASE + 100 * PAGE));
	assert_int_equal(anon_at(mm, BASE + 102 * PAGE, PAGE, RW, MAP_FIXED), -ENOMEM);
	quire_sysctl.max_map_count = max;
	assert_int_equal(quire_munmap(mm, BASE, 200 * PAGE), 0);
	unit_anon(mm, 0, 10, RW);
	quire_sysctl.max_map_count = 1;
	assert_int_equal(quire_munmap(mm, BASE + PAGE, PAGE), -ENOMEM);
	assert_int_equal(quire_mprotect(mm, BASE + PAGE, PAGE, PROT_READ, -1), -ENOMEM);
	assert_string_equal(unit_layout(mm), "0-10 rw-p");
	quire_sysctl.max_map_count = max;
	posix_mm_put(mm);
}

static void min_addr(void **state)
{
	struct quire_mm *mm = unit_mm();

	(void)state;
	assert_int_equal(anon_at(mm, 0, PAGE, RW, MAP_FIXED), -EPERM);
	assert_int_equal(anon_at(mm, quire_sysctl.mmap_min_addr, PAGE, RW, MAP_FIXED),
			 (s64)quire_sysctl.mmap_min_addr);
	posix_mm_put(mm);
}

/* ---- munmap ------------------------------------------------------------------------------- */

static void munmap_parts(void **state)
{
	struct quire_mm *mm = unit_mm();

	(void)state;
	assert_int_equal(quire_munmap(mm, BASE + 1, PAGE), -EINVAL);
	assert_int_equal(quire_munmap(mm, BASE, 0), -EINVAL);
	assert_int_equal(quire_munmap(mm, BASE, ~0UL), -EINVAL);
	assert_int_equal(quire_munmap(mm, BASE, PAGE), 0);
	unit_anon(mm, 0, 10, RW);
	for (u64 i = 0; i < 10; i++)
		unit_set(mm, BASE + i * PAGE, i + 1);
	assert_int_equal(quire_munmap(mm, BASE + 4 * PAGE, 2 * PAGE - 5), 0);
	assert_string_equal(unit_layout(mm), "0-4 rw-p, 6-10 rw-p");
	assert_int_equal(unit_usage(mm).rss_anon, 8);
	assert_int_equal(quire_munmap(mm, BASE, PAGE), 0);
	assert_int_equal(quire_munmap(mm, BASE + 9 * PAGE, 100 * PAGE), 0);
	assert_string_equal(unit_layout(mm), "1-4 rw-p, 6-9 rw-p");
	assert_int_equal(user_touch(mm, BASE, false), QUIRE_SEGV_MAPERR);
	assert_int_equal(unit_get(mm, BASE + PAGE), 2);
	quire_check_all();
	assert_int_equal(quire_munmap(mm, 0, QUIRE_USER_END), 0);
	assert_string_equal(unit_layout(mm), "");
	assert_int_equal(unit_usage(mm).total_vm, 0);
	assert_int_equal(unit_usage(mm).rss_anon, 0);
	posix_mm_put(mm);
}

static void unmapped_pages_are_free_again(void **state)
{
	struct quire_mm *mm = unit_mm();
	u64 free, a = unit_anon(mm, 0, 600, RW);

	(void)state;
	/* The index keeps nodes for its next change. */
	assert_int_equal(quire_munmap(mm, a, 600 * PAGE), 0);
	free = posix_settled_free();
	unit_anon(mm, 0, 600, RW);
	for (u64 i = 0; i < 600; i++)
		unit_set(mm, a + i * PAGE, i);
	assert_true(posix_settled_free() <= free - 600);
	assert_int_equal(quire_munmap(mm, a, 600 * PAGE), 0);
	assert_int_equal(posix_settled_free(), free);
	posix_mm_put(mm);
}

/* ---- mprotect ---------------------------------------------------------------------------------
 */

static void mprotect_layouts(void **state)
{
	struct quire_mm *mm = unit_mm();

	(void)state;
	unit_anon(mm, 0, 10, RW);
	for (u64 i = 0; i < 10; i++)
		unit_set(mm, BASE + i * PAGE, i + 1);
	assert_int_equal(quire_mprotect(mm, BASE + 3 * PAGE, 2 * PAGE, PROT_READ, -1), 0);
	assert_string_equal(unit_layout(mm), "0-3 rw-p, 3-5 r--p, 5-10 rw-p");
	assert_int_equal(user_touch(mm, BASE + 3 * PAGE, true), QUIRE_SEGV_ACCERR);
	assert_int_equal(unit_get(mm, BASE + 4 * PAGE), 5);
	assert_int_equal(quire_mprotect(mm, BASE + 4 * PAGE, 3 * PAGE, PROT_READ, -1), 0);
	assert_string_equal(unit_layout(mm), "0-3 rw-p, 3-7 r--p, 7-10 rw-p");
	assert_int_equal(quire_mprotect(mm, BASE, 10 * PAGE, PROT_NONE, -1), 0);
	assert_string_equal(unit_layout(mm), "0-10 ---p");
	assert_int_equal(user_touch(mm, BASE, false), QUIRE_SEGV_ACCERR);
	assert_int_equal(quire_mprotect(mm, BASE, 10 * PAGE, RW, -1), 0);
	assert_string_equal(unit_layout(mm), "0-10 rw-p");
	for (u64 i = 0; i < 10; i++)
		assert_int_equal(unit_get(mm, BASE + i * PAGE), i + 1);
	quire_check_all();
	posix_mm_put(mm);
}

static void mprotect_errors(void **state)
{
	struct quire_mm *mm = unit_mm();
	struct posix_file *f = posix_file_new(4 * PAGE, 1);

	(void)state;
	unit_anon(mm, 0, 2, RW);
	unit_anon(mm, 3, 2, RW);
	assert_int_equal(quire_mprotect(mm, BASE + 1, PAGE, PROT_READ, -1), -EINVAL);
	assert_int_equal(quire_mprotect(mm, BASE, 0, PROT_READ, -1), 0);
	assert_int_equal(quire_mprotect(mm, BASE, ~0UL - PAGE, PROT_READ, -1), -ENOMEM);
	assert_int_equal(quire_mprotect(mm, BASE + 2 * PAGE, PAGE, PROT_READ, -1), -ENOMEM);
	assert_int_equal(quire_mprotect(mm, BASE, PAGE, PROT_READ | 0x40, -1), -EINVAL);
	assert_int_equal(quire_mprotect(mm, BASE, PAGE, PROT_READ | PROT_GROWSDOWN, -1), -EINVAL);
	/* What comes before a hole is changed. */
	assert_int_equal(quire_mprotect(mm, BASE + PAGE, 4 * PAGE, PROT_READ, -1), -ENOMEM);
	assert_string_equal(unit_layout(mm), "0-1 rw-p, 1-2 r--p, 3-5 rw-p");
	assert_int_equal(quire_mmap(mm, BASE + 10 * PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED,
				    &f->file, 0, VM_MAYREAD),
			 (s64)(BASE + 10 * PAGE));
	assert_int_equal(quire_mprotect(mm, BASE + 10 * PAGE, PAGE, RW, -1), -EACCES);
	assert_int_equal(quire_mprotect(mm, BASE + 10 * PAGE, PAGE, PROT_READ | PROT_EXEC, -1),
			 -EACCES);
	posix_mm_put(mm);
	posix_file_put(f);
}

/* As Linux without keys in the CPU: the first program to ask takes key 0 away, in vain. */
static void no_protection_keys(void **state)
{
	struct quire_mm *mm = unit_mm(), *child;
	u64 a = unit_anon(mm, 0, 1, RW);

	(void)state;
	assert_int_equal(quire_mprotect(mm, a, PAGE, RW, 0), -EINVAL);
	assert_int_equal(quire_pkey_free(mm, 0), -EINVAL);
	assert_int_equal(quire_pkey_alloc(mm, 0, 0), -EINVAL);
	assert_int_equal(quire_pkey_alloc(mm, 0, 0), -ENOSPC);
	assert_int_equal(quire_mprotect(mm, a, PAGE, PROT_EXEC, -1), 0);
	assert_int_equal(user_touch(mm, a, false), 0);
	assert_int_equal(quire_mm_fork(mm, NULL, &child), 0);
	assert_int_equal(quire_pkey_alloc(child, 0, 0), -ENOSPC);
	posix_mm_put(child);
	posix_mm_put(mm);
}

static void mprotect_keeps_cow(void **state)
{
	struct quire_mm *mm = unit_mm(), *child;
	u64 a = unit_anon(mm, 0, 1, RW);

	(void)state;
	unit_set(mm, a, 1);
	assert_int_equal(quire_mm_fork(mm, NULL, &child), 0);
	assert_int_equal(quire_mprotect(mm, a, PAGE, PROT_READ, -1), 0);
	assert_int_equal(quire_mprotect(mm, a, PAGE, RW, -1), 0);
	unit_set(mm, a, 2);
	assert_int_equal(unit_get(child, a), 1);
	posix_mm_put(mm);
	posix_mm_put(child);
}

/* ---- brk -------------------------------------------------------------------------------- */

static void brk_calls(void **state)
{
	struct quire_mm *mm = unit_mm();
	u64 start = quire_mm_layout(mm)->start_brk;

	(void)state;
	assert_int_equal(quire_brk(mm, 0), start);
	assert_int_equal(quire_brk(mm, start + 100), start + 100);
	unit_set(mm, start, 5);
	assert_int_equal(quire_brk(mm, start + 5 * PAGE), start + 5 * PAGE);
	assert_int_equal(unit_get(mm, start), 5);
	unit_set(mm, start + 4 * PAGE, 6);
	assert_int_equal(quire_brk(mm, start + PAGE), start + PAGE);
	assert_int_equal(user_touch(mm, start + 4 * PAGE, false), QUIRE_SEGV_MAPERR);
	assert_int_equal(quire_brk(mm, start - PAGE), start + PAGE);
	assert_int_equal(quire_brk(mm, start + 8 * PAGE), start + 8 * PAGE);
	assert_int_equal(unit_get(mm, start + 4 * PAGE), 0);
	assert_int_equal(unit_usage(mm).map_count, 1);
	/* Not over another mapping. */
	assert_true(anon_at(mm, start + 20 * PAGE, PAGE, PROT_READ, MAP_FIXED) > 0);
	assert_int_equal(quire_brk(mm, start + 21 * PAGE), start + 8 * PAGE);
	posix_limits.data = 9 * PAGE;
	assert_int_equal(quire_brk(mm, start + 12 * PAGE), start + 8 * PAGE);
	posix_mm_put(mm);
}

/* ---- locked memory ------------------------------------------------------------------------- */

static void mlock_calls(void **state)
{
	struct quire_mm *mm = unit_mm();

	(void)state;
	unit_anon(mm, 0, 10, RW);
	assert_int_equal(quire_mlock(mm, BASE + 2 * PAGE + 1, PAGE, false), 0);
	assert_string_equal(unit_layout(mm), "0-2 rw-p, 2-4 rw-pl, 4-10 rw-p");
	assert_int_equal(unit_usage(mm).locked_vm, 2);
	assert_int_equal(unit_usage(mm).rss_anon, 2);
	assert_int_equal(quire_mlock(mm, BASE + 4 * PAGE, PAGE, true), 0);
	assert_int_equal(unit_usage(mm).rss_anon, 2);
	assert_int_equal(quire_munlock(mm, BASE, 10 * PAGE), 0);
	/* Pages 0 and 1 have no anon_vma; Linux 6.1 doesn't merge it with what has one. */
	assert_string_equal(unit_layout(mm), "0-2 rw-p, 2-10 rw-p");
	assert_int_equal(unit_usage(mm).locked_vm, 0);
	assert_int_equal(quire_mlock(mm, BASE + 5 * PAGE, 10 * PAGE, false), -ENOMEM);
	assert_int_equal(quire_munlock(mm, BASE, 10 * PAGE), 0);
	assert_int_equal(quire_mlockall(mm, 0), -EINVAL);
	assert_int_equal(quire_mlockall(mm, 8), -EINVAL);
	assert_int_equal(quire_mlockall(mm, MCL_ONFAULT), -EINVAL);
	assert_int_equal(quire_mlockall(mm, MCL_CURRENT | MCL_FUTURE), 0);
	assert_int_equal(unit_usage(mm).rss_anon, 10);
	unit_anon(mm, 20, 5, RW);
	assert_int_equal(unit_usage(mm).rss_anon, 15);
	assert_int_equal(unit_usage(mm).locked_vm, 15);
	quire_check_all();
	assert_int_equal(quire_munlockall(mm), 0);
	assert_int_equal(unit_usage(mm).locked_vm, 0);
	unit_anon(mm, 30, 5, RW);
	assert_int_equal(unit_usage(mm).rss_anon, 15);
	posix_mm_put(mm);
}

/* ---- fork --------------------------------------------------------------------------------------
 */

static void fork_copies(void **state)
{
	struct quire_mm *mm = unit_mm(), *child, *grandchild;
	struct posix_file *f = posix_file_new(8 * PAGE, 2);
	char parent[512];
	u8 b;

	(void)state;
	unit_anon(mm, 0, 8, RW);
	unit_map(mm, 10, 4, RW, MAP_SHARED, f, 2);
	unit_map(mm, 20, 4, RW, MAP_PRIVATE, f, 2);
	for (u64 i = 0; i < 8; i++)
		unit_set(mm, BASE + i * PAGE, i + 1);
	b = 200;
	assert_int_equal(user_write(mm, BASE + 20 * PAGE, &b, 1), 0);
	strcpy(parent, unit_layout(mm));
	assert_int_equal(quire_mm_fork(mm, NULL, &child), 0);
	quire_check_all();
	assert_string_equal(unit_layout(child), parent);
	assert_int_equal(unit_usage(child).rss_anon, 9);
	assert_int_equal(unit_usage(child).total_vm, unit_usage(mm).total_vm);
	for (u64 i = 0; i < 8; i++)
		assert_int_equal(unit_get(child, BASE + i * PAGE), i + 1);
	unit_set(child, BASE, 100);
	unit_set(mm, BASE + PAGE, 101);
	assert_int_equal(quire_mm_fork(child, NULL, &grandchild), 0);
	unit_set(child, BASE + 2 * PAGE, 102);
	unit_set(grandchild, BASE + 3 * PAGE, 103);
	quire_check_all();
	assert_int_equal(unit_get(mm, BASE), 1);
	assert_int_equal(unit_get(child, BASE + PAGE), 2);
	assert_int_equal(unit_get(grandchild, BASE), 100);
	assert_int_equal(unit_get(grandchild, BASE + 2 * PAGE), 3);
	assert_int_equal(unit_get(child, BASE + 3 * PAGE), 4);
	b = 77;
	assert_int_equal(user_write(grandchild, BASE + 10 * PAGE, &b, 1), 0);
	assert_int_equal(user_read(mm, BASE + 10 * PAGE, &b, 1), 0);
	assert_int_equal(b, 77);
	assert_int_equal(user_read(grandchild, BASE + 20 * PAGE, &b, 1), 0);
	assert_int_equal(b, 200);
	posix_mm_put(mm);
	quire_check_all();
	assert_int_equal(unit_get(child, BASE + 7 * PAGE), 8);
	posix_mm_put(child);
	assert_int_equal(unit_get(grandchild, BASE + 7 * PAGE), 8);
	posix_mm_put(grandchild);
	posix_file_put(f);
}

static void fork_advice(void **state)
{
	struct quire_mm *mm = unit_mm(), *child;

	(void)state;
	unit_anon(mm, 0, 6, RW);
	for (u64 i = 0; i < 6; i++)
		unit_set(mm, BASE + i * PAGE, i + 1);
	assert_int_equal(quire_madvise(mm, BASE + PAGE, PAGE, MADV_DONTFORK), 0);
	assert_int_equal(quire_madvise(mm, BASE + 3 * PAGE, PAGE, MADV_WIPEONFORK), 0);
	assert_int_equal(quire_mlock(mm, BASE + 5 * PAGE, PAGE, false), 0);
	assert_int_equal(quire_mm_fork(mm, NULL, &child), 0);
	assert_string_equal(unit_layout(child), "0-1 rw-p, 2-3 rw-p, 3-4 rw-p, 4-5 rw-p, 5-6 rw-p");
	assert_int_equal(unit_usage(child).locked_vm, 0);
	assert_int_equal(unit_usage(child).total_vm, 5);
	assert_int_equal(unit_get(child, BASE), 1);
	assert_int_equal(user_touch(child, BASE + PAGE, false), QUIRE_SEGV_MAPERR);
	assert_int_equal(unit_get(child, BASE + 3 * PAGE), 0);
	assert_int_equal(unit_get(mm, BASE + 3 * PAGE), 4);
	quire_check_all();
	posix_mm_put(child);
	posix_mm_put(mm);
}

static void special_mappings(void **state)
{
	struct quire_mm *mm = unit_mm(), *child;
	struct page *p = quire_page_alloc(0, GFP_KERNEL | GFP_ZERO);
	struct pfn frame = page_pfn(p);
	struct quire_vma_info i;
	u8 byte = 0x55;

	(void)state;
	memset(page_view(p), 0x33, PAGE);
	assert_int_equal(quire_map_special(mm, BASE, &frame, 1, PROT_READ | PROT_EXEC, "[vdso]"),
			 BASE);
	assert_int_equal(unit_get(mm, BASE), 0x3333333333333333);
	assert_int_equal(user_exec(mm, BASE), 0);
	assert_int_equal(user_touch(mm, BASE, true), QUIRE_SEGV_ACCERR);
	assert_true(quire_mm_vma_at(mm, BASE, &i));
	assert_string_equal(i.name, "[vdso]");
	assert_int_equal(quire_mm_fork(mm, NULL, &child), 0);
	assert_int_equal(unit_get(child, BASE), 0x3333333333333333);
	quire_check_all();
	posix_mm_put(mm);
	posix_mm_put(child);
	assert_int_equal(p->refs, 1);

	/* Code may be written to, and what is written to is a copy. */
	struct pfn two[2] = {frame, frame};
	mm = unit_mm();
	assert_int_equal(quire_map_special(mm, BASE, two, 2, PROT_READ | PROT_EXEC, "[vdso]"),
			 BASE);
	assert_int_equal(quire_munmap(mm, BASE, PAGE), -EINVAL);
	assert_int_equal(quire_munmap(mm, BASE - PAGE, 2 * PAGE), -EINVAL);
	assert_int_equal(quire_mprotect(mm, BASE + PAGE, PAGE, PROT_READ, -1), -EINVAL);
	assert_int_equal(quire_mm_access(mm, BASE + PAGE, &byte, 1, true, true), 1);
	assert_int_equal(quire_mprotect(mm, BASE, 2 * PAGE, PROT_READ | PROT_WRITE, -1), 0);
	quire_check_all();
	assert_int_equal(user_touch(mm, BASE, true), 0);
	assert_int_equal(quire_mm_fork(mm, NULL, &child), 0);
	assert_int_equal(user_touch(child, BASE + 8, true), 0);
	quire_check_all();
	assert_int_equal(unit_get(mm, BASE), 0x3333333333333301);
	assert_int_equal(unit_get(mm, BASE + 8), 0x3333333333333333);
	assert_int_equal(unit_get(mm, BASE + PAGE), 0x3333333333333355);
	assert_int_equal(quire_madvise(mm, BASE, 2 * PAGE, MADV_DONTNEED), 0);
	assert_int_equal(unit_get(mm, BASE), 0x3333333333333333);
	assert_int_equal(quire_mremap(mm, BASE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				      BASE + 64 * PAGE),
			 BASE + 64 * PAGE);
	assert_int_equal(unit_get(mm, BASE + 64 * PAGE), 0x3333333333333333);
	quire_check_all();
	posix_mm_put(mm);
	posix_mm_put(child);

	/* Data may not, and nobody looks in from outside. */
	mm = unit_mm();
	assert_int_equal(quire_map_special(mm, BASE, two, 2, PROT_READ, "[vvar]"), BASE);
	assert_int_equal(quire_mprotect(mm, BASE, 2 * PAGE, PROT_READ | PROT_WRITE, -1), -EACCES);
	assert_int_equal(quire_madvise(mm, BASE, 2 * PAGE, MADV_DONTNEED), -EINVAL);
	assert_int_equal(quire_mm_access(mm, BASE, &byte, 1, false, true), 0);
	posix_mm_put(mm);
	assert_int_equal(p->refs, 1);
	quire_page_put(p);
}

static void overcommit(void **state)
{
	struct quire_mm *mm = unit_mm();
	struct quire_meminfo info;
	u64 committed;
	s64 a;

	(void)state;
	quire_meminfo(&info);
	committed = info.committed;
	assert_int_equal(anon_at(mm, 0, 1UL << 40, RW, 0), -ENOMEM);
	assert_true(anon_at(mm, 0, 1UL << 40, RW, MAP_NORESERVE) > 0);
	quire_sysctl.overcommit_memory = 1;
	assert_true(anon_at(mm, 0, 1UL << 41, RW, 0) > 0);
	quire_sysctl.overcommit_memory = 2;
	assert_int_equal(anon_at(mm, 0, quire_total_pages() * PAGE, RW, 0), -ENOMEM);
	quire_sysctl.overcommit_memory = 0;
	assert_int_equal(quire_munmap(mm, 0, QUIRE_USER_END), 0);
	a = anon_at(mm, 0, 10 * PAGE, RW, 0);
	quire_meminfo(&info);
	assert_int_equal(info.committed, committed + 10);
	assert_int_equal(quire_munmap(mm, (u64)a, 10 * PAGE), 0);
	quire_meminfo(&info);
	assert_int_equal(info.committed, committed);
	posix_mm_put(mm);
}

static void one_mapping_among_many(void **state)
{
	struct quire_mm *mm = unit_mm();

	(void)state;
	for (u64 i = 0; i < 20000; i++)
		unit_anon(mm, 2 * i, 1, RW);
	assert_int_equal(unit_usage(mm).map_count, 20000);
	for (u64 i = 0; i < 20000; i += 97)
		unit_set(mm, BASE + 2 * i * PAGE, i);
	for (u64 i = 0; i < 20000; i += 97)
		assert_int_equal(unit_get(mm, BASE + 2 * i * PAGE), i);
	assert_int_equal(user_touch(mm, BASE + PAGE, false), QUIRE_SEGV_MAPERR);
	posix_mm_put(mm);
}

static const struct CMUnitTest tests[] = {
    UNIT_TEST(mmap_errors),
    UNIT_TEST(mmap_places),
    UNIT_TEST(mmap_replaces),
    UNIT_TEST(mmap_merges),
    UNIT_TEST(mmap_populates),
    UNIT_TEST(mmap_limits),
    UNIT_TEST(map_count_limit),
    UNIT_TEST(min_addr),
    UNIT_TEST(munmap_parts),
    UNIT_TEST(unmapped_pages_are_free_again),
    UNIT_TEST(mprotect_layouts),
    UNIT_TEST(mprotect_errors),
    UNIT_TEST(mprotect_keeps_cow),
    UNIT_TEST(brk_calls),
    UNIT_TEST(mlock_calls),
    UNIT_TEST(fork_copies),
    UNIT_TEST(fork_advice),
    UNIT_TEST(special_mappings),
    UNIT_TEST(no_protection_keys),
    UNIT_TEST(overcommit),
    UNIT_TEST(one_mapping_among_many),
};
UNIT_MAIN(tests)
