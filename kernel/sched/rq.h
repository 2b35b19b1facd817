/* SPDX-License-Identifier: MIT */
/* Between the files of sched/, and to arch/ and boot/. */
#ifndef KERNEL_RQ_H
#define KERNEL_RQ_H

#include "sched.h"

/* sched.c */
void sched_init_cpu(u64 stack_top); /* another CPU: its idle task is the caller */
void sched_finish_switch(void);     /* a new task's first call */
void sched_irq_enter(void);         /* an interrupt came: the CPU isn't idle any more */
void sched_preempt_irq(void);       /* at the end of one, interrupts off, depth 0 */
/* (Re)program this CPU's timer interrupt; interrupts off. */
void sched_program_timer(void);

/* timer.c */
void timer_init_cpu(unsigned cpu);
u64 timer_next(unsigned cpu); /* when this CPU's first timer is due; ~0: none */

/* task.c */
void kthread_entry(void);          /* arch/entry.S */
struct regs *kthread_finish(void); /* from there: fn has returned */
struct task *task_alloc_idle(u64 stack_top);

#endif
