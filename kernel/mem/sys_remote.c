/* SPDX-License-Identifier: MIT */
/*
 * System calls on another process's memory: process_vm_readv(2),
 * process_vm_writev(2), process_madvise(2), process_mrelease(2).
 *
 * Bytes go through one kernel page at a time: the core reads or writes the other
 * address space, faulting pages in as its owner would; the caller's side is an
 * ordinary user copy with no lock held.
 */
#include <quire/mm.h>
#include <quire/page.h>

#include "../arch/uaccess.h"
#include "../fs/vfs.h"
#include "../proc/internal.h"
#include "../proc/pidfd.h"
#include "mem.h"

#define MAX_VECTORS 1024
#define MOVE_MAX 0x7ffff000UL /* bytes in one call */
#define CAP_SYS_NICE 23

/* The address space of the task with this id: 0 with a reference in *out, or -errno. */
static int remote_uspace(u32 tid, struct uspace **out)
{
	struct task *t = task_find(tid);
	if (!t)
		return -ESRCH;
	struct uspace *u = task_uspace_get(t);
	int err = u ? ptrace_may_access(t, false) : -ESRCH;
	task_put(t);
	if (err && u)
		uspace_put(u);
	else
		*out = u;
	return err;
}

/* The other side's vector: addresses of another address space, so only lengths matter. */
static int import_remote(struct iovec **out, u64 uvec, u64 count)
{
	if (count > MAX_VECTORS)
		return -EINVAL;
	struct iovec *v = quire_kmalloc(quire_max(count, 1UL) * sizeof(*v), GFP_KERNEL);
	if (!v)
		return -ENOMEM;
	if (copy_from_user(v, uvec, count * sizeof(*v))) {
		quire_kfree(v);
		return -EFAULT;
	}
	for (u64 i = 0; i < count; i++)
		if ((s64)v[i].len < 0) {
			quire_kfree(v);
			return -EINVAL;
		}
	*out = v;
	return 0;
}

/* Move up to n bytes at addr of mm; how many. */
static size_t move_piece(struct quire_mm *mm, u64 addr, struct iter *local, void *page, size_t n,
			 bool write)
{
	if (write) {
		size_t got = iter_copy_from(local, page, n);
		return quire_mm_access(mm, addr, page, got, true, false);
	}
	size_t got = quire_mm_access(mm, addr, page, n, false, false);
	return iter_copy_to(local, page, got);
}

/* Bring in what a turn is about before any of it is moved, as Linux does, which pins
 * that many pages at a time: the caller sees of its own memory what was touched.
 * How many bytes there are. */
#define TURN_PAGES 1024UL
static u64 bring_in(struct quire_mm *mm, u64 addr, u64 len, bool write)
{
	u64 turn = TURN_PAGES * QUIRE_PAGE_SIZE - (addr & ~QUIRE_PAGE_MASK);
	return quire_mm_bring_in(mm, addr, quire_min(len, turn), write);
}

static s64 move_all(struct quire_mm *mm, const struct iovec *remote, u64 count, struct iter *local,
		    bool write)
{
	s64 total = 0;
	void *page = quire_kmalloc(QUIRE_PAGE_SIZE, GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	for (u64 i = 0; i < count && local->left; i++) {
		u64 addr = remote[i].base, left = remote[i].len, ready = 0;
		while (left && local->left) {
			if (!ready)
				ready = bring_in(mm, addr, left, write);
			size_t n = QUIRE_PAGE_SIZE - (addr & ~QUIRE_PAGE_MASK);
			n = quire_min(n, left);
			n = quire_min(n, local->left);
			size_t moved = ready ? move_piece(mm, addr, local, page, n, write) : 0;
			total += (s64)moved;
			addr += moved;
			left -= moved;
			ready -= quire_min(moved, ready);
			if (moved < n) {
				quire_kfree(page);
				return total ? total : -EFAULT;
			}
		}
	}
	quire_kfree(page);
	return total;
}

static s64 process_vm(u32 pid, u64 ulocal, u64 nlocal, u64 uremote, u64 nremote, u64 flags,
		      bool write)
{
	struct iovec *storage = NULL, *remote;
	struct iter local;
	struct uspace *u;

	if (flags)
		return -EINVAL;
	s64 r = iter_import(&local, &storage, ulocal, nlocal);
	if (r <= 0) {
		quire_kfree(storage);
		return r;
	}
	r = import_remote(&remote, uremote, nremote);
	if (!r) {
		u64 wanted = 0;
		for (u64 i = 0; i < nremote; i++)
			wanted |= remote[i].len;
		/* Of nothing, nobody asks whose it is. */
		r = wanted ? remote_uspace(pid, &u) : 0;
		if (!r && wanted) {
			r = move_all(u->mm, remote, nremote, &local, write);
			uspace_put(u);
		}
		quire_kfree(remote);
	}
	quire_kfree(storage);
	return r;
}

SYSCALL6(process_vm_readv, u32, pid, u64, local, u64, nlocal, u64, remote, u64, nremote, u64, flags)
{
	return process_vm(pid, local, nlocal, remote, nremote, flags, false);
}

SYSCALL6(process_vm_writev, u32, pid, u64, local, u64, nlocal, u64, remote, u64, nremote, u64,
	 flags)
{
	return process_vm(pid, local, nlocal, remote, nremote, flags, true);
}

static bool remote_advice(int advice)
{
	return advice == MADV_COLD || advice == MADV_PAGEOUT || advice == MADV_WILLNEED ||
	       advice == MADV_COLLAPSE;
}

SYSCALL5(process_madvise, int, pidfd, u64, uvec, u64, count, int, advice, u32, flags)
{
	struct iovec *v;
	struct uspace *u;
	u32 pid;

	if (flags)
		return -EINVAL;
	s64 r = import_remote(&v, uvec, count);
	if (r)
		return r;
	/* As for other vectors of the caller's: here its own addresses are meant. */
	for (u64 i = 0, left = MOVE_MAX; i < count && !r; i++) {
		if (v[i].base > QUIRE_USER_END || v[i].len > QUIRE_USER_END - v[i].base)
			r = -EFAULT;
		v[i].len = quire_min(v[i].len, left);
		left -= v[i].len;
	}
	if (!r)
		r = pidfd_pid(pidfd, &pid);
	if (!r && !remote_advice(advice))
		r = -EINVAL;
	if (!r)
		r = remote_uspace(pid, &u);
	r = r == -EPERM ? -EACCES : r;
	if (!r && !capable(CAP_SYS_NICE)) {
		uspace_put(u);
		r = -EPERM;
	}
	if (!r) {
		s64 done = 0;
		for (u64 i = 0; i < count && !r; i++) {
			r = quire_madvise(u->mm, v[i].base, v[i].len, advice);
			if (!r)
				done += (s64)v[i].len;
		}
		uspace_put(u);
		r = done ? done : r;
	}
	quire_kfree(v);
	return r;
}

/* Do all processes that use this address space end? */
static bool all_end(struct uspace *u)
{
	struct process *p;
	struct task *t;
	bool all = true;

	spin_lock(&tree_lock);
	list_for_each (p, &all_processes, all)
		list_for_each (t, &p->threads, thread)
			if (t->uspace == u && !p->group_exit)
				all = false;
	spin_unlock(&tree_lock);
	return all;
}

/* The pages go now that the process itself would free at its end, whenever that is. */
SYSCALL2(process_mrelease, int, pidfd, u32, flags)
{
	u32 pid;

	if (flags)
		return -EINVAL;
	int err = pidfd_pid(pidfd, &pid);
	if (err)
		return err;
	struct task *t = task_find(pid);
	struct uspace *u = t ? task_uspace_get(t) : NULL;
	if (t)
		task_put(t);
	if (!u)
		return -ESRCH;
	err = all_end(u) ? quire_mm_reap(u->mm, true) : -EINVAL;
	uspace_put(u);
	return err;
}
