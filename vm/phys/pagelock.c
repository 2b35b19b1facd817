/* SPDX-License-Identifier: MIT */
/*
 * The page lock: PG_LOCKED, and PG_WAITERS when somebody may sleep on it.  Who
 * waits sleeps on the low word of page->flags; any change of a flag merely makes
 * it look again.
 */
#include <quire/assert.h>
#include <quire/page.h>

static u32 *lock_word(struct page *p)
{
	return (u32 *)&p->flags; /* little-endian: the flags are in the low half */
}

bool quire_page_trylock(struct page *p)
{
	return !page_set(p, PG_LOCKED);
}

void quire_page_lock(struct page *p)
{
	quire_lock_check_may_sleep();
	while (page_set(p, PG_LOCKED)) {
		page_set(p, PG_WAITERS);
		u32 seen = __atomic_load_n(lock_word(p), __ATOMIC_ACQUIRE);
		if ((seen >> PG_LOCKED & 1) && (seen >> PG_WAITERS & 1))
			quire_host_wait(lock_word(p), seen);
	}
}

void quire_page_unlock(struct page *p)
{
	u64 old = __atomic_fetch_and(&p->flags, ~(1UL << PG_LOCKED | 1UL << PG_WAITERS),
				     __ATOMIC_ACQ_REL);
	ASSERT(old >> PG_LOCKED & 1);
	/* All of them: the mark of the others went with the bit. */
	if (quire_unlikely(old >> PG_WAITERS & 1))
		quire_host_wake(lock_word(p), ~0u);
}
