/* SPDX-License-Identifier: MIT */
/*
 * ELF64 files: reading the headers and mapping the segments.
 *
 * Everything in a file is its author's to forge.  The headers are read before the old
 * program is given up, but as little of them checked as Linux checks then, so that a
 * senseless file is refused, or kills the process, where it is on Linux.  Sums may
 * wrap: the core checks each mapping.  Not here: notes and GNU properties (no use of
 * them), 32-bit programs.
 */
#include "../fs/vfs.h"
#include "internal.h"

#define PT_LOAD 1u
#define PT_INTERP 3u
#define PT_GNU_STACK 0x6474e551u
#define PF_X 1u
#define PF_W 2u
#define PF_R 4u
#define ET_EXEC 2
#define ET_DYN 3
#define EM_X86_64 62

#define DYN_BASE (QUIRE_MAP_WINDOW / 3 * 2) /* where programs that choose no address go */

struct ehdr {
	u8 ident[16];
	u16 type, machine;
	u32 version;
	u64 entry, phoff, shoff;
	u32 flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
struct phdr {
	u32 type, flags;
	u64 offset, vaddr, paddr, filesz, memsz, align;
};
struct elf_file {
	struct ehdr h;
	bool exec_stack;
	struct phdr ph[];
};

u64 random_pages(unsigned bits)
{
	u64 r;
	quire_host_random(&r, sizeof(r));
	return (r & ((1UL << bits) - 1)) << QUIRE_PAGE_SHIFT;
}

/* ---- reading ------------------------------------------------------------------------------- */

/* All that Linux looks at before the point of no return; class, byte order and version of
 * the format aren't among it. */
static bool good_header(const struct ehdr *h)
{
	u64 size = h->phnum * sizeof(struct phdr);
	return !memcmp(h->ident, "\177ELF", 4) && h->machine == EM_X86_64 &&
	       h->phentsize == sizeof(struct phdr) && size && size <= QUIRE_PAGE_SIZE;
}

static bool good_type(const struct ehdr *h)
{
	return h->type == ET_EXEC || h->type == ET_DYN;
}

/* All of n bytes, or -EIO. */
static int read_whole(struct file *f, void *to, size_t n, u64 pos)
{
	if ((s64)pos < 0 || (s64)(pos + n) < 0)
		return -EINVAL;
	s64 got = file_read_kernel(f, to, n, pos);
	return got < 0 ? (int)got : got == (s64)n ? 0 : -EIO;
}

/* The header, with zeroes behind the end of a short file, and the program headers. */
static int read_headers(struct file *f, const struct ehdr *h, struct elf_file **out)
{
	size_t size = h->phnum * sizeof(struct phdr);
	if (!good_header(h))
		return -ENOEXEC;
	struct elf_file *e = quire_kmalloc(sizeof(*e) + size, GFP_KERNEL);
	if (!e)
		return -ENOMEM;
	memset(e, 0, sizeof(*e));
	e->h = *h;
	if (read_whole(f, e->ph, size, h->phoff)) {
		quire_kfree(e);
		return -ENOEXEC;
	}
	for (unsigned i = 0; i < h->phnum; i++)
		if (e->ph[i].type == PT_GNU_STACK)
			e->exec_stack = e->ph[i].flags & PF_X;
	*out = e;
	return 0;
}

static int read_interp(struct file *f, const struct phdr *p, char **out)
{
	if (p->filesz < 2 || p->filesz > PATH_MAX)
		return -ENOEXEC;
	char *s = quire_kmalloc(p->filesz, GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	int err = read_whole(f, s, p->filesz, p->offset);
	if (!err && s[p->filesz - 1])
		err = -ENOEXEC;
	if (err)
		quire_kfree(s);
	else
		*out = s;
	return err;
}

int elf_open(struct file *f, struct elf_file **out, char **interp)
{
	struct ehdr h = {0};
	struct elf_file *e;
	s64 n = file_read_kernel(f, &h, sizeof(h), 0);
	int err = n < 0 ? (int)n : good_type(&h) ? read_headers(f, &h, &e) : -ENOEXEC;
	if (err)
		return err;
	for (unsigned i = 0; i < h.phnum; i++)
		if (e->ph[i].type == PT_INTERP) {
			err = read_interp(f, &e->ph[i], interp);
			break;
		}
	if (err)
		quire_kfree(e);
	else
		*out = e;
	return err;
}

int elf_open_interp(struct file *f, struct elf_file **out)
{
	struct ehdr h;
	int err = read_whole(f, &h, sizeof(h), 0);
	if (!err)
		err = read_headers(f, &h, out);
	return err == -ENOEXEC ? -ELIBBAD : err;
}

void elf_free(struct elf_file *e)
{
	quire_kfree(e);
}

bool elf_wants_exec_stack(const struct elf_file *e)
{
	return e->exec_stack;
}

/* ---- mapping ------------------------------------------------------------------------------- */

struct loading {
	struct elf_file *e;
	struct file *f;
	struct quire_mm *mm;
	u64 bias; /* what is added to the file's addresses */
};

static u64 page_of(u64 address)
{
	return quire_round_down(address, QUIRE_PAGE_SIZE);
}

static u64 page_end(u64 address)
{
	return quire_round_up(address, QUIRE_PAGE_SIZE);
}

static u64 prot_of(const struct phdr *p)
{
	return (p->flags & PF_R ? PROT_READ : 0) | (p->flags & PF_W ? PROT_WRITE : 0) |
	       (p->flags & PF_X ? PROT_EXEC : 0);
}

/* From the first segment's page to the end of the one that ends last; 0 without any. */
static u64 total_size(const struct elf_file *e)
{
	u64 low = ~0UL, high = 0;
	bool any = false;
	for (unsigned i = 0; i < e->h.phnum; i++) {
		const struct phdr *p = &e->ph[i];
		if (p->type != PT_LOAD)
			continue;
		low = quire_min(low, page_of(p->vaddr));
		high = quire_max(high, p->vaddr + p->memsz);
		any = true;
	}
	return any ? high - low : 0;
}

static u64 alignment(const struct elf_file *e)
{
	u64 most = 0;
	for (unsigned i = 0; i < e->h.phnum; i++) {
		u64 align = e->ph[i].align;
		if (e->ph[i].type == PT_LOAD && align > most && !(align & (align - 1)))
			most = align;
	}
	return quire_max(most, QUIRE_PAGE_SIZE);
}

/* The file's part of a segment, at its address plus the bias; with `total`, which the first
 * segment has, room for that much is found, and what this segment leaves of it is
 * given back.  Where it came to lie, or -errno. */
static s64 map_file(struct loading *l, const struct phdr *p, u64 flags, u64 total)
{
	u64 inside = p->vaddr - page_of(p->vaddr), offset = p->offset - inside;
	u64 at = page_of(p->vaddr + l->bias), size = page_end(p->filesz + inside);
	u64 ask = total ? page_end(total) : size;
	if (!size)
		return (s64)at;
	if (offset + ask < offset)
		return -EINVAL;
	s64 r = quire_mmap(l->mm, at, ask, prot_of(p), MAP_PRIVATE | flags, &l->f->vm, offset,
			   VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC);
	if (r >= 0 && size < ask)
		quire_munmap(l->mm, (u64)r + size, ask - size);
	return r < 0 || (u64)r < QUIRE_USER_END ? r : -EINVAL;
}

/* Whole pages of zeroes: writable, whatever the segment is. */
static int map_zeroes(struct loading *l, u64 start, u64 end, bool exec)
{
	start = page_end(start);
	end = page_end(end);
	if (start == end)
		return 0;
	s64 r =
	    quire_mmap(l->mm, start, end - start, PROT_READ | PROT_WRITE | (exec ? PROT_EXEC : 0),
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0,
		       VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC);
	return r < 0 ? (int)r : 0;
}

/* Clear the page in which a file's part ends from there on: all of the rest, since dynamic
 * linkers allocate from what follows their own data. */
static bool clear_page_rest(u64 from)
{
	u64 rest = page_end(from) - from;
	return !rest || clear_user_partial(from, rest) == rest;
}

/* A whole segment of the program.  Where it came to lie, or -errno. */
static s64 map_segment(struct loading *l, const struct phdr *p, u64 flags, u64 total)
{
	u64 inside = p->vaddr - page_of(p->vaddr);
	s64 at = (s64)page_of(p->vaddr + l->bias);
	if (p->filesz)
		at = map_file(l, p, flags, total);
	if (at < 0 || p->memsz <= p->filesz)
		return at;
	u64 zero = (u64)at + inside + p->filesz;
	if (p->filesz)
		clear_page_rest(zero); /* it may be read-only, or beyond the file's end */
	else
		zero = (u64)at;
	int err = map_zeroes(l, zero, (u64)at + inside + p->memsz, p->flags & PF_X);
	return err ? err : at;
}

/* Can [at, at + memsz) be, and does the file's part lie in it? */
static bool sound(const struct phdr *p, u64 at)
{
	return at < QUIRE_USER_END && p->filesz <= p->memsz && p->memsz <= QUIRE_USER_END &&
	       QUIRE_USER_END - p->memsz >= at;
}

static void note_segment(struct quire_layout *y, const struct phdr *p)
{
	u64 end = p->vaddr + p->filesz;
	if (p->flags & PF_X) {
		y->start_code = quire_min(y->start_code, p->vaddr);
		y->end_code = quire_max(y->end_code, end);
	}
	y->start_data = quire_max(y->start_data, p->vaddr);
	y->end_data = quire_max(y->end_data, end);
	y->start_brk = quire_max(y->start_brk, p->vaddr + p->memsz);
}

/*
 * Where the first segment is asked to go: a program without an interpreter anywhere, as
 * a library (it may be the dynamic linker, run by hand); one with an interpreter low and by
 * itself.  An alignment of more than a page is kept by both: for one that may go anywhere,
 * the place is found first and rounded then.  Sets the bias; mmap's flags, or -errno.
 */
static s64 choose_place(struct loading *l, const struct phdr *first, u64 total, bool has_interp,
			bool randomize)
{
	u64 align = alignment(l->e), base = 0;
	if (l->e->h.type == ET_EXEC)
		return MAP_FIXED_NOREPLACE;
	if (has_interp)
		base = DYN_BASE + (randomize ? random_pages(28) : 0);
	l->bias = page_of(0 - first->vaddr);
	if (!has_interp && align > QUIRE_PAGE_SIZE) {
		s64 at = map_segment(l, first, 0, total);
		if (at < 0)
			return at;
		quire_munmap(l->mm, (u64)at, page_end(total));
		base = (u64)at;
	}
	l->bias = page_of(quire_round_down(base, align) - first->vaddr);
	return has_interp || align > QUIRE_PAGE_SIZE ? MAP_FIXED_NOREPLACE : 0;
}

static int map_program(struct loading *l, struct quire_layout *y, bool has_interp, bool randomize,
		       u64 *phdr)
{
	struct elf_file *e = l->e;
	bool first = true, moves = e->h.type == ET_DYN;
	for (unsigned i = 0; i < e->h.phnum; i++) {
		const struct phdr *p = &e->ph[i];
		if (p->type != PT_LOAD)
			continue;
		u64 total = first && moves ? total_size(e) : 0;
		if (first && moves && !total)
			return -EINVAL;
		s64 flags = first ? choose_place(l, p, total, has_interp, randomize) : MAP_FIXED;
		s64 at = flags < 0 ? flags : map_segment(l, p, (u64)flags, total);
		if (at < 0)
			return (int)at;
		if (first && moves)
			l->bias += (u64)at - page_of(l->bias + p->vaddr);
		first = false;
		if (p->offset <= e->h.phoff && e->h.phoff < p->offset + p->filesz)
			*phdr = e->h.phoff - p->offset + p->vaddr;
		if (!sound(p, p->vaddr))
			return -EINVAL;
		note_segment(y, p);
	}
	return 0;
}

int elf_load_program(struct elf_file *e, struct file *f, bool has_interp, unsigned randomize,
		     struct elf_image *img)
{
	struct loading l = {.e = e, .f = f, .mm = current()->uspace->mm};
	struct quire_layout *y = quire_mm_layout(l.mm);
	u64 phdr = 0;
	y->start_code = ~0UL;
	y->end_code = y->start_data = y->end_data = y->start_brk = 0;
	int err = map_program(&l, y, has_interp, randomize, &phdr);
	if (err)
		return err;
	y->start_code += l.bias;
	y->end_code += l.bias;
	y->start_data += l.bias;
	y->end_data += l.bias;
	y->start_brk = page_end(y->start_brk + l.bias);
	if (e->h.type == ET_DYN && !has_interp)
		y->start_brk = page_end(DYN_BASE);
	if (randomize > 1)
		y->start_brk += random_pages(13);
	img->entry = e->h.entry + l.bias;
	img->bias = l.bias;
	img->phdr = phdr + l.bias;
	img->phnum = e->h.phnum;
	img->phentsize = sizeof(struct phdr);
	img->interp_base = 0;
	return has_interp || img->entry < QUIRE_USER_END ? 0 : -EINVAL;
}

/*
 * The interpreter's segments lie first, what is zero behind them all comes at the end.
 * A program that can't move leaves an interpreter that can where that was linked to.
 * *bss and *brk: where the files' parts end, and the memory.
 */
static int map_interp(struct loading *l, u64 program_bias, u64 *bss, u64 *brk, bool *exec)
{
	struct elf_file *e = l->e;
	bool moves = e->h.type == ET_DYN, placed = false;
	u64 total = total_size(e);
	if (!good_type(&e->h) || !total)
		return -EINVAL;
	for (unsigned i = 0; i < e->h.phnum; i++) {
		const struct phdr *p = &e->ph[i];
		if (p->type != PT_LOAD)
			continue;
		if (!placed && moves && program_bias)
			l->bias = -p->vaddr;
		s64 at = map_file(l, p, !moves || placed ? MAP_FIXED : 0, total);
		if (at < 0)
			return (int)at;
		total = 0;
		if (!placed && moves)
			l->bias = (u64)at - page_of(p->vaddr);
		placed |= moves;
		u64 start = l->bias + p->vaddr;
		if (!sound(p, start))
			return -ENOMEM;
		*bss = quire_max(*bss, start + p->filesz);
		if (start + p->memsz > *brk) {
			*brk = start + p->memsz;
			*exec = p->flags & PF_X;
		}
	}
	return 0;
}

int elf_load_interp(struct elf_file *e, struct file *f, struct elf_image *img)
{
	struct loading l = {.e = e, .f = f, .mm = current()->uspace->mm};
	u64 bss = 0, brk = 0;
	bool exec = false;
	int err = map_interp(&l, img->bias, &bss, &brk, &exec);
	if (!err && !clear_page_rest(bss))
		err = -EFAULT;
	if (!err && page_end(brk) > page_end(bss))
		err = map_zeroes(&l, bss, brk, exec);
	img->interp_base = l.bias;
	img->entry = e->h.entry + l.bias;
	return err ? err : img->entry < QUIRE_USER_END ? 0 : -EINVAL;
}
