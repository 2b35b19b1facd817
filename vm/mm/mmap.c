/* SPDX-License-Identifier: MIT */
/*
 * mmap: choosing an address, checking flags in Linux's order, and placing the
 * region: as a part of a neighbour where that is possible, else as a new VMA.
 *
 * Whatever can fail is done first (limits, charges, the new VMA, nodes of the
 * index, what an overlap needs to be removed); then old mappings go and the new
 * one appears, which can't fail.
 *
 * Locking: mmap_lock held for writing, but for populating, which comes after.
 */
#include <quire/assert.h>
#include <quire/errno.h>

#include "mm.h"

/* What MAP_SHARED and MAP_PRIVATE know; MAP_SHARED_VALIDATE refuses others. */
#define LEGACY_FLAGS                                                                             \
	(MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_DENYWRITE | MAP_EXECUTABLE | \
	 MAP_UNINITIALIZED | MAP_GROWSDOWN | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE |         \
	 MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB | MAP_32BIT | (21 << 26) | (30 << 26))

#define LOW_START 0x40000000UL /* where MAP_32BIT looks */
#define LOW_END 0x80000000UL

/* ---- where --------------------------------------------------------------------------- */

/* Is the hint, rounded up, free? */
static bool hint_free(struct quire_mm *mm, u64 addr, u64 len, u64 end)
{
	struct vma *v;

	if (len > end || end - len < addr)
		return false;
	v = vma_find(&mm->index, addr);
	return !v || addr + len <= vma_guarded_start(v);
}

s64 mm_unmapped_area(struct quire_mm *mm, u64 addr, u64 len, u64 map_flags)
{
	u64 top = mm->layout.task_size, lowest = quire_sysctl.mmap_min_addr;
	u64 window = quire_min(top, QUIRE_MAP_WINDOW), at;
	u64 base = quire_min(mm->layout.mmap_base, window);

	if (len > top)
		return -ENOMEM;
	if (map_flags & MAP_FIXED) {
		if (addr >= (u64)-4095L)
			return (s64)addr; /* Linux takes it for an error code, and says it */
		if (addr > top - len)
			return -ENOMEM;
		if (addr & ~QUIRE_PAGE_MASK)
			return -EINVAL;
		return addr < lowest && !quire_host_may(QUIRE_MAY_MAP_LOW) ? -EPERM : (s64)addr;
	}
	bool low = map_flags & MAP_32BIT;
	lowest = quire_max(lowest, QUIRE_PAGE_SIZE);
	u64 up = mm->layout.legacy_base ? mm->layout.legacy_base
					: quire_round_up(window / 3, QUIRE_PAGE_SIZE);
	if (addr) {
		addr = quire_round_up(addr, QUIRE_PAGE_SIZE);
		/* A hint above the window is how a program says that it can do with
		 * addresses of more than 47 bits. */
		if (addr > window) {
			base += top - window;
			window = top;
		}
		if (hint_free(mm, addr, len, low ? LOW_END : window))
			return addr < lowest && !quire_host_may(QUIRE_MAY_MAP_LOW) ? -EPERM
										   : (s64)addr;
	}
	at = ~0UL;
	if (low)
		at = vma_gap(&mm->index, len, LOW_START, LOW_END, false);
	else if (!mm->layout.bottom_up)
		at = vma_gap(&mm->index, len, mm_choose_min(), base, true);
	if (at == ~0UL && !low)
		at = vma_gap(&mm->index, len, up, window, false);
	return at == ~0UL ? -ENOMEM : (s64)at;
}

/* ---- what ---------------------------------------------------------------------------- */

static u64 prot_flags(u64 prot)
{
	return (prot & PROT_READ ? VM_READ : 0) | (prot & PROT_WRITE ? VM_WRITE : 0) |
	       (prot & PROT_EXEC ? VM_EXEC : 0);
}

/* The VMA's flags for a mapping of a file, or why not. */
static int file_flags(u64 prot, u64 *flags, u64 may, u64 *vm)
{
	*vm = (*vm & ~(VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC)) |
	      (may & (VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC));
	switch (*flags & MAP_TYPE) {
	case MAP_SHARED:
		*flags &= LEGACY_FLAGS | MAP_FIXED_NOREPLACE;
		break;
	case MAP_SHARED_VALIDATE:
		if (*flags & ~(u64)LEGACY_FLAGS)
			return -EOPNOTSUPP;
		break;
	case MAP_PRIVATE:
		break;
	default:
		return -EINVAL;
	}
	if ((*flags & MAP_TYPE) != MAP_PRIVATE) {
		if ((prot & PROT_WRITE) && !(may & VM_MAYWRITE))
			return -EACCES;
		*vm |= VM_MAYSHARE | (may & VM_MAYWRITE ? VM_SHARED : 0);
	}
	if (!(may & VM_MAYREAD))
		return -EACCES;
	if ((prot & PROT_EXEC) && !(may & VM_MAYEXEC))
		return -EPERM;
	if (may & MAY_NOT_MAP)
		return -ENODEV;
	return *vm & VM_GROWSDOWN ? -EINVAL : 0;
}

static int anon_flags(u64 flags, u64 *vm)
{
	switch (flags & MAP_TYPE) {
	case MAP_SHARED:
		if (*vm & VM_GROWSDOWN)
			return -EINVAL;
		*vm |= VM_SHARED | VM_MAYSHARE;
		return 0;
	case MAP_PRIVATE:
		return 0;
	default:
		return -EINVAL;
	}
}

/* ---- the region -------------------------------------------------------------------------- */

/* Pages in [start, end) that are mapped already. */
static u64 pages_mapped(struct quire_mm *mm, u64 start, u64 end)
{
	bool hole = false;
	u64 n = 0, to;

	for (; vma_part(&mm->index, &start, end, &to, &hole); start = to)
		n += (to - start) >> QUIRE_PAGE_SHIFT;
	return n;
}

/* A VMA with the shape of s, in no index. */
static int region_alloc(struct quire_mm *mm, const struct vma_shape *s, struct vma **out)
{
	struct vma *v = vma_alloc(mm);
	int err;

	if (!v)
		return -ENOMEM;
	v->start = s->start;
	v->end = s->end;
	v->pgoff = s->pgoff;
	v->flags = s->flags;
	err = s->file ? vma_set_file(v, s->file) : 0;
	if (err) {
		vma_free(v);
		return err;
	}
	vma_set_flags(v, s->flags);
	*out = v;
	return 0;
}

/* Remove what is in the way, put the region in.  Its pages are charged already. */
static int region_place(struct quire_mm *mm, const struct vma_shape *s)
{
	struct unmap u;
	struct vma_edit e;
	struct vma_place p = {NULL, NULL};
	struct vma *own = NULL, *prev;
	int err = unmap_prepare(&u, mm, s->start, s->end);

	if (err) /* even if a special mapping is what refuses */
		return -ENOMEM;
	if (!u.first)
		vma_place_new(u.before, u.after, s, &p);
	if (!p.left && !p.right) {
		err = region_alloc(mm, s, &own);
		if (err)
			goto cancel;
	}
	err = vma_edit_reserve(&e, &mm->index, unmap_inserts(&u) + (own != NULL));
	if (err)
		goto cancel;
	if (u.first) {
		struct vma *next;

		unmap_commit(&u, &e);
		next = vma_find_both(&mm->index, s->start, &prev);
		vma_place_new(prev, next, s, &p);
	}
	struct vma *v = vma_place_commit(&e, &p, s, own);
	vma_edit_done(&e);
	vma_write_unlock(v);
	if (own && v != own)
		vma_free(own);
	return 0;
cancel:
	if (own)
		vma_free(own);
	unmap_cancel(&u);
	return err;
}

/* Would it within the limits if what is in its place goes? */
static bool fits_instead(struct quire_mm *mm, const struct vma_shape *s)
{
	u64 replaced = pages_mapped(mm, s->start, s->end);

	return replaced &&
	       mm_may_expand(mm, s->flags, ((s->end - s->start) >> QUIRE_PAGE_SHIFT) - replaced);
}

static int region_map(struct quire_mm *mm, struct vma_shape *s, bool fixed, int refused)
{
	u64 pages = (s->end - s->start) >> QUIRE_PAGE_SHIFT;
	int err;

	if (!mm_may_expand(mm, s->flags, pages) && !(fixed && fits_instead(mm, s)))
		return -ENOMEM;
	if (quire_unlikely(refused)) /* by the file, which is asked when that is gone */
		return fixed && unmap_locked(mm, s->start, s->end) ? -ENOMEM : refused;
	if (mm_chargeable(s->flags)) {
		if (mm_commit(mm, pages))
			return -ENOMEM;
		s->flags |= VM_ACCOUNT;
	}
	s->flags |= VM_SOFTDIRTY;
	err = region_place(mm, s);
	if (err) {
		if (s->flags & VM_ACCOUNT)
			mm_uncommit(pages);
		return err;
	}
	mm_account(mm, s->flags, (s64)pages);
	if (s->flags & VM_LOCKED)
		mm->locked_vm += pages;
	return 0;
}

/* MAP_SHARED | MAP_ANONYMOUS, and what has the same meaning: a shared mapping of zeroes. */
static bool shared_zeroes(const struct vma_shape *s)
{
	return (s->flags & VM_SHARED) && (!s->file || !s->file->mapping);
}

/* Would it be a writable mapping of a file that lets none be? */
static bool sealed(const struct vma_shape *s)
{
	const u64 writable = VM_SHARED | VM_WRITE;

	return (s->flags & writable) == writable && s->file->mapping &&
	       __atomic_load_n(&s->file->mapping->writable_maps, __ATOMIC_RELAXED) < 0;
}

/* What the file says against it when nothing else does: 0 or -errno. */
static int file_refuses(struct vma_shape *s, u64 may)
{
	int err = -(int)((may / MAY_REFUSES(1)) & 0xff);

	if (!(may & MAY_NOT_WRITE_SHARED) || !(s->flags & VM_SHARED))
		return err;
	s->flags &= ~VM_MAYWRITE;
	return !err && (s->flags & VM_WRITE) ? -EPERM : err;
}

static s64 mmap_locked(struct quire_mm *mm, struct vma_shape *s, u64 addr, u64 len, u64 prot,
		       u64 flags, u64 may)
{
	bool fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
	struct quire_file *made = NULL;
	int refused = 0;
	s64 at, err;

	if (mm->map_count > quire_sysctl.max_map_count)
		return -ENOMEM;
	at = mm_unmapped_area(mm, addr, len, flags | (fixed ? MAP_FIXED : 0));
	if (at < 0)
		return at;
	s->start = (u64)at;
	s->end = s->start + len;
	if (flags & MAP_FIXED_NOREPLACE) {
		struct vma *v = vma_find(&mm->index, s->start);

		if (v && v->start < s->end)
			return -EEXIST;
	}
	s->flags = prot_flags(prot) | mm->def_flags | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC |
		   (flags & MAP_GROWSDOWN ? VM_GROWSDOWN : 0) |
		   (flags & MAP_LOCKED ? VM_LOCKED : 0) | (flags & MAP_SYNC ? VM_SYNC : 0);
	if (prot == PROT_EXEC)
		s->flags |= (u64)pkey_exec_only(mm) << VM_PKEY_SHIFT;
	if ((flags & MAP_LOCKED) && !mm_can_lock())
		return -EPERM;
	err = mm_lock_check(mm, s->flags, len);
	/* A file's last byte is at 2^63 - 2. */
	if (!err && s->file && s->pgoff > (INT64_MAX - len) >> QUIRE_PAGE_SHIFT)
		err = -EOVERFLOW;
	if (!err)
		err = s->file ? file_flags(prot, &flags, may, &s->flags)
			      : anon_flags(flags, &s->flags);
	if (err)
		return err;
	if ((flags & MAP_NORESERVE) && quire_sysctl.overcommit_memory != 2)
		s->flags |= VM_NORESERVE;
	if (s->file) {
		if (sealed(s))
			return -EPERM;
		refused = file_refuses(s, may);
	}
	if (!refused && shared_zeroes(s)) {
		made = shared_anon_create(mm, len, !(s->flags & VM_NORESERVE));
		if (!made)
			return -ENOMEM;
		if (!s->file)
			s->pgoff = 0;
		s->file = made;
	} else if (!s->file) {
		s->pgoff = s->start >> QUIRE_PAGE_SHIFT;
	}
	err = region_map(mm, s, fixed, refused);
	if (made)
		made->ops->put(made);
	return err ? err : at;
}

/* MAP_HUGETLB where there are no huge pages: what Linux says with empty pools. */
static s64 mmap_huge(struct quire_file *file, u64 flags)
{
	u64 order = flags >> 26 & 63, type = flags & MAP_TYPE;

	if (file || !type || type > MAP_SHARED_VALIDATE || (order && order != 21 && order != 30))
		return -EINVAL;
	return -ENOMEM;
}

s64 quire_mmap(struct quire_mm *mm, u64 addr, u64 len, u64 prot, u64 flags, struct quire_file *file,
	       u64 offset, u64 may)
{
	struct vma_shape s = {.file = file, .pgoff = offset >> QUIRE_PAGE_SHIFT};
	s64 at;

	if (offset & ~QUIRE_PAGE_MASK)
		return -EINVAL;
	if (flags & MAP_HUGETLB)
		return mmap_huge(file, flags);
	if ((prot & PROT_READ) && (!file || (may & VM_MAYEXEC)) &&
	    quire_host_may(QUIRE_MAY_RUN_DATA))
		prot |= PROT_EXEC;
	if (!len)
		return -EINVAL;
	if (!(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE))) {
		addr &= QUIRE_PAGE_MASK;
		if (addr && addr < mm_choose_min())
			addr = quire_round_up(mm_choose_min(), QUIRE_PAGE_SIZE);
	}
	len = quire_round_up(len, QUIRE_PAGE_SIZE);
	if (!len)
		return -ENOMEM;
	if (s.pgoff + (len >> QUIRE_PAGE_SHIFT) < s.pgoff)
		return -EOVERFLOW;
	write_lock(&mm->mmap_lock);
	at = mmap_locked(mm, &s, addr, len, prot, flags, may);
	write_unlock(&mm->mmap_lock);
	if (at >= 0 &&
	    ((s.flags & VM_LOCKED) || (flags & (MAP_POPULATE | MAP_NONBLOCK)) == MAP_POPULATE))
		mm_populate(mm, (u64)at, (u64)at + len, false, false);
	return at;
}

/* ---- brk --------------------------------------------------------------------------- */

static int brk_grow(struct quire_mm *mm, u64 from, u64 to)
{
	struct vma_shape s = {
	    .start = from,
	    .end = to,
	    .flags = VM_READ | VM_WRITE | (quire_host_may(QUIRE_MAY_RUN_DATA) ? VM_EXEC : 0) |
		     VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | mm->def_flags,
	    .pgoff = from >> QUIRE_PAGE_SHIFT,
	};
	struct vma *next = vma_find(&mm->index, from);
	s64 at = mm_unmapped_area(mm, from, to - from, MAP_FIXED);

	if (next && to + QUIRE_PAGE_SIZE > vma_guarded_start(next))
		return -ENOMEM;
	if (at < 0)
		return (int)at;
	if (mm_lock_check(mm, s.flags, to - from))
		return -EAGAIN;
	if (mm->map_count > quire_sysctl.max_map_count)
		return -ENOMEM;
	return region_map(mm, &s, false, 0);
}

s64 quire_brk(struct quire_mm *mm, u64 brk)
{
	const struct quire_layout *l = &mm->layout;
	u64 from, to, old;
	bool populate = false;

	write_lock(&mm->mmap_lock);
	if (mm->brk < l->start_brk)
		mm->brk = l->start_brk;
	old = mm->brk;
	if (brk < l->start_brk || brk > l->task_size ||
	    (brk - l->start_brk) + (l->end_data - l->start_data) >
		quire_host_limit(QUIRE_LIMIT_DATA))
		goto out;
	from = quire_round_up(old, QUIRE_PAGE_SIZE);
	to = quire_round_up(brk, QUIRE_PAGE_SIZE);
	if (to > from) {
		if (brk_grow(mm, from, to))
			goto out;
		populate = mm->def_flags & VM_LOCKED;
	} else if (to < from) {
		const struct vma *v = vma_find(&mm->index, to);

		/* With nothing there to unmap Linux refuses, too. */
		if (!v || v->start >= from || unmap_locked(mm, to, from))
			goto out;
	}
	mm->brk = old = brk;
out:
	write_unlock(&mm->mmap_lock);
	if (populate)
		mm_populate(mm, from, to, false, false);
	return (s64)old;
}
