/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID's files as files: who may open them, what is read when the process is gone,
 * a zombie, or another program by now, positions and partial reads.  The output is the
 * same on Linux 6.1.  To be run as root.
 */
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-result"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

#define P 4096UL
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)

static size_t slurp(size_t size, char *out, size_t room);

static const char *err(long r)
{
	return r >= 0 ? "ok" : strerrorname_np(errno);
}

/* A process that waits until it is killed, or (c 'x' is written) execs. */
static pid_t other;
static int to_other, from_other;
static void start_other(void)
{
	int fd[2], back[2];
	char c;
	if (pipe(fd) || pipe(back))
		exit(1);
	fflush(stdout);
	other = fork();
	if (!other) {
		close(fd[1]);
		write(back[1], "", 1);
		while (read(fd[0], &c, 1) == 1) {
			if (c == 'x') {
				dup2(back[1], 99);
				execl("/proc/self/exe", "procfiles", "wait", NULL);
			}
			if (c == 'd')
				prctl(PR_SET_DUMPABLE, 0);
			if (c == 'z')
				_exit(0);
			write(back[1], "", 1);
		}
		_exit(0);
	}
	to_other = fd[1];
	close(fd[0]);
	read(back[0], &c, 1);
	close(back[1]);
	from_other = back[0];
}
static void tell_other(char c)
{
	write(to_other, &c, 1);
	if (c == 'z') {
		siginfo_t si;
		waitid(P_PID, (id_t)other, &si, WEXITED | WNOWAIT);
	} else {
		read(from_other, &c, 1);
	}
}
static void end_other(void)
{
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	close(to_other);
	close(from_other);
}

static const char *name_of(const char *file)
{
	static char name[64];
	snprintf(name, sizeof(name), "/proc/%d/%s", other, file);
	return name;
}

/* Open and read some: how it went, how much (in words). */
static void try_read(const char *file)
{
	char buf[4096];
	const char *name = name_of(file);
	struct stat st;
	printf("  %-14s", file);
	if (!lstat(name, &st) && S_ISLNK(st.st_mode)) {
		ssize_t n = readlink(name, buf, sizeof(buf));
		printf("readlink %s, stat %s\n", err(n), err(stat(name, &st)));
		return;
	}
	int fd = open(name, O_RDONLY);
	printf("open %s", err(fd));
	if (fd < 0) {
		printf("\n");
		return;
	}
	if (!fstat(fd, &st) && S_ISDIR(st.st_mode)) {
		DIR *d = fdopendir(fd);
		int n = 0;
		errno = 0;
		while (readdir(d))
			n++;
		printf(", %s, %s\n",
		       n > 2 ? "entries"
		       : n   ? "none"
			     : "nothing",
		       errno ? err(-1) : "ok");
		closedir(d);
		return;
	}
	ssize_t n = read(fd, buf, sizeof(buf));
	printf(", read %s%s\n",
	       n < 0 ? err(n)
	       : n   ? "some"
		     : "nothing",
	       n > 8 && !strncmp(buf, "0 0 0 0 ", 8) ? ", zeros" : "");
	close(fd);
}

static const char *const files[] = {
    "auxv",    "cmdline", "comm",         "cwd",           "environ", "exe",
    "fd",      "fdinfo",  "io",           "limits",        "maps",    "map_files",
    "mem",     "oom_adj", "oom_score",    "oom_score_adj", "pagemap", "personality",
    "root",    "smaps",   "smaps_rollup", "stat",          "statm",   "status",
    "syscall", "task",    "wchan"};

static void try_all(void)
{
	for (unsigned i = 0; i < sizeof(files) / sizeof(*files); i++)
		if (strcmp(files[i], "mem")) /* at 0 there is nothing */
			try_read(files[i]);
}

static void as_user(void)
{
	if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000))
		return;
	try_all();
	printf("  mem %s, ", err(open(name_of("mem"), O_RDONLY)));
	printf("clear_refs %s, ", err(open(name_of("clear_refs"), O_WRONLY)));
	printf("oom_score_adj %s, ", err(open(name_of("oom_score_adj"), O_WRONLY)));
	int fd = open(name_of("timerslack_ns"), O_RDWR);
	char c;
	printf("timerslack_ns %s, ", err(fd));
	printf("read %s, ", err(read(fd, &c, 1)));
	printf("write %s\n", err(write(fd, "5000", 4)));
	fd = open(name_of("stat"), O_RDONLY);
	char buf[1024] = {0}, *at;
	read(fd, buf, sizeof(buf) - 1);
	at = strrchr(buf, ')');
	for (int i = 0; i < 24; i++)
		at = strchr(at + 1, ' ');
	printf("  code, stack, eip: %.12s\n", at + 1);
}

static void foreign(void)
{
	start_other();
	child(as_user);
	end_other();
}

static void hidden_child(void)
{
	start_other();
	printf("one's own child\n");
	printf("  maps %s, environ %s, fd %s\n", err(open(name_of("maps"), O_RDONLY)),
	       err(open(name_of("environ"), O_RDONLY)), err(open(name_of("fd"), O_RDONLY)));
	end_other();
}

static void hidden_user(void)
{
	/* All rights are gone; the child that was made before hides. */
	if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000))
		return;
	prctl(PR_SET_DUMPABLE, 1);
	hidden_child();
	start_other();
	tell_other('d');
	struct stat st;
	stat(name_of("maps"), &st);
	printf("not dumpable: owner of maps %u, ", st.st_uid);
	stat(name_of("."), &st);
	printf("of the folder %u\n", st.st_uid);
	printf("  maps %s, ", err(open(name_of("maps"), O_RDONLY)));
	printf("status %s, ", err(open(name_of("status"), O_RDONLY)));
	printf("environ %s, ", err(open(name_of("environ"), O_RDONLY)));
	printf("oom_score_adj %s\n", err(open(name_of("oom_score_adj"), O_WRONLY)));
	end_other();
	prctl(PR_SET_DUMPABLE, 0);
	printf("oneself: maps %s, ", err(open("/proc/self/maps", O_RDONLY)));
	printf("environ %s\n", err(open("/proc/self/environ", O_RDONLY)));
}

static void hidden(void)
{
	child(hidden_user);
}

static void zombie(void)
{
	start_other();
	int maps = open(name_of("maps"), O_RDONLY), mem = open(name_of("mem"), O_RDONLY),
	    stat = open(name_of("stat"), O_RDONLY);
	char c;
	tell_other('z');
	printf("zombie\n");
	try_all();
	printf("  open before: maps %zd, mem %zd\n", read(maps, &c, 1),
	       pread(mem, &c, 1, (off_t)&c));
	waitpid(other, NULL, 0);
	printf("gone: maps %s, ", err(read(maps, &c, 1)));
	printf("mem %s, ", err(pread(mem, &c, 1, (off_t)&c)));
	printf("stat %s, ", err(read(stat, &c, 1)));
	printf("open %s\n", err(open(name_of("stat"), O_RDONLY)));
	end_other();
}

static void exec(void)
{
	static const char *const keep[] = {"maps",         "smaps",   "pagemap", "environ",
					   "smaps_rollup", "cmdline", "stat",    "statm"};
	int fd[8], mem;
	char buf[200];
	start_other();
	for (int i = 0; i < 8; i++)
		fd[i] = open(name_of(keep[i]), O_RDONLY);
	mem = open(name_of("mem"), O_RDONLY);
	printf("before: mem %zd\n", pread(mem, buf, 1, (off_t)slurp));
	tell_other('x');
	for (int i = 0; i < 8; i++) {
		ssize_t n = read(fd[i], buf, 16);
		printf("%s: %s\n", keep[i], n < 0 ? err(n) : n ? "some" : "nothing");
	}
	printf("mem %zd\n", pread(mem, buf, 1, (off_t)slurp));
	end_other();
}

/* ---- positions ----------------------------------------------------------------------------- */

static size_t slurp(size_t size, char *out, size_t room)
{
	int fd = open("/proc/self/maps", O_RDONLY);
	size_t n = 0;
	ssize_t k;
	while (n < room && (k = read(fd, out + n, n + size < room ? size : room - n)) > 0)
		n += (size_t)k;
	close(fd);
	return n;
}

static void positions(void)
{
	static char a[1 << 20], b[1 << 20], c[1 << 20];
	for (int i = 0; i < 400; i++) /* some length: mappings that don't become one */
		mmap(NULL, P, i & 1 ? PROT_READ : RW, ANON, -1, 0);
	size_t n = slurp(1 << 20, a, sizeof(a)), m = slurp(7, b, sizeof(b));
	printf("read by 7: %s, ", n == m && !memcmp(a, b, n) ? "the same" : "differs");
	m = slurp(1000, c, sizeof(c));
	printf("by 1000: %s\n", n == m && !memcmp(a, c, n) ? "the same" : "differs");
	int fd = open("/proc/self/maps", O_RDONLY);
	ssize_t k = pread(fd, b, 100, 5000);
	printf("in the middle: %s, ",
	       k == 100 && !memcmp(a + 5000, b, 100) ? "the same" : "differs");
	k = pread(fd, b, 100, 300);
	printf("and back: %s, ", k == 100 && !memcmp(a + 300, b, 100) ? "the same" : "differs");
	printf("beyond: %zd, ", pread(fd, b, 100, 1 << 24));
	printf("negative: %s, ", err(pread(fd, b, 100, -1)));
	printf("end: %s, ", err(lseek(fd, 0, SEEK_END)));
	printf("to 1000: %ld, ", (long)lseek(fd, 1000, SEEK_SET));
	printf("on: %ld\n", (long)lseek(fd, 10, SEEK_CUR));
	char *p = mmap(NULL, P, PROT_READ | PROT_EXEC, ANON, -1, 0), want[40];
	snprintf(want, sizeof(want), "%lx-%lx r-xp", (unsigned long)p, (unsigned long)p + P);
	lseek(fd, 0, SEEK_SET);
	n = 0;
	while ((k = read(fd, b + n, sizeof(b) - 1 - n)) > 0)
		n += (size_t)k;
	b[n] = 0;
	printf("a new mapping, from the start: %s\n", strstr(b, want) ? "seen" : "not seen");
	/* What is unmapped ahead of the reader isn't shown; what it read goes on in order. */
	lseek(fd, 0, SEEK_SET);
	k = read(fd, b, 200);
	munmap(p, P);
	n = 200;
	while ((k = read(fd, b + n, 64)) > 0)
		n += (size_t)k;
	b[n] = 0;
	unsigned long last = 0, from, to;
	int good = 1, lines = 0;
	for (char *at = b; at && *at;
	     at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL, lines++) {
		if (sscanf(at, "%lx-%lx", &from, &to) != 2 || from < last || to <= from)
			good = 0;
		last = to;
	}
	printf("while it changes: %s\n", good && lines > 300 ? "whole lines in order" : "?");
	printf("mmap: %s, ",
	       mmap(NULL, P, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? err(-1) : "ok");
	int w = open("/proc/self/maps", O_WRONLY), r = open("/proc/self/clear_refs", O_RDONLY);
	printf("write: %s, ", w < 0 ? err(w) : err(write(w, "x", 1)));
	printf("read clear_refs: %s, ", r < 0 ? err(r) : err(read(r, b, 1)));
	printf("create: %s, ", err(open("/proc/self/new", O_RDWR | O_CREAT, 0600)));
	printf("unlink: %s, ", err(unlink("/proc/self/maps")));
	printf("chmod: %s\n", err(chmod("/proc/self/maps", 0600)));
}

static void mem(void)
{
	int fd = open("/proc/self/mem", O_RDWR), m = memfd_create("x", 0);
	char *p = mmap(NULL, 4 * P, PROT_READ, ANON, -1, 0), buf[3 * P];
	if (ftruncate(m, P))
		return;
	char *s = mmap(NULL, P, PROT_READ, MAP_SHARED, m, 0);
	int ro = open("/proc/self/fd/3", O_RDONLY);
	(void)ro;
	munmap(p + 2 * P, P);
	printf("read: %zd, ", pread(fd, buf, 2 * P, (off_t)p));
	printf("to a hole: %zd, ", pread(fd, buf, 3 * P, (off_t)p));
	printf("in it: %s, ", err(pread(fd, buf, 1, (off_t)(p + 2 * P))));
	printf("write where only reading is allowed: %zd ", pwrite(fd, "Q", 1, (off_t)p));
	printf("'%c', ", *p);
	printf("shared: %s, ", err(pwrite(fd, "Q", 1, (off_t)s)));
	mprotect(p, P, PROT_NONE);
	printf("none: %zd, ", pread(fd, buf, 1, (off_t)p));
	printf("at 0: %s, ", err(pread(fd, buf, 1, 0)));
	printf("seek to -1: %ld, ", (long)lseek(fd, -1, SEEK_SET));
	printf("nothing: %zd\n", pread(fd, buf, 0, (off_t)p));
}

static volatile pid_t thread_id;
static void *thread(void *arg)
{
	thread_id = (pid_t)syscall(SYS_gettid);
	prctl(PR_SET_NAME, "the thread");
	pause();
	return arg;
}

static void threads(void)
{
	pthread_t t;
	char name[64], buf[200];
	pthread_create(&t, NULL, thread, NULL);
	while (!thread_id)
		usleep(1000);
	usleep(20000);
	snprintf(name, sizeof(name), "/proc/self/task/%d/comm", thread_id);
	int fd = open(name, O_RDWR);
	ssize_t n = read(fd, buf, sizeof(buf));
	printf("comm %.*s", (int)n, buf);
	printf("renamed %s, ", err(write(fd, "a name that is too long\n", 24)));
	n = pread(fd, buf, sizeof(buf), 0);
	printf("now %.*s", (int)n, buf);
	snprintf(name, sizeof(name), "/proc/self/task/%d/stat", thread_id);
	fd = open(name, O_RDONLY);
	n = read(fd, buf, sizeof(buf) - 1);
	buf[n] = 0;
	printf("stat: %.20s\n", strchr(buf, '('));
	snprintf(name, sizeof(name), "/proc/%d", thread_id);
	printf("by its own id: %s; ", err(open(name, O_RDONLY)));
	snprintf(name, sizeof(name), "/proc/%d/task/%d", thread_id, getpid());
	printf("the leader below it: %s; ", err(open(name, O_RDONLY)));
	DIR *d = opendir("/proc/self/task");
	int count = 0;
	while (readdir(d))
		count++;
	printf("tasks: %d; ", count - 2);
	snprintf(name, sizeof(name), "/proc/self/task/%d/syscall", thread_id);
	fd = open(name, O_RDONLY);
	n = read(fd, buf, sizeof(buf) - 1);
	buf[n > 0 ? n : 0] = 0;
	printf("is in call %d\n", atoi(buf));
	printf("thread-self %s, ", err(open("/proc/thread-self/status", O_RDONLY)));
	printf("map_files of a thread: %s, ", err(open("/proc/thread-self/map_files", O_RDONLY)));
	printf("of no process: %s, ", err(open("/proc/99999/maps", O_RDONLY)));
	printf("0: %s, 01: %s\n", err(open("/proc/0", O_RDONLY)), err(open("/proc/01", O_RDONLY)));
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} cases[] = {{"foreign", foreign}, {"hidden", hidden},       {"zombie", zombie},
		     {"exec", exec},       {"positions", positions}, {"mem", mem},
		     {"threads", threads}};
	(void)argv;
	if (argc > 1) {
		write(99, "", 1);
		pause();
	}
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		printf("== %s\n", cases[i].name);
		child(cases[i].fn);
	}
	return 0;
}
