// SPDX-License-Identifier: MIT
/*
 * The clock: the time-stamp counter, scaled to nanoseconds since boot.
 *
 * Its frequency is measured once against the local APIC's timer, or asked of
 * KVM.  In deterministic runs QEMU counts one instruction as 1 ns and one tick of
 * the counter, and time spent waiting for a device is taken out (time_freeze).
 * All is written at boot, but for the frozen time, which only a run with one CPU has.
 */
#include "../boot/boot.h"
#include "../lib/print.h"
#include "../lib/string.h"
#include "arch.h"

#define CALIBRATION_NS 1000000u
#define MSR_KVM_SYSTEM_TIME 0x4b564d01

u64 wall_offset_ns;
bool deterministic;

static u64 entry_tsc; /* at the kernel's first instruction but a few */
static u64 base_tsc;
static u64 ns_per_tick = 1UL << 32; /* 32.32 fixed point */
static u64 ticks_per_ns = 1UL << 32;
static u64 frozen_at, frozen_sum; /* ticks */
static u64 frozen_deadline;

u64 time_ns(void)
{
	if (deterministic)
		return rdtsc() - base_tsc - frozen_sum;
	return (u64)((unsigned __int128)(rdtsc() - base_tsc) * ns_per_tick >> 32);
}

void time_at_entry(void)
{
	entry_tsc = rdtsc();
}

u64 time_since_entry(void)
{
	return time_ns() +
	       (deterministic
		    ? base_tsc - entry_tsc
		    : (u64)((unsigned __int128)(base_tsc - entry_tsc) * ns_per_tick >> 32));
}

void time_scale(u64 *base, u64 *scale)
{
	*base = base_tsc;
	*scale = deterministic ? 0 : ns_per_tick;
}

u64 time_to_tsc(u64 ns)
{
	if (deterministic)
		return base_tsc + frozen_sum + ns;
	/* a little late rather than early */
	return base_tsc + (u64)((unsigned __int128)ns * ticks_per_ns >> 32) + 1;
}

u64 time_user_tsc(void)
{
	return time_ns();
}

/* The timer is stopped meanwhile, and set anew for what is left: so it interrupts after
 * the same number of the program's instructions however long the device took. */
void time_freeze(void)
{
	frozen_deadline = this_arch()->lapic_deadline;
	lapic_timer_set(~0UL);
	frozen_at = rdtsc();
}

void time_thaw(u64 charge_ns)
{
	frozen_sum += rdtsc() - frozen_at - charge_ns;
	lapic_timer_set(frozen_deadline);
}

/* KVM's paravirtual clock says how it scales the counter. */
static u64 kvm_ns_per_tick(void)
{
	static struct {
		u32 version, pad;
		u64 tsc, system_time;
		u32 mul;
		signed char shift;
		u8 flags, pad2[2];
	} clock __attribute__((aligned(32)));

	wrmsr(MSR_KVM_SYSTEM_TIME, view_phys(&clock) | 1);
	__asm__ volatile("" : : : "memory");
	u64 scale = clock.mul;
	scale = clock.shift < 0 ? scale >> -clock.shift : scale << clock.shift;
	wrmsr(MSR_KVM_SYSTEM_TIME, 0);
	return scale;
}

/* The counter and the APIC's at the same moment: of several tries, the quickest. */
static void sample(u64 *tsc, u32 *count)
{
	u64 best = ~0UL;

	*tsc = *count = 0;
	for (int i = 0; i < 6; i++) {
		u64 a = rdtsc();
		u32 c = lapic_timer_count();
		u64 b = rdtsc();
		if (b - a < best) {
			best = b - a;
			*tsc = a + (b - a) / 2;
			*count = c;
		}
	}
}

static u64 measured_ns_per_tick(void)
{
	u64 tsc0, tsc1;
	u32 count0, count1;

	lapic_timer_calibration_start();
	sample(&tsc0, &count0);
	while (count0 - lapic_timer_count() < CALIBRATION_NS)
		cpu_relax();
	sample(&tsc1, &count1);
	lapic_init();
	return ((u64)(count0 - count1) << 32) / (tsc1 - tsc0);
}

void time_init(void)
{
	size_t len;
	const void *clock = config_get(CONFIG_CLOCK, 0, &len);
	u64 wall = 0;

	base_tsc = rdtsc();
	if (!deterministic) {
		u64 scale = cpu_features.kvm ? kvm_ns_per_tick() : 0;
		ns_per_tick = scale ? scale : measured_ns_per_tick();
		ticks_per_ns = ~0UL / ns_per_tick;
	}
	if (clock && len >= sizeof(wall))
		memcpy(&wall, clock, sizeof(wall));
	wall_offset_ns = wall;
	print_log(7, "time: %lu kHz", (u64)((unsigned __int128)1000000 * ticks_per_ns >> 32));
}
