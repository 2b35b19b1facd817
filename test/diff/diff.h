/* SPDX-License-Identifier: MIT */
/*
 * Programs of operations on memory, run on real Linux, inside Quire and on the
 * userspace port, that must tell the same story everywhere.
 *
 * A program is a list of operations; as text it is one a line, so that a shrunk
 * one is a readable file.  Addresses are relative to three windows: the arena at a
 * fixed address (a3: its fourth page), the place where mappings without a hint go,
 * counted from its end (t-5), and the heap, from the program's break (h2).
 */
#ifndef DIFF_H
#define DIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t u64_t;
typedef int64_t s64_t;

#define PG 4096UL
/* MAP_32BIT looks from here upward, so its results lie in the arena, too. */
#define ARENA 0x40000000UL
#define ARENA_PAGES 40
#define FILES 2
#define MAX_OPS 4096
#define MAX_ARGS 6

/* Name, and what its arguments are: A address, L length or number, F file, W word. */
#define OPERATIONS(X)                                    \
	X(MMAP, "mmap", "ALLLFL")                        \
	X(MUNMAP, "munmap", "AL")                        \
	X(MPROTECT, "mprotect", "ALL")                   \
	X(MREMAP, "mremap", "ALLLA")                     \
	X(MADVISE, "madvise", "ALL")                     \
	X(BRK, "brk", "A")                               \
	X(MSYNC, "msync", "ALL")                         \
	X(MINCORE, "mincore", "AL")                      \
	X(MLOCK, "mlock", "AL")                          \
	X(MLOCK2, "mlock2", "ALL")                       \
	X(MUNLOCK, "munlock", "AL")                      \
	X(MLOCKALL, "mlockall", "L")                     \
	X(MUNLOCKALL, "munlockall", "")                  \
	X(REMAP_FILE_PAGES, "remap_file_pages", "ALLLL") \
	X(FTRUNCATE, "ftruncate", "FL")                  \
	X(FALLOCATE, "fallocate", "FLLL")                \
	X(PWRITE, "pwrite", "FLL")                       \
	X(PREAD, "pread", "FL")                          \
	X(LOAD, "load", "A")                             \
	X(STORE, "store", "AL")                          \
	X(EXEC, "exec", "A")                             \
	X(READ_INTO, "read_into", "ALFL")                \
	X(WRITE_FROM, "write_from", "ALFL")              \
	X(FORK, "fork", "L")

enum opcode {
#define X(id, name, args) OP_##id,
	OPERATIONS(X)
#undef X
	    OP_COUNT
};

struct arg {
	char base; /* 'a', 't', 'h': relative to that window; 0: a plain number */
	s64_t v;
};

struct op {
	enum opcode code;
	struct arg arg[MAX_ARGS];
};

struct program {
	unsigned n;
	struct op op[MAX_OPS];
};

/* gen.c: a random program of n operations. */
void generate(struct program *p, u64_t seed, unsigned n);

/* text.c: one operation as text (into buf, its end); a program from text. */
char *op_text(char *at, const struct op *op);
char *address_text(char *at, u64_t addr);
bool program_parse(struct program *p, char *text);

/* ---- what an executor provides ---------------------------------------------------------- */

struct region {
	u64_t start, end, offset;
	char perms[5];
	char what; /* '-' anonymous, '0' + n: file n, 'z' shared anonymous, '?' other */
};
#define PAGE_PRESENT 1
#define PAGE_SWAP 2
#define PAGE_FILE 4
#define PAGE_EXCLUSIVE 8
#define PAGE_INCORE 16

struct access_result {
	int signo, code; /* 0: it worked */
	u64_t addr;
	u64_t value;
};

/* Once; then for each program, in a process of its own. */
void exec_boot(char **argv);
void exec_start(void); /* makes the windows and the files; sets window[] */
extern u64_t window_top, window_heap;
/* The calls of mman.h and of files: the result or -errno. */
s64_t exec_call(enum opcode code, const u64_t *arg, u64_t *value);
void exec_access(enum opcode code, u64_t addr, u64_t value, struct access_result *r);
/* The regions in the windows, in order; and the state of their pages. */
unsigned exec_regions(struct region *out, unsigned max);
void exec_pages(u64_t start, unsigned n, unsigned char *out);
/* Words of a page that is present and readable; changes nothing. */
void exec_peek(u64_t page, u64_t *word, const unsigned *offset, unsigned n);
/* Run run_ops(from, to) in a copy of this process, and wait for its end. */
s64_t exec_fork(unsigned from, unsigned to);
/* Memory that copies of this process share. */
void *exec_shared(size_t n);

/* ---- run.c ------------------------------------------------------------------------------- */

void run_ops(unsigned from, unsigned to);

static inline bool in_window(u64_t addr)
{
	return addr < 0x100000 || (addr >= ARENA - 0x400000 && addr < 0x80000000) ||
	       (addr >= window_top - (64UL << 20) && addr < window_top) ||
	       (addr >= window_heap && addr < window_heap + (64UL << 20));
}

#endif
