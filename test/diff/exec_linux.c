/* SPDX-License-Identifier: MIT */
/*
 * Programs as a process of the system it runs on: real Linux, or Quire's kernel.
 *
 * A static program.  It allocates nothing while a program runs, so that all
 * mappings that come and go are the program's own.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "diff.h"

#define TABLE (2UL << 20)

static int file[FILES], maps_fd, pagemap_fd;
static sigjmp_buf back;
static struct access_result *volatile pending;

static void fail(const char *what)
{
	fprintf(stderr, "diff: %s: %s\n", what, strerror(errno));
	_exit(2);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (!pending) {
		fprintf(stderr, "diff: signal %d, code %d at %p outside an access\n", sig,
			info->si_code, info->si_addr);
		_exit(4);
	}
	pending->signo = sig;
	pending->code = info->si_code;
	pending->addr = (u64_t)info->si_addr;
	siglongjmp(back, 1);
}

void exec_boot(char **argv)
{
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);
	/* MAP_32BIT begins at a random place, too. */
	if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE)) {
		personality(ADDR_NO_RANDOMIZE);
		execve("/proc/self/exe", argv, environ);
		fail("execve");
	}
	/* A setting that only Quire has. */
	int fd = open("/proc/sys/vm/quire_newer_merging", O_WRONLY);
	if (fd >= 0 && write(fd, "1", 1) != 1)
		fail("quire_newer_merging");
	close(fd);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

void *exec_shared(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail("mmap");
	return p;
}

static void open_proc(void)
{
	maps_fd = open("/proc/self/maps", O_RDONLY);
	pagemap_fd = open("/proc/self/pagemap", O_RDONLY);
	if (maps_fd < 0 || pagemap_fd < 0)
		fail("/proc/self");
}

/* A neighbour above the window that nothing merges with, and that starts with a page
 * table: what a fault maps around it depends on the alignment. */
static u64_t top_of_window(void)
{
	char *p = mmap(NULL, PG, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	u64_t end = (u64_t)p + PG, start = (end - PG) & ~(TABLE - 1);

	munmap(p, PG);
	p = mmap(NULL, end - start, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if ((u64_t)p != start)
		fail("the window below the top");
	return start;
}

void exec_start(void)
{
	char name[3] = "q0";
	u64_t brk;

	for (int i = 0; i < FILES; i++, name[1]++) {
		file[i] = memfd_create(name, 0);
		if (file[i] < 0 || ftruncate(file[i], i ? 5000 : 16 * PG))
			fail("memfd_create");
	}
	open_proc();
	brk = (u64_t)syscall(SYS_brk, 0);
	window_heap = (brk + TABLE) & ~(TABLE - 1);
	if ((u64_t)syscall(SYS_brk, window_heap) != window_heap)
		fail("brk");
	*(volatile char *)(window_heap - 1) = 1;
	window_top = top_of_window();
}

/* ---- what is there --------------------------------------------------------------------- */

static char what_of(const char *path)
{
	const char *memfd = strstr(path, "/memfd:q");

	if (memfd)
		return memfd[8];
	if (strstr(path, "/dev/zero"))
		return 'z';
	return !*path || *path == '[' ? '-' : '?';
}

/* One line of maps; its end. */
static char *parse_line(char *s, struct region *r)
{
	char *end = strchr(s, '\n'), *path;

	*end = 0;
	r->start = strtoul(s, &s, 16);
	r->end = strtoul(s + 1, &s, 16);
	memcpy(r->perms, s + 1, 4);
	r->perms[4] = 0;
	r->offset = strtoul(s + 6, &s, 16);
	strtoul(s + 7, &path, 10);
	path += strspn(path, " ");
	r->what = what_of(path);
	return end + 1;
}

static size_t read_maps(char *buf, size_t size)
{
	size_t at = 0;
	ssize_t n;

	lseek(maps_fd, 0, SEEK_SET);
	while ((n = read(maps_fd, buf + at, size - 1 - at)) > 0)
		at += (size_t)n;
	buf[at] = 0;
	return at;
}

unsigned exec_regions(struct region *out, unsigned max)
{
	static char buf[1 << 17];
	char *end = buf + read_maps(buf, sizeof(buf));
	unsigned n = 0;

	for (char *s = buf; s < end && n < max;) {
		struct region r;

		s = parse_line(s, &r);
		if (r.start < window_heap && r.end > window_heap)
			r.start = window_heap;
		if (in_window(r.start))
			out[n++] = r;
	}
	return n;
}

void exec_pages(u64_t start, unsigned n, unsigned char *out)
{
	static u64_t word[4096];

	if (pread(pagemap_fd, word, n * 8, (off_t)(start / PG * 8)) != (ssize_t)n * 8)
		fail("pagemap");
	if (syscall(SYS_mincore, start, n * PG, out))
		memset(out, 0, n);
	for (unsigned i = 0; i < n; i++)
		out[i] = (unsigned char)((out[i] & 1 ? PAGE_INCORE : 0) |
					 (word[i] >> 63 ? PAGE_PRESENT : 0) |
					 (word[i] >> 62 & 1 ? PAGE_SWAP : 0) |
					 (word[i] >> 61 & 1 ? PAGE_FILE : 0) |
					 (word[i] >> 56 & 1 ? PAGE_EXCLUSIVE : 0));
}

void exec_peek(u64_t page, u64_t *word, const unsigned *offset, unsigned n)
{
	struct access_result r = {0};

	for (unsigned i = 0; i < n; i++)
		word[i] = 0xdead;
	pending = &r;
	if (!sigsetjmp(back, 1))
		for (unsigned i = 0; i < n; i++)
			word[i] = *(volatile u64_t *)(page + offset[i]);
	pending = NULL;
}

/* ---- accesses ------------------------------------------------------------------------------ */

void exec_access(enum opcode code, u64_t addr, u64_t value, struct access_result *r)
{
	pending = r;
	if (!sigsetjmp(back, 1)) {
		if (code == OP_LOAD)
			r->value = *(volatile u64_t *)addr;
		else if (code == OP_STORE)
			*(volatile u64_t *)addr = value;
		else
			((void (*)(void))addr)();
	}
	pending = NULL;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static s64_t result(s64_t r)
{
	return r == -1 ? -errno : r;
}

static s64_t call_mincore(const u64_t *a, u64_t *value)
{
	static unsigned char vec[1 << 16];
	s64_t r;

	if (a[1] < PG * sizeof(vec))
		memset(vec, 0, (a[1] + PG - 1) / PG);
	r = result(syscall(SYS_mincore, a[0], a[1], vec));
	for (unsigned i = 0; !r && i < (a[1] + PG - 1) / PG; i++)
		*value = *value * 31 + (vec[i] & 1) + 1;
	return r;
}

static s64_t call_file(enum opcode code, const u64_t *a, u64_t *value)
{
	int fd = file[a[0] % FILES];

	switch (code) {
	case OP_FTRUNCATE:
		return result(ftruncate(fd, (off_t)a[1]));
	case OP_FALLOCATE:
		return result(fallocate(fd, (int)a[1], (off_t)a[2], (off_t)a[3]));
	case OP_PWRITE:
		return result(pwrite(fd, &a[2], 8, (off_t)a[1]));
	default:
		return result(pread(fd, value, 8, (off_t)a[1]));
	}
}

static int file_of(u64_t n)
{
	return n < FILES ? file[n] : -1;
}

s64_t exec_call(enum opcode code, const u64_t *a, u64_t *value)
{
	switch (code) {
	case OP_MMAP:
		return result(syscall(SYS_mmap, a[0], a[1], a[2], a[3], file_of(a[4]), a[5]));
	case OP_MUNMAP:
		return result(syscall(SYS_munmap, a[0], a[1]));
	case OP_MPROTECT:
		return result(syscall(SYS_mprotect, a[0], a[1], a[2]));
	case OP_MREMAP:
		return result(syscall(SYS_mremap, a[0], a[1], a[2], a[3], a[4]));
	case OP_MADVISE:
		return result(syscall(SYS_madvise, a[0], a[1], a[2]));
	case OP_BRK:
		return syscall(SYS_brk, a[0]);
	case OP_MSYNC:
		return result(syscall(SYS_msync, a[0], a[1], a[2]));
	case OP_MINCORE:
		return call_mincore(a, value);
	case OP_MLOCK:
		return result(syscall(SYS_mlock, a[0], a[1]));
	case OP_MLOCK2:
		return result(syscall(SYS_mlock2, a[0], a[1], a[2]));
	case OP_MUNLOCK:
		return result(syscall(SYS_munlock, a[0], a[1]));
	case OP_MLOCKALL:
		return result(syscall(SYS_mlockall, a[0]));
	case OP_MUNLOCKALL:
		return result(syscall(SYS_munlockall));
	case OP_REMAP_FILE_PAGES:
		return result(syscall(SYS_remap_file_pages, a[0], a[1], a[2], a[3], a[4]));
	case OP_READ_INTO:
		return result(syscall(SYS_pread64, file_of(a[2]), a[0], a[1], a[3]));
	case OP_WRITE_FROM:
		return result(syscall(SYS_pwrite64, file_of(a[2]), a[0], a[1], a[3]));
	default:
		return call_file(code, a, value);
	}
}

s64_t exec_fork(unsigned from, unsigned to)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		close(maps_fd);
		close(pagemap_fd);
		open_proc();
		run_ops(from, to);
		_exit(0);
	}
	if (pid < 0)
		return -errno;
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return status;
}
