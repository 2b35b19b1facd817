/* SPDX-License-Identifier: MIT */
/*
 * The first two processes.
 *
 * Pid 1 is the kernel's own: the thread that called proc_start_init() makes pid 2,
 * which runs the program that the configuration names, then reaps whatever comes
 * to it, passes on the host's signals, and when the program has ended kills what
 * is left, writes back, reports, and stops the machine.
 *
 * The program's process is set up by init as far as it can be; the rest (its
 * descriptors, working directory, the exec) it does by itself on its first way to
 * user mode, where sleeping and failing are simple (kernel_first_program()).
 */
#include "../boot/boot.h"
#include "../dev/hostio.h"
#include "../dev/tty.h"
#include "../fs/vfs.h"
#include "internal.h"

#define DYING_PATIENCE (10 * NSEC_PER_SEC)
#define SETTLE_NS 20000000UL
#define STATUS_NOT_FOUND 127
#define STATUS_NOT_EXECUTABLE 126
#define STATUS_OWN_FAILURE 125

static struct process *program; /* pid 2; init keeps a reference */
static u64 host_signals;        /* that came and are not passed on yet; atomic */
static u64 frames_before;       /* CONFIG_FLAG_CHECK */

void proc_host_signal(int sig)
{
	if (sig < 1 || sig > NSIG || !init_process)
		return;
	__atomic_or_fetch(&host_signals, SIGMASK(sig), __ATOMIC_SEQ_CST);
	waitq_wake_all(&init_process->wait_child);
}

/* ---- what the configuration says ------------------------------------------------------------ */

static char *config_string(u32 type)
{
	size_t len;
	const char *v = config_get(type, 0, &len);
	char *s = v ? quire_kmalloc(len + 1, GFP_KERNEL) : NULL;
	if (s) {
		memcpy(s, v, len);
		s[len] = 0;
	}
	return s;
}

static struct cred *config_cred(void)
{
	size_t len;
	const u32 *ids = config_get(CONFIG_CRED, 0, &len);
	unsigned n = (unsigned)(len / sizeof(u32));
	struct cred *c = cred_new(n > 2 ? n - 2 : 0);
	if (!c)
		return NULL;
	if (n >= 2) {
		c->uid = c->euid = c->suid = c->fsuid = ids[0];
		c->gid = c->egid = c->sgid = c->fsgid = ids[1];
		for (unsigned i = 2; i < n; i++)
			c->groups[i - 2] = ids[i];
	}
	c->cap_bounding = CAP_FULL;
	if (!c->uid)
		c->cap_permitted = c->cap_effective = CAP_FULL;
	return c;
}

static void config_limits(struct process *p)
{
	size_t len;
	const struct rlimit *r = config_get(CONFIG_RLIMITS, 0, &len);
	for (unsigned i = 0; i < RLIM_COUNT; i++)
		p->rlim[i] = (struct rlimit){~0UL, ~0UL};
	p->rlim[RLIMIT_STACK].cur = 8UL << 20;
	p->rlim[RLIMIT_NOFILE] = (struct rlimit){1024, 4096};
	p->rlim[RLIMIT_CORE].cur = 0;
	p->rlim[RLIMIT_MEMLOCK] = (struct rlimit){8UL << 20, 8UL << 20};
	if (r && len >= sizeof(p->rlim))
		memcpy(p->rlim, r, sizeof(p->rlim));
}

static void config_signals(struct task *t, struct sighand *s)
{
	size_t len;
	const u64 *v = config_get(CONFIG_SIGNALS, 0, &len);
	if (!v || len < 2 * sizeof(u64))
		return;
	for (int sig = 1; sig <= NSIG; sig++)
		if ((v[0] & SIGMASK(sig)) && sig != SIGKILL && sig != SIGSTOP)
			s->action[sig - 1].handler = SIG_IGN;
	t->sig_blocked = v[1] & ~(SIGMASK(SIGKILL) | SIGMASK(SIGSTOP));
}

/* ---- the program's process, in its own context ---------------------------------------------- */

static _Noreturn void cannot_start(const char *name, int err)
{
	char line[384];
	int n;
	bool missing = err == -ENOENT || err == -ENOTDIR;
	if (missing && !strchr(name, '/'))
		n = snprintf(line, sizeof(line), "%s: command not found", name);
	else
		n = snprintf(line, sizeof(line), "%s: %s", name,
			     missing           ? "no such file"
			     : err == -EACCES  ? "permission denied"
			     : err == -ENOEXEC ? "not an x86-64 ELF program or a script with #!"
			     : err == -ELIBBAD ? "its interpreter is not an x86-64 ELF program"
			     : err == -E2BIG   ? "too many arguments for the stack limit"
			     : err == -ENOMEM  ? "not enough memory; give the guest more with --ram"
			     : err == -ELOOP   ? "too many symbolic links or interpreters"
					       : "cannot be run");
	if (n >= (int)sizeof(line))
		n = sizeof(line) - 1;
	hostio_notice(HOSTIO_FATAL, line, (size_t)n);
	group_exit((missing ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE) << 8);
}

/* For the benchmarks: what came before the program.  ns are instructions in a
 * deterministic run. */
static void log_start_cost(void)
{
	struct quire_meminfo m;
	quire_meminfo(&m);
	u64 own = m.reserved + m.total - m.free - m.file_cache - m.anon - m.page_tables;
	quire_host_log(QUIRE_LOG_INFO,
		       "first program instruction %lu ns after the kernel's; %lu KiB of %lu are "
		       "the kernel's own",
		       time_since_entry(), own * 4, (m.reserved + m.total) * 4);
}

static void enter_cwd(struct task *t)
{
	struct path p, old;
	char *cwd = config_string(CONFIG_CWD);
	int err = cwd ? path_lookup(AT_FDCWD, cwd, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &p) : 0;
	if (err)
		quire_host_log(QUIRE_LOG_WARN, "cannot enter %s (error %d): starting in /", cwd,
			       -err);
	if (cwd && !err) {
		spin_lock(&t->fs->lock);
		old = *t->fs->cwd;
		*t->fs->cwd = p;
		spin_unlock(&t->fs->lock);
		path_put(&old);
	}
	quire_kfree(cwd);
}

/* PATH of the program's environment, or the usual one; len excludes the terminator. */
static const char *search_path(size_t *len)
{
	static const char usual[] = "/usr/local/bin:/usr/bin:/bin";
	size_t n;
	const char *e = config_get(CONFIG_ENVP, 0, &n), *end = e + n;
	for (; e && e < end; e += strnlen(e, (size_t)(end - e)) + 1)
		if (end - e > 5 && !memcmp(e, "PATH=", 5)) {
			*len = strnlen(e + 5, (size_t)(end - e) - 5);
			return e + 5;
		}
	*len = sizeof(usual) - 1;
	return usual;
}

static int open_program(const char *path, struct file **f)
{
	struct path p;
	int err = path_lookup(AT_FDCWD, path, LOOKUP_FOLLOW, &p);
	if (err)
		return err;
	struct inode *i = p.dentry->inode;
	if (!i)
		err = -ENOENT;
	else
		err = S_ISREG(i->mode) ? inode_permission(i, 1) : -EACCES;
	if (!err)
		err = file_open_path(&p, O_RDONLY | O_LARGEFILE, f);
	path_put(&p);
	return err;
}

/* As the shell does it: the first executable file of that name; its path into found. */
static int find_program(const char *name, char *found, size_t max, struct file **f)
{
	size_t len;
	const char *dirs = search_path(&len), *end = dirs + len;
	int result = -ENOENT;
	if (strchr(name, '/') || !*name) {
		strlcpy(found, name, max);
		return *name ? open_program(name, f) : -ENOENT;
	}
	for (const char *d = dirs; d <= end;) {
		const char *colon = memchr(d, ':', (size_t)(end - d));
		size_t n = (size_t)((colon ? colon : end) - d);
		if (n + strlen(name) + 2 <= max) {
			memcpy(found, d, n);
			snprintf(found + n, max - n, "%s%s", n ? "/" : "", name);
			int err = open_program(found, f);
			if (!err)
				return 0;
			if (err != -ENOENT && err != -ENOTDIR)
				result = err;
		}
		d += n + 1;
	}
	return result;
}

static unsigned count_strings(const char *s, size_t len)
{
	unsigned n = 0;
	for (size_t i = 0; i < len; i++)
		n += !s[i];
	return n;
}

static int config_args(struct argbuf *b)
{
	size_t alen, elen;
	const char *argv = config_get(CONFIG_ARGV, 0, &alen);
	const char *envp = config_get(CONFIG_ENVP, 0, &elen);
	b->argc = count_strings(argv, alen);
	b->envc = count_strings(envp, elen);
	b->argv_len = alen;
	b->envp_len = elen;
	int err = argbuf_add(b, argv, alen);
	return err ? err : argbuf_add(b, envp, elen);
}

void kernel_first_program(struct regs *r)
{
	struct task *t = current();
	struct argbuf args = {0};
	struct file *f;
	char *name = config_string(CONFIG_PROGRAM), *found = quire_kmalloc(PATH_MAX, GFP_KERNEL);
	if (!name || !found) {
		hostio_notice(HOSTIO_FATAL, "no program was named", 20);
		group_exit(STATUS_OWN_FAILURE << 8);
	}
	int err = hostio_open_stdio();
	if (err)
		quire_host_log(QUIRE_LOG_WARN, "standard input and output: error %d", -err);
	enter_cwd(t);
	err = find_program(name, found, PATH_MAX, &f);
	if (!err) {
		err = config_args(&args);
		if (err)
			file_put(f);
	}
	bool gone; /* either way there is no program to go back to */
	if (!err)
		err = exec_program(f, found, &args, r, &gone);
	argbuf_free(&args);
	quire_kfree(found);
	if (err)
		cannot_start(name, err);
	r->rax = 0;
	quire_kfree(name);
	log_start_cost();
}

/* ---- making the processes
 * ------------------------------------------------------------------------ */

static void become_init(struct task *t)
{
	struct process *p = process_new();
	struct cred *c = cred_new(0);
	REQUIRE(p && c);
	c->cap_bounding = c->cap_permitted = c->cap_effective = CAP_FULL;
	t->cred = c;
	t->process = p;
	process_get(p);
	sigpending_init(&t->sig_pending);
	list_init(&t->thread);
	list_init(&t->hash);
	p->leader = t;
	p->sighand = t->sighand = sighand_new();
	REQUIRE(p->sighand);
	for (unsigned i = 0; i < RLIM_COUNT; i++)
		p->rlim[i] = (struct rlimit){~0UL, ~0UL};
	strlcpy(t->comm, "quire-init", sizeof(t->comm));
	spin_lock(&tree_lock);
	p->tgid = p->pgid = p->sid = t->tid = id_alloc_locked();
	list_add_tail(&all_processes, &p->all);
	nr_processes++;
	init_process = p;
	task_link_locked(t);
	spin_unlock(&tree_lock);
}

static int init_fs(struct task *t)
{
	size_t len;
	const u32 *mask = config_get(CONFIG_UMASK, 0, &len);
	t->fs = fsctx_copy(NULL);
	t->files = fdtable_new();
	if (!t->fs || !t->files)
		return -ENOMEM;
	if (mask && len >= sizeof(u32))
		t->fs->umask = *mask & 0777;
	int err = path_lookup(AT_FDCWD, "/", LOOKUP_FOLLOW, t->fs->root);
	if (!err) {
		*t->fs->cwd = *t->fs->root;
		path_get(t->fs->cwd);
		t->fs->ns = first_mnt_ns();
	}
	return err;
}

static int start_program(void)
{
	struct task *t = task_alloc();
	struct process *p = t ? process_new() : NULL;
	if (!p)
		return -ENOMEM;
	struct regs *r = task_regs(t);
	memset(r, 0, sizeof(*r));
	r->cs = USER_CS;
	r->ss = USER_SS;
	r->rflags = RFLAGS_IF;
	r->orig_rax = ~0UL;
	sigpending_init(&t->sig_pending);
	list_init(&t->thread);
	list_init(&t->hash);
	t->start_time = time_ns();
	t->timer_slack = 50000;
	strlcpy(t->comm, "quire-start", sizeof(t->comm));
	t->process = p;
	process_get(p);
	process_get(p); /* init's own */
	program = p;
	p->leader = t;
	p->sighand = t->sighand = sighand_new();
	t->cred = config_cred();
	if (!p->sighand || !t->cred)
		return -ENOMEM;
	int err = fpu_init_task(t);
	if (!err)
		err = init_fs(t);
	if (err)
		return err;
	config_limits(p);
	err = cpu_limit_changed(p);
	if (err)
		return err;
	config_signals(t, p->sighand);
	if (config_flags() & CONFIG_FLAG_NO_ASLR)
		p->personality |= PERSONALITY_NO_RANDOMIZE;
	task_flag_set(t, TASK_WORK_EXEC);
	spin_lock(&tree_lock);
	p->tgid = p->pgid = p->sid = t->tid = id_alloc_locked();
	p->parent = init_process;
	p->ppid = init_process->tgid;
	list_add_tail(&init_process->children, &p->sibling);
	list_add_tail(&all_processes, &p->all);
	nr_processes++;
	task_link_locked(t);
	spin_unlock(&tree_lock);
	task_start(t);
	return 0;
}

/* ---- pid 1's life
 * ------------------------------------------------------------------------------------ */

/* A zombie among init's children, taken out of the tree. */
static struct process *reap_one(void)
{
	struct process *c, *found = NULL;
	spin_lock(&tree_lock);
	list_for_each (c, &init_process->children, sibling)
		if (c->zombie && !c->leader->trace.tracer) {
			found = c;
			init_process->cmaxrss =
			    quire_max(init_process->cmaxrss, quire_max(c->maxrss, c->cmaxrss));
			release_process_locked(c);
			break;
		}
	spin_unlock(&tree_lock);
	return found;
}

static void pass_signals(void)
{
	u64 set = __atomic_exchange_n(&host_signals, 0, __ATOMIC_SEQ_CST);
	while (set) {
		int sig = __builtin_ctzl(set) + 1;
		set &= set - 1;
		if (send_signal_group(program->pgid, sig, NULL))
			send_signal_process(program, sig, NULL);
	}
}

static void reap_until(bool *done, u64 deadline)
{
	struct process *c = NULL;
	while (!*done) {
		int err = wait_event_state(&init_process->wait_child,
					   (c = reap_one()) ||
					       __atomic_load_n(&host_signals, __ATOMIC_SEQ_CST),
					   TASK_UNINTERRUPTIBLE, deadline);
		if (c == program)
			*done = true;
		if (c)
			process_finished(c);
		pass_signals();
		if (err && !c)
			return;
		c = NULL;
		if (deadline != ~0UL && nr_processes == 1)
			return;
	}
}

static void kill_the_rest(void)
{
	struct process *p;
	bool never = false;
	spin_lock(&tree_lock);
	list_for_each (p, &all_processes, all)
		if (p != init_process)
			send_signal_process(p, SIGKILL, NULL);
	spin_unlock(&tree_lock);
	if (nr_processes > 1)
		reap_until(&never, time_ns() + DYING_PATIENCE);
	if (nr_processes > 1)
		quire_host_log(QUIRE_LOG_WARN, "%u processes did not end in time",
			       nr_processes - 1);
}

/* ---- the end
 * -------------------------------------------------------------------------------------------- */

/* Frames that no cache explains. */
static u64 frames_in_use(void)
{
	struct quire_meminfo m;
	quire_rcu_barrier();
	quire_meminfo(&m);
	return m.total - m.free - m.file_cache - m.shmem - m.slab_reclaimable -
	       m.slab_unreclaimable - m.kernel_areas - pty_frames() - m.retired;
}

/* Let what was put off happen: RCU's callbacks, threads of the kernel that hold something. */
static void settle(void)
{
	u64 until = time_ns() + SETTLE_NS;
	quire_rcu_barrier();
	do
		__atomic_store_n(&current()->state, (u32)TASK_UNINTERRUPTIBLE, __ATOMIC_SEQ_CST);
	while (schedule_until(until));
	__atomic_store_n(&current()->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
}

static bool leak_check(void)
{
	settle();
	vfs_drop_hints();
	u64 now = frames_in_use();
	quire_check_all();
	if (now <= frames_before)
		return true;
	quire_host_log(QUIRE_LOG_ERR, "%lu frames are missing: %lu in use, %lu before the program",
		       now - frames_before, now, frames_before);
	return false;
}

static void send_stat(void)
{
	char *text = quire_kmalloc(8192, GFP_KERNEL);
	if (!text)
		return;
	size_t n = stat_table(text, 8192);
	hostio_notice(HOSTIO_STAT, text, n);
	quire_kfree(text);
}

void proc_start_init(void *unused)
{
	(void)unused;
	bool done = false;
	u64 flags = config_flags();
	become_init(current());
	if (flags & CONFIG_FLAG_CHECK)
		frames_before = frames_in_use();
	int err = start_program();
	if (err) {
		quire_host_log(QUIRE_LOG_ERR, "cannot make the first process: error %d", -err);
		hostio_notice_value(HOSTIO_EXIT, STATUS_OWN_FAILURE);
		machine_exit(STATUS_OWN_FAILURE);
	}
	reap_until(&done, ~0UL);
	u32 st = program->exit_status;
	int status = st & 0x7f ? 128 + (int)(st & 0x7f) : (int)(st >> 8 & 0xff);
	kill_the_rest();
	err = vfs_sync_all();
	if (err)
		quire_host_log(QUIRE_LOG_ERR, "writing files back failed: error %d", -err);
	if (flags & CONFIG_FLAG_STAT)
		send_stat();
	process_put(program);
	if ((flags & CONFIG_FLAG_CHECK) && !leak_check())
		status = STATUS_OWN_FAILURE;
	hostio_notice_value(HOSTIO_EXIT, status);
	machine_exit(status);
}
