/* SPDX-License-Identifier: MIT */
/*
 * Runs programs: each in a process of its own; forks within it tell in the same hash,
 * which they share.
 *
 *   diff-X --serve                  requests on standard input:
 *     seeds FIRST N OPS FEATURES      a line "seed S: HASH" each, then "operations N"
 *     program                         its lines follow, and "end": its story in full
 *   diff-X --gen SEED --ops N --features N    the program of that seed as text
 *   diff-X FILE                     the story of one program
 *
 * An answer ends with a line "end".  With --newer what changed in Linux since 6.1 is
 * left out.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "diff.h"

struct program program;
struct told *told;
bool in_full, newer;
u64_t window_top, window_heap;

void tell(const char *s, const char *end)
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

/* ---- programs ------------------------------------------------------------------------------- */

static int run_program(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		alarm(60);
		exec_start();
		run_ops(0, program.n);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

static void run_seeds(u64_t seed, u64_t runs, unsigned ops, unsigned features)
{
	u64_t done = 0;

	in_full = false;
	for (u64_t i = 0; i < runs; i++) {
		generate(&program, seed + i, ops, features);
		told->hash = 0xcbf29ce484222325u;
		told->ops = 0;
		told->all_locked = told->free_stack = false;
		int status = run_program();

		done += told->ops;
		if (status)
			printf("seed %lu: ended with status %#x\n", seed + i, (unsigned)status);
		else
			printf("seed %lu: %016lx\n", seed + i, told->hash);
	}
	printf("operations %lu\n", done);
}

static int run_text(char *text)
{
	if (!program_parse(&program, text))
		return 2;
	in_full = true;
	told->all_locked = told->free_stack = false;
	int status = run_program();
	if (status)
		printf("ended with status %#x\n", (unsigned)status);
	return status != 0;
}

static char text[1 << 18];

static int run_file(const char *path)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n < 0) {
		perror(path);
		return 2;
	}
	close(fd);
	text[n] = 0;
	return run_text(text);
}

static void read_program(void)
{
	size_t n = 0;

	text[0] = 0;
	while (n + 256 < sizeof(text) && fgets(text + n, 256, stdin) && strcmp(text + n, "end\n"))
		n += strlen(text + n);
	text[n] = 0;
}

static int serve(void)
{
	char request[256];

	while (fgets(request, sizeof(request), stdin)) {
		unsigned long seed, runs;
		unsigned ops, features;

		if (sscanf(request, "seeds %lu %lu %u %u", &seed, &runs, &ops, &features) == 4) {
			run_seeds(seed, runs, ops < MAX_OPS ? ops : MAX_OPS, features);
		} else if (!strcmp(request, "program\n")) {
			read_program();
			run_text(text);
		} else {
			fprintf(stderr, "diff: not understood: %s", request);
			return 2;
		}
		puts("end");
		fflush(stdout);
	}
	return 0;
}

static u64_t option(int argc, char **argv, const char *name, u64_t otherwise)
{
	for (int i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], name))
			return strtoull(argv[i + 1], NULL, 0);
	return otherwise;
}

static void print_program(u64_t seed, unsigned ops, unsigned features)
{
	generate(&program, seed, ops, features);
	for (unsigned i = 0; i < program.n; i++) {
		*op_text(text, &program.op[i]) = 0;
		puts(text);
	}
}

int main(int argc, char **argv)
{
	const char *last = argc > 1 ? argv[argc - 1] : "";

	if (argc > 2 && !strcmp(argv[1], "--gen")) {
		print_program(option(argc, argv, "--gen", 0),
			      (unsigned)option(argc, argv, "--ops", 40) % (MAX_OPS + 1),
			      (unsigned)option(argc, argv, "--features", 0));
		return 0;
	}
	newer = argc > 2 && !strcmp(argv[1], "--newer");
	exec_boot(argv);
	told = exec_shared(sizeof(*told));
	if (!strcmp(last, "--serve"))
		return serve();
	if (argc > 1)
		return run_file(last);
	fprintf(stderr, "usage: %s --gen SEED | [--newer] FILE | [--newer] --serve\n", argv[0]);
	return 2;
}
