/* SPDX-License-Identifier: MIT */
/*
 * What limits a process's memory: RLIMIT_*, max_map_count, mmap_min_addr; personality;
 * and what it used.  The output is the same on Linux 6.1.  To be run as root.
 */
#include "memtest.h"

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
	} cases[] = {{"as", as},           {"data", data},           {"stack", stack},
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
