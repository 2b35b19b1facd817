/* SPDX-License-Identifier: MIT */
/* What the fuzzers of system calls and of exec found, one by one; prints what the calls say. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *what, long r)
{
	printf("%s: %ld %s\n", what, r < 0 ? -1 : r, r < 0 ? strerror(errno) : "");
}

/* An old length that wraps: nothing may be unmapped, least of all below the address. */
static void wrapping_mremap(void)
{
	char *p = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *to = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(p, 1, 8 * 4096);
	for (int i = 0; i < 8; i++)
		say("mremap", (long)mremap(p + 4 * 4096, -(size_t)i * 4096, 4096,
					   MREMAP_MAYMOVE | MREMAP_FIXED, to) < 0
				  ? -1
				  : 0);
	int sum = 0;
	for (int i = 0; i < 4; i++)
		sum += p[i * 4096];
	printf("pages below: %d\n", sum);
}

/* Waiting for SIGKILL doesn't keep it off. */
static void *wait_for_kill(void *arg)
{
	sigset_t all;
	struct timespec t = {5, 0};
	sigfillset(&all);
	syscall(SYS_rt_sigtimedwait, &all, NULL, &t, 8);
	return arg;
}

static void killed_while_waiting(void)
{
	int status;
	pid_t pid = fork();
	if (!pid) {
		pthread_t t;
		pthread_create(&t, NULL, wait_for_kill, NULL);
		pthread_join(t, NULL);
		_exit(1);
	}
	usleep(50000);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	printf("killed by %d\n", WTERMSIG(status));
}

static void nothing(int sig)
{
	(void)sig;
}

/* A datagram socket whose peer is gone waits, and can be interrupted. */
static void orphaned_datagrams(void)
{
	struct sigaction sa = {.sa_handler = nothing};
	int s[2];
	char c;
	sigaction(SIGALRM, &sa, NULL);
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, s))
		return;
	close(s[1]);
	ualarm(50000, 0);
	say("recv", recv(s[0], &c, 1, 0));
	say("send", send(s[0], "x", 1, MSG_NOSIGNAL));
}

static void *send_back(void *fds)
{
	const int *fd = fds;
	for (int i = 0; i < 300; i++)
		if (sendfile(fd[1], fd[0], NULL, 1000) < 0)
			break;
	return NULL;
}

/* Two threads, from one file to the other and back, by the files' own positions. */
static void sendfile_both_ways(void)
{
	int fd[3] = {memfd_create("a", 0), memfd_create("b", 0)};
	pthread_t t;
	if (ftruncate(fd[0], 100000) || ftruncate(fd[1], 100000))
		return;
	fd[2] = fd[0];
	pthread_create(&t, NULL, send_back, fd);
	send_back(fd + 1);
	pthread_join(t, NULL);
	printf("sent both ways\n");
	lseek(fd[0], 0, SEEK_SET);
	lseek(fd[1], 10, SEEK_SET);
	say("sendfile", sendfile(fd[1], fd[0], NULL, 1000));
	say("in", lseek(fd[0], 0, SEEK_CUR));
	say("out", lseek(fd[1], 0, SEEK_CUR));
}

/* A limit of CPU time for a process that has ended. */
static void limit_of_the_dead(void)
{
	struct rlimit l = {1, 2};
	siginfo_t info;
	pid_t pid = fork();
	if (!pid)
		_exit(0);
	waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
	say("prlimit", prlimit(pid, RLIMIT_CPU, &l, NULL));
	waitpid(pid, NULL, 0);
}

static void paths(void)
{
	static const char *const names[] = {"/proc/self/exe/", "/proc/self/exe/.", "/bin/true/",
					    "/proc/self/fd/0/"};
	char c;
	for (int i = 0; i < 4; i++) {
		say(names[i], open(names[i], O_RDONLY));
		execl(names[i], "x", (char *)NULL);
		say(names[i], -1);
	}
	int fd = open("/proc/self/clear_refs", O_RDWR);
	if (fd >= 0) /* as root */
		say("clear_refs", read(fd, &c, 1));
	else
		printf("clear_refs: -1 Invalid argument\n");
}

int main(void)
{
	wrapping_mremap();
	killed_while_waiting();
	orphaned_datagrams();
	sendfile_both_ways();
	limit_of_the_dead();
	paths();
	return 0;
}
