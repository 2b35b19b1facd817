/* SPDX-License-Identifier: MIT */
/*
 * The fuzzer of system calls: what its parts share.
 *
 * syscalls.c starts and watches batches of calls in child processes and counts
 * frames; batch.c is such a child; args.c chooses calls and their arguments.
 *
 * A batch destroys its own address space and its thread pointer, so batch.c and
 * args.c use no libc functions but memcpy and memset: no errno, no locks, no heap.
 */
#ifndef FUZZ_SYSCALLS_H
#define FUZZ_SYSCALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t u64;
typedef int64_t s64;
typedef uint32_t u32;

#define ARENA 0x10000000000UL /* where the memory lies that the calls are about */
#define ARENA_SIZE (32UL << 20)
#define PAGE 4096UL
#define LOG_CALLS 32
#define LOGS 8
#define DATA_WORDS 96

struct call {
	u64 nr, arg[6], ret;
	u64 done; /* 0: the call hasn't returned */
};

/* Written by a batch, read by the process that watches it; in shared memory. */
struct batch_log {
	u64 calls;
	u64 nr_count[512];
	struct {
		u64 n;
		struct call call[LOG_CALLS];
	} of[LOGS];
};

/* One thread's state. */
struct thread {
	u64 random[2];
	u32 index; /* which log */
	u32 depth; /* generations of forks */
	u32 left;  /* calls to go */
	u64 pid, child;
	bool may_hurt; /* not root: signals may go to anyone */
	struct batch_log *log;
	u64 data[8][DATA_WORDS]; /* what pointers to structures point to */
	u32 next_data;
};

/* args.c */
u64 next_random(struct thread *t);
static inline u64 below(struct thread *t, u64 n)
{
	return next_random(t) % n;
}
void choose_call(struct thread *t, struct call *c);
u64 arena_address(struct thread *t);
extern const char *const call_name[512];

/* batch.c: doesn't return */
void batch_run(u64 seed, u32 calls, struct batch_log *log, bool verbose, bool root);
void noop_handler(int sig, void *siginfo, void *context);
void noop_restorer(void);

#endif
