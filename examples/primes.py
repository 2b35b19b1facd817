# SPDX-License-Identifier: MIT
"""What `make run` runs: a sieve, whose memory Quire pages in as it is touched."""
import os
import sys
import time

N = 2_000_000
start = time.perf_counter()
sieve = bytearray([1]) * (N + 1)
sieve[0:2] = b"\0\0"
for i in range(2, int(N**0.5) + 1):
    if sieve[i]:
        sieve[i * i :: i] = bytes(len(range(i * i, N + 1, i)))
primes = [i for i, p in enumerate(sieve) if p]
twins = sum(1 for a, b in zip(primes, primes[1:]) if b - a == 2)
system = os.uname()
print(f"Python {sys.version.split()[0]} on {system.sysname} {system.release} ({system.version}), pid {os.getpid()}")
print(f"{len(primes):,} primes below {N:,}; the last is {primes[-1]:,}; {twins:,} pairs of twins")
with open("/proc/self/status") as f:
    peak = next(line.split()[1] for line in f if line.startswith("VmHWM"))
print(f"peak memory {int(peak) // 1024} MiB, {time.perf_counter() - start:.1f} s")
