/* SPDX-License-Identifier: MIT */
/*
 * Random calls of what a kernel has around the core: System V shared memory, seals,
 * vectors, other processes' memory.  Locking: none, one thread.
 */
#include "diff.h"

static const enum opcode calls[] = {
    OP_SHMAT, OP_SHMAT,           OP_SHMAT,   OP_SHMDT,    OP_SHMDT,      OP_SHMCTL,
    OP_SEAL,  OP_PREADV,          OP_PWRITEV, OP_VM_READV, OP_VM_WRITEV,  OP_SEEK,
    OP_STAT,  OP_PROCESS_MADVISE, OP_VFORK,   OP_NAME,     OP_MINCORE_TO, OP_SENDFILE,
};
static const enum opcode key_calls[] = {
    OP_PKEY_ALLOC,    OP_PKEY_ALLOC,    OP_PKEY_FREE, OP_PKEY_MPROTECT,
    OP_PKEY_MPROTECT, OP_PKEY_MPROTECT, OP_PKEY_SET,  OP_PKEY_SET,
};

static struct arg some(void)
{
	return number(pick(3) ? (s64_t)pick(2 * PG) : ONE_OF(0, 1, 8, 4096, 8192));
}

static void gen_shm(struct op *o)
{
	o->arg[0] = number(pick(SEGMENTS));
	if (!pick(40))
		o->arg[0] = number(SEGMENTS);
	o->arg[1] = address();
	if (!pick(3))
		o->arg[1] = number(0);
	/* SHM_RDONLY, RND, REMAP, EXEC */
	o->arg[2] = number(ONE_OF(0, 0, 0x1000, 0x2000, 0x4000, 0x4000, 0x4000, 0x5000, 0x6000,
				  0x8000, 0xc000, 0xd000, 0x10000));
}

static void gen_advise(struct op *o)
{
	o->arg[0] = address();
	o->arg[1] = length();
	o->arg[2] = address();
	o->arg[3] = length();
	for (unsigned i = 1; i < 4; i += 2)
		if (o->arg[i].v == INT64_MIN)
			o->arg[i].v = PG;
	o->arg[4] = number(ONE_OF(3, 3, 20, 20, 21, 4, 8, 0, 99));
	o->arg[5] = number(pick(20) ? 0 : 1);
}

static void gen_vectors(struct op *o)
{
	o->arg[0] = place();
	o->arg[1] = some();
	o->arg[2] = place();
	o->arg[3] = some();
	if (o->code == OP_VM_READV || o->code == OP_VM_WRITEV)
		return;
	o->arg[4] = number(pick(FILES));
	o->arg[5] = number(pick(2) ? pick(10) * PG : pick(10 * PG));
}

static void gen_of_file(struct op *o)
{
	o->arg[0] = number(pick(FILES));
	if (o->code == OP_SEAL)
		o->arg[1] = number(ONE_OF(2, 4, 8, 16, 16, 6, 1, 0, 0x20, 0x100));
	if (o->code == OP_SEEK) {
		o->arg[1] = number(pick(3) ? pick(18) * PG : pick(18 * PG));
		o->arg[2] = number(ONE_OF(3, 4, 3, 4, 2, 5));
	}
}

static void gen_name(struct op *o)
{
	o->arg[0] = address();
	o->arg[1] = length();
	if (o->arg[1].v == INT64_MIN || o->arg[1].v == -4096)
		o->arg[1].v = PG;
	/* none, two names, one that is too long, one of a bad letter, none that can be read */
	o->arg[2] = number(ONE_OF(0, 1, 1, 1, 2, 2, 3, 4, 5));
}

static void gen_key(struct op *o)
{
	s64_t key = ONE_OF(1, 1, 1, 2, 2, 3);

	switch (o->code) {
	case OP_PKEY_ALLOC:
		o->arg[0] = number(pick(20) ? 0 : 1);
		o->arg[1] = number(ONE_OF(0, 0, 1, 2, 3, 4));
		break;
	case OP_PKEY_MPROTECT:
		o->arg[0] = address();
		o->arg[1] = length();
		o->arg[2] = number(protection());
		o->arg[3] = number(pick(10) ? key : ONE_OF(0, -1, 15, 16, -2));
		break;
	case OP_PKEY_SET:
		o->arg[0] = number(key);
		o->arg[1] = number(ONE_OF(0, 0, 1, 2, 3));
		break;
	default:
		o->arg[0] = number(pick(4) ? key : ONE_OF(0, -1, 15, 16));
	}
}

void gen_system(struct op *o, unsigned features)
{
	o->code = calls[pick(sizeof(calls) / sizeof(calls[0]))];
	if ((features & FEATURE_PKEYS) && !pick(5)) {
		o->code = key_calls[pick(sizeof(key_calls) / sizeof(key_calls[0]))];
		gen_key(o);
		return;
	}
	switch (o->code) {
	case OP_NAME:
		gen_name(o);
		break;
	case OP_MINCORE_TO:
		o->arg[0] = address();
		o->arg[1] = length();
		o->arg[2] = place();
		break;
	case OP_SENDFILE:
		o->arg[0] = number(pick(FILES));
		o->arg[1] = pick(3) ? number(0) : place();
		o->arg[2] = number(pick(FILES));
		o->arg[3] = some();
		break;
	case OP_SHMAT:
		gen_shm(o);
		break;
	case OP_SHMDT:
		o->arg[0] = address();
		break;
	case OP_SHMCTL:
		o->arg[0] = number(pick(SEGMENTS));
		o->arg[1] = number(ONE_OF(2, 2, 2, 11, 12)); /* IPC_STAT, SHM_LOCK, SHM_UNLOCK */
		break;
	case OP_PROCESS_MADVISE:
		gen_advise(o);
		break;
	case OP_VFORK:
		o->arg[0] = number(1 + pick(6));
		break;
	case OP_SEAL:
	case OP_SEEK:
	case OP_STAT:
		gen_of_file(o);
		break;
	default:
		gen_vectors(o);
	}
}
