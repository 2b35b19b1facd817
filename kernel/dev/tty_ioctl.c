/* SPDX-License-Identifier: MIT */
/*
 * The ioctls of terminals: settings, window size, job control.
 *
 * Locking: tty.h.  A change of settings or of the foreground group by a process
 * of the background stops it with SIGTTOU, as reading does with SIGTTIN.
 */
#include <quire/string.h>

#include "../lib/string.h"
#include "../syscall/syscall.h"
#include "tty.h"

#define SIGTTOU 22

enum {
	TCGETS = 0x5401,
	TCSETS,
	TCSETSW,
	TCSETSF,
	TCGETA,
	TCSETA,
	TCSETAW,
	TCSETAF,
	TCSBRK,
	TCXONC,
	TCFLSH,
	TIOCEXCL,
	TIOCNXCL,
	TIOCSCTTY,
	TIOCGPGRP,
	TIOCSPGRP,
	TIOCOUTQ,
	TIOCSTI,
	TIOCGWINSZ,
	TIOCSWINSZ,
	FIONREAD = 0x541b,
	TIOCNOTTY = 0x5422,
	TIOCSETD,
	TIOCGETD,
	TCSBRKP,
	TIOCGSID = 0x5429,
	TIOCVHANGUP = 0x5437,
};
#define TCGETS2 0x802c542au
#define TCSETS2 0x402c542bu
#define TCSETSW2 0x402c542cu
#define TCSETSF2 0x402c542du
#define CAP_SYS_ADMIN 21

struct termio_k { /* System V's, for TCGETA */
	u16 iflag, oflag, cflag, lflag;
	u8 line, cc[8];
};
struct termios2_k {
	struct termios_k t;
	u32 ispeed, ospeed;
};
_Static_assert(sizeof(struct termios_k) == 36 && sizeof(struct termios2_k) == 44, "termios");

static void apply(struct tty *t, const struct termios_k *new, bool flush)
{
	spin_lock(&t->lock);
	u32 changed = (t->termios.lflag ^ new->lflag) & 2u; /* ICANON */
	t->termios = *new;
	if (flush)
		t->tail = t->line = t->head;
	else if (changed)
		t->line = t->head; /* what was typed so far can be read */
	if (!(new->iflag &IXON))
		t->stopped = false;
	spin_unlock(&t->lock);
	waitq_wake_all(&t->rd);
	waitq_wake_all(&t->wr);
	if (t->driver->changed)
		t->driver->changed(t);
}

/* kind: 0 termios, 1 termio, 2 termios2; how: 0 now, 1 after output, 2 and flush input. */
static s64 set_termios(struct tty *t, u64 arg, int kind, int how)
{
	struct termios2_k new;
	spin_lock(&t->lock);
	new.t = t->termios;
	spin_unlock(&t->lock);
	if (kind == 1) {
		struct termio_k old;
		if (copy_from_user(&old, arg, sizeof(old)))
			return -EFAULT;
		new.t.iflag = (new.t.iflag & ~0xffffu) | old.iflag;
		new.t.oflag = (new.t.oflag & ~0xffffu) | old.oflag;
		new.t.cflag = (new.t.cflag & ~0xffffu) | old.cflag;
		new.t.lflag = (new.t.lflag & ~0xffffu) | old.lflag;
		memcpy(new.t.cc, old.cc, sizeof(old.cc));
	} else if (copy_from_user(&new, arg, kind == 2 ? sizeof(new) : sizeof(new.t))) {
		return -EFAULT;
	}
	int r = tty_job_control(t, SIGTTOU);
	if (!r && how)
		r = tty_drain(t);
	if (r)
		return r;
	if (t->driver->wanted)
		t->driver->wanted(t);
	apply(t, &new.t, how == 2);
	return 0;
}

static s64 get_termios(struct tty *t, u64 arg, int kind)
{
	struct termios2_k now = {.ispeed = 38400, .ospeed = 38400};
	spin_lock(&t->lock);
	now.t = t->termios;
	spin_unlock(&t->lock);
	if (kind == 1) {
		struct termio_k old = {(u16)now.t.iflag, (u16)now.t.oflag, (u16)now.t.cflag,
				       (u16)now.t.lflag, now.t.line,       {0}};
		memcpy(old.cc, now.t.cc, sizeof(old.cc));
		return copy_to_user(arg, &old, sizeof(old));
	}
	return copy_to_user(arg, &now, kind == 2 ? sizeof(now) : sizeof(now.t));
}

static s64 set_controlling(struct tty *t, u64 arg, bool can_read)
{
	struct process *p = current()->process;
	s64 r = 0;
	spin_lock(&tree_lock);
	if (p->sid == p->tgid && p->tty == t && t->session == p->sid) {
		/* it is already */
	} else if (p->sid != p->tgid || p->tty) {
		r = -EPERM;
	} else if (t->session && !(arg == 1 && capable(CAP_SYS_ADMIN))) {
		r = -EPERM;
	} else if (!can_read && !capable(CAP_SYS_ADMIN)) {
		r = -EPERM;
	} else {
		p->tty = t;
		t->session = p->sid;
		t->pgrp = p->pgid;
	}
	spin_unlock(&tree_lock);
	return r;
}

static s64 give_up(struct tty *t)
{
	struct process *p = current()->process;
	if (p->tty != t)
		return -ENOTTY;
	if (p->sid == p->tgid) {
		tty_session_exit(p);
		return 0;
	}
	spin_lock(&tree_lock);
	p->tty = NULL;
	spin_unlock(&tree_lock);
	return 0;
}

/* May this process ask about the terminal's session?  Only when it is its own (the
 * master of a pseudo-terminal may always). */
static bool is_own(struct tty *t)
{
	return current()->process->tty == t && t->session;
}

static s64 set_foreground(struct tty *t, u64 arg)
{
	s32 pgrp;
	if (!is_own(t) || t->session != current()->process->sid)
		return -ENOTTY;
	int r = tty_job_control(t, SIGTTOU);
	if (r)
		return r == -EIO ? -ENOTTY : r;
	if (get_user_u32((u32 *)&pgrp, arg))
		return -EFAULT;
	if (pgrp < 0)
		return -EINVAL;
	if (!process_group_in_session((u32)pgrp, t->session))
		return -EPERM;
	spin_lock(&tree_lock);
	t->pgrp = (u32)pgrp;
	spin_unlock(&tree_lock);
	return 0;
}

static s64 input_pending(struct tty *t, u64 arg)
{
	spin_lock(&t->lock);
	u64 end = t->termios.lflag & ICANON ? t->line : t->head;
	u32 n = (u32)(end - t->tail);
	spin_unlock(&t->lock);
	return put_user_u32(arg, n);
}

static s64 flush_queues(struct tty *t, u64 which)
{
	int r = tty_job_control(t, SIGTTOU);
	if (r)
		return r;
	if (which > 2)
		return -EINVAL;
	if (which != 1)
		tty_flush_input(t);
	return 0;
}

static s64 start_stop(struct tty *t, u64 what)
{
	int r = tty_job_control(t, SIGTTOU);
	if (r)
		return r;
	if (what > 3)
		return -EINVAL;
	if (what < 2) {
		t->stopped = what == 0;
		waitq_wake_all(&t->wr);
	}
	return 0;
}

static s64 push_input(struct tty *t, u64 arg)
{
	u8 c;
	if (!is_own(t) && !capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (copy_from_user(&c, arg, 1))
		return -EFAULT;
	tty_receive(t, &c, 1);
	return 0;
}

static s64 window(struct tty *t, u32 cmd, u64 arg)
{
	struct winsize_k w;
	if (cmd == TIOCSWINSZ) {
		if (copy_from_user(&w, arg, sizeof(w)))
			return -EFAULT;
		tty_set_winsize(t, &w);
		return 0;
	}
	spin_lock(&t->lock);
	w = t->winsize;
	spin_unlock(&t->lock);
	return copy_to_user(arg, &w, sizeof(w));
}

s64 tty_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct tty *t = f->private;
	if (t->hung)
		return cmd == TIOCSPGRP ? -ENOTTY : -EIO;
	switch (cmd) {
	case TCGETS:
	case TCGETA:
		return get_termios(t, arg, cmd == TCGETA);
	case TCGETS2:
		return get_termios(t, arg, 2);
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
		return set_termios(t, arg, 0, (int)cmd - TCSETS);
	case TCSETA:
	case TCSETAW:
	case TCSETAF:
		return set_termios(t, arg, 1, (int)cmd - TCSETA);
	case TCSETS2:
	case TCSETSW2:
	case TCSETSF2:
		return set_termios(t, arg, 2, (int)(cmd - TCSETS2));
	case TCSBRK:
	case TCSBRKP: {
		int r = tty_job_control(t, SIGTTOU);
		return r ? r : tty_drain(t);
	}
	case TCXONC:
		return start_stop(t, arg);
	case TCFLSH:
		return flush_queues(t, arg);
	case TIOCEXCL:
	case TIOCNXCL:
		return 0;
	case TIOCSCTTY:
		return set_controlling(t, arg, f->can_read);
	case TIOCNOTTY:
		return give_up(t);
	case TIOCGPGRP:
		return is_own(t) ? put_user_u32(arg, t->pgrp) : -ENOTTY;
	case TIOCGSID:
		return is_own(t) ? put_user_u32(arg, t->session) : -ENOTTY;
	case TIOCSPGRP:
		return set_foreground(t, arg);
	case TIOCOUTQ:
		return put_user_u32(arg, 0);
	case TIOCSTI:
		return push_input(t, arg);
	case TIOCGWINSZ:
	case TIOCSWINSZ:
		return window(t, cmd, arg);
	case FIONREAD:
		return input_pending(t, arg);
	case TIOCGETD:
		return put_user_u32(arg, 0);
	case TIOCSETD: {
		u32 which;
		if (get_user_u32(&which, arg))
			return -EFAULT;
		return which ? -EINVAL : 0;
	}
	case TIOCVHANGUP:
		if (!capable(CAP_SYS_ADMIN))
			return -EPERM;
		tty_hangup(t);
		return 0;
	}
	return -ENOTTY;
}
