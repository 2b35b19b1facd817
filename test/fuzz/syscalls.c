/* SPDX-License-Identifier: MIT */
/*
 * The fuzzer of system calls, a program for the booted kernel: random calls of all
 * numbers with hostile arguments, by threads and processes that pull each other's
 * memory away.  Nothing may stop the kernel, hang, or be left behind.
 *
 *   syscalls run [--calls N] [--seed N] [--size N] [--from N] [--batch N] [--verbose] [--quiet]
 *
 * Calls are made in batches (batch.c) of --size calls by child processes, two at a
 * time; batch N's calls depend on the seed and N alone, so --batch N does one of them
 * again, and --from N begins with it.  Every second batch of root's is nobody's, which may send
 * signals to anyone. Before and after, with everything dead and the caches dropped, free frames and
 * the kernel's objects (/proc/slabinfo) are counted.
 *
 * All processes but init are killed after each round, so it only runs on Quire,
 * or with --disposable on a virtual machine that serves nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "count.h"
#include "syscalls.h"

#define PARALLEL 2
#define STALL_NS 60000000UL /* a batch without a call for so long is killed */
#define HANG_NS 20000000000UL
#define SCRATCH "/dev/shm/fuzz"

static struct {
	u64 calls, seed, size, from;
	s64 batch;
	bool verbose, quiet, stalls, disposable;
} option = {100000, 1, 2000, 0, -1, false, false, false, false};

static struct batch_log *logs[PARALLEL];
static u64 ended_well, ended_by_signal, ended_77, killed, calls_made, nr_count[512];

static u64 now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000UL + (u64)t.tv_nsec;
}

static void pause_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&t, NULL);
}

/* ---- what is left --------------------------------------------------------------------------- */

static int forget(const char *path, const struct stat *s, int flag, struct FTW *f)
{
	(void)s, (void)flag;
	if (f->level)
		remove(path);
	return 0;
}

static void clear_scratch(void)
{
	struct shmid_ds d;
	int most = shmctl(0, SHM_INFO, &d);
	for (int i = 0; i <= most; i++) {
		int id = shmctl(i, SHM_STAT, &d);
		if (id >= 0)
			shmctl(id, IPC_RMID, NULL);
	}
	nftw(SCRATCH, forget, 20, FTW_DEPTH | FTW_PHYS);
}

/* Everything dead, nothing cached: what is used now stays used. */
static struct count settle(void)
{
	clear_scratch();
	return count_settled();
}

/* ---- a batch and its end
 * ------------------------------------------------------------------------- */

static void tell_log(u64 batch, const struct batch_log *log)
{
	printf("batch %lu: the last calls\n", batch);
	for (unsigned i = 0; i < LOGS; i++) {
		u64 n = log->of[i].n, from = n > LOG_CALLS ? n - LOG_CALLS : 0;
		for (u64 k = from; k < n; k++) {
			const struct call *c = &log->of[i].call[k % LOG_CALLS];
			printf("  %u: %s(%lx, %lx, %lx, %lx, %lx, %lx) = ", i,
			       c->nr < 512 && call_name[c->nr] ? call_name[c->nr] : "?", c->arg[0],
			       c->arg[1], c->arg[2], c->arg[3], c->arg[4], c->arg[5]);
			printf(c->done ? "%ld\n" : "?\n", (s64)c->ret);
		}
	}
	fflush(stdout);
}

static void tell_task(pid_t pid)
{
	static const char *const files[] = {"status", "wchan", "syscall", "stack"};
	static char path[64], text[4096];
	for (unsigned i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, files[i]);
		text[0] = 0;
		read_file(path, text, sizeof(text));
		printf("%s:\n%s\n", path, text);
	}
}

static void tell_stall(u64 batch, pid_t pid, const struct batch_log *log)
{
	static char path[64], text[1024];
	for (unsigned i = 0; i < LOGS; i++) {
		const struct call *c = &log->of[i].call[(log->of[i].n - 1) % LOG_CALLS];
		if (log->of[i].n && !c->done)
			printf("batch %lu stands still: %u: %s(%lx, %lx, %lx, %lx, %lx, %lx)\n",
			       batch, i, c->nr < 512 && call_name[c->nr] ? call_name[c->nr] : "?",
			       c->arg[0], c->arg[1], c->arg[2], c->arg[3], c->arg[4], c->arg[5]);
	}
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	read_file(path, text, sizeof(text));
	printf("%s", text);
	snprintf(path, sizeof(path), "/proc/%d/wchan", pid);
	read_file(path, text, sizeof(text));
	printf("%s\n", text);
}

static pid_t start(u64 batch, struct batch_log *log)
{
	memset(log, 0, sizeof(*log));
	pid_t pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	batch_run(option.seed * 1000003 + batch, (u32)option.size, log, option.verbose,
		  batch & 1 && !getuid());
	return 0;
}

static void ended(u64 batch, const struct batch_log *log, int status)
{
	calls_made += log->calls;
	for (unsigned i = 0; i < 512; i++)
		nr_count[i] += log->nr_count[i];
	if (WIFSIGNALED(status))
		ended_by_signal++;
	else if (WEXITSTATUS(status) == 77)
		ended_77++;
	else
		ended_well++;
	if (option.verbose || (WIFEXITED(status) && WEXITSTATUS(status) > 97))
		printf("batch %lu ended with status %x after %lu calls\n", batch, status,
		       log->calls);
}

/* Wait for the round's batches, kill one that stands still.  Others' children arrive here,
 * too: this process is their subreaper. */
static bool watch(const pid_t *pid, u64 first, unsigned n)
{
	u64 seen[PARALLEL] = {0}, moved[PARALLEL], death[PARALLEL] = {0};
	bool gone[PARALLEL] = {0};
	unsigned left = n;
	for (unsigned i = 0; i < n; i++)
		moved[i] = now();
	while (left) {
		int status;
		pid_t p = waitpid(-1, &status, WNOHANG | __WALL);
		for (unsigned i = 0; i < n; i++) {
			u64 made = __atomic_load_n(&logs[i]->calls, __ATOMIC_RELAXED);
			if (p == pid[i] && !gone[i]) {
				gone[i] = true;
				left--;
				ended(first + i, logs[i], status);
			} else if (!gone[i] && made != seen[i]) {
				seen[i] = made;
				moved[i] = now();
			} else if (!gone[i] && !death[i] && now() - moved[i] > STALL_NS) {
				death[i] = now();
				killed++;
				if (option.stalls)
					tell_stall(first + i, pid[i], logs[i]);
				kill(pid[i], SIGKILL);
			} else if (!gone[i] && death[i] && now() - death[i] > HANG_NS) {
				printf("HANG: batch %lu can't be killed\n", first + i);
				tell_task(pid[i]);
				tell_log(first + i, logs[i]);
				return false;
			}
		}
		if (p <= 0)
			pause_ms(1);
	}
	return true;
}

/* Everyone else dies.  Their end is waited for. */
static bool sweep(void)
{
	u64 from = now();
	int status;
	pid_t p;
	kill(-1, SIGKILL);
	while ((p = waitpid(-1, &status, WNOHANG | __WALL)) >= 0 || errno == EINTR) {
		if (p > 0)
			continue;
		if (now() - from > HANG_NS) {
			printf("HANG: some process can't be killed\n");
			return system("ps axl; cat /proc/*/syscall /proc/*/wchan 2>/dev/null") > 0;
		}
		kill(-1, SIGKILL);
		pause_ms(1);
	}
	return true;
}

static bool round_of(u64 first, unsigned n)
{
	pid_t pid[PARALLEL];
	umask(0);
	if (mkdir(SCRATCH, 0777) && errno != EEXIST)
		return false;
	for (unsigned i = 0; i < n; i++) {
		pid[i] = start(first + i, logs[i]);
		if (pid[i] < 0) {
			perror("fork");
			return false;
		}
	}
	return watch(pid, first, n) && sweep();
}

/* ---- the whole
 * --------------------------------------------------------------------------------------- */

static void tell_progress(u64 batch, u64 from)
{
	static u64 last;
	if (option.quiet || now() - last < 5000000000UL)
		return;
	last = now();
	struct count c = count();
	printf("%lu calls in %lu batches, %lu a second, free %ld kB, slab %ld kB, %ld objects; "
	       "ended well "
	       "%lu, by a fault %lu, by a signal %lu, of which killed for standing still %lu\n",
	       calls_made, batch, calls_made * 1000 / ((last - from) / 1000000 + 1), c.free_kb,
	       c.slab_kb, c.objects, ended_well, ended_77, ended_by_signal, killed);
	fflush(stdout);
}

static void tell_numbers(void)
{
	unsigned none = 0, least = 0;
	for (unsigned i = 0; i < 451; i++) {
		if (!call_name[i])
			continue;
		none += !nr_count[i];
		if (!call_name[least] || nr_count[i] < nr_count[least])
			least = i;
	}
	printf("system calls of the table never made: %u; fewest: %s, %lu times\n", none,
	       call_name[least], nr_count[least]);
}

static bool run_all(void)
{
	struct count before = {0};
	u64 batch = option.from & ~(PARALLEL - 1UL), from = now(), warm = 0;
	while (calls_made < option.calls) {
		if (!round_of(batch, PARALLEL))
			return false;
		batch += PARALLEL;
		if (batch % 16 == 0)
			clear_scratch();
		if (!warm && calls_made >= option.calls / 20) {
			before = settle();
			warm = calls_made;
		}
		tell_progress(batch, from);
	}
	struct count after = settle();
	printf(
	    "%lu calls in %lu batches, %lu a second; ended well %lu, by a fault %lu, by a signal "
	    "%lu, of which killed for standing still %lu\n",
	    calls_made, batch, calls_made * 1000 / ((now() - from) / 1000000 + 1), ended_well,
	    ended_77, ended_by_signal, killed);
	tell_numbers();
	return count_judge(&before, &after, calls_made - warm);
}

static void usage(void)
{
	fprintf(stderr, "usage: syscalls run [--calls N] [--seed N] [--size N] [--from N] [--batch "
			"N] [--verbose] "
			"[--quiet] [--stalls] [--disposable]\n");
	exit(2);
}

int main(int argc, char **argv)
{
	struct utsname u;
	if (argc < 2 || strcmp(argv[1], "run"))
		return 0; /* executed by a batch */
	for (int i = 2; i < argc; i++) {
		u64 v = i + 1 < argc ? strtoul(argv[i + 1], NULL, 0) : 0;
		if (!strcmp(argv[i], "--calls") && ++i)
			option.calls = v;
		else if (!strcmp(argv[i], "--seed") && ++i)
			option.seed = v;
		else if (!strcmp(argv[i], "--size") && ++i)
			option.size = v;
		else if (!strcmp(argv[i], "--from") && ++i)
			option.from = v;
		else if (!strcmp(argv[i], "--batch") && ++i)
			option.batch = (s64)v;
		else if (!strcmp(argv[i], "--verbose"))
			option.verbose = true;
		else if (!strcmp(argv[i], "--quiet"))
			option.quiet = true;
		else if (!strcmp(argv[i], "--stalls"))
			option.stalls = true;
		else if (!strcmp(argv[i], "--disposable"))
			option.disposable = true;
		else
			usage();
	}
	if (uname(&u) || (!strstr(u.release, "quire") && !option.disposable)) {
		fprintf(stderr, "syscalls kills every process here: only on Quire\n");
		return 2;
	}
	for (unsigned i = 0; i < PARALLEL; i++) {
		logs[i] = mmap(NULL, sizeof(*logs[i]), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (logs[i] == MAP_FAILED)
			return 1;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	mkdir(SCRATCH, 0777);
	if (chmod(SCRATCH, 0777) || chdir(SCRATCH))
		return 1;
	if (option.batch >= 0)
		return !round_of((u64)option.batch, 1);
	return !run_all();
}
