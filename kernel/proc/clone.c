/* SPDX-License-Identifier: MIT */
/*
 * New threads and processes: fork, vfork, clone, clone3.
 *
 * A new task is built in full from the current one before anybody can see it;
 * linking it into the tree under tree_lock is the commit, after which it only
 * needs to be started.  What the flags ask to share gets a reference, the rest is
 * copied.
 */
#include "../fs/vfs.h"
#include "pidfd.h"
#include "trace.h"

#define CLONE_NEWTIME 0x80UL
#define CLONE_VM 0x100UL
#define CLONE_FS 0x200UL
#define CLONE_FILES 0x400UL
#define CLONE_SIGHAND 0x800UL
#define CLONE_PIDFD 0x1000UL
#define CLONE_PTRACE 0x2000UL
#define CLONE_VFORK 0x4000UL
#define CLONE_PARENT 0x8000UL
#define CLONE_THREAD 0x10000UL
#define CLONE_NEWNS 0x20000UL
#define CLONE_SYSVSEM 0x40000UL
#define CLONE_SETTLS 0x80000UL
#define CLONE_PARENT_SETTID 0x100000UL
#define CLONE_CHILD_CLEARTID 0x200000UL
#define CLONE_DETACHED 0x400000UL
#define CLONE_UNTRACED 0x800000UL
#define CLONE_CHILD_SETTID 0x1000000UL
#define CLONE_NEWCGROUP 0x2000000UL
#define CLONE_NEWUTS 0x4000000UL
#define CLONE_NEWIPC 0x8000000UL
#define CLONE_NEWUSER 0x10000000UL
#define CLONE_NEWPID 0x20000000UL
#define CLONE_NEWNET 0x40000000UL
#define CLONE_IO 0x80000000UL
#define CLONE_CLEAR_SIGHAND 0x100000000UL
#define CLONE_INTO_CGROUP 0x200000000UL
#define CLONE_NEW_ANY                                                                  \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
	 CLONE_NEWPID | CLONE_NEWNET)

#define PID_LEVELS 32 /* of namespaces of ids that clone3 takes a word about */

/* Namespaces that there is one of, each. */
#define CLONE_NEW_ABSENT (((CLONE_NEW_ANY) & ~CLONE_NEWNS) | CLONE_NEWTIME)

struct clone_args_k { /* Linux's struct clone_args */
	u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	u64 set_tid, set_tid_size, cgroup; /* once checked, set_tid is the id itself; 0: any */
};

static int check_flags(const struct clone_args_k *a)
{
	u64 f = a->flags;
	if ((f & CLONE_FS) && (f & (CLONE_NEWNS | CLONE_NEWUSER)))
		return -EINVAL;
	if (((f & CLONE_THREAD) && !(f & CLONE_SIGHAND)) ||
	    ((f & CLONE_SIGHAND) && !(f & CLONE_VM)))
		return -EINVAL;
	if ((f & CLONE_PIDFD) && (f & (CLONE_THREAD | CLONE_DETACHED)))
		return -EINVAL;
	if ((f & CLONE_SIGHAND) && (f & CLONE_CLEAR_SIGHAND))
		return -EINVAL;
	if (f & (CLONE_NEWUSER | CLONE_INTO_CGROUP))
		return -EINVAL;
	if ((f & (CLONE_NEW_ANY | CLONE_NEWTIME)) && !capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (f & CLONE_NEW_ABSENT)
		return -EINVAL;
	if ((f & CLONE_SETTLS) && a->tls >= QUIRE_USER_END)
		return -EPERM;
	return 0;
}

/* ---- the parts of a child -------------------------------------------------------------------- */

static void copy_registers(struct task *t, const struct clone_args_k *a, const struct regs *r)
{
	struct regs *n = task_regs(t);
	*n = *r;
	n->rax = 0;
	if (current()->trace.forced_tf)
		n->rflags &= ~RFLAGS_TF;
	if (a->stack)
		n->rsp = a->stack + a->stack_size;
	segments_save(t);
	if (a->flags & CLONE_SETTLS) {
		t->selectors.sel[SEG_FS] = 0;
		t->fs_base = a->tls;
	}
}

static void copy_settings(struct task *t, const struct clone_args_k *a)
{
	struct task *me = current();
	memcpy(t->comm, me->comm, sizeof(t->comm));
	sigpending_init(&t->sig_pending);
	list_init(&t->thread);
	list_init(&t->hash);
	t->nice = me->nice;
	t->policy = me->policy;
	t->rt_prio = me->rt_prio;
	if (me->reset_on_fork) {
		bool real_time = policy_real_time(me->policy);
		t->nice = real_time ? 0 : quire_max(me->nice, 0);
		t->policy = real_time ? SCHED_NORMAL : me->policy;
		t->rt_prio = 0;
	}
	t->prio = own_prio(t); /* what was lent to the parent isn't its */
	t->affinity = me->affinity;
	t->timer_slack = me->timer_slack;
	t->ioprio = me->ioprio;
	t->sig_blocked = me->sig_blocked;
	t->start_time = time_ns();
	if (!(a->flags & CLONE_VM) || (a->flags & CLONE_VFORK)) {
		t->altstack_sp = me->altstack_sp;
		t->altstack_size = me->altstack_size;
		t->altstack_flags = me->altstack_flags;
	}
	if (!(a->flags & CLONE_VM)) {
		t->rseq = me->rseq;
		t->rseq_len = me->rseq_len;
		t->rseq_sig = me->rseq_sig;
	}
	if (a->flags & CLONE_CHILD_CLEARTID)
		t->clear_child_tid = a->child_tid;
	if (a->flags & CLONE_CHILD_SETTID) {
		t->set_child_tid = a->child_tid;
		task_flag_set(t, TASK_WORK_SETTID);
	}
	t->cred = me->cred;
	cred_get(t->cred);
}

static struct sighand *child_sighand(const struct clone_args_k *a)
{
	struct sighand *old = current()->sighand;
	if (a->flags & CLONE_SIGHAND) {
		sighand_get(old);
		return old;
	}
	struct sighand *s = sighand_new();
	if (!s)
		return NULL;
	unsigned long irq = spin_lock_irq(&old->lock);
	memcpy(s->action, old->action, sizeof(s->action));
	spin_unlock_irq(&old->lock, irq);
	if (a->flags & CLONE_CLEAR_SIGHAND)
		for (unsigned i = 0; i < NSIG; i++)
			if (s->action[i].handler != SIG_IGN)
				memset(&s->action[i], 0, sizeof(s->action[i]));
	return s;
}

static struct process *child_process(const struct clone_args_k *a)
{
	struct process *me = current()->process, *p = process_new();
	if (!p)
		return NULL;
	p->sighand = child_sighand(a);
	if (!p->sighand) {
		process_put(p);
		return NULL;
	}
	p->exit_signal = (u32)a->exit_signal;
	p->personality = me->personality;
	p->randomized = me->randomized;
	p->no_new_privs = me->no_new_privs;
	p->oom_score_adj = me->oom_score_adj;
	p->oom_score_adj_min = me->oom_score_adj_min;
	memcpy(p->rlim, me->rlim, sizeof(p->rlim));
	if (cpu_limit_changed(p)) {
		sighand_put(p->sighand);
		process_put(p);
		return NULL;
	}
	return p;
}

static int child_memory(struct task *t, const struct clone_args_k *a)
{
	struct uspace *u = current()->uspace;
	int err = 0;
	if (a->flags & CLONE_VM) {
		uspace_get(u);
		t->uspace = u;
	} else {
		t->uspace = uspace_fork(u, &err);
	}
	return err;
}

static int child_files(struct task *t, const struct clone_args_k *a)
{
	struct task *me = current();
	if (a->flags & CLONE_FILES) {
		fdtable_get(me->files);
		t->files = me->files;
	} else if (!(t->files = fdtable_copy(me->files))) {
		return -ENOMEM;
	}
	if (a->flags & CLONE_FS) {
		__atomic_add_fetch(&me->fs->refs, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&me->fs->users, 1, __ATOMIC_RELAXED);
		t->fs = me->fs;
	} else if (!(t->fs = fsctx_copy(me->fs))) {
		return -ENOMEM;
	}
	if (a->flags & CLONE_NEWNS)
		return mnt_ns_unshare(t->fs);
	return 0;
}

/* A task that never was visible. */
static void drop_child(struct task *t)
{
	struct process *p = t->process;
	if (t->files)
		fdtable_put(t->files);
	fsctx_leave(t->fs);
	ioports_release(t);
	uspace_put(t->uspace);
	t->files = NULL;
	t->fs = NULL;
	t->uspace = NULL;
	if (p && p != current()->process) {
		itimers_exit(p);
		sighand_put(p->sighand);
		p->leader = NULL;
		process_put(p);
	}
	__atomic_store_n(&t->state, (u32)TASK_DEAD, __ATOMIC_RELEASE);
	task_put(t);
}

static struct task *build(const struct clone_args_k *a, const struct regs *r, int *err)
{
	struct task *t = task_alloc();
	*err = -EAGAIN;
	if (!t)
		return NULL;
	copy_registers(t, a, r);
	ioports_share(t);
	copy_settings(t, a);
	if (a->flags & CLONE_THREAD) {
		t->process = current()->process;
		process_get(t->process);
	} else {
		t->process = child_process(a);
		if (!t->process)
			goto fail;
		t->process->leader = t;
		process_get(t->process); /* the task's; the table has the first */
	}
	t->sighand = t->process->sighand;
	if ((*err = fpu_copy(t, current())))
		goto fail;
	if ((*err = child_files(t, a)))
		goto fail;
	if ((*err = child_memory(t, a)))
		goto fail;
	return t;
fail:
	drop_child(t);
	return NULL;
}

/* ---- the commit
 * ---------------------------------------------------------------------------------- */

static void adopt_locked(struct process *p, const struct clone_args_k *a)
{
	struct process *me = current()->process;
	struct process *parent = a->flags & CLONE_PARENT ? me->parent : me;
	if (!parent)
		parent = init_process;
	p->parent = parent;
	p->ppid = parent->tgid;
	p->parent_tid = a->flags & CLONE_PARENT ? me->parent_tid : current()->tid;
	if (a->flags & CLONE_PARENT)
		p->exit_signal = me->exit_signal;
	p->pgid = me->pgid;
	p->sid = me->sid;
	p->tty = me->tty;
	list_add_tail(&parent->children, &p->sibling);
	list_add_tail(&all_processes, &p->all);
	nr_processes++;
}

/* A new thread of a group that stops, or has stopped; siglock held. */
static void join_stop_locked(struct task *t)
{
	struct process *p = t->process;
	u32 consume = p->stop_count ? JOB_STOP_CONSUME : 0;
	if (!p->stop_count && !p->stopped)
		return;
	if (consume)
		p->stop_count++;
	t->jobctl |= (current()->jobctl & JOB_SIGNAL) | JOB_STOP_PENDING | consume;
	task_flag_set(t, TASK_SIGPENDING);
}

static int link_child(struct task *t, const struct clone_args_k *a, bool traced)
{
	struct process *me = current()->process, *p = t->process;
	int err = 0;
	spin_lock(&tree_lock);
	if (signal_fatal_pending() || me->group_exit ||
	    (me->exec_task && me->exec_task != current()))
		err = -ERESTARTNOINTR;
	else
		err = a->set_tid ? id_take_locked((u32)a->set_tid) : 0;
	if (!err && !(t->tid = a->set_tid ? (u32)a->set_tid : id_alloc_locked()))
		err = -EAGAIN;
	if (err) {
		spin_unlock(&tree_lock);
		return err;
	}
	if (!(a->flags & CLONE_THREAD)) {
		p->tgid = t->tid;
		adopt_locked(p, a);
	}
	task_link_locked(t);
	if (a->flags & CLONE_THREAD) {
		unsigned long irq = spin_lock_irq(&p->siglock);
		join_stop_locked(t);
		/* Killed since it was looked at: the newcomer goes as well. */
		if (p->group_exit || p->exec_task) {
			t->sig_pending.set |= SIGMASK(SIGKILL);
			task_flag_set(t, TASK_SIGPENDING);
		}
		spin_unlock_irq(&p->siglock, irq);
	}
	if (traced || (a->flags & CLONE_PTRACE))
		trace_inherit_locked(t);
	spin_unlock(&tree_lock);
	return 0;
}

static void wait_for_vfork(struct task *t)
{
	while (!__atomic_load_n(&t->vfork_done, __ATOMIC_ACQUIRE)) {
		__atomic_store_n(&current()->state, (u32)TASK_KILLABLE, __ATOMIC_SEQ_CST);
		if (!__atomic_load_n(&t->vfork_done, __ATOMIC_ACQUIRE) && !signal_fatal_pending())
			schedule();
		__atomic_store_n(&current()->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
		if (signal_fatal_pending())
			break;
	}
}

/* What the tracer is to be told of, or 0. */
static int clone_event(const struct clone_args_k *a)
{
	int event = a->flags & CLONE_VFORK      ? PTRACE_EVENT_VFORK
		    : a->exit_signal != SIGCHLD ? PTRACE_EVENT_CLONE
						: PTRACE_EVENT_FORK;
	return !(a->flags & CLONE_UNTRACED) && trace_event_wanted(event) ? event : 0;
}

/* Threads of all processes whose (first thread's) real user this is. */
static u64 threads_of_user(u32 uid)
{
	struct process *p;
	u64 n = 0;

	for (u32 pid = 0; (p = process_next(pid)); process_put(p)) {
		struct task *t = task_find(p->tgid);
		struct cred *c = t ? task_cred_get(t) : NULL;

		pid = p->tgid + 1;
		if (c && c->uid == uid)
			n += p->nr_threads;
		if (c)
			cred_put(c);
		if (t)
			task_put(t);
	}
	return n;
}

/* RLIMIT_NPROC: is there no room for one more?  Root has none. */
static bool too_many(void)
{
	u64 limit = current()->process->rlim[RLIMIT_NPROC].cur;
	u32 uid = current()->cred->uid;

	return nr_threads >= limit && uid && !capable(CAP_SYS_RESOURCE) &&
	       !capable(CAP_SYS_ADMIN) && threads_of_user(uid) >= limit;
}

static long new_task(const struct clone_args_k *a, struct regs *r)
{
	int err = check_flags(a);
	if (err)
		return err;
	if (too_many())
		return -EAGAIN;
	if (quire_kernel_reserve_low())
		quire_kernel_reserve_fill();
	struct task *t = build(a, r, &err);
	if (!t)
		return err;
	int pidfd = -1, event = clone_event(a);
	if (a->flags & CLONE_PIDFD) {
		pidfd = pidfd_install(t->process, 0);
		if (pidfd < 0 || put_user_u32(a->pidfd, (u32)pidfd)) {
			if (pidfd >= 0)
				fd_close(pidfd);
			drop_child(t);
			return pidfd < 0 ? pidfd : -EFAULT;
		}
	}
	if (a->flags & CLONE_VFORK) {
		t->vfork_parent = current();
		task_get(current());
		task_get(t);
	}
	err = link_child(t, a, event);
	if (err) {
		if (pidfd >= 0)
			fd_close(pidfd);
		if (a->flags & CLONE_VFORK) {
			t->vfork_parent = NULL;
			task_put(current());
			task_put(t);
		}
		drop_child(t);
		return err;
	}
	u32 tid = t->tid;
	if (a->flags & CLONE_PARENT_SETTID)
		(void)put_user_u32(a->parent_tid, tid); /* as Linux: too late to fail */
	task_start(t);
	if (event)
		trace_event(event, tid);
	if (a->flags & CLONE_VFORK) {
		wait_for_vfork(t);
		bool done = __atomic_load_n(&t->vfork_done, __ATOMIC_ACQUIRE);
		task_put(t);
		if (done)
			trace_event(PTRACE_EVENT_VFORK_DONE, tid);
	}
	return tid;
}

SYSCALL0(fork)
{
	struct clone_args_k a = {.exit_signal = SIGCHLD};
	return new_task(&a, regs);
}

SYSCALL0(vfork)
{
	struct clone_args_k a = {.flags = CLONE_VFORK | CLONE_VM, .exit_signal = SIGCHLD};
	return new_task(&a, regs);
}

SYSCALL5(clone, u64, flags, u64, stack, u64, parent_tid, u64, child_tid, u64, tls)
{
	struct clone_args_k a = {
	    .flags = (u32)flags & ~0xffu,
	    .exit_signal = flags & 0xff,
	    .stack = stack,
	    .parent_tid = parent_tid,
	    .pidfd = parent_tid,
	    .child_tid = child_tid,
	    .tls = tls,
	};
	if ((a.flags & CLONE_PIDFD) && (a.flags & CLONE_PARENT_SETTID))
		return -EINVAL;
	if (a.exit_signal > NSIG)
		return -EINVAL;
	return new_task(&a, regs);
}

SYSCALL2(clone3, u64, uargs, u64, size)
{
	struct clone_args_k a = {0};
	if (size > QUIRE_PAGE_SIZE)
		return -E2BIG;
	if (size < 64)
		return -EINVAL;
	if (copy_from_user(&a, uargs, quire_min(size, sizeof(a))))
		return -EFAULT;
	for (u64 i = sizeof(a); i < size; i++) {
		u8 b;
		if (copy_from_user(&b, uargs + i, 1))
			return -EFAULT;
		if (b)
			return -E2BIG;
	}
	if (!a.set_tid != !a.set_tid_size || a.set_tid_size > PID_LEVELS)
		return -EINVAL;
	s32 tids[PID_LEVELS];
	if (copy_from_user(tids, a.set_tid, a.set_tid_size * sizeof(*tids)))
		return -EFAULT;
	if ((a.flags & (0xffUL | CLONE_DETACHED)) || a.flags >> 34 || a.exit_signal > NSIG)
		return -EINVAL;
	if ((a.flags & (CLONE_THREAD | CLONE_PARENT)) && a.exit_signal)
		return -EINVAL;
	if (!a.stack != !a.stack_size || a.stack + a.stack_size < a.stack)
		return -EINVAL;
	if (a.set_tid) {
		if (a.set_tid_size > 1 || tids[0] < 1 || tids[0] >= (s32)MAX_PID)
			return -EINVAL; /* there is one namespace of ids */
		if (!capable(CAP_CHECKPOINT_RESTORE) && !capable(CAP_SYS_ADMIN))
			return -EPERM;
		a.set_tid = (u64)tids[0];
	}
	return new_task(&a, regs);
}

SYSCALL1(set_tid_address, u64, uaddr)
{
	current()->clear_child_tid = uaddr;
	return current()->tid;
}
