// SPDX-License-Identifier: MIT
/*
 * The one ACPI table the kernel needs: the MADT, for CPUs and I/O APICs.
 * (ACPI specification 6.4, 5.2.5 to 5.2.12.)  No AML is interpreted: the
 * microvm's devices sit in fixed windows.
 */
#include "../lib/print.h"
#include "../lib/string.h"
#include "boot.h"

struct machine machine = {.lapic = 0xfee00000};

struct rsdp {
	char signature[8];
	u8 checksum;
	char oem[6];
	u8 revision;
	u32 rsdt;
	u32 length;
	u64 xsdt;
} __attribute__((packed));

struct sdt {
	char signature[4];
	u32 length;
	u8 revision, checksum;
	char oem[26];
} __attribute__((packed));

struct madt {
	struct sdt head;
	u32 lapic, flags;
	u8 entries[];
} __attribute__((packed));

static void add_cpu(u32 apic_id, u32 flags)
{
	if (!(flags & 1))
		return;
	if (machine.nr_cpus < QUIRE_MAX_CPUS)
		machine.apic_id[machine.nr_cpus++] = apic_id;
}

static u32 get32(const u8 *p)
{
	u32 v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static void read_madt(const struct madt *m)
{
	const u8 *p = m->entries, *end = (const u8 *)m + m->head.length;

	machine.lapic = m->lapic;
	while (p + 2 <= end && p[1] >= 2 && p + p[1] <= end) {
		switch (p[0]) {
		case 0: /* local APIC */
			if (p[1] >= 8)
				add_cpu(p[3], get32(p + 4));
			break;
		case 1: /* I/O APIC */
			if (p[1] >= 12 && machine.nr_ioapics < MAX_IOAPICS) {
				machine.ioapic[machine.nr_ioapics].phys = get32(p + 4);
				machine.ioapic[machine.nr_ioapics++].gsi_base = get32(p + 8);
			}
			break;
		case 9: /* local x2APIC */
			if (p[1] >= 16)
				add_cpu(get32(p + 4), get32(p + 8));
			break;
		}
		p += p[1];
	}
}

void acpi_init(u64 rsdp_phys)
{
	const struct rsdp *r = phys_view(rsdp_phys);

	if (rsdp_phys && !memcmp(r->signature, "RSD PTR ", 8)) {
		bool wide = r->revision >= 2 && r->xsdt;
		const struct sdt *root = phys_view(wide ? r->xsdt : r->rsdt);
		size_t size = wide ? 8 : 4, n = (root->length - sizeof(*root)) / size;
		const u8 *entry = (const u8 *)(root + 1);

		for (size_t i = 0; i < n; i++) {
			u64 addr = 0;
			memcpy(&addr, entry + i * size, size);
			const struct sdt *t = phys_view(addr);
			if (!memcmp(t->signature, "APIC", 4))
				read_madt((const struct madt *)t);
		}
	}
	if (!machine.nr_cpus) {
		print_log(4, "no ACPI table of CPUs: using this one only");
		machine.nr_cpus = 1;
		u32 id[4];
		cpuid(1, 0, id);
		machine.apic_id[0] = id[1] >> 24;
	}
	if (!machine.nr_ioapics) {
		machine.ioapic[0].phys = 0xfec00000;
		machine.nr_ioapics = 1;
	}
}

bool boot_virtio_window(unsigned n, u64 *phys, unsigned *gsi)
{
	/* QEMU's microvm: with a second I/O APIC the 24 devices have its inputs, else
	 * there are 8, from input 16 on. */
	bool second = machine.nr_ioapics > 1;

	if (n >= (second ? 24u : 8u))
		return false;
	*phys = 0xfeb00000 + n * 512;
	*gsi = (second ? 24 : 16) + n;
	return true;
}
