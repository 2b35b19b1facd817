/* SPDX-License-Identifier: MIT */
/*
 * What /proc/PID says about memory: maps, smaps, pagemap, clear_refs, mem.
 *
 * Locking: the core's, inside its calls; the address space is held by reference.
 * The text is made region by region, each asked for by its address, so it stays
 * right (if not from one moment) while the process goes on mapping.
 */
#include <quire/string.h>

#include "../lib/print.h"
#include "../lib/string.h"
#include "../vdso/vdso.h"
#include "proc.h"

#define NAME_COLUMN 73 /* where Linux puts the name */

static u64 file_dev(const struct inode *i)
{
	return i->dev ? i->dev : i->fs->dev;
}

static unsigned dev_major(u64 dev)
{
	return (unsigned)(dev >> 8 & 0xfff);
}
static unsigned dev_minor(u64 dev)
{
	return (unsigned)((dev & 0xff) | (dev >> 12 & 0xfff00));
}

static void show_vma(struct seq *s, const struct quire_vma_info *v)
{
	struct file *f = (struct file *)v->file;
	u64 dev = f && f->inode ? file_dev(f->inode) : 0;
	size_t start = s->len;
	seq_printf(s, "%08lx-%08lx %c%c%c%c %08lx %02x:%02x %lu ", v->start, v->end,
		   v->flags & VM_READ ? 'r' : '-', v->flags & VM_WRITE ? 'w' : '-',
		   v->flags & VM_EXEC ? 'x' : '-', v->flags & VM_MAYSHARE ? 's' : 'p',
		   v->pgoff * QUIRE_PAGE_SIZE, dev_major(dev), dev_minor(dev),
		   f && f->inode ? f->inode->ino : 0);
	if (f || v->name) {
		while (!s->failed && s->len - start < NAME_COLUMN)
			seq_putc(s, ' ');
		if (v->name)
			seq_escape(s, v->name, "\n");
		else
			seq_path(s, &f->path);
	}
	seq_putc(s, '\n');
}

static void vma_done(struct quire_vma_info *v)
{
	if (v->file)
		file_put((struct file *)v->file);
}

/* Show the regions from s->cursor on with `one`, a part at a time. */
static int each_vma(struct seq *s, struct proc_ctx *c,
		    void (*one)(struct seq *s, struct quire_mm *mm, const struct quire_vma_info *v))
{
	struct uspace *u = proc_uspace(c);
	struct quire_vma_info v;
	size_t begin = s->len;
	if (!u)
		return 0;
	while (quire_mm_vma_at(u->mm, s->cursor, &v)) {
		one(s, u->mm, &v);
		vma_done(&v);
		s->cursor = v.end;
		if (s->len - begin >= SEQ_PART) {
			s->more = true;
			break;
		}
	}
	/* What isn't mapped, but can be called. */
	if (!s->more && s->cursor < VSYSCALL_START) {
		v = (struct quire_vma_info){.start = VSYSCALL_START,
					    .end = VSYSCALL_END,
					    .flags = VM_EXEC,
					    .name = "[vsyscall]"};
		one(s, u->mm, &v);
		s->cursor = VSYSCALL_END;
	}
	uspace_put(u);
	return 0;
}

static void maps_one(struct seq *s, struct quire_mm *mm, const struct quire_vma_info *v)
{
	(void)mm;
	show_vma(s, v);
}

int proc_show_maps(struct seq *s, struct proc_ctx *c)
{
	return each_vma(s, c, maps_one);
}

static void line_kb(struct seq *s, const char *name, u64 bytes)
{
	seq_printf(s, "%-16s%8lu kB\n", name, bytes / 1024);
}

static void show_numbers(struct seq *s, const struct quire_smaps *m)
{
	line_kb(s, "Rss:", m->rss);
	line_kb(s, "Pss:", m->pss);
	line_kb(s, "Pss_Dirty:", m->pss_dirty);
	line_kb(s, "Shared_Clean:", m->shared_clean);
	line_kb(s, "Shared_Dirty:", m->shared_dirty);
	line_kb(s, "Private_Clean:", m->private_clean);
	line_kb(s, "Private_Dirty:", m->private_dirty);
	line_kb(s, "Referenced:", m->referenced);
	line_kb(s, "Anonymous:", m->anonymous);
	line_kb(s, "LazyFree:", m->lazyfree);
	line_kb(s, "AnonHugePages:", 0);
	line_kb(s, "ShmemPmdMapped:", 0);
	line_kb(s, "FilePmdMapped:", 0);
	line_kb(s, "Shared_Hugetlb:", 0);
	line_kb(s, "Private_Hugetlb:", 0);
	line_kb(s, "Swap:", m->swap);
	line_kb(s, "SwapPss:", m->swap);
	line_kb(s, "Locked:", m->locked);
}

static void show_flags(struct seq *s, u64 flags)
{
	static const struct {
		u64 bit;
		char name[3];
	} names[] = {
	    {VM_READ, "rd"},       {VM_WRITE, "wr"},       {VM_EXEC, "ex"},
	    {VM_SHARED, "sh"},     {VM_MAYREAD, "mr"},     {VM_MAYWRITE, "mw"},
	    {VM_MAYEXEC, "me"},    {VM_MAYSHARE, "ms"},    {VM_GROWSDOWN, "gd"},
	    {VM_PFNMAP, "pf"},     {VM_LOCKED, "lo"},      {VM_IO, "io"},
	    {VM_SEQ_READ, "sr"},   {VM_RAND_READ, "rr"},   {VM_DONTCOPY, "dc"},
	    {VM_DONTEXPAND, "de"}, {VM_LOCKONFAULT, "lf"}, {VM_ACCOUNT, "ac"},
	    {VM_NORESERVE, "nr"},  {VM_WIPEONFORK, "wf"},  {VM_DONTDUMP, "dd"},
	    {VM_SOFTDIRTY, "sd"},
	};
	seq_puts(s, "VmFlags: ");
	for (unsigned i = 0; i < quire_array_size(names); i++)
		if (flags & names[i].bit)
			seq_printf(s, "%s ", names[i].name);
	seq_putc(s, '\n');
}

static void smaps_one(struct seq *s, struct quire_mm *mm, const struct quire_vma_info *v)
{
	struct quire_smaps m = {0};
	if (v->end <= QUIRE_USER_END)
		quire_mm_smaps(mm, v->start, v->end, &m);
	show_vma(s, v);
	line_kb(s, "Size:", v->end - v->start);
	line_kb(s, "KernelPageSize:", QUIRE_PAGE_SIZE);
	line_kb(s, "MMUPageSize:", QUIRE_PAGE_SIZE);
	show_numbers(s, &m);
	seq_puts(s, "THPeligible:    0\n");
	show_flags(s, v->flags);
}

int proc_show_smaps(struct seq *s, struct proc_ctx *c)
{
	return each_vma(s, c, smaps_one);
}

static void add(struct quire_smaps *sum, const struct quire_smaps *m)
{
	sum->rss += m->rss;
	sum->pss += m->pss;
	sum->pss_dirty += m->pss_dirty;
	sum->shared_clean += m->shared_clean;
	sum->shared_dirty += m->shared_dirty;
	sum->private_clean += m->private_clean;
	sum->private_dirty += m->private_dirty;
	sum->referenced += m->referenced;
	sum->anonymous += m->anonymous;
	sum->lazyfree += m->lazyfree;
	sum->swap += m->swap;
	sum->locked += m->locked;
}

int proc_show_smaps_rollup(struct seq *s, struct proc_ctx *c)
{
	struct uspace *u = proc_uspace(c);
	struct quire_smaps sum = {0}, m;
	struct quire_vma_info v;
	u64 first = 0, at = 0;
	if (!u)
		return -ESRCH;
	while (quire_mm_vma_at(u->mm, at, &v)) {
		memset(&m, 0, sizeof(m));
		quire_mm_smaps(u->mm, v.start, v.end, &m);
		add(&sum, &m);
		vma_done(&v);
		if (!at)
			first = v.start;
		at = v.end;
	}
	uspace_put(u);
	size_t start = s->len;
	seq_printf(s, "%08lx-%08lx ---p 00000000 00:00 0 ", first, at);
	while (!s->failed && s->len - start < NAME_COLUMN)
		seq_putc(s, ' ');
	seq_puts(s, "[rollup]\n");
	show_numbers(s, &sum);
	return 0;
}

s64 proc_clear_refs(struct proc_ctx *c, char *buf, size_t n)
{
	u32 what;
	while (n && (buf[n - 1] == '\n' || buf[n - 1] == ' '))
		n--;
	if (!proc_number(buf, n, &what) || what < 1 || what > 5)
		return -EINVAL;
	struct uspace *u = proc_uspace(c);
	if (!u)
		return -ESRCH;
	int r = quire_mm_clear_refs(u->mm, (int)what);
	uspace_put(u);
	return r;
}

/* ---- pagemap: eight bytes for each page ----------------------------------------------- */

#define CAP_SYS_ADMIN 21
#define PM_PFN_MASK ((1UL << 55) - 1)
#define PM_BATCH 128u

static s64 with_uspace(struct file *f, struct iter *it, u64 *pos, bool write,
		       s64 (*fn)(struct uspace *u, struct iter *it, u64 *pos, bool write))
{
	struct proc_ctx c;
	int r = proc_ctx_get(proc_node_of(f), &c);
	if (r)
		return r;
	struct uspace *u = proc_may_look(c.task) ? proc_uspace(&c) : NULL;
	s64 n = u ? fn(u, it, pos, write) : 0;
	if (u)
		uspace_put(u);
	proc_ctx_put(&c);
	return n;
}

static s64 pagemap_move(struct uspace *u, struct iter *it, u64 *pos, bool write)
{
	u64 entry[PM_BATCH];
	s64 total = 0;
	(void)write;
	while (it->left) {
		u64 addr = *pos / 8 * QUIRE_PAGE_SIZE;
		if (addr >= QUIRE_USER_END + QUIRE_PAGE_SIZE)
			break;
		u64 n = quire_min(it->left / 8, (u64)PM_BATCH);
		n = quire_min(n, (QUIRE_USER_END + QUIRE_PAGE_SIZE - addr) / QUIRE_PAGE_SIZE);
		quire_mm_pagemap(u->mm, addr, n, entry);
		for (u64 i = 0; i < n && !capable(CAP_SYS_ADMIN); i++)
			if (entry[i] >> 63)
				entry[i] &= ~PM_PFN_MASK;
		size_t done = iter_copy_to(it, entry, n * 8);
		total += (s64)done;
		*pos += done;
		if (done < n * 8)
			return total ? total : -EFAULT;
		if (signal_fatal_pending())
			break;
	}
	return total;
}

static s64 pagemap_read(struct file *f, struct iter *it, u64 *pos)
{
	if ((*pos | it->left) & 7)
		return -EINVAL;
	return with_uspace(f, it, pos, false, pagemap_move);
}

/* ---- mem: the memory itself ------------------------------------------------------------- */

static s64 mem_move(struct uspace *u, struct iter *it, u64 *pos, bool write)
{
	s64 total = 0;
	u8 *buf = quire_kmalloc(QUIRE_PAGE_SIZE, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	while (it->left) {
		size_t n = quire_min(it->left, QUIRE_PAGE_SIZE - (*pos & ~QUIRE_PAGE_MASK));
		size_t done;
		if (write) {
			done = iter_copy_from(it, buf, n);
			if (!done && !total)
				total = -EFAULT;
			done = quire_mm_access(u->mm, *pos, buf, done, true, true);
		} else {
			n = quire_mm_access(u->mm, *pos, buf, n, false, true);
			done = iter_copy_to(it, buf, n);
			if (n && !done && !total)
				total = -EFAULT;
		}
		if (!done)
			break;
		*pos += done;
		total += (s64)done;
	}
	quire_kfree(buf);
	return total ? total : it->left ? -EIO : 0;
}

static s64 mem_read(struct file *f, struct iter *it, u64 *pos)
{
	return with_uspace(f, it, pos, false, mem_move);
}
static s64 mem_write(struct file *f, struct iter *it, u64 *pos)
{
	return with_uspace(f, it, pos, true, mem_move);
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

const struct file_ops proc_pagemap_ops = {.read = pagemap_read, .seek = mem_seek};
const struct file_ops proc_mem_ops = {.read = mem_read, .write = mem_write, .seek = mem_seek};
