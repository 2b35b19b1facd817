/* SPDX-License-Identifier: MIT */
/*
 * How often CPUs are told to forget translations, by /proc/vmstat, on two CPUs: not at
 * all when the program has one thread or the other sleeps, once for each munmap when it
 * runs, and once for many pages.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ul
#define TIMES 200

static atomic_int spinning, stop;
static int sleep_on[2];

static long counter(const char *name)
{
	static char text[65536];
	int fd = open("/proc/vmstat", O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	char *at = strstr(text, name);
	if (!at) {
		printf("no %s\n", name);
		exit(1);
	}
	return atol(at + strlen(name));
}

static void on_cpu(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set)) {
		perror("sched_setaffinity");
		exit(1);
	}
}

/* Pages within a larger mapping, so that no page table becomes empty. */
static char *area;

static long remote(size_t pages)
{
	long before = counter("nr_tlb_remote_flush ");
	for (int i = 0; i < TIMES; i++) {
		for (size_t k = 0; k < pages; k++)
			area[(8 + k) * PAGE] = 1;
		madvise(area + 8 * PAGE, pages * PAGE, MADV_DONTNEED);
	}
	return counter("nr_tlb_remote_flush ") - before;
}

static void *other(void *arg)
{
	char c;
	on_cpu(1);
	while (!stop)
		spinning = 1;
	spinning = 0;
	return read(sleep_on[0], &c, 1) == 1 ? arg : NULL;
}

int main(void)
{
	pthread_t t;
	on_cpu(0);
	area = mmap(NULL, 512 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	area[0] = 1;
	if (area == MAP_FAILED || pipe(sleep_on))
		return 1;
	printf("one thread: %ld\n", remote(1));

	long one = counter("nr_tlb_local_flush_one "), all = counter("nr_tlb_local_flush_all ");
	for (int k = 8; k < 24; k++)
		area[k * PAGE] = 1;
	munmap(area + 8 * PAGE, 16 * PAGE);
	one = counter("nr_tlb_local_flush_one ") - one;
	all = counter("nr_tlb_local_flush_all ") - all;
	printf("munmap of 16 pages: %ld flushed one by one, all flushed %ld times\n", one, all);
	mmap(area + 8 * PAGE, 16 * PAGE, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (pthread_create(&t, NULL, other, NULL))
		return 1;
	while (!spinning)
		;
	long n = remote(1);
	printf("another runs: once each: %s\n", n >= TIMES && n < TIMES + 5 ? "yes" : "no");
	n = remote(20);
	printf("20 pages at once: once each: %s\n", n >= TIMES && n < TIMES + 5 ? "yes" : "no");
	stop = 1;
	while (spinning)
		;
	usleep(50000);
	printf("another sleeps: %ld\n", remote(1));
	if (write(sleep_on[1], "", 1) != 1)
		return 1;
	pthread_join(t, NULL);
	return 0;
}
