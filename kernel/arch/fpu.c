// SPDX-License-Identifier: MIT
/*
 * Extended state (x87, SSE, AVX...): saved whenever a task leaves a CPU, restored when
 * it comes back, unless the registers still hold its state.  The kernel itself
 * uses none of it.  (Intel SDM volume 1, chapter 13.)
 *
 * But for PKRU, the rights for protection keys, which the kernel's accesses to user
 * memory obey: it is switched by itself, and no XSAVE or XRSTOR here touches it, so the
 * register has the running program's value at all times.
 *
 * A task's area is fpu_size() bytes, then the number of the CPU that restored it
 * last.  Only the task itself, or the scheduler that switches it, touches it.
 */
#include <quire/assert.h>
#include <quire/mm.h>
#include <quire/page.h>

#include "../lib/string.h"
#include "../sched/sched.h"
#include "arch.h"

#define XCR0_WANTED 0xe7UL /* x87, SSE, AVX, AVX-512 (three parts) */
#define XCR0_PKRU (1UL << 9)
#define PKRU_DEFAULT 0x55555554u /* key 0 only */
#define LEGACY_SIZE 512
#define HEADER_END 576
#define MXCSR_DEFAULT 0x1f80

static size_t area_size = LEGACY_SIZE, user_size = LEGACY_SIZE, pkru_offset;
static u64 xcr0, parts; /* enabled; those of a task's area */
static u32 mxcsr_mask = 0xffbf;
static struct quire_kmem *cache;
static void *clean_area; /* what make_clean() makes; only read */

static u32 *last_cpu(struct task *t)
{
	return (u32 *)((char *)t->xsave + area_size);
}

static void save(void *area)
{
	u32 lo = (u32)parts, hi = (u32)(parts >> 32);

	if (cpu_features.xsaveopt)
		__asm__ volatile("xsaveopt64 (%0)" : : "r"(area), "a"(lo), "d"(hi) : "memory");
	else if (cpu_features.xsave)
		__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(lo), "d"(hi) : "memory");
	else
		__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static void restore(const void *area)
{
	if (cpu_features.xsave)
		__asm__ volatile("xrstor64 (%0)"
				 :
				 : "r"(area), "a"((u32)parts), "d"((u32)(parts >> 32))
				 : "memory");
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
		xcr0 = parts = ((u64)r[3] << 32 | r[0]) & XCR0_WANTED;
	}
	fpu_init_cpu();
	if (cpu_features.xsave) {
		cpuid(13, 0, r); /* ebx: the size for what is enabled now */
		area_size = user_size = quire_max(r[1], (u32)HEADER_END);
	}
	if (cpu_features.pku) {
		xcr0 |= XCR0_PKRU;
		fpu_init_cpu();
		cpuid(13, 9, r);
		pkru_offset = r[1];
		cpuid(13, 0, r);
		user_size = r[1];
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

size_t fpu_user_size(void)
{
	return user_size;
}

size_t fpu_pkru_offset(void)
{
	return pkru_offset;
}

u64 fpu_features(void)
{
	return xcr0;
}

bool fpu_has_pkru(void)
{
	u32 r[4];

	cpuid(13, 0, r);
	return r[0] & XCR0_PKRU;
}

/* ---- PKRU ----------------------------------------------------------------------------- */

static bool key_allows(unsigned key, bool write)
{
	return !(pkru_read() >> 2 * key & (write ? 3 : 1));
}

static void key_set(unsigned key, unsigned rights)
{
	pkru_write((pkru_read() & ~(3u << 2 * key)) | rights << 2 * key);
}

const struct quire_pkey_ops pkru_ops = {.allows = key_allows, .set = key_set};

/* Writing the register may cost the CPU its translations. */
static void pkru_change(u32 to)
{
	if (cpu_features.pku && pkru_read() != to)
		pkru_write(to);
}

/* ---- a task's state --------------------------------------------------------------------- */

int fpu_init_task(struct task *t)
{
	if (!t->xsave) {
		/* the first task is made before there are others */
		if (!cache)
			cache = quire_kmem_create("fpu", quire_round_up(area_size + 8, 64UL), 64);
		if (!clean_area) {
			clean_area = quire_kmem_alloc(cache, GFP_KERNEL);
			if (!clean_area)
				return -ENOMEM;
			make_clean(clean_area);
		}
		t->xsave = quire_kmem_alloc(cache, GFP_KERNEL);
		if (!t->xsave)
			return -ENOMEM;
	}
	make_clean(t->xsave);
	*last_cpu(t) = ~0u;
	t->pkru = PKRU_DEFAULT;
	return 0;
}

int fpu_copy(struct task *dst, struct task *src)
{
	REQUIRE(src == current());
	int err = fpu_init_task(dst);
	if (err || !src->xsave)
		return err;
	fpu_save_to(dst->xsave);
	if (cpu_features.pku)
		dst->pkru = pkru_read();
	return 0;
}

void fpu_free(struct task *t)
{
	if (t->xsave)
		quire_kmem_free(cache, t->xsave);
	t->xsave = NULL;
}

/* The registers get the state of an area, which is t's, the current task's, from now on: its
 * own area gets it when it is switched from. */
static void take_over(struct task *t, const void *area, u32 pkru)
{
	quire_host_preempt_disable();
	restore(area);
	pkru_change(pkru);
	*last_cpu(t) = this_cpu()->cpu;
	this_arch()->fpu_owner = t;
	quire_host_preempt_enable();
}

void fpu_reset(void)
{
	struct task *t = current();

	if (!t->xsave) { /* a kernel thread becomes a program */
		int err = fpu_init_task(t);
		REQUIRE(!err);
	}
	take_over(t, clean_area, PKRU_DEFAULT);
}

void fpu_save_to(void *area)
{
	quire_host_preempt_disable();
	if (cpu_features.xsave)
		__asm__ volatile("xsave64 (%0)"
				 :
				 : "r"(area), "a"((u32)parts), "d"((u32)(parts >> 32))
				 : "memory");
	else
		__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
	quire_host_preempt_enable();
}

/* A header or MXCSR that the CPU would refuse is refused here, so that XRSTOR can't fault. */
static int check_image(const void *area)
{
	u32 mxcsr;

	memcpy(&mxcsr, (const char *)area + 24, sizeof(mxcsr));
	if (mxcsr & ~mxcsr_mask)
		return -EINVAL;
	if (cpu_features.xsave) {
		u64 header[8];
		memcpy(header, (const char *)area + LEGACY_SIZE, sizeof(header));
		if (header[0] & ~parts || header[1])
			return -EINVAL;
		for (int i = 2; i < 8; i++)
			if (header[i])
				return -EINVAL;
	}
	return 0;
}

int fpu_restore_from(const void *area, u32 pkru)
{
	struct task *t = current();
	int err = check_image(area);

	if (err)
		return err;
	take_over(t, area, pkru);
	return 0;
}

/* What isn't in use was not saved: the area has old bytes there. */
void fpu_image(struct task *t, void *area)
{
	char *x = area;
	u16 control = 0x37f;
	u32 mxcsr = MXCSR_DEFAULT, r[4];
	u64 used;

	memcpy(x, t->xsave, area_size);
	if (!cpu_features.xsave)
		return;
	memcpy(&used, x + LEGACY_SIZE, sizeof(used));
	if (!(used & 1)) {
		memset(x, 0, 24);
		memcpy(x, &control, sizeof(control));
		memset(x + 32, 0, 128);
	}
	if (!(used & 2))
		memset(x + 160, 0, 256);
	if (!(used & 6))
		memcpy(x + 24, &mxcsr, sizeof(mxcsr));
	for (u32 i = 2; i < 63; i++) {
		if (!(parts >> i & 1) || (used >> i & 1))
			continue;
		cpuid(13, i, r); /* eax: its size, ebx: its place */
		memset(x + r[1], 0, r[0]);
	}
}

int fpu_image_set(struct task *t, const void *area, size_t size)
{
	u64 used;
	int err = check_image(area);

	if (err)
		return err;
	memcpy(t->xsave, area, quire_min(size, area_size));
	if (cpu_features.xsave && size < HEADER_END) {
		memcpy(&used, (char *)t->xsave + LEGACY_SIZE, sizeof(used));
		used |= 3;
		memcpy((char *)t->xsave + LEGACY_SIZE, &used, sizeof(used));
	}
	*last_cpu(t) = ~0u;
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
	if (cpu_features.pku) {
		u32 now = pkru_read();
		from->pkru = now;
		if (to->xsave && to->pkru != now)
			pkru_write(to->pkru);
	}
	if (to->xsave && !(a->fpu_owner == to && *last_cpu(to) == cpu)) {
		restore(to->xsave);
		a->fpu_owner = to;
		*last_cpu(to) = cpu;
	}
}
