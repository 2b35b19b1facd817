/* SPDX-License-Identifier: MIT */
/*
 * /proc's files about the machine and the kernel as a whole.
 *
 * No locks: the numbers come from functions that have their own, each true at some
 * moment of the call.
 */
#include <quire/string.h>

#include "../arch/arch.h"
#include "../boot/boot.h"
#include "../lib/print.h"
#include "../lib/string.h"
#include "proc.h"

#define TICK_NS 10000000UL
#define NSEC 1000000000UL
/* ---- cpuinfo ---------------------------------------------------------------------------- */

/* Names of feature bits, by word: leaf 1 EDX and ECX, 7 EBX and ECX, 0x80000001 EDX and ECX;
 * null where a bit has none. */
static const char *const features[6][32] = {
    {"fpu",  "vme",  "de",   "pse", "tsc",  "msr", "pae",   "mce", "cx8",     "apic", NULL,
     "sep",  "mtrr", "pge",  "mca", "cmov", "pat", "pse36", "pn",  "clflush", NULL,   "dts",
     "acpi", "mmx",  "fxsr", "sse", "sse2", "ss",  "ht",    "tm",  "ia64",    "pbe"},
    {"pni",    "pclmulqdq", "dtes64", "monitor", "ds_cpl",
     "vmx",    "smx",       "est",    "tm2",     "ssse3",
     "cid",    "sdbg",      "fma",    "cx16",    "xtpr",
     "pdcm",   NULL,        "pcid",   "dca",     "sse4_1",
     "sse4_2", "x2apic",    "movbe",  "popcnt",  "tsc_deadline_timer",
     "aes",    "xsave",     NULL,     "avx",     "f16c",
     "rdrand", "hypervisor"},
    {"fsgsbase",   "tsc_adjust", "sgx",        "bmi1",     "hle",      "avx2",     NULL,
     "smep",       "bmi2",       "erms",       "invpcid",  "rtm",      "cqm",      NULL,
     "mpx",        "rdt_a",      "avx512f",    "avx512dq", "rdseed",   "adx",      "smap",
     "avx512ifma", NULL,         "clflushopt", "clwb",     "intel_pt", "avx512pf", "avx512er",
     "avx512cd",   "sha_ni",     "avx512bw",   "avx512vl"},
    {NULL,
     "avx512vbmi",
     "umip",
     "pku",
     "ospke",
     "waitpkg",
     "avx512_vbmi2",
     NULL,
     "gfni",
     "vaes",
     "vpclmulqdq",
     "avx512_vnni",
     "avx512_bitalg",
     "tme",
     "avx512_vpopcntdq",
     NULL,
     "la57",
     NULL,
     NULL,
     NULL,
     NULL,
     NULL,
     "rdpid",
     NULL,
     "bus_lock_detect",
     "cldemote",
     NULL,
     "movdiri",
     "movdir64b",
     "enqcmd",
     NULL,
     NULL},
    {[11] = "syscall",
     [19] = "mp",
     [20] = "nx",
     [22] = "mmxext",
     [25] = "fxsr_opt",
     [26] = "pdpe1gb",
     [27] = "rdtscp",
     [29] = "lm",
     [30] = "3dnowext",
     [31] = "3dnow"},
    {[0] = "lahf_lm",
     [1] = "cmp_legacy",
     [2] = "svm",
     [3] = "extapic",
     [4] = "cr8_legacy",
     [5] = "abm",
     [6] = "sse4a",
     [7] = "misalignsse",
     [8] = "3dnowprefetch",
     [9] = "osvw",
     [10] = "ibs",
     [11] = "xop",
     [12] = "skinit",
     [13] = "wdt",
     [15] = "lwp",
     [16] = "fma4"},
};

static void show_features(struct seq *s)
{
	u32 word[6] = {0}, r[4], max;
	cpuid(0, 0, r);
	max = r[0];
	cpuid(1, 0, r);
	word[0] = r[3];
	word[1] = r[2];
	if (max >= 7) {
		cpuid(7, 0, r);
		word[2] = r[1];
		word[3] = r[2];
	}
	cpuid(0x80000000u, 0, r);
	if (r[0] >= 0x80000001u) {
		cpuid(0x80000001u, 0, r);
		word[4] = r[3];
		word[5] = r[2];
	}
	static const unsigned order[6] = {0, 4, 1, 5, 2, 3};
	for (unsigned k = 0; k < 6; k++)
		for (unsigned b = 0; b < 32; b++)
			if ((word[order[k]] >> b & 1) && features[order[k]][b])
				seq_printf(s, " %s", features[order[k]][b]);
}

static void brand(char name[49])
{
	u32 r[4];
	memset(name, 0, 49);
	cpuid(0x80000000u, 0, r);
	if (r[0] < 0x80000004u)
		return;
	for (u32 i = 0; i < 3; i++) {
		cpuid(0x80000002u + i, 0, r);
		memcpy(name + 16 * i, r, 16);
	}
	size_t n = strlen(name);
	while (n && name[n - 1] == ' ')
		name[--n] = 0;
}

static void one_cpu(struct seq *s, unsigned cpu)
{
	u32 r[4], sizes[4], extended[4];
	char vendor[13] = {0}, name[49];
	cpuid(0, 0, r);
	memcpy(vendor, &r[1], 4);
	memcpy(vendor + 4, &r[3], 4);
	memcpy(vendor + 8, &r[2], 4);
	u32 level = r[0];
	cpuid(1, 0, r);
	u32 family = r[0] >> 8 & 15, model = r[0] >> 4 & 15;
	if (family == 6 || family == 15)
		model |= (r[0] >> 16 & 15) << 4;
	if (family == 15)
		family += r[0] >> 20 & 255;
	u32 flush = (r[1] >> 8 & 255) * 8;
	cpuid(0x80000000u, 0, extended);
	memset(sizes, 0, sizeof(sizes));
	if (extended[0] >= 0x80000008u)
		cpuid(0x80000008u, 0, sizes);
	brand(name);
	u64 khz = time_to_tsc(1000000) - time_to_tsc(0); /* ticks in a millisecond */
	seq_printf(s,
		   "processor\t: %u\nvendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\n"
		   "model name\t: %s\nstepping\t: %u\ncpu MHz\t\t: %lu.%03lu\n",
		   cpu, vendor, family, model, *name ? name : "unknown", r[0] & 15, khz / 1000,
		   khz % 1000);
	seq_printf(s,
		   "physical id\t: 0\nsiblings\t: %u\ncore id\t\t: %u\ncpu cores\t: %u\n"
		   "apicid\t\t: %u\ninitial apicid\t: %u\nfpu\t\t: yes\nfpu_exception\t: yes\n"
		   "cpuid level\t: %u\nwp\t\t: yes\nflags\t\t:",
		   ncpus, cpu, ncpus, machine.apic_id[cpu], machine.apic_id[cpu], level);
	show_features(s);
	seq_printf(s,
		   "\nbugs\t\t:\nbogomips\t: %lu.%02lu\nclflush size\t: %u\n"
		   "cache_alignment\t: %u\naddress sizes\t: %u bits physical, %u bits virtual\n"
		   "power management:\n\n",
		   khz / 500, khz / 5 % 100, flush, flush, sizes[0] ? sizes[0] & 255 : 36,
		   sizes[0] ? sizes[0] >> 8 & 255 : 48);
}

int proc_show_cpuinfo(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	for (unsigned cpu = 0; cpu < ncpus; cpu++)
		one_cpu(s, cpu);
	return 0;
}

/* ---- time and load ---------------------------------------------------------------------- */

static void cpu_line(struct seq *s, const struct sched_times *t)
{
	seq_printf(s, " %lu 0 %lu %lu 0 0 0 0 0 0\n", t->user / TICK_NS, t->system / TICK_NS,
		   t->idle / TICK_NS);
}

int proc_show_stat(struct seq *s, struct proc_ctx *c)
{
	struct sched_times sum = {0}, one;
	struct task_stats tasks;
	(void)c;
	for (unsigned cpu = 0; cpu < ncpus; cpu++) {
		sched_cpu_times(cpu, &one);
		sum.user += one.user;
		sum.system += one.system;
		sum.idle += one.idle;
		sum.switches += one.switches;
	}
	seq_puts(s, "cpu ");
	cpu_line(s, &sum);
	for (unsigned cpu = 0; cpu < ncpus; cpu++) {
		sched_cpu_times(cpu, &one);
		seq_printf(s, "cpu%u", cpu);
		cpu_line(s, &one);
	}
	task_stats(&tasks);
	u64 by_input[IRQ_COUNT];
	seq_printf(s, "intr %lu", irq_total(by_input));
	for (unsigned i = 0; i < IRQ_COUNT; i++)
		seq_printf(s, " %lu", by_input[i]);
	seq_puts(s, "\n");
	seq_printf(s, "ctxt %lu\nbtime %lu\nprocesses %lu\nprocs_running %u\nprocs_blocked %u\n",
		   sum.switches, wall_offset_ns / NSEC, tasks.made, sched_nr_running(),
		   tasks.blocked);
	seq_puts(s, "softirq 0 0 0 0 0 0 0 0 0 0 0\n"); /* there are none */
	return 0;
}

int proc_show_uptime(struct seq *s, struct proc_ctx *c)
{
	u64 up = time_ns(), idle = 0;
	(void)c;
	for (unsigned cpu = 0; cpu < ncpus; cpu++) {
		struct sched_times t;
		sched_cpu_times(cpu, &t);
		idle += t.idle;
	}
	seq_printf(s, "%lu.%02lu %lu.%02lu\n", up / NSEC, up % NSEC / TICK_NS, idle / NSEC,
		   idle % NSEC / TICK_NS);
	return 0;
}

int proc_show_loadavg(struct seq *s, struct proc_ctx *c)
{
	u64 load[3];
	u32 threads = 0, pid = 1;
	struct process *p;
	struct task_stats tasks;
	(void)c;
	sched_loadavg(load);
	while ((p = process_next(pid))) {
		threads += p->nr_threads;
		pid = p->tgid + 1;
		process_put(p);
	}
	task_stats(&tasks);
	for (int i = 0; i < 3; i++)
		seq_printf(s, "%lu.%02lu ", load[i] >> 11, ((load[i] & 2047) * 100) >> 11);
	seq_printf(s, "%u/%u %u\n", sched_nr_running(), threads, tasks.last);
	return 0;
}

/* ---- names ------------------------------------------------------------------------------ */

int proc_show_version(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	seq_printf(s, "%s version %s (quire) (gcc) %s\n", UNAME_SYSNAME, UNAME_RELEASE,
		   UNAME_VERSION);
	return 0;
}

int proc_show_filesystems(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	seq_puts(s, "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\nnodev\tsockfs\n"
		    "nodev\tpipefs\nnodev\tdevpts\nnodev\t9p\n");
	return 0;
}

int proc_show_cmdline(struct seq *s, struct proc_ctx *c)
{
	size_t len;
	const char *program = config_get(CONFIG_PROGRAM, 0, &len);
	(void)c;
	seq_puts(s, "quire program=");
	if (program)
		seq_write(s, program, len);
	seq_putc(s, '\n');
	return 0;
}

int proc_show_devices(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	seq_puts(s, "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n"
		    "136 pts\n\nBlock devices:\n");
	return 0;
}

int proc_show_swaps(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	seq_puts(s, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
	return 0;
}

/* There are no disks. */
int proc_show_diskstats(struct seq *s, struct proc_ctx *c)
{
	(void)s, (void)c;
	return 0;
}

/* ---- sysrq-trigger ------------------------------------------------------------------------ */

s64 proc_write_sysrq(struct proc_ctx *c, char *buf, size_t n)
{
	u32 *nowhere = NULL;
	(void)c;
	if (!n || buf[0] != 'c')
		return -EINVAL;
	__asm__("" : "+r"(nowhere)); /* so that the compiler does as it is told */
	*(volatile u32 *)nowhere = 1;
	return (s64)n;
}
