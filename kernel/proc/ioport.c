/* SPDX-License-Identifier: MIT */
/*
 * ioperm(2) and iopl(2): a thread's permission to use I/O ports itself.
 *
 * A thread has the set of ports that ioperm gave it, or, at level 3, all.  A set never
 * changes: threads that began with the same one share it until they ask for something else.
 * The CPU looks it up in its TSS, where it is copied when such a thread comes (sched/).  The
 * processor's own privilege level stays 0: CLI and STI do nothing at level 3.
 *
 * No locks: a thread's are its own.
 */
#include "internal.h"

#include "../arch/uaccess.h"

struct ioports {
	s32 refs; /* atomic: threads */
	u8 denied[IO_PORTS / 8];
};

static u8 all_ports[IO_PORTS / 8]; /* nothing denied */

static void ports_put(struct ioports *p)
{
	if (p && !__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL))
		quire_kfree(p);
}

static const u8 *denied_to(const struct task *t)
{
	if (t->iopl == 3)
		return all_ports;
	return t->ioports ? t->ioports->denied : NULL;
}

/* current's rights have changed. */
static void take_effect(void)
{
	struct task *t = current();
	unsigned long irq = quire_host_irq_save();
	t->ports_denied = denied_to(t);
	ports_load(t->ports_denied);
	quire_host_irq_restore(irq);
}

void ioports_share(struct task *t)
{
	const struct task *me = current();
	t->iopl = me->iopl;
	t->ioports = me->ioports;
	if (t->ioports)
		__atomic_add_fetch(&t->ioports->refs, 1, __ATOMIC_RELAXED);
	t->ports_denied = denied_to(t);
}

void ioports_release(struct task *t)
{
	struct ioports *old = t->ioports;
	if (!t->ports_denied && !old)
		return;
	t->iopl = 0;
	t->ioports = NULL;
	if (t == current())
		take_effect();
	else
		t->ports_denied = NULL;
	ports_put(old);
}

bool ioports_emulate(struct regs *r)
{
	u8 code;
	if (current()->iopl != 3 || copy_from_user(&code, user_linear_ip(current()), 1))
		return false;
	if (code != 0xfa && code != 0xfb) /* CLI, STI */
		return false;
	r->rip++;
	return true;
}

SYSCALL3(ioperm, u64, from, u64, num, int, on)
{
	struct task *t = current();
	struct ioports *old = t->ioports, *new;
	u8 some = 0;
	if (from + num <= from || from + num > IO_PORTS)
		return -EINVAL;
	if (on && !capable(CAP_SYS_RAWIO))
		return -EPERM;
	if (!old && !on)
		return 0;
	new = quire_kmalloc(sizeof(*new), GFP_KERNEL);
	if (!new)
		return -ENOMEM;
	new->refs = 1;
	if (old)
		memcpy(new->denied, old->denied, sizeof(new->denied));
	else
		memset(new->denied, 0xff, sizeof(new->denied));
	for (u64 port = from; port < from + num; port++) {
		u8 bit = (u8)(1u << port % 8);
		new->denied[port / 8] =
		    on ? new->denied[port / 8] & (u8)~bit : new->denied[port / 8] | bit;
	}
	for (unsigned i = 0; i < sizeof(new->denied); i++)
		some |= (u8) ~new->denied[i];
	if (!some) {
		quire_kfree(new);
		new = NULL;
	}
	t->ioports = new;
	take_effect();
	ports_put(old);
	return 0;
}

SYSCALL1(iopl, u32, level)
{
	struct task *t = current();
	if (level > 3)
		return -EINVAL;
	if (level > t->iopl && !capable(CAP_SYS_RAWIO))
		return -EPERM;
	t->iopl = (u8)level;
	take_effect();
	return 0;
}
