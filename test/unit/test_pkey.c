/* SPDX-License-Identifier: MIT */
/* Protection keys: vm/mm/pkey.c, and what faults and accesses make of them. */
#include "unit.h"

static unsigned key_of(struct quire_mm *mm, u64 addr)
{
	struct quire_vma_info i;

	assert_true(quire_mm_vma_at(mm, addr, &i));
	if (i.file)
		i.file->ops->put(i.file);
	return i.flags >> VM_PKEY_SHIFT & 15;
}

static void rights(unsigned key, unsigned r)
{
	posix_set_pkru((posix_pkru() & ~(3u << 2 * key)) | r << 2 * key);
}

static void give_out(void **state)
{
	struct quire_mm *mm = unit_mm();

	(void)state;
	assert_int_equal(quire_pkey_alloc(mm, 1, 0), -EINVAL);
	assert_int_equal(quire_pkey_alloc(mm, 0, 4), -EINVAL);
	for (int i = 1; i < 16; i++) {
		assert_int_equal(quire_pkey_alloc(mm, 0, (u64)i & 3), i);
		assert_int_equal(posix_pkru() >> 2 * i & 3, i & 3);
	}
	assert_int_equal(quire_pkey_alloc(mm, 0, 0), -ENOSPC);
	assert_int_equal(quire_pkey_free(mm, 16), -EINVAL);
	assert_int_equal(quire_pkey_free(mm, -1), -EINVAL);
	assert_int_equal(quire_pkey_free(mm, 7), 0);
	assert_int_equal(quire_pkey_free(mm, 7), -EINVAL);
	assert_int_equal(quire_pkey_free(mm, 0), 0);
	assert_int_equal(quire_pkey_alloc(mm, 0, 0), 0);
	assert_int_equal(quire_pkey_alloc(mm, 0, 3), 7);
	posix_mm_put(mm);
}

static void protect(void **state)
{
	struct quire_mm *mm = unit_mm();
	u64 a = unit_anon(mm, 0, 6, RW);
	int key;

	(void)state;
	for (u64 i = 0; i < 6; i++)
		unit_set(mm, a + i * PAGE, i);
	assert_int_equal(quire_mprotect(mm, a, PAGE, RW, 1), -EINVAL);
	assert_int_equal(quire_mprotect(mm, a, 0, RW, 99), 0);
	key = (int)quire_pkey_alloc(mm, 0, 0);
	assert_int_equal(quire_mprotect(mm, a, 0, RW, key), 0);
	assert_int_equal(quire_mprotect(mm, a + PAGE, 2 * PAGE, RW, key), 0);
	quire_check_mm(mm);
	assert_string_equal(unit_layout(mm), "0-1 rw-p, 1-3 rw-p, 3-6 rw-p");
	assert_int_equal(key_of(mm, a + PAGE), key);
	/* mprotect(2) keeps it. */
	assert_int_equal(quire_mprotect(mm, a, 2 * PAGE, PROT_READ, -1), 0);
	assert_string_equal(unit_layout(mm), "0-1 r--p, 1-2 r--p, 2-3 rw-p, 3-6 rw-p");
	assert_int_equal(quire_mprotect(mm, a, 6 * PAGE, RW, 0), 0);
	assert_string_equal(unit_layout(mm), "0-6 rw-p");
	for (u64 i = 0; i < 6; i++)
		assert_int_equal(unit_get(mm, a + i * PAGE), i);
	assert_int_equal(quire_pkey_free(mm, key), 0);
	assert_int_equal(quire_mprotect(mm, a, PAGE, RW, key), -EINVAL);
	posix_mm_put(mm);
}

static void refused(void **state)
{
	struct quire_mm *mm = unit_mm();
	u64 a = unit_anon(mm, 0, 4, RW);
	unsigned key = (unsigned)quire_pkey_alloc(mm, 0, 0);
	struct quire_fault_record *last = &posix_faults()->last;

	(void)state;
	unit_set(mm, a, 1);
	assert_int_equal(quire_mprotect(mm, a, 4 * PAGE, RW, (int)key), 0);
	rights(key, PKEY_DISABLE_WRITE);
	assert_int_equal(user_touch(mm, a, true), QUIRE_SEGV_PKUERR);
	assert_int_equal(unit_cause(), CAUSE_PKEY);
	assert_int_equal(last->access & QUIRE_PKEY, QUIRE_PKEY);
	assert_int_equal(last->vma_flags >> VM_PKEY_SHIFT, key);
	assert_int_equal(unit_get(mm, a), 1);
	/* What isn't there is refused before it is brought in. */
	assert_int_equal(user_touch(mm, a + PAGE, true), QUIRE_SEGV_PKUERR);
	assert_int_equal(last->access & (QUIRE_PKEY | QUIRE_PRESENT), 0);
	assert_int_equal(user_touch(mm, a + PAGE, false), 0);
	rights(key, PKEY_DISABLE_ACCESS);
	assert_int_equal(user_touch(mm, a, false), QUIRE_SEGV_PKUERR);
	assert_int_equal(user_touch(mm, a + 2 * PAGE, false), QUIRE_SEGV_PKUERR);
	assert_int_equal(unit_usage(mm).rss_anon, 1);
	rights(key, 0);
	assert_int_equal(user_touch(mm, a + PAGE, true), 0);
	/* A copy-on-write page keeps its key. */
	struct quire_mm *child;
	assert_int_equal(quire_mm_fork(mm, NULL, &child), 0);
	assert_int_equal(quire_pkey_alloc(child, 0, 0), key + 1);
	unit_set(child, a, 2);
	rights(key, PKEY_DISABLE_ACCESS);
	assert_int_equal(user_touch(child, a, false), QUIRE_SEGV_PKUERR);
	quire_check_all();
	posix_mm_put(child);
	/* Key 0 has rights, too. */
	u64 b = unit_anon(mm, 8, 1, RW);
	rights(0, PKEY_DISABLE_WRITE);
	assert_int_equal(user_touch(mm, b, true), QUIRE_SEGV_PKUERR);
	assert_int_equal(last->access & QUIRE_PRESENT, 0);
	assert_int_equal(user_touch(mm, b, false), 0);
	assert_int_equal(user_touch(mm, b, true), QUIRE_SEGV_PKUERR);
	rights(0, 0);
	posix_mm_put(mm);
}

static void execute_only(void **state)
{
	struct quire_mm *mm = unit_mm();
	u64 a = unit_anon(mm, 0, 2, RW), b;
	unsigned key;

	(void)state;
	unit_set(mm, a, 1);
	posix_set_pkru(0);
	assert_int_equal(quire_mprotect(mm, a, PAGE, PROT_EXEC, -1), 0);
	key = key_of(mm, a);
	assert_int_equal(key, 1);
	assert_int_equal(posix_pkru(), PKEY_DISABLE_ACCESS << 2);
	assert_int_equal(user_exec(mm, a), 0);
	assert_int_equal(user_touch(mm, a, false), QUIRE_SEGV_PKUERR);
	assert_int_equal(quire_pkey_free(mm, (int)key), -EINVAL);
	assert_int_equal(quire_mprotect(mm, a, PAGE, PROT_EXEC, (int)key), -EINVAL);
	posix_set_pkru(0);
	b = unit_anon(mm, 4, 1, PROT_EXEC);
	assert_int_equal(key_of(mm, b), key);
	assert_int_equal(posix_pkru(), PKEY_DISABLE_ACCESS << 2);
	assert_int_equal(quire_mprotect(mm, a, PAGE, RW, -1), 0);
	assert_string_equal(unit_layout(mm), "0-2 rw-p, 4-5 --xp");
	assert_int_equal(key_of(mm, a), 0);
	assert_int_equal(unit_get(mm, a), 1);
	/* Write access as well: not execute-only. */
	b = unit_anon(mm, 4, 1, PROT_EXEC | PROT_WRITE);
	assert_int_equal(key_of(mm, b), 0);
	/* No key is left for it. */
	struct quire_mm *other = unit_mm();
	for (int i = 1; i < 16; i++)
		assert_int_equal(quire_pkey_alloc(other, 0, 0), i);
	a = unit_anon(other, 0, 1, PROT_EXEC);
	assert_int_equal(key_of(other, a), 0);
	assert_int_equal(user_touch(other, a, false), 0);
	posix_mm_put(other);
	posix_mm_put(mm);
}

static void own_and_foreign(void **state)
{
	struct quire_mm *mm = unit_mm();
	u64 a = unit_anon(mm, 0, 4, RW), x = 5, futex[3];
	unsigned key = (unsigned)quire_pkey_alloc(mm, 0, 0);
	u8 vec[4];

	(void)state;
	assert_int_equal(quire_mprotect(mm, a, 4 * PAGE, RW, (int)key), 0);
	rights(key, PKEY_DISABLE_WRITE);
	assert_int_equal(quire_madvise(mm, a, PAGE, MADV_POPULATE_WRITE), -EINVAL);
	assert_int_equal(quire_mm_futex_key(mm, a, true, false, futex), -EFAULT);
	rights(key, PKEY_DISABLE_ACCESS);
	assert_int_equal(quire_madvise(mm, a, PAGE, MADV_POPULATE_READ), -EINVAL);
	assert_int_equal(quire_mlock(mm, a, 4 * PAGE, false), -ENOMEM);
	assert_int_equal(quire_mincore(mm, a, 4, vec), 4);
	assert_int_equal(vec[0], 1); /* zeros, which the look at the futex brought in */
	assert_int_equal(vec[1] | vec[2] | vec[3], 0);
	assert_int_equal(quire_mm_access(mm, a + PAGE, &x, sizeof(x), true, false), sizeof(x));
	x = 0;
	assert_int_equal(quire_mm_access(mm, a + PAGE, &x, sizeof(x), false, false), sizeof(x));
	assert_int_equal(x, 5);
	/* What is there isn't passed over, either. */
	assert_int_equal(quire_mlock(mm, a + PAGE, PAGE, false), -ENOMEM);
	rights(key, 0);
	assert_int_equal(quire_mm_futex_key(mm, a, true, false, futex), 0);
	assert_int_equal(quire_mlock(mm, a, 4 * PAGE, false), 0);
	assert_int_equal(quire_mincore(mm, a, 4, vec), 4);
	assert_int_equal(vec[0] & vec[1] & vec[2] & vec[3], 1);
	posix_mm_put(mm);
}

static int boot(void **state)
{
	(void)state;
	return unit_boot_with(&(struct posix_config){.pkeys = true});
}

static const struct CMUnitTest tests[] = {
    UNIT_TEST(give_out),     UNIT_TEST(protect),         UNIT_TEST(refused),
    UNIT_TEST(execute_only), UNIT_TEST(own_and_foreign),
};
UNIT_MAIN_BOOT(tests, boot)
