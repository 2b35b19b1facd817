/* SPDX-License-Identifier: MIT */
/* QEMU: its command line, its start and its end. */
#include "quire.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define QEMU "qemu-system-x86_64"

const char *kernel_path(const struct options *o)
{
	static const char *const places[] = {"build/kernel/quire.elf", "../lib/quire/quire.elf"};
	char self[PATH_MAX];
	const char *from = getenv("QUIRE_KERNEL");

	if (o->kernel || (from && *from)) {
		from = o->kernel ? o->kernel : from;
		if (access(from, R_OK))
			die("kernel %s: %s", from, strerror(errno));
		return from;
	}
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		die("can't find my own folder: %s", strerror(errno));
	// cppcheck-suppress negativeIndex ; die() does not return
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		char *path = xasprintf("%s/%s", self, places[i]);
		if (!access(path, R_OK))
			return path;
		free(path);
	}
	die("the kernel isn't built: run make, or name one with --kernel FILE");
}

bool kvm_present(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/*
 * A machine may have /dev/kvm and yet no guest comes up on it (nested virtualisation
 * that is switched off half-way, say).  Finding that out takes seconds, so the finding
 * is kept until the next boot: the boot's id in a file of the user's cache folder.
 */
static char *kvm_verdict_file(bool make)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char *folder, *file;

	if (cache && *cache == '/')
		folder = xasprintf("%s", cache);
	else if (home && *home == '/')
		folder = xasprintf("%s/.cache", home);
	else
		return NULL;
	file = xasprintf("%s/quire", folder);
	if (make) {
		mkdir(folder, 0700);
		mkdir(file, 0700);
	}
	free(folder);
	folder = file;
	file = xasprintf("%s/kvm-fails", folder);
	free(folder);
	return file;
}

static bool read_line(const char *path, char *buf, size_t size)
{
	FILE *f = path ? fopen(path, "re") : NULL;
	bool ok = f && fgets(buf, (int)size, f);
	if (f)
		fclose(f);
	return ok;
}

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

bool kvm_known_bad(void)
{
	char *file = kvm_verdict_file(false), boot[64], bad[64];
	bool known = read_line(file, bad, sizeof(bad)) && read_line(BOOT_ID, boot, sizeof(boot)) &&
		     !strcmp(boot, bad);
	free(file);
	return known;
}

void kvm_remember_bad(void)
{
	char *file = kvm_verdict_file(true), boot[64];
	FILE *f = file && read_line(BOOT_ID, boot, sizeof(boot)) ? fopen(file, "we") : NULL;
	if (f) {
		fputs(boot, f);
		fclose(f);
	}
	free(file);
}

struct arguments {
	char **v;
	size_t n;
};

static void arg(struct arguments *a, char *s)
{
	a->v = xrealloc(a->v, (a->n + 2) * sizeof(char *));
	a->v[a->n++] = s;
	a->v[a->n] = NULL;
}

static void arg2(struct arguments *a, const char *name, char *value)
{
	arg(a, strdup(name));
	arg(a, value);
}

/* In QEMU's option strings a comma is written twice. */
static char *double_commas(const char *s)
{
	char *out = xmalloc(2 * strlen(s) + 1), *p = out;
	for (; *s; s++) {
		*p++ = *s;
		if (*s == ',')
			*p++ = ',';
	}
	*p = '\0';
	return out;
}

static void arg_machine(struct arguments *a, const struct options *o, bool kvm)
{
	arg2(a, "-M",
	     strdup(
		 "microvm,pit=off,pic=off,rtc=off,isa-serial=off,acpi=on,auto-kernel-cmdline=off"));
	arg2(a, "-global", strdup("virtio-mmio.force-legacy=false"));
	if (kvm)
		arg2(a, "-accel", strdup("kvm"));
	else
		arg2(a, "-accel",
		     strdup(o->deterministic ? "tcg,thread=single" : "tcg,thread=multi"));
	if (o->deterministic)
		arg2(a, "-icount", strdup("shift=0,sleep=off"));
	arg2(a, "-cpu", strdup(o->cpu_model ? o->cpu_model : kvm ? "host" : "max,la57=off"));
	arg2(a, "-m", xasprintf("%lluK", (unsigned long long)(o->ram >> 10)));
	arg2(a, "-smp", xasprintf("%u", o->cpus));
	arg(a, strdup("-nodefaults"));
	arg(a, strdup("-no-user-config"));
	arg(a, strdup("-no-reboot"));
	arg2(a, "-display", strdup("none"));
	if (o->gdb) {
		arg(a, strdup("-S"));
		arg2(a, "-gdb", strdup("tcp:127.0.0.1:1234"));
	}
}

static void arg_share(struct arguments *a, const char *id, const char *path, bool writable)
{
	char *escaped = double_commas(path);
	arg2(a, "-fsdev",
	     xasprintf("local,id=%s,path=%s,security_model=%s,multidevs=remap%s", id, escaped,
		       geteuid() ? "none" : "passthrough", writable ? "" : ",readonly=on"));
	arg2(a, "-device", xasprintf("virtio-9p-device,fsdev=%s,mount_tag=%s", id, id));
	free(escaped);
}

static char **command_line(const struct options *o, bool kvm, int config, int channel, int log)
{
	struct arguments a = {0};
	char id[16];

	arg(&a, strdup(QEMU));
	arg_machine(&a, o, kvm);
	arg2(&a, "-kernel", strdup(kernel_path(o)));
	arg2(&a, "-initrd", xasprintf("/proc/self/fd/%d", config));
	arg2(&a, "-device", strdup("isa-debug-exit,iobase=0xf4,iosize=4"));
	arg2(&a, "-chardev", xasprintf("socket,id=log,fd=%d", log));
	arg2(&a, "-device", strdup("isa-debugcon,iobase=0xe9,chardev=log"));
	arg_share(&a, "root", "/", false);
	for (unsigned i = 0; o->rw && o->rw[i]; i++) {
		snprintf(id, sizeof(id), "rw%u", i);
		arg_share(&a, id, o->rw[i], true);
	}
	arg2(&a, "-device", strdup("virtio-serial-device"));
	arg2(&a, "-chardev", xasprintf("socket,id=io,fd=%d", channel));
	arg2(&a, "-device", strdup("virtconsole,chardev=io"));
	for (char **extra = o->qemu_args; extra && *extra; extra++)
		arg(&a, strdup(*extra));
	return a.v;
}

/* Two connected sockets; ours closes on exec. */
static void socket_pair(int pair[2])
{
	int size = 1 << 20;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		die("socketpair: %s", strerror(errno));
	fcntl(pair[0], F_SETFD, FD_CLOEXEC);
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

/* In the child: become QEMU. */
static _Noreturn void become_qemu(char **args, int errors)
{
	struct rlimit files;
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	int null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(null, 1);
	dup2(errors, 2);
	execvp(args[0], args);
	dprintf(2,
		errno == ENOENT ? "%s is not installed: apt-get install qemu-system-x86\n"
				: "%s can't be started\n",
		args[0]);
	_exit(127);
}

void qemu_start(struct qemu *q, const struct options *o, bool kvm)
{
	int channel[2], log[2], errors[2];

	int config = config_make(o, kvm);
	socket_pair(channel);
	socket_pair(log);
	if (pipe(errors))
		die("pipe: %s", strerror(errno));
	fcntl(errors[0], F_SETFD, FD_CLOEXEC);
	fcntl(errors[0], F_SETFL, O_NONBLOCK);
	char **args = command_line(o, kvm, config, channel[1], log[1]);
	if (o->verbose) {
		fputs("quire:", stderr);
		for (char **a = args; *a; a++)
			fprintf(stderr, " %s", *a);
		fputc('\n', stderr);
	}
	if (o->gdb) {
		const char *kernel = kernel_path(o), *slash = strrchr(kernel, '/');
		warn_line("waiting for a debugger: gdb -x %.*squire-gdb.py %s",
			  slash ? (int)(slash - kernel + 1) : 0, kernel, kernel);
	}
	q->pid = fork();
	if (q->pid < 0)
		die("fork: %s", strerror(errno));
	if (!q->pid)
		become_qemu(args, errors[1]);
	close(config);
	close(channel[1]);
	close(log[1]);
	close(errors[1]);
	for (char **a = args; *a; a++)
		free(*a);
	free(args);
	q->channel = channel[0];
	q->log = log[0];
	q->errors = errors[0];
}

void qemu_stop(struct qemu *q)
{
	if (q->pid > 0) {
		kill(q->pid, SIGKILL);
		waitpid(q->pid, NULL, 0);
		q->pid = 0;
	}
	close(q->channel);
	close(q->log);
	close(q->errors);
}
