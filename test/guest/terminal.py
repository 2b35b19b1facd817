# SPDX-License-Identifier: MIT
# Quire on a terminal: an interactive shell with line editing and job control, Ctrl-C
# and Ctrl-D, the window size, and a terminal that is as it was afterwards.
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

quire = sys.argv[1]


def start(*args):
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(PS1="$ ", TERM="xterm", SHELL="/bin/bash", HISTFILE="/dev/null")
        os.execv(quire, [quire, *args])
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    return pid, fd


def expect(fd, pattern, seconds=60):
    got, end = b"", time.time() + seconds
    while not re.search(pattern, got):
        if not select.select([fd], [], [], max(0, end - time.time()))[0]:
            sys.exit(f"waited for {pattern!r}, got {got!r}")
        try:
            got += os.read(fd, 65536)
        except OSError:
            sys.exit(f"waited for {pattern!r}, it ended after {got!r}")
    return got


def ended(pid, fd):
    while True:
        try:
            if not os.read(fd, 65536):
                break
        except OSError:
            break
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# A shell: editing with the cursor keys, Ctrl-C at a running program, tty, size, exit.
pid, fd = start("shell")
time.sleep(0.5)
os.write(fd, b"PS1='ready> '\r")
expect(fd, rb"ready> $")
before = termios.tcgetattr(fd)
os.write(fd, b"echo one\x1b[D\x1b[D\x1b[D t\x1b[C\x1b[C\x1b[C \x7f two\r")
expect(fd, rb"\r\n tone two|\r\ntone two|\r\n.*one two")
os.write(fd, b"stty size; tty\r")
expect(fd, rb"(?s)33 101\r\n.*/dev/")
os.write(fd, b"sleep 1000\r")
time.sleep(1)
os.write(fd, b"\x03")
expect(fd, rb"(?s)\^C.*ready> $")
os.write(fd, b"sleep 1000\r")
time.sleep(1)
os.write(fd, b"\x1a")
expect(fd, rb"(?s)Stopped.*ready> $")
os.write(fd, b"jobs; kill %1; wait; echo done $((6*7))\r")
expect(fd, rb"done 42\r\n")
os.write(fd, b"exit 9\r")
assert ended(pid, fd) == 9

# cat on a terminal: echo, erase, Ctrl-D.
pid, fd = start("run", "--", "cat")
cooked = termios.tcgetattr(fd)
time.sleep(1.5)
os.write(fd, b"abx\x7fc\r")
expect(fd, rb"abx\x08 \x08c\r\nabc\r\n")
os.write(fd, b"\x04")
assert ended(pid, fd) == 0

# Ctrl-C kills the program, and the status says so.
pid, fd = start("run", "--", "sleep", "100")
time.sleep(1.5)
os.write(fd, b"\x03")
assert ended(pid, fd) == 130

# The terminal's settings come back.
pid, fd = pty.fork()
if pid == 0:
    os.execv("/bin/sh", ["/bin/sh", "-c", f"stty -a >before; {quire} run -- stty size; "
                         f"{quire} run -- bash -c 'read -e -t 1 x'; stty -a >after; cmp before after && echo the same"])
expect(fd, rb"the same")
print("terminal: all right")
