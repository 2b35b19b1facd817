/* SPDX-License-Identifier: MIT */
/*
 * Single steps of a traced task, by the CPU's trap flag.
 *
 * The flag is the tracer's doing (forced_tf) unless the program had set it before or is
 * about to change it itself; then it is hidden from the tracer and goes when the steps
 * end.  A step over a system call ends at the call's end, since the CPU would only trap
 * after the next instruction.
 *
 * The task is stopped by its tracer, or is current.
 */
#include "trace.h"

/* Will the next instruction load the flags, POPF or IRET? */
static bool loads_flags(struct task *t)
{
	u8 code[15];
	bool wide = task_regs(t)->cs == USER_CS;
	size_t n =
	    quire_mm_access(t->uspace->mm, user_linear_ip(t), code, sizeof(code), false, true);
	for (size_t i = 0; i < n; i++)
		switch (code[i]) {
		case 0x9d: /* POPF */
		case 0xcf: /* IRET */
			return true;
		case 0x40 ... 0x4f: /* REX */
			if (!wide)
				return false;
			continue;
		case 0x26: /* prefixes: segments, sizes, LOCK, REP */
		case 0x2e:
		case 0x36:
		case 0x3e:
		case 0x64 ... 0x67:
		case 0xf0:
		case 0xf2:
		case 0xf3:
			continue;
		default:
			return false;
		}
	return false;
}

void trace_slow_calls(struct task *t)
{
	bool slow = t->trace.syscalls || t->trace.emulate || t->trace.step;
	t->syscall_limit = slow ? 0 : SYSCALL_COUNT;
}

void trace_step_on(struct task *t)
{
	struct regs *r = task_regs(t);
	/* After a step over what cleared it, it counts as the program's, as on Linux. */
	bool had = t->trace.step || (r->rflags & RFLAGS_TF);
	t->trace.step = true;
	r->rflags |= RFLAGS_TF;
	if (loads_flags(t))
		t->trace.forced_tf = false;
	else if (!had)
		t->trace.forced_tf = true;
}

void trace_step_off(struct task *t)
{
	t->trace.step = false;
	if (t->trace.forced_tf)
		task_regs(t)->rflags &= ~RFLAGS_TF;
	t->trace.forced_tf = false;
	trace_slow_calls(t);
}
