/* SPDX-License-Identifier: MIT */
/*
 * Programs that fault, by name: the ones that die of it, and the ones that catch
 * SIGSEGV or SIGBUS and look at what they are told.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static volatile sig_atomic_t caught;
static siginfo_t info;
static sigjmp_buf back;
static char *page;

#define CHECK(cond)                                                                         \
	do {                                                                                \
		if (!(cond)) {                                                              \
			printf("line %d: not so: %s (errno %d)\n", __LINE__, #cond, errno); \
			exit(1);                                                            \
		}                                                                           \
	} while (0)

static int null_read(void)
{
	volatile int *p = NULL;
	return *p;
}

static const char constant[] = "this is read-only";

static int write_constant(void)
{
	volatile char *p = (volatile char *)(uintptr_t)constant;
	p[0] = 'T';
	return 0;
}

static int recurse(volatile char *above, long depth)
{
	volatile char frame[4096];
	frame[0] = (char)depth;
	if (depth > 100000000)
		return *above;
	return recurse(frame, depth + 1) + frame[0];
}

static int execute_data(void)
{
	static char code[] = {(char)0xc3};
	void (*f)(void) = (void (*)(void))(uintptr_t)code;
	f();
	return 0;
}

static void handler(int sig, siginfo_t *i, void *context)
{
	(void)context;
	caught = sig;
	info = *i;
	/* the access is allowed now, so returning (sigreturn) makes it succeed */
	CHECK(!mprotect(page, 4096, PROT_READ | PROT_WRITE));
}

static void jumper(int sig, siginfo_t *i, void *context)
{
	(void)context;
	caught = sig;
	info = *i;
	siglongjmp(back, 1);
}

static void on_signal(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction a = {.sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags};
	CHECK(!sigaction(sig, &a, NULL));
}

static int catch_and_return(void)
{
	page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	on_signal(SIGSEGV, handler, 0);
	page[123] = 7;
	CHECK(caught == SIGSEGV && info.si_code == SEGV_ACCERR && info.si_addr == page + 123);
	CHECK(page[123] == 7);
	printf("caught SEGV_ACCERR and returned\n");
	return 0;
}

static int maperr(void)
{
	page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(!munmap(page, 4096));
	on_signal(SIGSEGV, jumper, 0);
	if (!sigsetjmp(back, 1))
		page[5] = 1;
	CHECK(caught == SIGSEGV && info.si_code == SEGV_MAPERR && info.si_addr == page + 5);
	printf("caught SEGV_MAPERR and jumped\n");
	return 0;
}

static int altstack(void)
{
	stack_t s = {.ss_sp = malloc(65536), .ss_size = 65536};
	CHECK(!sigaltstack(&s, NULL));
	on_signal(SIGSEGV, jumper, SA_ONSTACK);
	for (int i = 0; i < 3; i++) {
		caught = 0;
		if (!sigsetjmp(back, 1))
			recurse(NULL, 0);
		CHECK(caught == SIGSEGV);
	}
	printf("three stack overflows survived on the alternate stack\n");
	return 0;
}

static int bus(void)
{
	char name[] = "/tmp/faults-XXXXXX";
	int fd = mkstemp(name);
	CHECK(fd >= 0 && !ftruncate(fd, 5000));
	page = mmap(NULL, 3 * 4096, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(page != MAP_FAILED && page[4999] == 0);
	on_signal(SIGBUS, jumper, 0);
	if (!sigsetjmp(back, 1))
		printf("%d\n", ((volatile char *)page)[2 * 4096 + 9]);
	CHECK(caught == SIGBUS && info.si_code == BUS_ADRERR &&
	      info.si_addr == page + 2 * 4096 + 9);
	unlink(name);
	printf("caught BUS_ADRERR past the end of the file\n");
	return 0;
}

static int efault(void)
{
	int pipes[2];
	page = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(!munmap(page + 4096, 4096) && !pipe(pipes));
	memset(page, 'x', 4096);
	CHECK(write(pipes[1], page + 4096, 1) == -1 && errno == EFAULT);
	CHECK(write(pipes[1], page + 4000, 96) == 96);
	CHECK(read(pipes[0], page + 4096, 96) == -1 && errno == EFAULT);
	int fd = open("/dev/zero", O_RDONLY);
	CHECK(read(fd, page + 4096 - 10, 100) == 10);
	CHECK(read(fd, (void *)0xffffffff80000000ul, 1) == -1 && errno == EFAULT);
	CHECK(read(fd, (void *)0x8000000000000000ul, 1) == -1 && errno == EFAULT);
	printf("EFAULT and partial counts are right\n");
	return 0;
}

static int hog(void)
{
	for (size_t total = 0;; total += 1 << 20) {
		char *p =
		    mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			return 3;
		memset(p, 1, 1 << 20);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*fn)(void);
	} all[] = {{"null", null_read},
		   {"constant", write_constant},
		   {"execute", execute_data},
		   {"return", catch_and_return},
		   {"maperr", maperr},
		   {"altstack", altstack},
		   {"bus", bus},
		   {"efault", efault},
		   {"hog", hog}};
	if (argc > 1 && !strcmp(argv[1], "recurse"))
		return recurse(NULL, 0);
	for (size_t i = 0; argc > 1 && i < sizeof(all) / sizeof(*all); i++)
		if (!strcmp(argv[1], all[i].name))
			return all[i].fn();
	fprintf(stderr, "which?\n");
	return 2;
}
