// SPDX-License-Identifier: MIT
/*
 * Extended state (x87, SSE, AVX...): saved whenever a task leaves a CPU, restored when
 * it comes back, unless the registers still hold its state.  The kernel itself
 * uses none of it.  (Intel SDM volume 1, chapter 13.)
 *
 * A task's area is fpu_size() bytes, then the number of the CPU that restored it
 * last.  Only the task itself, or the scheduler that switches it, touches it.
 */
#include <quire/assert.h>
#include <quire/page.h>

#include "../lib/string.h"
#include "../sched/sched.h"
#include "arch.h"

#define XCR0_WANTED 0xe7UL /* x87, SSE, AVX, AVX-512 (three parts) */
#define LEGACY_SIZE 512
#define HEADER_END 576
#define MXCSR_DEFAULT 0x1f80

static size_t area_size = LEGACY_SIZE;
static u64 xcr0;
static u32 mxcsr_mask = 0xffbf;
static struct quire_kmem *cache;

static u32 *last_cpu(struct task *t)
{
	return (u32 *)((char *)t->xsave + area_size);
}

static void save(void *area)
{
	if (cpu_features.xsaveopt)
		__asm__ volatile("xsaveopt64 (%0)" : : "r"(area), "a"(-1), "d"(-1) : "memory");
	else if (cpu_features.xsave)
		__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(-1), "d"(-1) : "memory");
	else
		__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static void restore(const void *area)
{
	if (cpu_features.xsave)
		__asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(-1), "d"(-1) : "memory");
	else
		__asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

/* The state of a new program: all parts in their initial configuration. */
static void make_clean(void *area)
{
	u16 control = 0x37f;
	u32 mxcsr = MXCSR_DEFAULT;

	memset(area, 0, area_size);
	memcpy(area, &control, sizeof(control));
	memcpy((char *)area + 24, &mxcsr, sizeof(mxcsr));
}

void fpu_init_cpu(void)
{
	u64 cr0;

	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	cr0 &= ~(1UL << 2 | 1UL << 3); /* EM, TS */
	cr0 |= 1UL << 1 | 1UL << 5;    /* MP, NE */
	__asm__ volatile("mov %0, %%cr0; fninit" : : "r"(cr0) : "memory");
	if (cpu_features.xsave)
		__asm__ volatile("xsetbv" : : "c"(0), "a"((u32)xcr0), "d"((u32)(xcr0 >> 32)));
}

void fpu_init(void)
{
	static u8 probe[LEGACY_SIZE] __attribute__((aligned(16)));
	u32 r[4];

	if (cpu_features.xsave) {
		cpuid(13, 0, r);
		xcr0 = ((u64)r[3] << 32 | r[0]) & XCR0_WANTED;
	}
	fpu_init_cpu();
	if (cpu_features.xsave) {
		cpuid(13, 0, r); /* ebx: the size for what is enabled now */
		area_size = quire_max(r[1], (u32)HEADER_END);
	}
	__asm__ volatile("fxsave64 (%0)" : : "r"(probe) : "memory");
	u32 mask;
	memcpy(&mask, probe + 28, sizeof(mask));
	if (mask)
		mxcsr_mask = mask;
}

size_t fpu_size(void)
{
	return area_size;
}

int fpu_init_task(struct task *t)
{
	if (!t->xsave) {
		/* the first task is made before there are others */
		if (!cache)
			cache = quire_kmem_create("fpu", quire_round_up(area_size + 8, 64UL), 64);
		t->xsave = quire_kmem_alloc(cache, GFP_KERNEL);
		if (!t->xsave)
			return -ENOMEM;
	}
	make_clean(t->xsave);
	*last_cpu(t) = ~0u;
	return 0;
}

int fpu_copy(struct task *dst, struct task *src)
{
	REQUIRE(src == current());
	int err = fpu_init_task(dst);
	if (err || !src->xsave)
		return err;
	fpu_save_to(dst->xsave);
	return 0;
}

void fpu_free(struct task *t)
{
	if (t->xsave)
		quire_kmem_free(cache, t->xsave);
	t->xsave = NULL;
}

void fpu_reset(void)
{
	struct task *t = current();
	bool had = t->xsave;

	if (!had) { /* a kernel thread becomes a program */
		int err = fpu_init_task(t);
		REQUIRE(!err);
	}
	quire_host_preempt_disable();
	make_clean(t->xsave);
	restore(t->xsave);
	*last_cpu(t) = this_cpu()->cpu;
	this_arch()->fpu_owner = t;
	quire_host_preempt_enable();
}

void fpu_save_to(void *area)
{
	memset(area, 0, area_size);
	quire_host_preempt_disable();
	if (cpu_features.xsave)
		__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(-1), "d"(-1) : "memory");
	else
		__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
	quire_host_preempt_enable();
}

/* A header or MXCSR that the CPU would refuse is refused here, so that XRSTOR can't fault. */
int fpu_restore_from(const void *area, size_t size)
{
	struct task *t = current();
	u32 mxcsr;

	if (size < LEGACY_SIZE)
		return -EINVAL;
	memcpy(&mxcsr, (const char *)area + 24, sizeof(mxcsr));
	if (mxcsr & ~mxcsr_mask)
		return -EINVAL;
	if (cpu_features.xsave && size >= HEADER_END) {
		u64 header[8];
		memcpy(header, (const char *)area + LEGACY_SIZE, sizeof(header));
		if (header[0] & ~xcr0 || header[1])
			return -EINVAL;
		for (int i = 2; i < 8; i++)
			if (header[i])
				return -EINVAL;
		if (header[0] & ~3UL && size < area_size)
			return -EINVAL;
	}
	quire_host_preempt_disable();
	memset(t->xsave, 0, area_size);
	memcpy(t->xsave, area, quire_min(size, area_size));
	if (cpu_features.xsave && size < HEADER_END)
		*(u64 *)((char *)t->xsave + LEGACY_SIZE) = 3; /* x87 and SSE are in it */
	restore(t->xsave);
	*last_cpu(t) = this_cpu()->cpu;
	this_arch()->fpu_owner = t;
	quire_host_preempt_enable();
	return 0;
}

/* With the run queue's lock held: from leaves this CPU, to comes. */
void fpu_switch(struct task *from, struct task *to)
{
	struct arch_cpu *a = this_arch();
	u32 cpu = this_cpu()->cpu;

	if (from->xsave) {
		save(from->xsave);
		a->fpu_owner = from;
		*last_cpu(from) = cpu;
	}
	if (to->xsave && !(a->fpu_owner == to && *last_cpu(to) == cpu)) {
		restore(to->xsave);
		a->fpu_owner = to;
		*last_cpu(to) = cpu;
	}
}
