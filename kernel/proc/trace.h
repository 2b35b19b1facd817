/* SPDX-License-Identifier: MIT */
/* Tracing of tasks by others: what the files of proc/ that implement it share. */
#ifndef KERNEL_PROC_TRACE_H
#define KERNEL_PROC_TRACE_H

#include "internal.h"

#define PTRACE_O_TRACESYSGOOD 1u /* the others of 0xfe: 1 << the number of the event */
#define PTRACE_O_EXITKILL (1u << 20)
#define PTRACE_O_SUSPEND_SECCOMP (1u << 21)
#define PTRACE_O_ALL (0xffu | PTRACE_O_EXITKILL | PTRACE_O_SUSPEND_SECCOMP)

#define PTRACE_EVENT_FORK 1
#define PTRACE_EVENT_VFORK 2
#define PTRACE_EVENT_CLONE 3
#define PTRACE_EVENT_EXEC 4
#define PTRACE_EVENT_VFORK_DONE 5
#define PTRACE_EVENT_EXIT 6
#define PTRACE_EVENT_STOP 128
#define PTRACE_EVENTMSG_SYSCALL_ENTRY 1
#define PTRACE_EVENTMSG_SYSCALL_EXIT 2

/* ---- trace.c ----------------------------------------------------------------------- */

/* t is traced from now on, or no more; tree_lock held. */
void trace_link_locked(struct task *t, struct task *tracer, bool seized, u32 options);
void trace_unlink_locked(struct task *t);
/* t loses its tracer, and as a zombie perhaps the last who waited for it.  dead: as
 * zombie_locked(). */
void trace_detach_locked(struct task *t, struct list *dead);
/* A new task of current's, not yet started: its tracer is current's, which asked for it.
 * Tree_lock held. */
void trace_inherit_locked(struct task *t);
/* The tracer ends. */
void trace_tracer_exits_locked(struct task *tracer, struct list *dead);
/* Let t see to its traps; resume: even when it is in a stop.  siglock held. */
void trace_wake_locked(struct task *t, bool resume);
void trace_notify_locked(struct task *t); /* SEIZE: the group's state changed; siglock held */

/* Current, and no lock held: */
/* Show a signal to the tracer: the one to go on with, or 0. */
int trace_signal(int sig, struct siginfo *info);
void trace_traps(void); /* stop as JOB_TRAPS demand it */
bool trace_event_wanted(int event);
/* Stop for the event if it is wanted. */
void trace_event(int event, u64 message);
void trace_exec(u32 old_tid); /* a new program begins */
void trace_handler_begins(void);
void trace_syscall_exit(struct regs *r);
/* A stopped process goes on: its leader's tracer, when that isn't the parent. */
void trace_tell_continued(struct process *p);

/* ---- step.c ------------------------------------------------------------------------ */

void trace_step_on(struct task *t); /* t is stopped, by its tracer */
void trace_step_off(struct task *t);
void trace_slow_calls(struct task *t); /* do its system calls concern the tracer? */

/* ---- traceregs.c: the registers of a stopped task --------------------------------------- */

#define USER_REGS_SIZE (27 * sizeof(u64))
void trace_regs_get(struct task *t, u64 regs[27]);
/* Register n of struct user_regs_struct: 0 or -EIO. */
int trace_reg_set(struct task *t, unsigned n, u64 v);
long trace_peek_user(struct task *t, u64 offset, u64 udata);
long trace_poke_user(struct task *t, u64 offset, u64 v);
long trace_regs_to_user(struct task *t, u64 udata);
long trace_regs_from_user(struct task *t, u64 udata);
long trace_fpregs_to_user(struct task *t, u64 udata);
long trace_fpregs_from_user(struct task *t, u64 udata);
long trace_regset(struct task *t, u64 type, u64 uiov, bool set);
long trace_arch_prctl(struct task *t, u64 option, u64 addr);

#endif
