/* SPDX-License-Identifier: MIT */
/* What the test programs about memory's limits share. */
#ifndef MEMTEST_H
#define MEMTEST_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

#define P 4096UL
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define SHARED (MAP_SHARED | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)
#define VM "/proc/sys/vm/"

#pragma GCC diagnostic ignored "-Wunused-function"

static char *text(const char *name)
{
	static char buf[65536];
	int fd = open(name, O_RDONLY);
	size_t n = 0;
	ssize_t k;
	while (fd >= 0 && (k = read(fd, buf + n, sizeof(buf) - 1 - n)) > 0)
		n += (size_t)k;
	buf[n] = 0;
	close(fd);
	return buf;
}

static long field(const char *file, const char *label)
{
	char *at = strstr(text(file), label);
	return at ? atol(at + strlen(label)) : -1;
}

static int put(const char *name, const char *fmt, ...)
{
	char value[100];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	int fd = open(name, O_WRONLY);
	if (fd < 0)
		return errno;
	int r = write(fd, value, strlen(value)) < 0 ? errno : 0;
	close(fd);
	return r;
}

static const char *code(int e)
{
	return e ? strerrorname_np(e) : "ok";
}
static const char *err(long r)
{
	return r >= 0 ? "ok" : code(errno);
}
static const char *perr(const void *p)
{
	return p != MAP_FAILED ? "ok" : code(errno);
}

static void *map(size_t pages, int prot, int flags, int fd)
{
	return mmap(NULL, pages * P, prot, flags, fd, 0);
}

static void on_signal(int sig)
{
	static const char names[] = "signal 7\n";
	char s[sizeof(names)];
	memcpy(s, names, sizeof(names));
	s[7] = (char)('0' + sig % 10);
	if (sig == SIGBUS || sig == SIGSEGV)
		write(1, s, sizeof(s) - 1);
	_exit(0);
}

static void catch_signals(void)
{
	static char stack[16384];
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
	sigaltstack(&ss, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
}

static void recurse(int n)
{
	volatile char frame[P];
	frame[0] = 1;
	if (n)
		recurse(n - 1);
	frame[1] = frame[0];
}

#endif
