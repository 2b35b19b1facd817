/* SPDX-License-Identifier: MIT */
/* The model's state, shared by its files. */
#ifndef MODEL_WORLD_H
#define MODEL_WORLD_H

#include "model.h"

#define PAGE QUIRE_PAGE_SIZE
#define WINDOW 48 /* pages that mmap and its kin work on, from BASE */
#define HEAP 12   /* pages of brk, from HEAP_BASE; their models come after the window's */
#define PAGES (WINDOW + HEAP)
#define BASE 0x10000000UL
#define HEAP_BASE 0x30000000UL
#define PROCS 4
#define FILES 3 /* the last one is shmem */
#define FILE_PAGES 24
#define WORD_AT 296 /* the byte in each page where its word is */

enum kind { NONE, ANON, PRIVATE, SHARED };

struct mpage {
	u8 kind;   /* enum kind: of the mapping */
	u8 prot;   /* PROT_* */
	u8 file;   /* PRIVATE, SHARED */
	u8 copied; /* ANON, PRIVATE: the page has a word of its own */
	u8 lazy;   /* MADV_FREE: the word may be gone by now */
	u8 locked, dontfork, wipe;
	u32 pgoff;
	u64 word;
};

struct mproc {
	struct quire_mm *mm; /* null: no such process */
	struct mpage page[PAGES];
	unsigned heap; /* pages that brk covers */
};

struct mfile {
	struct posix_file *f;
	unsigned pages; /* size */
	u64 word[FILE_PAGES];
};

extern struct world {
	struct model_source *source;
	struct mproc proc[PROCS];
	struct mfile file[FILES];
	u64 stamp; /* the last word written; words are all different */
} world;

/* model.c */
unsigned pick(unsigned n); /* 0 .. n - 1 from the source */
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void disagree(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void expect(s64 got, s64 wanted, const char *what);

/* Address of a page of the model, and back. */
static inline u64 address(unsigned i)
{
	return i < WINDOW ? BASE + i * PAGE : HEAP_BASE + (i - WINDOW) * PAGE;
}

/* calls.c: one operation each, on a process; layout.c: holds what is there against it. */
void op_mmap(struct mproc *p);
void op_munmap(struct mproc *p);
void op_mprotect(struct mproc *p);
void op_mremap(struct mproc *p);
void op_madvise(struct mproc *p);
void op_mlock(struct mproc *p);
void op_brk(struct mproc *p);
void op_fork(struct mproc *p);
void op_exit(struct mproc *p);
void op_quiet(struct mproc *p); /* what must change nothing */
/* access.c */
void op_read(struct mproc *p);
void op_write(struct mproc *p);
void op_exec(struct mproc *p);
void op_file(struct mproc *p);
/* The outcome that an access to a page must have, and what a read must find. */
enum quire_outcome outcome_of(const struct mpage *g, unsigned access);
u64 word_of(const struct mpage *g);
void check_layout(struct mproc *p);
void check_words(struct mproc *p);

#endif
