// SPDX-License-Identifier: MIT
/*
 * The order in which the kernel comes up.
 *
 * kernel_main() runs on the boot stack, which becomes the idle task's; what may
 * sleep is done by a kernel thread, main_thread().
 */
#include <quire/assert.h>

#include "../arch/arch.h"
#include "../dev/dev.h"
#include "../fs/vfs.h"
#include "../io/io.h"
#include "../lib/print.h"
#include "../mem/mem.h"
#include "../proc/proc.h"
#include "../vdso/vdso.h"
#include "../sched/rq.h"
#include "../sched/sched.h"
#include "boot.h"

void kernel_main(u64 start_info);

static void read_flags(void)
{
	u64 flags = config_flags();

	deterministic = flags & CONFIG_FLAG_DETERMINISTIC;
	if (flags & CONFIG_FLAG_VERBOSE)
		log_level = 7;
}

static void main_thread(void *unused)
{
	(void)unused;
	quire_kernel_reserve_fill();
	proc_init();
	oom_init();
	dev_init();
	vfs_init();
	io_init();
	vdso_init();
	proc_start_init(NULL);
}

void kernel_main(u64 start_info)
{
	time_at_entry();
	percpu_init_boot();
	cpu_init_boot();
	boot_memory_init(start_info);
	boot_map_kernel();
	read_flags();
	cpu_init();
	traps_init();
	percpu_init_cpu();
	acpi_init(boot_rsdp());
	fpu_init();
	irq_init();
	time_init();
	smp_prepare();
	boot_core_init();
	sched_init();
	smp_start();
	print_log(6, "Quire: %u CPUs, %lu KiB free of %lu", ncpus, quire_free_pages() * 4,
		  quire_total_pages() * 4);
	struct task *t = kthread_start("kmain", main_thread, NULL);
	REQUIRE(t);
	irq_enable();
	sched_idle();
}
