/* SPDX-License-Identifier: MIT */
/*
 * Protection keys, from where a program stands.  Each check says what it expected when it
 * isn't so; the last line is "N checks, N failed".  What is expected is what Linux 6.1
 * does on the same CPU; without keys in the CPU only that is checked.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define PKRU_INIT 0x55555554u
#define PAGE 4096
#define PKUERR 4
#define ACCERR 2

static int checks, failed;

static void check(const char *what, long got, long want)
{
	checks++;
	if (got == want)
		return;
	failed++;
	printf("%s: %ld (%#lx), expected %ld (%#lx)\n", what, got, got, want, want);
}

static int have_keys;

static void find_keys(void)
{
	unsigned a = 7, b, c = 0, d;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	have_keys = c >> 4 & 1; /* the kernel has turned them on */
}

static unsigned rdpkru(void)
{
	unsigned lo = 0, hi;
	if (have_keys)
		__asm__ volatile("rdpkru" : "=a"(lo), "=d"(hi) : "c"(0));
	return lo;
}

static void wrpkru(unsigned v)
{
	if (have_keys)
		__asm__ volatile("wrpkru" : : "a"(v), "c"(0), "d"(0) : "memory");
}

static void rights(int key, unsigned r)
{
	wrpkru((rdpkru() & ~(3u << 2 * key)) | r << 2 * key);
}

static long sys(long r)
{
	return r == -1 ? -errno : r;
}

static long key_alloc(unsigned long flags, unsigned long r)
{
	return sys(syscall(SYS_pkey_alloc, flags, r));
}

static long key_free(int key)
{
	return sys(syscall(SYS_pkey_free, key));
}

static long key_protect(void *p, size_t n, int prot, int key)
{
	return sys(syscall(SYS_pkey_mprotect, p, n, prot, key));
}

static char *map(size_t n, int prot)
{
	return mmap(NULL, n, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* clock_gettime(2) with no right to write any memory of the program's own meanwhile. */
static long gettime_without_key0(void *to)
{
	unsigned before = rdpkru();
	register unsigned saved __asm__("r8") = before;
	long r = before | 2;
	__asm__ volatile("xorl %%ecx, %%ecx\n\txorl %%edx, %%edx\n\twrpkru\n\t"
			 "movl $228, %%eax\n\txorl %%edi, %%edi\n\tsyscall\n\t"
			 "movq %%rax, %%r9\n\tmovl %%r8d, %%eax\n\txorl %%ecx, %%ecx\n\t"
			 "xorl %%edx, %%edx\n\twrpkru\n\tmovq %%r9, %%rax"
			 : "+a"(r)
			 : "r"(saved), "S"(to)
			 : "rcx", "rdx", "rdi", "r9", "r11", "memory");
	return r;
}

/* ---- faults ------------------------------------------------------------------------------ */

static sigjmp_buf back;
static volatile int seen_code, seen_key;
static void *volatile seen_addr;
static volatile unsigned seen_pkru;
static volatile unsigned long seen_error;

static void on_segv(int sig, siginfo_t *si, void *uc)
{
	(void)sig;
	seen_pkru = rdpkru();
	seen_code = si->si_code;
	seen_key = si->si_code == PKUERR ? (int)si->si_pkey : -1;
	seen_addr = si->si_addr;
	seen_error = (unsigned long)((ucontext_t *)uc)->uc_mcontext.gregs[REG_ERR];
	siglongjmp(back, 1);
}

/* si_code of the fault that the access brings; 0: none.  PKRU is as before afterwards. */
static int touch(volatile char *p, int write)
{
	unsigned pkru = rdpkru();
	seen_code = 0;
	if (!sigsetjmp(back, 1)) {
		if (write)
			*p = 7;
		else
			(void)*p;
	}
	wrpkru(pkru);
	return seen_code;
}

static int run(void *p)
{
	unsigned pkru = rdpkru();
	seen_code = 0;
	if (!sigsetjmp(back, 1))
		((void (*)(void))p)();
	wrpkru(pkru);
	return seen_code;
}

/* What smaps says of the region that has p; -1: nothing. */
static long smaps_key(const void *p)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512];
	unsigned long a, b;
	long key = -1;
	int in = 0;

	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2)
			in = a <= (uintptr_t)p && (uintptr_t)p < b;
		if (in)
			sscanf(line, "ProtectionKey: %ld", &key);
	}
	fclose(f);
	return key;
}

static int regions(const void *from, size_t n)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned long a, b;
	int count = 0;

	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2)
			count += a < (uintptr_t)from + n && b > (uintptr_t)from;
	fclose(f);
	return count;
}

/* ---- the checks ----------------------------------------------------------------------------- */

static void check_no_keys(void)
{
	char *p = map(PAGE, PROT_READ | PROT_WRITE);
	check("alloc without keys", key_alloc(0, 0), -EINVAL);
	check("again", key_alloc(0, 0), -ENOSPC);
	check("free 0", key_free(0), -EINVAL);
	check("protect with 0", key_protect(p, PAGE, PROT_READ, 0), -EINVAL);
	check("protect with -1", key_protect(p, PAGE, PROT_READ, -1), 0);
	check("written", touch(p, 1), ACCERR);
	p = map(PAGE, PROT_EXEC);
	check("execute-only is readable", touch(p, 0), 0);
	check("no line in smaps", smaps_key(p), -1);
}

static void check_alloc(void)
{
	check("flags", key_alloc(1, 0), -EINVAL);
	check("rights", key_alloc(0, 4), -EINVAL);
	check("PKRU at start", rdpkru(), PKRU_INIT);
	for (int i = 1; i < 16; i++) {
		check("alloc", key_alloc(0, i & 3), i);
		check("its rights", rdpkru() >> 2 * i & 3, i & 3);
	}
	check("no more", key_alloc(0, 0), -ENOSPC);
	check("free 16", key_free(16), -EINVAL);
	check("free -1", key_free(-1), -EINVAL);
	check("free 5", key_free(5), 0);
	check("free 5 again", key_free(5), -EINVAL);
	check("freeing leaves the rights", rdpkru() >> 10 & 3, 1);
	check("5 again", key_alloc(0, 2), 5);
	check("its new rights", rdpkru() >> 10 & 3, 2);
	for (int i = 1; i < 16; i++)
		check("free", key_free(i), 0);
	check("key 0 can be freed", key_free(0), 0);
	check("and comes first then", key_alloc(0, 0), 0);
	wrpkru(PKRU_INIT);
}

static void check_protect(void)
{
	long key = key_alloc(0, 0);
	char *p = map(4 * PAGE, PROT_READ | PROT_WRITE);

	check("not allocated", key_protect(p, PAGE, PROT_READ, 9), -EINVAL);
	check("16", key_protect(p, PAGE, PROT_READ, 16), -EINVAL);
	check("-2", key_protect(p, PAGE, PROT_READ, -2), -EINVAL);
	check("no length", key_protect(p, 0, PROT_READ, 9), 0);
	check("misaligned", key_protect(p + 1, PAGE, PROT_READ, 9), -EINVAL);
	check("around the end", key_protect(p, -1UL, PROT_READ, 9), -ENOMEM);
	check("protection", key_protect(p, PAGE, 0x100, (int)key), -EINVAL);
	munmap(p + 3 * PAGE, PAGE);
	check("a hole", key_protect(p, 4 * PAGE, PROT_READ | PROT_WRITE, (int)key), -ENOMEM);
	check("up to it", smaps_key(p + 2 * PAGE), key);
	check("back", key_protect(p + PAGE, PAGE, PROT_READ | PROT_WRITE, 0), 0);
	check("regions differ by key", regions(p, 3 * PAGE), 3);
	check("the key stays", sys(mprotect(p, PAGE, PROT_READ)), 0);
	check("stays", smaps_key(p), key);
	check("and back", sys(mprotect(p, PAGE, PROT_READ | PROT_WRITE)), 0);
	check("one again", key_protect(p, 3 * PAGE, PROT_READ | PROT_WRITE, 0), 0);
	check("one region", regions(p, PAGE), 1);
	check("key 0", smaps_key(p), 0);
	check("with -1", key_protect(p, PAGE, PROT_READ, -1), 0);
	munmap(p, 3 * PAGE);
	key_free((int)key);
}

static void check_faults(void)
{
	int key = (int)key_alloc(0, 0);
	char *p = map(4 * PAGE, PROT_READ | PROT_WRITE);

	p[0] = 1;
	check("protect", key_protect(p, 4 * PAGE, PROT_READ | PROT_WRITE, key), 0);
	check("allowed", touch(p, 1), 0);
	rights(key, 2);
	check("read, no write", touch(p, 0), 0);
	check("write refused", touch(p, 1), PKUERR);
	check("its key", seen_key, key);
	check("its address", (long)seen_addr, (long)p);
	check("its error", (long)seen_error, 0x27);
	check("PKRU in the handler", seen_pkru, PKRU_INIT);
	check("a page that isn't there", touch(p + PAGE + 5, 1), PKUERR);
	check("its address", (long)seen_addr, (long)p + PAGE + 5);
	check("its error", (long)seen_error, 0x6);
	rights(key, 1);
	check("no access, read", touch(p, 0), PKUERR);
	check("its error", (long)seen_error, 0x25);
	check("no access, write", touch(p, 1), PKUERR);
	check("absent, read", touch(p + 2 * PAGE, 0), PKUERR);
	unsigned char in[4];
	check("mincore", mincore(p, 4 * PAGE, in), 0);
	check("nothing was brought in", in[0] + in[1] + in[2] + in[3], 1);
	/* The key is asked before the protection. */
	mprotect(p, PAGE, PROT_NONE);
	check("of nothing", touch(p, 0), PKUERR);
	rights(key, 0);
	check("of nothing", touch(p, 0), ACCERR);
	mprotect(p, PAGE, PROT_READ);
	rights(key, 2);
	check("read-only", touch(p, 1), PKUERR);
	rights(key, 0);
	check("read-only", touch(p, 1), ACCERR);
	mprotect(p, PAGE, PROT_READ | PROT_WRITE);
	char *z = map(PAGE, PROT_READ | PROT_WRITE);
	unsigned char there;
	check("key 0", gettime_without_key0(z), -EFAULT);
	check("still not there", mincore(z, PAGE, &there), 0);
	check("still not there", there, 0);
	/* Another key for the same page. */
	int other = (int)key_alloc(0, 1);
	check("other key", key_protect(p, PAGE, PROT_READ | PROT_WRITE, other), 0);
	check("its page", touch(p, 0), PKUERR);
	check("its key", seen_key, other);
	rights(other, 0);
	check("its page", touch(p, 0), 0);
	/* A freed key goes on working. */
	key_free(other);
	rights(other, 1);
	check("freed", touch(p, 0), PKUERR);
	check("with a freed key", key_protect(p, PAGE, PROT_READ, other), -EINVAL);
	check("moved", (long)mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, z), (long)z);
	check("the key moves along", touch(z, 0), PKUERR);
	rights(other, 0);
	check("as its byte does", z[0], 7);
	munmap(z, PAGE);
	munmap(p + PAGE, 3 * PAGE);
	key_free(key);
	wrpkru(PKRU_INIT);
}

static void check_kernel(void)
{
	int key = (int)key_alloc(0, 0), pipes[2];
	char *p = map(2 * PAGE, PROT_READ | PROT_WRITE), buf[64];
	struct iovec mine = {buf, 8}, its = {p, 8};

	strcpy(p, "/dev/null");
	key_protect(p, 2 * PAGE, PROT_READ | PROT_WRITE, key);
	check("pipe", pipe(pipes), 0);
	rights(key, 1);
	check("write from it", sys(write(pipes[1], p, 8)), -EFAULT);
	check("open", sys(syscall(SYS_openat, AT_FDCWD, p, O_RDONLY, 0)), -EFAULT);
	check("write", sys(write(pipes[1], "abcdefgh", 8)), 8);
	check("read into it", sys(read(pipes[0], p, 8)), -EFAULT);
	check("absent", sys(syscall(SYS_clock_gettime, 0, p + PAGE)), -EFAULT);
	rights(key, 2);
	check("write from it", sys(write(pipes[1], p, 8)), 8);
	check("read into it", sys(read(pipes[0], p, 8)), -EFAULT);
	rights(key, 1);
	check("from outside", sys(process_vm_readv(getpid(), &mine, 1, &its, 1, 0)), 8);
	check("to outside", sys(process_vm_writev(getpid(), &mine, 1, &its, 1, 0)), 8);
	check("not as its own", sys(process_vm_readv(getpid(), &its, 1, &mine, 1, 0)), -EFAULT);
	int fd = open("/proc/self/mem", O_RDWR);
	check("/proc/self/mem", sys(pread(fd, buf, 8, (off_t)p)), 8);
	check("/proc/self/mem", sys(pwrite(fd, buf, 8, (off_t)p + PAGE)), 8);
	close(fd);
	check("futex", sys(syscall(SYS_futex, p, FUTEX_WAIT_PRIVATE, 0, NULL)), -EFAULT);
	check("shared futex", sys(syscall(SYS_futex, p, FUTEX_WAKE, 1)), -EFAULT);
	check("private wake", sys(syscall(SYS_futex, p, FUTEX_WAKE_PRIVATE, 1)), 0);
	rights(key, 2);
	check("shared futex", sys(syscall(SYS_futex, p, FUTEX_WAKE, 1)), -EFAULT);
	check("private wait", sys(syscall(SYS_futex, p, FUTEX_WAIT_PRIVATE, 1, NULL)), -EAGAIN);
	char *q = map(2 * PAGE, PROT_READ | PROT_WRITE);
	unsigned char in[2];
	key_protect(q, 2 * PAGE, PROT_READ | PROT_WRITE, key);
	check("populate for writing", sys(madvise(q, 2 * PAGE, 23)), -EINVAL);
	check("populate for reading", sys(madvise(q, PAGE, 22)), 0);
	rights(key, 1);
	check("populate for reading", sys(madvise(q, PAGE, 22)), -EINVAL);
	check("lock", sys(mlock(q, 2 * PAGE)), -ENOMEM);
	check("mincore", mincore(q, 2 * PAGE, in), 0);
	check("only the first", in[1], 0);
	rights(key, 0);
	check("lock", sys(mlock(q, 2 * PAGE)), 0);
	check("mincore", mincore(q, 2 * PAGE, in), 0);
	check("both", in[0] & in[1] & 1, 1);
	close(pipes[0]);
	close(pipes[1]);
	munmap(p, 2 * PAGE);
	munmap(q, 2 * PAGE);
	key_free(key);
	wrpkru(PKRU_INIT);
}

static void check_exec_only(void)
{
	char *p = map(2 * PAGE, PROT_READ | PROT_WRITE), *q;

	memset(p, 0xc3, 2 * PAGE); /* ret */
	check("execute only", sys(mprotect(p, PAGE, PROT_EXEC)), 0);
	long key = smaps_key(p);
	check("has a key", key, 1);
	check("which denies reading", rdpkru() >> 2 * key & 3, 1);
	check("it runs", run(p), 0);
	check("no reading", touch(p, 0), PKUERR);
	check("no writing", touch(p, 1), PKUERR);
	check("not for everybody", key_free((int)key), -EINVAL);
	check("nor this", key_protect(p, PAGE, PROT_EXEC, (int)key), -EINVAL);
	check("not given out", key_alloc(0, 0), 2);
	rights((int)key, 0);
	check("readable with the right", touch(p, 0), 0);
	q = map(PAGE, PROT_EXEC);
	check("mapped so", smaps_key(q), key);
	check("which takes the right", rdpkru() >> 2 * key & 3, 1);
	check("no reading", touch(q, 0), PKUERR);
	check("read and execute", sys(mprotect(p, PAGE, PROT_READ | PROT_EXEC)), 0);
	check("key 0 again", smaps_key(p), 0);
	check("readable", touch(p, 0), 0);
	check("with a key of its own", key_protect(p, PAGE, PROT_EXEC, 2), 0);
	check("stays", smaps_key(p), 2);
	check("mprotect takes the other", sys(mprotect(p, PAGE, PROT_EXEC)), 0);
	check("execute-only key", smaps_key(p), key);
	check("as explicitly -1", key_protect(q, PAGE, PROT_EXEC, -1), 0);
	check("execute-only key", smaps_key(q), key);
	check("explicitly 0", key_protect(q, PAGE, PROT_EXEC, 0), 0);
	check("readable", touch(q, 0), 0);
	check("populated",
	      (long)mmap(q, PAGE, PROT_EXEC, MAP_FIXED | MAP_POPULATE | MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0),
	      (long)q);
	unsigned char in;
	check("mincore", mincore(q, PAGE, &in), 0);
	check("was not", in, 0);
	munmap(p, 2 * PAGE);
	munmap(q, PAGE);
	/* Without a key left it is readable. */
	key_free(2);
	for (int i = 2; i < 16; i++)
		check("the others", key_alloc(0, 0), i);
	pid_t child = fork();
	if (!child) {
		p = map(PAGE, PROT_EXEC);
		_exit(smaps_key(p) == key && key_alloc(0, 0) == -ENOSPC ? 0 : 1);
	}
	int status;
	waitpid(child, &status, 0);
	check("the child has the same keys", status, 0);
	for (int i = 2; i < 16; i++)
		key_free(i);
	wrpkru(PKRU_INIT);
}

/* ---- signals, threads, processes --------------------------------------------------------- */

static volatile unsigned in_handler, to_restore;
static int signal_key;

static void on_usr1(int sig, siginfo_t *si, void *ctx)
{
	ucontext_t *uc = ctx;
	char *fp = (char *)uc->uc_mcontext.fpregs;
	unsigned size;

	(void)sig, (void)si;
	in_handler = rdpkru();
	memcpy(&size, fp + 464 + 16, sizeof(size)); /* of the area; PKRU is its last part */
	unsigned *saved = (unsigned *)(fp + size - 8);
	check("PKRU in the frame", *saved, to_restore);
	check("its bit", fp[513] >> 1 & 1, 1);
	rights(signal_key, 0); /* gone with the handler */
	if (to_restore == PKRU_INIT)
		*saved = PKRU_INIT & ~(3u << 2 * signal_key);
}

static void check_signals(void)
{
	struct sigaction sa = {.sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO};

	signal_key = (int)key_alloc(0, 0);
	sigaction(SIGUSR1, &sa, NULL);
	to_restore = rdpkru();
	check("before", to_restore, PKRU_INIT & ~(3u << 2 * signal_key));
	raise(SIGUSR1);
	check("the handler's", in_handler, PKRU_INIT);
	check("and after", rdpkru(), to_restore);
	to_restore = PKRU_INIT;
	wrpkru(PKRU_INIT);
	raise(SIGUSR1);
	check("what the frame says", rdpkru(), PKRU_INIT & ~(3u << 2 * signal_key));
	/* The frame is written with the rights that the program has. */
	char *alt = map(16 * PAGE, PROT_READ | PROT_WRITE);
	stack_t ss = {.ss_sp = alt, .ss_size = 16 * PAGE};
	key_protect(alt, 16 * PAGE, PROT_READ | PROT_WRITE, signal_key);
	pid_t child = fork();
	if (!child) {
		sigaltstack(&ss, NULL);
		sa.sa_flags |= SA_ONSTACK;
		sigaction(SIGUSR1, &sa, NULL);
		signal(SIGSEGV, SIG_DFL);
		rights(signal_key, 1);
		raise(SIGUSR1);
		_exit(1);
	}
	int status;
	waitpid(child, &status, 0);
	check("no frame, no handler", status, SIGSEGV);
	munmap(alt, 16 * PAGE);
	key_free(signal_key);
	wrpkru(PKRU_INIT);
}

static int thread_key;
static char *thread_page;
static pthread_barrier_t meet;

static void *thread(void *arg)
{
	(void)arg;
	check("inherited", rdpkru() >> 2 * thread_key & 3, 2);
	rights(thread_key, 1);
	for (int i = 0; i < 3; i++) {
		pthread_barrier_wait(&meet);
		check("the thread's own", rdpkru() >> 2 * thread_key & 3, 1);
		check("so it can't", touch(thread_page, 0), PKUERR);
		sched_yield();
		pthread_barrier_wait(&meet);
	}
	return NULL;
}

static void check_threads(void)
{
	pthread_t t;

	thread_key = (int)key_alloc(0, 2);
	thread_page = map(PAGE, PROT_READ | PROT_WRITE);
	key_protect(thread_page, PAGE, PROT_READ | PROT_WRITE, thread_key);
	pthread_barrier_init(&meet, NULL, 2);
	pthread_create(&t, NULL, thread, NULL);
	for (int i = 0; i < 3; i++) {
		pthread_barrier_wait(&meet);
		pthread_barrier_wait(&meet);
		check("the other's don't count", rdpkru() >> 2 * thread_key & 3, 2);
		check("so we can", touch(thread_page, 0), 0);
	}
	pthread_join(t, NULL);
	munmap(thread_page, PAGE);
	key_free(thread_key);
	wrpkru(PKRU_INIT);
}

static void check_fork(const char *self)
{
	int key = (int)key_alloc(0, 1), status;
	char *p = map(PAGE, PROT_READ | PROT_WRITE);

	p[0] = 1;
	key_protect(p, PAGE, PROT_READ | PROT_WRITE, key);
	pid_t child = fork();
	if (!child) {
		int bad = touch(p, 0) != PKUERR;
		rights(key, 0);
		bad |= touch(p, 1) != 0;
		bad |= key_alloc(0, 0) != key + 1;
		_exit(bad);
	}
	waitpid(child, &status, 0);
	check("the child", status, 0);
	check("its rights are its own", touch(p, 0), PKUERR);
	check("and its keys", key_alloc(0, 0), key + 1);
	child = fork();
	if (!child) {
		wrpkru(0);
		execl(self, self, "again", NULL);
		_exit(127);
	}
	waitpid(child, &status, 0);
	check("a new program", status, 0);
	munmap(p, PAGE);
	key_free(key);
	key_free(key + 1);
	wrpkru(PKRU_INIT);
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};

	setbuf(stdout, NULL);
	find_keys();
	sigaction(SIGSEGV, &sa, NULL);
	if (argc > 1 && !strcmp(argv[1], "die")) {
		long key = key_alloc(0, 1);
		char *p = map(PAGE, PROT_READ | PROT_WRITE);
		key_protect(p, PAGE, PROT_READ | PROT_WRITE, (int)key);
		signal(SIGSEGV, SIG_DFL);
		p[0] = 1;
	}
	if (argc > 1) {
		check("PKRU of a new program", rdpkru(), PKRU_INIT);
		check("its first key", key_alloc(0, 0), 1);
		return failed != 0;
	}
	if (!have_keys) {
		check_no_keys();
	} else {
		check_alloc();
		check_protect();
		check_faults();
		check_kernel();
		check_signals();
		check_threads();
		check_fork(argv[0]);
		check_exec_only();
	}
	printf("keys: %s; %d checks, %d failed\n", have_keys ? "yes" : "no", checks, failed);
	return failed != 0;
}
