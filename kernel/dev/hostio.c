/* SPDX-License-Identifier: MIT */
/*
 * The channel to `quire run`: requests, replies and events over the virtio
 * console (boot/hostio.h has the protocol).
 *
 * What the device receives is parsed as it completes, in interrupt context:
 * replies are copied to where their requester wants them; events are queued for
 * a thread, since signals and the terminal take locks that an interrupt can't.
 * In deterministic runs a requester polls for its reply with the clock stopped.
 *
 * Locking: channel_lock (spin, RANK_HOST_INNER, interrupts off) guards the parser's
 * state, the list of requests that wait, and the queue of events.
 *
 * The files that stand for the host's descriptors are in stdio.c.
 */
#include "hostio.h"

#include <quire/assert.h>
#include <quire/string.h>

#include "../lib/print.h"
#include "channel.h"
#include "virtio.h"

#define RX_BUFFERS 8u
#define RX_SIZE 4096u
#define EVENT_ROOM 8192u

struct rx_buffer {
	struct virtio_req req;
	u8 *bytes;
};

struct event {
	u16 type, len;
	s32 value;
};

static struct virtq *rxq, *txq;
static struct spinlock channel_lock = SPINLOCK_INIT(RANK_HOST_INNER);
static struct rx_buffer rx_buffers[RX_BUFFERS];
static struct list waiting = LIST_INIT(waiting);
static u32 next_tag = 1;

static struct { /* the message that is being received */
	struct hostio_msg head;
	u32 have;                   /* bytes of the header, then of the payload as well */
	struct hostio_req *for_req; /* reply: whose; null: nobody's */
	bool keep;                  /* event: there is room for it */
} in;

static u8 events[EVENT_ROOM];
static u32 event_head, event_tail; /* counted bytes */
static struct waitq event_wait;

bool hostio_present(void)
{
	return txq;
}

/* ---- receiving -------------------------------------------------------------------------- */

static void event_put(const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		events[event_head++ % EVENT_ROOM] = ((const u8 *)p)[i];
}

static void event_get(void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((u8 *)p)[i] = events[event_tail++ % EVENT_ROOM];
}

/* The header is complete: whom is it for? */
static void message_begins(void)
{
	struct hostio_req *r;
	in.for_req = NULL;
	in.keep = false;
	if (in.head.type >= HOSTIO_SIGNAL) {
		struct event e = {in.head.type, (u16)in.head.len, in.head.value};
		u32 used = event_head - event_tail;
		in.keep = in.head.len <= EVENT_ROOM && EVENT_ROOM - used >= sizeof(e) + in.head.len;
		if (in.keep)
			event_put(&e, sizeof(e));
		return;
	}
	list_for_each (r, &waiting, node)
		if (r->msg.tag == in.head.tag) {
			in.for_req = r;
			return;
		}
}

static void message_ends(void)
{
	struct hostio_req *r = in.for_req;
	if (in.keep)
		waitq_wake_all(&event_wait);
	if (r) {
		list_del(&r->node);
		r->value = in.head.value;
		r->offset = in.head.offset;
		r->in_len = quire_min(in.head.len, r->in_max);
		__atomic_store_n(&r->done, 1u, __ATOMIC_RELEASE);
		if (r->replied)
			r->replied(r);
		else
			waitq_wake_all(&r->wait);
	}
	in.have = 0;
}

static void payload(const u8 *p, size_t at, size_t n)
{
	if (in.keep)
		event_put(p, n);
	if (in.for_req && at < in.for_req->in_max)
		memcpy((u8 *)in.for_req->in + at, p, quire_min(n, in.for_req->in_max - at));
}

static void parse_locked(const u8 *p, size_t n)
{
	while (n) {
		size_t part;
		if (in.have < sizeof(in.head)) {
			part = quire_min(n, sizeof(in.head) - in.have);
			memcpy((u8 *)&in.head + in.have, p, part);
			in.have += (u32)part;
			if (in.have == sizeof(in.head))
				message_begins();
		} else {
			size_t at = in.have - sizeof(in.head);
			part = quire_min(n, in.head.len - at);
			payload(p, at, part);
			in.have += (u32)part;
		}
		p += part;
		n -= part;
		if (in.have >= sizeof(in.head) && in.have - sizeof(in.head) == in.head.len)
			message_ends();
	}
}

static void rx_submit(struct rx_buffer *b)
{
	struct vbuf v = {b->bytes, RX_SIZE};
	virtio_submit(rxq, &b->req, &v, 0, 1);
}

static void rx_complete(struct virtio_req *r)
{
	struct rx_buffer *b = quire_container_of(r, struct rx_buffer, req);
	unsigned long irq = spin_lock_irq(&channel_lock);
	parse_locked(b->bytes, quire_min(r->written, RX_SIZE));
	spin_unlock_irq(&channel_lock, irq);
	rx_submit(b);
}

/* ---- events ----------------------------------------------------------------------------- */

static void deliver(const struct event *e, const u8 *bytes)
{
	switch (e->type) {
	case HOSTIO_SIGNAL:
		proc_host_signal(e->value);
		break;
	case HOSTIO_TTY_IN:
		tty_host_input(bytes, e->len);
		break;
	case HOSTIO_WINCH:
		tty_host_winch((u16)((u32)e->value >> 16), (u16)e->value);
		break;
	case HOSTIO_TTY_HUP:
		tty_host_hangup();
		break;
	}
}

/* A whole event is in the queue: not the one that is still arriving. */
static bool event_whole(void)
{
	u32 have = __atomic_load_n(&event_head, __ATOMIC_ACQUIRE) - event_tail;
	struct event e = {0};
	if (have < sizeof(e))
		return false;
	for (size_t i = 0; i < sizeof(e); i++)
		((u8 *)&e)[i] = events[(event_tail + i) % EVENT_ROOM];
	return have >= sizeof(e) + e.len;
}

static void event_thread(void *arg)
{
	u8 *bytes = arg;
	for (;;) {
		struct event e;
		wait_event(&event_wait, event_whole());
		unsigned long irq = spin_lock_irq(&channel_lock);
		event_get(&e, sizeof(e));
		event_get(bytes, e.len);
		spin_unlock_irq(&channel_lock, irq);
		deliver(&e, bytes);
	}
}

/* ---- sending ---------------------------------------------------------------------------- */

/* Hand header and payload to the device; both stay until virtio_wait(). */
static void send(struct virtio_req *vr, struct hostio_msg *msg, const void *out, bool wait)
{
	struct vbuf v[2] = {{msg, sizeof(*msg)}, {(void *)(u64)out, msg->len}};
	unsigned n = msg->len ? 2 : 1;
	memset(vr, 0, sizeof(*vr));
	if (wait || virtio_submit(txq, vr, v, n, 0))
		virtio_call(txq, vr, v, n, 0);
}

void hostio_start(struct hostio_req *r, const void *out)
{
	r->done = 0;
	r->value = -EIO;
	r->in_len = 0;
	waitq_init(&r->wait);
	unsigned long irq = spin_lock_irq(&channel_lock);
	r->msg.tag = next_tag++;
	list_add_tail(&waiting, &r->node);
	spin_unlock_irq(&channel_lock, irq);
	send(&r->vr, &r->msg, out, r->replied != NULL);
}

static void cancel(struct hostio_req *r)
{
	struct {
		struct virtio_req vr;
		struct hostio_msg msg;
	} *c = quire_kmalloc(sizeof(*c), GFP_KERNEL);
	if (!c)
		return; /* then the answer is waited for */
	c->msg = (struct hostio_msg){.type = HOSTIO_CANCEL, .fd = r->msg.fd, .tag = r->msg.tag};
	send(&c->vr, &c->msg, NULL, true);
	quire_kfree(c);
}

s32 hostio_finish(struct hostio_req *r, bool interruptible)
{
	if (deterministic) {
		virtio_poll_until(rxq, &r->done);
	} else if (interruptible) {
		int e =
		    wait_event_interruptible(&r->wait, __atomic_load_n(&r->done, __ATOMIC_ACQUIRE));
		if (e)
			cancel(r);
	}
	wait_event(&r->wait, __atomic_load_n(&r->done, __ATOMIC_ACQUIRE));
	/* The waker may still hold the queue's lock. */
	unsigned long irq = spin_lock_irq(&channel_lock);
	spin_unlock_irq(&channel_lock, irq);
	virtio_wait(txq, &r->vr);
	return r->value;
}

s64 hostio_request(struct hostio_msg msg, const void *out, void *into, size_t in_max,
		   bool interruptible, s64 *offset)
{
	if (!txq)
		return -EIO;
	struct hostio_req *r = quire_kmalloc(sizeof(*r), GFP_KERNEL | GFP_ZERO);
	if (!r)
		return -ENOMEM;
	r->msg = msg;
	r->in = into;
	r->in_max = (u32)in_max;
	hostio_start(r, out);
	s64 v = hostio_finish(r, interruptible);
	if (offset)
		*offset = r->offset;
	quire_kfree(r);
	return v;
}

static void notice(u32 type, s32 value, const void *buf, size_t len)
{
	struct {
		struct virtio_req vr;
		struct hostio_msg msg;
		u8 bytes[];
	} * m;
	if (!txq)
		return;
	do {
		size_t n = quire_min(len, (size_t)2048 - sizeof(*m));
		m = quire_kmalloc(sizeof(*m) + n, GFP_KERNEL);
		if (!m)
			return;
		m->msg = (struct hostio_msg){.len = (u32)n, .type = (u16)type, .value = value};
		memcpy(m->bytes, buf, n);
		send(&m->vr, &m->msg, m->bytes, true);
		quire_kfree(m);
		buf = (const u8 *)buf + n;
		len -= n;
	} while (len);
}

void hostio_notice(u32 type, const void *buf, size_t len)
{
	if (len)
		notice(type, 0, buf, len);
}

void hostio_notice_value(u32 type, s32 value)
{
	notice(type, value, "", 0);
}

void hostio_init(void)
{
	struct virtio_dev *d = virtio_find(VIRTIO_ID_CONSOLE, 0);
	waitq_init(&event_wait);
	if (!d || virtio_start(d, 0, 2)) {
		print_log(QUIRE_LOG_WARN, "no channel to the host: no standard input or output");
		return;
	}
	rxq = virtio_queue(d, 0);
	txq = virtio_queue(d, 1);
	for (unsigned i = 0; i < RX_BUFFERS; i++) {
		struct page *pg = quire_page_alloc(0, GFP_KERNEL);
		if (!pg)
			break;
		rx_buffers[i].bytes = page_view(pg);
		rx_buffers[i].req.complete = rx_complete;
		rx_submit(&rx_buffers[i]);
	}
	u8 *bytes = quire_kmalloc(EVENT_ROOM, GFP_KERNEL);
	if (bytes)
		kthread_start("hostio", event_thread, bytes);
	hostio_notice_value(HOSTIO_HELLO, HOSTIO_VERSION);
}
