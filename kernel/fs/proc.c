/* SPDX-License-Identifier: MIT */
/*
 * /proc: its tree.  Inodes and dentries are made at each look-up and go with their
 * last user, so what exists now is what is found.
 *
 * Locking: none of its own.  A node names its process and thread by number; each
 * operation finds them anew and holds references while it runs.
 */
#include "proc.h"

#include <quire/string.h>

#include "../lib/print.h"
#include "../lib/string.h"
#include "dcache.h"
#include "proc_text.h"
#include "procfs.h"

#define CAP_SYS_PTRACE 19
#define CAP_SYS_ADMIN 21
#define FIRST_DYNAMIC 1024u /* readdir position of number 0; the table's entries lie before */

static const struct proc_entry pid_entry, root_entry;
static int self_readlink(struct proc_ctx *c, char *buf, size_t max);
static int thread_self_readlink(struct proc_ctx *c, char *buf, size_t max);
static const struct inode_ops dir_ops, file_inode_ops, link_ops, jump_ops;
static const struct file_ops dir_file_ops;
static const struct proc_entry pid_entry;

const struct proc_node *proc_node_of(const struct file *f)
{
	return f->inode->private;
}

bool proc_number(const char *name, size_t len, u32 *out)
{
	u32 v = 0;
	if (!len || len > 9 || (name[0] == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (name[i] < '0' || name[i] > '9')
			return false;
		v = v * 10 + (u32)(name[i] - '0');
	}
	*out = v;
	return true;
}

/* ---- what a node is about --------------------------------------------------------------- */

int proc_ctx_get(const struct proc_node *n, struct proc_ctx *c)
{
	*c = (struct proc_ctx){.number = n->number, .range = {n->range[0], n->range[1]}};
	if (!n->pid)
		return 0;
	c->process = process_find(n->pid);
	if (!c->process)
		return -ESRCH;
	c->task = task_find(n->tid ? n->tid : n->pid);
	if (!c->task || c->task->process != c->process ||
	    (n->born && n->born != c->process->start_time)) {
		proc_ctx_put(c);
		return -ESRCH;
	}
	return 0;
}

void proc_ctx_put(struct proc_ctx *c)
{
	if (c->task)
		task_put(c->task);
	if (c->process)
		process_put(c->process);
	c->task = NULL;
	c->process = NULL;
}

bool proc_may_look(struct task *t)
{
	return !ptrace_may_access(t, true);
}

struct uspace *proc_uspace(struct proc_ctx *c)
{
	struct uspace *u = task_uspace_get(c->task);
	if (u && c->mm_id && u->id != c->mm_id) {
		uspace_put(u);
		u = NULL;
	}
	return u;
}

/* What stands in mm_id for an open file: never 0. */
static u64 mm_id(struct proc_ctx *c)
{
	struct uspace *u = task_uspace_get(c->task);
	u64 id = u ? u->id : ~0UL >> 1;
	if (u)
		uspace_put(u);
	return id;
}

u64 proc_file_mm_id(const struct file *f)
{
	return (u64)f->private >> 1;
}

bool proc_file_admin(const struct file *f)
{
	return (u64)f->private & 1;
}

/* The context of a guarded node, checked. */
static int ctx_guarded(const struct proc_node *n, struct proc_ctx *c)
{
	int r = proc_ctx_get(n, c);
	if (!r && n->entry->guarded && !proc_may_look(c->task)) {
		proc_ctx_put(c);
		r = -EACCES;
	}
	return r;
}

/* ---- inodes ----------------------------------------------------------------------------- */

/* The same entry has the same number each time. */
static u64 node_ino(const struct proc_node *n)
{
	u64 h = (u64)n->entry * 0x9e3779b97f4a7c15UL;
	h = (h ^ n->pid) * 0x100000001b3UL;
	h = (h ^ n->tid) * 0x100000001b3UL;
	h = (h ^ n->number) * 0x100000001b3UL;
	h = (h ^ n->range[0]) * 0x100000001b3UL;
	return (h >> 20 & 0xffffffffUL) | 1UL << 32;
}

static void set_owner(struct inode *i, struct proc_ctx *c)
{
	i->uid = i->gid = 0;
	if (!c->task)
		return;
	struct cred *cred = task_cred_get(c->task);
	struct uspace *u = task_uspace_get(c->task);
	/* As Linux: what belongs to a process that hides its memory is root's, but for
	 * directories that anybody may list. */
	if (cred && (!u || u->dumpable || i->mode == (S_IFDIR | 0555))) {
		i->uid = cred->euid;
		i->gid = cred->egid;
	}
	if (u)
		uspace_put(u);
	if (cred)
		cred_put(cred);
}

static struct inode *node_inode(struct fs *fs, const struct proc_node *n, struct proc_ctx *c)
{
	struct proc_node *copy = quire_kmalloc(sizeof(*copy), GFP_KERNEL);
	struct inode *i = copy ? inode_new(fs, n->entry->mode) : NULL;
	if (!i) {
		quire_kfree(copy);
		return NULL;
	}
	*copy = *n;
	i->private = copy;
	i->ino = node_ino(n);
	i->fops = &dir_file_ops;
	if (S_ISDIR(i->mode)) {
		i->ops = &dir_ops;
		i->nlink = 2;
	} else {
		i->ops = n->entry->follow     ? &jump_ops
			 : n->entry->readlink ? &link_ops
					      : &file_inode_ops;
	}
	set_owner(i, c);
	if (S_ISLNK(i->mode) && !*n->entry->name)
		i->size = 64; /* as Linux says of descriptors and mappings */
	if (n->entry->fill)
		n->entry->fill(n, i);
	return i;
}

static void node_release(struct inode *i)
{
	quire_kfree(i->private);
}

/* ---- directories ------------------------------------------------------------------------ */

static bool find_in_table(const struct proc_node *dir, const char *name, size_t len,
			  struct proc_node *out)
{
	for (const struct proc_entry *e = dir->entry->dir; e && e->name; e++)
		if (strlen(e->name) == len && !memcmp(e->name, name, len)) {
			*out = *dir;
			out->entry = e;
			return true;
		}
	return false;
}

/* Is the entry of the root there though the file system has only processes? */
static bool stays(struct fs *fs, const struct proc_entry *e)
{
	return !proc_only_pids(fs) || e->readlink == self_readlink ||
	       e->readlink == thread_self_readlink;
}

static int proc_lookup(struct inode *dir, struct dentry *d)
{
	const struct proc_node *n = dir->private;
	struct proc_node found;
	struct proc_ctx c, of;
	int r = ctx_guarded(n, &c);
	if (r)
		return r == -ESRCH && n->entry != &pid_entry ? -ENOENT : r;
	bool ok = find_in_table(n, d->name, d->len, &found) ||
		  (n->entry->names && n->entry->names->find(n, &c, d->name, d->len, &found));
	proc_ctx_put(&c);
	if (ok && n->entry == &root_entry)
		ok = found.pid ? proc_sees(dir->fs, found.pid, true) : stays(dir->fs, found.entry);
	if (!ok || proc_ctx_get(&found, &of))
		return 0; /* negative */
	if (of.process)
		found.born = of.process->start_time;
	struct inode *i = node_inode(dir->fs, &found, &of);
	proc_ctx_put(&of);
	if (!i)
		return -ENOMEM;
	dentry_instantiate(d, i);
	return 0;
}

static bool emit(struct file *f, struct dir_emit *e, const char *name, u64 ino, u8 type, u64 next)
{
	if (!e->emit(e, name, strlen(name), ino, type, (s64)next))
		return false;
	f->pos = next;
	return true;
}

static u8 type_of(const struct proc_entry *e)
{
	return (u8)((e->mode & S_IFMT) >> 12);
}

static bool list_table(struct file *f, struct dir_emit *e, const struct proc_node *n)
{
	const struct proc_entry *t = n->entry->dir;
	for (u64 k = 0; t && t[k].name; k++) {
		struct proc_node child = *n;
		child.entry = &t[k];
		if (f->pos == k + 2 && n->entry == &root_entry && !stays(f->inode->fs, &t[k]))
			f->pos = k + 3;
		if (f->pos == k + 2 &&
		    !emit(f, e, t[k].name, node_ino(&child), type_of(&t[k]), k + 3))
			return false;
	}
	return true;
}

static void list_names(struct file *f, struct dir_emit *e, const struct proc_node *n,
		       struct proc_ctx *c)
{
	const struct proc_names *names = n->entry->names;
	struct proc_node child;
	u32 number;
	if (f->pos < FIRST_DYNAMIC)
		f->pos = FIRST_DYNAMIC;
	if (names->next_name) {
		char name[64];
		u64 at = f->pos - FIRST_DYNAMIC;
		while (names->next_name(n, c, &at, name, &child))
			if (!emit(f, e, name, node_ino(&child), type_of(child.entry),
				  FIRST_DYNAMIC + at))
				return;
		return;
	}
	while (names->next(n, c, (u32)(f->pos - FIRST_DYNAMIC), &number, &child)) {
		char name[32];
		if (n->entry == &root_entry && !proc_sees(f->inode->fs, child.pid, true)) {
			f->pos = FIRST_DYNAMIC + number + 1UL;
			continue;
		}
		snprintf(name, sizeof(name), "%s%u", names->prefix, number);
		if (!emit(f, e, name, node_ino(&child), type_of(child.entry),
			  FIRST_DYNAMIC + number + 1UL))
			return;
	}
}

static int proc_readdir(struct file *f, struct dir_emit *e)
{
	const struct proc_node *n = proc_node_of(f);
	struct proc_ctx c;
	int r = ctx_guarded(n, &c);
	if (r)
		return r == -ESRCH ? -ENOENT : r;
	struct dentry *up = f->path.dentry->parent;
	u64 up_ino = up && up->inode ? up->inode->ino : f->inode->ino;
	if ((f->pos != 0 || emit(f, e, ".", f->inode->ino, 4, 1)) &&
	    (f->pos != 1 || emit(f, e, "..", up_ino, 4, 2)) && list_table(f, e, n) &&
	    n->entry->names)
		list_names(f, e, n, &c);
	proc_ctx_put(&c);
	return 0;
}

/* ---- files and links -------------------------------------------------------------------- */

static int proc_open(struct inode *i, struct file *f)
{
	const struct proc_node *n = i->private;
	struct proc_ctx c;
	int r = ctx_guarded(n, &c);
	if (r)
		return r == -ESRCH ? -ENOENT : r;
	u64 id = n->entry->keeps ? mm_id(&c) : 0;
	proc_ctx_put(&c);
	if (n->entry->fops) {
		f->ops = n->entry->fops;
		f->private = (void *)(id << 1 | capable(CAP_SYS_ADMIN));
		f->seekable = true;
		return 0;
	}
	return proc_text_open(f, id);
}

static int proc_readlink(struct inode *i, char *buf, size_t max)
{
	const struct proc_node *n = i->private;
	struct proc_ctx c;
	int r = ctx_guarded(n, &c);
	if (r)
		return r == -ESRCH ? -ENOENT : r;
	r = n->entry->readlink(&c, buf, max);
	proc_ctx_put(&c);
	return r;
}

static int proc_follow(struct inode *i, struct path *out)
{
	const struct proc_node *n = i->private;
	struct proc_ctx c;
	int r = ctx_guarded(n, &c);
	if (r)
		return r == -ESRCH ? -ENOENT : r;
	r = n->entry->follow(&c, out);
	proc_ctx_put(&c);
	return r;
}

static int no_setattr(struct inode *i, const struct attr *a)
{
	(void)i;
	/* Truncating by open(2) means nothing here; the rest isn't for the taking. */
	return a->mask & (ATTR_MODE | ATTR_UID | ATTR_GID) ? -EPERM : 0;
}

static int dir_open(struct inode *i, struct file *f)
{
	struct proc_ctx c;
	int r = ctx_guarded(i->private, &c);
	(void)f;
	if (r)
		return r == -ESRCH ? -ENOENT : r;
	proc_ctx_put(&c);
	return 0;
}

/* A process finds its own descriptors, even when it isn't "dumpable" and they are root's. */
static bool proc_permits(struct inode *dir)
{
	const struct proc_node *n = dir->private;
	return n->entry->names == &proc_fd_names && n->pid == current()->process->tgid;
}

/* What hidepid= says of the directory of a process. */
static int proc_forbids(struct inode *dir)
{
	const struct proc_node *n = dir->private;
	if (n->entry != &pid_entry || proc_sees(dir->fs, n->pid, false))
		return 0;
	return proc_says_nothing(dir->fs) ? -ENOENT : -EPERM;
}

static const struct inode_ops dir_ops = {.permits = proc_permits,
					 .forbids = proc_forbids,
					 .lookup = proc_lookup,
					 .open = dir_open,
					 .release = node_release,
					 .setattr = no_setattr};
static const struct inode_ops file_inode_ops = {
    .open = proc_open, .release = node_release, .setattr = no_setattr};
static const struct inode_ops link_ops = {
    .readlink = proc_readlink, .release = node_release, .setattr = no_setattr};
static const struct inode_ops jump_ops = {.readlink = proc_readlink,
					  .follow = proc_follow,
					  .release = node_release,
					  .setattr = no_setattr};
static const struct file_ops dir_file_ops = {.readdir = proc_readdir, .seek = file_seek};

/* ---- the root --------------------------------------------------------------------------- */

static int self_readlink(struct proc_ctx *c, char *buf, size_t max)
{
	(void)c;
	return snprintf(buf, max, "%u", current()->process->tgid);
}

static int thread_self_readlink(struct proc_ctx *c, char *buf, size_t max)
{
	(void)c;
	return snprintf(buf, max, "%u/task/%u", current()->process->tgid, current()->tid);
}

static int mounts_readlink(struct proc_ctx *c, char *buf, size_t max)
{
	(void)c;
	return snprintf(buf, max, "self/mounts");
}

static const struct proc_entry pid_entry = {"", S_IFDIR | 0555, .dir = proc_pid_table};

static bool find_pid(const struct proc_node *dir, struct proc_ctx *c, const char *name, size_t len,
		     struct proc_node *out)
{
	u32 pid;
	(void)dir, (void)c;
	if (!proc_number(name, len, &pid) || !pid)
		return false;
	struct task *t = task_find(pid);
	if (!t)
		return false;
	/* A thread is found by its own id as well, though it isn't listed. */
	u32 tgid = t->process ? t->process->tgid : 0;
	task_put(t);
	*out = (struct proc_node){.entry = &pid_entry, .pid = tgid, .tid = pid == tgid ? 0 : pid};
	return tgid;
}

struct process *procfs_process(struct file *f, bool *gone)
{
	*gone = false;
	if (f->ops != &dir_file_ops || proc_node_of(f)->entry != &pid_entry)
		return NULL;
	struct proc_ctx c;
	*gone = proc_ctx_get(proc_node_of(f), &c);
	if (*gone)
		return NULL;
	struct process *p = c.process;
	process_get(p);
	proc_ctx_put(&c);
	return p;
}

static bool next_pid(const struct proc_node *dir, struct proc_ctx *c, u32 from, u32 *number,
		     struct proc_node *out)
{
	(void)dir, (void)c;
	struct process *p = process_next(from);
	if (!p)
		return false;
	*number = p->tgid;
	*out = (struct proc_node){.entry = &pid_entry, .pid = p->tgid};
	process_put(p);
	return true;
}

static const struct proc_names pid_names = {.find = find_pid, .next = next_pid, .prefix = ""};

static const struct proc_entry root_table[] = {
    {"self", S_IFLNK | 0777, .readlink = self_readlink},
    {"thread-self", S_IFLNK | 0777, .readlink = thread_self_readlink},
    {"buddyinfo", S_IFREG | 0444, .show = proc_show_buddyinfo},
    {"cmdline", S_IFREG | 0444, .show = proc_show_cmdline},
    {"cpuinfo", S_IFREG | 0444, .show = proc_show_cpuinfo},
    {"devices", S_IFREG | 0444, .show = proc_show_devices},
    {"diskstats", S_IFREG | 0444, .show = proc_show_diskstats},
    {"filesystems", S_IFREG | 0444, .show = proc_show_filesystems},
    {"kpagecount", S_IFREG | 0400, .fops = &proc_kpagecount_ops},
    {"kpageflags", S_IFREG | 0400, .fops = &proc_kpageflags_ops},
    {"loadavg", S_IFREG | 0444, .show = proc_show_loadavg},
    {"meminfo", S_IFREG | 0444, .show = proc_show_meminfo},
    {"mounts", S_IFLNK | 0777, .readlink = mounts_readlink},
    {"slabinfo", S_IFREG | 0400, .show = proc_show_slabinfo},
    {"stat", S_IFREG | 0444, .show = proc_show_stat},
    {"swaps", S_IFREG | 0444, .show = proc_show_swaps},
    {"sys", S_IFDIR | 0555, .dir = proc_sys_table},
    {"sysrq-trigger", S_IFREG | 0200, .write = proc_write_sysrq},
    {"sysvipc", S_IFDIR | 0555, .dir = proc_sysvipc_table},
    {"uptime", S_IFREG | 0444, .show = proc_show_uptime},
    {"version", S_IFREG | 0444, .show = proc_show_version},
    {"vmstat", S_IFREG | 0444, .show = proc_show_vmstat},
    {"zoneinfo", S_IFREG | 0444, .show = proc_show_zoneinfo},
    {0},
};
static const struct proc_entry root_entry = {"", S_IFDIR | 0555, .dir = root_table,
					     .names = &pid_names};

struct fs *proc_fs_new(const char *type, u64 dev, u32 magic, const struct proc_entry *top,
		       struct dentry **root, bool transient)
{
	struct proc_node n = {.entry = top};
	struct proc_ctx none = {0};
	struct proc_fs *p = quire_kmalloc(sizeof(*p), GFP_KERNEL | GFP_ZERO);
	struct fs *fs = p ? &p->fs : NULL;
	struct dentry *d = dentry_new(NULL, "/", 1);
	if (fs)
		*fs = (struct fs){.type = type,
				  .dev = dev,
				  .transient = transient,
				  .refs = 1,
				  .magic = magic,
				  .noexec = true,
				  .uncached = true};
	struct inode *i = fs ? node_inode(fs, &n, &none) : NULL;
	if (!d || !i) {
		if (i)
			inode_put(i);
		if (d)
			dentry_drop_new(d);
		quire_kfree(fs);
		return NULL;
	}
	list_init(&fs->mounts);
	i->ino = 1;
	dentry_instantiate(d, i);
	*root = fs->root = d;
	return fs;
}

struct fs *procfs_new(struct dentry **root)
{
	return proc_fs_new("proc", fs_new_dev(1), 0x9fa0, &root_entry, root, true);
}
