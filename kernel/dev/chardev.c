/* SPDX-License-Identifier: MIT */
/*
 * The devices that have no hardware: null, zero, full, random, urandom.
 *
 * No state, no locks.
 */
#include "../io/io.h"
#include "hostio.h"

static s64 null_read(struct file *f, struct iter *it, u64 *pos)
{
	(void)f, (void)it, (void)pos;
	return 0;
}

/* Takes everything without looking, as the bytes matter to nobody. */
static s64 null_write(struct file *f, struct iter *it, u64 *pos)
{
	size_t n = it->left;
	(void)f, (void)pos;
	it->left = 0;
	return (s64)n;
}

static s64 zero_read(struct file *f, struct iter *it, u64 *pos)
{
	size_t total = 0;
	(void)f, (void)pos;
	while (it->left) {
		size_t n = quire_min(it->left, QUIRE_PAGE_SIZE), done = iter_zero(it, n);
		total += done;
		if (done < n)
			return total ? (s64)total : -EFAULT;
		if (signal_pending())
			break;
	}
	return (s64)total;
}

static s64 full_write(struct file *f, struct iter *it, u64 *pos)
{
	(void)f, (void)it, (void)pos;
	return -ENOSPC;
}

static s64 random_read(struct file *f, struct iter *it, u64 *pos)
{
	u8 chunk[256];
	size_t total = 0;
	(void)f, (void)pos;
	while (it->left) {
		size_t n = quire_min(it->left, sizeof(chunk));
		quire_host_random(chunk, n);
		size_t done = iter_copy_to(it, chunk, n);
		total += done;
		if (done < n)
			return total ? (s64)total : -EFAULT;
		if (signal_pending())
			break;
	}
	return (s64)total;
}

/* These devices have positions that mean nothing: every seek is to 0. */
static s64 seek_nowhere(struct file *f, s64 off, int whence)
{
	(void)off, (void)whence;
	return (s64)(f->pos = 0);
}

static s64 random_ioctl(struct file *f, u32 cmd, u64 arg)
{
	(void)f;
	return cmd == 0x80045200u ? put_user_u32(arg, 256) : -ENOTTY; /* RNDGETENTCNT */
}

static int zero_mmap(const struct file *f)
{
	(void)f;
	return 0;
}

/* What the core takes for zeroes is a file without a mapping. */
static int zero_open(struct inode *i, struct file *f)
{
	(void)i;
	f->seekable = true;
	f->vm.mapping = NULL;
	return 0;
}

static const struct file_ops null_ops = {
    .read = null_read, .write = null_write, .seek = seek_nowhere};
static const struct file_ops zero_ops = {
    .read = zero_read, .write = null_write, .seek = seek_nowhere, .mmap = zero_mmap};
static const struct file_ops full_ops = {
    .read = zero_read, .write = full_write, .seek = seek_nowhere};
static const struct file_ops random_ops = {
    .read = random_read,
    .write = null_write,
    .seek = seek_nowhere,
    .ioctl = random_ioctl,
};

static int open_seekable(struct inode *i, struct file *f)
{
	(void)i;
	f->seekable = true;
	return 0;
}

void chardev_init(void)
{
	chrdev_register(1, 3, "null", 0666, &null_ops, open_seekable);
	chrdev_register(1, 5, "zero", 0666, &zero_ops, zero_open);
	chrdev_register(1, 7, "full", 0666, &full_ops, open_seekable);
	chrdev_register(1, 8, "random", 0666, &random_ops, open_seekable);
	chrdev_register(1, 9, "urandom", 0666, &random_ops, open_seekable);
}
