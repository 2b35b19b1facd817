/* SPDX-License-Identifier: MIT */
/*
 * Processes and their ids: allocation, look-up, and what tasks share.
 *
 * One table finds tasks by tid; a process is found through the task that has
 * its id, which stays in the table until the process is reaped.  The table, the
 * list of processes and the tree of parents are guarded by tree_lock.  What a task
 * has (uspace, files, fs) changes under its process's siglock, so that others
 * can look at it; credentials are read under RCU.
 *
 * Not here: how processes begin (clone.c, init.c) and end (exit.c).
 */
#include "../fs/vfs.h"
#include "internal.h"

#define TID_BUCKETS 256

struct spinlock tree_lock = SPINLOCK_INIT(RANK_HOST_MID + 6);
struct list all_processes = LIST_INIT(all_processes);
struct process *init_process;
u32 nr_processes, nr_threads;

static struct list tid_table[TID_BUCKETS];
static u32 last_id;
static bool ids_used_again; /* a free task id may still be a group's */
static u64 ids_given;       /* guarded by tree_lock */
static struct quire_kmem *process_cache, *sighand_cache, *uspace_cache;

void proc_init(void)
{
	for (unsigned i = 0; i < TID_BUCKETS; i++)
		list_init(&tid_table[i]);
	process_cache = quire_kmem_create("process", sizeof(struct process), 0);
	sighand_cache = quire_kmem_create("sighand", sizeof(struct sighand), 0);
	uspace_cache = quire_kmem_create("uspace", sizeof(struct uspace), 0);
	signal_init();
	sigframe_init();
	futex_init();
}

/* ---- ids ---------------------------------------------------------------------------- */

struct task *task_find_locked(u32 tid)
{
	struct task *t;
	list_for_each (t, &tid_table[tid % TID_BUCKETS], hash)
		if (t->tid == tid)
			return t;
	return NULL;
}

/* A group's or session's id stays taken while a member is left. */
static bool id_in_use_locked(u32 id, bool all)
{
	struct process *p;
	if (task_find_locked(id))
		return true;
	if (all)
		list_for_each (p, &all_processes, all)
			if (p->pgid == id || p->sid == id)
				return true;
	return false;
}

u32 id_alloc_locked(void)
{
	for (u32 tries = 0; tries < MAX_PID; tries++) {
		if (++last_id >= MAX_PID) {
			last_id = 300; /* as Linux: the low ids aren't used again */
			ids_used_again = true;
		}
		if (!id_in_use_locked(last_id, ids_used_again)) {
			ids_given++;
			return last_id;
		}
	}
	return 0;
}

int id_take_locked(u32 id)
{
	if (id_in_use_locked(id, true))
		return -EEXIST;
	ids_used_again = true;
	ids_given++;
	return 0;
}

void task_stats(struct task_stats *s)
{
	struct process *p;
	struct task *t;
	spin_lock(&tree_lock);
	*s = (struct task_stats){.made = ids_given, .last = last_id};
	list_for_each (p, &all_processes, all) {
		if (p == init_process)
			continue;
		unsigned long irq = spin_lock_irq(&p->siglock);
		list_for_each (t, &p->threads, thread)
			s->blocked +=
			    __atomic_load_n(&t->state, __ATOMIC_RELAXED) == TASK_UNINTERRUPTIBLE;
		spin_unlock_irq(&p->siglock, irq);
	}
	spin_unlock(&tree_lock);
}

void task_link_locked(struct task *t)
{
	struct process *p = t->process;
	task_get(t);
	unsigned long irq = spin_lock_irq(&p->siglock);
	list_add_tail(&p->threads, &t->thread);
	p->nr_threads++;
	p->nr_running++;
	spin_unlock_irq(&p->siglock, irq);
	list_add(&tid_table[t->tid % TID_BUCKETS], &t->hash);
	nr_threads++;
}

void task_unlink_locked(struct task *t)
{
	struct process *p = t->process;
	unsigned long irq = spin_lock_irq(&p->siglock);
	list_del(&t->thread);
	p->nr_threads--;
	spin_unlock_irq(&p->siglock, irq);
	list_del(&t->hash);
	nr_threads--;
}

struct task *task_find(u32 tid)
{
	spin_lock(&tree_lock);
	struct task *t = task_find_locked(tid);
	if (t)
		task_get(t);
	spin_unlock(&tree_lock);
	return t;
}

struct process *process_find(u32 pid)
{
	spin_lock(&tree_lock);
	struct task *t = task_find_locked(pid);
	struct process *p = t && t->process->tgid == pid ? t->process : NULL;
	if (p)
		process_get(p);
	spin_unlock(&tree_lock);
	return p;
}

struct process *process_next(u32 pid)
{
	struct process *p, *best = NULL;
	spin_lock(&tree_lock);
	list_for_each (p, &all_processes, all)
		if (p->tgid >= pid && (!best || p->tgid < best->tgid))
			best = p;
	if (best)
		process_get(best);
	spin_unlock(&tree_lock);
	return best;
}

/* ---- processes ------------------------------------------------------------------------ */

struct process *process_new(void)
{
	struct process *p = quire_kmem_alloc(process_cache, GFP_KERNEL);
	if (!p)
		return NULL;
	memset(p, 0, sizeof(*p));
	p->refs = 1;
	list_init(&p->children);
	list_init(&p->sibling);
	list_init(&p->threads);
	list_init(&p->all);
	spin_init(&p->siglock, RANK_HOST_MID + 10);
	sigpending_init(&p->sig_pending);
	waitq_init(&p->wait_signal);
	waitq_init(&p->wait_child);
	waitq_init(&p->wait_pidfd);
	waitq_init(&p->wait_exec);
	p->start_time = time_ns();
	p->exit_signal = SIGCHLD;
	return p;
}

void process_get(struct process *p)
{
	__atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
}

void process_put(struct process *p)
{
	if (__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL))
		return;
	ASSERT(list_empty(&p->children));
	timers_free(p);
	quire_kmem_free(process_cache, p);
}

void proc_task_free(struct task *t)
{
	cred_put(t->cred);
	if (t->process)
		process_put(t->process);
	t->cred = NULL;
	t->process = NULL;
}

bool process_group_in_session(u32 pgid, u32 sid)
{
	struct process *p;
	bool found = false;
	spin_lock(&tree_lock);
	list_for_each (p, &all_processes, all)
		if (p->pgid == pgid && p->sid == sid) {
			found = true;
			break;
		}
	spin_unlock(&tree_lock);
	return found;
}

/* ---- what threads share ------------------------------------------------------------------ */

struct sighand *sighand_new(void)
{
	struct sighand *s = quire_kmem_alloc(sighand_cache, GFP_KERNEL);
	if (!s)
		return NULL;
	memset(s, 0, sizeof(*s));
	s->refs = 1;
	spin_init(&s->lock, RANK_HOST_MID + 11);
	return s;
}

void sighand_get(struct sighand *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
}

void sighand_put(struct sighand *s)
{
	if (s && !__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
		quire_kmem_free(sighand_cache, s);
}

static u64 last_uspace; /* the id of the last address space; atomic */

struct uspace *uspace_new(void)
{
	struct uspace *u = quire_kmem_alloc(uspace_cache, GFP_KERNEL);
	if (!u)
		return NULL;
	memset(u, 0, sizeof(*u));
	u->refs = 1;
	u->id = __atomic_add_fetch(&last_uspace, 1, __ATOMIC_RELAXED);
	u->dumpable = true;
	spin_init(&u->exe_lock, RANK_HOST_MID + 2);
	mutex_init(&u->ldt_lock, RANK_HOST_OUTER + 15);
	if (quire_mm_create(u, &u->mm)) {
		quire_kmem_free(uspace_cache, u);
		return NULL;
	}
	return u;
}

struct uspace *uspace_fork(struct uspace *from, int *err)
{
	struct uspace *u = quire_kmem_alloc(uspace_cache, GFP_KERNEL);
	*err = -ENOMEM;
	if (!u)
		return NULL;
	memset(u, 0, sizeof(*u));
	u->refs = 1;
	u->id = __atomic_add_fetch(&last_uspace, 1, __ATOMIC_RELAXED);
	u->dumpable = from->dumpable;
	spin_init(&u->exe_lock, RANK_HOST_MID + 2);
	mutex_init(&u->ldt_lock, RANK_HOST_OUTER + 15);
	*err = ldt_copy(u, from);
	if (!*err)
		*err = quire_mm_fork(from->mm, u, &u->mm);
	if (*err) {
		ldt_free(u->ldt);
		quire_kmem_free(uspace_cache, u);
		return NULL;
	}
	spin_lock(&from->exe_lock);
	u->exe = from->exe;
	if (u->exe) {
		file_get(u->exe);
		__atomic_sub_fetch(&u->exe->inode->writers, 1, __ATOMIC_RELAXED);
	}
	spin_unlock(&from->exe_lock);
	memcpy(u->auxv, from->auxv, sizeof(u->auxv));
	u->auxv_words = from->auxv_words;
	return u;
}

void uspace_get(struct uspace *u)
{
	__atomic_add_fetch(&u->refs, 1, __ATOMIC_RELAXED);
}

void uspace_put(struct uspace *u)
{
	if (!u || __atomic_sub_fetch(&u->refs, 1, __ATOMIC_ACQ_REL))
		return;
	uspace_unload(u);
	ldt_free(u->ldt);
	quire_mm_put(u->mm);
	oom_freed(u);
	if (u->exe) {
		/* It may be opened for writing again. */
		__atomic_add_fetch(&u->exe->inode->writers, 1, __ATOMIC_RELAXED);
		file_put(u->exe);
	}
	quire_kmem_free(uspace_cache, u);
}

struct fsctx *fsctx_copy(struct fsctx *f)
{
	struct fsctx *n = quire_kmalloc(sizeof(*n) + 2 * sizeof(struct path), GFP_KERNEL);
	if (!n)
		return NULL;
	memset(n, 0, sizeof(*n) + 2 * sizeof(struct path));
	n->refs = n->users = 1;
	spin_init(&n->lock, RANK_HOST_MID + 2);
	n->cwd = (struct path *)(n + 1);
	n->root = n->cwd + 1;
	n->umask = 022;
	if (!f)
		return n;
	spin_lock(&f->lock);
	*n->cwd = *f->cwd;
	*n->root = *f->root;
	n->umask = f->umask;
	path_get(n->cwd);
	path_get(n->root);
	n->ns = f->ns;
	mnt_ns_get(n->ns);
	spin_unlock(&f->lock);
	return n;
}

void fsctx_put(struct fsctx *f)
{
	if (!f || __atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (f->cwd->dentry)
		path_put(f->cwd);
	if (f->root->dentry)
		path_put(f->root);
	if (f->ns)
		mnt_ns_put(f->ns);
	quire_kfree(f);
}

void fsctx_leave(struct fsctx *f)
{
	if (f)
		__atomic_sub_fetch(&f->users, 1, __ATOMIC_RELEASE);
	fsctx_put(f);
}

/* ---- looking at another task -------------------------------------------------------------- */

struct task *process_leader_get(struct process *p)
{
	unsigned long irq = spin_lock_irq(&p->siglock);
	struct task *t = p->leader;
	if (t)
		task_get(t);
	spin_unlock_irq(&p->siglock, irq);
	return t;
}

struct uspace *process_uspace_get(struct process *p)
{
	struct uspace *u = NULL;
	struct task *t;
	unsigned long irq = spin_lock_irq(&p->siglock);
	list_for_each (t, &p->threads, thread)
		if ((u = t->uspace) != NULL) {
			uspace_get(u);
			break;
		}
	spin_unlock_irq(&p->siglock, irq);
	return u;
}

struct uspace *task_uspace_get(struct task *t)
{
	if (!t->process)
		return NULL;
	unsigned long irq = spin_lock_irq(&t->process->siglock);
	struct uspace *u = t->uspace;
	if (u)
		uspace_get(u);
	spin_unlock_irq(&t->process->siglock, irq);
	return u;
}

struct fdtable *task_files_get(struct task *t)
{
	if (!t->process)
		return NULL;
	unsigned long irq = spin_lock_irq(&t->process->siglock);
	struct fdtable *f = t->files;
	if (f)
		fdtable_get(f);
	spin_unlock_irq(&t->process->siglock, irq);
	return f;
}

struct fsctx *task_fs_get(struct task *t)
{
	if (!t->process)
		return NULL;
	unsigned long irq = spin_lock_irq(&t->process->siglock);
	struct fsctx *f = t->fs;
	if (f)
		__atomic_add_fetch(&f->refs, 1, __ATOMIC_RELAXED);
	spin_unlock_irq(&t->process->siglock, irq);
	return f;
}

/* ---- credentials ---------------------------------------------------------------------------- */

struct cred *cred_new(unsigned ngroups)
{
	struct cred *c = quire_kmalloc(sizeof(*c) + ngroups * sizeof(u32), GFP_KERNEL);
	if (!c)
		return NULL;
	memset(c, 0, sizeof(*c) + ngroups * sizeof(u32));
	c->refs = 1;
	c->ngroups = ngroups;
	return c;
}

struct cred *cred_copy(const struct cred *c)
{
	struct cred *n = cred_new(c->ngroups);
	if (!n)
		return NULL;
	memcpy(n, c, sizeof(*c) + c->ngroups * sizeof(u32));
	n->refs = 1;
	return n;
}

void cred_get(struct cred *c)
{
	__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
}

static void cred_free_rcu(struct quire_rcu *r)
{
	quire_kfree(quire_container_of(r, struct cred, rcu));
}

void cred_put(struct cred *c)
{
	if (c && !__atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL))
		quire_rcu_call(&c->rcu, cred_free_rcu);
}

struct cred *task_cred_get(struct task *t)
{
	quire_rcu_read_lock();
	struct cred *c = __atomic_load_n(&t->cred, __ATOMIC_ACQUIRE);
	if (c) {
		s32 n = __atomic_load_n(&c->refs, __ATOMIC_RELAXED);
		while (n && !__atomic_compare_exchange_n(&c->refs, &n, n + 1, true,
							 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			;
		if (!n)
			c = NULL;
	}
	quire_rcu_read_unlock();
	return c;
}

void cred_install(struct cred *c)
{
	struct task *t = current();
	struct cred *old = t->cred;
	struct uspace *u = t->uspace;
	__atomic_store_n(&t->cred, c, __ATOMIC_RELEASE);
	/* Who becomes somebody else, or more, isn't looked into any more. */
	if (u && (old->euid != c->euid || old->egid != c->egid || old->fsuid != c->fsuid ||
		  old->fsgid != c->fsgid || (c->cap_permitted & ~old->cap_permitted))) {
		u->dumpable = false;
		t->pdeath_signal = 0;
	}
	cred_put(old);
}

bool in_group(const struct cred *c, u32 gid)
{
	if (c->fsgid == gid)
		return true;
	for (u32 i = 0; i < c->ngroups; i++)
		if (c->groups[i] == gid)
			return true;
	return false;
}

/* ---- time used --------------------------------------------------------------------------------
 */

void task_cpu_times(struct task *t, u64 *user, u64 *system)
{
	*user = t->utime;
	*system = t->stime;
	if (t == current())
		*system += time_ns() - t->time_mark;
}

void process_cpu_times(struct process *p, u64 *user, u64 *system)
{
	struct task *t;
	unsigned long irq = spin_lock_irq(&p->siglock);
	*user = p->utime;
	*system = p->stime;
	list_for_each (t, &p->threads, thread) {
		u64 u, s;
		if (t->exiting >= 2)
			continue; /* counted in the process already */
		task_cpu_times(t, &u, &s);
		*user += u;
		*system += s;
	}
	spin_unlock_irq(&p->siglock, irq);
}
