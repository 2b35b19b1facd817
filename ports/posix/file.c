/* SPDX-License-Identifier: MIT */
/*
 * Simulated files: a store in the process's memory that can be made to fail and
 * records what was written to it, and shmem files without a store.
 *
 * Locking: f->lock, a spinning word, guards the store's bytes and its record;
 * size is atomic, its changes are the test's to order (as an inode's lock would).
 */
#include <sched.h>

#include "port.h"

static void store_lock(struct posix_file *f)
{
	while (__atomic_exchange_n(&f->lock, 1, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void store_unlock(struct posix_file *f)
{
	__atomic_store_n(&f->lock, 0, __ATOMIC_RELEASE);
}

static struct posix_file *of_mapping(struct quire_mapping *m)
{
	return quire_container_of(m, struct posix_file, map);
}

/* Take one of the failures that are due. */
static bool fails(u32 *left)
{
	u32 n = __atomic_load_n(left, __ATOMIC_RELAXED);

	while (n)
		if (__atomic_compare_exchange_n(left, &n, n - 1, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

static void check_run(struct page **pages, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (pages[i]->index != pages[0]->index + i)
			quire_host_panic("a run of pages with a gap at %lu", pages[i]->index);
		if (!page_test(pages[i], PG_LOCKED))
			quire_host_panic("page %lu of a file isn't locked for I/O",
					 pages[i]->index);
	}
}

static int read_pages(struct quire_mapping *m, struct page **pages, unsigned n)
{
	struct posix_file *f = of_mapping(m);

	quire_lock_check_may_sleep();
	check_run(pages, n);
	__atomic_add_fetch(&f->reads, 1, __ATOMIC_RELAXED);
	if (f->on_read)
		f->on_read(f);
	if (fails(&f->fail_reads))
		return -f->error;
	store_lock(f);
	for (unsigned i = 0; i < n; i++) {
		u64 pos = pages[i]->index << QUIRE_PAGE_SHIFT;
		u64 k = pos >= f->size ? 0 : quire_min(f->size - pos, QUIRE_PAGE_SIZE);

		memcpy(page_view(pages[i]), f->data + pos, k);
		memset((char *)page_view(pages[i]) + k, 0, QUIRE_PAGE_SIZE - k);
	}
	store_unlock(f);
	__atomic_add_fetch(&f->pages_read, n, __ATOMIC_RELAXED);
	return 0;
}

static int write_pages(struct quire_mapping *m, struct page **pages, unsigned n)
{
	struct posix_file *f = of_mapping(m);

	quire_lock_check_may_sleep();
	check_run(pages, n);
	__atomic_add_fetch(&f->writes, 1, __ATOMIC_RELAXED);
	if (fails(&f->fail_writes))
		return -f->error;
	store_lock(f);
	if (f->nr_stores < POSIX_STORES) {
		f->stores[f->nr_stores].pgoff = pages[0]->index;
		f->stores[f->nr_stores++].n = n;
	}
	for (unsigned i = 0; i < n; i++) {
		u64 pos = pages[i]->index << QUIRE_PAGE_SHIFT;
		u64 end = quire_max(f->size, f->writing_end);
		u64 k = pos >= end ? 0 : quire_min(end - pos, QUIRE_PAGE_SIZE);

		/* The page may be written to meanwhile; the store takes what it sees. */
		port_copy(f->data + pos, page_view(pages[i]), k);
	}
	store_unlock(f);
	__atomic_add_fetch(&f->pages_written, n, __ATOMIC_RELAXED);
	return 0;
}

static u64 file_size(struct quire_mapping *m)
{
	return __atomic_load_n(&of_mapping(m)->size, __ATOMIC_ACQUIRE);
}

static void file_dirtied(struct quire_mapping *m)
{
	__atomic_add_fetch(&of_mapping(m)->dirtied, 1, __ATOMIC_RELAXED);
}

static const struct quire_mapping_ops store_ops = {read_pages, write_pages, file_size,
						   file_dirtied};
static const struct quire_mapping_ops shmem_ops = {.size = file_size, .dirtied = file_dirtied};

static void file_get(struct quire_file *q)
{
	struct posix_file *f = quire_container_of(q, struct posix_file, file);

	__atomic_add_fetch(&f->refs, 1, __ATOMIC_RELAXED);
}

static void file_put(struct quire_file *q)
{
	posix_file_put(quire_container_of(q, struct posix_file, file));
}

static int file_punch(struct quire_file *q, u64 start, u64 end)
{
	return q->mapping->swapbacked ? quire_cache_punch(q->mapping, start, end) : -EOPNOTSUPP;
}

static const struct quire_file_ops file_ops = {
    .get = file_get, .put = file_put, .punch = file_punch};

static struct posix_file *file_new(u64 size, bool store)
{
	struct posix_file *f = calloc(1, sizeof(*f));

	if (!f)
		quire_host_panic("no memory for a file");
	f->size = size;
	f->store = store;
	f->refs = 1;
	f->error = EIO;
	f->file.ops = &file_ops;
	f->file.mapping = &f->map;
	quire_mapping_init(&f->map, store ? &store_ops : &shmem_ops, !store);
	return f;
}

u8 posix_pattern(u32 seed, u64 i)
{
	u64 x = seed ? (i + 1) * 0x9e3779b97f4a7c15u * seed : 0;

	return (u8)(x >> 56);
}

/* Make room in the store for size bytes. */
static void store_grow(struct posix_file *f, u64 size)
{
	u64 cap = quire_round_up(size, QUIRE_PAGE_SIZE);
	u8 *data;

	if (!f->store || cap <= f->cap)
		return;
	data = realloc(f->data, cap);
	if (!data)
		quire_host_panic("no memory for a file of %lu bytes", size);
	memset(data + f->cap, 0, cap - f->cap);
	f->data = data;
	f->cap = cap;
}

struct posix_file *posix_file_new(u64 size, u32 seed)
{
	struct posix_file *f = file_new(size, true);

	store_grow(f, size);
	for (u64 i = 0; i < size; i++)
		f->data[i] = posix_pattern(seed, i);
	return f;
}

struct posix_file *posix_shmem_new(u64 size)
{
	return file_new(size, false);
}

void posix_file_put(struct posix_file *f)
{
	if (__atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL))
		return;
	quire_mapping_destroy(&f->map);
	free(f->data);
	free(f);
}

/* ---- reading and writing ------------------------------------------------------------------------
 */

struct transfer {
	char *buf;
};

static size_t copy_out(void *arg, void *p, size_t n)
{
	struct transfer *t = arg;

	quire_lock_check_may_sleep();
	port_copy(t->buf, p, n);
	t->buf += n;
	return n;
}

static size_t copy_in(void *arg, void *p, size_t n)
{
	struct transfer *t = arg;

	quire_lock_check_may_sleep();
	port_copy(p, t->buf, n);
	t->buf += n;
	return n;
}

s64 posix_file_read(struct posix_file *f, u64 pos, void *buf, size_t n)
{
	struct transfer t = {buf};

	return quire_cache_read(&f->map, &f->file, pos, n, copy_out, &t);
}

s64 posix_file_write(struct posix_file *f, u64 pos, const void *buf, size_t n)
{
	struct transfer t = {(char *)buf};
	s64 done;

	store_lock(f);
	store_grow(f, pos + n);
	/* Reclaim may store a new page before the size is set. */
	f->writing_end = pos + n;
	store_unlock(f);
	done = quire_cache_write(&f->map, pos, n, copy_in, &t);
	store_lock(f);
	if (done > 0 && pos + (u64)done > f->size)
		__atomic_store_n(&f->size, pos + (u64)done, __ATOMIC_RELEASE);
	f->writing_end = 0;
	store_unlock(f);
	return done;
}

void posix_file_truncate(struct posix_file *f, u64 size)
{
	bool keep;

	store_lock(f);
	store_grow(f, size);
	/* As on tmpfs, what was filled beyond the size stays there. */
	keep = size > f->size && !f->store;
	if (size < f->size && f->store)
		memset(f->data + size, 0, f->cap - size);
	__atomic_store_n(&f->size, size, __ATOMIC_RELEASE);
	store_unlock(f);
	if (!keep)
		quire_cache_truncate(&f->map, size);
}
