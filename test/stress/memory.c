/* SPDX-License-Identifier: MIT */
/*
 * The race over one address space.
 *
 * The arena is a range that changers map, unmap, protect, move and advise as they like, and
 * touchers read and write: each word that is seen there is zero or marked as the arena's.
 * Each toucher has a home besides, which only it changes, and where it finds what it wrote:
 * also after the home was moved, protected, forked and dropped.  Others look on: a process
 * that reads /proc/PID/maps, smaps and pagemap, reads and writes the arena with
 * process_vm_*(2), gives process_madvise(2), and traces threads for a moment each.
 *
 * A frame that two have, a stale translation, a lost page show as a word of somebody else.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

#include "race.h"

#define PAGE 4096ul
#define ARENA ((char *)0x100000000000)
#define ARENA_PAGES 192ul
#define HOMES ((char *)0x200000000000)
#define HOME_PAGES 24ul
#define CHANGERS 3
#define TOUCHERS 3

#define MARK_ARENA 0xa7e4a00000000000u
#define MARK_HOME 0x403e000000000000u
#define MARK_MASK 0xffff000000000000u

static volatile int over;
static int backing; /* a memfd of the arena's size */
static pid_t racing;

/* ---- touching what may not be there ------------------------------------------------------ */

static __thread sigjmp_buf away;
static __thread volatile int touching;

static void fault(int sig)
{
	if (!touching)
		WRONG("signal %d where all is mapped", sig);
	siglongjmp(away, 1);
}

/* 0: the word couldn't be read (or written). */
static int touch(volatile uint64_t *at, uint64_t write, uint64_t *seen)
{
	touching = 1;
	if (sigsetjmp(away, 1)) {
		touching = 0;
		return 0;
	}
	if (write)
		*at = write;
	else
		*seen = *at;
	touching = 0;
	return 1;
}

static void check_arena(uint64_t word, const char *how)
{
	if (word && (word & MARK_MASK) != (MARK_ARENA & MARK_MASK))
		WRONG("%s: %lx in the arena", how, word);
}

/* ---- changers ------------------------------------------------------------------------------ */

static char *some_range(uint64_t *seed, size_t *len)
{
	unsigned long first = draw(seed) % ARENA_PAGES;
	unsigned long n = 1 + draw(seed) % (draw(seed) % 4 ? 8 : ARENA_PAGES);

	*len = (n < ARENA_PAGES - first ? n : ARENA_PAGES - first) * PAGE;
	return ARENA + first * PAGE;
}

static void map(uint64_t *seed, char *at, size_t len)
{
	static const int prots[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ,
				    PROT_NONE};
	int flags = MAP_FIXED | (draw(seed) % 2 ? MAP_PRIVATE : MAP_SHARED) |
		    (draw(seed) % 8 ? 0 : MAP_POPULATE) | (draw(seed) % 16 ? 0 : MAP_LOCKED);
	int anon = draw(seed) % 2;

	mmap(at, len, prots[draw(seed) % 4], flags | (anon ? MAP_ANONYMOUS : 0),
	     anon ? -1 : backing, anon ? 0 : (long)(draw(seed) % ARENA_PAGES * PAGE));
}

static void move(uint64_t *seed, char *at, size_t len)
{
	size_t to_len;
	char *to = some_range(seed, &to_len);
	int keep = draw(seed) % 4 ? 0 : MREMAP_DONTUNMAP;

	if (keep)
		to_len = len;
	/* Not beyond the arena's end. */
	if (to + to_len <= ARENA + ARENA_PAGES * PAGE)
		mremap(at, len, to_len, MREMAP_MAYMOVE | MREMAP_FIXED | keep, to);
}

static void advise(uint64_t *seed, char *at, size_t len)
{
	static const int advice[] = {MADV_DONTNEED,   MADV_FREE,          MADV_REMOVE,
				     MADV_COLD,       MADV_PAGEOUT,       MADV_WILLNEED,
				     MADV_DONTFORK,   MADV_DOFORK,        MADV_WIPEONFORK,
				     MADV_SEQUENTIAL, MADV_POPULATE_READ, MADV_POPULATE_WRITE};

	madvise(at, len, advice[draw(seed) % (sizeof(advice) / sizeof(*advice))]);
}

static void *changer(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg;
	unsigned char in_core[ARENA_PAGES];

	for (unsigned long n = 0;; n++) {
		size_t len;
		char *at = some_range(&seed, &len);
		switch (draw(&seed) % 12) {
		case 0:
			munmap(at, len);
			break;
		case 1:
		case 2:
			mprotect(at, len, draw(&seed) % 4 ? PROT_READ | PROT_WRITE : PROT_READ);
			break;
		case 3:
			move(&seed, at, len);
			break;
		case 4:
		case 5:
			advise(&seed, at, len);
			break;
		case 6:
			draw(&seed) % 2 ? mlock(at, len) : munlock(at, len);
			break;
		case 7:
			mincore(at, len, in_core);
			msync(at, len, MS_SYNC | (draw(&seed) % 4 ? 0 : MS_INVALIDATE));
			break;
		case 8:
			if (ftruncate(backing,
				      (long)(draw(&seed) % 4 ? ARENA_PAGES : ARENA_PAGES / 2) *
					  (long)PAGE))
				WRONG("ftruncate: %m");
			break;
		default:
			map(&seed, at, len);
		}
		if (over)
			return (void *)n;
	}
}

/* ---- touchers ------------------------------------------------------------------------------ */

struct home {
	unsigned long who;
	char *at;            /* where it is now: the one or the other half of its place */
	uint64_t generation; /* of what is written there; 0: nothing */
};

static uint64_t home_word(const struct home *h, unsigned long page)
{
	return MARK_HOME | h->who << 40 | (h->generation & 0xffffff) << 16 | page;
}

static uint64_t *home_page(const struct home *h, unsigned long page)
{
	return (uint64_t *)(h->at + page * PAGE + page % 500 * 8);
}

static void check_home(const struct home *h, const char *when)
{
	for (unsigned long i = 0; i < HOME_PAGES; i++) {
		uint64_t is = *(volatile uint64_t *)home_page(h, i);
		uint64_t want = h->generation ? home_word(h, i) : 0;
		if (is != want)
			WRONG("%s: page %lu of home %lu has %lx and not %lx", when, i, h->who, is,
			      want);
	}
}

static void fill_home(struct home *h)
{
	h->generation++;
	for (unsigned long i = 0; i < HOME_PAGES; i++)
		*(volatile uint64_t *)home_page(h, i) = home_word(h, i);
}

static void move_home(struct home *h)
{
	char *place = HOMES + h->who * 4 * HOME_PAGES * PAGE;
	char *to = h->at == place ? place + 2 * HOME_PAGES * PAGE : place;

	if (mremap(h->at, HOME_PAGES * PAGE, HOME_PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		   to) != to)
		WRONG("mremap of a home: %m");
	h->at = to;
}

static void wait_for(pid_t pid, int want)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			WRONG("waitpid: %m");
	if (status != want)
		WRONG("a child ended with %x", status);
}

/* The child has the same home, and what it writes there is its own. */
static void fork_home(struct home *h, uint64_t *seed)
{
	int program = draw(seed) % 4 == 0;
	pid_t pid = fork();

	if (!pid) {
		check_home(h, "after fork");
		h->generation += 1000;
		fill_home(h);
		check_home(h, "in the child");
		if (program)
			execl("/proc/self/exe", "race", "nothing", NULL);
		_exit(7);
	}
	if (pid < 0)
		return;
	fill_home(h);
	check_home(h, "beside the child");
	wait_for(pid, 7 << 8);
}

static void *toucher(void *arg)
{
	struct home h = {.who = (unsigned long)arg};
	uint64_t seed = h.who * 7919 + 1, word = 0;
	unsigned long n;

	h.at = HOMES + h.who * 4 * HOME_PAGES * PAGE;
	if (mmap(h.at, HOME_PAGES * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != h.at)
		WRONG("mmap of a home: %m");
	for (n = 0; !over; n++) {
		char *at = ARENA + draw(&seed) % ARENA_PAGES * PAGE + draw(&seed) % 512 * 8;
		switch (draw(&seed) % 64) {
		case 0:
			fork_home(&h, &seed);
			break;
		case 1:
			move_home(&h);
			break;
		case 2:
			if (madvise(h.at, HOME_PAGES * PAGE, MADV_DONTNEED))
				WRONG("madvise of a home: %m");
			h.generation = 0;
			check_home(&h, "dropped");
			h.generation = n + 1;
			fill_home(&h);
			break;
		case 3:
			mprotect(h.at, HOME_PAGES / 2 * PAGE, PROT_READ);
			check_home(&h, "protected");
			if (touch((uint64_t *)h.at, 1, &word))
				WRONG("a page was written that is protected");
			mprotect(h.at, HOME_PAGES * PAGE, PROT_READ | PROT_WRITE);
			break;
		case 4 ... 7:
			check_home(&h, "later");
			fill_home(&h);
			break;
		case 8 ... 30:
			touch((uint64_t *)at, MARK_ARENA | h.who, &word);
			break;
		default:
			if (touch((uint64_t *)at, 0, &word))
				check_arena(word, "read");
		}
	}
	munmap(h.at, HOME_PAGES * PAGE);
	return (void *)n;
}

/* ---- those who look on -------------------------------------------------------------------- */

static size_t slurp(const char *name, char *text, size_t room)
{
	char path[64];
	size_t n = 0;
	ssize_t k;

	snprintf(path, sizeof(path), "/proc/%d/%s", racing, name);
	int fd = open(path, O_RDONLY);
	while (fd >= 0 && n < room - 1 && (k = read(fd, text + n, room - 1 - n)) > 0)
		n += (size_t)k;
	if (fd >= 0)
		close(fd);
	text[n] = 0;
	return n;
}

/* Regions in their order (one that grows downwards while they are read may come again); of
 * each no more resident than there is. */
static void look_at_smaps(void)
{
	static char text[1 << 20];
	unsigned long start, end, before = 0, size = 0, v;

	if (slurp("smaps", text, sizeof(text)) == sizeof(text) - 1)
		return;
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			if (end <= before || end <= start)
				WRONG("smaps: %lx-%lx after %lx", start, end, before);
			before = end;
			size = (end - start) / 1024;
		} else if (sscanf(line, "Rss: %lu", &v) == 1 || sscanf(line, "Pss: %lu", &v) == 1 ||
			   sscanf(line, "Locked: %lu", &v) == 1) {
			if (v > size)
				WRONG("smaps: %s of %lu kB", line, size);
		}
	}
}

static void look_at_others(void)
{
	static char text[1 << 16];
	static uint64_t pages[ARENA_PAGES];
	static const char *names[] = {"maps",   "smaps_rollup", "statm",
				      "status", "stat",         "numa_maps"};
	char path[64];

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		slurp(names[i], text, sizeof(text));
	snprintf(path, sizeof(path), "/proc/%d/pagemap", racing);
	int fd = open(path, O_RDONLY);
	if (fd >= 0 && pread(fd, pages, sizeof(pages), (long)((unsigned long)ARENA / PAGE * 8)) < 0)
		WRONG("pagemap: %m");
	close(fd);
	snprintf(path, sizeof(path), "/proc/%d/clear_refs", racing);
	fd = open(path, O_WRONLY);
	if (fd >= 0 && write(fd, "4", 1) < 0 && errno != ESRCH)
		WRONG("clear_refs: %m");
	close(fd);
}

static void look_inside(uint64_t *seed)
{
	static uint64_t words[8 * PAGE / 8];
	size_t len;
	char *at = some_range(seed, &len);
	struct iovec local = {words, len < sizeof(words) ? len : sizeof(words)};
	struct iovec remote = {at, local.iov_len};
	ssize_t n = process_vm_readv(racing, &local, 1, &remote, 1, 0);

	for (ssize_t i = 0; i < n / 8; i++)
		check_arena(words[i], "process_vm_readv");
	for (size_t i = 0; i < local.iov_len / 8; i++)
		words[i] = i % 512 ? 0 : MARK_ARENA | 0x99;
	process_vm_writev(racing, &local, 1, &remote, 1, 0);
	int fd = (int)syscall(SYS_pidfd_open, racing, 0);
	remote.iov_len = len;
	syscall(SYS_process_madvise, fd, &remote, 1,
		draw(seed) % 2   ? MADV_COLD
		: draw(seed) % 2 ? MADV_PAGEOUT
				 : MADV_WILLNEED,
		0);
	close(fd);
}

/* Stop a thread, look at it, let it go. */
static void trace_one(uint64_t *seed)
{
	struct user_regs_struct regs;
	pid_t tid = racing + (pid_t)(draw(seed) % (CHANGERS + TOUCHERS + 1));
	int status;

	if (ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD))
		return;
	if (!ptrace(PTRACE_INTERRUPT, tid, 0, 0) && waitpid(tid, &status, __WALL) == tid &&
	    WIFSTOPPED(status)) {
		if (ptrace(PTRACE_GETREGS, tid, 0, &regs))
			WRONG("PTRACE_GETREGS: %m");
		errno = 0;
		long word =
		    ptrace(PTRACE_PEEKDATA, tid, ARENA + draw(seed) % ARENA_PAGES * PAGE, 0);
		if (!errno)
			check_arena((uint64_t)word, "PTRACE_PEEKDATA");
		int sig = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
		if (draw(seed) % 2 && !ptrace(PTRACE_SYSCALL, tid, 0, (long)sig) &&
		    waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status))
			sig = WSTOPSIG(status) == (SIGTRAP | 0x80) || WSTOPSIG(status) == SIGTRAP
				  ? 0
				  : WSTOPSIG(status);
		ptrace(PTRACE_DETACH, tid, 0, (long)sig);
	}
}

static pid_t start_onlooker(uint64_t seed, int traces)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	for (;;) {
		if (traces) {
			trace_one(&seed);
			usleep(500);
			continue;
		}
		look_inside(&seed);
		if (draw(&seed) % 4 == 0)
			look_at_smaps();
		if (draw(&seed) % 4 == 0)
			look_at_others();
	}
}

/* ---- the whole ------------------------------------------------------------------------------ */

static void race_inside(unsigned seconds, uint64_t seed)
{
	struct sigaction act = {.sa_handler = fault, .sa_flags = SA_NODEFER};
	pthread_t thread[CHANGERS + TOUCHERS];
	unsigned long done = 0;

	sigaction(SIGSEGV, &act, NULL);
	sigaction(SIGBUS, &act, NULL);
	backing = memfd_create("arena", MFD_CLOEXEC);
	if (backing < 0 || ftruncate(backing, ARENA_PAGES * PAGE))
		WRONG("memfd: %m");
	for (unsigned long i = 0; i < CHANGERS + TOUCHERS; i++)
		if (i < CHANGERS
			? pthread_create(&thread[i], NULL, changer, (void *)(seed * 16 + i))
			: pthread_create(&thread[i], NULL, toucher, (void *)(i - CHANGERS)))
			WRONG("pthread_create");
	for (time_t end = time(NULL) + seconds; time(NULL) < end;)
		usleep(50000);
	over = 1;
	for (unsigned i = 0; i < CHANGERS + TOUCHERS; i++) {
		void *n;
		pthread_join(thread[i], &n);
		done += (unsigned long)n;
	}
	printf("memory: %lu steps\n", done);
	_exit(0);
}

int race_memory(unsigned seconds, uint64_t seed)
{
	pid_t onlooker[2], pid;
	int status, bad = 0;

	over = 0;
	fflush(stdout);
	racing = fork();
	if (!racing) {
		racing = getpid();
		race_inside(seconds, seed);
	}
	for (int i = 0; i < 2; i++)
		onlooker[i] = start_onlooker(seed + (uint64_t)i, i);
	while ((pid = waitpid(-1, &status, 0)) != racing)
		bad |= pid > 0; /* an onlooker found something wrong */
	bad |= status;
	for (int i = 0; i < 2; i++) {
		kill(onlooker[i], SIGKILL);
		waitpid(onlooker[i], NULL, 0);
	}
	if (bad)
		printf("memory: WRONG, status %x\n", status);
	return bad;
}
