/* SPDX-License-Identifier: MIT */
/* mmap of every kind of file with every flag, locking, mprotect and munmap. */
#include "probe.h"
static void mmap_kinds(void)
{
	int f = tmpf(3), fr, fw, fa;
	char n[] = "/tmp/probe.x";
	close(open(n, O_CREAT | O_RDWR, 0600));
	fr = open(n, O_RDONLY);
	fw = open(n, O_WRONLY);
	fa = open(n, O_RDWR | O_APPEND);
	int fp = open(n, O_PATH);
	int d = open("/tmp", O_RDONLY);
	int p[2];
	pipe(p);
	int z = open("/dev/zero", O_RDWR), zr = open("/dev/zero", O_RDONLY),
	    nul = open("/dev/null", O_RDWR), rnd = open("/dev/urandom", O_RDWR),
	    full = open("/dev/full", O_RDWR), fmaps = open("/proc/self/mem", O_RDWR),
	    pmp = open("/proc/self/pagemap", O_RDONLY);
	int so = socket(AF_UNIX, SOCK_STREAM, 0);
	int ev = eventfd(0, 0);

	struct {
		const char *n;
		int fd;
	} k[] = {
	    {"file", f},     {"ro", fr},     {"wo", fw},     {"append", fa},   {"path", fp},
	    {"dir", d},      {"pipe", p[0]}, {"zero", z},    {"zero-ro", zr},  {"null", nul},
	    {"random", rnd}, {"full", full}, {"mem", fmaps}, {"pagemap", pmp}, {"socket", so},
	    {"eventfd", ev}, {"neg", -1},    {"bad", 999},
	};
	int types[] = {MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, 0, 5, 0xf};
	int prots[] = {0, PROT_READ, PROT_WRITE, RW, PROT_READ | PROT_EXEC, PROT_EXEC};
	int extra[] = {
	    0,          MAP_FIXED,         MAP_SYNC,  MAP_GROWSDOWN, MAP_DENYWRITE | MAP_EXECUTABLE,
	    MAP_LOCKED, MAP_NORESERVE,     MAP_STACK, MAP_POPULATE,  MAP_POPULATE | MAP_NONBLOCK,
	    0x4000000,  MAP_UNINITIALIZED, 0x40,      MAP_HUGETLB,   MAP_FIXED_NOREPLACE,
	    0x1000000,  MAP_32BIT};
	for (int i = 0; i < sizeof k / sizeof *k; i++)
		for (int t = 0; t < 6; t++)
			for (int q = 0; q < 6; q++) {
				if (k[i].fd < 0 && i != 17)
					continue;
				printf("%s t%d p%d:", k[i].n, types[t], prots[q]);
				for (int x = 0; x < sizeof extra / sizeof *extra; x++) {
					errno = 0;
					void *a = mmap(at(100), PG, prots[q], types[t] | extra[x],
						       k[i].fd, 0);
					printf(" %s", a == MAP_FAILED ? en(errno)
						      : a == at(100)  ? "ok"
								      : "OK!");
					if (a != MAP_FAILED)
						munmap(a, PG);
				}
				puts("");
			}
	for (int t = 0; t < 6; t++)
		for (int q = 0; q < 6; q++) {
			printf("anon t%d p%d:", types[t], prots[q]);
			for (int x = 0; x < sizeof extra / sizeof *extra; x++) {
				errno = 0;
				void *a = mmap(at(100), PG, prots[q],
					       types[t] | extra[x] | MAP_ANONYMOUS, -1, 0);
				printf(" %s", a == MAP_FAILED ? en(errno)
					      : a == at(100)  ? "ok"
							      : "OK!");
				if (a != MAP_FAILED)
					munmap(a, PG);
			}
			puts("");
		}
	unlink(n);
}
static void mmap_misc(void)
{
	int f = tmpf(3);
	R(mmap(0, 0, RW, PRV | MAP_ANONYMOUS, -1, 0));
	R(mmap(0, 0, RW, PRV, 999, 0));
	R(mmap(0, PG, RW, PRV, f, 1));
	R(mmap(at(1) + 1, PG, RW, PRV | MAP_FIXED, f, 0));
	R(mmap(at(1) + 1, PG, RW, PRV | MAP_FIXED_NOREPLACE, f, 0));
	R(mmap(at(3) + 1, PG, RW, PRV, f, 0));
	R(mmap(0, -1L, RW, PRV | MAP_ANONYMOUS, -1, 0));
	R(mmap(0, 1UL << 47, RW, PRV | MAP_ANONYMOUS, -1, 0));
	R(mmap(0, 1UL << 44, RW, PRV | MAP_ANONYMOUS, -1, 0));
	R(mmap((void *)0x7ffffffff000, PG, RW, PRV | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	R(mmap((void *)0x7fffffffe000, PG, RW, PRV | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	R(mmap((void *)0xffffffffff600000, PG, RW, PRV | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	R(mmap((void *)0, PG, RW, PRV | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	R(mmap((void *)0x8000, PG, RW, PRV | MAP_ANONYMOUS, -1, 0));
	R(mmap((void *)0x20000, PG, RW, PRV | MAP_ANONYMOUS, -1, 0));
	R(mmap((void *)0x1000, PG, RW, PRV | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	R(syscall(SYS_mmap, at(5), PG, RW, PRV | MAP_FIXED, f, -4096L));
	R(syscall(SYS_mmap, at(5), PG, RW, PRV | MAP_FIXED, f, 1UL << 62));
	R(syscall(SYS_mmap, at(5), PG, RW, SHR | MAP_FIXED, f, (1UL << 63) - 4096));
	R(syscall(SYS_mmap, at(5), PG, RW, SHR | MAP_FIXED, f, (1UL << 63) - 8192));
	R(mmap(at(10), PG, RW, PRV | MAP_FIXED_NOREPLACE | MAP_ANONYMOUS, -1, 0));
	R(mmap(at(10), PG, RW, PRV | MAP_FIXED_NOREPLACE | MAP_ANONYMOUS, -1, 0));
	R(mmap(at(9), 3 * PG, RW, PRV | MAP_FIXED_NOREPLACE | MAP_ANONYMOUS, -1, 0));
	R(mmap(at(10), PG, RW, PRV | MAP_FIXED_NOREPLACE | MAP_FIXED | MAP_ANONYMOUS, -1, 0));
	R(mmap(at(10), PG, 0xff, PRV | MAP_FIXED | MAP_ANONYMOUS, -1, 0));
	R(mmap(at(10), PG, RW | 0x8, PRV | MAP_FIXED | MAP_ANONYMOUS, -1, 0));
	R(mmap(at(10), PG, RW | PROT_GROWSDOWN, PRV | MAP_FIXED | MAP_ANONYMOUS, -1, 0));
	maps();
	// growsdown populate
	R(mm(50, 4, RW, PRV | MAP_GROWSDOWN | MAP_POPULATE));
	incore(at(50), 4);
	maps();
	TRY(*at(49.5) = 1);
	maps();
	R(mm(60, 4, RW, PRV | MAP_GROWSDOWN | MAP_LOCKED));
	maps();
	pm(at(60), 4);
	TRY(*at(59.5) = 1);
	TRY(*at(30) = 1);
	maps();
	vm(at(60), "VmFlags Locked Rss");
	R(mm(70, 4, RW, PRV | MAP_GROWSDOWN | MAP_STACK | MAP_NORESERVE));
	vm(at(70), "VmFlags");
	R(mm(80, 2, RW, SHR | MAP_POPULATE));
	incore(at(80), 2);
	pm(at(80), 2);
	R(mm(90, 2, PROT_NONE, PRV | MAP_POPULATE));
	pm(at(90), 2);
	R(mm(92, 2, PROT_READ, PRV | MAP_POPULATE));
	pm(at(92), 2);
	R(mm(94, 2, PROT_WRITE, PRV | MAP_POPULATE));
	pm(at(94), 2);
	R(mmap(at(110), 4 * PG, PROT_READ, SHR | MAP_FIXED | MAP_POPULATE, f, 0));
	pm(at(110), 4);
	R(mmap(at(120), 4 * PG, RW, PRV | MAP_FIXED | MAP_POPULATE, f, 0));
	pm(at(120), 4);
	R(mmap(at(130), 4 * PG, RW, SHR | MAP_FIXED | MAP_LOCKED, f, 0));
	pm(at(130), 4);
	vm(at(130), "VmFlags Locked Rss Private_Dirty Shared_Dirty Private_Clean Shared_Clean");
	R(mmap(at(140), 4 * PG, PROT_EXEC, PRV | MAP_FIXED | MAP_POPULATE, f, 0));
	pm(at(140), 4);
	TRY(*(volatile char *)at(140));
	maps();
}
static void lock_limit(void)
{
	struct rlimit l = {PG * 4, PG * 4};
	R(setrlimit(RLIMIT_MEMLOCK, &l));
	R(setresuid(1000, 1000, 1000));
	R(prctl(PR_SET_DUMPABLE, 1));
	R(mm(0, 8, RW, PRV | MAP_LOCKED));
	R(mm(0, 4, RW, PRV | MAP_LOCKED));
	R(mm(10, 1, RW, PRV | MAP_LOCKED));
	R(mm(0, 4, RW, PRV | MAP_LOCKED));
	R(munlock(at(0), PG * 4));
	R(mm(0, 8, RW, PRV));
	R(mlock(at(0), 5 * PG));
	R(mlock(at(0), 4 * PG));
	R(mlock(at(1), 4 * PG));
	R(mlock(at(0) + 1, 4 * PG));
	R(mlock(at(0) + 1, 4 * PG - 1));
	R(mlock(at(2), 2 * PG));
	R(munlock(at(0), PG));
	R(mlock(at(20), PG));
	R(mlock(at(7), 2 * PG));
	maps();
	R(mremap(at(0), PG * 2, PG * 9, MREMAP_MAYMOVE));
	R(mremap(at(3), PG, PG * 3, MREMAP_MAYMOVE));
	R(mlockall(MCL_CURRENT));
	R(mlockall(MCL_FUTURE));
	R(mm(30, 4, RW, PRV));
	R(mm(40, 1, RW, PRV));
	R(mm(40, 8, RW, PRV));
	R((long)sbrk(PG * 8));
	R(munlockall());
	R(mlock2(at(0), PG, 1));
	R(mlock2(at(0), PG, 2));
	R(mlockall(0));
	R(mlockall(4));
	R(mlockall(8));
	R(mlockall(MCL_CURRENT | 4));
	R(mlock((void *)-4096L, PG));
	R(mlock((void *)-4096L, PG * 2));
	R(mlock(at(0), -1));
	R(munlock(at(0), -1));
	R(munlock((void *)-4096L, PG * 2));
	R(mlock(at(0), 0));
	R(mlock(at(500), 0));
	R(munlock(at(500), PG));
	l.rlim_cur = l.rlim_max = 0;
	R(setrlimit(RLIMIT_MEMLOCK, &l));
	R(mlock(at(0), PG));
	R(mlock(at(0), 0));
	R(mlockall(MCL_CURRENT));
	R(mm(0, 1, RW, PRV | MAP_LOCKED));
	R(mlock2(at(0), PG, 0));
	R(shmctl(shmget(IPC_PRIVATE, PG, 0600), SHM_LOCK, 0));
}
static void locks(void)
{
	R(mm(0, 8, RW, PRV));
	R(mlock(at(1), PG * 2));
	pm(at(0), 8);
	maps();
	vm(at(1), "VmFlags Locked Rss");
	R(mlock2(at(4), 2 * PG, 1));
	pm(at(0), 8);
	*at(4) = 1;
	pm(at(4), 2);
	vm(at(4), "VmFlags Locked Rss");
	R(mlock(at(4), PG));
	vm(at(4), "VmFlags Locked Rss");
	vm(at(5), "VmFlags Locked Rss");
	R(mlock2(at(4), 2 * PG, 1));
	maps();
	R(mm(20, 2, PROT_NONE, PRV));
	R(mlock(at(20), PG * 2));
	vm(at(20), "VmFlags Locked");
	R(mprotect(at(20), PG, RW));
	pm(at(20), 2);
	R(mlock(at(20), 2 * PG));
	R(mm(30, 2, PROT_READ, PRV));
	R(mlock(at(30), 2 * PG));
	pm(at(30), 2);
	R(mprotect(at(30), 2 * PG, RW));
	pm(at(30), 2);
	R(mm(40, 4, RW, PRV));
	R(munmap(at(42), PG));
	R(mlock(at(40), 4 * PG));
	maps();
	R(munlock(at(40), 4 * PG));
	maps();
	vm(at(40), "VmFlags");
	vm(at(43), "VmFlags");
	int f = tmpf(2);
	R(mmap(at(50), 4 * PG, PROT_READ, SHR | MAP_FIXED, f, 0));
	R(mlock(at(50), 4 * PG));
	vm(at(50), "VmFlags");
	R(mlock(at(50), 2 * PG));
	R(mlockall(MCL_FUTURE | MCL_ONFAULT));
	R(mm(60, 2, RW, PRV));
	pm(at(60), 2);
	vm(at(60), "VmFlags Locked");
	R(mlockall(MCL_FUTURE));
	R(mm(62, 2, RW, PRV));
	pm(at(62), 2);
	maps();
	R(mlockall(MCL_CURRENT));
	R(mm(64, 2, RW, PRV));
	pm(at(64), 2);
	R(munlockall());
	vm(at(60), "VmFlags");
	maps();
	R(mmap(at(80), 4 * PG, PROT_READ, SHR | MAP_FIXED | MAP_LOCKED, f, 0));
	pm(at(80), 4);
	TRY(*(volatile char *)at(83));
}
static void protects(void)
{
	int f = tmpf(3);
	char n[] = "/tmp/probe.y";
	int c = open(n, O_CREAT | O_RDWR, 0600);
	write(c, "x", 1);
	int fr = open(n, O_RDONLY);
	R(mmap(at(0), PG, PROT_READ, SHR | MAP_FIXED, fr, 0));
	R(mprotect(at(0), PG, RW));
	R(mprotect(at(0), PG, PROT_READ | PROT_EXEC));
	R(mprotect(at(0), PG, PROT_NONE));
	R(mmap(at(0), PG, PROT_READ, PRV | MAP_FIXED, fr, 0));
	R(mprotect(at(0), PG, RW));
	R(mprotect(at(0), 0, RW));
	R(mprotect(at(0) + 1, 0, RW));
	R(mprotect(at(0) + 1, PG, RW));
	R(mprotect(at(0), 1, 0x100));
	R(mprotect(at(0), PG, 0x10));
	R(mprotect(at(0), PG, 8 | PROT_READ));
	R(mprotect(at(900), PG, RW));
	R(mprotect(at(900), 0, RW));
	R(mprotect((void *)-4096L, PG, RW));
	R(mprotect(at(0), -1, RW));
	R(mprotect(at(0), -4096, RW));
	R(mm(10, 4, RW, PRV));
	R(munmap(at(12), PG));
	R(mprotect(at(10), 4 * PG, PROT_READ));
	maps();
	R(mm(20, 4, RW, PRV | MAP_GROWSDOWN));
	maps();
	R(mprotect(at(22), PG, PROT_READ | PROT_GROWSDOWN));
	maps();
	R(mprotect(at(22), PG, PROT_READ | PROT_GROWSUP));
	R(mprotect(at(22), PG, PROT_READ | PROT_GROWSUP | PROT_GROWSDOWN));
	R(mprotect(at(10), PG, RW | PROT_GROWSDOWN));
	R(mprotect(at(18), 5 * PG, RW | PROT_GROWSDOWN));
	R(mprotect(at(19), 2 * PG, RW | PROT_GROWSDOWN));
	maps();
	TRY(*at(20) = 1);
	R(mprotect(at(15), PG, RW | PROT_GROWSDOWN));
	R(mprotect(at(15), 2 * PG, RW | PROT_GROWSDOWN));
	R(mprotect(at(17), 5 * PG, PROT_READ | PROT_GROWSDOWN));
	maps();
	R(mm(30, 1, PROT_EXEC, PRV));
	R(mprotect(at(30), PG, PROT_EXEC | PROT_WRITE));
	TRY(*at(30) = 0xc3);
	TRY(((void (*)(void))at(30))());
	R(mprotect(at(30), PG, RW));
	TRY(((void (*)(void))at(30))());
	R(mprotect(at(30), PG, PROT_WRITE));
	TRY(printf("%d\n", *at(30)));
	R(mprotect(at(30), PG, PROT_NONE));
	TRY(*at(30) = 1);
	TRY(*(volatile char *)at(30));
	TRY(((void (*)(void))at(30))());
	R(mmap(at(40), 3 * PG, RW, SHR | MAP_FIXED, f, 0));
	R(mm(43, 2, RW, PRV));
	R(mprotect(at(41), 3 * PG, PROT_READ));
	maps();
	R(mprotect(at(41), 3 * PG, RW));
	maps();
	R(mprotect(at(41), 3 * PG, PROT_READ | PROT_WRITE | PROT_EXEC));
	maps();
	R(syscall(SYS_pkey_mprotect, at(41), PG, RW, -1));
	R(syscall(SYS_pkey_mprotect, at(41), PG, RW, -2));
	unlink(n);
}
static void munmaps(void)
{
	R(mm(0, 8, RW, PRV));
	R(munmap(at(0), 0));
	R(munmap(at(0) + 1, PG));
	R(munmap(at(2), 1));
	R(munmap(at(1), 6 * PG));
	maps();
	R(munmap(at(100), PG));
	R(munmap((void *)0x7ffffffff000, PG));
	R(munmap((void *)0x7fffffffe000, PG * 2));
	R(munmap((void *)-4096L, PG));
	R(munmap(at(0), -1));
	R(munmap(at(0), 1UL << 47));
	R(munmap((void *)0, PG));
	R(munmap((void *)0xffffffffff600000, PG));
}
int main()
{
	init();
	T(mmap_kinds);
	T(mmap_misc);
	T(lock_limit);
	T(locks);
	T(protects);
	T(munmaps);
}
