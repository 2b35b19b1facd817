# SPDX-License-Identifier: MIT
# The mmap and sqlite3 modules.
import mmap
import os
import sqlite3
import tempfile

with tempfile.TemporaryDirectory() as d:
    name = os.path.join(d, "f")
    with open(name, "wb") as f:
        f.write(bytes(range(256)) * 1000)
    with open(name, "r+b") as f:
        m = mmap.mmap(f.fileno(), 0)
        print(len(m), m[1000:1004], m.find(b"\xff\x00"))
        m[100:105] = b"hello"
        m.flush()
        print(os.pread(f.fileno(), 10, 98))
        os.pwrite(f.fileno(), b"WORLD", 200)
        print(m[200:205])
        private = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        private[0:3] = b"abc"
        print(m[0:3], private[0:3])
        m.resize(1000)
        print(len(m), os.fstat(f.fileno()).st_size)
    anon = mmap.mmap(-1, 1 << 20)
    pid = os.fork()
    if pid == 0:
        anon[12345] = 42
        os._exit(0)
    os.waitpid(pid, 0)
    print(anon[12345])

    db = sqlite3.connect(os.path.join(d, "db"))
    db.execute("pragma journal_mode=wal")
    db.execute("create table t(a integer primary key, b text)")
    db.executemany("insert into t values(?, ?)", ((i, "row %d" % i) for i in range(20000)))
    db.commit()
    print(db.execute("select count(*), sum(a), max(b) from t").fetchone())
    print(db.execute("pragma integrity_check").fetchone())
    other = sqlite3.connect(os.path.join(d, "db"))
    db.execute("delete from t where a % 2")
    print(other.execute("select count(*) from t").fetchone())
    db.commit()
    print(other.execute("select count(*) from t").fetchone())
