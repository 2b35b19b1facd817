/* SPDX-License-Identifier: MIT */
/*
 * Random programs.  Most arguments make sense and are near each other, so that
 * regions meet, split and merge; some don't.
 *
 * What would reach memory outside the windows is never made: the program's own
 * code and stack live there.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "diff.h"

static u64_t state;

static unsigned pick(unsigned n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)((state >> 33) % n);
}

#define ONE_OF(...)                                       \
	({                                                \
		static const s64_t of_[] = {__VA_ARGS__}; \
		of_[pick(sizeof(of_) / sizeof(of_[0]))];  \
	})

static struct arg number(s64_t v)
{
	return (struct arg){0, v};
}

static struct arg address(void)
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

static struct arg length(void)
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

static s64_t protection(void)
{
	if (pick(40))
		return ONE_OF(0, 1, 1, 3, 3, 3, 3, 3, 3, 5, 7, 2, 3);
	return ONE_OF(4, 6, 8, 0xb, 0x10, 0x01000003, 0x02000003, 0x03000003, 0x80, -1);
}

static void gen_mmap(struct op *o)
{
	bool anon = pick(5) < 3;
	s64_t flags = ONE_OF(2, 2, 2, 2, 2, 1, 1, 1, 1, 3, 3);

	o->arg[0] = address();
	o->arg[1] = length();
	o->arg[2] = number(protection());
	if (!pick(60))
		flags = ONE_OF(0, 4, 5, 15);
	flags |= anon ? MAP_ANONYMOUS : 0;
	switch (pick(12)) {
	case 0:
		break;
	case 1:
		flags |= 0x100000;
		break;
	case 2:
		flags |= MAP_32BIT;
		break;
	case 3:
		if (pick(2)) {
			o->arg[0] = number(0);
			o->arg[1] = number((1 + pick(6)) * PG);
		}
		break;
	default:
		flags |= MAP_FIXED;
	}
	if (!pick(8))
		flags |= ONE_OF(MAP_POPULATE, MAP_POPULATE, MAP_POPULATE | MAP_NONBLOCK, MAP_LOCKED,
				MAP_NORESERVE, MAP_NORESERVE, MAP_GROWSDOWN, MAP_GROWSDOWN,
				MAP_STACK, MAP_DENYWRITE, MAP_EXECUTABLE, 0x80000);
	o->arg[3] = number(flags);
	o->arg[4] = number(anon ? ONE_OF(-1, -1, 0) : pick(20) ? pick(FILES) : -1);
	o->arg[5] = number(anon       ? ONE_OF(0, 0, 0, 0, 0x3000)
			   : pick(30) ? (s64_t)(pick(12) * PG)
				      : ONE_OF(1, -4096, 0x7ffffffffffff000, 0x7fffffffffff0000));
}

static void gen_mremap(struct op *o)
{
	s64_t flags = ONE_OF(0, 0, 1, 1, 1, 3, 3, 3, 3, 5, 5, 7, 7);

	if (!pick(30))
		flags = ONE_OF(2, 4, 6, 8, 9, -1);
	o->arg[0] = address();
	o->arg[1] = length();
	o->arg[2] = pick(3) ? o->arg[1] : length();
	if (!pick(20))
		o->arg[1] = number(0);
	o->arg[3] = number(flags);
	o->arg[4] = address();
}

static void gen_madvise(struct op *o)
{
	o->arg[0] = address();
	o->arg[1] = length();
	/* It would go over the holes, to the program's own memory. */
	if (o->arg[1].v == INT64_MIN)
		o->arg[1].v = PG;
	o->arg[2] = number(pick(30)  ? ONE_OF(0, 1, 2, 3, 4, 4, 4, 4, 8, 8, 8, 9, 9, 10, 11, 16, 17,
					      18, 19, 20, 22, 22, 23, 23, 23, 24, 24)
			   : pick(8) ? ONE_OF(5, 6, 7, 26, 99, -1, 21)
				     : ONE_OF(12, 13, 14, 15));
}

static struct arg place(void)
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

static void gen_transfer(struct op *o)
{
	o->arg[0] = place();
	o->arg[1] = number(pick(3) ? (s64_t)pick(2 * PG) : ONE_OF(0, 1, 8, 4096, 8192));
	o->arg[2] = number(pick(FILES));
	o->arg[3] = number(pick(2) ? pick(10) * PG : pick(10 * PG));
}

static void gen_file(struct op *o, s64_t word)
{
	o->arg[0] = number(pick(FILES));
	switch (o->code) {
	case OP_FTRUNCATE:
		o->arg[1] = number(pick(3) ? pick(18) * PG : pick(18 * PG));
		break;
	case OP_FALLOCATE:
		o->arg[1] = number(ONE_OF(0, 1, 3, 3, 3, 3, 2, 0x10, 0x11, 8, 0x20));
		o->arg[2] = number(pick(3) ? pick(14) * PG : pick(14 * PG));
		o->arg[3] = number(pick(3) ? pick(6) * PG : pick(3 * PG));
		break;
	default:
		o->arg[1] = number(pick(18) * PG + (u64_t)ONE_OF(0, 296, 4088));
		o->arg[2] = number(word);
	}
}

static const enum opcode often[] = {
    OP_MMAP,     OP_MMAP,     OP_MMAP,      OP_MMAP,       OP_MMAP,    OP_MUNMAP, OP_MUNMAP,
    OP_MPROTECT, OP_MPROTECT, OP_MPROTECT,  OP_MREMAP,     OP_MREMAP,  OP_MREMAP, OP_MADVISE,
    OP_MADVISE,  OP_MADVISE,  OP_BRK,       OP_MSYNC,      OP_MINCORE, OP_MLOCK,  OP_MLOCK2,
    OP_MUNLOCK,  OP_MUNLOCK,  OP_FTRUNCATE, OP_FALLOCATE,  OP_PWRITE,  OP_PREAD,  OP_LOAD,
    OP_LOAD,     OP_LOAD,     OP_STORE,     OP_STORE,      OP_STORE,   OP_STORE,  OP_STORE,
    OP_STORE,    OP_EXEC,     OP_READ_INTO, OP_WRITE_FROM, OP_FORK,
};

static void gen_op(struct op *o, s64_t word)
{
	o->code = often[pick(sizeof(often) / sizeof(often[0]))];
	if (!pick(100))
		o->code = (enum opcode)ONE_OF(OP_MLOCKALL, OP_MUNLOCKALL, OP_REMAP_FILE_PAGES);
	switch (o->code) {
	case OP_MMAP:
		gen_mmap(o);
		return;
	case OP_MREMAP:
		gen_mremap(o);
		return;
	case OP_MADVISE:
		gen_madvise(o);
		return;
	case OP_BRK:
		o->arg[0] =
		    pick(20) ? (struct arg){'h', (s64_t)(pick(3) ? pick(10) * PG : pick(10 * PG))}
			     : number(ONE_OF(0, -1, 0x7ffffffff000));
		return;
	case OP_FTRUNCATE:
	case OP_FALLOCATE:
	case OP_PWRITE:
	case OP_PREAD:
		gen_file(o, word);
		return;
	case OP_LOAD:
	case OP_EXEC:
		o->arg[0] = place();
		return;
	case OP_STORE:
		o->arg[0] = place();
		o->arg[1] = number(word);
		return;
	case OP_READ_INTO:
	case OP_WRITE_FROM:
		gen_transfer(o);
		return;
	case OP_FORK:
		o->arg[0] = number(1 + pick(12));
		return;
	case OP_MLOCKALL:
		o->arg[0] = number(ONE_OF(1, 2, 3, 4, 5, 6, 7, 0, 8));
		return;
	case OP_MUNLOCKALL:
		return;
	default:
		break;
	}
	o->arg[0] = address();
	o->arg[1] = length();
	if (o->code == OP_MPROTECT)
		o->arg[2] = number(protection());
	if (o->code == OP_MSYNC)
		o->arg[2] = number(ONE_OF(1, 4, 2, 0, 5, 6, 8));
	if (o->code == OP_MLOCK2)
		o->arg[2] = number(ONE_OF(0, 1, 1, 1, 2));
	if (o->code == OP_REMAP_FILE_PAGES) {
		o->arg[2] = number(ONE_OF(0, 0, 0, 1));
		o->arg[3] = number(pick(8));
		o->arg[4] = number(ONE_OF(0, 0, MAP_NONBLOCK));
	}
}

/* The program's own memory is above the window that ends at the top. */
static void clamp(const struct arg *addr, struct arg *len)
{
	s64_t room = -(addr->v & ~4095L);

	if (addr->base == 't' && (len->v > room || len->v == INT64_MIN))
		len->v = room;
}

static void stay_below_top(struct op *o)
{
	switch (o->code) {
	case OP_MREMAP:
		clamp(&o->arg[0], &o->arg[2]);
		clamp(&o->arg[4], &o->arg[2]);
		/* fall through */
	case OP_MMAP:
	case OP_MUNMAP:
	case OP_MPROTECT:
	case OP_MADVISE:
	case OP_MSYNC:
	case OP_MINCORE:
	case OP_MLOCK:
	case OP_MLOCK2:
	case OP_MUNLOCK:
	case OP_REMAP_FILE_PAGES:
	case OP_READ_INTO:
	case OP_WRITE_FROM:
		clamp(&o->arg[0], &o->arg[1]);
		break;
	default:
		break;
	}
}

void generate(struct program *p, u64_t seed, unsigned n)
{
	state = (seed + 1) * 0x9e3779b97f4a7c15u;
	p->n = n;
	/* Words end in a return instruction, so that what was written can be executed. */
	for (unsigned i = 0; i < n; i++) {
		gen_op(&p->op[i], (s64_t)(i + 1) << 8 | 0xc3);
		stay_below_top(&p->op[i]);
	}
}
