/* SPDX-License-Identifier: MIT */
/* The options of `quire run` and `quire shell`. */
#include "quire.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char run_help[] =
    "usage: quire run [options] [--] PROGRAM [ARG...]\n"
    "       quire shell [options]\n"
    "\n"
    "Runs PROGRAM as if it ran here: its input and output, its exit status, the\n"
    "working directory, the environment.  The host's files are its root, under a\n"
    "copy-on-write layer that is gone at the end.\n"
    "\n"
    "      --rw DIR          write through to this folder of the host (repeatable)\n"
    "      --ram SIZE        memory of the machine: 16M, 512M (default), 2G...\n"
    "      --cpus N          processors, 1 to 16 (default: as many as here)\n"
    "      --stat            a table of the page faults and their causes at the end\n"
    "      --deterministic   one processor whose clock counts instructions, fixed\n"
    "                        seed and start time: every run is the same\n"
    "      --timeout SECONDS give up after this long, with status 124\n"
    "      --no-aslr         no randomised addresses\n"
    "      --kernel FILE     another kernel image\n"
    "      --accel WHICH     kvm, tcg, or auto (default: KVM where it works)\n"
    "      --cpu MODEL       processor model, as QEMU names it (default: max,\n"
    "                        with page tables of four levels, not five: la57=off)\n"
    "      --qemu-arg ARG    one more argument for QEMU (repeatable)\n"
    "      --gdb             wait for a debugger before the first instruction\n"
    "      --check           at the end, check the whole state of the memory system\n"
    "      --log FILE        the kernel's log\n"
    "  -v, --verbose         the kernel's log on standard error\n"
    "  -h, --help\n"
    "      --version\n"
    "\n"
    "Exit status: the program's; 128+N when signal N killed it; 127 not found;\n"
    "126 not executable; 125 Quire itself failed; 124 timed out.\n";

enum {
	OPT_RW = 256,
	OPT_RAM,
	OPT_CPUS,
	OPT_STAT,
	OPT_DETERMINISTIC,
	OPT_TIMEOUT,
	OPT_NO_ASLR,
	OPT_KERNEL,
	OPT_ACCEL,
	OPT_CPU,
	OPT_QEMU_ARG,
	OPT_GDB,
	OPT_CHECK,
	OPT_LOG,
	OPT_VERSION,
};

static const struct option longs[] = {
    {"rw", required_argument, NULL, OPT_RW},
    {"ram", required_argument, NULL, OPT_RAM},
    {"cpus", required_argument, NULL, OPT_CPUS},
    {"stat", no_argument, NULL, OPT_STAT},
    {"deterministic", no_argument, NULL, OPT_DETERMINISTIC},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"no-aslr", no_argument, NULL, OPT_NO_ASLR},
    {"kernel", required_argument, NULL, OPT_KERNEL},
    {"accel", required_argument, NULL, OPT_ACCEL},
    {"cpu", required_argument, NULL, OPT_CPU},
    {"qemu-arg", required_argument, NULL, OPT_QEMU_ARG},
    {"gdb", no_argument, NULL, OPT_GDB},
    {"check", no_argument, NULL, OPT_CHECK},
    {"log", required_argument, NULL, OPT_LOG},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

/* "64M" in bytes: a number with K, M, G or T behind it (plain: MiB, as QEMU does). */
static uint64_t parse_size(const char *s)
{
	char *end;
	errno = 0;
	unsigned long long n = strtoull(s, &end, 10);
	unsigned shift = 20;
	switch (*end) {
	case 'k':
	case 'K':
		shift = 10, end++;
		break;
	case 'm':
	case 'M':
		end++;
		break;
	case 'g':
	case 'G':
		shift = 30, end++;
		break;
	case 't':
	case 'T':
		shift = 40, end++;
		break;
	}
	if (*end == 'i')
		end++;
	if (*end == 'B')
		end++;
	if (end == s || *s == '-' || *end || errno || n > (UINT64_MAX >> shift))
		die("--ram: '%s' is not a size: write it like 64M or 2G", s);
	return (uint64_t)n << shift;
}

static void add(char ***list, char *s)
{
	size_t n = 0;
	while (*list && (*list)[n])
		n++;
	*list = xrealloc(*list, (n + 2) * sizeof(char *));
	(*list)[n] = s;
	(*list)[n + 1] = NULL;
}

static char *rw_folder(const char *arg)
{
	struct stat st;
	char *full = realpath(arg, NULL);
	if (!full || stat(full, &st))
		die("--rw %s: %s", arg, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		die("--rw %s: not a folder", arg);
	return full;
}

static unsigned online_cpus(void)
{
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	unsigned n = (unsigned)CPU_COUNT(&set);
	return n < 1 ? 1 : n > MAX_CPUS ? MAX_CPUS : n;
}

static unsigned long number(const char *option, const char *s, unsigned long low,
			    unsigned long high)
{
	char *end;
	errno = 0;
	unsigned long n = strtoul(s, &end, 10);
	if (end == s || *end || errno || *s == '-' || n < low || n > high)
		die("%s: '%s' is not a number from %lu to %lu", option, s, low, high);
	return n;
}

static void apply(struct options *o, int c)
{
	char *end;
	switch (c) {
	case OPT_RW:
		add(&o->rw, rw_folder(optarg));
		break;
	case OPT_RAM:
		o->ram = parse_size(optarg);
		if (o->ram < (16ull << 20) || o->ram > (1ull << 40))
			die("--ram %s: the machine needs from 16M to 1T", optarg);
		break;
	case OPT_CPUS:
		o->cpus = (unsigned)number("--cpus", optarg, 1, MAX_CPUS);
		break;
	case OPT_STAT:
		o->stat = true;
		break;
	case OPT_DETERMINISTIC:
		o->deterministic = true;
		break;
	case OPT_TIMEOUT:
		o->timeout = strtod(optarg, &end);
		if (end == optarg || *end || !(o->timeout > 0) || o->timeout > 1e9)
			die("--timeout: '%s' is not a number of seconds", optarg);
		break;
	case OPT_NO_ASLR:
		o->no_aslr = true;
		break;
	case OPT_KERNEL:
		o->kernel = optarg;
		break;
	case OPT_ACCEL:
		if (!strcmp(optarg, "kvm"))
			o->accel = ACCEL_KVM;
		else if (!strcmp(optarg, "tcg"))
			o->accel = ACCEL_TCG;
		else if (!strcmp(optarg, "auto"))
			o->accel = ACCEL_AUTO;
		else
			die("--accel: '%s' is not one of kvm, tcg, auto", optarg);
		break;
	case OPT_CPU:
		o->cpu_model = optarg;
		break;
	case OPT_QEMU_ARG:
		add(&o->qemu_args, optarg);
		break;
	case OPT_GDB:
		o->gdb = true;
		break;
	case OPT_CHECK:
		o->check = true;
		break;
	case OPT_LOG:
		o->log_file = optarg;
		break;
	case 'v':
		o->verbose = true;
		break;
	case 'h':
		fputs(run_help, stdout);
		exit(0);
	case OPT_VERSION:
		puts("quire " QUIRE_VERSION);
		exit(0);
	default: /* getopt_long has said why */
		fputs("Try 'quire run --help'.\n", stderr);
		exit(EXIT_QUIRE);
	}
}

void options_parse(struct options *o, int argc, char **argv)
{
	bool shell = !strcmp(argv[0], "shell");
	int c;

	memset(o, 0, sizeof(*o));
	o->ram = 512ull << 20;
	static char as_run[] = "quire run", as_shell[] = "quire shell";
	argv[0] = shell ? as_shell : as_run; /* getopt_long's messages begin with it */
	while ((c = getopt_long(argc, argv, "+hv", longs, NULL)) != -1)
		apply(o, c);
	if (shell) {
		static char sh[] = "/bin/sh";
		static char *shell_argv[2];
		if (optind < argc)
			die("shell takes no program: use quire run -- %s", argv[optind]);
		shell_argv[0] = getenv("SHELL");
		if (!shell_argv[0] || !*shell_argv[0])
			shell_argv[0] = sh;
		o->argv = shell_argv;
	} else {
		if (optind >= argc)
			die("no program given: quire run [options] -- PROGRAM [ARG...]");
		o->argv = argv + optind;
	}
	if (o->deterministic && o->cpus > 1)
		die("--deterministic runs on one processor: leave out --cpus %u", o->cpus);
	if (o->deterministic && o->accel == ACCEL_KVM)
		die("--deterministic counts instructions, which needs --accel tcg");
	if (!o->cpus)
		o->cpus = o->deterministic ? 1 : online_cpus();
}
