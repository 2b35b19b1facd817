/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID/map_files: a link for each mapping of a file, by its range of addresses.
 *
 * Nameless shared memory is listed, too, and its link can be read; but there is no file
 * that could be opened through it.
 *
 * Locking: the core's, inside quire_mm_vma_at(); the address space is held by reference.
 */
#include <quire/string.h>

#include "../lib/print.h"
#include "../lib/string.h"
#include "proc.h"

#define CAP_SYS_ADMIN 21
#define CAP_CHECKPOINT_RESTORE 40

/* The first mapping of a file that ends above addr.  The file, if there is one, with a
 * reference. */
static bool next_mapping(struct proc_ctx *c, u64 addr, struct quire_vma_info *v)
{
	struct uspace *u = proc_uspace(c);
	bool found = false;
	if (!u)
		return false;
	while (!found && quire_mm_vma_at(u->mm, addr, v)) {
		addr = v->end;
		found = v->file || ((v->flags & VM_MAYSHARE) && v->name);
	}
	uspace_put(u);
	return found;
}

static bool exact_mapping(struct proc_ctx *c, const u64 range[2], struct quire_vma_info *v)
{
	if (!next_mapping(c, range[0], v))
		return false;
	if (v->start == range[0] && v->end == range[1])
		return true;
	if (v->file)
		file_put((struct file *)v->file);
	return false;
}

static int map_readlink(struct proc_ctx *c, char *buf, size_t max)
{
	struct quire_vma_info v;
	if (!exact_mapping(c, c->range, &v))
		return -ENOENT;
	struct file *f = (struct file *)v.file;
	char *page = quire_kmalloc(PATH_MAX, GFP_KERNEL);
	const char *name = !page ? NULL : f ? path_name(&f->path, page, PATH_MAX) : v.name;
	int r = page ? -ENAMETOOLONG : -ENOMEM;
	if (name) {
		r = (int)quire_min(strlen(name), max);
		memcpy(buf, name, (size_t)r);
	}
	quire_kfree(page);
	if (f)
		file_put(f);
	return r;
}

static int map_follow(struct proc_ctx *c, struct path *out)
{
	struct quire_vma_info v;
	if (!capable(CAP_SYS_ADMIN) && !capable(CAP_CHECKPOINT_RESTORE))
		return -EPERM;
	if (!exact_mapping(c, c->range, &v))
		return -ENOENT;
	if (!v.file)
		return -ENXIO;
	*out = ((struct file *)v.file)->path;
	path_get(out);
	file_put((struct file *)v.file);
	return 0;
}

/* By what the file is open for. */
#define MAP_LINK(bits)                                                          \
	{                                                                       \
		.name = "", .mode = S_IFLNK | (bits), .readlink = map_readlink, \
		.follow = map_follow, .guarded = true                           \
	}
static const struct proc_entry links[4] = {MAP_LINK(0), MAP_LINK(0400), MAP_LINK(0200),
					   MAP_LINK(0600)};

static void fill_node(const struct proc_node *dir, const struct quire_vma_info *v,
		      struct proc_node *out)
{
	const struct file *f = (const struct file *)v->file;
	*out = *dir;
	out->entry = &links[f ? f->can_read + 2 * f->can_write : 3];
	out->range[0] = v->start;
	out->range[1] = v->end;
}

/* A hexadecimal number without needless zeros, up to the first other character. */
static const char *parse_hex(const char *at, const char *end, u64 *out)
{
	const char *first = at;
	u64 v = 0;
	for (; at < end; at++) {
		char ch = *at >= 'A' && *at <= 'F' ? (char)(*at + 32) : *at;
		if ((ch < '0' || ch > '9') && (ch < 'a' || ch > 'f'))
			break;
		if (v >> 60)
			return NULL;
		v = v << 4 | (u64)(ch <= '9' ? ch - '0' : ch - 'a' + 10);
	}
	*out = v;
	return at == first || (*first == '0' && at > first + 1) ? NULL : at;
}

static bool find_map(const struct proc_node *dir, struct proc_ctx *c, const char *name, size_t len,
		     struct proc_node *out)
{
	struct quire_vma_info v;
	const char *end = name + len, *at;
	u64 range[2];
	at = parse_hex(name, end, &range[0]);
	if (!at || at == end || *at != '-')
		return false;
	if (parse_hex(at + 1, end, &range[1]) != end || !exact_mapping(c, range, &v))
		return false;
	fill_node(dir, &v, out);
	if (v.file)
		file_put((struct file *)v.file);
	return true;
}

/* Positions are page numbers of the ends. */
static bool next_map(const struct proc_node *dir, struct proc_ctx *c, u64 *pos, char name[64],
		     struct proc_node *out)
{
	struct quire_vma_info v;
	if (!next_mapping(c, *pos << QUIRE_PAGE_SHIFT, &v))
		return false;
	fill_node(dir, &v, out);
	snprintf(name, 64, "%lx-%lx", v.start, v.end);
	*pos = v.end >> QUIRE_PAGE_SHIFT;
	if (v.file)
		file_put((struct file *)v.file);
	return true;
}

const struct proc_names proc_map_files_names = {.find = find_map, .next_name = next_map};
