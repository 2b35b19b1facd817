// SPDX-License-Identifier: MIT
/*
 * The local APIC of each CPU (in its memory-mapped or its x2APIC form), its timer,
 * and the I/O APICs.  (Intel SDM volume 3, chapter 11.)
 *
 * A local APIC is used by its own CPU only, with interrupts off where two writes
 * belong together.  I/O APIC entries are written while an interrupt is registered,
 * under ioapic_lock.
 */
#include <quire/assert.h>
#include <quire/lock.h>

#include "../boot/boot.h"
#include "arch.h"

#define LAPIC_ID 0x20
#define LAPIC_TPR 0x80
#define LAPIC_EOI 0xb0
#define LAPIC_SVR 0xf0
#define LAPIC_ICR 0x300
#define LAPIC_ICR_HIGH 0x310
#define LAPIC_LVT_TIMER 0x320
#define LAPIC_LVT_LINT0 0x350
#define LAPIC_LVT_LINT1 0x360
#define LAPIC_LVT_ERROR 0x370
#define LAPIC_TIMER_INITIAL 0x380
#define LAPIC_TIMER_CURRENT 0x390
#define LAPIC_TIMER_DIVIDE 0x3e0
#define LVT_MASKED 0x10000
#define LVT_TSC_DEADLINE 0x40000
#define MSR_APIC_BASE 0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC 0x800

static volatile u32 *lapic;
static struct spinlock ioapic_lock = SPINLOCK_INIT(RANK_HOST_INNER + 3);

static u32 lapic_read(unsigned reg)
{
	return cpu_features.x2apic ? (u32)rdmsr(MSR_X2APIC + reg / 16) : lapic[reg / 4];
}

static void lapic_write(unsigned reg, u32 v)
{
	if (cpu_features.x2apic)
		wrmsr(MSR_X2APIC + reg / 16, v);
	else
		lapic[reg / 4] = v;
}

void lapic_init(void)
{
	u64 base = rdmsr(MSR_APIC_BASE);

	lapic = phys_view(machine.lapic);
	wrmsr(MSR_APIC_BASE, base | 1UL << 11 | (cpu_features.x2apic ? 1UL << 10 : 0));
	lapic_write(LAPIC_TPR, 0);
	lapic_write(LAPIC_LVT_LINT0, LVT_MASKED);
	lapic_write(LAPIC_LVT_LINT1, LVT_MASKED);
	lapic_write(LAPIC_LVT_ERROR, LVT_MASKED);
	lapic_write(LAPIC_SVR, 0x100 | VECTOR_SPURIOUS);
	lapic_write(LAPIC_TIMER_DIVIDE, 0xb); /* by 1 */
	lapic_write(LAPIC_TIMER_INITIAL, 0);
	lapic_write(LAPIC_LVT_TIMER,
		    cpu_features.tsc_deadline ? LVT_TSC_DEADLINE | VECTOR_TIMER : VECTOR_TIMER);
	u32 id = lapic_read(LAPIC_ID);
	this_cpu()->apic_id = cpu_features.x2apic ? id : id >> 24;
}

void lapic_eoi(void)
{
	lapic_write(LAPIC_EOI, 0);
}

void lapic_ipi_raw(u32 apic_id, u32 command)
{
	if (cpu_features.x2apic) {
		wrmsr(MSR_X2APIC + LAPIC_ICR / 16, (u64)apic_id << 32 | command);
		return;
	}
	u64 flags;
	__asm__ volatile("pushfq; popq %0; cli" : "=r"(flags) : : "memory");
	while (lapic_read(LAPIC_ICR) & 1 << 12) /* the last one is still on its way */
		cpu_relax();
	lapic_write(LAPIC_ICR_HIGH, apic_id << 24);
	lapic_write(LAPIC_ICR, command);
	if (flags & RFLAGS_IF)
		irq_enable();
}

void lapic_ipi(unsigned cpu, u8 vector)
{
	/* what was written before must be visible when the interrupt arrives */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	lapic_ipi_raw(percpu_of[cpu]->apic_id, 0x4000u | vector);
}

void lapic_stop_others(void)
{
	for (unsigned i = 0; i < ncpus; i++)
		if (i != this_cpu()->cpu && percpu_of[i])
			lapic_ipi(i, VECTOR_STOP);
}

/* ---- the timer ------------------------------------------------------------------------ */

void lapic_timer_calibration_start(void)
{
	lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
	lapic_write(LAPIC_TIMER_INITIAL, ~0u);
}

u32 lapic_timer_count(void)
{
	return lapic_read(LAPIC_TIMER_CURRENT);
}

/* Without a TSC deadline the timer counts the APIC's bus clock, which QEMU and KVM
 * have at 1 GHz: one count is 1 ns. */
void lapic_timer_set(u64 deadline_ns)
{
	struct arch_cpu *a = this_arch();

	if (deadline_ns == a->lapic_deadline)
		return;
	a->lapic_deadline = deadline_ns;
	if (cpu_features.tsc_deadline) {
		wrmsr(MSR_TSC_DEADLINE, deadline_ns == ~0UL ? 0 : time_to_tsc(deadline_ns));
		return;
	}
	u64 count = 0;
	if (deadline_ns != ~0UL) {
		s64 left = (s64)(deadline_ns - time_ns());
		count = left < 1 ? 1 : quire_min((u64)left, 0xfffffffful);
	}
	lapic_write(LAPIC_TIMER_INITIAL, (u32)count);
}

/* ---- the I/O APICs --------------------------------------------------------------------- */

static void ioapic_write(volatile u32 *io, u32 reg, u32 v)
{
	io[0] = reg;
	io[4] = v;
}

/* Input gsi: level-triggered, active high, to one CPU. */
void ioapic_route(unsigned gsi, u8 vector, u32 apic_id)
{
	for (unsigned i = 0; i < machine.nr_ioapics; i++) {
		volatile u32 *io = phys_view(machine.ioapic[i].phys);
		u32 base = machine.ioapic[i].gsi_base;
		unsigned long irq = spin_lock_irq(&ioapic_lock);

		io[0] = 1;
		u32 inputs = (io[4] >> 16 & 0xff) + 1;
		if (gsi >= base && gsi < base + inputs) {
			u32 reg = 0x10 + 2 * (gsi - base);
			ioapic_write(io, reg + 1, apic_id << 24);
			ioapic_write(io, reg, 1u << 15 | vector);
		}
		spin_unlock_irq(&ioapic_lock, irq);
	}
}
