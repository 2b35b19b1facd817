// SPDX-License-Identifier: MIT
/*
 * Memory at boot: what the start info (PVH) says of RAM, a bump allocator, the
 * kernel's final page tables, and handing the rest to the core.
 *
 * Runs on the boot CPU alone, so nothing is locked.  Until boot_map_kernel() only
 * the first 1 GiB is in view, which is where the kernel and its first
 * allocations are.
 */
#include "boot.h"

#include <quire/assert.h>
#include <quire/fault.h>
#include <quire/mm.h>

#include "../lib/print.h"
#include "../lib/string.h"

/* The PVH start info, as Xen's public headers lay it out (start_info.h). */
struct start_info {
	u32 magic, version, flags, nr_modules;
	u64 modules, cmdline, rsdp;
	u64 memmap;
	u32 memmap_entries, reserved;
};
struct module {
	u64 start, size, cmdline, reserved;
};
struct memmap {
	u64 start, size;
	u32 type, reserved;
};
#define START_MAGIC 0x336ec578
#define MEMMAP_RAM 1

#define PTE_P 0x1UL
#define PTE_W 0x2UL
#define PTE_UNCACHED 0x18UL
#define PTE_AD 0x60UL
#define PTE_BIG 0x80UL
#define PTE_G 0x100UL
#define PTE_NX (1UL << 63)
#define PTE_ADDR 0x000ffffffffff000UL

#define MAX_RANGES 16
static struct quire_range ranges[MAX_RANGES]; /* free, sorted; boot_alloc() takes from them */
static unsigned nr_ranges;
static u64 ram_end, view_end, rsdp;
static struct module config_module;
static bool closed;

struct pfn boot_kernel_root;

static void add_range(u64 start, u64 end)
{
	unsigned i = nr_ranges;

	if (start >= end)
		return;
	REQUIRE(nr_ranges < MAX_RANGES);
	for (; i > 0 && ranges[i - 1].start > start; i--)
		ranges[i] = ranges[i - 1];
	ranges[i] = (struct quire_range){start, end};
	nr_ranges++;
}

/* Take [start, end) out of the free ranges. */
static void exclude(u64 start, u64 end)
{
	start = quire_round_down(start, QUIRE_PAGE_SIZE);
	end = quire_round_up(end, QUIRE_PAGE_SIZE);
	for (unsigned i = 0; i < nr_ranges; i++) {
		struct quire_range r = ranges[i];
		if (start >= r.end || end <= r.start)
			continue;
		memmove(&ranges[i], &ranges[i + 1], (nr_ranges - i - 1) * sizeof(r));
		nr_ranges--;
		add_range(r.start, start);
		add_range(end, r.end);
		i = ~0u; /* once more from the front: the array has moved */
	}
}

void boot_memory_init(u64 start_info)
{
	const struct start_info *s = phys_view(start_info);

	REQUIRE(s->magic == START_MAGIC && s->version >= 1);
	const struct memmap *m = phys_view(s->memmap);
	for (u32 i = 0; i < s->memmap_entries; i++) {
		u64 start = quire_round_up(m[i].start, QUIRE_PAGE_SIZE);
		u64 end = quire_round_down(m[i].start + m[i].size, QUIRE_PAGE_SIZE);
		if (m[i].type == MEMMAP_RAM) {
			add_range(start, end);
			ram_end = quire_max(ram_end, end);
		}
		/* firmware's tables lie just behind low RAM */
		if (end < 0xc1000000 || m[i].type == MEMMAP_RAM)
			view_end = quire_max(view_end, end);
	}
	rsdp = s->rsdp;
	if (s->nr_modules) {
		config_module = *(const struct module *)phys_view(s->modules);
		exclude(config_module.start, config_module.start + config_module.size);
	}
	exclude(0, view_phys(image_end));
}

u64 boot_rsdp(void)
{
	return rsdp;
}

void *boot_alloc(size_t size, size_t align)
{
	REQUIRE(!closed);
	size = quire_round_up(size, 64UL);
	align = quire_max(align, 64UL);
	for (unsigned i = 0; i < nr_ranges; i++) {
		u64 start = quire_round_up(ranges[i].start, align);
		if (start + size > ranges[i].end)
			continue;
		ranges[i].start = start + size;
		return memset(phys_view(start), 0, size);
	}
	return NULL;
}

/* ---- the final page tables --------------------------------------------------------- */

char *stack16_page;
static u64 *kernel_pml4; /* with five levels, below the last entry of the root */

u64 direct_map[3];

static u64 *next_table(u64 *table, unsigned index)
{
	if (!(table[index] & PTE_P)) {
		void *t = boot_alloc(QUIRE_PAGE_SIZE, QUIRE_PAGE_SIZE);
		REQUIRE(t);
		table[index] = view_phys(t) | PTE_P | PTE_W;
	}
	return phys_view(table[index] & PTE_ADDR);
}

/* For /proc/meminfo: memory in view, by the size of the pages. */
static void count_direct(u64 va, unsigned size, u64 flags)
{
	if (va >= KERNEL_VIEW_BASE && va < KERNEL_VIEW_BASE + view_end && !(flags & PTE_UNCACHED))
		direct_map[size]++;
}

/* Map [va, va + size) to pa, with the largest pages that its alignment admits. */
static void map(u64 va, u64 pa, u64 size, u64 flags)
{
	for (u64 end = va + size, step; va != end; va += step, pa += step) {
		u64 *t = next_table(kernel_pml4, va >> 39 & 511);
		u64 both = va | pa, left = end - va;

		if (cpu_features.gbpages && !(both & ((1UL << 30) - 1)) && left >= 1UL << 30) {
			t[va >> 30 & 511] = pa | flags | PTE_BIG;
			step = 1UL << 30;
			count_direct(va, 2, flags);
			continue;
		}
		t = next_table(t, va >> 30 & 511);
		if (!(both & ((1UL << 21) - 1)) && left >= 1UL << 21) {
			t[va >> 21 & 511] = pa | flags | PTE_BIG;
			step = 1UL << 21;
			count_direct(va, 1, flags);
			continue;
		}
		t = next_table(t, va >> 21 & 511);
		t[va >> 12 & 511] = pa | flags;
		step = 1UL << 12;
		count_direct(va, 0, flags);
	}
}

static void map_image(const char *start, const char *end, u64 flags)
{
	map((u64)start, view_phys(start), (u64)(end - start), flags | PTE_P | PTE_AD | PTE_G);
}

/*
 * One page at the start of every 64 KiB of the 4 GiB at STACK16_BASE, read-only: whatever
 * bits 31..16 of an address are, it is there.  Its tables repeat themselves.
 */
static void map_stack16(u64 flags)
{
	char *page = boot_alloc(QUIRE_PAGE_SIZE, QUIRE_PAGE_SIZE);
	u64 *pdpt = next_table(kernel_pml4, STACK16_BASE >> 39 & 511);
	u64 *pd = next_table(pdpt, 0), *pt = next_table(pd, 0);

	REQUIRE(page);
	for (unsigned i = 0; i < 512; i += 16)
		pt[i] = view_phys(page) | flags;
	for (unsigned i = 1; i < 512; i++)
		pd[i] = pd[0];
	for (unsigned i = 1; i < 4; i++)
		pdpt[i] = pdpt[0];
	stack16_page = page;
}

void boot_map_kernel(void)
{
	u64 nx = cpu_features.nx ? PTE_NX : 0;
	u64 data = PTE_P | PTE_W | PTE_AD | PTE_G | nx;

	kernel_pml4 = boot_alloc(QUIRE_PAGE_SIZE, QUIRE_PAGE_SIZE);
	REQUIRE(kernel_pml4);
	map(KERNEL_VIEW_BASE, 0, quire_round_up(view_end, QUIRE_PMD_SIZE), data);
	if (view_end <= 0xfe000000)
		map(KERNEL_VIEW_BASE + 0xfe000000, 0xfe000000, 0x2000000, data | PTE_UNCACHED);
	else /* RAM above 4 GiB: the hole's last pages were mapped as memory; make them devices */
		for (u64 pa = 0xfe000000; pa < 0x100000000; pa += QUIRE_PMD_SIZE) {
			u64 *t = next_table(kernel_pml4, KERNEL_VIEW_BASE >> 39 & 511);
			u64 *big = &t[(KERNEL_VIEW_BASE + pa) >> 30 & 511];
			if (*big & PTE_BIG)
				*big = 0;
			t = next_table(t, (KERNEL_VIEW_BASE + pa) >> 30 & 511);
			t[pa >> 21 & 511] = pa | data | PTE_UNCACHED | PTE_BIG;
		}
	map_stack16(data & ~PTE_W);
	map_image(image_start, text_end, 0);
	map_image(text_end, rodata_end, nx);
	map_image(rodata_end, image_end, PTE_W | nx);
	u64 *root = kernel_pml4;
	if (cpu_features.la57) {
		root = boot_alloc(QUIRE_PAGE_SIZE, QUIRE_PAGE_SIZE);
		REQUIRE(root);
		root[511] = view_phys(kernel_pml4) | PTE_P | PTE_W;
	}
	boot_kernel_root = (struct pfn){view_phys(root) >> QUIRE_PAGE_SHIFT};
	write_cr3(view_phys(root));
	if (config_module.size)
		config_init(phys_view(config_module.start), config_module.size);
	else
		config_init(NULL, 0);
}

void boot_core_init(void)
{
	struct quire_config c = {
	    .frame_base = phys_view(0),
	    .max_pfn = ram_end >> QUIRE_PAGE_SHIFT,
	    .free = ranges,
	    .cpus = machine.nr_cpus,
	    .nx = cpu_features.nx,
	    .pkeys = cpu_features.pku ? &pkru_ops : NULL,
	    .wide = cpu_features.la57,
	    .kernel_root = boot_kernel_root,
	};
	/* The core allocates its arrays with boot_alloc() while it starts, which takes from
	 * the very ranges it is given: it looks at them afterwards. */
	for (unsigned i = 0; i < nr_ranges; i++)
		ranges[i].start = quire_round_up(ranges[i].start, QUIRE_PAGE_SIZE);
	c.nr_free = nr_ranges;
	quire_init(&c);
	closed = true;
	int err = quire_kernel_range_init(boot_kernel_root, KERNEL_AREA_START, KERNEL_AREA_END);
	REQUIRE(!err);
	quire_kernel_reserve_fill();
}
