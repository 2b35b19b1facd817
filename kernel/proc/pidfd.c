/* SPDX-License-Identifier: MIT */
/*
 * pidfd: a descriptor keeps a reference on its process, and is readable once
 * that is a zombie (or gone).  No locks of its own.
 */
#include "pidfd.h"
#include "../fs/procfs.h"
#include "../fs/vfs.h"
#include "../io/io.h"
#include "internal.h"

static u32 pidfd_poll(struct file *f, struct poll_table *pt)
{
	struct process *p = f->private;
	poll_wait(pt, &p->wait_pidfd);
	return __atomic_load_n(&p->zombie, __ATOMIC_ACQUIRE) ? POLLIN | POLLRDNORM : 0;
}

static void pidfd_release(struct file *f)
{
	process_put(f->private);
}

static void pidfd_show(struct file *f, char *buf, size_t max)
{
	struct process *p = f->private;
	snprintf(buf, max, "Pid:\t%d\nNSpid:\t%d\n", p->reaped ? -1 : (int)p->tgid,
		 p->reaped ? -1 : (int)p->tgid);
}

static const struct file_ops pidfd_ops = {
    .poll = pidfd_poll,
    .release = pidfd_release,
    .show_fdinfo = pidfd_show,
};

int pidfd_install(struct process *p, u32 flags)
{
	process_get(p);
	struct file *f =
	    anon_file("[pidfd]", &pidfd_ops, O_RDWR | O_CLOEXEC | (flags & O_NONBLOCK), p);
	if (!f) {
		process_put(p);
		return -ENOMEM;
	}
	return anon_install(f, O_CLOEXEC);
}

struct process *pidfd_process_of(const struct file *f)
{
	return f->ops == &pidfd_ops ? f->private : NULL;
}

static struct process *pidfd_process(int fd)
{
	struct file *f = fd_get(fd);
	struct process *p = f ? pidfd_process_of(f) : NULL;
	if (p)
		process_get(p);
	if (f)
		file_put(f);
	return p;
}

int pidfd_pid(int fd, u32 *pid)
{
	struct process *p = pidfd_process(fd);
	if (!p)
		return -EBADF;
	*pid = p->tgid;
	process_put(p);
	return 0;
}

SYSCALL2(pidfd_open, s32, pid, u32, flags)
{
	if ((flags & ~O_NONBLOCK) || pid <= 0)
		return -EINVAL;
	struct process *p = process_find((u32)pid);
	if (!p) {
		struct task *t = task_find((u32)pid);
		if (t)
			task_put(t);
		return t ? -EINVAL : -ESRCH;
	}
	int fd = p->reaped ? -ESRCH : pidfd_install(p, flags);
	process_put(p);
	return fd;
}

SYSCALL4(pidfd_send_signal, int, fd, int, sig, u64, uinfo, u32, flags)
{
	struct siginfo info = {
	    .si_signo = sig,
	    .rt = {.pid = (s32)current()->process->tgid, .uid = current()->cred->uid},
	};
	if (flags)
		return -EINVAL;
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	bool gone = false;
	struct process *p = pidfd_process_of(f);
	if (p)
		process_get(p);
	else
		p = procfs_process(f, &gone); /* a directory /proc/PID stands for it, too */
	file_put(f);
	if (!p && !gone)
		return -EBADF;
	long err = 0;
	if (uinfo) {
		if (copy_from_user(&info, uinfo, sizeof(info)))
			err = -EFAULT;
		else if (info.si_signo != sig)
			err = -EINVAL;
		else if (info_is_forged(&info, p ? p->tgid : 0))
			err = -EPERM;
	}
	if (!err)
		err = !p || p->reaped ? -ESRCH : check_signal(p, sig);
	if (!err)
		err = send_signal_process(p, sig, &info);
	if (p)
		process_put(p);
	return err;
}
