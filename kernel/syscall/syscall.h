/* SPDX-License-Identifier: MIT */
/*
 * System calls: how one is written, and the table.
 *
 * A call is written with SYSCALL3(name, type, arg, ...) and a body; it returns
 * a result or -errno.  table.h lists every number once, with its state; both the
 * dispatch and docs/syscalls.md come from it.
 */
#ifndef KERNEL_SYSCALL_H
#define KERNEL_SYSCALL_H

#include <quire/errno.h>
#include <quire/types.h>

#include "../arch/cpu.h"

#define SYSCALL0(name)                            \
	static long do_##name(struct regs *regs); \
	long sys_##name(struct regs *regs);       \
	long sys_##name(struct regs *regs)        \
	{                                         \
		return do_##name(regs);           \
	}                                         \
	static long do_##name(struct regs *regs __attribute__((unused)))
#define SYSCALL_BODY(name, params, ...)        \
	static long do_##name params;          \
	long sys_##name(struct regs *regs);    \
	long sys_##name(struct regs *regs)     \
	{                                      \
		return do_##name(__VA_ARGS__); \
	}                                      \
	static long do_##name params
/* `regs` is in scope in the body, for the few calls that need it. */
#define REGS_ struct regs *regs __attribute__((unused))
#define SYSCALL1(n, t1, a1) SYSCALL_BODY(n, (REGS_, t1 a1), regs, (t1)regs->rdi)
#define SYSCALL2(n, t1, a1, t2, a2) \
	SYSCALL_BODY(n, (REGS_, t1 a1, t2 a2), regs, (t1)regs->rdi, (t2)regs->rsi)
#define SYSCALL3(n, t1, a1, t2, a2, t3, a3)                                               \
	SYSCALL_BODY(n, (REGS_, t1 a1, t2 a2, t3 a3), regs, (t1)regs->rdi, (t2)regs->rsi, \
		     (t3)regs->rdx)
#define SYSCALL4(n, t1, a1, t2, a2, t3, a3, t4, a4)                                              \
	SYSCALL_BODY(n, (REGS_, t1 a1, t2 a2, t3 a3, t4 a4), regs, (t1)regs->rdi, (t2)regs->rsi, \
		     (t3)regs->rdx, (t4)regs->r10)
#define SYSCALL5(n, t1, a1, t2, a2, t3, a3, t4, a4, t5, a5)                              \
	SYSCALL_BODY(n, (REGS_, t1 a1, t2 a2, t3 a3, t4 a4, t5 a5), regs, (t1)regs->rdi, \
		     (t2)regs->rsi, (t3)regs->rdx, (t4)regs->r10, (t5)regs->r8)
#define SYSCALL6(n, t1, a1, t2, a2, t3, a3, t4, a4, t5, a5, t6, a6)                             \
	SYSCALL_BODY(n, (REGS_, t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6), regs, (t1)regs->rdi, \
		     (t2)regs->rsi, (t3)regs->rdx, (t4)regs->r10, (t5)regs->r8, (t6)regs->r9)

#define SYSCALL_COUNT 451u /* numbers of Linux 6.1 */

typedef long syscall_fn(struct regs *);

/* syscall.c: called by entry code with interrupts on; writes regs->rax. */
void syscall_dispatch(struct regs *regs);
/* Log once that this call (or this option of it) isn't there. */
void syscall_log_missing(const char *what);

#endif
