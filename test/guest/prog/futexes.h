/* SPDX-License-Identifier: MIT */
/* Threads that make one call on a futex while the test looks on. */
#ifndef FUTEXES_H
#define FUTEXES_H

#include "probe.h"

#include <limits.h>
#include <linux/futex.h>

#define NTHREADS 6
#define PRIVATE FUTEX_PRIVATE_FLAG

static inline long futex(void *w, int op, unsigned v, const void *time_or_n, void *w2, unsigned v3)
{
	return syscall(SYS_futex, w, op, v, time_or_n, w2, v3);
}
static inline long lock(unsigned *w)
{
	return futex(w, FUTEX_LOCK_PI | PRIVATE, 0, NULL, NULL, 0);
}
static inline long trylock(unsigned *w)
{
	return futex(w, FUTEX_TRYLOCK_PI | PRIVATE, 0, NULL, NULL, 0);
}
static inline long unlock(unsigned *w)
{
	return futex(w, FUTEX_UNLOCK_PI | PRIVATE, 0, NULL, NULL, 0);
}
static inline long wait_requeue(unsigned *w, unsigned v, void *timeout, unsigned *w2)
{
	return futex(w, FUTEX_WAIT_REQUEUE_PI | PRIVATE, v, timeout, w2, 0);
}
static inline long requeue(unsigned *w, unsigned wake, long n, unsigned *w2, unsigned v)
{
	return futex(w, FUTEX_CMP_REQUEUE_PI | PRIVATE, wake, (void *)n, w2, v);
}

/* A thread does as it is told, one thing after the other. */
struct thread {
	pthread_t id;
	volatile pid_t tid;
	void (*volatile todo)(struct thread *);
	volatile int busy;
	unsigned *a, *b; /* the words it works on */
	struct timespec *timeout;
	long result;
	int error;
	volatile int signals;
};
static struct thread th[NTHREADS];
static pid_t main_tid;

static inline void *thread_main(void *arg)
{
	struct thread *t = arg;

	t->tid = (pid_t)syscall(SYS_gettid);
	for (;;) {
		while (!t->busy)
			usleep(500);
		errno = 0;
		t->todo(t);
		t->error = errno;
		t->busy = 0;
	}
	return NULL;
}

static inline int thread_of(pid_t tid)
{
	for (int i = 0; i < NTHREADS; i++)
		if (th[i].tid == tid)
			return i;
	return -1;
}

static inline void on_usr1(int sig)
{
	int i = thread_of((pid_t)syscall(SYS_gettid));

	(void)sig;
	if (i >= 0)
		th[i].signals++;
}

static inline void start(int n)
{
	struct sigaction s = {.sa_handler = on_usr1};

	main_tid = (pid_t)syscall(SYS_gettid);
	sigaction(SIGUSR1, &s, NULL);
	for (int i = 0; i < n; i++) {
		memset(&th[i], 0, sizeof(th[i]));
		pthread_create(&th[i].id, NULL, thread_main, &th[i]);
		while (!th[i].tid)
			usleep(500);
	}
}

/* A field of a thread's stat, counted as proc(5) does; its state is the third. */
static inline long stat_field(pid_t tid, int n)
{
	char path[64], text[1024] = "", *p;
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	int fd = open(path, O_RDONLY);
	ssize_t len = read(fd, text, sizeof(text) - 1);

	close(fd);
	if (len <= 0 || !(p = strrchr(text, ')')))
		return -1;
	for (p += 2, n -= 3; n; n--)
		p = strchr(p, ' ') + 1;
	return *p >= 'A' ? *p : atol(p);
}

static inline int asleep(pid_t tid)
{
	for (int in_a_row = 0, tries = 0; tries < 3000; tries++, usleep(2000)) {
		in_a_row = stat_field(tid, 3) == 'S' ? in_a_row + 1 : 0;
		if (in_a_row == 5)
			return 1;
	}
	return 0;
}

/* Thread i begins, and sleeps in the call or is ready. */
static inline void begin(int i, void (*what)(struct thread *), unsigned *a, unsigned *b)
{
	th[i].a = a;
	th[i].b = b;
	th[i].todo = what;
	th[i].busy = 1;
	if (!asleep(th[i].tid))
		printf("thread %d doesn't sleep\n", i);
}

static inline int finished(int i)
{
	for (int tries = 0; th[i].busy && tries < 2000; tries++)
		usleep(2000);
	return !th[i].busy;
}

static inline void result(int i)
{
	if (!finished(i))
		printf("   t%d still waits\n", i);
	else
		printf("   t%d: %ld %s\n", i, th[i].result, th[i].error ? en(th[i].error) : "");
}
static inline void waits(int i)
{
	usleep(20000);
	printf("   t%d %s\n", i, th[i].busy ? "waits" : "doesn't wait");
}
static inline void run(int i, void (*what)(struct thread *), unsigned *a, unsigned *b)
{
	th[i].a = a;
	th[i].b = b;
	th[i].todo = what;
	th[i].busy = 1;
	result(i);
}

static inline void word(unsigned v)
{
	pid_t tid = (pid_t)(v & FUTEX_TID_MASK);
	int i = thread_of(tid);

	printf("   word:%s%s ", v & FUTEX_WAITERS ? " waiters" : "",
	       v & FUTEX_OWNER_DIED ? " died" : "");
	if (tid == main_tid)
		printf("main\n");
	else if (tid && i >= 0)
		printf("t%d\n", i);
	else
		printf("%d\n", tid);
}

static inline void do_lock(struct thread *t)
{
	t->result = lock(t->a);
}
static inline void do_timed_lock(struct thread *t)
{
	t->result = futex(t->a, FUTEX_LOCK_PI2 | PRIVATE, 0, t->timeout, NULL, 0);
}
static inline void do_unlock(struct thread *t)
{
	t->result = unlock(t->a);
}
static inline void do_wait(struct thread *t)
{
	t->result = futex(t->a, FUTEX_WAIT | PRIVATE, *t->a, NULL, NULL, 0);
}
static inline void do_wait_requeue(struct thread *t)
{
	t->result = wait_requeue(t->a, *t->a, t->timeout, t->b);
}
static inline void do_exit(struct thread *t)
{
	t->busy = 0;
	pthread_exit(NULL);
}

#endif
