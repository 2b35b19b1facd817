/* SPDX-License-Identifier: MIT */
/*
 * System V shared memory: shmget, shmat, shmdt, shmctl.
 *
 * A segment is a file that lives in memory; each attach maps it through an open
 * file of its own, which keeps the segment.  The count of attaches that shmctl shows is
 * that of VMAs, as on Linux.  Ids are a slot's number and how often slots came round.
 *
 * Locking: shm_lock (mutex, RANK_HOST_IO + 2: a detach comes with mmap_lock held) guards
 * the list of segments and what they hold.  Huge pages are refused.
 */
#include <quire/string.h>

#include "../lib/print.h"
#include "../lib/string.h"
#include "../syscall/syscall.h"
#include "../fs/proc.h"
#include "io.h"

#define IPC_CREAT 01000u
#define IPC_EXCL 02000u
#define SHM_HUGETLB 04000u
#define SHM_NORESERVE 010000u
#define SHM_RDONLY 010000u
#define SHM_RND 020000u
#define SHM_REMAP 040000u
#define SHM_EXEC 0100000u
#define SHM_DEST 01000u
#define SHM_LOCKED 02000u
enum { IPC_RMID, IPC_SET, IPC_STAT, IPC_INFO, SHM_LOCK = 11, SHM_UNLOCK, SHM_STAT, SHM_INFO };
#define SHM_STAT_ANY 15
#define SHM_SEGMENTS 4096u
#define SLOT_BITS 15
#define MIN_SLOTS 64u
#define SHM_MAX (~0UL - (1UL << 24)) /* shmmax and shmall */
#define CAP_IPC_LOCK 14
#define CAP_IPC_OWNER 15
#define RLIMIT_MEMLOCK 8
#define CAP_SYS_ADMIN 21
#define NSEC 1000000000UL

struct ipc_perm_k {
	u32 key, uid, gid, cuid, cgid, mode;
	u16 seq, pad;
	u32 pad2;
	u64 unused[2];
};
struct shmid_ds_k {
	struct ipc_perm_k perm;
	u64 segsz;
	s64 atime, dtime, ctime;
	s32 cpid, lpid;
	u64 nattch, unused[2];
};
_Static_assert(sizeof(struct shmid_ds_k) == 112, "struct shmid_ds");

struct shm {
	struct list node;
	s32 id;
	bool gone; /* removed; goes with the last open file */
	u32 key;   /* as it was made; removal clears the one in ds */
	u32 files; /* open files: attaches and those under way */
	struct inode *inode;
	u64 charged;  /* pages: all of it, from the start */
	u32 lock_uid; /* SHM_LOCKED: against whose RLIMIT_MEMLOCK it counts */
	struct shmid_ds_k ds;
};

static struct mutex shm_lock = MUTEX_INIT(RANK_HOST_IO + 2);
static struct list segments = LIST_INIT(segments);
static u32 nsegments, slots_round;
static s32 last_slot = -1;
static struct fs *shm_fs;

static s64 now(void)
{
	return (s64)((time_ns() + wall_offset_ns) / NSEC);
}

static struct shm *find_locked(s32 id)
{
	struct shm *s;
	list_for_each (s, &segments, node)
		if (s->id == id)
			return s;
	return NULL;
}

/* The segment in a slot, whatever its id. */
static struct shm *slot_locked(s32 slot)
{
	struct shm *s;
	list_for_each (s, &segments, node)
		if ((s->id & ((1 << SLOT_BITS) - 1)) == slot)
			return s;
	return NULL;
}

static u64 nattch(const struct shm *s)
{
	return (u64)__atomic_load_n(&s->inode->mapping.nr_maps, __ATOMIC_RELAXED);
}

/* need: 4 read, 2 write. */
static bool allowed(const struct shm *s, unsigned need)
{
	const struct cred *c = current()->cred;
	unsigned mode = s->ds.perm.mode;
	if (capable(CAP_IPC_OWNER))
		return true;
	if (c->euid == s->ds.perm.uid || c->euid == s->ds.perm.cuid)
		mode >>= 6;
	else if (c->egid == s->ds.perm.gid || in_group(c, s->ds.perm.gid) ||
		 in_group(c, s->ds.perm.cgid))
		mode >>= 3;
	return (mode & need) == need;
}

static bool owns(const struct shm *s)
{
	const struct cred *c = current()->cred;
	return c->euid == s->ds.perm.uid || c->euid == s->ds.perm.cuid || capable(CAP_SYS_ADMIN);
}

/* Out of the list; the caller frees what is returned once the lock is dropped. */
static struct shm *unlink_locked(struct shm *s)
{
	list_del(&s->node);
	nsegments--;
	return s;
}

static void segment_free(struct shm *s)
{
	if (!s)
		return;
	if (s->inode)
		inode_put(s->inode);
	quire_uncharge(s->charged);
	quire_kfree(s);
}

/* Charge the segment: as a whole, or (SHM_NORESERVE) page by page as they come. */
static bool charge(struct shm *s, u64 size, u32 mode)
{
	u64 pages = quire_round_up(size, QUIRE_PAGE_SIZE) >> QUIRE_PAGE_SHIFT;
	if ((mode & SHM_NORESERVE) && quire_sysctl.overcommit_memory != 2)
		return true;
	if (!quire_charge(current()->uspace->mm, pages))
		return false;
	s->charged = pages;
	s->inode->mapping.charged = false;
	return true;
}

/* ---- making segments -------------------------------------------------------------------- */

static struct shm *segment_new(u32 key, u64 size, u32 mode)
{
	struct dentry *root;
	const struct cred *c = current()->cred;
	static struct mutex fs_lock = MUTEX_INIT(RANK_HOST_OUTER + 1);
	mutex_lock(&fs_lock);
	if (!shm_fs)
		shm_fs = memfs_new("tmpfs", &root);
	mutex_unlock(&fs_lock);
	struct shm *s = quire_kmalloc(sizeof(*s), GFP_KERNEL | GFP_ZERO);
	if (s && shm_fs)
		s->inode = memfs_inode(shm_fs, S_IFREG | (mode & 0777));
	if (!s || !s->inode || !charge(s, size, mode)) {
		segment_free(s);
		return NULL;
	}
	s->inode->nlink = 0;
	s->inode->mapping.one_by_one = true; /* as on Linux */
	struct attr a = {.mask = ATTR_SIZE, .size = size};
	mutex_lock(&s->inode->lock);
	int r = s->inode->ops->setattr(s->inode, &a);
	mutex_unlock(&s->inode->lock);
	if (r) {
		segment_free(s);
		return NULL;
	}
	s->ds.perm = (struct ipc_perm_k){.key = key,
					 .uid = c->euid,
					 .gid = c->egid,
					 .cuid = c->euid,
					 .cgid = c->egid,
					 .mode = mode & 0777};
	s->key = key;
	s->ds.segsz = size;
	s->ds.ctime = now();
	s->ds.cpid = (s32)current()->process->tgid;
	return s;
}

static struct shm *by_key_locked(u32 key)
{
	struct shm *s;
	list_for_each (s, &segments, node)
		if (key && s->ds.perm.key == key && !s->gone)
			return s;
	return NULL;
}

/* The id of the segment with that key, or -errno; -ENOENT: it has to be made. */
static s32 existing_locked(u32 key, u64 size, u32 flags)
{
	struct shm *s = by_key_locked(key);
	if (!s)
		return -ENOENT;
	if ((flags & (IPC_CREAT | IPC_EXCL)) == (IPC_CREAT | IPC_EXCL))
		return -EEXIST;
	if (size > s->ds.segsz)
		return -EINVAL;
	return allowed(s, (flags >> 6 | flags >> 3 | flags) & 6) ? s->id : -EACCES;
}

/* A free slot, going round, as Linux does it; the id with it. */
static s32 id_locked(void)
{
	u32 slots = quire_max(nsegments * 3 / 2, MIN_SLOTS), slot = (u32)(last_slot + 1);

	for (;; slot++) {
		slot = slot < slots ? slot : 0;
		if (!slot_locked((s32)slot))
			break;
	}
	if ((s32)slot <= last_slot)
		slots_round++;
	last_slot = (s32)slot;
	return (s32)((slots_round << SLOT_BITS | slot) & 0x7fffffff);
}

SYSCALL3(shmget, u32, key, u64, size, u32, flags)
{
	mutex_lock(&shm_lock);
	s32 id = existing_locked(key, size, flags);
	mutex_unlock(&shm_lock);
	if (id != -ENOENT || (key && !(flags & IPC_CREAT)))
		return id;
	if (!size || size > SHM_MAX)
		return -EINVAL;
	u32 order = flags >> 26 & 63;
	if (flags & SHM_HUGETLB) /* there are huge pages of two sizes, and none of either */
		return order && order != 21 && order != 30 ? -EINVAL : -ENOMEM;
	struct shm *s = segment_new(key, size, flags);
	if (!s)
		return -ENOMEM;
	mutex_lock(&shm_lock);
	id = existing_locked(key, size, flags); /* another may have made it meanwhile */
	if (id == -ENOENT && nsegments >= SHM_SEGMENTS)
		id = -ENOSPC;
	if (id == -ENOENT) {
		id = id_locked();
		s->id = id;
		s->inode->ino = (u64)id; /* as Linux numbers them */
		list_add_tail(&segments, &s->node);
		nsegments++;
		s = NULL;
	}
	mutex_unlock(&shm_lock);
	segment_free(s);
	return id;
}

/* ---- attaching -------------------------------------------------------------------------- */

static struct file_ops shm_ops; /* cached_file_ops with a release; set at the first attach */

static void shm_release(struct file *f)
{
	struct shm *s = f->private, *done = NULL;
	mutex_lock(&shm_lock);
	s->files--;
	s->ds.dtime = now();
	s->ds.lpid = (s32)current()->process->tgid;
	if (s->gone && !s->files)
		done = unlink_locked(s);
	mutex_unlock(&shm_lock);
	segment_free(done);
}

/* An open file of the segment, counted as an attach. */
static struct file *attach_file(s32 id, u32 flags, u64 *size, int *err)
{
	char label[32];
	*err = -EINVAL;
	mutex_lock(&shm_lock);
	struct shm *s = id >= 0 ? find_locked(id) : NULL;
	if (s && !allowed(s, flags & SHM_RDONLY ? 4 : 6)) {
		*err = -EACCES;
		s = NULL;
	}
	if (s) {
		s->files++; /* keeps it */
		*size = s->ds.segsz;
	}
	mutex_unlock(&shm_lock);
	if (!s)
		return NULL;
	snprintf(label, sizeof(label), "/SYSV%08x (deleted)", s->key);
	inode_get(s->inode);
	struct file *f =
	    file_anon(label, s->inode, &shm_ops, flags & SHM_RDONLY ? O_RDONLY : O_RDWR);
	if (f) {
		f->private = s;
		return f;
	}
	*err = -ENOMEM;
	inode_put(s->inode);
	struct file none = {.private = s};
	shm_release(&none);
	return NULL;
}

SYSCALL3(shmat, s32, id, u64, addr, u32, flags)
{
	u64 size, map = MAP_SHARED, prot = PROT_READ;
	int err;
	if (addr & ~QUIRE_PAGE_MASK) {
		if (!(flags & SHM_RND))
			return -EINVAL;
		addr &= QUIRE_PAGE_MASK;
	}
	if (addr)
		map |= flags & SHM_REMAP ? MAP_FIXED : MAP_FIXED_NOREPLACE;
	else if (flags & SHM_REMAP)
		return -EINVAL;
	if (!(flags & SHM_RDONLY))
		prot |= PROT_WRITE;
	if (flags & SHM_EXEC)
		prot |= PROT_EXEC;
	mutex_lock(&shm_lock);
	if (!shm_ops.release) {
		shm_ops = cached_file_ops;
		shm_ops.release = shm_release;
	}
	mutex_unlock(&shm_lock);
	struct file *f = attach_file(id, flags, &size, &err);
	if (!f)
		return err;
	if (addr && !(flags & SHM_REMAP) && addr + size < addr) {
		file_put(f);
		return -EINVAL;
	}
	u64 may = VM_MAYREAD | VM_MAYEXEC | (flags & SHM_RDONLY ? 0 : VM_MAYWRITE);
	s64 r = quire_mmap(current()->uspace->mm, addr, size, prot, map, &f->vm, 0, may);
	if (r > 0) {
		struct shm *s = f->private;
		mutex_lock(&shm_lock);
		s->ds.atime = now();
		s->ds.lpid = (s32)current()->process->tgid;
		mutex_unlock(&shm_lock);
	}
	file_put(f);
	return r == -EEXIST ? -EINVAL : r;
}

SYSCALL1(shmdt, u64, addr)
{
	struct quire_mm *mm = current()->uspace->mm;
	struct quire_vma_info v;
	u64 at = addr, end = 0;
	struct file *seg = NULL;
	long r = -EINVAL;
	if (addr & ~QUIRE_PAGE_MASK)
		return -EINVAL;
	while ((!seg || at < end) && quire_mm_vma_at(mm, at, &v)) {
		struct file *f = (struct file *)v.file;
		/* The first piece decides, though others may have taken the start's place. */
		bool mine = f && f->ops == &shm_ops && (!seg || f == seg) && v.start >= addr &&
			    (v.start - addr) >> QUIRE_PAGE_SHIFT == v.pgoff;
		if (mine && !seg) {
			seg = f;
			file_get(seg);
			end = addr +
			      quire_round_up(((struct shm *)f->private)->ds.segsz, QUIRE_PAGE_SIZE);
		}
		if (f)
			file_put(f);
		if (mine && v.end <= end)
			r = quire_munmap(mm, v.start, v.end - v.start);
		at = v.end;
	}
	if (seg) {
		struct shm *s = seg->private;
		mutex_lock(&shm_lock);
		s->ds.dtime = now();
		s->ds.lpid = (s32)current()->process->tgid;
		mutex_unlock(&shm_lock);
		file_put(seg);
	}
	return r;
}

/* SHM_LOCK.  There is no swap: segments stay in memory anyway, but locking has its limit. */
static long set_locked(struct shm *s, bool lock)
{
	const struct cred *c = current()->cred;
	u64 limit = current()->process->rlim[RLIMIT_MEMLOCK].cur;
	u64 pages = quire_round_up(s->ds.segsz, QUIRE_PAGE_SIZE) >> QUIRE_PAGE_SHIFT;
	struct shm *other;
	if (!capable(CAP_IPC_LOCK)) {
		if (c->euid != s->ds.perm.uid && c->euid != s->ds.perm.cuid)
			return -EPERM;
		if (lock && !limit)
			return -EPERM;
	}
	if (!lock) {
		s->ds.perm.mode &= ~SHM_LOCKED;
		return 0;
	}
	if (s->ds.perm.mode & SHM_LOCKED)
		return 0;
	list_for_each (other, &segments, node)
		if ((other->ds.perm.mode & SHM_LOCKED) && other->lock_uid == c->uid)
			pages +=
			    quire_round_up(other->ds.segsz, QUIRE_PAGE_SIZE) >> QUIRE_PAGE_SHIFT;
	if (limit != ~0UL && pages > limit >> QUIRE_PAGE_SHIFT && !capable(CAP_IPC_LOCK))
		return -ENOMEM;
	s->ds.perm.mode |= SHM_LOCKED;
	s->lock_uid = c->uid;
	return 0;
}

/* ---- /proc ------------------------------------------------------------------------------ */

static int show_shm(struct seq *q, struct proc_ctx *c)
{
	struct shm *s;

	(void)c;
	seq_puts(
	    q, "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  "
	       "cuid  cgid      atime      dtime      ctime                   rss"
	       "                  swap\n");
	mutex_lock(&shm_lock);
	list_for_each (s, &segments, node) {
		const struct shmid_ds_k *d = &s->ds;

		seq_printf(q,
			   "%10d %10d  %4o %21lu %5d %5d  %5lu %5u %5u %5u %5u %10lu %10lu %10lu ",
			   (s32)d->perm.key, s->id, d->perm.mode, d->segsz, d->cpid, d->lpid,
			   nattch(s), d->perm.uid, d->perm.gid, d->perm.cuid, d->perm.cgid,
			   (u64)d->atime, (u64)d->dtime, (u64)d->ctime);
		seq_printf(q, "%21lu %21lu\n", s->inode->mapping.nr_pages << QUIRE_PAGE_SHIFT, 0UL);
	}
	mutex_unlock(&shm_lock);
	return 0;
}

const struct proc_entry proc_sysvipc_table[] = {
    {"shm", S_IFREG | 0444, .show = show_shm},
    {0},
};

/* ---- shmctl ----------------------------------------------------------------------------- */

/* Limits (IPC_INFO) and use (SHM_INFO); the result is the highest index in use. */
static long show_info(int cmd, u64 ubuf)
{
	u64 out[14] = {0}; /* as struct shminfo64, struct shm_info */
	u64 pages = 0, present = 0;
	s32 highest = 0;
	struct shm *s;
	mutex_lock(&shm_lock);
	u32 n = nsegments;
	list_for_each (s, &segments, node) {
		pages += quire_round_up(s->ds.segsz, QUIRE_PAGE_SIZE) / QUIRE_PAGE_SIZE;
		present += s->inode->mapping.nr_pages;
		highest = quire_max(highest, s->id & ((1 << SLOT_BITS) - 1));
	}
	mutex_unlock(&shm_lock);
	size_t size;
	if (cmd == IPC_INFO) {
		out[0] = SHM_MAX;
		out[1] = 1;
		out[2] = out[3] = SHM_SEGMENTS;
		out[4] = SHM_MAX;
		size = 9 * sizeof(u64);
	} else {
		out[0] = n;
		out[1] = pages;
		out[2] = present;
		size = 6 * sizeof(u64);
	}
	return copy_to_user(ubuf, out, size) ? -EFAULT : highest;
}

SYSCALL3(shmctl, s32, id, int, cmd, u64, ubuf)
{
	struct shmid_ds_k ds;
	struct shm *done = NULL;
	bool by_index = cmd == SHM_STAT || cmd == SHM_STAT_ANY, give = false;
	long r = -EINVAL;
	if (cmd == IPC_INFO || cmd == SHM_INFO)
		return show_info(cmd, ubuf);
	if (cmd == IPC_SET && copy_from_user(&ds, ubuf, sizeof(ds)))
		return -EFAULT;
	mutex_lock(&shm_lock);
	struct shm *s = id < 0 ? NULL : by_index ? slot_locked(id) : find_locked(id);
	switch (s ? cmd : -1) {
	case IPC_STAT:
	case SHM_STAT:
	case SHM_STAT_ANY:
		r = cmd == SHM_STAT_ANY || allowed(s, 4) ? (by_index ? s->id : 0) : -EACCES;
		ds = s->ds;
		ds.nattch = nattch(s);
		give = r >= 0;
		break;
	case IPC_SET:
		r = owns(s) ? 0 : -EPERM;
		if (!r) {
			s->ds.perm.uid = ds.perm.uid;
			s->ds.perm.gid = ds.perm.gid;
			s->ds.perm.mode = (s->ds.perm.mode & ~0777u) | (ds.perm.mode & 0777);
			s->ds.ctime = now();
		}
		break;
	case IPC_RMID:
		r = owns(s) ? 0 : -EPERM;
		if (r)
			break;
		s->gone = true;
		s->ds.perm.mode |= SHM_DEST;
		s->ds.perm.key = 0;
		if (!s->files)
			done = unlink_locked(s);
		break;
	case SHM_LOCK:
	case SHM_UNLOCK:
		r = set_locked(s, cmd == SHM_LOCK);
		break;
	}
	mutex_unlock(&shm_lock);
	segment_free(done);
	if (give && copy_to_user(ubuf, &ds, sizeof(ds)))
		r = -EFAULT;
	return r;
}
