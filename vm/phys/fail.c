/* SPDX-License-Identifier: MIT */
/*
 * Failing on purpose: a test asks for the nth allocation from now to fail, runs a
 * scenario, and sees whether anything leaked or broke.  Every allocation of the
 * core, of frames and of slab objects, comes by here in debug and host builds.
 * Counters are atomics.
 */
#include <quire/mm.h>

#include "phys.h"

static u64 counted, fail_at;

u64 quire_fail_nth(u64 n)
{
	u64 before = __atomic_exchange_n(&counted, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&fail_at, n, __ATOMIC_RELAXED);
	return before;
}

#ifdef QUIRE_DEBUG
bool fail_point(void)
{
	u64 nth = __atomic_add_fetch(&counted, 1, __ATOMIC_RELAXED);
	u64 at = __atomic_load_n(&fail_at, __ATOMIC_RELAXED);
	if (quire_likely(nth != at))
		return false;
	__atomic_store_n(&fail_at, 0, __ATOMIC_RELAXED);
	return true;
}
#endif
