/* SPDX-License-Identifier: MIT */
/*
 * The first program of the Linux guest that Quire is compared with: it loads the
 * modules that lie beside it, mounts the host's root (9p, read only) under a layer
 * in RAM, and runs one command there, its output, its errors and its exit status on a
 * virtio port each, its input empty or what comes to the port of its output.
 * test/linux61/run makes the machine.
 *
 * /etc/modules   names of modules, a line each, in the order of loading
 * /etc/command   NUL-ended strings: working directory, number of arguments,
 *                the arguments, the environment
 * /etc/input     is there when the command has input
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PORT_OUT, PORT_ERR, PORT_STATUS, PORTS };

static void end(void)
{
	sync();
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

static void fail(const char *format, ...)
{
	va_list ap;
	int e = errno, fd = open("/dev/console", O_WRONLY);

	va_start(ap, format);
	dprintf(fd, "linux61: ");
	vdprintf(fd, format, ap);
	dprintf(fd, ": %s\n", strerror(e));
	va_end(ap);
	end();
}

static void mount_at(const char *what, const char *dir, const char *type, unsigned long flags,
		     const char *options)
{
	mkdir(dir, 0755);
	if (mount(what, dir, type, flags, options))
		fail("mount %s", dir);
}

static void load_modules(void)
{
	char line[256], path[512];
	FILE *f = fopen("/etc/modules", "r");

	if (!f)
		fail("/etc/modules");
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		snprintf(path, sizeof(path), "/modules/%s", line);
		int fd = open(path, O_RDONLY);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
			fail("module %s", line);
		close(fd);
	}
	fclose(f);
}

static void mount_root(void)
{
	mount_at("root", "/lower", "9p", MS_RDONLY,
		 "trans=virtio,version=9p2000.L,cache=loose,access=any,msize=131072");
	mount_at("layer", "/layer", "tmpfs", 0, "size=75%");
	if (mkdir("/layer/upper", 0755) || mkdir("/layer/work", 0755))
		fail("mkdir");
	mount_at("root", "/root", "overlay", 0,
		 "lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work,"
		 "index=off,redirect_dir=off,metacopy=off");
	mount_at("proc", "/root/proc", "proc", 0, NULL);
	mount_at("sys", "/root/sys", "sysfs", 0, NULL);
	mount_at("dev", "/root/dev", "devtmpfs", 0, NULL);
	mount_at("shm", "/root/dev/shm", "tmpfs", 0, NULL);
	mount_at("pts", "/root/dev/pts", "devpts", 0, NULL);
	mount_at("run", "/root/run", "tmpfs", 0, NULL);
	/* The root of the namespace, as a machine has it: setns() leads there. */
	if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot("."))
		fail("chroot");
	(void)!symlink("/proc/self/fd", "/dev/fd");
	(void)!symlink("/proc/self/fd/0", "/dev/stdin");
	(void)!symlink("/proc/self/fd/1", "/dev/stdout");
	(void)!symlink("/proc/self/fd/2", "/dev/stderr");
}

static int open_port(int number, int flags)
{
	char path[64];

	/* The device appears a moment after its driver. */
	for (int i = 0; i < 2000; i++) {
		for (int device = 0; device < 8; device++) {
			snprintf(path, sizeof(path), "/dev/vport%dp%d", device, number + 1);
			int fd = open(path, flags);
			if (fd >= 0)
				return fd;
		}
		usleep(1000);
	}
	fail("virtio port %d", number);
	return -1;
}

static char *read_command(size_t *size)
{
	struct stat st;
	int fd = open("/etc/command", O_RDONLY);

	if (fd < 0 || fstat(fd, &st))
		fail("/etc/command");
	char *text = malloc(st.st_size);
	if (read(fd, text, st.st_size) != st.st_size)
		fail("/etc/command");
	close(fd);
	*size = st.st_size;
	return text;
}

static void run(char *text, size_t size, const int *port, bool has_input)
{
	char *dir = text, *s = dir + strlen(dir) + 1, *stop = text + size;
	int argc = atoi(s), n = 0;
	char *list[4096], **argv = list, **envp = list + argc + 1;

	for (s += strlen(s) + 1; s < stop && n < 4094; s += strlen(s) + 1) {
		list[n++] = s;
		if (n == argc)
			list[n++] = NULL;
	}
	list[n] = NULL;
	dup2(has_input ? port[PORT_OUT] : open("/dev/null", O_RDONLY), 0);
	dup2(port[PORT_OUT], 1);
	dup2(port[PORT_ERR], 2);
	for (int i = 0; i < PORTS; i++)
		close(port[i]);
	setsid();
	if (chdir(dir))
		fprintf(stderr, "linux61: %s: %s\n", dir, strerror(errno));
	environ = envp;
	execvp(argv[0], argv);
	fprintf(stderr, "linux61: %s: %s\n", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

int main(void)
{
	int port[PORTS], status = 0;
	size_t size;
	pid_t child, pid;

	mount_at("proc", "/proc", "proc", 0, NULL);
	mount_at("dev", "/dev", "devtmpfs", 0, NULL);
	load_modules();
	char *text = read_command(&size);
	bool has_input = !access("/etc/input", F_OK);
	mount_root();
	for (int i = 0; i < PORTS; i++)
		port[i] = open_port(i, O_RDWR | O_CLOEXEC);
	child = fork();
	if (child < 0)
		fail("fork");
	if (!child)
		run(text, size, port, has_input);
	while ((pid = wait(&status)) != child)
		if (pid < 0)
			fail("wait");
	dprintf(port[PORT_STATUS], "%d\n",
		WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	usleep(20000);
	end();
}
