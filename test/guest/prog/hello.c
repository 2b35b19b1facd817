/* SPDX-License-Identifier: MIT */
/* The smallest program, built against each libc, static and dynamic. */
#include <stdio.h>

int main(int argc, char **argv)
{
	printf("hello from %s, %d argument%s\n", argc > 1 ? argv[1] : "nobody", argc,
	       argc == 1 ? "" : "s");
	return 0;
}
