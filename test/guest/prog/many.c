/* SPDX-License-Identifier: MIT */
/* many threads N: N threads alive at once, each with work in its own and in shared
 * memory; many processes N: N children alive at once. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;
static long sum;

static void *work(void *arg)
{
	long n = (long)arg;
	char *own = malloc(100000);
	memset(own, (int)n, 100000);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 100; i++) {
		pthread_mutex_lock(&lock);
		sum += own[i * 1000] == (char)n;
		pthread_mutex_unlock(&lock);
	}
	free(own);
	return arg;
}

static int threads(long n)
{
	pthread_t *t = calloc((size_t)n, sizeof(*t));
	pthread_barrier_init(&barrier, NULL, (unsigned)n);
	for (long i = 0; i < n; i++)
		if (pthread_create(&t[i], NULL, work, (void *)i)) {
			perror("pthread_create");
			return 1;
		}
	for (long i = 0; i < n; i++) {
		void *r;
		pthread_join(t[i], &r);
		if (r != (void *)i)
			return 1;
	}
	printf("%ld threads, %ld right\n", n, sum);
	return sum != n * 100;
}

static int processes(long n)
{
	int go[2], failures = 0;
	char c;
	if (pipe(go))
		return 1;
	for (long i = 0; i < n; i++) {
		pid_t p = fork();
		if (p < 0) {
			perror("fork");
			return 1;
		}
		if (!p) {
			close(go[1]);
			_exit(read(go[0], &c, 1) == 0 ? (int)(i & 63) : 99);
		}
	}
	close(go[1]);
	for (long i = 0; i < n; i++) {
		int status;
		if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) > 63)
			failures++;
	}
	printf("%ld processes, %d failures\n", n, failures);
	return failures;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	return strcmp(argv[1], "threads") ? (int)processes(atol(argv[2])) : threads(atol(argv[2]));
}
