// SPDX-License-Identifier: MIT
/*
 * Interrupts, in two halves.
 *
 * The first half (irq_handler, interrupts off) only notes what came.  The second
 * (soft_run) calls timer functions and device handlers, with interrupts on,
 * once the CPU is in no section with preemption disabled: right away, or else when
 * the interrupted code enables preemption.  A device's interrupt is acknowledged to
 * the APIC after its handler ran, so that a level-triggered line doesn't come again
 * and again; the CPU's own vectors have a higher priority and still get through.
 *
 * The table of handlers is written under register_lock and only grows.
 */
#include <quire/assert.h>
#include <quire/lock.h>
#include <quire/page.h>

#include "../lib/print.h"
#include "../sched/rq.h"
#include "../sched/sched.h"
#include "arch.h"

struct handler {
	void (*fn)(void *arg);
	void *arg;
};
static struct handler handlers[IRQ_COUNT];
static struct spinlock register_lock = SPINLOCK_INIT(RANK_HOST_INNER + 2);

void irq_handler(struct regs *r, u32 vector);

void irq_init(void)
{
	lapic_init();
}

void irq_register(unsigned gsi, void (*fn)(void *arg), void *arg)
{
	REQUIRE(gsi < IRQ_COUNT);
	unsigned long irq = spin_lock_irq(&register_lock);
	REQUIRE(!handlers[gsi].fn);
	handlers[gsi].arg = arg;
	__atomic_store_n(&handlers[gsi].fn, fn, __ATOMIC_RELEASE);
	spin_unlock_irq(&register_lock, irq);
	ioapic_route(gsi, (u8)(IRQ_VECTORS + gsi), percpu_of[0]->apic_id);
}

static void run_device(struct arch_cpu *a)
{
	unsigned gsi = (unsigned)__builtin_ctzl(a->soft_irqs);
	struct handler *h = &handlers[gsi];

	a->soft_irqs &= a->soft_irqs - 1;
	irq_enable();
	if (h->fn)
		h->fn(h->arg);
	irq_disable();
	lapic_eoi();
}

void soft_run(void)
{
	struct percpu *p = this_cpu();
	struct arch_cpu *a = p->arch;
	bool irqs = irq_enabled();

	irq_disable();
	/* the flag keeps preempt_enable() inside a handler from coming here again; depth 1
	 * makes interrupts that come meanwhile leave their second half to this loop */
	p->preempt++;
	a->in_soft = true;
	while (soft_pending()) {
		if (a->soft_timer) {
			a->soft_timer = false;
			irq_enable();
			timer_interrupt();
			irq_disable();
		} else {
			run_device(a);
		}
	}
	resched_clear(RESCHED_SOFT);
	a->in_soft = false;
	p->preempt--;
	if (irqs)
		irq_enable();
}

static void note(struct regs *r, u32 vector)
{
	struct arch_cpu *a = this_arch();

	if (vector >= IRQ_VECTORS && vector < IRQ_VECTORS + IRQ_COUNT)
		a->irqs[vector - IRQ_VECTORS]++;
	else
		a->own_irqs++;
	switch (vector) {
	case VECTOR_TIMER:
		a->lapic_deadline = ~0UL;
		a->soft_timer = true;
		sched_tick(regs_user(r));
		lapic_eoi();
		break;
	case VECTOR_RESCHED:
		lapic_eoi();
		resched_set(RESCHED_WANTED);
		break;
	case VECTOR_CALL:
		lapic_eoi();
		smp_call_interrupt();
		break;
	case VECTOR_STOP:
		for (;;)
			__asm__ volatile("cli; hlt");
	case VECTOR_SPURIOUS:
		break;
	default:
		if (vector >= IRQ_VECTORS && vector < IRQ_VECTORS + IRQ_COUNT)
			a->soft_irqs |= 1UL << (vector - IRQ_VECTORS);
		else
			lapic_eoi();
	}
}

void irq_handler(struct regs *r, u32 vector)
{
	struct percpu *p = this_cpu();

	sched_irq_enter();
	note(r, vector);
	if (p->preempt) {
		if (soft_pending())
			resched_set(RESCHED_SOFT);
		return;
	}
	if (soft_pending())
		soft_run();
	/* user mode reschedules on its way out; the kernel is preempted here */
	if (p->resched && !regs_user(r))
		sched_preempt_irq();
}

u64 irq_total(u64 by_input[IRQ_COUNT])
{
	u64 sum = 0;

	for (unsigned i = 0; i < IRQ_COUNT; i++)
		by_input[i] = 0;
	for (unsigned cpu = 0; cpu < ncpus; cpu++) {
		const struct arch_cpu *a = percpu_of[cpu]->arch;

		sum += __atomic_load_n(&a->own_irqs, __ATOMIC_RELAXED);
		for (unsigned i = 0; i < IRQ_COUNT; i++)
			by_input[i] += __atomic_load_n(&a->irqs[i], __ATOMIC_RELAXED);
	}
	for (unsigned i = 0; i < IRQ_COUNT; i++)
		sum += by_input[i];
	return sum;
}
