// SPDX-License-Identifier: MIT
/*
 * Exceptions: from user mode they become signals, from kernel mode they are
 * fixed up through the exception table or end in an oops.  Page faults only pass
 * through here when the kernel's own lazy areas are concerned; the rest of them is
 * mem/fault.c's.
 */
#include <quire/assert.h>
#include <quire/fault.h>

#include "../boot/boot.h"
#include "../lib/string.h"
#include "../proc/proc.h"
#include "../sched/sched.h"
#include "arch.h"
#include "uaccess.h"

#define SIGILL 4
#define SIGTRAP 5
#define SIGBUS 7
#define SIGFPE 8
#define SIGSEGV 11
#define SI_KERNEL 0x80

struct gate {
	u16 offset_low, selector;
	u8 ist, type;
	u16 offset_mid;
	u32 offset_high, reserved;
};
static struct gate idt[256] __attribute__((aligned(16)));

extern char entry_pf[], entry_nmi[], entry_df[], entry_mc[], irq_stubs[], own_stubs[];
extern const u64 exception_stubs[32];

void trap(struct regs *r, u32 vector);
_Noreturn void trap_fatal(struct regs *r, u32 vector);
struct regs *pf_kernel(struct regs *r, u64 cr2);
void user_work(struct regs *r, u32 from_syscall);

static void set_gate(unsigned vector, u64 entry, unsigned ist, unsigned dpl)
{
	idt[vector] = (struct gate){
	    .offset_low = (u16)entry,
	    .selector = KERNEL_CS,
	    .ist = (u8)ist,
	    .type = (u8)(0x8e | dpl << 5), /* interrupt gate: interrupts go off */
	    .offset_mid = (u16)(entry >> 16),
	    .offset_high = (u32)(entry >> 32),
	};
}

void traps_init(void)
{
	for (unsigned i = 0; i < 32; i++)
		set_gate(i, exception_stubs[i], 0, i == VECTOR_BP || i == VECTOR_OF ? 3 : 0);
	set_gate(VECTOR_PF, (u64)entry_pf, IST_PF, 0);
	set_gate(VECTOR_NMI, (u64)entry_nmi, IST_NMI, 0);
	set_gate(VECTOR_DF, (u64)entry_df, IST_DF, 0);
	set_gate(VECTOR_MC, (u64)entry_mc, IST_MC, 0);
	for (unsigned i = 0; i < IRQ_COUNT; i++)
		set_gate(IRQ_VECTORS + i, (u64)irq_stubs + 16 * i, IST_IRQ, 0);
	for (unsigned i = 0; i < 16; i++)
		set_gate(0xf0 + i, (u64)own_stubs + 16 * i, IST_IRQ, 0);
}

void traps_load(void)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (u64)idt};

	__asm__ volatile("lidt %0" : : "m"(idtr));
}

/* ---- from user mode ------------------------------------------------------------------ */

static void signal_at(int sig, int code, u64 addr)
{
	struct siginfo info = {.si_signo = sig, .si_code = code};

	info.fault.addr = addr;
	force_signal(sig, &info);
}

/* Which of the floating-point exceptions that aren't masked: its si_code. */
static int fpe_code(u32 raised)
{
	if (raised & 1)
		return 7; /* FPE_FLTINV */
	if (raised & 4)
		return 3; /* FPE_FLTDIV */
	if (raised & 8)
		return 4; /* FPE_FLTOVF */
	if (raised & 0x12)
		return 5; /* FPE_FLTUND: underflow, or a denormal operand */
	if (raised & 0x20)
		return 6; /* FPE_FLTRES */
	return 0;
}

static void float_trap(struct regs *r, bool simd)
{
	u32 raised;

	if (simd) {
		u32 mxcsr;
		__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
		raised = mxcsr & ~(mxcsr >> 7) & 0x3f;
	} else {
		u16 status, control;
		__asm__ volatile("fnstsw %0; fnstcw %1" : "=m"(status), "=m"(control));
		raised = status & ~control & 0x3f;
	}
	signal_at(SIGFPE, fpe_code(raised), r->rip);
}

/* RDTSC and RDTSCP are refused to user mode in deterministic runs; this does them. */
static bool emulate_tsc(struct regs *r)
{
	u8 code[3] = {0};
	size_t n = copy_from_user_partial(code, user_linear_ip(current()), sizeof(code));
	unsigned len = 0;

	if (n >= 2 && code[0] == 0x0f && code[1] == 0x31)
		len = 2;
	else if (n == 3 && code[0] == 0x0f && code[1] == 0x01 && code[2] == 0xf9)
		len = 3;
	if (!len)
		return false;
	u64 tsc = time_user_tsc();
	r->rax = (u32)tsc;
	r->rdx = tsc >> 32;
	if (len == 3)
		r->rcx = this_cpu()->cpu;
	r->rip += len;
	return true;
}

/* Was this debug exception a single step?  DR6 is the CPU's: interrupts are off. */
static bool take_step(void)
{
	u64 dr6;

	__asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
	__asm__ volatile("mov %0, %%dr6" : : "r"(0xffff0ff0UL));
	return dr6 >> 14 & 1;
}

static void user_trap(struct regs *r, u32 vector, bool step)
{
	struct task *t = current();

	t->trap_nr = vector;
	t->trap_err = (u32)r->orig_rax;
	r->orig_rax = ~0UL; /* not a system call: nothing to restart */
	switch (vector) {
	case 0:
		signal_at(SIGFPE, 1 /* FPE_INTDIV */, r->rip);
		break;
	case VECTOR_DB:
		signal_at(SIGTRAP, step ? 2 /* TRAP_TRACE */ : 1 /* TRAP_BRKPT: INT1 */, r->rip);
		break;
	case VECTOR_BP:
		signal_at(SIGTRAP, SI_KERNEL, 0);
		break;
	case 6:
		signal_at(SIGILL, 2 /* ILL_ILLOPN */, r->rip);
		break;
	case 11:
	case 12:
		signal_at(SIGBUS, SI_KERNEL, 0);
		break;
	case VECTOR_GP:
		if ((deterministic && emulate_tsc(r)) || ioports_emulate(r))
			break;
		signal_at(SIGSEGV, SI_KERNEL, 0);
		break;
	case VECTOR_MF:
	case VECTOR_XM:
		float_trap(r, vector == VECTOR_XM);
		break;
	case VECTOR_AC:
		signal_at(SIGBUS, 1 /* BUS_ADRALN */, 0);
		break;
	default:
		signal_at(SIGSEGV, SI_KERNEL, 0);
	}
}

/* ---- from kernel mode ---------------------------------------------------------------- */

static const char *vector_name(u32 vector)
{
	static const char *const name[] = {
	    "divide error",
	    "debug",
	    "NMI",
	    "breakpoint",
	    "overflow",
	    "bound range",
	    "invalid opcode",
	    "no FPU",
	    "double fault",
	    "coprocessor",
	    "invalid TSS",
	    "segment not present",
	    "stack segment",
	    "general protection",
	    "page fault",
	    "reserved",
	    "x87 error",
	    "alignment check",
	    "machine check",
	    "SIMD error",
	};
	return vector < quire_array_size(name) ? name[vector] : "exception";
}

/*
 * IRET to user mode refused the frame (segments or an address made up by sigreturn or a
 * tracer).  The user's registers were restored already, gs too: put both back as if the
 * fault had come from user mode.  With a stack segment of the LDT the program isn't told
 * more than #GP(0): Linux doesn't know more then.
 */
_Noreturn static void bad_iret(struct regs *r, u32 vector)
{
	struct regs user = *r;

	__asm__ volatile("swapgs" : : : "memory");
	memcpy(&user.rip, (const void *)r->rsp, 5 * sizeof(u64));
	u32 err = (u32)user.orig_rax;
	if (user.ss & SELECTOR_LDT) {
		vector = VECTOR_GP;
		err = 0;
	}
	user.orig_rax = ~0UL;
	struct regs *top = task_regs(current());
	/* top overlaps r: `user` is below both */
	memcpy(top, &user, sizeof(user));
	irq_enable();
	current()->trap_nr = vector;
	current()->trap_err = err;
	signal_at(vector == VECTOR_GP ? SIGSEGV : SIGBUS, SI_KERNEL, 0);
	return_to_user(top);
}

void trap(struct regs *r, u32 vector)
{
	if (regs_user(r)) {
		bool step = vector == VECTOR_DB && take_step();
		irq_enable();
		user_trap(r, vector, step);
		return;
	}
	if (r->rip == (u64)iret_user)
		bad_iret(r, vector);
	if (vector == VECTOR_GP && extable_fixup(r))
		return;
	oops(r, "%s in the kernel, error code 0x%lx", vector_name(vector), r->orig_rax);
}

_Noreturn void trap_fatal(struct regs *r, u32 vector)
{
	u64 cr2 = read_cr2();

	if (vector == VECTOR_DF && quire_kernel_guard(cr2))
		oops(r, "kernel stack overflow");
	oops(r, "%s", vector_name(vector));
}

/* ---- page faults from kernel mode, on the interrupt stack ----------------------------- */

/* Does the kernel's page table map va?  Lazy areas have 4 KiB pages. */
static bool mapped(u64 va)
{
	u64 entry = (u64)boot_kernel_root.n << QUIRE_PAGE_SHIFT;

	for (int shift = cpu_features.la57 ? 48 : 39; shift >= 12; shift -= 9) {
		const u64 *table = phys_view(entry & 0x000ffffffffff000UL);
		entry = __atomic_load_n(&table[va >> shift & 511], __ATOMIC_RELAXED);
		if (!(entry & 1))
			return false;
		if (shift > 12 && (entry & 0x80))
			return true;
	}
	return true;
}

static bool in_area(u64 va)
{
	return va >= KERNEL_AREA_START && va < KERNEL_AREA_END;
}

/* Map the lazy page at va if it is one.  A reserve that runs low is filled before the
 * task returns to user mode. */
static bool map_lazy(u64 va, unsigned access, u64 ip)
{
	struct quire_fault_record rec;

	if (!in_area(va) || !quire_kernel_fault(va, access, ip, &rec))
		return false;
	if (quire_kernel_reserve_low())
		__atomic_store_n(&current()->sig_flag, 1u, __ATOMIC_RELAXED);
	return true;
}

/*
 * Interrupts are off, the stack is this CPU's for page faults: no second one may
 * happen here.  Null: resolved.  Else a copy of r on the interrupted stack, where
 * the fault is handled as one of the interrupted code.
 */
struct regs *pf_kernel(struct regs *r, u64 cr2)
{
	unsigned access =
	    (r->orig_rax & 2 ? QUIRE_WRITE : 0) | (r->orig_rax & 1 ? QUIRE_PRESENT : 0);

	if (in_area(cr2) && map_lazy(cr2, access, r->rip))
		return NULL;
	struct regs *copy = (struct regs *)((r->rsp - sizeof(*r)) & ~15UL);
	u64 first = (u64)copy, last = r->rsp - 1;

	for (u64 va = first;; va = last) {
		if (in_area(va) && !mapped(va) && !map_lazy(va, QUIRE_WRITE, r->rip))
			oops(r, "kernel stack overflow at 0x%lx", va);
		if (va == last)
			break;
	}
	if (quire_kernel_guard(cr2))
		oops(r, "kernel stack overflow: touched the guard page at 0x%lx", cr2);
	*copy = *r;
	return copy;
}

/* ---- back to user mode ---------------------------------------------------------------- */

/* A signal may be pending, or a reschedule, or the reserve of frames is low. */
void user_work(struct regs *r, u32 from_syscall)
{
	irq_enable();
	if (quire_kernel_reserve_low())
		quire_kernel_reserve_fill();
	if (this_cpu()->resched)
		schedule();
	exit_to_user(r, from_syscall);
}
