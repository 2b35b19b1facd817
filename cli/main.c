/* SPDX-License-Identifier: MIT */
/* The `quire` command: which command, and the helpers that all parts use. */
#include "quire.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: quire run [options] [--] PROGRAM [ARG...]\n"
    "       quire shell [options]\n"
    "       quire help | --help | --version\n"
    "\n"
    "Runs an unmodified Linux program on Quire's own kernel in a microVM, every\n"
    "byte of its memory demand-paged by Quire's virtual memory system.\n"
    "\n"
    "  quire run -- python3 -c 'print(6*7)'    the host's program and files\n"
    "  quire run --stat -- ls -l /             and a table of its page faults\n"
    "  quire shell                             an interactive shell in it\n"
    "\n"
    "`quire run --help` lists the options; quire(1) is the manual.\n";

static void line(const char *fmt, va_list ap)
{
	fflush(stdout);
	fputs("quire: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputs(terminal_is_raw() ? "\r\n" : "\n", stderr);
}

void warn_line(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	line(fmt, ap);
	va_end(ap);
}

void die(const char *fmt, ...)
{
	va_list ap;
	terminal_restore();
	va_start(ap, fmt);
	line(fmt, ap);
	va_end(ap);
	exit(EXIT_QUIRE);
}

void *xrealloc(void *p, size_t n)
{
	p = realloc(p, n);
	if (!p)
		die("out of memory");
	return p;
}

void *xmalloc(size_t n)
{
	return xrealloc(NULL, n);
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s;
	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		die("out of memory");
	va_end(ap);
	return s;
}

static int run(int argc, char **argv)
{
	struct options o;
	struct qemu q;
	int status = -1;

	config_look_at_stdio();
	options_parse(&o, argc, argv);
	log_start(&o);
	if (o.accel == ACCEL_KVM && !kvm_present())
		die("/dev/kvm can't be opened: use --accel tcg, or get access to it");
	if (o.accel == ACCEL_KVM || (o.accel == ACCEL_AUTO && !o.deterministic && !o.gdb &&
				     kvm_present() && !kvm_known_bad())) {
		bool try_only = o.accel == ACCEL_AUTO;
		qemu_start(&q, &o, true);
		status = channel_serve(&q, &o, try_only ? 2.0 : 30.0, try_only);
		qemu_stop(&q);
		if (status < 0 && !try_only)
			die("the virtual machine did not start with KVM: try --accel tcg");
		if (status < 0)
			kvm_remember_bad();
	}
	if (status < 0) {
		qemu_start(&q, &o, false);
		status = channel_serve(&q, &o, 60.0, false);
		qemu_stop(&q);
	}
	terminal_restore();
	log_end();
	if (status < 0)
		die("the virtual machine did not start (more with --verbose)");
	return status;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	if (!strcmp(command, "run") || !strcmp(command, "shell"))
		return run(argc - 1, argv + 1);
	if (!strcmp(command, "help") || !strcmp(command, "--help") || !strcmp(command, "-h")) {
		fputs(argc > 2 && !strcmp(argv[2], "run") ? run_help : usage, stdout);
		return 0;
	}
	if (!strcmp(command, "--version") || !strcmp(command, "version")) {
		puts("quire " QUIRE_VERSION);
		return 0;
	}
	if (*command)
		fprintf(stderr, "quire: no command '%s'\n", command);
	fputs(usage, stderr);
	return EXIT_QUIRE;
}
