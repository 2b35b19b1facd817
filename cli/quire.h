/* SPDX-License-Identifier: MIT */
/*
 * The `quire` command: what its parts share.
 *
 *   main.c      commands, help
 *   options.c   the options of `run` and `shell`
 *   config.c    the blob that tells the kernel what to run
 *   qemu.c      QEMU's command line, start and end
 *   channel.c   the event loop: the kernel's requests on our descriptors
 *   terminal.c  raw mode and back
 *   log.c       the kernel's log lines, symbolised
 */
#ifndef CLI_QUIRE_H
#define CLI_QUIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define EXIT_QUIRE 125   /* Quire itself failed */
#define EXIT_TIMEOUT 124 /* --timeout, as timeout(1) */
#define MAX_CPUS 16

enum accel { ACCEL_AUTO, ACCEL_KVM, ACCEL_TCG };

struct options {
	uint64_t ram; /* bytes */
	unsigned cpus;
	const char *kernel; /* null: the one that belongs to this command */
	enum accel accel;
	const char *cpu_model; /* null: max, or host with KVM */
	bool deterministic, gdb, stat, verbose, check, no_aslr;
	double timeout; /* seconds; 0: none */
	const char *log_file;
	char **rw; /* absolute folders, null-terminated */
	char **qemu_args;
	char **argv; /* the program and its arguments */
};

/* One line on standard error, "quire: ...", and exit with 125. */
_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void warn_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void *xmalloc(size_t n);
void *xrealloc(void *p, size_t n);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* options.c.  argv[0] is the command's name ("run").  Dies with a line on bad usage. */
void options_parse(struct options *o, int argc, char **argv);
extern const char run_help[];

/* config.c.  First of all: see what descriptors 0-2 are, and keep their numbers. */
void config_look_at_stdio(void);
/* A memory file with the blob. */
int config_make(const struct options *o, bool kvm);

/* qemu.c */
struct qemu {
	pid_t pid;
	int channel; /* socket: messages of kernel/boot/hostio.h */
	int log;     /* socket: the kernel's log lines */
	int errors;  /* pipe: QEMU's own standard error */
};
const char *kernel_path(const struct options *o); /* dies when there is none */
void qemu_start(struct qemu *q, const struct options *o, bool kvm);
void qemu_stop(struct qemu *q); /* kills and reaps it, closes the descriptors */
/* Is KVM worth trying?  False without /dev/kvm. */
bool kvm_present(void);
/* Has a guest failed to come up on it since this machine's boot?  Say that it has. */
bool kvm_known_bad(void);
void kvm_remember_bad(void);

/* channel.c.  Serves the guest until it ends.  Its exit status, or -1 when it didn't
 * say hello within hello_seconds; quiet: then without QEMU's own complaints, since
 * another accelerator will be tried. */
int channel_serve(struct qemu *q, const struct options *o, double hello_seconds, bool quiet);

/* terminal.c */
bool terminal_is(int fd);
void terminal_raw(void);     /* if standard input is a terminal and we're in its foreground */
void terminal_restore(void); /* safe at any time, also from atexit */
bool terminal_is_raw(void);
void terminal_size(uint16_t *rows, uint16_t *cols);

/* log.c */
void log_start(const struct options *o);
void log_bytes(const char *p, size_t n);
void log_end(void);

#endif
