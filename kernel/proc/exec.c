/* SPDX-License-Identifier: MIT */
/*
 * execve: replacing a program.
 *
 * First everything that can be refused: find the file, follow #! lines, read the
 * ELF headers of program and interpreter, collect the arguments.  Then the point of
 * no return: the other threads end, a new address space comes, and whatever fails
 * from there on kills the process, as on Linux.
 *
 * Set-user-id and set-group-id bits and file capabilities are not honoured: a
 * program runs with the ids of its caller (as if the file system were mounted nosuid).
 */
#include "../fs/vfs.h"
#include "../io/fdtable.h"
#include "../vdso/vdso.h"
#include "trace.h"

#define SCRIPT_DEPTH 5
#define SCRIPT_LINE 256
#define STACK_ROOM (32 * QUIRE_PAGE_SIZE)

/* ---- which file runs ------------------------------------------------------------------------ */

/* Nobody may write to what is being executed. */
static int deny_write(struct file *f)
{
	s32 w = __atomic_load_n(&f->inode->writers, __ATOMIC_RELAXED);
	do {
		if (w > 0)
			return -ETXTBSY;
	} while (!__atomic_compare_exchange_n(&f->inode->writers, &w, w - 1, true, __ATOMIC_ACQUIRE,
					      __ATOMIC_RELAXED));
	return 0;
}

static void allow_write(struct file *f)
{
	__atomic_add_fetch(&f->inode->writers, 1, __ATOMIC_RELEASE);
}

static void close_exec(struct file *f)
{
	allow_write(f);
	file_put(f);
}

/* f as opened: may it be executed?  Consumes f when not. */
static int check_exec(struct file *f)
{
	int err = S_ISREG(f->inode->mode) && !path_noexec(&f->path) ? inode_permission(f->inode, 1)
								    : -EACCES;
	if (!err)
		err = deny_write(f);
	if (err)
		file_put(f);
	return err;
}

static int open_exec(int dirfd, const char *path, u32 flags, struct file **out)
{
	struct path p;
	int err = path_lookup(dirfd, path, flags, &p);
	if (err)
		return err;
	struct inode *i = p.dentry->inode;
	if (!i)
		err = -ENOENT;
	else if (S_ISLNK(i->mode))
		err = -ELOOP;
	else if (!S_ISREG(i->mode))
		err = -EACCES;
	else
		err = inode_permission(i, 1);
	if (!err)
		err = file_open_path(&p, O_RDONLY | O_LARGEFILE, out);
	path_put(&p);
	return err ? err : check_exec(*out);
}

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

static char *skip_blanks(char *p, const char *last)
{
	while (p <= last && blank(*p))
		p++;
	return p;
}

static char *word_end(char *p, const char *last)
{
	while (p <= last && *p && !blank(*p))
		p++;
	return p;
}

/*
 * The interpreter and its argument of a "#!" line; -ENOEXEC: no such line.  The line is
 * the file's beginning with zeroes behind it, and is changed.  A NUL ends a word and does not
 * end the line, so a name can be empty, and so can the argument be, as on Linux.
 */
static int parse_script(char line[SCRIPT_LINE], char **interp, char **arg)
{
	char *last = line + SCRIPT_LINE - 1, *end = line + 2, *rest;
	if (line[0] != '#' || line[1] != '!')
		return -ENOEXEC;
	while (end <= last && *end && *end != '\n')
		end++;
	if (end > last || !*end) {
		rest = skip_blanks(line + 2, last);
		if (word_end(rest, last) > last)
			return -ENOEXEC; /* its name was cut off */
		end = last;
	}
	while (blank(end[-1]))
		end--;
	*interp = skip_blanks(line + 2, end);
	if (*interp >= end)
		return -ENOEXEC;
	rest = word_end(*interp, end);
	*arg = NULL;
	if (rest <= end && *rest) {
		*arg = skip_blanks(rest, end);
		if (*arg > end)
			*arg = NULL;
		else
			*rest = 0;
	}
	*end = 0;
	return 0;
}

struct program {
	struct file *file, *interp_file;
	struct elf_file *elf, *interp;
	bool has_interp;
};

static void program_free(struct program *g)
{
	if (g->file)
		close_exec(g->file);
	if (g->interp_file)
		close_exec(g->interp_file);
	elf_free(g->elf);
	elf_free(g->interp);
}

/* Follow scripts to an ELF file.  g->file is the file on entry. */
static int find_elf(struct program *g, const char *name, struct argbuf *args)
{
	char line[SCRIPT_LINE], *interp, *arg, *elf_interp = NULL;
	char *script = NULL; /* the name the next interpreter is given */
	int err = 0;
	for (unsigned depth = 0;; depth++) {
		memset(line, 0, sizeof(line));
		s64 n = file_read_kernel(g->file, line, SCRIPT_LINE, 0);
		if (n < 0) {
			err = (int)n;
			break;
		}
		if (parse_script(line, &interp, &arg)) {
			err = elf_open(g->file, &g->elf, &elf_interp);
			break;
		}
		if (depth >= SCRIPT_DEPTH) {
			err = -ELOOP;
			break;
		}
		err = argbuf_replace_first(args, interp, arg, script ? script : name);
		if (err)
			break;
		size_t len = strlen(interp) + 1;
		quire_kfree(script);
		script = quire_kmalloc(len, GFP_KERNEL);
		if (!script) {
			err = -ENOMEM;
			break;
		}
		memcpy(script, interp, len);
		close_exec(g->file);
		g->file = NULL;
		err = open_exec(AT_FDCWD, script, LOOKUP_FOLLOW | LOOKUP_EMPTY, &g->file);
		if (err) {
			g->file = NULL;
			break;
		}
	}
	quire_kfree(script);
	if (!err && elf_interp) {
		g->has_interp = true;
		err =
		    open_exec(AT_FDCWD, elf_interp, LOOKUP_FOLLOW | LOOKUP_EMPTY, &g->interp_file);
		if (err)
			g->interp_file = NULL;
		else
			err = elf_open_interp(g->interp_file, &g->interp);
	}
	quire_kfree(elf_interp);
	return err;
}

/* ---- the point of no return --------------------------------------------------------------------
 */

/* The other threads are gone (traced ones: and their tracers have heard of it), but for the
 * leader, whose place t will take. */
static bool is_alone(struct task *t)
{
	struct process *p = t->process;
	bool leads = p->leader == t;
	return __atomic_load_n(&p->nr_running, __ATOMIC_ACQUIRE) == 1 &&
	       __atomic_load_n(&p->nr_threads, __ATOMIC_ACQUIRE) == (leads ? 1 : 2) &&
	       (leads || __atomic_load_n(&p->leader->exiting, __ATOMIC_ACQUIRE) == 3);
}

/* End the other threads and become the leader. */
static int become_only_thread(struct task *t)
{
	struct process *p = t->process;
	unsigned long irq = spin_lock_irq(&p->siglock);
	if (p->group_exit || p->exec_task) {
		spin_unlock_irq(&p->siglock, irq);
		return -EAGAIN;
	}
	if (p->nr_running > 1) {
		p->exec_task = t;
		p->stopped = false;
		p->stop_count = 0;
		kill_other_threads(p, t);
	}
	spin_unlock_irq(&p->siglock, irq);
	int err = wait_event_killable(&p->wait_exec, is_alone(t));
	if (err) {
		irq = spin_lock_irq(&p->siglock);
		p->exec_task = NULL;
		spin_unlock_irq(&p->siglock, irq);
		return -EAGAIN;
	}
	struct task *old = NULL;
	spin_lock(&tree_lock);
	if (p->leader != t) {
		old = p->leader;
		if (old->trace.tracer)
			waitq_wake_all(&old->trace.tracer->process->wait_child);
		trace_unlink_locked(old);
		task_unlink_locked(old);
		list_del(&t->hash);
		irq = spin_lock_irq(&p->siglock);
		list_del(&t->thread);
		p->nr_threads--;
		p->nr_running--;
		p->leader = t;
		spin_unlock_irq(&p->siglock, irq);
		nr_threads--;
		t->tid = p->tgid;
		task_link_locked(t);
		task_put(t); /* the table had one already */
	}
	spin_unlock(&tree_lock);
	irq = spin_lock_irq(&p->siglock);
	p->exec_task = NULL;
	signal_recalc_locked(t);
	spin_unlock_irq(&p->siglock, irq);
	if (old)
		task_put(old);
	return 0;
}

/* A table of actions of its own, with the handlers gone. */
static int reset_signals(struct task *t)
{
	struct process *p = t->process;
	struct sighand *old = p->sighand, *s = old;
	if (__atomic_load_n(&old->refs, __ATOMIC_ACQUIRE) > 1) {
		s = sighand_new();
		if (!s)
			return -ENOMEM;
		memcpy(s->action, old->action, sizeof(s->action));
	}
	for (unsigned i = 0; i < NSIG; i++) {
		if (s->action[i].handler != SIG_IGN)
			s->action[i].handler = SIG_DFL;
		s->action[i].flags = s->action[i].mask = s->action[i].restorer = 0;
	}
	t->altstack_sp = t->altstack_size = 0;
	t->altstack_flags = 0;
	if (s != old) {
		unsigned long irq = spin_lock_irq(&p->siglock);
		p->sighand = t->sighand = s;
		spin_unlock_irq(&p->siglock, irq);
		sighand_put(old);
	}
	return 0;
}

static void reset_creds(struct task *t)
{
	const struct cred *c = t->cred;
	u64 permitted = c->cap_ambient;
	if (!c->euid || !c->uid)
		permitted = c->cap_inheritable | c->cap_bounding;
	u64 effective = c->euid ? c->cap_ambient : permitted;
	if (c->cap_permitted == permitted && c->cap_effective == effective && c->suid == c->euid &&
	    c->sgid == c->egid && c->fsuid == c->euid)
		return;
	struct cred *n = cred_copy(c);
	if (!n)
		return; /* fewer rights can't be given: keep what there is */
	n->suid = n->fsuid = n->euid;
	n->sgid = n->fsgid = n->egid;
	n->cap_permitted = permitted;
	n->cap_effective = effective;
	cred_install(n);
}

static void set_comm(struct task *t, const char *name)
{
	const char *slash = strrchr(name, '/');
	const char *base = slash ? slash + 1 : name;
	size_t n = quire_min(strlen(base), sizeof(t->comm) - 1);
	memset(t->comm, 0, sizeof(t->comm));
	memcpy(t->comm, base, n);
}

unsigned randomize_va_space = 2;
unsigned legacy_va_layout;

/* What of the new program's addresses is chosen at random: 0 nothing, 1 all but the break, 2
 * the break, too. */
static unsigned randomization(struct process *p)
{
	unsigned level = __atomic_load_n(&randomize_va_space, __ATOMIC_RELAXED);
	return p->personality & PERSONALITY_NO_RANDOMIZE ? 0 : quire_min(level, 2u);
}

/* Where mappings and the stack go.  Sets the layout and returns the stack's top. */
static u64 set_layout(struct process *p, struct uspace *u, unsigned randomize)
{
	struct quire_layout *l = quire_mm_layout(u->mm);
	u64 top = QUIRE_MAP_WINDOW - (randomize ? random_pages(22) : 0);
	u64 shift = randomize ? random_pages(28) : 0;
	u64 gap = p->rlim[RLIMIT_STACK].cur;
	u64 pad =
	    (u64)quire_sysctl.stack_guard_gap * QUIRE_PAGE_SIZE + (randomize ? 16UL << 30 : 0);
	u64 least = 128UL << 20, most = QUIRE_MAP_WINDOW / 6 * 5;
	if (gap + pad > gap)
		gap += pad;
	gap = quire_max(least, quire_min(gap, most));
	l->task_size = QUIRE_USER_END;
	l->mmap_base = quire_round_down(QUIRE_MAP_WINDOW - gap - shift, QUIRE_PAGE_SIZE);
	l->legacy_base = quire_round_up(QUIRE_MAP_WINDOW / 3, QUIRE_PAGE_SIZE) + shift;
	l->bottom_up = (p->personality & PERSONALITY_COMPAT_LAYOUT) ||
		       __atomic_load_n(&legacy_va_layout, __ATOMIC_RELAXED);
	l->start_stack = top;
	return top;
}

static void switch_memory(struct task *t, struct uspace *u)
{
	struct process *p = t->process;
	struct quire_mm_usage usage;
	struct uspace *old = t->uspace;
	if (old) {
		quire_mm_usage(old->mm, &usage);
		futex_exit(t, false);
		if (t->clear_child_tid && __atomic_load_n(&old->refs, __ATOMIC_RELAXED) > 1 &&
		    !put_user_u32(t->clear_child_tid, 0))
			futex_wake_one(t->clear_child_tid);
	}
	unsigned long irq = spin_lock_irq(&p->siglock);
	if (old)
		p->maxrss = quire_max(p->maxrss, usage.hiwater_rss * (QUIRE_PAGE_SIZE / 1024));
	t->uspace = u;
	uspace_switch(old, u);
	spin_unlock_irq(&p->siglock, irq);
	vfork_release(t);
	uspace_put(old);
	t->clear_child_tid = t->set_child_tid = t->robust_list = 0;
	t->rseq = t->rseq_len = t->rseq_sig = 0;
}

/* ---- the new stack
 * ---------------------------------------------------------------------------------- */

static void aux(struct uspace *u, u64 type, u64 value)
{
	if (u->auxv_words + 2 > quire_array_size(u->auxv))
		return;
	u->auxv[u->auxv_words++] = type;
	u->auxv[u->auxv_words++] = value;
}

static void make_auxv(struct task *t, const struct elf_image *img, u64 program_entry, u64 vdso,
		      u64 random, u64 name, u64 platform)
{
	struct uspace *u = t->uspace;
	const struct cred *c = t->cred;
	u32 id[4];
	u64 cr4;
	cpuid(1, 0, id);
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	u->auxv_words = 0;
	aux(u, 33, vdso);            /* AT_SYSINFO_EHDR */
	aux(u, 51, sigframe_size()); /* AT_MINSIGSTKSZ */
	aux(u, 16, id[3]);           /* AT_HWCAP */
	aux(u, 6, QUIRE_PAGE_SIZE);  /* AT_PAGESZ */
	aux(u, 17, 100);             /* AT_CLKTCK */
	aux(u, 3, img->phdr);        /* AT_PHDR */
	aux(u, 4, img->phentsize);   /* AT_PHENT */
	aux(u, 5, img->phnum);       /* AT_PHNUM */
	aux(u, 7, img->interp_base); /* AT_BASE */
	aux(u, 8, 0);                /* AT_FLAGS */
	aux(u, 9, program_entry);    /* AT_ENTRY */
	aux(u, 11, c->uid);          /* AT_UID .. AT_EGID */
	aux(u, 12, c->euid);
	aux(u, 13, c->gid);
	aux(u, 14, c->egid);
	aux(u, 23, 0);                     /* AT_SECURE */
	aux(u, 25, random);                /* AT_RANDOM */
	aux(u, 26, cr4 >> 16 & 1 ? 2 : 0); /* AT_HWCAP2: FSGSBASE */
	aux(u, 31, name);                  /* AT_EXECFN */
	aux(u, 15, platform);              /* AT_PLATFORM */
	aux(u, 0, 0);
}

static int build_stack(struct task *t, struct argbuf *b, const char *name, u64 top,
		       unsigned randomize, const struct elf_image *img, u64 program_entry, u64 vdso,
		       u64 *rsp)
{
	struct quire_layout *l = quire_mm_layout(t->uspace->mm);
	size_t name_len = strlen(name) + 1;
	u64 strings = b->head_len + b->len - b->skip, rnd[3];
	u64 name_at = top - sizeof(u64) - name_len;
	u64 args_at = name_at - strings;
	quire_host_random(rnd, sizeof(rnd));
	if (copy_to_user(name_at, name, name_len) || argbuf_write(b, args_at))
		return -EFAULT;
	l->arg_start = args_at;
	l->arg_end = l->env_start = name_at - b->envp_len;
	l->env_end = name_at;

	u64 p = quire_round_down(args_at - (randomize ? rnd[2] % 8192 : 0), 16UL);
	u64 platform = p - sizeof("x86_64");
	u64 random = platform - 16;
	if (copy_to_user(platform, "x86_64", sizeof("x86_64")) || copy_to_user(random, rnd, 16))
		return -EFAULT;
	make_auxv(t, img, program_entry, vdso, random, name_at, platform);
	u64 words = 1 + b->argc + 1 + b->envc + 1 + t->uspace->auxv_words;
	u64 sp = quire_round_down(random - words * sizeof(u64), 16UL), at = args_at, pos = 0;
	*rsp = l->start_stack = sp;
	if (put_user_u64(sp, b->argc))
		return -EFAULT;
	sp += sizeof(u64);
	if (argbuf_write_pointers(&sp, b->argc, &at, b, &pos) ||
	    argbuf_write_pointers(&sp, b->envc, &at, b, &pos))
		return -EFAULT;
	return copy_to_user(sp, t->uspace->auxv, t->uspace->auxv_words * sizeof(u64));
}

static int map_stack(struct task *t, struct argbuf *b, u64 top, bool exec)
{
	u64 need =
	    b->head_len + b->len + (b->argc + b->envc) * sizeof(u64) + STACK_ROOM + PATH_MAX + 8192;
	u64 size = quire_round_up(need, QUIRE_PAGE_SIZE);
	u64 limit = t->process->rlim[RLIMIT_STACK].cur & QUIRE_PAGE_MASK;
	u64 least = quire_round_up(need - STACK_ROOM, QUIRE_PAGE_SIZE);
	if (size > limit)
		size = quire_max(limit, least);
	s64 r = quire_mmap(t->uspace->mm, top - size, size,
			   PROT_READ | PROT_WRITE | (exec ? PROT_EXEC : 0),
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN | MAP_STACK,
			   NULL, 0, VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC);
	/* Linux makes the stack in two steps, after which it isn't marked as a new mapping. */
	return r < 0 ? (int)r : quire_mm_clear_refs(t->uspace->mm, 4);
}

static int load(struct task *t, struct program *g, struct argbuf *args, const char *name,
		unsigned randomize, u64 top, struct regs *r)
{
	struct elf_image img = {0};
	u64 rsp;
	int err = map_stack(t, args, top, elf_wants_exec_stack(g->elf));
	if (!err)
		err = elf_load_program(g->elf, g->file, g->has_interp, randomize, &img);
	u64 entry = img.entry;
	if (!err && g->interp)
		err = elf_load_interp(g->interp, g->interp_file, &img);
	s64 vdso = err ? 0 : vdso_map(t->uspace->mm, top, randomize);
	if (vdso < 0)
		err = (int)vdso;
	if (!err)
		err = build_stack(t, args, name, top, randomize, &img, entry, (u64)vdso, &rsp);
	if (err)
		return err;
	if (t->process->personality & PERSONALITY_PAGE_ZERO)
		quire_mmap(t->uspace->mm, 0, QUIRE_PAGE_SIZE, PROT_READ | PROT_EXEC,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0,
			   VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC); /* if it may be there */
	u64 call = r->orig_rax;
	memset(r, 0, sizeof(*r));
	r->rip = img.entry;
	r->rsp = rsp;
	r->cs = USER_CS;
	r->ss = USER_SS;
	r->rflags = RFLAGS_IF;
	r->orig_rax = call; /* a tracer looks at it */
	return 0;
}

int files_unshare(void)
{
	struct task *t = current();
	if (!fdtable_shared(t->files))
		return 0;
	struct fdtable *n = fdtable_copy(t->files), *old = t->files;
	if (!n)
		return -ENOMEM;
	unsigned long irq = spin_lock_irq(&t->process->siglock);
	t->files = n;
	spin_unlock_irq(&t->process->siglock, irq);
	fdtable_put(old);
	return 0;
}

/* What follows the change of memory; there is no way back. */
static int become_new_program(struct task *t, struct program *g, struct argbuf *args,
			      const char *name, unsigned randomize, u64 top, struct regs *r)
{
	int err = reset_signals(t);
	if (err)
		return err;
	reset_creds(t);
	err = files_unshare();
	if (err)
		return err;
	fdtable_close_on_exec(t->files);
	set_comm(t, name);
	t->process->did_exec = true;
	t->process->exit_signal = SIGCHLD;
	t->pdeath_signal = 0;
	/* Loading may set up memory that can only be run, whose key the new program has. */
	fpu_reset();
	err = load(t, g, args, name, randomize, top, r);
	if (err)
		return err;
	segments_reset();
	return 0;
}

int exec_program(struct file *f, const char *name, struct argbuf *args, struct regs *r, bool *gone)
{
	struct task *t = current();
	struct process *p = t->process;
	struct program g = {.file = f};
	int err = check_exec(f);
	u32 tid = t->tid;
	*gone = false;
	if (err)
		return err;
	err = find_elf(&g, name, args);
	struct uspace *u = err ? NULL : uspace_new();
	if (!err && !u)
		err = -ENOMEM;
	if (!err)
		err = become_only_thread(t);
	if (err) {
		program_free(&g);
		uspace_put(u);
		return err;
	}
	unsigned randomize = randomization(p);
	p->personality &= ~PERSONALITY_READ_IMPLIES_EXEC; /* 64-bit programs begin without */
	p->randomized = randomize;
	u64 top = set_layout(p, u, randomize);
	u->dumpable = t->cred->uid == t->cred->euid && t->cred->gid == t->cred->egid;
	u->exe = g.file;
	file_get(u->exe);
	__atomic_sub_fetch(&u->exe->inode->writers, 1, __ATOMIC_RELAXED);
	switch_memory(t, u);
	timers_exit(p);
	*gone = true;
	err = become_new_program(t, &g, args, name, randomize, top, r);
	program_free(&g);
	if (err)
		quire_host_log(QUIRE_LOG_WARN,
			       "exec of %s failed when the old program was gone (error %d)", name,
			       -err);
	else
		trace_exec(tid);
	return err;
}

/* ---- the calls
 * ------------------------------------------------------------------------------------------ */

static long do_exec(int dirfd, u64 upath, u64 uargv, u64 uenvp, u32 flags, struct regs *regs)
{
	struct argbuf args = {0};
	struct file *f = NULL;
	char *path = quire_kmalloc(PATH_MAX + 32, GFP_KERNEL);
	if (!path)
		return -ENOMEM;
	char *name = path;
	long n = copy_string_from_user(path, upath, PATH_MAX);
	long err = n < 0 ? n : 0;
	u32 look = (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
		   (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
	if (!err)
		err = open_exec(dirfd, path, look, &f);
	if (!err) {
		allow_write(f); /* exec_program() takes its own */
		err = argbuf_from_user(&args, uargv, uenvp);
		if (err)
			file_put(f);
	}
	if (!err && dirfd != AT_FDCWD && path[0] != '/') {
		/* The name that a script's interpreter can open. */
		size_t len = strlen(path) + 1;
		char *full = quire_kmalloc(len + 32, GFP_KERNEL);
		if (full) {
			int k = snprintf(full, 32, "/dev/fd/%d%s", dirfd, len > 1 ? "/" : "");
			memcpy(full + k, path, len);
			quire_kfree(path);
			path = name = full;
		}
	}
	bool gone = false;
	if (!err)
		err = exec_program(f, name, &args, regs, &gone);
	argbuf_free(&args);
	quire_kfree(path);
	if (err && gone)
		group_exit(SIGSEGV);
	return err;
}

SYSCALL3(execve, u64, upath, u64, uargv, u64, uenvp)
{
	return do_exec(AT_FDCWD, upath, uargv, uenvp, 0, regs);
}

SYSCALL5(execveat, int, dirfd, u64, upath, u64, uargv, u64, uenvp, u32, flags)
{
	if (flags & ~(u32)(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return -EINVAL;
	return do_exec(dirfd, upath, uargv, uenvp, flags, regs);
}
