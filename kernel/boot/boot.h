/* SPDX-License-Identifier: MIT */
/*
 * What the machine told the kernel at its start: memory, CPUs, interrupt
 * controllers, the configuration from `quire run`.
 */
#ifndef KERNEL_BOOT_H
#define KERNEL_BOOT_H

#include <quire/types.h>

#include "../arch/cpu.h"
#include "config.h"

/* Linear view of physical memory, valid for all RAM and for the device window
 * 0xfe000000 .. 0xffffffff (uncached). */
static inline void *phys_view(u64 phys)
{
	return (void *)(KERNEL_VIEW_BASE + phys);
}
/* Physical address of something in the kernel image or in the view. */
static inline u64 view_phys(const void *p)
{
	u64 v = (u64)p;
	return v >= KERNEL_IMAGE_BASE ? v - KERNEL_IMAGE_BASE : v - KERNEL_VIEW_BASE;
}

/* Zeroed memory that is never freed; only before quire_init() has returned.  Null: none. */
void *boot_alloc(size_t size, size_t align);

/* The nth record of that type in the configuration: its bytes and length, or null. */
const void *config_get(uint32_t type, unsigned nth, size_t *len);
/* CONFIG_FLAG_*; 0 without a configuration. */
u64 config_flags(void);

/* Memory in the linear view: pages of 4 KiB, 2 MiB, 1 GiB. */
extern u64 direct_map[3];

/* The page-table root of the kernel itself: upper half only. */
extern struct pfn boot_kernel_root;

/* acpi.c: from the MADT. */
#define MAX_IOAPICS 2
struct machine {
	unsigned nr_cpus; /* at most QUIRE_MAX_CPUS */
	u32 apic_id[QUIRE_MAX_CPUS];
	u64 lapic;
	unsigned nr_ioapics;
	struct {
		u64 phys;
		u32 gsi_base;
	} ioapic[MAX_IOAPICS];
};
extern struct machine machine;

/*
 * The nth possible virtio-mmio window of QEMU's microvm: physical address and
 * interrupt (gsi).  False past the last.  A window without a device answers
 * the magic value with device id 0, or all ones.
 */
bool boot_virtio_window(unsigned n, u64 *phys, unsigned *gsi);

/* Between the files of boot/. */
void boot_memory_init(u64 start_info);
void boot_map_kernel(void);
void boot_core_init(void);
void acpi_init(u64 rsdp);
u64 boot_rsdp(void);
void config_init(const void *blob, size_t len);

extern char image_start[], text_end[], rodata_end[], image_end[];

#endif
