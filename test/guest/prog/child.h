/* SPDX-License-Identifier: MIT */
/* A part of a guest's test program that runs in a process of its own. */
#ifndef CHILD_H
#define CHILD_H

#include <stdio.h>
#include <string.h>
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

/* Run fn in a child; its status, which is printed unless it is 0. */
static inline int child(void (*fn)(void))
{
	fflush(stdout);
	pid_t pid = fork();
	int st;
	if (pid < 0) {
		printf("fork: %s\n", strerrorname_np(errno));
		return -1;
	}
	if (!pid) {
		fn();
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, &st, 0);
	if (st)
		printf("child ended with %x\n", st);
	return st;
}

#endif
