/* SPDX-License-Identifier: MIT */
/*
 * Segments: selectors of every value in every register, modify_ldt, what sigreturn and
 * ptrace make of CS and SS, and whose the registers are when tasks and threads share a CPU.
 * Prints what it finds; the same on Linux 6.1 and on Quire, but for "compat", which is
 * about system calls of 32-bit code.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>
#include "child.h"

typedef unsigned long u64;
typedef unsigned int u32;

#define LDT(n) ((n) << 3 | 7)

static u64 raw(long nr, u64 a, u64 b, u64 c)
{
	u64 r;
	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(nr), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return r;
}

static void pin(void)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* ---- the registers ------------------------------------------------------------------------ */

#define GET(seg)                                                   \
	({                                                         \
		u32 v_;                                            \
		__asm__ volatile("mov %%" #seg ", %0" : "=r"(v_)); \
		v_;                                                \
	})
#define SET(seg, v) __asm__ volatile("mov %0, %%" #seg : : "r"((u32)(v)) : "memory")

static u64 fs_base(void)
{
	u64 v;
	__asm__ volatile("rdfsbase %0" : "=r"(v));
	return v;
}

static u64 gs_base(void)
{
	u64 v;
	__asm__ volatile("rdgsbase %0" : "=r"(v));
	return v;
}

static void set_gs_base(u64 v)
{
	__asm__ volatile("wrgsbase %0" : : "r"(v) : "memory");
}

/* The C library's base stays. */
static void set_fs(u32 sel)
{
	__asm__ volatile("rdfsbase %%rax; mov %0, %%fs; wrfsbase %%rax"
			 :
			 : "r"(sel)
			 : "rax", "memory");
}

static void show(const char *what)
{
	printf("%s: ds %x es %x fs %x gs %x gs base %lx\n", what, GET(ds), GET(es), GET(fs),
	       GET(gs), gs_base());
}

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

static void handle(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = {.sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags};
	sigaction(sig, &sa, NULL);
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

static u64 change(int func, u32 number, u32 base, u32 limit, u32 flags)
{
	u32 d[4] = {number, base, limit, flags};
	return raw(SYS_modify_ldt, func, (u64)d, sizeof(d));
}

static u64 entry(u32 n)
{
	static u64 table[8192];
	memset(table, 0xee, sizeof(table));
	if (raw(SYS_modify_ldt, 0, (u64)table, sizeof(table)) != sizeof(table))
		return ~0UL;
	return table[n];
}

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

/* ---- returning to every CS and SS ---------------------------------------------------------- */

__asm__(".pushsection .text; .balign 4096\n"
	"tramp: int3; .balign 4096, 0xcc\n"
	".code32\n"
	"ud32: ud2\n"
	"div32: xor %ecx, %ecx; div %ecx\n"
	"load32: movl 0xfffff000, %eax; nop\n"
	"store32: movl %eax, 0\n"
	"hlt32: hlt\n"
	"push32: pushl $0x1234; popl %ebx; mov %ss, %ecx; int3\n"
	"gs32: movl $7, %eax; movl %eax, %gs; movl %gs:4, %ebx; int3\n"
	"far32: ljmp $0x33, $tramp\n"
	"into32: movb $0x7f, %al; addb $1, %al; into\n"
	"np32: movl $0x27, %eax; movl %eax, %es\n"
	"npss32: movl $0x27, %eax; movl %eax, %ss\n"
	"call32: lcall $0x47, $0\n"
	"low32: movl $0x7777, %esp; pushl %eax\n"
	"sys32: movl $20, %eax; syscall; movl %eax, %ebx; mov %ss, %ecx; int3\n"
	"int32: movl $20, %eax; int $0x80; int3\n"
	".code64; .popsection");
extern const char tramp[], ud32[], div32[], load32[], store32[], hlt32[], push32[], gs32[], far32[],
    into32[], np32[], npss32[], call32[], low32[], sys32[], int32[];

struct sels {
	unsigned short cs, gs, fs, ss;
};

static gregset_t before, after;
static volatile u64 want_rip, want_rsp, want_flags_off;
static volatile struct sels want, found;
static volatile u32 got_sig, hard_ss, got_flags, got_code;
static volatile u64 got_addr;
static u64 stack32;

static struct sels *sels(gregset_t g)
{
	return (struct sels *)&g[REG_CSGSFS];
}

static void on_usr1(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	(void)sig, (void)info;
	memcpy(&before, &u->uc_mcontext.gregs, sizeof(before));
	sels(u->uc_mcontext.gregs)->cs = want.cs;
	sels(u->uc_mcontext.gregs)->ss = want.ss;
	u->uc_mcontext.gregs[REG_RIP] = (greg_t)want_rip;
	u->uc_mcontext.gregs[REG_RSP] = (greg_t)want_rsp;
	u->uc_flags &= ~want_flags_off;
}

static void on_end(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	memcpy(&after, &u->uc_mcontext.gregs, sizeof(after));
	hard_ss = GET(ss);
	got_flags = (u32)u->uc_flags;
	got_sig = (u32)sig;
	got_code = (u32)info->si_code;
	got_addr = (u64)info->si_addr;
	found = *sels(after);
	memcpy(&u->uc_mcontext.gregs, &before, sizeof(before));
}

static void go(u32 cs, u32 ss, u64 rip, u64 rsp)
{
	want.cs = (unsigned short)cs;
	want.ss = (unsigned short)ss;
	want_rip = rip;
	want_rsp = rsp;
	raw(SYS_kill, getpid(), SIGUSR1, 0);
}

static void prepare(void)
{
	static char stack[65536];
	stack_t s = {.ss_sp = stack, .ss_size = sizeof(stack)};
	sigaltstack(&s, NULL);
	handle(SIGUSR1, on_usr1, 0);
	handle(SIGTRAP, on_end, SA_ONSTACK);
	handle(SIGSEGV, on_end, SA_ONSTACK);
	handle(SIGBUS, on_end, SA_ONSTACK);
	handle(SIGILL, on_end, SA_ONSTACK);
	handle(SIGFPE, on_end, SA_ONSTACK);
	stack32 = (u64)mmap((void *)0x10000000, 8192, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) +
		  8192;
}

static const struct {
	u32 base, limit, flags;
} segment[] = {
    {0, 0xfffff, 0x11},        /* 0: data */
    {0, 0xffff, 0x00},         /* 1: 16-bit data */
    {0, 0xfffff, 0x19},        /* 2: read-only data */
    {0, 0, 0x13},              /* 3: data that expands down */
    {0, 0xfffff, 0x31},        /* 4: data, not present */
    {0, 0xfffff, 0x15},        /* 5: code */
    {0, 0xffff, 0x04},         /* 6: 16-bit code, based at the trampoline */
    {0, 0xfffff, 0x1d},        /* 7: code that can't be read */
    {0, 0xfffff, 0x35},        /* 8: code, not present */
    {0, 0xfffff, 0x37},        /* 9: conforming code, not present */
    {0, 0xffff, 0x08},         /* 10: 16-bit data, read-only */
    {0x1000, 0xfffff, 0x15},   /* 11: code at an offset */
    {0x20000, 0x100, 0x02},    /* 12: 16-bit data that expands down */
    {0, 0xfffff, 0x15 | 0xc0}, /* 13: code, called 64-bit */
    {0, 0xfffff, 0x20},        /* 14: 16-bit data, not present */
};

static u32 base_of(u32 n)
{
	return n == 6 ? (u32)(u64)tramp & ~0xffffu : segment[n].base;
}

static void make_segments(void)
{
	for (u32 i = 0; i < sizeof(segment) / sizeof(*segment); i++)
		change(0x11, i, base_of(i), segment[i].limit, segment[i].flags);
}

/* What became of it, in words that don't depend on the selectors' values. */
static void outcome(char *text, u32 cs, u32 ss, u64 rip)
{
	u32 err = (u32)after[REG_ERR];
	int n = sprintf(text, "signal %u", got_sig);
	if (got_sig == SIGTRAP)
		n += sprintf(text + n, " at +%ld", (long)(after[REG_RIP] - (greg_t)rip));
	else
		n += sprintf(text + n, " trap %u err %s", (u32)after[REG_TRAPNO],
			     !err                    ? "0"
			     : err == (ss & 0xfffcu) ? "ss"
			     : err == (cs & 0xfffcu) ? "cs"
						     : "other");
	if (found.cs != (cs | 3))
		n += sprintf(text + n, " cs %x", found.cs);
	if (found.ss != (ss | 3))
		n += sprintf(text + n, " ss %x", found.ss);
	n += sprintf(text + n, " handler's %s",
		     hard_ss == (ss | 3) ? "kept"
		     : hard_ss == 0x2b   ? "2b"
					 : "other");
	if ((u32)after[REG_RSP] != (u32)want_rsp)
		n += sprintf(text + n, " sp %x", (u32)after[REG_RSP]);
	sprintf(text + n, " flags %x", got_flags & 6);
}

/* All SS with one CS: those of one outcome together. */
static void row_of(u32 cs, char *row)
{
	static struct {
		char text[200], ss[200];
	} group[32];
	u32 n = cs >> 3, groups = 0, g;
	u64 rip = (u64)tramp;
	char text[200];

	if ((cs & 4) && n < sizeof(segment) / sizeof(*segment))
		rip -= base_of(n);
	for (u32 ss = 0; ss < 0x80; ss += 4) {
		go(cs | (ss >> 2 & 3), ss | (cs >> 2 & 3), rip, 0x5badf00d5aadc0d0);
		outcome(text, cs, ss, rip);
		for (g = 0; g < groups && strcmp(group[g].text, text); g++)
			;
		if (g == groups) {
			strcpy(group[g].text, text);
			group[g].ss[0] = 0;
			groups++;
		}
		sprintf(strchr(group[g].ss, 0), " %x", ss);
	}
	row[0] = 0;
	for (g = 0; g < groups; g++)
		sprintf(strchr(row, 0), "\n  %s: ss%s", group[g].text, group[g].ss);
}

static void test_returns(u64 flags_off)
{
	static char row[32][10000];
	u32 other;

	want_flags_off = flags_off;
	for (u32 cs = 0; cs < 32; cs++) {
		row_of(cs * 4, row[cs]);
		for (other = 0; strcmp(row[other], row[cs]); other++)
			;
		if (other < cs)
			printf("cs %x: as %x\n", cs * 4, other * 4);
		else
			printf("cs %x:%s\n", cs * 4, row[cs]);
	}
	want_flags_off = 0;
}

static void test_addresses(void)
{
	static const u64 rip[] = {0,         0xffffffff, 0x7ffffffff000,    0x800000000000,
				  1UL << 63, ~0xfffUL,   0x1234567800000000};
	static const u32 cs[] = {0x33, 0x23, LDT(5), LDT(6)}, ss[] = {0x2b, LDT(0), LDT(1)};
	for (u32 i = 0; i < 7; i++)
		for (u32 c = 0; c < 4; c++)
			for (u32 s = 0; s < 3; s++) {
				go(cs[c], ss[s], rip[i], stack32);
				printf("%x:%lx ss %x: signal %u code %x addr %lx trap %u err %x ip "
				       "%lx\n",
				       cs[c], rip[i], ss[s], got_sig, got_code, got_addr,
				       (u32)after[REG_TRAPNO], (u32)after[REG_ERR],
				       (u64)after[REG_RIP]);
			}
}

static void run32(const char *what, const char *code, u32 cs, u32 ss)
{
	go(cs, ss, (u64)code, stack32);
	printf("%s in %x on %x: signal %u code %x addr %lx trap %u err %x cs %x ss %x ip +%lx "
	       "bx %x cx %x sp %lx\n",
	       what, cs, ss, got_sig, got_code, got_addr - (got_addr ? (u64)code : 0),
	       (u32)after[REG_TRAPNO], (u32)after[REG_ERR], found.cs, found.ss,
	       (u64)after[REG_RIP] - (u64)code, (u32)after[REG_RBX], (u32)after[REG_RCX],
	       (u64)after[REG_RSP] - stack32);
}

static void test_code32(void)
{
	static const u32 cs[] = {0x23, LDT(5), LDT(7)}, ss[] = {0x2b, LDT(0)};
	for (u32 c = 0; c < 3; c++)
		for (u32 s = 0; s < 2; s++) {
			run32("ud2", ud32, cs[c], ss[s]);
			run32("div", div32, cs[c], ss[s]);
			run32("load", load32, cs[c], ss[s]);
			run32("store", store32, cs[c], ss[s]);
			run32("hlt", hlt32, cs[c], ss[s]);
			run32("push", push32, cs[c], ss[s]);
			run32("far jump", far32, cs[c], ss[s]);
			run32("into", into32, cs[c], ss[s]);
			run32("es, not present", np32, cs[c], ss[s]);
			run32("ss, not present", npss32, cs[c], ss[s]);
			run32("call, not present", call32, cs[c], ss[s]);
			run32("push below", low32, cs[c], ss[s]);
		}
	*(u32 *)(stack32 - 4096) = 0x5678;
	change(0x11, 0, (u32)stack32 - 4100, 0xfffff, 0x11);
	run32("gs", gs32, 0x23, 0x2b);
	SET(gs, 0);
}

static void test_compat(void)
{
	prepare();
	run32("syscall", sys32, 0x23, 0x2b);
	run32("int 0x80", int32, 0x23, 0x2b);
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

static void test_sigreturn(void)
{
	make_segments();
	prepare();
	test_returns(0);
	printf("without UC_STRICT_RESTORE_SS\n");
	test_returns(4);
	test_addresses();
	test_code32();
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} part[] = {{"gdt", test_gdt},         {"modify_ldt", test_modify},
		    {"ldt", test_ldt},         {"sigreturn", test_sigreturn},
		    {"threads", test_threads}, {"fork", test_fork},
		    {"leak", test_leak},       {"bases", test_bases},
		    {"ptrace", test_ptrace}};
	setvbuf(stdout, NULL, _IOFBF, 1 << 20);
	if (argc > 1 && !strcmp(argv[1], "exec"))
		after_exec();
	else if (argc > 1 && !strcmp(argv[1], "compat"))
		test_compat();
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
