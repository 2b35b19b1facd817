/* SPDX-License-Identifier: MIT */
/* The model of accesses, to memory and to files. */
#include "world.h"

enum quire_outcome outcome_of(const struct mpage *g, unsigned access)
{
	unsigned need = access & QUIRE_WRITE  ? PROT_WRITE
			: access & QUIRE_EXEC ? PROT_EXEC
					      : PROT_READ | PROT_WRITE | PROT_EXEC;

	if (g->kind == NONE)
		return QUIRE_SEGV_MAPERR;
	/* What may be read is brought in before it turns out that it isn't to be executed. */
	if (!(g->prot & need) && (!(access & QUIRE_EXEC) || !g->prot))
		return QUIRE_SEGV_ACCERR;
	if (g->kind != ANON && !g->copied && g->pgoff >= world.file[g->file].pages)
		return QUIRE_SIGBUS;
	return g->prot & need ? QUIRE_DONE_MINOR : QUIRE_SEGV_ACCERR;
}

u64 word_of(const struct mpage *g)
{
	if (g->kind == SHARED || (g->kind == PRIVATE && !g->copied))
		return g->pgoff < FILE_PAGES ? world.file[g->file].word[g->pgoff] : 0;
	return g->copied ? g->word : 0;
}

/* Sometimes an allocation of the operation that follows fails. */
static bool arm(void)
{
	unsigned n = pick(32);

	if (n >= 4)
		return false;
	quire_fail_nth(n + 1);
	return true;
}

/* The access failed for want of memory as it was told to. */
static bool starved(bool armed, enum quire_outcome o)
{
	if (armed)
		quire_fail_nth(0);
	return armed && o == QUIRE_OOM;
}

static void check_outcome(enum quire_outcome got, enum quire_outcome wanted, const char *what,
			  unsigned i)
{
	if (got != wanted)
		disagree("%s of page %u: %s, the model says %s", what, i, quire_outcome_name[got],
			 quire_outcome_name[wanted]);
}

static void check_word(u64 got, const struct mpage *g, unsigned i)
{
	if (got != word_of(g) && !(g->lazy && !got))
		disagree("page %u holds %lu, the model says %lu", i, got, word_of(g));
}

void op_read(struct mproc *p)
{
	unsigned i = pick(PAGES);
	struct mpage *g = &p->page[i];
	bool armed = arm();
	enum quire_outcome o;
	u64 word = 0;

	note("process %ld: read page %u", p - world.proc, i);
	o = user_read(p->mm, address(i) + WORD_AT, &word, sizeof(word));
	if (starved(armed, o))
		return;
	check_outcome(o, outcome_of(g, QUIRE_READ), "read", i);
	if (!o)
		check_word(word, g, i);
}

void op_write(struct mproc *p)
{
	unsigned i = pick(PAGES);
	struct mpage *g = &p->page[i];
	bool armed = arm();
	enum quire_outcome o;

	world.stamp++;
	note("process %ld: write %lu to page %u", p - world.proc, world.stamp, i);
	o = user_write(p->mm, address(i) + WORD_AT, &world.stamp, sizeof(world.stamp));
	if (starved(armed, o))
		return;
	check_outcome(o, outcome_of(g, QUIRE_WRITE), "write", i);
	if (o)
		return;
	if (g->kind == SHARED) {
		world.file[g->file].word[g->pgoff] = world.stamp;
	} else {
		g->copied = 1;
		g->lazy = 0;
		g->word = world.stamp;
	}
}

void op_exec(struct mproc *p)
{
	unsigned i = pick(PAGES);

	note("process %ld: execute page %u", p - world.proc, i);
	check_outcome(user_exec(p->mm, address(i)), outcome_of(&p->page[i], QUIRE_EXEC),
		      "execution", i);
}

void check_words(struct mproc *p)
{
	for (unsigned i = 0; i < PAGES; i++) {
		u64 word = 0;
		enum quire_outcome o = user_read(p->mm, address(i) + WORD_AT, &word, sizeof(word));

		check_outcome(o, outcome_of(&p->page[i], QUIRE_READ), "last read", i);
		if (!o)
			check_word(word, &p->page[i], i);
	}
}

/* ---- files ------------------------------------------------------------------------------ */

static void file_write(struct mfile *f)
{
	unsigned at = pick(FILE_PAGES);
	u64 word = ++world.stamp;

	note("file %ld: write %lu to page %u", f - world.file, word, at);
	expect(posix_file_write(f->f, at * PAGE + WORD_AT, &word, 8), 8, "write");
	f->word[at] = word;
	/* The size is kept at whole pages. */
	if (at >= f->pages) {
		f->pages = at + 1;
		posix_file_truncate(f->f, f->pages * PAGE);
	}
}

static void file_read(struct mfile *f)
{
	unsigned at = pick(FILE_PAGES);
	u64 word = 0;

	note("file %ld: read page %u", f - world.file, at);
	expect(posix_file_read(f->f, at * PAGE + WORD_AT, &word, 8), at < f->pages ? 8 : 0, "read");
	if (at < f->pages && word != f->word[at])
		disagree("page %u of the file holds %lu, the model says %lu", at, word,
			 f->word[at]);
}

static void file_truncate(struct mfile *f)
{
	f->pages = pick(FILE_PAGES + 1);
	note("file %ld: truncate to %u pages", f - world.file, f->pages);
	posix_file_truncate(f->f, f->pages * PAGE);
	for (unsigned i = f->pages; i < FILE_PAGES; i++)
		f->word[i] = 0;
	/* Private copies beyond the end go, too. */
	for (unsigned k = 0; k < PROCS; k++)
		for (unsigned i = 0; world.proc[k].mm && i < PAGES; i++) {
			struct mpage *g = &world.proc[k].page[i];

			if (g->kind == PRIVATE && g->file == f - world.file && g->pgoff >= f->pages)
				g->copied = 0;
		}
}

static void file_punch(struct mfile *f)
{
	unsigned a = pick(FILE_PAGES), b = a + pick(FILE_PAGES - a) + 1;

	note("file %ld: punch pages %u to %u", f - world.file, a, b);
	expect(quire_cache_punch(&f->f->map, a * PAGE, b * PAGE), 0, "punch");
	for (unsigned i = a; i < b; i++)
		f->word[i] = 0;
}

void op_file(struct mproc *p)
{
	struct mfile *f = &world.file[pick(FILES)];

	(void)p;
	switch (pick(8)) {
	case 0:
		file_truncate(f);
		break;
	case 1:
		if (!f->f->store)
			file_punch(f);
		break;
	case 2:
		note("file %ld: flush", f - world.file);
		expect(quire_cache_flush(&f->f->map, 0, ~0UL), 0, "flush");
		break;
	case 3:
		note("file %ld: drop", f - world.file);
		quire_cache_drop(&f->f->map, 0, ~0UL);
		break;
	case 4:
	case 5:
		file_read(f);
		break;
	default:
		file_write(f);
	}
}
