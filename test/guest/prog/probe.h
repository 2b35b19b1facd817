/* SPDX-License-Identifier: MIT */
/*
 * For programs that try calls one by one and print what came of each, so that the
 * output can be held against Linux's.  Addresses are printed relative to a window that
 * nothing else uses, or as the area that they lie in.
 */
#ifndef PROBE_H
#define PROBE_H
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>
#include <fcntl.h>
#include <signal.h>
#include <setjmp.h>
#include <stdint.h>
#include <sched.h>
#include <poll.h>
#include <time.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/resource.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/sendfile.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/time.h>
#include <sys/eventfd.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/auxv.h>
#include <ucontext.h>
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#ifndef MAP_UNINITIALIZED
#define MAP_UNINITIALIZED 0x4000000
#endif
#ifndef PROBE_SECONDS
#define PROBE_SECONDS 20 /* for one function; some calls stand still on Linux, too */
#endif
#define PG 4096UL
#define A 0x10000000000UL
/* The address so many pages into the window. */
static inline char *at(double p)
{
	return (char *)(A + (long)(p * 4096));
}
static sigjmp_buf jb;
static volatile int armed;
static inline void rel(char *b, unsigned long a)
{
	if (a >= A && a < A + (1UL << 32))
		sprintf(b, "A+%lx", a - A);
	else if (a >
		 0x7e0000000000) /* the stack and what is mapped below it, wherever they begin */
		sprintf(b, "HIGH");
	else if (a >= 0x400000 && a < 0x10000000)
		sprintf(b, "LOW");
	else if (a > 0x10000000 && a < 0x80000000)
		sprintf(b, "BRK");
	else
		sprintf(b, "%lx", a);
}
static inline void onsig(int s, siginfo_t *i, void *u)
{
	char b[32];
	rel(b, (unsigned long)i->si_addr);
	ucontext_t *c = u;
	printf("  signal %d code %d addr %s lsb %d err %llx trap %lld\n", s, i->si_code, b,
	       s == SIGBUS && i->si_code >= 4 ? i->si_addr_lsb : 0,
	       c->uc_mcontext.gregs[REG_ERR] & 0x37, (long long)c->uc_mcontext.gregs[REG_TRAPNO]);
	if (armed)
		siglongjmp(jb, 1);
	_exit(77);
}
static inline const char *en(int e)
{
	static char b[16];
	const char *n = strerrorname_np(e);
	if (!n) {
		sprintf(b, "%d", e);
		return b;
	}
	return n;
}

static inline long rr(const char *what, long r)
{
	int e = errno;
	char b[32];
	if (r == -1)
		printf("%s = -1 %s\n", what, en(e));
	else {
		if ((unsigned long)r > 0x1000000)
			rel(b, r);
		else
			sprintf(b, "%ld", r);
		printf("%s = %s\n", what, b);
	}
	return r;
}

/* What a call gave; and whether an access worked. */
#define R(x) (errno = 0, rr(#x, (long)(x)))
#define TRY(x)                                        \
	do {                                          \
		armed = 1;                            \
		if (!sigsetjmp(jb, 1)) {              \
			x;                            \
			printf("%s ok\n", #x);        \
		} else                                \
			printf("%s signalled\n", #x); \
		armed = 0;                            \
	} while (0)

/* What is in the window. */
static inline void maps(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char l[512];
	while (fgets(l, 512, f)) {
		unsigned long s, e, o;
		char p[8], n[256] = "";
		unsigned mj, mi;
		unsigned long ino;
		sscanf(l, "%lx-%lx %4s %lx %x:%x %lu %255[^\n]", &s, &e, p, &o, &mj, &mi, &ino, n);
		if (s >= A && s < A + (1UL << 32))
			printf("   %lx-%lx %s %lx %s\n", s - A, e - A, p, o, n[0] ? n : "");
	}
	fclose(f);
}

/* Lines of smaps about the region at a. */
static inline void vm(char *a, const char *keys)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char l[512];
	int on = 0;
	while (fgets(l, 512, f)) {
		unsigned long s, e;
		if (sscanf(l, "%lx-%lx ", &s, &e) == 2 && strchr(l, '-') && l[0] != 'V')
			on = (unsigned long)a >= s && (unsigned long)a < e;
		else if (on) {
			char k[64];
			sscanf(l, "%63[^:]", k);
			if (strstr(keys, k))
				printf("   %s", l);
		}
	}
	fclose(f);
}
static inline void incore(char *a, int n)
{
	unsigned char v[256];
	memset(v, '?', 256);
	int r = mincore(a, n * PG, (void *)v);
	printf("   incore %d ", r);
	for (int i = 0; i < n; i++)
		putchar(r ? 'x' : '0' + (v[i] & 1));
	puts("");
}

/* Present, swap, file, exclusive of n pages. */
static inline void pm(char *a, int n)
{
	int f = open("/proc/self/pagemap", O_RDONLY);
	printf("   pagemap");
	for (int i = 0; i < n; i++) {
		unsigned long w = 0;
		pread(f, &w, 8, ((unsigned long)a / PG + i) * 8);
		printf(" %c%c%c%c", w >> 63 ? 'P' : '-', w >> 62 & 1 ? 'S' : '-',
		       w >> 61 & 1 ? 'F' : '-', w >> 56 & 1 ? 'X' : '-');
	}
	puts("");
	close(f);
}
static inline void init(void)
{
	setvbuf(stdout, 0, _IOLBF, 1 << 16);
	struct sigaction s = {.sa_sigaction = onsig,
			      .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	static char st[65536];
	stack_t ss = {.ss_sp = st, .ss_size = 65536};
	sigaltstack(&ss, 0);
	sigaction(SIGSEGV, &s, 0);
	sigaction(SIGBUS, &s, 0);
	umask(022);
}
typedef void (*tf)(void);

/* Each test is a process of its own. */
static inline void run1(const char *n, tf f)
{
	printf("== %s\n", n);
	fflush(stdout);
	pid_t p = fork();
	if (!p) {
		alarm(PROBE_SECONDS);
		f();
		fflush(stdout);
		_exit(0);
	}
	int st;
	waitpid(p, &st, 0);
	if (st)
		printf("== %s: status %x\n", n, st);
	fflush(stdout);
}
#define T(n) run1(#n, n)
static inline char *mm(double p, int n, int prot, int flags)
{
	return mmap(at(p), n * PG, prot, flags | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
}
#define RW (PROT_READ | PROT_WRITE)
#define PRV MAP_PRIVATE
#define SHR MAP_SHARED

/* A file without a name that has pages of a, b, c... */
static inline int tmpf(int pages)
{
	static int k;
	char n[64];
	sprintf(n, "/tmp/probe.%d", k++);
	int f = open(n, O_RDWR | O_CREAT | O_TRUNC, 0600);
	unlink(n);
	char b[4096];
	for (int i = 0; i < pages; i++) {
		memset(b, 'a' + i, 4096);
		write(f, b, 4096);
	}
	return f;
}

#endif
