/* SPDX-License-Identifier: MIT */
/* A byte sequence through a pipe in writes and reads of odd sizes, so that the ring wraps
 * at every offset: what comes out is what went in. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOTAL 20000000l

static unsigned char at(long i)
{
	return (unsigned char)(i * 2654435761u >> 13);
}

int main(void)
{
	static unsigned char buf[70000];
	int p[2];
	unsigned seed = 1;
	if (pipe(p))
		return 1;
	if (!fork()) {
		close(p[0]);
		for (long i = 0; i < TOTAL;) {
			long n = rand_r(&seed) % (rand_r(&seed) % 4 ? 700 : 70000) + 1;
			if (n > TOTAL - i)
				n = TOTAL - i;
			for (long k = 0; k < n; k++)
				buf[k] = at(i + k);
			if (write(p[1], buf, (size_t)n) != n)
				_exit(1);
			i += n;
		}
		_exit(0);
	}
	close(p[1]);
	long i = 0, n;
	seed = 2;
	while ((n = read(p[0], buf, (size_t)(rand_r(&seed) % 9000 + 1))) > 0)
		for (long k = 0; k < n; k++, i++)
			if (buf[k] != at(i)) {
				printf("byte %ld is wrong\n", i);
				return 1;
			}
	int status;
	wait(&status);
	printf("%ld bytes, then %ld; writer %d\n", i, n, status);
	return i != TOTAL || n || status;
}
