/* SPDX-License-Identifier: MIT */
/*
 * The software MMU: walks the x86-64 page tables that the core builds, sets
 * accessed and dirty bits by compare-and-swap, and raises faults with the error
 * bits that hardware would give.
 *
 * Each CPU has a TLB and a cache of level-1 tables (a paging-structure cache),
 * tagged by address space.  They are used whenever they can be, so that a flush
 * that the core forgot shows as a wrong byte or a write to a freed frame.  The
 * cache of tables is only emptied by flushes that say that tables go.
 *
 * Locking: a CPU's lock is held over one translation *and* the bytes moved with
 * it.  A flush takes each CPU's lock in turn: when it returns, no access made
 * with an old translation is still under way; that is what an interprocessor
 * interrupt gives.
 *
 * Source of the format: Intel SDM volume 3, chapter 4.  Independent of vm/pt on
 * purpose.
 */
#include <pthread.h>

#include "port.h"

#define HW_P (1UL << 0)
#define HW_W (1UL << 1)
#define HW_U (1UL << 2)
#define HW_A (1UL << 5)
#define HW_D (1UL << 6)
#define HW_PS (1UL << 7)
#define HW_NX (1UL << 63)
#define HW_PKEY_SHIFT 59
#define HW_PKEY (15UL << HW_PKEY_SHIFT)
#define HW_FRAME 0x000ffffffffff000UL

#define TLB_SIZE 128
#define PSC_SIZE 8

struct translation {
	bool valid;
	const struct quire_mm *mm;
	u64 page; /* address >> 12 */
	u64 bits; /* W, U, NX combined over the levels; D and key of the leaf */
	u64 frame;
};

struct table_hint {
	bool valid;
	const struct quire_mm *mm;
	u64 region; /* address >> 21 */
	u64 bits;   /* W, U, NX combined over levels 4 to 2 */
	u64 table;  /* frame number of the level-1 table */
};

static struct cpu_mmu {
	pthread_mutex_t lock;
	bool online;
	struct translation tlb[TLB_SIZE];
	struct table_hint psc[PSC_SIZE];
} mmu[QUIRE_MAX_CPUS] = {[0 ... QUIRE_MAX_CPUS - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER}};

static __thread struct posix_faults faults;
static __thread u32 pkru = 0x55555554;

struct posix_faults *posix_faults(void)
{
	return &faults;
}

/* ---- protection keys --------------------------------------------------------------------- */

u32 posix_pkru(void)
{
	return pkru;
}

void posix_set_pkru(u32 v)
{
	pkru = v;
}

static bool key_allows(unsigned key, bool write)
{
	return !(pkru >> 2 * key & (write ? 3 : 1));
}

static void key_set(unsigned key, unsigned rights)
{
	pkru = (pkru & ~(3u << 2 * key)) | rights << 2 * key;
}

const struct quire_pkey_ops port_pkey_ops = {.allows = key_allows, .set = key_set};

void port_copy(void *dst, const void *src, size_t n)
{
	char *d = dst;
	const char *s = src;

	while (n) {
		if (n >= 8 && !(((uintptr_t)d | (uintptr_t)s) & 7)) {
			__atomic_store_n((u64 *)d,
					 __atomic_load_n((const u64 *)s, __ATOMIC_RELAXED),
					 __ATOMIC_RELAXED);
			d += 8, s += 8, n -= 8;
		} else {
			__atomic_store_n(d, __atomic_load_n(s, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
			d++, s++, n--;
		}
	}
}

/* ---- flushes ----------------------------------------------------------------------------- */

static void cpu_clear(struct cpu_mmu *c, bool online)
{
	pthread_mutex_lock(&c->lock);
	memset(c->tlb, 0, sizeof(c->tlb));
	memset(c->psc, 0, sizeof(c->psc));
	c->online = online;
	pthread_mutex_unlock(&c->lock);
}

void port_tlb_enter(unsigned cpu)
{
	cpu_clear(&mmu[cpu], true);
}

void port_tlb_leave(unsigned cpu)
{
	cpu_clear(&mmu[cpu], false);
}

static void cpu_flush(struct cpu_mmu *c, const struct quire_mm *mm, u64 start, u64 end, bool tables)
{
	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < TLB_SIZE; i++) {
		struct translation *t = &c->tlb[i];
		u64 at = t->page << QUIRE_PAGE_SHIFT;

		if (t->valid && t->mm == mm && at >= start && at < end)
			t->valid = false;
	}
	for (unsigned i = 0; tables && i < PSC_SIZE; i++) {
		struct table_hint *h = &c->psc[i];
		u64 at = h->region << QUIRE_PMD_SHIFT;

		if (h->valid && h->mm == mm && at + QUIRE_PMD_SIZE > start && at < end)
			h->valid = false;
	}
	pthread_mutex_unlock(&c->lock);
}

void quire_host_tlb_flush(struct quire_mm *mm, u64 start, u64 end, bool tables)
{
	for (unsigned i = 0; i < QUIRE_MAX_CPUS; i++)
		cpu_flush(&mmu[i], mm, start, end, tables);
}

void posix_mm_put(struct quire_mm *mm)
{
	quire_host_tlb_flush(mm, 0, ~0UL, true);
	quire_mm_put(mm);
}

/* ---- the walk ------------------------------------------------------------------------------ */

static u64 *table_entry(u64 frame, u64 addr, unsigned level)
{
	u64 *table;

	if (frame >= posix_max_pfn())
		quire_host_panic("MMU: address %#lx: a level %u table at frame %#lx, beyond memory",
				 addr, level, frame);
	table = pfn_view((struct pfn){frame});
	return &table[addr >> (QUIRE_PAGE_SHIFT + 9 * (level - 1)) & 511];
}

static u64 load(const u64 *e)
{
	return __atomic_load_n(e, __ATOMIC_ACQUIRE);
}

/* Combine one level's rights into bits: W and U must be there in all, NX in any. */
static u64 combine(u64 bits, u64 e)
{
	return (bits & e & (HW_W | HW_U)) | ((bits | e) & HW_NX);
}

static bool reserved_bits(u64 e, unsigned level)
{
	return (!posix_nx() && (e & HW_NX)) || (level == 4 && (e & HW_PS)) ||
	       ((e & HW_FRAME) >> QUIRE_PAGE_SHIFT) >= posix_max_pfn();
}

/* Which access the rights in bits refuse: the error bits for it, or 0. */
static unsigned refused(u64 bits, unsigned access)
{
	bool bad = ((access & QUIRE_USER) && !(bits & HW_U)) ||
		   ((access & QUIRE_WRITE) && !(bits & HW_W)) ||
		   ((access & QUIRE_EXEC) && posix_nx() && (bits & HW_NX));

	if (posix_pkeys() && !(access & QUIRE_EXEC) && (bits & HW_U) &&
	    !key_allows(bits >> HW_PKEY_SHIFT & 15, access & QUIRE_WRITE))
		return access | QUIRE_PRESENT | QUIRE_PKEY;
	return bad ? access | QUIRE_PRESENT : 0;
}

static u64 root_of(const struct quire_mm *mm)
{
	return mm ? quire_mm_root((struct quire_mm *)mm).n : posix_kernel_root().n;
}

/* Find the level-1 table for addr: its frame in *table, rights so far in *bits.
 * 0, or the error bits of the fault. */
static int walk_upper(struct cpu_mmu *c, const struct quire_mm *mm, u64 addr, unsigned access,
		      u64 *table, u64 *bits)
{
	struct table_hint *h = &c->psc[(addr >> QUIRE_PMD_SHIFT) % PSC_SIZE];
	u64 frame = root_of(mm);

	if (h->valid && h->mm == mm && h->region == addr >> QUIRE_PMD_SHIFT) {
		*table = h->table;
		*bits = h->bits;
		return 0;
	}
	*bits = HW_W | HW_U;
	for (unsigned level = 4; level > 1; level--) {
		u64 *at = table_entry(frame, addr, level), e = load(at);

		if (!(e & HW_P))
			return (int)access | 1 << 16;
		if (reserved_bits(e, level))
			return (int)(access | QUIRE_PRESENT | QUIRE_RSVD) | 1 << 16;
		if (e & HW_PS)
			quire_host_panic("MMU: address %#lx: a huge entry %#lx at level %u", addr,
					 e, level);
		__atomic_fetch_or(at, HW_A, __ATOMIC_ACQ_REL);
		*bits = combine(*bits, e);
		frame = (e & HW_FRAME) >> QUIRE_PAGE_SHIFT;
	}
	*table = frame;
	*h = (struct table_hint){true, mm, addr >> QUIRE_PMD_SHIFT, *bits, frame};
	return 0;
}

/* Walk to addr, set accessed and dirty bits, fill *t.  0, or error bits | 1 << 16. */
static int walk(struct cpu_mmu *c, const struct quire_mm *mm, u64 addr, unsigned access,
		struct translation *t)
{
	u64 table, upper, bits, e, marked;
	unsigned why;
	u64 *at;
	int error = walk_upper(c, mm, addr, access, &table, &upper);

	if (error)
		return error;
	at = table_entry(table, addr, 1);
	e = load(at);
	do {
		if (!(e & HW_P))
			return (int)access | 1 << 16;
		if (reserved_bits(e, 1))
			return (int)(access | QUIRE_PRESENT | QUIRE_RSVD) | 1 << 16;
		bits = combine(upper, e) | (e & HW_PKEY);
		why = refused(bits, access);
		if (why)
			return (int)why | 1 << 16;
		marked = e | HW_A | (access & QUIRE_WRITE ? HW_D : 0);
	} while (!__atomic_compare_exchange_n(at, &e, marked, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	*t = (struct translation){true, mm, addr >> QUIRE_PAGE_SHIFT, bits | (marked & HW_D),
				  (e & HW_FRAME) >> QUIRE_PAGE_SHIFT};
	return 0;
}

/* Translate through the TLB where it knows enough.  As walk(). */
static int translate(struct cpu_mmu *c, const struct quire_mm *mm, u64 addr, unsigned access,
		     u64 *frame)
{
	struct translation *t = &c->tlb[(addr >> QUIRE_PAGE_SHIFT) % TLB_SIZE];
	bool hit = t->valid && t->mm == mm && t->page == addr >> QUIRE_PAGE_SHIFT;

	if (!hit || refused(t->bits, access) || ((access & QUIRE_WRITE) && !(t->bits & HW_D))) {
		int error;

		t->valid = false;
		error = walk(c, mm, addr, access, t);
		if (error)
			return error;
	}
	*frame = t->frame;
	return 0;
}

/* Move n bytes within one page of user memory.  0, or error bits | 1 << 16. */
static int move(const struct quire_mm *mm, u64 addr, unsigned access, void *buf, size_t n)
{
	struct cpu_mmu *c = &mmu[quire_host_cpu()];
	u64 frame;
	int error;

	pthread_mutex_lock(&c->lock);
	error = translate(c, mm, addr, access, &frame);
	if (!error && n) {
		char *at = (char *)pfn_view((struct pfn){frame}) + (addr & ~QUIRE_PAGE_MASK);

		if (access & QUIRE_WRITE)
			port_copy(at, buf, n);
		else
			port_copy(buf, at, n);
	}
	pthread_mutex_unlock(&c->lock);
	return error;
}

/* ---- accesses ----------------------------------------------------------------------------------
 */

static enum quire_outcome fault(struct quire_mm *mm, u64 addr, unsigned error)
{
	enum quire_outcome o;

	if (posix_pkeys() && (pkru & 3))
		error |= QUIRE_KEY0;
	memset(&faults.last, 0xee, sizeof(faults.last));
	o = quire_fault(mm, addr, error, 0x400000, &faults.last);
	faults.taken++;
	if (o == QUIRE_DONE_MINOR)
		faults.minor++;
	if (o == QUIRE_DONE_MAJOR)
		faults.major++;
	if (faults.last.outcome != o || faults.last.address != addr)
		quire_host_panic("fault at %#lx: outcome %u, its record says %u at %#lx", addr, o,
				 faults.last.outcome, faults.last.address);
	return o;
}

static enum quire_outcome access_page(struct quire_mm *mm, u64 addr, unsigned access, void *buf,
				      size_t n)
{
	for (unsigned tries = 0;; tries++) {
		enum quire_outcome o;
		int error;

		/* Not canonical or not user space: what the general protection or page fault
		 * handler would find out. */
		if (addr >= QUIRE_USER_END)
			return QUIRE_SEGV_MAPERR;
		error = move(mm, addr, access | QUIRE_USER, buf, n);
		if (!error)
			return QUIRE_DONE_MINOR;
		if (tries == 10000)
			quire_host_panic("access %#x at %#lx faults for ever", access, addr);
		o = fault(mm, addr, (unsigned)error & 0xffff);
		if (o > QUIRE_RETRY)
			return o;
	}
}

static enum quire_outcome access_range(struct quire_mm *mm, u64 addr, unsigned access, void *buf,
				       size_t n)
{
	while (n) {
		size_t k = quire_min(n, QUIRE_PAGE_SIZE - (addr & ~QUIRE_PAGE_MASK));
		enum quire_outcome o = access_page(mm, addr, access, buf, k);

		if (o)
			return o;
		addr += k;
		buf = (char *)buf + k;
		n -= k;
	}
	return QUIRE_DONE_MINOR;
}

enum quire_outcome user_read(struct quire_mm *mm, u64 addr, void *buf, size_t n)
{
	return access_range(mm, addr, QUIRE_READ, buf, n);
}

enum quire_outcome user_write(struct quire_mm *mm, u64 addr, const void *buf, size_t n)
{
	return access_range(mm, addr, QUIRE_WRITE, (void *)buf, n);
}

enum quire_outcome user_exec(struct quire_mm *mm, u64 addr)
{
	return access_page(mm, addr, QUIRE_EXEC, NULL, 0);
}

enum quire_outcome user_touch(struct quire_mm *mm, u64 addr, bool write)
{
	u8 byte = 1;

	return access_page(mm, addr, write ? QUIRE_WRITE : QUIRE_READ, &byte, 1);
}

static bool kernel_access(u64 addr, unsigned access, u8 *byte)
{
	struct quire_fault_record rec;
	int error = move(NULL, addr, access, byte, 1);

	for (unsigned tries = 0; error && tries < 100; tries++) {
		if (!quire_kernel_fault(addr, (unsigned)error & 0xffff, 0, &rec))
			return false;
		error = move(NULL, addr, access, byte, 1);
	}
	return !error;
}

bool kernel_poke(u64 addr, u8 byte)
{
	return kernel_access(addr, QUIRE_WRITE, &byte);
}

bool kernel_peek(u64 addr, u8 *byte)
{
	return kernel_access(addr, QUIRE_READ, byte);
}

u64 posix_walk(struct quire_mm *mm, u64 addr, unsigned *level)
{
	u64 frame = root_of(mm), e = 0;

	for (*level = 4;; --*level) {
		e = load(table_entry(frame, addr, *level));
		if (*level == 1 || !(e & HW_P) || (e & HW_PS))
			return e;
		frame = (e & HW_FRAME) >> QUIRE_PAGE_SHIFT;
	}
}
