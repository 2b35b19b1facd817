/* SPDX-License-Identifier: MIT */
/*
 * Fails each allocation of a scenario in turn: whatever the call says then, the
 * state is whole, nothing leaks, and what a failed call promised not to touch is
 * untouched.
 */
#include "unit.h"

/* Set up by begin(), torn down by end(), both without failures. */
static struct quire_mm *mm;
static struct posix_file *file, *shm;
static struct page *spare;

static void begin(void)
{
	mm = unit_mm();
	file = posix_file_new(16 * PAGE, 3);
	shm = posix_shmem_new(16 * PAGE);
	spare = quire_page_alloc(0, GFP_KERNEL | GFP_ZERO);
	unit_anon(mm, 0, 8, RW);
	for (u64 i = 0; i < 8; i++)
		unit_set(mm, BASE + i * PAGE, i + 1);
	unit_map(mm, 20, 4, RW, MAP_SHARED, file, 2);
	unit_map(mm, 30, 4, RW, MAP_PRIVATE, file, 2);
	unit_map(mm, 40, 4, RW, MAP_SHARED, shm, 0);
	user_touch(mm, BASE + 30 * PAGE, true);
	posix_settled_free();
}

static void finish(void)
{
	posix_mm_put(mm);
	posix_file_put(file);
	posix_file_put(shm);
	quire_page_put(spare);
}

/* A scenario returns 0 or the -errno that its failing step gave. */
static s64 new_mapping(void)
{
	s64 a = quire_mmap(mm, BASE + 4 * PAGE, 30 * PAGE, RW, ANON | MAP_FIXED, NULL, 0, 0);

	return a < 0 ? a : 0;
}

static s64 file_mapping(void)
{
	s64 a = quire_mmap(mm, BASE + 2 * PAGE, 2 * PAGE, RW, MAP_SHARED | MAP_FIXED, &file->file,
			   0, MAY_ALL);

	return a < 0 ? a : 0;
}

static s64 unmap_middle(void)
{
	return quire_munmap(mm, BASE + 2 * PAGE, 3 * PAGE);
}

static s64 unmap_many(void)
{
	return quire_munmap(mm, BASE + 2 * PAGE, 30 * PAGE);
}

static s64 protect_middle(void)
{
	return quire_mprotect(mm, BASE + 2 * PAGE, 3 * PAGE, PROT_READ, -1);
}

static s64 move_far(void)
{
	s64 a =
	    quire_mremap(mm, BASE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, 0x7000000000);

	return a < 0 ? a : 0;
}

static s64 grow_moving(void)
{
	s64 a = quire_mremap(mm, BASE, 8 * PAGE, 40 * PAGE, MREMAP_MAYMOVE, 0);

	return a < 0 ? a : 0;
}

static s64 move_part_over(void)
{
	s64 a = quire_mremap(mm, BASE + 2 * PAGE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			     BASE + 31 * PAGE);

	return a < 0 ? a : 0;
}

static s64 fork_and_write(void)
{
	struct quire_mm *child;
	s64 err = quire_mm_fork(mm, NULL, &child);

	if (err)
		return err;
	for (u64 i = 0; i < 8 && !err; i++)
		if (user_touch(child, BASE + i * PAGE + 100, true))
			err = -ENOMEM;
	if (!err)
		assert_int_equal(unit_get(child, BASE + 3 * PAGE), 4);
	posix_mm_put(child);
	return err;
}

static s64 make_mm(void)
{
	struct quire_mm *other;
	int err = quire_mm_create(NULL, &other);

	if (!err)
		posix_mm_put(other);
	return err;
}

static s64 touch(u64 addr, bool write)
{
	enum quire_outcome o = user_touch(mm, addr, write);

	assert_true(o == QUIRE_DONE_MINOR || o == QUIRE_OOM || o == QUIRE_SIGBUS);
	return o ? -ENOMEM : 0;
}

static s64 fault_far(void)
{
	s64 a = quire_mmap(mm, 0x600000000000, PAGE, RW, ANON | MAP_FIXED, NULL, 0, 0);

	return a < 0 ? a : touch((u64)a, true);
}

static s64 fault_file(void)
{
	return touch(BASE + 22 * PAGE, false);
}

static s64 fault_shared_write(void)
{
	return touch(BASE + 22 * PAGE, true);
}

static s64 fault_private_write(void)
{
	return touch(BASE + 32 * PAGE, true);
}

static s64 fault_shmem(void)
{
	return touch(BASE + 41 * PAGE, true);
}

static s64 read_file(void)
{
	u8 buf[100];
	s64 n = posix_file_read(file, 10 * PAGE, buf, 100);

	return n < 0 ? n : 0;
}

static s64 write_file(void)
{
	u8 buf[100] = {0};
	s64 n = posix_file_write(file, 12 * PAGE + 5, buf, 100);

	return n < 0 ? n : 0;
}

static s64 write_shmem(void)
{
	static u8 buf[3 * QUIRE_PAGE_SIZE];
	s64 n = posix_file_write(shm, 8 * PAGE, buf, sizeof(buf));

	return n < 0 ? n : n < (s64)sizeof(buf) ? -ENOMEM : 0;
}

static s64 fill_shmem(void)
{
	return quire_cache_fill(&shm->map, 4 * PAGE, 12 * PAGE);
}

static s64 flush(void)
{
	u8 b = 1;
	s64 n = posix_file_write(file, 0, &b, 1);

	return n < 0 ? n : quire_cache_flush(&file->map, 0, ~0UL);
}

static s64 heap(void)
{
	u64 start = quire_mm_layout(mm)->start_brk;
	s64 end = quire_brk(mm, start + 10 * PAGE);

	if ((u64)end != start + 10 * PAGE)
		return -ENOMEM;
	return touch(start, true);
}

static s64 lock(void)
{
	return quire_mlock(mm, BASE + 3 * PAGE, 2 * PAGE, false);
}

static s64 lock_all(void)
{
	s64 err = quire_mlockall(mm, MCL_CURRENT);

	quire_munlockall(mm);
	return err;
}

static s64 advise(void)
{
	s64 err = quire_madvise(mm, BASE + 3 * PAGE, PAGE, MADV_DONTFORK);

	return err == -EAGAIN ? -ENOMEM : err;
}

static s64 populate(void)
{
	s64 a = quire_mmap(mm, BASE + 50 * PAGE, 20 * PAGE, RW, ANON | MAP_FIXED, NULL, 0, 0);

	if (a < 0)
		return a;
	a = quire_madvise(mm, BASE + 50 * PAGE, 20 * PAGE, MADV_POPULATE_WRITE);
	return a == -EFAULT ? -ENOMEM : a;
}

static s64 stack(void)
{
	s64 a = quire_mmap(mm, BASE + 2000 * PAGE, PAGE, RW, ANON | MAP_FIXED | MAP_GROWSDOWN, NULL,
			   0, 0);

	return a < 0 ? a : touch(BASE + 1000 * PAGE, true);
}

static s64 special(void)
{
	struct pfn frame = page_pfn(spare);
	s64 a = quire_map_special(mm, BASE + 300 * PAGE, &frame, 1, PROT_READ, "[test]");

	return a < 0 ? a : 0;
}

static s64 refs(void)
{
	return quire_mm_clear_refs(mm, 4);
}

static s64 dont_unmap(void)
{
	s64 a = quire_mremap(mm, BASE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);

	return a < 0 ? a : 0;
}

/* whole: a failure of the call leaves everything as it was. */
static const struct scenario {
	const char *name;
	s64 (*run)(void);
	bool whole;
} scenarios[] = {
#define S(f, whole)          \
	{                    \
#f, f, whole \
	}
    S(new_mapping, true),
    S(file_mapping, true),
    S(unmap_middle, true),
    S(unmap_many, true),
    S(protect_middle, true),
    S(move_far, true),
    S(grow_moving, true),
    S(move_part_over, false),
    S(fork_and_write, true),
    S(make_mm, true),
    S(fault_far, false),
    S(fault_file, true),
    S(fault_private_write, true),
    S(fault_shared_write, true),
    S(fault_shmem, true),
    S(read_file, true),
    S(write_file, true),
    S(write_shmem, true),
    S(fill_shmem, true),
    S(flush, true),
    S(heap, false),
    S(lock, false),
    S(lock_all, false),
    S(advise, true),
    S(populate, false),
    S(stack, false),
    S(special, true),
    S(refs, true),
    S(dont_unmap, true),
#undef S
};

static void contents_are_untouched(const char *layout)
{
	if (layout)
		assert_string_equal(unit_layout(mm), layout);
	for (u64 i = 0; layout && i < 8; i++)
		assert_int_equal(unit_get(mm, BASE + i * PAGE), i + 1);
}

static void fail_each(const struct scenario *s)
{
	char layout[2048];
	u64 n, failed = 0;

	for (n = 1;; n++) {
		s64 result;
		u64 counted;

		unit_begin(NULL);
		begin();
		strcpy(layout, unit_layout(mm));
		quire_fail_nth(n);
		result = s->run();
		counted = quire_fail_nth(0);
		if (result && result != -ENOMEM)
			fail_msg("%s, allocation %lu: result %ld", s->name, n, result);
		failed += result != 0;
		quire_check_all();
		if (result && s->whole)
			contents_are_untouched(layout);
		/* What failed works at the next try. */
		if (result && s->run())
			fail_msg("%s, allocation %lu: fails again", s->name, n);
		quire_check_all();
		finish();
		if (unit_end(NULL))
			fail_msg("%s, allocation %lu: leaked", s->name, n);
		if (counted < n)
			break;
		if (n > 500)
			fail_msg("%s: no end of allocations", s->name);
	}
	print_message("  %s: %lu allocations, %lu times the call failed\n", s->name, n - 1, failed);
}

static void every_allocation_may_fail(void **state)
{
	(void)state;
	for (unsigned i = 0; i < quire_array_size(scenarios); i++)
		fail_each(&scenarios[i]);
}

static const struct CMUnitTest tests[] = {
    UNIT_TEST(every_allocation_may_fail),
};
UNIT_MAIN(tests)
