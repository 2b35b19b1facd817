/* SPDX-License-Identifier: MIT */
/*
 * What waits for what: one thread stops in the middle of something, at a gate that
 * another opens only after it has done all that must not wait for the first.  Where
 * something waits after all, the test hangs until its time is over.
 */
#include "../../vm/mm/mm.h"
#include "unit.h"

static struct quire_mm *mm;
static struct posix_file *file;
static u32 at_gate, gate_open;

/* An idle CPU holds up no grace period. */
static void wait_for(const u32 *what)
{
	while (!__atomic_load_n(what, __ATOMIC_ACQUIRE))
		posix_quiescent();
}

static void stop_at_gate(struct posix_file *f)
{
	(void)f;
	__atomic_store_n(&at_gate, 1, __ATOMIC_RELEASE);
	wait_for(&gate_open);
}

static void open_gate(void)
{
	__atomic_store_n(&gate_open, 1, __ATOMIC_RELEASE);
}

/* A fault that must find its way without mmap_lock and at the first try. */
static void fault_at_once(u64 addr, bool write, int cause)
{
	assert_int_equal(user_touch(mm, addr, write), 0);
	assert_int_equal(unit_cause(), cause);
	assert_int_equal(posix_faults()->last.retries, 0);
}

static void setup(void)
{
	at_gate = gate_open = 0;
	mm = unit_mm();
	file = posix_file_new(64 * PAGE, 3);
}

static void cleanup(void)
{
	posix_file_put(file);
	posix_mm_put(mm);
}

/* ---- a fault that reads a file for long ------------------------------------------------- */

static void slow_read(void *arg, unsigned i)
{
	u64 slow = *(u64 *)arg;

	if (i == 0) {
		assert_int_equal(user_touch(mm, slow, false), 0);
		return;
	}
	wait_for(&at_gate);
	/* Faults elsewhere, in the same table as the one that waits and in others. */
	fault_at_once(slow - 32 * PAGE, true, CAUSE_ANON_WRITE);
	fault_at_once(BASE + 4096 * PAGE, false, CAUSE_ANON_ZERO);
	fault_at_once(BASE + 4096 * PAGE, true, CAUSE_COW_ZERO);
	/* New mappings, other permissions, and the end of them. */
	for (u64 k = 0; k < 50; k++) {
		u64 a = unit_anon(mm, 8192 + 3 * k, 2, RW);

		fault_at_once(a, true, CAUSE_ANON_WRITE);
		assert_int_equal(quire_mprotect(mm, a, PAGE, PROT_READ, -1), 0);
		assert_int_equal(quire_munmap(mm, a, 2 * PAGE), 0);
	}
	/* And of what lies right beside it. */
	assert_int_equal(quire_munmap(mm, slow - 32 * PAGE, 32 * PAGE), 0);
	open_gate();
}

static void slow_read_stops_nobody_else(void **state)
{
	u64 slow;

	(void)state;
	setup();
	unit_anon(mm, 0, 32, RW);
	unit_anon(mm, 4096, 32, RW);
	slow = unit_map(mm, 32, 64, PROT_READ, MAP_PRIVATE, file, 0);
	file->on_read = stop_at_gate;
	posix_parallel(2, slow_read, &slow);
	cleanup();
}

/* ---- a system call that holds mmap_lock for long ---------------------------------------- */

static void long_hold(void *arg, unsigned i) NO_TSA
{
	u64 seen = *(u64 *)arg;

	if (i == 0) {
		write_lock(&mm->mmap_lock);
		stop_at_gate(NULL);
		write_unlock(&mm->mmap_lock);
		return;
	}
	wait_for(&at_gate);
	fault_at_once(BASE, true, CAUSE_ANON_WRITE);
	fault_at_once(BASE + PAGE, false, CAUSE_ANON_ZERO);
	fault_at_once(BASE + PAGE, true, CAUSE_COW_ZERO);
	fault_at_once(BASE + 2048 * PAGE, true, CAUSE_ANON_WRITE); /* makes tables */
	fault_at_once(seen, false, CAUSE_FILE_MAP);
	fault_at_once(seen + PAGE, true, CAUSE_FILE_COW);
	open_gate();
}

static void faults_need_no_mmap_lock(void **state)
{
	u64 seen;

	(void)state;
	setup();
	unit_anon(mm, 0, 2, RW);
	unit_anon(mm, 2048, 2, RW);
	seen = unit_map(mm, 512, 64, RW, MAP_PRIVATE, file, 0);
	assert_int_equal(user_touch(mm, seen, false), 0);
	assert_int_equal(quire_madvise(mm, seen, 64 * PAGE, MADV_DONTNEED), 0);
	posix_parallel(2, long_hold, &seen);
	cleanup();
}

/* ---- changes of disjoint ranges --------------------------------------------------------- */

#define ROUNDS 300

/* Thread 0 maps, protects and unmaps; the others fault in regions of their own. */
static void disjoint(void *arg, unsigned i)
{
	u64 *slow = arg;
	u64 own = BASE + (i * 4096) * PAGE;

	for (unsigned n = 0; n < ROUNDS; n++) {
		posix_quiescent();
		if (i == 0) {
			u64 a = unit_anon(mm, 100, 64, RW);

			assert_int_equal(user_touch(mm, a, true), 0);
			assert_int_equal(quire_mprotect(mm, a + PAGE, PAGE, PROT_READ, -1), 0);
			assert_int_equal(quire_munmap(mm, a, 64 * PAGE), 0);
			continue;
		}
		for (u64 k = 0; k < 16; k++) {
			assert_int_equal(user_touch(mm, own + k * PAGE, true), 0);
			__atomic_add_fetch(slow, posix_faults()->last.retries, __ATOMIC_RELAXED);
		}
		quire_madvise(mm, own, 16 * PAGE, MADV_DONTNEED);
	}
}

static void disjoint_changes_stop_no_fault(void **state)
{
	u64 slow = 0;

	(void)state;
	setup();
	for (u64 i = 1; i < 3; i++) {
		unit_anon(mm, i * 4096, 16, RW);
		assert_int_equal(user_touch(mm, BASE + i * 4096 * PAGE, true), 0);
	}
	posix_parallel(3, disjoint, &slow);
	/* A look-up that meets a node while it changes is made again; that is rare. */
	assert_true(slow <= ROUNDS * 2 * 16 / 100);
	cleanup();
}

static const struct CMUnitTest tests[] = {
    UNIT_TEST(slow_read_stops_nobody_else),
    UNIT_TEST(faults_need_no_mmap_lock),
    UNIT_TEST(disjoint_changes_stop_no_fault),
};
UNIT_MAIN(tests)
