/* SPDX-License-Identifier: MIT */
/*
 * The vdso: what a program can ask of the kernel without entering it.  Built as a
 * shared object of its own, embedded in the kernel, and mapped into every program
 * behind the page of struct vvar.
 *
 * It runs in user mode with the program's registers and stack, keeps nothing, and
 * calls nothing.  Where it can't know the answer (a CPU-time clock, a deterministic
 * run, where the counter is the kernel's to tell) it makes the system call.
 */
#include "../vvar.h"

#define NR_GETTIMEOFDAY 96
#define NR_TIME 201
#define NR_CLOCK_GETTIME 228
#define NR_CLOCK_GETRES 229

#define NSEC_PER_SEC 1000000000UL

struct timespec {
	s64 sec, nsec;
};
struct timeval {
	s64 sec, usec;
};

int __vdso_clock_gettime(s32 id, struct timespec *ts);
int __vdso_clock_getres(s32 id, struct timespec *ts);
int __vdso_gettimeofday(struct timeval *tv, u64 *tz);
s64 __vdso_time(s64 *t);
long __vdso_getcpu(u32 *cpu, u32 *node, void *unused);

/* The linker's name for the start of this image. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static const struct vvar *vvar(void)
{
	const char *p = __ehdr_start;

	__asm__("" : "+r"(p)); /* it's another object that lies there */
	return (const struct vvar *)(p - VVAR_PAGES * QUIRE_PAGE_SIZE);
}

static long system_call(long nr, u64 a, u64 b)
{
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b) : "rcx", "r11", "memory");
	return r;
}

/* Nanoseconds of the monotonic clock, computed as the kernel does. */
static u64 monotonic(const struct vvar *v)
{
	u32 lo, hi;

	/* The counter isn't read before what comes before in the program. */
	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (u64)((unsigned __int128)(((u64)hi << 32 | lo) - v->base_tsc) * v->ns_per_tick >>
		     32);
}

static u64 wall(const struct vvar *v)
{
	return monotonic(v) + __atomic_load_n(&v->wall_offset, __ATOMIC_RELAXED);
}

/* Which clocks count real time: bit by id. */
#define WALL_CLOCKS (1u << 0 | 1u << 5 | 1u << 11)
#define MONOTONIC_CLOCKS (1u << 1 | 1u << 4 | 1u << 6 | 1u << 7)
#define COARSE_CLOCKS (1u << 5 | 1u << 6)

int __vdso_clock_gettime(s32 id, struct timespec *ts)
{
	const struct vvar *v = vvar();
	u32 bit = (u32)id < 32 ? 1u << id : 0;
	u64 ns;

	if (!v->ns_per_tick || !(bit & (WALL_CLOCKS | MONOTONIC_CLOCKS)))
		return (int)system_call(NR_CLOCK_GETTIME, (u64)id, (u64)ts);
	ns = bit & WALL_CLOCKS ? wall(v) : monotonic(v);
	ts->sec = (s64)(ns / NSEC_PER_SEC);
	ts->nsec = (s64)(ns % NSEC_PER_SEC);
	return 0;
}

int __vdso_clock_getres(s32 id, struct timespec *ts)
{
	u32 bit = (u32)id < 32 ? 1u << id : 0;

	if (!(bit & (WALL_CLOCKS | MONOTONIC_CLOCKS) & ~COARSE_CLOCKS))
		return (int)system_call(NR_CLOCK_GETRES, (u64)id, (u64)ts);
	if (ts)
		*ts = (struct timespec){0, 1};
	return 0;
}

int __vdso_gettimeofday(struct timeval *tv, u64 *tz)
{
	const struct vvar *v = vvar();
	u64 ns;

	if (!v->ns_per_tick)
		return (int)system_call(NR_GETTIMEOFDAY, (u64)tv, (u64)tz);
	ns = wall(v);
	if (tv)
		*tv = (struct timeval){(s64)(ns / NSEC_PER_SEC), (s64)(ns % NSEC_PER_SEC / 1000)};
	if (tz)
		*tz = 0; /* minutes west, and the kind of daylight saving */
	return 0;
}

s64 __vdso_time(s64 *t)
{
	const struct vvar *v = vvar();
	s64 s;

	if (!v->ns_per_tick)
		return system_call(NR_TIME, (u64)t, 0);
	s = (s64)(wall(v) / NSEC_PER_SEC);
	if (t)
		*t = s;
	return s;
}

long __vdso_getcpu(u32 *cpu, u32 *node, void *unused)
{
	u32 n;

	(void)unused;
	__asm__ volatile("lsl %1, %0" : "=r"(n) : "r"(CPU_NUMBER_SELECTOR) : "cc");
	if (cpu)
		*cpu = n;
	if (node)
		*node = 0;
	return 0;
}

/* Linux exports them under the plain names as well, and so that a program's own win. */
#define ALIAS(name) \
	extern __typeof__(__vdso_##name) name __attribute__((weak, alias("__vdso_" #name)))
ALIAS(clock_gettime);
ALIAS(clock_getres);
ALIAS(gettimeofday);
ALIAS(time);
ALIAS(getcpu);
