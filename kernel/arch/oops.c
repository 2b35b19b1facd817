// SPDX-License-Identifier: MIT
/*
 * The end: after a broken invariant or an exception the kernel can't have.
 * Prints what is known and stops the machine with status 125.  Addresses in
 * brackets are for the quire command to put names to.
 */
#include <quire/mm.h>

#include "../boot/boot.h"
#include "../lib/print.h"
#include "../proc/proc.h"
#include "../sched/sched.h"
#include "arch.h"

#define EXIT_PORT 0xf4
#define STATUS_OOPS 125

static u32 dying;

/* Only the first CPU that gets here tells its story. */
static void begin(void)
{
	irq_disable();
	if (__atomic_exchange_n(&dying, 1u, __ATOMIC_ACQ_REL)) {
		static u32 again;
		/* a second one by the same CPU: the report itself failed */
		if (__atomic_add_fetch(&again, 1, __ATOMIC_ACQ_REL) > QUIRE_MAX_CPUS)
			machine_exit(STATUS_OOPS);
		for (u64 i = 0; i < 100000000; i++)
			cpu_relax();
		machine_exit(STATUS_OOPS);
	}
	print_log_unlock();
	lapic_stop_others();
}

static bool readable(u64 a)
{
	return (a >= KERNEL_AREA_START && a < KERNEL_AREA_END) || a >= (u64)image_start ||
	       (a >= KERNEL_VIEW_BASE && a < KERNEL_VIEW_BASE + (1UL << 40));
}

void backtrace(u64 rbp)
{
	for (int depth = 0; depth < 32 && readable(rbp) && !(rbp & 7); depth++) {
		const u64 *frame = (const u64 *)rbp;
		if (frame[1] < (u64)image_start || frame[1] >= (u64)text_end)
			break;
		print_log(1, "  [<%016lx>]", frame[1]);
		if (frame[0] <= rbp)
			break;
		rbp = frame[0];
	}
}

static void print_task(void)
{
	struct task *t = current();

	print_log(1, "cpu %u, task %u (%s)%s, preemption depth %u", this_cpu()->cpu, t->tid,
		  t->comm, t->kernel_thread ? ", a kernel thread" : "", this_cpu()->preempt);
}

static void print_regs(const struct regs *r)
{
	print_log(1, "rip [<%016lx>] cs %lx rflags %lx rsp %016lx ss %lx", r->rip, r->cs, r->rflags,
		  r->rsp, r->ss);
	print_log(1, "rax %016lx rbx %016lx rcx %016lx rdx %016lx", r->rax, r->rbx, r->rcx, r->rdx);
	print_log(1, "rsi %016lx rdi %016lx rbp %016lx r8  %016lx", r->rsi, r->rdi, r->rbp, r->r8);
	print_log(1, "r9  %016lx r10 %016lx r11 %016lx r12 %016lx", r->r9, r->r10, r->r11, r->r12);
	print_log(1, "r13 %016lx r14 %016lx r15 %016lx orig %lx", r->r13, r->r14, r->r15,
		  r->orig_rax);
	print_log(1, "cr2 %016lx cr3 %016lx", read_cr2(), read_cr3());
}

_Noreturn void oops(struct regs *r, const char *fmt, ...)
{
	char text[240];
	va_list ap;
	u64 cr2 = read_cr2();

	begin();
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	print_log(1, "oops: %s", text);
	print_task();
	print_regs(r);
	if (!regs_user(r))
		backtrace(r->rbp);
	if (cr2 < QUIRE_USER_END && current()->uspace)
		quire_explain_address(current()->uspace->mm, cr2);
	else if (quire_kernel_guard(cr2))
		print_log(1, "0x%lx is a guard page below a kernel stack", cr2);
	machine_exit(STATUS_OOPS);
}

_Noreturn void panic_va(const char *fmt, __builtin_va_list ap)
{
	char text[400];

	begin();
	vsnprintf(text, sizeof(text), fmt, ap);
	print_log(1, "panic: %s", text);
	print_task();
	backtrace((u64)__builtin_frame_address(0));
	machine_exit(STATUS_OOPS);
}

_Noreturn void machine_exit(int status)
{
	irq_disable();
	outl(EXIT_PORT, (u32)status);
	for (;;)
		__asm__ volatile("hlt");
}
