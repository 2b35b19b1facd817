/* SPDX-License-Identifier: MIT */
/* Requests on the channel to the host: between hostio.c and stdio.c. */
#ifndef KERNEL_DEV_CHANNEL_H
#define KERNEL_DEV_CHANNEL_H

#include "hostio.h"
#include "virtio.h"

/* A request under way.  Lies in kernel memory that is no stack (the device reads msg). */
struct hostio_req {
	struct hostio_msg msg; /* len, type, fd, value, offset: the caller's */
	void *in;              /* where the reply's payload goes; no stack either */
	u32 in_max;
	/* Called in interrupt context when the reply has come, instead of waking `wait`.
	 * Then hostio_start() waits until the device has read the message. */
	void (*replied)(struct hostio_req *r);
	/* filled in by the reply */
	u32 in_len;
	s32 value;
	s64 offset;
	u32 done; /* atomic */
	/* the channel's own */
	struct waitq wait;
	struct list node;
	struct virtio_req vr;
};

bool hostio_present(void);
/* Send r with its payload `out` (msg.len bytes; stays until the reply).  Sleeps. */
void hostio_start(struct hostio_req *r, const void *out);
/* Wait for the reply to a request without `replied`; a signal cancels it (the reply then
 * says -EINTR, or what it came to).  The reply's value. */
s32 hostio_finish(struct hostio_req *r, bool interruptible);
/* Both, allocating the request.  The reply's value, or -EIO, -ENOMEM. */
s64 hostio_request(struct hostio_msg msg, const void *out, void *into, size_t in_max,
		   bool interruptible, s64 *offset);

#endif
