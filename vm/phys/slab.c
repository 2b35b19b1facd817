/* SPDX-License-Identifier: MIT */
/*
 * Slab: objects of one size, cut out of blocks of 1 to 8 frames, and on top of it
 * kmalloc by size classes.  (J. Bonwick, "The Slab Allocator", 1994, with the
 * per-CPU magazines of his and J. Adams' 2001 paper, one layer deep.)
 *
 * A slab is a block whose struct page has PG_SLAB, owner = its cache, slab_used
 * objects given out (or in magazines), slab_free objects never given out yet, at
 * its end, and `index` = the first of those that came back, chained by their
 * first word.
 *
 * Locking: a magazine is its CPU's own, with interrupts off; cache->lock
 * (RANK_SLAB, interrupts off) guards its slabs and their free objects.  So
 * allocating with GFP_ATOMIC, and freeing, work in any context.  Other allocations pass
 * a quiescent state of RCU, and run callbacks that are due, before they take new frames.
 *
 * Under AddressSanitizer free objects are poisoned.  Not here: constructors,
 * colouring.
 */
#include <quire/assert.h>
#include <quire/string.h>

#include "../base/init.h"
#include "phys.h"

#define MAX_CACHES 96
#define MAG_MAX 14

struct magazine { /* 128 bytes */
	u32 n;
	u32 cap;
	u64 taken, given; /* objects this CPU gave out, took back */
	void *obj[MAG_MAX - 1];
};

struct quire_kmem {
	const char *name;
	u32 size;  /* of an object, its alignment included */
	u32 order; /* of a slab */
	u32 total; /* objects in a slab */
	u32 empty; /* slabs on `partial` with no object in use; guarded by lock */
	struct magazine *mags;
	struct spinlock lock;
	struct list partial; /* slabs with a free object; guarded by lock */
	u64 slabs;           /* guarded by lock */
};

static struct quire_kmem caches[MAX_CACHES];
static u32 nr_caches;
static struct spinlock caches_lock = SPINLOCK_INIT(RANK_SLAB);
static char *carve_at; /* guarded by caches_lock: memory for magazines */
static size_t carve_left;
static s64 nr_slab_pages, nr_large_pages; /* atomic */

static const u16 class_size[] = {16,  32,  48,  64,  96,   128,  192,
				 256, 384, 512, 768, 1024, 1536, 2048};
#define CLASSES quire_array_size(class_size)
#define CLASS_MAX 2048
static struct quire_kmem *class_cache[CLASSES];
static u8 class_of[CLASS_MAX / 16 + 1]; /* by (size + 15) / 16 */

/* ---- caches ---------------------------------------------------------------------------- */

/* Memory for magazines: they live for good, so frames are simply used up. */
static void *carve(size_t size)
{
	if (carve_left < size) {
		unsigned order = 0;
		while (QUIRE_PAGE_SIZE << order < size)
			order++;
		struct page *p = quire_page_alloc(order, GFP_ATOMIC | GFP_ZERO);
		if (!p)
			quire_host_panic("no memory for a slab cache");
		__atomic_add_fetch(&nr_slab_pages, 1L << order, __ATOMIC_RELAXED);
		carve_at = page_view(p);
		carve_left = QUIRE_PAGE_SIZE << order;
	}
	void *p = carve_at;
	carve_at += size;
	carve_left -= size;
	return p;
}

static unsigned slab_order(u32 size)
{
	unsigned order = 0;
	for (; order < 3; order++) {
		u64 bytes = QUIRE_PAGE_SIZE << order;
		if (bytes / size >= 4 && bytes % size <= bytes / 8)
			break;
	}
	return order;
}

struct quire_kmem *quire_kmem_create(const char *name, size_t size, size_t align)
{
	if (align < 8)
		align = 8;
	REQUIRE((align & (align - 1)) == 0 && align <= QUIRE_PAGE_SIZE);
	size = quire_round_up(quire_max(size, (size_t)8), align);
	REQUIRE(size <= QUIRE_PAGE_SIZE << 3);
	unsigned long irq = spin_lock_irq(&caches_lock);
	if (nr_caches == MAX_CACHES)
		quire_host_panic("too many slab caches: %s", name);
	struct quire_kmem *c = &caches[nr_caches];
	c->name = name;
	c->size = (u32)size;
	c->order = slab_order(c->size);
	c->total = (u32)((QUIRE_PAGE_SIZE << c->order) / size);
	c->empty = 0;
	c->slabs = 0;
	spin_init(&c->lock, RANK_SLAB);
	list_init(&c->partial);
	c->mags = carve(core_config.cpus * percpu_stride(sizeof(struct magazine)));
	for (unsigned cpu = 0; cpu < core_config.cpus; cpu++)
		percpu_at(c->mags, cpu)->cap = size <= 512 ? MAG_MAX - 1 : size <= 2048 ? 6 : 2;
	__atomic_store_n(&nr_caches, nr_caches + 1, __ATOMIC_RELEASE);
	spin_unlock_irq(&caches_lock, irq);
	return c;
}

/* ---- slabs: the cache's lock held -------------------------------------------------------- */

static void *slab_take(struct quire_kmem *c, struct page *s)
{
	void *obj;
	if (s->slab_used == 0)
		c->empty--;
	s->slab_used++;
	if (s->index) {
		obj = (void *)s->index;
		mem_unpoison(obj, sizeof(u64));
		s->index = *(u64 *)obj;
		mem_poison(obj, sizeof(u64));
	} else {
		obj = (char *)page_view(s) + (u64)(c->total - s->slab_free) * c->size;
		s->slab_free--;
	}
	if (!s->index && !s->slab_free)
		list_del(&s->lru);
	return obj;
}

static void slab_release(struct quire_kmem *c, struct page *s)
{
	list_del(&s->lru);
	c->empty--;
	c->slabs--;
	__atomic_sub_fetch(&nr_slab_pages, 1L << c->order, __ATOMIC_RELAXED);
	mem_unpoison(page_view(s), QUIRE_PAGE_SIZE << c->order);
	s->owner = NULL;
	s->index = s->private = 0;
	page_clear(s, PG_SLAB);
	quire_page_put(s);
}

static struct page *slab_of(const void *obj)
{
	struct page *p = view_page(obj);
	if (quire_unlikely(p->head & 1))
		p = (struct page *)(p->head & ~1UL);
	return p;
}

static void slab_give(struct quire_kmem *c, void *obj)
{
	struct page *s = slab_of(obj);
	if (!s->index && !s->slab_free)
		list_add(&c->partial, &s->lru);
	mem_unpoison(obj, sizeof(u64));
	*(u64 *)obj = s->index;
	mem_poison(obj, sizeof(u64));
	s->index = (u64)obj;
	if (--s->slab_used > 0)
		return;
	/* One empty slab stays, at the end, so that the next need isn't dear. */
	c->empty++;
	if (c->empty > 1) {
		slab_release(c, s);
	} else {
		list_del(&s->lru);
		list_add_tail(&c->partial, &s->lru);
	}
}

/* ---- objects -------------------------------------------------------------------------------- */

/* The magazine of this CPU is empty: take an object, and half a magazine more. */
static void *take_from_slabs(struct quire_kmem *c)
{
	void *obj = NULL;
	unsigned long irq = spin_lock_irq(&c->lock);
	struct magazine *m = percpu_at(c->mags, quire_host_cpu());
	if (!list_empty(&c->partial)) {
		obj = slab_take(c, list_first(&c->partial, struct page, lru));
		m->taken++;
	}
	while (obj && m->n < (m->cap + 1) / 2 && !list_empty(&c->partial))
		m->obj[m->n++] = slab_take(c, list_first(&c->partial, struct page, lru));
	spin_unlock_irq(&c->lock, irq);
	return obj;
}

static inline void *take_from_magazine(struct quire_kmem *c)
{
	void *obj = NULL;
	unsigned long irq = quire_host_irq_save();
	struct magazine *m = percpu_at(c->mags, quire_host_cpu());
	if (quire_likely(m->n)) {
		obj = m->obj[--m->n];
		m->taken++;
	}
	quire_host_irq_restore(irq);
	return obj;
}

/* All slabs are used up.  What was freed and waits for a grace period may be as much as all
 * that is in use: without this, who makes and frees things and never pauses would fill the
 * memory with them.  Whoever may sleep is in no read section. */
static void *take_from_callbacks(struct quire_kmem *c)
{
	quire_rcu_quiescent();
	void *obj = take_from_magazine(c);
	return obj ? obj : take_from_slabs(c);
}

static __attribute__((noinline)) void *alloc_slow(struct quire_kmem *c, unsigned gfp)
{
	void *obj = take_from_slabs(c);
	if (!obj && !(gfp & GFP_ATOMIC))
		obj = take_from_callbacks(c);
	for (; !obj; obj = take_from_slabs(c)) {
		struct page *s = quire_page_alloc(c->order, gfp & ~(unsigned)GFP_ZERO);
		if (!s)
			return NULL;
		s->owner = c;
		s->index = 0;
		s->slab_used = 0;
		s->slab_free = (u16)c->total;
		s->slab_total = c->total;
		page_set(s, PG_SLAB);
		mem_poison(page_view(s), QUIRE_PAGE_SIZE << c->order);
		__atomic_add_fetch(&nr_slab_pages, 1L << c->order, __ATOMIC_RELAXED);
		unsigned long irq = spin_lock_irq(&c->lock);
		list_add(&c->partial, &s->lru);
		c->empty++;
		c->slabs++;
		spin_unlock_irq(&c->lock, irq);
	}
	return obj;
}

void *quire_kmem_alloc(struct quire_kmem *c, unsigned gfp)
{
	if (!(gfp & GFP_ATOMIC))
		quire_lock_check_may_sleep();
	if (fail_point())
		return NULL;
	void *obj = take_from_magazine(c);
	if (quire_unlikely(!obj)) {
		obj = alloc_slow(c, gfp);
		if (!obj)
			return NULL;
	}
	mem_unpoison(obj, c->size);
	if (gfp & GFP_ZERO)
		memset(obj, 0, c->size);
	return obj;
}

static __attribute__((noinline)) void flush_half(struct quire_kmem *c, struct magazine *m)
{
	u32 n = (m->n + 1) / 2;
	spin_lock(&c->lock);
	for (u32 i = 0; i < n; i++)
		slab_give(c, m->obj[i]);
	spin_unlock(&c->lock);
	m->n -= n;
	for (u32 i = 0; i < m->n; i++)
		m->obj[i] = m->obj[i + n];
}

static void free_to(struct quire_kmem *c, void *obj)
{
	mem_poison(obj, c->size);
	unsigned long irq = quire_host_irq_save();
	struct magazine *m = percpu_at(c->mags, quire_host_cpu());
#ifdef QUIRE_DEBUG
	for (u32 i = 0; i < m->n; i++)
		if (m->obj[i] == obj)
			quire_host_panic("%s: object %p is freed twice", c->name, obj);
#endif
	if (quire_unlikely(m->n == m->cap))
		flush_half(c, m);
	m->obj[m->n++] = obj;
	m->given++;
	quire_host_irq_restore(irq);
}

void quire_kmem_free(struct quire_kmem *c, void *obj)
{
	struct page *s = slab_of(obj);
	if (quire_unlikely(s->owner != c || !page_test(s, PG_SLAB)))
		quire_host_panic("%p is freed to cache %s, but isn't of it", obj, c->name);
	ASSERT(((char *)obj - (char *)page_view(s)) % c->size == 0);
	free_to(c, obj);
}

/* ---- kmalloc --------------------------------------------------------------------------------- */

/* Owner of blocks that kmalloc took as a whole, so that a wrong kfree() is seen. */
static char large_owner;

void *quire_kmalloc(size_t size, unsigned gfp)
{
	if (quire_likely(size <= CLASS_MAX))
		return quire_kmem_alloc(class_cache[class_of[(size + 15) / 16]], gfp);
	if (size > QUIRE_PAGE_SIZE << MAX_ORDER)
		return NULL;
	unsigned order = 0;
	while (QUIRE_PAGE_SIZE << order < size)
		order++;
	struct page *p = quire_page_alloc(order, gfp);
	if (!p)
		return NULL;
	p->owner = &large_owner;
	__atomic_add_fetch(&nr_large_pages, 1L << order, __ATOMIC_RELAXED);
	return page_view(p);
}

static unsigned block_order(const struct page *p)
{
	return page_test(p, PG_HEAD) ? p->block.order : 0;
}

size_t quire_ksize(const void *p)
{
	const struct page *s = slab_of(p);
	if (page_test(s, PG_SLAB))
		return ((const struct quire_kmem *)s->owner)->size;
	return QUIRE_PAGE_SIZE << block_order(s);
}

void quire_kfree(void *p)
{
	if (!p)
		return;
	struct page *s = slab_of(p);
	if (quire_likely(page_test(s, PG_SLAB))) {
		free_to(s->owner, p);
		return;
	}
	if (quire_unlikely(s->owner != &large_owner || page_view(s) != p))
		quire_host_panic("kfree of %p, which kmalloc didn't give out", p);
	s->owner = NULL;
	__atomic_sub_fetch(&nr_large_pages, 1L << block_order(s), __ATOMIC_RELAXED);
	quire_page_put(s);
}

void *quire_krealloc(void *p, size_t size, unsigned gfp)
{
	if (!p)
		return quire_kmalloc(size, gfp);
	size_t old = quire_ksize(p);
	if (size <= old && (size > old / 4 || old <= 64))
		return p;
	void *new = quire_kmalloc(size, gfp & ~(unsigned)GFP_ZERO);
	if (!new)
		return size <= old ? p : NULL;
	memcpy(new, p, quire_min(old, size));
	if ((gfp & GFP_ZERO) && quire_ksize(new) > old)
		memset((char *)new + old, 0, quire_ksize(new) - old);
	quire_kfree(p);
	return new;
}

/* ---- all caches ---------------------------------------------------------------------------------
 */

u64 quire_kmem_shrink(void)
{
	u64 freed = 0;
	u32 n = __atomic_load_n(&nr_caches, __ATOMIC_ACQUIRE);
	for (u32 i = 0; i < n; i++) {
		struct quire_kmem *c = &caches[i];
		unsigned long irq = quire_host_irq_save();
		struct magazine *m = percpu_at(c->mags, quire_host_cpu());
		spin_lock(&c->lock);
		while (m->n)
			slab_give(c, m->obj[--m->n]);
		while (c->empty) { /* empty ones are at the end */
			slab_release(c, list_last(&c->partial, struct page, lru));
			freed += 1UL << c->order;
		}
		spin_unlock(&c->lock);
		quire_host_irq_restore(irq);
	}
	return freed;
}

static u64 objects_in_use(const struct quire_kmem *c)
{
	u64 used = 0;
	for (unsigned cpu = 0; cpu < core_config.cpus; cpu++) {
		const struct magazine *m = percpu_at(c->mags, cpu);
		used += __atomic_load_n(&m->taken, __ATOMIC_RELAXED) -
			__atomic_load_n(&m->given, __ATOMIC_RELAXED);
	}
	return used;
}

u64 kmem_objects_in_use(void)
{
	u64 sum = 0;
	for (u32 i = 0; i < __atomic_load_n(&nr_caches, __ATOMIC_ACQUIRE); i++)
		sum += objects_in_use(&caches[i]);
	return sum;
}

void quire_kmem_each(void (*fn)(const struct quire_kmem_use *u, void *arg), void *arg)
{
	for (u32 i = 0; i < __atomic_load_n(&nr_caches, __ATOMIC_ACQUIRE); i++) {
		const struct quire_kmem *c = &caches[i];
		u64 slabs = __atomic_load_n(&c->slabs, __ATOMIC_RELAXED);
		struct quire_kmem_use u = {
		    .name = c->name,
		    .size = c->size,
		    .used = objects_in_use(c),
		    .slabs = slabs,
		    .per_slab = c->total,
		    .slab_pages = 1u << c->order,
		};
		fn(&u, arg);
	}
}

u64 slab_pages(void)
{
	return (u64)__atomic_load_n(&nr_slab_pages, __ATOMIC_RELAXED);
}

u64 kmalloc_large_pages(void)
{
	return (u64)__atomic_load_n(&nr_large_pages, __ATOMIC_RELAXED);
}

void slab_init(void)
{
	static const char *const names[CLASSES] = {
	    "kmalloc-16",  "kmalloc-32",  "kmalloc-48",   "kmalloc-64",  "kmalloc-96",
	    "kmalloc-128", "kmalloc-192", "kmalloc-256",  "kmalloc-384", "kmalloc-512",
	    "kmalloc-768", "kmalloc-1k",  "kmalloc-1536", "kmalloc-2k",
	};
	nr_caches = 0;
	carve_left = 0;
	nr_slab_pages = nr_large_pages = 0;
	unsigned from = 0;
	for (unsigned i = 0; i < CLASSES; i++) {
		/* A power of two is aligned to itself, as far as a cache line needs it. */
		u16 size = class_size[i];
		class_cache[i] = quire_kmem_create(names[i], size, size & 63 ? 16 : 64);
		for (; from <= size / 16; from++)
			class_of[from] = (u8)i;
	}
}
