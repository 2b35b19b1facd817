/* SPDX-License-Identifier: MIT */
/*
 * What limits a process's memory: charges and overcommit, RLIMIT_*, max_map_count,
 * mmap_min_addr, personality.  The output is the same on Linux 6.1.  To be run as root.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define P 4096UL
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define SHARED (MAP_SHARED | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)

static char *text(const char *name)
{
	static char buf[65536];
	int fd = open(name, O_RDONLY);
	size_t n = 0;
	ssize_t k;
	while (fd >= 0 && (k = read(fd, buf + n, sizeof(buf) - 1 - n)) > 0)
		n += (size_t)k;
	buf[n] = 0;
	close(fd);
	return buf;
}

static long field(const char *file, const char *label)
{
	char *at = strstr(text(file), label);
	return at ? atol(at + strlen(label)) : -1;
}

static int put(const char *name, const char *fmt, ...)
{
	char value[100];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	int fd = open(name, O_WRONLY);
	if (fd < 0)
		return errno;
	int r = write(fd, value, strlen(value)) < 0 ? errno : 0;
	close(fd);
	return r;
}

static const char *code(int e)
{
	return e ? strerrorname_np(e) : "ok";
}
static const char *err(long r)
{
	return r >= 0 ? "ok" : code(errno);
}
static const char *perr(const void *p)
{
	return p != MAP_FAILED ? "ok" : code(errno);
}

static int child(void (*fn)(void))
{
	fflush(stdout);
	pid_t pid = fork();
	int st;
	if (pid < 0) {
		printf("fork: %s\n", code(errno));
		return -1;
	}
	if (!pid) {
		fn();
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, &st, 0);
	if (st)
		printf("child ended with %x\n", st);
	return st;
}

static void *map(size_t pages, int prot, int flags, int fd)
{
	return mmap(NULL, pages * P, prot, flags, fd, 0);
}

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

#define VM "/proc/sys/vm/"

static void on_signal(int sig)
{
	static const char names[] = "signal 7\n";
	char s[sizeof(names)];
	memcpy(s, names, sizeof(names));
	s[7] = (char)('0' + sig % 10);
	if (sig == SIGBUS || sig == SIGSEGV)
		write(1, s, sizeof(s) - 1);
	_exit(0);
}

static void catch_signals(void)
{
	static char stack[16384];
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
	sigaltstack(&ss, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
}

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

static void recurse(int n)
{
	volatile char frame[P];
	frame[0] = 1;
	if (n)
		recurse(n - 1);
	frame[1] = frame[0];
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

/* ---- RLIMIT_AS, DATA, STACK ------------------------------------------------------------------ */

static long status(const char *label)
{
	return field("/proc/self/status", label);
}
static void limit(int which, rlim_t soft, rlim_t hard)
{
	struct rlimit l = {soft, hard};
	if (setrlimit(which, &l))
		printf("setrlimit: %s\n", code(errno));
}

static void as(void)
{
	char *p = map(50, RW, ANON, -1), *q = map(10, RW, ANON | MAP_GROWSDOWN, -1);
	(void)q;
	limit(RLIMIT_AS, (rlim_t)status("VmSize:") * 1024 + 100 * P, RLIM_INFINITY);
	printf("101 pages: %s\n", perr(map(101, PROT_NONE, ANON, -1)));
	char *r = map(100, PROT_NONE, ANON, -1);
	printf("100 pages: %s\n", perr(r));
	printf("one more: %s\n", perr(map(1, PROT_READ, SHARED, -1)));
	printf("in place of 50: %s\n", perr(mmap(p, 50 * P, RW, ANON | MAP_FIXED, -1, 0)));
	printf("in place of 50, 60: %s\n",
	       perr(mmap(p - 10 * P, 60 * P, RW, ANON | MAP_FIXED, -1, 0)));
	printf("grow: %s\n", perr(mremap(p, 50 * P, 51 * P, MREMAP_MAYMOVE)));
	char *end = sbrk(0);
	printf("break: %s\n", err((long)(sbrk(P * 40) == (void *)-1 ? -1 : 0)));
	brk(end);
	printf("move: %s\n", perr(mremap(p, 50 * P, 50 * P, MREMAP_MAYMOVE | MREMAP_FIXED, r)));
	printf("fork: ");
	fflush(stdout);
	pid_t pid = fork();
	if (!pid)
		_exit(0);
	printf("%s\n", err(pid));
	waitpid(pid, NULL, 0);
	fflush(stdout);
	catch_signals();
	recurse(100);
	printf("came back\n");
}

static void data(void)
{
	char *q = map(100, PROT_READ, ANON, -1), *p;
	limit(RLIMIT_DATA, (rlim_t)status("VmData:") * 1024 + 20 * P, RLIM_INFINITY);
	printf("21 pages: %s\n", perr(map(21, RW, ANON, -1)));
	p = map(20, RW, ANON, -1);
	printf("20 pages: %s\n", perr(p));
	printf("read-only: %s\n", perr(map(100, PROT_READ, ANON, -1)));
	printf("shared: %s\n", perr(map(100, RW, SHARED, -1)));
	printf("growing down: %s\n", perr(map(10, RW, ANON | MAP_GROWSDOWN, -1)));
	printf("made writable: %s\n", err(mprotect(q, P, RW)));
	printf("grow: %s\n", perr(mremap(p, 20 * P, 21 * P, MREMAP_MAYMOVE)));
	char *end = sbrk(0);
	printf("break: %s\n", err((long)(sbrk(P * 40) == (void *)-1 ? -1 : 0)));
	brk(end);
	limit(RLIMIT_DATA, 0, RLIM_INFINITY);
	printf("soft limit 0: %s\n", perr(map(100, RW, ANON, -1)));
	limit(RLIMIT_DATA, 0, (rlim_t)status("VmData:") * 1024 + 10 * P);
	printf("hard limit 10 pages: 10 %s, ", perr(map(10, RW, ANON, -1)));
	printf("11 %s\n", perr(map(11, RW, ANON, -1)));
}

static void stack(void)
{
	catch_signals();
	limit(RLIMIT_STACK, 40 * P, RLIM_INFINITY);
	recurse(20);
	printf("20 frames: ok\n");
	fflush(stdout);
	recurse(60);
	printf("60 frames: ok\n");
}

/* ---- RLIMIT_MEMLOCK -------------------------------------------------------------------------- */

static void memlock(void)
{
	limit(RLIMIT_MEMLOCK, 16 * P, 64 * P);
	if (setresuid(1000, 1000, 1000))
		return;
	char *p = map(40, RW, ANON, -1), *q = map(40, RW, ANON, -1);
	printf("17 pages: %s\n", err(mlock(p, 17 * P)));
	printf("16 pages: %s, ", err(mlock(p, 16 * P)));
	printf("VmLck %ld\n", status("VmLck:"));
	printf("the same: %s\n", err(mlock(p, 16 * P)));
	printf("shifted by one: %s\n", err(mlock(p + P, 16 * P)));
	printf("another: %s\n", err(mlock(q, 1)));
	printf("unlock one: %s, ", err(munlock(p, 1)));
	printf("another: %s\n", err(mlock(q, 1)));
	printf("on fault: %s\n", err(syscall(SYS_mlock2, q + 4 * P, P, 1)));
	printf("MAP_LOCKED: %s\n", perr(map(1, RW, ANON | MAP_LOCKED, -1)));
	printf("grow a locked one: %s\n", perr(mremap(p + 15 * P, P, 2 * P, MREMAP_MAYMOVE)));
	munlock(p, 40 * P);
	munlock(q, 40 * P);
	munmap(q + P, P);
	printf("over a hole: %s, ", err(mlock(q, 3 * P)));
	printf("VmLck %ld\n", status("VmLck:"));
	munlock(q, P);
	printf("all, now: %s\n", err(mlockall(MCL_CURRENT)));
	printf("all, in future: %s\n", err(mlockall(MCL_FUTURE)));
	printf("16 pages: %s\n", perr(map(16, RW, ANON, -1)));
	printf("one more: %s\n", perr(map(1, RW, ANON, -1)));
	char *end = sbrk(0);
	printf("break: %s\n", err((long)(sbrk(P * 40) == (void *)-1 ? -1 : 0)));
	brk(end);
	munlockall();
	printf("VmLck %ld\n", status("VmLck:"));
	int a = shmget(IPC_PRIVATE, 10 * P, 0600), b = shmget(IPC_PRIVATE, 10 * P, 0600);
	printf("segments: %s, ", err(shmctl(a, SHM_LOCK, NULL)));
	printf("%s, ", err(shmctl(b, SHM_LOCK, NULL)));
	printf("%s, ", err(shmctl(a, SHM_UNLOCK, NULL)));
	printf("%s\n", err(shmctl(b, SHM_LOCK, NULL)));
	limit(RLIMIT_MEMLOCK, 0, 64 * P);
	printf("limit 0: mlock %s, ", err(mlock(p, P)));
	printf("mlockall %s, ", err(mlockall(MCL_FUTURE)));
	printf("MAP_LOCKED %s, ", perr(map(1, RW, ANON | MAP_LOCKED, -1)));
	printf("SHM_LOCK %s, ", err(shmctl(a, SHM_LOCK, NULL)));
	printf("munlock %s\n", err(munlock(p, P)));
	shmctl(a, IPC_RMID, NULL);
	shmctl(b, IPC_RMID, NULL);
}

/* ---- the number of mappings; the lowest address -----------------------------------------------
 */

static int mappings(void)
{
	int n = 0;
	for (char *t = text("/proc/self/maps"); (t = strchr(t, '\n')); t++)
		n++;
	return n - (strstr(text("/proc/self/maps"), "vsyscall") != NULL);
}

static void map_count(void)
{
	char *p = map(200, RW, ANON, -1);
	int n = 0;
	put(VM "max_map_count", "%d", mappings() + 10);
	for (int i = 0; i < 100; i++, n++)
		if (mprotect(p + (unsigned long)i * 2 * P, P, PROT_READ))
			break;
	printf("splits by mprotect: %s, left %d\n", code(errno), 10 - (n * 2 - 1) / 1 > 1);
	while (map(1, PROT_NONE, SHARED, -1) != MAP_FAILED)
		;
	printf("mmap: %s\n", code(errno));
	printf("munmap in the middle: %s\n", err(munmap(p + 150 * P, P)));
	printf("munmap at the end: %s\n", err(munmap(p + 199 * P, P)));
	printf("mlock in the middle: %s\n", err(mlock(p + 150 * P, P)));
	printf("madvise in the middle: %s\n", err(madvise(p + 150 * P, P, MADV_RANDOM)));
	printf("mremap: %s\n", perr(mremap(p + 150 * P, P, 2 * P, MREMAP_MAYMOVE)));
	put(VM "max_map_count", "65530");
}

static void low(void)
{
	printf("root at 0: %s, ", perr(mmap(0, P, RW, ANON | MAP_FIXED, -1, 0)));
	printf("at 4096: %s\n", perr(mmap((void *)P, P, RW, ANON | MAP_FIXED, -1, 0)));
	printf("min_addr as root: %s, ", code(put(VM "mmap_min_addr", "8192")));
	munmap(0, 2 * P);
	if (setresuid(1000, 1000, 1000))
		return;
	printf("as a user: %s\n", code(put(VM "mmap_min_addr", "4096")));
	printf("user at 4096: %s, ", perr(mmap((void *)P, P, RW, ANON | MAP_FIXED, -1, 0)));
	printf("at 8192: %s, ", perr(mmap((void *)(2 * P), P, RW, ANON | MAP_FIXED, -1, 0)));
	printf("hint 4096: %p\n", mmap((void *)P, P, RW, ANON, -1, 0));
}

/* ---- who may set limits ------------------------------------------------------------------------
 */

static pid_t rootly;
static void limits_of_others(void)
{
	struct rlimit l = {1, 2}, o;
	if (setresuid(1000, 1000, 1000))
		return;
	printf("another user's: %s, ", err(prlimit(rootly, RLIMIT_CORE, NULL, &o)));
	printf("set: %s, ", err(prlimit(rootly, RLIMIT_CORE, &l, NULL)));
	printf("nobody's: %s, ", err(prlimit(99999, RLIMIT_CORE, &l, NULL)));
	printf("which: %s, ", err(prlimit(0, 16, NULL, &o)));
	l = (struct rlimit){3, 2};
	printf("order: %s, ", err(prlimit(0, RLIMIT_CORE, &l, NULL)));
	l = (struct rlimit){1, 2};
	prlimit(0, RLIMIT_CORE, &l, NULL);
	l = (struct rlimit){1, 3};
	printf("raised: %s\n", err(prlimit(0, RLIMIT_CORE, &l, NULL)));
}

static void others(void)
{
	rootly = getpid();
	child(limits_of_others);
	struct rlimit l = {16 * P, 16 * P};
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	printf("a child's: %s, ", err(prlimit(pid, RLIMIT_AS, &l, NULL)));
	prlimit(pid, RLIMIT_AS, NULL, &l);
	printf("is %lu pages\n", l.rlim_cur / P);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* vfork: the child's limit isn't the parent's. */
	fflush(stdout);
	pid = vfork();
	if (!pid) {
		l = (struct rlimit){P, P};
		setrlimit(RLIMIT_AS, &l);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	printf("after vfork: %s\n", perr(map(10, RW, ANON, -1)));
}

/* ---- personality -------------------------------------------------------------------------------
 */

static const char *perms(const void *p)
{
	static char out[5];
	unsigned long from, to, at = (unsigned long)p;
	strcpy(out, "none");
	for (char *t = text("/proc/self/maps"); t; t = strchr(t, '\n')) {
		char perm[5];
		t += *t == '\n';
		if (sscanf(t, "%lx-%lx %4s", &from, &to, perm) == 3 && from <= at && at < to)
			strcpy(out, perm);
	}
	return out;
}

static void read_exec(void)
{
	char *a = map(1, PROT_READ, ANON, -1);
	void *end = sbrk(0);
	personality(READ_IMPLIES_EXEC);
	char *b = map(1, PROT_READ, ANON, -1), *c = map(1, PROT_WRITE, ANON, -1);
	int m = memfd_create("x", 0);
	if (ftruncate(m, P))
		return;
	char *d = map(1, PROT_READ, MAP_SHARED, m);
	printf("before %s, ", perms(a));
	printf("read %s, ", perms(b));
	printf("write %s, ", perms(c));
	printf("file %s, ", perms(d));
	mprotect(a, P, PROT_READ);
	printf("mprotect %s, ", perms(a));
	mprotect(a, P, PROT_WRITE);
	printf("to write %s\n", perms(a));
	personality(0);
	printf("off again: %s\n", perms(map(1, PROT_READ, ANON, -1)));
	(void)end;
}

static unsigned long here(const char *name)
{
	char *t = text("/proc/self/maps"), *at = strstr(t, name);
	while (at && at > t && at[-1] != '\n')
		at--;
	return at ? strtoul(at, NULL, 16) : 0;
}

/* Started anew: what became of it. */
static void started(const char *what)
{
	unsigned long a = (unsigned long)map(1, RW, ANON, -1),
		      b = (unsigned long)map(2, RW, SHARED, -1);
	sbrk(P);
	if (!strcmp(what, "persona"))
		printf("after exec: %x, zero page %s, mappings go %s from %s\n", personality(~0u),
		       perms(NULL), b > a ? "up" : "down",
		       a >> 40 < 0x30 && a >> 40 >= 0x2a ? "a third" : "the top");
	else /* where things are, for comparing */
		printf("%lx %lx %lx %lx\n", here("[stack]"), here("[heap]"), a, here("[vdso]"));
}

static void exec_persona(void)
{
	personality(ADDR_COMPAT_LAYOUT | MMAP_PAGE_ZERO | READ_IMPLIES_EXEC);
	fflush(stdout);
	execl("/proc/self/exe", "memlimits", "persona", NULL);
}
static void exec_plain(void)
{
	fflush(stdout);
	execl("/proc/self/exe", "memlimits", "persona", NULL);
}

/* Two starts: which of stack, heap, mmap and vdso are where they were. */
static void compare_starts(const char *what, int persona)
{
	unsigned long v[2][4] = {{0}};
	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		int fd[2];
		if (pipe(fd))
			return;
		pid_t pid = fork();
		if (!pid) {
			dup2(fd[1], 1);
			personality((unsigned long)persona);
			execl("/proc/self/exe", "memlimits", "where", NULL);
			_exit(1);
		}
		close(fd[1]);
		char buf[200] = {0};
		ssize_t n = read(fd[0], buf, sizeof(buf) - 1);
		(void)n;
		sscanf(buf, "%lx %lx %lx %lx", &v[i][0], &v[i][1], &v[i][2], &v[i][3]);
		close(fd[0]);
		waitpid(pid, NULL, 0);
	}
	printf("%s: stack %s, heap %s, mmap %s, vdso %s\n", what,
	       v[0][0] == v[1][0] ? "same" : "moves", v[0][1] == v[1][1] ? "same" : "moves",
	       v[0][2] == v[1][2] ? "same" : "moves", v[0][3] == v[1][3] ? "same" : "moves");
}

static void personas(void)
{
	child(read_exec);
	child(exec_plain);
	child(exec_persona);
	printf("legacy_va_layout: %s\n", code(put(VM "legacy_va_layout", "1")));
	child(exec_plain);
	put(VM "legacy_va_layout", "0");
	compare_starts("2", 0);
	compare_starts("ADDR_NO_RANDOMIZE", ADDR_NO_RANDOMIZE);
	put("/proc/sys/kernel/randomize_va_space", "1");
	compare_starts("1", 0);
	put("/proc/sys/kernel/randomize_va_space", "0");
	compare_starts("0", 0);
	put("/proc/sys/kernel/randomize_va_space", "2");
	printf("is %d\n", atoi(text("/proc/sys/kernel/randomize_va_space")));
}

/* ---- use ---------------------------------------------------------------------------------------
 */

static void eat(void)
{
	memset(map(5000, RW, ANON, -1), 1, 5000 * P);
}

static void usage(void)
{
	struct rusage a, b, t;
	char *p = map(200, RW, ANON, -1);
	madvise(p, 200 * P, MADV_NOHUGEPAGE);
	getrusage(RUSAGE_SELF, &a);
	for (int i = 0; i < 100; i++)
		p[(unsigned long)i * P] = 1;
	getrusage(RUSAGE_SELF, &b);
	getrusage(RUSAGE_THREAD, &t);
	printf("100 faults: %s; major: %ld\n",
	       b.ru_minflt - a.ru_minflt >= 100 && b.ru_minflt - a.ru_minflt < 110 ? "counted"
										   : "?",
	       b.ru_majflt - a.ru_majflt);
	printf("the thread's: %s\n", t.ru_minflt == b.ru_minflt ? "the same" : "?");
	getrusage(RUSAGE_CHILDREN, &a);
	child(eat);
	getrusage(RUSAGE_CHILDREN, &b);
	getrusage(RUSAGE_SELF, &t);
	printf("a child's peak: %s; its faults: %s; own peak: %s\n",
	       b.ru_maxrss > 20000 && b.ru_maxrss < 26000 ? "kept" : "?",
	       b.ru_minflt - a.ru_minflt > 100 ? "counted" : "?",
	       t.ru_maxrss < 10000 ? "own" : "?");
	long r = field("/proc/self/io", "rchar:"), w = field("/proc/self/io", "wchar:"),
	     sr = field("/proc/self/io", "syscr:"), sw = field("/proc/self/io", "syscw:");
	char buf[1000];
	int fd = open("/dev/zero", O_RDWR);
	for (int i = 0; i < 5; i++)
		if (read(fd, buf, 1000) < 0 || write(fd, buf, 300) < 0)
			return;
	w = field("/proc/self/io", "wchar:") - w;
	sw = field("/proc/self/io", "syscw:") - sw;
	printf("wchar %ld, syscw %ld, ", w, sw);
	long r2 = field("/proc/self/io", "rchar:") - r, sr2 = field("/proc/self/io", "syscr:") - sr;
	printf("rchar %s, syscr %s\n", r2 >= 5000 && r2 < 7000 ? "counted" : "?",
	       sr2 >= 5 && sr2 < 24 ? "counted" : "?");
	printf("bad: %s, %s\n", err(getrusage(7, &a)), err(getrusage(0, (void *)1)));
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} cases[] = {{"charges", no_leak}, {"segments", segments},   {"strict", strict},
		     {"as", as},           {"data", data},           {"stack", stack},
		     {"memlock", memlock}, {"map_count", map_count}, {"low", low},
		     {"others", others},   {"personas", personas},   {"usage", usage}};
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (argc > 1) {
		started(argv[1]);
		return 0;
	}
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		printf("== %s\n", cases[i].name);
		child(cases[i].fn);
	}
	return 0;
}
