# SPDX-License-Identifier: MIT
# Threads, subprocesses, and multiprocessing by fork, with queues and shared memory.
import hashlib
import multiprocessing
import subprocess
import threading

multiprocessing.set_start_method("fork")


def digest(n):
    return hashlib.sha256(b"x" * n).hexdigest()[:8]


results = {}
threads = [threading.Thread(target=lambda i=i: results.__setitem__(i, digest(i * 1000))) for i in range(20)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(sorted(results.items()))

print(subprocess.run(["sh", "-c", "cat; echo err >&2; exit 5"], input=b"in", capture_output=True))
print(subprocess.check_output("seq 5 | tac", shell=True))

with multiprocessing.Pool(3) as pool:
    print(pool.map(digest, range(0, 100000, 10000)))

shared = multiprocessing.Array("i", 100)


def fill(k):
    for i in range(k, 100, 4):
        with shared.get_lock():
            shared[i] += i * i


workers = [multiprocessing.Process(target=fill, args=(k,)) for k in range(4)]
for w in workers:
    w.start()
for w in workers:
    w.join()
print(sum(shared), [w.exitcode for w in workers])

queue = multiprocessing.Queue()
p = multiprocessing.Process(target=lambda: [queue.put(i * "a") for i in range(50)])
p.start()
print(sum(len(queue.get()) for _ in range(50)))
p.join()
