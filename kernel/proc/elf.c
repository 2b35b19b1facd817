/* SPDX-License-Identifier: MIT */
/*
 * ELF64 files: reading the headers and mapping the segments.
 *
 * Headers are read and checked before the old program is given up; everything in
 * them is the file's author's to forge, so each sum is checked for overflow and the
 * core checks the mappings again.  Not here: notes and GNU properties (no use of
 * them), 32-bit programs.
 */
#include "../fs/vfs.h"
#include "internal.h"

#define PT_LOAD 1u
#define PT_INTERP 3u
#define PT_PHDR 6u
#define PT_GNU_STACK 0x6474e551u
#define PF_X 1u
#define PF_W 2u
#define PF_R 4u
#define ET_EXEC 2
#define ET_DYN 3
#define EM_X86_64 62
#define PHDRS_MAX 65536u

#define DYN_BASE (QUIRE_USER_END / 3 * 2) /* where programs that choose no address go */

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
	u64 lowest, highest; /* of the loaded segments, by page */
	u64 align;
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

static int check_header(const struct ehdr *h, s64 got)
{
	if (got < (s64)sizeof(*h) || memcmp(h->ident, "\177ELF\2\1\1", 7))
		return -ENOEXEC;
	if ((h->type != ET_EXEC && h->type != ET_DYN) || h->machine != EM_X86_64)
		return -ENOEXEC;
	if (h->phentsize != sizeof(struct phdr) || !h->phnum ||
	    h->phnum * sizeof(struct phdr) > PHDRS_MAX)
		return -ENOEXEC;
	return 0;
}

static int check_segment(struct elf_file *e, const struct phdr *p, bool first)
{
	u64 end;
	if (p->filesz > p->memsz || __builtin_add_overflow(p->vaddr, p->memsz, &end) ||
	    end > QUIRE_USER_END)
		return -ENOEXEC;
	if (p->filesz &&
	    ((p->vaddr ^ p->offset) & ~QUIRE_PAGE_MASK || p->offset + p->filesz < p->offset))
		return -ENOEXEC;
	if (first)
		e->lowest = quire_round_down(p->vaddr, QUIRE_PAGE_SIZE);
	if (quire_round_down(p->vaddr, QUIRE_PAGE_SIZE) < e->lowest)
		return -ENOEXEC; /* the format wants them in order */
	if (end > e->highest)
		e->highest = quire_round_up(end, QUIRE_PAGE_SIZE);
	if (p->align > e->align && !(p->align & (p->align - 1)))
		e->align = p->align;
	return 0;
}

static int read_interp(struct file *f, const struct phdr *p, char **out)
{
	if (p->filesz < 2 || p->filesz > PATH_MAX)
		return -ENOEXEC;
	char *s = quire_kmalloc(p->filesz, GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	s64 n = file_read_kernel(f, s, p->filesz, p->offset);
	if (n != (s64)p->filesz || s[n - 1]) {
		quire_kfree(s);
		return n < 0 ? (int)n : -ENOEXEC;
	}
	*out = s;
	return 0;
}

int elf_open(struct file *f, struct elf_file **out, char **interp)
{
	struct ehdr h;
	s64 n = file_read_kernel(f, &h, sizeof(h), 0);
	int err = n < 0 ? (int)n : check_header(&h, n);
	if (err)
		return err;
	size_t size = h.phnum * sizeof(struct phdr);
	struct elf_file *e = quire_kmalloc(sizeof(*e) + size, GFP_KERNEL);
	if (!e)
		return -ENOMEM;
	memset(e, 0, sizeof(*e));
	e->h = h;
	e->align = QUIRE_PAGE_SIZE;
	e->exec_stack = true; /* without PT_GNU_STACK: below */
	n = file_read_kernel(f, e->ph, size, h.phoff);
	err = n == (s64)size ? 0 : n < 0 ? (int)n : -ENOEXEC;
	bool first = true, have_stack = false;
	for (unsigned i = 0; !err && i < h.phnum; i++) {
		const struct phdr *p = &e->ph[i];
		if (p->type == PT_LOAD) {
			err = check_segment(e, p, first);
			first = false;
		} else if (p->type == PT_INTERP && interp && !*interp) {
			err = read_interp(f, p, interp);
		} else if (p->type == PT_GNU_STACK) {
			have_stack = true;
			e->exec_stack = p->flags & PF_X;
		}
	}
	if (!have_stack)
		e->exec_stack = false; /* x86-64's default since Linux 5.8 */
	if (!err && first)
		err = -ENOEXEC;
	if (err) {
		quire_kfree(e);
		if (interp) {
			quire_kfree(*interp);
			*interp = NULL;
		}
		return err;
	}
	*out = e;
	return 0;
}

void elf_free(struct elf_file *e)
{
	quire_kfree(e);
}

bool elf_wants_exec_stack(const struct elf_file *e)
{
	return e->exec_stack;
}

/* ---- mapping ----------------------------------------------------------------------------------
 */

static u64 prot_of(const struct phdr *p)
{
	return (p->flags & PF_R ? PROT_READ : 0) | (p->flags & PF_W ? PROT_WRITE : 0) |
	       (p->flags & PF_X ? PROT_EXEC : 0);
}

/* Memory beyond the file's part of a segment: the rest of its last page is cleared (all
 * of it: dynamic linkers allocate from what follows their own data), whole pages after
 * that are anonymous. */
static int map_bss(struct quire_mm *mm, const struct phdr *p, u64 bias)
{
	u64 file_end = p->vaddr + p->filesz + bias, mem_end = p->vaddr + p->memsz + bias;
	u64 from = p->filesz ? quire_round_up(file_end, QUIRE_PAGE_SIZE)
			     : quire_round_down(p->vaddr + bias, QUIRE_PAGE_SIZE);
	u64 to = quire_round_up(mem_end, QUIRE_PAGE_SIZE), rest = from - file_end;
	if (p->memsz > p->filesz && p->filesz && (p->flags & PF_W) &&
	    clear_user_partial(file_end, rest) != rest)
		return -EFAULT;
	if (to <= from)
		return 0;
	s64 r = quire_mmap(mm, from, to - from, prot_of(p), MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			   NULL, 0, VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC);
	return r < 0 ? (int)r : 0;
}

static s64 map_file_part(struct quire_mm *mm, struct file *f, const struct phdr *p, u64 at, u64 len,
			 u64 flags)
{
	return quire_mmap(mm, at, len, prot_of(p), MAP_PRIVATE | flags, &f->vm,
			  quire_round_down(p->offset, QUIRE_PAGE_SIZE),
			  VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC);
}

/* Reserve the whole span at hint (fixed: exactly there; 0: anywhere) and map into it. */
static int map_segments(struct elf_file *e, struct file *f, u64 hint, bool fixed, u64 *bias)
{
	struct quire_mm *mm = current()->uspace->mm;
	u64 span = e->highest - e->lowest;
	u64 flags = fixed ? MAP_FIXED_NOREPLACE : 0, ask = span;
	if (!hint && e->align > QUIRE_PAGE_SIZE)
		ask += e->align;
	s64 at = quire_mmap(mm, hint, ask, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, NULL, 0,
			    VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC);
	if (at < 0)
		return (int)at;
	*bias = (u64)at - e->lowest;
	if (ask != span)
		*bias = quire_round_up((u64)at, e->align) - e->lowest;
	/* What the segments don't cover goes again: the ends here, the gaps below. */
	u64 pos = (u64)at;
	for (unsigned i = 0; i < e->h.phnum; i++) {
		const struct phdr *p = &e->ph[i];
		u64 start = quire_round_down(p->vaddr, QUIRE_PAGE_SIZE) + *bias;
		if (p->type != PT_LOAD || !p->memsz)
			continue;
		if (start > pos)
			quire_munmap(mm, pos, start - pos);
		u64 file_end = quire_round_up(p->vaddr + p->filesz + *bias, QUIRE_PAGE_SIZE);
		if (p->filesz) {
			s64 r = map_file_part(mm, f, p, start, file_end - start, MAP_FIXED);
			if (r < 0)
				return (int)r;
		}
		int err = map_bss(mm, p, *bias);
		if (err)
			return err;
		u64 end = quire_round_up(p->vaddr + p->memsz + *bias, QUIRE_PAGE_SIZE);
		pos = quire_max(pos, end);
	}
	if ((u64)at + ask > pos)
		quire_munmap(mm, pos, (u64)at + ask - pos);
	return 0;
}

static void fill_layout(struct elf_file *e, u64 bias)
{
	struct quire_layout *l = quire_mm_layout(current()->uspace->mm);
	u64 brk = 0;
	l->start_code = ~0UL;
	l->end_code = l->start_data = l->end_data = 0;
	for (unsigned i = 0; i < e->h.phnum; i++) {
		const struct phdr *p = &e->ph[i];
		if (p->type != PT_LOAD)
			continue;
		u64 start = p->vaddr + bias, end = start + p->filesz;
		if ((p->flags & PF_X) && start < l->start_code)
			l->start_code = start;
		if (start > l->start_data)
			l->start_data = start;
		if ((p->flags & PF_X) && end > l->end_code)
			l->end_code = end;
		if (end > l->end_data)
			l->end_data = end;
		brk = quire_max(brk, start + p->memsz);
	}
	if (l->start_code == ~0UL)
		l->start_code = e->lowest + bias;
	l->start_brk = quire_round_up(brk, QUIRE_PAGE_SIZE);
}

/* The address of the program headers in memory: of the segment that holds them. */
static u64 phdr_address(const struct elf_file *e, u64 bias)
{
	for (unsigned i = 0; i < e->h.phnum; i++) {
		const struct phdr *p = &e->ph[i];
		if (p->type == PT_LOAD && p->offset <= e->h.phoff &&
		    e->h.phoff < p->offset + p->filesz)
			return e->h.phoff - p->offset + p->vaddr + bias;
	}
	return 0;
}

int elf_load_program(struct elf_file *e, struct file *f, bool has_interp, unsigned randomize,
		     struct elf_image *img)
{
	struct quire_layout *l = quire_mm_layout(current()->uspace->mm);
	u64 bias, hint = e->lowest;
	bool fixed = true;
	if (e->h.type == ET_DYN) {
		/* With an interpreter: low, by itself.  Without one it is a program that maps
		 * others (the dynamic linker, run by hand) or a static one: as a library. */
		hint = has_interp ? quire_round_down(DYN_BASE + (randomize ? random_pages(28) : 0),
						     e->align)
				  : 0;
		fixed = has_interp;
	}
	int err = map_segments(e, f, hint, fixed, &bias);
	if (err)
		return err;
	fill_layout(e, bias);
	if (randomize > 1 && e->h.type == ET_DYN && !has_interp)
		l->start_brk = quire_round_down(DYN_BASE, QUIRE_PAGE_SIZE);
	if (randomize > 1)
		l->start_brk += random_pages(13);
	img->entry = e->h.entry + bias;
	img->phdr = phdr_address(e, bias);
	img->phnum = e->h.phnum;
	img->phentsize = sizeof(struct phdr);
	img->interp_base = 0;
	return img->entry < QUIRE_USER_END ? 0 : -ENOEXEC;
}

int elf_load_interp(struct elf_file *e, struct file *f, struct elf_image *img)
{
	u64 bias;
	int err =
	    map_segments(e, f, e->h.type == ET_DYN ? 0 : e->lowest, e->h.type != ET_DYN, &bias);
	if (err)
		return err;
	img->interp_base = bias;
	img->entry = e->h.entry + bias;
	return img->entry < QUIRE_USER_END ? 0 : -ENOEXEC;
}
