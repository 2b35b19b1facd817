/* SPDX-License-Identifier: MIT */
/*
 * A batch of random system calls: one process, whose one to four threads share the
 * arena, the descriptors, and whatever they fork.
 *
 * What is done here is raw system calls, since the batch breaks all that libc stands on.
 * A timer's signal every few milliseconds ends calls that block; who forks gets a timer of
 * its own.
 */
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <ucontext.h>
#include <unistd.h>

#include "syscalls.h"

#define THREADS 4
#define STACKS 12
#define STACK_SIZE 65536UL
#define VERBOSE_FD 900
#define TICK_US 5000

static struct thread main_thread[THREADS];
static char stacks[THREADS + STACKS][STACK_SIZE] __attribute__((aligned(4096)));
static u32 next_stack;
static bool verbose;
static u32 tids[THREADS]; /* of the threads that the tick goes to */

static u64 raw(u64 nr, const u64 *a)
{
	register u64 r10 __asm__("r10") = a[3];
	register u64 r8 __asm__("r8") = a[4];
	register u64 r9 __asm__("r9") = a[5];
	u64 ret;
	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static u64 raw2(u64 nr, u64 a, u64 b)
{
	const u64 args[6] = {a, b};
	return raw(nr, args);
}

/* ---- touching memory: a fault makes the access return
 * -------------------------------------------- */

unsigned char access_read(u64 address);
void access_write(u64 address, unsigned char value);
void access_run(u64 address);
extern const char access_start[], access_end[], access_fault[];
__asm__(".text\n"
	"access_start:\n"
	"access_read: movb (%rdi), %al\n"
	"	ret\n"
	"access_write: movb %sil, (%rdi)\n"
	"access_fault: ret\n"
	"access_end:\n"
	"noop_restorer: movl $15, %eax\n"
	"	syscall\n"
	".globl noop_restorer\n");

/* The kernel passes three arguments whatever the flags are. */
void noop_handler(int sig, void *siginfo, void *context)
{
	const siginfo_t *info = siginfo;
	ucontext_t *u = context;
	u64 rip = (u64)u->uc_mcontext.gregs[REG_RIP];
	/* One thread got the timer's signal, but others may be blocked. */
	for (unsigned i = 0; sig == SIGALRM && i < THREADS; i++)
		if (tids[i])
			raw2(SYS_tkill, tids[i], SIGUSR1);
	if (sig != SIGSEGV && sig != SIGBUS && sig != SIGILL && sig != SIGFPE)
		return;
	if (rip >= (u64)access_start && rip < (u64)access_end)
		u->uc_mcontext.gregs[REG_RIP] = (greg_t)access_fault;
	else if (info->si_code > 0)
		raw2(SYS_exit_group, 77, 0);
}

/* ---- threads and children
 * -------------------------------------------------------------------------- */

static void run(struct thread *t);
static void tick_of_child(struct thread *t);

void child_entry(struct thread *t);
void child_entry(struct thread *t)
{
	if (t->depth)
		tick_of_child(t);
	else
		tids[t->index] = (u32)raw2(SYS_gettid, 0, 0);
	run(t);
	raw2(SYS_exit, 0, 0);
	__builtin_trap();
}

static void tick_of_child(struct thread *t)
{
	static const struct itimerval tick = {{0, TICK_US}, {0, TICK_US}};
	t->pid = raw2(SYS_getpid, 0, 0);
	raw2(SYS_setitimer, ITIMER_REAL, (u64)&tick);
}

/* clone() onto a stack of its own, where the child calls child_entry(t). */
u64 spawn(u64 flags, u64 stack, u64 parent_tid, u64 child_tid, u64 tls, struct thread *t);
__asm__(".text\n"
	"spawn: movq %rcx, %r10\n"
	"	subq $16, %rsi\n"
	"	movq %r9, (%rsi)\n"
	"	movl $56, %eax\n"
	"	syscall\n"
	"	testq %rax, %rax\n"
	"	jz 1f\n"
	"	ret\n"
	"1:	movq (%rsp), %rdi\n"
	"	xorl %ebp, %ebp\n"
	"	call child_entry\n"
	"	ud2\n");

static void divide(struct thread *child, const struct thread *t, u32 left)
{
	*child = *t;
	child->random[0] = child->random[0] * 0x9e3779b97f4a7c15 + 1;
	child->depth++;
	child->index = THREADS + child->depth % (LOGS - THREADS);
	child->left = left;
	child->child = 0;
}

static void do_spawn(struct thread *t)
{
	static const u64 sets[] = {
	    SIGCHLD,
	    CLONE_VM | SIGCHLD,
	    CLONE_VM | CLONE_VFORK | SIGCHLD,
	    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
	    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD,
	    CLONE_VM | CLONE_SIGHAND | SIGCHLD,
	    CLONE_FILES | CLONE_FS,
	};
	if (t->depth >= 3)
		return;
	u64 flags = sets[below(t, sizeof(sets) / sizeof(sets[0]))];
	static const u64 more[] = {
	    CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, CLONE_PARENT_SETTID, CLONE_SETTLS, 0, 0};
	for (unsigned i = 0; i < 2; i++)
		flags |= more[below(t, 6)];
	char *stack =
	    stacks[THREADS + __atomic_fetch_add(&next_stack, 1, __ATOMIC_RELAXED) % STACKS];
	struct thread *child = (struct thread *)stack;
	divide(child, t, 5 + (u32)below(t, 20));
	u64 r = spawn(flags, (u64)stack + STACK_SIZE, arena_address(t), arena_address(t),
		      arena_address(t), child);
	if ((s64)r > 0)
		t->child = r;
}

static bool makes_child(u64 nr)
{
	return nr == SYS_fork || nr == SYS_vfork || nr == SYS_clone || nr == SYS_clone3;
}

/* ---- the log
 * ------------------------------------------------------------------------------------------ */

static char *append(char *p, const char *s)
{
	while (*s)
		*p++ = *s++;
	return p;
}

static char *append_hex(char *p, u64 v)
{
	char digits[16];
	int n = 0;
	p = append(p, " 0x");
	do
		digits[n++] = "0123456789abcdef"[v & 15];
	while (v >>= 4);
	while (n)
		*p++ = digits[--n];
	return p;
}

static void print_call(const struct thread *t, const struct call *c, bool after)
{
	char line[256], *p = line;
	*p++ = (char)('0' + t->index);
	p = append(p, ": ");
	p = append(p, c->nr < 512 && call_name[c->nr] ? call_name[c->nr] : "?");
	if (after) {
		p = append_hex(append(p, " ="), c->ret);
	} else {
		p = append_hex(p, c->nr);
		for (unsigned i = 0; i < 6; i++)
			p = append_hex(p, c->arg[i]);
	}
	*p++ = '\n';
	const u64 a[6] = {VERBOSE_FD, (u64)line, (u64)(p - line)};
	raw(SYS_write, a);
}

/* ---- the calls
 * ------------------------------------------------------------------------------------------ */

static void one_call(struct thread *t)
{
	struct call c = {0};
	struct batch_log *log = t->log;
	u64 n = log->of[t->index].n++;
	struct call *l = &log->of[t->index].call[n % LOG_CALLS];

	choose_call(t, &c);
	*l = c;
	if (verbose)
		print_call(t, &c, false);
	__atomic_fetch_add(&log->calls, 1, __ATOMIC_RELAXED);
	if (c.nr < 512)
		__atomic_fetch_add(&log->nr_count[c.nr], 1, __ATOMIC_RELAXED);
	c.ret = raw(c.nr, c.arg);
	if (!c.ret && makes_child(c.nr)) {
		struct thread child; /* on the stack: after vfork this is the parent's memory */
		divide(&child, t, 3 + (u32)below(t, 20));
		tick_of_child(&child);
		run(&child);
		raw2(SYS_exit_group, 0, 0);
	}
	if (makes_child(c.nr) && (s64)c.ret > 0)
		t->child = c.ret;
	l->ret = c.ret;
	l->done = 1;
	if (verbose)
		print_call(t, &c, true);
}

static void touch(struct thread *t)
{
	u64 a = arena_address(t) + below(t, PAGE);
	if (below(t, 2))
		access_write(a, (unsigned char)a);
	else
		access_read(a);
}

static void run(struct thread *t)
{
	if (t->depth > 3)
		return;
	while (t->left) {
		t->left--;
		u64 what = below(t, 256);
		if (what < 24)
			touch(t);
		else if (what < 27)
			do_spawn(t);
		else
			one_call(t);
	}
}

/* ---- the beginning, with libc still whole
 * ------------------------------------------------------------------ */

static void make_files(void)
{
	int fd[2];
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "s0"};
	sigset_t s;
	static const char *const names[] = {"f0", "f1", "f2", "f3"};
	static const char *const others[] = {
	    "/dev/zero",          "/dev/full",   "/dev/ptmx",      "/proc/self/maps",
	    "/proc/self/pagemap", "/etc/passwd", "/proc/self/exe", "/proc/self/clear_refs",
	    "/dev/urandom"};
	mkdir("d0", 0777);
	mkdir("d1", 0777);
	for (unsigned i = 0; i < 4; i++) {
		int f = open(names[i], O_RDWR | O_CREAT, 0666);
		if (f >= 0 && ftruncate(f, (off_t)(i * 5000)))
			continue;
	}
	if (ftruncate((int)syscall(SYS_memfd_create, "a", 2), 100000) ||
	    ftruncate((int)syscall(SYS_memfd_create, "b", 0), 10))
		_exit(99);
	for (int i = 0; i < 2; i++) {
		if (pipe2(fd, i ? O_NONBLOCK : 0) ||
		    socketpair(AF_UNIX, i ? SOCK_DGRAM : SOCK_STREAM | SOCK_NONBLOCK, 0, fd))
			_exit(99);
	}
	eventfd(1, EFD_NONBLOCK);
	timerfd_create(CLOCK_MONOTONIC, 0);
	int e = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN};
	epoll_ctl(e, EPOLL_CTL_ADD, fd[0], &event);
	sigfillset(&s);
	signalfd(-1, &s, SFD_NONBLOCK);
	open(".", O_RDONLY);
	open("d0", O_RDONLY);
	int l = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	unlink("s0");
	if (!bind(l, (struct sockaddr *)&a, sizeof(a)))
		listen(l, 3);
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		int f = open(others[i], O_RDWR | O_NOCTTY);
		if (f < 0)
			open(others[i], O_RDONLY);
	}
	syscall(SYS_pidfd_open, getpid(), 0);
}

static void make_signals(void)
{
	struct sigaction sa = {.sa_flags = SA_SIGINFO};
	sa.sa_sigaction = (void (*)(int, siginfo_t *, void *))noop_handler;
	for (int i = 1; i < 65; i++)
		sigaction(i, &sa, NULL);
}

static void make_memory(void)
{
	mmap((void *)ARENA, 32 * PAGE, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	mmap((void *)(ARENA + 32 * PAGE), 16 * PAGE, PROT_READ | PROT_WRITE,
	     MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	mmap((void *)(ARENA + 48 * PAGE), 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
	     7, 0);
	mmap((void *)(ARENA + 56 * PAGE), 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
	     7, 0);
}

static void lower(bool root)
{
	struct rlimit file = {16 << 20, 16 << 20}, mem = {512 << 20, 512 << 20}, core = {0, 0};
	setrlimit(RLIMIT_FSIZE, &file);
	setrlimit(RLIMIT_AS, &mem);
	setrlimit(RLIMIT_CORE, &core);
	if (root)
		return;
	struct rlimit locked = {4 << 20, 4 << 20};
	setrlimit(RLIMIT_MEMLOCK, &locked);
	if (setgroups(0, NULL) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		_exit(98);
}

void batch_run(u64 seed, u32 calls, struct batch_log *log, bool tell, bool root)
{
	setsid();
	if (tell) {
		verbose = true;
		dup3(1, VERBOSE_FD, O_CLOEXEC);
	}
	int null = open("/dev/null", O_RDWR);
	for (int i = 0; i < 3; i++)
		dup2(null, i);
	close(null);
	bool was_root = !getuid();
	if (was_root)
		lower(root);
	make_files();
	make_memory();
	make_signals();
	u32 threads = seed % 4 ? 1 + (u32)(seed / 4 % THREADS) : 1;
	for (u32 i = 0; i < threads; i++) {
		struct thread *t = &main_thread[i];
		t->random[0] = (seed * THREADS + i + 1) * 0x9e3779b97f4a7c15;
		t->random[1] = 0x2545f4914f6cdd1d ^ seed;
		for (int k = 0; k < 8; k++)
			next_random(t);
		t->index = i;
		t->left = calls / threads;
		t->pid = (u64)getpid();
		t->may_hurt = was_root && !root;
		t->log = log;
	}
	for (u32 i = 1; i < threads; i++)
		spawn(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD,
		      (u64)stacks[i] + STACK_SIZE, 0, 0, 0, &main_thread[i]);
	tick_of_child(&main_thread[0]);
	child_entry(&main_thread[0]);
}
