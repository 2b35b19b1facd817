/* SPDX-License-Identifier: MIT */
/*
 * What the arguments of random operations are made of: most make sense and are near each
 * other, some don't.  Locking: none, one thread.
 */
#include "diff.h"

static u64_t state;

void pick_from(u64_t seed)
{
	state = (seed + 1) * 0x9e3779b97f4a7c15u;
}

unsigned pick(unsigned n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)((state >> 33) % n);
}

struct arg number(s64_t v)
{
	return (struct arg){0, v};
}

struct arg address(void)
{
	unsigned how = pick(100);
	s64_t page = pick(4) ? pick(ARENA_PAGES) : pick(12);

	if (how < 84)
		return (struct arg){'a', page * (s64_t)PG};
	if (how < 91)
		return (struct arg){'t', -(s64_t)(1 + pick(24)) * (s64_t)PG};
	if (how < 95)
		return (struct arg){'h', (s64_t)(pick(8) * PG)};
	if (how < 97)
		return (struct arg){'a', page * (s64_t)PG + ONE_OF(1, 8, 0x800, 0xfff)};
	if (how < 99)
		return (struct arg){'a', -(s64_t)(1 + pick(4)) * (s64_t)PG};
	return number(ONE_OF(0, 0x1000, 0x7ffffffff000, 0x800000000000, (s64_t)0xffff800000000000,
			     -1, -4096));
}

struct arg length(void)
{
	unsigned how = pick(100);

	if (how < 70)
		return number((1 + pick(6)) * PG);
	if (how < 90)
		return number((1 + pick(20)) * PG);
	if (how < 94)
		return number(pick(4 * PG));
	if (how < 98)
		return number((1 + pick(ARENA_PAGES)) * PG);
	return number(ONE_OF(0, 1, -1, -4096, (s64_t)0x8000000000000000));
}

struct arg place(void)
{
	struct arg a = address();

	if (a.base && !(a.v & 4095))
		a.v += ONE_OF(0, 0, 296, 4088);
	if (!a.base)
		a.v = ONE_OF(0, 0x1000, 0x7ffffffff000, (s64_t)0xffff800000000000);
	else if ((a.v & 4095) > 4088)
		a.v -= 8;
	return a;
}
