/* SPDX-License-Identifier: MIT */
/* Which calls send a signal to whom, and with what: process, thread, group, all, pidfd.
 * Prints the same on Linux 6.1 and on Quire. */
#include "probe.h"

#define ABSENT 4000000

static pid_t child, gone;
static volatile pid_t tid;

static void sleeper(void)
{
	for (;;)
		pause();
}

static void *thread(void *arg)
{
	(void)arg;
	tid = (pid_t)syscall(SYS_gettid);
	for (;;)
		pause();
	return NULL;
}

static long queue(pid_t pid, int sig, int code)
{
	siginfo_t i = {.si_signo = sig, .si_code = code};
	return syscall(SYS_rt_sigqueueinfo, pid, sig, &i);
}

static long queue_thread(pid_t group, pid_t to, int sig, int code)
{
	siginfo_t i = {.si_signo = sig, .si_code = code};
	return syscall(SYS_rt_tgsigqueueinfo, group, to, sig, &i);
}

static long by_fd(int fd, int sig, int code, unsigned flags)
{
	siginfo_t i = {.si_signo = SIGUSR1, .si_code = code};
	return syscall(SYS_pidfd_send_signal, fd, sig, code < 99 ? &i : NULL, flags);
}

static void by_number(void)
{
	int sigs[] = {0, SIGUSR1, 64, 65, -1};
	for (unsigned i = 0; i < sizeof(sigs) / sizeof(*sigs); i++) {
		int sig = sigs[i];
		printf(" signal %d\n", sig);
		R(kill(child, sig));
		R(kill(tid, sig));
		R(kill(ABSENT, sig));
		R(kill(gone, sig));
		R(kill(-gone, sig));
		R(kill(-child, sig));
		R(kill(-2147483647 - 1, sig));
		R(syscall(SYS_tkill, child, sig));
		R(syscall(SYS_tkill, tid, sig));
		R(syscall(SYS_tkill, ABSENT, sig));
		R(syscall(SYS_tkill, 0, sig));
		R(syscall(SYS_tgkill, child, child, sig));
		R(syscall(SYS_tgkill, child, tid, sig));
		R(syscall(SYS_tgkill, getpid(), tid, sig));
		R(syscall(SYS_tgkill, ABSENT, ABSENT, sig));
		R(syscall(SYS_tgkill, -1, child, sig));
		R(queue(child, sig, SI_QUEUE));
		R(queue(tid, sig, SI_QUEUE));
		R(queue(ABSENT, sig, SI_QUEUE));
		R(queue(0, sig, SI_QUEUE));
		R(queue_thread(getpid(), tid, sig, SI_QUEUE));
		R(queue_thread(child, tid, sig, SI_QUEUE));
		R(queue_thread(0, tid, sig, 0));
	}
	R(getpgid(tid) == getpgid(0));
	R(getsid(tid) == getsid(0));
	R(setpgid(tid, 0));
	R(setpgid(ABSENT, 0));
}

static void forged(void)
{
	int codes[] = {SI_USER, SI_KERNEL, SI_TKILL, SI_QUEUE, SI_TIMER, SEGV_MAPERR};
	pid_t me = getpid();
	for (unsigned i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		int code = codes[i];
		printf(" code %d\n", code);
		R(queue(me, SIGUSR1, code));
		R(queue(tid, SIGUSR1, code));
		R(queue(child, SIGUSR1, code));
		R(queue(ABSENT, SIGUSR1, code));
		R(queue_thread(me, me, SIGUSR1, code));
		R(queue_thread(me, tid, SIGUSR1, code));
		R(queue_thread(me, ABSENT, SIGUSR1, code));
		R(queue_thread(child, me, SIGUSR1, code));
	}
	R(syscall(SYS_rt_sigqueueinfo, me, SIGUSR1, 8));
	R(syscall(SYS_rt_sigqueueinfo, ABSENT, SIGUSR1, 8));
	R(syscall(SYS_rt_tgsigqueueinfo, 0, 0, SIGUSR1, 8));
}

static void by_pidfd(void)
{
	char name[40];
	pid_t dead = fork();
	if (!dead)
		sleeper();
	snprintf(name, sizeof(name), "/proc/%d", dead);
	int of[5] = {(int)syscall(SYS_pidfd_open, child, 0),
		     (int)syscall(SYS_pidfd_open, getpid(), 0),
		     (int)syscall(SYS_pidfd_open, dead, 0), open(name, O_RDONLY), 0};
	kill(dead, SIGKILL);
	waitpid(dead, NULL, 0);
	int codes[] = {99, SI_USER, SI_TKILL, SI_QUEUE};
	for (unsigned i = 0; i < 5; i++)
		for (unsigned c = 0; c < 4; c++) {
			printf(" descriptor %u code %d\n", i, codes[c]);
			R(by_fd(of[i], SIGUSR1, codes[c], 0));
			R(by_fd(of[i], SIGUSR2, codes[c], 0));
			R(by_fd(of[i], 65, codes[c], 0));
			R(by_fd(of[i], 0, codes[c], 0));
		}
	for (unsigned i = 0; i < 5; i++) {
		R(by_fd(of[i], SIGUSR1, 99, 1));
		R(syscall(SYS_pidfd_send_signal, of[i], SIGUSR1, 8, 0));
		R(syscall(SYS_pidfd_send_signal, of[i], 65, 8, 0));
	}
	R(by_fd(-1, 65, 99, 0));
	R(by_fd(-1, 65, 99, 1));
}

/* A thread that isn't the first. */
static void *second(void *arg)
{
	(void)arg;
	pid_t me = (pid_t)syscall(SYS_gettid);
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	R(queue(getpid(), SIGUSR1, SI_USER));
	R(queue(me, SIGUSR1, SI_USER));
	R(queue_thread(getpid(), me, SIGUSR1, SI_USER));
	R(queue_thread(getpid(), getpid(), SIGUSR1, SI_USER));
	R(by_fd(fd, SIGUSR1, SI_USER, 0));
	R(by_fd(fd, SIGUSR1, SI_QUEUE, 0));
	/* another user than the rest of its process */
	R(syscall(SYS_setresuid, 1000, 1000, 1000));
	R(kill(getpid(), SIGUSR1));
	R(kill(child, SIGUSR1));
	R(syscall(SYS_tkill, tid, SIGUSR1));
	return NULL;
}
static void by_second(void)
{
	pthread_t t;
	pthread_create(&t, NULL, second, NULL);
	pthread_join(t, NULL);
}

static void others(void)
{
	R(syscall(SYS_setresuid, 1000, 1000, 1000));
	R(kill(child, 0));
	R(kill(child, 65));
	R(kill(child, SIGCONT));
	R(kill(getppid(), SIGUSR1));
	R(kill(1, 65));
	R(kill(-child, SIGUSR1));
	R(kill(0, 0)); /* itself, at least */
	R(kill(-1, SIGUSR1));
	R(kill(-1, 65));
	R(syscall(SYS_tkill, child, SIGUSR1));
	R(queue(child, SIGUSR1, SI_QUEUE));
}

int main(void)
{
	pthread_t t;
	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	signal(64, SIG_IGN);
	if (!(gone = fork()))
		_exit(0);
	waitpid(gone, NULL, 0);
	if (!(child = fork())) {
		setpgid(0, 0);
		sleeper();
	}
	setpgid(child, child);
	T(by_pidfd);
	pthread_create(&t, NULL, thread, NULL);
	while (!tid)
		usleep(1000);
	by_number(); /* not in a child, which wouldn't have the thread */
	forged();
	fflush(stdout);
	T(by_second);
	T(others);
	kill(child, SIGKILL);
	return 0;
}
