/* SPDX-License-Identifier: MIT */
/*
 * Random programs.  Most arguments make sense and are near each other, so that
 * regions meet, split and merge; some don't.
 *
 * What would reach memory outside the windows is never made: the program's own
 * code and stack live there.
 */
#include <sys/mman.h>

#include "diff.h"

s64_t protection(void)
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

/* Where holes don't end a call it would reach the program's own memory. */
static void stay_near(struct arg *len)
{
	if (len->v == INT64_MIN || len->v == -4096)
		len->v = PG;
}

static void gen_madvise(struct op *o)
{
	o->arg[0] = address();
	o->arg[1] = length();
	stay_near(&o->arg[1]);
	o->arg[2] = number(pick(30)  ? ONE_OF(0, 1, 2, 3, 4, 4, 4, 4, 8, 8, 8, 9, 9, 10, 11, 16, 17,
					      18, 19, 20, 22, 22, 23, 23, 23, 24, 24)
			   : pick(8) ? ONE_OF(5, 6, 7, 26, 99, -1, 21)
				     : ONE_OF(12, 13, 14, 15));
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
    OP_STORE,    OP_EXEC,     OP_READ_INTO, OP_WRITE_FROM, OP_FORK,    OP_SMAPS,  OP_SMAPS,
};
static const enum opcode seldom[] = {
    OP_MLOCKALL, OP_MUNLOCKALL, OP_REMAP_FILE_PAGES, OP_RLIMIT, OP_CLEAR_REFS, OP_THREAD,
};

static void gen_limit(struct op *o)
{
	o->arg[0] = number(pick(4));
	o->arg[1] = number(ONE_OF(-1, 0, 4, 10, 20, 40, 100));
}

static void gen_op(struct op *o, s64_t word)
{
	o->code = often[pick(sizeof(often) / sizeof(often[0]))];
	if (!pick(40))
		o->code = seldom[pick(sizeof(seldom) / sizeof(seldom[0]))];
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
	case OP_RLIMIT:
		gen_limit(o);
		return;
	case OP_CLEAR_REFS:
		o->arg[0] = number(ONE_OF(4, 4, 4, 4, 4, 1, 2, 3, 5, 0, 6));
		return;
	case OP_SMAPS:
		return;
	case OP_THREAD:
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
	if (o->code == OP_MSYNC) {
		stay_near(&o->arg[1]);
		o->arg[2] = number(ONE_OF(1, 4, 2, 0, 5, 6, 8));
	}
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
	case OP_NAME:
	case OP_MINCORE_TO:
	case OP_PKEY_MPROTECT:
		clamp(&o->arg[0], &o->arg[1]);
		break;
	case OP_PROCESS_MADVISE:
	case OP_PREADV:
	case OP_PWRITEV:
	case OP_VM_READV:
	case OP_VM_WRITEV:
		clamp(&o->arg[0], &o->arg[1]);
		clamp(&o->arg[2], &o->arg[3]);
		break;
	default:
		break;
	}
}

/* The first operations of a program can be of this kind: it is as one without rights. */
static unsigned gen_start(struct program *p)
{
	if (pick(6))
		return 0;
	p->op[0].code = OP_UNCAP;
	p->op[1].code = OP_RLIMIT;
	gen_limit(&p->op[1]);
	return 2;
}

static void gen_poison(struct op *o)
{
	o->code = OP_MADVISE;
	o->arg[0] = address();
	o->arg[1] = number(ONE_OF(1, 1, 2, 0) * (s64_t)PG);
	o->arg[2] = number(ONE_OF(MADV_HWPOISON, MADV_HWPOISON, 101));
}

void generate(struct program *p, u64_t seed, unsigned n, unsigned features)
{
	pick_from(seed);
	p->n = n;
	/* Words end in a return instruction, so that what was written can be executed. */
	for (unsigned i = n > 2 ? gen_start(p) : 0; i < n; i++) {
		if ((features & FEATURE_SYSTEM) && !pick(5))
			gen_system(&p->op[i], features);
		else if ((features & FEATURE_POISON) && !pick(300))
			gen_poison(&p->op[i]);
		else
			gen_op(&p->op[i], (s64_t)(i + 1) << 8 | 0xc3);
		stay_below_top(&p->op[i]);
	}
}
