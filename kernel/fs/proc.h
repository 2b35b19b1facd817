/* SPDX-License-Identifier: MIT */
/*
 * Inside /proc and /sys: entries, text under construction, and what an entry is about.
 *
 * The tree is made of tables of entries.  An entry is a file that is shown as text, a
 * file with operations of its own, a link, or a directory with a table and perhaps
 * names that come and go (processes, threads, descriptors).
 */
#ifndef KERNEL_FS_PROC_H
#define KERNEL_FS_PROC_H

#include "vfs.h"

/* As uname(2) gives them. */
#define UNAME_SYSNAME "Linux"
#define UNAME_RELEASE "6.1.0-quire"
#define UNAME_VERSION "#1 SMP Quire"

/* Text that grows.  A show function may give a long text in parts: it stops at any point
 * with `more` set and goes on from `cursor` (0 at first) when it is called again. */
struct seq {
	char *buf;
	size_t len, room;
	u64 cursor;
	bool more, failed; /* failed: no memory */
};
#define SEQ_PART 16384u /* a good size for one part */
void seq_printf(struct seq *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void seq_puts(struct seq *s, const char *text);
void seq_write(struct seq *s, const void *bytes, size_t n);
void seq_putc(struct seq *s, char c);
/* Text with blanks, newlines... as \ooo; also: further characters to escape. */
void seq_escape(struct seq *s, const char *text, const char *also);
/* The name of a path, "\n" escaped; label when it has none. */
void seq_path(struct seq *s, const struct path *p);
void seq_path_escaped(struct seq *s, const struct path *p, const char *also);

/* What an entry is about; references are held while a function of it runs. */
struct proc_ctx {
	struct process *process; /* null: not about a process */
	struct task *task;       /* the thread, or the leader */
	u32 number;              /* descriptor, CPU */
	u64 range[2];            /* map_files */
	u64 mm_id; /* the address space that the file was opened on; 0: what the task has now */
};

struct proc_node;
struct proc_names;
struct proc_entry {
	const char *name; /* null: end of the table */
	u32 mode;
	int (*show)(struct seq *s, struct proc_ctx *c);        /* 0 or -errno */
	s64 (*write)(struct proc_ctx *c, char *buf, size_t n); /* buf is terminated; n < 4096 */
	const struct file_ops *fops;                           /* in place of show and write */
	int (*readlink)(struct proc_ctx *c, char *buf, size_t max);
	int (*follow)(struct proc_ctx *c, struct path *out);
	const struct proc_entry *dir;   /* directories: the table, may be empty */
	const struct proc_names *names; /* and the names that come and go; or null */
	/* Called on each new inode of the entry: what the table can't say; or null. */
	void (*fill)(const struct proc_node *n, struct inode *i);
	bool guarded; /* only who may trace the process may open (or follow) it */
	bool keeps;   /* an open file stays with the address space that there was at open */
};

struct proc_node { /* inode->private: one entry for one process, thread, number */
	const struct proc_entry *entry;
	u32 pid, tid, number; /* 0: not about one */
	u64 born;             /* the process's start_time: its number may be another's later */
	u64 range[2];         /* map_files: the mapping's start and end */
};

/* A file system made of such entries; its options matter to /proc. */
struct proc_fs {
	struct fs fs;   /* first */
	u8 hide;        /* hidepid= */
	bool only_pids; /* subset=pid */
	u32 gid;        /* its members see all */
};
/* proc_mount.c: does the caller see this process in a listing (or look-up), or in there? */
bool proc_sees(struct fs *fs, u32 pid, bool in_listing);
/* What isn't seen isn't there at all? */
bool proc_says_nothing(struct fs *fs);
bool proc_only_pids(struct fs *fs);

struct proc_names {
	/* Fill *out for this name below dir; false: there is none. */
	bool (*find)(const struct proc_node *dir, struct proc_ctx *c, const char *name, size_t len,
		     struct proc_node *out);
	/* The first number >= from and its node; false: no more.  Names are decimal numbers
	 * with prefix before them. */
	bool (*next)(const struct proc_node *dir, struct proc_ctx *c, u32 from, u32 *number,
		     struct proc_node *out);
	const char *prefix;
	/* In place of next, for names that are no numbers: the first name behind *pos, which it
	 * moves on (0 at first). */
	bool (*next_name)(const struct proc_node *dir, struct proc_ctx *c, u64 *pos, char name[64],
			  struct proc_node *out);
};

/* A decimal number of at most 9 digits without sign or leading zeros. */
bool proc_number(const char *name, size_t len, u32 *out);
/* A number with white space around, decimal, octal or hexadecimal as in C; false: it is none. */
bool proc_parse_int(const char *buf, size_t n, s64 *out);
/* The context of a node, referenced: 0 or -ESRCH. */
int proc_ctx_get(const struct proc_node *n, struct proc_ctx *c);
void proc_ctx_put(struct proc_ctx *c);
/* May current look into that task as ptrace would? */
bool proc_may_look(struct task *t);
/* The address space of the task, loaded or not, with a reference; null: it has none (or no
 * more the one of c->mm_id). */
struct uspace *proc_uspace(struct proc_ctx *c);
/* Of an open file with operations of its own: the mm_id of its contexts, and whether who
 * opened it had CAP_SYS_ADMIN. */
u64 proc_file_mm_id(const struct file *f);
bool proc_file_admin(const struct file *f);
/* A file system whose root has this table, which ends with its last mount if it is transient;
 * null: no memory. */
struct fs *proc_fs_new(const char *type, u64 dev, u32 magic, const struct proc_entry *top,
		       struct dentry **root, bool transient);
const struct proc_node *proc_node_of(const struct file *f);

/* proc_mem.c */
/* io/sysv_shm.c. */
extern const struct proc_entry proc_sysvipc_table[];
extern const struct file_ops proc_pagemap_ops, proc_mem_ops, proc_kpageflags_ops,
    proc_kpagecount_ops;
int proc_show_pid_cmdline(struct seq *s, struct proc_ctx *c);
int proc_show_environ(struct seq *s, struct proc_ctx *c);
int proc_show_auxv(struct seq *s, struct proc_ctx *c);
/* proc_mapfiles.c */
extern const struct proc_names proc_map_files_names;
/* proc_score.c */
int proc_show_limits(struct seq *s, struct proc_ctx *c);
int proc_show_oom_score(struct seq *s, struct proc_ctx *c);
int proc_show_oom_score_adj(struct seq *s, struct proc_ctx *c);
s64 proc_write_oom_score_adj(struct proc_ctx *c, char *buf, size_t n);
int proc_show_oom_adj(struct seq *s, struct proc_ctx *c);
s64 proc_write_oom_adj(struct proc_ctx *c, char *buf, size_t n);
int proc_show_pid_io(struct seq *s, struct proc_ctx *c);
int proc_show_tid_io(struct seq *s, struct proc_ctx *c);
int proc_show_syscall(struct seq *s, struct proc_ctx *c);
int proc_show_timerslack(struct seq *s, struct proc_ctx *c);
s64 proc_write_timerslack(struct proc_ctx *c, char *buf, size_t n);
/* proc_maps.c */
int proc_show_maps(struct seq *s, struct proc_ctx *c);
int proc_show_smaps(struct seq *s, struct proc_ctx *c);
int proc_show_numa_maps(struct seq *s, struct proc_ctx *c);
int proc_show_smaps_rollup(struct seq *s, struct proc_ctx *c);
s64 proc_clear_refs(struct proc_ctx *c, char *buf, size_t n);
int proc_show_mounts(struct seq *s, struct proc_ctx *c);
int proc_show_mountinfo(struct seq *s, struct proc_ctx *c);
int proc_show_mountstats(struct seq *s, struct proc_ctx *c);
/* nsfs.c */
extern const struct proc_entry proc_ns_table[];

/* proc_pid.c: what /proc/PID and /proc/PID/task/TID have. */
extern const struct proc_entry proc_pid_table[], proc_tid_table[];
/* proc_fd.c */
extern const struct proc_names proc_fd_names, proc_fdinfo_names;
/* proc_memory.c, proc_global.c, proc_sysctl.c */
extern const struct proc_entry proc_sys_table[];
int proc_show_meminfo(struct seq *s, struct proc_ctx *c);
int proc_show_vmstat(struct seq *s, struct proc_ctx *c);
int proc_show_buddyinfo(struct seq *s, struct proc_ctx *c);
int proc_show_slabinfo(struct seq *s, struct proc_ctx *c);
int proc_show_zoneinfo(struct seq *s, struct proc_ctx *c);
int proc_show_cpuinfo(struct seq *s, struct proc_ctx *c);
int proc_show_stat(struct seq *s, struct proc_ctx *c);
int proc_show_uptime(struct seq *s, struct proc_ctx *c);
int proc_show_loadavg(struct seq *s, struct proc_ctx *c);
int proc_show_version(struct seq *s, struct proc_ctx *c);
/* 'c' crashes the kernel, for tests of what it says then; no other key is there. */
s64 proc_write_sysrq(struct proc_ctx *c, char *buf, size_t n);
int proc_show_filesystems(struct seq *s, struct proc_ctx *c);
int proc_show_cmdline(struct seq *s, struct proc_ctx *c);
int proc_show_devices(struct seq *s, struct proc_ctx *c);
int proc_show_swaps(struct seq *s, struct proc_ctx *c);
int proc_show_diskstats(struct seq *s, struct proc_ctx *c);

#endif
