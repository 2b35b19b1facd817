/* SPDX-License-Identifier: MIT */
/*
 * The fuzzer of exec: programs and scripts, mutated at random and executed.  Each has
 * to load, to be refused, or to die of a signal; which of them is printed, so that two
 * kernels' answers can be compared.
 *
 *   elf [--tries N] [--seed N] [--from N] [--keep FILE] [--count] SEED-FILE...
 *
 * A mutant lies in memory (memfd) and is run by execveat(2), or, when the seed's name
 * has "interp" in it, as the interpreter of the small program that follows it on the
 * command line.  Try N depends on the seed and N alone; --from N --tries 1 --keep FILE
 * does one of them again and keeps it.  --count tells what the kernel has in use more.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "count.h"

#define SEEDS 24
#define MUTANT_FD 50 /* an interpreter's name is /proc/self/fd/50 */
#define FIRST_FD 51  /* that of scripts is the first seed as it is, /proc/self/fd/51 */
#define CPU_US 400000
#define REAL_S 2
#define CHANGES 6

typedef uint64_t u64;
typedef int64_t s64;

struct seed {
	const char *path, *name;
	char *bytes;
	size_t size;
	int fd;
	bool interp;
	int caller; /* what is executed when this is the interpreter */
	bool elf;
};
static struct seed seeds[SEEDS];
static unsigned nr_seeds;

static u64 state[2];

static u64 next_random(void)
{
	u64 a = state[0], b = state[1];
	state[0] = b;
	a ^= a << 23;
	state[1] = a ^ b ^ (a >> 18) ^ (b >> 5);
	return state[1] + b;
}

static u64 below(u64 n)
{
	return next_random() % n;
}

/* ---- mutations ----------------------------------------------------------------------------- */

/* What was changed, to be put back. */
static struct {
	size_t at, n;
} changes[CHANGES];
static unsigned nr_changes;
static bool truncated;
static char work[4096]; /* the beginning of the file, as the mutant has it */

static u64 odd_value(u64 old)
{
	static const u64 values[] = {0,
				     1,
				     2,
				     3,
				     7,
				     0x40,
				     0xfff,
				     0x1000,
				     0x10000,
				     0x400000,
				     0x7fffffff,
				     0x80000000,
				     0xffffffff,
				     0x100000000,
				     0x7ffffffff000,
				     0x7fffffffffff,
				     0x800000000000,
				     0x7fffffffffffffff,
				     0x8000000000000000,
				     ~0UL - 4095,
				     ~0UL};
	switch (below(6)) {
	case 0:
		return next_random();
	case 1:
		return old ^ 1UL << below(64);
	case 2:
		return old + (below(2) ? 0x1000 : 1) * (below(2) ? 1 : -1UL);
	case 3:
		return old + (below(64) - 32) * 0x1000;
	case 4:
		return below(20000);
	default:
		return values[below(sizeof(values) / sizeof(values[0]))];
	}
}

static void change(const struct seed *s, size_t at, const void *bytes, size_t n)
{
	if (at >= s->size || at >= sizeof(work) || nr_changes == CHANGES)
		return;
	if (n > s->size - at)
		n = s->size - at;
	if (n > sizeof(work) - at)
		n = sizeof(work) - at;
	memcpy(work + at, bytes, n);
	changes[nr_changes].at = at;
	changes[nr_changes++].n = n;
}

static void change_field(const struct seed *s, size_t at, size_t n)
{
	u64 old = 0;
	if (at + n > sizeof(work))
		return;
	memcpy(&old, work + at, n);
	u64 v = odd_value(old);
	change(s, at, &v, n);
}

static void mutate_header(const struct seed *s)
{
	static const struct {
		unsigned char at, n;
	} fields[] = {{4, 1},  {5, 1},  {6, 1},  {7, 1},  {16, 2}, {18, 2},
		      {20, 4}, {24, 8}, {24, 8}, {32, 8}, {32, 8}, {40, 8},
		      {48, 4}, {52, 2}, {54, 2}, {56, 2}, {56, 2}, {58, 2}};
	unsigned i = (unsigned)below(sizeof(fields) / sizeof(fields[0]));
	change_field(s, fields[i].at, fields[i].n);
}

static void mutate_segment(const struct seed *s)
{
	static const struct {
		unsigned char at, n;
	} fields[] = {{0, 4},  {4, 4},  {4, 4},  {8, 8},  {8, 8},  {16, 8}, {16, 8},
		      {24, 8}, {32, 8}, {32, 8}, {40, 8}, {40, 8}, {48, 8}};
	Elf64_Ehdr h;
	memcpy(&h, s->bytes, sizeof(h));
	size_t at = h.e_phoff + below(h.e_phnum) * sizeof(Elf64_Phdr);
	unsigned i = (unsigned)below(sizeof(fields) / sizeof(fields[0]));
	if (below(16)) {
		change_field(s, at + fields[i].at, fields[i].n);
	} else { /* one twice */
		char other[sizeof(Elf64_Phdr)];
		memcpy(other, s->bytes + h.e_phoff + below(h.e_phnum) * sizeof(other),
		       sizeof(other));
		change(s, at, other, sizeof(other));
	}
}

static void mutate_bytes(const struct seed *s)
{
	size_t most = s->elf ? 1024 : s->size;
	size_t at = below(most < sizeof(work) ? most : sizeof(work));
	u64 v = next_random();
	change(s, at, &v, 1 + (below(4) ? 0 : below(8)));
}

static void mutate_script(const struct seed *s)
{
	static const char parts[] = "#! \t\n\0/x\"";
	size_t at = below(s->size < 40 ? s->size : 40);
	char c = below(3) ? parts[below(sizeof(parts))] : (char)next_random();
	change(s, at, &c, 1);
}

static bool write_all(int fd, const char *bytes, size_t n, size_t at)
{
	while (n) {
		ssize_t done = pwrite(fd, bytes, n, (off_t)at);
		if (done <= 0)
			return false;
		bytes += done;
		at += (size_t)done;
		n -= (size_t)done;
	}
	return true;
}

static void mutate(const struct seed *s)
{
	nr_changes = 0;
	truncated = false;
	memcpy(work, s->bytes, s->size < sizeof(work) ? s->size : sizeof(work));
	for (u64 n = 1 + below(3); n; n--) {
		u64 what = below(8);
		if (!s->elf)
			mutate_script(s);
		else if (what < 2)
			mutate_header(s);
		else if (what < 7)
			mutate_segment(s);
		else
			mutate_bytes(s);
	}
	for (unsigned i = 0; i < nr_changes; i++)
		write_all(s->fd, work + changes[i].at, changes[i].n, changes[i].at);
	if (!below(s->size < 100000 ? 24 : 96)) {
		size_t n = below(2) ? below(200) : below(s->size);
		truncated = !ftruncate(s->fd, (off_t)n);
	}
}

static void restore(const struct seed *s)
{
	for (unsigned i = 0; i < nr_changes; i++)
		write_all(s->fd, s->bytes + changes[i].at, changes[i].n, changes[i].at);
	if (truncated)
		write_all(s->fd, s->bytes, s->size, 0);
}

/* ---- running -------------------------------------------------------------------------------- */

static volatile int child_errno;

/* The child has this memory until it executes or ends. */
static pid_t start(const struct seed *s)
{
	static const struct itimerval cpu = {{0, CPU_US}, {0, CPU_US}},
				      real = {{0, 0}, {REAL_S, 0}};
	static char *const argv[] = {(char *)"mutant", (char *)"argument", NULL};
	static char *const envp[] = {(char *)"A=b", NULL};
	static const struct rlimit none = {0, 0};
	child_errno = 0;
	pid_t pid = vfork();
	if (pid)
		return pid;
	setrlimit(RLIMIT_FSIZE, &none);
	setitimer(ITIMER_PROF, &cpu, NULL);
	setitimer(ITIMER_REAL, &real, NULL);
	if (s->interp)
		dup2(s->fd, MUTANT_FD);
	syscall(SYS_execveat, s->interp ? s->caller : s->fd, "", argv, envp, AT_EMPTY_PATH);
	child_errno = errno;
	_exit(0);
}

static const char *outcome(const struct seed *s, char text[64])
{
	int status = 0;
	pid_t pid = start(s);
	if (pid < 0) {
		perror("vfork");
		exit(1);
	}
	while (waitpid(pid, &status, 0) < 0)
		;
	if (child_errno)
		snprintf(text, 64, "errno %d", child_errno);
	else if (WIFSIGNALED(status))
		snprintf(text, 64, "signal %d", WTERMSIG(status));
	else
		snprintf(text, 64, "exit %d", WEXITSTATUS(status));
	return text;
}

static int load(const char *name)
{
	struct stat st;
	int from = open(name, O_RDONLY), to = (int)syscall(SYS_memfd_create, "mutant", 0);
	if (from < 0 || to < 0 || fstat(from, &st) || !st.st_size) {
		perror(name);
		exit(1);
	}
	struct seed *s = &seeds[nr_seeds++];
	const char *slash = strrchr(name, '/');
	s->path = name;
	s->name = slash ? slash + 1 : name;
	s->size = (size_t)st.st_size;
	s->bytes = malloc(s->size);
	s->fd = to;
	s->interp = strstr(s->name, "interp") != NULL;
	s->elf = false;
	if (read(from, s->bytes, s->size) != (ssize_t)s->size || fchmod(to, 0755) ||
	    !write_all(to, s->bytes, s->size, 0)) {
		perror(name);
		exit(1);
	}
	s->elf = s->size > sizeof(Elf64_Ehdr) && !memcmp(s->bytes, ELFMAG, 4);
	close(from);
	return to;
}

/* Mutants may do anything: as nobody, writing nothing. */
static void give_up_rights(void)
{
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	if (!getuid() && (setgroups(0, NULL) || setresgid(65534, 65534, 65534) ||
			  setresuid(65534, 65534, 65534))) {
		perror("nobody");
		exit(1);
	}
}

static void keep(const char *name, const struct seed *s)
{
	struct stat st;
	char *bytes = malloc(s->size);
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	ssize_t n = fstat(s->fd, &st) ? -1 : pread(s->fd, bytes, (size_t)st.st_size, 0);
	if (fd < 0 || n < 0 || write(fd, bytes, (size_t)n) != n)
		perror(name);
	close(fd);
	free(bytes);
}

static void usage(void)
{
	fprintf(stderr, "usage: elf [--tries N] [--seed N] [--from N] [--keep FILE] [--count] "
			"SEED-FILE...\n");
	exit(2);
}

static u64 tries = 1000, seed = 1, first;
static const char *keep_name;
static bool counts;

static void options(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--tries") && i + 1 < argc)
			tries = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			seed = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--from") && i + 1 < argc)
			first = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--keep") && i + 1 < argc)
			keep_name = argv[++i];
		else if (!strcmp(argv[i], "--count"))
			counts = true;
		else if (argv[i][0] == '-' || nr_seeds == SEEDS)
			usage();
		else
			load(argv[i]);
	}
	for (unsigned i = 0; i < nr_seeds; i++)
		if (seeds[i].interp && i + 1 < nr_seeds)
			seeds[i].caller = seeds[i + 1].fd;
		else if (seeds[i].interp)
			usage();
	if (!nr_seeds)
		usage();
}

int main(int argc, char **argv)
{
	struct count before = {0}, after;
	char text[64];
	pid_t worker;
	options(argc, argv);
	int null = open("/dev/null", O_RDWR), out = fcntl(1, F_DUPFD_CLOEXEC, 100);
	FILE *report = fdopen(out, "w");
	if (null < 0 || !report || dup2(load(seeds[0].path), FIRST_FD) < 0)
		return 1;
	nr_seeds--;
	for (u64 n = 0; n < 2; n++) {
		/* Once to warm up, when things are counted. */
		if (!n && !counts)
			continue;
		if (n && counts)
			before = count_settled();
		worker = fork();
		if (worker) {
			int status;
			if (worker < 0 || waitpid(worker, &status, 0) < 0 || status)
				return 1;
			continue;
		}
		for (int i = 0; i < 3; i++)
			dup2(null, i);
		personality(ADDR_NO_RANDOMIZE);
		give_up_rights();
		for (u64 k = first; k < first + (n ? tries : 200); k++) {
			state[0] = (seed * 1000003 + k + 1) * 0x9e3779b97f4a7c15;
			state[1] = 0x2545f4914f6cdd1d ^ k;
			for (int i = 0; i < 8; i++)
				next_random();
			const struct seed *s = &seeds[below(nr_seeds)];
			mutate(s);
			if (keep_name)
				keep(keep_name, s);
			if (n)
				fprintf(report, "%lu %s %s\n", k, s->name, outcome(s, text));
			else
				outcome(s, text);
			restore(s);
		}
		fclose(report);
		_exit(0);
	}
	if (!counts)
		return 0;
	after = count_settled();
	return !count_judge(&before, &after, tries);
}
