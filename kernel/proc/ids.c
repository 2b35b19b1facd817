/* SPDX-License-Identifier: MIT */
/*
 * Ids: of tasks, process groups and sessions; user and group ids, capabilities.
 *
 * Credentials are replaced as a whole (cred_install()), so readers need no lock;
 * groups and sessions change under tree_lock.
 */
#include "internal.h"

#define NGROUPS_MAX 65536

SYSCALL0(getpid)
{
	return current()->process->tgid;
}

SYSCALL0(gettid)
{
	return current()->tid;
}

SYSCALL0(getppid)
{
	return __atomic_load_n(&current()->process->ppid, __ATOMIC_RELAXED);
}

/* ---- process groups and sessions ------------------------------------------------------------- */

/* Of the process that has such a thread. */
static long group_or_session(s32 tid, bool session)
{
	spin_lock(&tree_lock);
	struct task *t = tid ? task_find_locked((u32)tid) : current();
	struct process *p = t ? t->process : NULL;
	long id = !p ? -ESRCH : session ? p->sid : p->pgid;
	spin_unlock(&tree_lock);
	return id;
}

SYSCALL0(getpgrp)
{
	return current()->process->pgid;
}

SYSCALL1(getpgid, s32, pid)
{
	return group_or_session(pid, false);
}

SYSCALL1(getsid, s32, pid)
{
	return group_or_session(pid, true);
}

static bool group_in_session_locked(u32 pgid, u32 sid)
{
	struct process *p;
	list_for_each (p, &all_processes, all)
		if (p->pgid == pgid && p->sid == sid)
			return true;
	return false;
}

static long setpgid_locked(u32 pid, u32 pgid)
{
	struct process *me = current()->process;
	struct task *t = task_find_locked(pid);
	struct process *p = t ? t->process : NULL;
	if (p && p->tgid != pid)
		return -EINVAL;
	if (!p || (p != me && p->parent != me))
		return -ESRCH;
	if (p != me && p->sid != me->sid)
		return -EPERM;
	if (p != me && p->did_exec)
		return -EACCES;
	if (p->sid == p->tgid)
		return -EPERM;
	if (pgid != pid && !group_in_session_locked(pgid, me->sid))
		return -EPERM;
	p->pgid = pgid;
	return 0;
}

SYSCALL2(setpgid, s32, pid, s32, pgid)
{
	if (pgid < 0 || (pid < 0 && !pgid))
		return -EINVAL;
	if (pid < 0)
		return -ESRCH;
	u32 who = pid ? (u32)pid : current()->process->tgid;
	spin_lock(&tree_lock);
	long r = setpgid_locked(who, pgid ? (u32)pgid : who);
	spin_unlock(&tree_lock);
	return r;
}

SYSCALL0(setsid)
{
	struct process *me = current()->process, *p;
	long r = me->tgid;
	spin_lock(&tree_lock);
	list_for_each (p, &all_processes, all)
		if (p->pgid == me->tgid)
			r = -EPERM;
	if (r > 0) {
		me->sid = me->pgid = me->tgid;
		me->tty = NULL;
	}
	spin_unlock(&tree_lock);
	return r;
}

/* ---- user and group ids ------------------------------------------------------------------------
 */

SYSCALL0(getuid)
{
	return current()->cred->uid;
}

SYSCALL0(geteuid)
{
	return current()->cred->euid;
}

SYSCALL0(getgid)
{
	return current()->cred->gid;
}

SYSCALL0(getegid)
{
	return current()->cred->egid;
}

static long put_three(u64 ua, u32 a, u64 ub, u32 b, u64 uc, u32 c)
{
	return put_user_u32(ua, a) || put_user_u32(ub, b) || put_user_u32(uc, c) ? -EFAULT : 0;
}

SYSCALL3(getresuid, u64, ur, u64, ue, u64, us)
{
	const struct cred *c = current()->cred;
	return put_three(ur, c->uid, ue, c->euid, us, c->suid);
}

SYSCALL3(getresgid, u64, ur, u64, ue, u64, us)
{
	const struct cred *c = current()->cred;
	return put_three(ur, c->gid, ue, c->egid, us, c->sgid);
}

#define SECBIT_KEEP_CAPS 16u
#define SECBIT_NO_SETUID_FIXUP 4u

/* What leaving or becoming user 0 does to capabilities (capabilities(7)). */
static void uid_changed(const struct cred *old, struct cred *c)
{
	if (c->securebits & SECBIT_NO_SETUID_FIXUP)
		return;
	bool was = !old->uid || !old->euid || !old->suid;
	bool is = !c->uid || !c->euid || !c->suid;
	if (was && !is) {
		if (!(c->securebits & SECBIT_KEEP_CAPS))
			c->cap_permitted = c->cap_effective = 0;
		c->cap_ambient = 0;
	}
	if (!old->euid && c->euid)
		c->cap_effective = 0;
	if (old->euid && !c->euid)
		c->cap_effective = c->cap_permitted;
}

#define NOID 0xffffffffu

static bool one_of(u32 id, u32 a, u32 b, u32 c)
{
	return id == NOID || id == a || id == b || id == c;
}

static long set_uids(u32 r, u32 e, u32 s)
{
	const struct cred *old = current()->cred;
	struct cred *c = cred_copy(old);
	if (!c)
		return -ENOMEM;
	if (r != NOID)
		c->uid = r;
	if (e != NOID)
		c->euid = e;
	if (s != NOID)
		c->suid = s;
	c->fsuid = c->euid;
	uid_changed(old, c);
	cred_install(c);
	return 0;
}

static long set_gids(u32 r, u32 e, u32 s)
{
	struct cred *c = cred_copy(current()->cred);
	if (!c)
		return -ENOMEM;
	if (r != NOID)
		c->gid = r;
	if (e != NOID)
		c->egid = e;
	if (s != NOID)
		c->sgid = s;
	c->fsgid = c->egid;
	cred_install(c);
	return 0;
}

SYSCALL1(setuid, u32, id)
{
	const struct cred *c = current()->cred;
	if (id == NOID)
		return -EINVAL;
	if (capable(CAP_SETUID))
		return set_uids(id, id, id);
	return id == c->uid || id == c->suid ? set_uids(NOID, id, NOID) : -EPERM;
}

SYSCALL1(setgid, u32, id)
{
	const struct cred *c = current()->cred;
	if (id == NOID)
		return -EINVAL;
	if (capable(CAP_SETGID))
		return set_gids(id, id, id);
	return id == c->gid || id == c->sgid ? set_gids(NOID, id, NOID) : -EPERM;
}

SYSCALL2(setreuid, u32, r, u32, e)
{
	const struct cred *c = current()->cred;
	if (!capable(CAP_SETUID) &&
	    (!one_of(r, c->uid, c->euid, c->euid) || !one_of(e, c->uid, c->euid, c->suid)))
		return -EPERM;
	bool saved = r != NOID || (e != NOID && e != c->uid);
	return set_uids(r, e, saved ? (e != NOID ? e : c->euid) : NOID);
}

SYSCALL2(setregid, u32, r, u32, e)
{
	const struct cred *c = current()->cred;
	if (!capable(CAP_SETGID) &&
	    (!one_of(r, c->gid, c->egid, c->egid) || !one_of(e, c->gid, c->egid, c->sgid)))
		return -EPERM;
	bool saved = r != NOID || (e != NOID && e != c->gid);
	return set_gids(r, e, saved ? (e != NOID ? e : c->egid) : NOID);
}

SYSCALL3(setresuid, u32, r, u32, e, u32, s)
{
	const struct cred *c = current()->cred;
	if (!capable(CAP_SETUID) &&
	    (!one_of(r, c->uid, c->euid, c->suid) || !one_of(e, c->uid, c->euid, c->suid) ||
	     !one_of(s, c->uid, c->euid, c->suid)))
		return -EPERM;
	return set_uids(r, e, s);
}

SYSCALL3(setresgid, u32, r, u32, e, u32, s)
{
	const struct cred *c = current()->cred;
	if (!capable(CAP_SETGID) &&
	    (!one_of(r, c->gid, c->egid, c->sgid) || !one_of(e, c->gid, c->egid, c->sgid) ||
	     !one_of(s, c->gid, c->egid, c->sgid)))
		return -EPERM;
	return set_gids(r, e, s);
}

SYSCALL1(setfsuid, u32, id)
{
	const struct cred *old = current()->cred;
	u32 was = old->fsuid;
	if (id != NOID && (capable(CAP_SETUID) || one_of(id, old->uid, old->euid, old->suid) ||
			   id == old->fsuid)) {
		struct cred *c = cred_copy(old);
		if (c) {
			c->fsuid = id;
			cred_install(c);
		}
	}
	return was;
}

SYSCALL1(setfsgid, u32, id)
{
	const struct cred *old = current()->cred;
	u32 was = old->fsgid;
	if (id != NOID && (capable(CAP_SETGID) || one_of(id, old->gid, old->egid, old->sgid) ||
			   id == old->fsgid)) {
		struct cred *c = cred_copy(old);
		if (c) {
			c->fsgid = id;
			cred_install(c);
		}
	}
	return was;
}

SYSCALL2(getgroups, s32, n, u64, ugroups)
{
	const struct cred *c = current()->cred;
	if (n < 0)
		return -EINVAL;
	if (!n)
		return c->ngroups;
	if ((u32)n < c->ngroups)
		return -EINVAL;
	if (copy_to_user(ugroups, c->groups, c->ngroups * sizeof(u32)))
		return -EFAULT;
	return c->ngroups;
}

SYSCALL2(setgroups, s32, n, u64, ugroups)
{
	const struct cred *old = current()->cred;
	if (!capable(CAP_SETGID))
		return -EPERM;
	if (n < 0 || n > NGROUPS_MAX)
		return -EINVAL;
	struct cred *c = cred_new((unsigned)n);
	if (!c)
		return -ENOMEM;
	memcpy(c, old, sizeof(*c));
	c->refs = 1;
	c->ngroups = (u32)n;
	if (copy_from_user(c->groups, ugroups, (u32)n * sizeof(u32))) {
		cred_put(c);
		return -EFAULT;
	}
	cred_install(c);
	return 0;
}

/* ---- capabilities
 * ---------------------------------------------------------------------------------- */

#define CAP_VERSION_1 0x19980330u
#define CAP_VERSION_2 0x20071026u
#define CAP_VERSION_3 0x20080522u

struct cap_header {
	u32 version;
	s32 pid;
};
struct cap_data {
	u32 effective, permitted, inheritable;
};

/* How many cap_data the version has, or -errno with the right version told. */
static int cap_words(u64 uheader, struct cap_header *h)
{
	if (copy_from_user(h, uheader, sizeof(*h)))
		return -EFAULT;
	if (h->version == CAP_VERSION_1)
		return 1;
	if (h->version == CAP_VERSION_2 || h->version == CAP_VERSION_3)
		return 2;
	return put_user_u32(uheader, CAP_VERSION_3) ? -EFAULT : -EINVAL;
}

SYSCALL2(capget, u64, uheader, u64, udata)
{
	struct cap_header h;
	struct cap_data d[2];
	int n = cap_words(uheader, &h);
	if (n < 0)
		return n == -EINVAL && !udata ? 0 : n;
	if (h.pid < 0)
		return -EINVAL;
	struct task *t = h.pid ? task_find((u32)h.pid) : current();
	if (!t)
		return -ESRCH;
	struct cred *c = task_cred_get(t);
	if (h.pid)
		task_put(t);
	if (!c)
		return -ESRCH;
	for (int i = 0; i < 2; i++)
		d[i] = (struct cap_data){(u32)(c->cap_effective >> 32 * i),
					 (u32)(c->cap_permitted >> 32 * i),
					 (u32)(c->cap_inheritable >> 32 * i)};
	cred_put(c);
	return udata ? copy_to_user(udata, d, (size_t)n * sizeof(d[0])) : 0;
}

SYSCALL2(capset, u64, uheader, u64, udata)
{
	const struct cred *old = current()->cred;
	struct cap_header h;
	struct cap_data d[2] = {{0}};
	int n = cap_words(uheader, &h);
	if (n < 0)
		return n;
	if (h.pid && (u32)h.pid != current()->tid)
		return -EPERM;
	if (copy_from_user(d, udata, (size_t)n * sizeof(d[0])))
		return -EFAULT;
	u64 e = (d[0].effective | (u64)d[1].effective << 32) & CAP_FULL;
	u64 p = (d[0].permitted | (u64)d[1].permitted << 32) & CAP_FULL;
	u64 i = (d[0].inheritable | (u64)d[1].inheritable << 32) & CAP_FULL;
	if ((p & ~old->cap_permitted) || (e & ~p) ||
	    (i & ~(old->cap_inheritable | old->cap_bounding)) ||
	    (!capable(CAP_SETPCAP) && (i & ~(old->cap_inheritable | old->cap_permitted))))
		return -EPERM;
	struct cred *c = cred_copy(old);
	if (!c)
		return -ENOMEM;
	c->cap_effective = e;
	c->cap_permitted = p;
	c->cap_inheritable = i;
	c->cap_ambient &= p & i;
	cred_install(c);
	return 0;
}
