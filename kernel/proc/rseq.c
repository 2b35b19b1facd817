/* SPDX-License-Identifier: MIT */
/*
 * Restartable sequences: a thread tells where its struct rseq is; the kernel keeps
 * the CPU's number there, and when it preempts or interrupts the thread inside a
 * critical section sends it to the section's abort handler.
 *
 * The scheduler sets TASK_WORK_RSEQ when it switches away from a task that has one;
 * the area is written on the way to user mode, where faults are fine.  No locks.
 */
#include "internal.h"

#define RSEQ_SIZE 32u
#define RSEQ_CPU_UNINITIALIZED 0xffffffffu
#define RSEQ_UNREGISTER 1u

struct rseq_k {
	u32 cpu_id_start, cpu_id;
	u64 rseq_cs;
	u32 flags, node_id, mm_cid, pad;
};
struct rseq_cs_k {
	u32 version, flags;
	u64 start_ip, post_commit_offset, abort_ip;
};

/* In a critical section: leave it.  0 or -EFAULT for what is malformed. */
static int leave_section(struct task *t, struct regs *r)
{
	struct rseq_cs_k cs;
	u64 ucs;
	u32 sig;
	if (get_user_u64(&ucs, t->rseq + offsetof(struct rseq_k, rseq_cs)))
		return -EFAULT;
	if (!ucs)
		return 0;
	if (copy_from_user(&cs, ucs, sizeof(cs)))
		return -EFAULT;
	if (cs.version || cs.start_ip >= QUIRE_USER_END || cs.abort_ip >= QUIRE_USER_END ||
	    cs.start_ip + cs.post_commit_offset < cs.start_ip ||
	    cs.abort_ip - cs.start_ip < cs.post_commit_offset)
		return -EFAULT;
	bool inside = r->rip - cs.start_ip < cs.post_commit_offset;
	if (inside && (get_user_u32(&sig, cs.abort_ip - sizeof(u32)) || sig != t->rseq_sig))
		return -EFAULT;
	if (put_user_u64(t->rseq + offsetof(struct rseq_k, rseq_cs), 0))
		return -EFAULT;
	if (inside)
		r->rip = cs.abort_ip;
	return 0;
}

static void bad_area(void)
{
	force_signal(SIGSEGV, &(struct siginfo){.si_signo = SIGSEGV, .si_code = SI_KERNEL});
}

int rseq_abort(struct regs *r)
{
	struct task *t = current();
	if (!t->rseq)
		return 0;
	int err = leave_section(t, r);
	if (err)
		bad_area();
	return err;
}

void rseq_resume(struct regs *r)
{
	struct task *t = current();
	if (!t->rseq || rseq_abort(r))
		return;
	u32 cpu = this_cpu()->cpu;
	u32 ids[2] = {cpu, cpu};
	if (copy_to_user(t->rseq, ids, sizeof(ids)))
		bad_area();
}

SYSCALL4(rseq, u64, uarea, u32, len, u32, flags, u32, sig)
{
	struct task *t = current();
	if (flags & RSEQ_UNREGISTER) {
		u32 ids[2] = {0, RSEQ_CPU_UNINITIALIZED};
		if (flags != RSEQ_UNREGISTER || !t->rseq || uarea != t->rseq || len != t->rseq_len)
			return -EINVAL;
		if (sig != t->rseq_sig)
			return -EPERM;
		if (copy_to_user(uarea, ids, sizeof(ids)))
			return -EFAULT;
		t->rseq = 0;
		return 0;
	}
	if (flags)
		return -EINVAL;
	if (t->rseq) {
		if (t->rseq != uarea || t->rseq_len != len)
			return -EINVAL;
		return sig == t->rseq_sig ? -EBUSY : -EPERM;
	}
	if (len != RSEQ_SIZE || uarea % RSEQ_SIZE)
		return -EINVAL;
	if (uarea >= QUIRE_USER_END)
		return -EFAULT;
	t->rseq = uarea;
	t->rseq_len = len;
	t->rseq_sig = sig;
	/* The CPU's number is written before the call returns. */
	task_flag_set(t, TASK_WORK_RSEQ);
	return 0;
}
