/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID/fd and fdinfo: the descriptors of a process.
 *
 * Locking: the descriptor table is held by reference and does its own.
 */
#include <quire/string.h>

#include "../io/fdtable.h"
#include "../lib/print.h"
#include "../lib/string.h"
#include "mount.h"
#include "proc.h"

/* The open file of descriptor c->number, referenced, or null. */
static struct file *ctx_file(struct proc_ctx *c, bool *cloexec)
{
	struct fdtable *t = task_files_get(c->task);
	struct file *f = NULL;
	if (!t)
		return NULL;
	int fd = fdtable_next(t, (int)c->number, &f);
	if (fd >= 0 && (u32)fd != c->number) {
		file_put(f);
		f = NULL;
	}
	if (fd < 0)
		f = NULL;
	if (f && cloexec)
		*cloexec = fdtable_cloexec(t, fd);
	fdtable_put(t);
	return f;
}

static int fd_readlink(struct proc_ctx *c, char *buf, size_t max)
{
	struct file *f = ctx_file(c, NULL);
	if (!f)
		return -ENOENT;
	char *page = quire_kmalloc(PATH_MAX, GFP_KERNEL);
	char *name = page ? path_name(&f->path, page, PATH_MAX) : NULL;
	int r = page ? -ENAMETOOLONG : -ENOMEM;
	if (name) {
		r = (int)quire_min(strlen(name), max);
		memcpy(buf, name, (size_t)r);
	}
	quire_kfree(page);
	file_put(f);
	return r;
}

static int fd_follow(struct proc_ctx *c, struct path *out)
{
	struct file *f = ctx_file(c, NULL);
	if (!f)
		return -ENOENT;
	*out = f->path;
	path_get(out);
	file_put(f);
	return 0;
}

static int fdinfo_show(struct seq *s, struct proc_ctx *c)
{
	bool cloexec = false;
	struct file *f = ctx_file(c, &cloexec);
	if (!f)
		return -ENOENT;
	seq_printf(s, "pos:\t%lu\nflags:\t0%o\nmnt_id:\t%u\nino:\t%lu\n", f->pos,
		   f->flags | (cloexec ? O_CLOEXEC : 0),
		   f->path.mnt ? f->path.mnt->id : NO_MOUNT_ID, f->inode ? f->inode->ino : 0);
	if (f->ops && f->ops->show_fdinfo) {
		char *page = quire_kmalloc(QUIRE_PAGE_SIZE, GFP_KERNEL | GFP_ZERO);
		if (page) {
			f->ops->show_fdinfo(f, page, QUIRE_PAGE_SIZE);
			seq_puts(s, page);
		}
		quire_kfree(page);
	}
	file_put(f);
	return 0;
}

/* By what the file is open for: the links' modes say so. */
#define FD_LINK(mode)                                                               \
	{                                                                           \
		"", S_IFLNK | (mode), .readlink = fd_readlink, .follow = fd_follow, \
				      .guarded = true                               \
	}
static const struct proc_entry fd_entries[4] = {FD_LINK(0), FD_LINK(0500), FD_LINK(0300),
						FD_LINK(0700)};
static const struct proc_entry fdinfo_entry = {"", S_IFREG | 0400, .show = fdinfo_show,
					       .guarded = true};

static bool next_fd(const struct proc_node *dir, struct proc_ctx *c, u32 from, u32 *number,
		    struct proc_node *out, const struct proc_entry *e)
{
	struct fdtable *t = task_files_get(c->task);
	struct file *f;
	if (!t)
		return false;
	int fd = fdtable_next(t, (int)from, &f);
	fdtable_put(t);
	if (fd < 0)
		return false;
	if (e == fd_entries)
		e += f->can_read + 2 * f->can_write;
	file_put(f);
	*number = (u32)fd;
	*out = *dir;
	out->entry = e;
	out->number = (u32)fd;
	return true;
}

static bool find_fd(const struct proc_node *dir, struct proc_ctx *c, const char *name, size_t len,
		    struct proc_node *out, const struct proc_entry *e)
{
	u32 want, got;
	return proc_number(name, len, &want) && next_fd(dir, c, want, &got, out, e) && got == want;
}

static bool fd_find(const struct proc_node *dir, struct proc_ctx *c, const char *name, size_t len,
		    struct proc_node *out)
{
	return find_fd(dir, c, name, len, out, fd_entries);
}
static bool fd_next(const struct proc_node *dir, struct proc_ctx *c, u32 from, u32 *number,
		    struct proc_node *out)
{
	return next_fd(dir, c, from, number, out, fd_entries);
}
static bool fdinfo_find(const struct proc_node *dir, struct proc_ctx *c, const char *name,
			size_t len, struct proc_node *out)
{
	return find_fd(dir, c, name, len, out, &fdinfo_entry);
}
static bool fdinfo_next(const struct proc_node *dir, struct proc_ctx *c, u32 from, u32 *number,
			struct proc_node *out)
{
	return next_fd(dir, c, from, number, out, &fdinfo_entry);
}

const struct proc_names proc_fd_names = {.find = fd_find, .next = fd_next, .prefix = ""};
const struct proc_names proc_fdinfo_names = {
    .find = fdinfo_find, .next = fdinfo_next, .prefix = ""};
