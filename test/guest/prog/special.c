/* SPDX-License-Identifier: MIT */
/* mremap; and all that can be done to the vdso and its data. */
#include "probe.h"
static void mremaps(void)
{
	int f = tmpf(6);
	R(mm(0, 4, RW, PRV));
	*at(0) = 'x';
	R(mremap(at(0), 4 * PG, 8 * PG, 0));
	maps();
	R(mm(8, 1, RW, PRV | MAP_NORESERVE));
	R(mremap(at(0), 8 * PG, 9 * PG, 0));
	R(mremap(at(0), 8 * PG, 4 * PG, 0));
	R(mremap(at(0), 4 * PG, 0, 0));
	R(mremap(at(0) + 1, 4 * PG, PG, 0));
	R(mremap(at(0), 4 * PG, PG, 8));
	R(mremap(at(0), 4 * PG, PG, MREMAP_FIXED, at(20)));
	R(mremap(at(0), 4 * PG, PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(20) + 1));
	R(mremap(at(0), 4 * PG, 2 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(20)));
	maps();
	R(mremap(at(20), 2 * PG, 6 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(30)));
	R(mremap(at(30), 6 * PG, 6 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(33)));
	R(mremap(at(30), 6 * PG, 6 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(36)));
	R(mremap(at(36), 0, 6 * PG, MREMAP_MAYMOVE));
	R(mremap(at(36), 6 * PG, 6 * PG, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0));
	maps();
	R(mremap(at(36), 6 * PG, 6 * PG, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, at(50)));
	R(mremap(at(36), 6 * PG, 5 * PG, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0));
	R(mremap(at(36), 6 * PG, 6 * PG, 4, 0));
	R(mremap(at(36), 7 * PG, 7 * PG, MREMAP_MAYMOVE));
	R(mremap(at(36), 7 * PG, 8 * PG, MREMAP_MAYMOVE));
	R(mremap(at(90), PG, 2 * PG, MREMAP_MAYMOVE));
	R(mremap(at(36), 6 * PG, -1, MREMAP_MAYMOVE));
	R(mremap(at(36), 6 * PG, 1UL << 47, MREMAP_MAYMOVE));
	R(mremap(at(36), 6 * PG, 6 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)0x7fffffffe000));
	R(mremap(at(36), 6 * PG, 6 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)-4096L));
	R(mremap(at(36), 6 * PG, 6 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)0x1000));
	R(mremap(at(36), 6 * PG, 6 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)0));
	maps();
	R(mmap(at(100), 4 * PG, RW, SHR | MAP_FIXED, f, 0));
	*at(100) = 'y';
	R(mremap(at(100), 0, 2 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(110)));
	maps();
	TRY(printf("%c\n", *at(110)));
	R(mremap(at(100), 0, 2 * PG, 0));
	R(mremap(at(101), 0, 2 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(120)));
	R(mremap(at(100), 4 * PG, 4 * PG, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
		 at(130)));
	maps();
	pm(at(100), 4);
	pm(at(130), 4);
	TRY(*at(100) = 'z');
	TRY(printf("%c\n", *at(130)));
	R(mremap(at(100), 0, 0, MREMAP_MAYMOVE | MREMAP_FIXED, at(140)));
	R(mremap(at(100), 2 * PG, 8 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(140)));
	maps();
	TRY(*at(146) = 1);
	R(mmap(at(200), 4 * PG, PROT_READ, PRV | MAP_FIXED, f, 0));
	R(mremap(at(200), 4 * PG, 4 * PG, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
		 at(210)));
	maps();
	R(mm(220, 2, RW, SHR));
	R(mremap(at(220), 2 * PG, 4 * PG, 1 | 2, at(230)));
	TRY(*at(232) = 1);
	R(mremap(at(230), 4 * PG, 4 * PG, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
		 at(240)));
	maps();
	R(mm(300, 4, RW, PRV | MAP_LOCKED));
	R(mremap(at(300), 4 * PG, 4 * PG, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
		 at(310)));
	vm(at(300), "VmFlags Locked Rss");
	vm(at(310), "VmFlags Locked Rss");
	R(mremap(at(310), 4 * PG, 8 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(320)));
	vm(at(320), "VmFlags Locked Rss");
	maps();
	R(mm(400, 4, RW, PRV | MAP_GROWSDOWN));
	R(mremap(at(400), 4 * PG, 6 * PG, MREMAP_MAYMOVE));
	R(mremap(at(400), 4 * PG, 4 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(410)));
	maps();
	TRY(*at(409) = 1);
	maps();
	R(mm(500, 2, RW, PRV));
	R(mm(502, 2, PROT_READ, PRV));
	R(mremap(at(500), 4 * PG, 4 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(510)));
	R(mremap(at(500), 4 * PG, 6 * PG, MREMAP_MAYMOVE));
	R(mremap(at(500), 4 * PG, PG, MREMAP_MAYMOVE));
	maps();
	R(mremap(at(500), PG, PG, 0));
	R(mremap(at(504), PG, PG, 0));
	R(mremap(at(500), 8 * PG, 8 * PG, 0));
	R(mremap(at(500), 8 * PG, PG, 0));
	R(mremap(at(500), PG, 3 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(500)));
	R(mm(600, 4, RW, PRV));
	memset(at(600), 7, 4 * PG);
	R(mremap(at(601), PG, PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(605)));
	R(mremap(at(605), PG, PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(601)));
	maps();
	R(mremap(at(602), PG, 2 * PG, 1 | 2, at(610)));
	R(mremap(at(602), PG, 2 * PG, MREMAP_MAYMOVE) != (void *)-1);
	R(mmap(at(700), 4 * PG, RW, PRV | MAP_FIXED, f, 1 << 12));
	R(mremap(at(701), PG, 3 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(710)));
	maps();
	R(mremap(at(700), PG, (1UL << 52), MREMAP_MAYMOVE));
}
static unsigned long find(const char *w, unsigned long *e)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char l[512];
	unsigned long s = 0;
	while (fgets(l, 512, f))
		if (strstr(l, w)) {
			sscanf(l, "%lx-%lx", &s, e);
			break;
		}
	fclose(f);
	return s;
}
static void spec(const char *w)
{
	unsigned long s, e;
	s = find(w, &e);
	printf("%s len %lx\n", w, e - s);
	char *v = (char *)s;
	unsigned long n = e - s;
	vm(v, "VmFlags Rss Pss Size Referenced Shared_Clean Private_Clean Private_Dirty "
	      "KernelPageSize Anonymous Locked");
	pm(v, n / PG);
	incore(v, n / PG);
	int adv[] = {0, 1, 2, 3, 4, 8, 9, 10, 11, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 102};
	for (int i = 0; i < 20; i++) {
		if (fork() == 0) {
			errno = 0;
			int r = madvise(v, PG, adv[i]);
			printf("madvise %d: %d %s", adv[i], r, en(errno));
			errno = 0;
			r = madvise(v, n, adv[i]);
			printf(" whole %d %s\n", r, en(errno));
			unsigned long e2, s2 = find(w, &e2);
			if (s2) {
				printf("now %lx", e2 - s2);
				TRY(*(volatile char *)v);
			}
			fflush(stdout);
			_exit(0);
		}
		int st;
		wait(&st);
		if (st)
			printf("st %x\n", st);
	}
	R(mlock(v, PG));
	R(mlock(v, n));
	vm(v, "VmFlags Locked");
	R(munlock(v, n));
	R(msync(v, PG, MS_SYNC));
	R(mincore(v, PG, alloca(10)));
	fflush(stdout);
	int prots[] = {0, 1, 2, 3, 5, 6, 7};
	for (int i = 0; i < 7; i++) {
		if (fork() == 0) {
			errno = 0;
			int r = mprotect(v, PG, prots[i]);
			printf("mprotect %d: %d %s", prots[i], r, en(errno));
			errno = 0;
			r = mprotect(v, n, prots[i]);
			printf(" whole %d %s\n", r, en(errno));
			fflush(stdout);
			TRY(*(volatile char *)v);
			TRY(*(volatile char *)v = 1);
			vm(v, "VmFlags Rss Private_Dirty Anonymous");
			fflush(stdout);
			_exit(0);
		}
		wait(0);
	}
	for (int i = 0; i < 8; i++) {
		if (fork() == 0) {
			switch (i) {
			case 0:
				R(munmap(v, PG));
				break;
			case 1:
				R(munmap(v + n - PG, PG));
				break;
			case 2:
				R(munmap(v, n));
				break;
			case 3:
				R(mmap(v, PG, RW, PRV | MAP_FIXED | MAP_ANONYMOUS, -1, 0));
				break;
			case 4:
				R(mremap(v, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, at(10)));
				TRY(*(volatile char *)at(10));
				break;
			case 5:
				R(mremap(v, PG, PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(10)));
				TRY(*(volatile char *)at(10));
				break;
			case 6:
				R(mremap(v, n, n + PG, MREMAP_MAYMOVE));
				R(mremap(v, n, n, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
					 at(20)));
				R(mremap(v, PG, 2 * PG, MREMAP_MAYMOVE));
				R(mremap(v, n, n - PG, 0));
				break;
			case 7:
				R(mmap(v, n, RW, PRV | MAP_FIXED | MAP_ANONYMOUS, -1, 0));
				break;
			}
			unsigned long e2, s2 = find(w, &e2);
			printf("now %ld moved %d\n", (long)(s2 ? e2 - s2 : 0), s2 && s2 != s);
			maps();
			fflush(stdout);
			_exit(0);
		}
		int st;
		wait(&st);
		printf("st %x\n", st);
	}
}
static void vd(void)
{
	spec("[vdso]");
}
static void vv(void)
{
	spec("[vvar]");
}
int main()
{
	init();
	T(mremaps);
	T(vd);
	T(vv);
}
