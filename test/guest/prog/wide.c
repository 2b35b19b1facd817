/* SPDX-License-Identifier: MIT */
/*
 * Addresses of more than 47 bits, where the MMU has five levels: who asks for them gets
 * them, others don't.  On a machine without them a hint there is one like any other, and
 * MAP_FIXED has ENOMEM.  Prints which machine it is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define WINDOW 0x7ffffffff000UL
#define LIMIT ((1UL << 56) - PAGE)

#define MUST(x)                                                                  \
	do {                                                                     \
		if (!(x)) {                                                      \
			printf("line %d: %s (errno %d)\n", __LINE__, #x, errno); \
			exit(1);                                                 \
		}                                                                \
	} while (0)

static char *map(unsigned long addr, unsigned long len, int flags)
{
	return mmap((void *)addr, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags,
		    -1, 0);
}

static long page_tables(void)
{
	char line[256];
	long kb = -1;
	FILE *f = fopen("/proc/self/status", "r");

	while (fgets(line, sizeof(line), f))
		sscanf(line, "VmPTE: %ld", &kb);
	fclose(f);
	return kb;
}

static void four_levels(void)
{
	char *p;

	MUST(map(1UL << 47, PAGE, MAP_FIXED) == MAP_FAILED && errno == ENOMEM);
	p = map(1UL << 48, PAGE, 0);
	MUST(p != MAP_FAILED && (unsigned long)p < WINDOW);
	MUST(munmap((void *)(1UL << 48), PAGE) == -1 && errno == EINVAL);
	puts("four levels");
}

static void hints(void)
{
	char *p = map(0, PAGE, 0), *q;

	MUST((unsigned long)p < WINDOW);
	q = map(WINDOW - PAGE, 2 * PAGE, 0); /* from below to above: not there */
	MUST((unsigned long)q < WINDOW);
	q = map(1UL << 50, PAGE, 0);
	MUST(q == (char *)(1UL << 50));
	q = map(1UL << 50, PAGE, 0); /* taken: another one above the window */
	MUST((unsigned long)q > WINDOW && q != (char *)(1UL << 50));
	MUST(!munmap(q, PAGE) && !munmap((void *)(1UL << 50), PAGE));
	q = map(LIMIT - PAGE, PAGE, MAP_FIXED);
	MUST(q == (char *)(LIMIT - PAGE));
	*q = 1;
	MUST(map(LIMIT, PAGE, MAP_FIXED) == MAP_FAILED && errno == ENOMEM);
	MUST(!munmap(q, PAGE));
}

/* What is above can be read, copied, moved, shared with a child and with system calls. */
static void use(void)
{
	char *p = map(1UL << 52, 4 * PAGE, MAP_FIXED), *q, byte = 0;
	int fd[2], status;

	MUST(p == (char *)(1UL << 52));
	memset(p, 7, 4 * PAGE);
	if (!fork()) {
		MUST(p[PAGE] == 7);
		p[PAGE] = 8;
		_exit(p[0] == 7 && p[PAGE] == 8 ? 0 : 1);
	}
	MUST(wait(&status) > 0 && status == 0 && p[PAGE] == 7);
	MUST(!pipe(fd) && write(fd[1], p + PAGE - 1, 2) == 2 && read(fd[0], p, 2) == 2);
	MUST(write(fd[1], p + 4 * PAGE - 1, 1) == 1 && read(fd[0], p, 2) == 1);
	MUST(write(fd[1], p + 8 * PAGE, 1) == -1 && errno == EFAULT);
	struct iovec here = {&byte, 1}, there = {p + 2 * PAGE, 1};
	MUST(process_vm_readv(getpid(), &here, 1, &there, 1, 0) == 1 && byte == 7);
	q = mremap(p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(3UL << 52));
	MUST(q == (char *)(3UL << 52) && q[3 * PAGE] == 7);
	MUST(!mprotect(q + PAGE, PAGE, PROT_READ) && !madvise(q, PAGE, MADV_DONTNEED) && *q == 0);
	MUST(!munmap(q, 4 * PAGE));
	/* One mapping over the border of the first 2^48 bytes. */
	p = map((1UL << 48) - PAGE, 2 * PAGE, MAP_FIXED);
	memset(p, 1, 2 * PAGE);
	MUST(!munmap(p, 2 * PAGE));
}

int main(void)
{
	long before = page_tables();

	if (map(1UL << 47, PAGE, MAP_FIXED) != (char *)(1UL << 47)) {
		four_levels();
		return 0;
	}
	MUST(!munmap((void *)(1UL << 47), PAGE));
	hints();
	use();
	MUST(page_tables() == before);
	puts("five levels");
	return 0;
}
