/* SPDX-License-Identifier: MIT */
/*
 * The dispatch of system calls, from the table in table.h.
 *
 * A call that isn't there gives the table's errno, and is logged by name the first
 * time.  No locks: the bits of what was logged are set atomically.
 */
#include "syscall.h"

#include <quire/host.h>

#include "../lib/print.h"
#include "../lib/string.h"
#include "../proc/proc.h"

#define Y(nr, name) long sys_##name(struct regs *);
#define N(nr, name, err)
#include "table.h"
#undef Y
#undef N

/* Calls that are there; null: see missing[]. */
static syscall_fn *const calls[SYSCALL_COUNT] = {
#define Y(nr, name) [nr] = sys_##name,
#define N(nr, name, err)
#include "table.h"
#undef Y
#undef N
};

static const struct {
	const char *name;
	u16 err;
} missing[SYSCALL_COUNT] = {
#define Y(nr, name)
#define N(nr, name, err) [nr] = {#name, err},
#include "table.h"
#undef Y
#undef N
};

static u64 logged[(SYSCALL_COUNT + 63) / 64];

static long not_there(u64 nr)
{
	if (nr >= SYSCALL_COUNT || !missing[nr].name)
		return -ENOSYS; /* Linux 6.1 has no such number */
	u64 bit = 1UL << nr % 64;
	if (!(__atomic_fetch_or(&logged[nr / 64], bit, __ATOMIC_RELAXED) & bit))
		quire_host_log(QUIRE_LOG_INFO, "%s[%u]: system call %s is not there",
			       current()->comm, current()->tid, missing[nr].name);
	return -(long)missing[nr].err;
}

/* A call that isn't there, or one of a task that is traced. */
static __attribute__((noinline)) void slow_way(struct regs *regs)
{
	u32 nr = (u32)regs->orig_rax;
	if (!current()->syscall_limit) {
		if (!trace_syscall_enter(regs))
			return;
		nr = (u32)regs->orig_rax; /* which the tracer may have changed */
	}
	if (nr < SYSCALL_COUNT && calls[nr])
		regs->rax = (u64)calls[nr](regs);
	else if (nr != ~0u) /* which is no call: rax stays what it is */
		regs->rax = (u64)not_there(nr);
}

void syscall_dispatch(struct regs *regs)
{
	u32 nr = (u32)regs->orig_rax; /* Linux ignores the upper half, too */
	struct task *t = current();
	t->syscall_nr = nr;
	if (quire_likely(nr < t->syscall_limit && calls[nr]))
		regs->rax = (u64)calls[nr](regs);
	else
		slow_way(regs);
}

#define REMEMBERED 64

void syscall_log_missing(const char *what)
{
	static const char *seen[REMEMBERED]; /* string literals: compared by address first */
	for (unsigned i = 0; i < REMEMBERED; i++) {
		const char *s = __atomic_load_n(&seen[i], __ATOMIC_ACQUIRE), *none = NULL;
		if (!s && __atomic_compare_exchange_n(&seen[i], &none, what, false,
						      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
			quire_host_log(QUIRE_LOG_INFO, "%s[%u]: %s is not there", current()->comm,
				       current()->tid, what);
			return;
		}
		if (!s)
			s = none;
		if (s == what || !strcmp(s, what))
			return;
	}
}
