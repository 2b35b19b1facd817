/* SPDX-License-Identifier: MIT */
/*
 * The event loop: carries out what the kernel asks for on our standard input,
 * output and error (kernel/boot/hostio.h), passes signals and typed bytes in,
 * and ends with the program's exit status.
 *
 * Nothing here blocks on a descriptor of the user's: a request waits in a queue
 * until poll(2) says that it can be done, and pipes are written in pieces that
 * fit.  Our descriptors are shared with others, so they aren't made non-blocking.
 */
#include "quire.h"

#include "../kernel/boot/config.h"
#include "../kernel/boot/hostio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct request {
	struct request *next;
	struct hostio_msg head;
	char *payload;
	size_t done; /* bytes of a WRITE so far */
};

struct bytes {
	char *p;
	size_t len, room;
};

static struct {
	struct qemu *qemu;
	struct request *queue; /* in order of arrival */
	struct bytes in, out, errors;
	bool hello, ended, lost, deterministic;
	int status;
	int signals; /* signalfd */
	sigset_t old_mask;
	struct sigaction old_pipe;
	bool tty_wanted, tty_eof;
} ch;

static void append(struct bytes *b, const void *p, size_t n)
{
	if (b->room - b->len < n) {
		b->room = (b->len + n) * 2;
		b->p = xrealloc(b->p, b->room);
	}
	memcpy(b->p + b->len, p, n);
	b->len += n;
}

static void consume(struct bytes *b, size_t n)
{
	memmove(b->p, b->p + n, b->len - n);
	b->len -= n;
}

static void flush_out(void)
{
	while (ch.out.len) {
		ssize_t n = send(ch.qemu->channel, ch.out.p, ch.out.len, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		consume(&ch.out, (size_t)n);
	}
}

static void send_msg(uint16_t type, uint16_t fd, uint32_t tag, int32_t value, int64_t offset,
		     const void *payload, size_t len)
{
	struct hostio_msg m = {(uint32_t)len, type, fd, tag, value, offset};
	append(&ch.out, &m, sizeof(m));
	append(&ch.out, payload ? payload : "", len);
	flush_out();
}

static void reply(const struct request *r, int32_t value, int64_t offset, const void *payload,
		  size_t len)
{
	send_msg(r->head.type, r->head.fd, r->head.tag, value, offset, payload, len);
}

/* Bytes for the terminal.  While it isn't raw, its own driver makes CR LF of LF, as
 * the guest's has done already. */
static void tty_out(const char *p, size_t n)
{
	int fd = isatty(1) ? 1 : isatty(2) ? 2 : 0;
	char out[4096];
	while (n) {
		size_t len = 0;
		for (; n && len < sizeof(out); p++, n--)
			if (terminal_is_raw() || !(n > 1 && p[0] == '\r' && p[1] == '\n'))
				out[len++] = *p;
		for (size_t done = 0; done < len;) {
			ssize_t w = write(fd, out + done, len - done);
			if (w < 0 && errno != EINTR && errno != EAGAIN)
				return;
			if (w > 0)
				done += (size_t)w;
		}
	}
}

/* ---- requests ---------------------------------------------------------------------- */

static void do_read(struct request *r)
{
	static char buf[HOSTIO_MAX];
	size_t want = (uint32_t)r->head.value > HOSTIO_MAX ? HOSTIO_MAX : (uint32_t)r->head.value;
	ssize_t n = r->head.type == HOSTIO_PREAD ? pread(r->head.fd, buf, want, r->head.offset)
						 : read(r->head.fd, buf, want);
	reply(r, n < 0 ? -errno : (int32_t)n, 0, buf, n < 0 ? 0 : (size_t)n);
}

/* True when the request is finished. */
static bool do_write(struct request *r, bool piecewise)
{
	size_t left = r->head.len - r->done;
	size_t n = piecewise && left > PIPE_BUF ? PIPE_BUF : left;
	ssize_t w = r->head.type == HOSTIO_PWRITE ? pwrite(r->head.fd, r->payload + r->done, n,
							   r->head.offset + (off_t)r->done)
						  : write(r->head.fd, r->payload + r->done, n);
	if (w < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (w < 0) {
		reply(r, r->done ? (int32_t)r->done : -errno, 0, NULL, 0);
		return true;
	}
	r->done += (size_t)w;
	if (r->done < r->head.len)
		return false;
	reply(r, (int32_t)r->done, 0, NULL, 0);
	return true;
}

static void do_fstat(struct request *r)
{
	struct config_stdio io;
	struct stat st;
	memset(&io, 0, sizeof(io));
	if (fstat(r->head.fd, &st)) {
		reply(r, -errno, 0, NULL, 0);
		return;
	}
	io.fd[0].kind = S_ISREG(st.st_mode) ? STDIO_FILE : STDIO_STREAM;
	io.fd[0].mode = st.st_mode;
	io.fd[0].flags = (uint32_t)fcntl(r->head.fd, F_GETFL);
	io.fd[0].dev = st.st_dev;
	io.fd[0].ino = st.st_ino;
	io.fd[0].rdev = st.st_rdev;
	io.fd[0].size = (uint64_t)st.st_size;
	reply(r, 0, 0, &io.fd[0], sizeof(io.fd[0]));
}

static void do_now(struct request *r)
{
	off_t pos;
	struct pollfd now;
	switch (r->head.type) {
	case HOSTIO_SEEK:
		pos = lseek(r->head.fd, r->head.offset, r->head.value);
		reply(r, pos < 0 ? -errno : 0, pos, NULL, 0);
		break;
	case HOSTIO_FTRUNCATE:
		reply(r, ftruncate(r->head.fd, r->head.offset) ? -errno : 0, 0, NULL, 0);
		break;
	case HOSTIO_FSTAT:
		do_fstat(r);
		break;
	case HOSTIO_POLL:
		now = (struct pollfd){r->head.fd, (short)r->head.value, 0};
		poll(&now, 1, 0);
		reply(r, now.revents, 0, NULL, 0);
		break;
	default:
		reply(r, -ENOSYS, 0, NULL, 0);
	}
}

static void cancel(uint32_t tag)
{
	for (struct request **p = &ch.queue; *p; p = &(*p)->next) {
		struct request *r = *p;
		if (r->head.tag != tag)
			continue;
		if (r->done)
			reply(r, (int32_t)r->done, 0, NULL, 0);
		else
			reply(r, -EINTR, 0, NULL, 0);
		*p = r->next;
		free(r->payload);
		free(r);
		return;
	}
}

static short events_of(const struct request *r)
{
	switch (r->head.type) {
	case HOSTIO_READ:
	case HOSTIO_PREAD:
		return POLLIN;
	case HOSTIO_WRITE:
	case HOSTIO_PWRITE:
		return POLLOUT;
	default:
		return (short)r->head.value;
	}
}

static void enqueue(struct request *r)
{
	struct request **p = &ch.queue;
	while (*p)
		p = &(*p)->next;
	*p = r;
}

static void notice(const struct hostio_msg *m, const char *payload)
{
	switch (m->type) {
	case HOSTIO_HELLO:
		ch.hello = true;
		break;
	case HOSTIO_EXIT:
		ch.status = m->value & 255;
		ch.ended = true;
		break;
	case HOSTIO_STAT:
		fwrite(payload, 1, m->len, stderr);
		break;
	case HOSTIO_FATAL:
		warn_line("%.*s", (int)m->len, payload);
		break;
	case HOSTIO_TTY_OUT:
		tty_out(payload, m->len);
		break;
	case HOSTIO_TTY_WANT:
		ch.tty_wanted = true;
		terminal_raw();
		break;
	}
}

static void message(const struct hostio_msg *m, const char *payload)
{
	struct request *r;
	if (m->type >= HOSTIO_HELLO) {
		notice(m, payload);
		return;
	}
	if (m->type == HOSTIO_CANCEL) {
		cancel(m->tag);
		return;
	}
	r = xmalloc(sizeof(*r));
	*r = (struct request){.head = *m};
	if (m->fd > 2) {
		reply(r, -EBADF, 0, NULL, 0);
		free(r);
		return;
	}
	switch (m->type) {
	case HOSTIO_WRITE:
	case HOSTIO_PWRITE:
		r->payload = xmalloc(m->len + 1);
		memcpy(r->payload, payload, m->len);
		/* fall through */
	case HOSTIO_READ:
	case HOSTIO_PREAD:
	case HOSTIO_POLL:
		if (m->type == HOSTIO_POLL && m->offset == HOSTIO_POLL_NOW)
			break;
		enqueue(r);
		return;
	}
	do_now(r);
	free(r);
}

static void channel_in(void)
{
	char buf[HOSTIO_MAX];
	for (;;) {
		ssize_t n = recv(ch.qemu->channel, buf, sizeof(buf), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			ch.lost = true;
			break;
		}
		append(&ch.in, buf, (size_t)n);
		if ((size_t)n < sizeof(buf))
			break;
	}
	size_t at = 0;
	struct hostio_msg m;
	while (ch.in.len - at >= sizeof(m) && !ch.ended) {
		memcpy(&m, ch.in.p + at, sizeof(m));
		if (m.len > HOSTIO_MAX) {
			warn_line("the kernel sent a message of %u bytes", m.len);
			ch.lost = true;
			break;
		}
		if (ch.in.len - at < sizeof(m) + m.len)
			break;
		message(&m, ch.in.p + at + sizeof(m));
		at += sizeof(m) + m.len;
	}
	if (at)
		consume(&ch.in, at);
}

/* ---- the other descriptors ---------------------------------------------------------- */

static void drain(int fd, bool is_log)
{
	char buf[16384];
	ssize_t n;
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		if (is_log)
			log_bytes(buf, (size_t)n);
		else if (ch.errors.len < 65536)
			append(&ch.errors, buf, (size_t)n);
	}
}

/* A third SIGTERM (or the like) means it: the guest may hang.  Deterministic runs don't
 * hear of signals at all, and end at the first. */
static bool insists(int sig)
{
	static int times[64];
	return (sig == SIGTERM || sig == SIGHUP || sig == SIGQUIT) && ++times[sig] == 3;
}

static void signals_in(void)
{
	struct signalfd_siginfo s;
	while (read(ch.signals, &s, sizeof(s)) == sizeof(s)) {
		if (s.ssi_signo == SIGWINCH) {
			uint16_t rows, cols;
			terminal_size(&rows, &cols);
			send_msg(HOSTIO_WINCH, 0, 0, rows << 16 | cols, 0, NULL, 0);
		} else if (s.ssi_signo == SIGCONT) {
			if (ch.tty_wanted)
				terminal_raw();
		} else if (!ch.hello || ch.deterministic || insists((int)s.ssi_signo)) {
			qemu_stop(ch.qemu);
			terminal_restore();
			exit(128 + (int)s.ssi_signo);
		} else {
			send_msg(HOSTIO_SIGNAL, 0, 0, (int32_t)s.ssi_signo, 0, NULL, 0);
		}
	}
}

static void tty_in(void)
{
	char buf[1024];
	ssize_t n = read(0, buf, sizeof(buf));
	if (n > 0) {
		send_msg(HOSTIO_TTY_IN, 0, 0, 0, 0, buf, (size_t)n);
	} else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
		ch.tty_eof = true;
		send_msg(HOSTIO_TTY_HUP, 0, 0, 0, 0, NULL, 0);
	}
}

static void serve_requests(const struct pollfd *fds, unsigned n)
{
	struct request **p = &ch.queue;
	bool busy[3][2] = {
	    {false}}; /* the order of a descriptor's reads, and of its writes, is kept */
	for (unsigned i = 0; i < n && *p; i++) {
		struct request *r = *p;
		bool finished = false,
		     out = r->head.type == HOSTIO_WRITE || r->head.type == HOSTIO_PWRITE;
		short got = fds[i].revents;
		if (got && r->head.type == HOSTIO_POLL) {
			reply(r, got, 0, NULL, 0);
			finished = true;
		} else if (got && !busy[r->head.fd][out]) {
			if (out)
				finished = do_write(r, true);
			else
				do_read(r), finished = true;
		}
		if (r->head.type != HOSTIO_POLL)
			busy[r->head.fd][out] = true;
		if (finished) {
			*p = r->next;
			free(r->payload);
			free(r);
		} else {
			p = &r->next;
		}
	}
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* One round: wait for anything, at most until deadline. */
static void turn(double deadline)
{
	enum { CHANNEL, LOG, ERRORS, SIGNALS, TTY, FIXED };
	static struct pollfd *fds;
	static unsigned room;
	unsigned n = FIXED;

	for (struct request *r = ch.queue; r; r = r->next)
		n++;
	if (n > room) {
		room = n * 2;
		fds = xrealloc(fds, room * sizeof(*fds));
	}
	fds[CHANNEL] =
	    (struct pollfd){ch.qemu->channel, (short)(POLLIN | (ch.out.len ? POLLOUT : 0)), 0};
	fds[LOG] = (struct pollfd){ch.qemu->log, POLLIN, 0};
	fds[ERRORS] = (struct pollfd){ch.qemu->errors, POLLIN, 0};
	fds[SIGNALS] = (struct pollfd){ch.signals, POLLIN, 0};
	fds[TTY] = (struct pollfd){terminal_is_raw() && !ch.tty_eof ? 0 : -1, POLLIN, 0};
	n = FIXED;
	for (struct request *r = ch.queue; r; r = r->next)
		fds[n++] = (struct pollfd){r->head.fd, events_of(r), 0};

	double left = deadline - now();
	int ms = left > 1e6 ? 1000000000 : left <= 0 ? 0 : (int)(left * 1000) + 1;
	if (poll(fds, n, ms) < 0)
		return;
	serve_requests(fds + FIXED, n - FIXED);
	if (fds[LOG].revents)
		drain(ch.qemu->log, true);
	if (fds[ERRORS].revents & POLLIN)
		drain(ch.qemu->errors, false);
	if (fds[SIGNALS].revents)
		signals_in();
	if (fds[TTY].revents)
		tty_in();
	if (fds[CHANNEL].revents & POLLOUT)
		flush_out();
	if (fds[CHANNEL].revents & (POLLIN | POLLHUP | POLLERR))
		channel_in();
}

static void catch_signals(void)
{
	static const int caught[] = {SIGINT,  SIGTERM, SIGHUP,   SIGQUIT,
				     SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(caught) / sizeof(*caught); i++) {
		struct sigaction a;
		/* nohup and shells' background jobs ignore some: so do we then */
		if (caught[i] == SIGWINCH || caught[i] == SIGCONT ||
		    (!sigaction(caught[i], NULL, &a) && a.sa_handler != SIG_IGN))
			sigaddset(&set, caught[i]);
	}
	sigprocmask(SIG_BLOCK, &set, &ch.old_mask);
	sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, &ch.old_pipe);
	ch.signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (ch.signals < 0)
		die("signalfd: %s", strerror(errno));
}

static void release_signals(void)
{
	close(ch.signals);
	sigprocmask(SIG_SETMASK, &ch.old_mask, NULL);
	sigaction(SIGPIPE, &ch.old_pipe, NULL);
}

int channel_serve(struct qemu *q, const struct options *o, double hello_seconds, bool quiet)
{
	double start = now(), end = o->timeout > 0 ? start + o->timeout : 1e18;

	free(ch.in.p);
	free(ch.out.p);
	free(ch.errors.p);
	memset(&ch, 0, sizeof(ch));
	ch.qemu = q;
	ch.deterministic = o->deterministic;
	catch_signals();
	while (!ch.ended && !ch.lost) {
		double hello_end = ch.hello || o->gdb ? 1e18 : start + hello_seconds;
		turn(hello_end < end ? hello_end : end);
		if (now() >= end) {
			warn_line("timed out after %g seconds", o->timeout);
			release_signals();
			return EXIT_TIMEOUT;
		}
		if (now() >= hello_end)
			break;
	}
	drain(q->log, true);
	drain(q->errors, false);
	release_signals();
	if (ch.ended)
		return ch.status;
	if (ch.errors.len && (!quiet || o->verbose))
		warn_line("%.*s", (int)ch.errors.len - (ch.errors.p[ch.errors.len - 1] == '\n'),
			  ch.errors.p);
	if (!ch.hello)
		return ch.errors.len && !quiet ? EXIT_QUIRE : -1;
	warn_line("the virtual machine ended before its program did");
	return EXIT_QUIRE;
}
