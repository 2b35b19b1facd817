/* SPDX-License-Identifier: MIT */
/*
 * What is charged to memory, and overcommit in its three modes; the attaches of System V
 * segments.  The output is the same on Linux 6.1.  To be run as root.
 */
#include "memtest.h"

/* ---- charges ------------------------------------------------------------------------------ */

static long last;
static long committed(void)
{
	return field("/proc/meminfo", "Committed_AS:");
}
static void charge(const char *what)
{
	long now = committed();
	printf("%-28s %+ld\n", what, now - last);
	last = now;
}

static void deep(int depth)
{
	volatile char frame[P];
	frame[0] = 1;
	if (depth)
		deep(depth - 1);
	else {
		long grown = committed() - last; /* from some way into what it had */
		printf("%-28s %s\n", "deep stack", grown > 100 && grown < 200 ? "charged" : "?");
	}
	frame[1] = frame[0];
}

static void charges(void)
{
	char name[] = "/dev/shm/ml-XXXXXX";
	char buf[10 * P];
	memset(buf, 1, sizeof(buf));
	last = committed();
	charge("nothing");
	char *a = map(100, RW, ANON, -1);
	charge("private");
	char *b = map(100, RW, ANON | MAP_NORESERVE, -1);
	charge("private, not reserved");
	char *c = map(100, PROT_READ, ANON, -1);
	charge("private, read-only");
	mprotect(c, 50 * P, RW);
	charge("half made writable");
	mprotect(c, 50 * P, PROT_READ);
	charge("and back");
	mprotect(c, 50 * P, RW);
	charge("and again");
	char *d = map(100, RW, SHARED, -1);
	charge("shared");
	memset(d, 1, 50 * P);
	charge("shared, touched");
	char *e = map(100, RW, SHARED | MAP_NORESERVE, -1);
	charge("shared, not reserved");
	memset(e, 1, 30 * P);
	charge("and touched");
	char *f = map(100, PROT_READ, SHARED, -1);
	charge("shared, read-only");
	a = mremap(a, 100 * P, 150 * P, MREMAP_MAYMOVE);
	charge("grown");
	a = mremap(a, 150 * P, 20 * P, 0);
	charge("shrunk");
	munmap(a, 10 * P);
	charge("cut");
	munmap(a + 10 * P, 10 * P);
	munmap(b, 100 * P);
	munmap(c, 100 * P);
	charge("private ones gone");
	munmap(d, 50 * P);
	charge("half of shared gone");
	munmap(d + 50 * P, 50 * P);
	munmap(e, 100 * P);
	munmap(f, 100 * P);
	charge("shared ones gone");
	int fd = mkstemp(name);
	charge("file");
	if (ftruncate(fd, 100 * P))
		return;
	charge("with a size");
	for (int i = 0; i < 2; i++)
		if (write(fd, buf, sizeof(buf)) < 0)
			return;
	charge("20 pages written");
	a = map(100, RW, MAP_PRIVATE, fd);
	charge("mapped privately");
	a[0] = 1;
	charge("copied");
	b = map(100, PROT_READ, MAP_PRIVATE, fd);
	charge("read-only");
	c = map(100, RW, MAP_SHARED, fd);
	charge("shared");
	c[30 * P] = 1;
	charge("a page more");
	fallocate(fd, FALLOC_FL_KEEP_SIZE, 40 * (off_t)P, 10 * P);
	charge("allocated");
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 5 * P);
	charge("punched");
	madvise(c + 5 * P, 5 * P, MADV_REMOVE);
	charge("removed");
	if (ftruncate(fd, 15 * P))
		return;
	charge("truncated");
	munmap(a, 100 * P);
	munmap(b, 100 * P);
	charge("unmapped");
	unlink(name);
	close(fd);
	charge("unlinked, still mapped");
	munmap(c, 100 * P);
	charge("gone");
	int m = memfd_create("x", 0);
	if (ftruncate(m, 100 * P) || pwrite(m, buf, 3 * P, 0) < 0)
		return;
	charge("memfd of 3 pages");
	close(m);
	charge("closed");
	int id = shmget(IPC_PRIVATE, 100 * P - 5, 0600);
	charge("segment");
	void *s = shmat(id, NULL, 0);
	charge("attached");
	shmctl(id, IPC_RMID, NULL);
	charge("removed, still attached");
	shmdt(s);
	charge("detached");
	id = shmget(IPC_PRIVATE, 100 * P, 0600 | SHM_NORESERVE);
	charge("segment, not reserved");
	s = shmat(id, NULL, 0);
	memset(s, 1, 7 * P);
	charge("and touched");
	shmdt(s);
	shmctl(id, IPC_RMID, NULL);
	charge("gone");
	sbrk(0);
	void *end = sbrk(64 * P);
	charge("break");
	brk(end);
	charge("and back");
	deep(60);
	printf("%-28s %s\n", "and stays", committed() - last > 100 ? "charged" : "?");
	last = committed();
	a = map(100, RW, ANON, -1);
	b = map(100, RW, ANON, -1);
	madvise(b, 100 * P, MADV_DONTFORK);
	c = map(100, RW, SHARED, -1);
	mlock(a, 10 * P);
	charge("three mappings");
	fflush(stdout);
	long before = committed();
	pid_t pid = fork();
	if (!pid) {
		printf("%-28s %s\n", "in a child",
		       committed() - before > 400 ? "100 pages and its own" : "?");
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	charge("child gone");
	a = map(50, RW, ANON | MAP_GROWSDOWN, -1);
	charge("growing down");
}

static long settled(void)
{
	long a = committed(), b;
	/* What processes that just ended had may take a moment. */
	for (int i = 0; i < 50; i++) {
		usleep(20000);
		b = committed();
		if (a == b)
			break;
		a = b;
	}
	return a;
}

static void no_leak(void)
{
	long before = settled();
	child(charges);
	long after = settled();
	printf("all of it is given back: %s\n", before == after ? "yes" : "no");
}

/* ---- attaches ----------------------------------------------------------------------------- */

static unsigned long attaches(int id)
{
	struct shmid_ds ds;
	return shmctl(id, IPC_STAT, &ds) ? 99 : ds.shm_nattch;
}

static void segments(void)
{
	int id = shmget(IPC_PRIVATE, 4 * P, 0600);
	printf("attaches: %lu, ", attaches(id));
	char *a = shmat(id, NULL, 0), *b = shmat(id, NULL, 0);
	printf("twice %lu, ", attaches(id));
	mprotect(a + P, P, PROT_READ);
	printf("split %lu, ", attaches(id));
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		printf("forked %lu, ", attaches(id));
		shmdt(b);
		printf("detached there %lu, ", attaches(id));
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	printf("after it %lu, ", attaches(id));
	shmdt(a);
	printf("detached %lu, ", attaches(id));
	munmap(b, 2 * P);
	printf("half unmapped %lu, ", attaches(id));
	shmctl(id, IPC_RMID, NULL);
	printf("removed %lu, ", attaches(id));
	munmap(b + 2 * P, 2 * P);
	printf("gone %lu\n", attaches(id));
}

/* ---- overcommit --------------------------------------------------------------------------- */

static void limit_to(long more)
{
	put(VM "overcommit_kbytes", "%ld", committed() + more);
}

static void touch_too_much(void)
{
	int m = memfd_create("x", 0);
	catch_signals();
	if (ftruncate(m, 2000 * P))
		return;
	char *p = map(2000, RW, MAP_SHARED, m);
	limit_to(400);
	for (int i = 0; i < 2000; i++)
		p[(unsigned long)i * P] = 1;
	printf("touched it all\n");
}

static void stack_too_deep(void)
{
	catch_signals();
	limit_to(400);
	recurse(1000);
	printf("came back\n");
}

static void strict_user(void)
{
	put(VM "overcommit_memory", "2");
	put(VM "admin_reserve_kbytes", "8192");
	limit_to(4000);
	void *p = map(800, RW, ANON, -1);
	printf("with the administrator's reserve: %s, ", perr(p));
	munmap(p, 800 * P);
	if (setresuid(1000, 1000, 1000))
		return;
	printf("without: %s\n", perr(map(800, RW, ANON, -1)));
}

static void strict(void)
{
	char buf[4096] = {1};
	printf("mode 3: %s, mode -1: %s, mode x: %s\n", code(put(VM "overcommit_memory", "3")),
	       code(put(VM "overcommit_memory", "-1")), code(put(VM "overcommit_memory", "x")));
	printf("mode 2: %s\n", code(put(VM "overcommit_memory", "2")));
	printf("kbytes: %s, ", code(put(VM "overcommit_kbytes", "200000")));
	printf("limit %ld, ratio %d\n", field("/proc/meminfo", "CommitLimit:"),
	       atoi(text(VM "overcommit_ratio")));
	printf("ratio: %s, ", code(put(VM "overcommit_ratio", "40")));
	long total = field("/proc/meminfo", "MemTotal:");
	printf("kbytes %d, limit %s\n", atoi(text(VM "overcommit_kbytes")),
	       labs(field("/proc/meminfo", "CommitLimit:") - total * 40 / 100) < 8 ? "right"
										   : "wrong");
	put(VM "overcommit_ratio", "50");
	put(VM "user_reserve_kbytes", "0");
	limit_to(4000);
	void *p = map(750, RW, ANON, -1);
	printf("3000 of 4000: %s\n", perr(p));
	munmap(p, 750 * P);
	printf("5000: %s\n", perr(map(1250, RW, ANON, -1)));
	printf("5000, not reserved: %s\n", perr(map(1250, RW, ANON | MAP_NORESERVE, -1)));
	printf("5000, shared: %s\n", perr(map(1250, RW, SHARED, -1)));
	char *q = map(1UL << 18, PROT_NONE, ANON, -1);
	printf("a GiB, not accessible: %s\n", perr(q));
	printf("5000 of it writable: %s\n", err(mprotect(q, 1250 * P, RW)));
	printf("3000 of it: %s\n", err(mprotect(q, 750 * P, RW)));
	printf("3000 more: %s\n", err(mprotect(q + 1000 * P, 750 * P, RW)));
	munmap(q, P << 18);
	p = map(500, RW, ANON, -1);
	printf("2000 grow to 3000: %s\n", perr(p = mremap(p, 500 * P, 750 * P, MREMAP_MAYMOVE)));
	printf("and to 5000: %s\n", perr(mremap(p, 750 * P, 1250 * P, MREMAP_MAYMOVE)));
	pid_t pid = fork();
	if (!pid)
		_exit(0);
	printf("fork of 3000 and more: %s\n", err(pid));
	munmap(p, 750 * P);
	printf("segment of 5000: %s\n", err(shmget(IPC_PRIVATE, 1250 * P, 0600)));
	printf("and not reserved: %s\n", err(shmget(IPC_PRIVATE, 1250 * P, 0600 | SHM_NORESERVE)));
	void *end = sbrk(0);
	printf("break: %s\n", err((long)(sbrk(1250 * P) == (void *)-1 ? -1 : 0)));
	brk(end);
	int m = memfd_create("x", 0);
	long n = 0;
	limit_to(400);
	while (n < 1250 && write(m, buf, P) == (ssize_t)P)
		n++;
	int e = errno;
	/* Linux counts with some slack for each CPU. */
	printf("pages written: %s, then %s\n", n >= 80 && n <= 600 ? "about 100" : "?", code(e));
	printf("fallocate: %s\n", err(fallocate(m, 0, 0, 1250 * P)));
	close(m);
	limit_to(20000);
	child(touch_too_much);
	limit_to(20000);
	child(stack_too_deep);
	limit_to(40000);
	child(strict_user);
	put(VM "overcommit_ratio", "50");
	printf("mode 1: %s\n", code(put(VM "overcommit_memory", "1")));
	printf("much more than there is: %s\n", perr(map(1UL << 30, RW, ANON, -1)));
	printf("mode 0: %s\n", code(put(VM "overcommit_memory", "0")));
	printf("much more than there is: %s\n", perr(map(1UL << 30, RW, ANON, -1)));
	p = map(1UL << 30, RW, ANON | MAP_NORESERVE, -1);
	printf("and not reserved: %s\n", perr(p));
	printf("and shared: %s\n", perr(map(1UL << 30, RW, SHARED, -1)));
}

int main(void)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} cases[] = {{"charges", no_leak}, {"segments", segments}, {"strict", strict}};
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		printf("== %s\n", cases[i].name);
		child(cases[i].fn);
	}
	return 0;
}
