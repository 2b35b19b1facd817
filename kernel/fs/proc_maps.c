/* SPDX-License-Identifier: MIT */
/*
 * What /proc/PID says about memory in words: maps, smaps, smaps_rollup, numa_maps; and
 * clear_refs.
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

#define SHMEM_DEV 1    /* Linux's own file system in memory, that nobody sees */
#define NAME_COLUMN 73 /* where Linux puts the name */

/* The device as stat(2) shows it, which a file that nobody asked about doesn't know yet. */
static u64 file_dev(struct inode *i)
{
	if (!i->dev && i->ops->refresh)
		i->ops->refresh(i);
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
	u64 dev = f && f->inode ? file_dev(f->inode) : v->number ? SHMEM_DEV : 0;
	size_t start = s->len;
	seq_printf(s, "%08lx-%08lx %c%c%c%c %08lx %02x:%02x %lu ", v->start, v->end,
		   v->flags & VM_READ ? 'r' : '-', v->flags & VM_WRITE ? 'w' : '-',
		   v->flags & VM_EXEC ? 'x' : '-', v->flags & VM_MAYSHARE ? 's' : 'p',
		   v->pgoff * QUIRE_PAGE_SIZE, dev_major(dev), dev_minor(dev),
		   f && f->inode ? f->inode->ino : v->number);
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

static void show_numbers(struct seq *s, const struct quire_smaps *m, bool sums)
{
	line_kb(s, "Rss:", m->rss);
	line_kb(s, "Pss:", m->pss >> QUIRE_PSS_SHIFT);
	line_kb(s, "Pss_Dirty:", m->pss_dirty >> QUIRE_PSS_SHIFT);
	if (sums) {
		line_kb(s, "Pss_Anon:", m->pss_anon >> QUIRE_PSS_SHIFT);
		line_kb(s, "Pss_File:", m->pss_file >> QUIRE_PSS_SHIFT);
		line_kb(s, "Pss_Shmem:", m->pss_shmem >> QUIRE_PSS_SHIFT);
	}
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
	line_kb(s, "Locked:", m->locked >> QUIRE_PSS_SHIFT);
}

static void show_flags(struct seq *s, u64 flags)
{
	/* Linux 6.1 has no letters for VM_LOCKONFAULT, either. */
	static const struct {
		u64 bit;
		char name[3];
	} names[] = {
	    {VM_READ, "rd"},       {VM_WRITE, "wr"},       {VM_EXEC, "ex"},
	    {VM_SHARED, "sh"},     {VM_MAYREAD, "mr"},     {VM_MAYWRITE, "mw"},
	    {VM_MAYEXEC, "me"},    {VM_MAYSHARE, "ms"},    {VM_GROWSDOWN, "gd"},
	    {VM_PFNMAP, "pf"},     {VM_LOCKED, "lo"},      {VM_IO, "io"},
	    {VM_SEQ_READ, "sr"},   {VM_RAND_READ, "rr"},   {VM_DONTCOPY, "dc"},
	    {VM_DONTEXPAND, "de"}, {VM_LOCKONFAULT, "??"}, {VM_ACCOUNT, "ac"},
	    {VM_NORESERVE, "nr"},  {VM_SYNC, "sf"},        {VM_WIPEONFORK, "wf"},
	    {VM_DONTDUMP, "dd"},   {VM_SOFTDIRTY, "sd"},
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
	show_numbers(s, &m, false);
	seq_puts(s, "THPeligible:    0\n");
	if (cpu_features.pku)
		seq_printf(s, "ProtectionKey:  %8u\n", (u32)(v->flags >> VM_PKEY_SHIFT & 15));
	show_flags(s, v->flags);
}

int proc_show_smaps(struct seq *s, struct proc_ctx *c)
{
	return each_vma(s, c, smaps_one);
}

static void number(struct seq *s, const char *name, u64 n)
{
	if (n)
		seq_printf(s, " %s=%lu", name, n);
}

/* One node, and its policy for all. */
static void numa_one(struct seq *s, struct quire_mm *mm, const struct quire_vma_info *v)
{
	struct quire_smaps m = {0};
	struct file *f = (struct file *)v->file;
	if (v->start >= QUIRE_USER_END)
		return; /* not memory of the process */
	seq_printf(s, "%08lx default", v->start);
	if (f || v->number) {
		seq_puts(s, " file=");
		if (f)
			seq_path_escaped(s, &f->path, "\n\t= ");
		else
			seq_escape(s, v->name, "\n\t= ");
	} else if (v->name && (!strcmp(v->name, "[heap]") || !strcmp(v->name, "[stack]"))) {
		seq_puts(s, v->name[1] == 'h' ? " heap" : " stack");
	}
	if (!(v->flags & VM_SPECIAL))
		quire_mm_smaps(mm, v->start, v->end, &m);
	u64 pages = m.rss / QUIRE_PAGE_SIZE, anon = m.anonymous / QUIRE_PAGE_SIZE;
	u64 dirty = (m.shared_dirty + m.private_dirty) / QUIRE_PAGE_SIZE;
	if (pages) {
		number(s, "anon", anon);
		number(s, "dirty", dirty);
		if (pages != anon && pages != dirty)
			number(s, "mapped", pages);
		if (m.mapcount_max > 1)
			number(s, "mapmax", m.mapcount_max);
		if (m.active < m.rss)
			seq_printf(s, " active=%lu", m.active / QUIRE_PAGE_SIZE);
		seq_printf(s, " N0=%lu kernelpagesize_kB=4", pages);
	}
	seq_putc(s, '\n');
}

int proc_show_numa_maps(struct seq *s, struct proc_ctx *c)
{
	return each_vma(s, c, numa_one);
}

static void add(struct quire_smaps *sum, const struct quire_smaps *m)
{
	sum->rss += m->rss;
	sum->pss += m->pss;
	sum->pss_dirty += m->pss_dirty;
	sum->pss_anon += m->pss_anon;
	sum->pss_file += m->pss_file;
	sum->pss_shmem += m->pss_shmem;
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
	show_numbers(s, &sum, true);
	return 0;
}

s64 proc_clear_refs(struct proc_ctx *c, char *buf, size_t n)
{
	s64 what;
	if (!proc_parse_int(buf, n, &what) || what < 1 || what > 5)
		return -EINVAL;
	struct uspace *u = proc_uspace(c);
	if (!u)
		return -ESRCH;
	int r = quire_mm_clear_refs(u->mm, (int)what);
	uspace_put(u);
	return r;
}
