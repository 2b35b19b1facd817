// SPDX-License-Identifier: MIT
/*
 * The other CPUs: starting them, all at once, and having functions run on them.
 *
 * smp_call(): each CPU has one call of its own, which its targets find through a
 * mask of callers in their own data.  The caller waits with interrupts on, so two
 * CPUs that call each other both get on.  After a short spin it halts until the
 * last target interrupts it: a virtual CPU that spins keeps the one it waits for
 * off the host's processor.
 */
#include <quire/assert.h>
#include <quire/fault.h>
#include <quire/page.h>

#include "../boot/boot.h"
#include "../lib/print.h"
#include "../lib/string.h"
#include "../sched/rq.h"
#include "../sched/sched.h"
#include "arch.h"

#define TRAMPOLINE 0x8000UL /* a page below 1 MiB, which QEMU's firmware is done with */
#define AP_STACK 8192
#define START_WAIT_NS 2000000000UL
#define CALL_SPINS 20

extern char trampoline_start[], trampoline_end[];
extern u64 ap_stack_by_apic_id[256];
u64 ap_stack_by_apic_id[256];

static u32 cpus_up = 1;
static u64 ap_stack_base[QUIRE_MAX_CPUS];

void ap_main(u32 apic_id);

void smp_prepare(void)
{
	u32 own = this_cpu()->apic_id;
	unsigned n = 1;

	for (unsigned i = 0; i < machine.nr_cpus; i++) {
		u32 id = machine.apic_id[i];
		if (id == own || id > 255 || n == QUIRE_MAX_CPUS)
			continue;
		char *stack = boot_alloc(AP_STACK, 16);
		REQUIRE(stack);
		ap_stack_base[n] = (u64)stack;
		ap_stack_by_apic_id[id] = (u64)(stack + AP_STACK);
		percpu_alloc(n++, id);
	}
	machine.nr_cpus = n;
}

/* Another CPU's first C code, on its idle stack, with the boot page tables. */
void ap_main(u32 apic_id)
{
	for (unsigned i = 1; i < machine.nr_cpus; i++)
		if (percpu_of[i]->apic_id == apic_id)
			percpu_load(percpu_of[i]);
	if (cpu_features.nx)
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1UL << 11);
	write_cr3((u64)boot_kernel_root.n << QUIRE_PAGE_SHIFT);
	cpu_init();
	percpu_init_cpu();
	fpu_init_cpu();
	lapic_init();
	sched_init_cpu(ap_stack_base[this_cpu()->cpu] + AP_STACK);
	__atomic_add_fetch(&cpus_up, 1, __ATOMIC_RELEASE);
	/* ncpus counts CPUs 0 .. n - 1, so nobody goes on before all are there */
	while (__atomic_load_n(&ncpus, __ATOMIC_ACQUIRE) == 1)
		cpu_relax();
	irq_enable();
	sched_idle();
}

void smp_start(void)
{
	if (machine.nr_cpus == 1)
		return;
	memcpy(phys_view(TRAMPOLINE), trampoline_start,
	       (uintptr_t)trampoline_end - (uintptr_t)trampoline_start);
	for (unsigned i = 1; i < machine.nr_cpus; i++)
		lapic_ipi_raw(percpu_of[i]->apic_id, 0x4500); /* INIT */
	u64 start = time_ns();
	for (unsigned i = 1; i < machine.nr_cpus; i++)
		lapic_ipi_raw(percpu_of[i]->apic_id, 0x4600 | TRAMPOLINE >> 12); /* STARTUP */
	bool again = false;
	while (__atomic_load_n(&cpus_up, __ATOMIC_ACQUIRE) < machine.nr_cpus) {
		u64 waited = time_ns() - start;
		if (waited > START_WAIT_NS)
			quire_host_panic("only %u of %u CPUs started", cpus_up, machine.nr_cpus);
		if (waited > START_WAIT_NS / 10 && !again) {
			again = true;
			for (unsigned i = 1; i < machine.nr_cpus; i++)
				lapic_ipi_raw(percpu_of[i]->apic_id, 0x4600 | TRAMPOLINE >> 12);
		}
		cpu_relax();
	}
	__atomic_store_n(&ncpus, machine.nr_cpus, __ATOMIC_RELEASE);
}

void smp_send_resched(unsigned cpu)
{
	lapic_ipi(cpu, VECTOR_RESCHED);
}

/* ---- calls ------------------------------------------------------------------------------ */

void smp_call_interrupt(void)
{
	struct arch_cpu *own = this_arch();
	u64 me = 1UL << this_cpu()->cpu;
	u32 from = __atomic_exchange_n(&own->call_from, 0, __ATOMIC_ACQ_REL);

	while (from) {
		unsigned caller = (unsigned)__builtin_ctz(from);
		struct arch_cpu *a = percpu_of[caller]->arch;
		from &= from - 1;
		a->call.fn(a->call.arg);
		if (!__atomic_and_fetch(&a->call.pending, ~me, __ATOMIC_SEQ_CST) &&
		    __atomic_load_n(&a->call.asleep, __ATOMIC_SEQ_CST))
			lapic_ipi(caller, VECTOR_CALL);
	}
}

static void wait_for_call(struct arch_cpu *own)
{
	bool irqs = irq_enabled();

	for (unsigned spins = 0; __atomic_load_n(&own->call.pending, __ATOMIC_ACQUIRE); spins++) {
		if (!irqs)
			smp_call_interrupt();
		if (!irqs || spins < CALL_SPINS) {
			cpu_relax();
			continue;
		}
		irq_disable();
		__atomic_store_n(&own->call.asleep, 1, __ATOMIC_SEQ_CST);
		/* STI takes effect after the next instruction: the wake-up isn't missed */
		if (__atomic_load_n(&own->call.pending, __ATOMIC_SEQ_CST))
			__asm__ volatile("sti; hlt" : : : "memory");
		else
			irq_enable();
		__atomic_store_n(&own->call.asleep, 0, __ATOMIC_RELAXED);
	}
}

void smp_call(u64 cpu_mask, void (*fn)(void *), void *arg)
{
	quire_host_preempt_disable();
	struct arch_cpu *own = this_arch();
	u32 me = 1u << this_cpu()->cpu;

	cpu_mask &= ((1UL << ncpus) - 1) & ~(u64)me;
	if (cpu_mask) {
		own->call.fn = fn;
		own->call.arg = arg;
		__atomic_store_n(&own->call.pending, cpu_mask, __ATOMIC_RELEASE);
		for (u64 m = cpu_mask; m; m &= m - 1) {
			unsigned cpu = (unsigned)__builtin_ctzl(m);
			struct arch_cpu *a = percpu_of[cpu]->arch;
			if (!__atomic_fetch_or(&a->call_from, me, __ATOMIC_ACQ_REL))
				lapic_ipi(cpu, VECTOR_CALL);
		}
		wait_for_call(own);
	}
	quire_host_preempt_enable();
}
