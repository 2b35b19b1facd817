/* SPDX-License-Identifier: MIT */
/*
 * Several threads in one address space at once: faults, mmap and munmap, mprotect,
 * mremap, fork and exit, file reads, writes and truncation, reclaim.  Built with
 * ThreadSanitizer; each thread also checks what it may be sure of: memory that no
 * other thread touches holds what was written.
 */
#include <stdio.h>

#include "posix.h"

#define PAGE QUIRE_PAGE_SIZE
#define BASE 0x10000000UL
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)
#define THREADS 3

static struct quire_mm *mm;
static struct posix_file *file;
static unsigned rounds = 250;

struct random {
	u64 x;
};

static unsigned pick(struct random *r, unsigned n)
{
	r->x = r->x * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(r->x >> 33) % n;
}

static void require(bool ok, const char *what)
{
	if (!ok)
		quire_host_panic("not so: %s", what);
}

/* Thread i's own 64 pages. */
static u64 own(unsigned i)
{
	return BASE + i * 4096 * PAGE;
}

/* ---- one address space: everybody maps, faults and unmaps in places of their own ----------- */

static void own_places(void *arg, unsigned i)
{
	struct random r = {i + 1};

	(void)arg;
	for (unsigned n = 0; n < rounds; n++) {
		u64 a = own(i) + pick(&r, 8) * PAGE, len = (1 + pick(&r, 20)) * PAGE, x = n, y = 0;

		require(quire_mmap(mm, a, len, RW, ANON | MAP_FIXED, NULL, 0, 0) == (s64)a, "mmap");
		require(!user_read(mm, a + len - 8, &y, 8) && !y, "new memory is zero");
		require(!user_write(mm, a, &x, 8), "write");
		if (pick(&r, 2))
			require(!quire_mprotect(mm, a, PAGE, PROT_READ, -1), "mprotect");
		require(!user_read(mm, a, &y, 8) && y == x, "what was written is there");
		if (pick(&r, 4) == 0)
			require(quire_mremap(mm, a, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
					     own(i) + 1000 * PAGE) > 0 &&
				    !user_read(mm, own(i) + 1000 * PAGE, &y, 8) && y == x,
				"what was moved is there");
		if (pick(&r, 2))
			require(!quire_munmap(mm, a, len), "munmap");
		posix_quiescent();
	}
}

/* ---- one place: everybody maps, unmaps, protects and uses the same pages -------------------- */

static void same_place(void *arg, unsigned i)
{
	struct random r = {i + 100};
	u8 b = (u8)i;

	(void)arg;
	for (unsigned n = 0; n < rounds * 2; n++) {
		u64 a = BASE + pick(&r, 16) * PAGE, len = (1 + pick(&r, 8)) * PAGE;

		switch (pick(&r, 10)) {
		case 0:
			quire_mmap(mm, a, len, RW, ANON | MAP_FIXED, NULL, 0, 0);
			break;
		case 1:
			quire_munmap(mm, a, len);
			break;
		case 2:
			quire_mprotect(mm, a, len, pick(&r, 2) ? RW : PROT_READ, -1);
			break;
		case 3:
			quire_madvise(mm, a, len, MADV_DONTNEED);
			break;
		case 4:
			quire_mmap(mm, a, len, RW, MAP_SHARED | MAP_FIXED, &file->file,
				   pick(&r, 8) * PAGE, VM_MAYREAD | VM_MAYWRITE);
			break;
		case 5:
			quire_mmap(mm, a, len, RW, MAP_PRIVATE | MAP_FIXED, &file->file,
				   pick(&r, 8) * PAGE, VM_MAYREAD | VM_MAYWRITE);
			break;
		default:
			if (pick(&r, 2))
				user_write(mm, a + i, &b, 1);
			else
				user_read(mm, a, &b, 1);
		}
		posix_quiescent();
	}
}

/* ---- threads that fork while others write ------------------------------------------------------
 */

static void forks(void *arg, unsigned i)
{
	struct random r = {i + 200};

	(void)arg;
	for (unsigned n = 0; n < rounds / 2; n++) {
		u64 a = own(i), x = n, y = ~0UL, z = 12345;
		struct quire_mm *child;

		require(!user_write(mm, a + pick(&r, 4) * PAGE, &x, 8), "write");
		require(!user_write(mm, a, &x, 8), "write");
		require(!quire_mm_fork(mm, NULL, &child), "fork");
		require(!user_write(child, a, &z, 8), "child's write");
		require(!user_read(mm, a, &y, 8) && y == x, "the parent keeps its own");
		x = n + 1000000;
		require(!user_write(mm, a, &x, 8), "write");
		require(!user_read(child, a, &y, 8) && y == z, "the child keeps its own");
		posix_mm_put(child);
		posix_quiescent();
	}
}

/* ---- files: mappings, reads, writes, truncation, reclaim at the same time ----------------------
 */

static int write_lock_word;

static void files(void *arg, unsigned i)
{
	struct random r = {i + 300};
	static u8 buf[THREADS][4 * QUIRE_PAGE_SIZE];
	u64 a = own(i);
	u8 b = 1;

	(void)arg;
	require(quire_mmap(mm, a, 32 * PAGE, RW, MAP_SHARED | MAP_FIXED, &file->file, 0,
			   VM_MAYREAD | VM_MAYWRITE) == (s64)a,
		"mmap");
	for (unsigned n = 0; n < rounds; n++) {
		u64 pos = pick(&r, 24 * QUIRE_PAGE_SIZE);

		switch (pick(&r, 10)) {
		case 0:
		case 1:
			posix_file_read(file, pos, buf[i], pick(&r, 4 * QUIRE_PAGE_SIZE));
			break;
		case 2:
		case 3:
		case 4:
			/* Size changes exclude each other: that is the inode lock's business. */
			if (__atomic_exchange_n(&write_lock_word, 1, __ATOMIC_ACQUIRE))
				break;
			if (pick(&r, 3))
				posix_file_write(file, pos, buf[i], pick(&r, 4 * QUIRE_PAGE_SIZE));
			else
				posix_file_truncate(file, pos);
			__atomic_store_n(&write_lock_word, 0, __ATOMIC_RELEASE);
			break;
		case 5:
			quire_cache_flush(&file->map, 0, ~0UL);
			break;
		case 6:
			quire_reclaim(16);
			break;
		case 7:
			quire_cache_drop(&file->map, 0, ~0UL);
			break;
		default:
			if (pick(&r, 2))
				user_write(mm, a + pos, &b, 1);
			else
				user_read(mm, a + pos, &b, 1);
		}
		posix_quiescent();
	}
}

/* ---- many address spaces that come and go
 * ---------------------------------------------------------- */

static void spaces(void *arg, unsigned i)
{
	(void)arg;
	for (unsigned n = 0; n < rounds / 4; n++) {
		struct quire_mm *mine, *copy;
		u64 x = i * 1000 + n, y = 0;

		require(!quire_mm_fork(mm, NULL, &mine), "fork");
		require(quire_mmap(mine, BASE, 8 * PAGE, RW, ANON | MAP_FIXED, NULL, 0, 0) > 0,
			"mmap");
		require(!user_write(mine, BASE, &x, 8), "write");
		require(!quire_mm_fork(mine, NULL, &copy), "fork");
		posix_mm_put(mine);
		require(!user_read(copy, BASE, &y, 8) && y == x, "the copy has it");
		posix_mm_put(copy);
		posix_quiescent();
	}
}

/* ---- more memory in use than there is: reclaim in every thread ---------------------------------
 */

#define BIG_PAGES 5000UL

static struct posix_file *big;

static void pressure(void *arg, unsigned i)
{
	struct random r = {i + 400};
	u64 a = own(i), f = 0x100000000 + i * 0x10000000UL, x, y;

	(void)arg;
	require(quire_mmap(mm, f, BIG_PAGES * PAGE, RW, MAP_SHARED | MAP_FIXED, &big->file, 0,
			   VM_MAYREAD | VM_MAYWRITE) == (s64)f,
		"mmap");
	require(quire_mmap(mm, a, 700 * PAGE, RW, ANON | MAP_FIXED, NULL, 0, 0) == (s64)a, "mmap");
	for (u64 n = 0; n < 700; n++) {
		x = i * 100000 + n;
		require(!user_write(mm, a + n * PAGE, &x, 8), "anonymous memory is found");
		for (unsigned k = 0; k < 6; k++) {
			u64 at = pick(&r, BIG_PAGES);

			x = at + 1;
			require(!user_write(mm, f + at * PAGE + 8 * i, &x, 8),
				"the file's page is found");
			at = pick(&r, BIG_PAGES);
			require(!user_read(mm, f + at * PAGE + 8 * i, &y, 8) && (!y || y == at + 1),
				"the file's page is right");
		}
		posix_quiescent();
	}
	for (u64 n = 0; n < 700; n++)
		require(!user_read(mm, a + n * PAGE, &y, 8) && y == i * 100000 + n,
			"anonymous memory stays");
}

/* ---- locks, advice and the heap -----------------------------------------------------------------
 */

static void advice(void *arg, unsigned i)
{
	struct random r = {i + 500};

	(void)arg;
	for (unsigned n = 0; n < rounds * 2; n++) {
		static const int advices[] = {MADV_FREE,    MADV_DONTNEED, MADV_RANDOM,
					      MADV_NORMAL,  MADV_COLD,     MADV_POPULATE_WRITE,
					      MADV_DONTDUMP};
		u64 a = BASE + pick(&r, 60) * PAGE, x = n;
		struct quire_smaps s;
		u8 vec[4];

		switch (pick(&r, 8)) {
		case 0:
			quire_mlock(mm, a, 3 * PAGE, pick(&r, 2));
			break;
		case 1:
			quire_munlock(mm, a, 5 * PAGE);
			break;
		case 2:
			quire_mm_smaps(mm, BASE, BASE + 64 * PAGE, &s);
			quire_mincore(mm, a, 4, vec);
			break;
		case 3:
			quire_mm_clear_refs(mm, 1 + (int)pick(&r, 4));
			break;
		case 4:
			quire_mremap(mm, a, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				     BASE + pick(&r, 60) * PAGE);
			break;
		case 5:
			user_write(mm, a, &x, 8);
			quire_mm_access(mm, a, &x, 8, pick(&r, 2), true);
			break;
		default:
			quire_madvise(mm, a, 4 * PAGE,
				      advices[pick(&r, quire_array_size(advices))]);
			user_read(mm, a, &x, 8);
		}
		posix_quiescent();
	}
}

static const struct {
	const char *name;
	void (*run)(void *arg, unsigned i);
} tests[] = {
    {"own places", own_places}, {"same place", same_place}, {"forks", forks},
    {"files", files},           {"spaces", spaces},         {"advice", advice},
    {"pressure", pressure},
};

int main(int argc, char **argv)
{
	struct posix_config c = {.ram = 24u << 20, .cpus = THREADS + 1};

	if (argc > 1)
		rounds = (unsigned)strtoul(argv[1], NULL, 0);
	posix_boot(&c);
	for (unsigned t = 0; t < quire_array_size(tests); t++) {
		printf("[ RUN      ] %s\n", tests[t].name);
		fflush(stdout);
		require(!quire_mm_create(NULL, &mm), "an address space");
		quire_mm_layout(mm)->mmap_base = 0x400000000000;
		quire_mm_layout(mm)->task_size = QUIRE_USER_END;
		file = posix_file_new(24 * PAGE, 5);
		big = posix_file_new(BIG_PAGES * PAGE, 0);
		for (unsigned i = 0; i < THREADS; i++)
			require(
			    quire_mmap(mm, own(i), 64 * PAGE, RW, ANON | MAP_FIXED, NULL, 0, 0) > 0,
			    "mmap");
		posix_parallel(THREADS, tests[t].run, NULL);
		quire_reclaim(500); /* room for the checker's counts */
		quire_check_all();
		posix_mm_put(mm);
		posix_file_put(file);
		posix_file_put(big);
		quire_check_all();
		posix_settled_free();
		printf("[       OK ] %s\n", tests[t].name);
	}
	printf("[  PASSED  ] %zu test(s).\n", quire_array_size(tests));
	return 0;
}
