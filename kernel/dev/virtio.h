/* SPDX-License-Identifier: MIT */
/*
 * virtio over memory-mapped registers: finding devices, queues, requests.
 *
 * A request is a chain of buffers (first those the device reads, then those it
 * writes) and a completion.  Many requests can be in flight on one queue.
 * Buffers lie in the kernel's view of memory or its image (physically
 * contiguous each: a lazily mapped kernel stack is neither).
 */
#ifndef KERNEL_VIRTIO_H
#define KERNEL_VIRTIO_H

#include <quire/lock.h>
#include <quire/types.h>

#define VIRTIO_ID_CONSOLE 3
#define VIRTIO_ID_9P 9

struct virtio_dev;
struct virtq;

struct vbuf {
	void *addr;
	u32 len;
};

/* The caller's, alive until done.  Not copied. */
struct virtio_req {
	/* Called once, when the device is through with it: in interrupt context or by a
	 * poller, interrupts off, no queue lock held.  May submit again.  Null: virtio_wait(). */
	void (*complete)(struct virtio_req *r);
	u32 written; /* bytes that the device wrote */
	u32 done;    /* 1 when complete */
	void *table; /* the queue's: indirect descriptors */
};

/* Look at every register window once.  Interrupts and the allocator work. */
void virtio_probe(void);
/* The index-th device of this id, or null. */
struct virtio_dev *virtio_find(u32 id, unsigned index);
/* Negotiate `features` (bits beyond them that the transport needs are added), set up
 * queues 0 .. nqueues - 1 and let the device run.  0, -ENODEV or -ENOMEM. */
int virtio_start(struct virtio_dev *d, u64 features, unsigned nqueues);
struct virtq *virtio_queue(struct virtio_dev *d, unsigned index);
u8 virtio_config8(struct virtio_dev *d, unsigned offset);

/* Hand a request to the device.  Any context; may be called with any lock held but
 * the scheduler's.  0, or -EAGAIN when the queue is full (a completion makes room). */
int virtio_submit(struct virtq *q, struct virtio_req *r, const struct vbuf *bufs, unsigned out,
		  unsigned in);
/* Tell the device about requests submitted with `more`.  n: how many; when no others are
 * under way the interrupt comes when all are done.  0: interrupt as usual. */
void virtio_kick(struct virtq *q, unsigned n);
/* Submit, waiting for room.  more: others follow at once, and then virtio_kick().  Sleeps. */
void virtio_send(struct virtq *q, struct virtio_req *r, const struct vbuf *bufs, unsigned out,
		 unsigned in, bool more);
/* Wait until a submitted request with a null `complete` is done.  Sleeps, or polls with
 * the clock stopped in deterministic runs. */
void virtio_wait(struct virtq *q, struct virtio_req *r);
/* virtio_send(), then virtio_wait(). */
void virtio_call(struct virtq *q, struct virtio_req *r, const struct vbuf *bufs, unsigned out,
		 unsigned in);
/* Complete what the device has finished.  True when something was.  Any context. */
bool virtio_poll(struct virtq *q);
/* Poll until *key != 0, with the clock stopped (deterministic runs; the last words). */
void virtio_poll_until(struct virtq *q, const u32 *key);

#endif
