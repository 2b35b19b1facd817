/* SPDX-License-Identifier: MIT */
/* The sched_* calls, and what the policies do.  Prints the same on Linux 6.1 and on Quire. */
#define PROBE_SECONDS 60
#include "futexes.h"

#include <sys/resource.h>

#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6
#endif

struct attr {
	unsigned size, policy;
	unsigned long flags;
	int nice;
	unsigned priority;
	unsigned long runtime, deadline, period;
	unsigned util_min, util_max;
};

static long set(pid_t pid, int policy, int prio)
{
	return syscall(SYS_sched_setscheduler, pid, policy, &prio);
}
static long param(pid_t pid, int prio)
{
	return syscall(SYS_sched_setparam, pid, &prio);
}
static long setattr(pid_t pid, unsigned policy, unsigned prio, int nice, unsigned long flags)
{
	struct attr a = {sizeof(a), policy, flags, nice, prio, 0, 0, 0, 0, 0};

	return syscall(SYS_sched_setattr, pid, &a, 0);
}

static void is(pid_t pid)
{
	int prio = -7;
	struct timespec t = {-1, -1};
	struct attr a = {0};
	pid_t tid = pid ? pid : (pid_t)syscall(SYS_gettid);
	long policy = syscall(SYS_sched_getscheduler, pid),
	     r = syscall(SYS_sched_getparam, pid, &prio);

	printf("   policy %lx param %ld %d", policy, r, prio);
	r = syscall(SYS_sched_rr_get_interval, pid, &t);
	if ((policy & 255) == SCHED_FIFO || (policy & 255) == SCHED_RR)
		printf(" interval %ld %ld.%09ld", r, t.tv_sec, t.tv_nsec);
	r = syscall(SYS_sched_getattr, pid, &a, sizeof(a), 0);
	printf(" attr %ld: %u %u %lx %d %u %lu %lu %lu\n", r, a.size, a.policy, a.flags, a.nice,
	       a.priority, a.runtime, a.deadline, a.period);
	printf("   stat: priority %ld nice %ld rt %ld policy %ld\n", stat_field(tid, 18),
	       stat_field(tid, 19), stat_field(tid, 40), stat_field(tid, 41));
}

static void policies(void)
{
	is(0);
	for (int p = -1; p < 9; p++) {
		printf(" policy %d\n", p);
		R(set(0, p, 0));
		R(set(0, p, 1));
		is(0);
		R(set(0, p, 99));
		R(set(0, p, 100));
		R(set(0, p, -1));
		R(param(0, 5));
		R(param(0, 0));
		R(syscall(SYS_sched_get_priority_max, p));
		R(syscall(SYS_sched_get_priority_min, p));
		is(0);
	}
	R(set(0, SCHED_RR, 7));
	R(setpriority(PRIO_PROCESS, 0, 5));
	is(0);
	R(set(0, SCHED_OTHER, 0));
	is(0);
	R(set(0, SCHED_FIFO | SCHED_RESET_ON_FORK, 3));
	is(0);
	fflush(stdout);
	if (!fork()) {
		is(0);
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	R(param(0, 4));
	is(0);
	R(set(0, SCHED_OTHER | SCHED_RESET_ON_FORK, 0));
	R(setpriority(PRIO_PROCESS, 0, -5));
	fflush(stdout);
	if (!fork()) {
		is(0);
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	R(set(0, SCHED_RR, 4));
	is(0);
	fflush(stdout);
	if (!fork()) {
		is(0);
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
}

static void arguments(void)
{
	char page[2 * 4096] = {0};
	unsigned *size = (unsigned *)page;

	R(set(-1, 0, 0));
	R(set(4000000, 0, 0));
	R(set(4000000, SCHED_FIFO, 0));
	R(set(4000000, 77, 0));
	R(syscall(SYS_sched_setscheduler, 0, 0, 0));
	R(syscall(SYS_sched_setscheduler, 0, 0, 8));
	R(syscall(SYS_sched_setscheduler, -5, 0, 8));
	R(syscall(SYS_sched_setscheduler, 4000000, 0, 8));
	R(syscall(SYS_sched_setparam, 0, 0));
	R(syscall(SYS_sched_setparam, 0, 8));
	R(syscall(SYS_sched_getparam, 0, 0));
	R(syscall(SYS_sched_getparam, 0, 8));
	R(syscall(SYS_sched_getparam, -1, page));
	R(syscall(SYS_sched_getparam, 4000000, page));
	R(syscall(SYS_sched_getscheduler, -1));
	R(syscall(SYS_sched_getscheduler, 4000000));
	R(syscall(SYS_sched_rr_get_interval, -1, page));
	R(syscall(SYS_sched_rr_get_interval, 4000000, page));
	R(syscall(SYS_sched_rr_get_interval, 0, 8));
	R(syscall(SYS_sched_getattr, 0, page, 47, 0));
	R(syscall(SYS_sched_getattr, 0, page, 48, 0));
	printf("   size %u\n", *size);
	R(syscall(SYS_sched_getattr, 0, page, 55, 0));
	printf("   size %u\n", *size);
	R(syscall(SYS_sched_getattr, 0, page, 4096, 0));
	printf("   size %u\n", *size);
	R(syscall(SYS_sched_getattr, 0, page, 4097, 0));
	R(syscall(SYS_sched_getattr, 0, page, 56, 1));
	R(syscall(SYS_sched_getattr, 0, 0, 56, 0));
	R(syscall(SYS_sched_getattr, 0, 8, 56, 0));
	R(syscall(SYS_sched_getattr, -1, page, 56, 0));
	R(syscall(SYS_sched_getattr, 4000000, page, 56, 0));
	memset(page, 0, sizeof(page));
	unsigned sizes[] = {0, 1, 47, 48, 52, 56, 60, 4096, 4097};
	for (unsigned i = 0; i < sizeof(sizes) / 4; i++) {
		*size = sizes[i];
		R(syscall(SYS_sched_setattr, 0, page, 0));
		printf("   size %u\n", *size);
	}
	*size = 64;
	page[60] = 1;
	R(syscall(SYS_sched_setattr, 0, page, 0));
	printf("   size %u\n", *size);
	*size = 0;
	R(syscall(SYS_sched_setattr, 0, page, 1));
	R(syscall(SYS_sched_setattr, -1, page, 0));
	R(syscall(SYS_sched_setattr, 0, 0, 0));
	R(syscall(SYS_sched_setattr, 0, 8, 0));
	R(syscall(SYS_sched_setattr, 4000000, page, 0));
	R(setattr(0, -1U, 0, 0, 0));
	R(setattr(0, 77, 0, 0, 0));
	R(setattr(0, SCHED_FIFO, 0, 0, 0));
	R(setattr(0, SCHED_FIFO, 100, 0, 0));
	R(setattr(0, SCHED_FIFO, 3, 7, 0));
	is(0);
	R(setattr(0, SCHED_OTHER, 3, 0, 0));
	R(setattr(0, SCHED_OTHER, 0, 0, 8));
	R(setattr(0, SCHED_OTHER, 4, 0, 8));
	is(0);
	R(setattr(0, SCHED_RR, 0, 3, 16));
	is(0);
	R(setattr(0, SCHED_OTHER, 0, 3, 0));
	is(0);
	R(setattr(0, SCHED_BATCH, 9, 6, 24));
	is(0);
	R(setattr(0, SCHED_BATCH, 0, 99, 0));
	is(0);
	R(setattr(0, SCHED_OTHER, 0, 3, 1));
	is(0);
	R(setattr(0, SCHED_IDLE, 0, 3, 1));
	is(0);
	R(setattr(0, SCHED_OTHER, 0, 0, 128));
	R(setattr(0, SCHED_DEADLINE, 0, 0, 0));
}

static void unprivileged(void)
{
	struct rlimit none = {0, 0};

	prlimit(0, RLIMIT_RTPRIO, &none, NULL);
	pid_t pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	setresuid(1000, 1000, 1000);
	R(set(0, SCHED_FIFO, 1));
	R(set(0, SCHED_FIFO, 0));
	R(set(0, SCHED_DEADLINE, 0));
	R(set(pid, SCHED_OTHER, 0));
	R(set(pid, SCHED_FIFO, 1));
	R(syscall(SYS_sched_getscheduler, pid));
	R(set(0, SCHED_OTHER, 0));
	R(set(0, SCHED_BATCH, 0));
	R(setattr(0, SCHED_OTHER, 0, -1, 0));
	R(setattr(0, SCHED_OTHER, 0, 1, 0));
	R(setattr(0, SCHED_OTHER, 0, 0, 0));
	R(set(0, SCHED_IDLE, 0));
	R(set(0, SCHED_OTHER, 0));
	R(setattr(0, SCHED_IDLE, 0, 0, 1));
	R(setattr(0, SCHED_IDLE, 0, 0, 0));
	R(setattr(0, SCHED_IDLE, 0, 0, 128));
	kill(pid, SIGKILL);
}

/* Who may do it to a process of user 1000. */
static void owners(void)
{
	static const unsigned ids[][3] = {
	    {1000, 2000, 2000}, {2000, 1000, 2000}, {2000, 2000, 1000}};
	cpu_set_t all;
	pid_t pid = fork();

	if (!pid) {
		setresuid(1000, 3000, 3000);
		sleep(10);
		_exit(0);
	}
	usleep(100000);
	memset(&all, 0xff, sizeof(all));
	for (unsigned i = 0; i < 3; i++) {
		fflush(stdout);
		if (!fork()) {
			setresuid(ids[i][0], ids[i][1], ids[i][2]);
			R(sched_setaffinity(pid, sizeof(all), &all));
			R(set(pid, SCHED_BATCH, 0));
			R(syscall(SYS_ioprio_set, 1, pid, 2 << 13 | 4));
			R(setpriority(PRIO_PROCESS, (id_t)pid, 1));
			fflush(stdout);
			_exit(0);
		}
		wait(NULL);
	}
	kill(pid, SIGKILL);
}

static void limited(void)
{
	struct rlimit some = {5, 5}, none = {0, 0};
	int fds[2], fds2[2];
	char c;

	pipe(fds);
	pipe(fds2);
	prlimit(0, RLIMIT_RTPRIO, &some, NULL);
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		setresuid(1000, 1000, 1000);
		R(set(0, SCHED_RR, 6));
		R(set(0, SCHED_RR, 5));
		R(set(0, SCHED_FIFO, 2));
		R(param(0, 6));
		R(param(0, 4));
		is(0);
		fflush(stdout);
		write(fds[1], "x", 1);
		read(fds2[0], &c, 1);
		R(param(0, 8));
		R(param(0, 9));
		R(set(0, SCHED_RR, 3));
		R(param(0, 7));
		R(param(0, 8));
		R(set(0, SCHED_OTHER, 0));
		R(set(0, SCHED_FIFO, 1));
		fflush(stdout);
		_exit(0);
	}
	read(fds[0], &c, 1);
	R(set(pid, SCHED_FIFO, 8));
	prlimit(pid, RLIMIT_RTPRIO, &none, NULL);
	fflush(stdout);
	write(fds2[1], "x", 1);
	waitpid(pid, NULL, 0);
}

/* ---- what they do: on one CPU
 * --------------------------------------------------------------------- */

static void one_cpu(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static volatile struct {
	unsigned long n, apart[7]; /* cache lines */
} count[10];
static volatile int stop;
static char trail[64];
static volatile int steps;

static void spin_ms(long ms)
{
	struct timespec a, b;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	while ((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < ms);
}

struct job {
	int prio, policy, yields;
	char name;
};
static volatile int go;
static pthread_barrier_t ready;

static void *job_main(void *arg)
{
	struct job *j = arg;

	set(0, j->policy, j->prio);
	pthread_barrier_wait(&ready);
	while (!go) {
		struct timespec t = {0, 1000000};
		clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
	}
	for (int i = 0; i < 4; i++) {
		trail[__atomic_fetch_add(&steps, 1, __ATOMIC_SEQ_CST)] = j->name;
		spin_ms(2);
		if (j->yields)
			sched_yield();
	}
	return NULL;
}

/* The order of those that begin together, while main spins above them all. */
static void race(struct job *jobs, int n)
{
	pthread_t t[4];

	go = steps = 0;
	memset(trail, 0, sizeof(trail));
	pthread_barrier_init(&ready, NULL, (unsigned)n + 1);
	for (int i = 0; i < n; i++)
		pthread_create(&t[i], NULL, job_main, &jobs[i]);
	pthread_barrier_wait(&ready);
	usleep(20000);
	go = 1;
	spin_ms(30); /* all have woken up and wait for this CPU */
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	printf("   %s\n", trail);
}

static void first_in(void)
{
	one_cpu();
	set(0, SCHED_FIFO, 50);
	struct job by_prio[] = {
	    {10, SCHED_FIFO, 0, 'a'}, {30, SCHED_FIFO, 0, 'b'}, {20, SCHED_RR, 0, 'c'}};
	race(by_prio, 3);
	struct job normal[] = {
	    {0, SCHED_OTHER, 0, 'n'}, {1, SCHED_RR, 0, 'r'}, {2, SCHED_FIFO, 1, 'f'}};
	race(normal, 3);
	struct job yields[] = {{5, SCHED_FIFO, 1, 'x'}, {5, SCHED_FIFO, 1, 'x'}};
	race(yields, 2);
}

static void *counter(void *arg)
{
	long i = (long)arg;

	while (!stop)
		count[i].n++;
	return NULL;
}

/* Turns of RR, none of FIFO, and the share of others; main looks on from above. */
static void turns(void)
{
	pthread_t t[2];
	int policy[3] = {SCHED_RR, SCHED_FIFO, SCHED_FIFO};

	one_cpu();
	for (int round = 0; round < 3; round++) {
		set(0, SCHED_OTHER, 0);
		count[0].n = count[1].n = 0;
		stop = 0;
		set(0, SCHED_FIFO, 50);
		for (long i = 0; i < 2; i++) {
			struct sched_param p = {10};
			pthread_create(&t[i], NULL, counter, (void *)i);
			if (round == 2 && i == 0) {
				struct sched_param none = {0};
				pthread_setschedparam(t[i], SCHED_OTHER, &none);
			} else {
				pthread_setschedparam(t[i], policy[round], &p);
			}
		}
		usleep(round == 2 ? 2500000 : 700000);
		stop = 1;
		int first = count[0].n > 0, second = count[1].n > 0;
		for (int i = 0; i < 2; i++)
			pthread_join(t[i], NULL);
		printf("   %d %d\n", first, second);
		if (round == 2)
			printf("   the normal one got less than a fifth: %d\n",
			       count[0].n * 5 < count[1].n);
	}
}

/* More real-time threads than CPUs, everywhere: the others have their share all the same. */
static void crowd(void)
{
	enum { HOGS = 9 };
	pthread_t t[HOGS + 1];
	unsigned long normal, all = 0;

	memset((void *)count, 0, sizeof(count));
	stop = 0;
	set(0, SCHED_FIFO, 50);
	for (long i = 0; i <= HOGS; i++) {
		struct sched_param p = {i < HOGS ? 10 : 0};
		pthread_create(&t[i], NULL, counter, (void *)i);
		pthread_setschedparam(t[i], i < HOGS ? SCHED_FIFO : SCHED_OTHER, &p);
	}
	usleep(300000);
	normal = count[HOGS].n;
	for (int i = 0; i <= HOGS; i++)
		all -= count[i].n;
	usleep(3000000);
	normal = count[HOGS].n - normal;
	for (int i = 0; i <= HOGS; i++)
		all += count[i].n;
	stop = 1;
	for (int i = 0; i <= HOGS; i++)
		pthread_join(t[i], NULL);
	if (getenv("SHARES"))
		fprintf(stderr, "%lu of %lu\n", normal, all);
	printf("   the normal one had its share: %d\n", normal * 250 > all);
}

/* A low owner, whom one of middle priority keeps off the CPU, until a high one waits. */
static unsigned word_;
static void *low_main(void *arg)
{
	(void)arg;
	set(0, SCHED_FIFO, 5);
	lock(&word_);
	go = 1;
	while (!stop)
		spin_ms(1);
	unlock(&word_);
	return NULL;
}
static volatile int middle_stop;
static void *middle_main(void *arg)
{
	(void)arg;
	set(0, SCHED_FIFO, 20);
	while (!middle_stop)
		count[0].n++;
	return NULL;
}
static void inversion(void)
{
	pthread_t low, middle;

	one_cpu();
	set(0, SCHED_FIFO, 50);
	go = stop = 0;
	pthread_create(&low, NULL, low_main, NULL);
	while (!go)
		usleep(1000);
	count[0].n = 0;
	pthread_create(&middle, NULL, middle_main, NULL);
	usleep(50000);
	stop = 1; /* low would unlock now, if it ran */
	usleep(50000);
	printf("   held by %s\n", (word_ & FUTEX_TID_MASK) ? "low" : "nobody");
	unsigned long before = count[0].n;
	long r = lock(&word_);
	before = count[0].n - before;
	printf("   %ld, middle ran meanwhile: %d\n", r, before > 20000);
	R(unlock(&word_));
	middle_stop = 1;
	pthread_join(low, NULL);
	pthread_join(middle, NULL);
}

/* ---- for how long
 * ------------------------------------------------------------------------------------ */

static volatile int *told;
static void on_xcpu(int sig)
{
	(void)sig;
	++*told;
}
static void show(const char *name)
{
	char path[64], text[64] = "";

	snprintf(path, sizeof(path), "/proc/sys/kernel/%s", name);
	read(open(path, O_RDONLY), text, sizeof(text) - 1);
	printf("   %s: %s", name, text);
}
static void time_limit(void)
{
	struct rlimit l = {300000, 1600000};
	int st;

	show("sched_rr_timeslice_ms");
	show("sched_rt_period_us");
	show("sched_rt_runtime_us");
	told = (volatile int *)mm(0, 1, RW, SHR);
	pid_t pid = fork();
	if (!pid) {
		signal(SIGXCPU, on_xcpu);
		setrlimit(RLIMIT_RTTIME, &l);
		spin_ms(400);
		told[1] = told[0];
		set(0, SCHED_FIFO, 1);
		for (int i = 0; i < 4; i++) {
			spin_ms(150);
			usleep(1000);
		}
		told[2] = told[0];
		for (int i = 0; i < 100 && told[0] == told[2]; i++) {
			spin_ms(20);
			sched_yield();
		}
		told[3] = told[0];
		getrlimit(RLIMIT_RTTIME, &l);
		told[4] = (int)l.rlim_cur;
		for (;;)
			;
	}
	waitpid(pid, &st, 0);
	printf("   status %x, told %d %d %d %d, limit %d\n", st, told[1], told[2], told[3], told[0],
	       told[4]);
}

int main(void)
{
	init();
	T(policies);
	T(arguments);
	T(unprivileged);
	T(owners);
	T(limited);
	T(first_in);
	T(turns);
	T(inversion);
	T(time_limit);
	T(crowd);
	return 0;
}
