/* SPDX-License-Identifier: MIT */
/*
 * virtio over memory-mapped registers, versions 1 (legacy) and 2, with split
 * queues (virtio 1.1, sections 2.6 and 4.2).
 *
 * The queue's rings lie in two frames in the legacy layout, which version 2
 * accepts as well.  A chain of more than DIRECT_MAX buffers goes through an indirect
 * table, so that a long one takes one place in the ring.
 *
 * Locking: q->lock (innermost of the host's but for the scheduler's; interrupts off)
 * guards the ring.  Completions are called outside of it.  The list of devices doesn't
 * change after virtio_probe().
 *
 * It doesn't reset devices at the end, nor use event indices or packed queues.
 */
#include "virtio.h"

#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../arch/cpu.h"
#include "../boot/boot.h"

#define WINDOWS 24
#define QUEUES_MAX 2
#define QUEUE_SIZE_MAX 128
#define DIRECT_MAX 3
#define POLL_CHARGE_NS 20000 /* what a device request costs on a stopped clock */

enum { /* registers */
       REG_MAGIC = 0x00,
       REG_VERSION = 0x04,
       REG_DEVICE_ID = 0x08,
       REG_FEATURES = 0x10,
       REG_FEATURES_SEL = 0x14,
       REG_DRIVER_FEATURES = 0x20,
       REG_DRIVER_FEATURES_SEL = 0x24,
       REG_GUEST_PAGE_SIZE = 0x28,
       REG_QUEUE_SEL = 0x30,
       REG_QUEUE_NUM_MAX = 0x34,
       REG_QUEUE_NUM = 0x38,
       REG_QUEUE_ALIGN = 0x3c,
       REG_QUEUE_PFN = 0x40,
       REG_QUEUE_READY = 0x44,
       REG_QUEUE_NOTIFY = 0x50,
       REG_INTERRUPT_STATUS = 0x60,
       REG_INTERRUPT_ACK = 0x64,
       REG_STATUS = 0x70,
       REG_QUEUE_DESC = 0x80,
       REG_QUEUE_AVAIL = 0x90,
       REG_QUEUE_USED = 0xa0,
       REG_CONFIG = 0x100,
};
#define VIRTIO_MAGIC 0x74726976u
enum { STATUS_ACK = 1, STATUS_DRIVER = 2, STATUS_OK = 4, STATUS_FEATURES_OK = 8 };
#define F_INDIRECT (1UL << 28)
#define F_EVENT_IDX (1UL << 29)
#define F_VERSION_1 (1UL << 32)

struct desc {
	u64 addr;
	u32 len;
	u16 flags, next;
};
enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

struct avail {
	u16 flags, idx;
	u16 ring[];
};
struct used {
	u16 flags, idx;
	struct {
		u32 id, len;
	} ring[];
};

struct virtq {
	struct spinlock lock;
	struct virtio_dev *dev;
	u16 index, size;
	u16 free_head, free_count; /* chain of free descriptors; guarded by lock */
	u16 used_seen;             /* guarded by lock */
	u32 room;                  /* changes whenever a completion makes room: waited on */
	bool indirect, events;     /* features */
	u16 in_flight;             /* requests; guarded by lock */
	u16 told;                  /* avail->idx when the device was last told; guarded by lock */
	struct desc *desc;
	struct avail *avail;
	struct used *used;
	struct virtio_req *owner[QUEUE_SIZE_MAX]; /* by head descriptor */
};

struct virtio_dev {
	volatile u8 *regs;
	u32 id, version;
	unsigned gsi;
	struct virtq *queues[QUEUES_MAX];
};

static struct virtio_dev *devices[WINDOWS];
static unsigned ndevices;

static u32 reg_read(struct virtio_dev *d, unsigned r)
{
	return *(volatile u32 *)(d->regs + r);
}

static void reg_write(struct virtio_dev *d, unsigned r, u32 v)
{
	*(volatile u32 *)(d->regs + r) = v;
}

/* The physical address of kernel memory; lazily mapped areas have none that lasts. */
static u64 phys_of(const void *p)
{
	REQUIRE((u64)p < KERNEL_AREA_START || (u64)p >= KERNEL_IMAGE_BASE);
	return view_phys(p);
}

/* ---- finding devices ---------------------------------------------------------------- */

void virtio_probe(void)
{
	struct virtio_dev probe = {0};
	unsigned gsi;
	u64 phys;

	for (unsigned w = 0; ndevices < WINDOWS && boot_virtio_window(w, &phys, &gsi); w++) {
		probe.regs = phys_view(phys);
		probe.gsi = gsi;
		if (reg_read(&probe, REG_MAGIC) != VIRTIO_MAGIC)
			continue;
		probe.version = reg_read(&probe, REG_VERSION);
		probe.id = reg_read(&probe, REG_DEVICE_ID);
		if (!probe.id || probe.version < 1 || probe.version > 2)
			continue;
		devices[ndevices] = quire_kmalloc(sizeof(probe), GFP_KERNEL);
		if (!devices[ndevices])
			return;
		*devices[ndevices++] = probe;
	}
}

struct virtio_dev *virtio_find(u32 id, unsigned index)
{
	/* QEMU gives its devices the windows from the last to the first. */
	for (unsigned i = 0; i < ndevices; i++)
		if (devices[i]->id == id && index-- == 0)
			return devices[i];
	return NULL;
}

u8 virtio_config8(struct virtio_dev *d, unsigned offset)
{
	return d->regs[REG_CONFIG + offset];
}

struct virtq *virtio_queue(struct virtio_dev *d, unsigned index)
{
	return index < QUEUES_MAX ? d->queues[index] : NULL;
}

/* ---- setting up ----------------------------------------------------------------------- */

static void write64(struct virtio_dev *d, unsigned r, u64 v)
{
	reg_write(d, r, (u32)v);
	reg_write(d, r + 4, (u32)(v >> 32));
}

static int queue_setup(struct virtio_dev *d, unsigned index, u64 features)
{
	struct page *rings;
	struct virtq *q;
	u32 max;

	reg_write(d, REG_QUEUE_SEL, index);
	max = reg_read(d, REG_QUEUE_NUM_MAX);
	if (!max)
		return -ENODEV;
	q = quire_kmalloc(sizeof(*q), GFP_KERNEL | GFP_ZERO);
	rings = quire_page_alloc(1, GFP_KERNEL | GFP_ZERO);
	if (!q || !rings)
		return -ENOMEM; /* at boot: the machine won't start, nothing to undo */
	spin_init(&q->lock, RANK_HOST_INNER);
	q->dev = d;
	q->index = (u16)index;
	q->size = (u16)quire_min(max, (u32)QUEUE_SIZE_MAX);
	q->indirect = features & F_INDIRECT;
	q->events = features & F_EVENT_IDX;
	q->desc = page_view(rings);
	q->avail = (void *)(q->desc + q->size);
	q->used = (void *)((u8 *)page_view(rings) + QUIRE_PAGE_SIZE);
	q->free_count = q->size;
	for (unsigned i = 0; i < q->size; i++)
		q->desc[i].next = (u16)(i + 1);
	reg_write(d, REG_QUEUE_NUM, q->size);
	if (d->version == 1) {
		reg_write(d, REG_QUEUE_ALIGN, QUIRE_PAGE_SIZE);
		reg_write(d, REG_QUEUE_PFN, (u32)page_pfn(rings).n);
	} else {
		write64(d, REG_QUEUE_DESC, phys_of(q->desc));
		write64(d, REG_QUEUE_AVAIL, phys_of(q->avail));
		write64(d, REG_QUEUE_USED, phys_of(q->used));
		reg_write(d, REG_QUEUE_READY, 1);
	}
	d->queues[index] = q;
	return 0;
}

static void interrupt(void *arg)
{
	struct virtio_dev *d = arg;
	u32 status = reg_read(d, REG_INTERRUPT_STATUS);

	if (status)
		reg_write(d, REG_INTERRUPT_ACK, status);
	for (unsigned i = 0; i < QUEUES_MAX; i++)
		if (d->queues[i])
			virtio_poll(d->queues[i]);
}

static u64 negotiate(struct virtio_dev *d, u64 wanted)
{
	u64 offered;

	reg_write(d, REG_FEATURES_SEL, 0);
	offered = reg_read(d, REG_FEATURES);
	reg_write(d, REG_FEATURES_SEL, 1);
	offered |= (u64)reg_read(d, REG_FEATURES) << 32;
	/* In deterministic runs what the kernel does must not hang on how far the host is:
	 * it tells of every request. */
	wanted |= F_INDIRECT | (deterministic ? 0 : F_EVENT_IDX);
	if (d->version == 2)
		wanted |= F_VERSION_1;
	wanted &= offered;
	reg_write(d, REG_DRIVER_FEATURES_SEL, 0);
	reg_write(d, REG_DRIVER_FEATURES, (u32)wanted);
	reg_write(d, REG_DRIVER_FEATURES_SEL, 1);
	reg_write(d, REG_DRIVER_FEATURES, (u32)(wanted >> 32));
	return wanted;
}

int virtio_start(struct virtio_dev *d, u64 features, unsigned nqueues)
{
	u32 status = STATUS_ACK | STATUS_DRIVER;
	int err;

	REQUIRE(nqueues <= QUEUES_MAX);
	reg_write(d, REG_STATUS, 0);
	reg_write(d, REG_STATUS, status);
	features = negotiate(d, features);
	if (d->version == 2) {
		status |= STATUS_FEATURES_OK;
		reg_write(d, REG_STATUS, status);
		if (!(reg_read(d, REG_STATUS) & STATUS_FEATURES_OK))
			return -ENODEV;
	} else {
		reg_write(d, REG_GUEST_PAGE_SIZE, QUIRE_PAGE_SIZE);
	}
	for (unsigned i = 0; i < nqueues; i++) {
		err = queue_setup(d, i, features);
		if (err)
			return err;
	}
	/* Deterministic runs only poll: an interrupt's moment would be the host's. */
	if (!deterministic)
		irq_register(d->gsi, interrupt, d);
	reg_write(d, REG_STATUS, status | STATUS_OK);
	return 0;
}

/* ---- requests ----------------------------------------------------------------------------- */

/* Fill a table of n descriptors that follow each other, for the device or in the ring. */
static void fill_chain(struct desc *table, u16 head, const struct vbuf *bufs, unsigned out,
		       unsigned in)
{
	struct desc *d = &table[head];

	for (unsigned i = 0; i < out + in; i++) {
		bool last = i + 1 == out + in;

		d->addr = phys_of(bufs[i].addr);
		d->len = bufs[i].len;
		d->flags = (u16)((i >= out ? DESC_WRITE : 0) | (last ? 0 : DESC_NEXT));
		if (!last)
			d = &table[d->next];
	}
}

static struct desc *indirect_table(const struct vbuf *bufs, unsigned out, unsigned in)
{
	struct desc *t = quire_kmalloc((out + in) * sizeof(*t), GFP_ATOMIC);

	if (!t)
		return NULL;
	for (unsigned i = 0; i < out + in; i++)
		t[i].next = (u16)(i + 1);
	fill_chain(t, 0, bufs, out, in);
	return t;
}

/* The head of the chain in the ring, or -EAGAIN. */
static int place_locked(struct virtq *q, struct virtio_req *r, const struct vbuf *bufs,
			unsigned out, unsigned in)
{
	unsigned need = r->table ? 1 : out + in;
	u16 head = q->free_head, last = head;

	if (q->free_count < need)
		return -EAGAIN;
	if (r->table) {
		q->desc[head].addr = phys_of(r->table);
		q->desc[head].len = (u32)((out + in) * sizeof(struct desc));
		q->desc[head].flags = DESC_INDIRECT;
	} else {
		fill_chain(q->desc, head, bufs, out, in);
		for (unsigned i = 1; i < need; i++)
			last = q->desc[last].next;
	}
	q->free_head = q->desc[last].next;
	q->free_count = (u16)(q->free_count - need);
	return head;
}

/* Tell the device about new requests, unless it is still busy with those before. */
static void tell_locked(struct virtq *q)
{
	u16 new = q->avail->idx, old = q->told, event;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	q->told = new;
	event = __atomic_load_n((u16 *)&q->used->ring[q->size], __ATOMIC_RELAXED);
	if (!q->events || (u16)(new - event - 1) < (u16)(new - old))
		reg_write(q->dev, REG_QUEUE_NOTIFY, q->index);
}

/* The next interrupt is wanted when `count` more requests are done than were seen. */
static void want_interrupt_locked(struct virtq *q, unsigned count)
{
	__atomic_store_n(&q->avail->ring[q->size], (u16)(q->used_seen + count - 1),
			 __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void virtio_kick(struct virtq *q, unsigned n)
{
	unsigned long irq = spin_lock_irq(&q->lock);

	/* Who else waits must not wait for all of these: so only when there is nobody. */
	if (!deterministic && n && q->in_flight == n && q->used->idx == q->used_seen)
		want_interrupt_locked(q, n);
	tell_locked(q);
	spin_unlock_irq(&q->lock, irq);
}

static int submit(struct virtq *q, struct virtio_req *r, const struct vbuf *bufs, unsigned out,
		  unsigned in, bool more)
{
	unsigned long irq;
	int head;

	r->done = 0;
	r->written = 0;
	/* Tables are freed by virtio_wait(): a completion in interrupt context couldn't. */
	r->table = q->indirect && !r->complete && out + in > DIRECT_MAX
		       ? indirect_table(bufs, out, in)
		       : NULL;
	irq = spin_lock_irq(&q->lock);
	head = place_locked(q, r, bufs, out, in);
	if (head >= 0) {
		q->owner[head] = r;
		q->avail->ring[q->avail->idx % q->size] = (u16)head;
		__atomic_store_n(&q->avail->idx, (u16)(q->avail->idx + 1), __ATOMIC_RELEASE);
		q->in_flight++;
		if (!more)
			tell_locked(q);
	}
	spin_unlock_irq(&q->lock, irq);
	if (head < 0) {
		quire_kfree(r->table);
		return head;
	}
	return 0;
}

int virtio_submit(struct virtq *q, struct virtio_req *r, const struct vbuf *bufs, unsigned out,
		  unsigned in)
{
	return submit(q, r, bufs, out, in, false);
}

/* Take one finished request off the used ring; null when there is none, and the next one
 * will interrupt. */
static struct virtio_req *reap_locked(struct virtq *q)
{
	struct virtio_req *r;
	unsigned n = 1;
	u16 head, last;

	if (__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) == q->used_seen) {
		if (q->avail->ring[q->size] == q->used_seen)
			return NULL;
		want_interrupt_locked(q, 1);
		if (__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) == q->used_seen)
			return NULL;
	}
	head = (u16)q->used->ring[q->used_seen % q->size].id;
	REQUIRE(head < q->size && q->owner[head]);
	r = q->owner[head];
	q->owner[head] = NULL;
	r->written = q->used->ring[q->used_seen % q->size].len;
	q->used_seen++;
	q->in_flight--;
	for (last = head; q->desc[last].flags & DESC_NEXT; last = q->desc[last].next)
		n++;
	q->desc[last].next = q->free_head;
	q->free_head = head;
	q->free_count = (u16)(q->free_count + n);
	__atomic_fetch_add(&q->room, 1, __ATOMIC_RELEASE);
	return r;
}

bool virtio_poll(struct virtq *q)
{
	struct virtio_req *r;
	unsigned long irq;
	bool any = false;

	quire_host_preempt_disable();
	irq = quire_host_irq_save();
	for (;;) {
		spin_lock(&q->lock);
		r = reap_locked(q);
		spin_unlock(&q->lock);
		if (!r)
			break;
		any = true;
		if (r->complete) {
			__atomic_store_n(&r->done, 1u, __ATOMIC_RELEASE);
			r->complete(r);
		} else {
			/* r may be gone as soon as done is seen: only its address is used. */
			__atomic_store_n(&r->done, 1u, __ATOMIC_RELEASE);
			quire_host_wake(&r->done, ~0u);
		}
	}
	if (any)
		quire_host_wake(&q->room, ~0u);
	quire_host_irq_restore(irq);
	quire_host_preempt_enable();
	return any;
}

void virtio_poll_until(struct virtq *q, const u32 *key)
{
	unsigned long irq;

	quire_host_preempt_disable();
	irq = quire_host_irq_save();
	time_freeze();
	while (!__atomic_load_n(key, __ATOMIC_ACQUIRE))
		if (!virtio_poll(q))
			cpu_relax();
	time_thaw(POLL_CHARGE_NS);
	quire_host_irq_restore(irq);
	quire_host_preempt_enable();
}

void virtio_wait(struct virtq *q, struct virtio_req *r)
{
	if (deterministic)
		virtio_poll_until(q, &r->done);
	else
		while (!__atomic_load_n(&r->done, __ATOMIC_ACQUIRE))
			quire_host_wait(&r->done, 0);
	quire_kfree(r->table);
	r->table = NULL;
}

void virtio_send(struct virtq *q, struct virtio_req *r, const struct vbuf *bufs, unsigned out,
		 unsigned in, bool more)
{
	for (;;) {
		u32 room = __atomic_load_n(&q->room, __ATOMIC_ACQUIRE);

		if (!submit(q, r, bufs, out, in, more))
			return;
		virtio_kick(q, 0);
		if (deterministic)
			virtio_poll(q);
		else
			quire_host_wait(&q->room, room);
	}
}

void virtio_call(struct virtq *q, struct virtio_req *r, const struct vbuf *bufs, unsigned out,
		 unsigned in)
{
	virtio_send(q, r, bufs, out, in, false);
	virtio_wait(q, r);
}
