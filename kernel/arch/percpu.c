// SPDX-License-Identifier: MIT
/*
 * Each CPU's own data: struct percpu, GDT, TSS and interrupt stacks; and the
 * registers that point at them.  Written once by its CPU, then only read.
 */
#include <quire/assert.h>

#include "../boot/boot.h"
#include "../lib/string.h"
#include "../sched/sched.h"
#include "../vdso/vvar.h"
#include "arch.h"

/* entry.S knows these by number. */
_Static_assert(offsetof(struct percpu, self) == 0, "entry.S");
_Static_assert(offsetof(struct percpu, kernel_rsp) == 8, "entry.S");
_Static_assert(offsetof(struct percpu, user_rsp) == 16, "entry.S");
_Static_assert(offsetof(struct percpu, current) == 24, "entry.S");
_Static_assert(offsetof(struct percpu, preempt) == 32, "entry.S");
_Static_assert(offsetof(struct percpu, resched) == 40, "entry.S");
_Static_assert(sizeof(struct regs) == 21 * 8, "entry.S");

struct percpu *percpu_of[QUIRE_MAX_CPUS];
unsigned ncpus = 1;

static struct percpu boot_percpu;
static struct arch_cpu boot_arch __attribute__((aligned(64)));
static char boot_ist[IST_END - 1][IST_SIZE] __attribute__((aligned(16)));
/* Stands for the running task until the scheduler is there. */
static struct task boot_task;

/* At the top of every fatal interrupt's stack: whose it is (see entry.S). */
static void prepare(struct percpu *p, struct arch_cpu *a, char *stacks)
{
	p->self = p;
	p->arch = a;
	p->tss = &a->tss;
	a->lapic_deadline = ~0UL;
	for (int i = IST_PF; i < IST_END; i++) {
		char *top = stacks + i * IST_SIZE - 16;
		*(struct percpu **)top = p;
		a->tss.ist[i] = (u64)top;
	}
	a->tss.iomap = sizeof(struct tss); /* beyond the limit: no ports */
	a->tss.end = 0xff;
	percpu_of[p->cpu] = p;
}

void percpu_load(struct percpu *p)
{
	wrmsr(MSR_GS_BASE, (u64)p);
	wrmsr(MSR_KERNEL_GS_BASE, 0);
}

void percpu_init_boot(void)
{
	boot_percpu.preempt = 1;
	boot_percpu.current = &boot_task;
	boot_task.kernel_thread = true;
	prepare(&boot_percpu, &boot_arch, boot_ist[0]);
	percpu_load(&boot_percpu);
}

struct percpu *percpu_alloc(unsigned cpu, u32 apic_id)
{
	struct percpu *p = boot_alloc(sizeof(*p), 64);
	struct arch_cpu *a = boot_alloc(sizeof(*a), 64);
	char *stacks = boot_alloc((IST_END - 1) * IST_SIZE, 16);

	REQUIRE(p && a && stacks);
	p->cpu = cpu;
	p->apic_id = apic_id;
	p->preempt = 1;
	prepare(p, a, stacks);
	return p;
}

void percpu_init_cpu(void)
{
	struct percpu *p = this_cpu();
	struct arch_cpu *a = p->arch;
	u64 tss = (u64)&a->tss, limit = sizeof(struct tss) - 1;

	a->gdt[KERNEL_CS / 8] = 0x00af9b000000ffff;
	a->gdt[KERNEL_SS / 8] = 0x00cf93000000ffff;
	/* SYSRET takes SS from STAR + 8 and CS from STAR + 16: 0x2b and 0x33; for compatibility
	 * mode it takes CS from STAR: 0x23 */
	a->gdt[USER32_CS / 8] = 0x00cffb000000ffff;
	a->gdt[USER_SS / 8] = 0x00cff3000000ffff;
	a->gdt[USER_CS / 8] = 0x00affb000000ffff;
	/* its limit tells programs their CPU's number: data, for user mode, read-only, and
	 * expanding down, as on Linux */
	a->gdt[CPU_NUMBER_SELECTOR / 8] = 0x0040f50000000000 | p->cpu;
	a->gdt[TSS_SELECTOR / 8] =
	    limit | (tss & 0xffffff) << 16 | 0x89UL << 40 | (tss >> 24 & 0xff) << 56;
	a->gdt[TSS_SELECTOR / 8 + 1] = tss >> 32;
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) gdtr = {sizeof(a->gdt) - 1, (u64)a->gdt};
	__asm__ volatile("lgdt %0\n\t"
			 "pushq %1\n\t"
			 "leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "lretq\n"
			 "1:\n\t"
			 "movl %2, %%ss\n\t"
			 "movl %3, %%ds\n\t"
			 "movl %3, %%es\n\t"
			 "ltr %w4\n\t"
			 "lldt %w3"
			 :
			 : "m"(gdtr), "i"(KERNEL_CS), "r"(KERNEL_SS), "r"(0), "r"(TSS_SELECTOR)
			 : "rax", "memory");
	traps_load();
	wrmsr(MSR_STAR, (u64)(USER_SS - 8) << 48 | (u64)KERNEL_CS << 32);
	wrmsr(MSR_LSTAR, (u64)syscall_entry);
	wrmsr(MSR_CSTAR, (u64)syscall_compat);
	wrmsr(MSR_SFMASK, RFLAGS_IF | RFLAGS_TF | RFLAGS_DF | RFLAGS_AC | 3UL << 12 | 1UL << 14);
	if (cpu_features.rdtscp || cpu_features.rdpid)
		wrmsr(MSR_TSC_AUX, p->cpu);
}

void ports_load(const u8 *denied)
{
	struct tss *tss = this_cpu()->tss;

	if (denied)
		memcpy(tss->ports, denied, sizeof(tss->ports));
	tss->iomap = denied ? offsetof(struct tss, ports) : sizeof(struct tss);
}

/* Offsets for assembly, as absolute symbols. */
__attribute__((used)) static void assembly_offsets(void)
{
	__asm__ volatile(".globl TASK_SIG_FLAG\n\t.set TASK_SIG_FLAG, %c0"
			 :
			 : "i"(offsetof(struct task, sig_flag)));
}
