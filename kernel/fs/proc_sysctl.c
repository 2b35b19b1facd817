/* SPDX-License-Identifier: MIT */
/*
 * /proc/sys: settings that exist, and constants that programs look up.
 *
 * The core reads struct quire_sysctl at each use, so a single store changes a
 * setting; root alone may write (the files' modes).
 */
#include <quire/string.h>

#include "../io/pipe.h"
#include "../lib/print.h"
#include "../lib/string.h"
#include "mount.h"
#include "proc.h"

#define CAP_SYS_RAWIO 17

static bool parse(char *buf, size_t n, u64 *out)
{
	u64 v = 0;
	size_t i = 0;
	while (n && (buf[n - 1] == '\n' || buf[n - 1] == ' ' || buf[n - 1] == '\t'))
		n--;
	while (i < n && (buf[i] == ' ' || buf[i] == '\t'))
		i++;
	if (i == n || n - i > 19)
		return false;
	for (; i < n; i++) {
		if (buf[i] < '0' || buf[i] > '9')
			return false;
		v = v * 10 + (u64)(buf[i] - '0');
	}
	*out = v;
	return true;
}

/* A setting of the core: how it is shown, and written up to a limit. */
#define SETTING(name, field, high)                                                       \
	static int show_##name(struct seq *s, struct proc_ctx *c)                        \
	{                                                                                \
		(void)c;                                                                 \
		seq_printf(s, "%lu\n", (u64)quire_sysctl.field);                         \
		return 0;                                                                \
	}                                                                                \
	static s64 write_##name(struct proc_ctx *c, char *b, size_t n)                   \
	{                                                                                \
		u64 v;                                                                   \
		(void)c;                                                                 \
		if (!parse(b, n, &v) || v > (high))                                      \
			return -EINVAL;                                                  \
		__atomic_store_n(&quire_sysctl.field, (__typeof__(quire_sysctl.field))v, \
				 __ATOMIC_RELAXED);                                      \
		return 0;                                                                \
	}
SETTING(admin_reserve_kbytes, admin_reserve_kbytes, ~0UL)
SETTING(max_map_count, max_map_count, 0x7fffffffUL)
SETTING(overcommit_memory, overcommit_memory, 2UL)
SETTING(ratio, overcommit_ratio, 0x7fffffffUL)
SETTING(kbytes, overcommit_kbytes, ~0UL)
SETTING(newer_merging, newer_merging, 1UL)
SETTING(min_addr, mmap_min_addr, QUIRE_USER_END)
SETTING(stack_guard_gap, stack_guard_gap, 0x7fffffffUL)
SETTING(user_reserve_kbytes, user_reserve_kbytes, ~0UL)

/* The limit is given one way or the other: what is written last counts. */
static s64 write_overcommit_ratio(struct proc_ctx *c, char *b, size_t n)
{
	s64 r = write_ratio(c, b, n);
	if (!r)
		__atomic_store_n(&quire_sysctl.overcommit_kbytes, 0, __ATOMIC_RELAXED);
	return r;
}
static s64 write_overcommit_kbytes(struct proc_ctx *c, char *b, size_t n)
{
	s64 r = write_kbytes(c, b, n);
	if (!r)
		__atomic_store_n(&quire_sysctl.overcommit_ratio, 0, __ATOMIC_RELAXED);
	return r;
}

static s64 write_mmap_min_addr(struct proc_ctx *c, char *b, size_t n)
{
	return capable(CAP_SYS_RAWIO) ? write_min_addr(c, b, n) : -EPERM;
}

/* A setting of the kernel's, of type unsigned. */
#define KERNEL_SETTING(name, least)                                         \
	static int show_##name(struct seq *s, struct proc_ctx *c)           \
	{                                                                   \
		(void)c;                                                    \
		seq_printf(s, "%u\n", name);                                \
		return 0;                                                   \
	}                                                                   \
	static s64 write_##name(struct proc_ctx *c, char *b, size_t n)      \
	{                                                                   \
		u64 v;                                                      \
		(void)c;                                                    \
		if (!parse(b, n, &v) || (s64)v < (least) || v > 0x7fffffff) \
			return -EINVAL;                                     \
		__atomic_store_n(&name, (unsigned)v, __ATOMIC_RELAXED);     \
		return 0;                                                   \
	}
KERNEL_SETTING(randomize_va_space, 0)
KERNEL_SETTING(legacy_va_layout, 0)
KERNEL_SETTING(mount_max, 1)

static s64 write_drop_caches(struct proc_ctx *c, char *buf, size_t n)
{
	u64 v;
	(void)c;
	if (!parse(buf, n, &v) || v < 1 || v > 4)
		return -EINVAL;
	quire_count(QUIRE_EV_DROP_PAGECACHE, 1);
	while (quire_reclaim(256))
		if (signal_pending())
			return -EINTR;
	return 0;
}

#define NUMBER(name, value)                                       \
	static int show_##name(struct seq *s, struct proc_ctx *c) \
	{                                                         \
		(void)c;                                          \
		seq_printf(s, "%lu\n", (u64)(value));             \
		return 0;                                         \
	}
#define TEXT(name, value)                                         \
	static int show_##name(struct seq *s, struct proc_ctx *c) \
	{                                                         \
		(void)c;                                          \
		seq_printf(s, "%s\n", (value));                   \
		return 0;                                         \
	}
static u64 reserve_kbytes(void)
{
	struct quire_meminfo m;
	quire_meminfo(&m);
	return m.reserve * (QUIRE_PAGE_SIZE / 1024);
}

/* Settings that can't be read can't be by anybody. */
static int show_drop_caches(struct seq *s, struct proc_ctx *c)
{
	(void)s, (void)c;
	return -EACCES;
}

NUMBER(pid_max, 32768)
NUMBER(threads_max, 32768)
NUMBER(sched_rr_timeslice_ms, 100)
NUMBER(sched_rt_period_us, 1000000)
NUMBER(sched_rt_runtime_us, 950000)
NUMBER(ngroups_max, 65536)
NUMBER(cap_last_cap, 40)
NUMBER(mmap_rnd_bits, 28)
NUMBER(min_free_kbytes, reserve_kbytes())
NUMBER(overflow_id, 65534)
NUMBER(entropy, 256)
NUMBER(file_max, 9223372036854775807UL)
NUMBER(nr_open, 1048576)
NUMBER(pipe_max_size, PIPE_MAX_SIZE)
NUMBER(somaxconn, 4096)
TEXT(ostype, UNAME_SYSNAME)
TEXT(osrelease, UNAME_RELEASE)
TEXT(version, UNAME_VERSION)
NUMBER(shmmax, ~0UL - (1UL << 24))
NUMBER(shmmni, 4096)
NUMBER(shm_rmid_forced, 0)
TEXT(shm_next_id, "-1")
TEXT(domainname, "(none)")
TEXT(core_pattern, "")

static int show_hostname(struct seq *s, struct proc_ctx *c)
{
	char name[65];
	(void)c;
	uname_nodename(name);
	seq_printf(s, "%s\n", name);
	return 0;
}

static void put_uuid(struct seq *s, const u8 b[16])
{
	for (unsigned i = 0; i < 16; i++)
		seq_printf(s, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b[i]);
	seq_putc(s, '\n');
}

static void make_uuid(u8 b[16])
{
	quire_host_random(b, 16);
	b[6] = (u8)((b[6] & 0x0f) | 0x40); /* version 4 */
	b[8] = (u8)((b[8] & 0x3f) | 0x80);
}

static int show_uuid(struct seq *s, struct proc_ctx *c)
{
	u8 b[16];
	(void)c;
	make_uuid(b);
	put_uuid(s, b);
	return 0;
}

static int show_boot_id(struct seq *s, struct proc_ctx *c)
{
	static u8 id[16];
	static struct mutex lock = MUTEX_INIT(RANK_HOST_OUTER + 14);
	(void)c;
	mutex_lock(&lock);
	if (!id[6])
		make_uuid(id);
	mutex_unlock(&lock);
	put_uuid(s, id);
	return 0;
}

#define RO(n, fn)                                    \
	{                                            \
		n, S_IFREG | 0444, .show = show_##fn \
	}
#define RW(n, fn)                                                         \
	{                                                                 \
		n, S_IFREG | 0644, .show = show_##fn, .write = write_##fn \
	}

static const struct proc_entry vm_table[] = {
    RW("admin_reserve_kbytes", admin_reserve_kbytes),
    {"drop_caches", S_IFREG | 0200, .show = show_drop_caches, .write = write_drop_caches},
    RW("legacy_va_layout", legacy_va_layout),
    RW("max_map_count", max_map_count),
    RO("min_free_kbytes", min_free_kbytes),
    {"mmap_min_addr", S_IFREG | 0644, .show = show_min_addr, .write = write_mmap_min_addr},
    {"mmap_rnd_bits", S_IFREG | 0400, .show = show_mmap_rnd_bits},
    {"overcommit_kbytes", S_IFREG | 0644, .show = show_kbytes, .write = write_overcommit_kbytes},
    RW("overcommit_memory", overcommit_memory),
    {"overcommit_ratio", S_IFREG | 0644, .show = show_ratio, .write = write_overcommit_ratio},
    RW("quire_newer_merging", newer_merging),
    RW("quire_stack_guard_gap", stack_guard_gap),
    RW("user_reserve_kbytes", user_reserve_kbytes),
    {0},
};
static const struct proc_entry random_table[] = {
    RO("boot_id", boot_id),
    RO("entropy_avail", entropy),
    RO("poolsize", entropy),
    RO("uuid", uuid),
    {0},
};
static const struct proc_entry kernel_table[] = {
    RO("cap_last_cap", cap_last_cap),
    RO("core_pattern", core_pattern),
    RO("domainname", domainname),
    RO("hostname", hostname),
    RO("ngroups_max", ngroups_max),
    RO("osrelease", osrelease),
    RO("ostype", ostype),
    RO("overflowgid", overflow_id),
    RO("overflowuid", overflow_id),
    RO("pid_max", pid_max),
    {"random", S_IFDIR | 0555, .dir = random_table},
    RW("randomize_va_space", randomize_va_space),
    RO("sched_rr_timeslice_ms", sched_rr_timeslice_ms),
    RO("sched_rt_period_us", sched_rt_period_us),
    RO("sched_rt_runtime_us", sched_rt_runtime_us),
    RO("shm_next_id", shm_next_id),
    RO("shm_rmid_forced", shm_rmid_forced),
    RO("shmall", shmmax),
    RO("shmmax", shmmax),
    RO("shmmni", shmmni),
    RO("threads-max", threads_max),
    RO("version", version),
    {0},
};
static const struct proc_entry fs_table[] = {
    RO("file-max", file_max),
    RW("mount-max", mount_max),
    RO("nr_open", nr_open),
    RO("overflowgid", overflow_id),
    RO("overflowuid", overflow_id),
    RO("pipe-max-size", pipe_max_size),
    {0},
};
static const struct proc_entry core_table[] = {RO("somaxconn", somaxconn), {0}};
static const struct proc_entry net_table[] = {
    {"core", S_IFDIR | 0555, .dir = core_table},
    {0},
};
const struct proc_entry proc_sys_table[] = {
    {"fs", S_IFDIR | 0555, .dir = fs_table},
    {"kernel", S_IFDIR | 0555, .dir = kernel_table},
    {"net", S_IFDIR | 0555, .dir = net_table},
    {"vm", S_IFDIR | 0555, .dir = vm_table},
    {0},
};
