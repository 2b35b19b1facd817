/* SPDX-License-Identifier: MIT */
/*
 * The smallest host of the core: rung 0 of the host contract (docs/porting.md), and
 * of the others as much as one thread on one CPU needs, which is next to nothing.
 *
 * It stands for a kernel: "physical memory" is one block of the process, a program's
 * loads and stores are user_copy(), which walks the page tables as the MMU would,
 * and calls quire_fault() where a CPU would raise its page fault.  No TLB, no flush.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <quire/fault.h>
#include <quire/mm.h>
#include <quire/page.h>

#define RAM (16UL << 20)
#define PAGES 8UL

/* ---- rung 0 --------------------------------------------------------------------------- */

void quire_host_log(enum quire_log_level level, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (level <= QUIRE_LOG_WARN && vfprintf(stderr, fmt, ap) >= 0)
		fputc('\n', stderr);
	va_end(ap);
}

_Noreturn void quire_host_panic(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

void *quire_host_alloc(size_t size, size_t align)
{
	void *p = aligned_alloc(align, quire_round_up(size, align));
	return p ? memset(p, 0, size) : NULL;
}

void quire_host_tlb_flush(struct quire_mm *mm, u64 start, u64 end, bool tables)
{
	(void)mm, (void)start, (void)end, (void)tables;
}

unsigned quire_host_cpu(void)
{
	return 0;
}
void quire_host_preempt_disable(void)
{
}
void quire_host_preempt_enable(void)
{
}
void quire_host_relax(void)
{
}
unsigned long quire_host_irq_save(void)
{
	return 0;
}
void quire_host_irq_restore(unsigned long state)
{
	(void)state;
}

/* ---- of rungs 1, 2 and 6: one thread ----------------------------------------------------- */

void quire_host_wait(const u32 *key, u32 expected)
{
	if (__atomic_load_n(key, __ATOMIC_ACQUIRE) == expected)
		quire_host_panic("the only thread waits for another");
}
void quire_host_wake(const u32 *key, unsigned n)
{
	(void)key, (void)n;
}
u64 quire_host_self(void)
{
	return 1;
}
u64 quire_host_time_ns(void)
{
	static u64 ticks;
	return ++ticks;
}
bool quire_host_killed(void)
{
	return false;
}
u64 quire_host_limit(enum quire_limit which)
{
	return which == QUIRE_LIMIT_STACK ? 8UL << 20 : ~0UL;
}
bool quire_host_may(enum quire_right right)
{
	return right != QUIRE_MAY_RUN_DATA;
}
bool quire_host_oom(struct quire_mm *mm, unsigned order)
{
	(void)mm, (void)order;
	return false;
}

/* ---- the machine: memory, and a CPU's view of it through the page tables ----------------- */

#define PTE_P (1UL << 0)
#define PTE_W (1UL << 1)
#define PTE_FRAME 0x000ffffffffff000UL

/* The frame's bytes for address, or null and the error code of the page fault. */
static char *translate(struct quire_mm *mm, u64 address, unsigned access, unsigned *error)
{
	u64 frame = quire_mm_root(mm).n, writable = PTE_W;

	*error = access;
	for (int shift = 39; shift >= 12; shift -= 9) {
		u64 entry = ((u64 *)pfn_view((struct pfn){frame}))[address >> shift & 511];
		if (!(entry & PTE_P))
			return NULL;
		writable &= entry;
		frame = (entry & PTE_FRAME) >> QUIRE_PAGE_SHIFT;
	}
	if ((access & QUIRE_WRITE) && !writable) {
		*error |= QUIRE_PRESENT;
		return NULL;
	}
	return (char *)pfn_view((struct pfn){frame}) + (address & ~QUIRE_PAGE_MASK);
}

/* A program's access to up to the end of a page: QUIRE_DONE_MINOR, or what a kernel would
 * make a signal of. */
static enum quire_outcome user_copy(struct quire_mm *mm, u64 address, void *buf, size_t n,
				    bool write)
{
	struct quire_fault_record rec;
	unsigned access = QUIRE_USER | (write ? QUIRE_WRITE : QUIRE_READ), error;
	char *at;

	while (!(at = translate(mm, address, access, &error))) {
		enum quire_outcome o = quire_fault(mm, address, error, 0, &rec);

		printf("  fault at %#lx: %s, %s\n", rec.address, quire_cause_name[rec.cause],
		       quire_outcome_name[o]);
		if (o > QUIRE_RETRY)
			return o;
	}
	memcpy(write ? at : buf, write ? buf : at, n);
	return QUIRE_DONE_MINOR;
}

/* ---- what it shows ---------------------------------------------------------------------- */

static void check(bool good, const char *what)
{
	printf("%s: %s\n", good ? "good" : "WRONG", what);
	if (!good)
		exit(printf("tiny-host: 0 passed, 1 failed\n"));
}

static void boot(void)
{
	/* The lowest megabyte is the machine's own. */
	struct quire_range ram = {1UL << 20, RAM};
	struct quire_config c = {.max_pfn = RAM >> QUIRE_PAGE_SHIFT,
				 .free = &ram,
				 .nr_free = 1,
				 .cpus = 1,
				 .nx = true,
				 .kernel_root = NO_PFN};

	c.frame_base = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(c.frame_base != MAP_FAILED, "got the machine's memory");
	quire_init(&c);
}

/* Frames free when all that waits to be freed is, and what caches keep is given back. */
static u64 settled_free(void)
{
	u64 before;
	do {
		before = quire_free_pages();
		quire_rcu_quiescent();
		quire_rcu_barrier();
		quire_kmem_shrink();
	} while (quire_free_pages() != before);
	return before;
}

static struct quire_mm *new_mm(void)
{
	struct quire_mm *mm;
	check(!quire_mm_create(NULL, &mm), "made an address space");
	*quire_mm_layout(mm) =
	    (struct quire_layout){.mmap_base = 0x7ffff7fff000, .task_size = QUIRE_USER_END};
	return mm;
}

static void run(void)
{
	struct quire_mm *parent = new_mm(), *child;
	u32 value, old = 0x1111, new = 0x2222;
	s64 at = quire_mmap(parent, 0, PAGES * QUIRE_PAGE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, NULL, 0, VM_MAYREAD | VM_MAYWRITE);
	u64 addr = (u64)at, end = addr + PAGES * QUIRE_PAGE_SIZE;

	check(at > 0, "mapped anonymous memory");
	user_copy(parent, addr, &value, sizeof(value), false);
	check(value == 0, "it reads as zero");
	for (u64 a = addr; a < end; a += QUIRE_PAGE_SIZE)
		user_copy(parent, a, &old, sizeof(old), true);

	check(!quire_mm_fork(parent, NULL, &child), "forked");
	user_copy(child, addr, &value, sizeof(value), false);
	check(value == old, "the child sees what the parent wrote");
	user_copy(child, addr, &new, sizeof(new), true);
	user_copy(parent, addr, &value, sizeof(value), false);
	check(value == old, "its own write was to a copy");
	user_copy(parent, addr, &old, sizeof(old), true);
	user_copy(child, addr, &value, sizeof(value), false);
	check(value == new, "and the parent's to the page it has alone now");

	check(!quire_mprotect(child, addr, QUIRE_PAGE_SIZE, PROT_READ, -1), "protected a page");
	check(user_copy(child, addr, &new, sizeof(new), true) == QUIRE_SEGV_ACCERR,
	      "a write to it is refused");
	quire_check_all();
	quire_mm_put(child);
	quire_mm_put(parent);
}

int main(void)
{
	u64 before;
	boot();
	run(); /* the first use of each kind of object sets the core's caches up */
	before = settled_free();
	run();
	check(settled_free() == before, "every frame came back");
	printf("tiny-host: 1 passed, 0 failed\n");
	return 0;
}
