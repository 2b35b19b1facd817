/* SPDX-License-Identifier: MIT */
/* Between the files of arch/, and to boot/ and sched/. */
#ifndef KERNEL_ARCH_H
#define KERNEL_ARCH_H

#include "cpu.h"

/* Interrupt vectors.  Device inputs from IRQ_VECTORS on, the CPU's own at the top. */
#define VECTOR_DB 1
#define VECTOR_NMI 2
#define VECTOR_BP 3
#define VECTOR_OF 4
#define VECTOR_DF 8
#define VECTOR_GP 13
#define VECTOR_PF 14
#define VECTOR_MF 16
#define VECTOR_AC 17
#define VECTOR_MC 18
#define VECTOR_XM 19
#define IRQ_VECTORS 0x30
#define IRQ_COUNT 64
#define VECTOR_TIMER 0xf0
#define VECTOR_RESCHED 0xf1
#define VECTOR_CALL 0xf2
#define VECTOR_STOP 0xf3
#define VECTOR_SPURIOUS 0xff

/* MSRs */
#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_CSTAR 0xc0000083
#define MSR_SFMASK 0xc0000084
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_TSC_AUX 0xc0000103

struct tss {
	u32 reserved0;
	u64 rsp[3];
	u64 ist[8]; /* 1..7; the first is reserved */
	u64 reserved2;
	u16 reserved3, iomap;
	u8 ports[IO_PORTS / 8]; /* in force where iomap says so */
	u8 end;                 /* all ones: the CPU reads two bytes for a port */
} __attribute__((packed));

/* Interrupt stacks: the page fault's own, the interrupts', and one for each way to die. */
enum { IST_PF = 1, IST_IRQ, IST_DF, IST_NMI, IST_MC, IST_END };
#define IST_SIZE 4096

/* What a CPU needs for itself: one allocation. */
struct arch_cpu {
	u64 gdt[16];
	const struct ldt *ldt; /* loaded; null: none */
	struct tss tss;
	struct task *fpu_owner; /* whose extended state the registers hold */
	u64 soft_irqs;          /* device interrupts taken but not handled yet: bit per input */
	bool soft_timer;        /* a timer interrupt to be handled */
	bool in_soft;           /* soft work is running */
	u32 call_from;          /* smp.c: CPUs that want a call run here */
	struct {                /* smp.c: the call this CPU asks of others */
		void (*fn)(void *);
		void *arg;
		u64 pending;
		u32 asleep; /* the caller has halted until pending is 0 */
	} call;
	u64 irqs[IRQ_COUNT]; /* taken, by input; this CPU's own: irq.c's irq_total() */
	u64 own_irqs;
	u64 lapic_deadline; /* ns the timer is programmed for; ~0: off */
};

static inline struct arch_cpu *this_arch(void)
{
	return this_cpu()->arch;
}

/* percpu.c */
void percpu_init_boot(void);                            /* CPU 0, before anything else */
struct percpu *percpu_alloc(unsigned cpu, u32 apic_id); /* another CPU; before quire_init() */
void percpu_load(struct percpu *p);                     /* make gs point at it */
void percpu_init_cpu(void);                             /* GDT, TSS, IDT, SYSCALL of this CPU */

/* cpu.c */
void cpu_init_boot(void); /* features, patching; then this CPU's control registers */
void cpu_init(void);      /* control registers of this CPU */

/* traps.c */
void traps_init(void); /* the IDT */
void traps_load(void);

/* irq.c, apic.c */
/* Interrupts taken so far, by input, and in all (the CPUs' own among them). */
u64 irq_total(u64 by_input[IRQ_COUNT]);
void irq_init(void);
void lapic_init(void);
void lapic_eoi(void);
void lapic_ipi(unsigned cpu, u8 vector);
void lapic_ipi_raw(u32 apic_id, u32 command); /* INIT and STARTUP */
void lapic_stop_others(void);
u32 lapic_timer_count(void);
void lapic_timer_calibration_start(void);
void lapic_timer_set(u64 deadline_ns); /* interrupt at that time_ns(); ~0: none */
void ioapic_route(unsigned gsi, u8 vector, u32 apic_id);
/* Run what interrupts left to do.  Preemption depth 0, interrupts on or off. */
void soft_run(void);
static inline bool soft_pending(void)
{
	struct arch_cpu *a = this_arch();
	return a->soft_irqs || a->soft_timer;
}

/* time.c */
void time_init(void);
u64 time_to_tsc(u64 ns); /* the TSC's value at that time_ns() */
u64 time_user_tsc(void); /* what an emulated RDTSC gives */

/* boot.c: a page for all CPUs, which is also at STACK16_BASE, once every 64 KiB */
extern char *stack16_page;

/* fpu.c */
void fpu_init(void);
void fpu_init_cpu(void);
void fpu_switch(struct task *from, struct task *to);

/* smp.c */
void smp_prepare(void); /* allocate what the other CPUs need */
void smp_start(void);
void smp_call_interrupt(void);

/* entry.S */
extern char syscall_entry[], syscall_compat[], iret_user[];
_Noreturn void return_to_user(struct regs *r);

/* resched flag bits in percpu.resched */
#define RESCHED_WANTED 1u
#define RESCHED_SOFT 2u
/* One instruction, so that an interrupt can't come in between; no other CPU writes it. */
static inline void resched_set(u32 bits)
{
	__asm__ volatile("orl %0, %%gs:40" : : "ri"(bits) : "memory", "cc");
}
static inline void resched_clear(u32 bits)
{
	__asm__ volatile("andl %0, %%gs:40" : : "ri"(~bits) : "memory", "cc");
}

#endif
