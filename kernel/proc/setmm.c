/* SPDX-License-Identifier: MIT */
/*
 * prctl(PR_SET_MM): a process says where its code, data, stack, arguments and the rest
 * are, what its auxiliary vector was, and which program it is; for those who put a
 * saved process together again.  It moves nothing.
 *
 * Locking: single words of the layout, as exec writes them; exe_lock for the program.
 */
#include "../fs/vfs.h"
#include "internal.h"

enum {
	SET_START_CODE = 1,
	SET_END_CODE,
	SET_START_DATA,
	SET_END_DATA,
	SET_START_STACK,
	SET_START_BRK,
	SET_BRK,
	SET_ARG_START,
	SET_ARG_END,
	SET_ENV_START,
	SET_ENV_END,
	SET_AUXV,
	SET_EXE_FILE,
	SET_MAP,
	SET_MAP_SIZE,
};

struct mm_map { /* struct prctl_mm_map */
	u64 start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
	u64 arg_start, arg_end, env_start, env_end;
	u64 auxv;
	u32 auxv_size, exe_fd;
};
_Static_assert(sizeof(struct mm_map) == 104, "struct prctl_mm_map");

static void map_get(struct mm_map *m, struct quire_mm *mm)
{
	const struct quire_layout *l = quire_mm_layout(mm);
	*m = (struct mm_map){
	    .start_code = l->start_code,
	    .end_code = l->end_code,
	    .start_data = l->start_data,
	    .end_data = l->end_data,
	    .start_brk = l->start_brk,
	    .brk = quire_mm_brk(mm),
	    .start_stack = l->start_stack,
	    .arg_start = l->arg_start,
	    .arg_end = l->arg_end,
	    .env_start = l->env_start,
	    .env_end = l->env_end,
	};
}

static void map_set(const struct mm_map *m, struct quire_mm *mm)
{
	struct quire_layout *l = quire_mm_layout(mm);
	l->start_code = m->start_code;
	l->end_code = m->end_code;
	l->start_data = m->start_data;
	l->end_data = m->end_data;
	l->start_brk = m->start_brk;
	l->start_stack = m->start_stack;
	l->arg_start = m->arg_start;
	l->arg_end = m->arg_end;
	l->env_start = m->env_start;
	l->env_end = m->env_end;
	quire_mm_set_brk(mm, m->brk);
}

static bool map_ok(const struct mm_map *m)
{
	const u64 *v = &m->start_code;
	for (unsigned i = 0; i < 11; i++)
		if (v[i] >= QUIRE_USER_END || v[i] < quire_max(quire_sysctl.mmap_min_addr, 65536UL))
			return false;
	if (m->start_code >= m->end_code || m->start_data > m->end_data || m->start_brk > m->brk ||
	    m->arg_start > m->arg_end || m->env_start > m->env_end)
		return false;
	u64 data = current()->process->rlim[RLIMIT_DATA].cur;
	return data == ~0UL || (m->brk - m->start_brk) + (m->end_data - m->start_data) <= data;
}

static long set_auxv(struct uspace *u, u64 from, u64 size)
{
	u64 auxv[quire_array_size(u->auxv)] = {0};
	if (size > sizeof(auxv))
		return -EINVAL;
	if (copy_from_user(auxv, from, size))
		return -EFAULT;
	auxv[quire_array_size(auxv) - 2] = auxv[quire_array_size(auxv) - 1] = 0;
	memcpy(u->auxv, auxv, size);
	return 0;
}

/* Is that file mapped somewhere? */
static bool is_mapped(struct uspace *u, const struct file *exe)
{
	struct quire_vma_info v;
	bool found = false;
	for (u64 at = 0; !found && quire_mm_vma_at(u->mm, at, &v); at = v.end)
		if (v.file) {
			found = ((struct file *)v.file)->path.dentry == exe->path.dentry;
			file_put((struct file *)v.file);
		}
	return found;
}

static long set_exe(struct uspace *u, int fd)
{
	struct file *f = fd_get(fd), *old;
	if (!f)
		return -EBADF;
	long err = f->inode && S_ISREG(f->inode->mode) ? inode_permission(f->inode, 1) : -EACCES;
	spin_lock(&u->exe_lock);
	old = u->exe;
	if (old)
		file_get(old);
	spin_unlock(&u->exe_lock);
	if (!err && old && is_mapped(u, old))
		err = -EBUSY;
	if (old)
		file_put(old);
	if (!err && inode_deny_write(f->inode))
		err = -EACCES;
	if (err) {
		file_put(f);
		return err;
	}
	spin_lock(&u->exe_lock);
	old = u->exe;
	u->exe = f;
	spin_unlock(&u->exe_lock);
	if (old) {
		inode_allow_write(old->inode);
		file_put(old);
	}
	return 0;
}

static long set_map(struct uspace *u, u64 from, u64 size)
{
	struct mm_map m;
	if (size != sizeof(m))
		return -EINVAL;
	if (copy_from_user(&m, from, sizeof(m)))
		return -EFAULT;
	if (!map_ok(&m))
		return -EINVAL;
	if (m.auxv_size && (!m.auxv || m.auxv_size > sizeof(u->auxv)))
		return -EINVAL;
	long err = 0;
	if (m.exe_fd != ~0u) {
		if (!capable(CAP_SYS_ADMIN) && !capable(CAP_CHECKPOINT_RESTORE))
			return -EPERM;
		err = set_exe(u, (int)m.exe_fd);
	}
	if (!err && m.auxv_size)
		err = set_auxv(u, m.auxv, m.auxv_size);
	if (!err)
		map_set(&m, u->mm);
	return err;
}

static u64 *field(struct mm_map *m, int option)
{
	u64 *const fields[] = {
	    [SET_START_CODE] = &m->start_code,
	    [SET_END_CODE] = &m->end_code,
	    [SET_START_DATA] = &m->start_data,
	    [SET_END_DATA] = &m->end_data,
	    [SET_START_STACK] = &m->start_stack,
	    [SET_START_BRK] = &m->start_brk,
	    [SET_BRK] = &m->brk,
	    [SET_ARG_START] = &m->arg_start,
	    [SET_ARG_END] = &m->arg_end,
	    [SET_ENV_START] = &m->env_start,
	    [SET_ENV_END] = &m->env_end,
	};
	return option >= SET_START_CODE && option <= SET_ENV_END ? fields[option] : NULL;
}

long prctl_set_mm(int option, u64 addr, u64 size, u64 none)
{
	struct uspace *u = current()->uspace;
	struct quire_vma_info v;
	struct mm_map m;
	bool sized = option == SET_AUXV || option == SET_MAP || option == SET_MAP_SIZE;
	if (none || (size && !sized))
		return -EINVAL;
	if (option == SET_MAP_SIZE)
		return put_user_u32(addr, sizeof(m));
	if (option == SET_MAP)
		return set_map(u, addr, size);
	if (!capable(CAP_SYS_RESOURCE))
		return -EPERM;
	if (option == SET_EXE_FILE)
		return set_exe(u, (int)addr);
	if (option == SET_AUXV)
		return set_auxv(u, addr, size);
	if (addr >= QUIRE_USER_END || addr < quire_sysctl.mmap_min_addr)
		return -EINVAL;
	map_get(&m, u->mm);
	u64 *to = field(&m, option);
	if (!to)
		return -EINVAL;
	*to = addr;
	if (!map_ok(&m))
		return -EINVAL;
	if (option == SET_START_STACK || option >= SET_ARG_START) {
		if (!quire_mm_vma_at(u->mm, addr, &v))
			return -EFAULT;
		if (v.file)
			file_put((struct file *)v.file);
	}
	map_set(&m, u->mm);
	return 0;
}
