/* SPDX-License-Identifier: MIT */
/*
 * What the unit tests share: the machine is booted once for each program, every
 * test starts from and ends with the same number of free frames, and a panic can
 * be expected (it happens in a forked copy of the process).
 */
#ifndef UNIT_H
#define UNIT_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "posix.h"

#define PAGE QUIRE_PAGE_SIZE
#define BASE 0x10000000UL /* where tests put their mappings */

#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define MAY_ALL (VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC)

static u64 unit_free;

/* A new mm as exec would leave it: no limits, top-down below 2^46. */
static inline struct quire_mm *unit_mm(void)
{
	struct quire_mm *mm;
	u64 none = ~0UL;

	assert_int_equal(quire_mm_create(NULL, &mm), 0);
	posix_limits =
	    (struct posix_limits){.as = none, .data = none, .stack = 8UL << 20, .memlock = none};
	quire_mm_layout(mm)->mmap_base = 0x400000000000UL;
	quire_mm_layout(mm)->task_size = QUIRE_USER_END;
	quire_mm_layout(mm)->start_brk = 0x20000000;
	return mm;
}

/* Anonymous private pages at BASE + at * PAGE. */
static inline u64 unit_anon(struct quire_mm *mm, u64 at, u64 pages, u64 prot)
{
	u64 addr = BASE + at * PAGE;

	assert_int_equal(quire_mmap(mm, addr, pages * PAGE, prot, ANON | MAP_FIXED, NULL, 0, 0),
			 (s64)addr);
	return addr;
}

static inline u64 unit_map(struct quire_mm *mm, u64 at, u64 pages, u64 prot, u64 flags,
			   struct posix_file *f, u64 pgoff)
{
	u64 addr = BASE + at * PAGE;

	assert_int_equal(quire_mmap(mm, addr, pages * PAGE, prot, flags | MAP_FIXED, &f->file,
				    pgoff * PAGE, MAY_ALL),
			 (s64)addr);
	return addr;
}

/* The layout in words, in pages from BASE: "0-2 rw-p, 4-5 r--s@3, ".  VM_LOCKED adds 'l'. */
static inline const char *unit_layout(struct quire_mm *mm)
{
	static char text[4096];
	struct quire_vma_info i;
	size_t n = 0;

	text[0] = 0;
	for (u64 at = 0; quire_mm_vma_at(mm, at, &i); at = i.end) {
		n += (size_t)snprintf(
		    text + n, sizeof(text) - n, "%s%ld-%ld %c%c%c%c%s", n ? ", " : "",
		    (s64)(i.start - BASE) / (s64)PAGE, (s64)(i.end - BASE) / (s64)PAGE,
		    i.flags & VM_READ ? 'r' : '-', i.flags & VM_WRITE ? 'w' : '-',
		    i.flags & VM_EXEC ? 'x' : '-', i.flags & VM_MAYSHARE ? 's' : 'p',
		    i.flags & VM_LOCKED ? "l" : "");
		if (i.file) {
			n += (size_t)snprintf(text + n, sizeof(text) - n, "@%lu", i.pgoff);
			i.file->ops->put(i.file);
		}
		if (n >= sizeof(text) - 64)
			break;
	}
	return text;
}

static inline u64 unit_get(struct quire_mm *mm, u64 addr)
{
	u64 x = 0;

	assert_int_equal(user_read(mm, addr, &x, sizeof(x)), 0);
	return x;
}

static inline void unit_set(struct quire_mm *mm, u64 addr, u64 x)
{
	assert_int_equal(user_write(mm, addr, &x, sizeof(x)), 0);
}

static inline struct quire_mm_usage unit_usage(struct quire_mm *mm)
{
	struct quire_mm_usage u;

	quire_mm_usage(mm, &u);
	return u;
}

/* The cause of this thread's last fault. */
static inline int unit_cause(void)
{
	return posix_faults()->last.cause;
}

/* fn(arg) must panic, saying something that contains the words. */
static inline void unit_panics(void (*fn)(void *), void *arg, const char *words)
{
	int fd[2], status;
	char text[8192];
	size_t n = 0;
	ssize_t k;
	pid_t pid;

	assert_int_equal(pipe(fd), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		dup2(fd[1], 2);
		close(fd[0]);
		signal(SIGABRT, SIG_DFL);
		fn(arg);
		_exit(0);
	}
	close(fd[1]);
	while (n < sizeof(text) - 1 && (k = read(fd[0], text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)k;
	text[n] = 0;
	close(fd[0]);
	waitpid(pid, &status, 0);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !strstr(text, "panic"))
		fail_msg("expected a panic about \"%s\", got status %#x: %s", words, status, text);
	if (!strstr(text, words))
		fail_msg("expected a panic about \"%s\", got: %s", words, text);
}

static inline int unit_boot_with(const struct posix_config *c)
{
	struct quire_mm *mm;
	struct posix_file *f;
	u64 addr;

	posix_boot(c);
	/* Warm what is set up once and kept. */
	mm = unit_mm();
	addr = unit_anon(mm, 0, 4, RW);
	user_touch(mm, addr, true);
	f = posix_file_new(3 * PAGE, 1);
	addr = unit_map(mm, 8, 3, PROT_READ, MAP_PRIVATE, f, 0);
	user_touch(mm, addr, false);
	posix_file_put(f);
	posix_mm_put(mm);
	return 0;
}

static inline int unit_boot(void **state)
{
	(void)state;
	return unit_boot_with(NULL);
}

static inline int unit_begin(void **state)
{
	(void)state;
	memset(posix_faults(), 0, sizeof(struct posix_faults));
	unit_free = posix_settled_free();
	return 0;
}

/* All is as it was: the whole state agrees and no frame is missing. */
static inline int unit_end(void **state)
{
	u64 now;

	(void)state;
	quire_fail_nth(0);
	quire_check_all();
	now = posix_settled_free();
	if (now != unit_free) {
		print_error("%ld frames leaked: %lu free before, %lu after\n",
			    (s64)unit_free - (s64)now, unit_free, now);
		return -1;
	}
	return 0;
}

#define UNIT_TEST(fn) cmocka_unit_test_setup_teardown(fn, unit_begin, unit_end)
#define UNIT_MAIN(tests) UNIT_MAIN_BOOT(tests, unit_boot)
#define UNIT_MAIN_BOOT(tests, boot)                                   \
	int main(void)                                                \
	{                                                             \
		return cmocka_run_group_tests((tests), (boot), NULL); \
	}

#endif
