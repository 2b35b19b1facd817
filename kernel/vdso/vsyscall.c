// SPDX-License-Identifier: MIT
/*
 * The vsyscall page, as Linux's default (xonly) has it: three entries at fixed kernel
 * addresses that old static programs call.  Nothing is mapped there; the fault that
 * the call makes is answered as if a system call and a return had stood there.  Reads
 * of the page, and jumps to any other place in it, are faults like others.
 */
#include <quire/errno.h>

#include "../proc/internal.h"
#include "vdso.h"

#define SEGV_MAPERR 1
#define TRAP_PF 14
#define ERR_USER_WRITE 6u

enum { VSYS_GETTIMEOFDAY, VSYS_TIME, VSYS_GETCPU, VSYS_COUNT };

struct out {
	u64 at;
	size_t size;
	u64 value[2];
};

/* What the call stores, in order; its result is returned. */
static long answer(unsigned nr, const struct regs *r, struct out out[2])
{
	u64 ns = time_ns() + wall_offset_ns;

	switch (nr) {
	case VSYS_GETTIMEOFDAY:
		out[0] = (struct out){r->rdi, 16, {ns / NSEC_PER_SEC, ns % NSEC_PER_SEC / 1000}};
		out[1] = (struct out){r->rsi, 8, {0, 0}};
		return 0;
	case VSYS_TIME:
		out[0] = (struct out){r->rdi, 8, {ns / NSEC_PER_SEC, 0}};
		out[1] = (struct out){0};
		return (long)(ns / NSEC_PER_SEC);
	default:
		out[0] = (struct out){r->rdi, 4, {this_cpu()->cpu, 0}};
		out[1] = (struct out){r->rsi, 4, {0, 0}};
		return 0;
	}
}

static void fault_at(u64 addr)
{
	struct task *t = current();
	struct siginfo info = {.si_signo = SIGSEGV, .si_code = SEGV_MAPERR};

	info.fault.addr = addr;
	t->trap_nr = TRAP_PF;
	t->trap_err = ERR_USER_WRITE;
	t->trap_addr = addr;
	force_signal(SIGSEGV, &info);
}

bool vsyscall_emulate(struct regs *r, u64 addr)
{
	struct out out[2];
	u64 caller;
	unsigned nr = addr >> 10 & 3;

	/* An access to the address that is being executed is the fetch itself. */
	if (addr != r->rip || (addr & ~0xc00UL) != VSYSCALL_START || nr >= VSYS_COUNT)
		return false;
	if (get_user_u64(&caller, r->rsp))
		return false;
	long result = answer(nr, r, out);
	for (unsigned i = 0; i < 2; i++) {
		if (out[i].at && copy_to_user(out[i].at, out[i].value, out[i].size)) {
			fault_at(out[i].at);
			return true;
		}
	}
	r->orig_rax = ~0UL;
	r->rax = (u64)result;
	r->rip = caller;
	r->rsp += sizeof(u64);
	return true;
}
