/* SPDX-License-Identifier: MIT */
/*
 * Tracers and their tracees: threads that end, fork and exec while they are traced, by a
 * tracer that lets them go on in one of several ways, lets go of them, or is killed in the
 * midst of it.  Whatever happens, all of them end, soon.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

#include "race.h"

#define THREADS 3
#define STEPS 300   /* single steps at most, then it may run */
#define ENOUGH 2000 /* stops; then the tracer lets go */
#define PATIENCE_MS 20000

/* What a tracee does, and its tracer; bits of a random number. */
#define TRACEME 1u
#define THREAD_EXECS 2u
#define FORKS 4u
#define TELLS_EXIT 8u
#define EXITKILL 16u

static void *thread(void *execs)
{
	for (int i = 0; i < 20; i++) {
		getppid();
		usleep(50);
	}
	if (execs)
		execl("/proc/self/exe", "race", "nothing", NULL);
	return NULL;
}

static _Noreturn void tracee(unsigned how)
{
	pthread_t t[THREADS];

	if (how & TRACEME) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, thread, (how & THREAD_EXECS) && i == 1 ? t : NULL);
	if (how & FORKS) {
		pid_t pid = fork();
		if (!pid) {
			raise(SIGUSR1);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	_exit((int)(how & 7));
}

static void follow(unsigned how, long options)
{
	struct user_regs_struct regs;
	unsigned style = (how >> 5) % 3;
	int status;
	pid_t tid;

	for (unsigned n = 0; (tid = waitpid(-1, &status, __WALL)) > 0;) {
		if (!WIFSTOPPED(status))
			continue;
		if (n++ == 0 && (how & TRACEME))
			ptrace(PTRACE_SETOPTIONS, tid, 0, options);
		ptrace(PTRACE_GETREGS, tid, 0, &regs);
		int sig = WSTOPSIG(status);
		if (sig == SIGSTOP || (sig & 0x7f) == SIGTRAP || status >> 16)
			sig = 0;
		if (n > ENOUGH)
			ptrace(PTRACE_DETACH, tid, 0, (long)sig);
		else
			ptrace(style == 0                ? PTRACE_SYSCALL
			       : style == 1 && n < STEPS ? PTRACE_SINGLESTEP
							 : PTRACE_CONT,
			       tid, 0, (long)sig);
	}
}

static _Noreturn void tracer(uint64_t seed)
{
	for (int i = 0; i < 3; i++) {
		unsigned how = draw(&seed);
		long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE |
			       PTRACE_O_TRACEEXEC | (how & TELLS_EXIT ? PTRACE_O_TRACEEXIT : 0) |
			       (how & EXITKILL ? PTRACE_O_EXITKILL : 0);
		pid_t pid = fork();

		if (!pid)
			tracee(how);
		if (!(how & TRACEME))
			ptrace(PTRACE_SEIZE, pid, 0, options);
		follow(how, options);
	}
	_exit(0);
}

/* Everybody who is left over has nobody to wait for, but one who stopped itself. */
static int reap_orphans(void)
{
	for (int ms = 0; ms < PATIENCE_MS; ms += 5) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG | WUNTRACED | __WALL);

		if (pid < 0 && errno == ECHILD)
			return 0;
		if (pid > 0 && WIFSTOPPED(status))
			kill(pid, SIGCONT);
		if (pid == 0)
			usleep(5000);
	}
	return 1;
}

int race_tracers(unsigned seconds, uint64_t seed)
{
	unsigned long n = 0;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	for (time_t end = time(NULL) + seconds; time(NULL) < end; n++) {
		pid_t pid = fork();

		if (!pid)
			tracer(seed + n * 7919);
		usleep((useconds_t)(draw(&seed) % 20000));
		if (n % 2)
			kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		if (reap_orphans()) {
			printf("tracers: processes of round %lu don't end\n", n);
			return 1;
		}
	}
	printf("tracers: %lu rounds\n", n);
	return 0;
}
