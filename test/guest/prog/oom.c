/* SPDX-License-Identifier: MIT */
/* Who is killed when memory is out, and that it is nobody else.  Prints the same on Linux and
 * on Quire. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MB (1UL << 20)

static long kills(void)
{
	char line[128];
	long n = -1;
	FILE *f = fopen("/proc/vmstat", "r");

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "oom_kill %ld", &n);
	if (f)
		fclose(f);
	return n;
}

static void adjust(const char *adj)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);

	if (fd < 0 || write(fd, adj, strlen(adj)) < 0)
		_exit(2);
	close(fd);
}

static void take(unsigned long size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		_exit(3);
	for (unsigned long i = 0; i < size; i += 4096)
		p[i] = 1;
}

static void take_all(void)
{
	for (;;)
		take(MB);
}

/* A child that has `size` bytes and waits. */
static pid_t quiet(unsigned long size, const char *adj)
{
	int ready[2];
	char c;

	if (pipe(ready))
		exit(1);
	pid_t pid = fork();
	if (!pid) {
		adjust(adj);
		take(size);
		if (write(ready[1], "", 1) != 1)
			_exit(4);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		exit(1);
	close(ready[0]);
	return pid;
}

static pid_t greedy(const char *adj)
{
	pid_t pid = fork();

	if (!pid) {
		adjust(adj);
		take_all();
	}
	return pid;
}

static const char *end(pid_t pid)
{
	static char text[32];
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return "nobody";
	snprintf(text, sizeof(text), WIFSIGNALED(status) ? "signal %d" : "exit %d",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return text;
}

static const char *alive(pid_t pid)
{
	const char *r = waitpid(pid, NULL, WNOHANG) ? "dead" : "alive";

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}

static void the_biggest(void)
{
	long before = kills();
	pid_t small = quiet(8 * MB, "0"), big = greedy("0");

	printf("the greedy one: %s\n", end(big));
	printf("the small one: %s\n", alive(small));
	printf("killed: %ld\n", kills() - before);
}

static void adjusted(void)
{
	long before = kills();
	pid_t first = quiet(8 * MB, "1000"), never = quiet(24 * MB, "-1000");
	pid_t second = greedy("-100");

	printf("the adjusted one: %s\n", end(first));
	printf("the greedy one: %s\n", end(second));
	printf("the exempt one: %s\n", alive(never));
	printf("killed: %ld\n", kills() - before);
}

/* Many at once: each is killed once, and counted once. */
static void a_crowd(void)
{
	long before = kills();
	pid_t pid[8];
	int killed = 0;

	for (int i = 0; i < 8; i++)
		pid[i] = greedy("0");
	for (int i = 0; i < 8; i++)
		killed += !strcmp(end(pid[i]), "signal 9");
	printf("of a crowd: %d, killed: %ld\n", killed, kills() - before);
}

/* The parent can't go on before the child does, and has the same memory: both are killed. */
static void vforked(void)
{
	long before = kills();
	pid_t pid = fork();

	if (!pid) {
		adjust("0");
		if (!vfork())
			take_all();
		_exit(0);
	}
	printf("in vfork: %s, ", end(pid));
	printf("killed: %ld\n", kills() - before);
}

static int greedy_sharer(void *unused)
{
	(void)unused;
	take_all();
	return 0;
}

static int shared_pipe[2];

/* Two processes with one memory, the parent waiting for the death of the other. */
static void sharers(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	char c;
	pid_t pid;

	if (pipe(shared_pipe))
		exit(1);
	pid = fork();
	if (!pid) {
		close(shared_pipe[0]);
		adjust("0");
		clone(greedy_sharer, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
		for (;;)
			pause();
	}
	close(shared_pipe[1]);
	/* The end of the file comes when both are gone. */
	long n = read(shared_pipe[0], &c, 1);
	printf("sharers: %s, the pipe: %ld\n", end(pid), n);
	close(shared_pipe[0]);
}

int main(void)
{
	setbuf(stdout, NULL);
	adjust("-1000");
	the_biggest();
	adjusted();
	a_crowd();
	vforked();
	sharers();
	return 0;
}
