/* SPDX-License-Identifier: MIT */
/* Futexes that are locks: the PI calls, requeueing to them, and whose priority is lent to
 * whom.  Prints the same on Linux 6.1 and on Quire. */
#define PROBE_SECONDS 60
#include "futexes.h"

static unsigned a, b, c;
static struct timespec past = {0, 1}, bad = {0, 2000000000};

static struct timespec soon(clockid_t clock, long ms)
{
	struct timespec t;

	clock_gettime(clock, &t);
	t.tv_nsec += ms * 1000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

static void alone(void)
{
	start(1);
	R(lock(&a));
	word(a);
	R(lock(&a));
	R(trylock(&a));
	R(futex(&a, FUTEX_LOCK_PI2 | PRIVATE, 0, &past, NULL, 0));
	R(unlock(&a));
	word(a);
	R(unlock(&a));
	R(trylock(&a));
	word(a);
	a = 0;
	for (int i = 0; i < 3; i++) {
		a = i == 0 ? FUTEX_WAITERS : FUTEX_OWNER_DIED | (i == 1 ? 0 : FUTEX_WAITERS);
		R(i ? lock(&a) : trylock(&a));
		word(a);
	}
	R(unlock(&a));
	word(a);
}

static void addresses(void)
{
	unsigned *p = (void *)mm(0, 1, PROT_READ, PRV), *q = (void *)mm(1, 1, RW, SHR);
	int fd = memfd_create("x", 0);

	ftruncate(fd, PG);
	unsigned *r = mmap(at(2), PG, RW, MAP_SHARED | MAP_FIXED, fd, 0);
	unsigned *s = mmap(at(3), PG, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	unsigned *u = mmap(at(4), PG, RW, MAP_SHARED | MAP_FIXED, fd, 0);

	start(1);
	R(lock((void *)((char *)&a + 1)));
	R(unlock((void *)((char *)&a + 2)));
	R(lock((void *)at(9)));
	R(trylock((void *)at(9)));
	R(unlock((void *)at(9)));
	R(lock((void *)-4096L));
	R(lock(p));
	R(trylock(p));
	R(unlock(p));
	R(futex(p, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	R(futex(q, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	word(*q);
	R(futex(q, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	R(futex(s, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	*r = (unsigned)main_tid;
	R(futex(s, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	R(unlock(s));
	R(futex(u, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	word(*r);
	/* one word by two addresses */
	R(futex(r, FUTEX_WAIT_REQUEUE_PI, 0, NULL, u, 0));
	R(futex(r, FUTEX_CMP_REQUEUE_PI, 1, 0, u, 0));
	R(futex(r, FUTEX_CMP_REQUEUE_PI, 1, 0, s, 0));
	R(wait_requeue(&a, 0, NULL, (void *)((char *)&b + 2)));
	R(wait_requeue((void *)((char *)&a + 2), 0, NULL, &b));
	R(wait_requeue(&a, 0, &past, (void *)at(9)));
	R(futex(&a, FUTEX_WAIT_REQUEUE_PI, 0, &past, at(9), 0));
	R(futex(&a, FUTEX_WAIT_REQUEUE_PI, 0, &past, s, 0));
	R(wait_requeue((void *)at(9), 0, NULL, &b));
	R(requeue((void *)at(9), 1, 0, &b, 0));
	R(requeue(&a, 1, 0, (void *)at(9), 0));
}

static void timeouts(void)
{
	struct timespec t;

	start(1);
	run(0, do_lock, &a, NULL);
	R(futex(&a, FUTEX_LOCK_PI | PRIVATE, 0, &past, NULL, 0));
	word(a);
	R(futex(&a, FUTEX_LOCK_PI | PRIVATE, 0, &bad, NULL, 0));
	R(futex(&a, FUTEX_LOCK_PI | PRIVATE, 0, at(9), NULL, 0));
	R(futex(&a, FUTEX_LOCK_PI2 | PRIVATE, 0, &past, NULL, 0));
	t = soon(CLOCK_REALTIME, 30);
	R(futex(&a, FUTEX_LOCK_PI | PRIVATE, 0, &t, NULL, 0));
	t = soon(CLOCK_MONOTONIC, 30);
	R(futex(&a, FUTEX_LOCK_PI | PRIVATE, 0, &t, NULL, 0));
	R(futex(&a, FUTEX_LOCK_PI2 | PRIVATE, 0, &t, NULL, 0));
	t = soon(CLOCK_REALTIME, 30);
	R(futex(&a, FUTEX_LOCK_PI2 | FUTEX_CLOCK_REALTIME | PRIVATE, 0, &t, NULL, 0));
	R(futex(&a, FUTEX_LOCK_PI | FUTEX_CLOCK_REALTIME | PRIVATE, 0, &past, NULL, 0));
	R(futex(&a, FUTEX_LOCK_PI | FUTEX_CLOCK_REALTIME | PRIVATE, 0, &bad, NULL, 0));
	R(futex(&a, FUTEX_TRYLOCK_PI | FUTEX_CLOCK_REALTIME | PRIVATE, 0, NULL, NULL, 0));
	R(futex(&a, FUTEX_TRYLOCK_PI | PRIVATE, 0, &bad, NULL, 0));
	R(futex(&a, FUTEX_CMP_REQUEUE_PI | FUTEX_CLOCK_REALTIME, 1, 0, &b, 0));
	R(futex(&a, 14, 0, &bad, NULL, 0));
	R(trylock(&a));
	word(a);
	R(unlock(&a));
	run(0, do_unlock, &a, NULL);
	word(a);
	b = 7;
	R(wait_requeue(&b, 7, &past, &a));
	R(wait_requeue(&b, 8, &past, &a));
	R(wait_requeue(&b, 7, &bad, &a));
	t = soon(CLOCK_MONOTONIC, 30);
	R(wait_requeue(&b, 7, &t, &a));
	t = soon(CLOCK_REALTIME, 30);
	R(futex(&b, FUTEX_WAIT_REQUEUE_PI | FUTEX_CLOCK_REALTIME | PRIVATE, 7, &t, &a, 0));
	R(wait_requeue(&b, 7, NULL, &b));
	R(wait_requeue(&b, 8, NULL, &b));
}

static void strange_owners(void)
{
	int pipes[2];
	char ch;
	pid_t gone = fork();

	if (!gone)
		_exit(0);
	waitpid(gone, NULL, 0);
	pipe(pipes);
	pid_t zombie = fork();
	if (!zombie)
		_exit(0);
	close(pipes[1]);
	read(pipes[0], &ch, 1);
	siginfo_t info;
	waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT);
	start(1);
	for (int i = 0; i < 4; i++) {
		unsigned owner = (unsigned)(i & 1 ? zombie : gone) | (i & 2 ? FUTEX_OWNER_DIED : 0);
		a = owner;
		R(lock(&a));
		printf("   waiters %d\n", a >> 31);
		a = owner;
		R(trylock(&a));
		printf("   waiters %d\n", a >> 31);
	}
	/* and as the lock that is requeued to */
	b = 0;
	begin(0, do_wait_requeue, &b, &a);
	a = (unsigned)zombie;
	R(requeue(&b, 1, 0, &a, 0));
	a = (unsigned)gone;
	R(requeue(&b, 1, INT_MAX, &a, 0));
	a = (unsigned)th[0].tid;
	R(requeue(&b, 1, 0, &a, 0));
	word(a);
	a = 0;
	R(requeue(&b, 1, 0, &a, 0));
	result(0);
	word(a);
	/* a lock of another process */
	unsigned *p = (void *)mm(0, 1, RW, SHR);
	pid_t child = fork();
	if (!child) {
		futex(p, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
		usleep(200000);
		_exit(0);
	}
	while (!*(volatile unsigned *)p)
		usleep(1000);
	R(futex(p, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	word(*p);
}

static void handing_over(void)
{
	start(4);
	R(lock(&a));
	begin(0, do_lock, &a, NULL);
	word(a);
	begin(1, do_lock, &a, NULL);
	begin(2, do_lock, &a, NULL);
	pthread_kill(th[1].id, SIGUSR1);
	waits(1);
	printf("   signals %d\n", th[1].signals);
	R(unlock(&a));
	result(0);
	word(a);
	R(trylock(&a));
	R(unlock(&a));
	/* t1 has had a signal, and began anew */
	run(0, do_unlock, &a, NULL);
	result(2);
	word(a);
	run(2, do_unlock, &a, NULL);
	result(1);
	word(a);
	run(1, do_unlock, &a, NULL);
	word(a);
	/* who gives up leaves the others */
	struct timespec t = soon(CLOCK_MONOTONIC, 600);
	R(lock(&a));
	th[0].timeout = &t;
	begin(0, do_timed_lock, &a, NULL);
	begin(1, do_lock, &a, NULL);
	result(0);
	word(a);
	R(unlock(&a));
	result(1);
	word(a);
	/* the owner's end */
	begin(2, do_lock, &a, NULL);
	th[1].todo = do_exit;
	th[1].busy = 1;
	result(2);
	word(a);
	begin(3, do_lock, &a, NULL);
	word(a);
	run(2, do_unlock, &a, NULL);
	result(3);
	word(a);
}

static void other_waiters(void)
{
	start(4);
	a = 5;
	begin(0, do_wait, &a, NULL);
	a = 0;
	R(lock(&a));
	word(a);
	a = (unsigned)th[1].tid;
	R(lock(&a));
	R(trylock(&a));
	a = (unsigned)main_tid;
	R(unlock(&a));
	word(a);
	R(futex(&a, FUTEX_WAKE | PRIVATE, 1, NULL, NULL, 0));
	result(0);
	R(unlock(&a));
	/* a waiter of a lock, and calls that aren't for it */
	R(lock(&a));
	begin(0, do_lock, &a, NULL);
	R(futex(&a, FUTEX_WAKE | PRIVATE, 1, NULL, NULL, 0));
	R(futex(&a, FUTEX_WAKE_BITSET | PRIVATE, 1, NULL, NULL, 1));
	R(futex(&a, FUTEX_REQUEUE | PRIVATE, 0, (void *)1, &b, 0));
	R(futex(&a, FUTEX_REQUEUE | PRIVATE, 1, (void *)1, &b, 0));
	R(futex(&a, FUTEX_REQUEUE | PRIVATE, 0, (void *)0, &b, 0));
	R(futex(&a, FUTEX_CMP_REQUEUE | PRIVATE, 1, (void *)1, &b, a));
	R(futex(&a, FUTEX_WAKE_OP | PRIVATE, 1, (void *)0, &b, 0));
	R(futex(&a, FUTEX_WAKE_OP | PRIVATE, 0, (void *)0, &b, 0));
	R(requeue(&a, 1, 1, &b, a));
	R(requeue(&b, 1, 1, &a, 0));
	begin(1, do_wait, &a, NULL);
	R(futex(&a, FUTEX_WAKE | PRIVATE, 5, NULL, NULL, 0));
	R(unlock(&a));
	result(0);
	R(futex(&a, FUTEX_WAKE | PRIVATE, 5, NULL, NULL, 0));
	result(1);
	run(0, do_unlock, &a, NULL);
	word(a);
	/* the word says another thing than the kernel knows */
	R(lock(&a));
	begin(0, do_lock, &a, NULL);
	unsigned was = a;
	a = (unsigned)th[2].tid | FUTEX_WAITERS;
	run(1, do_lock, &a, NULL);
	R(unlock(&a));
	run(2, do_unlock, &a, NULL);
	a = FUTEX_WAITERS;
	run(1, do_lock, &a, NULL);
	a = 0;
	run(1, do_lock, &a, NULL);
	a = FUTEX_OWNER_DIED;
	begin(1, do_lock, &a, NULL);
	waits(1);
	a = FUTEX_OWNER_DIED | (unsigned)th[2].tid;
	run(3, do_lock, &a, NULL);
	a = was & ~FUTEX_WAITERS;
	R(unlock(&a));
	result(0);
	word(a);
	run(0, do_unlock, &a, NULL);
	result(1);
	word(a);
}

static void deadlocks(void)
{
	start(3);
	R(lock(&a));
	run(0, do_lock, &b, NULL);
	run(1, do_lock, &c, NULL);
	begin(0, do_lock, &a, NULL);
	R(lock(&b));
	word(b);
	R(trylock(&b));
	begin(1, do_lock, &b, NULL);
	R(lock(&c));
	word(c);
	R(unlock(&a));
	result(0);
	run(0, do_unlock, &b, NULL);
	result(1);
	word(b);
	run(1, do_unlock, &b, NULL);
	run(1, do_unlock, &c, NULL);
	run(0, do_unlock, &a, NULL);
}

static void requeue_deadlock(void) /* t0 has a and is requeued to b, whose owner waits for a */
{
	start(3);
	run(0, do_lock, &a, NULL);
	run(1, do_lock, &b, NULL);
	begin(0, do_wait_requeue, &c, &b);
	begin(1, do_lock, &a, NULL);
	R(requeue(&c, 1, 0, &b, 0));
	word(b);
	waits(0);
	R(requeue(&c, 1, INT_MAX, &b, 0));
	pthread_kill(th[0].id, SIGUSR1);
	waits(0);
}

static void requeue_errors(void)
{
	start(4);
	R(requeue(&a, 1, 0, &a, 0));
	R(requeue(&a, 0, 1, &b, 0));
	R(requeue(&a, 2, 1, &b, 0));
	R(requeue(&a, -1U, 1, &b, 0));
	R(requeue(&a, 1, -1, &b, 0));
	R(requeue(&a, 1, 1, &b, 1));
	R(requeue(&a, 1, 1, &b, 0));
	R(requeue(&a, 1, INT_MAX, &b, 0));
	word(b);
	begin(0, do_wait, &a, NULL);
	R(requeue(&a, 1, 0, &b, 0));
	R(requeue(&a, 1, INT_MAX, &b, 0));
	begin(1, do_wait_requeue, &a, &b);
	R(requeue(&a, 1, INT_MAX, &b, 0));
	R(futex(&a, FUTEX_WAKE | PRIVATE, 1, NULL, NULL, 0));
	result(0);
	R(futex(&a, FUTEX_WAKE | PRIVATE, 1, NULL, NULL, 0));
	R(futex(&a, FUTEX_REQUEUE | PRIVATE, 1, (void *)1, &c, 0));
	R(futex(&a, FUTEX_WAKE_OP | PRIVATE, 1, (void *)1, &c, 0));
	R(requeue(&a, 1, 0, &c, 0));
	word(c);
	begin(2, do_wait, &a, NULL);
	/* the first is as it should be, the second isn't */
	R(lock(&b));
	R(requeue(&a, 1, INT_MAX, &b, 0));
	word(b);
	waits(1);
	R(futex(&a, FUTEX_WAKE | PRIVATE, 5, NULL, NULL, 0));
	result(2);
	R(unlock(&b));
	result(1);
	word(b);
	begin(2, do_wait_requeue, &a, &b);
	begin(3, do_wait_requeue, &a, &c);
	R(requeue(&a, 1, INT_MAX, &b, 0));
	run(1, do_unlock, &b, NULL);
	result(2);
	waits(3);
}

static void requeueing(void)
{
	start(4);
	for (int many = 0; many < 2; many++) {
		begin(0, do_wait_requeue, &a, &b);
		R(requeue(&a, 1, many ? INT_MAX : 0, &b, 0));
		result(0);
		word(b);
		R(trylock(&b));
		run(0, do_unlock, &b, NULL);
		word(b);
	}
	for (int i = 0; i < 4; i++)
		begin(i, do_wait_requeue, &a, &b);
	R(requeue(&a, 1, 2, &b, 0));
	result(0);
	word(b);
	for (int i = 1; i < 4; i++)
		waits(i);
	pthread_kill(th[2].id, SIGUSR1);
	result(2);
	pthread_kill(th[3].id, SIGUSR1);
	waits(3);
	run(0, do_unlock, &b, NULL);
	result(1);
	word(b);
	R(requeue(&a, 1, 0, &b, 0));
	R(requeue(&a, 1, 0, &b, 0));
	run(1, do_unlock, &b, NULL);
	result(3);
	word(b);
	run(3, do_unlock, &b, NULL);
	word(b);
	/* the lock is held */
	R(lock(&b));
	for (int i = 0; i < 3; i++)
		begin(i, do_wait_requeue, &a, &b);
	R(requeue(&a, 1, 0, &b, 0));
	R(requeue(&a, 1, INT_MAX, &b, 0));
	word(b);
	begin(3, do_lock, &b, NULL);
	R(unlock(&b));
	for (int i = 0; i < 4; i++) {
		result(i);
		word(b);
		run(i, do_unlock, &b, NULL);
	}
	word(b);
	/* time passes before, and after */
	for (int after = 0; after < 2; after++) {
		struct timespec t = soon(CLOCK_MONOTONIC, 900);
		th[0].timeout = &t;
		R(lock(&b));
		begin(0, do_wait_requeue, &a, &b);
		if (after)
			R(requeue(&a, 1, 0, &b, 0));
		result(0);
		word(b);
		R(unlock(&b));
		word(b);
	}
	/* the owner's end */
	th[0].timeout = NULL;
	run(1, do_lock, &b, NULL);
	begin(0, do_wait_requeue, &a, &b);
	R(requeue(&a, 1, 0, &b, 0));
	th[1].todo = do_exit;
	th[1].busy = 1;
	result(0);
	word(b);
}

/* ---- priorities ---------------------------------------------------------------------------- */

static void priority(const char *who, pid_t tid)
{
	printf("   %s: priority %ld nice %ld rt %ld policy %ld\n", who, stat_field(tid, 18),
	       stat_field(tid, 19), stat_field(tid, 40), stat_field(tid, 41));
}
static void priorities(int n)
{
	char name[] = "t0";

	usleep(10000);
	priority("main", main_tid);
	for (int i = 0; i < n; i++, name[1]++)
		priority(name, th[i].tid);
}
static void policy(int i, int p, int prio)
{
	struct sched_param param = {prio};

	if (syscall(SYS_sched_setscheduler, th[i].tid, p, &param))
		printf("sched_setscheduler: %s\n", en(errno));
}

static void boosts(void)
{
	start(4);
	R(setpriority(PRIO_PROCESS, 0, 10));
	R(lock(&a));
	begin(0, do_lock, &a, NULL);
	priorities(1);
	R(setpriority(PRIO_PROCESS, th[0].tid, -3));
	priorities(1);
	R(setpriority(PRIO_PROCESS, th[1].tid, -5));
	begin(1, do_lock, &a, NULL);
	priorities(2);
	policy(2, SCHED_FIFO, 5);
	begin(2, do_lock, &a, NULL);
	priorities(3);
	policy(2, SCHED_RR, 9);
	priorities(3);
	R(setpriority(PRIO_PROCESS, 0, 12));
	priorities(0);
	policy(0, SCHED_FIFO, 3);
	priorities(1);
	R(unlock(&a));
	result(2);
	priorities(3);
	word(a);
	run(2, do_unlock, &a, NULL);
	result(0);
	run(0, do_unlock, &a, NULL);
	result(1);
	run(1, do_unlock, &a, NULL);
	priorities(3);
	/* a chain, and its breaking */
	policy(0, SCHED_OTHER, 0);
	policy(1, SCHED_OTHER, 0);
	R(lock(&a));
	run(0, do_lock, &b, NULL);
	begin(0, do_lock, &a, NULL);
	run(1, do_lock, &c, NULL);
	begin(1, do_lock, &b, NULL);
	struct timespec t = soon(CLOCK_MONOTONIC, 2000);
	th[2].timeout = &t;
	begin(2, do_timed_lock, &c, NULL);
	priorities(3);
	result(2);
	priorities(3);
	policy(1, SCHED_FIFO, 1);
	priorities(2);
	R(unlock(&a));
	result(0);
	priorities(2);
	run(0, do_unlock, &b, NULL);
	result(1);
	run(1, do_unlock, &b, NULL);
	run(1, do_unlock, &c, NULL);
	run(0, do_unlock, &a, NULL);
	/* lent by requeueing */
	R(lock(&b));
	begin(2, do_wait_requeue, &a, &b); /* its deadline is over */
	result(2);
	th[2].timeout = NULL;
	begin(2, do_wait_requeue, &c, &b);
	R(requeue(&c, 1, 0, &b, 0));
	priorities(3);
	R(unlock(&b));
	result(2);
	priorities(3);
}

static void order(void)
{
	int prio[4] = {0, 3, 9, 3};

	start(4);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 4; i++)
			policy(i, prio[i] ? SCHED_FIFO : SCHED_OTHER, prio[i]);
		/* by a lock, and by a word */
		if (!round)
			R(lock(&a));
		for (int i = 0; i < 4; i++)
			begin(i, round ? do_wait : do_lock, &a, NULL);
		for (int n = 0; n < 4; n++) {
			if (!round && !n)
				R(unlock(&a));
			if (round)
				R(futex(&a, FUTEX_WAKE | PRIVATE, 1, NULL, NULL, 0));
			for (int tries = 0; tries < 1000; tries++, usleep(1000)) {
				int i;
				for (i = 0; i < 4 && (th[i].busy || !th[i].todo); i++)
					;
				if (i == 4)
					continue;
				printf("   t%d woke\n", i);
				if (!round)
					run(i, do_unlock, &a, NULL);
				th[i].todo = NULL;
				break;
			}
		}
	}
}

int main(void)
{
	init();
	T(alone);
	T(addresses);
	T(timeouts);
	T(strange_owners);
	T(handing_over);
	T(other_waiters);
	T(deadlocks);
	T(requeue_deadlock);
	T(requeue_errors);
	T(requeueing);
	T(boosts);
	T(order);
	return 0;
}
