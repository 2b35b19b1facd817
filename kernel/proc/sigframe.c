/* SPDX-License-Identifier: MIT */
/*
 * The frame that a signal handler runs on, as Linux lays it out on x86-64, and
 * the way back from it.
 *
 * From high to low addresses: the extended state (XSAVE area, 64-aligned, with
 * the magic words by which programs know its size), then pretcode, ucontext,
 * siginfo, so that at the handler's first instruction rsp % 16 == 8.
 *
 * Everything read back in rt_sigreturn is the program's to forge: flags are masked, CS and
 * SS are made user mode's, where IRET refuses what isn't there (arch/traps.c), the XSAVE
 * area is checked by arch/fpu.c.
 */
#include "internal.h"

struct sigcontext_k {
	u64 r8, r9, r10, r11, r12, r13, r14, r15;
	u64 di, si, bp, bx, dx, ax, cx, sp, ip, flags;
	u16 cs, gs, fs, ss;
	u64 err, trapno, oldmask, cr2, fpstate, reserved[8];
};
_Static_assert(sizeof(struct sigcontext_k) == 256, "struct sigcontext");
struct stack_k {
	u64 sp;
	u32 flags, pad;
	u64 size;
};
struct ucontext_k {
	u64 flags, link;
	struct stack_k stack;
	struct sigcontext_k mc;
	u64 sigmask;
};
struct sigframe {
	u64 pretcode;
	struct ucontext_k uc;
	struct siginfo info;
};

#define UC_FP_XSTATE 1u
#define UC_SIGCONTEXT_SS 2u
#define UC_STRICT_RESTORE_SS 4u
#define FX_SIZE 512u
#define FX_SW_OFFSET 464u /* of the bytes that software may use */
#define FP_MAGIC1 0x46505853u
#define FP_MAGIC2 0x46505845u
#define XSTATE_BV_OFFSET 512u
#define XSAVE_HEADER 64u
#define XSTATE_PKRU (1UL << 9)
#define FLAGS_FROM_USER \
	(RFLAGS_AC | RFLAGS_DF | RFLAGS_TF | 0x800 | 0x80 | 0x40 | 0x10 | 0x4 | 0x1 | 0x10000)
#define RED_ZONE 128u

struct fx_sw { /* at FX_SW_OFFSET */
	u32 magic1, extended_size;
	u64 xfeatures;
	u32 xstate_size, pad[7];
};

static struct quire_kmem *xsave_cache;

void sigframe_init(void)
{
	xsave_cache = quire_kmem_create("sigxsave", quire_round_up(fpu_size(), 64UL), 64);
}

static size_t fp_frame_size(void)
{
	return fpu_user_size() + (fpu_features() ? sizeof(u32) : 0);
}

size_t sigframe_size(void)
{
	return sizeof(struct sigframe) + 8 + fp_frame_size() + 64 + RED_ZONE;
}

/* ---- setting up --------------------------------------------------------------------------- */

static bool on_altstack(const struct task *t, u64 sp)
{
	return !(t->altstack_flags & SS_AUTODISARM) && sp > t->altstack_sp &&
	       sp - t->altstack_sp <= t->altstack_size;
}

/* The parts between the task's area and PKRU aren't there, and nothing is written there. */
static int put_xsave(u64 at)
{
	char *x = quire_kmem_alloc(xsave_cache, GFP_KERNEL);
	if (!x)
		return -EFAULT;
	memset(x, 0, fpu_size());
	fpu_save_to(x);
	int err = 0;
	if (fpu_features()) {
		struct fx_sw *sw = (struct fx_sw *)(x + FX_SW_OFFSET);
		memset(sw, 0, sizeof(*sw));
		sw->magic1 = FP_MAGIC1;
		sw->extended_size = (u32)fp_frame_size();
		sw->xfeatures = fpu_features();
		sw->xstate_size = (u32)fpu_user_size();
		err = put_user_u32(at + fpu_user_size(), FP_MAGIC2);
	}
	if (!err && fpu_pkru_offset()) {
		*(u64 *)(x + XSTATE_BV_OFFSET) |= XSTATE_PKRU;
		err = put_user_u64(at + fpu_pkru_offset(), pkru_read());
	}
	if (!err)
		err = copy_to_user(at, x, fpu_size());
	quire_kmem_free(xsave_cache, x);
	return err;
}

static void fill_context(struct sigcontext_k *c, const struct regs *r, const struct task *t)
{
	*c = (struct sigcontext_k){
	    .r8 = r->r8,
	    .r9 = r->r9,
	    .r10 = r->r10,
	    .r11 = r->r11,
	    .r12 = r->r12,
	    .r13 = r->r13,
	    .r14 = r->r14,
	    .r15 = r->r15,
	    .di = r->rdi,
	    .si = r->rsi,
	    .bp = r->rbp,
	    .bx = r->rbx,
	    .dx = r->rdx,
	    .ax = r->rax,
	    .cx = r->rcx,
	    .sp = r->rsp,
	    .ip = r->rip,
	    .flags = r->rflags,
	    .cs = (u16)r->cs,
	    .ss = (u16)r->ss,
	    .err = t->trap_err,
	    .trapno = t->trap_nr,
	    .cr2 = t->trap_addr,
	};
}

/* In 64-bit code any stack segment does, but it must be one.  A program's own stays: some
 * look at what SS was where the signal struck. */
static void make_ss_valid(struct regs *r)
{
	if (r->ss != USER_SS && !selector_fits_ss((u16)r->ss))
		r->ss = USER_SS;
}

int signal_frame(struct regs *r, int sig, const struct siginfo *info, const struct sigaction_k *act,
		 u64 mask)
{
	struct task *t = current();
	struct sigframe f;
	u64 sp = r->rsp - RED_ZONE;
	bool nested = on_altstack(t, r->rsp), entering = false;
	if (!(act->flags & SA_RESTORER))
		return -EFAULT;
	if ((act->flags & SA_ONSTACK) && t->altstack_size && !nested) {
		sp = t->altstack_sp + t->altstack_size;
		entering = true;
	}
	u64 fp = quire_round_down(sp - fp_frame_size(), 64UL);
	u64 at = quire_round_down(fp - sizeof(f), 16UL) - 8;
	if ((nested || entering) && (at < t->altstack_sp || at > sp))
		return -EFAULT;
	if (put_xsave(fp))
		return -EFAULT;

	memset(&f, 0, sizeof(f));
	f.pretcode = act->restorer;
	f.uc.flags = UC_SIGCONTEXT_SS | (fpu_features() ? UC_FP_XSTATE : 0);
	if (r->cs == USER_CS)
		f.uc.flags |= UC_STRICT_RESTORE_SS;
	f.uc.stack.sp = t->altstack_sp;
	f.uc.stack.size = t->altstack_size;
	f.uc.stack.flags = t->altstack_flags & SS_AUTODISARM;
	if (!t->altstack_size)
		f.uc.stack.flags |= SS_DISABLE;
	else if (nested)
		f.uc.stack.flags |= SS_ONSTACK;
	fill_context(&f.uc.mc, r, t);
	f.uc.mc.oldmask = mask;
	f.uc.mc.fpstate = fp;
	f.uc.sigmask = mask;
	f.info = *info;
	if (copy_to_user(at, &f, sizeof(f)))
		return -EFAULT;
	if (t->altstack_flags & SS_AUTODISARM) {
		t->altstack_sp = t->altstack_size = 0;
		t->altstack_flags = 0;
	}
	/* A handler starts with clean registers; an exception that is pending in the x87's
	 * would otherwise strike again in it. */
	fpu_reset();
	r->rdi = (u64)sig;
	r->rsi = at + offsetof(struct sigframe, info);
	r->rdx = at + offsetof(struct sigframe, uc);
	r->rax = 0;
	r->rsp = at;
	r->rip = act->handler;
	r->rflags &= ~(RFLAGS_DF | RFLAGS_TF | 0x10000UL);
	r->cs = USER_CS;
	make_ss_valid(r);
	r->orig_rax = ~0UL;
	return 0;
}

/* ---- the way back --------------------------------------------------------------------------- */

/* How much of the area at addr is an XSAVE area of ours (0: only the legacy part). */
static size_t xsave_there(const struct fx_sw *sw, u64 addr)
{
	u32 magic2;
	if (!fpu_features() || sw->magic1 != FP_MAGIC1 ||
	    sw->xstate_size < FX_SIZE + XSAVE_HEADER || sw->xstate_size > fpu_user_size() ||
	    sw->xstate_size > sw->extended_size)
		return 0;
	if (get_user_u32(&magic2, addr + sw->xstate_size) || magic2 != FP_MAGIC2)
		return 0;
	return quire_min(sw->xstate_size, fpu_size());
}

/* The area at addr into x, as far as it has parts of a task's area; its PKRU. */
static int read_xsave(char *x, u64 addr, u64 *pkru)
{
	struct fx_sw sw;
	u64 bv = 3; /* x87 and SSE */
	int err = copy_from_user(x, addr, FX_SIZE);
	if (err)
		return err;
	*pkru = 0; /* what XRSTOR makes of it when it isn't there */
	memcpy(&sw, x + FX_SW_OFFSET, sizeof(sw));
	size_t n = xsave_there(&sw, addr);
	if (n < fpu_size()) {
		size_t from = quire_max(n, (size_t)FX_SIZE);
		memset(x + from, 0, fpu_size() - from);
	}
	if (n > FX_SIZE) {
		err = copy_from_user(x + FX_SIZE, addr + FX_SIZE, n - FX_SIZE);
		memcpy(&bv, x + XSTATE_BV_OFFSET, sizeof(bv));
		bv &= sw.xfeatures & fpu_features();
	}
	if (!err && (bv & XSTATE_PKRU))
		err = get_user_u64(pkru, addr + fpu_pkru_offset());
	bv &= ~XSTATE_PKRU;
	if (fpu_features())
		memcpy(x + XSTATE_BV_OFFSET, &bv, sizeof(bv));
	memset(x + FX_SW_OFFSET, 0, sizeof(sw));
	return err;
}

static int get_xsave(u64 addr)
{
	if (!addr) {
		fpu_reset();
		return 0;
	}
	char *x = quire_kmem_alloc(xsave_cache, GFP_KERNEL);
	if (!x)
		return -EFAULT;
	u64 pkru;
	int err = read_xsave(x, addr, &pkru);
	if (!err)
		err = fpu_restore_from(x, (u32)pkru);
	if (err)
		fpu_reset();
	quire_kmem_free(xsave_cache, x);
	return err;
}

/* The frame's flags say whether the program knows that SS comes back as it is there: if it
 * returns to 64-bit code otherwise, an impossible SS is mended. */
static void take_context(struct regs *r, const struct sigcontext_k *c, u64 uc_flags)
{
	r->r8 = c->r8;
	r->r9 = c->r9;
	r->r10 = c->r10;
	r->r11 = c->r11;
	r->r12 = c->r12;
	r->r13 = c->r13;
	r->r14 = c->r14;
	r->r15 = c->r15;
	r->rdi = c->di;
	r->rsi = c->si;
	r->rbp = c->bp;
	r->rbx = c->bx;
	r->rdx = c->dx;
	r->rax = c->ax;
	r->rcx = c->cx;
	r->rsp = c->sp;
	r->rip = c->ip;
	r->rflags = (r->rflags & ~FLAGS_FROM_USER) | (c->flags & FLAGS_FROM_USER) | RFLAGS_IF;
	r->cs = c->cs | 3;
	r->ss = c->ss | 3;
	if (!(uc_flags & UC_STRICT_RESTORE_SS) && r->cs == USER_CS)
		make_ss_valid(r);
	r->orig_rax = ~0UL; /* not a system call: nothing to restart */
}

static int altstack_set(struct task *t, const struct stack_k *s, u64 rsp)
{
	u32 mode = s->flags & ~SS_AUTODISARM;
	if (on_altstack(t, rsp))
		return -EPERM;
	if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0)
		return -EINVAL;
	if (mode == SS_DISABLE) {
		t->altstack_sp = t->altstack_size = 0;
	} else {
		if (s->size < 2048)
			return -ENOMEM;
		t->altstack_sp = s->sp;
		t->altstack_size = s->size;
	}
	t->altstack_flags = s->flags & SS_AUTODISARM;
	return 0;
}

SYSCALL0(rt_sigreturn)
{
	struct task *t = current();
	struct ucontext_k uc;
	/* The return from the handler popped pretcode. */
	u64 at = regs->rsp - sizeof(u64);
	if (copy_from_user(&uc, at + offsetof(struct sigframe, uc), sizeof(uc)))
		goto bad;
	set_blocked(uc.sigmask);
	take_context(regs, &uc.mc, uc.flags);
	if (get_xsave(uc.mc.fpstate))
		goto bad;
	/* With the rights that have just come back, as Linux reads it. */
	if (fpu_pkru_offset() &&
	    copy_from_user(&uc.stack,
			   at + offsetof(struct sigframe, uc) + offsetof(struct ucontext_k, stack),
			   sizeof(uc.stack)))
		goto bad;
	altstack_set(t, &uc.stack, regs->rsp);
	return (long)regs->rax;
bad:
	force_signal(SIGSEGV, &(struct siginfo){.si_signo = SIGSEGV, .si_code = SI_KERNEL});
	return 0;
}

SYSCALL2(sigaltstack, u64, unew, u64, uold)
{
	struct task *t = current();
	struct stack_k old = {.sp = t->altstack_sp, .size = t->altstack_size}, new;
	old.flags = t->altstack_flags;
	if (!t->altstack_size)
		old.flags |= SS_DISABLE;
	else if (on_altstack(t, regs->rsp))
		old.flags |= SS_ONSTACK;
	if (unew) {
		if (copy_from_user(&new, unew, sizeof(new)))
			return -EFAULT;
		int err = altstack_set(t, &new, regs->rsp);
		if (err)
			return err;
	}
	return uold ? copy_to_user(uold, &old, sizeof(old)) : 0;
}
