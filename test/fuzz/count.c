/* SPDX-License-Identifier: MIT */
/*
 * What the kernel has in use: frames from /proc/meminfo, objects from /proc/slabinfo.
 * For programs with one thread.
 */
#include "count.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DROP "/proc/sys/vm/drop_caches"

static char slabs[16384];

void read_file(const char *name, char *buf, size_t size)
{
	int fd = open(name, O_RDONLY);
	ssize_t n, done = 0;
	while (fd >= 0 && (n = read(fd, buf + done, size - 1 - (size_t)done)) > 0)
		done += n;
	buf[done] = 0;
	close(fd);
}

static long field(const char *text, const char *name)
{
	const char *p = strstr(text, name);
	return p ? atol(p + strlen(name)) : 0;
}

struct count count(void)
{
	static char text[16384];
	struct count c = {0};
	read_file("/proc/slabinfo", slabs, sizeof(slabs));
	for (char *p = slabs; (p = strchr(p, '\n')) && p[1]; p++) {
		unsigned long active;
		if (p[1] != '#' && sscanf(p + 1, "%*s %lu", &active) == 1)
			c.objects += (long)active;
	}
	read_file("/proc/meminfo", text, sizeof(text));
	c.free_kb = field(text, "MemFree:");
	c.slab_kb = field(text, "Slab:");
	c.poisoned_kb = field(text, "HardwareCorrupted:");
	return c;
}

struct count count_settled(void)
{
	for (int i = 0; i < 3 && !access(DROP, W_OK); i++) {
		struct timespec t = {0, 30000000};
		int fd = open(DROP, O_WRONLY);
		if (fd < 0 || write(fd, "3", 1) != 1)
			perror("drop_caches");
		close(fd);
		nanosleep(&t, NULL);
	}
	return count();
}

bool count_judge(const struct count *a, const struct count *b, unsigned long steps)
{
	long poisoned = b->poisoned_kb - a->poisoned_kb;
	long frames = (a->free_kb - b->free_kb - poisoned) / 4, objects = b->objects - a->objects;
	/* The allocator's caches vary; a leak in one step of 10,000 shows. */
	long most = 192 + (long)(steps / 50000);
	printf("frames used more: %ld (and poisoned: %ld), kernel objects more: %ld, slab %ld kB "
	       "more\n",
	       frames, poisoned / 4, objects, b->slab_kb - a->slab_kb);
	if (access(DROP, W_OK)) {
		printf("caches included, which only root can drop: not judged\n");
		return true;
	}
	if (frames <= most && objects <= 4 * most)
		return true;
	printf("LEAK; /proc/slabinfo now:\n%s", slabs);
	return false;
}
