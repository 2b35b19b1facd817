/* SPDX-License-Identifier: MIT */
/*
 * Mounting /proc: each mount makes one of its own, with options about who sees which
 * process.
 *
 *   hidepid=off|noaccess|invisible|ptraceable (0, 1, 2, 4)   of other users' processes
 *   gid=N                                                    whose members see all
 *   subset=pid                                               processes and nothing else
 *
 * Locking: options are words that change as a whole.
 */
#include "../lib/string.h"
#include "mount.h"
#include "proc.h"
#include "procfs.h"

#include <quire/string.h>

enum { HIDE_OFF, HIDE_NO_ACCESS, HIDE_INVISIBLE, HIDE_NOT_PTRACEABLE = 4 };

static const struct {
	u8 value;
	const char *name, *number;
} hide_names[] = {{HIDE_OFF, "off", "0"},
		  {HIDE_NO_ACCESS, "noaccess", "1"},
		  {HIDE_INVISIBLE, "invisible", "2"},
		  {HIDE_NOT_PTRACEABLE, "ptraceable", "4"}};

static bool parse_hide(const char *value, u8 *hide)
{
	for (unsigned k = 0; k < quire_array_size(hide_names); k++)
		if (!strcmp(value, hide_names[k].name) || !strcmp(value, hide_names[k].number)) {
			*hide = hide_names[k].value;
			return true;
		}
	return false;
}

static bool parse_gid(const char *value, u32 *gid)
{
	u32 n;

	if (!proc_number(value, strlen(value), &n))
		return false;
	*gid = n;
	return true;
}

static int parse(char *options, struct proc_fs *p)
{
	while (*options) {
		char *name = options, *value;
		size_t n = 0;
		bool ok;

		while (name[n] && name[n] != ',')
			n++;
		options += n + (name[n] == ',');
		name[n] = 0;
		value = strchr(name, '=');
		if (!n)
			continue;
		if (!value)
			return -EINVAL;
		*value++ = 0;
		if (!strcmp(name, "hidepid"))
			ok = parse_hide(value, &p->hide);
		else if (!strcmp(name, "gid"))
			ok = parse_gid(value, &p->gid);
		else
			ok = !strcmp(name, "subset") && !strcmp(value, "pid") &&
			     (p->only_pids = true);
		if (!ok)
			return -EINVAL;
	}
	return 0;
}

static void show_options(struct fs *fs, struct seq *s)
{
	const struct proc_fs *p = (const struct proc_fs *)fs;

	if (p->gid)
		seq_printf(s, ",gid=%u", p->gid);
	for (unsigned k = 1; k < quire_array_size(hide_names); k++)
		if (p->hide == hide_names[k].value)
			seq_printf(s, ",hidepid=%s", hide_names[k].name);
	if (p->only_pids)
		seq_puts(s, ",subset=pid");
}

static int remount(struct fs *fs, char *options)
{
	struct proc_fs *p = (struct proc_fs *)fs, new = *p;
	int err = parse(options, &new);

	if (err)
		return err;
	p->hide = new.hide;
	p->gid = new.gid;
	p->only_pids = new.only_pids;
	return 0;
}

int proc_mount(char *options, struct fs **out, struct dentry **root)
{
	struct proc_fs *p, wanted = {.hide = HIDE_OFF};
	int err = parse(options, &wanted);

	if (err)
		return err;
	*out = procfs_new(root);
	if (!*out)
		return -ENOMEM;
	p = (struct proc_fs *)*out;
	p->hide = wanted.hide;
	p->gid = wanted.gid;
	p->only_pids = wanted.only_pids;
	p->fs.show_options = show_options;
	p->fs.remount = remount;
	return 0;
}

/* Is the process of t one that the caller sees as much of as `at_least` says? */
static bool sees(const struct proc_fs *p, struct task *t, u8 at_least)
{
	if (p->hide == HIDE_NOT_PTRACEABLE)
		return proc_may_look(t);
	if (p->hide < at_least)
		return true;
	return in_group(current()->cred, p->gid) || current()->cred->fsgid == p->gid ||
	       proc_may_look(t);
}

bool proc_sees(struct fs *fs, u32 pid, bool in_listing)
{
	const struct proc_fs *p = (const struct proc_fs *)fs;
	struct task *t = p->hide ? task_find(pid) : NULL;
	bool yes;

	if (!t)
		return true;
	yes = sees(p, t, in_listing ? HIDE_INVISIBLE : HIDE_NO_ACCESS);
	task_put(t);
	return yes;
}

bool proc_says_nothing(struct fs *fs)
{
	return ((const struct proc_fs *)fs)->hide >= HIDE_INVISIBLE;
}

bool proc_only_pids(struct fs *fs)
{
	return ((const struct proc_fs *)fs)->only_pids;
}
