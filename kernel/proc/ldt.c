/* SPDX-License-Identifier: MIT */
/*
 * modify_ldt(2): the descriptors a program makes for segments of its own.
 *
 * A table belongs to an address space: threads share it, a fork copies it, exec starts
 * without.  A change makes a new table, which all CPUs that run the address space have
 * loaded before the old one goes (mem/tlb.c).  What is in a program's segment registers is
 * arch/segment.c's.
 *
 * Locks: ldt_lock of the address space, held while its table is read or replaced.
 */
#include "internal.h"

#define LDT_ENTRIES 8192u
#define DEFAULT_LDT_SIZE 128u

struct user_desc_k {
	u32 number, base, limit, flags;
};
#define UD_32BIT (1u << 0)
#define UD_CONTENTS(f) ((f) >> 1 & 3) /* data, data that expands down, code, conforming code */
#define UD_READ_EXEC_ONLY (1u << 3)
#define UD_LIMIT_IN_PAGES (1u << 4)
#define UD_NOT_PRESENT (1u << 5)
#define UD_USEABLE (1u << 6)
#define UD_ALL 0x7fu /* without what says 64-bit, which nothing heeds */
#define UD_EMPTY (UD_READ_EXEC_ONLY | UD_NOT_PRESENT)

static struct ldt *ldt_alloc(u32 count)
{
	struct ldt *l = quire_kmalloc(sizeof(*l), GFP_KERNEL);
	if (!l)
		return NULL;
	l->count = count;
	l->entry = quire_kmalloc(count * sizeof(u64), GFP_KERNEL | GFP_ZERO);
	if (!l->entry) {
		quire_kfree(l);
		return NULL;
	}
	return l;
}

void ldt_free(struct ldt *l)
{
	if (!l)
		return;
	quire_kfree(l->entry);
	quire_kfree(l);
}

/* A table of at least count entries that begins with what `from` has. */
static struct ldt *ldt_extend(const struct ldt *from, u32 count)
{
	struct ldt *l = ldt_alloc(quire_max(count, from ? from->count : 0));
	if (l && from)
		memcpy(l->entry, from->entry, from->count * sizeof(u64));
	return l;
}

int ldt_copy(struct uspace *to, struct uspace *from)
{
	int err = 0;
	mutex_lock(&from->ldt_lock);
	if (from->ldt) {
		to->ldt = ldt_extend(from->ldt, 0);
		err = to->ldt ? 0 : -ENOMEM;
	}
	mutex_unlock(&from->ldt_lock);
	return err;
}

u64 user_linear_ip(struct task *t)
{
	const struct regs *r = task_regs(t);
	struct uspace *u = t->uspace;
	u64 addr = ~0UL;
	if (!(r->cs & SELECTOR_LDT))
		return r->rip;
	mutex_lock(&u->ldt_lock);
	u32 index = (u32)(r->cs & 0xffff) >> 3;
	if (u->ldt && index < u->ldt->count) {
		u64 d = u->ldt->entry[index];
		addr = (d >> 54 & 1 ? r->rip : r->rip & 0xffff) + descriptor_base(d);
	}
	mutex_unlock(&u->ldt_lock);
	return addr;
}

/* ---- modify_ldt --------------------------------------------------------------------------- */

static long read_ldt(struct uspace *u, u64 ptr, u64 bytes)
{
	long got = 0;
	bytes = quire_min(bytes, LDT_ENTRIES * sizeof(u64));
	mutex_lock(&u->ldt_lock);
	if (u->ldt) {
		u64 n = quire_min(bytes, u->ldt->count * sizeof(u64));
		got = (long)bytes;
		if ((n && copy_to_user(ptr, u->ldt->entry, n)) ||
		    clear_user_partial(ptr + n, bytes - n) != bytes - n)
			got = -EFAULT;
	}
	mutex_unlock(&u->ldt_lock);
	return got;
}

static long read_default_ldt(u64 ptr, u64 bytes)
{
	bytes = quire_min(bytes, (u64)DEFAULT_LDT_SIZE);
	return clear_user_partial(ptr, bytes) == bytes ? (long)bytes : -EFAULT;
}

/* As the CPU has it: for user mode, marked as accessed so that it never has to do so. */
static u64 make_descriptor(const struct user_desc_k *d)
{
	u64 type = UD_CONTENTS(d->flags) << 2 | (d->flags & UD_READ_EXEC_ONLY ? 0 : 2) | 1;
	u64 access = type | 1 << 4 | 3 << 5 | (d->flags & UD_NOT_PRESENT ? 0 : 1 << 7);
	u64 flags = (d->flags & UD_USEABLE ? 1 : 0) | (d->flags & UD_32BIT ? 4 : 0) |
		    (d->flags & UD_LIMIT_IN_PAGES ? 8 : 0);
	return (d->limit & 0xffff) | (u64)(d->base & 0xffffff) << 16 | access << 40 |
	       (u64)(d->limit >> 16 & 0xf) << 48 | flags << 52 | (u64)(d->base >> 24) << 56;
}

static long set_entry(struct uspace *u, u32 number, u64 descriptor)
{
	mutex_lock(&u->ldt_lock);
	struct ldt *old = u->ldt, *new = ldt_extend(old, number + 1);
	if (new) {
		new->entry[number] = descriptor;
		__atomic_store_n(&u->ldt, new, __ATOMIC_SEQ_CST);
		uspace_ldt_changed(u);
		ldt_free(old);
	}
	mutex_unlock(&u->ldt_lock);
	return new ? 0 : -ENOMEM;
}

/* The old way knows no present segments of conforming code, takes a segment at 0 of no
 * length as none, and has no bit that is the program's own. */
static long write_ldt(struct uspace *u, u64 ptr, u64 bytes, bool old)
{
	struct user_desc_k d;
	if (bytes != sizeof(d))
		return -EINVAL;
	if (copy_from_user(&d, ptr, sizeof(d)))
		return -EFAULT;
	if (d.number >= LDT_ENTRIES)
		return -EINVAL;
	if (UD_CONTENTS(d.flags) == 3 && (old || !(d.flags & UD_NOT_PRESENT)))
		return -EINVAL;
	bool none = !d.base && !d.limit && (old || (d.flags & UD_ALL) == UD_EMPTY);
	if (old)
		d.flags &= ~UD_USEABLE;
	return set_entry(u, d.number, none ? 0 : make_descriptor(&d));
}

SYSCALL3(modify_ldt, int, func, u64, ptr, u64, bytes)
{
	struct uspace *u = current()->uspace;
	long ret = -ENOSYS;
	switch (func) {
	case 0:
		ret = read_ldt(u, ptr, bytes);
		break;
	case 1:
		ret = write_ldt(u, ptr, bytes, true);
		break;
	case 2:
		ret = read_default_ldt(ptr, bytes);
		break;
	case 0x11:
		ret = write_ldt(u, ptr, bytes, false);
		break;
	}
	return (u32)ret; /* Linux's result is an int here, in a register whose upper half is 0 */
}
