/* SPDX-License-Identifier: MIT */
/*
 * Runs programs and tells, after each operation, its result and all that can be
 * seen of the memory in the windows: in text for one program, or as a hash a seed.
 *
 *   diff-X --seed N --runs N --ops N    a line "seed N: HASH" each
 *   diff-X --gen N --ops N              the program of that seed as text
 *   diff-X FILE                         the story of a program in full
 *
 * Each program runs in a process of its own; forks within it tell in the same
 * hash, which they share.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "diff.h"

#define REGIONS 512

static struct program program;
static struct {
	u64_t hash, ops;
} * told;
static bool in_full;
static char line[1 << 17];
u64_t window_top, window_heap;

static void tell(const char *s, const char *end)
{
	u64_t h = told->hash;

	for (const char *p = s; p < end; p++)
		h = (h ^ (unsigned char)*p) * 0x100000001b3u;
	told->hash = h;
	while (in_full && s < end) {
		ssize_t n = write(1, s, (size_t)(end - s));

		if (n <= 0)
			_exit(3);
		s += n;
	}
}

static u64_t resolve(const struct arg *a)
{
	u64_t base = a->base == 'a'   ? ARENA
		     : a->base == 't' ? window_top
		     : a->base == 'h' ? window_heap
				      : 0;

	return base + (u64_t)a->v;
}

/* ---- the state -------------------------------------------------------------------------- */

static const unsigned sampled[] = {0, 296, 4088};

static char *page_text(char *at, const struct region *r, u64_t addr, unsigned char bits)
{
	u64_t w[3], h = 0;

	*at++ = "0123456789abcdefghijklmnopqrstuvwxyz"[bits];
	if (!(bits & PAGE_PRESENT) || r->perms[0] != 'r')
		return at;
	exec_peek(addr, w, sampled, 3);
	for (unsigned i = 0; i < 3; i++)
		h = (h ^ w[i]) * 0x9e3779b97f4a7c15u;
	if (w[0] | w[1] | w[2])
		at += sprintf(at, ":%04lx", h >> 48);
	return at;
}

static char *state_text(char *at)
{
	static struct region region[REGIONS];
	static unsigned char bits[4096];
	unsigned n = exec_regions(region, REGIONS);

	for (unsigned i = 0; i < n; i++) {
		const struct region *r = &region[i];
		u64_t pages = (r->end - r->start) / PG;

		at += sprintf(at, "  ");
		at = address_text(at, r->start);
		*at++ = '.', *at++ = '.';
		at = address_text(at, r->end);
		at += sprintf(at, " %s %c@%lx", r->perms, r->what, r->offset / PG);
		if (pages > sizeof(bits))
			pages = sizeof(bits);
		exec_pages(r->start, (unsigned)pages, bits);
		for (u64_t k = 0; k < pages; k++) {
			*at++ = ' ';
			at = page_text(at, r, r->start + k * PG, bits[k]);
		}
		*at++ = '\n';
	}
	return at;
}

/* ---- operations --------------------------------------------------------------------------- */

static char *result_text(char *at, s64_t r)
{
	if (r < 0 && r > -4096)
		return at + sprintf(at, "error %ld", -r);
	if (in_window((u64_t)r) && (u64_t)r >= 0x100000)
		return address_text(at, (u64_t)r);
	return at + sprintf(at, "%#lx", (u64_t)r);
}

/* The program may jump where it finds a return, or a fault.  True: *r is the end of it. */
static bool must_not_jump(u64_t addr, struct access_result *r)
{
	static struct region all[REGIONS];
	unsigned n = exec_regions(all, REGIONS), i = 0;

	while (i < n && all[i].end <= addr)
		i++;
	if (i == n || all[i].perms[2] != 'x')
		return false;
	if (all[i].start > addr) { /* it may be a stack that grows */
		r->value = 0xbad;
		return all[i].start - addr <= 64UL << 20;
	}
	exec_access(OP_LOAD, addr, 0, r);
	if (!r->signo && (unsigned char)r->value == 0xc3)
		return false;
	return true;
}

static char *access_text(char *at, const struct op *o, u64_t *arg)
{
	struct access_result r = {0};

	if (o->code != OP_EXEC || !must_not_jump(arg[0], &r)) {
		r = (struct access_result){0};
		exec_access(o->code, arg[0], arg[1], &r);
	}
	if (!r.signo)
		return at + sprintf(at, "%#lx", r.value);
	at += sprintf(at, "signal %d code %d at ", r.signo, r.code);
	return address_text(at, r.addr);
}

/*
 * Where Linux of today differs from 6.1, which Quire follows, an operation is left out
 * on all sides: the arguments and what is mapped decide, and those agree.
 *
 * Which VMAs become one changed, too: there the core has a switch (newer_merging).
 *
 * MAP_STACK keeps huge pages away since 6.7, which keeps regions apart.
 * MADV_REMOVE of shared memory that can't be written is allowed now.
 * mremap to a given place takes several regions at once since 6.17, and looks at the
 * new address before the old one; pwrite makes the page of the file before it reads
 * memory since 6.14: the memory is read first here, which may fault.
 */
static bool in_one_region(u64_t start, u64_t len)
{
	static struct region r[REGIONS];
	unsigned n = exec_regions(r, REGIONS);

	for (unsigned i = 0; i < n; i++)
		if (start >= r[i].start && start < r[i].end)
			return len <= r[i].end - start;
	return false;
}

static bool any_read_only(u64_t start, u64_t len)
{
	static struct region r[REGIONS];
	unsigned n = exec_regions(r, REGIONS);

	for (unsigned i = 0; i < n; i++)
		if (r[i].start < start + len && r[i].end > start && r[i].perms[1] != 'w')
			return true;
	return false;
}

static bool left_out(enum opcode code, const u64_t *arg)
{
	if (code == OP_MMAP)
		return arg[3] & 0x20000;
	if (code == OP_MREMAP && (arg[2] >> 47 || ((arg[3] & 4) && arg[1] != arg[2])))
		return true;
	if (code == OP_MREMAP && (arg[3] & 6))
		return !arg[1] || !in_one_region(arg[0], arg[1]);
	if (code == OP_MADVISE && (int)arg[2] == 9)
		return any_read_only(arg[0], arg[1]);
	if (code == OP_WRITE_FROM)
		for (u64_t at = arg[0]; at < arg[0] + arg[1]; at = (at | (PG - 1)) + 1) {
			struct access_result r = {0};

			exec_access(OP_LOAD, at & ~7UL, 0, &r);
			if (r.signo)
				return true;
		}
	return false;
}

static void run_op(unsigned i)
{
	const struct op *o = &program.op[i];
	u64_t arg[MAX_ARGS], value = 0;
	char *at = line;

	for (unsigned k = 0; k < MAX_ARGS; k++)
		arg[k] = resolve(&o->arg[k]);
	if (in_full) {
		at += sprintf(at, "%u: ", i + 1);
		at = op_text(at, o);
	}
	at += sprintf(at, " = ");
	if (o->code == OP_LOAD || o->code == OP_STORE || o->code == OP_EXEC) {
		at = access_text(at, o, arg);
	} else if (left_out(o->code, arg)) {
		at += sprintf(at, "left out");
	} else {
		at = result_text(at, exec_call(o->code, arg, &value));
		if (value)
			at += sprintf(at, " value %#lx", value);
	}
	*at++ = '\n';
	at = state_text(at);
	told->ops++;
	tell(line, at);
}

void run_ops(unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		if (program.op[i].code != OP_FORK) {
			run_op(i);
			continue;
		}
		unsigned n = (unsigned)program.op[i].arg[0].v,
			 end = n > to - i - 1 ? to : i + 1 + n;
		char *at = line;

		at += sprintf(at, in_full ? "%u: fork %u {\n" : "{", i + 1, n);
		tell(line, at);
		s64_t r = exec_fork(i + 1, end);
		at = line + sprintf(line, "} = %ld\n", r);
		at = state_text(at);
		told->ops++;
		tell(line, at);
		i = end - 1;
	}
}

/* ---- programs ------------------------------------------------------------------------------- */

static int run_program(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		alarm(20);
		exec_start();
		run_ops(0, program.n);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

static int run_seeds(u64_t seed, u64_t runs, unsigned ops)
{
	u64_t done = 0;

	for (u64_t i = 0; i < runs; i++) {
		generate(&program, seed + i, ops);
		told->hash = 0xcbf29ce484222325u;
		told->ops = 0;
		int status = run_program();

		done += told->ops;
		if (status)
			printf("seed %lu: ended with status %#x\n", seed + i, (unsigned)status);
		else
			printf("seed %lu: %016lx\n", seed + i, told->hash);
	}
	printf("operations %lu\n", done);
	return 0;
}

static int run_file(const char *path)
{
	static char text[1 << 18];
	int fd = open(path, O_RDONLY), status;
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n < 0) {
		perror(path);
		return 2;
	}
	close(fd);
	if (!program_parse(&program, text))
		return 2;
	in_full = true;
	status = run_program();
	if (status)
		printf("ended with status %#x\n", (unsigned)status);
	return status != 0;
}

static u64_t option(int argc, char **argv, const char *name, u64_t otherwise)
{
	for (int i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], name))
			return strtoull(argv[i + 1], NULL, 0);
	return otherwise;
}

int main(int argc, char **argv)
{
	unsigned ops = (unsigned)option(argc, argv, "--ops", 40);
	u64_t runs = option(argc, argv, "--runs", 0);

	setvbuf(stdout, NULL, _IONBF, 0);
	if (ops > MAX_OPS)
		ops = MAX_OPS;
	if (argc > 2 && !strcmp(argv[1], "--gen")) {
		generate(&program, option(argc, argv, "--gen", 0), ops);
		for (unsigned i = 0; i < program.n; i++) {
			*op_text(line, &program.op[i]) = 0;
			puts(line);
		}
		return 0;
	}
	exec_boot(argv);
	told = exec_shared(sizeof(*told));
	if (runs)
		return run_seeds(option(argc, argv, "--seed", 1), runs, ops);
	if (argc == 2)
		return run_file(argv[1]);
	fprintf(stderr, "usage: %s FILE | --gen SEED | --seed N --runs N [--ops N]\n", argv[0]);
	return 2;
}
