/* SPDX-License-Identifier: MIT */
/*
 * The host's terminal: /dev/console, and /dev/tty, which is whatever terminal
 * controls the process.
 *
 * Its output goes to `quire run` as it comes; its input arrives once somebody has
 * asked for it, since until then what is typed belongs to the host's own driver.
 *
 * Locking: tty.h.
 */
#include "../boot/boot.h"
#include "hostio.h"
#include "tty.h"

static struct tty console;
static bool console_there;

static size_t console_write(struct tty *t, const u8 *buf, size_t n)
{
	(void)t;
	hostio_notice(HOSTIO_TTY_OUT, buf, n);
	return n;
}

static size_t console_room(struct tty *t)
{
	(void)t;
	return 2048;
}

static void console_wanted(struct tty *t)
{
	static bool asked;
	(void)t;
	if (!__atomic_exchange_n(&asked, true, __ATOMIC_RELAXED))
		hostio_notice_value(HOSTIO_TTY_WANT, 0);
}

static const struct tty_driver console_driver = {
    .write = console_write, .room = console_room, .wanted = console_wanted};

void tty_host_input(const u8 *buf, size_t n)
{
	if (console_there)
		tty_receive(&console, buf, n);
}

void tty_host_winch(u16 rows, u16 cols)
{
	struct winsize_k w = {rows, cols, 0, 0};
	if (console_there)
		tty_set_winsize(&console, &w);
}

void tty_host_hangup(void)
{
	if (console_there)
		tty_hangup(&console);
}

u64 tty_device_number(const struct tty *t)
{
	int pty = pty_index(t);
	return pty >= 0 ? 136 << 8 | (u64)pty : 5 << 8 | 1;
}

static int open_console(struct inode *i, struct file *f)
{
	(void)i;
	return console_there ? tty_open(&console, f) : -ENXIO;
}

static int open_own(struct inode *i, struct file *f)
{
	struct tty *t = current()->process->tty;
	(void)i;
	if (!t)
		return -ENXIO;
	f->flags |= O_NOCTTY;
	return tty_open(t, f);
}

void tty_init(void)
{
	size_t len;
	const struct config_stdio *io = config_get(CONFIG_STDIO, 0, &len);
	console_there = (config_flags() & CONFIG_FLAG_TTY) && !tty_setup(&console, &console_driver);
	if (console_there && io && len >= sizeof(*io)) {
		console.winsize.rows = io->rows;
		console.winsize.cols = io->cols;
	}
	chrdev_register(5, 0, "tty", 0666, &tty_ops, open_own);
	chrdev_register(5, 1, "console", 0666, &tty_ops, open_console);
	pty_init();
}
