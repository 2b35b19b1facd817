/* SPDX-License-Identifier: MIT */
/*
 * What the memory system's operations cost, in nanoseconds of CLOCK_MONOTONIC,
 * which are instructions where QEMU counts them as such.  Runs the same on Quire
 * and on Linux.  One line for each: cost, name.
 *
 * What is short is timed each time by itself, without the cost of reading the clock,
 * and the median told, so that a timer's tick doesn't count.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES 4096ul /* 16 MiB */
#define SAMPLES 501

static long clock_cost;

static long now(void)
{
	struct timespec t;
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000l + t.tv_nsec;
}

static void report(const char *name, long total, long n)
{
	printf("%10ld  %s\n", total / n, name);
	fflush(stdout);
}

static int by_size(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;
	return x < y ? -1 : x > y;
}

static long median(long *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), by_size);
	return v[n / 2];
}

/* The median of n runs of the statement. */
#define MEDIAN(n, statement)                                     \
	({                                                       \
		static long all_[n];                             \
		for (int at_ = 0; at_ < (n); at_++) {            \
			long start_ = now();                     \
			statement;                               \
			all_[at_] = now() - start_ - clock_cost; \
		}                                                \
		median(all_, n);                                 \
	})

static char *map(size_t pages, int prot)
{
	char *p = mmap(NULL, pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return p;
}

static char *anonymous(size_t pages)
{
	return map(pages, PROT_READ | PROT_WRITE);
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

static void first_touches(void)
{
	char *p = anonymous(PAGES);
	touch(p, 1, 1);
	long t = now();
	touch(p + PAGE, PAGES - 1, 1);
	report("anonymous first write", now() - t, PAGES - 1);
	t = now();
	madvise(p, PAGES * PAGE, MADV_DONTNEED);
	report("MADV_DONTNEED of 16 MiB, per page", now() - t, PAGES);
	t = now();
	sum(p, PAGES, 1);
	report("anonymous first read", now() - t, PAGES);
	touch(p, PAGES, 1);
	t = now();
	munmap(p, PAGES * PAGE);
	report("munmap of 16 MiB, per page", now() - t, PAGES);
	p = anonymous(16);
	touch(p, 1, 1);
	report("MADV_DONTNEED of one touched page, touch",
	       MEDIAN(SAMPLES,
		      {
			      madvise(p, PAGE, MADV_DONTNEED);
			      touch(p, 1, 1);
		      }),
	       1);
	munmap(p, 16 * PAGE);
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
	close(done[0]);
}

static void cached_file(void)
{
	static char buf[65536];
	char name[] = "/dev/shm/bench-XXXXXX", disk[] = "/tmp/bench-XXXXXX";
	int fd = mkstemp(disk);
	if (fd < 0)
		fd = mkstemp(name);
	for (size_t i = 0; i < PAGES * PAGE; i += sizeof(buf))
		if (write(fd, buf, sizeof(buf)) != sizeof(buf))
			exit(1);
	for (int step = 16; step; step = step == 16 ? 1 : 0) {
		char *p = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
		sum(p, 1, 1);
		long t = now();
		sum(p + 16 * PAGE, PAGES - 16, (size_t)step);
		t = now() - t;
		report(step == 16 ? "cached file read, per fault (16 pages)"
				  : "cached file read, per page",
		       t, (long)(PAGES - 16) / step);
		if (step == 1) {
			t = now();
			munmap(p, PAGES * PAGE);
			report("munmap of 16 MiB of a file, per page", now() - t, PAGES);
		} else {
			munmap(p, PAGES * PAGE);
		}
	}
	unlink(disk);
	unlink(name);
	close(fd);
}

static void map_calls(void)
{
	report("mmap+munmap of a page", MEDIAN(SAMPLES, munmap(anonymous(1), PAGE)), 1);
	report("mmap+touch+munmap",
	       MEDIAN(SAMPLES,
		      {
			      char *p = anonymous(1);
			      *p = 1;
			      munmap(p, PAGE);
		      }),
	       1);
	char *p = anonymous(3);
	touch(p, 3, 1);
	report("mprotect of the middle of 3 pages: split",
	       MEDIAN(SAMPLES,
		      {
			      mprotect(p, 3 * PAGE, PROT_READ | PROT_WRITE);
			      start_ = now();
			      mprotect(p + PAGE, PAGE, PROT_READ);
		      }),
	       1);
	report("mprotect of it back: merge",
	       MEDIAN(SAMPLES,
		      {
			      mprotect(p + PAGE, PAGE, PROT_READ);
			      start_ = now();
			      mprotect(p + PAGE, PAGE, PROT_READ | PROT_WRITE);
		      }),
	       1);
	munmap(p, 3 * PAGE);
	p = anonymous(PAGES);
	touch(p, PAGES, 1);
	report("mprotect of 16 MiB there and back, per page",
	       MEDIAN(5,
		      {
			      mprotect(p, PAGES * PAGE, PROT_READ);
			      mprotect(p, PAGES * PAGE, PROT_READ | PROT_WRITE);
		      }),
	       PAGES);
	munmap(p, PAGES * PAGE);
	/* From and to places that lie alike in their 2 MiB, and that don't. */
	for (size_t shift = 0; shift < 2; shift++) {
		char *room = anonymous(3 * PAGES);
		char *from = (char *)(((unsigned long)room + (2ul << 20) - 1) & -(2ul << 20));
		char *to = from + (PAGES + 512 + shift) * PAGE;
		touch(from, PAGES, 1);
		report(shift ? "mremap move of 16 MiB, tables not alike, per page"
			     : "mremap move of 16 MiB",
		       MEDIAN(5,
			      {
				      mremap(from, PAGES * PAGE, PAGES * PAGE,
					     MREMAP_MAYMOVE | MREMAP_FIXED, to);
				      char *was = from;
				      from = to;
				      to = was;
			      }),
		       shift ? PAGES : 1);
		munmap(room, 3 * PAGES * PAGE);
		munmap(from, PAGES * PAGE);
	}
}

/* What was put off until nobody can look any more, such as freeing VMAs, isn't the next
 * operation's cost. */
static void settle(void)
{
	for (int i = 0; i < 50; i++)
		usleep(1000);
}

static void forks(size_t mib)
{
	settle();
	size_t pages = (mib << 20) / PAGE;
	char *p = pages ? anonymous(pages) : NULL, name[64];
	if (pages)
		touch(p, pages, 1);
	snprintf(name, sizeof(name), "fork+exit+wait, %zu MiB", mib);
	report(name,
	       MEDIAN(5,
		      {
			      pid_t child = fork();
			      if (!child)
				      _exit(0);
			      waitpid(child, NULL, 0);
		      }),
	       1);
	if (pages)
		munmap(p, pages * PAGE);
}

static void execs(char *self)
{
	char *args[] = {self, "exit", NULL}, *none[] = {NULL};
	pid_t child;
	report("vfork+exec+exit+wait",
	       MEDIAN(5,
		      {
			      if (posix_spawn(&child, self, NULL, NULL, args, none))
				      exit(1);
			      waitpid(child, NULL, 0);
		      }),
	       1);
}

/* A write of 1 to *rax that faults is stepped over: three bytes. */
static void over(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 3;
}

static void segv(void)
{
	struct sigaction a = {.sa_sigaction = over, .sa_flags = SA_SIGINFO};
	char *p = map(1, PROT_READ);
	sigaction(SIGSEGV, &a, NULL);
	report("SIGSEGV and back",
	       MEDIAN(SAMPLES, __asm__ volatile("movb $1, (%%rax)" ::"a"(p)
						: "memory")),
	       1);
	munmap(p, PAGE);
}

static void pipes(void)
{
	int there[2], back[2];
	char c = 0;
	if (pipe(there) || pipe(back))
		exit(1);
	pid_t child = fork();
	if (!child) {
		close(there[1]);
		while (read(there[0], &c, 1) == 1 && write(back[1], &c, 1) == 1)
			;
		_exit(0);
	}
	close(there[0]);
	report("a byte to another process and back",
	       MEDIAN(SAMPLES,
		      {
			      if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1)
				      exit(1);
		      }),
	       1);
	close(there[1]);
	close(back[0]);
	close(back[1]);
	waitpid(child, NULL, 0);
}

/* A page among n VMAs, some of which are like it. */
static char *some_page(char *base, unsigned n)
{
	static unsigned seed = 1;
	seed = seed * 1103515245 + 12345;
	return base + ((seed >> 8) % (n / 2) * 2 + 1) * PAGE;
}

static void tell(const char *what, unsigned n, long *spent)
{
	char name[80];
	snprintf(name, sizeof(name), what, n);
	report(name, median(spent, SAMPLES), 1);
}

/* n VMAs of one page each, read-only and writable in turn. */
static void among(unsigned n)
{
	static long first[SAMPLES], second[SAMPLES];
	char *base = map(n, PROT_NONE);
	for (unsigned i = 0; i < n; i++) {
		char *p = base + i * PAGE;
		if (mprotect(p, PAGE, i % 2 ? PROT_READ | PROT_WRITE : PROT_READ)) {
			perror("mprotect");
			exit(1);
		}
		if (i % 2)
			*p = 1;
	}
	madvise(base, n * PAGE, MADV_DONTNEED);
	for (unsigned i = 0; i < SAMPLES; i++) {
		volatile char *p = some_page(base, n);
		long t = now();
		*p = 1;
		first[i] = now() - t - clock_cost;
		madvise((void *)p, PAGE, MADV_DONTNEED);
	}
	tell("first write of a page among %u VMAs", n, first);
	for (int like = 0; like < 2; like++) {
		for (unsigned i = 0; i < SAMPLES; i++) {
			long t = now();
			char *p = map(1, like ? PROT_READ : PROT_READ | PROT_WRITE);
			first[i] = now() - t - clock_cost;
			t = now();
			munmap(p, PAGE);
			second[i] = now() - t - clock_cost;
		}
		tell(like ? "mmap of a page beside %u VMAs: merge" : "mmap of a page among %u VMAs",
		     n, first);
		tell(like ? "munmap of it beside %u VMAs: split" : "munmap of it among %u VMAs", n,
		     second);
	}
	for (unsigned i = 0; i < SAMPLES; i++) {
		char *p = some_page(base, n);
		long t = now();
		munmap(p, PAGE);
		first[i] = now() - t - clock_cost;
		t = now();
		if (mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			 -1, 0) != p)
			exit(1);
		second[i] = now() - t - clock_cost;
	}
	tell("munmap of one of %u VMAs", n, first);
	tell("mmap of it again, %u VMAs", n, second);
	munmap(base, n * PAGE);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return 0;
	clock_cost = MEDIAN(SAMPLES, );
	report("clock_gettime", clock_cost, 1);
	system_call();
	first_touches();
	copy_on_write();
	cached_file();
	map_calls();
	forks(0);
	forks(16);
	forks(64);
	forks(256);
	execs(argv[0]);
	segv();
	pipes();
	among(10);
	among(1000);
	among(60000);
	return 0;
}
