/* SPDX-License-Identifier: MIT */
/*
 * Which device a file of an export is on, so that st_dev and st_ino are the host's.
 *
 * The protocol gives one 64-bit number for a file.  QEMU (multidevs=remap) makes it of
 * the inode number and, appended, a mark of the device: an Exp-Golomb code written
 * backwards, so that z zeros from below mean 2z + 1 bits.  Marks are numbered as
 * they turn up, and the path where one was met first is kept.  When somebody asks for a
 * device number, the server's own table of mounts tells it: /proc/PID/mountinfo,
 * read through the export.  Where that can't be read, numbers are made up.
 *
 * Locking: layer->dev_lock guards the marks and paths; resolving them is done once, by
 * whoever comes first, under dev_mutex (RANK_HOST_OUTER + 9).
 */
#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../lib/string.h"
#include "layerfs.h"

#define TABLE_BYTES 65536UL

static struct mutex dev_mutex = MUTEX_INIT(RANK_HOST_OUTER + 9);
static char *mount_table; /* text; guarded by dev_mutex */
static bool table_read;   /* tried; guarded by dev_mutex */

u64 layer_file_number(struct layer *l, u64 path, u8 *index)
{
	unsigned zeros = path ? (unsigned)__builtin_ctzl(path) : 64, bits = 2 * zeros + 1;
	u64 mark;
	u32 k;

	*index = 0;
	if (bits > 15)
		return path;
	mark = path & ((1UL << bits) - 1);
	spin_lock(&l->dev_lock);
	for (k = 0; k < l->ndevs && l->devs[k].mark != mark; k++)
		;
	if (k == l->ndevs && k < LAYER_DEVS) {
		l->devs[k].mark = mark;
		l->devs[k].dev = l->fs.dev + k;
		l->ndevs++;
	}
	spin_unlock(&l->dev_lock);
	*index = (u8)quire_min(k, LAYER_DEVS - 1u);
	return path >> bits;
}

/* The name of d from the layer's root, with the layer's own place before it; kmalloc'ed. */
static char *full_name(struct layer *l, struct dentry *d)
{
	size_t base = strlen(l->base);
	char *buf = quire_kmalloc(PATH_MAX, GFP_NOFAIL_OOM), *at, *name;

	if (!buf)
		return NULL;
	at = buf + PATH_MAX - 1;
	*at = 0;
	spin_lock(&d_lock);
	for (; d->parent && (size_t)(at - buf) > d->len + 1UL + base; d = d->parent) {
		at -= d->len;
		memcpy(at, d->name, d->len);
		*--at = '/';
	}
	spin_unlock(&d_lock);
	at -= base;
	memcpy(at, l->base, base);
	if (!*at)
		*--at = '/';
	name = quire_kmalloc(strlen(at) + 1, GFP_NOFAIL_OOM);
	if (name)
		memcpy(name, at, strlen(at) + 1);
	quire_kfree(buf);
	return name;
}

void layer_note_device(struct layer *l, unsigned index, struct dentry *d)
{
	char *name;

	if (__atomic_load_n(&l->devs[index].path, __ATOMIC_RELAXED))
		return;
	name = full_name(l, d);
	spin_lock(&l->dev_lock);
	if (!l->devs[index].path) {
		__atomic_store_n(&l->devs[index].path, name, __ATOMIC_RELEASE);
		name = NULL;
	}
	spin_unlock(&l->dev_lock);
	quire_kfree(name);
}

/* ---- the server's table of mounts --------------------------------------------------- */

static struct p9_fid *step(struct p9_fid *from, const char *name)
{
	struct p9_fid *next;

	return from && !p9_walk(from, name, &next, NULL) ? next : NULL;
}

/* A handle on /proc/PID/mountinfo of the server itself, or null. */
static struct p9_fid *find_table(struct p9_fid *root)
{
	struct p9_fid *proc = step(root, "proc"), *self = step(proc, "self");
	struct p9_fid *dir = NULL, *file = NULL;
	char pid[32];
	int n = self ? p9_readlink(self, pid, sizeof(pid) - 1) : -1;

	if (n > 0) {
		pid[n] = 0;
		dir = step(proc, pid);
		file = step(dir, "mountinfo");
	}
	if (proc)
		p9_clunk(proc);
	if (self)
		p9_clunk(self);
	if (dir)
		p9_clunk(dir);
	return file;
}

static void read_table(struct p9_fid *root)
{
	struct p9_fid *file = find_table(root);
	struct page *page = quire_page_alloc(0, GFP_KERNEL);
	char *text = quire_kmalloc(TABLE_BYTES, GFP_KERNEL);
	size_t len = 0;
	s64 n = 0;

	if (file && page && text && !p9_lopen(file, O_RDONLY)) {
		while (len + QUIRE_PAGE_SIZE < TABLE_BYTES &&
		       (n = p9_read_pages(file, len, &page, 1, QUIRE_PAGE_SIZE)) > 0) {
			memcpy(text + len, page_view(page), (size_t)n);
			len += (size_t)n;
		}
		text[len] = 0;
		mount_table = quire_krealloc(text, len + 1, GFP_KERNEL);
		if (!mount_table)
			mount_table = text;
		text = NULL;
	}
	quire_kfree(text);
	if (page)
		quire_page_put(page);
	if (file)
		p9_clunk(file);
}

static const char *number(const char *s, u64 *v)
{
	for (*v = 0; *s >= '0' && *s <= '9'; s++)
		*v = *v * 10 + (u64)(*s - '0');
	return s;
}

/* How long the mount point (to a blank, with octal escapes) is when path lies in it; else 0. */
static size_t covers(const char *point, const char *path)
{
	size_t n = 0;

	while (*point && *point != ' ') {
		char c = *point++;

		if (c == '\\' && point[0] && point[1] && point[2]) {
			c = (char)((point[0] - '0') << 6 | (point[1] - '0') << 3 |
				   (point[2] - '0'));
			point += 3;
		}
		if (path[n] != c)
			return 0;
		n++;
	}
	if (n == 1) /* "/" */
		return 1;
	return !path[n] || path[n] == '/' ? n : 0;
}

/* A line is: id parent major:minor root mount-point ... */
static u64 device_at(const char *path, u64 otherwise)
{
	const char *line = mount_table;
	size_t best = 0, n;
	u64 dev = otherwise, major, minor;

	while (line && *line) {
		const char *s = line, *end = strchr(line, '\n');
		int field;

		for (field = 0; field < 2 && s; field++) {
			s = strchr(s, ' ');
			s = s ? s + 1 : NULL;
		}
		if (s) {
			s = number(s, &major);
			s = number(*s == ':' ? s + 1 : s, &minor);
			s = *s == ' ' ? strchr(s + 1, ' ') : NULL;
			n = s ? covers(s + 1, path) : 0;
			if (n && n >= best) {
				best = n;
				dev = MAKEDEV(major, minor);
			}
		}
		line = end ? end + 1 : NULL;
	}
	return dev;
}

void layer_drop_table(void)
{
	mutex_lock(&dev_mutex);
	quire_kfree(mount_table);
	mount_table = NULL;
	table_read = false;
	mutex_unlock(&dev_mutex);
}

u64 layer_device(struct layer *l, unsigned index)
{
	struct layer_dev *d = &l->devs[index];

	if (__atomic_load_n(&d->resolved, __ATOMIC_ACQUIRE) || !d->path)
		return d->dev;
	mutex_lock(&dev_mutex);
	if (!table_read) {
		table_read = true;
		read_table(l->root_fid);
	}
	if (!d->resolved) {
		d->dev = device_at(d->path, d->dev);
		__atomic_store_n(&d->resolved, true, __ATOMIC_RELEASE);
	}
	mutex_unlock(&dev_mutex);
	return d->dev;
}
