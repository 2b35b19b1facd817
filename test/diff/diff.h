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
#define FILES 4 /* the last one is the one before it, opened for reading */
#define SEGMENTS 2
#define MAX_OPS 4096
#define MAX_ARGS 6

/*
 * Name, what its arguments are (A address, L length or number, F file, W word), and
 * who has it: 0 everyone, else a FEATURE.
 */
#define OPERATIONS(X)                                           \
	X(MMAP, "mmap", "ALLLFL", 0)                            \
	X(MUNMAP, "munmap", "AL", 0)                            \
	X(MPROTECT, "mprotect", "ALL", 0)                       \
	X(MREMAP, "mremap", "ALLLA", 0)                         \
	X(MADVISE, "madvise", "ALL", 0)                         \
	X(BRK, "brk", "A", 0)                                   \
	X(MSYNC, "msync", "ALL", 0)                             \
	X(MINCORE, "mincore", "AL", 0)                          \
	X(MLOCK, "mlock", "AL", 0)                              \
	X(MLOCK2, "mlock2", "ALL", 0)                           \
	X(MUNLOCK, "munlock", "AL", 0)                          \
	X(MLOCKALL, "mlockall", "L", 0)                         \
	X(MUNLOCKALL, "munlockall", "", 0)                      \
	X(REMAP_FILE_PAGES, "remap_file_pages", "ALLLL", 0)     \
	X(FTRUNCATE, "ftruncate", "FL", 0)                      \
	X(FALLOCATE, "fallocate", "FLLL", 0)                    \
	X(PWRITE, "pwrite", "FLL", 0)                           \
	X(PREAD, "pread", "FL", 0)                              \
	X(LOAD, "load", "A", 0)                                 \
	X(STORE, "store", "AL", 0)                              \
	X(EXEC, "exec", "A", 0)                                 \
	X(READ_INTO, "read_into", "ALFL", 0)                    \
	X(WRITE_FROM, "write_from", "ALFL", 0)                  \
	X(RLIMIT, "rlimit", "LL", 0)                            \
	X(UNCAP, "uncap", "", 0)                                \
	X(CLEAR_REFS, "clear_refs", "L", 0)                     \
	X(SMAPS, "smaps", "", 0)                                \
	X(FORK, "fork", "L", 0)                                 \
	X(THREAD, "thread", "L", 0)                             \
	X(VFORK, "vfork", "L", SYSTEM)                          \
	X(PROCESS_MADVISE, "process_madvise", "ALALLL", SYSTEM) \
	X(SHMAT, "shmat", "LAL", SYSTEM)                        \
	X(SHMDT, "shmdt", "A", SYSTEM)                          \
	X(SHMCTL, "shmctl", "LL", SYSTEM)                       \
	X(SEAL, "seal", "FL", SYSTEM)                           \
	X(PREADV, "preadv", "ALALFL", SYSTEM)                   \
	X(PWRITEV, "pwritev", "ALALFL", SYSTEM)                 \
	X(VM_READV, "vm_readv", "ALAL", SYSTEM)                 \
	X(VM_WRITEV, "vm_writev", "ALAL", SYSTEM)               \
	X(SEEK, "seek", "FLL", SYSTEM)                          \
	X(STAT, "stat", "F", SYSTEM)                            \
	X(NAME, "name", "ALL", SYSTEM)                          \
	X(MINCORE_TO, "mincore_to", "ALA", SYSTEM)              \
	X(SENDFILE, "sendfile", "FAFL", SYSTEM)                 \
	X(PKEY_ALLOC, "pkey_alloc", "LL", PKEYS)                \
	X(PKEY_FREE, "pkey_free", "L", PKEYS)                   \
	X(PKEY_MPROTECT, "pkey_mprotect", "ALLL", PKEYS)        \
	X(PKEY_SET, "pkey_set", "LL", PKEYS)

/* SYSTEM: what a kernel has around the core.  POISON: retires frames for good.  PKEYS: the
 * processor has protection keys. */
#define FEATURE_SYSTEM 1
#define FEATURE_POISON 2
#define FEATURE_PKEYS 4

enum opcode {
#define X(id, name, args, feature) OP_##id,
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

/* gen.c: a random program of n operations, with these FEATUREs. */
void generate(struct program *p, u64_t seed, unsigned n, unsigned features);
/* genargs.c: what its arguments are made of. */
unsigned pick(unsigned n);
void pick_from(u64_t seed);
#define ONE_OF(...)                                       \
	({                                                \
		static const s64_t of_[] = {__VA_ARGS__}; \
		of_[pick(sizeof(of_) / sizeof(of_[0]))];  \
	})
struct arg number(s64_t v);
struct arg address(void);
struct arg place(void); /* of a word */
struct arg length(void);
void gen_system(struct op *o, unsigned features); /* gensys.c */
s64_t protection(void);

/* text.c: one operation as text (into buf, its end); a program from text. */
char *op_text(char *at, const struct op *op);
char *address_text(char *at, u64_t addr);
char *number_text(char *at, u64_t v, unsigned base); /* base 10 or 16 */
bool program_parse(struct program *p, char *text);

/* Held against a Linux that is newer than 6.1. */
extern bool newer;

/* ---- what an executor provides ---------------------------------------------------------- */

struct region {
	u64_t start, end, offset;
	char perms[5];
	/* '-' anonymous, '0' + n: file n, 'z' shared anonymous, 's' SysV, 'a', 'b': named so;
	 * '?' other */
	char what;
};
/* What smaps has of a region, in KiB; but for LazyFree and Referenced, which on Linux depend on
 * when a list of pages fills up. */
struct sizes {
	u64_t rss, pss, shared_clean, shared_dirty, private_clean, private_dirty;
	u64_t anonymous, locked, key;
	char flags[80];
};
/* Pages, since the program began. */
struct usage {
	s64_t size, locked, data, committed;
};
#define PAGE_PRESENT 1
#define PAGE_SWAP 2
#define PAGE_FILE 4
#define PAGE_EXCLUSIVE 8
#define PAGE_INCORE 16
#define PAGE_SOFT_DIRTY 32

/* Of an entry of pagemap and what mincore says of the page. */
static inline unsigned char page_bits(u64_t entry, unsigned char incore)
{
	return (unsigned char)((incore & 1 ? PAGE_INCORE : 0) | (entry >> 63 ? PAGE_PRESENT : 0) |
			       (entry >> 62 & 1 ? PAGE_SWAP : 0) |
			       (entry >> 61 & 1 ? PAGE_FILE : 0) |
			       (entry >> 56 & 1 ? PAGE_EXCLUSIVE : 0) |
			       (entry >> 55 & !newer ? PAGE_SOFT_DIRTY : 0));
}

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
/* The same regions with their sizes; and what is told of the address space. */
unsigned exec_sizes(struct region *out, struct sizes *s, unsigned max);
void exec_usage(struct usage *u);
/* Words of a page that is present and readable; changes nothing. */
void exec_peek(u64_t page, u64_t *word, const unsigned *offset, unsigned n);
/* Run run_ops(from, to) in a copy of this process (FORK), in a process with its memory
 * (VFORK), in a thread of it (THREAD), and wait for its end. */
s64_t exec_nested(enum opcode code, unsigned from, unsigned to);
#define DEEPEST 3
/* Memory that copies of this process share. */
void *exec_shared(size_t n);

/* ---- run.c, story.c
 * ------------------------------------------------------------------------------- */

void run_ops(unsigned from, unsigned to);
void tell(const char *s, const char *end);
extern struct program program;
extern struct told {
	u64_t hash, ops;
	bool all_locked; /* by mlockall(): what the executor needs for itself, too */
	bool free_stack; /* one that isn't charged: on Linux its growth is, for good */
} * told;
extern bool in_full;

static inline bool in_window(u64_t addr)
{
	return addr < 0x100000 || (addr >= ARENA - 0x400000 && addr < 0x80000000) ||
	       (addr >= window_top - (64UL << 20) && addr < window_top) ||
	       (addr >= window_heap && addr < window_heap + (64UL << 20));
}

#endif
