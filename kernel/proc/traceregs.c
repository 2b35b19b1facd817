/* SPDX-License-Identifier: MIT */
/*
 * The registers of a traced task that is stopped, as ptrace(2) shows and takes them:
 * Linux's struct user, and the sets NT_PRSTATUS, NT_PRFPREG and NT_X86_XSTATE.
 *
 * The task doesn't run and can't be woken (ptrace.c froze it), so that what is saved of
 * it is all there is.  No locks.
 *
 * A selector that names no segment becomes 0 when the task goes on; one in CS or SS gives
 * it a signal then.  The debug registers are there but no breakpoint can be had: setting one gives
 * ENOSPC.
 */
#include "trace.h"

enum { ORIG_RAX = 15, RIP, CS, FLAGS, RSP, SS, FS_BASE, GS_BASE, DS, NR_REGS = 27 };
#define USER_SIZE 928u /* struct user: the registers, ..., u_debugreg[8], two words more */
#define USER_DEBUGREG 848u
#define FXSAVE_SIZE 512u
#define FX_SOFTWARE 464u /* in the FXSAVE image: 48 bytes that are software's */
#define FX_PADDING 416u
#define XFEATURE_PKRU (1UL << 9)

#define NT_PRSTATUS 1
#define NT_PRFPREG 2
#define NT_X86_XSTATE 0x202

#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003
#define ARCH_GET_GS 0x1004

/* CF, PF, AF, ZF, SF, TF, DF, OF, RF, AC */
#define FLAGS_TO_SET (0x1UL | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x800 | 0x10000 | 0x40000)

_Static_assert(sizeof(struct regs) == FS_BASE * sizeof(u64), "struct regs begins struct user");

void trace_regs_get(struct task *t, u64 regs[NR_REGS])
{
	memset(regs, 0, USER_REGS_SIZE);
	memcpy(regs, task_regs(t), sizeof(struct regs));
	if (t->trace.forced_tf)
		regs[FLAGS] &= ~RFLAGS_TF;
	regs[FS_BASE] = t->fs_base;
	regs[GS_BASE] = t->gs_base;
	for (unsigned i = 0; i < 4; i++)
		regs[DS + i] = t->selectors.sel[i];
}

static int set_selector(u64 *reg, u16 v)
{
	if (!v || (v & 3) != 3)
		return -EIO;
	*reg = v;
	return 0;
}

int trace_reg_set(struct task *t, unsigned n, u64 v)
{
	struct regs *r = task_regs(t);
	switch (n) {
	case CS:
		return set_selector(&r->cs, (u16)v);
	case SS:
		return set_selector(&r->ss, (u16)v);
	case FLAGS:
		if (v & RFLAGS_TF)
			t->trace.forced_tf = false;
		else if (t->trace.forced_tf)
			v |= RFLAGS_TF;
		r->rflags = (r->rflags & ~FLAGS_TO_SET) | (v & FLAGS_TO_SET);
		return 0;
	case FS_BASE:
	case GS_BASE:
		if (v >= QUIRE_USER_END)
			return -EIO;
		*(n == FS_BASE ? &t->fs_base : &t->gs_base) = v;
		return 0;
	case DS ... NR_REGS - 1:
		if ((u16)v && (v & 3) != 3)
			return -EIO;
		t->selectors.sel[n - DS] = (u16)v;
		return 0;
	default:
		((u64 *)r)[n] = v;
		return 0;
	}
}

/* ---- struct user ------------------------------------------------------------------------ */

long trace_peek_user(struct task *t, u64 offset, u64 udata)
{
	u64 regs[NR_REGS];
	if ((offset & 7) || offset >= USER_SIZE)
		return -EIO;
	trace_regs_get(t, regs);
	return put_user_u64(udata, offset < sizeof(regs) ? regs[offset / 8] : 0);
}

long trace_poke_user(struct task *t, u64 offset, u64 v)
{
	if ((offset & 7) || offset >= USER_SIZE)
		return -EIO;
	if (offset < USER_REGS_SIZE)
		return trace_reg_set(t, (unsigned)(offset / 8), v);
	if (offset < USER_DEBUGREG || offset >= USER_DEBUGREG + 8 * 8)
		return -EIO;
	u64 n = (offset - USER_DEBUGREG) / 8;
	if (n == 4 || n == 5)
		return -EIO;
	return v && n != 6 ? -ENOSPC : 0;
}

long trace_regs_to_user(struct task *t, u64 udata)
{
	u64 regs[NR_REGS];
	trace_regs_get(t, regs);
	return copy_to_user(udata, regs, sizeof(regs));
}

static long regs_from_user(struct task *t, u64 udata, size_t bytes)
{
	long err = 0;
	u64 v;
	for (unsigned i = 0; !err && i < bytes / 8; i++) {
		err = get_user_u64(&v, udata + i * 8);
		if (!err)
			err = trace_reg_set(t, i, v);
	}
	return err;
}

long trace_regs_from_user(struct task *t, u64 udata)
{
	return regs_from_user(t, udata, USER_REGS_SIZE);
}

/* ---- floating point and vectors ----------------------------------------------------------- */

static void *image_alloc(void)
{
	return quire_kmalloc(fpu_user_size(), GFP_KERNEL | GFP_ZERO);
}

static long xstate_to_user(struct task *t, u64 udata, size_t bytes)
{
	char *x = image_alloc();
	if (!x)
		return -ENOMEM;
	fpu_image(t, x);
	memset(x + FX_PADDING, 0, FXSAVE_SIZE - FX_PADDING);
	u64 features = fpu_features();
	if (bytes > FXSAVE_SIZE)
		memcpy(x + FX_SOFTWARE, &features, sizeof(features));
	if (fpu_pkru_offset()) {
		u64 *used = (u64 *)(x + FXSAVE_SIZE);
		*used |= XFEATURE_PKRU;
		memcpy(x + fpu_pkru_offset(), &t->pkru, sizeof(t->pkru));
	}
	long err = copy_to_user(udata, x, bytes);
	quire_kfree(x);
	return err;
}

static long xstate_from_user(struct task *t, u64 udata, size_t bytes)
{
	char *x = image_alloc();
	if (!x)
		return -ENOMEM;
	long err = copy_from_user(x, udata, bytes);
	bool with_pkru = fpu_pkru_offset() && bytes > FXSAVE_SIZE;
	u64 *used = (u64 *)(x + FXSAVE_SIZE);
	u32 pkru = 0;
	if (!err && with_pkru && (*used & XFEATURE_PKRU)) {
		memcpy(&pkru, x + fpu_pkru_offset(), sizeof(pkru));
		*used &= ~XFEATURE_PKRU;
	}
	if (!err)
		err = fpu_image_set(t, x, quire_min(bytes, fpu_size()));
	if (!err && with_pkru)
		t->pkru = pkru;
	quire_kfree(x);
	return err;
}

long trace_fpregs_to_user(struct task *t, u64 udata)
{
	return xstate_to_user(t, udata, FXSAVE_SIZE);
}

long trace_fpregs_from_user(struct task *t, u64 udata)
{
	return xstate_from_user(t, udata, FXSAVE_SIZE);
}

/* ---- sets by name ------------------------------------------------------------------------- */

long trace_regset(struct task *t, u64 type, u64 uiov, bool set)
{
	struct iovec iov;
	size_t size;
	long err;
	if (copy_from_user(&iov, uiov, sizeof(iov)))
		return -EFAULT;
	switch (type) {
	case NT_PRSTATUS:
		size = USER_REGS_SIZE;
		break;
	case NT_PRFPREG:
		size = FXSAVE_SIZE;
		break;
	case NT_X86_XSTATE:
		size = fpu_user_size();
		break;
	default:
		return -EINVAL;
	}
	if (iov.len % 8)
		return -EINVAL;
	iov.len = quire_min(iov.len, size);
	if (type == NT_PRSTATUS && set) {
		err = regs_from_user(t, iov.base, iov.len);
	} else if (type == NT_PRSTATUS) {
		u64 regs[NR_REGS];
		trace_regs_get(t, regs);
		err = copy_to_user(iov.base, regs, iov.len);
	} else if (!set) {
		err = xstate_to_user(t, iov.base, iov.len);
	} else if (iov.len != size) {
		err = type == NT_PRFPREG ? -EINVAL : -EFAULT; /* no parts of it */
	} else {
		err = xstate_from_user(t, iov.base, size);
	}
	return err ? err : put_user_u64(uiov + offsetof(struct iovec, len), iov.len);
}

long trace_arch_prctl(struct task *t, u64 option, u64 addr)
{
	switch (option) {
	case ARCH_SET_FS:
	case ARCH_SET_GS:
		if (addr >= QUIRE_USER_END)
			return -EPERM;
		t->selectors.sel[option == ARCH_SET_FS ? SEG_FS : SEG_GS] = 0;
		*(option == ARCH_SET_FS ? &t->fs_base : &t->gs_base) = addr;
		return 0;
	case ARCH_GET_FS:
		return put_user_u64(addr, t->fs_base);
	case ARCH_GET_GS:
		return put_user_u64(addr, t->gs_base);
	}
	return -EINVAL;
}
