/* SPDX-License-Identifier: MIT */
/*
 * What the files of proc/ share with each other and nobody else needs.
 *
 * Locks of this folder, in their order: tree_lock (RANK_HOST_MID + 6), then one
 * process's siglock (+ 10), then its sighand->lock (+ 11).
 */
#ifndef KERNEL_PROC_INTERNAL_H
#define KERNEL_PROC_INTERNAL_H

#include <quire/assert.h>
#include <quire/list.h>
#include <quire/lock.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../arch/uaccess.h"
#include "../lib/print.h"
#include "../lib/string.h"
#include "../syscall/syscall.h"
#include "proc.h"

/* ---- numbers of the ABI ------------------------------------------------------------ */

#define SIGHUP 1
#define SIGINT 2
#define SIGQUIT 3
#define SIGILL 4
#define SIGTRAP 5
#define SIGABRT 6
#define SIGBUS 7
#define SIGFPE 8
#define SIGKILL 9
#define SIGUSR1 10
#define SIGSEGV 11
#define SIGUSR2 12
#define SIGPIPE 13
#define SIGALRM 14
#define SIGTERM 15
#define SIGSTKFLT 16
#define SIGCHLD 17
#define SIGCONT 18
#define SIGSTOP 19
#define SIGTSTP 20
#define SIGTTIN 21
#define SIGTTOU 22
#define SIGURG 23
#define SIGXCPU 24
#define SIGXFSZ 25
#define SIGVTALRM 26
#define SIGPROF 27
#define SIGWINCH 28
#define SIGIO 29
#define SIGPWR 30
#define SIGSYS 31
#define SIGRTMIN 32

#define SIG_DFL 0UL
#define SIG_IGN 1UL
#define SIGMASK(n) (1UL << ((n)-1))

#define SA_NOCLDSTOP 0x00000001UL
#define SA_NOCLDWAIT 0x00000002UL
#define SA_SIGINFO 0x00000004UL
#define SA_UNSUPPORTED 0x00000400UL
#define SA_EXPOSE_TAGBITS 0x00000800UL
#define SA_RESTORER 0x04000000UL
#define SA_ONSTACK 0x08000000UL
#define SA_RESTART 0x10000000UL
#define SA_NODEFER 0x40000000UL
#define SA_RESETHAND 0x80000000UL

#define SI_USER 0
#define SI_KERNEL 0x80
#define SI_QUEUE (-1)
#define SI_TIMER (-2)
#define SI_TKILL (-6)
#define CLD_EXITED 1
#define CLD_KILLED 2
#define CLD_DUMPED 3
#define CLD_TRAPPED 4
#define CLD_STOPPED 5
#define CLD_CONTINUED 6

#define SS_ONSTACK 1u
#define SS_DISABLE 2u
#define SS_AUTODISARM (1u << 31)

#define RLIMIT_CPU 0
#define RLIMIT_FSIZE 1
#define RLIMIT_DATA 2
#define RLIMIT_STACK 3
#define RLIMIT_CORE 4
#define RLIMIT_RSS 5
#define RLIMIT_NPROC 6
#define RLIMIT_NOFILE 7
#define RLIMIT_MEMLOCK 8
#define RLIMIT_AS 9
#define RLIMIT_SIGPENDING 11
#define RLIMIT_NICE 13
#define RLIMIT_RTPRIO 14
#define RLIMIT_RTTIME 15

#define CAP_KILL 5
#define CAP_SETGID 6
#define CAP_SETUID 7
#define CAP_SETPCAP 8
#define CAP_IPC_LOCK 14
#define CAP_SYS_RAWIO 17
#define CAP_SYS_PTRACE 19
#define CAP_SYS_ADMIN 21
#define CAP_SYS_NICE 23
#define CAP_SYS_RESOURCE 24
#define CAP_CHECKPOINT_RESTORE 40
#define CAP_SYS_TIME 25
#define CAP_LAST 40
#define CAP_FULL ((1UL << (CAP_LAST + 1)) - 1)

#define PERSONALITY_NO_RANDOMIZE 0x0040000u
#define PERSONALITY_PAGE_ZERO 0x0100000u
#define PERSONALITY_COMPAT_LAYOUT 0x0200000u
#define PERSONALITY_READ_IMPLIES_EXEC 0x0400000u

#define NSEC_PER_SEC 1000000000UL
#define MAX_PID 32768u

struct timespec_k { /* Linux's struct __kernel_timespec */
	s64 sec, nsec;
};
struct timeval_k {
	s64 sec, usec;
};

/* ---- task.c ------------------------------------------------------------------------ */

extern struct process *init_process; /* pid 1: the kernel's own reaper */
extern u32 nr_processes, nr_threads; /* guarded by tree_lock */
extern struct list all_processes;    /* process->all; guarded by tree_lock */

struct process *process_new(void);
/* A free id, or 0; or that one: 0 or -EEXIST.  tree_lock is held. */
u32 id_alloc_locked(void);
int id_take_locked(u32 id);
/* Make the task findable by its tid, and a thread of its process; tree_lock is held.
 * The table has a reference, which whoever unlinks the task has to put. */
void task_link_locked(struct task *t);
void task_unlink_locked(struct task *t);
struct task *task_find_locked(u32 tid); /* no reference */

struct sighand *sighand_new(void);
void sighand_get(struct sighand *s);
void sighand_put(struct sighand *s);
struct cred *cred_new(unsigned ngroups); /* zeroed, one reference */
struct cred *cred_copy(const struct cred *c);
void cred_get(struct cred *c);
void cred_install(struct cred *c); /* current's from now on; takes over the reference */

/* ---- args.c, exec.c ------------------------------------------------------------------------ */

/* The arguments of a program as one run of bytes, "a\0b\0": argv, then envp, then the
 * name it was run by; kept in page-sized pieces. */
struct argbuf {
	char **piece;
	u32 npieces, maxpieces;
	u64 len;
	u64 argc, envc;
	u64 argv_len, envp_len; /* how much of the run each is */
	u64 skip;               /* bytes of argv that an interpreter line replaced */
	char *head;             /* and what it put there instead */
	u64 head_len;
	u64 limit;
};
int argbuf_add(struct argbuf *b, const char *bytes, size_t n);
void argbuf_free(struct argbuf *b);
/* Collect argv and envp of current: 0, -E2BIG, -EFAULT, -ENOMEM. */
int argbuf_from_user(struct argbuf *b, u64 uargv, u64 uenvp);
/* argv[0] goes; interp, arg (unless null) and path come in its place. */
int argbuf_replace_first(struct argbuf *b, const char *interp, const char *arg, const char *path);
/* Write all strings to user memory at at. */
int argbuf_write(struct argbuf *b, u64 at);
/* The pointers of count strings from the one at *at on (*pos: its place in the run), and
 * a null, to *sp; all three move on. */
int argbuf_write_pointers(u64 *sp, u64 count, u64 *at, struct argbuf *b, u64 *pos);
/* Replace current's program.  f: opened for execution, consumed in any case.  name: as the
 * caller named it.  0: r is the new program's; -errno: nothing changed, or *gone: the old
 * program is gone too, and the process has to end. */
int exec_program(struct file *f, const char *name, struct argbuf *args, struct regs *r, bool *gone);

/* elf.c */
struct elf_image {
	u64 entry, interp_base, phdr;
	u64 bias; /* of the program: where it lies, against where it was linked to */
	u16 phnum, phentsize;
};
struct elf_file; /* headers of one file, read and checked */
/* 0 and the headers, and the interpreter's name if it has one; -ENOEXEC: not an ELF file
 * we can run. */
int elf_open(struct file *f, struct elf_file **out, char **interp);
/* The same for an interpreter: -EIO when it is too short, -ELIBBAD. */
int elf_open_interp(struct file *f, struct elf_file **out);
void elf_free(struct elf_file *e);
/* Map into current's (new, empty) address space.  Fills the layout of mm as well. */
int elf_load_program(struct elf_file *e, struct file *f, bool has_interp, unsigned randomize,
		     struct elf_image *img);
int elf_load_interp(struct elf_file *e, struct file *f, struct elf_image *img);
bool elf_wants_exec_stack(const struct elf_file *e);
u64 random_pages(unsigned bits); /* a random multiple of the page size below 2^bits pages */

/* ---- exit.c, wait.c ---------------------------------------------------------------- */

void kill_other_threads(struct process *p, struct task *except); /* siglock held */
void vfork_release(struct task *t);
void release_process_locked(struct process *p); /* a zombie nobody will wait for any more */
void process_finished(struct process *p);       /* after release, without locks */
/* Tell the parent of a stop (CLD_STOPPED) or a continuation; no lock is held. */
void notify_parent(struct process *p, int code, int status);
/* The last of p's threads is gone but for the leader: it is a zombie, and who waits for it
 * hears of it.  Tree_lock held.  What nobody will wait for goes to dead (by sibling), for
 * process_finished(). */
void zombie_locked(struct process *p, struct list *dead);
/* A traced thread ended and its tracer knows (or is gone): out of the tables, with one
 * reference to put; tree_lock held.  Not for leaders. */
void release_thread_locked(struct task *t, struct list *dead);
/* p is a zombie that was traced; tell its parent.  Tree_lock held. */
void tell_real_parent_locked(struct process *p, struct list *dead);
/* The thread of p's parent that counts as its parent: the one that made it, or another. */
struct task *parent_thread_locked(struct process *p);
void finish_dead(struct list *dead); /* no lock held */
void orphan_check_locked(struct process *p, struct process *parent);

/* Bits of task->jobctl; the low byte is the signal of the group's stop. */
#define JOB_SIGNAL 0xffu
#define JOB_STOP_PENDING 0x100u  /* to join the group's stop */
#define JOB_STOP_CONSUME 0x200u  /* and counted in stop_count */
#define JOB_STOP_DEQUEUED 0x400u /* took a stop signal, and no SIGCONT came since */
#define JOB_TRAP_STOP 0x800u     /* to stop for the tracer */
#define JOB_TRAP_NOTIFY 0x1000u  /* to tell the tracer (SEIZE) that the group's state changed */
#define JOB_TRAPPING 0x2000u     /* who attaches waits for it to go from stopped to traced */
#define JOB_LISTENING 0x4000u    /* PTRACE_LISTEN: stopped, but the tracer may not use it */
#define JOB_STOPPED 0x8000u      /* in the group's stop */
#define JOB_TRACED 0x10000u      /* in a stop for the tracer */
#define JOB_FROZEN 0x20000u      /* the tracer is at work on it: SIGKILL has to wait */
#define JOB_TRAPS (JOB_TRAP_STOP | JOB_TRAP_NOTIFY)
#define JOB_PENDING (JOB_STOP_PENDING | JOB_TRAPS)

/* ---- signal.c ---------------------------------------------------------------------- */

/* A signal with its info, allocated ahead by timers so that an interrupt can send it. */
struct sigentry {
	struct list node;
	struct siginfo info;
	s16 sig;
	bool preallocated, queued;
	s32 overrun, last_overrun; /* timer expirations that found it queued */
};
void signal_init(void);
void sigpending_init(struct sigpending *p);
void sigpending_flush(struct sigpending *p, u64 mask); /* siglock held */
/* Send a preallocated entry (or count an overrun when it is still queued). */
void send_sigentry(struct process *p, struct task *t, struct sigentry *e);
void cancel_sigentry(struct process *p, struct sigentry *e);
void signal_recalc_locked(struct task *t); /* siglock held */
void set_blocked(u64 mask);                /* of current; KILL and STOP are left out */
/* Until it is called with 0, senders wake current for these, blocked or not. */
void signal_wait_for(u64 mask);
/* Is it a signal (or 0), and may current send it to p?  0, -EINVAL, -EPERM. */
int check_signal(struct process *p, int sig);
bool info_is_forged(const struct siginfo *info, u32 tid);
/* Take the next deliverable signal of current, its action in *act. */
int signal_next(struct siginfo *info, struct sigaction_k *act);
/* sigframe.c: 0 or -EFAULT */
int signal_frame(struct regs *r, int sig, const struct siginfo *info, const struct sigaction_k *act,
		 u64 mask);
/* Queue a signal for t when the tracer's answer to it came too late; siglock held. */
void signal_requeue_locked(struct task *t, int sig, const struct siginfo *info);
/* Make t see to TASK_SIGPENDING; fatal: whatever it does, but for what a tracer is at.
 * siglock held. */
void wake_for_signal(struct task *t, bool fatal);
/* The nth (from 0) that is queued for t, or for its process. */
bool signal_peek(struct task *t, bool shared, u64 nth, struct siginfo *info);
bool participate_locked(struct task *t); /* in a group stop; true: it is complete now */
void sigframe_init(void);
size_t sigframe_size(void); /* AT_MINSIGSTKSZ */

/* setmm.c: prctl(PR_SET_MM), with its arguments from the second on. */
long prctl_set_mm(int option, u64 addr, u64 size, u64 none);

int files_unshare(void); /* exec.c: a table of descriptors of current's own */

/* ---- the rest ------------------------------------------------------------------------ */

void futex_init(void);
/* Current is ending, or executes another program: its robust list, and locks that it holds. */
void futex_exit(struct task *t, bool for_good);
void futex_wake_one(u64 uaddr); /* clear_child_tid */
/* futex_pi.c: t has new settings; what it runs at depends on who waits for it, too. */
void pi_set_policy(struct task *t, u32 policy, u32 rt_prio, s32 nice);
void pi_set_nice(struct task *t, s32 nice);
void timers_exit(struct process *p); /* exit and exec: stop the POSIX timers */
void itimers_exit(struct process *p);
void timers_free(struct process *p);      /* with the process */
int cpu_limit_changed(struct process *p); /* RLIMIT_CPU is new; 0 or -ENOMEM */
void rseq_resume(struct regs *r);         /* before user mode, after a switch or a signal */
int rseq_abort(struct regs *r);
void kernel_first_program(struct regs *r); /* init.c: TASK_WORK_EXEC */
void rt_time_signal(struct task *t);       /* limits.c: TASK_WORK_RTTIME */
size_t stat_table(char *buf, size_t max);  /* stat.c: the text of --stat */
int timespec_in(u64 *ns, u64 uaddr);       /* -EFAULT, -EINVAL; saturates */
int timespec_out(u64 uaddr, u64 ns);
struct rusage_k;
/* The time of one of the clocks that timers run on, ns; for p and t (may be null). */
u64 cpu_clock_ns(struct process *p, struct task *t, bool user_only);
void rusage_of(struct process *p, int who, struct rusage_k *out);

struct rusage_k {
	struct timeval_k utime, stime;
	s64 maxrss, ixrss, idrss, isrss, minflt, majflt, nswap, inblock, oublock, msgsnd, msgrcv,
	    nsignals, nvcsw, nivcsw;
};
_Static_assert(sizeof(struct rusage_k) == 144, "struct rusage");

/* ioport.c.  Share: t, which is new, begins with what current may.  Release: nothing more. */
void ioports_share(struct task *t);
void ioports_release(struct task *t);

/* ldt.c.  Copy: for an address space that no CPU has loaded yet; 0 or -ENOMEM. */
int ldt_copy(struct uspace *to, struct uspace *from);
void ldt_free(struct ldt *l); /* null: nothing */

static inline bool in_interrupt(void)
{
	return this_cpu()->irq_depth != 0;
}
static inline void task_flag_set(struct task *t, u32 bits)
{
	__atomic_or_fetch(&t->sig_flag, bits, __ATOMIC_SEQ_CST);
}
static inline void task_flag_clear(struct task *t, u32 bits)
{
	__atomic_and_fetch(&t->sig_flag, ~bits, __ATOMIC_SEQ_CST);
}

#endif
