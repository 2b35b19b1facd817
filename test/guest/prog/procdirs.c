/* SPDX-License-Identifier: MIT */
/* Numbers of processes that clone3(2) is told, and signals through an open /proc/PID,
 * which stays with its process when another has the number.  The same on Linux and Quire.
 */
#include "probe.h"

static void say(const char *what, long r)
{
	printf("%s: %s\n", what, r ? strerrorname_np(errno) : "ok");
	fflush(stdout);
}

static void signal_by(const char *what, int fd, int sig)
{
	say(what, syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0));
}

static int open_of(pid_t pid, const char *name)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return open(path, O_RDONLY);
}

/* A child with that number, as clone3(2) gives it. */
static long child_with_number(uint64_t at, uint64_t count)
{
	uint64_t args[11] = {[4] = SIGCHLD, [8] = at, [9] = count};
	long pid = syscall(SYS_clone3, args, sizeof(args));
	if (!pid) {
		pause();
		_exit(0);
	}
	return pid;
}

static void number(const char *what, uint64_t at, uint64_t count)
{
	long pid = child_with_number(at, count);
	say(what, pid < 0);
	if (pid > 0) {
		kill((pid_t)pid, SIGKILL);
		waitpid((pid_t)pid, NULL, 0);
	}
}

static void numbers(void)
{
	pid_t ids[40] = {20000, 20000, 20000}, none[] = {0, -1, 1 << 30, 1, getpid()};
	number("a number", (uint64_t)ids, 1);
	number("of two namespaces", (uint64_t)ids, 2);
	number("of 32", (uint64_t)ids, 32);
	number("of 33", (uint64_t)ids, 33);
	number("no place", 0, 1);
	number("a bad place", 8, 1);
	number("no numbers", (uint64_t)ids, 0);
	for (unsigned i = 0; i < 5; i++)
		number("what can't be", (uint64_t)&none[i], 1);
	pid_t pid = fork(); /* a group keeps the number of its leader */
	if (!pid) {
		setpgid(0, 0);
		if (!fork()) {
			pause();
			_exit(0);
		}
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	number("a group's", (uint64_t)&pid, 1);
	kill(-pid, SIGKILL);
	pid = fork();
	if (!pid) {
		say("another user", setuid(65534));
		number("not root", (uint64_t)ids, 1);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

int main(void)
{
	int status;
	signal(SIGUSR1, SIG_IGN);
	signal_by("itself", open_of(getpid(), ""), 0);
	signal_by("itself, a signal", open_of(getpid(), ""), SIGUSR1);
	signal_by("/proc/self", open("/proc/self", O_RDONLY), 0);
	signal_by("O_PATH", open("/proc/self", O_PATH), 0);
	signal_by("its tasks", open_of(getpid(), "task"), 0);
	signal_by("its status", open_of(getpid(), "status"), 0);
	signal_by("/proc", open("/proc", O_RDONLY), 0);
	signal_by("/proc/thread-self", open("/proc/thread-self", O_RDONLY), 0);

	pid_t pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	int dir = open_of(pid, "");
	signal_by("child", dir, 0);
	signal_by("child, to death", dir, SIGKILL);
	waitid(P_PID, pid, NULL, WEXITED | WNOWAIT);
	signal_by("zombie", dir, 0);
	waitpid(pid, &status, 0);
	printf("status %x\n", status);
	signal_by("gone", dir, 0);
	say("its files", openat(dir, "status", O_RDONLY) < 0);

	say("another with its number", child_with_number((uint64_t)&pid, 1) != pid);
	signal_by("that one", dir, SIGKILL);
	say("its files", openat(dir, "status", O_RDONLY) < 0);
	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	printf("status %x\n", status);
	numbers();
	return 0;
}
