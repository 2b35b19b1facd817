/* SPDX-License-Identifier: MIT */
/*
 * Robust lists: the futexes of a thread that died, or executed another program, are
 * marked and one who waits is woken.  The list is the program's own memory and nothing
 * in it can be trusted.
 */
#include "futex.h"

#define ROBUST_LIMIT 2048

/* The thread died holding the lock at uaddr: mark it, and wake one who waits. */
static bool robust_death(u64 uaddr, u32 tid, bool pi, bool pending)
{
	u32 v, old;
	if (uaddr & 3)
		return false;
	if (user_load_u32(&v, uaddr))
		return false;
	/* Between unlocking and the wake-up the word is free and a waiter may sleep; so it may
	 * when it was the one who was woken, and died. */
	if (pending && !pi && !(v & FUTEX_TID)) {
		futex_wake(uaddr, 0, 1, FUTEX_ANY);
		return true;
	}
	for (;;) {
		if ((v & FUTEX_TID) != tid)
			return true;
		if (user_cmpxchg_u32(uaddr, v, (v & FUTEX_WAITERS) | FUTEX_OWNER_DIED, &old))
			return false;
		if (old == v)
			break;
		v = old;
	}
	if (!pi && (v & FUTEX_WAITERS))
		futex_wake(uaddr, 0, 1, FUTEX_ANY);
	return true;
}

void futex_exit_robust(struct task *t)
{
	u64 head = t->robust_list, entry, offset, pending;
	t->robust_list = 0;
	if (!head || get_user_u64(&entry, head) || get_user_u64(&offset, head + 8) ||
	    get_user_u64(&pending, head + 16))
		return;
	for (unsigned n = 0; (entry & ~1UL) != head && n < ROBUST_LIMIT; n++) {
		u64 next = 0;
		bool more = !get_user_u64(&next, entry & ~1UL);
		if ((entry & ~1UL) != (pending & ~1UL) &&
		    !robust_death((entry & ~1UL) + offset, t->tid, entry & 1, false))
			return;
		if (!more)
			return;
		entry = next;
	}
	if (pending & ~1UL)
		robust_death((pending & ~1UL) + offset, t->tid, pending & 1, true);
}

SYSCALL2(set_robust_list, u64, head, u64, len)
{
	if (len != 24)
		return -EINVAL;
	current()->robust_list = head;
	return 0;
}

SYSCALL3(get_robust_list, s32, pid, u64, uhead, u64, ulen)
{
	struct task *t = pid ? task_find((u32)pid) : current();
	if (!t)
		return -ESRCH;
	u64 head = t->robust_list;
	int err = ptrace_may_access(t, false);
	if (pid)
		task_put(t);
	if (err)
		return -EPERM;
	/* An address that looks like an error is taken for one, as in Linux. */
	if (head >= -4095UL)
		return (long)head;
	return put_user_u64(ulen, 24) || put_user_u64(uhead, head) ? -EFAULT : 0;
}
