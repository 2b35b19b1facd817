/* SPDX-License-Identifier: MIT */
/*
 * The CPU as the rest of the kernel sees it: saved registers, per-CPU data
 * through gs, and the few instructions that C can't say.
 */
#ifndef KERNEL_ARCH_CPU_H
#define KERNEL_ARCH_CPU_H

#include <quire/errno.h>
#include <quire/types.h>

/* What entry code saves on the kernel stack, for traps, interrupts and system calls. */
struct regs {
	u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8;
	u64 rax, rcx, rdx, rsi, rdi;
	u64 orig_rax; /* system call number, or the error code, or -1 (interrupts) */
	u64 rip, cs, rflags, rsp, ss;
};

static inline bool regs_user(const struct regs *r)
{
	return r->cs & 3;
}

/* The GDT's selectors.  Linux's values: programs look at them, and may try any. */
#define KERNEL_CS 0x10
#define KERNEL_SS 0x18
#define USER32_CS 0x23 /* 32-bit code; this, SS and CS as SYSRET wants them */
#define USER_SS 0x2b
#define USER_CS 0x33
#define TSS_SELECTOR 0x40
#define LDT_SELECTOR 0x50
#define SELECTOR_LDT 4 /* the bit that says: of the LDT */

/* A program's segment registers besides CS and SS, in the order of Linux's struct user. */
enum { SEG_DS, SEG_ES, SEG_FS, SEG_GS, SEG_COUNT };
union selectors {
	u16 sel[SEG_COUNT];
	u64 all;
};

/* A local descriptor table (proc/ldt.c).  It never changes once it is an address space's. */
struct ldt {
	u32 count;
	u64 *entry;
};

#define RFLAGS_IF (1UL << 9)
#define RFLAGS_TF (1UL << 8)
#define RFLAGS_DF (1UL << 10)
#define RFLAGS_AC (1UL << 18)

/* The kernel half: linear view of all memory, lazy areas (stacks), image. */
#define KERNEL_VIEW_BASE 0xffff888000000000UL
#define KERNEL_AREA_START 0xffffc90000000000UL
#define KERNEL_AREA_END 0xffffc98000000000UL
#define STACK16_BASE 0xffffff0000000000UL /* 4 GiB: see arch/segment.c */
#define KERNEL_IMAGE_BASE 0xffffffff80000000UL

struct task;
struct tss;

/* One for each CPU; gs points at it in kernel mode.  The first words are known to
 * entry.S by offset (static assertions in arch/percpu.c). */
struct percpu {
	struct percpu *self;  /* 0 */
	u64 kernel_rsp;       /* 8: top of the current task's kernel stack */
	u64 user_rsp;         /* 16: scratch for SYSCALL entry */
	struct task *current; /* 24 */
	u32 preempt;          /* 32: depth; 0 = may be preempted */
	u32 cpu;              /* 36: index, 0 .. ncpus - 1 */
	u32 resched;          /* 40: a reschedule is wanted */
	u32 irq_depth;        /* 44 */
	u32 apic_id;
	struct tss *tss;
	void *arch;  /* arch/'s own */
	void *sched; /* sched/'s own: run queue */
};

static inline struct percpu *this_cpu(void)
{
	struct percpu *p;
	__asm__ volatile("mov %%gs:0, %0" : "=r"(p));
	return p;
}
/* The running task.  Stable however the task moves. */
static inline struct task *current(void)
{
	struct task *t;
	__asm__ volatile("mov %%gs:24, %0" : "=r"(t));
	return t;
}

extern unsigned ncpus; /* CPUs that run */

extern struct percpu *percpu_of[QUIRE_MAX_CPUS]; /* by index; null: no such CPU */

/* What this machine's CPUs can do (the boot CPU's answers; all are taken to be alike). */
struct cpu_features {
	bool nx, gbpages, la57, smep, smap, umip, pcid, invpcid, fsgsbase, erms, pku;
	bool xsave, xsaveopt, x2apic, tsc_deadline, rdtscp, rdpid, kvm;
};
extern struct cpu_features cpu_features;

static inline void outb(u16 port, u8 v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}
static inline u8 inb(u16 port)
{
	u8 v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline void outl(u16 port, u32 v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}
static inline u32 inl(u16 port)
{
	u32 v;
	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (u64)hi << 32 | lo;
}
static inline void wrmsr(u32 msr, u64 v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
static inline u64 rdtsc(void)
{
	u32 lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}
static inline void cpuid(u32 leaf, u32 sub, u32 out[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
			 : "a"(leaf), "c"(sub));
}
/* What the running thread may do with memory of each protection key: two bits a key, no
 * access and no write.  Only where the CPU has them (cpu_features.pku). */
static inline u32 pkru_read(void)
{
	u32 lo, hi;
	__asm__ volatile("rdpkru" : "=a"(lo), "=d"(hi) : "c"(0));
	return lo;
}
static inline void pkru_write(u32 v)
{
	__asm__ volatile("wrpkru" : : "a"(v), "c"(0), "d"(0) : "memory");
}
static inline void cpu_relax(void)
{
	__asm__ volatile("pause");
}
static inline void irq_enable(void)
{
	__asm__ volatile("sti" : : : "memory");
}
static inline void irq_disable(void)
{
	__asm__ volatile("cli" : : : "memory");
}

static inline bool irq_enabled(void)
{
	u64 f;
	__asm__ volatile("pushfq; popq %0" : "=r"(f));
	return f & RFLAGS_IF;
}
static inline u64 read_cr2(void)
{
	u64 v;
	__asm__ volatile("mov %%cr2, %0" : "=r"(v));
	return v;
}
static inline u64 read_cr3(void)
{
	u64 v;
	__asm__ volatile("mov %%cr3, %0" : "=r"(v));
	return v;
}
static inline void write_cr3(u64 v)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}

/* ---- arch/ to the rest ----------------------------------------------------------- */

/*
 * irq.c.  Call fn(arg) for I/O APIC input gsi (level, active high).
 *
 * Device handlers and timer functions run in "soft" context: on the CPU that took
 * the interrupt, preemption off, interrupts on, and never inside a section that has
 * preemption disabled.  So no spinlock is held by the CPU when they run: they may
 * take ordinary spinlocks and allocate GFP_ATOMIC, and code that shares a spinlock
 * with them need not turn interrupts off.  They may not sleep.
 */
void irq_register(unsigned gsi, void (*fn)(void *arg), void *arg);

/* time.c.  Monotonic nanoseconds since boot; wall clock = that + wall_offset_ns. */
u64 time_ns(void);
/* The boot code's first act, and the ns since then. */
void time_at_entry(void);
u64 time_since_entry(void);
/* time_ns() is (counter - base) * ns_per_tick >> 32; ns_per_tick 0: it isn't as simple. */
void time_scale(u64 *base, u64 *ns_per_tick);
extern u64 wall_offset_ns;
/* Deterministic runs: what passes between these two isn't seen by time_ns(), but for
 * a fixed charge_ns; interrupts are off in between (waiting for a device by polling). */
void time_freeze(void);
void time_thaw(u64 charge_ns);
extern bool deterministic;

/*
 * fpu.c.  The task's extended state: an XSAVE area of fpu_size() bytes, and apart from it
 * PKRU, since that also says what the kernel may touch for the program.  In what programs
 * see, PKRU is a part of the area, at fpu_pkru_offset() of fpu_user_size() bytes.
 */
size_t fpu_size(void);
size_t fpu_user_size(void);
size_t fpu_pkru_offset(void);                     /* 0: there is none */
u64 fpu_features(void);                           /* XCR0; 0: no XSAVE, just FXSAVE */
bool fpu_has_pkru(void);                          /* could it be switched on? */
int fpu_init_task(struct task *t);                /* 0 or -ENOMEM: a clean state */
int fpu_copy(struct task *dst, struct task *src); /* fork: src is current */
void fpu_reset(void);                             /* exec, a signal's handler */
void fpu_free(struct task *t);
/* current's state; a zeroed kernel buffer, 64-aligned, of fpu_size() */
void fpu_save_to(void *xsave_area);
/* The area's header and MXCSR are checked: -EINVAL.  PKRU apart, where there is one. */
int fpu_restore_from(const void *xsave_area, u32 pkru);
extern const struct quire_pkey_ops pkru_ops;
/* The same of a task that is off its CPU and stays so.  size: fpu_size(), or the 512 bytes
 * of FXSAVE, which leave the rest alone. */
void fpu_image(struct task *t, void *xsave_area);
int fpu_image_set(struct task *t, const void *xsave_area, size_t size);

/* entry.S / switch.S */
void ret_from_fork(void); /* where a new task starts: calls sched's finish, then returns to user */

/* extable.c: an instruction that may fault on a user address has an entry; fixup
 * moves r->rip to its landing place.  False: there is none. */
bool extable_covers(u64 ip);
bool extable_fixup(struct regs *r);

/*
 * segment.c: the running task's segment registers and the bases of FS and GS (the user's),
 * which user mode may change by itself; the task struct holds them while it is off the CPU.
 */
void segments_save(struct task *t); /* the running task's, into t, which may be another */
void segments_switch(struct task *from, struct task *to); /* interrupts off */
void segments_reset(void);                                /* exec: all 0 */
/* seg: SEG_FS or SEG_GS.  Setting the base makes the selector 0. */
u64 segment_base(unsigned seg);
void segment_base_set(unsigned seg, u64 base);
/* Make l (null: none) this CPU's LDT.  Interrupts off. */
void ldt_load(const struct ldt *l);
/* The loaded LDT is a new one: DS and ES hold what it says.  Interrupts off. */
void segments_refresh(void);
/* percpu.c: user mode may use the ports whose bits are 0 in this (null: none), on this CPU.
 * Interrupts off. */
#define IO_PORTS 65536u
void ports_load(const u8 *denied);
/* Could SS in user mode hold this, in 64-bit code, too? */
bool selector_fits_ss(u16 sel);
/* The base and limit in a descriptor. */
static inline u32 descriptor_base(u64 d)
{
	return (u32)(d >> 16 & 0xffffff) | (u32)(d >> 56) << 24;
}
static inline u32 descriptor_limit(u64 d)
{
	u32 limit = (u32)(d & 0xffff) | (u32)(d >> 32 & 0xf0000);
	return d >> 55 & 1 ? limit << 12 | 0xfff : limit;
}

/* oops.c: print registers, the fault's explanation, a backtrace; end with status 125. */
_Noreturn void oops(struct regs *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same without registers, for quire_host_panic(). */
_Noreturn void panic_va(const char *fmt, __builtin_va_list ap);
void backtrace(u64 rbp);
/* The machine ends; status is what `quire run` exits with. */
_Noreturn void machine_exit(int status);

/* smp.c: run fn(arg) on every other CPU in mask and wait for it.  Interrupts on. */
void smp_call(u64 cpu_mask, void (*fn)(void *), void *arg);
/* Interrupt a CPU so that it looks at its resched flag. */
void smp_send_resched(unsigned cpu);

#endif
