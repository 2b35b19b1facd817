/* SPDX-License-Identifier: MIT */
/* The model of the calls on address spaces. */
#include "world.h"

static unsigned pick_prot(void)
{
	static const u8 prot[] = {PROT_NONE,
				  PROT_READ,
				  PROT_READ | PROT_WRITE,
				  PROT_READ | PROT_WRITE,
				  PROT_READ | PROT_WRITE | PROT_EXEC,
				  PROT_READ | PROT_EXEC,
				  PROT_WRITE,
				  PROT_READ | PROT_WRITE};

	return prot[pick(sizeof(prot))];
}

/* A range of the window: n pages from *at. */
static unsigned pick_range(unsigned *at)
{
	unsigned most = pick(4) ? 6 : WINDOW;

	*at = pick(WINDOW);
	return 1 + pick(quire_min(most, WINDOW - *at));
}

static bool all_free(const struct mproc *p, unsigned at, unsigned n)
{
	for (unsigned i = at; i < at + n; i++)
		if (p->page[i].kind)
			return false;
	return true;
}

/* Fault a page in as mlock does: its outcome; a writable private page gets its copy. */
static bool populate_page(struct mpage *g)
{
	bool write = (g->prot & PROT_WRITE) && g->kind != SHARED;

	if (g->prot == PROT_NONE || outcome_of(g, write ? QUIRE_WRITE : QUIRE_READ))
		return false;
	if (write && !g->copied) {
		g->word = word_of(g);
		g->copied = 1;
	}
	return true;
}

/* ---- mmap, munmap, brk ------------------------------------------------------------------- */

/* Where a mapping of n pages without a hint goes: the highest gap, -1 below the window. */
static int top_gap(const struct mproc *p, unsigned n)
{
	for (int at = WINDOW - (int)n; at >= 0; at--)
		if (all_free(p, (unsigned)at, n))
			return at;
	return -1;
}

void op_mmap(struct mproc *p)
{
	unsigned at, n = pick_range(&at), how = pick(8), kind = ANON + pick(3);
	struct mpage g = {.kind = (u8)kind, .prot = (u8)pick_prot()};
	u64 flags = kind == ANON      ? MAP_PRIVATE | MAP_ANONYMOUS
		    : kind == PRIVATE ? MAP_PRIVATE
				      : MAP_SHARED;
	struct quire_file *f = NULL;
	u64 wanted = address(at);
	s64 got;

	if (kind != ANON) {
		g.file = (u8)pick(FILES);
		g.pgoff = pick(20);
		f = &world.file[g.file].f->file;
	}
	if (how == 0) {
		int gap = top_gap(p, n);

		wanted = gap < 0 ? 0 : address((unsigned)gap);
		at = (unsigned)gap;
	} else if (how == 1) {
		flags |= MAP_FIXED_NOREPLACE;
		if (!all_free(p, at, n))
			wanted = (u64)-EEXIST;
	} else {
		flags |= MAP_FIXED | (how == 2 ? MAP_POPULATE : 0);
	}
	note("process %ld: mmap %u pages at %d, prot %u, flags %#lx, file %u page %u",
	     p - world.proc, n, (int)at, g.prot, flags, g.file, g.pgoff);
	got = quire_mmap(p->mm, how ? address(at) : 0, n * PAGE, g.prot, flags, f, g.pgoff * PAGE,
			 VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC);
	if (!wanted) {
		/* It went below the window, where the model doesn't follow. */
		if (got < 0 || (u64)got >= BASE)
			disagree("mmap without a gap gave %#lx", got);
		expect(quire_munmap(p->mm, (u64)got, n * PAGE), 0, "munmap below");
		return;
	}
	expect(got, (s64)wanted, "mmap");
	if (got < 0)
		return;
	for (unsigned i = 0; i < n; i++, g.pgoff += kind != ANON)
		p->page[at + i] = g;
	for (unsigned i = 0; how == 2 && i < n; i++)
		if (!populate_page(&p->page[at + i]))
			break;
}

void op_munmap(struct mproc *p)
{
	unsigned at, n = pick_range(&at);

	note("process %ld: munmap %u pages at %u", p - world.proc, n, at);
	expect(quire_munmap(p->mm, address(at), n * PAGE), 0, "munmap");
	memset(&p->page[at], 0, n * sizeof(struct mpage));
}

void op_brk(struct mproc *p)
{
	unsigned n = pick(HEAP + 1);
	struct mpage g = {.kind = ANON, .prot = PROT_READ | PROT_WRITE};

	note("process %ld: brk at %u pages", p - world.proc, n);
	expect(quire_brk(p->mm, HEAP_BASE + n * PAGE), (s64)(HEAP_BASE + n * PAGE), "brk");
	for (unsigned i = 0; i < HEAP; i++)
		if (i >= n)
			memset(&p->page[WINDOW + i], 0, sizeof(g));
		else if (i >= p->heap)
			p->page[WINDOW + i] = g;
	p->heap = n;
}

/* ---- mprotect, mlock ------------------------------------------------------------------------ */

void op_mprotect(struct mproc *p)
{
	unsigned at, n = pick_range(&at), prot = pick_prot(), i;

	note("process %ld: mprotect %u pages at %u, prot %u", p - world.proc, n, at, prot);
	for (i = at; i < at + n && p->page[i].kind; i++) {
		struct mpage *g = &p->page[i];
		bool gains_write = g->locked && g->kind != SHARED && !(g->prot & PROT_WRITE) &&
				   (prot & PROT_WRITE);

		g->prot = (u8)prot;
		if (gains_write)
			populate_page(g);
	}
	expect(quire_mprotect(p->mm, address(at), n * PAGE, prot, -1), i < at + n ? -ENOMEM : 0,
	       "mprotect");
}

static void op_munlock(struct mproc *p, unsigned at, unsigned n)
{
	unsigned i;

	note("process %ld: munlock %u pages at %u", p - world.proc, n, at);
	for (i = at; i < at + n && p->page[i].kind; i++)
		p->page[i].locked = 0;
	expect(quire_munlock(p->mm, address(at), n * PAGE), i < at + n ? -ENOMEM : 0, "munlock");
}

void op_mlock(struct mproc *p)
{
	unsigned at, n = pick_range(&at), i;
	s64 wanted = 0;

	if (pick(2))
		return op_munlock(p, at, n);
	note("process %ld: mlock %u pages at %u", p - world.proc, n, at);
	for (i = at; i < at + n && p->page[i].kind; i++)
		p->page[i].locked = 1;
	if (i < at + n)
		wanted = -ENOMEM;
	for (i = at; !wanted && i < at + n; i++)
		if (!populate_page(&p->page[i]))
			wanted = -ENOMEM;
	expect(quire_mlock(p->mm, address(at), n * PAGE, false), wanted, "mlock");
}

/* ---- mremap --------------------------------------------------------------------------------- */

/* Where the VMA that has page i starts and ends, in pages; the model knows pages only. */
static unsigned vma_bounds(struct mproc *p, unsigned i, unsigned *start)
{
	struct quire_vma_info v;

	if (!quire_mm_vma_at(p->mm, address(i), &v) || v.start > address(i))
		disagree("no mapping at page %u", i);
	if (v.file)
		v.file->ops->put(v.file);
	*start = (unsigned)((v.start - BASE) / PAGE);
	return (unsigned)((v.end - BASE) / PAGE);
}

static unsigned vma_end(struct mproc *p, unsigned i)
{
	unsigned start;

	return vma_bounds(p, i, &start);
}

static void move(struct mproc *p, unsigned at, unsigned n, unsigned to)
{
	bool keep = pick(4) == 0;
	u64 flags = MREMAP_MAYMOVE | MREMAP_FIXED | (keep ? MREMAP_DONTUNMAP : 0);
	s64 wanted = (s64)address(to);

	note("process %ld: mremap %u pages from %u to %u%s", p - world.proc, n, at, to,
	     keep ? ", keeping the source" : "");
	if (!p->page[at].kind)
		wanted = -EFAULT;
	else if (at < to + n && to < at + n)
		wanted = -EINVAL;
	else if (vma_end(p, at) < at + n)
		wanted = -EFAULT;
	/* A source that is too short shows after the target is unmapped. */
	if (wanted != -EINVAL && p->page[at].kind)
		memset(&p->page[to], 0, n * sizeof(struct mpage));
	for (unsigned i = 0; wanted > 0 && i < n; i++) {
		struct mpage *from = &p->page[at + i];

		p->page[to + i] = *from;
		if (keep)
			from->copied = from->lazy = from->locked = 0;
		else
			memset(from, 0, sizeof(*from));
	}
	expect(quire_mremap(p->mm, address(at), n * PAGE, n * PAGE, flags, address(to)), wanted,
	       "mremap");
	/* A source that is kept isn't locked any more, nor is the rest of its VMA: with the
	 * target, where that lies beside it and is one with it now. */
	if (keep && wanted > 0) {
		unsigned start, end = vma_bounds(p, at, &start);

		for (unsigned i = start; i < end; i++)
			p->page[i].locked = 0;
	}
}

static void resize(struct mproc *p, unsigned at, unsigned n, unsigned new_n)
{
	s64 wanted = (s64)address(at);

	note("process %ld: mremap %u pages at %u to %u", p - world.proc, n, at, new_n);
	if (new_n <= n) {
		/* Shrinking unmaps the tail, whatever is there. */
		if (!p->page[at].kind)
			wanted = -EFAULT;
		else
			memset(&p->page[at + new_n], 0, (n - new_n) * sizeof(struct mpage));
	} else if (!p->page[at].kind || vma_end(p, at) < at + n) {
		wanted = -EFAULT;
	} else if (vma_end(p, at) != at + n || !all_free(p, at + n, new_n - n)) {
		wanted = -ENOMEM;
	} else {
		for (unsigned i = n; i < new_n; i++) {
			struct mpage *g = &p->page[at + i];

			*g = p->page[at];
			g->pgoff += g->kind == ANON ? 0 : i;
			g->copied = g->lazy = 0;
			g->word = 0;
		}
		for (unsigned i = n; p->page[at].locked && i < new_n; i++)
			if (!populate_page(&p->page[at + i]))
				break;
	}
	expect(quire_mremap(p->mm, address(at), n * PAGE, new_n * PAGE, 0, 0), wanted, "mremap");
}

void op_mremap(struct mproc *p)
{
	unsigned at, n = pick_range(&at);

	if (pick(3))
		move(p, at, n, pick(WINDOW - n + 1));
	else
		resize(p, at, n, 1 + pick(WINDOW - at));
}

/* ---- madvise ----------------------------------------------------------------------------------
 */

/* What an advice does to one page: 0 or the error that ends the call. */
static s64 advise_page(struct mpage *g, int advice)
{
	switch (advice) {
	case MADV_DONTNEED:
		if (g->locked)
			return -EINVAL;
		g->copied = g->lazy = 0;
		return 0;
	case MADV_FREE:
		if (g->kind != ANON || g->locked)
			return -EINVAL;
		g->lazy = g->copied;
		return 0;
	case MADV_DONTFORK:
		g->dontfork = 1;
		return 0;
	case MADV_DOFORK:
		g->dontfork = 0;
		return 0;
	case MADV_WIPEONFORK:
		if (g->kind != ANON)
			return -EINVAL;
		g->wipe = 1;
		return 0;
	case MADV_KEEPONFORK:
		g->wipe = 0;
		return 0;
	case MADV_COLD:
	case MADV_PAGEOUT:
		return g->locked ? -EINVAL : 0;
	case MADV_POPULATE_READ:
		if (!(g->prot & PROT_READ))
			return -EINVAL;
		return outcome_of(g, QUIRE_READ) ? -EFAULT : 0;
	case MADV_POPULATE_WRITE:
		if (!(g->prot & PROT_WRITE))
			return -EINVAL;
		if (outcome_of(g, QUIRE_WRITE))
			return -EFAULT;
		if (g->kind != SHARED && !g->copied)
			g->word = word_of(g), g->copied = 1;
		return 0;
	default:
		return 0;
	}
}

void op_madvise(struct mproc *p)
{
	static const int advices[] = {
	    MADV_NORMAL,     MADV_RANDOM, MADV_SEQUENTIAL, MADV_DONTNEED,      MADV_DONTNEED,
	    MADV_DONTNEED,   MADV_FREE,   MADV_DONTFORK,   MADV_DOFORK,        MADV_WIPEONFORK,
	    MADV_KEEPONFORK, MADV_COLD,   MADV_PAGEOUT,    MADV_POPULATE_READ, MADV_POPULATE_WRITE};
	unsigned at, n = pick_range(&at);
	int advice = advices[pick(quire_array_size(advices))];
	s64 wanted = 0, holes = 0;

	note("process %ld: madvise %d, %u pages at %u", p - world.proc, advice, n, at);
	for (unsigned i = at; i < at + n && !wanted; i++) {
		if (p->page[i].kind)
			wanted = advise_page(&p->page[i], advice);
		else
			holes = -ENOMEM;
	}
	expect(quire_madvise(p->mm, address(at), n * PAGE, advice), wanted ? wanted : holes,
	       "madvise");
}

/* ---- processes ---------------------------------------------------------------------------------
 */

void op_fork(struct mproc *p)
{
	struct mproc *c = &world.proc[pick(PROCS)];
	unsigned fail = pick(16);
	int err;

	if (c->mm)
		return;
	note("process %ld: fork to %ld", p - world.proc, c - world.proc);
	if (fail < 5)
		quire_fail_nth(fail * 3 + 1);
	err = quire_mm_fork(p->mm, NULL, &c->mm);
	quire_fail_nth(0);
	if (err && fail < 5 && err == -ENOMEM) {
		c->mm = NULL;
		return;
	}
	expect(err, 0, "fork");
	memcpy(c->page, p->page, sizeof(c->page));
	c->heap = p->heap;
	for (unsigned i = 0; i < PAGES; i++) {
		struct mpage *g = &c->page[i];

		g->locked = 0;
		if (g->dontfork)
			memset(g, 0, sizeof(*g));
		else if (g->wipe)
			g->copied = g->lazy = 0;
	}
}

void op_exit(struct mproc *p)
{
	if (p == &world.proc[0] || pick(2))
		return;
	note("process %ld: exit", p - world.proc);
	posix_mm_put(p->mm);
	memset(p, 0, sizeof(*p));
}

static void check_mincore(struct mproc *p)
{
	note("process %ld: mincore", p - world.proc);
	for (unsigned i = 0; i < PAGES; i++) {
		const struct mpage *g = &p->page[i];
		u8 in = 0;

		expect(quire_mincore(p->mm, address(i), 1, &in), g->kind ? 1 : -ENOMEM, "mincore");
		if (g->kind && g->copied && !g->lazy && !(in & 1))
			disagree("mincore says that page %u, which was written, isn't there", i);
		if (g->kind == ANON && !g->copied && g->prot == PROT_NONE && (in & 1) && !g->lazy)
			note("page %u is resident without a copy", i);
	}
}

void op_quiet(struct mproc *p)
{
	struct quire_smaps s = {0};
	unsigned n;

	switch (pick(6)) {
	case 0:
		n = pick(64);
		note("reclaim %u", n);
		quire_reclaim(n);
		break;
	case 1:
		check_mincore(p);
		break;
	case 2:
		n = 1 + pick(4);
		note("process %ld: clear_refs %u", p - world.proc, n);
		expect(quire_mm_clear_refs(p->mm, (int)n), 0, "clear_refs");
		break;
	case 3:
		note("process %ld: smaps", p - world.proc);
		quire_mm_smaps(p->mm, BASE, BASE + WINDOW * PAGE, &s);
		if (s.pss >> QUIRE_PSS_SHIFT > s.rss || s.rss > WINDOW * PAGE ||
		    s.rss != s.shared_clean + s.shared_dirty + s.private_clean + s.private_dirty)
			disagree("smaps doesn't add up");
		break;
	case 4:
		note("kmem shrink");
		quire_kmem_shrink();
		break;
	default:
		note("process %ld: msync", p - world.proc);
		n = pick(WINDOW);
		expect(quire_msync(p->mm, address(n), PAGE, pick(2) ? MS_SYNC : MS_ASYNC),
		       p->page[n].kind ? 0 : -ENOMEM, "msync");
	}
}
