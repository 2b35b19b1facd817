/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID/mounts, mountinfo, mountstats: the mounts of a process's namespace that lie
 * below its root.
 *
 * Locking: the mounts are held by reference; each one's text is true at some moment.
 */
#include <quire/string.h>

#include "../lib/string.h"
#include "mount.h"
#include "proc.h"

static void show_flags(struct seq *s, const struct mount *m)
{
	static const struct {
		u32 flag;
		const char *text;
	} names[] = {{MS_NOSUID, ",nosuid"},          {MS_NODEV, ",nodev"},
		     {MS_NOEXEC, ",noexec"},          {MS_NOATIME, ",noatime"},
		     {MS_NODIRATIME, ",nodiratime"},  {MS_RELATIME, ",relatime"},
		     {MS_NOSYMFOLLOW, ",nosymfollow"}};

	for (unsigned k = 0; k < quire_array_size(names); k++)
		if (m->flags & names[k].flag)
			seq_puts(s, names[k].text);
}

static void show_fs_options(struct seq *s, const struct mount *m)
{
	if (m->fs->show_options)
		m->fs->show_options(m->fs, s);
}

static void show_mounts(struct seq *s, struct mount *m, const char *at)
{
	seq_escape(s, m->source, " \t\n\\#");
	seq_putc(s, ' ');
	seq_escape(s, at, " \t\n\\#");
	seq_printf(s, " %s %s", m->fs->type,
		   (m->flags & MS_RDONLY) || m->fs->readonly ? "ro" : "rw");
	show_flags(s, m);
	show_fs_options(s, m);
	seq_puts(s, " 0 0\n");
}

static void show_mountinfo(struct seq *s, struct mount *m, const char *at)
{
	u64 dev = m->root->inode->dev ? m->root->inode->dev : m->fs->dev;
	char *buf = quire_kmalloc(PATH_MAX, GFP_KERNEL), *name;
	u32 parent;

	if (!buf) {
		s->failed = true;
		return;
	}
	spin_lock(&mount_lock);
	parent = m->parent ? m->parent->id : 1;
	spin_unlock(&mount_lock);
	seq_printf(s, "%u %u %u:%u ", m->id, parent, MAJOR(dev), MINOR(dev));
	name = dentry_name(m->root, buf, PATH_MAX);
	seq_escape(s, name ? name : "/", " \t\n\\");
	seq_putc(s, ' ');
	seq_escape(s, at, " \t\n\\");
	seq_puts(s, m->flags & MS_RDONLY ? " ro" : " rw");
	show_flags(s, m);
	if (m->unbindable)
		seq_puts(s, " unbindable");
	seq_printf(s, " - %s ", m->fs->type);
	seq_escape(s, m->source, " \t\n\\");
	seq_puts(s, m->fs->readonly ? " ro" : " rw");
	show_fs_options(s, m);
	seq_putc(s, '\n');
	quire_kfree(buf);
}

static void show_mountstats(struct seq *s, struct mount *m, const char *at)
{
	seq_puts(s, "device ");
	seq_escape(s, m->source, " \t\n\\");
	seq_puts(s, " mounted on ");
	seq_escape(s, at, " \t\n\\");
	seq_printf(s, " with fstype %s\n", m->fs->type);
}

/* Each mount, with its mount point, that the root of the process leads to. */
static int show_each(struct seq *s, struct proc_ctx *c,
		     void (*show)(struct seq *s, struct mount *m, const char *at))
{
	struct fsctx *fs = task_fs_get(c->task);
	char *buf = quire_kmalloc(PATH_MAX, GFP_KERNEL);
	struct path root = {0};
	struct mnt_ns *ns;
	struct mount **v;
	unsigned n = 0;

	if (!fs || !buf) {
		fsctx_put(fs);
		quire_kfree(buf);
		return fs ? -ENOMEM : -EINVAL;
	}
	spin_lock(&fs->lock);
	root = *fs->root;
	path_get(&root);
	ns = fs->ns;
	mnt_ns_get(ns);
	spin_unlock(&fs->lock);
	v = mounts_of(ns, &n);
	for (unsigned k = 0; k < n; k++) {
		struct path p = {v[k], v[k]->root};
		bool reached;
		char *at = path_name_from(&p, &root, buf, PATH_MAX, &reached);

		if (at && reached)
			show(s, v[k], at);
		mount_put(v[k]);
	}
	path_put(&root);
	mnt_ns_put(ns);
	fsctx_put(fs);
	quire_kfree(buf);
	quire_kfree(v);
	return v ? 0 : -ENOMEM;
}

int proc_show_mounts(struct seq *s, struct proc_ctx *c)
{
	return show_each(s, c, show_mounts);
}

int proc_show_mountinfo(struct seq *s, struct proc_ctx *c)
{
	return show_each(s, c, show_mountinfo);
}

int proc_show_mountstats(struct seq *s, struct proc_ctx *c)
{
	return show_each(s, c, show_mountstats);
}
