/* SPDX-License-Identifier: MIT */
/* vm/fault: every row of the fault table, and what its record says. */
#include "unit.h"

static struct quire_fault_record *last(void)
{
	return &posix_faults()->last;
}

static void no_region(void **state)
{
	struct quire_mm *mm = unit_mm();

	(void)state;
	assert_int_equal(user_touch(mm, BASE, false), QUIRE_SEGV_MAPERR);
	assert_int_equal(unit_cause(), CAUSE_NO_REGION);
	assert_int_equal(last()->vma_start, 0);
	assert_int_equal(last()->vma_end, 0);
	unit_anon(mm, 0, 1, RW);
	assert_int_equal(user_touch(mm, BASE + PAGE, false), QUIRE_SEGV_MAPERR);
	assert_int_equal(user_touch(mm, BASE - 1, true), QUIRE_SEGV_MAPERR);
	posix_mm_put(mm);
}

static void access_not_allowed(void **state)
{
	struct quire_mm *mm = unit_mm();

	(void)state;
	unit_anon(mm, 0, 1, PROT_READ);
	unit_anon(mm, 1, 1, PROT_NONE);
	unit_anon(mm, 2, 1, PROT_EXEC | PROT_READ);
	assert_int_equal(user_touch(mm, BASE, true), QUIRE_SEGV_ACCERR);
	assert_int_equal(unit_cause(), CAUSE_ACCESS);
	assert_int_equal(last()->vma_start, BASE);
	assert_int_equal(last()->vma_end, BASE + PAGE);
	assert_int_equal(user_touch(mm, BASE, false), 0);
	assert_int_equal(user_touch(mm, BASE, true), QUIRE_SEGV_ACCERR);
	assert_int_equal(last()->access & QUIRE_PRESENT, QUIRE_PRESENT);
	assert_int_equal(user_exec(mm, BASE), QUIRE_SEGV_ACCERR);
	assert_int_equal(user_touch(mm, BASE + PAGE, false), QUIRE_SEGV_ACCERR);
	assert_int_equal(user_touch(mm, BASE + PAGE, true), QUIRE_SEGV_ACCERR);
	assert_int_equal(user_exec(mm, BASE + 2 * PAGE), 0);
	posix_mm_put(mm);
}

static void anon_read_then_write(void **state)
{
	struct quire_mm *mm = unit_mm();
	u64 a = unit_anon(mm, 0, 4, RW);

	(void)state;
	assert_int_equal(unit_get(mm, a), 0);
	assert_int_equal(unit_cause(), CAUSE_ANON_ZERO);
	assert_int_equal(last()->outcome, QUIRE_DONE_MINOR);
	assert_int_equal(last()->before.v, 0);
	assert_true(last()->after.v & 1);
	assert_false(last()->after.v & 2);
	assert_int_equal(unit_usage(mm).rss_anon, 0);
	unit_set(mm, a, 77);
	assert_int_equal(unit_cause(), CAUSE_COW_ZERO);
	assert_int_equal(unit_usage(mm).rss_anon, 1);
	assert_int_equal(unit_get(mm, a), 77);
	assert_int_equal(unit_get(mm, a + 8), 0);
	assert_int_equal(posix_faults()->taken, 2);
	unit_set(mm, a + PAGE, 78);
	assert_int_equal(unit_cause(), CAUSE_ANON_WRITE);
	assert_int_equal(last()->brought, 1);
	assert_int_equal(last()->pgoff, a / PAGE + 1);
	assert_int_equal(last()->address, a + PAGE);
	assert_int_equal(last()->ip, 0x400000);
	assert_int_equal(last()->vma_flags & (VM_READ | VM_WRITE | VM_EXEC | VM_SHARED),
			 VM_READ | VM_WRITE);
	quire_check_all();
	posix_mm_put(mm);
}

/* A written page comes with accessed and dirty set: the MMU has nothing to do. */
static void bits_are_set_beforehand(void **state)
{
	struct quire_mm *mm = unit_mm();
	u64 a = unit_anon(mm, 0, 1, RW);

	(void)state;
	user_touch(mm, a, true);
	assert_int_equal(last()->after.v & 0x67, 0x67);
	posix_mm_put(mm);
}

static void cow_copy_and_reuse(void **state)
{
	struct quire_mm *mm = unit_mm(), *child;
	u64 a = unit_anon(mm, 0, 2, RW);

	(void)state;
	unit_set(mm, a, 1);
	assert_int_equal(quire_mm_fork(mm, NULL, &child), 0);
	assert_int_equal(unit_get(child, a), 1);
	unit_set(child, a, 2);
	assert_int_equal(unit_cause(), CAUSE_COW_COPY);
	assert_int_equal(unit_get(mm, a), 1);
	quire_check_all();
	/* Nobody shares the parent's page any more. */
	unit_set(mm, a, 3);
	assert_int_equal(unit_cause(), CAUSE_COW_REUSE);
	assert_int_equal(unit_get(child, a), 2);
	assert_int_equal(unit_get(mm, a), 3);
	posix_mm_put(child);
	quire_check_all();
	posix_mm_put(mm);
}

static void last_sharer_reuses(void **state)
{
	struct quire_mm *mm = unit_mm(), *child;
	u64 a = unit_anon(mm, 0, 1, RW);

	(void)state;
	unit_set(mm, a, 1);
	assert_int_equal(quire_mm_fork(mm, NULL, &child), 0);
	posix_mm_put(mm);
	unit_set(child, a, 2);
	assert_int_equal(unit_cause(), CAUSE_COW_REUSE);
	posix_mm_put(child);
}

static void file_major_and_minor(void **state)
{
	struct posix_file *f = posix_file_new(64 * PAGE, 3);
	struct quire_mm *mm = unit_mm();
	u64 a = unit_map(mm, 0, 64, PROT_READ, MAP_PRIVATE, f, 0);
	u8 b;

	(void)state;
	assert_int_equal(user_read(mm, a + 5, &b, 1), 0);
	assert_int_equal(b, posix_pattern(3, 5));
	assert_int_equal(unit_cause(), CAUSE_FILE_READ);
	assert_int_equal(last()->outcome, QUIRE_DONE_MAJOR);
	assert_int_equal(posix_faults()->major, 1);
	assert_true(unit_usage(mm).rss_file >= 1);
	quire_check_all();
	for (u64 i = 0; i < 64; i++) {
		assert_int_equal(user_read(mm, a + i * PAGE + i, &b, 1), 0);
		assert_int_equal(b, posix_pattern(3, i * PAGE + i));
	}
	assert_int_equal(unit_usage(mm).rss_file, 64);
	/* Readahead and fault-around: far fewer faults than pages. */
	assert_true(posix_faults()->taken <= 32);
	assert_int_equal(quire_munmap(mm, a, 64 * PAGE), 0);
	unit_map(mm, 0, 64, PROT_READ, MAP_PRIVATE, f, 0);
	memset(posix_faults(), 0, sizeof(struct posix_faults));
	assert_int_equal(user_touch(mm, a + 20 * PAGE, false), 0);
	assert_int_equal(unit_cause(), CAUSE_FILE_MAP);
	assert_int_equal(posix_faults()->major, 0);
	assert_int_equal(last()->brought, quire_sysctl.fault_around_pages);
	assert_int_equal(unit_usage(mm).rss_file, quire_sysctl.fault_around_pages);
	quire_check_all();
	posix_mm_put(mm);
	posix_file_put(f);
}

static void file_private_write(void **state)
{
	struct posix_file *f = posix_file_new(4 * PAGE, 9);
	struct quire_mm *mm = unit_mm();
	u64 a = unit_map(mm, 0, 4, RW, MAP_PRIVATE, f, 0);
	u8 b;

	(void)state;
	b = 1;
	assert_int_equal(user_write(mm, a + 100, &b, 1), 0);
	assert_int_equal(unit_cause(), CAUSE_FILE_COW);
	assert_int_equal(unit_usage(mm).rss_anon, 1);
	assert_int_equal(user_read(mm, a + 101, &b, 1), 0);
	assert_int_equal(b, posix_pattern(9, 101));
	assert_int_equal(posix_file_read(f, 100, &b, 1), 1);
	assert_int_equal(b, posix_pattern(9, 100));
	/* A page that is mapped for reading already is copied at the write. */
	assert_int_equal(user_touch(mm, a + PAGE, false), 0);
	assert_int_equal(user_touch(mm, a + PAGE, true), 0);
	assert_true(unit_cause() == CAUSE_FILE_COW || unit_cause() == CAUSE_COW_COPY);
	assert_int_equal(posix_file_read(f, PAGE, &b, 1), 1);
	assert_int_equal(b, posix_pattern(9, PAGE));
	quire_check_all();
	posix_mm_put(mm);
	posix_file_put(f);
}

static void file_shared_write(void **state)
{
	struct posix_file *f = posix_file_new(4 * PAGE, 9);
	struct quire_mm *mm = unit_mm(), *other = unit_mm();
	u64 a = unit_map(mm, 0, 4, RW, MAP_SHARED, f, 0);
	u8 b;

	(void)state;
	unit_map(other, 0, 4, PROT_READ, MAP_SHARED, f, 0);
	assert_int_equal(user_touch(mm, a, false), 0);
	b = 42;
	assert_int_equal(user_write(mm, a, &b, 1), 0);
	assert_int_equal(unit_cause(), CAUSE_SHARED_DIRTY);
	assert_int_equal(f->dirtied, 1);
	b = 0;
	assert_int_equal(user_read(other, a, &b, 1), 0);
	assert_int_equal(b, 42);
	assert_int_equal(posix_file_read(f, 0, &b, 1), 1);
	assert_int_equal(b, 42);
	assert_int_equal(f->data[0], posix_pattern(9, 0));
	assert_int_equal(quire_msync(mm, a, 4 * PAGE, MS_SYNC), 0);
	assert_int_equal(f->data[0], 42);
	assert_int_equal(f->pages_written, 1);
	/* Clean again: the next write faults again, and is written again. */
	b = 43;
	assert_int_equal(user_write(mm, a, &b, 1), 0);
	assert_int_equal(unit_cause(), CAUSE_SHARED_DIRTY);
	assert_int_equal(quire_cache_flush(&f->map, 0, ~0UL), 0);
	assert_int_equal(f->data[0], 43);
	quire_check_all();
	posix_mm_put(mm);
	posix_mm_put(other);
	posix_file_put(f);
}

static void beyond_the_end(void **state)
{
	struct posix_file *f = posix_file_new(PAGE + 10, 5);
	struct quire_mm *mm = unit_mm();
	u64 a = unit_map(mm, 0, 4, RW, MAP_SHARED, f, 0);
	u8 b;

	(void)state;
	assert_int_equal(user_read(mm, a + PAGE + 10, &b, 1), 0);
	assert_int_equal(b, 0);
	assert_int_equal(user_touch(mm, a + 2 * PAGE, false), QUIRE_SIGBUS);
	assert_int_equal(unit_cause(), CAUSE_FILE_EOF);
	assert_int_equal(user_touch(mm, a + 2 * PAGE, true), QUIRE_SIGBUS);
	posix_file_truncate(f, 3 * PAGE);
	assert_int_equal(user_touch(mm, a + 2 * PAGE, false), 0);
	posix_mm_put(mm);
	posix_file_put(f);
}

static void read_errors(void **state)
{
	struct posix_file *f = posix_file_new(4 * PAGE, 5);
	struct quire_mm *mm = unit_mm();
	u64 a = unit_map(mm, 0, 4, PROT_READ, MAP_PRIVATE, f, 0);

	(void)state;
	f->fail_reads = 1000;
	assert_int_equal(user_touch(mm, a, false), QUIRE_SIGBUS);
	assert_int_equal(unit_cause(), CAUSE_FILE_IO);
	f->fail_reads = 0;
	assert_int_equal(user_touch(mm, a, false), 0);
	posix_mm_put(mm);
	posix_file_put(f);
}

static void shmem(void **state)
{
	struct posix_file *f = posix_shmem_new(4 * PAGE);
	struct quire_mm *mm = unit_mm(), *child;
	u64 a = unit_map(mm, 0, 4, RW, MAP_SHARED, f, 0);

	(void)state;
	unit_set(mm, a, 5);
	assert_int_equal(unit_usage(mm).rss_shmem, 1);
	assert_int_equal(quire_mm_fork(mm, NULL, &child), 0);
	assert_int_equal(unit_get(child, a), 5);
	unit_set(child, a, 6);
	assert_int_equal(unit_get(mm, a), 6);
	unit_set(child, a + PAGE, 7);
	assert_int_equal(unit_get(mm, a + PAGE), 7);
	quire_check_all();
	posix_mm_put(mm);
	posix_mm_put(child);
	posix_file_put(f);
}

static void stack(void **state)
{
	struct quire_mm *mm = unit_mm();
	u64 top = BASE + 4096 * PAGE, guard = quire_sysctl.stack_guard_gap * PAGE, a;

	(void)state;
	posix_limits.stack = 600 * PAGE;
	a = top - 4 * PAGE;
	assert_int_equal(quire_mmap(mm, a, 4 * PAGE, RW,
				    ANON | MAP_FIXED | MAP_GROWSDOWN | MAP_STACK, NULL, 0, 0),
			 (s64)a);
	assert_int_equal(user_touch(mm, a - 1, true), 0);
	assert_int_equal(unit_cause(), CAUSE_STACK_GROWTH);
	assert_int_equal(last()->grown, 1);
	assert_int_equal(user_touch(mm, a - 100 * PAGE, true), 0);
	assert_int_equal(last()->grown, 99);
	assert_int_equal(unit_usage(mm).total_vm, 104);
	quire_check_all();
	/* Not past the limit, and not near a neighbour. */
	assert_int_equal(user_touch(mm, top - 601 * PAGE, true), QUIRE_SEGV_MAPERR);
	assert_int_equal(unit_cause(), CAUSE_STACK_LIMIT);
	assert_int_equal(user_touch(mm, top - 600 * PAGE, true), 0);
	posix_limits.stack = ~0UL;
	a = quire_mmap(mm, top - 1000 * PAGE - guard, PAGE, RW, ANON | MAP_FIXED, NULL, 0, 0);
	assert_int_equal(user_touch(mm, a + PAGE + guard - 1, true), QUIRE_SEGV_MAPERR);
	assert_int_equal(user_touch(mm, a + PAGE + guard, true), 0);
	quire_check_all();
	posix_mm_put(mm);
}

static void spurious(void **state)
{
	struct quire_mm *mm = unit_mm();
	struct quire_fault_record rec;
	u64 a = unit_anon(mm, 0, 1, RW);

	(void)state;
	unit_set(mm, a, 1);
	assert_int_equal(quire_fault(mm, a, QUIRE_USER | QUIRE_WRITE | QUIRE_PRESENT, 0, &rec),
			 QUIRE_DONE_MINOR);
	assert_int_equal(rec.cause, CAUSE_SPURIOUS);
	posix_mm_put(mm);
}

static void no_memory(void **state)
{
	struct quire_mm *mm = unit_mm();
	u64 a = unit_anon(mm, 0, 2, RW), free;

	(void)state;
	free = quire_free_pages();
	for (u64 n = 1;; n++) {
		enum quire_outcome o;

		quire_fail_nth(n);
		o = user_touch(mm, a, true);
		quire_fail_nth(0);
		quire_check_all();
		if (o == QUIRE_DONE_MINOR)
			break;
		assert_int_equal(o, QUIRE_OOM);
		assert_int_equal(unit_cause(), CAUSE_NO_MEMORY);
		assert_true(n < 20);
	}
	assert_true(free > quire_free_pages());
	posix_mm_put(mm);
}

static void killed(void **state)
{
	struct posix_file *f = posix_file_new(4 * PAGE, 5);
	struct quire_mm *mm = unit_mm();
	u64 a = unit_anon(mm, 0, 1000, RW);

	(void)state;
	posix_set_killed(true);
	assert_int_equal(quire_madvise(mm, a, 1000 * PAGE, MADV_POPULATE_WRITE), -EINTR);
	posix_set_killed(false);
	assert_int_equal(quire_madvise(mm, a, 1000 * PAGE, MADV_POPULATE_WRITE), 0);
	assert_int_equal(unit_usage(mm).rss_anon, 1000);
	posix_mm_put(mm);
	posix_file_put(f);
}

static void totals_follow_the_records(void **state)
{
	struct quire_fault_totals before, after;
	struct quire_mm *mm = unit_mm();
	u64 a = unit_anon(mm, 0, 10, RW);
	u64 events = quire_event_total(QUIRE_EV_PGFAULT);

	(void)state;
	quire_fault_totals(&before);
	for (unsigned i = 0; i < 10; i++)
		unit_set(mm, a + i * PAGE, i);
	user_touch(mm, a - 1, false);
	quire_fault_totals(&after);
	assert_int_equal(after.count[CAUSE_ANON_WRITE] - before.count[CAUSE_ANON_WRITE], 10);
	assert_int_equal(after.brought[CAUSE_ANON_WRITE] - before.brought[CAUSE_ANON_WRITE], 10);
	assert_int_equal(after.count[CAUSE_NO_REGION] - before.count[CAUSE_NO_REGION], 1);
	assert_int_equal(after.outcome[QUIRE_DONE_MINOR] - before.outcome[QUIRE_DONE_MINOR], 10);
	assert_int_equal(after.outcome[QUIRE_SEGV_MAPERR] - before.outcome[QUIRE_SEGV_MAPERR], 1);
	assert_true(quire_event_total(QUIRE_EV_PGFAULT) >= events + 10);
	posix_mm_put(mm);
}

static void names(void **state)
{
	(void)state;
	for (unsigned i = 0; i < QUIRE_CAUSE_COUNT; i++) {
		assert_non_null(quire_cause_name[i]);
		assert_non_null(quire_cause_text[i]);
	}
	for (unsigned i = 0; i < QUIRE_OUTCOMES; i++)
		assert_non_null(quire_outcome_name[i]);
}

/* ---- lazily mapped kernel ranges ----------------------------------------------------------- */

static void kernel_areas(void **state)
{
	u64 a, b;
	u8 byte = 1;

	(void)state;
	quire_kernel_reserve_fill();
	assert_false(quire_kernel_reserve_low());
	a = quire_kernel_area_alloc(8);
	b = quire_kernel_area_alloc(8);
	assert_true(a && b && a != b);
	assert_true(quire_kernel_guard(a - 1));
	assert_true(quire_kernel_guard(b - PAGE));
	assert_false(quire_kernel_guard(a));
	assert_false(kernel_poke(a - 1, 1));
	assert_true(kernel_peek(a, &byte));
	assert_int_equal(byte, 0);
	assert_true(kernel_poke(a + 7 * PAGE, 9));
	assert_true(kernel_poke(b, 8));
	assert_true(kernel_peek(a + 7 * PAGE, &byte));
	assert_int_equal(byte, 9);
	for (unsigned i = 0; i < 8; i++) {
		quire_kernel_reserve_fill();
		assert_true(kernel_poke(b + i * PAGE + 5, (u8)i));
	}
	quire_kernel_area_free(a, 8);
	assert_false(kernel_poke(a, 1));
	assert_true(kernel_peek(b + 3 * PAGE + 5, &byte));
	assert_int_equal(byte, 3);
	quire_kernel_area_free(b, 8);
}

static void kernel_area_churn(void **state)
{
	u64 area[40] = {0}, x = 5;

	(void)state;
	for (unsigned n = 0; n < 2000; n++) {
		unsigned k;
		u8 byte;

		x = x * 6364136223846793005u + 1442695040888963407u;
		k = (x >> 33) % 40;
		quire_kernel_reserve_fill();
		if (!area[k]) {
			area[k] = quire_kernel_area_alloc(4);
			assert_true(area[k]);
			assert_true(kernel_peek(area[k] + 3 * PAGE, &byte));
			assert_int_equal(byte, 0);
			assert_true(kernel_poke(area[k] + 3 * PAGE, (u8)(k + 1)));
		} else {
			assert_true(kernel_peek(area[k] + 3 * PAGE, &byte));
			assert_int_equal(byte, k + 1);
			quire_kernel_area_free(area[k], 4);
			area[k] = 0;
		}
	}
	for (unsigned k = 0; k < 40; k++)
		if (area[k])
			quire_kernel_area_free(area[k], 4);
}

/* The range is built before any address space copies the kernel's half. */
static int boot(void **state)
{
	u64 start = 0xffffc90000000000, warm[3];

	(void)state;
	posix_boot(NULL);
	if (quire_kernel_range_init(posix_kernel_root(), start, start + (1UL << 30)))
		return -1;
	quire_kernel_reserve_fill();
	for (unsigned i = 0; i < 3; i++)
		warm[i] = quire_kernel_area_alloc(8);
	for (unsigned i = 0; i < 3; i++)
		quire_kernel_area_free(warm[i], 8);
	quire_kernel_reserve_fill();
	return 0;
}

static int begin(void **state)
{
	quire_kernel_reserve_fill();
	return unit_begin(state);
}

static int end(void **state)
{
	quire_kernel_reserve_fill();
	return unit_end(state);
}
#undef UNIT_TEST
#define UNIT_TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

static const struct CMUnitTest tests[] = {
    UNIT_TEST(no_region),
    UNIT_TEST(access_not_allowed),
    UNIT_TEST(anon_read_then_write),
    UNIT_TEST(bits_are_set_beforehand),
    UNIT_TEST(cow_copy_and_reuse),
    UNIT_TEST(last_sharer_reuses),
    UNIT_TEST(file_major_and_minor),
    UNIT_TEST(file_private_write),
    UNIT_TEST(file_shared_write),
    UNIT_TEST(beyond_the_end),
    UNIT_TEST(read_errors),
    UNIT_TEST(shmem),
    UNIT_TEST(stack),
    UNIT_TEST(spurious),
    UNIT_TEST(no_memory),
    UNIT_TEST(killed),
    UNIT_TEST(totals_follow_the_records),
    UNIT_TEST(names),
    UNIT_TEST(kernel_areas),
    UNIT_TEST(kernel_area_churn),
};
UNIT_MAIN_BOOT(tests, boot)
