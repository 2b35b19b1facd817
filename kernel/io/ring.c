/* SPDX-License-Identifier: MIT */
/*
 * The ring of a pipe; see ring.h.
 *
 * Locking: pipe->lock, which is held while bytes move, user copies included.
 */
#include "ring.h"

#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

/* ---- pages ------------------------------------------------------------------------------ */

static bool alloc_ring(u32 n, struct page ***page, struct slot **slot)
{
	*page = quire_kmalloc(n * sizeof(**page), GFP_KERNEL | GFP_ZERO);
	*slot = quire_kmalloc(n * sizeof(**slot), GFP_KERNEL | GFP_ZERO);
	if (*page && *slot)
		return true;
	quire_kfree(*page);
	quire_kfree(*slot);
	return false;
}

bool ring_init(struct pipe *p, u32 size)
{
	p->size = size;
	return alloc_ring(size / QUIRE_PAGE_SIZE, &p->page, &p->slot);
}

static void ring_free_pages(struct page **page, u32 n)
{
	for (u32 i = 0; i < n; i++)
		if (page[i])
			quire_page_put(page[i]);
	quire_kfree(page);
}

void ring_free(struct pipe *p)
{
	ring_free_pages(p->page, p->size / QUIRE_PAGE_SIZE);
	quire_kfree(p->slot);
	if (p->spare)
		quire_page_put(p->spare);
}

/* ---- bytes and packets ------------------------------------------------------------------ */

struct slot *ring_slot(struct pipe *p, u64 off)
{
	return &p->slot[(off & (p->size - 1)) >> QUIRE_PAGE_SHIFT];
}

char *ring_piece(struct pipe *p, u64 off, size_t *n)
{
	u64 at = off & (p->size - 1);
	const struct slot *s = ring_slot(p, off);
	size_t in_page = (s->closed ? s->end : QUIRE_PAGE_SIZE) - (at & ~QUIRE_PAGE_MASK);
	*n = quire_min(*n, in_page);
	struct page *pg = p->page[at >> QUIRE_PAGE_SHIFT];
	return pg ? (char *)page_view(pg) + (at & ~QUIRE_PAGE_MASK) : NULL;
}

static bool ensure_page(struct pipe *p, u64 off)
{
	struct page **slot = &p->page[(off & (p->size - 1)) >> QUIRE_PAGE_SHIFT];
	if (*slot)
		return true;
	*slot = p->spare ? p->spare : quire_page_alloc(0, GFP_KERNEL);
	p->spare = NULL;
	return *slot;
}

u64 ring_behind(struct pipe *p, u64 off, size_t n)
{
	const struct slot *s = ring_slot(p, off);
	bool ends = s->closed && (off & ~QUIRE_PAGE_MASK) + n >= s->end;
	return ends ? (off & QUIRE_PAGE_MASK) + QUIRE_PAGE_SIZE : off + n;
}

/* An empty pipe starts over at its first page, so that little messages always use the same
 * one. */
void ring_consume_locked(struct pipe *p, u64 to)
{
	u64 tail = p->tail;
	while (tail != to) {
		struct slot *s = ring_slot(p, tail);
		u64 at = tail & (p->size - 1), wrapped = (tail & QUIRE_PAGE_MASK) + p->size;
		tail = quire_min(to, (tail & QUIRE_PAGE_MASK) + QUIRE_PAGE_SIZE);
		if (s->closed && !(tail & ~QUIRE_PAGE_MASK)) {
			*s = (struct slot){0};
			__atomic_store_n(&p->nr_closed, p->nr_closed - 1, __ATOMIC_RELAXED);
		}
		if ((tail & ~QUIRE_PAGE_MASK) && tail != p->head)
			continue;
		if (p->head > wrapped) /* the writer came round into this page's beginning */
			continue;
		struct page **slot = &p->page[at >> QUIRE_PAGE_SHIFT];
		if (!p->spare)
			p->spare = *slot;
		else
			quire_page_put(*slot);
		*slot = NULL;
	}
	if (tail == p->head) {
		__atomic_store_n(&p->tail, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&p->head, 0, __ATOMIC_RELAXED);
	} else {
		__atomic_store_n(&p->tail, tail, __ATOMIC_RELAXED);
	}
}

s64 ring_take_locked(struct pipe *p, struct iter *it)
{
	u64 off = p->tail;
	size_t total = 0;
	bool packet = false;
	s64 err = 0;
	while (off != p->head && it->left && !packet) {
		size_t n = quire_min(it->left, (size_t)(p->head - off));
		char *from = ring_piece(p, off, &n);
		if (iter_copy_to(it, from, n) < n) {
			err = -EFAULT;
			break;
		}
		total += n;
		packet = ring_slot(p, off)->packet;
		off = packet ? ring_behind(p, off, QUIRE_PAGE_SIZE) : ring_behind(p, off, n);
	}
	ring_consume_locked(p, off);
	return total ? (s64)total : err;
}

s64 ring_give_locked(struct pipe *p, struct iter *it, size_t n, bool parts)
{
	size_t total = 0;
	u64 off = p->head;
	s64 err = 0;
	while (n) {
		size_t part = n;
		if (!ensure_page(p, off)) {
			err = -ENOMEM;
			break;
		}
		char *to = ring_piece(p, off, &part);
		size_t done = iter_copy_from(it, to, part);
		if (done == part || parts) {
			total += done;
			off += done;
			n -= done;
		}
		if (done < part) {
			err = -EFAULT;
			break;
		}
	}
	__atomic_store_n(&p->head, p->head + total, __ATOMIC_RELEASE);
	if (!ring_used(p)) { /* a fault before the first byte: drop the page that came */
		struct page **slot = &p->page[(off & (p->size - 1)) >> QUIRE_PAGE_SHIFT];
		if (*slot)
			quire_page_put(*slot);
		*slot = NULL;
	}
	return total ? (s64)total : err;
}

s64 ring_give_packet_locked(struct pipe *p, struct iter *it, size_t n)
{
	struct slot *s = ring_slot(p, p->head);
	u64 off = quire_round_up(p->head, QUIRE_PAGE_SIZE);
	if (!ensure_page(p, off))
		return -ENOMEM;
	if (off != p->head) {
		*s = (struct slot){.closed = true, .end = (u16)(p->head & ~QUIRE_PAGE_MASK)};
		p->nr_closed++;
	}
	size_t part = QUIRE_PAGE_SIZE, done = iter_copy_from(it, ring_piece(p, off, &part), n);
	*ring_slot(p, off) =
	    (struct slot){.closed = true, .packet = true, .end = done == n ? (u16)n : 0};
	__atomic_store_n(&p->nr_closed, p->nr_closed + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&p->head, off + QUIRE_PAGE_SIZE, __ATOMIC_RELEASE);
	return done == n ? (s64)n : -EFAULT;
}

/* ---- the size --------------------------------------------------------------------------- */

/* Take the pages over into a fresh ring of n slots, where some aren't just bytes. */
static bool move_ring(struct pipe *p, struct page **page, struct slot *slot, u32 n)
{
	u64 start = p->tail & QUIRE_PAGE_MASK;
	u64 slots = (quire_round_up(p->head, QUIRE_PAGE_SIZE) - start) >> QUIRE_PAGE_SHIFT;
	if (slots > n)
		return false;
	for (u64 k = 0; k < slots; k++) {
		u64 off = start + k * QUIRE_PAGE_SIZE;
		struct page **from = &p->page[(off & (p->size - 1)) >> QUIRE_PAGE_SHIFT];
		page[k] = *from;
		slot[k] = *ring_slot(p, off);
		*from = NULL;
	}
	p->tail -= start;
	p->head -= start;
	return true;
}

/* Copy n bytes at offset from of p into the fresh ring page[]. */
static bool copy_ring(struct pipe *p, struct page **page, u64 n)
{
	for (u64 done = 0; done < n;) {
		u64 at = done & ~QUIRE_PAGE_MASK;
		size_t part = quire_min(n - done, QUIRE_PAGE_SIZE - at);
		char *from = ring_piece(p, p->tail + done, &part);
		struct page **slot = &page[done >> QUIRE_PAGE_SHIFT];
		if (!*slot && !(*slot = quire_page_alloc(0, GFP_KERNEL)))
			return false;
		memcpy((char *)page_view(*slot) + at, from, part);
		done += part;
	}
	return true;
}

long ring_resize_locked(struct pipe *p, u32 size)
{
	u32 n = size / QUIRE_PAGE_SIZE, old_n = p->size / QUIRE_PAGE_SIZE;
	struct page **page, **old = p->page;
	struct slot *slot, *old_slot = p->slot;
	u64 bytes = ring_used(p);
	long r = -EBUSY;
	if (!alloc_ring(n, &page, &slot))
		return -ENOMEM;
	if (p->nr_closed) {
		r = move_ring(p, page, slot, n) ? (long)size : r;
	} else if (bytes <= size) {
		r = copy_ring(p, page, bytes) ? (long)size : -ENOMEM;
		if (r > 0) {
			p->tail = 0;
			p->head = bytes;
		}
	}
	if (r < 0) {
		ring_free_pages(page, n);
		quire_kfree(slot);
		return r;
	}
	p->page = page;
	p->slot = slot;
	p->size = size;
	ring_free_pages(old, old_n);
	quire_kfree(old_slot);
	return r;
}
