/* SPDX-License-Identifier: MIT */
/* Which words are the same futex, by what kind of memory they lie in; and what a look at one
 * does to the page.  Prints the same on Linux 6.1 and on Quire. */
#define PROBE_SECONDS 60
#include "futexes.h"

static long wake(void *p)
{
	return futex(p, FUTEX_WAKE, 1, NULL, NULL, 0);
}
static long wait_not(void *p) /* it isn't so: EAGAIN, when the word can be looked at */
{
	return futex(p, FUTEX_WAIT, 0xdeadbeef, NULL, NULL, 0);
}
static long requeue_to(void *p, void *q)
{
	return futex(p, FUTEX_REQUEUE, 1, (void *)1, q, 0);
}
static char *file_at(double page, int prot, int flags, int fd, long offset)
{
	return mmap(at(page), PG, prot, flags | MAP_FIXED, fd, offset * (long)PG);
}
static void do_shared_wait(struct thread *t)
{
	t->result = futex(t->a, FUTEX_WAIT, *t->a, t->timeout, NULL, 0);
}
/* A waiter at p; whether a wake-up at q finds it. */
static void same_word(void *p, void *q)
{
	begin(0, do_shared_wait, p, NULL);
	if (!R(wake(q)))
		R(wake(p));
	result(0);
}

static void looks(char *p)
{
	R(wake(p));
	pm(p, 1);
	R(wait_not(p));
	pm(p, 1);
}

static void anonymous(void)
{
	mm(0, 1, RW, PRV);
	looks(at(0));
	mm(2, 1, PROT_READ, PRV);
	looks(at(2));
	mm(4, 1, RW, PRV);
	*at(4) = 1;
	mprotect(at(4), PG, PROT_READ);
	looks(at(4));
	mm(6, 1, RW, PRV);
	TRY((void)*(volatile char *)at(6)); /* the page of zeros */
	pm(at(6), 1);
	looks(at(6));
	mm(8, 1, PROT_NONE, PRV);
	looks(at(8));
	mm(10, 1, PROT_WRITE, PRV);
	looks(at(10));
	mm(12, 1, PROT_EXEC, PRV);
	looks(at(12));
	looks(at(14));
	mm(16, 1, RW, SHR);
	looks(at(16));
	mm(18, 1, PROT_READ, SHR);
	looks(at(18));
	mm(20, 1, PROT_NONE, SHR);
	looks(at(20));
	mm(30, 1, RW, PRV | MAP_GROWSDOWN);
	looks(at(29));
	maps();
	mm(50, 1, RW, PRV);
	*at(50) = 1;
	int fd = open("/proc/self/clear_refs", O_WRONLY);
	write(fd, "4", 1);
	R(wake(at(50)));
	unsigned long w = 0;
	fd = open("/proc/self/pagemap", O_RDONLY);
	pread(fd, &w, 8, (long)((A / PG + 50) * 8));
	printf("   soft-dirty %lu\n", w >> 55 & 1);
	R(wake((void *)-4096L));
	R(wake((void *)0x7ffffffff000L));
	R(futex((void *)0x7fffffffeffcL, FUTEX_WAKE | PRIVATE, 1, NULL, NULL, 0));
	R(futex((void *)0x7ffffffff000L, FUTEX_WAKE | PRIVATE, 1, NULL, NULL, 0));
	R(futex(at(14), FUTEX_WAKE | PRIVATE, 1, NULL, NULL, 0));
	R(futex(at(14) + 2, FUTEX_WAKE | PRIVATE, 1, NULL, NULL, 0));
	R(futex(at(14), FUTEX_WAKE_BITSET | PRIVATE, 1, NULL, NULL, 0));
	R(wait_not(at(14)));
	R(futex(at(14), FUTEX_WAIT | PRIVATE, 1, NULL, NULL, 0));
}

static void files(void)
{
	int fd = tmpf(3);

	file_at(0, PROT_READ, PRV, fd, 0);
	looks(at(0));
	file_at(2, RW, PRV, fd, 0);
	looks(at(2));
	file_at(4, RW, PRV, fd, 0);
	*at(4) = 'x';
	mprotect(at(4), PG, PROT_READ);
	looks(at(4));
	file_at(6, PROT_READ, SHR, fd, 0);
	looks(at(6));
	file_at(8, RW, SHR, fd, 0);
	looks(at(8));
	file_at(10, RW, SHR, fd, 5);
	looks(at(10));
	file_at(12, PROT_READ, PRV, fd, 5);
	looks(at(12));
	file_at(14, RW, PRV, fd, 5);
	looks(at(14));
	file_at(16, PROT_NONE, SHR, fd, 0);
	looks(at(16));
	file_at(18, RW, PRV, fd, 1);
	TRY((void)*(volatile char *)at(18)); /* the file's page */
	pm(at(18), 1);
	looks(at(18));
	R(requeue_to(at(0), at(4)));
	R(requeue_to(at(4), at(0)));
	R(futex(at(0), FUTEX_WAKE_OP, 1, (void *)1, at(0), 0));
	R(futex(at(0), FUTEX_WAKE_OP, 1, (void *)1, at(8), 2 << 28));
	int zero = open("/dev/zero", O_RDWR);
	file_at(20, PROT_READ, PRV, zero, 0);
	looks(at(20));
	file_at(22, RW, SHR, zero, 0);
	looks(at(22));
	int mem = memfd_create("m", 0);
	ftruncate(mem, 3 * PG);
	file_at(24, PROT_READ, SHR, mem, 0); /* a hole */
	looks(at(24));
	file_at(26, PROT_READ, PRV, mem, 1);
	looks(at(26));
	char *vdso = (char *)getauxval(AT_SYSINFO_EHDR);
	R(wake(vdso));
	R(wait_not(vdso));
	R(wake(vdso - PG));
	R(wait_not(vdso - PG));
}

static void sameness(void)
{
	int fd = tmpf(3), fd2 = tmpf(3), mem = memfd_create("m", 0);

	ftruncate(mem, 3 * PG);
	start(1);
	file_at(0, RW, SHR, fd, 0);
	file_at(2, PROT_READ, SHR, fd, 0);
	file_at(4, PROT_READ, PRV, fd, 0);
	file_at(6, PROT_READ, PRV, fd, 0);
	file_at(8, RW, PRV, fd, 0);
	file_at(10, RW, PRV, fd, 0);
	file_at(12, RW, SHR, fd, 1);
	file_at(14, RW, SHR, fd2, 0);
	same_word(at(0), at(0));
	same_word(at(0), at(2));
	same_word(at(0), at(4));
	same_word(at(4), at(0));
	same_word(at(4), at(6));
	same_word(at(0), at(8));
	same_word(at(8), at(10));
	same_word(at(0), at(12));
	same_word(at(0), at(14));
	same_word(at(0), at(2) + 4);
	/* the same page, private once and for all after the first write */
	begin(0, do_shared_wait, (void *)at(4), NULL);
	mprotect(at(4), PG, RW);
	*at(4) = 'z';
	R(wake(at(4)));
	mprotect(at(4), PG, PROT_READ);
	R(wake(at(4)));
	R(wake(at(0)));
	result(0);
	/* moved, and away from the mapping */
	file_at(20, RW, SHR, mem, 0);
	file_at(22, RW, SHR, mem, 0);
	begin(0, do_shared_wait, (void *)at(20), NULL);
	R(mremap(at(20), PG, PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(24)));
	R(wake(at(20)));
	R(wake(at(24)));
	result(0);
	begin(0, do_shared_wait, (void *)at(24), NULL);
	munmap(at(24), PG);
	R(wake(at(22)));
	result(0);
	/* the file's page goes, and there is another */
	file_at(20, RW, SHR, mem, 1);
	begin(0, do_shared_wait, (void *)at(20), NULL);
	R(fallocate(mem, 3, PG, PG));
	R(wake(at(20)));
	result(0);
	begin(0, do_shared_wait, (void *)at(20), NULL);
	ftruncate(mem, PG);
	R(wake(at(20)));
	ftruncate(mem, 3 * PG);
	R(wake(at(20)));
	result(0);
	/* anonymous: by its address */
	mm(30, 2, RW, PRV);
	begin(0, do_shared_wait, (void *)at(30), NULL);
	R(madvise(at(30), PG, MADV_DONTNEED));
	R(wake(at(30)));
	result(0);
	begin(0, do_shared_wait, (void *)at(30), NULL);
	R(mremap(at(30), PG, PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(34)));
	R(wake(at(34)));
	mm(30, 1, RW, PRV);
	R(wake(at(30)));
	result(0);
	begin(0, do_shared_wait, (void *)at(30), NULL);
	R(futex(at(30), FUTEX_WAKE | PRIVATE, 1, NULL, NULL, 0));
	mm(30, 1, RW, SHR);
	R(wake(at(30)));
	mm(30, 1, RW, PRV);
	R(wake(at(30)));
	result(0);
	/* other processes */
	mm(40, 1, RW, SHR);
	mm(42, 1, RW, PRV);
	begin(0, do_shared_wait, (void *)at(40), NULL);
	fflush(stdout);
	if (!fork()) {
		R(wake(at(42)));
		R(futex(at(40), FUTEX_WAKE | PRIVATE, 1, NULL, NULL, 0));
		R(mremap(at(40), PG, PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(44)));
		R(wake(at(44)));
		fflush(stdout);
		_exit(0);
	}
	result(0);
	wait(NULL);
}

int main(void)
{
	init();
	T(anonymous);
	T(files);
	T(sameness);
	return 0;
}
