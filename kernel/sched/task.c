// SPDX-License-Identifier: MIT
/*
 * Tasks as memory: the struct and its kernel stack.  And kernel threads.
 *
 * A stack is a lazy area: its top page is touched at once (system calls and page
 * faults from user mode need it there), the others come when they are used.
 * task_put() may be called anywhere, but giving an area back sleeps; so dead tasks
 * are kept in a list, which the next task_alloc() reuses or frees.
 */
#include <quire/assert.h>
#include <quire/fault.h>
#include <quire/page.h>

#include "../arch/arch.h"
#include "../lib/string.h"
#include "../proc/proc.h"
#include "../syscall/syscall.h"
#include "rq.h"

#define STACK_SIZE (KSTACK_PAGES * QUIRE_PAGE_SIZE)
#define KEEP 8 /* dead tasks whose stacks are kept for new ones */

/* What switch_stacks() pops. */
struct switch_frame {
	u64 r15, r14, r13, r12, rbx, rbp, rip;
};

static struct quire_kmem *task_cache;
static struct spinlock dead_lock = SPINLOCK_INIT(RANK_HOST_INNER + 4);
static struct list dead_tasks = LIST_INIT(dead_tasks); /* task->run; guarded by dead_lock */
static unsigned nr_dead;

static struct task *take_dead(unsigned keep)
{
	struct task *t = NULL;
	unsigned long irq = spin_lock_irq(&dead_lock);

	if (nr_dead > keep) {
		t = list_first(&dead_tasks, struct task, run);
		list_del(&t->run);
		nr_dead--;
	}
	spin_unlock_irq(&dead_lock, irq);
	return t;
}

static void free_dead(unsigned keep)
{
	struct task *t;

	while ((t = take_dead(keep))) {
		if (t->kstack)
			quire_kernel_area_free(t->kstack, KSTACK_PAGES);
		fpu_free(t);
		quire_kmem_free(task_cache, t);
	}
}

void task_cache_drain(void)
{
	free_dead(0);
}

static struct task *new_struct(void)
{
	/* the first one is made before there are others */
	if (!task_cache)
		task_cache = quire_kmem_create("task", sizeof(struct task), 64);
	return quire_kmem_alloc(task_cache, GFP_KERNEL | GFP_ZERO);
}

/* All zero but for stack and FPU area. */
static struct task *reuse_or_new(void)
{
	struct task *t = take_dead(0);

	free_dead(KEEP);
	if (t) {
		u64 stack = t->kstack;
		void *xsave = t->xsave;
		memset(t, 0, sizeof(*t));
		t->kstack = stack;
		t->xsave = xsave;
		return t;
	}
	t = new_struct();
	if (t)
		t->kstack = quire_kernel_area_alloc(KSTACK_PAGES);
	if (t && !t->kstack) {
		quire_kmem_free(task_cache, t);
		return NULL;
	}
	return t;
}

struct task *task_alloc(void)
{
	quire_kernel_reserve_fill();
	struct task *t = reuse_or_new();

	if (!t)
		return NULL;
	list_init(&t->run);
	list_init(&t->trace.traced);
	list_init(&t->trace.tracees);
	list_init(&t->pi_owned);
	t->syscall_limit = SYSCALL_COUNT;
	t->prio = PRIO_NORMAL;
	t->refs = 1;
	t->state = TASK_UNINTERRUPTIBLE;
	t->affinity = ~0UL;
	t->start_time = time_ns();
	t->cpu = this_cpu()->cpu;
	if (fpu_init_task(t)) {
		task_put(t);
		return NULL;
	}
	struct regs *r = task_regs(t);
	memset(r, 0, sizeof(*r)); /* touches the top page */
	struct switch_frame *f = (struct switch_frame *)r - 1;
	*f = (struct switch_frame){.rip = (u64)ret_from_fork};
	t->rsp = (u64)f;
	return t;
}

/* Early: its stack is the one it is running on. */
struct task *task_alloc_idle(u64 stack_top)
{
	struct task *t = new_struct();

	if (!t)
		return NULL;
	list_init(&t->run);
	t->prio = PRIO_IDLE;
	t->refs = 1;
	t->idle = t->kernel_thread = true;
	t->kstack = stack_top - STACK_SIZE;
	memcpy(t->comm, "idle", 5);
	return t;
}

void task_get(struct task *t)
{
	__atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
}

void task_put(struct task *t)
{
	if (__atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL))
		return;
	proc_task_free(t);
	unsigned long irq = spin_lock_irq(&dead_lock);
	list_add(&dead_tasks, &t->run);
	nr_dead++;
	spin_unlock_irq(&dead_lock, irq);
}

/* ---- kernel threads -------------------------------------------------------------------------- */

struct task *kthread_start(const char *name, void (*fn)(void *), void *arg)
{
	struct task *t = task_alloc();

	if (!t)
		return NULL;
	struct switch_frame *f = (struct switch_frame *)t->rsp;
	f->rip = (u64)kthread_entry;
	f->r12 = (u64)fn;
	f->r13 = (u64)arg;
	t->kernel_thread = true;
	fpu_free(t); /* it has no such state; exec gives it one */
	strlcpy(t->comm, name, sizeof(t->comm));
	task_start(t);
	return t;
}

struct regs *kthread_finish(void)
{
	struct task *t = current();

	if (!t->kernel_thread)
		return task_regs(t);
	t->state = TASK_DEAD;
	schedule_exit();
}
