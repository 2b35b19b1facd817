/* SPDX-License-Identifier: MIT */
/* vm/base: lists, locks and their ranks, RCU, event counters. */
#include "unit.h"

#include <quire/list.h>
#include <quire/lock.h>

static void lists(void **state)
{
	struct list head = LIST_INIT(head), other = LIST_INIT(other), n[4], *p;
	unsigned i = 0;

	(void)state;
	assert_true(list_empty(&head));
	list_add_tail(&head, &n[1]);
	list_add(&head, &n[0]);
	list_add_tail(&other, &n[2]);
	list_add_tail(&other, &n[3]);
	list_splice_tail(&head, &other);
	assert_true(list_empty(&other));
	for (p = head.next; p != &head; p = p->next)
		assert_ptr_equal(p, &n[i++]);
	assert_int_equal(i, 4);
	list_del(&n[2]);
	list_del(&n[2]);
	assert_ptr_equal(n[1].next, &n[3]);
	assert_ptr_equal(n[3].prev, &n[1]);
}

static void ranks_rise(void **state)
{
	struct spinlock pt = SPINLOCK_INIT(RANK_PT), zone = SPINLOCK_INIT(RANK_ZONE);
	struct mutex m = MUTEX_INIT(RANK_HOST_OUTER);
	struct rwsem s = RWSEM_INIT(RANK_MMAP);

	(void)state;
	mutex_lock(&m);
	read_lock(&s);
	spin_lock(&pt);
	spin_lock(&zone);
	spin_unlock(&pt); /* any order of release */
	spin_unlock(&zone);
	read_unlock(&s);
	assert_false(mutex_trylock(&m));
	mutex_unlock(&m);
	write_lock(&s);
	assert_false(read_trylock(&s));
	write_downgrade(&s);
	assert_true(read_trylock(&s));
	read_unlock(&s);
	read_unlock(&s);
	assert_int_equal(s.word, 0);
}

static void falls(void *arg)
{
	struct spinlock pt = SPINLOCK_INIT(RANK_PT), zone = SPINLOCK_INIT(RANK_ZONE);

	(void)arg;
	spin_lock(&zone);
	spin_lock(&pt);
}

static void twice(void *arg)
{
	struct spinlock a = SPINLOCK_INIT(RANK_PT), b = SPINLOCK_INIT(RANK_PT);

	(void)arg;
	spin_lock(&a);
	spin_lock(&b);
}

static void sleeps(void *arg)
{
	struct spinlock a = SPINLOCK_INIT(RANK_PT);
	struct mutex m = MUTEX_INIT(RANK_HOST_OUTER);

	(void)arg;
	spin_lock(&a);
	mutex_lock(&m);
}

static void may_sleep(void *arg)
{
	struct spinlock a = SPINLOCK_INIT(RANK_PT);

	(void)arg;
	spin_lock(&a);
	quire_lock_check_may_sleep();
}

static void not_held(void *arg)
{
	struct spinlock a = SPINLOCK_INIT(RANK_PT);

	(void)arg;
	spin_unlock(&a);
}

static void rank_errors_panic(void **state)
{
	(void)state;
	unit_panics(falls, NULL, "rank");
	unit_panics(twice, NULL, "rank");
	unit_panics(sleeps, NULL, "");
	unit_panics(may_sleep, NULL, "");
	unit_panics(not_held, NULL, "");
}

static void nested_is_allowed(void **state)
{
	struct spinlock a = SPINLOCK_INIT(RANK_PT), b = SPINLOCK_INIT(RANK_PT);

	(void)state;
	spin_lock(&a);
	spin_lock_nested(&b);
	assert_false(spin_trylock(&b));
	spin_unlock(&b);
	assert_true(spin_trylock(&b));
	spin_unlock(&b);
	spin_unlock(&a);
}

/* ---- several threads ------------------------------------------------------------------ */

struct shared {
	struct mutex mutex;
	struct rwsem sem;
	struct spinlock spin;
	u64 by_mutex, by_spin, by_sem, torn;
};

static void contend(void *arg, unsigned i)
{
	struct shared *s = arg;

	for (unsigned n = 0; n < 3000; n++) {
		mutex_lock(&s->mutex);
		s->by_mutex++;
		mutex_unlock(&s->mutex);
		if ((n + i) % 4 == 0) {
			write_lock(&s->sem);
			s->by_sem++;
			s->torn++;
			write_unlock(&s->sem);
		} else {
			read_lock(&s->sem);
			if (s->torn != s->by_sem)
				abort();
			read_unlock(&s->sem);
		}
		spin_lock(&s->spin);
		s->by_spin++;
		spin_unlock(&s->spin);
		if (n % 64 == 0)
			posix_quiescent();
	}
}

static void locks_exclude(void **state)
{
	struct shared s = {
	    MUTEX_INIT(RANK_HOST_OUTER), RWSEM_INIT(RANK_MMAP), SPINLOCK_INIT(RANK_PT), 0, 0, 0, 0};

	(void)state;
	posix_parallel(3, contend, &s);
	assert_int_equal(s.by_mutex, 9000);
	assert_int_equal(s.by_spin, 9000);
	assert_int_equal(s.by_sem, 3 * 750);
	assert_int_equal(s.sem.word, 0);
	assert_int_equal(s.mutex.word, 0);
}

static u64 called;

struct counted {
	struct quire_rcu rcu;
};

static void count_call(struct quire_rcu *r)
{
	(void)r;
	__atomic_add_fetch(&called, 1, __ATOMIC_RELAXED);
}

static void rcu_waits_for_readers(void **state)
{
	struct counted c[3];

	(void)state;
	called = 0;
	quire_rcu_read_lock();
	for (unsigned i = 0; i < 3; i++)
		quire_rcu_call(&c[i].rcu, count_call);
	assert_int_equal(called, 0);
	quire_rcu_read_unlock();
	quire_rcu_barrier();
	assert_int_equal(called, 3);
}

struct cell {
	struct quire_rcu rcu;
	u64 a, b;
};

static struct quire_kmem *cells;
static struct cell *current_cell;

static void free_cell(struct quire_rcu *r)
{
	struct cell *c = quire_container_of(r, struct cell, rcu);

	c->a = 1;
	c->b = 2;
	quire_kmem_free(cells, c);
}

static void swap_cells(void *arg, unsigned i)
{
	(void)arg;
	for (unsigned n = 0; n < 2000; n++) {
		if (i == 0) {
			struct cell *c = quire_kmem_alloc(cells, GFP_KERNEL), *old;

			c->a = c->b = n;
			old = __atomic_exchange_n(&current_cell, c, __ATOMIC_ACQ_REL);
			if (old)
				quire_rcu_call(&old->rcu, free_cell);
		} else {
			struct cell *c;

			quire_rcu_read_lock();
			c = __atomic_load_n(&current_cell, __ATOMIC_ACQUIRE);
			if (c && c->a != c->b)
				abort();
			quire_rcu_read_unlock();
		}
		posix_quiescent();
	}
}

static void rcu_protects_readers(void **state)
{
	(void)state;
	if (!cells)
		cells = quire_kmem_create("cells", sizeof(struct cell), 0);
	posix_parallel(3, swap_cells, NULL);
	quire_rcu_call(&current_cell->rcu, free_cell);
	current_cell = NULL;
	quire_rcu_barrier();
}

/* Who takes and frees, and never says that it is quiescent, gets back what it freed. */
static void rcu_frees_come_back(void **state)
{
	u64 before, least = ~0UL;

	(void)state;
	quire_rcu_barrier();
	before = quire_free_pages();
	for (unsigned n = 0; n < 50000; n++) {
		struct cell *c = quire_kmem_alloc(cells, GFP_KERNEL);

		assert_non_null(c);
		quire_rcu_call(&c->rcu, free_cell);
		least = quire_min(least, quire_free_pages());
	}
	assert_in_range(before - least, 0, 64);
	quire_rcu_barrier();
}

static void barrier_in_threads(void *arg, unsigned i)
{
	struct counted c[8];

	(void)arg, (void)i;
	for (unsigned n = 0; n < 8; n++) {
		quire_rcu_call(&c[n].rcu, count_call);
		quire_rcu_barrier();
	}
}

static void barriers_together(void **state)
{
	(void)state;
	called = 0;
	posix_parallel(3, barrier_in_threads, NULL);
	assert_int_equal(called, 24);
}

static void events_add_up(void **state)
{
	u64 before = quire_event_total(QUIRE_EV_OOM_KILL);

	(void)state;
	quire_count(QUIRE_EV_OOM_KILL, 2);
	quire_count(QUIRE_EV_OOM_KILL, 3);
	assert_int_equal(quire_event_total(QUIRE_EV_OOM_KILL), before + 5);
	assert_string_equal(quire_event_name[QUIRE_EV_PGFAULT], "pgfault");
	assert_string_equal(quire_event_name[QUIRE_EV_TLB_SHOOTDOWN], "nr_tlb_remote_flush");
}

static const struct CMUnitTest tests[] = {
    UNIT_TEST(lists),
    UNIT_TEST(ranks_rise),
    UNIT_TEST(rank_errors_panic),
    UNIT_TEST(nested_is_allowed),
    UNIT_TEST(locks_exclude),
    UNIT_TEST(rcu_waits_for_readers),
    UNIT_TEST(rcu_protects_readers),
    UNIT_TEST(rcu_frees_come_back),
    UNIT_TEST(barriers_together),
    UNIT_TEST(events_add_up),
};
UNIT_MAIN(tests)
