/* SPDX-License-Identifier: MIT */
/* process_mrelease(2) and futex_waitv(2).  Prints the same on Linux and on Quire. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIZE (32UL << 20)
#define SYS_mrelease 448
#define SYS_waitv 449

static void say(const char *what, long r)
{
	printf("%s: %s\n", what, r < 0 ? strerror(errno) : "");
	if (r > 0)
		printf("  %ld\n", r);
}

static long resident_mb(pid_t pid)
{
	char path[64];
	long size, pages = -1;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	FILE *f = fopen(path, "r");
	if (!f || fscanf(f, "%ld %ld", &size, &pages) != 2)
		return -1;
	fclose(f);
	return pages >> 8;
}

static void mrelease(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		char *p =
		    mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(p, 1, SIZE);
		mlock(p, SIZE / 2);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXIT);
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	say("flags", syscall(SYS_mrelease, fd, 1));
	say("no descriptor", syscall(SYS_mrelease, 1000, 0));
	say("not a process", syscall(SYS_mrelease, 0, 0));
	say("alive", syscall(SYS_mrelease, fd, 0));
	ptrace(PTRACE_CONT, pid, 0, SIGTERM);
	waitpid(pid, &status, 0);
	printf("ends, with its memory: %d\n", resident_mb(pid) >= 32);
	say("released", syscall(SYS_mrelease, fd, 0));
	printf("without: %d\n", resident_mb(pid) < 4);
	ptrace(PTRACE_CONT, pid, 0, 0);
	waitpid(pid, &status, 0);
	printf("killed by %d\n", WTERMSIG(status));
	say("gone", syscall(SYS_mrelease, fd, 0));
}

struct waiter {
	uint64_t val, uaddr;
	uint32_t flags, reserved;
};
static uint32_t words[130];
static struct waiter v[130];

static void *waker(void *number)
{
	uint32_t *word = &words[(intptr_t)number];

	usleep(50000);
	__atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
	return NULL;
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void waitv(void)
{
	struct timespec soon;
	pthread_t t;

	for (int i = 0; i < 130; i++)
		v[i] = (struct waiter){0, (uintptr_t)&words[i], 2 | FUTEX_PRIVATE_FLAG, 0};
	say("none", syscall(SYS_waitv, v, 0, 0, NULL, 0));
	say("too many", syscall(SYS_waitv, v, 129, 0, NULL, 0));
	say("flags", syscall(SYS_waitv, v, 1, 1, NULL, 0));
	say("null", syscall(SYS_waitv, NULL, 1, 0, NULL, 0));
	say("unmapped list", syscall(SYS_waitv, 8, 1, 0, NULL, 0));
	v[1].flags = FUTEX_PRIVATE_FLAG;
	say("size", syscall(SYS_waitv, v, 2, 0, NULL, 0));
	v[1].flags = 2 | FUTEX_PRIVATE_FLAG;
	v[1].reserved = 1;
	say("reserved", syscall(SYS_waitv, v, 2, 0, NULL, 0));
	v[1].reserved = 0;
	v[1].uaddr++;
	say("unaligned", syscall(SYS_waitv, v, 2, 0, NULL, 0));
	v[1].uaddr = 8;
	say("unmapped word", syscall(SYS_waitv, v, 2, 0, NULL, 0));
	v[1].uaddr = (uintptr_t)&words[1];
	words[1] = 5;
	say("another value", syscall(SYS_waitv, v, 3, 0, NULL, 0));
	words[1] = 0;
	clock_gettime(CLOCK_MONOTONIC, &soon);
	say("clock", syscall(SYS_waitv, v, 3, 0, &soon, CLOCK_BOOTTIME));
	say("time is over", syscall(SYS_waitv, v, 3, 0, &soon, CLOCK_MONOTONIC));
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_nsec = (soon.tv_nsec + 20000000) % 1000000000;
	say("a moment", syscall(SYS_waitv, v, 128, 0, &soon, CLOCK_REALTIME));
	pthread_create(&t, NULL, waker, (void *)(intptr_t)77);
	say("woken", syscall(SYS_waitv, v, 128, 0, NULL, 0));
	pthread_join(t, NULL);
	struct sigaction sa = {.sa_handler = on_alarm};
	sigaction(SIGALRM, &sa, NULL);
	alarm(1);
	say("a signal", syscall(SYS_waitv, v, 70, 0, NULL, 0));
}

int main(void)
{
	mrelease();
	waitv();
	return 0;
}
