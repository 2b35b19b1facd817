/* SPDX-License-Identifier: MIT */
/*
 * The ring of a pipe: bytes over pages that are allocated when bytes arrive and go when
 * they have been read.  Offsets count the bytes of the ring ever passed.
 *
 * A packet (a write while the file has O_DIRECT) has a page of the ring for itself: where a
 * packet begins, and behind its end, the ring's bytes are skipped.  As on Linux, a packet is
 * at most a page, and a reader loses what it doesn't read of one.
 */
#ifndef KERNEL_IO_RING_H
#define KERNEL_IO_RING_H

#include "pipe.h"

/* What lies in a page of the ring that isn't just bytes. */
struct slot {
	bool closed; /* nothing follows end in it */
	bool packet;
	u16 end;
};

struct pipe {
	struct mutex lock;
	struct waitq rd, wr;    /* where readers and writers sleep */
	u32 readers, writers;   /* open ends; changed under lock */
	u32 r_opened, w_opened; /* opens ever, for openers of the other end */
	u64 head, tail;         /* bytes ever written, read; head - tail <= size */
	u32 size;               /* bytes, a power of two of pages */
	struct page **page;     /* size / 4096; null where nothing is */
	struct slot *slot;      /* as many */
	u32 nr_closed;          /* slots; while there are some, bytes don't wrap into tail's page */
	struct page *spare;     /* one free page kept for the next bytes */
	struct inode *fifo;     /* FIFOs: guarded by fifo_lock */
	struct list fifo_node;  /* in fifos */
	u32 users;              /* FIFOs: opens and openers; guarded by fifo_lock */
};

static inline u64 ring_used(const struct pipe *p)
{
	return __atomic_load_n(&p->head, __ATOMIC_RELAXED) -
	       __atomic_load_n(&p->tail, __ATOMIC_RELAXED);
}
static inline u64 ring_space(const struct pipe *p)
{
	u64 u = ring_used(p);
	if (__atomic_load_n(&p->nr_closed, __ATOMIC_RELAXED))
		u += __atomic_load_n(&p->tail, __ATOMIC_RELAXED) & ~QUIRE_PAGE_MASK;
	return u > p->size ? 0 : p->size - u;
}
/* Is there a page for a packet? */
static inline bool ring_packet_fits(const struct pipe *p)
{
	u64 head = __atomic_load_n(&p->head, __ATOMIC_RELAXED);
	u64 tail = __atomic_load_n(&p->tail, __ATOMIC_RELAXED);
	return quire_round_up(head, QUIRE_PAGE_SIZE) - (tail & QUIRE_PAGE_MASK) < p->size;
}

/* Pages and slots for size bytes; false: no memory. */
bool ring_init(struct pipe *p, u32 size);
void ring_free(struct pipe *p);

/* The rest with pipe->lock held. */

struct slot *ring_slot(struct pipe *p, u64 off);
/* The bytes at offset off that lie in one piece, at most *n; null: no page there. */
char *ring_piece(struct pipe *p, u64 off, size_t *n);
/* Behind n bytes at off, which lie in one piece: past the end of a closed page, too. */
u64 ring_behind(struct pipe *p, u64 off, size_t n);
/* What lies between tail and `to` is done with. */
void ring_consume_locked(struct pipe *p, u64 to);
/* Move what it takes from the pipe, up to the end of a packet; bytes or -errno.  Pages go as
 * a whole, as in Linux: of one that can't be copied to its end nothing is taken. */
s64 ring_take_locked(struct pipe *p, struct iter *it);
/* Move up to n bytes of it into the pipe, which has the space; `parts`: of a page, too. */
s64 ring_give_locked(struct pipe *p, struct iter *it, size_t n, bool parts);
/* One packet of n bytes; there is room.  A bad buffer leaves an empty one, as on Linux. */
s64 ring_give_packet_locked(struct pipe *p, struct iter *it, size_t n);
/* Another size, with what is in it: the size, -EBUSY or -ENOMEM. */
long ring_resize_locked(struct pipe *p, u32 size);

#endif
