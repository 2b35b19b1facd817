/* SPDX-License-Identifier: MIT */
/* madvise on every kind of region, process_madvise. */
#include "probe.h"
static int pidfd(int p)
{
	return syscall(434, p, 0);
}
static const int adv[] = {0,  1,  2,  3,  4,  8,  9,  10, 11, 16, 17, 18,
			  19, 20, 21, 22, 23, 24, -1, 7,  5,  26, 200};
static void kinds(int w)
{
	int f = tmpf(6);
	char *a = at(0);
	switch (w) {
	case 0:
		mm(0, 4, RW, PRV);
		*a = 1;
		break;
	case 1:
		mm(0, 4, RW, SHR);
		*a = 1;
		break;
	case 2:
		mmap(a, 4 * PG, RW, SHR | MAP_FIXED, f, 0);
		*a = 1;
		break;
	case 3:
		mmap(a, 4 * PG, RW, PRV | MAP_FIXED, f, 0);
		*a = 1;
		break;
	case 4:
		mmap(a, 4 * PG, PROT_READ, SHR | MAP_FIXED, f, 0);
		break;
	case 5:
		mmap(a, 4 * PG, PROT_READ, PRV | MAP_FIXED, f, 0);
		break;
	case 6:
		mm(0, 4, PROT_NONE, PRV);
		break;
	case 7:
		mm(0, 4, RW, PRV);
		*a = 1;
		mlock(a, 4 * PG);
		break;
	case 8:
		mmap(a, 4 * PG, RW, SHR | MAP_FIXED, f, 0);
		mlock(a, 4 * PG);
		break;
	case 9:
		mmap(a, 4 * PG, RW, SHR | MAP_FIXED, f, 4 * PG);
		break;
	case 10:
		mm(0, 4, RW, PRV);
		munmap(at(2), PG);
		break;
	case 11:
		mm(0, 4, RW, PRV | MAP_GROWSDOWN);
		break;
	case 12: {
		int m = memfd_create("k", 0);
		ftruncate(m, 4 * PG);
		mmap(a, 4 * PG, RW, SHR | MAP_FIXED, m, 0);
		memset(a, 5, 4 * PG);
	} break;
	case 13: {
		int m = memfd_create("k", 0);
		ftruncate(m, 4 * PG);
		mmap(a, 4 * PG, PROT_READ, SHR | MAP_FIXED, m, 0);
	} break;
	case 14:
		mmap(a, 4 * PG, RW, PRV | MAP_FIXED, open("/dev/zero", O_RDWR), PG * 3);
		*at(1) = 3;
		break;
	case 15:
		mmap(a, 4 * PG, RW, SHR | MAP_FIXED, open("/dev/zero", O_RDWR), PG * 3);
		TRY(*at(1) = 3);
		break;
	case 16:
		mmap(a, 4 * PG, RW, SHR | MAP_FIXED, open("/dev/zero", O_RDWR), 0);
		*at(1) = 3;
		break;
	case 17:
		mm(0, 4, PROT_WRITE, PRV);
		break;
	case 18:
		mm(0, 4, PROT_EXEC, PRV);
		break;
	}
}
static void madv(void)
{
	for (int w = 0; w < 19; w++) {
		printf("--- kind %d\n", w);
		for (int i = 0; i < sizeof adv / 4;
		     i++) { /* Whether pages go with a hole depends on the store. */
			if (adv[i] == MADV_REMOVE && (w == 2 || w == 4 || w == 9))
				continue;
			fflush(stdout);
			if (!fork()) {
				kinds(w);
				errno = 0;
				int r = madvise(at(0), 4 * PG, adv[i]);
				printf("advice %d: %d %s\n", adv[i], r, en(errno));
				fflush(stdout);
				if (!r || errno != EINVAL) {
					if (adv[i] < 100) {
						pm(at(0), 4);
						incore(at(0), 4);
					}
					if (w != 6 && w != 17 && w != 18)
						TRY(printf("%d %d\n", *at(0), *at(1)));
					vm(at(0), "VmFlags");
					maps();
				}
				fflush(stdout);
				_exit(0);
			}
			int st;
			wait(&st);
			if (st)
				printf("ST %x\n", st);
		}
	}
}
static void madvmisc(void)
{
	mm(0, 4, RW, PRV);
	R(madvise(at(0) + 1, PG, MADV_DONTNEED));
	R(madvise(at(0), 0, MADV_DONTNEED));
	R(madvise(at(0), 0, 77));
	R(madvise(at(90), 0, MADV_DONTNEED));
	R(madvise(at(90), PG, MADV_DONTNEED));
	R(madvise(at(0), -PG, MADV_DONTNEED));
	R(madvise(at(0), -1, MADV_DONTNEED));
	R(madvise((void *)-4096L, PG, MADV_DONTNEED));
	R(madvise((void *)-4096L, 2 * PG, MADV_DONTNEED));
	R(madvise(at(3), 2 * PG, MADV_DONTNEED));
	R(madvise(at(3), 2 * PG, MADV_DONTFORK));
	R(madvise(at(3), 2 * PG, MADV_POPULATE_READ));
	R(madvise(at(3), 2 * PG, MADV_POPULATE_WRITE));
	R(madvise(at(3), 2 * PG, MADV_COLD));
	R(madvise(at(3), 2 * PG, MADV_NORMAL));
	R(madvise((void *)0, 1UL << 47, MADV_RANDOM));
	maps();
	vm(at(0), "VmFlags");
	R(madvise(at(1), PG, MADV_DONTFORK));
	R(madvise(at(1), PG, MADV_RANDOM));
	maps();
	R(madvise(at(1), PG, MADV_DOFORK));
	maps();
	setresuid(1000, 1000, 1000);
	R(madvise(at(0), PG, MADV_HWPOISON));
	R(madvise(at(0), PG, MADV_SOFT_OFFLINE));
	R(madvise(at(0) + 1, PG, MADV_HWPOISON));
	R(madvise(at(0), 0, MADV_HWPOISON));
	R(madvise(at(90), PG, MADV_HWPOISON));
}
static void pmadv(void)
{
	mm(0, 4, RW, PRV);
	memset(at(0), 1, 4 * PG);
	int f = tmpf(6);
	mmap(at(10), 4 * PG, RW, SHR | MAP_FIXED, f, 0);
	int p = fork();
	if (!p) {
		pause();
	}
	int fd = pidfd(p);
	struct iovec v[4] = {{at(0), 4 * PG}, {at(10), 2 * PG}, {at(20), PG}, {at(12), PG}};
#define PM(...) R(syscall(440, __VA_ARGS__))
	for (int i = 0; i < 26; i++) {
		errno = 0;
		int r = syscall(440, fd, v, 1, i, 0);
		printf("pm advice %d: %d %s\n", i, r, en(errno));
	}
	PM(fd, v, 2, 20, 0);
	PM(fd, v, 3, 20, 0);
	PM(fd, v + 2, 1, 20, 0);
	PM(fd, v + 2, 2, 20, 0);
	PM(fd, v, 0, 20, 0);
	PM(fd, 0, 0, 20, 0);
	PM(fd, 0, 1, 20, 0);
	PM(fd, v, 1025, 20, 0);
	PM(fd, v, 1, 20, 1);
	PM(-1, v, 1, 20, 0);
	PM(0, v, 1, 20, 0);
	PM(tmpf(1), v, 1, 20, 0);
	struct iovec u = {at(0) + 1, PG};
	PM(fd, &u, 1, 20, 0);
	u.iov_base = at(0);
	u.iov_len = 0;
	PM(fd, &u, 1, 20, 0);
	u.iov_len = -1;
	PM(fd, &u, 1, 20, 0);
	u.iov_len = 100;
	PM(fd, &u, 1, 20, 0);
	struct iovec two[2] = {{at(0), 100}, {at(1) + 1, PG}};
	PM(fd, two, 2, 20, 0);
	int self = pidfd(getpid());
	PM(self, v, 2, 3, 0);
	PM(self, v, 1, 4, 0);
	setresuid(1000, 1000, 1000);
	PM(fd, v, 1, 20, 0);
	PM(self, v, 1, 20, 0);
	kill(p, 9);
	waitpid(p, 0, 0);
	PM(fd, v, 1, 20, 0);
}
int main()
{
	init();
	T(madv);
	T(madvmisc);
	T(pmadv);
}
