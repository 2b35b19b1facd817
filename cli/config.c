/* SPDX-License-Identifier: MIT */
/*
 * The blob of kernel/boot/config.h: everything the kernel has to know about
 * what to run and how the world looks from here.
 */
#include "quire.h"

#include "../kernel/boot/config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <stdlib.h>

/* The start of deterministic time: 2026-01-01 00:00:00 UTC. */
#define FIXED_CLOCK_NS (1767225600ull * 1000000000ull)

struct blob {
	char *bytes;
	size_t len, room;
};

static void put(struct blob *b, const void *p, size_t n)
{
	if (b->room - b->len < n) {
		b->room = (b->len + n) * 2;
		b->bytes = xrealloc(b->bytes, b->room);
	}
	memcpy(b->bytes + b->len, p, n);
	b->len += n;
}

static void record(struct blob *b, uint32_t type, const void *p, size_t n)
{
	static const char zeros[8];
	uint32_t head[2] = {type, (uint32_t)n};
	put(b, head, sizeof(head));
	put(b, p, n);
	put(b, zeros, -n & 7);
}

static void record_strings(struct blob *b, uint32_t type, char **strings)
{
	struct blob all = {0};
	for (; *strings; strings++)
		put(&all, *strings, strlen(*strings) + 1);
	record(b, type, all.bytes ? all.bytes : "", all.len);
	free(all.bytes);
}

static void record_cred(struct blob *b)
{
	gid_t groups[65536];
	int n = getgroups(65536, groups);
	struct blob all = {0};
	uint32_t ids[2] = {geteuid(), getegid()};
	put(&all, ids, sizeof(ids));
	for (int i = 0; i < n; i++) {
		uint32_t g = groups[i];
		put(&all, &g, sizeof(g));
	}
	record(b, CONFIG_CRED, all.bytes, all.len);
	free(all.bytes);
}

static void record_rlimits(struct blob *b)
{
	uint64_t limits[16][2];
	for (int i = 0; i < 16; i++) {
		struct rlimit r = {RLIM_INFINITY, RLIM_INFINITY};
		getrlimit(i, &r);
		limits[i][0] = r.rlim_cur;
		limits[i][1] = r.rlim_max;
	}
	record(b, CONFIG_RLIMITS, limits, sizeof(limits));
}

/* What the program inherits: dispositions and the mask that we were started with.
 * main() blocks and ignores nothing before this is called. */
static void record_signals(struct blob *b)
{
	uint64_t masks[2] = {0, 0};
	sigset_t blocked;
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	for (int s = 1; s < 65; s++) {
		struct sigaction a;
		if (!sigaction(s, NULL, &a) && a.sa_handler == SIG_IGN)
			masks[0] |= 1ull << (s - 1);
		if (sigismember(&blocked, s) == 1)
			masks[1] |= 1ull << (s - 1);
	}
	record(b, CONFIG_SIGNALS, masks, sizeof(masks));
}

static struct config_stdio io;

void config_look_at_stdio(void)
{
	for (int fd = 0; fd < 3; fd++) {
		struct stat st;
		int flags = fcntl(fd, F_GETFL);
		io.fd[fd].same = (uint32_t)fd;
		if (flags < 0 || fstat(fd, &st))
			continue;
		io.fd[fd].kind = terminal_is(fd)       ? STDIO_TTY
				 : S_ISREG(st.st_mode) ? STDIO_FILE
						       : STDIO_STREAM;
		io.fd[fd].mode = st.st_mode;
		io.fd[fd].flags = (uint32_t)flags;
		io.fd[fd].dev = st.st_dev;
		io.fd[fd].ino = st.st_ino;
		io.fd[fd].rdev = st.st_rdev;
		io.fd[fd].size = (uint64_t)st.st_size;
		for (int other = 0; other < fd; other++)
			if (io.fd[other].kind == io.fd[fd].kind &&
			    io.fd[other].dev == io.fd[fd].dev &&
			    io.fd[other].ino == io.fd[fd].ino &&
			    io.fd[other].flags == io.fd[fd].flags) {
				io.fd[fd].same = (uint32_t)other;
				break;
			}
	}
	terminal_size(&io.rows, &io.cols);
	/* Whoever opens a file from here on must not get the number of a closed one. */
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_CLOEXEC) != fd)
			die("standard descriptors: %s", strerror(errno));
}

static uint64_t flags_of(const struct options *o, bool kvm)
{
	uint64_t f = 0;
	if (o->stat)
		f |= CONFIG_FLAG_STAT;
	if (o->deterministic)
		f |= CONFIG_FLAG_DETERMINISTIC;
	if (o->no_aslr)
		f |= CONFIG_FLAG_NO_ASLR;
	if (kvm)
		f |= CONFIG_FLAG_KVM;
	if (!o->deterministic && (terminal_is(0) || terminal_is(1) || terminal_is(2)))
		f |= CONFIG_FLAG_TTY;
	if (o->check)
		f |= CONFIG_FLAG_CHECK;
	if (o->verbose || o->log_file)
		f |= CONFIG_FLAG_VERBOSE;
	return f;
}

int config_make(const struct options *o, bool kvm)
{
	extern char **environ;
	struct blob b = {0};
	uint64_t magic = CONFIG_MAGIC, flags = flags_of(o, kvm), clock_ns = FIXED_CLOCK_NS;
	unsigned char seed[32] = "Quire runs that repeat exactly.";
	char host[65] = "quire";
	char *cwd = getcwd(NULL, 0);
	mode_t mask = umask(0);
	uint32_t mask32 = mask;

	umask(mask);
	if (!cwd)
		die("the working directory can't be named: %s", strerror(errno));
	if (!o->deterministic) {
		struct timespec now;
		clock_gettime(CLOCK_REALTIME, &now);
		clock_ns = (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
		if (getrandom(seed, sizeof(seed), 0) != sizeof(seed))
			die("no random bytes: %s", strerror(errno));
	}
	gethostname(host, sizeof(host) - 1);

	put(&b, &magic, sizeof(magic));
	record(&b, CONFIG_PROGRAM, o->argv[0], strlen(o->argv[0]));
	record_strings(&b, CONFIG_ARGV, o->argv);
	record_strings(&b, CONFIG_ENVP, environ);
	record(&b, CONFIG_CWD, cwd, strlen(cwd));
	record_cred(&b);
	record_rlimits(&b);
	record_signals(&b);
	/* A terminal's input comes by interrupt, at a moment of its own: not in these runs. */
	for (int fd = 0; o->deterministic && fd < 3; fd++)
		if (io.fd[fd].kind == STDIO_TTY)
			io.fd[fd].kind = STDIO_STREAM;
	record(&b, CONFIG_STDIO, &io, sizeof(io));
	for (char **rw = o->rw; rw && *rw; rw++)
		record(&b, CONFIG_RW, *rw, strlen(*rw));
	record(&b, CONFIG_FLAGS, &flags, sizeof(flags));
	record(&b, CONFIG_CLOCK, &clock_ns, sizeof(clock_ns));
	record(&b, CONFIG_SEED, seed, sizeof(seed));
	record(&b, CONFIG_UMASK, &mask32, sizeof(mask32));
	record(&b, CONFIG_HOSTNAME, host, strlen(host));
	record(&b, CONFIG_END, "", 0);
	free(cwd);

	int fd = memfd_create("quire-config", 0);
	if (fd < 0 || ftruncate(fd, (off_t)b.len))
		die("no memory for the configuration: %s", strerror(errno));
	for (size_t done = 0; done < b.len;) {
		ssize_t n = write(fd, b.bytes + done, b.len - done);
		if (n < 0)
			die("no memory for the configuration: %s", strerror(errno));
		done += (size_t)n;
	}
	free(b.bytes);
	return fd;
}
