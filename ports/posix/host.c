/* SPDX-License-Identifier: MIT */
/*
 * The host contract on POSIX threads.
 *
 * A thread in the core is a CPU with an index of its own for as long as it is
 * there, so keeping it on its CPU takes nothing but a count, which finds sleeps
 * with preemption off.  There are no interrupts.  A sleeping thread is an idle
 * CPU for RCU, as it would be after a context switch.
 *
 * Locking: cpu_lock guards who has which index.  Not here: the TLB (mmu.c).
 */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "port.h"

static struct {
	u64 max_pfn;
	unsigned cpus;
	bool nx, pkeys, deterministic;
	struct pfn kernel_root;
	u64 clock;     /* deterministic time; atomic */
	u64 random;    /* state of the generator; atomic */
	u64 oom_calls; /* atomic */
	enum quire_log_level level;
} machine = {.level = QUIRE_LOG_WARN};

static pthread_mutex_t cpu_lock = PTHREAD_MUTEX_INITIALIZER;
static bool cpu_taken[QUIRE_MAX_CPUS];

static __thread struct {
	bool inside;
	unsigned cpu;
	unsigned preempt;
	bool killed;
	struct quire_lockset locks;
} self;

/* ---- log, panic, memory --------------------------------------------------------------- */

void posix_set_log(enum quire_log_level level)
{
	machine.level = level;
}

void quire_host_log(enum quire_log_level level, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (level > machine.level)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "quire: %s\n", line);
}

void quire_host_panic(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "quire: panic on CPU %u: ", self.cpu);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	abort();
}

void *quire_host_alloc(size_t size, size_t align)
{
	void *p;

	if (posix_memalign(&p, quire_max(align, sizeof(void *)), size))
		return NULL;
	return memset(p, 0, size);
}

/* ---- CPU ---------------------------------------------------------------------------------- */

unsigned quire_host_cpu(void)
{
	return self.cpu;
}

void quire_host_preempt_disable(void)
{
	self.preempt++;
}

void quire_host_preempt_enable(void)
{
	if (!self.preempt)
		quire_host_panic("preemption enabled more often than disabled");
	self.preempt--;
}

unsigned long quire_host_irq_save(void)
{
	return 0;
}

void quire_host_irq_restore(unsigned long state)
{
	(void)state;
}

void quire_host_relax(void)
{
	sched_yield();
}

struct quire_lockset *quire_host_lockset(void)
{
	return &self.locks;
}

/* ---- threads ------------------------------------------------------------------------------ */

void quire_host_wait(const u32 *key, u32 expected)
{
	if (self.preempt)
		quire_host_panic("sleep with preemption off (%u deep)", self.preempt);
	quire_rcu_idle(true);
	syscall(SYS_futex, key, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
	quire_rcu_idle(false);
}

void quire_host_wake(const u32 *key, unsigned n)
{
	syscall(SYS_futex, key, FUTEX_WAKE_PRIVATE, n > INT32_MAX ? INT32_MAX : (int)n, NULL, NULL,
		0);
}

u64 quire_host_self(void)
{
	return self.cpu + 1;
}

u64 quire_host_time_ns(void)
{
	struct timespec ts;

	if (machine.deterministic)
		return __atomic_add_fetch(&machine.clock, 100, __ATOMIC_RELAXED);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;
}

/* A Weyl sequence through a mixing function: reproducible from the seed. */
static u64 next_random(void)
{
	u64 x = __atomic_add_fetch(&machine.random, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

void quire_host_random(void *buf, size_t n)
{
	char *out = buf;

	while (n) {
		u64 x = next_random();
		size_t k = quire_min(n, sizeof(x));

		memcpy(out, &x, k);
		out += k;
		n -= k;
	}
}

bool quire_host_killed(void)
{
	return self.killed;
}

void posix_set_killed(bool killed)
{
	self.killed = killed;
}

struct posix_limits posix_limits = {
    .as = ~0UL, .data = ~0UL, .data_hard = ~0UL, .stack = 8UL << 20, .memlock = ~0UL};

u64 quire_host_limit(enum quire_limit which)
{
	switch (which) {
	case QUIRE_LIMIT_AS:
		return posix_limits.as;
	case QUIRE_LIMIT_DATA:
		return posix_limits.data;
	case QUIRE_LIMIT_DATA_HARD:
		return posix_limits.data_hard;
	case QUIRE_LIMIT_STACK:
		return posix_limits.stack;
	case QUIRE_LIMIT_MEMLOCK:
		return posix_limits.memlock;
	}
	return ~0UL;
}

bool quire_host_may(enum quire_right right)
{
	switch (right) {
	case QUIRE_MAY_LOCK:
		return posix_limits.may_lock;
	case QUIRE_MAY_MAP_LOW:
		return posix_limits.may_map_low;
	case QUIRE_MAY_ADMIN:
		return posix_limits.may_admin;
	case QUIRE_MAY_RUN_DATA:
		return posix_limits.may_run_data;
	}
	return false;
}

/* There are no tasks to kill here: the allocation fails. */
bool quire_host_oom(struct quire_mm *mm, unsigned order)
{
	(void)mm, (void)order;
	__atomic_add_fetch(&machine.oom_calls, 1, __ATOMIC_RELAXED);
	return false;
}

u64 posix_oom_calls(void)
{
	return __atomic_load_n(&machine.oom_calls, __ATOMIC_RELAXED);
}

void posix_thread_enter(void)
{
	unsigned i;

	if (self.inside)
		quire_host_panic("the thread is a CPU already");
	pthread_mutex_lock(&cpu_lock);
	for (i = 0; i < machine.cpus && cpu_taken[i]; i++)
		;
	if (i == machine.cpus)
		quire_host_panic("more threads than the %u CPUs", machine.cpus);
	cpu_taken[i] = true;
	pthread_mutex_unlock(&cpu_lock);
	self.inside = true;
	self.cpu = i;
	port_tlb_enter(i);
	quire_rcu_idle(false);
}

void posix_thread_leave(void)
{
	if (!self.inside || self.preempt || self.locks.n)
		quire_host_panic("the thread can't leave: %u locks held", self.locks.n);
	quire_rcu_idle(true);
	/* What this CPU keeps for itself.  Going idle may have been what callbacks waited
	 * for, this CPU's or others', and what they freed is here: so only now. */
	quire_kmem_shrink();
	port_tlb_leave(self.cpu);
	self.inside = false;
	pthread_mutex_lock(&cpu_lock);
	cpu_taken[self.cpu] = false;
	pthread_mutex_unlock(&cpu_lock);
}

void posix_quiescent(void)
{
	quire_rcu_quiescent();
}

struct job {
	void (*fn)(void *arg, unsigned i);
	void *arg;
	unsigned i;
};

static void *run_job(void *p)
{
	struct job *j = p;

	posix_thread_enter();
	j->fn(j->arg, j->i);
	posix_thread_leave();
	return NULL;
}

void posix_parallel(unsigned n, void (*fn)(void *arg, unsigned i), void *arg)
{
	struct job job[QUIRE_MAX_CPUS];
	pthread_t thread[QUIRE_MAX_CPUS];

	quire_rcu_idle(true);
	for (unsigned i = 0; i < n; i++) {
		job[i] = (struct job){fn, arg, i};
		if (pthread_create(&thread[i], NULL, run_job, &job[i]))
			quire_host_panic("no thread");
	}
	for (unsigned i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	quire_rcu_idle(false);
}

/* ---- boot ----------------------------------------------------------------------------- */

struct pfn posix_kernel_root(void)
{
	return machine.kernel_root;
}

u64 posix_max_pfn(void)
{
	return machine.max_pfn;
}

bool posix_nx(void)
{
	return machine.nx;
}

bool posix_pkeys(void)
{
	return machine.pkeys;
}

/* The lowest megabyte is not the allocator's, as on a PC; the kernel's root is in it. */
void posix_boot(const struct posix_config *c)
{
	u64 ram = c && c->ram ? c->ram : 64u << 20;
	struct quire_range free = {1u << 20, ram};
	struct quire_config q = {.nr_free = 1, .free = &free, .kernel_root = {1}};
	void *base = mmap(NULL, ram, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		quire_host_panic("no memory for the machine");
	machine.max_pfn = ram >> QUIRE_PAGE_SHIFT;
	machine.cpus = c && c->cpus ? c->cpus : 4;
	machine.nx = !(c && c->no_nx);
	machine.pkeys = c && c->pkeys;
	machine.deterministic = c && c->deterministic;
	machine.random = c ? c->seed : 0;
	machine.kernel_root = q.kernel_root;
	q.frame_base = base;
	q.max_pfn = machine.max_pfn;
	q.cpus = machine.cpus;
	q.nx = machine.nx;
	q.pkeys = machine.pkeys ? &port_pkey_ops : NULL;
	self.inside = true;
	cpu_taken[0] = true;
	port_tlb_enter(0);
	quire_init(&q);
	/* The CPUs that no thread has taken hold no references. */
	for (unsigned i = 1; i < machine.cpus; i++) {
		self.cpu = i;
		quire_rcu_idle(true);
	}
	self.cpu = 0;
	quire_rcu_idle(false);
}

u64 posix_settled_free(void)
{
	u64 free;

	quire_rcu_barrier();
	do {
		free = quire_free_pages();
		quire_kmem_shrink();
		quire_rcu_barrier();
	} while (quire_free_pages() != free);
	return free;
}
