/* SPDX-License-Identifier: MIT */
/* Growing stacks, what faults and traps say, alternate stacks, vfork and exec from a
 * thread, the limit of mappings. */
#include "probe.h"
#include <linux/sched.h>
static __attribute__((noinline)) long deep(long n)
{
	volatile char b[4096];
	b[0] = n;
	return n ? deep(n - 1) + b[0] : 0;
}
static char *stackvma(unsigned long *s, unsigned long *e)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char l[512];
	while (fgets(l, 512, f))
		if (strstr(l, "[stack]")) {
			sscanf(l, "%lx-%lx", s, e);
		}
	fclose(f);
	return (char *)*s;
}
static void grow(void)
{
	unsigned long s, e, s2, e2;
	stackvma(&s, &e);
	struct rlimit l;
	getrlimit(RLIMIT_STACK, &l);
	printf("%ld\n", (long)l.rlim_cur);
	deep(300);
	stackvma(&s2, &e2);
	printf("grown >=1MB %d top same %d\n", (long)(s - s2) >= 1000000, e == e2);
	l.rlim_cur = 2 << 20;
	R(setrlimit(RLIMIT_STACK, &l));
	TRY((void)*(volatile char *)(e - (2 << 20)));
	TRY((void)*(volatile char *)(e - (2 << 20) - 1));
	TRY((void)*(volatile char *)(e - (3 << 20)));
	l.rlim_cur = RLIM_INFINITY;
	R(setrlimit(RLIMIT_STACK, &l));
	TRY((void)*(volatile char *)(e - (12L << 20)));
	stackvma(&s2, &e2);
	printf("%lx\n", e2 - s2);
	char *m = mmap((void *)(s2 - (4L << 20)), PG, RW, PRV | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		       -1, 0);
	printf("%d\n", m != MAP_FAILED);
	TRY(*(volatile char *)(m + PG + (1 << 20)));
	TRY(*(volatile char *)(m + PG + (1 << 20) - 1));
	TRY(*(volatile char *)(m + 2 * PG));
	TRY(*(volatile char *)m);
	mprotect(m, PG, PROT_NONE);
	TRY(*(volatile char *)(m + 2 * PG));
	munmap(m, PG);
	TRY(*(volatile char *)(m + 2 * PG));
	stackvma(&s2, &e2);
	printf("%lx\n", e2 - s2);
	char *g = mmap((void *)(s2 - PG), PG, RW, PRV | MAP_ANONYMOUS, -1, 0);
	printf("hint in gap ok %d\n", g == (char *)s2 - PG);
	g = mmap((void *)(s2 - PG), PG, RW, PRV | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	printf("fixed in gap ok %d\n", g == (char *)s2 - PG);
	TRY(*(volatile char *)g);
	TRY(*(volatile char *)(g - PG));
}
static void gd(void)
{
	char *a = mm(600, 2, RW, PRV | MAP_GROWSDOWN);
	TRY(*(a - 1) = 1);
	TRY(*(a - 100 * PG) = 1);
	maps();
	mm(300, 1, RW, PRV);
	TRY(*at(301) = 1);
	TRY(*at(301 + 256) = 1);
	TRY(*at(300.5 + 256) = 1);
	maps();
	mm(1000, 2, RW, PRV | MAP_GROWSDOWN);
	mm(990, 2, RW, PRV | MAP_GROWSDOWN);
	TRY(*at(999) = 1);
	TRY(*at(992) = 1);
	maps();
	TRY(*at(989) = 1);
	struct rlimit l = {PG * 4, PG * 100};
	setrlimit(RLIMIT_STACK, &l);
	mm(2000, 2, RW, PRV | MAP_GROWSDOWN);
	TRY(*at(1998) = 1);
	TRY(*at(1997) = 1);
	maps();
	getrlimit(RLIMIT_AS, &l);
	l.rlim_cur = 1 << 20;
	setrlimit(RLIMIT_STACK, &(struct rlimit){1 << 20, 1 << 20});
	setrlimit(RLIMIT_AS, &l);
	TRY(*at(1990) = 1);
	l.rlim_cur = -1;
	mm(3000, 2, PROT_READ, PRV | MAP_GROWSDOWN);
	TRY(*at(2999) = 1);
	TRY(*(volatile char *)at(2998));
	maps();
	mm(4000, 2, RW, PRV | MAP_GROWSDOWN);
	int p[2];
	pipe(p);
	write(p[1], "abc", 3);
	R(read(p[0], at(3999) - 1, 3));
	maps();
	struct rlimit ml = {PG * 3, PG * 3};
	setrlimit(RLIMIT_MEMLOCK, &ml);
	setresuid(1000, 1000, 1000);
	mm(5000, 2, RW, PRV | MAP_GROWSDOWN | MAP_LOCKED);
	TRY(*at(4999) = 1);
	TRY(*at(4998) = 1);
	maps();
}
static void codes(void)
{
	char *a = mm(0, 1, RW, PRV);
	int f = tmpf(1);
	TRY(*(volatile char *)at(5));
	TRY(*at(5) = 1);
	TRY(((void (*)(void))at(5))());
	TRY(((void (*)(void))a)());
	mprotect(a, PG, PROT_READ);
	TRY(*a = 1);
	mprotect(a, PG, 0);
	TRY(*a = 1);
	TRY(*(volatile char *)a);
	TRY(((void (*)(void))a)());
	TRY(*(volatile char *)0);
	TRY(*(volatile char *)0xffff800000000000);
	TRY(*(volatile char *)0xffffffff81000000);
	TRY(*(volatile char *)0x800000000000);
	TRY(*(volatile char *)0x7ffffffff000);
	TRY(*(volatile char *)0x7ffffffff001 = 1);
	TRY(((void (*)(void))0x800000000000)());
	TRY(((void (*)(void))0xffffffff81000000)());
	mmap(at(10), 2 * PG, RW, SHR | MAP_FIXED, f, 0);
	TRY(*at(11) = 1);
	TRY((void)*(volatile char *)(at(11) + 77));
	TRY(((void (*)(void))at(11))());
	mmap(at(20), 2 * PG, RW | 4, PRV | MAP_FIXED, f, 0);
	TRY(((void (*)(void))at(21))());
	TRY(*(volatile long *)(at(11) - 4));
	TRY(*(volatile long *)(a + PG - 4));
	mprotect(a, PG, RW);
	TRY(*(volatile long *)(a + PG - 4));
	TRY(*(volatile long *)(a + PG - 4) = 1);
	TRY(asm volatile("movaps (%0),%%xmm0" ::"r"(a + 1)));
	TRY(asm volatile("hlt"));
	TRY(asm volatile("int3"));
}
static void onfpe(int s, siginfo_t *i, void *u)
{
	ucontext_t *c = u;
	printf("  sig %d code %d addr %d trap %lld err %llx\n", s, i->si_code, i->si_addr != 0,
	       (long long)c->uc_mcontext.gregs[REG_TRAPNO], c->uc_mcontext.gregs[REG_ERR]);
	siglongjmp(jb, 1);
}
static void traps(void)
{
	struct sigaction s = {.sa_sigaction = onfpe, .sa_flags = SA_SIGINFO | SA_NODEFER};
	sigaction(SIGFPE, &s, 0);
	sigaction(SIGILL, &s, 0);
	sigaction(SIGTRAP, &s, 0);
	volatile int z = 0;
	TRY(z = 1 / z);
	TRY(asm volatile("ud2"));
	TRY(asm volatile("int3"));
	TRY(asm volatile("int $0x4"));
	TRY(asm volatile("int $0x20"));
	TRY(asm volatile("int1"));
	TRY(asm volatile("pushf; orq $0x100,(%rsp); popf; nop"));
	TRY(asm volatile("pushf; orq $0x40000,(%%rsp); popf; movl 1(%0),%%eax" ::"r"(at(0))
			 : "eax"));
	asm volatile("pushf; andq $~0x40000,(%rsp); popf");
	TRY(asm volatile("cli"));
	TRY(asm volatile("mov %%cr0,%%rax" ::: "rax"));
	TRY(asm volatile("syscall" ::"a"(9999)));
}
static char alt[32768];
static void onalt(int s, siginfo_t *i, void *u)
{
	char x;
	stack_t o;
	sigaltstack(0, &o);
	ucontext_t *c = u;
	printf("  on alt %d flags %x uc %x\n", &x > alt && &x < alt + sizeof alt, o.ss_flags,
	       c->uc_stack.ss_flags);
	stack_t d = {.ss_flags = SS_DISABLE};
	R(sigaltstack(&d, 0));
	siglongjmp(jb, 1);
}
static void alts(void)
{
	stack_t o;
	R(sigaltstack(0, &o));
	stack_t s = {.ss_sp = alt, .ss_size = 32768};
	R(sigaltstack(&s, &o));
	struct sigaction a = {.sa_sigaction = onalt,
			      .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	sigaction(SIGSEGV, &a, 0);
	TRY(*(volatile char *)8);
	s.ss_size = 2047;
	R(sigaltstack(&s, 0));
	s.ss_size = 2048;
	R(sigaltstack(&s, 0));
	s.ss_size = 32768;
	s.ss_flags = 3;
	R(sigaltstack(&s, 0));
	s.ss_flags = 1;
	R(sigaltstack(&s, 0));
	s.ss_flags = 1 << 31;
	R(sigaltstack(&s, 0));
	R(sigaltstack(0, &o));
	printf("%x\n", o.ss_flags);
	TRY(*(volatile char *)8);
	R(sigaltstack(0, &o));
	printf("%x %ld\n", o.ss_flags, (long)o.ss_size);
	s.ss_flags = 1 << 30;
	R(sigaltstack(&s, 0));
	s.ss_flags = 0;
	s.ss_sp = (void *)8;
	R(sigaltstack(&s, 0));
	fflush(stdout);
	if (!fork()) {
		*(volatile char *)8;
		_exit(0);
	}
	int st;
	wait(&st);
	printf("%x\n", st);
	sigset_t ss;
	sigemptyset(&ss);
	sigaddset(&ss, SIGSEGV);
	fflush(stdout);
	if (!fork()) {
		sigprocmask(0, &ss, 0);
		*(volatile char *)8;
		_exit(0);
	}
	wait(&st);
	printf("%x\n", st);
	if (!fork()) {
		signal(SIGSEGV, SIG_IGN);
		*(volatile char *)8;
		_exit(0);
	}
	wait(&st);
	printf("%x\n", st);
}
static int thr(void *a)
{
	*(volatile int *)a = getpid();
	return 7;
}
static void vf(void)
{
	volatile int x = 0;
	int p = vfork();
	if (!p) {
		x = 5;
		mm(100, 1, RW, PRV);
		_exit(3);
	}
	int st;
	wait(&st);
	printf("x %d st %x\n", x, st);
	maps();
	char *sk = malloc(65536);
	volatile int y = 0;
	p = clone(thr, sk + 65536, CLONE_VM | SIGCHLD, (void *)&y);
	waitpid(p, &st, 0);
	printf("y %d st %x\n", y == p, st);
	for (int i = 0; i < 6000; i++)
		mmap(at(10000 + 2 * i), PG, i & 1 ? RW : PROT_READ, PRV | MAP_FIXED | MAP_ANONYMOUS,
		     -1, 0);
	for (int i = 1; i < 6000; i += 2)
		*at(10000 + 2 * i) = i;
	if (!fork()) {
		int bad = 0;
		for (int i = 1; i < 6000; i += 2)
			bad += *at(10000 + 2 * i) != (char)i;
		printf("bad %d\n", bad);
		fflush(stdout);
		_exit(bad);
	}
	wait(&st);
	printf("%x\n", st);
	R(munmap(at(10000), 12000 * PG));
}
static void *ext(void *a)
{
	char *v[] = {"/bin/echo", "from a thread", 0};
	execv(v[0], v);
	return 0;
}
static void ex(void)
{
	pthread_t t;
	pthread_create(&t, 0, ext, 0);
	pthread_join(t, 0);
	puts("not here");
}
static void mmc(void)
{
	int n = 0;
	FILE *f = fopen("/proc/sys/vm/max_map_count", "r");
	fscanf(f, "%d", &n);
	printf("%d\n", n);
	int i;
	for (i = 0;; i++) {
		if (mmap(at(i * 2), PG, RW, PRV | MAP_FIXED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
			break;
	}
	int have = 0;
	char l[512];
	f = fopen("/proc/self/maps", "r");
	while (fgets(l, 512, f))
		have += !strstr(l, "vsyscall");
	fclose(f);
	printf("err %s have-n %d\n", en(errno), have - n);
	R(mm(-10, 1, RW, SHR));
	R(mmap(at(1), PG, RW, PRV | MAP_FIXED | MAP_ANONYMOUS, -1, 0));
	R(mmap(at(1), PG, PROT_READ, PRV | MAP_FIXED | MAP_ANONYMOUS, -1, 0));
	munmap(at(4), PG);
	R(mm(4, 1, RW, PRV));
	for (int k = 0; k < 3; k++) {
		R(mm(-100 - 10 * k, 9, RW, PRV));
		R(munmap(at(-100 - 10 * k + 3), PG));
		R(mprotect(at(-100 - 10 * k + 5), PG, PROT_READ));
		R(madvise(at(-100 - 10 * k + 5), PG, MADV_DONTFORK));
		R(mlock(at(-100 - 10 * k + 5), PG));
		R(mremap(at(-100 - 10 * k + 5), PG, PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(-500)));
		R(mremap(at(-100 - 10 * k + 5), PG, 2 * PG, MREMAP_MAYMOVE));
		R(mremap(at(-100 - 10 * k), 9 * PG, 3 * PG, 0));
		R(mprotect(at(-100 - 10 * k), 2 * PG, PROT_READ));
		munmap(at(100 + 10 * k), PG);
		munmap(at(200 + 10 * k), PG);
	}
	R(munmap(at(0), i * 2 * PG));
}
static void nproc(void)
{
	int held[20], p[2], made = 0, pid;
	pipe(p);
	for (int i = 0; i < 20; i++)
		if (!(held[i] = fork())) {
			char c;
			close(p[1]);
			read(p[0], &c, 1);
			_exit(0);
		}
	struct rlimit l = {4, 4};
	setrlimit(RLIMIT_NPROC, &l);
	R(setresuid(12345, 12345, 12345));
	while (made < 30 && (pid = fork()) > 0)
		made++;
	if (!pid) {
		char c;
		close(p[1]);
		read(p[0], &c, 1);
		_exit(0);
	}
	printf("made %d: %s\n", made, en(errno));
	close(p[1]);
	while (wait(NULL) > 0)
		;
	R(fork() >= 0);
}
int main(int c, char **v)
{
	init();
	T(grow);
	T(gd);
	T(codes);
	T(traps);
	T(alts);
	T(vf);
	T(ex);
	T(mmc);
	T(nproc);
}
