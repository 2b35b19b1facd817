/* SPDX-License-Identifier: MIT */
/*
 * The line discipline: between the bytes of a terminal and the programs that read
 * and write it.  Editing of lines, echo, signals from the keyboard, raw input with
 * VMIN and VTIME, newline translation of output, flow control by ^S and ^Q.
 *
 * Input bytes go into a ring.  A byte that ends a line is marked in a bitmap, so
 * that readers take line by line; an end-of-file mark is a byte that is skipped.
 *
 * Locking: tty.h.  Echo is gathered under t->lock and written after it is dropped.
 * No parity, break, modem lines or speed: there is no line.
 */
#include "tty.h"

#include <quire/string.h>

#include "../io/io.h"

#define SIGHUP 1
#define SIGINT 2
#define SIGQUIT 3
#define SIGCONT 18
#define SIGTSTP 20
#define SIGTTIN 21
#define SIGTTOU 22
#define SIGWINCH 28

static const u8 default_cc[19] = {3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0};

int tty_setup(struct tty *t, const struct tty_driver *d)
{
	t->driver = d;
	mutex_init(&t->in_lock, RANK_HOST_OUTER + 11);
	mutex_init(&t->out_lock, RANK_HOST_OUTER + 12);
	spin_init(&t->lock, RANK_HOST_MID + 7);
	waitq_init(&t->rd);
	waitq_init(&t->wr);
	struct page *pg = quire_page_alloc(0, GFP_KERNEL);
	if (!pg)
		return -ENOMEM;
	t->buf = page_view(pg);
	tty_reset(t);
	return 0;
}

void tty_reset(struct tty *t)
{
	t->termios = (struct termios_k){
	    .iflag = ICRNL | IXON | IUTF8,
	    .oflag = OPOST | ONLCR,
	    .cflag = 0xbf, /* 38400, 8 bits, receiver on */
	    .lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
	};
	memcpy(t->termios.cc, default_cc, sizeof(default_cc));
	t->head = t->line = t->tail = 0;
	memset(t->delim, 0, sizeof(t->delim));
	memset(t->eof, 0, sizeof(t->eof));
	t->column = t->line_column = 0;
	t->stopped = t->hung = t->lnext = false;
}

static inline u8 *at(struct tty *t, u64 pos)
{
	return &t->buf[pos % TTY_BUFFER];
}
static inline bool marked(const u64 *map, u64 pos)
{
	return map[pos % TTY_BUFFER / 64] >> (pos & 63) & 1;
}
static inline void mark(u64 *map, u64 pos, bool on)
{
	u64 bit = 1UL << (pos & 63), *w = &map[pos % TTY_BUFFER / 64];
	*w = on ? *w | bit : *w & ~bit;
}

/* ---- output ----------------------------------------------------------------------------- */

/* One byte as it goes out; how many bytes that is (at most 8).  out_lock is held. */
static unsigned translate(struct tty *t, u8 c, u8 *out)
{
	u32 o = __atomic_load_n(&t->termios.oflag, __ATOMIC_RELAXED);
	if (!(o & OPOST)) {
		out[0] = c;
		return 1;
	}
	switch (c) {
	case '\n':
		if (o & (ONLCR | ONLRET))
			t->column = 0;
		if (o & ONLCR) {
			out[0] = '\r';
			out[1] = '\n';
			return 2;
		}
		break;
	case '\r':
		if ((o & ONOCR) && !t->column)
			return 0;
		if (o & OCRNL)
			c = '\n';
		t->column = 0;
		break;
	case '\t': {
		unsigned n = 8 - (t->column & 7);
		t->column += n;
		if ((o & XTABS) != XTABS)
			break;
		memset(out, ' ', n);
		return n;
	}
	case '\b':
		if (t->column)
			t->column--;
		break;
	default:
		if (c >= ' ' && c != 127 && (c & 0xc0) != 0x80)
			t->column++;
		if ((o & OLCUC) && c >= 'a' && c <= 'z')
			c -= 32;
	}
	out[0] = c;
	return 1;
}

/* Write out what a program wrote.  Bytes taken; fewer when a signal came or it hung up. */
static size_t output(struct tty *t, const u8 *p, size_t n, bool nowait, s64 *err)
{
	u8 out[512];
	size_t done = 0;
	*err = 0;
	while (done < n) {
		size_t room = t->hung ? 0 : t->driver->room(t), len = 0, used = 0;
		if (t->hung) {
			*err = -EIO;
			break;
		}
		if (t->stopped || room < 8) {
			if (nowait) {
				*err = -EAGAIN;
				break;
			}
			if (wait_event_interruptible(
				&t->wr, t->hung || (!t->stopped && t->driver->room(t) >= 8))) {
				*err = -ERESTARTSYS;
				break;
			}
			continue;
		}
		room = quire_min(room, sizeof(out));
		mutex_lock(&t->out_lock);
		while (done + used < n && len + 8 <= room)
			len += translate(t, p[done + used++], out + len);
		t->driver->write(t, out, len);
		mutex_unlock(&t->out_lock);
		done += used;
	}
	return done;
}

static s64 tty_write(struct file *f, struct iter *it, u64 *pos)
{
	struct tty *t = f->private;
	s64 total = 0, err = 0;
	u8 chunk[256];
	(void)pos;
	if (t->termios.lflag & TOSTOP) {
		int r = tty_job_control(t, SIGTTOU);
		if (r)
			return r;
	}
	if (t->hung)
		return -EIO;
	while (it->left && !err) {
		size_t n = iter_copy_from(it, chunk, quire_min(it->left, sizeof(chunk)));
		if (!n) {
			err = -EFAULT;
			break;
		}
		total += (s64)output(t, chunk, n, f->flags & O_NONBLOCK, &err);
	}
	return total ? total : err;
}

int tty_drain(struct tty *t)
{
	return t->hung ? -EIO : 0; /* what was written has been handed on already */
}

/* ---- echo ------------------------------------------------------------------------------- */

struct echo {
	struct tty *t;
	unsigned n;
	u8 bytes[256];
};

/* Called without t->lock. */
static void echo_flush(struct echo *e)
{
	u8 out[512];
	unsigned len = 0;
	struct tty *t = e->t;
	if (!e->n)
		return;
	mutex_lock(&t->out_lock);
	for (unsigned i = 0; i < e->n; i++) {
		if (len + 8 > sizeof(out)) {
			t->driver->write(t, out, len);
			len = 0;
		}
		len += translate(t, e->bytes[i], out + len);
	}
	t->driver->write(t, out, len);
	mutex_unlock(&t->out_lock);
	e->n = 0;
}

static void echo_put(struct echo *e, u8 c)
{
	if (e->n < sizeof(e->bytes))
		e->bytes[e->n++] = c;
}

static bool shown_as_control(struct tty *t, u8 c)
{
	return (t->termios.lflag & ECHOCTL) && (c < 32 || c == 127) && c != '\t' && c != '\n';
}

static void echo_char(struct echo *e, u8 c)
{
	if (shown_as_control(e->t, c)) {
		echo_put(e, '^');
		c ^= 0x40;
	}
	echo_put(e, c);
}

/* Columns that the bytes of the current line before `end` take up, from where it began. */
static u32 column_at(struct tty *t, u64 end)
{
	u32 col = t->line_column;
	for (u64 p = t->line; p < end; p++) {
		u8 c = *at(t, p);
		if (c == '\t')
			col = (col | 7) + 1;
		else if (shown_as_control(t, c))
			col += 2;
		else if (c >= ' ' && !((t->termios.iflag & IUTF8) && (c & 0xc0) == 0x80))
			col++;
	}
	return col;
}

/* ---- input ------------------------------------------------------------------------------ */

static u32 readable(struct tty *t)
{
	u64 end = t->termios.lflag & ICANON ? t->line : t->head;
	return (u32)(end - t->tail);
}

static void append(struct tty *t, u8 c, bool delim, bool eof)
{
	*at(t, t->head) = c;
	mark(t->delim, t->head, delim);
	mark(t->eof, t->head, eof);
	__atomic_store_n(&t->head, t->head + 1, __ATOMIC_RELEASE);
	if (delim)
		__atomic_store_n(&t->line, t->head, __ATOMIC_RELEASE);
}

static bool full(struct tty *t)
{
	return t->head - t->tail >= TTY_BUFFER - 1;
}

/* Take the last character off the line being typed, and off the screen. */
static void erase_one(struct tty *t, struct echo *e)
{
	u64 end = t->head;
	u32 before = column_at(t, end);
	do
		t->head--;
	while (t->head > t->line && (t->termios.iflag & IUTF8) && (*at(t, t->head) & 0xc0) == 0x80);
	if (!(t->termios.lflag & ECHO))
		return;
	if (!(t->termios.lflag & ECHOE)) {
		echo_char(e, t->termios.cc[VERASE]);
		return;
	}
	for (u32 n = before - column_at(t, t->head); n; n--) {
		echo_put(e, '\b');
		echo_put(e, ' ');
		echo_put(e, '\b');
	}
}

static bool is_word(u8 c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       c == '_' || c >= 128;
}

static void erase_word(struct tty *t, struct echo *e)
{
	bool word = false;
	while (t->head > t->line) {
		u8 c = *at(t, t->head - 1);
		if (word && !is_word(c))
			break;
		word |= is_word(c);
		erase_one(t, e);
	}
}

static void erase_line(struct tty *t, struct echo *e)
{
	u32 l = t->termios.lflag;
	if ((l & ECHO) && (l & ECHOKE) && (l & ECHOE)) {
		while (t->head > t->line && e->n + 64 < sizeof(e->bytes))
			erase_one(t, e);
		t->head = t->line;
		return;
	}
	t->head = t->line;
	if (l & ECHO) {
		echo_char(e, t->termios.cc[VKILL]);
		if (l & ECHOK)
			echo_put(e, '\n');
	}
}

static void reprint(struct tty *t, struct echo *e)
{
	echo_char(e, t->termios.cc[VREPRINT]);
	echo_put(e, '\n');
	t->line_column = 0;
	for (u64 p = t->line; p < t->head && e->n + 2 < sizeof(e->bytes); p++)
		echo_char(e, *at(t, p));
}

static bool is_cc(struct tty *t, unsigned which, u8 c)
{
	return t->termios.cc[which] && c == t->termios.cc[which];
}

/* The signal that this byte means, or 0. */
static int signal_of(struct tty *t, u8 c)
{
	if (!(t->termios.lflag & ISIG))
		return 0;
	return is_cc(t, VINTR, c)   ? SIGINT
	       : is_cc(t, VQUIT, c) ? SIGQUIT
	       : is_cc(t, VSUSP, c) ? SIGTSTP
				    : 0;
}

static void flush_locked(struct tty *t)
{
	t->tail = t->line = t->head;
}

/* A byte of canonical input that isn't literal; true when it was an editing one. */
static bool edit(struct tty *t, struct echo *e, u8 c)
{
	u32 l = t->termios.lflag;
	if (is_cc(t, VERASE, c)) {
		if (t->head > t->line)
			erase_one(t, e);
	} else if (is_cc(t, VKILL, c)) {
		erase_line(t, e);
	} else if ((l & IEXTEN) && is_cc(t, VWERASE, c)) {
		erase_word(t, e);
	} else if ((l & IEXTEN) && is_cc(t, VLNEXT, c)) {
		t->lnext = true;
		if ((l & (ECHO | ECHOCTL)) == (ECHO | ECHOCTL)) {
			echo_put(e, '^');
			echo_put(e, '\b');
		}
	} else if ((l & IEXTEN) && (l & ECHO) && is_cc(t, VREPRINT, c)) {
		reprint(t, e);
	} else if (is_cc(t, VEOF, c)) {
		append(t, c, true, true);
	} else {
		return false;
	}
	return true;
}

static bool flow_control(struct tty *t, u8 c)
{
	u32 i = t->termios.iflag;
	if (!(i & IXON))
		return false;
	if (is_cc(t, VSTOP, c) || is_cc(t, VSTART, c)) {
		t->stopped = is_cc(t, VSTOP, c) && !(is_cc(t, VSTART, c) && t->stopped);
		return true;
	}
	if (t->stopped && (i & IXANY))
		t->stopped = false;
	return false;
}

/* An ordinary byte: echo it and keep it. */
static void take(struct tty *t, struct echo *e, u8 c, bool literal)
{
	u32 l = t->termios.lflag;
	bool canon = l & ICANON;
	bool delim = canon && !literal &&
		     (c == '\n' || is_cc(t, VEOL, c) || ((l & IEXTEN) && is_cc(t, VEOL2, c)));
	if (full(t) && !delim) {
		if (t->termios.iflag & IMAXBEL)
			echo_put(e, 7);
		return;
	}
	if (t->head == t->line)
		t->line_column = t->column;
	if ((l & ECHO) || (canon && (l & ECHONL) && c == '\n')) {
		if (c == '\n' && !literal)
			echo_put(e, c);
		else
			echo_char(e, c);
	}
	append(t, c, delim, false);
}

/* One byte; the signal it means, or 0.  t->lock is held. */
static int receive_one(struct tty *t, struct echo *e, u8 c)
{
	u32 i = t->termios.iflag, l = t->termios.lflag;
	if (i & ISTRIP)
		c &= 0x7f;
	if ((i & IUCLC) && (l & IEXTEN) && c >= 'A' && c <= 'Z')
		c += 32;
	if (t->lnext) {
		t->lnext = false;
		take(t, e, c, true);
		return 0;
	}
	if (l & EXTPROC) {
		append(t, c, false, false);
		return 0;
	}
	if (flow_control(t, c))
		return 0;
	int sig = signal_of(t, c);
	if (sig) {
		if (!(l & NOFLSH))
			flush_locked(t);
		t->stopped = false;
		if (l & ECHO)
			echo_char(e, c);
		return sig;
	}
	if (c == '\r') {
		if (i & IGNCR)
			return 0;
		if (i & ICRNL)
			c = '\n';
	} else if (c == '\n' && (i & INLCR)) {
		c = '\r';
	}
	if (!(l & ICANON) || !edit(t, e, c))
		take(t, e, c, false);
	return 0;
}

void tty_receive(struct tty *t, const u8 *bytes, size_t n)
{
	struct echo e = {.t = t};
	mutex_lock(&t->in_lock);
	for (size_t i = 0; i < n && !t->hung;) {
		int sig = 0;
		spin_lock(&t->lock);
		while (i < n && !sig && e.n + 64 < sizeof(e.bytes))
			sig = receive_one(t, &e, bytes[i++]);
		spin_unlock(&t->lock);
		echo_flush(&e);
		if (sig)
			tty_signal(t, sig);
	}
	mutex_unlock(&t->in_lock);
	if (readable(t))
		waitq_wake_active(&t->rd, POLLIN | POLLRDNORM);
	waitq_wake_active(&t->wr, POLLOUT | POLLWRNORM);
}

size_t tty_receive_room(struct tty *t)
{
	u64 used = __atomic_load_n(&t->head, __ATOMIC_RELAXED) -
		   __atomic_load_n(&t->tail, __ATOMIC_RELAXED);
	/* A line too long to fit must still be ended, so it is always taken (and cut). */
	if ((t->termios.lflag & ICANON) && t->line == t->tail)
		return TTY_BUFFER;
	return used < TTY_BUFFER - 1 ? TTY_BUFFER - 1 - used : 0;
}

void tty_flush_input(struct tty *t)
{
	spin_lock(&t->lock);
	flush_locked(t);
	spin_unlock(&t->lock);
	if (t->driver->changed)
		t->driver->changed(t);
}

/* ---- reading ---------------------------------------------------------------------------- */

/* Move what one read may have into out: at most one line, when lines are read. */
static size_t take_input(struct tty *t, u8 *out, size_t max, bool *line_ended)
{
	size_t n = 0;
	spin_lock(&t->lock);
	bool canon = t->termios.lflag & ICANON;
	u64 end = canon ? t->line : t->head;
	while (t->tail < end && n < max && !*line_ended) {
		u64 p = t->tail;
		if (canon && marked(t->delim, p))
			*line_ended = true;
		if (!(canon && marked(t->eof, p)))
			out[n++] = *at(t, p);
		__atomic_store_n(&t->tail, p + 1, __ATOMIC_RELEASE);
	}
	spin_unlock(&t->lock);
	return n;
}

/* An end-of-file mark right behind the bytes that filled the buffer belongs to them. */
static void skip_eof(struct tty *t)
{
	spin_lock(&t->lock);
	if ((t->termios.lflag & ICANON) && t->tail < t->line && marked(t->eof, t->tail))
		__atomic_store_n(&t->tail, t->tail + 1, __ATOMIC_RELEASE);
	spin_unlock(&t->lock);
}

/* How long, and for how many bytes, a read in raw mode waits. */
static s64 wait_input(struct tty *t, struct file *f, size_t got, size_t max)
{
	u64 deadline = ~0UL;
	u32 need = 1;
	if (t->hung)
		return 0;
	if (!(t->termios.lflag & ICANON)) {
		u8 min = t->termios.cc[VMIN], time = t->termios.cc[VTIME];
		need = min > got ? (u32)quire_min(min - got, max) : 1;
		if (!min && !time)
			return 0;
		if (time && (!min || got))
			deadline = deadline_in(time * 100000000UL);
		if (time && min)
			need = 1; /* the time between bytes counts */
	}
	if (f->flags & O_NONBLOCK)
		return -EAGAIN;
	int r = wait_event_until(
	    &t->rd, readable(t) >= need || t->hung || (readable(t) && (t->termios.lflag & ICANON)),
	    deadline);
	if (r == -EINTR)
		return -ERESTARTSYS;
	return r == -ETIMEDOUT ? readable(t) != 0 : 1;
}

static s64 tty_read(struct file *f, struct iter *it, u64 *pos)
{
	struct tty *t = f->private;
	size_t total = 0;
	s64 r = 0;
	u8 chunk[256];
	bool ended = false;
	(void)pos;
	if (t->driver->wanted)
		t->driver->wanted(t);
	if (!it->left)
		return 0;
	while (it->left && !ended) {
		r = tty_job_control(t, SIGTTIN);
		if (r)
			break;
		bool canon = t->termios.lflag & ICANON;
		size_t n = take_input(t, chunk, quire_min(it->left, sizeof(chunk)), &ended);
		if (n) {
			size_t done = iter_copy_to(it, chunk, n);
			total += done;
			if (done < n) {
				r = -EFAULT;
				break;
			}
			if (!it->left && canon && !ended)
				skip_eof(t);
			continue;
		}
		if (ended)
			break;
		if (total && (canon || total >= t->termios.cc[VMIN]))
			break;
		r = wait_input(t, f, total, it->left);
		if (r <= 0)
			break;
		r = 0;
	}
	if (t->driver->changed)
		t->driver->changed(t);
	return total ? (s64)total : r;
}

static u32 tty_poll(struct file *f, struct poll_table *pt)
{
	struct tty *t = f->private;
	u32 ev = 0;
	if (t->driver->wanted && f->can_read)
		t->driver->wanted(t);
	poll_wait(pt, &t->rd);
	poll_wait(pt, &t->wr);
	if (t->hung)
		return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM | POLLHUP | POLLERR;
	u32 min = t->termios.lflag & ICANON || t->termios.cc[VTIME] ? 1 : t->termios.cc[VMIN];
	if (readable(t) >= quire_max(min, 1u))
		ev |= POLLIN | POLLRDNORM;
	if (!t->stopped && t->driver->room(t) >= 8)
		ev |= POLLOUT | POLLWRNORM;
	return ev;
}

/* ---- who it belongs to ---------------------------------------------------------------------- */

void tty_signal(struct tty *t, int sig)
{
	u32 pgrp = __atomic_load_n(&t->pgrp, __ATOMIC_RELAXED);
	if (pgrp)
		send_signal_group(pgrp, sig, NULL);
}

int tty_job_control(struct tty *t, int sig)
{
	struct process *p = current()->process;
	u32 pgrp = __atomic_load_n(&t->pgrp, __ATOMIC_RELAXED);
	if (p->tty != t || !pgrp || p->pgid == pgrp)
		return 0;
	if (signal_blocked_or_ignored(sig))
		return sig == SIGTTIN ? -EIO : 0;
	if (process_group_orphaned(p->pgid))
		return -EIO;
	send_signal_group(p->pgid, sig, NULL);
	return -ERESTARTSYS;
}

int tty_open(struct tty *t, struct file *f)
{
	struct process *p = current()->process;
	f->private = t;
	f->ops = &tty_ops;
	f->seekable = false;
	spin_lock(&tree_lock);
	if (!(f->flags & O_NOCTTY) && p->sid == p->tgid && !p->tty && !t->session && f->can_read) {
		p->tty = t;
		t->session = p->sid;
		t->pgrp = p->pgid;
	}
	spin_unlock(&tree_lock);
	return 0;
}

/* Take the terminal from all processes of its session; tree_lock is held. */
static void release_session_locked(struct tty *t)
{
	t->session = t->pgrp = 0;
}

void tty_session_exit(struct process *leader)
{
	spin_lock(&tree_lock);
	struct tty *t = leader->tty;
	u32 pgrp = 0;
	leader->tty = NULL;
	if (t && t->session == leader->sid) {
		pgrp = t->pgrp;
		release_session_locked(t);
	}
	spin_unlock(&tree_lock);
	if (pgrp) {
		send_signal_group(pgrp, SIGHUP, NULL);
		send_signal_group(pgrp, SIGCONT, NULL);
	}
}

void tty_hangup(struct tty *t)
{
	spin_lock(&tree_lock);
	u32 session = t->session, pgrp = t->pgrp;
	release_session_locked(t);
	spin_unlock(&tree_lock);
	__atomic_store_n(&t->hung, true, __ATOMIC_SEQ_CST);
	waitq_wake_all(&t->rd);
	waitq_wake_all(&t->wr);
	struct process *leader = session ? process_find(session) : NULL;
	if (leader) {
		send_signal_process(leader, SIGHUP, NULL);
		send_signal_process(leader, SIGCONT, NULL);
		process_put(leader);
	}
	if (pgrp && pgrp != session) {
		send_signal_group(pgrp, SIGHUP, NULL);
		send_signal_group(pgrp, SIGCONT, NULL);
	}
}

void tty_set_winsize(struct tty *t, const struct winsize_k *w)
{
	spin_lock(&t->lock);
	bool same = !memcmp(&t->winsize, w, sizeof(*w));
	t->winsize = *w;
	spin_unlock(&t->lock);
	if (!same)
		tty_signal(t, SIGWINCH);
}

const struct file_ops tty_ops = {
    .read = tty_read, .write = tty_write, .poll = tty_poll, .ioctl = tty_ioctl};
