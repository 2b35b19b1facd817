/* SPDX-License-Identifier: MIT */
/* Holds the mappings that the core shows against the model's pages. */
#include "world.h"

static void check_page(const struct mpage *g, const struct quire_vma_info *v, unsigned i)
{
	u64 prot = v->flags & (VM_READ | VM_WRITE | VM_EXEC);
	struct quire_file *f = g->kind == ANON ? NULL : &world.file[g->file].f->file;

	if (!g->kind)
		disagree("page %u is mapped, the model says it isn't", i);
	if (prot != g->prot)
		disagree("page %u has protection %lu, the model says %u", i, prot, g->prot);
	if (v->file != f)
		disagree("page %u maps another file than the model's", i);
	if (f && v->pgoff + (address(i) - v->start) / PAGE != g->pgoff)
		disagree("page %u maps page %lu of its file, the model says %u", i,
			 v->pgoff + (address(i) - v->start) / PAGE, g->pgoff);
	if (!(v->flags & VM_SHARED) != (g->kind != SHARED))
		disagree("page %u: shared and private are mixed up", i);
	if (!(v->flags & VM_LOCKED) != !g->locked || !(v->flags & VM_DONTCOPY) != !g->dontfork ||
	    !(v->flags & VM_WIPEONFORK) != !g->wipe)
		disagree("page %u has flags %#lx; the model: locked %u, dontfork %u, wipe %u", i,
			 v->flags, g->locked, g->dontfork, g->wipe);
}

void check_layout(struct mproc *p)
{
	struct quire_mm_usage u;
	struct quire_vma_info v;
	u64 mapped = 0, locked = 0, vmas = 0, covered = 0;

	if (!p->mm)
		return;
	for (u64 at = 0; quire_mm_vma_at(p->mm, at, &v); at = v.end) {
		vmas++;
		for (unsigned i = 0; i < PAGES; i++)
			if (address(i) >= v.start && address(i) < v.end) {
				check_page(&p->page[i], &v, i);
				covered++;
			}
		if (v.file)
			v.file->ops->put(v.file);
	}
	for (unsigned i = 0; i < PAGES; i++) {
		mapped += p->page[i].kind != NONE;
		locked += p->page[i].locked;
	}
	if (covered != mapped)
		disagree("%lu pages are mapped, the model says %lu", covered, mapped);
	quire_mm_usage(p->mm, &u);
	if (u.total_vm != mapped || u.locked_vm != locked || u.map_count != vmas)
		disagree("usage: %lu pages, %lu locked, %u mappings; the model: %lu, %lu, %lu",
			 u.total_vm, u.locked_vm, u.map_count, mapped, locked, vmas);
}
