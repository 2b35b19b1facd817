/* SPDX-License-Identifier: MIT */
/*
 * Processes: what threads share, and how they begin and end.
 */
#ifndef KERNEL_PROC_H
#define KERNEL_PROC_H

#include <quire/mm.h>

#include "../sched/sched.h"

struct file;
struct path;
struct inode;

/* An address space in use by tasks (CLONE_VM shares it). */
struct uspace {
	struct quire_mm *mm;
	s32 refs;                    /* atomic: tasks */
	u64 cpu_mask;                /* CPUs that have it loaded; atomic.  mem/tlb.c */
	u64 context[QUIRE_MAX_CPUS]; /* mem/tlb.c: PCID generation */
	u64 tlb_gen;                 /* mem/tlb.c */
	struct file *exe;            /* guarded by exe_lock */
	struct spinlock exe_lock;
	u64 auxv[48]; /* as given to the program, for /proc/PID/auxv */
	u32 auxv_words;
	u32 membarrier; /* commands registered for; atomic */
	bool dumpable;
	bool oom_skip;         /* mem/oom.c has taken what it can have of it */
	u64 id;                /* no other has had it: so that open files of /proc notice an exec */
	struct mutex ldt_lock; /* RANK_HOST_OUTER + 15: changes of ldt */
	struct ldt *ldt;       /* null: none.  CPUs that load the address space read it */
};
struct uspace *uspace_new(void); /* null: no memory */
struct uspace *uspace_fork(struct uspace *from, int *err);
void uspace_get(struct uspace *u);
void uspace_put(struct uspace *u);
/* mem/oom.c: the memory of u, which is only compared, is free. */
void oom_freed(struct uspace *u);
/* mem/tlb.c: load u's page tables on this CPU (null: the kernel's); preemption is off. */
void uspace_switch(struct uspace *from, struct uspace *to);
/* ioport.c: after a protection fault; true: it was CLI or STI, which are to do nothing. */
bool ioports_emulate(struct regs *r);
/* ldt.c: where a task that is in the kernel goes on, as an address (its code segment may be one
 * of its LDT, with a base); ~0: nowhere.  May sleep. */
u64 user_linear_ip(struct task *t);
/* mem/tlb.c: u->ldt is a new one: no CPU uses the old one afterwards.  Interrupts on. */
void uspace_ldt_changed(struct uspace *u);
/* mem/tlb.c: no task uses u any more: no CPU has it loaded afterwards.  Interrupts on. */
void uspace_unload(struct uspace *u);

#define NSIG 64
#define RLIM_COUNT 16
struct rlimit {
	u64 cur, max;
};

struct sigaction_k { /* the kernel's sigaction on x86-64 */
	u64 handler, flags, restorer, mask;
};
struct sighand { /* CLONE_SIGHAND shares it */
	s32 refs;
	struct spinlock lock; /* RANK_HOST_MID + 11, interrupts off: the actions */
	struct sigaction_k action[NSIG];
};

struct cred { /* immutable once shared; replaced as a whole; freed through RCU */
	s32 refs;
	u32 securebits;
	struct quire_rcu rcu;
	u32 uid, euid, suid, fsuid;
	u32 gid, egid, sgid, fsgid;
	u64 cap_effective, cap_permitted, cap_inheritable, cap_bounding, cap_ambient;
	u32 ngroups;
	u32 groups[];
};
static inline bool capable(unsigned cap)
{
	return current()->cred->cap_effective >> cap & 1;
}
bool in_group(const struct cred *c, u32 gid);

struct mnt_ns;
struct fsctx {                   /* CLONE_FS shares it */
	s32 refs, users;         /* atomic; users: tasks */
	struct spinlock lock;    /* RANK_HOST_MID + 2 */
	struct path *cwd, *root; /* fs/vfs.h */
	struct mnt_ns *ns;       /* null before there is a root; guarded by lock */
	u32 umask;
};
/* With one user. */
struct fsctx *fsctx_copy(struct fsctx *f);
void fsctx_put(struct fsctx *f);
/* A task gives it up. */
void fsctx_leave(struct fsctx *f);

/* What another task has just now, with a reference, or null (it exits, or is a kernel
 * thread).  Put with uspace_put, fdtable_put, fsctx_put, cred_put. */
struct uspace *task_uspace_get(struct task *t);
struct uspace *process_uspace_get(struct process *p); /* that of any of its threads */
struct task *process_leader_get(struct process *p);   /* null when it has been reaped */
struct fdtable *task_files_get(struct task *t);
struct fsctx *task_fs_get(struct task *t);
struct cred *task_cred_get(struct task *t);
void cred_put(struct cred *c);

/* The last reference to the task is gone: give up what proc/ hung on it. */
void proc_task_free(struct task *t);

struct tty;

struct process {
	u32 tgid, pgid, sid;
	s32 refs;
	struct process *parent; /* guarded by the process-tree lock */
	struct list children, sibling;
	struct list threads; /* task->thread; guarded by the process-tree lock */
	u32 nr_threads;
	struct task *leader;
	struct list all; /* every process */
	/* RANK_HOST_MID + 10, interrupts off: pending signals of the process and its threads,
	 * the stop state; changes of `threads` hold it as well as the tree lock */
	struct spinlock siglock;
	struct sigpending sig_pending; /* sent to the process */
	struct waitq wait_signal;      /* woken when a signal is sent (signalfd) */
	struct waitq wait_child;       /* parent sleeps here in wait4 */
	struct waitq wait_pidfd;       /* woken when it becomes a zombie */
	u32 ppid;                      /* the parent's tgid; readable without a lock */
	u32 parent_tid;                /* the parent's thread that made it; tree lock */
	u32 exit_status;               /* wait status */
	bool group_exit, zombie, stopped, continued;
	bool notify_cont;        /* tell the parent that it goes on */
	u32 nr_running;          /* threads that have not exited */
	u32 stop_count;          /* threads that still have to stop */
	struct sighand *sighand; /* its reference; guarded by siglock, null in a zombie */
	u32 stop_signal;
	bool stop_reported;
	struct task *exec_task; /* this thread execs: the others end */
	struct waitq wait_exec; /* it waits here; and who attaches to a stopped thread */
	bool reaped;
	u32 exit_signal; /* sent to the parent at death */
	bool child_subreaper;
	bool did_exec;
	struct rlimit rlim[RLIM_COUNT];   /* guarded by tree lock for writing */
	struct tty *tty;                  /* controlling terminal */
	u64 utime, stime, cutime, cstime; /* ns: of exited threads / reaped children */
	u64 min_flt, maj_flt, cmin_flt, cmaj_flt;
	u64 nvcsw, nivcsw, cnvcsw, cnivcsw, maxrss, cmaxrss;
	u64 in_blocks, out_blocks, cin_blocks, cout_blocks; /* of 512 bytes, from io */
	struct io_counts io; /* of exited threads and reaped children */
	s32 oom_score_adj, oom_score_adj_min;
	u64 start_time;             /* ns */
	struct proc_timers *timers; /* itimer.c: interval and POSIX timers; null: none */
	u32 personality;
	bool randomized; /* its addresses were chosen at random */
	bool no_new_privs;
	struct quire_fault_record last_fault; /* the one behind a fatal signal */
};

/* Guards parents, children, threads, groups, sessions of all processes. */
extern struct spinlock tree_lock; /* RANK_HOST_MID + 6 */

struct task *task_find(u32 tid);       /* with a reference, or null */
struct process *process_find(u32 pid); /* with a reference, or null */
void process_get(struct process *p);
void process_put(struct process *p);
/* Iterate: the process with the lowest pid >= pid, with a reference, or null. */
struct process *process_next(u32 pid);
/* For /proc/stat and /proc/loadavg: tasks made since the start, the id of the last, and
 * how many sleep uninterruptibly. */
struct task_stats {
	u64 made;
	u32 last, blocked;
};
void task_stats(struct task_stats *s);

/* The first process: runs what the configuration says.  Called in a kernel thread. */
void proc_start_init(void *unused);

/* Once, before the first task: tables and caches. */
void proc_init(void);
/* IO's channel: `quire run` got this signal.  Goes to the program's foreground process
 * group.  Any context. */
void proc_host_signal(int sig);

/* CPU time used so far, the running stretch included; ns. */
void task_cpu_times(struct task *t, u64 *user, u64 *system);
void process_cpu_times(struct process *p, u64 *user, u64 *system);

/* The faults and the I/O of a process: of its threads now and before, for /proc. */
void process_work(struct process *p, u64 *min_flt, u64 *maj_flt, struct io_counts *io);
void io_counts_add(struct io_counts *sum, const struct io_counts *n);

/* exec.c: settings of /proc/sys; atomic. */
extern unsigned randomize_va_space, legacy_va_layout;

/* This machine's name, as uname(2) gives it. */
void uname_nodename(char out[65]);

/* Process groups and sessions, for terminals. */
bool process_group_in_session(u32 pgid, u32 sid); /* some process of the group is in it */
bool process_group_orphaned(u32 pgid);            /* nobody could continue it after a stop */

/* exit.c */
_Noreturn void thread_exit(u32 code);
_Noreturn void group_exit(u32 wait_status); /* e.g. code << 8, or a signal */

/* signal.c */
struct siginfo { /* Linux's siginfo_t, 128 bytes */
	s32 si_signo, si_errno, si_code, pad;
	union {
		u8 bytes[112];
		struct {
			s32 pid;
			u32 uid;
			u64 value;
		} rt;
		struct {
			s32 pid;
			u32 uid;
			s32 status;
			s32 pad2;
			s64 utime, stime;
		} chld;
		struct {
			u64 addr;
			s16 addr_lsb;
			u16 pad3[3];
			u32 pkey;
		} fault;
		struct {
			s32 tid, overrun;
			u64 value;
		} timer;
	};
};
_Static_assert(sizeof(struct siginfo) == 128, "siginfo_t");
_Static_assert(offsetof(struct siginfo, fault.pkey) == 32, "si_pkey");
/* info null: from the kernel (SI_KERNEL).  0 or -EAGAIN (a real-time signal's queue is
 * full).  Any context; no lock of rank RANK_HOST_MID + 10 or above is held.  What is
 * sent from an interrupt arrives without its info, and the caller keeps t or p alive. */
int send_signal_task(struct task *t, int sig, const struct siginfo *info);
int send_signal_process(struct process *p, int sig, const struct siginfo *info);
/* Takes the tree lock: not from interrupts.  -ESRCH when the group is empty. */
int send_signal_group(u32 pgid, int sig, const struct siginfo *info);
/* signalfd, sigtimedwait: take one pending signal of the mask off current's queues:
 * its number and *info, or 0. */
int signal_dequeue(u64 mask, struct siginfo *info);
u64 signal_pending_set(void); /* all that is pending for current, blocked or not */
/* Pending of a thread and of its process, and the actions as sets, for /proc. */
struct signal_sets {
	u64 task_pending, shared_pending, blocked, ignored, caught;
	u32 queued;
};
void signal_sets_of(struct task *t, struct signal_sets *out);
/* Is it blocked or ignored by current (so that SIGTTIN would have no effect)? */
bool signal_blocked_or_ignored(int sig);
/* ppoll and the like.  _begin: swap in the user's mask (uset 0: nothing to do); 0 or
 * -errno.  _end: put the old one back; when interrupted (the call gives -EINTR or
 * -ERESTART*) only after the handler has run. */
int sigmask_begin(u64 uset, u64 size);
void sigmask_end(bool interrupted);
/* A synchronous fault of the current task: can't be blocked or ignored. */
void force_signal(int sig, const struct siginfo *info);
/* On the way back to user mode, interrupts on: deliver signals, stop, run task work.
 * Called by entry code whenever sig_flag or resched is set. */
void exit_to_user(struct regs *r, bool from_syscall);

/* trace.c: what ptrace(2) needs of others. */
/* May current trace t, or look into it?  Against the file system ids (or else the real
 * ones), as /proc does.  0 or -EPERM. */
int ptrace_may_access(struct task *t, bool fs_ids);
/* limits.c: a real-time task ran for RLIMIT_RTTIME without sleeping.  Any context. */
bool rt_time_over(const struct task *t);
u32 trace_tracer_tid(struct task *t); /* 0: not traced */
/* A call of a traced task begins (false: it is not to be carried out). */
bool trace_syscall_enter(struct regs *r);
#define ERESTARTSYS 512
#define ERESTARTNOINTR 513
#define ERESTARTNOHAND 514
#define ERESTART_RESTARTBLOCK 516

/* fault.c (mem/): vector 14 arrives here after entry code, interrupts on unless they
 * were off before. */
void page_fault(struct regs *r, u64 cr2);

#endif
