/* SPDX-License-Identifier: MIT */
/*
 * Bringing the core up: the order of the rooms, and what they share from the
 * first moment (the configuration, per-CPU areas).
 */
#ifndef VM_BASE_INIT_H
#define VM_BASE_INIT_H

#include <quire/mm.h>
#include <quire/types.h>

/* The host's configuration, as given to quire_init(). */
extern struct quire_config core_config;

/*
 * A zeroed array with one element of `size` bytes, rounded up to a cache line
 * (see percpu_stride), for every CPU there will be.  Index it with percpu_at().
 * From init functions only; panics when there is no memory.
 */
void *percpu_alloc(size_t size);
u64 percpu_bytes(void); /* all that was allocated */
static inline size_t percpu_stride(size_t size)
{
	return quire_round_up(size, (size_t)64);
}
#define percpu_at(base, cpu) \
	((__typeof__(base))((char *)(base) + (cpu)*percpu_stride(sizeof(*(base)))))

/* vm/base */
void stat_init(void);
void rcu_init(void);
/* vm/phys: the array of struct page; later the free lists, then slab. */
void frames_init(void);
void slab_init(void);
/* The other rooms, in this order, with the allocators working. */
void cache_init(void);
void reclaim_init(void);
void fault_init(void);
void mm_init(void);

#endif
