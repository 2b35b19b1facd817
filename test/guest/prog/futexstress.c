/* SPDX-License-Identifier: MIT */
/*
 * Threads that take locks of the PI kind in any order, wait on condition variables that are
 * requeued to them, give up in time, get signals, change their priorities and die holding
 * locks.  At each moment one holds a lock, at most, and at the end nobody waits.
 *
 *   futexstress SECONDS [SEED]
 */
#include <stddef.h>

#define PROBE_SECONDS 60
#include "futexes.h"

#define LOCKS 4
#define THREADS 8

static struct lock {
	struct robust_list list;
	unsigned word, seq;
	volatile pid_t inside;
} locks[LOCKS];
static volatile int over;
static volatile long taken, deadlocks, timed_out, deaths, requeued, waited;
static pthread_t ids[THREADS];
static volatile int alive[THREADS];

static void fail(const char *what, long a, long b)
{
	printf("%s: %ld %ld %s\n", what, a, b, en(errno));
	fflush(stdout);
	_exit(1);
}
static unsigned rnd(unsigned long *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return (unsigned)(*s >> 20);
}
static struct timespec *in_us(struct timespec *t, long us)
{
	clock_gettime(CLOCK_MONOTONIC, t);
	t->tv_nsec += us * 1000;
	t->tv_sec += t->tv_nsec / 1000000000;
	t->tv_nsec %= 1000000000;
	return t;
}

static void entered(struct lock *l, pid_t me)
{
	unsigned v = l->word;

	if ((v & FUTEX_TID_MASK) != (unsigned)me)
		fail("not ours", v, me);
	if (v & FUTEX_OWNER_DIED) {
		l->inside = 0;
		__atomic_and_fetch(&l->word, ~FUTEX_OWNER_DIED, __ATOMIC_SEQ_CST);
	}
	if (l->inside)
		fail("two inside", l->inside, me);
	l->inside = me;
	__atomic_add_fetch(&taken, 1, __ATOMIC_RELAXED);
}

/* True when it is ours. */
static int take(struct lock *l, pid_t me, unsigned long *seed)
{
	unsigned none = 0, how = rnd(seed) % 8;
	struct timespec t;
	long r;

	if (how && __atomic_compare_exchange_n(&l->word, &none, (unsigned)me, 0, __ATOMIC_SEQ_CST,
					       __ATOMIC_SEQ_CST)) {
		entered(l, me);
		return 1;
	}
	if (how == 1)
		r = trylock(&l->word);
	else if (how < 5)
		r = futex(&l->word, FUTEX_LOCK_PI2 | PRIVATE, 0, in_us(&t, rnd(seed) % 3000), NULL,
			  0);
	else
		r = lock(&l->word);
	if (!r) {
		entered(l, me);
		return 1;
	}
	if (errno == EDEADLK)
		__atomic_add_fetch(&deadlocks, 1, __ATOMIC_RELAXED);
	else if (errno == ETIMEDOUT)
		__atomic_add_fetch(&timed_out, 1, __ATOMIC_RELAXED);
	else if (errno != EAGAIN && errno != EINVAL) /* EINVAL: just now the owner has died */
		fail("lock", (long)how, l->word);
	return 0;
}

static void give(struct lock *l, pid_t me)
{
	unsigned mine = (unsigned)me;

	l->inside = 0;
	if (!__atomic_compare_exchange_n(&l->word, &mine, 0, 0, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST) &&
	    unlock(&l->word))
		fail("unlock", l->word, me);
}

/* l is ours, before and after; false: not after. */
static int wait_on(struct lock *l, pid_t me, unsigned long *seed)
{
	unsigned seq = l->seq;
	struct timespec t;

	give(l, me);
	long r = wait_requeue(&l->seq, seq, in_us(&t, 500 + rnd(seed) % 5000), &l->word);
	__atomic_add_fetch(&waited, 1, __ATOMIC_RELAXED);
	if (!r) {
		entered(l, me);
		return 1;
	}
	if (errno != ETIMEDOUT && errno != EAGAIN)
		fail("wait_requeue", 0, 0);
	return 0;
}
static void signal_waiters(struct lock *l, unsigned long *seed)
{
	unsigned seq = __atomic_add_fetch(&l->seq, 1, __ATOMIC_SEQ_CST);
	long r = requeue(&l->seq, 1, rnd(seed) % 3 ? INT_MAX : 0, &l->word, seq);

	if (r > 0)
		__atomic_add_fetch(&requeued, r, __ATOMIC_RELAXED);
	else if (r < 0 && errno != EAGAIN && errno != EDEADLK && errno != EINVAL)
		fail("requeue", (long)l->word, 0);
}

static void die_with(struct lock *l)
{
	struct robust_list_head head = {.futex_offset = offsetof(struct lock, word) -
							offsetof(struct lock, list)};

	head.list.next = (void *)((char *)&l->list + 1);
	l->list.next = &head.list;
	syscall(SYS_set_robust_list, &head, sizeof(head));
	__atomic_add_fetch(&deaths, 1, __ATOMIC_RELAXED);
	syscall(SYS_exit, 0);
}

static void priority_at_random(unsigned long *seed)
{
	int prio = (int)(rnd(seed) % 4);

	if (rnd(seed) % 3)
		syscall(SYS_sched_setscheduler, 0,
			prio ? SCHED_FIFO + (int)(rnd(seed) % 2) : SCHED_OTHER, &prio);
	else
		setpriority(PRIO_PROCESS, 0, (int)(rnd(seed) % 20));
}

static void *work(void *arg)
{
	long number = (long)arg & 255;
	unsigned long seed = (unsigned long)arg * 0x9e3779b97f4a7c15UL + 1;
	pid_t me = (pid_t)syscall(SYS_gettid);

	while (!over) {
		struct lock *a = &locks[rnd(&seed) % LOCKS], *b = &locks[rnd(&seed) % LOCKS];
		unsigned what = rnd(&seed) % 64;
		if (what == 0)
			priority_at_random(&seed);
		if (!take(a, me, &seed))
			continue;
		if (what < 24 && a != b && take(b, me, &seed)) {
			if (what < 4)
				usleep(rnd(&seed) % 300);
			give(b, me);
		} else if (what < 36) {
			if (!wait_on(a, me, &seed))
				continue;
		} else if (what < 48) {
			signal_waiters(a, &seed);
		} else if (what == 63 && rnd(&seed) % 4 == 0) {
			alive[number] = 0;
			die_with(a);
		}
		give(a, me);
		if (what > 58)
			signal_waiters(b, &seed);
	}
	alive[number] = 0;
	return NULL;
}

int main(int argc, char **argv)
{
	long seconds = argc > 1 ? atol(argv[1]) : 3, next = argc > 2 ? atol(argv[2]) : 1;
	struct timespec end, now;

	init();
	signal(SIGUSR1, on_usr1);
	int above = 50;
	syscall(SYS_sched_setscheduler, 0, SCHED_FIFO | 0x40000000, &above);
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += seconds;
	do {
		for (long i = 0; i < THREADS; i++)
			if (!alive[i]) {
				if (ids[i])
					pthread_join(ids[i], NULL);
				alive[i] = 1;
				if (pthread_create(&ids[i], NULL, work, (void *)(next++ << 8 | i)))
					fail("pthread_create", i, 0);
			}
		usleep(2000);
		kill(getpid(), SIGUSR1); /* whom it may find */
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end.tv_sec);
	over = 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);
	for (int i = 0; i < LOCKS; i++) {
		pid_t me = getpid();
		if (lock(&locks[i].word))
			fail("at the end", i, locks[i].word);
		give(&locks[i], me);
		if (locks[i].word)
			fail("left", i, locks[i].word);
	}
	fprintf(stderr,
		"%ld taken, %ld deadlocks, %ld timed out, %ld deaths, %ld waited, %ld requeued\n",
		taken, deadlocks, timed_out, deaths, waited, requeued);
	printf("%s\n", taken && deadlocks && timed_out && deaths && requeued ? "ok" : "too little");
	return 0;
}
