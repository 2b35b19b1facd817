/* SPDX-License-Identifier: MIT */
/*
 * The vdso and the vsyscall page as a program finds them: each function of the vdso
 * against its system call, before and after both mappings were moved and in a child;
 * the three vsyscall entries; what is refused.  Prints one line a check that failed,
 * and "vdso: done" at the end.  "clock" as argument: the counter has to be in use.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define VVAR_SIZE 0x4000
#define VDSO_SIZE 0x2000

static int failed;
static char *vdso;

static struct {
	int (*clock_gettime)(clockid_t, struct timespec *);
	int (*clock_getres)(clockid_t, struct timespec *);
	int (*gettimeofday)(struct timeval *, void *);
	time_t (*time)(time_t *);
	long (*getcpu)(unsigned *, unsigned *, void *);
} f;

static void check(int good, const char *what)
{
	if (!good) {
		printf("WRONG: %s\n", what);
		failed = 1;
	}
}

static void *symbol(const char *name)
{
	Elf64_Ehdr *e = (void *)vdso;
	Elf64_Phdr *p = (void *)(vdso + e->e_phoff);
	Elf64_Sym *sym = NULL;
	const char *str = NULL;
	uint32_t *hash = NULL;

	for (int i = 0; i < e->e_phnum; i++) {
		if (p[i].p_type != PT_DYNAMIC)
			continue;
		for (Elf64_Dyn *d = (void *)(vdso + p[i].p_vaddr); d->d_tag; d++) {
			void *at = vdso + d->d_un.d_ptr;

			if (d->d_tag == DT_SYMTAB)
				sym = at;
			if (d->d_tag == DT_STRTAB)
				str = at;
			if (d->d_tag == DT_HASH)
				hash = at;
		}
	}
	for (uint32_t i = 0; sym && hash && i < hash[1]; i++)
		if (!strcmp(str + sym[i].st_name, name) && sym[i].st_shndx)
			return vdso + sym[i].st_value;
	printf("WRONG: no %s\n", name);
	exit(1);
}

static void find_symbols(void)
{
	*(void **)&f.clock_gettime = symbol("__vdso_clock_gettime");
	*(void **)&f.clock_getres = symbol("__vdso_clock_getres");
	*(void **)&f.gettimeofday = symbol("__vdso_gettimeofday");
	*(void **)&f.time = symbol("__vdso_time");
	*(void **)&f.getcpu = symbol("__vdso_getcpu");
}

static int64_t ns(const struct timespec *t)
{
	return t->tv_sec * 1000000000 + t->tv_nsec;
}

static void clocks(void)
{
	static const clockid_t id[] = {0, 1, 2, 3, 4, 5, 6, 7, 11};
	struct timespec a, b, c;
	struct timeval tv;
	time_t t, u;
	unsigned cpu = 99, node = 99;

	for (unsigned i = 0; i < sizeof(id) / sizeof(id[0]); i++) {
		syscall(SYS_clock_gettime, id[i], &a);
		check(!f.clock_gettime(id[i], &b), "clock_gettime");
		syscall(SYS_clock_gettime, id[i], &c);
		/* another CPU's counter may be a little behind */
		if (ns(&b) < ns(&a) - 1000000 || ns(&b) > ns(&c) + 1000000) {
			printf("clock %d: %ld, %ld, %ld\n", id[i], ns(&a), ns(&b), ns(&c));
			check(0, "the same clock");
		}
		syscall(SYS_clock_getres, id[i], &a);
		check(!f.clock_getres(id[i], &b) && ns(&a) == ns(&b), "clock_getres");
	}
	check(f.clock_gettime(77, &a) == -22, "an unknown clock");
	check(!f.clock_getres(1, NULL), "clock_getres without a result");
	f.clock_gettime(1, &a);
	for (int i = 0; i < 100000; i++, a = b) {
		f.clock_gettime(1, &b);
		if (ns(&b) < ns(&a) - 1000000) {
			check(0, "time goes on");
			break;
		}
	}
	f.clock_gettime(0, &a);
	check(!f.gettimeofday(&tv, NULL), "gettimeofday");
	check(tv.tv_sec >= a.tv_sec && tv.tv_sec <= a.tv_sec + 5, "gettimeofday's seconds");
	t = f.time(&u);
	check(t == u && t >= a.tv_sec && t <= a.tv_sec + 5, "time");
	check(!f.getcpu(&cpu, &node, NULL) && (int)cpu < sysconf(_SC_NPROCESSORS_CONF) && !node,
	      "getcpu");
}

static void every_cpu(void)
{
	cpu_set_t all, one;

	sched_getaffinity(0, sizeof(all), &all);
	for (unsigned i = 0; i < 64; i++) {
		unsigned cpu = 99;

		if (!CPU_ISSET(i, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(i, &one);
		sched_setaffinity(0, sizeof(one), &one);
		f.getcpu(&cpu, NULL, NULL);
		check(cpu == i, "getcpu after a move to another CPU");
	}
	sched_setaffinity(0, sizeof(all), &all);
}

static void child(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		clocks();
		_exit(failed);
	}
	waitpid(pid, &status, 0);
	check(status == 0, "in a child");
}

static int refused(long r, int error)
{
	return r == -1 && errno == error;
}

/* What may be done to the mappings: a debugger writes to copies of the code. */
static void rights(void)
{
	char *vvar = vdso - VVAR_SIZE, byte;
	int mem = open("/proc/self/mem", O_RDWR);
	char last = vdso[VDSO_SIZE - 1];

	check(refused(mprotect(vvar, VVAR_SIZE, PROT_READ | PROT_WRITE), EACCES), "vvar is kept");
	check(refused(madvise(vvar, VVAR_SIZE, MADV_DONTNEED), EINVAL), "vvar's pages are kept");
	check(refused(pread(mem, &byte, 1, (off_t)vvar), EIO), "vvar can't be looked at");
	check(refused(munmap(vdso, VDSO_SIZE / 2), EINVAL), "vdso stays whole");
	check(refused(mprotect(vdso, VDSO_SIZE / 2, PROT_READ), EINVAL), "vdso has one protection");
	byte = 7;
	check(pwrite(mem, &byte, 1, (off_t)vdso + VDSO_SIZE - 1) == 1, "vdso by /proc/self/mem");
	check(vdso[VDSO_SIZE - 1] == 7, "what was written is there");
	check(!mprotect(vdso, VDSO_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC), "vdso writable");
	vdso[VDSO_SIZE - 1] = 8;
	check(!madvise(vdso, VDSO_SIZE, MADV_DONTNEED) && vdso[VDSO_SIZE - 1] == last,
	      "the copy is gone");
	check(!mprotect(vdso, VDSO_SIZE, PROT_READ | PROT_EXEC), "vdso as it was");
	close(mem);
}

/* To another place, the code and the data before it. */
static void move(void)
{
	char *to = mmap(NULL, VVAR_SIZE + VDSO_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(mremap(vdso - VVAR_SIZE, VVAR_SIZE, VVAR_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) ==
		  to,
	      "mremap of vvar");
	check(mremap(vdso, VDSO_SIZE, VDSO_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to + VVAR_SIZE) ==
		  to + VVAR_SIZE,
	      "mremap of vdso");
	vdso = to + VVAR_SIZE;
	find_symbols();
}

/* ---- vsyscall ------------------------------------------------------------------------ */

static sigjmp_buf back;
static siginfo_t info;

static void caught(int sig, siginfo_t *i, void *context)
{
	(void)sig, (void)context;
	info = *i;
	siglongjmp(back, 1);
}

#define FAULTS(what, address)                                                                   \
	do {                                                                                    \
		if (!sigsetjmp(back, 1)) {                                                      \
			what;                                                                   \
			check(0, #what " is refused");                                          \
		} else {                                                                        \
			check(info.si_code == SEGV_MAPERR && info.si_addr == (void *)(address), \
			      #what ": address and code");                                      \
		}                                                                               \
	} while (0)

static void vsyscall(void)
{
	long (*get)(struct timeval *, void *) = (void *)0xffffffffff600000;
	time_t (*seconds)(time_t *) = (void *)0xffffffffff600400;
	long (*cpu_of)(unsigned *, unsigned *, void *) = (void *)0xffffffffff600800;
	void (*nothing)(void) = (void *)0xffffffffff600c00;
	void (*amid)(void) = (void *)0xffffffffff600001;
	volatile char *page = (void *)0xffffffffff600000;
	struct sigaction sa = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};
	struct timeval tv = {0}, now;
	unsigned cpu = 99;
	time_t t = 0, u;

	sigaction(SIGSEGV, &sa, NULL);
	gettimeofday(&now, NULL);
	check(!get(&tv, NULL) && tv.tv_sec >= now.tv_sec && tv.tv_sec <= now.tv_sec + 5,
	      "gettimeofday of the vsyscall page");
	u = seconds(&t);
	check(u == t && t >= now.tv_sec && t <= now.tv_sec + 5, "time of the vsyscall page");
	check(seconds(NULL) >= t, "time without a result");
	check(!cpu_of(&cpu, NULL, NULL) && cpu < 64, "getcpu of the vsyscall page");
	FAULTS((void)*page, 0xffffffffff600000);
	FAULTS(*page = 1, 0xffffffffff600000);
	FAULTS(nothing(), 0xffffffffff600c00);
	FAULTS(amid(), 0xffffffffff600001);
	FAULTS((void)seconds((void *)64), 64);
	FAULTS((void)get((void *)8192, NULL), 8192);
}

/* The last line of maps, and that [vvar] and [vdso] are where the auxiliary vector says. */
static void maps(void)
{
	char line[256], last[256] = "", want[64];
	FILE *m = fopen("/proc/self/maps", "r");
	int seen = 0;

	while (fgets(line, sizeof(line), m)) {
		snprintf(want, sizeof(want), "%lx-%lx r--p", (long)vdso - VVAR_SIZE, (long)vdso);
		seen |= strstr(line, want) && strstr(line, "[vvar]") ? 1 : 0;
		snprintf(want, sizeof(want), "%lx-%lx r-xp", (long)vdso, (long)vdso + VDSO_SIZE);
		seen |= strstr(line, want) && strstr(line, "[vdso]") ? 2 : 0;
		strcpy(last, line);
	}
	fclose(m);
	check(seen == 3, "vvar and vdso in maps");
	check(!strcmp(last, "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0"
			    "                  [vsyscall]\n"),
	      "vsyscall in maps");
}

int main(int argc, char **argv)
{
	vdso = (char *)getauxval(AT_SYSINFO_EHDR);
	if (!vdso || memcmp(vdso, ELFMAG, SELFMAG)) {
		printf("WRONG: no vdso\n");
		return 1;
	}
	find_symbols();
	/* the second word of struct vvar: 0 when the kernel has to be asked */
	check(!(argc > 1 && !strcmp(argv[1], "clock")) ||
		  ((volatile uint64_t *)(vdso - VVAR_SIZE))[1] != 0,
	      "the counter is in use");
	maps();
	clocks();
	every_cpu();
	child();
	vsyscall();
	rights();
	move();
	maps();
	clocks();
	child();
	if (!failed)
		printf("vdso: done\n");
	return failed;
}
