/* SPDX-License-Identifier: MIT */
/*
 * Random bytes: ChaCha20 (RFC 8439) keyed with the seed that `quire run` passes,
 * with fast key erasure: every batch of output first replaces the key, so what was
 * given out can't be computed from the state afterwards.  (D. J. Bernstein, 2017.)
 *
 * In deterministic runs the seed is all there is; otherwise the time-stamp counter
 * and, where the CPU has it, RDRAND are mixed in at the start.
 *
 * Locking: one spinlock, RANK_HOST_INNER + 12, interrupts off.
 */
#include <quire/host.h>
#include <quire/lock.h>
#include <quire/string.h>

#include "../boot/boot.h"
#include "mem.h"

#define BATCH_BLOCKS 6 /* of 64 bytes; the first 32 bytes are the next key */

static struct spinlock lock = SPINLOCK_INIT(RANK_HOST_INNER + 12);
static bool seeded; /* the rest: guarded by lock */
static u32 key[8];
static u64 batches;
static u8 batch[BATCH_BLOCKS * 64];
static size_t left; /* bytes of batch not given out, at its end */

static inline u32 rotl(u32 v, unsigned n)
{
	return v << n | v >> (32 - n);
}

static inline void quarter(u32 *x, unsigned a, unsigned b, unsigned c, unsigned d)
{
	x[a] += x[b], x[d] = rotl(x[d] ^ x[a], 16);
	x[c] += x[d], x[b] = rotl(x[b] ^ x[c], 12);
	x[a] += x[b], x[d] = rotl(x[d] ^ x[a], 8);
	x[c] += x[d], x[b] = rotl(x[b] ^ x[c], 7);
}

static void chacha_block(u8 out[64], u32 counter)
{
	u32 in[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; /* "expand 32-byte k" */
	u32 x[16];
	memcpy(in + 4, key, sizeof(key));
	in[12] = counter;
	in[14] = (u32)batches;
	in[15] = (u32)(batches >> 32);
	memcpy(x, in, sizeof(x));
	for (unsigned round = 0; round < 10; round++) {
		quarter(x, 0, 4, 8, 12);
		quarter(x, 1, 5, 9, 13);
		quarter(x, 2, 6, 10, 14);
		quarter(x, 3, 7, 11, 15);
		quarter(x, 0, 5, 10, 15);
		quarter(x, 1, 6, 11, 12);
		quarter(x, 2, 7, 8, 13);
		quarter(x, 3, 4, 9, 14);
	}
	for (unsigned i = 0; i < 16; i++)
		x[i] += in[i];
	memcpy(out, x, sizeof(x));
}

static void refill_locked(void)
{
	for (u32 i = 0; i < BATCH_BLOCKS; i++)
		chacha_block(batch + i * 64, i);
	batches++;
	memcpy(key, batch, sizeof(key));
	memset(batch, 0, sizeof(key));
	left = sizeof(batch) - sizeof(key);
}

/* Fold bytes into the key, 32 at a time, with a batch of output in between. */
static void mix_locked(const u8 *bytes, size_t n)
{
	while (n) {
		u8 piece[sizeof(key)] = {0};
		size_t m = quire_min(n, sizeof(piece));
		memcpy(piece, bytes, m);
		for (unsigned i = 0; i < 8; i++) {
			u32 word;
			memcpy(&word, piece + 4 * i, 4);
			key[i] ^= word;
		}
		bytes += m;
		n -= m;
		refill_locked();
	}
}

static bool rdrand(u64 *v)
{
	u32 r[4];
	bool ok;
	cpuid(1, 0, r);
	if (!(r[2] >> 30 & 1))
		return false;
	__asm__ volatile("rdrand %0" : "=r"(*v), "=@ccc"(ok));
	return ok;
}

static void seed_locked(void)
{
	size_t len = 0;
	const void *seed = config_get(CONFIG_SEED, 0, &len);
	seeded = true;
	if (seed)
		mix_locked(seed, len);
	if (deterministic)
		return;
	u64 more[4] = {rdtsc()};
	for (unsigned i = 1; i < 4; i++)
		if (!rdrand(&more[i]))
			more[i] = rdtsc();
	mix_locked((const u8 *)more, sizeof(more));
}

void random_add(const void *bytes, size_t n)
{
	unsigned long irq = spin_lock_irq(&lock);
	if (!seeded)
		seed_locked();
	mix_locked(bytes, n);
	spin_unlock_irq(&lock, irq);
}

void quire_host_random(void *buf, size_t n)
{
	u8 *out = buf;
	while (n) {
		/* A batch at a time, so that interrupts aren't off for long. */
		unsigned long irq = spin_lock_irq(&lock);
		if (!seeded)
			seed_locked();
		if (!left)
			refill_locked();
		size_t m = quire_min(n, left);
		u8 *from = batch + sizeof(batch) - left;
		memcpy(out, from, m);
		memset(from, 0, m);
		left -= m;
		spin_unlock_irq(&lock, irq);
		out += m;
		n -= m;
	}
}
