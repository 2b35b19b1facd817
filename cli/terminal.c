/* SPDX-License-Identifier: MIT */
/*
 * The host's terminal.  While a program in the guest uses it, it is raw: what is
 * typed goes to the guest's line discipline as it is, and what the guest prints
 * has been processed there.
 */
#include "quire.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static bool raw;

bool terminal_is(int fd)
{
	return isatty(fd);
}

bool terminal_is_raw(void)
{
	return raw;
}

void terminal_raw(void)
{
	static bool registered;
	struct termios t;
	if (raw || !isatty(0) || tcgetpgrp(0) != getpgrp() || tcgetattr(0, &saved))
		return;
	t = saved;
	cfmakeraw(&t);
	if (tcsetattr(0, TCSADRAIN, &t))
		return;
	raw = true;
	if (!registered) {
		registered = true;
		atexit(terminal_restore);
	}
}

void terminal_restore(void)
{
	if (!raw)
		return;
	raw = false;
	tcsetattr(0, TCSADRAIN, &saved);
}

void terminal_size(uint16_t *rows, uint16_t *cols)
{
	struct winsize w;
	*rows = 24;
	*cols = 80;
	for (int fd = 0; fd < 3; fd++)
		if (!ioctl(fd, TIOCGWINSZ, &w) && w.ws_row && w.ws_col) {
			*rows = w.ws_row;
			*cols = w.ws_col;
			return;
		}
}
