/* SPDX-License-Identifier: MIT */
/*
 * Programs as a process of the system it runs on: real Linux, or Quire's kernel.
 *
 * A static program.  It allocates nothing while a program runs, so that all
 * mappings that come and go are the program's own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "linux.h"

#define TABLE (2UL << 20)

int file[FILES], segment[SEGMENTS];
int maps_fd, pagemap_fd, smaps_fd, status_fd, meminfo_fd, self_fd;
static sigjmp_buf back;
static struct access_result *volatile pending;

void fail(const char *what)
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
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};

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
	if (fd >= 0 && write(fd, newer ? "1" : "0", 1) != 1)
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

void open_proc(void)
{
	maps_fd = open("/proc/self/maps", O_RDONLY);
	pagemap_fd = open("/proc/self/pagemap", O_RDONLY);
	smaps_fd = open("/proc/self/smaps", O_RDONLY);
	status_fd = open("/proc/self/status", O_RDONLY);
	meminfo_fd = open("/proc/meminfo", O_RDONLY);
	self_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (maps_fd < 0 || pagemap_fd < 0 || smaps_fd < 0 || status_fd < 0 || self_fd < 0)
		fail("/proc/self");
}

void close_proc(void)
{
	close(maps_fd);
	close(pagemap_fd);
	close(smaps_fd);
	close(status_fd);
	close(meminfo_fd);
	close(self_fd);
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

/* The last one is the one before it, opened for reading only. */
static void make_files(void)
{
	char name[32];

	for (int i = 0; i < FILES; i++) {
		bool memfd = i < 2, again = i == FILES - 1;

		if (memfd)
			snprintf(name, sizeof(name), "q%d", i);
		else if (!again)
			snprintf(name, sizeof(name), "/dev/shm/q%d.%d", i, getpid());
		file[i] = memfd   ? memfd_create(name, MFD_ALLOW_SEALING)
			  : again ? open(name, O_RDONLY)
				  : open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
		if (again)
			unlink(name);
		if (file[i] < 0 || (!again && ftruncate(file[i], i == 1 ? 5000 : 16 * PG)))
			fail(name);
	}
}

/* Attached once outside the windows, so that they last as long as the program. */
static void make_segments(void)
{
	for (int i = 0; i < SEGMENTS; i++) {
		segment[i] = shmget(IPC_PRIVATE, i ? 9000 : 5 * PG, IPC_CREAT | 0600);
		void *at = (void *)(0x1000000000UL + ((u64_t)i << 24));
		if (segment[i] < 0 || shmat(segment[i], at, 0) != at)
			fail("shmat");
		shmctl(segment[i], IPC_RMID, NULL);
	}
}

/* So much of the stack is there from now on. */
static __attribute__((noinline)) void grow_stack(void)
{
	volatile char room[64 << 10];

	for (size_t i = 0; i < sizeof(room); i += PG)
		room[i] = 1;
}

/* What the port begins with. */
static void set_limits(void)
{
	static const int all[] = {RLIMIT_AS, RLIMIT_DATA, RLIMIT_MEMLOCK};
	struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY}, stack = {8 << 20, RLIM_INFINITY};

	/* Where it isn't allowed, as on a host, programs keep their rights: newer. */
	for (unsigned i = 0; i < 3; i++)
		if (setrlimit(all[i], &none) && !newer)
			fail("setrlimit");
	if (setrlimit(RLIMIT_STACK, &stack) && !newer)
		fail("setrlimit");
}

void exec_start(void)
{
	u64_t brk;

	set_limits();
	grow_stack();
	make_files();
	make_segments();
	open_proc();
	brk = (u64_t)syscall(SYS_brk, 0);
	window_heap = (brk + TABLE) & ~(TABLE - 1);
	if ((u64_t)syscall(SYS_brk, window_heap) != window_heap)
		fail("brk");
	*(volatile char *)(window_heap - 1) = 1;
	window_top = top_of_window();
	usage_begin();
}

/* ---- accesses ------------------------------------------------------------------------------ */

void exec_access(enum opcode code, u64_t addr, u64_t value, struct access_result *r)
{
	pending = r;
	if (!sigsetjmp(back, 0)) {
		if (code == OP_LOAD)
			r->value = *(volatile u64_t *)addr;
		else if (code == OP_STORE)
			*(volatile u64_t *)addr = value;
		else
			((void (*)(void))addr)();
	}
	pending = NULL;
}

void exec_peek(u64_t page, u64_t *word, const unsigned *offset, unsigned n)
{
	struct access_result r = {0};

	for (unsigned i = 0; i < n; i++)
		word[i] = 0xdead;
	pending = &r;
	if (!sigsetjmp(back, 0))
		for (unsigned i = 0; i < n; i++)
			word[i] = *(volatile u64_t *)(page + offset[i]);
	pending = NULL;
}

/* ---- other processes, and threads --------------------------------------------------------- */

static _Alignas(16) char stack[DEEPEST][256 << 10];
static unsigned stacks;

struct job {
	unsigned from, to;
};

static int run_job(void *arg)
{
	const struct job *job = arg;

	run_ops(job->from, job->to);
	return 0;
}

static s64_t nested_fork(struct job *job)
{
	long pid = syscall(SYS_fork);
	int status;

	if (!pid) {
		close_proc();
		open_proc();
		run_job(job);
		_exit(0);
	}
	if (pid < 0 || waitpid((pid_t)pid, &status, 0) != pid)
		return -errno;
	return status;
}

static s64_t nested_vfork(struct job *job, char *top)
{
	int pid = clone(run_job, top, CLONE_VM | CLONE_VFORK | SIGCHLD, job), status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -errno;
	return status;
}

static s64_t nested_thread(struct job *job, char *top)
{
	int alive, n;

	if (clone(run_job, top,
		  CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
		      CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID,
		  job, &alive, NULL, &alive) < 0)
		return -errno;
	while ((n = __atomic_load_n(&alive, __ATOMIC_ACQUIRE)))
		syscall(SYS_futex, &alive, FUTEX_WAIT, n, NULL, NULL, 0);
	return 0;
}

s64_t exec_nested(enum opcode code, unsigned from, unsigned to)
{
	struct job job = {from, to};
	s64_t r;

	if (code == OP_FORK)
		return nested_fork(&job);
	char *top = stack[stacks++] + sizeof(stack[0]);
	r = code == OP_THREAD ? nested_thread(&job, top) : nested_vfork(&job, top);
	stacks--;
	return r;
}
