/* SPDX-License-Identifier: MIT */
/*
 * Page faults, between the CPU's report and the core's quire_fault().
 *
 * A fault is one of these:
 *   in user mode: the core resolves it, or the task gets SIGSEGV or SIGBUS;
 *   in the kernel, on a user address, by an instruction with an entry in the
 *     exception table (the copy routines): the core resolves it when sleeping is
 *     allowed, else or in vain the copy ends short;
 *   in the kernel, anything else: a bug, explained by an oops.
 * Lazily mapped kernel ranges never come here: entry code asks the core first.
 *
 * No locks of its own.
 */
#include <quire/assert.h>
#include <quire/fault.h>
#include <quire/host.h>

#include "../arch/uaccess.h"
#include "../lib/print.h"
#include "../proc/internal.h"
#include "../vdso/vdso.h"
#include "mem.h"

/* The error code (Intel SDM volume 3, 4.7). */
#define ERR_P (1u << 0)
#define ERR_W (1u << 1)
#define ERR_U (1u << 2)
#define ERR_RSVD (1u << 3)
#define ERR_I (1u << 4)
#define ERR_PK (1u << 5)

#define SEGV_MAPERR 1
#define SEGV_ACCERR 2
#define SEGV_PKUERR 4
#define BUS_ADRERR 2
#define BUS_MCEERR_AR 4

#define TRAP_PF 14

/* The error code in the core's words, by its lowest six bits. */
#define A1(e)                                                             \
	(((e)&ERR_W   ? QUIRE_WRITE                                       \
	  : (e)&ERR_I ? QUIRE_EXEC                                        \
		      : QUIRE_READ) |                                     \
	 ((e)&ERR_U ? QUIRE_USER : 0) | ((e)&ERR_P ? QUIRE_PRESENT : 0) | \
	 ((e)&ERR_RSVD ? QUIRE_RSVD : 0) | ((e)&ERR_PK ? QUIRE_PKEY : 0))
#define A4(e) A1(e), A1((e) + 1), A1((e) + 2), A1((e) + 3)
#define A16(e) A4(e), A4((e) + 4), A4((e) + 8), A4((e) + 12)
/* NOLINTNEXTLINE(misc-redundant-expression): the macro is meant for constants */
static const u8 access_table[64] = {A16(0), A16(16), A16(32), A16(48)};

static inline unsigned access_of(u64 err)
{
	unsigned a = access_table[err & 63];

	if (cpu_features.pku && quire_unlikely(pkru_read() & 3))
		a |= QUIRE_KEY0;
	return a;
}

/* ---- what becomes of the task ------------------------------------------------------------- */

static void signal_for(struct regs *r, u64 addr, const struct quire_fault_record *rec)
{
	struct task *t = current();
	struct siginfo info = {.si_signo = SIGSEGV};
	u64 err = r->orig_rax;

	switch ((enum quire_outcome)rec->outcome) {
	case QUIRE_SEGV_ACCERR:
		info.si_code = SEGV_ACCERR;
		break;
	case QUIRE_SEGV_PKUERR:
		info.si_code = SEGV_PKUERR;
		info.fault.pkey = rec->vma_flags >> VM_PKEY_SHIFT & 15;
		break;
	case QUIRE_SIGBUS:
		info.si_signo = SIGBUS;
		info.si_code = BUS_ADRERR;
		break;
	case QUIRE_SIGBUS_MCE:
		info.si_signo = SIGBUS;
		info.si_code = BUS_MCEERR_AR;
		info.fault.addr_lsb = QUIRE_PAGE_SHIFT;
		break;
	default:
		info.si_code = SEGV_MAPERR;
		break;
	}
	info.fault.addr = addr;
	/* Nobody learns from the error code what the kernel has mapped where. */
	if (addr >= QUIRE_USER_END)
		err |= ERR_P;
	t->trap_nr = TRAP_PF;
	t->trap_err = (u32)err;
	t->trap_addr = addr;
	t->process->last_fault = *rec;
	force_signal(info.si_signo, &info);
}

static void no_memory(void)
{
	/* The killer has chosen, and it isn't this task: try again.  When it finds no
	 * process to kill, the one that can't go on ends. */
	if (quire_host_killed() || quire_host_oom(current()->uspace->mm, 0))
		return;
	if (quire_host_killed())
		return;
	print_log(3, "Out of memory: nothing left to kill but process %u (%s)",
		  current()->process->tgid, current()->comm);
	send_signal_process(current()->process, SIGKILL, NULL);
}

static void user_fault(struct regs *r, u64 addr)
{
	struct task *t = current();
	struct quire_fault_record rec;

	if (quire_unlikely((s64)addr < 0) && vsyscall_emulate(r, addr))
		return;
	/*
	 * The CPU's own access on behalf of the program, which nothing here can help.  No
	 * table that it reads is ever missing; but QEMU 7.2 lets far returns in user mode
	 * read the stack as the kernel would, which SMAP forbids.
	 */
	if (quire_unlikely(!(r->orig_rax & ERR_U))) {
		force_signal(SIGSEGV, &(struct siginfo){.si_signo = SIGSEGV, .si_code = SI_KERNEL});
		return;
	}
	enum quire_outcome outcome =
	    quire_fault(t->uspace->mm, addr, access_of(r->orig_rax), r->rip, &rec);
	switch (outcome) {
	case QUIRE_DONE_MINOR:
		t->min_flt++;
		return;
	case QUIRE_DONE_MAJOR:
		t->maj_flt++;
		return;
	case QUIRE_RETRY:
	case QUIRE_KILLED:
		return; /* signals are looked at on the way back to user mode */
	case QUIRE_OOM:
		no_memory();
		return;
	default:
		signal_for(r, addr, &rec);
	}
}

/* ---- the kernel's own accesses to user memory ------------------------------------------------ */

static bool may_sleep(const struct regs *r, const struct task *t)
{
	return (r->rflags & RFLAGS_IF) && this_cpu()->preempt == 0 && !t->no_fault && t->uspace;
}

/* True: the instruction can run again. */
static bool resolve_for_kernel(struct regs *r, u64 addr)
{
	struct task *t = current();
	struct quire_fault_record rec;

	for (;;) {
		enum quire_outcome outcome =
		    quire_fault(t->uspace->mm, addr, access_of(r->orig_rax), r->rip, &rec);
		switch (outcome) {
		case QUIRE_DONE_MINOR:
			t->min_flt++;
			break;
		case QUIRE_DONE_MAJOR:
			t->maj_flt++;
			break;
		case QUIRE_RETRY:
			if (quire_host_killed())
				return false;
			continue;
		default:
			return false;
		}
		/* What was there may have been taken away, and this is an empty page. */
		return !quire_mm_reaped(t->uspace->mm);
	}
}

static _Noreturn void kernel_bug(struct regs *r, u64 addr)
{
	u64 err = r->orig_rax;
	struct task *t = current();

	if (quire_kernel_guard(addr))
		oops(r, "kernel stack overflow: page fault at %#lx, a guard page", addr);
	if (t->uspace && addr < QUIRE_USER_END)
		quire_explain_address(t->uspace->mm, addr);
	if (err & ERR_RSVD)
		oops(r, "corrupt page table: reserved bit set in the entry of %#lx", addr);
	if ((err & ERR_I) && addr < QUIRE_USER_END)
		oops(r, "the kernel jumped to user address %#lx", addr);
	if (err & ERR_I)
		oops(r, "the kernel jumped to %#lx, which is not code", addr);
	if (addr < QUIRE_PAGE_SIZE)
		oops(r, "null pointer: the kernel %s %#lx", err & ERR_W ? "wrote to" : "read",
		     addr);
	if (addr < QUIRE_USER_END)
		oops(r, "the kernel %s user address %#lx outside its copy routines",
		     err & ERR_W ? "wrote to" : "read", addr);
	oops(r, "page fault in the kernel: it %s %#lx, which is %s",
	     err & ERR_W ? "wrote to" : "read", addr,
	     err & ERR_P ? "mapped otherwise" : "not mapped");
}

static void kernel_fault(struct regs *r, u64 addr)
{
	u64 err = r->orig_rax;
	bool sound = addr < QUIRE_USER_END && !(err & (ERR_RSVD | ERR_I)) &&
		     (!cpu_features.smap || (r->rflags & RFLAGS_AC));

	if (!extable_covers(r->rip) || (addr < QUIRE_USER_END && !sound))
		kernel_bug(r, addr);
	if (sound && may_sleep(r, current()) && resolve_for_kernel(r, addr))
		return;
	if (!extable_fixup(r))
		kernel_bug(r, addr);
}

void page_fault(struct regs *r, u64 cr2)
{
	if (quire_likely(regs_user(r)))
		user_fault(r, cr2);
	else
		kernel_fault(r, cr2);
}
