/* SPDX-License-Identifier: MIT */
/*
 * Segments: selectors of every value in every register, modify_ldt, ptrace, and whose the
 * registers are when tasks and threads share a CPU.  Prints what it finds; the same on
 * Linux 6.1 and on Quire.
 */
#include "segments.h"

/* ---- faults ------------------------------------------------------------------------------- */

static volatile u64 resume; /* where to go on after a fault */
static volatile u32 faulted, fault_err;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
	(void)info;
	if (!resume) {
		signal(sig, SIG_DFL);
		return;
	}
	faulted = (u32)g[REG_TRAPNO];
	fault_err = (u32)g[REG_ERR];
	g[REG_RIP] = (greg_t)resume;
}

#define TRY(seg, sel, got)                                                    \
	__asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %1\n"              \
			 "rdfsbase %%rax; mov %2, %%" #seg "\n1: mov %%" #seg \
			 ", %0; wrfsbase %%rcx"                               \
			 : "=&r"(got), "=m"(resume)                           \
			 : "r"(sel), "c"(fs_base())                           \
			 : "rax", "memory")

static void load_all(const char *name, int seg, u32 from, u32 to)
{
	printf("%s takes", name);
	for (u32 sel = from; sel < to; sel++) {
		u32 got = 0, old = seg == 4 ? GET(ss) : 0;
		faulted = fault_err = 0;
		switch (seg) {
		case 0:
			TRY(ds, sel, got);
			SET(ds, 0);
			break;
		case 1:
			TRY(es, sel, got);
			SET(es, 0);
			break;
		case 2:
			TRY(fs, sel, got);
			set_fs(0);
			break;
		case 3:
			TRY(gs, sel, got);
			SET(gs, 0);
			break;
		case 4:
			TRY(ss, sel, got);
			SET(ss, old);
			break;
		}
		resume = 0;
		if (!faulted)
			printf(" %x", sel);
		else if (faulted != 13 || fault_err != (sel & ~3u))
			printf(" (%x: %u %x)", sel, faulted, fault_err);
		/* DS and ES may lose a null selector's low bits at any interrupt */
		if (!faulted && got != sel && (seg > 1 || sel > 3))
			printf("->%x", got);
	}
	printf("\n");
}

static void test_tables(u32 from, u32 to)
{
	for (u32 sel = from; sel < to; sel++) {
		u32 ar = 0, limit = 0;
		char has_ar, has_limit, r, w;
		__asm__ volatile("lar %2, %0; setz %1" : "+r"(ar), "=q"(has_ar) : "r"(sel));
		__asm__ volatile("lsl %2, %0; setz %1" : "+r"(limit), "=q"(has_limit) : "r"(sel));
		__asm__ volatile("verr %w1; setz %0" : "=q"(r) : "r"(sel));
		__asm__ volatile("verw %w1; setz %0" : "=q"(w) : "r"(sel));
		if (has_ar || has_limit || r || w)
			printf("%x: rights %x limit %x%s%s\n", sel, has_ar ? ar : 0,
			       has_limit ? limit : 0, r ? " r" : "", w ? " w" : "");
	}
}

static void test_loads(u32 from, u32 to)
{
	static const char *const name[] = {"ds", "es", "fs", "gs", "ss"};
	handle(SIGSEGV, on_fault, 0);
	handle(SIGBUS, on_fault, 0);
	for (int i = 0; i < 5; i++)
		load_all(name[i], i, from, to);
}

/* ---- modify_ldt --------------------------------------------------------------------------- */

/* Is what is there all? */
static void no_more(u32 from)
{
	for (u32 i = from; i < 8192; i += 97)
		if (entry(i))
			printf("entry %u isn't 0\n", i);
}

static void test_modify(void)
{
	static u64 table[9000];
	void *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	u32 d[4] = {0, 0, 0, 0x28};
	printf("no table: read %lx, none %lx\n", raw(SYS_modify_ldt, 0, (u64)table, 64),
	       raw(SYS_modify_ldt, 0, (u64)none, 64));
	memset(table, 0xee, sizeof(table));
	u64 r = raw(SYS_modify_ldt, 2, (u64)table, 1000);
	printf("default: %lx, %lx %lx; %lx", r, table[15], table[16],
	       raw(SYS_modify_ldt, 2, (u64)table, 3));
	printf(" %lx %lx\n", raw(SYS_modify_ldt, 2, (u64)none, 100),
	       raw(SYS_modify_ldt, 2, 1UL << 63, 0));
	for (int f = -1; f < 0x13; f++)
		printf("func %d: %lx\n", f, raw(SYS_modify_ldt, f, (u64)d, 15));
	for (int f = 1; f <= 0x11; f += 0x10) {
		printf("func %d, bad: %lx", f, raw(SYS_modify_ldt, f, (u64)none, 16));
		printf(" %lx", raw(SYS_modify_ldt, f, (u64)none, 17));
		printf(" %lx", change(f, 8192, 0, 0, 0));
		printf(" %lx", change(f, ~0u, 0, 0, 0));
		printf(" %lx", change(f, 0, 0, 1, 6));
		printf(" %lx", change(f, 0, 0, 1, 6 | 0x20));
		printf(" %lx\n", change(f, 8192, 0, 0, 6));
	}
	printf("wide function: %lx\n", raw(SYS_modify_ldt, 0x500000011UL, (u64)d, 15));
	u32 seed = 1;
	for (u32 i = 0; i < 200; i++) {
		u32 v[4];
		for (int j = 0; j < 4; j++) {
			seed = seed * 1103515245 + 12345;
			v[j] = seed >> 8;
		}
		v[0] = i % 3 ? v[0] % 24 : i % 24;
		if (i % 5 == 0)
			v[1] = 0;
		if (i % 7 == 0)
			v[2] = 0;
		if (i % 35 == 0)
			v[3] = i % 2 ? 0x28 : 0xa8;
		v[1] |= v[1] << 8;
		u64 got = change(i & 1 ? 1 : 0x11, v[0], v[1], v[2], v[3]);
		printf("%s %2u %8x %6x %2x: %lx %016lx\n", i & 1 ? "old" : "new", v[0], v[1], v[2],
		       v[3] & 0xff, got, entry(v[0]));
	}
	no_more(24);
	printf("last: %lx %016lx", change(0x11, 8191, 0x12345678, 0xfffff, 1), entry(8191));
	printf(", parts: %lx", raw(SYS_modify_ldt, 0, (u64)table, 20));
	printf(" %lx", raw(SYS_modify_ldt, 0, (u64)table, 1UL << 40));
	printf(" %lx", raw(SYS_modify_ldt, 0, (u64)none, 20));
	printf(" %lx\n", raw(SYS_modify_ldt, 0, (u64)none, 0));
	munmap(none, 4096);
}

/* ---- whose the registers are ----------------------------------------------------------------- */

static int to_other[2], to_main[2];

static void wake(int *p)
{
	if (write(p[1], "x", 1) != 1)
		_exit(9);
}

static void await(int *p)
{
	char c;
	if (read(p[0], &c, 1) != 1)
		_exit(9);
}

static void *other_thread(void *arg)
{
	(void)arg;
	show("a new thread");
	SET(ds, LDT(0));
	SET(es, LDT(0));
	SET(gs, LDT(0));
	show("with the LDT's");
	wake(to_main);
	await(to_other);
	show("with another base there");
	wake(to_main);
	await(to_other);
	show("with none there");
	set_gs_base(0x123456789000);
	SET(es, 0x2b);
	wake(to_main);
	await(to_other);
	show("with its own base");
	return NULL;
}

static void test_threads(void)
{
	pthread_t t;
	pin();
	if (pipe(to_other) || pipe(to_main))
		return;
	change(0x11, 0, 0x1234000, 0xfffff, 0x11);
	SET(es, 0x2b);
	SET(gs, 0x2b);
	set_fs(0x2b);
	set_gs_base(0x7654321000);
	pthread_create(&t, NULL, other_thread, NULL);
	await(to_main);
	show("main");
	set_fs(0);
	change(0x11, 0, 0x5678000, 0xfffff, 0x11);
	wake(to_other);
	await(to_main);
	SET(ds, LDT(0));
	SET(es, LDT(0));
	change(0x11, 0, 0, 0, 0x28);
	printf("main's own, gone: ds %x es %x\n", GET(ds), GET(es));
	wake(to_other);
	await(to_main);
	show("main");
	wake(to_other);
	pthread_join(t, NULL);
}

static void fork_child(void)
{
	show("after fork");
	printf("its entry: %016lx\n", entry(0));
	change(0x11, 0, 0x9999000, 1, 1);
	printf("changed: %016lx\n", entry(0));
}

static void exec_child(void)
{
	SET(ds, LDT(0));
	SET(es, 0x2b);
	set_fs(LDT(0));
	show("before exec");
	execl("/proc/self/exe", "segments", "exec", NULL);
}

static void after_exec(void)
{
	static u64 table[4];
	show("after exec");
	printf("its table: %lx\n", raw(SYS_modify_ldt, 0, (u64)table, 32));
}

static void test_fork(void)
{
	change(0x11, 0, 0x1234000, 0xfffff, 0x11);
	SET(es, LDT(0));
	SET(gs, LDT(0));
	set_fs(0x2b);
	child(fork_child);
	printf("the parent's: %016lx\n", entry(0));
	child(exec_child);
	SET(es, 0);
	SET(gs, 0);
	set_fs(0);
}

static void expect(const char *who, u32 ds, u32 es, u32 fs, u32 gs, u64 base)
{
	if (GET(ds) != ds || GET(es) != es || GET(fs) != fs || GET(gs) != gs || gs_base() != base)
		show(who);
}

static void leak_child(void)
{
	for (u32 i = 0; i < 8; i++) {
		await(to_other);
		expect("child", i ? 0x2b : 0, i ? 0x2b : 0, i ? 0x2b : 0, i ? 0x2b : 0,
		       i ? 0x5000 + i - 1 : 0);
		SET(ds, 0x2b);
		SET(es, 0x2b);
		SET(gs, 0x2b);
		set_fs(0x2b);
		set_gs_base(0x5000 + i);
		wake(to_main);
	}
}

/* Two processes on one CPU. */
static void test_leak(void)
{
	pin();
	if (pipe(to_other) || pipe(to_main))
		return;
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		leak_child();
		fflush(stdout);
		_exit(0);
	}
	for (u32 i = 0; i < 8; i++) {
		wake(to_other);
		await(to_main);
		expect("parent", 0, i > 4 ? 0x2b : 0, 0, i == 4 ? 3 : 0, i > 2 ? 0x777000 : 0);
		if (i == 2)
			set_gs_base(0x777000);
		if (i == 3) {
			SET(gs, 3);
			set_gs_base(0x777000);
		}
		if (i == 4) {
			SET(es, 0x28 | 3);
			SET(gs, 0);
			set_gs_base(0x777000);
		}
	}
	waitpid(pid, NULL, 0);
	printf("nothing leaked\n");
}

/* ---- bases ---------------------------------------------------------------------------------- */

static void bases(const char *what)
{
	u64 fs = 0, gs = 0;
	raw(SYS_arch_prctl, ARCH_GET_FS, (u64)&fs, 0);
	raw(SYS_arch_prctl, ARCH_GET_GS, (u64)&gs, 0);
	printf("%s: fs %x gs %x, bases %s %lx %lx\n", what, GET(fs), GET(gs),
	       fs == fs_base() ? "alike" : "not", gs, gs_base());
}

static void test_bases(void)
{
	bases("at first");
	SET(gs, 0x2b);
	set_fs(0x2b);
	set_gs_base(0x1111);
	bases("loaded");
	u64 fs = fs_base();
	printf("set: %lx", raw(SYS_arch_prctl, ARCH_SET_GS, 0x7fffffffefff, 0));
	bases("");
	SET(gs, 1);
	bases("null");
	printf("too high: %lx %lx", raw(SYS_arch_prctl, ARCH_SET_GS, 0x7ffffffff000, 0),
	       raw(SYS_arch_prctl, ARCH_SET_FS, 1UL << 63, 0));
	bases("");
	printf("fs: %lx", raw(SYS_arch_prctl, ARCH_SET_FS, fs, 0));
	bases("");
	printf("bad: %lx %lx\n", raw(SYS_arch_prctl, ARCH_GET_FS, 8, 0),
	       raw(SYS_arch_prctl, 0x1000, 8, 0));
	set_gs_base(0xffff800000001000);
	bases("the kernel's half");
	change(0x11, 0, 0xfffff000, 0xfffff, 0x11);
	SET(gs, LDT(0));
	bases("LDT");
	SET(gs, 0);
	bases("null");
}

/* ---- ptrace --------------------------------------------------------------------------------- */

static void tracee(void)
{
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	change(0x11, 0, 0x1234000, 0xfffff, 0x11);
	SET(es, LDT(0));
	SET(gs, LDT(0));
	raise(SIGSTOP);
	show("the tracee");
	raise(SIGSTOP);
	show("the tracee");
}

static u64 peek(pid_t pid, size_t at)
{
	errno = 0;
	return (u64)ptrace(PTRACE_PEEKUSER, pid, at, 0);
}

#define REG(r) offsetof(struct user_regs_struct, r)
static void test_ptrace(void)
{
	static const u64 value[] = {0,    1,    3,    4,      7,       0x23,   0x28,   0x2a,
				    0x2b, 0x33, 0x6b, LDT(1), 0x1002b, 0xffff, 0x10000};
	static const struct {
		const char *name;
		size_t at;
	} reg[] = {{"cs", REG(cs)}, {"ss", REG(ss)}, {"ds", REG(ds)},
		   {"es", REG(es)}, {"fs", REG(fs)}, {"gs", REG(gs)}};
	fflush(stdout);
	pid_t pid = fork();
	int st;
	if (!pid) {
		tracee();
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, &st, 0);
	for (u32 i = 0; i < 6; i++) {
		u64 old = peek(pid, reg[i].at);
		printf("%s was %lx:", reg[i].name, old);
		for (u32 j = 0; j < sizeof(value) / sizeof(*value); j++) {
			long r = ptrace(PTRACE_POKEUSER, pid, reg[i].at, value[j]);
			const char *name = strerrorname_np(errno);
			printf(" %lx %s %lx,", value[j], r < 0 ? name : "ok", peek(pid, reg[i].at));
		}
		ptrace(PTRACE_POKEUSER, pid, reg[i].at, old);
		printf(" %lx\n", peek(pid, reg[i].at));
	}
	printf("gs base %lx:", peek(pid, REG(gs_base)));
	for (u64 v = 0x1000; v; v <<= 4) {
		long r = ptrace(PTRACE_POKEUSER, pid, REG(gs_base), v);
		const char *name = strerrorname_np(errno);
		printf(" %s %lx", r < 0 ? name : "ok", peek(pid, REG(gs_base)));
	}
	printf("\narch_prctl %d", (int)ptrace(PTRACE_ARCH_PRCTL, pid, 0x4321000, ARCH_SET_GS));
	printf(": gs %lx base %lx\n", peek(pid, REG(gs)), peek(pid, REG(gs_base)));
	ptrace(PTRACE_POKEUSER, pid, REG(ds), 0x2b);
	ptrace(PTRACE_POKEUSER, pid, REG(es), LDT(5));
	ptrace(PTRACE_CONT, pid, 0, 0);
	waitpid(pid, &st, 0);
	printf("es %lx ds %lx\n", peek(pid, REG(es)), peek(pid, REG(ds)));
	struct user_regs_struct r;
	ptrace(PTRACE_GETREGS, pid, 0, &r);
	r.gs = LDT(0);
	r.gs_base = 0x99000;
	r.es = 0;
	printf("set %d\n", (int)ptrace(PTRACE_SETREGS, pid, 0, &r));
	ptrace(PTRACE_CONT, pid, 0, 0);
	waitpid(pid, &st, 0);
	printf("end %x\n", st);
	/* CS and SS that aren't there: a signal, and the tracer sees them */
	for (u32 i = 0; i < 2; i++) {
		fflush(stdout);
		pid = fork();
		if (!pid) {
			ptrace(PTRACE_TRACEME, 0, 0, 0);
			raise(SIGSTOP);
			_exit(0);
		}
		waitpid(pid, &st, 0);
		ptrace(PTRACE_POKEUSER, pid, i ? REG(ss) : REG(cs), 0x7b);
		ptrace(PTRACE_CONT, pid, 0, 0);
		waitpid(pid, &st, 0);
		printf("bad: %x cs %lx ss %lx\n", st, peek(pid, REG(cs)), peek(pid, REG(ss)));
		ptrace(PTRACE_CONT, pid, 0, 0); /* without the signal: once more */
		waitpid(pid, &st, 0);
		printf("again: %x\n", st);
		kill(pid, SIGKILL);
		waitpid(pid, &st, 0);
	}
}

/* Single steps in 32-bit code at an offset: what a flag-setting instruction is there. */
__asm__(".pushsection .text; .code32\n"
	"step32: nop; inc %eax; popf; nop; inc %eax; pushf; nop; .byte 0x66; popf; nop; int3\n"
	".code64; .popsection");
extern const char step32[];

static void stepped(void)
{
	mmap((void *)0x10000000, 8192, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	make_segments();
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	_exit(1);
}

static void test_steps(void)
{
	struct user_regs_struct r;
	int st;
	fflush(stdout);
	pid_t pid = fork();
	if (!pid)
		stepped();
	waitpid(pid, &st, 0);
	ptrace(PTRACE_GETREGS, pid, 0, &r);
	r.cs = LDT(11);
	r.rip = (u64)step32 - segment[11].base;
	r.rsp = 0x10001000;
	r.eflags &= ~0xffUL;
	ptrace(PTRACE_SETREGS, pid, 0, &r);
	for (int i = 0; i < 10; i++) {
		ptrace(PTRACE_SINGLESTEP, pid, 0, 0);
		waitpid(pid, &st, 0);
		ptrace(PTRACE_GETREGS, pid, 0, &r);
		printf("step: %x at +%lx sp %lx trap flag %d, on the stack %lx\n", st,
		       (u64)r.rip + segment[11].base - (u64)step32, (u64)r.rsp - 0x10001000,
		       !!(r.eflags & 0x100),
		       (u64)ptrace(PTRACE_PEEKDATA, pid, 0x10001000, 0) & 0x100);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &st, 0);
}

/* ---- ports ---------------------------------------------------------------------------------- */

static bool port(u32 n)
{
	faulted = 0;
	__asm__ volatile("lea 1f(%%rip), %%rcx; mov %%rcx, %0; out %%al, %%dx; 1:"
			 : "=m"(resume)
			 : "a"(0), "d"(n)
			 : "rcx", "memory");
	resume = 0;
	return !faulted;
}

static void ports(const char *what)
{
	static const u32 n[] = {0x80, 0x81, 0x87, 0xed, 0xffff};
	printf("%s:", what);
	for (u32 i = 0; i < 5; i++)
		printf(" %x %s", n[i], port(n[i]) ? "ok" : "no");
	/* 16 bits at 0x87: two bytes of the map */
	faulted = 0;
	__asm__ volatile("lea 1f(%%rip), %%rcx; mov %%rcx, %0; in %%dx, %%ax; 1:"
			 : "=m"(resume)
			 : "d"(0x87)
			 : "rcx", "rax", "memory");
	printf(" wide %s", faulted ? "no" : "ok");
	faulted = 0;
	__asm__ volatile("lea 1f(%%rip), %%rcx; mov %%rcx, %0; cli; sti; 1:"
			 : "=m"(resume)
			 :
			 : "rcx", "memory");
	resume = 0;
	printf(" cli %s\n", faulted ? "no" : "ok");
}

static void ports_child(void)
{
	ports("a child");
	printf("more: %lx\n", raw(SYS_ioperm, 0x80, 8, 1));
	ports("a child with more");
}

static void *ports_thread(void *arg)
{
	(void)arg;
	ports("a thread");
	raw(SYS_ioperm, 0, 65536, 0);
	ports("a thread with none");
	return NULL;
}

static void test_ports(void)
{
	static const u64 bad[][2] = {{0, 0},     {65535, 1}, {65535, 2},
				     {65536, 1}, {~0UL, 1},  {0, 65537}};
	pthread_t t;
	pin();
	handle(SIGSEGV, on_fault, 0);
	for (u32 i = 0; i < 6; i++)
		printf("%lx + %lx: off %lx", bad[i][0], bad[i][1],
		       raw(SYS_ioperm, bad[i][0], bad[i][1], 0)),
		    printf(" on %lx\n", raw(SYS_ioperm, bad[i][0], bad[i][1], 1));
	ports("at first");
	raw(SYS_ioperm, 65535, 1, 0);
	raw(SYS_ioperm, 0x80, 1, 1);
	raw(SYS_ioperm, 0x87, 2, 1);
	ports("some");
	child(ports_child);
	ports("afterwards");
	pthread_create(&t, NULL, ports_thread, NULL);
	pthread_join(t, NULL);
	ports("afterwards");
	for (u64 level = 0; level < 5; level++) {
		printf("level %lu: %lx\n", level, raw(SYS_iopl, level, 0, 0));
		ports("so");
	}
	child(ports_child);
	raw(SYS_ioperm, 0x87, 1, 0);
	printf("%d", setresuid(1, 1, 1));
	printf(" on %lx", raw(SYS_ioperm, 0x81, 1, 1));
	printf(" off %lx", raw(SYS_ioperm, 0x80, 1, 0));
	printf(" 3: %lx", raw(SYS_iopl, 3, 0, 0));
	printf(" 1: %lx", raw(SYS_iopl, 1, 0, 0));
	printf(" 2: %lx\n", raw(SYS_iopl, 2, 0, 0));
	ports("another user");
}

static void test_gdt(void)
{
	printf("cs %x ss %x\n", GET(cs), GET(ss));
	show("at first");
	test_tables(0, 0x80);
	test_loads(0, 0x80);
}

static void test_ldt(void)
{
	make_segments();
	test_tables(4, 0x80);
	test_loads(4, 0x80);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} part[] = {{"gdt", test_gdt},         {"modify_ldt", test_modify}, {"ldt", test_ldt},
		    {"threads", test_threads}, {"fork", test_fork},         {"leak", test_leak},
		    {"bases", test_bases},     {"ptrace", test_ptrace},     {"steps", test_steps},
		    {"ports", test_ports}};
	setvbuf(stdout, NULL, _IOFBF, 1 << 20);
	if (argc > 1 && !strcmp(argv[1], "exec"))
		after_exec();
	else
		for (u32 i = 0; i < sizeof(part) / sizeof(*part); i++) {
			if (argc > 1 && strcmp(argv[1], part[i].name))
				continue;
			printf("== %s\n", part[i].name);
			if (!i)
				pin();
			child(part[i].fn);
		}
	return 0;
}
