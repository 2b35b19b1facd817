/* SPDX-License-Identifier: MIT */
/*
 * write(2) through the page cache.
 *
 * The user's buffer is touched with no page lock held, since it may be a mapping
 * of the page that is being written.  A page that is present gets its bytes in
 * place.  One that is absent, and will be covered as a whole (or lies beyond the
 * end of the file), is filled before it is inserted, so nobody sees it half done
 * and nothing is read for it.  Any other is read first.
 *
 * Locking: the host holds the inode's lock, so neither the size nor truncation
 * moves under us; flush and reclaim are kept off by the reference and by marking
 * the page dirty after the bytes are in.
 *
 * What it doesn't do: keep readers from seeing half a write.
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/string.h>

#include "cache.h"

/* Bytes for the page from the user, or what an earlier copy of them left. */
struct piece {
	quire_copy_fn *copy_in;
	void *arg;
	const char *ready; /* not null: the bytes were fetched already */
};

static size_t put_bytes(struct piece *from, char *to, size_t n)
{
	if (!from->ready)
		return from->copy_in(from->arg, to, n);
	memcpy(to, from->ready, n);
	return n;
}

/* Into a page that is in the cache or comes from the store. */
static int write_present(struct quire_mapping *m, u64 pgoff, size_t off, size_t n,
			 struct piece *from, size_t *moved)
{
	struct page *p;
	unsigned brought = 0;
	int r;

	r = cache_read_in(m, NULL, pgoff, 1, CACHE_READ, &p, &brought);
	if (r)
		return r;
	*moved = put_bytes(from, (char *)page_view(p) + off, n);
	if (*moved)
		cache_mark_dirty(p);
	cache_mark_accessed(p);
	quire_page_put(p);
	return 0;
}

/* Insert p, which is filled, at pgoff.  -EEXIST: somebody was faster. */
static int publish(struct quire_mapping *m, u64 pgoff, struct page *p)
{
	bool locked = quire_page_trylock(p);
	int r;

	REQUIRE(locked);
	page_set(p, PG_UPTODATE);
	r = cache_insert(m, p, pgoff, GFP_KERNEL);
	if (!r)
		cache_mark_dirty(p);
	quire_page_unlock(p);
	return r;
}

/* Does [off, off + n) of the page leave nothing of the old content standing? */
static bool covers(struct quire_mapping *m, u64 pgoff, size_t off, size_t n)
{
	u64 size = m->ops->size(m), start = pgoff << QUIRE_PAGE_SHIFT;

	if (!m->ops->read_pages || start >= size)
		return true; /* the rest is zeroes */
	return off == 0 && (n == QUIRE_PAGE_SIZE || start + n >= size);
}

/* Wait for a page beyond the size, which cache_read_in() wouldn't give. */
static int write_beyond(struct quire_mapping *m, struct page *p, size_t off, size_t n,
			struct piece *from, size_t *moved)
{
	int r = cache_wait_uptodate(m, p);

	if (!r) {
		*moved = put_bytes(from, (char *)page_view(p) + off, n);
		if (*moved)
			cache_mark_dirty(p);
	}
	return r == -EHWPOISON ? -EIO : r;
}

static int write_page(struct quire_mapping *m, u64 pgoff, size_t off, size_t n, struct piece *from,
		      size_t *moved)
{
	struct page *p = cache_find(m, pgoff);
	struct piece again = *from;
	int r;

	/* Memory that only fallocate() has asked for stays as it is until there are bytes. */
	if (p && !m->ops->read_pages && !page_test(p, PG_UPTODATE)) {
		quire_page_put(p);
		p = NULL;
	}
	if (p) {
		r = write_beyond(m, p, off, n, from, moved);
		if (!r)
			cache_mark_accessed(p);
		quire_page_put(p);
		return r;
	}
	if (!covers(m, pgoff, off, n))
		return write_present(m, pgoff, off, n, from, moved);
	p = quire_page_alloc(0, GFP_KERNEL | GFP_ACCOUNT | (n == QUIRE_PAGE_SIZE ? 0 : GFP_ZERO));
	if (!p)
		return -ENOMEM;
	*moved = put_bytes(from, (char *)page_view(p) + off, n);
	r = 0;
	if (*moved == 0)
		goto out;
	if (*moved < n && m->ops->read_pages && pgoff < cache_size_pages(m)) {
		/* Cut short: what follows must be the old content after all. */
		again.ready = (char *)page_view(p) + off;
		r = write_present(m, pgoff, off, *moved, &again, moved);
		goto out;
	}
	if (*moved < n && n == QUIRE_PAGE_SIZE)
		memset((char *)page_view(p) + *moved, 0, n - *moved);
	r = publish(m, pgoff, p);
	if (r == -EEXIST) {
		struct page *there = cache_find(m, pgoff);

		again.ready = (char *)page_view(p) + off;
		n = *moved;
		r = -EAGAIN;
		if (there) {
			r = write_beyond(m, there, off, n, &again, moved);
			quire_page_put(there);
		}
		if (r == -EAGAIN) {
			/* Gone again: the bytes at hand are still what is wanted. */
			r = publish(m, pgoff, p);
			if (r == -EEXIST)
				r = -EAGAIN;
		}
	}
out:
	quire_page_put(p);
	return r;
}

s64 quire_cache_write(struct quire_mapping *m, u64 pos, size_t len, quire_copy_fn *copy_in,
		      void *arg)
{
	struct piece from = {copy_in, arg, NULL};
	size_t done = 0;
	int r = 0;

	while (done < len) {
		size_t off = pos & (QUIRE_PAGE_SIZE - 1), moved = 0;
		size_t n = quire_min(len - done, QUIRE_PAGE_SIZE - off);

		if (quire_host_killed()) {
			r = -EINTR;
			break;
		}
		r = write_page(m, pos >> QUIRE_PAGE_SHIFT, off, n, &from, &moved);
		if (r == -EAGAIN && !moved)
			continue; /* the page went away as we got it */
		if (r)
			break;
		pos += moved;
		done += moved;
		if (moved < n) {
			r = -EFAULT;
			break;
		}
		/* Between pages: what was written so far may go out now. */
		if (off + n == QUIRE_PAGE_SIZE)
			cache_balance_dirty(m);
	}
	return done ? (s64)done : r;
}
