/* SPDX-License-Identifier: MIT */
/*
 * What a kernel tells of the memory in the windows: /proc/self/maps, smaps, pagemap,
 * status, and mincore.  Locking: none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "linux.h"

/* ---- what is there --------------------------------------------------------------------- */

static char what_of(const char *path)
{
	const char *memfd = strstr(path, "/memfd:q"), *shm = strstr(path, "/dev/shm/q");

	if (memfd)
		return memfd[8];
	if (shm)
		return shm[10];
	if (strstr(path, "/SYSV"))
		return 's';
	if (strstr(path, "/dev/zero"))
		return 'z';
	if (!strncmp(path, "[anon:", 6))
		return path[6];
	return !*path || *path == '[' ? '-' : '?';
}

static u64_t hex(char **at)
{
	u64_t v = 0;

	for (char *s = *at;; s++) {
		unsigned c = (unsigned char)*s;

		if (c - '0' < 10) {
			v = v << 4 | (c - '0');
		} else if (c - 'a' < 6) {
			v = v << 4 | (c - 'a' + 10);
		} else {
			*at = s;
			return v;
		}
	}
}

/* One line of maps, whose end *at becomes; false when it is of no window. */
static bool parse_line(char **at, struct region *r)
{
	char *s = *at, *path;

	r->start = hex(&s);
	s++;
	r->end = hex(&s);
	*at = strchr(s, '\n') + 1;
	/* The heap begins elsewhere in each: its part below the window is the executor's. */
	if (r->start < window_heap && r->end > window_heap)
		r->start = window_heap;
	if (!in_window(r->start))
		return false;
	(*at)[-1] = 0;
	memcpy(r->perms, s + 1, 4);
	r->perms[4] = 0;
	s += 6;
	r->offset = hex(&s);
	strtoul(s + 7, &path, 10);
	path += strspn(path, " ");
	r->what = what_of(path);
	return true;
}

static size_t read_all(int fd, char *buf, size_t size)
{
	size_t at = 0;
	ssize_t n;

	lseek(fd, 0, SEEK_SET);
	while ((n = read(fd, buf + at, size - 1 - at)) > 0)
		at += (size_t)n;
	buf[at] = 0;
	return at;
}

unsigned exec_regions(struct region *out, unsigned max)
{
	static char buf[1 << 17];
	char *end = buf + read_all(maps_fd, buf, sizeof(buf));
	unsigned n = 0;

	for (char *s = buf; s < end && n < max;)
		n += parse_line(&s, &out[n]);
	return n;
}

void exec_pages(u64_t start, unsigned n, unsigned char *out)
{
	static u64_t word[4096];

	if (pread(pagemap_fd, word, n * 8, (off_t)(start / PG * 8)) != (ssize_t)n * 8)
		fail("pagemap");
	if (syscall(SYS_mincore, start, n * PG, out))
		memset(out, 0, n);
	for (unsigned i = 0; i < n; i++)
		out[i] = page_bits(word[i], out[i]);
}

/* ---- sizes ------------------------------------------------------------------------------ */

/* The flags that Linux 6.1 has, in its order. */
static void copy_flags(char *to, const char *s)
{
	static const char known[] =
	    "rd wr ex sh mr mw me ms gd pf dw lo io sr rr dc de ac nr ht sf "
	    "nl ar wf dd mm hg nh mg ";
	char *at = to;

	for (; *s && *s != '\n'; s += 3) {
		char flag[4] = {s[0], s[1], ' ', 0};

		if (strstr(known, flag) || (!newer && (!strcmp(flag, "sd ") || *flag == '?')))
			at = stpcpy(at, flag);
	}
	*at = 0;
}

static void one_size(struct sizes *s, const char *line)
{
	const struct {
		const char *name;
		size_t n;
		u64_t *to;
	} fields[] = {
#define FIELD(name, to) {name ":", sizeof(name), &s->to}
	    FIELD("Rss", rss),
	    FIELD("Pss", pss),
	    FIELD("Shared_Clean", shared_clean),
	    FIELD("Shared_Dirty", shared_dirty),
	    FIELD("Private_Clean", private_clean),
	    FIELD("Private_Dirty", private_dirty),
	    FIELD("Anonymous", anonymous),
	    FIELD("Locked", locked),
	    FIELD("ProtectionKey", key),
#undef FIELD
	};

	if (!strncmp(line, "VmFlags:", 8))
		copy_flags(s->flags, line + 9);
	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (*line == *fields[i].name && !strncmp(line, fields[i].name, fields[i].n))
			*fields[i].to = strtoul(line + fields[i].n, NULL, 10);
}

static bool is_region(const char *s)
{
	return (*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'f');
}

unsigned exec_sizes(struct region *out, struct sizes *s, unsigned max)
{
	static char buf[1 << 19];
	char *end = buf + read_all(smaps_fd, buf, sizeof(buf));
	unsigned n = 0;

	for (char *at = buf; at < end && n < max;) {
		bool ours = parse_line(&at, &out[n]);

		if (ours)
			memset(&s[n], 0, sizeof(s[n]));
		for (; at < end && !is_region(at); at = strchr(at, '\n') + 1)
			if (ours)
				one_size(&s[n], at);
		n += ours;
	}
	return n;
}

struct usage at_start;

/* In pages. */
static s64_t field(const char *text, const char *name)
{
	const char *s = strstr(text, name);

	return s ? strtol(s + strlen(name), NULL, 10) / 4 : 0;
}

void exec_usage(struct usage *u)
{
	static char buf[1 << 14];

	read_all(status_fd, buf, sizeof(buf));
	u->size = field(buf, "VmSize:") - at_start.size;
	u->locked = field(buf, "VmLck:") - at_start.locked;
	u->data = field(buf, "VmData:") - at_start.data;
	/* Of the whole system: other programs run on a host. */
	if (!newer) {
		read_all(meminfo_fd, buf, sizeof(buf));
		u->committed = field(buf, "Committed_AS:") - at_start.committed;
	}
}

void usage_begin(void)
{
	at_start = (struct usage){0};
	exec_usage(&at_start);
}
