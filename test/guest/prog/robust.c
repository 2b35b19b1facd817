/* SPDX-License-Identifier: MIT */
/* Robust lists: what becomes of a dead thread's locks, and lists that aren't any.  Prints the
 * same on Linux 6.1 and on Quire. */
#include <stddef.h>

#define PROBE_SECONDS 60
#include "futexes.h"

#define WORDS 3000

struct entry {
	struct robust_list list;
	unsigned word;
};
/* Shared, so that what a process leaves behind can be looked at. */
struct shared {
	struct robust_list_head head;
	struct entry e[WORDS];
	pid_t tid;
	volatile int go;
} * s;
static long offset = offsetof(struct entry, word);

static void fresh(void)
{
	if (!s)
		s = mmap((void *)A, sizeof(*s), RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	memset(s, 0, sizeof(*s));
	s->head.list.next = &s->head.list;
	s->head.futex_offset = offset;
}

static void show(unsigned v, const char *name)
{
	pid_t tid = (pid_t)(v & FUTEX_TID_MASK);

	printf("   %s:%s%s %s\n", name, v & FUTEX_WAITERS ? " waiters" : "",
	       v & FUTEX_OWNER_DIED ? " died" : "",
	       !tid                  ? "0"
	       : tid == s->tid       ? "its"
	       : tid == getpid()     ? "ours"
	       : thread_of(tid) >= 0 ? "a thread's"
				     : "other");
}
static void words(int n)
{
	char name[8];

	for (int i = 0; i < n; i++) {
		sprintf(name, "%d", i);
		show(s->e[i].word, name);
	}
}

/* The child, with n entries in a row that it owns. */
static void chain(int n)
{
	s->tid = (pid_t)syscall(SYS_gettid);
	struct robust_list *last = &s->head.list;
	for (int i = 0; i < n; i++) {
		s->e[i].word = (unsigned)s->tid;
		last->next = &s->e[i].list;
		last = last->next;
	}
	last->next = &s->head.list;
	if (syscall(SYS_set_robust_list, &s->head, sizeof(s->head)))
		printf("set_robust_list: %s\n", en(errno));
}
static void *tagged(void *p)
{
	return (char *)p + 1;
}
static void in_child(void (*what)(void), int n)
{
	int st;
	fresh();
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		what();
		_exit(0);
	}
	waitpid(pid, &st, 0);
	if (st)
		printf("   child ended with %x\n", st);
	words(n);
}

static void calls(void)
{
	void *head;
	size_t len = 0;
	struct robust_list_head h;
	int pipes[2];

	R(syscall(SYS_set_robust_list, &h, 23));
	R(syscall(SYS_set_robust_list, &h, 25));
	R(syscall(SYS_set_robust_list, &h, 0));
	R(syscall(SYS_set_robust_list, -8L, 24));
	R(syscall(SYS_get_robust_list, 0, &head, &len));
	printf("   %ld %zu\n", (long)head, len);
	R(syscall(SYS_set_robust_list, 0, 24));
	R(syscall(SYS_get_robust_list, 0, &head, &len));
	printf("   %ld %zu\n", (long)head, len);
	R(syscall(SYS_get_robust_list, getpid(), &head, &len));
	R(syscall(SYS_get_robust_list, -1, &head, &len));
	R(syscall(SYS_get_robust_list, 4000000, &head, &len));
	len = 7;
	R(syscall(SYS_get_robust_list, 0, 8, &len));
	printf("   %zu\n", len);
	R(syscall(SYS_get_robust_list, 0, &head, 8));
	pipe(pipes);
	pid_t pid = fork();
	if (!pid) {
		syscall(SYS_set_robust_list, 0x1000, 24);
		write(pipes[1], "x", 1);
		pause();
	}
	char c;
	read(pipes[0], &c, 1);
	R(syscall(SYS_get_robust_list, pid, &head, &len));
	printf("   %lx\n", (long)head);
	fflush(stdout);
	if (!fork()) {
		setresuid(1000, 1000, 1000);
		R(syscall(SYS_get_robust_list, pid, &head, &len));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	kill(pid, SIGKILL);
	siginfo_t info;
	waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
	R(syscall(SYS_get_robust_list, pid, &head, &len));
	printf("   %lx\n", (long)head);
	waitpid(pid, NULL, 0);
	/* a child starts without */
	R(syscall(SYS_set_robust_list, 0x2000, 24));
	fflush(stdout);
	if (!fork()) {
		R(syscall(SYS_get_robust_list, 0, &head, &len));
		printf("   the parent's: %d\n", head == (void *)0x2000);
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
}

static void simple(void)
{
	chain(4);
	s->e[1].word |= FUTEX_WAITERS;
	s->e[2].word = (unsigned)getppid();
	s->e[3].word |= FUTEX_OWNER_DIED;
	s->e[4].word = (unsigned)s->tid; /* not in the list */
}
static void killed(void)
{
	chain(2);
	raise(SIGKILL);
}
static void pending_only(void)
{
	chain(0);
	s->e[0].word = (unsigned)s->tid;
	s->head.list_op_pending = &s->e[0].list;
}
static void pending_in_list(void)
{
	chain(3);
	s->head.list_op_pending = &s->e[1].list;
}
static void pending_tagged(void)
{
	chain(3);
	s->head.list.next = tagged(s->head.list.next);
	s->head.list_op_pending = tagged(&s->e[1].list);
	s->e[1].word |= FUTEX_WAITERS;
}
static void pending_free(void)
{
	chain(1);
	s->head.list_op_pending = &s->e[1].list;
	s->e[1].word = FUTEX_WAITERS;
}
static void unaligned(void)
{
	chain(3);
	s->head.futex_offset = offset + 1;
}
static void unaligned_entry(void)
{
	chain(4);
	s->e[0].list.next = (void *)((char *)&s->e[1] + 2);
	memcpy((char *)&s->e[1] + 2, &(void *){&s->e[2].list}, 8);
	s->head.list_op_pending = &s->e[3].list;
}
static void bad_next(void)
{
	chain(3);
	s->e[1].list.next = (void *)8;
	s->head.list_op_pending = &s->e[2].list;
}
static void bad_first(void)
{
	chain(3);
	s->head.list.next = (void *)-4096L;
	s->head.list_op_pending = &s->e[2].list;
}
static void null_first(void)
{
	chain(3);
	s->head.list.next = NULL;
	s->head.list_op_pending = &s->e[2].list;
}
static void bad_pending(void)
{
	chain(2);
	s->head.list_op_pending = (void *)0x7ffffffff000;
}
static void read_only_word(void)
{
	chain(3);
	/* an entry whose word can't be written */
	struct entry *e = (void *)mm(40000, 1, RW, PRV);
	e->word = (unsigned)s->tid;
	e->list.next = &s->e[1].list;
	s->e[0].list.next = &e->list;
	mprotect(e, PG, PROT_READ);
	s->head.list_op_pending = &s->e[2].list;
}
static void head_gone(void)
{
	chain(2);
	syscall(SYS_set_robust_list, 0x1000, 24);
}
static void circle(void)
{
	chain(4);
	s->e[3].list.next = &s->e[1].list;
	s->head.list_op_pending = &s->e[5].list;
	s->e[5].word = (unsigned)s->tid;
}
static void too_long(void)
{
	chain(2100);
	s->head.list_op_pending = &s->e[2500].list;
	s->e[2500].word = (unsigned)s->tid;
}
static void exec_child(void)
{
	chain(2);
	s->e[1].word |= FUTEX_WAITERS;
	execl("/bin/true", "true", NULL);
}
static void *exec_main(void *arg)
{
	(void)arg;
	chain(1);
	s->e[1].word = (unsigned)getpid();
	s->e[0].list.next = &s->e[1].list;
	s->e[1].list.next = &s->head.list;
	execl("/bin/true", "true", NULL);
	return NULL;
}
static void exec_thread(void)
{
	pthread_t t;

	pthread_create(&t, NULL, exec_main, NULL);
	pause();
}
static void off_the_list(void)
{
	chain(2);
	syscall(SYS_set_robust_list, 0, 24);
}

#define C(what, n)                      \
	do {                            \
		printf(" %s\n", #what); \
		in_child(what, n);      \
	} while (0)

static void lists(void)
{
	C(simple, 5);
	C(killed, 2);
	C(pending_only, 1);
	C(pending_in_list, 3);
	C(pending_tagged, 3);
	C(pending_free, 2);
	C(unaligned, 3);
	C(unaligned_entry, 4);
	C(bad_next, 3);
	C(bad_first, 3);
	C(null_first, 3);
	C(bad_pending, 2);
	C(read_only_word, 3);
	C(head_gone, 2);
	C(circle, 6);
	C(exec_child, 2);
	C(exec_thread, 2);
	C(off_the_list, 2);
	C(too_long, 0);
	int n = 0, last = -1;
	for (int i = 0; i < WORDS; i++)
		if (s->e[i].word & FUTEX_OWNER_DIED)
			n++, last = i;
	printf("   %d died, the last is %d\n", n, last);
}

/* ---- who is woken --------------------------------------------------------------------------- */

static void do_shared_wait(struct thread *t)
{
	t->result = futex(t->a, FUTEX_WAIT, *t->a, t->timeout, NULL, 0);
}
static void do_shared_unlock(struct thread *t)
{
	t->result = futex(t->a, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0);
}
static void do_shared_lock(struct thread *t)
{
	t->result = futex(t->a, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
}

/* A child that dies when told to. */
static pid_t dying(void (*what)(void))
{
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		what();
		s->go = 1;
		while (s->go != 2)
			usleep(1000);
		_exit(0);
	}
	while (s->go != 1)
		usleep(1000);
	return pid;
}
static void die(pid_t pid)
{
	s->go = 2;
	waitpid(pid, NULL, 0);
}

static void contended(void)
{
	chain(4);
	s->e[0].word |= FUTEX_WAITERS;
	s->e[2].word |= FUTEX_WAITERS;
	s->e[1].list.next = tagged(&s->e[2].list);
}
static void contended_pending(void)
{
	chain(0);
	s->head.list_op_pending = &s->e[0].list;
}
static void contended_pending_died(void)
{
	chain(0);
	s->e[0].word = FUTEX_OWNER_DIED | FUTEX_WAITERS;
	s->head.list_op_pending = &s->e[0].list;
}
static void contended_pending_tagged(void)
{
	chain(0);
	s->head.list_op_pending = tagged(&s->e[0].list);
}

static void wakes(void)
{
	struct timespec t = {1, 500000000};
	pid_t pid;

	fresh();
	start(5);
	pid = dying(contended);
	for (int i = 0; i < 5; i++)
		th[i].timeout = &t;
	/* one with the mark of waiters, one without, one that is said to be a PI lock */
	begin(0, do_shared_wait, &s->e[0].word, NULL);
	begin(1, do_shared_wait, &s->e[1].word, NULL);
	begin(2, do_shared_wait, &s->e[2].word, NULL);
	begin(3, do_wait, &s->e[0].word, NULL); /* by its address in this process */
	die(pid);
	for (int i = 0; i < 3; i++)
		result(i);
	waits(3);
	words(4);
	R(futex(&s->e[0].word, FUTEX_WAKE | PRIVATE, 1, NULL, NULL, 0));
	result(3);
	void (*ways[])(void) = {contended_pending, contended_pending_died,
				contended_pending_tagged};
	for (int i = 0; i < 3; i++) {
		fresh();
		pid = dying(ways[i]);
		begin(0, do_shared_wait, &s->e[0].word, NULL);
		die(pid);
		result(0);
		words(1);
	}
}

static void pi_list(void)
{
	chain(0);
	for (int i = 0; i < 3; i++) {
		s->e[i].word = 0;
		futex(&s->e[i].word, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
	}
	s->head.list.next = tagged(&s->e[0].list);
	s->e[0].list.next = tagged(&s->e[1].list);
	s->e[1].list.next = &s->head.list; /* the third isn't in the list */
}

static void pi_deaths(void)
{
	fresh();
	start(4);
	pid_t pid = dying(pi_list);
	for (int i = 0; i < 3; i++)
		begin(i, do_shared_lock, &s->e[i].word, NULL);
	begin(3, do_shared_lock, &s->e[0].word, NULL);
	words(3);
	die(pid);
	for (int i = 0; i < 3; i++)
		result(i);
	words(3);
	waits(3);
	run(0, do_shared_unlock, &s->e[0].word, NULL);
	result(3);
	words(1);
}

static void pi_exec_deaths(void)
{
	fresh();
	start(3);
	pid_t pid = fork();
	if (!pid) {
		pi_list();
		s->go = 1;
		while (s->go != 2)
			usleep(1000);
		execl("/bin/sleep", "sleep", "3", NULL);
		_exit(1);
	}
	while (s->go != 1)
		usleep(1000);
	for (int i = 0; i < 3; i++)
		begin(i, do_shared_lock, &s->e[i].word, NULL);
	s->go = 2;
	for (int i = 0; i < 3; i++)
		result(i);
	words(3);
	printf("   %s\n", waitpid(pid, NULL, WNOHANG) ? "ended" : "runs");
}

/* clear_child_tid wakes who waits for the word as shared, not by its address. */
static pid_t child_tid = 5;
static void do_shared_wait_tid(struct thread *t)
{
	t->result = futex(&child_tid, FUTEX_WAIT, 5, t->timeout, NULL, 0);
}
static void do_private_wait_tid(struct thread *t)
{
	t->result = futex(&child_tid, FUTEX_WAIT | PRIVATE, 5, t->timeout, NULL, 0);
}
static void *tid_thread(void *arg)
{
	syscall(SYS_set_tid_address, &child_tid);
	while (!*(volatile int *)arg)
		usleep(1000);
	syscall(SYS_exit, 0);
	return NULL;
}
static void clear_tid(void)
{
	struct timespec t = {1, 500000000};
	int go = 0;
	pthread_t id;

	start(2);
	pthread_create(&id, NULL, tid_thread, &go);
	th[0].timeout = th[1].timeout = &t;
	begin(0, do_shared_wait_tid, NULL, NULL);
	begin(1, do_private_wait_tid, NULL, NULL);
	*(volatile int *)&go = 1;
	result(0);
	result(1);
	printf("   %d\n", child_tid);
}

int main(void)
{
	init();
	T(calls);
	T(lists);
	T(wakes);
	T(pi_deaths);
	T(pi_exec_deaths);
	T(clear_tid);
	return 0;
}
