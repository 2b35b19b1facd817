/* SPDX-License-Identifier: MIT */
/*
 * Which system call comes next, and with which arguments.
 *
 * Half of all calls are about memory.  Each known call has a string with one letter
 * for each argument; one argument in sixteen is replaced by a hostile value all the
 * same.  The sequence depends on the seed alone, never on results.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "syscalls.h"

const char *const call_name[512] = {
#define Y(nr, name) [nr] = #name,
#define N(nr, name, err) [nr] = #name,
#include "../../kernel/syscall/table.h"
#undef Y
#undef N
};

/* ---- randomness -------------------------------------------------------------------------- */

/* xorshift128+ (S. Vigna, "Further scramblings of Marsaglia's xorshift generators") */
u64 next_random(struct thread *t)
{
	u64 a = t->random[0], b = t->random[1];
	t->random[0] = b;
	a ^= a << 23;
	t->random[1] = a ^ b ^ (a >> 18) ^ (b >> 5);
	return t->random[1] + b;
}

static bool one_in(struct thread *t, u64 n)
{
	return !below(t, n);
}

#define PICK(t, array) ((array)[below(t, sizeof(array) / sizeof((array)[0]))])

static u64 hostile(struct thread *t)
{
	static const u64 values[] = {
	    0,
	    1,
	    ~0UL,
	    ~0UL - 4095,
	    0xffff800000000000,
	    0xffff888000000000,
	    0xffffffff80000000,
	    0xffffffff81000000,
	    0x800000000000,
	    0x7fffffffffff,
	    0x7ffffffff000,
	    0x7fffffffe000,
	    1UL << 63,
	    (1UL << 63) - 1,
	    0x8000000000000fff,
	    0xffffffff,
	    0x80000000,
	    0x7fffffff,
	    0x7ffff000,
	    0xdead000000000000,
	    4095,
	    65536,
	    0xffffffffff600000,
	    ARENA - 1,
	    ARENA + ARENA_SIZE,
	};
	switch (below(t, 4)) {
	case 0:
		return next_random(t);
	case 1:
		return 1UL << below(t, 64);
	default:
		return PICK(t, values);
	}
}

/* ---- values of each kind ------------------------------------------------------------------- */

u64 arena_address(struct thread *t)
{
	u64 span = one_in(t, 4) ? ARENA_SIZE : 64 * PAGE;
	return ARENA + below(t, span / PAGE) * PAGE;
}

static u64 length(struct thread *t)
{
	static const u64 odd[] = {0,          1,           4095,        4097,      2UL << 20,
				  ARENA_SIZE, 1UL << 30,   1UL << 40,   1UL << 46, 0x7fffffffffff,
				  ~0UL,       ~0UL - 4095, ~0UL - ARENA};
	if (one_in(t, 24))
		return PICK(t, odd);
	u64 pages = one_in(t, 12) ? below(t, 1024) : below(t, 16);
	return pages * PAGE + (one_in(t, 8) ? below(t, PAGE) : 0);
}

static u64 small_length(struct thread *t)
{
	return one_in(t, 16) ? length(t) : below(t, one_in(t, 4) ? 20000 : 300);
}

static u64 bits(struct thread *t, unsigned wide)
{
	u64 v = 0;
	for (u64 n = below(t, 4); n; n--)
		v |= 1UL << below(t, wide);
	return v;
}

static u64 word(struct thread *t)
{
	switch (below(t, 8)) {
	case 0:
		return hostile(t);
	case 1:
		return arena_address(t);
	case 2:
		return next_random(t);
	case 3:
		return bits(t, 32);
	case 4:
		return 0;
	default:
		return below(t, 64);
	}
}

static u64 *fresh(struct thread *t)
{
	return t->data[t->next_data++ % 8];
}

static u64 structure(struct thread *t)
{
	u64 *d = fresh(t);
	unsigned n = one_in(t, 4) ? DATA_WORDS : 16;
	for (unsigned i = 0; i < n; i++)
		d[i] = word(t);
	return (u64)d;
}

static u64 buffer(struct thread *t)
{
	if (one_in(t, 6))
		return (u64)fresh(t);
	u64 a = arena_address(t);
	/* Often one that reaches across the page's end. */
	return one_in(t, 3) ? a : a + (one_in(t, 2) ? PAGE - below(t, 64) : below(t, PAGE));
}

static u64 vector(struct thread *t)
{
	u64 *d = fresh(t);
	for (unsigned i = 0; i < 8; i++) {
		d[2 * i] = one_in(t, 12) ? hostile(t) : buffer(t);
		d[2 * i + 1] = one_in(t, 3) ? length(t) : below(t, 300);
	}
	return (u64)d;
}

static u64 file(struct thread *t)
{
	return one_in(t, 16) ? below(t, 200) - 1 : below(t, 36);
}

static u64 path(struct thread *t, bool local)
{
	static const char *const mine[] = {"f0", "f1",  "f2", "f3",    "f4",    "d0",   "d1",
					   "l0", "l1",  "s0", "d0/f0", "d1/d0", "f0/x", "d0/l0",
					   "",   "d0/", ".",  "./f1",  "d0/s1", "d1/f2"};
	static const char *const others[] = {
	    "/proc/self/maps",    "/proc/self/smaps",  "/proc/self/status",
	    "/proc/self/pagemap", "/proc/self/fd/4",   "/proc/self/mem",
	    "/proc/self/exe",     "/proc/self/task",   "/proc/meminfo",
	    "/dev/zero",          "/dev/null",         "/dev/full",
	    "/dev/urandom",       "/dev/ptmx",         "/dev/tty",
	    "/proc/self",         "/proc/self/cwd/f0", "/dev",
	    "/proc/self/cmdline", "/proc/self/stat",   "/proc/self/clear_refs"};
	static char longest[5000];
	if (one_in(t, 64)) {
		if (!longest[0])
			memset(longest, 'a', sizeof(longest) - 1);
		return (u64)longest + below(t, 1200);
	}
	return (u64)(local || one_in(t, 2) ? PICK(t, mine) : PICK(t, others));
}

static u64 process(struct thread *t)
{
	switch (below(t, t->may_hurt ? 8 : 4)) {
	case 0:
		return 0;
	case 1:
		return 1000000 + below(t, 1000); /* nobody */
	case 2:
		return t->child ? t->child : t->pid;
	case 4:
		return (u64)-1;
	case 5:
		return below(t, 8);
	case 6:
		return -t->pid;
	case 7:
		return t->pid + below(t, 8);
	default:
		return t->pid;
	}
}

static u64 signal_number(struct thread *t)
{
	static const u64 odd[] = {0, SIGKILL, SIGSTOP, SIGCONT, 64, 65, ~0UL, SIGABRT};
	u64 sig = one_in(t, 40) ? PICK(t, odd) : 1 + below(t, 64);
	/* The tick stays, mostly. */
	return (sig == SIGALRM || sig == SIGUSR1) && !one_in(t, 16) ? SIGUSR2 : sig;
}

static u64 signal_set(struct thread *t)
{
	const u64 tick = 1UL << (SIGALRM - 1) | 1UL << (SIGUSR1 - 1);
	u64 *d = fresh(t);
	d[0] = one_in(t, 16) ? ~0UL : bits(t, 64);
	d[0] &= ~(one_in(t, 16) ? 0 : tick);
	return (u64)d;
}

static u64 span_of_time(struct thread *t)
{
	u64 *d = fresh(t);
	for (unsigned i = 0; i < 4; i += 2) {
		d[i] = one_in(t, 24) ? hostile(t) : 0;
		d[i + 1] = one_in(t, 24) ? hostile(t) : below(t, 300000);
	}
	return one_in(t, 24) ? 0 : (u64)d;
}

static u64 protection(struct thread *t)
{
	static const u64 usual[] = {
	    PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_READ | PROT_WRITE, PROT_EXEC,
	    PROT_READ | PROT_EXEC,  PROT_WRITE};
	static const u64 odd[] = {PROT_GROWSDOWN, PROT_GROWSUP, PROT_GROWSDOWN | PROT_GROWSUP, 8,
				  0x10};
	return PICK(t, usual) | (one_in(t, 16) ? PICK(t, odd) : 0) |
	       (one_in(t, 64) ? bits(t, 64) : 0);
}

static u64 mmap_flags(struct thread *t)
{
	static const u64 some[] = {MAP_GROWSDOWN, MAP_POPULATE, MAP_LOCKED, MAP_NORESERVE,
				   MAP_STACK,     MAP_NONBLOCK, MAP_SYNC,   MAP_DENYWRITE,
				   MAP_32BIT,     MAP_HUGETLB,  0x4000000,  0};
	static const u64 kind[] = {MAP_PRIVATE, MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE};
	u64 f = one_in(t, 32) ? below(t, 16) : PICK(t, kind);
	if (!one_in(t, 3))
		f |= MAP_ANONYMOUS;
	if (!one_in(t, 4))
		f |= one_in(t, 8) ? MAP_FIXED_NOREPLACE : MAP_FIXED;
	for (u64 n = below(t, 3); n; n--)
		f |= PICK(t, some);
	return f | (one_in(t, 64) ? bits(t, 64) : 0);
}

static u64 advice(struct thread *t)
{
	/* Frames that HWPOISON takes never come back: seldom. */
	static const u64 all[] = {0,  1,  2,  3,  4,  8,  9,  10, 11, 12, 13, 14, 15,
				  16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 4,  8};
	u64 v = PICK(t, all);
	return one_in(t, 400) ? 100 + below(t, 3) : one_in(t, 40) ? below(t, 64) : v;
}

static u64 futex_op(struct thread *t)
{
	return below(t, 14) | (one_in(t, 2) ? 128 : 0) | (one_in(t, 8) ? 256 : 0);
}

static u64 message(struct thread *t)
{
	u64 *d = fresh(t), *control = fresh(t);
	control[0] = one_in(t, 8) ? word(t) : 16 + 4 * below(t, 4);
	control[1] = SOL_SOCKET | (1UL + below(t, 2)) << 32;
	control[2] = file(t) | file(t) << 32;
	control[3] = file(t);
	d[0] = one_in(t, 4) ? buffer(t) : 0;
	d[1] = below(t, 120);
	d[2] = vector(t);
	d[3] = below(t, 9);
	d[4] = one_in(t, 2) ? (u64)control : buffer(t);
	d[5] = one_in(t, 8) ? word(t) : 8 * below(t, 6);
	d[6] = 0;
	return (u64)d;
}

static u64 socket_address(struct thread *t)
{
	u64 *d = fresh(t);
	char *s = (char *)d;
	d[0] = d[1] = 0;
	d[0] = one_in(t, 10) ? word(t) : AF_UNIX;
	if (one_in(t, 2)) {
		s[2] = 's';
		s[3] = (char)('0' + below(t, 2));
	} else {
		s[3] = (char)('a' + below(t, 4)); /* abstract */
	}
	return (u64)d;
}

static u64 action(struct thread *t)
{
	u64 *d = fresh(t);
	d[0] = one_in(t, 40) ? hostile(t) : one_in(t, 2) ? below(t, 2) : (u64)noop_handler;
	d[1] = 0x04000000 | bits(t, 4) | (one_in(t, 4) ? SA_RESTART : 0) |
	       (one_in(t, 4) ? SA_NODEFER : 0) | (one_in(t, 16) ? SA_ONSTACK : 0);
	d[2] = one_in(t, 60) ? hostile(t) : (u64)noop_restorer;
	d[3] = bits(t, 64);
	return (u64)d;
}

static u64 strings(struct thread *t)
{
	static const char *const some[] = {"x", "exec", "", "A=b", "a longer argument than these"};
	u64 *d = fresh(t);
	unsigned n = (unsigned)below(t, 6);
	for (unsigned i = 0; i < n; i++)
		d[i] = one_in(t, 40) ? hostile(t) : (u64)PICK(t, some);
	d[n] = one_in(t, 60) ? 8 : 0;
	return one_in(t, 20) ? 0 : (u64)d;
}

static u64 clone_flags(struct thread *t)
{
	static const u64 sets[] = {SIGCHLD,
				   0,
				   CLONE_VM | SIGCHLD,
				   CLONE_VFORK | SIGCHLD,
				   CLONE_FILES | CLONE_FS | SIGCHLD,
				   CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
				       CLONE_THREAD};
	return PICK(t, sets) | (one_in(t, 4) ? bits(t, 33) : 0);
}

static u64 ioctl_number(struct thread *t)
{
	static const u64 some[] = {0x5401, 0x5402,     0x5413,     0x5414, 0x540e, 0x541b, 0x5421,
				   0x5450, 0x5451,     0x5411,     0x5410, 0x540f, 0x5403, 0x5404,
				   0x540b, 0x80045430, 0x40045431, 0x5409, 0x540a, 0x660b};
	return one_in(t, 10) ? word(t) : PICK(t, some);
}

static u64 value(struct thread *t, char kind)
{
	switch (kind) {
	case 'a':
		return arena_address(t) + (one_in(t, 24) ? below(t, PAGE) : 0);
	case 'n':
		return length(t);
	case 'N':
		return small_length(t);
	case 'p':
		return buffer(t);
	case 's':
		return one_in(t, 10) ? 0 : one_in(t, 6) ? buffer(t) : structure(t);
	case 'v':
		return vector(t);
	case 'f':
		return file(t);
	case 'd':
		return one_in(t, 3) ? file(t) : (u64)AT_FDCWD;
	case 'P':
		return path(t, false);
	case 'L':
		return path(t, true);
	case 'c':
		return one_in(t, 24) ? word(t) : below(t, 9);
	case 'm':
		return protection(t);
	case 'M':
		return mmap_flags(t);
	case 'o':
		return one_in(t, 12) ? word(t)
				     : below(t, 64) * PAGE + (one_in(t, 8) ? below(t, PAGE) : 0);
	case 'b':
		return bits(t, 32);
	case 'x':
		return below(t, 3) | (one_in(t, 2) ? O_CREAT : 0) |
		       (one_in(t, 3) ? O_NONBLOCK : 0) | (one_in(t, 4) ? bits(t, 24) : 0);
	case 'w':
		return one_in(t, 8) ? word(t) : 0777;
	case 'g':
		return signal_number(t);
	case 'q':
		return process(t);
	case 't':
		return span_of_time(t);
	case 'u':
		return one_in(t, 2) ? 65534 : word(t);
	case 'A':
		return advice(t);
	case 'R':
		return below(t, one_in(t, 16) ? 16 : 8);
	case 'i':
		return below(t, 42) - 1;
	case 'k':
		return futex_op(t);
	case 'h':
		return message(t);
	case 'y':
		return socket_address(t);
	case 'e':
		return strings(t);
	case 'X':
		return clone_flags(t);
	case 'z':
		return one_in(t, 24) ? word(t) : 8;
	case 'I':
		return ioctl_number(t);
	case 'S':
		return action(t);
	case 'B':
		return one_in(t, 12) ? 0 : signal_set(t);
	case '1':
		return 1;
	case 'l':
		return word(t);
	default:
		return one_in(t, 2) ? word(t) : one_in(t, 2) ? buffer(t) : file(t);
	}
}

/* ---- the calls ---------------------------------------------------------------------------------
 */

/* The kinds of each call's arguments.  Calls that aren't here get anything. */
static const char *const kinds[512] = {
    [0] = "fpN",     [1] = "fpN",      [2] = "Pxw",      [3] = "f",        [4] = "Ps",
    [5] = "fs",      [6] = "Ps",       [7] = "scc",      [8] = "foi",      [9] = "anmMfo",
    [10] = "anm",    [11] = "an",      [12] = "l",       [13] = "gSsz",    [14] = "cBsz",
    [16] = "fIs",    [17] = "fpNo",    [18] = "fpNo",    [19] = "fvc",     [20] = "fvc",
    [21] = "Pi",     [22] = "s",       [23] = "cssst",   [24] = "",        [25] = "annRa",
    [26] = "ani",    [27] = "anp",     [28] = "anA",     [29] = "iNw",     [30] = "iab",
    [31] = "iis",    [32] = "f",       [33] = "ff",      [34] = "",        [35] = "ts",
    [36] = "is",     [37] = "l",       [38] = "itt",     [39] = "",        [40] = "ffsN",
    [41] = "1ii",    [42] = "fyi",     [43] = "fss",     [44] = "fpNbyi",  [45] = "fpNbss",
    [46] = "fhb",    [47] = "fhb",     [48] = "fi",      [49] = "fyi",     [50] = "fi",
    [51] = "fss",    [52] = "fss",     [53] = "1iis",    [54] = "f1isc",   [55] = "f1iss",
    [56] = "Xasss",  [59] = "Pee",     [61] = "qsbs",    [62] = "qg",      [63] = "p",
    [67] = "a",      [72] = "fil",     [73] = "fi",      [74] = "f",       [75] = "f",
    [76] = "Lo",     [77] = "fo",      [78] = "fpN",     [79] = "pN",      [80] = "P",
    [81] = "f",      [82] = "LL",      [83] = "Lw",      [84] = "L",       [85] = "Lw",
    [86] = "LL",     [87] = "L",       [88] = "LL",      [89] = "PpN",     [90] = "Lw",
    [91] = "fw",     [92] = "Luu",     [93] = "fuu",     [94] = "Luu",     [95] = "w",
    [96] = "ss",     [97] = "is",      [98] = "is",      [99] = "p",       [100] = "p",
    [101] = "iqll",  [103] = "ipN",    [105] = "u",      [106] = "u",      [109] = "qq",
    [113] = "uu",    [114] = "uu",     [115] = "cp",     [116] = "cs",     [117] = "uuu",
    [118] = "ppp",   [119] = "uuu",    [120] = "ppp",    [121] = "q",      [122] = "u",
    [123] = "u",     [124] = "q",      [125] = "ss",     [126] = "ss",     [127] = "pz",
    [128] = "Bptz",  [129] = "qgs",    [130] = "Bz",     [131] = "ss",     [132] = "Ls",
    [133] = "Lwl",   [135] = "l",      [137] = "Pp",     [138] = "fp",     [140] = "iq",
    [141] = "iqi",   [142] = "qs",     [143] = "qp",     [144] = "qis",    [145] = "q",
    [146] = "i",     [147] = "i",      [148] = "qp",     [149] = "an",     [150] = "an",
    [151] = "b",     [152] = "",       [154] = "ipN",    [155] = "LL",     [157] = "illll",
    [158] = "ll",    [159] = "s",      [160] = "is",     [161] = "L",      [163] = "L",
    [164] = "ss",    [165] = "LLLbs",  [166] = "Lb",     [167] = "Lb",     [168] = "L",
    [170] = "pN",    [171] = "pN",     [187] = "foN",    [188] = "Lssni",  [189] = "Lssni",
    [190] = "fssni", [191] = "LspN",   [192] = "LspN",   [193] = "fspN",   [194] = "PpN",
    [195] = "PpN",   [196] = "fpN",    [200] = "qg",     [201] = "p",      [202] = "akltai",
    [203] = "qcs",   [204] = "qcp",    [213] = "i",      [216] = "animb",  [217] = "fpN",
    [218] = "p",     [221] = "fooi",   [222] = "iss",    [223] = "iits",   [224] = "ip",
    [225] = "i",     [226] = "i",      [227] = "it",     [228] = "ip",     [229] = "ip",
    [230] = "iits",  [232] = "fpci",   [233] = "fifs",   [234] = "qqg",    [235] = "Lt",
    [247] = "iqsbs", [251] = "iqi",    [252] = "iq",     [257] = "dPxw",   [258] = "dLw",
    [259] = "dLwl",  [260] = "dLuub",  [261] = "dLt",    [262] = "dPsb",   [263] = "dLb",
    [264] = "dLdL",  [265] = "dLdLb",  [266] = "LdL",    [267] = "dPpN",   [268] = "dLw",
    [269] = "dPi",   [270] = "cssstl", [271] = "sctBz",  [272] = "b",      [273] = "sz",
    [274] = "qpp",   [275] = "fsfsNb", [276] = "ffNb",   [277] = "foob",   [278] = "fvcb",
    [280] = "dLtb",  [281] = "fpciBz", [282] = "fBz",    [283] = "ib",     [284] = "i",
    [285] = "fcoo",  [286] = "fit",    [287] = "fp",     [288] = "fssx",   [289] = "fBzx",
    [290] = "ix",    [291] = "x",      [292] = "ffx",    [293] = "sx",     [295] = "fvco",
    [296] = "fvco",  [297] = "qqgs",   [299] = "fscbt",  [302] = "qiss",   [306] = "f",
    [307] = "fscb",  [309] = "pps",    [310] = "qvcvci", [311] = "qvcvci", [314] = "qsc",
    [315] = "qpNc",  [316] = "dLdLc",  [318] = "pNc",    [319] = "Pb",     [322] = "dPeeb",
    [324] = "bci",   [325] = "anc",    [326] = "fsfsNc", [327] = "fvcolb", [328] = "fvcolb",
    [329] = "anmi",  [330] = "bb",     [331] = "i",      [332] = "dPbbs",  [334] = "sNbl",
    [424] = "fgsb",  [434] = "qb",     [435] = "sN",     [436] = "fii",    [437] = "dPsN",
    [438] = "ffb",   [439] = "dPib",   [440] = "fvcAb",  [441] = "fpctBz", [448] = "fb",
    [449] = "scbti",
};

static const unsigned short memory_calls[] = {
    9,  9,  9,  9,  9,  9,  9,  11, 11, 11, 10,  10,  10,  10,  25,  25,  25,  25,  25,  28,
    28, 28, 28, 28, 28, 12, 26, 26, 27, 27, 149, 150, 325, 151, 152, 216, 216, 440, 310, 311,
    30, 29, 31, 67, 0,  1,  19, 20, 17, 18, 278, 77,  285, 319, 202, 329, 7,   40,
};

/* Calls that end or block a thread, or that batch.c makes in its own way: seldom. */
static bool seldom(unsigned nr)
{
	switch (nr) {
	case SYS_exit:
	case SYS_exit_group:
	case SYS_execve:
	case SYS_execveat:
	case SYS_pause:
	case SYS_rt_sigreturn:
	case SYS_rt_sigsuspend:
	case SYS_fork:
	case SYS_vfork:
	case SYS_clone:
	case SYS_clone3:
	case SYS_close_range:
	case SYS_prctl:
	case SYS_chroot:
	case SYS_wait4:
	case SYS_waitid:
		return true;
	}
	return false;
}

void choose_call(struct thread *t, struct call *c)
{
	unsigned nr;
	if (one_in(t, 2)) {
		nr = PICK(t, memory_calls);
	} else {
		do
			nr = (unsigned)below(t, 452);
		while ((nr > 334 && nr < 424) || (seldom(nr) && !one_in(t, 12)));
	}
	c->nr = one_in(t, 500) ? word(t) : nr;
	const char *k = c->nr < 512 && kinds[c->nr] ? kinds[c->nr] : "??????";
	for (unsigned i = 0; i < 6; i++) {
		char kind = *k ? *k++ : '?';
		/* No hostile process numbers: -1 is everyone. */
		c->arg[i] = one_in(t, 16) && kind != 'q' ? hostile(t) : value(t, kind);
	}
}
