/* SPDX-License-Identifier: MIT */
/*
 * Between 9p.c and 9p_calls.c: a request under way, and how its message is built
 * and its reply read.
 */
#ifndef KERNEL_9P_MSG_H
#define KERNEL_9P_MSG_H

#include <quire/string.h>

#include "../arch/cpu.h"
#include "../lib/string.h"
#include "9p.h"
#include "virtio.h"

#define DATA_PAGES 128
#define MSIZE ((u32)(DATA_PAGES * QUIRE_PAGE_SIZE + 24))
#define TX_INLINE 640
#define RX_INLINE 384
#define TAGS 64
#define NO_TAG 0xffffu
#define NO_FID (~0u)
#define REPLY_HEAD 11 /* size, type, tag, and the count of data (or the error) */

enum {
	T_LERROR = 6,
	T_STATFS = 8,
	T_LOPEN = 12,
	T_LCREATE = 14,
	T_SYMLINK = 16,
	T_READLINK = 22,
	T_GETATTR = 24,
	T_SETATTR = 26,
	T_READDIR = 40,
	T_FSYNC = 50,
	T_LINK = 70,
	T_MKDIR = 72,
	T_RENAMEAT = 74,
	T_UNLINKAT = 76,
	T_VERSION = 100,
	T_ATTACH = 104,
	T_WALK = 110,
	T_READ = 116,
	T_WRITE = 118,
	T_CLUNK = 120,
};

struct p9_client {
	struct virtq *queue;
	struct spinlock lock;
	u64 tags;             /* bit set: in use; guarded by lock */
	u32 tag_freed;        /* changes when one comes free: waited on */
	u32 next_fid;         /* guarded by lock */
	struct list unclunk;  /* handles that couldn't be given up yet; guarded by lock */
	struct list finished; /* clunk requests that are done; guarded by lock, interrupts off */
	u32 msize;
};

struct request {
	struct virtio_req v; /* first */
	struct p9_client *client;
	struct list finished;
	struct p9_fid *fid; /* being clunked */
	u16 tag;
	u8 expect;     /* type of the good reply */
	bool more;     /* others are sent at once: don't tell the device yet */
	bool overflow; /* the message didn't fit: a bug or a name that is too long */
	u32 tx_len, tx_max;
	u32 rx_pos, rx_len;
	u32 head; /* how much of rx the reply may fill */
	u8 *tx;   /* inline or kmalloc'ed */
	u8 tx_buf[TX_INLINE];
	u8 rx[RX_INLINE];
};

/* ---- building and reading messages (all numbers little-endian) ---------------------- */

static inline void put(struct request *r, const void *p, size_t n)
{
	if (r->tx_len + n > r->tx_max) {
		r->overflow = true;
		return;
	}
	memcpy(r->tx + r->tx_len, p, n);
	r->tx_len += (u32)n;
}
static inline void put8(struct request *r, u8 v)
{
	put(r, &v, 1);
}
static inline void put16(struct request *r, u16 v)
{
	put(r, &v, 2);
}
static inline void put32(struct request *r, u32 v)
{
	put(r, &v, 4);
}
static inline void put64(struct request *r, u64 v)
{
	put(r, &v, 8);
}
static inline void put_string(struct request *r, const char *s)
{
	size_t n = strlen(s);

	put16(r, (u16)n);
	put(r, s, n);
}

static inline void get(struct request *r, void *p, size_t n)
{
	if (r->rx_pos + n > r->rx_len) {
		memset(p, 0, n);
		r->overflow = true;
		return;
	}
	memcpy(p, r->rx + r->rx_pos, n);
	r->rx_pos += (u32)n;
}
static inline u8 get8(struct request *r)
{
	u8 v;
	get(r, &v, 1);
	return v;
}
static inline u16 get16(struct request *r)
{
	u16 v;
	get(r, &v, 2);
	return v;
}
static inline u32 get32(struct request *r)
{
	u32 v;
	get(r, &v, 4);
	return v;
}
static inline u64 get64(struct request *r)
{
	u64 v;
	get(r, &v, 8);
	return v;
}
static inline void get_qid(struct request *r, struct p9_qid *q)
{
	q->type = get8(r);
	q->version = get32(r);
	q->path = get64(r);
}

/* Begin a message of this type with room for `extra` bytes beyond the usual.  Null: no
 * memory. */
struct request *p9_begin(struct p9_client *c, u8 type, size_t extra);
/*
 * Send the message and wait for the reply.  n more buffers follow the message (out)
 * or the reply's fixed part of `head` bytes (in).  Afterwards the reply's fields
 * can be read with get*().  0 or -errno.
 */
int p9_call(struct request *r, u32 head, const struct vbuf *more, unsigned n, bool in);
/* The two halves of p9_call(): many requests can be under way in between.  When sending
 * failed there is nothing to finish. */
int p9_send(struct request *r, u32 head, const struct vbuf *more, unsigned n, bool in);
int p9_finish(struct request *r);
/* p9_begin() for who holds requests already: null as well when no tag is free. */
struct request *p9_try_begin(struct p9_client *c, u8 type);
/* A handle with a number that the server doesn't know yet.  Null: no memory. */
struct p9_fid *p9_fid_new(struct p9_client *c);
void p9_fid_free(struct p9_fid *f);
/* Free the request and its tag. */
void p9_end(struct request *r);
/* p9_call() without data, then p9_end(). */
int p9_simple_call(struct request *r);

#endif
