// SPDX-License-Identifier: MIT
/*
 * Wait queues.  The queue's lock, with interrupts off, guards its list; a waiter's
 * wake function runs under it.  A waiter is the sleeper's own and goes off the queue
 * before its storage does.
 */
#include <quire/assert.h>

#include "../arch/cpu.h"
#include "sched.h"

void waitq_init(struct waitq *q)
{
	spin_init(&q->lock, RANK_HOST_INNER + 1);
	list_init(&q->waiters);
}

void waitq_add(struct waitq *q, struct waiter *w)
{
	w->queue = q;
	w->task = current();
	unsigned long irq = spin_lock_irq(&q->lock);
	/* those that all are woken stand before the exclusive ones, which queue up */
	if (w->exclusive)
		list_add_tail(&q->waiters, &w->node);
	else
		list_add(&q->waiters, &w->node);
	spin_unlock_irq(&q->lock, irq);
}

void waitq_remove(struct waiter *w)
{
	struct waitq *q = w->queue;

	if (!q)
		return;
	unsigned long irq = spin_lock_irq(&q->lock);
	list_del(&w->node);
	spin_unlock_irq(&q->lock, irq);
	w->queue = NULL;
}

void waitq_wake(struct waitq *q, unsigned n, u32 key)
{
	/* pairs with the sleeper's setting its state before it looks at the condition */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (list_empty(&q->waiters))
		return;
	/* Nested: the wake function of a waiter may itself wake another queue (epoll). */
	unsigned long irq = quire_host_irq_save();
	spin_lock_nested(&q->lock);
	struct waiter *w, *tmp;

	list_for_each_safe (w, tmp, &q->waiters, node) {
		if (w->exclusive && !n)
			break;
		bool woken = true;
		if (w->wake)
			w->wake(w, key);
		else
			woken = wake_task(w->task, WAKE_NORMAL);
		if (w->exclusive && woken && n != ~0u)
			n--;
	}
	spin_unlock_irq(&q->lock, irq);
}
