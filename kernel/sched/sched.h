/* SPDX-License-Identifier: MIT */
/*
 * Tasks as the scheduler sees them, and waiting.
 *
 * A task is a kernel stack (a lazy area), saved registers and a state.  What a
 * process is (address space, files, signals) hangs on it: proc/proc.h.
 */
#ifndef KERNEL_SCHED_H
#define KERNEL_SCHED_H

#include <quire/list.h>
#include <quire/lock.h>
#include <quire/types.h>

#include "../arch/cpu.h"

#define KSTACK_PAGES 4

enum task_state {
	TASK_RUNNING,         /* runs or waits for a CPU */
	TASK_INTERRUPTIBLE,   /* sleeps; a signal wakes it */
	TASK_UNINTERRUPTIBLE, /* sleeps; only a wake-up does */
	TASK_KILLABLE,        /* sleeps; only a fatal signal wakes it */
	TASK_STOPPED,         /* by SIGSTOP and the like */
	TASK_TRACED,          /* stopped for its tracer */
	TASK_ZOMBIE,          /* exited, not reaped */
	TASK_DEAD,            /* never runs again; to be freed */
};

struct process;
struct uspace;
struct fdtable;
struct fsctx;
struct sighand;
struct cred;

/* Signals that wait for delivery; guarded by process->siglock.  proc/signal.c */
struct sigpending {
	u64 set;           /* bit n - 1: signal n */
	struct list queue; /* what is known about them, oldest first */
};

/* Bits of task->sig_flag: why entry code calls exit_to_user() before user mode. */
#define TASK_SIGPENDING 1u   /* a signal, a stop or the end: see signal_pending() */
#define TASK_WORK_RSEQ 2u    /* was switched away from: bring its rseq area up to date */
#define TASK_WORK_MASK 4u    /* restore sig_saved */
#define TASK_WORK_SETTID 16u /* write set_child_tid */
#define TASK_WORK_EXEC 8u    /* a new process of the kernel's: run its first program */
#define TASK_WORK_RTTIME 64u /* RLIMIT_RTTIME may be used up */
#define TASK_WORK_TRACE 32u  /* the end of a system call is to be reported to the tracer */

struct siginfo;
struct futex_waiter;

#define SCHED_NORMAL 0
#define SCHED_FIFO 1
#define SCHED_RR 2
#define SCHED_BATCH 3
#define SCHED_IDLE 5
#define PRIO_RT 100     /* real-time priorities are below: 99 - rt_prio */
#define PRIO_NORMAL 120 /* of nice 0 */
#define PRIO_IDLE 140
#define RR_SLICE_NS 100000000UL

/* What ptrace(2) knows of a task; proc/trace.c.  The tracer changes under tree_lock and the
 * siglock of the traced one's process: either is enough to read it. */
struct trace {
	struct task *tracer;    /* null: not traced */
	struct list traced;     /* in the tracer's tracees; guarded by tree_lock */
	struct list tracees;    /* whom this task traces; guarded by tree_lock */
	struct siginfo *info;   /* of the stop it is in; null: none.  Guarded by siglock */
	u64 message;            /* of the last event */
	u32 options;            /* PTRACE_O_* */
	u32 code;               /* why it stopped; then the signal to go on with.  siglock */
	bool seized;            /* by PTRACE_SEIZE */
	bool syscalls, emulate; /* stop at system calls; don't carry them out */
	bool step, forced_tf;   /* single steps; the trap flag is the tracer's doing */
};

/* What was read and written: by calls, and from and to the host's files. */
struct io_counts {
	u64 rchar, wchar, syscr, syscw, read_bytes, write_bytes;
};

struct task {
	/* sched/ */
	u64 rsp;    /* saved kernel stack pointer while off the CPU */
	u32 state;  /* enum task_state; changed under rq lock or by the task itself */
	u32 cpu;    /* where it runs or ran last */
	u32 on_cpu; /* its stack is in use: another CPU must not switch to it yet */
	u32 on_rq;
	struct list run; /* in a run queue */
	u64 affinity;    /* CPUs it may use */
	u64 slice_end;   /* ns; while it runs: when its slice is used up */
	s64 budget;      /* ns of its slice that are left, while it doesn't */
	s32 prio;        /* what it runs at, smaller is more: own_prio(), or lent to it */
	s32 nice;
	u32 policy;  /* SCHED_* */
	u32 rt_prio; /* 1 .. 99 for the real-time policies; else 0 */
	bool reset_on_fork;
	u64 kstack;       /* start of the area, KSTACK_PAGES long */
	u64 utime, stime; /* ns */
	u64 time_mark;    /* ns: since when the current stretch runs */
	u64 rt_ran;       /* ns that it ran as a real-time task since it last slept */
	u64 nvcsw, nivcsw;
	u64 start_time; /* ns */
	struct quire_lockset locks;
	void *xsave;               /* fpu.c */
	u32 pkru;                  /* the same, while off the CPU */
	union selectors selectors; /* arch/segment.c; saved while off the CPU */
	u64 fs_base, gs_base;      /* the same */
	const u8 *ports_denied;    /* null: all; proc/ioport.c */
	struct ioports *ioports;   /* by ioperm(2) */
	u8 iopl;
	bool kernel_thread;
	bool idle;
	u8 no_fault; /* user copies fail instead of sleeping, while > 0 */
	s32 refs;    /* atomic: the struct itself */

	/* arch: user registers live at the top of the kernel stack */
	/* proc/: see proc/proc.h */
	u32 tid;
	struct process *process;
	struct uspace *uspace; /* null: kernel thread */
	struct fdtable *files;
	struct fsctx *fs;
	struct sighand *sighand;
	struct cred *cred;
	struct list thread; /* in process->threads */
	struct list hash;   /* by tid */
	char comm[16];
	u64 sig_blocked, sig_saved; /* masks; saved: to restore after sigsuspend, pselect... */
	u64 sig_waiting;            /* signals it waits for in sigtimedwait; guarded by siglock */
	bool restore_sigmask;
	struct sigpending sig_pending; /* sent to this thread alone */
	u32 sig_flag;                  /* TASK_SIGPENDING, TASK_WORK_*; atomic */
	u32 trap_nr, trap_err;         /* of the last fault that gave a signal, for its frame */
	u64 trap_addr;
	u64 altstack_sp, altstack_size;
	u32 altstack_flags;
	u64 clear_child_tid, set_child_tid;
	u64 robust_list;
	u32 futex_exit;       /* enum futex_exit, of proc/futex.h */
	struct list pi_owned; /* proc/futex_pi.c, guarded by its pi_lock: what it holds */
	struct futex_waiter *pi_blocked; /* and where it waits for such a lock */
	u64 rseq, rseq_len;
	u32 rseq_sig;
	u32 exit_code; /* wait status, when exiting */
	u32 exiting;   /* 1: on its way; 2: no longer counts; 3: only its exit code is left */
	u64 min_flt, maj_flt;
	struct io_counts io;
	void *restart; /* restart_syscall(2) calls it: long (*)(struct task *) */
	u64 restart_data[6];
	u32 ioprio; /* of ioprio_set(2); the host does the scheduling */
	u32 pdeath_signal;
	u64 timer_slack;
	struct task *vfork_parent; /* to wake when this one execs or exits */
	u32 vfork_done;
	u64 syscall_nr;    /* running system call, for /proc and logs */
	u32 syscall_limit; /* calls from this number on take the slow way: 0 when traced */
	u32 jobctl;        /* JOB_*, of proc/internal.h; guarded by siglock */
	struct trace trace;
};

/* The user registers of a task that is in the kernel. */
static inline struct regs *task_regs(struct task *t)
{
	return (struct regs *)(t->kstack + KSTACK_PAGES * QUIRE_PAGE_SIZE) - 1;
}

static inline bool prio_real_time(s32 prio)
{
	return prio < PRIO_RT;
}
static inline bool policy_real_time(u32 policy)
{
	return policy == SCHED_FIFO || policy == SCHED_RR;
}
/* The priority by its own settings. */
static inline s32 own_prio(const struct task *t)
{
	return policy_real_time(t->policy) ? PRIO_RT - 1 - (s32)t->rt_prio : PRIO_NORMAL + t->nice;
}

/* Allocate a task with stack and FPU state; state is TASK_UNINTERRUPTIBLE; not yet
 * runnable.  Null: no memory. */
struct task *task_alloc(void);
void task_get(struct task *t);
void task_put(struct task *t); /* the last one frees stack and struct; any context */
void task_cache_drain(void);   /* free what task_put() keeps for the next task_alloc(); sleeps */
/* Make a new task runnable for the first time. */
void task_start(struct task *t);
/* fn runs in a new kernel thread, which ends when fn returns; when fn has given it a
 * user address space and registers (kernel_thread = false), it goes to user mode then. */
struct task *kthread_start(const char *name, void (*fn)(void *), void *arg);

/* Give up the CPU according to current()->state.  Preemption is enabled. */
void schedule(void);
/* preempt_enable() calls it when the depth came to 0 and percpu.resched is set: runs
 * pending soft work and gives the CPU to others; does nothing with interrupts off. */
void preempt_schedule(void);
/* Let others run. */
void sched_yield_cpu(void);
/* Wake t if its state is in the mask (1 << TASK_...).  True when it did.  Any context. */
bool wake_task(struct task *t, u32 state_mask);
#define WAKE_NORMAL (1u << TASK_INTERRUPTIBLE | 1u << TASK_UNINTERRUPTIBLE | 1u << TASK_KILLABLE)
/* The current task is finished (state TASK_ZOMBIE or TASK_DEAD is set by it). */
_Noreturn void schedule_exit(void);
/* Get t to notice something soon if it runs in user mode (an IPI): signals. */
void sched_kick(struct task *t);
void sched_set_affinity(struct task *t, u64 mask);
/* t runs at prio from now on; its policy and nice value are the caller's to set, before. */
void sched_set_prio(struct task *t, s32 prio);
/* Timer tick, from the interrupt. */
void sched_tick(bool user);
void sched_init(void);
_Noreturn void sched_idle(void); /* what a CPU does after its start */
u32 sched_nr_running(void);
void sched_loadavg(u64 out[3]); /* fixed point, 11 bits */
struct sched_times {
	u64 user, system, idle; /* ns */
	u64 switches;
};
void sched_cpu_times(unsigned cpu, struct sched_times *out);

/* A deliverable (or only: fatal) signal is pending for current.  proc/signal.c. */
bool signal_pending(void);
bool signal_fatal_pending(void);

/* ---- wait queues ------------------------------------------------------------------ */

struct waitq {
	struct spinlock lock; /* RANK_HOST_INNER + 1; interrupts off */
	struct list waiters;
};
#define WAITQ_INIT(q)                                                      \
	{                                                                  \
		SPINLOCK_INIT(RANK_HOST_INNER + 1), LIST_INIT((q).waiters) \
	}
void waitq_init(struct waitq *q);

struct waiter {
	struct list node;
	/* Called with the queue's lock held by waitq_wake(); key: poll events.  Default: wake task.
	 */
	void (*wake)(struct waiter *w, u32 key);
	struct task *task;
	bool exclusive;
	struct waitq *queue;
};
void waitq_add(struct waitq *q, struct waiter *w); /* w->wake set by the caller, or null */
void waitq_remove(struct waiter *w);               /* harmless when it isn't on any */
/* Wake all waiters, and at most n exclusive ones (~0u: all).  Any context. */
void waitq_wake(struct waitq *q, unsigned n, u32 key);
static inline void waitq_wake_all(struct waitq *q)
{
	waitq_wake(q, ~0u, ~0u);
}

/* Sleep until cond.  _interruptible: 0 or -EINTR when a signal is pending (-ERESTARTSYS is
 * the caller's to choose).  deadline: ns of time_ns(), ~0: none; then -ETIMEDOUT. */
#define wait_event_state(q, cond, st, deadline)                                           \
	({                                                                                \
		struct waiter w_ = {0};                                                   \
		int r_ = 0;                                                               \
		waitq_add(q, &w_);                                                        \
		for (;;) {                                                                \
			__atomic_store_n(&current()->state, (u32)(st), __ATOMIC_SEQ_CST); \
			if (cond)                                                         \
				break;                                                    \
			if ((st) == TASK_INTERRUPTIBLE && signal_pending()) {             \
				r_ = -EINTR;                                              \
				break;                                                    \
			}                                                                 \
			if ((st) == TASK_KILLABLE && signal_fatal_pending()) {            \
				r_ = -EINTR;                                              \
				break;                                                    \
			}                                                                 \
			if (!schedule_until(deadline)) {                                  \
				r_ = (cond) ? 0 : -ETIMEDOUT;                             \
				break;                                                    \
			}                                                                 \
		}                                                                         \
		__atomic_store_n(&current()->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE); \
		waitq_remove(&w_);                                                        \
		r_;                                                                       \
	})
#define wait_event(q, cond) ((void)wait_event_state(q, cond, TASK_UNINTERRUPTIBLE, ~0UL))
#define wait_event_interruptible(q, cond) wait_event_state(q, cond, TASK_INTERRUPTIBLE, ~0UL)
#define wait_event_killable(q, cond) wait_event_state(q, cond, TASK_KILLABLE, ~0UL)
#define wait_event_until(q, cond, deadline) wait_event_state(q, cond, TASK_INTERRUPTIBLE, deadline)

/* As schedule(), but runnable again at deadline (~0: never).  False: the deadline passed. */
bool schedule_until(u64 deadline);

/* ---- timers ------------------------------------------------------------------------- */

struct timer {
	u64 deadline;                /* ns */
	void (*fn)(struct timer *t); /* soft context, see irq_register() in arch/cpu.h */
	struct list node;            /* timer.c's own linkage */
	u64 heap_index;
	u32 cpu;
	bool armed;
};
void timer_arm(struct timer *t, u64 deadline, void (*fn)(struct timer *));
bool timer_cancel(struct timer *t); /* true: it had not run.  Waits for a running fn. */
void timer_interrupt(void);

#endif
