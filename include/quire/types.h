/* SPDX-License-Identifier: MIT */
/*
 * The types that everything in Quire shares: sizes, frame numbers, page-table
 * entries, kinds of access.  Header-only; includes nothing but freestanding
 * C headers.
 *
 * A frame number and a page-table entry are one-member structs, so that the
 * compiler refuses to mix them up with each other or with an address.
 */
#ifndef QUIRE_TYPES_H
#define QUIRE_TYPES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t u64;
typedef uint32_t u32;
typedef uint16_t u16;
typedef uint8_t u8;
typedef int64_t s64;
typedef int32_t s32;
typedef int16_t s16;

#define QUIRE_PAGE_SHIFT 12
#define QUIRE_PAGE_SIZE (1UL << QUIRE_PAGE_SHIFT)
#define QUIRE_PAGE_MASK (~(QUIRE_PAGE_SIZE - 1))
#define QUIRE_PMD_SHIFT 21
#define QUIRE_PMD_SIZE (1UL << QUIRE_PMD_SHIFT)
#define QUIRE_MAX_CPUS 16

/* Mappings are placed below this, one guard page below 2^47, unless their hint is above. */
#define QUIRE_MAP_WINDOW 0x7ffffffff000UL
/* The end of user space: the same with four-level tables, one page below 2^56 with five. */
extern u64 quire_user_end;
#define QUIRE_USER_END quire_user_end

/* A physical frame number: physical address >> 12. */
struct pfn {
	u64 n;
};
#define NO_PFN ((struct pfn){~0UL})

/* A page-table entry of any level, in the hardware's format. */
struct pte {
	u64 v;
};

/* What an access wants; the fault entry point and user-copy checks use it. */
enum quire_access {
	QUIRE_READ = 0,
	QUIRE_WRITE = 1 << 0,
	QUIRE_EXEC = 1 << 1,
	QUIRE_USER = 1 << 2,    /* made in user mode (else by the kernel for the user) */
	QUIRE_PRESENT = 1 << 3, /* the walk found a present entry (a protection fault) */
	QUIRE_RSVD = 1 << 4,    /* a reserved bit was set in some entry */
	QUIRE_PKEY = 1 << 5,    /* refused by a protection key */
	QUIRE_KEY0 = 1 << 6,    /* the thread hasn't all rights for key 0: ask for that one, too */
};

#define quire_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define quire_array_size(a) (sizeof(a) / sizeof((a)[0]))
#define quire_likely(x) __builtin_expect(!!(x), 1)
#define quire_unlikely(x) __builtin_expect(!!(x), 0)
#define quire_min(a, b) ((a) < (b) ? (a) : (b))
#define quire_max(a, b) ((a) > (b) ? (a) : (b))
#define quire_round_down(x, to) ((x) & ~((__typeof__(x))(to)-1))
#define quire_round_up(x, to) quire_round_down((x) + (to)-1, to)

#endif
