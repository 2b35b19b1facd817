/* SPDX-License-Identifier: MIT */
/* What is taken and given back without a pause doesn't pile up: VMAs and open files, which
 * the kernel frees when nobody can be looking at them any more. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static long slab_kb(void)
{
	char line[128];
	long kb = -1;
	FILE *f = fopen("/proc/meminfo", "r");

	while (kb < 0 && fgets(line, sizeof(line), f))
		sscanf(line, "Slab: %ld", &kb);
	fclose(f);
	return kb;
}

int main(void)
{
	long before = slab_kb(), after;

	for (int i = 0; i < 100000; i++) {
		void *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED || munmap(p, 4096))
			return 1;
	}
	for (int i = 0; i < 20000; i++)
		close(open("/dev/null", O_RDONLY));
	after = slab_kb();
	if (after - before > 4096)
		printf("%ld kB of slab before, %ld after\n", before, after);
	else
		printf("no pile\n");
	return 0;
}
