/* SPDX-License-Identifier: MIT */
/*
 * What sigreturn makes of CS and SS: every pair of selectors, 16-bit and 32-bit code among
 * them, and what the signals of such code say.  Prints what it finds; the same on Linux 6.1
 * and on Quire, but for "compat", which is about system calls of 32-bit code.
 */
#include "segments.h"

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
	"tsc32: rdtsc; int3\n"
	"low32: movl $0x7777, %esp; pushl %eax\n"
	"sys32: movl $20, %eax; syscall; movl %eax, %ebx; mov %ss, %ecx; int3\n"
	"int32: movl $20, %eax; int $0x80; int3\n"
	".code64; .popsection");
extern const char tramp[], ud32[], div32[], load32[], store32[], hlt32[], push32[], gs32[], far32[],
    into32[], np32[], npss32[], call32[], tsc32[], low32[], sys32[], int32[];

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
	u->uc_mcontext.gregs[REG_RBX] = u->uc_mcontext.gregs[REG_RCX] = 0;
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
		rip -= segment[n].base;
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
	       what, cs, ss, got_sig, got_code,
	       got_addr - (got_addr - (u64)code < 4096 ? (u64)code : 0), (u32)after[REG_TRAPNO],
	       (u32)after[REG_ERR], found.cs, found.ss, (u64)after[REG_RIP] - (u64)code,
	       (u32)after[REG_RBX], (u32)after[REG_RCX], (u64)after[REG_RSP] - stack32);
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
	/* a deterministic run does it for the program, and has to find the code */
	go(LDT(11), LDT(1), (u64)tsc32 - segment[11].base, stack32);
	printf("rdtsc at an offset: signal %u ip +%lx\n", got_sig,
	       (u64)after[REG_RIP] + segment[11].base - (u64)tsc32);
	*(u32 *)(stack32 - 4096) = 0x5678;
	change(0x11, 0, (u32)stack32 - 4100, 0xfffff, 0x11);
	run32("gs", gs32, 0x23, 0x2b);
	SET(gs, 0);
}

static void test_compat(void)
{
	run32("syscall", sys32, 0x23, 0x2b);
	run32("int 0x80", int32, 0x23, 0x2b);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOFBF, 1 << 20);
	prepare();
	if (argc > 1 && !strcmp(argv[1], "compat")) {
		test_compat();
		return 0;
	}
	make_segments();
	test_returns(0);
	printf("without UC_STRICT_RESTORE_SS\n");
	test_returns(4);
	test_addresses();
	test_code32();
	return 0;
}
