/* SPDX-License-Identifier: MIT */
/*
 * Threads and processes that change their LDT, load whatever selector comes, and return
 * from signals to whatever CS and SS, all at once: nothing of it may stop the kernel, and
 * each comes back to its loop by a signal.
 *
 *   segstorm [ROUNDS [SEED]]
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 3

/* Code that may be entered in any mode, and ends with a signal in each. */
__asm__(".pushsection .text; .balign 4096\n"
	"anywhere: .fill 64, 1, 0x90; push %rax; pop %rax; .fill 16, 1, 0x90; int3; int3\n"
	".balign 4096, 0xcc; .popsection");
extern char anywhere[];

struct storm {
	unsigned seed;
	volatile unsigned cs, ss;
	volatile unsigned long rip, rsp, flags, resume;
	gregset_t before;
	unsigned long ends[32];
};
static struct storm *by_tid[65536]; /* what a handler finds its own by */

static unsigned next(struct storm *s)
{
	s->seed = s->seed * 1103515245 + 12345;
	return s->seed >> 8;
}

static struct storm *mine(void)
{
	return by_tid[syscall(SYS_gettid) & 0xffff];
}

static void on_usr1(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	greg_t *g = u->uc_mcontext.gregs;
	struct storm *s = mine();
	(void)sig, (void)info;
	memcpy(s->before, g, sizeof(s->before));
	g[REG_CSGSFS] = (greg_t)((unsigned long)s->ss << 48 | s->cs);
	g[REG_RIP] = (greg_t)s->rip;
	g[REG_RSP] = (greg_t)s->rsp;
	if (s->flags & 1)
		u->uc_flags &= ~4UL; /* not strict about SS */
	if (s->flags & 2)
		g[REG_EFL] |= 0x100; /* trap flag */
}

static void on_end(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	struct storm *s = mine();
	(void)info;
	s->ends[sig]++;
	if (s->resume)
		u->uc_mcontext.gregs[REG_RIP] = (greg_t)s->resume;
	else
		memcpy(u->uc_mcontext.gregs, s->before, sizeof(s->before));
}

static void jump(struct storm *s)
{
	static const unsigned short likely[] = {0x23, 0x33, 0x2b, 0x7b, 0x07, 0x0f, 0x17, 0x1f};
	static const unsigned long nowhere[] = {0, 1UL << 47, 0xffffffff80100000, 1UL << 63,
						0xfffff000};
	s->cs = next(s) & 3 ? likely[next(s) % 8] : next(s) & 0xffff;
	s->ss = next(s) & 3 ? likely[next(s) % 8] : next(s) & 0xffff;
	s->rip = next(s) & 7 ? (unsigned long)anywhere + next(s) % 64 : nowhere[next(s) % 5];
	s->rsp =
	    next(s) & 7 ? s->before[REG_RSP] - 512UL : (unsigned long)next(s) << (next(s) & 63);
	s->flags = next(s);
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
}

static void change(struct storm *s)
{
	unsigned d[4] = {next(s) % 4, next(s) & 1 ? 0 : (next(s) << 8 & 0x7effff00) | 1u << 31,
			 next(s) & 1 ? 0xfffff : next(s), next(s) & 0x7f};
	if (next(s) % 64 == 0)
		d[0] = next(s) % 8192;
	syscall(SYS_modify_ldt, next(s) & 1 ? 0x11 : 1, d, sizeof(d));
}

/* A selector that can't be loaded gives a signal, which goes on behind the instruction. */
#define LOAD(seg)                                                                \
	__asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; rdfsbase %%rcx\n" \
			 "mov %1, %%" #seg "\n1: wrfsbase %%rcx"                 \
			 : "=m"(s->resume)                                       \
			 : "r"(next(s) & 0xff)                                   \
			 : "rax", "rcx", "memory")

static void load(struct storm *s)
{
	switch (next(s) % 5) {
	case 0:
		LOAD(ds);
		break;
	case 1:
		LOAD(es);
		break;
	case 2:
		LOAD(fs);
		break;
	case 3:
		LOAD(gs);
		break;
	default:
		__asm__ volatile("wrgsbase %0" : : "r"((unsigned long)next(s) << 12));
	}
	s->resume = 0;
}

static int rounds;

static void *storm(void *arg)
{
	struct storm *s = arg;
	char stack[65536];
	stack_t alt = {.ss_sp = stack, .ss_size = sizeof(stack)};
	by_tid[syscall(SYS_gettid) & 0xffff] = s;
	sigaltstack(&alt, NULL);
	for (int i = 0; i < rounds; i++) {
		unsigned what = next(s) % 16;
		if (what < 9)
			jump(s);
		else if (what < 13)
			change(s);
		else if (what < 15)
			load(s);
		else
			sched_yield();
	}
	return NULL;
}

/* Handlers run with the SS that was there, if it was a stack segment; another thread may
 * take it away from them, which gives one more signal. */
static void handle(int sig, void (*fn)(int, siginfo_t *, void *))
{
	struct sigaction sa = {.sa_sigaction = fn,
			       .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	sigaction(sig, &sa, NULL);
}

static int process(unsigned seed)
{
	static struct storm s[THREADS];
	pthread_t t[THREADS];
	for (unsigned i = 0; i < THREADS; i++) {
		s[i].seed = seed * 100 + i;
		pthread_create(&t[i], NULL, storm, &s[i]);
	}
	unsigned long ends = 0;
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		for (unsigned j = 0; j < 32; j++)
			ends += s[i].ends[j];
	}
	return ends == 0;
}

int main(int argc, char **argv)
{
	static const int ending[] = {SIGSEGV, SIGBUS, SIGTRAP, SIGILL, SIGFPE};
	int bad = 0, st;
	unsigned seed = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
	rounds = argc > 1 ? atoi(argv[1]) : 10000;
	handle(SIGUSR1, on_usr1);
	for (unsigned i = 0; i < 5; i++)
		handle(ending[i], on_end);
	for (unsigned i = 0; i < 2; i++)
		if (!fork())
			_exit(process(seed * 10 + i));
	while (wait(&st) > 0)
		if (st) {
			printf("a process ended with %x\n", st);
			bad = 1;
		}
	if (!bad)
		printf("all came back\n");
	return bad;
}
