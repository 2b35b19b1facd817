/* SPDX-License-Identifier: MIT */
/*
 * What the memory system's operations cost, in nanoseconds of CLOCK_MONOTONIC,
 * which under `quire run --deterministic` are instructions.  Runs the same on
 * Linux, as an init or as a program.  One line for each: name, cost.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES 4096ul /* 16 MiB */

static long now(void)
{
	struct timespec t;
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000l + t.tv_nsec;
}

static void report(const char *name, long total, long n)
{
	printf("%-28s %10ld\n", name, total / n);
	fflush(stdout);
}

static char *anonymous(size_t pages)
{
	char *p =
	    mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
	return p;
}

static void touch(volatile char *p, size_t pages, size_t step)
{
	for (size_t i = 0; i < pages; i += step)
		p[i * PAGE] = 1;
}

static long sum(volatile char *p, size_t pages, size_t step)
{
	long s = 0;
	for (size_t i = 0; i < pages; i += step)
		s += p[i * PAGE];
	return s;
}

static void system_call(void)
{
	long t = now();
	for (int i = 0; i < 10000; i++)
		syscall(SYS_getppid);
	report("getppid", now() - t, 10000);
}

static void first_writes(void)
{
	char *p = anonymous(PAGES);
	touch(p, 1, 1);
	long t = now();
	touch(p + PAGE, PAGES - 1, 1);
	report("anonymous first write", now() - t, PAGES - 1);
	t = now();
	madvise(p, PAGES * PAGE, MADV_DONTNEED);
	report("MADV_DONTNEED, per page", now() - t, PAGES);
	t = now();
	sum(p, PAGES, 1);
	report("anonymous first read", now() - t, PAGES);
	munmap(p, PAGES * PAGE);
}

static void copy_on_write(void)
{
	char *p = anonymous(PAGES), c;
	int done[2];
	touch(p, PAGES, 1);
	if (pipe(done))
		exit(1);
	pid_t child = fork();
	if (!child) {
		close(done[1]);
		_exit((int)read(done[0], &c, 1));
	}
	touch(p, 1, 1);
	long t = now();
	touch(p + PAGE, PAGES - 1, 1);
	report("copy-on-write, copied", now() - t, PAGES - 1);
	close(done[1]);
	waitpid(child, NULL, 0);
	child = fork();
	if (!child)
		_exit(0);
	waitpid(child, NULL, 0);
	t = now();
	touch(p, PAGES, 1);
	report("copy-on-write, reused", now() - t, PAGES);
	munmap(p, PAGES * PAGE);
}

static void cached_file(void)
{
	static char buf[65536];
	char name[] = "/tmp/bench-XXXXXX";
	int fd = mkstemp(name);
	for (size_t i = 0; i < PAGES * PAGE; i += sizeof(buf))
		if (write(fd, buf, sizeof(buf)) != sizeof(buf))
			exit(1);
	for (int step = 16; step; step = step == 16 ? 1 : 0) {
		char *p = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
		sum(p, 1, 1);
		long t = now();
		sum(p + 16 * PAGE, PAGES - 16, (size_t)step);
		t = now() - t;
		report(step == 16 ? "cached file, per fault" : "cached file, per page", t,
		       (long)(PAGES - 16) / step);
		munmap(p, PAGES * PAGE);
	}
	unlink(name);
	close(fd);
}

static void forks(size_t mib)
{
	size_t pages = (mib << 20) / PAGE;
	char *p = pages ? anonymous(pages) : NULL, name[64];
	if (pages)
		touch(p, pages, 1);
	for (int i = 0; i < 3; i++) { /* the first ones warm up */
		long t = now();
		pid_t child = fork();
		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
		t = now() - t;
		snprintf(name, sizeof(name), "fork+exit+wait, %zu MiB", mib);
		if (i == 2)
			report(name, t, 1);
	}
	if (pages)
		munmap(p, pages * PAGE);
}

static void map_calls(void)
{
	long t = now();
	for (int i = 0; i < 1000; i++)
		munmap(anonymous(1), PAGE);
	report("mmap+munmap, one page", now() - t, 1000);
	t = now();
	for (int i = 0; i < 1000; i++) {
		char *p = anonymous(1);
		*p = 1;
		munmap(p, PAGE);
	}
	report("mmap+touch+munmap", now() - t, 1000);
}

int main(void)
{
	system_call();
	first_writes();
	copy_on_write();
	cached_file();
	map_calls();
	forks(0);
	forks(16);
	forks(64);
	return 0;
}
