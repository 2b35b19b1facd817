/* SPDX-License-Identifier: MIT */
/*
 * Shared anonymous memory: a file without a name, in the page cache and without
 * a store, that lives as long as some VMA maps it.
 *
 * Locking: none; the reference count is atomic, the size never changes.
 */
#include <quire/assert.h>

#include "mm.h"

struct shared_anon {
	struct quire_file file;
	struct quire_mapping mapping;
	u64 size;
	u64 charged; /* pages */
	u64 number;
	s32 refs;
};

static void shared_get(struct quire_file *f)
{
	struct shared_anon *s = quire_container_of(f, struct shared_anon, file);

	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
}

static void shared_put(struct quire_file *f)
{
	struct shared_anon *s = quire_container_of(f, struct shared_anon, file);

	if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
		return;
	quire_mapping_destroy(&s->mapping);
	mm_uncommit(s->charged);
	quire_kfree(s);
}

static u64 shared_size(struct quire_mapping *m)
{
	return quire_container_of(m, struct shared_anon, mapping)->size;
}

static int shared_punch(struct quire_file *f, u64 start, u64 end)
{
	return quire_cache_punch(f->mapping, start, end);
}

static const struct quire_file_ops shared_file_ops = {
    .get = shared_get, .put = shared_put, .punch = shared_punch};
static const struct quire_mapping_ops shared_mapping_ops = {.size = shared_size};

static u64 last_number; /* atomic */

struct quire_file *shared_anon_create(struct quire_mm *mm, u64 len, bool charge)
{
	u64 pages = charge ? len >> QUIRE_PAGE_SHIFT : 0;
	struct shared_anon *s;

	if (pages && mm_commit(mm, pages))
		return NULL;
	s = quire_kmalloc(sizeof(*s), GFP_KERNEL);
	if (!s) {
		mm_uncommit(pages);
		return NULL;
	}
	*s = (struct shared_anon){
	    .size = len,
	    .charged = pages,
	    .refs = 1,
	    .number = __atomic_add_fetch(&last_number, 1, __ATOMIC_RELAXED),
	};
	s->file.ops = &shared_file_ops;
	s->file.mapping = &s->mapping;
	quire_mapping_init(&s->mapping, &shared_mapping_ops, true);
	s->mapping.charged = !charge; /* then page by page */
	return &s->file;
}

bool shared_anon_is(const struct quire_file *f)
{
	return f && f->ops == &shared_file_ops;
}

u64 shared_anon_number(const struct quire_file *f)
{
	return shared_anon_is(f) ? quire_container_of(f, struct shared_anon, file)->number : 0;
}
