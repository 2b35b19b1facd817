// SPDX-License-Identifier: MIT
/*
 * What the CPU can do, and turning it on: NX, write protection of read-only pages
 * against the kernel, SMEP, SMAP, UMIP, PCID, FSGSBASE, protection keys.
 */
#include "../lib/string.h"
#include "arch.h"

#include "../boot/boot.h"

#define CR4_TSD (1UL << 2)
#define CR4_PAE (1UL << 5)
#define CR4_MCE (1UL << 6)
#define CR4_PGE (1UL << 7)
#define CR4_OSFXSR (1UL << 9)
#define CR4_OSXMMEXCPT (1UL << 10)
#define CR4_UMIP (1UL << 11)
#define CR4_LA57 (1UL << 12)
#define CR4_FSGSBASE (1UL << 16)
#define CR4_PCIDE (1UL << 17)
#define CR4_OSXSAVE (1UL << 18)
#define CR4_SMEP (1UL << 20)
#define CR4_SMAP (1UL << 21)
#define CR4_PKE (1UL << 22)

struct cpu_features cpu_features;

static void detect(void)
{
	struct cpu_features *f = &cpu_features;
	u32 max, r[4];

	cpuid(0, 0, r);
	max = r[0];
	cpuid(1, 0, r);
	f->pcid = r[2] >> 17 & 1;
	f->x2apic = r[2] >> 21 & 1;
	f->tsc_deadline = r[2] >> 24 & 1;
	f->xsave = r[2] >> 26 & 1;
	bool hypervisor = r[2] >> 31 & 1;
	if (max >= 7) {
		cpuid(7, 0, r);
		f->fsgsbase = r[1] & 1;
		f->smep = r[1] >> 7 & 1;
		f->erms = r[1] >> 9 & 1;
		f->invpcid = r[1] >> 10 & 1;
		f->smap = r[1] >> 20 & 1;
		f->umip = r[2] >> 2 & 1;
		f->pku = r[2] >> 3 & 1;
		f->la57 = r[2] >> 16 & 1; /* and then pvh.S has turned it on */
		f->rdpid = r[2] >> 22 & 1;
	}
	if (f->xsave && max >= 13) {
		cpuid(13, 1, r);
		f->xsaveopt = r[0] & 1;
	}
	/* Programs keep their rights for the keys in a signal frame's XSAVE area. */
	f->pku = f->pku && f->xsave && fpu_has_pkru();
	cpuid(0x80000001, 0, r);
	f->nx = r[3] >> 20 & 1;
	f->gbpages = r[3] >> 26 & 1;
	f->rdtscp = r[3] >> 27 & 1;
	if (hypervisor) {
		cpuid(0x40000000, 0, r);
		f->kvm = r[1] == 0x4b4d564b && r[2] == 0x564b4d56 && r[3] == 0x4d;
	}
}

/* The user-copy routines have room for STAC and CLAC where the CPU has SMAP: each site
 * is {address of three bytes, 0xca or 0xcb}.  The text is still writable here. */
static void patch_smap(void)
{
	struct site {
		u64 at;
		u64 last;
	};
	extern struct site smap_sites_start[], smap_sites_end[];

	if (!cpu_features.smap)
		return;
	for (struct site *s = smap_sites_start; s != smap_sites_end; s++) {
		u8 *code = (u8 *)s->at;
		code[0] = 0x0f;
		code[1] = 0x01;
		code[2] = (u8)s->last;
	}
}

void cpu_init(void)
{
	const struct cpu_features *f = &cpu_features;
	u64 cr4 = CR4_PAE | CR4_PGE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;

	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1 | (f->nx ? 1UL << 11 : 0));
	if (f->umip)
		cr4 |= CR4_UMIP;
	if (f->la57)
		cr4 |= CR4_LA57;
	if (f->fsgsbase)
		cr4 |= CR4_FSGSBASE;
	if (f->pcid)
		cr4 |= CR4_PCIDE;
	if (f->xsave)
		cr4 |= CR4_OSXSAVE;
	if (f->smep)
		cr4 |= CR4_SMEP;
	if (f->smap)
		cr4 |= CR4_SMAP;
	if (f->pku)
		cr4 |= CR4_PKE;
	if (deterministic)
		cr4 |= CR4_TSD;
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4) : "memory");
	/* a flag that a boot loader may have left */
	__asm__ volatile("pushq $2; popfq" : : : "memory", "cc");
}

void cpu_init_boot(void)
{
	detect();
	patch_smap();
	/* NX first: the final page tables use it; the rest with cpu_init() later */
	if (cpu_features.nx)
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1UL << 11);
}
