/* SPDX-License-Identifier: MIT */
/* MADV_HWPOISON and MADV_SOFT_OFFLINE on memory of every kind. */
#include "probe.h"
static void anon(void)
{
	char *a = mm(0, 8, RW, PRV);
	memset(a, 1, 8 * PG);
	R(madvise(a, PG, MADV_SOFT_OFFLINE));
	printf("%d\n", *a);
	R(madvise(at(1), PG, MADV_HWPOISON));
	TRY(*(volatile char *)at(1));
	TRY(*at(1) = 1);
	TRY(*(volatile char *)(at(1) + 123));
	pm(at(1), 1);
	incore(at(1), 1);
	int p[2];
	pipe(p);
	R(write(p[1], at(1), 5));
	R(write(p[1], at(1) - 3, 5));
	write(p[1], at(0), 4);
	R(read(p[0], at(1), 1));
	R(read(p[0], at(1) - 2, 5));
	R(madvise(at(1), PG, MADV_HWPOISON));
	R(madvise(at(1), PG, MADV_SOFT_OFFLINE));
	R(madvise(at(1), PG, MADV_POPULATE_READ));
	R(madvise(at(1), PG, MADV_POPULATE_WRITE));
	R(mlock(at(1), PG));
	R(munlock(at(1), PG));
	R(mprotect(at(1), PG, PROT_READ));
	R(mprotect(at(1), PG, RW));
	TRY(*at(1) = 1);
	fflush(stdout);
	if (!fork()) {
		puts("child");
		TRY(*at(1) = 1);
		fflush(stdout);
		_exit(0);
	}
	wait(0);
	R(mremap(at(1), PG, PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(20)));
	TRY(*at(20) = 1);
	R(madvise(at(20), PG, MADV_DONTNEED));
	TRY(*at(20) = 1);
	R(madvise(at(2), PG * 2, MADV_HWPOISON));
	TRY(*at(3) = 1);
	R(munmap(at(2), 2 * PG));
	R(mm(2, 2, RW, PRV));
	TRY(*at(2) = 1);
	R(mm(30, 1, PROT_NONE, PRV));
	R(madvise(at(30), PG, MADV_HWPOISON));
	R(madvise(at(90), PG, MADV_HWPOISON));
	R(madvise(at(90), PG, MADV_SOFT_OFFLINE));
}
static void shr(void)
{
	R(mm(40, 4, RW, SHR));
	*at(40) = 7;
	*at(41) = 8;
	*at(42) = 9;
	R(madvise(at(40), PG, MADV_SOFT_OFFLINE));
	printf("%d\n", *at(40));
	R(madvise(at(40), PG, MADV_HWPOISON));
	TRY(*(volatile char *)at(40));
	TRY(*at(40) = 1);
	pm(at(40), 1);
	vm(at(40), "Rss Pss Pss_Dirty Private_Clean Private_Dirty Shared_Clean Shared_Dirty "
		   "Anonymous Referenced");
	R(madvise(at(40), PG, MADV_DONTNEED));
	pm(at(40), 1);
	TRY(*(volatile char *)at(40));
	fflush(stdout);
	if (!fork()) {
		puts("child");
		TRY(*at(40) = 1);
		TRY(*at(41) = 1);
		R(madvise(at(41), PG, MADV_HWPOISON));
		TRY(*at(41) = 1);
		fflush(stdout);
		_exit(0);
	}
	wait(0);
	TRY(*(volatile char *)at(41));
}
static void mem(void)
{
	int m = memfd_create("h", 0);
	ftruncate(m, 4 * PG);
	mmap(at(50), 4 * PG, RW, SHR | MAP_FIXED, m, 0);
	memset(at(50), 9, 4 * PG);
	R(madvise(at(51), PG, MADV_HWPOISON));
	TRY(*(volatile char *)at(51));
	char b[9000];
	R(pread(m, b, 1, PG));
	R(pread(m, b, 9000, 100));
	R(pwrite(m, b, 1, PG));
	R(pwrite(m, b, 2, PG - 1));
	R(ftruncate(m, PG));
	R(ftruncate(m, 4 * PG));
	TRY(printf("%d\n", *at(51)));
	R(madvise(at(50), PG, MADV_SOFT_OFFLINE));
	printf("%d\n", *at(50));
	R(pread(m, b, 1, 0));
	R(madvise(at(52), PG, MADV_HWPOISON));
	R(fallocate(m, 3, 2 * PG, PG));
	TRY(printf("%d\n", *at(52)));
}
static void cow(void)
{
	mm(60, 1, RW, PRV);
	*at(60) = 4;
	fflush(stdout);
	int s[2];
	pipe(s);
	int q;
	if (!(q = fork())) {
		char c;
		read(s[0], &c, 1);
		puts("cow child");
		TRY(printf("%d\n", *at(60)));
		fflush(stdout);
		_exit(0);
	}
	R(madvise(at(60), PG, MADV_HWPOISON));
	TRY(printf("%d\n", *at(60)));
	fflush(stdout);
	write(s[1], "x", 1);
	wait(0);
	mm(61, 1, RW, PRV);
	*at(61) = 4;
	fflush(stdout);
	if (!(q = fork())) {
		char c;
		read(s[0], &c, 1);
		puts("so child");
		TRY(printf("%d\n", *at(61)));
		TRY(*at(61) = 7);
		printf("%d\n", *at(61));
		fflush(stdout);
		_exit(0);
	}
	R(madvise(at(61), PG, MADV_SOFT_OFFLINE));
	TRY(printf("%d\n", *at(61)));
	TRY(*at(61) = 6);
	fflush(stdout);
	write(s[1], "x", 1);
	wait(0);
	printf("%d\n", *at(61));
	mm(70, 1, RW, PRV);
	*at(70) = 1;
	mlock(at(70), PG);
	R(madvise(at(70), PG, MADV_SOFT_OFFLINE));
	vm(at(70), "Locked Rss Pss Pss_Dirty Private_Clean Private_Dirty Shared_Clean Shared_Dirty "
		   "Anonymous Referenced LazyFree Swap");
	R(madvise(at(70), PG, MADV_HWPOISON));
	TRY(*at(70) = 1);
	vm(at(70), "Locked Rss Pss Pss_Dirty Private_Clean Private_Dirty Shared_Clean Shared_Dirty "
		   "Anonymous Referenced LazyFree Swap");
}
static void unb(void)
{
	char *a = mm(0, 2, RW, PRV);
	memset(a, 1, 2 * PG);
	madvise(a, PG, MADV_HWPOISON);
	signal(SIGBUS, SIG_DFL);
	int p = fork();
	if (!p) {
		*(volatile char *)a;
		_exit(0);
	}
	int st;
	wait(&st);
	printf("%x\n", st);
	signal(SIGBUS, SIG_IGN);
	p = fork();
	if (!p) {
		*(volatile char *)a;
		_exit(0);
	}
	wait(&st);
	printf("%x\n", st);
}
static void so(void)
{
	R(mm(31, 1, PROT_READ, PRV));
	R(madvise(at(31), PG, MADV_SOFT_OFFLINE));
}
int main()
{
	init();
	T(anon);
	T(shr);
	T(mem);
	T(cow);
	T(unb);
	T(so);
}
