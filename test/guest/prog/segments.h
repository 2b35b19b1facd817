/* SPDX-License-Identifier: MIT */
/* Segment registers and the LDT, for the programs that try them. */
#ifndef SEGMENTS_H
#define SEGMENTS_H
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>
#include "child.h"

typedef unsigned long u64;
typedef unsigned int u32;

#define LDT(n) ((n) << 3 | 7)

static inline u64 raw(long nr, u64 a, u64 b, u64 c)
{
	u64 r;
	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(nr), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return r;
}

static inline void pin(void)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* ---- the registers ------------------------------------------------------------------------ */

#define GET(seg)                                                   \
	({                                                         \
		u32 v_;                                            \
		__asm__ volatile("mov %%" #seg ", %0" : "=r"(v_)); \
		v_;                                                \
	})
#define SET(seg, v) __asm__ volatile("mov %0, %%" #seg : : "r"((u32)(v)) : "memory")

static inline u64 fs_base(void)
{
	u64 v;
	__asm__ volatile("rdfsbase %0" : "=r"(v));
	return v;
}

static inline u64 gs_base(void)
{
	u64 v;
	__asm__ volatile("rdgsbase %0" : "=r"(v));
	return v;
}

static inline void set_gs_base(u64 v)
{
	__asm__ volatile("wrgsbase %0" : : "r"(v) : "memory");
}

/* The C library's base stays. */
static inline void set_fs(u32 sel)
{
	__asm__ volatile("rdfsbase %%rax; mov %0, %%fs; wrfsbase %%rax"
			 :
			 : "r"(sel)
			 : "rax", "memory");
}

static inline void show(const char *what)
{
	printf("%s: ds %x es %x fs %x gs %x gs base %lx\n", what, GET(ds), GET(es), GET(fs),
	       GET(gs), gs_base());
}

static inline void handle(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = {.sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags};
	sigaction(sig, &sa, NULL);
}

static inline u64 change(int func, u32 number, u32 base, u32 limit, u32 flags)
{
	u32 d[4] = {number, base, limit, flags};
	return raw(SYS_modify_ldt, func, (u64)d, sizeof(d));
}

static inline u64 entry(u32 n)
{
	static u64 table[8192];
	memset(table, 0xee, sizeof(table));
	if (raw(SYS_modify_ldt, 0, (u64)table, sizeof(table)) != sizeof(table))
		return ~0UL;
	return table[n];
}

static const struct {
	u32 base, limit, flags;
} segment[] = {
    {0, 0xfffff, 0x11},        /* 0: data */
    {0, 0xffff, 0x00},         /* 1: 16-bit data */
    {0, 0xfffff, 0x19},        /* 2: read-only data */
    {0, 0, 0x13},              /* 3: data that expands down */
    {0, 0xfffff, 0x31},        /* 4: data, not present */
    {0, 0xfffff, 0x15},        /* 5: code */
    {0x400000, 0xffff, 0x04},  /* 6: 16-bit code, where the linker puts the program */
    {0, 0xfffff, 0x1d},        /* 7: code that can't be read */
    {0, 0xfffff, 0x35},        /* 8: code, not present */
    {0, 0xfffff, 0x37},        /* 9: conforming code, not present */
    {0, 0xffff, 0x08},         /* 10: 16-bit data, read-only */
    {0x1000, 0xfffff, 0x15},   /* 11: code at an offset */
    {0x20000, 0x100, 0x02},    /* 12: 16-bit data that expands down */
    {0, 0xfffff, 0x15 | 0xc0}, /* 13: code, called 64-bit */
    {0, 0xfffff, 0x20},        /* 14: 16-bit data, not present */
};

static inline void make_segments(void)
{
	for (u32 i = 0; i < sizeof(segment) / sizeof(*segment); i++)
		change(0x11, i, segment[i].base, segment[i].limit, segment[i].flags);
}

#endif
