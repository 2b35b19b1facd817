/* SPDX-License-Identifier: MIT */
/* memfd and its seals, fallocate, truncation under mappings, msync, mincore, brk,
 * remap_file_pages. */
#include "probe.h"
static void memfds(void)
{
	int x, f;
	int fl[] = {0, 1, 2, 3, 8, 16, 24, 32, 21 << 26, 1 << 31};
	for (int i = 0; i < 10; i++) {
		errno = 0;
		int m = memfd_create("x", fl[i]);
		printf("memfd_create %x: %s %s seals %d\n", fl[i], m < 0 ? "-1" : "ok", en(errno),
		       m < 0 ? 0 : fcntl(m, F_GET_SEALS));
		close(m);
	}
	R(memfd_create(0, 0));
	char n[300];
	memset(n, 'a', 299);
	n[249] = 0;
	x = R(memfd_create(n, 0));
	n[249] = 'a';
	n[250] = 0;
	R(memfd_create(n, 0));
	R(memfd_create("", 0));
	struct stat st;
	fstat(x, &st);
	printf("mode %o size %ld nlink %ld blksize %ld\n", st.st_mode, st.st_size, st.st_nlink,
	       st.st_blksize);
	R(fcntl(0, F_GET_SEALS));
	R(fcntl(tmpf(1), F_GET_SEALS));
	R(fcntl(tmpf(1), F_ADD_SEALS, 1));
	x = memfd_create("a", 0);
	R(fcntl(x, F_ADD_SEALS, 2));
	R(fcntl(x, F_GET_SEALS));
	for (int s = 0; s < 64; s++) {
		x = memfd_create("s", 2);
		ftruncate(x, 3 * PG);
		errno = 0;
		int r = fcntl(x, F_ADD_SEALS, s);
		printf("seal %d: %d %s get %d:", s, r, en(errno), fcntl(x, F_GET_SEALS));
		if (r) {
			puts("");
			close(x);
			continue;
		}
		errno = 0;
		printf(" w %zd %s", pwrite(x, "q", 1, 0), en(errno));
		errno = 0;
		printf(" wext %zd %s", pwrite(x, "qq", 2, 3 * PG - 1), en(errno));
		errno = 0;
		printf(" grow %d %s", ftruncate(x, 5 * PG), en(errno));
		errno = 0;
		printf(" same %d %s", ftruncate(x, 3 * PG), en(errno));
		errno = 0;
		printf(" shr %d %s", ftruncate(x, PG), en(errno));
		errno = 0;
		printf(" fa %d %s", fallocate(x, 0, 0, 8 * PG), en(errno));
		errno = 0;
		printf(" pun %d %s", fallocate(x, 3, 0, PG), en(errno));
		errno = 0;
		printf(" fak %d %s", fallocate(x, 1, 0, 9 * PG), en(errno));
		int pr[] = {1, 3};
		for (int t = 1; t < 3; t++)
			for (int p = 0; p < 2; p++) {
				errno = 0;
				char *a = mmap(at(0), PG, pr[p], t | MAP_FIXED, x, 0);
				printf(" m%d%d %s", t, pr[p], a == MAP_FAILED ? en(errno) : "ok");
				if (a != MAP_FAILED) {
					errno = 0;
					printf("/%d%s", mprotect(a, PG, RW), en(errno));
					vm(a, "VmFlags");
				}
			}
		errno = 0;
		printf(" seal again %d %s", fcntl(x, F_ADD_SEALS, F_SEAL_SHRINK), en(errno));
		munmap(at(0), PG);
		puts("");
		close(x);
	}
	x = memfd_create("w", 2);
	ftruncate(x, 2 * PG);
	R(mmap(at(0), PG, RW, SHR | MAP_FIXED, x, 0));
	R(fcntl(x, F_ADD_SEALS, F_SEAL_WRITE));
	R(fcntl(x, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	R(mprotect(at(0), PG, PROT_READ));
	R(fcntl(x, F_ADD_SEALS, F_SEAL_WRITE));
	R(mprotect(at(0), PG, RW));
	R(munmap(at(0), PG));
	R(mmap(at(0), PG, PROT_READ, SHR | MAP_FIXED, x, 0));
	R(fcntl(x, F_ADD_SEALS, F_SEAL_WRITE));
	R(munmap(at(0), PG));
	R(fcntl(x, F_ADD_SEALS, F_SEAL_WRITE));
	R(fcntl(x, F_GET_SEALS));
	R(mmap(at(0), PG, PROT_READ, SHR | MAP_FIXED, x, 0));
	maps();
	R(mm(0, 1, RW, PRV));
	R(mmap(at(0), PG, RW, SHR | MAP_FIXED, x, 0));
	maps();
	R(mmap(at(0), PG, RW, PRV | MAP_FIXED, x, 0));
	TRY(*at(0) = 1);
	char pth[64];
	sprintf(pth, "/proc/self/fd/%d", x);
	f = R(open(pth, O_RDWR) >= 0);
	f = open(pth, O_RDONLY);
	R(mmap(at(3), PG, PROT_READ, SHR | MAP_FIXED, f, 0));
	R(fcntl(f, F_ADD_SEALS, 1));
	maps();
	R(fcntl(x, F_ADD_SEALS, 0x40));
	R(fcntl(x, F_ADD_SEALS, -1));
}
static void fallocs(void)
{
	int x = memfd_create("f", 0);
	int modes[] = {0, 1, 2, 3, 4, 8, 0x10, 0x11, 0x20, 0x21, 0x40, 0x41, 0x80};
	int fd[3] = {x, tmpf(2), open("/tmp", O_RDONLY)};
	for (int j = 0; j < 3; j++)
		for (int i = 0; i < 13; i++) {
			if (j == 1 && (modes[i] & ~3))
				continue;
			errno = 0;
			struct stat st;
			int r = fallocate(fd[j], modes[i], 100, PG * 3);
			int e = errno;
			fstat(fd[j], &st);
			printf("fallocate %d mode %x: %d %s", j, modes[i], r, en(e));
			if (j != 1)
				printf(" size %ld blocks %ld", j < 2 ? st.st_size : 0,
				       j < 2 ? st.st_blocks : 0);
			puts("");
		}
	R(fallocate(x, 0, -1, 1));
	R(fallocate(x, 0, 0, 0));
	R(fallocate(x, 0, 0, -1));
	R(fallocate(x, 0, 1L << 62, 1L << 62));
	R(fallocate(x, 0, (1L << 62) + (1L << 61), 1L << 62));
	R(fallocate(-1, 0, 0, 1));
	int p[2];
	pipe(p);
	R(fallocate(p[1], 0, 0, 1));
	R(fallocate(open("/dev/null", O_RDWR), 0, 0, 1));
	R(fallocate(open("/dev/null", O_RDONLY), 0, 0, 1));
	R(fallocate(socket(1, 1, 0), 0, 0, 1));
	R(fallocate(open("/proc/self/fd", O_RDONLY), 0, 0, 1));
	R(ftruncate(p[1], 0));
	R(ftruncate(x, -1));
	R(ftruncate(open("/dev/null", O_RDWR), 0));
	R(truncate("/tmp", 0));
	R(truncate("/dev/null", 0));
	R(ftruncate(x, 1L << 62));
	R(ftruncate(x, 0x7fffffffffffffffL));
}
static void truncs(void)
{
	for (int k = 0; k < 2; k++) {
		int f = k ? memfd_create("t", 0) : tmpf(0);
		ftruncate(f, 4 * PG);
		char *s = mmap(at(0), 6 * PG, RW, SHR | MAP_FIXED, f, 0),
		     *p = mmap(at(10), 6 * PG, RW, PRV | MAP_FIXED, f, 0);
		memset(s, 's', 4 * PG);
		TRY(s[4 * PG] = 1);
		TRY(p[4 * PG] = 1);
		TRY((void)*(volatile char *)(p + 5 * PG));
		p[2 * PG] = 'c';
		p[3 * PG] = 'd';
		R(ftruncate(f, PG + 100));
		printf("%d %d %d\n", s[PG + 99], s[PG + 100], s[2 * PG - 1]);
		TRY(s[2 * PG] = 1);
		TRY((void)*(volatile char *)(p + 2 * PG));
		TRY(p[3 * PG] = 1);
		s[PG + 200] = 'z';
		R(ftruncate(f, 3 * PG));
		printf("%d %d\n", s[PG + 200], s[2 * PG]);
		char b;
		R(pread(f, &b, 1, PG + 200));
		printf("%d\n", b);
		TRY(printf("%d\n", p[2 * PG]));
		R(write(1, "", 0));
		R(pwrite(f, "x", 1, PG * 3 + 50));
		printf("%d\n", s[3 * PG + 50]);
		s[3 * PG + 60] = 'q';
		R(ftruncate(f, 3 * PG + 70));
		printf("%d\n", s[3 * PG + 60]);
		int pi[2];
		pipe(pi);
		R(write(pi[1], s + 3 * PG, 2 * PG));
		R(write(pi[1], s + 4 * PG, 1));
		R(read(pi[0], s + 4 * PG, 10));
		R(read(pi[0], s + 4 * PG - 5, 10));
		R(mprotect(s, 6 * PG, PROT_READ));
		R(read(pi[0], s, 10));
		R(msync(s, 6 * PG, MS_SYNC));
		R(madvise(s, 6 * PG, MADV_POPULATE_READ));
		R(madvise(s, 4 * PG, MADV_POPULATE_READ));
		incore(s, 6);
		incore(p, 6);
		R(mlock(s, 6 * PG));
		R(msync(s, 6 * PG, MS_INVALIDATE));
		R(munlock(s, 6 * PG));
		pm(s, 6);
		pm(p, 6);
	}
}
static void msyncs(void)
{
	int f = tmpf(4);
	R(mmap(at(0), 4 * PG, RW, SHR | MAP_FIXED, f, 0));
	for (int i = 0; i < 17; i++) {
		errno = 0;
		printf("msync %d: %d %s\n", i, msync(at(0), PG, i), en(errno));
	}
	R(msync(at(0) + 1, PG, 4));
	R(msync(at(0), 0, 4));
	R(msync(at(9), 0, 4));
	R(msync(at(9), PG, 4));
	R(msync(at(3), 2 * PG, 4));
	R(munmap(at(1), PG));
	*at(2) = 'Q';
	R(msync(at(0), 4 * PG, 4));
	R(msync(at(0), 4 * PG, 1));
	R(mlock(at(2), PG));
	R(msync(at(0), 4 * PG, 2));
	R(msync(at(0), 4 * PG, 6));
	R(msync(at(2), PG, 3));
	R(munlock(at(2), PG));
	R(msync(at(0), 4 * PG, 6));
	R(msync(at(0), -PG, 4));
	R(msync(at(0), -PG * 2, 4));
	R(msync(at(0), (1UL << 47), 4));
	R(msync((void *)-4096L, PG, 4));
	R(msync((void *)-4096L, 4097, 4));
	R(msync(0, -1, 4));
	R(mm(20, 2, PROT_NONE, PRV));
	R(msync(at(20), 2 * PG, 4));
	R(mm(30, 2, RW, SHR));
	*at(30) = 1;
	R(msync(at(30), 2 * PG, 4));
}
static void mincores(void)
{
	unsigned char v[64];
	int f = tmpf(4);
	R(mmap(at(0), 6 * PG, RW, SHR | MAP_FIXED, f, 0));
	incore(at(0), 6);
	posix_fadvise(f, 0, 0, POSIX_FADV_DONTNEED);
	R(mm(10, 4, RW, PRV));
	incore(at(10), 4);
	*(volatile char *)at(10);
	*at(11) = 1;
	incore(at(10), 4);
	R(mincore(at(0) + 1, PG, v));
	R(mincore(at(0), 0, v));
	R(mincore(at(0), 0, 0));
	R(mincore(at(0), 1, v));
	R(mincore(at(8), PG, v));
	R(mincore(at(8), 0, v));
	R(mincore(at(5), 3 * PG, v));
	R(mincore(at(0), PG, 0));
	R(mincore(at(0), PG, (void *)-1L));
	R(mincore((void *)(1UL << 47), PG, v));
	R(mincore((void *)(1UL << 47), 0, v));
	R(mincore((void *)-4096L, PG, v));
	R(mincore(at(0), -1, v));
	R(mincore(at(0), 1UL << 48, v));
	R(mincore((void *)0xffffffffff600000, PG, v));
	R(mincore((void *)0x7fffffffe000, PG, v));
	R(mm(20, 2, PROT_NONE, PRV));
	incore(at(20), 2);
	R(mm(30, 4, RW, SHR));
	incore(at(30), 4);
	*at(31) = 1;
	incore(at(30), 4);
	R(mmap(at(40), 2 * PG, RW, SHR | MAP_FIXED, memfd_create("q", 0), 0));
	incore(at(40), 2);
	int ro = open("/etc/passwd", O_RDONLY);
	R(mmap(at(50), PG, PROT_READ, PRV | MAP_FIXED, ro, 0));
	*(volatile char *)at(50);
	incore(at(50), 1);
	setresuid(1000, 1000, 1000);
	incore(at(50), 1);
	madvise(at(50), PG, MADV_DONTNEED);
	incore(at(50), 1);
	incore(at(0), 4);
	memset(v, 9, 64);
	mprotect(mm(60, 1, RW, PRV), PG, PROT_READ);
	R(mincore(at(10), 4 * PG, (void *)at(60)));
	R(mm(61, 1, RW, PRV));
	R(mincore(at(10), 4 * PG, (void *)(at(61) + PG - 2)));
	printf("%d %d\n", at(62)[-1], at(62)[-2]);
}
static void rfp(void)
{
	int f = tmpf(6);
	R(mmap(at(0), 4 * PG, RW, SHR | MAP_FIXED, f, 0));
	R(remap_file_pages(at(0), PG, 0, 3, 0));
	maps();
	printf("%c\n", *at(0));
	R(remap_file_pages(at(1), 2 * PG, 0, 4, 0));
	maps();
	R(remap_file_pages(at(0), PG, 1, 3, 0));
	R(remap_file_pages(at(0), 0, 0, 3, 0));
	R(remap_file_pages(at(0) + 5, PG + 5, 0, 2, 0));
	maps();
	R(remap_file_pages(at(2), 3 * PG, 0, 2, 0));
	R(remap_file_pages(at(9), PG, 0, 2, 0));
	R(remap_file_pages(at(0), PG, 0, -1, 0));
	R(remap_file_pages(at(0), PG, 0, 1UL << 51, 0));
	R(remap_file_pages(at(0), -PG, 0, 1, 0));
	R(mm(20, 2, RW, PRV));
	R(remap_file_pages(at(20), PG, 0, 0, 0));
	R(mm(30, 4, RW, SHR));
	R(remap_file_pages(at(30), PG, 0, 2, 0));
	maps();
	R(mmap(at(40), 4 * PG, PROT_READ, SHR | MAP_FIXED, f, 0));
	R(mlock(at(40), 4 * PG));
	R(remap_file_pages(at(40), PG, 0, 2, MAP_NONBLOCK));
	R(remap_file_pages(at(41), PG, 0, 2, 0xffff));
	maps();
	pm(at(40), 4);
	vm(at(40), "VmFlags");
	vm(at(41), "VmFlags");
}
static void brks(void)
{
	char *b = sbrk(0);
	printf("%lx\n", (long)b & 0xfff);
	R((char *)syscall(SYS_brk, 0) - b);
	R((char *)syscall(SYS_brk, b + 1) - b);
	R((char *)syscall(SYS_brk, b + PG * 3 + 5) - b);
	b[PG * 2] = 1;
	R((char *)syscall(SYS_brk, b + PG) - b);
	R((char *)syscall(SYS_brk, b - PG * 100000) - b);
	R((char *)syscall(SYS_brk, -1) - b);
	R((char *)syscall(SYS_brk, 1UL << 46) - b);
	R((char *)syscall(SYS_brk, b + PG * 3) - b);
	printf("%d\n", b[PG * 2]);
	char *e = (char *)(((long)b + PG * 3 + 4095) & -4096L);
	R(mmap(e + PG * 3, PG, RW, PRV | MAP_FIXED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	R((char *)syscall(SYS_brk, e + PG) - e);
	R((char *)syscall(SYS_brk, e + 2 * PG) - e);
	R((char *)syscall(SYS_brk, e + 2 * PG + 1) - e);
	R((char *)syscall(SYS_brk, e + 3 * PG) - e);
	R(munmap(e, PG));
	R((char *)syscall(SYS_brk, e + 2 * PG) - e);
	R((char *)syscall(SYS_brk, e + PG) - e);
	struct rlimit l = {PG * 20, PG * 20};
	R(munmap(e + PG * 3, PG));
	R(setrlimit(RLIMIT_DATA, &l));
	R((char *)syscall(SYS_brk, e + 100 * PG) - e);
	R((char *)syscall(SYS_brk, e + 2 * PG) - e);
	vm(b, "VmFlags Rss");
	R((char *)syscall(SYS_brk, b) - b);
}
int main()
{
	init();
	T(memfds);
	T(fallocs);
	T(truncs);
	T(msyncs);
	T(mincores);
	T(rfp);
	T(brks);
}
