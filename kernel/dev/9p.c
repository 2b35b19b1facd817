/* SPDX-License-Identifier: MIT */
/*
 * The 9P2000.L client: requests, handles, attaching.
 *
 * A call builds its message in the request's own buffer, hands it to the queue
 * together with a reply buffer, and sleeps.  File data goes straight between the
 * host and page-cache pages: the reply's fixed part (size, type, tag, count: 11
 * bytes, as long as an error's) has a buffer to itself and the pages follow.
 *
 * Locking: client->lock (spinlock, RANK_HOST_INNER) guards tags, fid numbers and
 * handles waiting to be given up; completions take it in interrupt context.  Nothing is held while
 * a request is under way.
 *
 * It doesn't flush requests (nothing here waits interruptibly) and doesn't
 * authenticate: the export is the user's own file system.
 */

#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "9p_msg.h"

static struct quire_kmem *request_cache, *fid_cache;

/* ---- requests --------------------------------------------------------------------------- */

static int try_tag(struct p9_client *c)
{
	unsigned long irq = spin_lock_irq(&c->lock);
	int tag = -1;

	if (~c->tags) {
		tag = __builtin_ctzl(~c->tags);
		c->tags |= 1UL << tag;
	}
	spin_unlock_irq(&c->lock, irq);
	return tag;
}

static void release_tag(struct p9_client *c, unsigned tag)
{
	unsigned long irq = spin_lock_irq(&c->lock);

	c->tags &= ~(1UL << tag);
	c->tag_freed++;
	spin_unlock_irq(&c->lock, irq);
	quire_host_wake(&c->tag_freed, 1);
}

static void start_message(struct request *r, struct p9_client *c, u8 type, u16 tag)
{
	r->v.complete = NULL;
	r->more = false;
	r->client = c;
	r->tag = tag;
	r->expect = (u8)(type + 1);
	r->overflow = false;
	r->tx_len = 4; /* the size comes last */
	r->rx_pos = r->rx_len = 0;
	put8(r, type);
	put16(r, tag);
}

static void retry_clunks(struct p9_client *c);

static struct request *begin_tag(struct p9_client *c, u8 type, size_t extra, bool wait)
{
	struct request *r;
	int tag;

	retry_clunks(c);
	r = quire_kmem_alloc(request_cache, GFP_NOFAIL_OOM);
	if (!r)
		return NULL;
	r->tx = r->tx_buf;
	r->tx_max = TX_INLINE;
	if (extra) {
		r->tx_max = (u32)(TX_INLINE + extra);
		r->tx = quire_kmalloc(r->tx_max, GFP_NOFAIL_OOM);
		if (!r->tx) {
			quire_kmem_free(request_cache, r);
			return NULL;
		}
	}
	for (;;) {
		u32 freed = __atomic_load_n(&c->tag_freed, __ATOMIC_ACQUIRE);

		tag = try_tag(c);
		if (tag >= 0)
			break;
		if (!wait) {
			quire_kmem_free(request_cache, r);
			return NULL;
		}
		if (deterministic)
			virtio_poll(c->queue);
		else
			quire_host_wait(&c->tag_freed, freed);
	}
	start_message(r, c, type, (u16)tag);
	return r;
}

struct request *p9_begin(struct p9_client *c, u8 type, size_t extra)
{
	return begin_tag(c, type, extra, true);
}

struct request *p9_try_begin(struct p9_client *c, u8 type)
{
	return begin_tag(c, type, 0, false);
}

void p9_end(struct request *r)
{
	if (r->tag != NO_TAG)
		release_tag(r->client, r->tag);
	if (r->tx != r->tx_buf)
		quire_kfree(r->tx);
	quire_kmem_free(request_cache, r);
}

static int check_reply(struct request *r, u32 head_len)
{
	u32 size, error;
	u8 type;
	u16 tag;

	r->rx_len = quire_min(r->v.written, head_len);
	size = get32(r);
	type = get8(r);
	tag = get16(r);
	if (r->overflow || size < 7 || tag != r->tag)
		return -EIO;
	if (type == T_LERROR + 1) {
		error = get32(r);
		return !r->overflow && error && error < 4096 ? -(int)error : -EIO;
	}
	return type == r->expect ? 0 : -EIO;
}

int p9_send(struct request *r, u32 head, const struct vbuf *more, unsigned n, bool in)
{
	struct vbuf *bufs, small[2];
	unsigned out_n = 1, at = 0;
	u32 total = r->tx_len;

	if (r->overflow)
		return -ENAMETOOLONG;
	bufs = n ? quire_kmalloc((n + 2) * sizeof(*bufs), GFP_NOFAIL_OOM) : small;
	if (!bufs)
		return -ENOMEM;
	bufs[at++] = (struct vbuf){r->tx, r->tx_len};
	if (!in) {
		for (unsigned i = 0; i < n; i++, out_n++) {
			bufs[at++] = more[i];
			total += more[i].len;
		}
	}
	bufs[at++] = (struct vbuf){r->rx, head};
	if (in)
		for (unsigned i = 0; i < n; i++)
			bufs[at++] = more[i];
	memcpy(r->tx, &total, 4);
	r->head = head;
	virtio_send(r->client->queue, &r->v, bufs, out_n, at - out_n, r->more);
	if (bufs != small)
		quire_kfree(bufs);
	return 0;
}

int p9_finish(struct request *r)
{
	virtio_wait(r->client->queue, &r->v);
	return check_reply(r, r->head);
}

int p9_call(struct request *r, u32 head, const struct vbuf *more, unsigned n, bool in)
{
	int err = p9_send(r, head, more, n, in);

	return err ? err : p9_finish(r);
}

int p9_simple_call(struct request *r)
{
	int err = p9_call(r, RX_INLINE, NULL, 0, false);

	p9_end(r);
	return err;
}

/* ---- handles ------------------------------------------------------------------------------ */

struct p9_fid *p9_fid_new(struct p9_client *c)
{
	struct p9_fid *f = quire_kmem_alloc(fid_cache, GFP_NOFAIL_OOM);
	unsigned long irq;

	if (!f)
		return NULL;
	f->client = c;
	list_init(&f->pending);
	irq = spin_lock_irq(&c->lock);
	f->id = c->next_fid++;
	spin_unlock_irq(&c->lock, irq);
	return f;
}

static void clunk_done(struct virtio_req *v)
{
	struct request *r = (struct request *)v;
	struct p9_client *c = r->client;

	/* Interrupt context: memory is given back by the next call. */
	spin_lock(&c->lock);
	list_add_tail(&c->finished, &r->finished);
	c->tags &= ~(1UL << r->tag);
	c->tag_freed++;
	spin_unlock(&c->lock);
	quire_host_wake(&c->tag_freed, 1);
}

/* Send a clunk without waiting; false when there is no room at the moment. */
static bool send_clunk(struct p9_fid *f)
{
	struct p9_client *c = f->client;
	struct request *r;
	struct vbuf bufs[2];
	int tag;

	r = quire_kmem_alloc(request_cache, GFP_ATOMIC);
	if (!r)
		return false;
	tag = try_tag(c);
	if (tag < 0) {
		quire_kmem_free(request_cache, r);
		return false;
	}
	r->tx = r->tx_buf;
	r->tx_max = TX_INLINE;
	start_message(r, c, T_CLUNK, (u16)tag);
	put32(r, f->id);
	memcpy(r->tx, &r->tx_len, 4);
	r->v.complete = clunk_done;
	r->fid = f;
	bufs[0] = (struct vbuf){r->tx, r->tx_len};
	bufs[1] = (struct vbuf){r->rx, RX_INLINE};
	if (!virtio_submit(c->queue, &r->v, bufs, 1, 1))
		return true;
	release_tag(c, r->tag);
	quire_kmem_free(request_cache, r);
	return false;
}

/* Free what finished clunks leave behind; try again those that found no room. */
static void retry_clunks(struct p9_client *c)
{
	struct request *r;
	struct p9_fid *f;
	unsigned long irq;

	while (!list_empty(&c->finished)) {
		irq = spin_lock_irq(&c->lock);
		r = list_empty(&c->finished) ? NULL
					     : list_first(&c->finished, struct request, finished);
		if (r)
			list_del(&r->finished);
		spin_unlock_irq(&c->lock, irq);
		if (!r)
			break;
		quire_kmem_free(fid_cache, r->fid);
		quire_kmem_free(request_cache, r);
	}
	while (!list_empty(&c->unclunk)) {
		irq = spin_lock_irq(&c->lock);
		f = list_empty(&c->unclunk) ? NULL
					    : list_first(&c->unclunk, struct p9_fid, pending);
		if (f)
			list_del(&f->pending);
		spin_unlock_irq(&c->lock, irq);
		if (!f)
			break;
		if (!send_clunk(f)) {
			irq = spin_lock_irq(&c->lock);
			list_add(&c->unclunk, &f->pending);
			spin_unlock_irq(&c->lock, irq);
			break;
		}
	}
}

void p9_clunk(struct p9_fid *f)
{
	unsigned long irq;

	if (send_clunk(f))
		return;
	irq = spin_lock_irq(&f->client->lock);
	list_add_tail(&f->client->unclunk, &f->pending);
	spin_unlock_irq(&f->client->lock, irq);
}

void p9_fid_free(struct p9_fid *f)
{
	quire_kmem_free(fid_cache, f);
}

/* ---- attaching ------------------------------------------------------------------------------ */

static struct virtio_dev *find_tag(const char *tag)
{
	struct virtio_dev *d;
	size_t n = strlen(tag);

	for (unsigned i = 0; (d = virtio_find(VIRTIO_ID_9P, i)); i++) {
		size_t len = virtio_config8(d, 0) | (size_t)virtio_config8(d, 1) << 8;
		size_t k = 0;

		if (len < n)
			continue;
		while (k < n && virtio_config8(d, (unsigned)(2 + k)) == (u8)tag[k])
			k++;
		/* Some versions count a terminator in. */
		if (k == n && (len == n || !virtio_config8(d, (unsigned)(2 + n))))
			return d;
	}
	return NULL;
}

static int negotiate_version(struct p9_client *c)
{
	struct request *r = p9_begin(c, T_VERSION, 0);
	int err;

	if (!r)
		return -ENOMEM;
	release_tag(c, r->tag);
	start_message(r, c, T_VERSION, NO_TAG);
	put32(r, MSIZE);
	put_string(r, "9P2000.L");
	err = p9_call(r, RX_INLINE, NULL, 0, false);
	if (!err) {
		char version[8];
		u16 len;

		c->msize = quire_min(get32(r), MSIZE);
		len = get16(r);
		get(r, version, sizeof(version));
		if (len != 8 || memcmp(version, "9P2000.L", 8) || c->msize < 8192)
			err = -EPROTONOSUPPORT;
	}
	p9_end(r);
	return err;
}

static int attach(struct p9_client *c, struct p9_fid **root)
{
	struct p9_fid *f = p9_fid_new(c);
	struct request *r = f ? p9_begin(c, T_ATTACH, 0) : NULL;
	int err;

	if (!r)
		return -ENOMEM;
	put32(r, f->id);
	put32(r, NO_FID); /* no authentication */
	put_string(r, "root");
	put_string(r, "");
	put32(r, 0);
	err = p9_simple_call(r);
	if (!err)
		*root = f;
	return err;
}

int p9_mount(const char *tag, struct p9_client **client, struct p9_fid **root)
{
	struct virtio_dev *d = find_tag(tag);
	struct p9_client *c;
	int err;

	if (!d)
		return -ENODEV;
	if (!request_cache) {
		request_cache = quire_kmem_create("p9_request", sizeof(struct request), 0);
		fid_cache = quire_kmem_create("p9_fid", sizeof(struct p9_fid), 0);
	}
	err = virtio_start(d, 0, 1);
	if (err)
		return err;
	c = quire_kmalloc(sizeof(*c), GFP_KERNEL | GFP_ZERO);
	if (!c)
		return -ENOMEM;
	c->queue = virtio_queue(d, 0);
	spin_init(&c->lock, RANK_HOST_INNER);
	list_init(&c->unclunk);
	list_init(&c->finished);
	err = negotiate_version(c);
	if (!err)
		err = attach(c, root);
	if (!err)
		*client = c;
	return err;
}
