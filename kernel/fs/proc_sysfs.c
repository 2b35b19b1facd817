/* SPDX-License-Identifier: MIT */
/*
 * /sys: the little that C libraries and runtimes look for: which CPUs and memory
 * nodes there are.  It is made like /proc.
 */
#include "proc.h"
#include "procfs.h"

static int show_cpus(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	if (ncpus > 1)
		seq_printf(s, "0-%u\n", ncpus - 1);
	else
		seq_puts(s, "0\n");
	return 0;
}

static int show_none(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	seq_putc(s, '\n');
	return 0;
}

static int show_kernel_max(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	seq_printf(s, "%u\n", QUIRE_MAX_CPUS - 1);
	return 0;
}

static int show_zero(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	seq_puts(s, "0\n");
	return 0;
}

static int show_one(struct seq *s, struct proc_ctx *c)
{
	(void)c;
	seq_puts(s, "1\n");
	return 0;
}

static int show_core(struct seq *s, struct proc_ctx *c)
{
	seq_printf(s, "%u\n", c->number);
	return 0;
}

static const struct proc_entry topology_table[] = {
    {"core_id", S_IFREG | 0444, .show = show_core},
    {"core_siblings_list", S_IFREG | 0444, .show = show_cpus},
    {"physical_package_id", S_IFREG | 0444, .show = show_zero},
    {"thread_siblings_list", S_IFREG | 0444, .show = show_core},
    {0},
};
static const struct proc_entry one_cpu_table[] = {
    {"online", S_IFREG | 0444, .show = show_one},
    {"topology", S_IFDIR | 0755, .dir = topology_table},
    {0},
};
static const struct proc_entry one_cpu = {"", S_IFDIR | 0755, .dir = one_cpu_table};

static bool next_cpu(const struct proc_node *dir, struct proc_ctx *c, u32 from, u32 *number,
		     struct proc_node *out)
{
	(void)dir, (void)c;
	if (from >= ncpus)
		return false;
	*number = from;
	*out = (struct proc_node){.entry = &one_cpu, .number = from};
	return true;
}

static bool find_cpu(const struct proc_node *dir, struct proc_ctx *c, const char *name, size_t len,
		     struct proc_node *out)
{
	u32 cpu, got;
	return len > 3 && name[0] == 'c' && name[1] == 'p' && name[2] == 'u' &&
	       proc_number(name + 3, len - 3, &cpu) && next_cpu(dir, c, cpu, &got, out);
}

static const struct proc_names cpu_names = {.find = find_cpu, .next = next_cpu, .prefix = "cpu"};

static const struct proc_entry cpu_table[] = {
    {"isolated", S_IFREG | 0444, .show = show_none},
    {"kernel_max", S_IFREG | 0444, .show = show_kernel_max},
    {"offline", S_IFREG | 0444, .show = show_none},
    {"online", S_IFREG | 0444, .show = show_cpus},
    {"possible", S_IFREG | 0444, .show = show_cpus},
    {"present", S_IFREG | 0444, .show = show_cpus},
    {0},
};
static const struct proc_entry node_table[] = {
    {"has_cpu", S_IFREG | 0444, .show = show_zero},
    {"has_memory", S_IFREG | 0444, .show = show_zero},
    {"online", S_IFREG | 0444, .show = show_zero},
    {"possible", S_IFREG | 0444, .show = show_zero},
    {0},
};
static const struct proc_entry system_table[] = {
    {"cpu", S_IFDIR | 0755, .dir = cpu_table, .names = &cpu_names},
    {"node", S_IFDIR | 0755, .dir = node_table},
    {0},
};
static const struct proc_entry devices_table[] = {
    {"system", S_IFDIR | 0755, .dir = system_table},
    {0},
};
static const struct proc_entry mm_table[] = {{0}};
static const struct proc_entry kernel_table[] = {
    {"mm", S_IFDIR | 0755, .dir = mm_table},
    {0},
};
static const struct proc_entry root_table[] = {
    {"devices", S_IFDIR | 0755, .dir = devices_table},
    {"kernel", S_IFDIR | 0755, .dir = kernel_table},
    {0},
};
static const struct proc_entry root_entry = {"", S_IFDIR | 0555, .dir = root_table};

struct fs *sysfs(struct dentry **root)
{
	static struct fs *only;
	if (!only)
		only = proc_fs_new("sysfs", 21, 0x62656572, &root_entry, root, false);
	if (only)
		*root = only->root;
	return only;
}
