/* SPDX-License-Identifier: MIT */
/*
 * What /proc says of a process's memory, as facts that don't depend on addresses or on
 * what else the machine does: the output is the same on Linux 6.1.
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

#include "child.h"

#define P 4096UL
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)

static void die(const char *what)
{
	printf("stopped: %s: %s\n", what, strerror(errno));
	exit(1);
}

static char *map(size_t pages, int prot, int flags, int fd)
{
	char *p = mmap(NULL, pages * P, prot, flags, fd, 0);
	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

/* The whole text of a file; it stays until the next call but one. */
static char *text(const char *fmt, ...)
{
	static char buf[2][1 << 20];
	static int turn;
	char name[200], *b = buf[turn ^= 1];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	int fd = open(name, O_RDONLY);
	size_t n = 0;
	ssize_t k;
	*b = 0;
	if (fd < 0)
		return b;
	while (n < sizeof(buf[0]) - 1 && (k = read(fd, b + n, sizeof(buf[0]) - 1 - n)) > 0)
		n += (size_t)k;
	b[n] = 0;
	close(fd);
	return b;
}

static int put(const char *name, const char *value)
{
	int fd = open(name, O_WRONLY | O_TRUNC);
	if (fd < 0)
		return errno;
	int r = write(fd, value, strlen(value)) < 0 ? errno : 0;
	close(fd);
	return r;
}

static const char *err(long r)
{
	return r >= 0 ? "ok" : strerrorname_np(errno) ? strerrorname_np(errno) : "?";
}
static const char *code(int e)
{
	return e ? strerrorname_np(e) : "ok";
}

/* The number behind a label of /proc/self/status or the like; -1: there is none. */
static long field(const char *t, const char *label)
{
	size_t n = strlen(label);
	for (const char *at = t; at; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (!strncmp(at, label, n) && at[n] == ':')
			return atol(at + n + 1);
	}
	return -1;
}

static long status(const char *label)
{
	return field(text("/proc/self/status"), label);
}

/* The line of maps (or the block of smaps) of the mapping that starts at p. */
static char *block(const char *file, const void *p)
{
	static char out[4096];
	char head[32];
	snprintf(head, sizeof(head), "%08lx-", (unsigned long)p);
	char *t = text("/proc/self/%s", file), *at = t;
	while (at && strncmp(at, head, strlen(head)))
		at = (at = strchr(at, '\n')) ? at + 1 : NULL;
	if (!at)
		return strcpy(out, "none");
	char *end = strchr(at, '\n');
	if (!strcmp(file, "smaps")) {
		end = strstr(at, "VmFlags:");
		end = strchr(end, '\n');
	}
	snprintf(out, sizeof(out), "%.*s", (int)(end - at), at);
	return out;
}

/* Permissions, offset and name of a line of maps. */
static void show_map(const char *what, const void *p)
{
	char *l = block("maps", p), perm[8] = "", off[20] = "";
	int at = 0;
	unsigned major = 0, minor = 0;
	unsigned long ino = 0;
	sscanf(l, "%*s %7s %19s %x:%x %lu%n", perm, off, &major, &minor, &ino, &at);
	const char *name = strlen(l) > 73 ? l + 73 : "";
	printf("%-18s %s %s ino %s dev %s column %s name '%s'\n", what, perm, off,
	       ino ? "yes" : "no", major || minor ? "yes" : "no",
	       *name && l[72] == ' ' ? "73"
	       : *name               ? "?"
				     : "-",
	       name);
}

static void show_flags(const char *what, const void *p)
{
	char *l = block("smaps", p), *f = strstr(l, "VmFlags:");
	printf("%-18s %s\n", what, f ? f : l);
}

static void show_smaps(const char *what, const void *p)
{
	static const char *const labels[] = {
	    "Size",         "Rss",           "Pss",           "Pss_Dirty",  "Shared_Clean",
	    "Shared_Dirty", "Private_Clean", "Private_Dirty", "Referenced", "Anonymous",
	    "LazyFree",     "Swap",          "Locked"};
	char *l = block("smaps", p);
	printf("%-18s", what);
	for (unsigned i = 0; i < sizeof(labels) / sizeof(*labels); i++)
		printf(" %s=%ld", labels[i], field(l, labels[i]));
	printf("\n");
}

static uint64_t word(const char *file, uint64_t index)
{
	uint64_t w = 0;
	int fd = open(file, O_RDONLY);
	if (pread(fd, &w, 8, (off_t)(index * 8)) != 8)
		w = ~0UL;
	close(fd);
	return w;
}

static void show_page(const char *what, const void *p)
{
	uint64_t w = word("/proc/self/pagemap", (uint64_t)p / P), f;
	printf("%-18s%s%s%s%s%s%s", what, w >> 63 & 1 ? " present" : "", w >> 62 & 1 ? " swap" : "",
	       w >> 61 & 1 ? " file" : "", w >> 57 & 1 ? " wp" : "",
	       w >> 56 & 1 ? " exclusive" : "", w >> 55 & 1 ? " soft-dirty" : "");
	if (!(w >> 63 & 1)) {
		printf("\n");
		return;
	}
	/* Bits that come late on Linux (LRU, ACTIVE, REFERENCED) are left out. */
	static const struct {
		int bit;
		const char *name;
	} bits[] = {{7, "slab"},        {10, "buddy"}, {11, "mmap"},   {12, "anon"},
		    {14, "swapbacked"}, {15, "head"},  {16, "tail"},   {19, "hwpoison"},
		    {20, "nopage"},     {24, "zero"},  {26, "pgtable"}};
	uint64_t pfn = w & ((1UL << 55) - 1);
	f = word("/proc/kpageflags", pfn);
	printf(" |");
	for (unsigned i = 0; i < sizeof(bits) / sizeof(*bits); i++)
		if (f >> bits[i].bit & 1)
			printf(" %s", bits[i].name);
	printf(" | count %lu\n", (unsigned long)word("/proc/kpagecount", pfn));
}

static int temp_file(const char *name, size_t pages)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		die(name);
	char buf[P];
	memset(buf, 'f', sizeof(buf));
	while (pages--)
		if (write(fd, buf, P) != P)
			die("write");
	return fd;
}

/* ---- maps, smaps -------------------------------------------------------------------------- */

static void names(void)
{
	int fd = temp_file("/dev/shm/pm-a", 4);
	show_map("file private", map(1, PROT_READ, MAP_PRIVATE, fd));
	show_map("file shared", map(1, RW, MAP_SHARED, fd));
	int ro = open("/dev/shm/pm-a", O_RDONLY);
	show_map("shared, read-only", map(1, PROT_READ, MAP_SHARED, ro));
	char *off = mmap(NULL, P, PROT_READ, MAP_SHARED, fd, 2 * P);
	show_map("at an offset", off);
	unlink("/dev/shm/pm-a");
	show_map("deleted", off);
	int nl = temp_file("/dev/shm/pm-n\newline \\ x", 1);
	show_map("newline", map(1, PROT_READ, MAP_PRIVATE, nl));
	unlink("/dev/shm/pm-n\newline \\ x");
	show_map("anonymous", map(1, RW, ANON, -1));
	show_map("shared anonymous", map(1, RW, MAP_SHARED | MAP_ANONYMOUS, -1));
	int zero = open("/dev/zero", O_RDWR);
	show_map("zero private", map(1, RW, MAP_PRIVATE, zero));
	show_map("zero shared", map(1, RW, MAP_SHARED, zero));
	int m = memfd_create("na me", 0);
	if (ftruncate(m, 8 * P))
		die("ftruncate");
	show_map("memfd", map(1, RW, MAP_SHARED, m));
	int id = shmget(IPC_PRIVATE, 2 * P, 0600);
	char *s = shmat(id, NULL, 0);
	struct stat st;
	show_map("sysv", s);
	char *l = block("maps", s);
	unsigned long ino = 0;
	sscanf(l, "%*s %*s %*s %*s %lu", &ino);
	printf("sysv's number is its id: %s\n", (int)ino == id ? "yes" : "no");
	shmctl(id, IPC_RMID, NULL);
	if (fstat(m, &st))
		die("fstat");
	sbrk((intptr_t)(4 * P));
	char *t = text("/proc/self/maps");
	printf("heap %s, stack %s, vdso %s, vvar %s\n", strstr(t, "[heap]") ? "yes" : "no",
	       strstr(t, "[stack]") ? "yes" : "no", strstr(t, "[vdso]") ? "yes" : "no",
	       strstr(t, "[vvar]") ? "yes" : "no");
}

static void *special(const char *name)
{
	char *t = text("/proc/self/maps"), *at = strstr(t, name);
	while (at && at > t && at[-1] != '\n')
		at--;
	return at ? (void *)strtoul(at, NULL, 16) : NULL;
}

static void flags(void)
{
	int fd = temp_file("/dev/shm/pm-b", 4), ro = open("/dev/shm/pm-b", O_RDONLY);
	char *p;
	show_flags("private", map(1, RW, ANON, -1));
	show_flags("read-only", map(1, PROT_READ, ANON, -1));
	show_flags("none", map(1, PROT_NONE, ANON, -1));
	show_flags("exec", map(1, PROT_READ | PROT_EXEC, ANON, -1));
	show_flags("noreserve", map(1, RW, ANON | MAP_NORESERVE, -1));
	show_flags("growsdown", map(1, RW, ANON | MAP_GROWSDOWN, -1));
	show_flags("locked", map(1, RW, ANON | MAP_LOCKED, -1));
	show_flags("stack", map(1, RW, ANON | MAP_STACK, -1));
	show_flags("shared", map(1, RW, MAP_SHARED | MAP_ANONYMOUS, -1));
	show_flags("file private", map(1, RW, MAP_PRIVATE, fd));
	show_flags("file shared", map(1, RW, MAP_SHARED, fd));
	show_flags("shared of ro", map(1, PROT_READ, MAP_SHARED, ro));
	show_flags("private of ro", map(1, PROT_READ, MAP_PRIVATE, ro));
	p = map(1, PROT_READ, MAP_PRIVATE, fd);
	mprotect(p, P, RW);
	show_flags("made writable", p);
	mprotect(p, P, PROT_READ);
	show_flags("and back", p);
	static const struct {
		int advice;
		const char *name;
	} advice[] = {{MADV_RANDOM, "random"},
		      {MADV_SEQUENTIAL, "sequential"},
		      {MADV_DONTFORK, "dontfork"},
		      {MADV_DONTDUMP, "dontdump"},
		      {MADV_WIPEONFORK, "wipeonfork"}};
	for (unsigned i = 0; i < sizeof(advice) / sizeof(*advice); i++) {
		p = map(3, RW, ANON, -1);
		madvise(p + P, P, advice[i].advice);
		show_flags(advice[i].name, p + P);
	}
	p = map(3, RW, ANON, -1);
	syscall(SYS_mlock2, p + P, P, 1);
	show_flags("lock on fault", p + P);
	show_flags("[vvar]", special("[vvar]"));
	show_flags("[vdso]", special("[vdso]"));
	show_flags("[stack]", special("[stack]"));
	put("/proc/self/clear_refs", "4");
	show_flags("soft-clean", p + P);
	show_flags("[vvar]", special("[vvar]"));
	show_flags("[vdso]", special("[vdso]"));
	show_flags("[stack]", special("[stack]"));
	unlink("/dev/shm/pm-b");
}

static volatile char sink;

static void smaps(void)
{
	int fd = temp_file("/dev/shm/pm-c", 8), m = memfd_create("x", 0);
	char *p = map(8, RW, ANON, -1), *q, *s;
	show_smaps("untouched", p);
	sink = p[0];
	show_smaps("read", p);
	memset(p, 1, 3 * P);
	show_smaps("written", p);
	mlock(p, P * 8);
	show_smaps("locked", p);
	munlock(p, P * 8);
	madvise(p, P, MADV_DONTNEED);
	show_smaps("one less", p);
	q = map(2, RW, ANON, -1);
	memset(q, 1, 2 * P);
	madvise(q, P, MADV_FREE);
	show_smaps("lazily freed", q);
	put("/proc/self/clear_refs", "1");
	show_smaps("unreferenced", p);
	q = map(4, RW, MAP_PRIVATE, fd);
	sink = q[0];
	q[P] = 1;
	s = block("smaps", q);
	printf("private file: Anonymous=%ld Private_Dirty>=4: %d\n", field(s, "Anonymous"),
	       field(s, "Private_Dirty") >= 4);
	if (ftruncate(m, 4 * P))
		die("ftruncate");
	s = map(4, RW, MAP_SHARED, m);
	s[0] = 1;
	s[P] = 1;
	show_smaps("memfd", s);
	show_smaps("[vvar]", special("[vvar]"));
	printf("vdso: Rss=%d Anonymous=%ld\n", field(block("smaps", special("[vdso]")), "Rss") > 0,
	       field(block("smaps", special("[vdso]")), "Anonymous"));
	unlink("/dev/shm/pm-c");
}

static char *shared_area, *private_area;
static void smaps_in_child(void)
{
	show_smaps("forked private", private_area);
	show_smaps("forked shared", shared_area);
	private_area[0] = 2;
	show_smaps("broken", private_area);
	char *t = text("/proc/self/smaps_rollup");
	printf("rollup: Anonymous=%d Swap=%ld Locked=%ld lines %d\n", field(t, "Anonymous") > 0,
	       field(t, "Swap"), field(t, "Locked"), strstr(t, "Pss_Shmem:") != NULL);
}

static void shares(void)
{
	private_area = map(4, RW, ANON, -1);
	shared_area = map(4, RW, MAP_SHARED | MAP_ANONYMOUS, -1);
	memset(private_area, 1, 4 * P);
	memset(shared_area, 1, 4 * P);
	child(smaps_in_child);
}

/* A line of numa_maps, but for what depends on the lists' state and on what else runs. */
static void show_numa(const char *what, const void *p)
{
	char head[32], *at, *end;
	snprintf(head, sizeof(head), "%08lx ", (unsigned long)p);
	at = strstr(text("/proc/self/numa_maps"), head);
	if (!at) {
		printf("%-18s none\n", what);
		return;
	}
	end = strchr(at, '\n');
	*end = 0;
	printf("%-18s", what);
	for (char *tok = strtok(at + strlen(head), " "); tok; tok = strtok(NULL, " "))
		if (strncmp(tok, "active=", 7))
			printf(" %s", tok);
	printf("\n");
}

static void numa(void)
{
	int fd = temp_file("/dev/shm/pm-g= h", 8), m = memfd_create("x y", 0);
	char *p = map(8, RW, ANON, -1), *s;
	show_numa("untouched", p);
	memset(p, 1, 3 * P);
	show_numa("written", p);
	p = map(8, RW, MAP_PRIVATE, fd);
	p[0] = 1;
	show_numa("file", p);
	unlink("/dev/shm/pm-g= h");
	if (ftruncate(m, 4 * P))
		die("ftruncate");
	s = map(4, RW, MAP_SHARED, m);
	s[0] = s[P] = 1;
	show_numa("memfd", s);
	p = map(4, RW, MAP_SHARED | MAP_ANONYMOUS, -1);
	p[0] = 1;
	show_numa("shared", p);
	show_numa("[vdso]", special("[vdso]"));
}

/* Pss of the rollup is the sum of its three parts, and of the mappings' within rounding. */
static void rollup(void)
{
	char *t = text("/proc/self/smaps"), *r;
	long pss = 0, rss = 0, vmas = 0;
	for (char *at = t; (at = strstr(at, "\nPss: ")); at++, vmas++)
		pss += atol(at + 6);
	for (char *at = t; (at = strstr(at, "\nRss: ")); at++)
		rss += atol(at + 6);
	r = text("/proc/self/smaps_rollup");
	long all = field(r, "Pss"),
	     parts = field(r, "Pss_Anon") + field(r, "Pss_File") + field(r, "Pss_Shmem");
	printf("rollup Pss: parts %s, mappings %s; Rss %s\n",
	       all - parts >= 0 && all - parts <= 2 ? "add up" : "don't",
	       all >= pss && all - pss <= vmas ? "add up" : "don't",
	       labs(field(r, "Rss") - rss) <= 64 ? "adds up" : "doesn't");
}

/* ---- status ------------------------------------------------------------------------------- */

static void differences(void)
{
	long size = status("VmSize"), data = status("VmData"), stk = status("VmStk"),
	     lib = status("VmLib") + status("VmExe"), lck = status("VmLck");
	map(10, RW, ANON, -1);
	map(20, PROT_READ, ANON, -1);
	map(30, RW, MAP_SHARED | MAP_ANONYMOUS, -1);
	map(40, PROT_READ | PROT_EXEC, ANON, -1);
	map(50, RW, ANON | MAP_GROWSDOWN, -1);
	map(60, RW, ANON | MAP_LOCKED, -1);
	printf("VmSize +%ld VmData +%ld VmStk +%ld VmExe+VmLib +%ld VmLck +%ld\n",
	       status("VmSize") - size, status("VmData") - data, status("VmStk") - stk,
	       status("VmLib") + status("VmExe") - lib, status("VmLck") - lck);
	unsigned long m[7];
	char *t = text("/proc/self/statm");
	sscanf(t, "%lu %lu %lu %lu %lu %lu %lu", m, m + 1, m + 2, m + 3, m + 4, m + 5, m + 6);
	printf("statm: size %s, data %s, lib %lu, dirty %lu\n",
	       (long)m[0] * 4 == status("VmSize") ? "agrees" : "differs",
	       (long)m[5] * 4 == status("VmData") + status("VmStk") ? "agrees" : "differs", m[4],
	       m[6]);
	printf("VmPin %ld VmSwap %ld HugetlbPages %ld CoreDumping %ld\n", status("VmPin"),
	       status("VmSwap"), status("HugetlbPages"), status("CoreDumping"));
}

/* Linux counts per CPU, and adds up when there is enough. */
static void locked(void)
{
	long before = field(text("/proc/meminfo"), "Mlocked");
	char *p = map(2000, RW, ANON, -1);
	madvise(p, 2000 * P, MADV_NOHUGEPAGE);
	mlock(p, 2000 * P);
	long grown = field(text("/proc/meminfo"), "Mlocked") - before;
	printf("Mlocked grows: %s, ", grown > 7000 && grown <= 8200 ? "by 2000 pages" : "?");
	munlock(p, 2000 * P);
	grown = field(text("/proc/meminfo"), "Mlocked") - before;
	printf("and shrinks: %s\n", labs(grown) < 1000 ? "to what it was" : "?");
}

static void tables(void)
{
	long before = status("VmPTE");
	char *p = map(1 << 20, RW, ANON | MAP_NORESERVE, -1);
	for (unsigned i = 0; i < 8; i++)
		madvise(p + (i << 29), 1 << 29, MADV_NOHUGEPAGE);
	for (unsigned long i = 0; i < 8; i++)
		p[i << 29] = 1;
	long grown = status("VmPTE") - before;
	printf("VmPTE grows by 8 tables and at most 8 of the level above: %s\n",
	       grown >= 32 + 12 && grown <= 32 + 24 ? "yes" : "no");
	munmap(p, (1UL << 20) * P);
	printf("and shrinks: %s\n", status("VmPTE") <= before + 4 ? "yes" : "no");
}

static void peaks(void)
{
	char *p = map(2048, RW, ANON, -1);
	madvise(p, 2048 * P, MADV_NOHUGEPAGE);
	memset(p, 1, 2048 * P);
	munmap(p, 2048 * P);
	long hwm = status("VmHWM"), rss = status("VmRSS");
	printf("VmHWM above VmRSS by 8 MiB: %s\n",
	       hwm - rss > 7800 && hwm - rss < 8500 ? "yes" : "no");
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	printf("ru_maxrss is VmHWM: %s\n", labs(u.ru_maxrss - hwm) < 300 ? "yes" : "no");
	printf("clear_refs 5: %s\n", code(put("/proc/self/clear_refs", "5")));
	printf("VmHWM near VmRSS: %s\n", status("VmHWM") - status("VmRSS") < 600 ? "yes" : "no");
	static const char *const bad[] = {"0", "6", "-1", "x", "", "4 ", " 4\n", "4x", "1 2"};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		printf("clear_refs '%s': %s\n", bad[i][0] == ' ' ? "_4" : bad[i],
		       code(put("/proc/self/clear_refs", bad[i])));
}

/* ---- pages -------------------------------------------------------------------------------- */

static void pages(void)
{
	int fd = temp_file("/dev/shm/pm-d", 4), m = memfd_create("x", 0);
	char *p = map(8, RW, ANON, -1), *q = map(4, RW, MAP_PRIVATE, fd), *s;
	madvise(p, 8 * P, MADV_NOHUGEPAGE);
	show_page("untouched", p);
	sink = p[0];
	show_page("zero page", p);
	p[P] = 1;
	show_page("anonymous", p + P);
	sink = q[0];
	show_page("file", q);
	q[0] = 1;
	show_page("copied", q);
	if (ftruncate(m, 4 * P))
		die("ftruncate");
	s = map(4, RW, MAP_SHARED, m);
	s[0] = 1;
	show_page("memfd", s);
	show_page("hole", s + P);
	char *s2 = map(4, RW, MAP_SHARED, m);
	sink = s2[0];
	show_page("mapped twice", s);
	put("/proc/self/clear_refs", "4");
	show_page("soft-clean", p + P);
	show_page("soft-clean none", p + 2 * P);
	p[P] = 2;
	show_page("written again", p + P);
	p[2 * P] = 2;
	show_page("new", p + 2 * P);
	char *fresh = map(1, RW, ANON, -1);
	show_page("new mapping", fresh);
	mprotect(p, 4 * P, PROT_NONE);
	show_page("PROT_NONE", p + P);
	munmap(p, 8 * P);
	show_page("unmapped", p + P);
	unlink("/dev/shm/pm-d");
	uint64_t w[4];
	int pm = open("/proc/self/pagemap", O_RDONLY), k = open("/proc/kpageflags", O_RDONLY);
	printf("pagemap: odd position %s, odd length %s, ", err(pread(pm, w, 8, 4)),
	       err(pread(pm, w, 7, 0)));
	/* Where user space ends depends on the CPU: Linux with five levels of tables says 2^56. */
	printf("beyond %zd\n", pread(pm, w, 8, (off_t)(1UL << 50)));
	printf("kpageflags: odd position %s, odd length %s, ", err(pread(k, w, 8, 4)),
	       err(pread(k, w, 7, 0)));
	printf("beyond %zd, write %s\n", pread(k, w, 8, (off_t)(1UL << 40)), err(write(k, w, 8)));
}

/* ---- map_files ---------------------------------------------------------------------------- */

static const char *try_link(const char *fmt, unsigned long a, unsigned long b)
{
	static char out[300];
	char name[100], to[200];
	int n = snprintf(name, sizeof(name), "/proc/self/map_files/");
	snprintf(name + n, sizeof(name) - (size_t)n, fmt, a, b);
	ssize_t k = readlink(name, to, sizeof(to) - 1);
	if (k < 0)
		return strerrorname_np(errno);
	snprintf(out, sizeof(out), "-> %.*s", (int)k, to);
	return out;
}

static void unprivileged_link(void)
{
	char name[100];
	snprintf(name, sizeof(name), "/proc/self/map_files/%lx-%lx", (unsigned long)shared_area,
		 (unsigned long)shared_area + 2 * P);
	if (setresuid(1000, 1000, 1000))
		die("setresuid");
	prctl(PR_SET_DUMPABLE, 1);
	printf("as a user: readlink %s, ",
	       try_link("%lx-%lx", (unsigned long)shared_area, (unsigned long)shared_area + 2 * P));
	printf("open %s\n", err(open(name, O_RDONLY)));
	uint64_t w = word("/proc/self/pagemap", (uint64_t)shared_area / P);
	printf("pagemap: present %d, frame %s\n", (int)(w >> 63), w << 9 >> 9 ? "shown" : "hidden");
}

static void map_files(void)
{
	int fd = temp_file("/dev/shm/pm-e", 4);
	char *p = map(2, RW, MAP_SHARED, fd), *q = map(2, RW, ANON, -1), name[100];
	unsigned long a = (unsigned long)p, b = a + 2 * P;
	sink = p[0];
	printf("exact %s\n", try_link("%lx-%lx", a, b));
	printf("start off %s\n", try_link("%lx-%lx", a + P, b));
	printf("end off %s\n", try_link("%lx-%lx", a, b + P));
	printf("leading zero %s\n", try_link("0%lx-%lx", a, b));
	printf("space %s\n", try_link(" %lx-%lx", a, b));
	printf("trailing %s\n", try_link("%lx-%lxx", a, b));
	printf("hex prefix %s\n", try_link("0x%lx-%lx", a, b));
	printf("upper case %s\n", try_link("%lX-%lX", a, b));
	printf("half %s\n", try_link("%lx-", a, b));
	printf("overflow %s\n", try_link("%lx-1%016lx", a, b));
	printf("anonymous %s\n", try_link("%lx-%lx", (unsigned long)q, (unsigned long)q + 2 * P));
	printf("zero %s\n", try_link("%lx-%lx", 0, 0));
	struct stat st, st2;
	snprintf(name, sizeof(name), "/proc/self/map_files/%lx-%lx", a, b);
	if (lstat(name, &st) || stat(name, &st2))
		die(name);
	printf("mode %o size %ld, leads to a file of %ld\n", st.st_mode, (long)st.st_size,
	       (long)st2.st_size);
	unlink("/dev/shm/pm-e");
	printf("deleted %s\n", try_link("%lx-%lx", a, b));
	int again = open(name, O_RDWR);
	char c = 0;
	printf("open %s, ", err(again));
	ssize_t n = pread(again, &c, 1, P);
	printf("read %zd '%c'\n", n, c);
	char *z = map(2, RW, MAP_SHARED | MAP_ANONYMOUS, -1);
	printf("nameless %s\n", try_link("%lx-%lx", (unsigned long)z, (unsigned long)z + 2 * P));
	shared_area = p;
	child(unprivileged_link);
	munmap(p, 2 * P);
	printf("gone %s\n", try_link("%lx-%lx", a, b));
}

/* ---- scores ------------------------------------------------------------------------------- */

static void user_scores(void)
{
	if (setresuid(1000, 1000, 1000))
		die("setresuid");
	printf("user, not dumpable: %s\n", code(put("/proc/self/oom_score_adj", "500")));
	prctl(PR_SET_DUMPABLE, 1);
	printf("user: 500 %s, ", code(put("/proc/self/oom_score_adj", "500")));
	printf("100 %s, ", code(put("/proc/self/oom_score_adj", "100")));
	printf("99 %s, ", code(put("/proc/self/oom_score_adj", "99")));
	printf("oom_adj 10 %s, ", code(put("/proc/self/oom_adj", "10")));
	printf("oom_adj 9 %s\n", code(put("/proc/self/oom_adj", "9")));
}

static void scores(void)
{
	static const char *const v[] = {"0",  "1000", "-1000", "1001", "-1001", "7\n",
					" 8", "x",    "0x10",  "010",  "",      "1 2"};
	printf("score %d\n", atoi(text("/proc/self/oom_score")) / 10);
	for (unsigned i = 0; i < sizeof(v) / sizeof(*v); i++) {
		int e = put("/proc/self/oom_score_adj", v[i]);
		printf("adj '%.4s': %s, is %d, old scale %d", v[i][0] == '7' ? "7_" : v[i], code(e),
		       atoi(text("/proc/self/oom_score_adj")), atoi(text("/proc/self/oom_adj")));
		printf(", score %d\n", atoi(text("/proc/self/oom_score")) / 10);
	}
	static const char *const o[] = {"0", "15", "-17", "-16", "14", "16", "-18", "1"};
	for (unsigned i = 0; i < sizeof(o) / sizeof(*o); i++) {
		int e = put("/proc/self/oom_adj", o[i]);
		printf("old '%s': %s, is %d, new scale %d\n", o[i], code(e),
		       atoi(text("/proc/self/oom_adj")), atoi(text("/proc/self/oom_score_adj")));
	}
	put("/proc/self/oom_score_adj", "100");
	child(user_scores);
	put("/proc/self/oom_score_adj", "0");
}

/* ---- what the arguments were ---------------------------------------------------------------- */

static void show_cmdline(const char *what)
{
	char buf[200];
	int fd = open("/proc/self/cmdline", O_RDONLY);
	ssize_t n = read(fd, buf, sizeof(buf));
	printf("%s: %zd '", what, n);
	for (ssize_t i = 0; i < n; i++)
		putchar(buf[i] ? buf[i] : '|');
	printf("'\n");
	close(fd);
}

struct mm_map {
	uint64_t v[11], auxv;
	uint32_t auxv_size, exe_fd;
};

static char **main_argv;
static void arguments(void)
{
	char *a = main_argv[0], *last = main_argv[1];
	unsigned size = 0;
	long r;
	show_cmdline("cmdline");
	last[0] = 'X';
	show_cmdline("changed");
	size_t n = strlen(last);
	last[n] = 'Y';
	char next = last[n + 1];
	last[n + 1] = 0;
	show_cmdline("overwritten");
	last[n] = 0;
	last[n + 1] = next;
	char *p = map(2, RW, ANON, -1);
	strcpy(p, "moved");
	memcpy(p + 6, "here", 5);
	(void)a;
	r = prctl(PR_SET_MM, PR_SET_MM_ARG_START, p, 0, 0);
	printf("start behind end: %s\n", err(r));
	r = prctl(PR_SET_MM, 15, &size, 0, 0);
	printf("map size: %s %u\n", err(r), size);
	printf("arg5: %s, ", err(prctl(PR_SET_MM, PR_SET_MM_BRK, sbrk(0), 0, 1)));
	printf("arg4: %s, ", err(prctl(PR_SET_MM, PR_SET_MM_BRK, sbrk(0), 1, 0)));
	printf("unknown: %s, ", err(prctl(PR_SET_MM, 99, sbrk(0), 0, 0)));
	printf("low: %s, ", err(prctl(PR_SET_MM, PR_SET_MM_START_CODE, 4096, 0, 0)));
	printf("high: %s, ", err(prctl(PR_SET_MM, PR_SET_MM_START_CODE, 1UL << 47, 0, 0)));
	printf("map of a wrong size: %s\n", err(prctl(PR_SET_MM, 14, &size, 4, 0)));
	unsigned long f[60] = {0};
	char *t = strrchr(text("/proc/self/stat"), ')');
	unsigned k = 2;
	for (char *tok = strtok(t + 1, " "); tok && k < 59; tok = strtok(NULL, " "))
		f[++k] = strtoul(tok, NULL, 10);
	struct mm_map m = {.v = {f[26], f[27], f[45], f[46], f[47], (uint64_t)sbrk(0), f[28],
				 (uint64_t)p, (uint64_t)p + 11, (uint64_t)p + P, (uint64_t)p + P},
			   .exe_fd = ~0u};
	r = prctl(PR_SET_MM, 14, &m, sizeof(m), 0);
	printf("all of it: %s\n", err(r));
	show_cmdline("moved");
	printf("environ: %zu bytes\n", strlen(text("/proc/self/environ")));
	r = prctl(PR_SET_MM, PR_SET_MM_ARG_END, p + 6, 0, 0);
	printf("end: %s\n", err(r));
	show_cmdline("shorter");
	munmap(p, 2 * P);
	show_cmdline("unmapped");
	int fd = temp_file("/dev/shm/pm-f", 2);
	p = map(2, RW, MAP_PRIVATE, fd);
	prctl(PR_SET_MM, PR_SET_MM_ARG_END, p + 20, 0, 0);
	r = prctl(PR_SET_MM, PR_SET_MM_ARG_START, p + 2, 0, 0);
	show_cmdline("of a file");
	p[0] = 'p';
	show_cmdline("of a copy");
	unlink("/dev/shm/pm-f");
	r = prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, fd, 0, 0);
	printf("exe not executable: %s, ", err(r));
	printf("bad: %s\n", err(prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, 999, 0, 0)));
	fchmod(fd, 0700);
	printf("still mapped: %s\n", err(prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, fd, 0, 0)));
	uint64_t aux[4] = {17, 100, 0, 0}, got[60];
	printf("auxv: %s, ", err(prctl(PR_SET_MM, PR_SET_MM_AUXV, aux, sizeof(aux), 0)));
	fd = open("/proc/self/auxv", O_RDONLY);
	printf("%zd bytes\n", read(fd, got, sizeof(got)));
	if (setresuid(1000, 1000, 1000))
		die("setresuid");
	printf("as a user: %s, ", err(prctl(PR_SET_MM, PR_SET_MM_BRK, sbrk(0), 0, 0)));
	m.v[7] = m.v[8] = m.v[9] = m.v[10] = (uint64_t)p;
	printf("map %s\n", err(prctl(PR_SET_MM, 14, &m, sizeof(m), 0)));
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} cases[] = {{"names", names},
		     {"flags", flags},
		     {"smaps", smaps},
		     {"shares", shares},
		     {"numa", numa},
		     {"rollup", rollup},
		     {"differences", differences},
		     {"locked", locked},
		     {"tables", tables},
		     {"peaks", peaks},
		     {"pages", pages},
		     {"map_files", map_files},
		     {"scores", scores},
		     {"arguments", arguments}};
	if (argc < 2) {
		/* With arguments that are known. */
		execl("/proc/self/exe", "procmem", "-", NULL);
		return 1;
	}
	main_argv = argv;
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		printf("== %s\n", cases[i].name);
		child(cases[i].fn);
	}
	return 0;
}
