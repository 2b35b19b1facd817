/* SPDX-License-Identifier: MIT */
/*
 * The memory of a process as files: mem, pagemap; what exec left in it: cmdline, environ,
 * auxv; and the frames of the machine: kpageflags, kpagecount.
 *
 * Who opens a file is checked at open; what is read is of the address space of that
 * moment, and nothing once the process has another one.
 *
 * Locking: the core's, inside its calls; the address space is held by reference.
 *
 * Source of the formats: proc(5); Linux's admin guide, pagemap.
 */
#include <quire/string.h>

#include "../lib/string.h"
#include "proc.h"

/* ---- the address space of an open file -------------------------------------------------- */

static s64 with_uspace(struct file *f, struct iter *it, u64 *pos, bool write,
		       s64 (*fn)(struct uspace *u, struct iter *it, u64 *pos, bool flag))
{
	struct proc_ctx c;
	if (proc_ctx_get(proc_node_of(f), &c))
		return 0; /* the process is gone, and its memory */
	c.mm_id = proc_file_mm_id(f);
	struct uspace *u = proc_uspace(&c);
	s64 n = u ? fn(u, it, pos, write) : 0;
	if (u)
		uspace_put(u);
	proc_ctx_put(&c);
	return n;
}

/* Positions are addresses, so the upper half counts as well. */
static s64 mem_seek(struct file *f, s64 off, int whence)
{
	if (whence == 1)
		off += (s64)f->pos;
	else if (whence != 0)
		return -EINVAL;
	f->pos = (u64)off;
	return off;
}

/* ---- pagemap: eight bytes for each page ----------------------------------------------- */

#define PM_PFN_MASK ((1UL << 55) - 1)
#define BATCH 128u

/* Words for the caller up to the one at byte `end`, a batch at a time: fill(arg, first, n,
 * word) makes n of them. */
static s64 move_words(struct iter *it, u64 *pos, u64 end,
		      void (*fill)(void *arg, u64 first, u64 n, u64 *word), void *arg)
{
	u64 word[BATCH];
	s64 total = 0;
	if ((*pos | it->left) & 7)
		return -EINVAL;
	while (it->left && *pos < end) {
		u64 n = quire_min(quire_min(it->left, end - *pos) / 8, (u64)BATCH);
		fill(arg, *pos / 8, n, word);
		size_t done = iter_copy_to(it, word, n * 8);
		total += (s64)done;
		*pos += done;
		if (done < n * 8)
			return total ? total : -EFAULT;
		if (signal_fatal_pending())
			break;
	}
	return total;
}

struct pagemap {
	struct quire_mm *mm;
	bool show_frames;
};

static void fill_pagemap(void *arg, u64 first, u64 n, u64 *word)
{
	const struct pagemap *m = arg;
	quire_mm_pagemap(m->mm, first * QUIRE_PAGE_SIZE, n, word);
	for (u64 i = 0; i < n && !m->show_frames; i++)
		if (word[i] >> 63)
			word[i] &= ~PM_PFN_MASK;
}

static s64 pagemap_move(struct uspace *u, struct iter *it, u64 *pos, bool show_frames)
{
	struct pagemap m = {u->mm, show_frames};
	return move_words(it, pos, QUIRE_USER_END / QUIRE_PAGE_SIZE * 8, fill_pagemap, &m);
}

static s64 pagemap_read(struct file *f, struct iter *it, u64 *pos)
{
	if ((*pos | it->left) & 7)
		return -EINVAL;
	return with_uspace(f, it, pos, proc_file_admin(f), pagemap_move);
}

/* ---- mem: the memory itself ------------------------------------------------------------- */

static s64 mem_move(struct uspace *u, struct iter *it, u64 *pos, bool write)
{
	s64 total = 0, err = 0;
	u8 *buf = quire_kmalloc(QUIRE_PAGE_SIZE, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	while (it->left && !err) {
		size_t n = quire_min(it->left, QUIRE_PAGE_SIZE - (*pos & ~QUIRE_PAGE_MASK));
		size_t done = write ? iter_copy_from(it, buf, n)
				    : quire_mm_access(u->mm, *pos, buf, n, false, true);
		if (!done) {
			err = write ? -EFAULT : -EIO;
			break;
		}
		n = done;
		done = write ? quire_mm_access(u->mm, *pos, buf, n, true, true)
			     : iter_copy_to(it, buf, n);
		if (done < n)
			err = write ? -EIO : -EFAULT;
		*pos += done;
		total += (s64)done;
		/* As on Linux, of a buffer that faults nothing was read. */
		if (err == -EFAULT)
			total = total > (s64)it->off ? total - (s64)it->off : 0;
	}
	quire_kfree(buf);
	return total ? total : err;
}

static s64 mem_read(struct file *f, struct iter *it, u64 *pos)
{
	return with_uspace(f, it, pos, false, mem_move);
}
static s64 mem_write(struct file *f, struct iter *it, u64 *pos)
{
	return with_uspace(f, it, pos, true, mem_move);
}

const struct file_ops proc_pagemap_ops = {.read = pagemap_read, .seek = mem_seek};
const struct file_ops proc_mem_ops = {.read = mem_read, .write = mem_write, .seek = mem_seek};

/* ---- frames of the machine: eight bytes for each --------------------------------------- */

static void fill_flags(void *arg, u64 first, u64 n, u64 *word)
{
	(void)arg;
	for (u64 i = 0; i < n; i++)
		word[i] = quire_frame_flags((struct pfn){first + i});
}
static s64 kpageflags_read(struct file *f, struct iter *it, u64 *pos)
{
	(void)f;
	return move_words(it, pos, quire_nr_pages * 8, fill_flags, NULL);
}

static void fill_mapcounts(void *arg, u64 first, u64 n, u64 *word)
{
	(void)arg;
	for (u64 i = 0; i < n; i++)
		word[i] = quire_frame_mapcount((struct pfn){first + i});
}
static s64 kpagecount_read(struct file *f, struct iter *it, u64 *pos)
{
	(void)f;
	return move_words(it, pos, quire_nr_pages * 8, fill_mapcounts, NULL);
}

const struct file_ops proc_kpageflags_ops = {.read = kpageflags_read, .seek = mem_seek};
const struct file_ops proc_kpagecount_ops = {.read = kpagecount_read, .seek = mem_seek};

/* ---- what exec left in memory ----------------------------------------------------------- */

/* Read anonymous memory only: what a program points these files at may be anything, a slow
 * device's file too.  How many bytes. */
static size_t read_anonymous(struct uspace *u, u64 from, void *buf, size_t n)
{
	size_t got = 0;
	while (got < n) {
		struct quire_vma_info v;
		if (!quire_mm_vma_at(u->mm, from + got, &v))
			break;
		if (v.file)
			file_put((struct file *)v.file);
		if (v.start > from + got || v.file || (v.flags & (VM_SPECIAL | VM_MAYSHARE)))
			break;
		size_t part = quire_min(n - got, v.end - (from + got));
		size_t k = quire_mm_access(u->mm, from + got, (char *)buf + got, part, false, true);
		got += k;
		if (k < part)
			break;
	}
	return got;
}

/* [from, to) of memory, a part at a time. */
static int show_range(struct seq *s, struct uspace *u, u64 from, u64 to)
{
	char *page = quire_kmalloc(QUIRE_PAGE_SIZE, GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	from += s->cursor;
	while (from < to) {
		size_t n = quire_min(to - from, QUIRE_PAGE_SIZE);
		size_t got = read_anonymous(u, from, page, n);
		seq_write(s, page, got);
		s->cursor += got;
		from += got;
		if (got < n)
			break;
		if (s->len >= SEQ_PART && from < to) {
			s->more = true;
			break;
		}
	}
	quire_kfree(page);
	return 0;
}

/* The program wrote over its arguments (setproctitle): one string, up to its end. */
static int show_title(struct seq *s, struct uspace *u, u64 from)
{
	char *page = quire_kmalloc(QUIRE_PAGE_SIZE, GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	size_t got = read_anonymous(u, from, page, QUIRE_PAGE_SIZE), len = 0;
	while (len < got && page[len])
		len++;
	seq_write(s, page, quire_min(len + 1, got));
	quire_kfree(page);
	return 0;
}

int proc_show_pid_cmdline(struct seq *s, struct proc_ctx *c)
{
	struct uspace *u = proc_uspace(c);
	char last = 0;
	int r = 0;
	if (!u)
		return 0;
	struct quire_layout l = *quire_mm_layout(u->mm);
	if (l.arg_start < l.arg_end) {
		if (!s->cursor && read_anonymous(u, l.arg_end - 1, &last, 1) == 1 && last)
			r = show_title(s, u, l.arg_start);
		else
			r = show_range(s, u, l.arg_start, l.arg_end);
	}
	uspace_put(u);
	return r;
}

int proc_show_environ(struct seq *s, struct proc_ctx *c)
{
	struct uspace *u = proc_uspace(c);
	if (!u)
		return 0;
	struct quire_layout *l = quire_mm_layout(u->mm);
	int r = show_range(s, u, l->env_start, l->env_end);
	uspace_put(u);
	return r;
}

int proc_show_auxv(struct seq *s, struct proc_ctx *c)
{
	struct uspace *u = proc_uspace(c);
	u32 words = 0;
	if (!u)
		return 0;
	/* With the pair that ends it. */
	while (words + 2 <= quire_array_size(u->auxv)) {
		words += 2;
		if (!u->auxv[words - 2])
			break;
	}
	seq_write(s, u->auxv, words * sizeof(u64));
	uspace_put(u);
	return 0;
}
