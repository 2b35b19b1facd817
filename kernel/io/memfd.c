/* SPDX-License-Identifier: MIT */
/*
 * memfd_create, and seals: promises about a file's content that can't be taken back.
 *
 * fs/memfs.c keeps the content and honours the seals when the file is written,
 * resized or mapped; the core refuses writable mappings while writable_maps < 0.
 *
 * Locking: inode->lock for the seals.  Huge pages are refused.
 */
#include "memfd.h"

#include <quire/string.h>

#include "../lib/print.h"
#include "../lib/string.h"
#include "../syscall/syscall.h"
#include "io.h"

#define MFD_CLOEXEC 1u
#define MFD_ALLOW_SEALING 2u
#define MFD_NAME_MAX 249 /* with its terminator and "memfd:": NAME_MAX + 1 */
#define ALL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)

static struct fs *memfd_fs;
static struct mutex memfd_lock = MUTEX_INIT(RANK_HOST_OUTER + 1);

static struct fs *get_fs(void)
{
	mutex_lock(&memfd_lock);
	if (!memfd_fs) {
		struct dentry *root;
		memfd_fs = memfs_new("tmpfs", &root);
	}
	mutex_unlock(&memfd_lock);
	return memfd_fs;
}

SYSCALL2(memfd_create, u64, uname, u32, flags)
{
	if (flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING))
		return -EINVAL;
	char label[sizeof("/memfd:") + MFD_NAME_MAX + sizeof(" (deleted)")] = "/memfd:";
	long len = copy_string_from_user(label + 7, uname, MFD_NAME_MAX + 1);
	if (len == -ENAMETOOLONG)
		return -EINVAL;
	if (len < 0)
		return len;
	memcpy(label + 7 + len, " (deleted)", sizeof(" (deleted)"));
	struct fs *fs = get_fs();
	struct inode *i = fs ? memfs_inode(fs, S_IFREG | 0777) : NULL;
	if (!i)
		return -ENOMEM;
	i->nlink = 0;
	i->seals = SEALS_POSSIBLE | (flags & MFD_ALLOW_SEALING ? 0 : F_SEAL_SEAL);
	struct file *f = file_anon(label, i, &cached_file_ops, O_RDWR | O_LARGEFILE);
	if (!f) {
		inode_put(i);
		return -ENOMEM;
	}
	f->seekable = true;
	return anon_install(f, flags & MFD_CLOEXEC ? O_CLOEXEC : 0);
}

/* Any file in memory has seals; one that has a name is sealed against more of them. */
static bool sealable(struct file *f)
{
	return f->inode && S_ISREG(f->inode->mode) && f->inode->mapping.swapbacked;
}

static u32 seals_of(const struct inode *i)
{
	return i->seals & SEALS_POSSIBLE ? i->seals & ALL_SEALS : F_SEAL_SEAL;
}

/* Deny writable shared mappings from now on; -EBUSY while there is one. */
static int deny_writable(struct quire_mapping *m)
{
	s32 n = __atomic_load_n(&m->writable_maps, __ATOMIC_SEQ_CST);
	do {
		if (n > 0)
			return -EBUSY;
	} while (!__atomic_compare_exchange_n(&m->writable_maps, &n, n - 1, false, __ATOMIC_SEQ_CST,
					      __ATOMIC_SEQ_CST));
	return 0;
}

long memfd_add_seals(struct file *f, u32 seals)
{
	if (!f->can_write)
		return -EPERM;
	if ((seals & ~ALL_SEALS) || !sealable(f))
		return -EINVAL;
	struct inode *i = f->inode;
	long r = 0;
	mutex_lock(&i->lock);
	if (seals_of(i) & F_SEAL_SEAL)
		r = -EPERM;
	else if ((seals & F_SEAL_WRITE) && !(i->seals & F_SEAL_WRITE))
		r = deny_writable(&i->mapping);
	if (!r)
		i->seals |= seals;
	mutex_unlock(&i->lock);
	return r;
}

long memfd_get_seals(struct file *f)
{
	return sealable(f) ? (long)seals_of(f->inode) : -EINVAL;
}
