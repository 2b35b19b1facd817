/* SPDX-License-Identifier: MIT */
/*
 * ptrace from both ends.  Prints what a tracer sees; the same on Linux and on Quire.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile long word = 0x1122334455667788;
static const volatile long constant = 42;

static const char *how(int status)
{
	static char text[80];

	if (WIFEXITED(status))
		snprintf(text, sizeof(text), "exited %d", WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "killed by %d", WTERMSIG(status));
	else if (WIFSTOPPED(status))
		snprintf(text, sizeof(text), "stopped by %d, event %d", WSTOPSIG(status) & 0xff,
			 status >> 16);
	else
		snprintf(text, sizeof(text), "continued");
	return text;
}

static int next(pid_t pid, const char *what)
{
	int status = 0;
	pid_t got = waitpid(pid, &status, __WALL);

	printf("  %s: %s\n", what, got < 0 ? strerror(errno) : how(status));
	return status;
}

#define CALL(...) call(#__VA_ARGS__, ptrace(__VA_ARGS__))
static long call(const char *text, long r)
{
	if (r < 0)
		printf("  %s: %s\n", strtok(strdup(text), ","), strerror(errno));
	return r;
}

static pid_t child(void (*f)(void))
{
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		f();
		_exit(0);
	}
	return pid;
}

/* ---- what the children do ----------------------------------------------------------------- */

static void traceme(void)
{
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
}

static void look(void)
{
	traceme();
	_exit(word == 99 && constant == 43 ? 7 : 8);
}

static void calls(void)
{
	traceme();
	long a = syscall(SYS_getppid), b = syscall(SYS_close, 1000);
	_exit(a == 1234 && b == -1 && errno == EBADF ? 9 : 10);
}

static void forks(void)
{
	traceme();
	pid_t p = fork();
	if (!p)
		_exit(3);
	waitpid(p, NULL, 0);
	p = vfork();
	if (!p)
		_exit(4);
	waitpid(p, NULL, 0);
	execl("/bin/busybox", "busybox", "true", NULL);
	_exit(1);
}

static void on_usr1(int sig)
{
	word = sig;
}

static void signals(void)
{
	signal(SIGUSR1, on_usr1);
	traceme();
	raise(SIGUSR1); /* let through */
	long seen = word;
	raise(SIGUSR2); /* swallowed */
	raise(SIGTERM); /* made a SIGUSR1 */
	_exit(seen == SIGUSR1 ? 11 : 12);
}

static void sleeps(void)
{
	for (;;)
		pause();
}

static void steps(void)
{
	traceme();
	__asm__ volatile("nop\n nop\n nop\n int3\n nop" ::: "memory");
	_exit(5);
}

static void crash(void)
{
	traceme();
	*(volatile char *)0x10 = 1;
}

/* ---- what the tracer sees ----------------------------------------------------------------- */

static void memory_and_registers(void)
{
	struct user_regs_struct regs, again;
	struct iovec iov = {&again, sizeof(again)};
	pid_t pid = child(look);

	puts("memory and registers");
	next(pid, "first stop");
	errno = 0;
	long seen = CALL(PTRACE_PEEKDATA, pid, &word, 0);
	printf("  word %lx\n", seen);
	CALL(PTRACE_POKEDATA, pid, &word, 99);
	CALL(PTRACE_POKETEXT, pid, &constant, 43); /* read only: a private copy */
	errno = 0;
	CALL(PTRACE_PEEKDATA, pid, 8, 0);
	CALL(PTRACE_POKEDATA, pid, 8, 1);
	CALL(PTRACE_PEEKUSER, pid, 3, 0);
	CALL(PTRACE_PEEKUSER, pid, sizeof(struct user), 0);
	CALL(PTRACE_GETREGS, pid, 0, &regs);
	CALL(PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov);
	printf("  the same registers: %d, cs %llx ss %llx orig_rax %lld\n",
	       !memcmp(&regs, &again, sizeof(regs)), regs.cs, regs.ss, regs.orig_rax);
	printf("  PEEKUSER rip: %d\n",
	       (unsigned long long)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rip),
					  0) == regs.rip);
	regs.cs = 0;
	CALL(PTRACE_SETREGS, pid, 0, &regs);
	CALL(PTRACE_GETREGSET, pid, 0x777, &iov);
	iov.iov_len = 4;
	CALL(PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov);
	struct user_fpregs_struct fp;
	CALL(PTRACE_GETFPREGS, pid, 0, &fp);
	printf("  cwd %x mxcsr %x\n", fp.cwd, fp.mxcsr);
	fp.mxcsr = 0xffffffff;
	CALL(PTRACE_SETFPREGS, pid, 0, &fp);
	CALL(PTRACE_SETOPTIONS, pid, 0, 0x80000000UL);
	CALL(PTRACE_CONT, pid, 0, 1000);
	CALL(PTRACE_CONT, pid, 0, 0);
	next(pid, "end");
	CALL(PTRACE_CONT, pid, 0, 0);
}

static void system_calls(void)
{
	struct __ptrace_syscall_info info;
	pid_t pid = child(calls);
	int status;

	puts("system calls");
	next(pid, "first stop");
	CALL(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD);
	for (;;) {
		CALL(PTRACE_SYSCALL, pid, 0, 0);
		waitpid(pid, &status, 0);
		if (!WIFSTOPPED(status))
			break;
		memset(&info, 0, sizeof(info));
		CALL(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info);
		if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
			printf("  %s: enter %llu(%llx)\n", how(status),
			       (unsigned long long)info.entry.nr,
			       info.entry.nr == SYS_close ? (unsigned long long)info.entry.args[0]
							  : 0);
			if (info.entry.nr == SYS_getppid) /* never made */
				CALL(PTRACE_POKEUSER, pid, offsetof(struct user, regs.orig_rax),
				     -1L);
		} else if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
			struct user_regs_struct r;
			printf("  %s: leave, %lld, error %d\n", how(status),
			       (long long)info.exit.rval, info.exit.is_error);
			CALL(PTRACE_GETREGS, pid, 0, &r);
			if (info.exit.rval == -ENOSYS) {
				r.rax = 1234;
				CALL(PTRACE_SETREGS, pid, 0, &r);
			}
		}
	}
	printf("  %s\n", how(status));
}

static void events(void)
{
	pid_t pid = child(forks);
	int status, kids = 0;

	puts("events");
	next(pid, "first stop");
	CALL(PTRACE_SETOPTIONS, pid, 0,
	     PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE |
		 PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL);
	CALL(PTRACE_CONT, pid, 0, 0);
	for (;;) {
		pid_t p = waitpid(pid, &status, __WALL);
		unsigned long message = 0;
		if (p < 0 || !WIFSTOPPED(status))
			break;
		int event = status >> 16, sig = event ? 0 : WSTOPSIG(status);
		if (event && event != PTRACE_EVENT_STOP) {
			CALL(PTRACE_GETEVENTMSG, pid, 0, &message);
			if (event == PTRACE_EVENT_EXIT)
				printf("  event %d: %lx\n", event, message);
			else
				printf("  event %d: %s\n", event,
				       message > 1 ? "a process" : "none");
		} else {
			printf("  %s\n", how(status));
		}
		if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK) {
			int s;
			kids++;
			waitpid((pid_t)message, &s, __WALL);
			printf("  the child: %s\n", how(s));
			CALL(PTRACE_CONT, (pid_t)message, 0, 0);
			CALL(PTRACE_CONT, pid, 0, 0);
			waitpid((pid_t)message, &s, __WALL);
			printf("  the child: %s\n", how(s));
			CALL(PTRACE_CONT, (pid_t)message, 0, 0);
			waitpid((pid_t)message, &s, __WALL);
			printf("  the child: %s\n", how(s));
			continue;
		}
		CALL(PTRACE_CONT, pid, 0, sig == SIGTRAP ? 0 : sig);
	}
	printf("  %s, %d children\n", how(status), kids);
}

static void signal_stops(void)
{
	siginfo_t info;
	pid_t pid = child(signals);
	int status;

	puts("signals");
	next(pid, "first stop");
	CALL(PTRACE_CONT, pid, 0, 0);
	for (;;) {
		waitpid(pid, &status, 0);
		if (!WIFSTOPPED(status))
			break;
		int sig = WSTOPSIG(status);
		CALL(PTRACE_GETSIGINFO, pid, 0, &info);
		printf("  %s, si_code %d, from itself %d\n", how(status), info.si_code,
		       info.si_pid == pid);
		CALL(PTRACE_CONT, pid, 0, sig == SIGUSR2 ? 0 : SIGUSR1);
	}
	printf("  %s\n", how(status));
}

static void seize(void)
{
	pid_t pid = child(sleeps);

	puts("seize");
	CALL(PTRACE_INTERRUPT, pid, 0, 0);
	CALL(PTRACE_SEIZE, pid, 1, 0);
	CALL(PTRACE_SEIZE, pid, 0, 0);
	CALL(PTRACE_ATTACH, pid, 0, 0);
	CALL(PTRACE_CONT, pid, 0, 0); /* it runs */
	CALL(PTRACE_INTERRUPT, pid, 0, 0);
	next(pid, "interrupted");
	CALL(PTRACE_CONT, pid, 0, 0);
	kill(pid, SIGSTOP);
	next(pid, "SIGSTOP");
	CALL(PTRACE_CONT, pid, 0, SIGSTOP);
	next(pid, "group stop");
	CALL(PTRACE_LISTEN, pid, 0, 0);
	kill(pid, SIGCONT);
	next(pid, "after SIGCONT");
	CALL(PTRACE_CONT, pid, 0, 0);
	next(pid, "SIGCONT itself");
	CALL(PTRACE_DETACH, pid, 0, 0);
	CALL(PTRACE_DETACH, pid, 0, 0);
	CALL(PTRACE_ATTACH, pid, 0, 0);
	next(pid, "attached");
	CALL(PTRACE_CONT, pid, 0, SIGKILL);
	next(pid, "end");
	CALL(PTRACE_ATTACH, 1 << 21, 0, 0);
	CALL(PTRACE_ATTACH, getpid(), 0, 0);
	CALL(12345, pid, 0, 0);
}

static void single_steps(void)
{
	siginfo_t info;
	pid_t pid = child(steps);
	int status, n = 0;

	puts("steps");
	next(pid, "first stop");
	for (;; n++) {
		CALL(PTRACE_SINGLESTEP, pid, 0, 0);
		waitpid(pid, &status, 0);
		if (!WIFSTOPPED(status))
			break;
		CALL(PTRACE_GETSIGINFO, pid, 0, &info);
		if (info.si_code == SI_KERNEL) {
			printf("  int3: %s, si_code %x\n", how(status), info.si_code);
			CALL(PTRACE_CONT, pid, 0, 0);
			waitpid(pid, &status, 0);
			break;
		}
		if (info.si_code != TRAP_TRACE && info.si_code != TRAP_BRKPT)
			printf("  si_code %x\n", info.si_code);
	}
	printf("  %s, more than 3 steps: %d\n", how(status), n > 3);
}

static void fault(void)
{
	siginfo_t info;
	pid_t pid = child(crash);

	puts("fault");
	next(pid, "first stop");
	CALL(PTRACE_CONT, pid, 0, 0);
	next(pid, "fault");
	CALL(PTRACE_GETSIGINFO, pid, 0, &info);
	printf("  signal %d code %d at %p\n", info.si_signo, info.si_code, info.si_addr);
	CALL(PTRACE_CONT, pid, 0, SIGSEGV);
	next(pid, "end");
}

static void tracer_dies(void)
{
	int p[2], status;
	pid_t kept, killed;

	puts("a tracer's end");
	kept = child(sleeps);
	killed = child(sleeps);
	(void)!pipe(p);
	pid_t tracer = fork();
	if (!tracer) {
		ptrace(PTRACE_SEIZE, kept, 0, 0);
		ptrace(PTRACE_SEIZE, killed, 0, PTRACE_O_EXITKILL);
		(void)!write(p[1], "x", 1);
		_exit(0);
	}
	waitpid(tracer, NULL, 0);
	next(killed, "EXITKILL");
	printf("  the other: %d\n", waitpid(kept, &status, WNOHANG));
	kill(kept, SIGTERM);
	next(kept, "end");
}

int main(void)
{
	memory_and_registers();
	system_calls();
	events();
	signal_stops();
	seize();
	single_steps();
	fault();
	tracer_dies();
	return 0;
}
