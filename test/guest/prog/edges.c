/* SPDX-License-Identifier: MIT */
/* What Linux 6.1 gives at the edges: reads of /dev/zero into memory that ends, copy_file_range in
 * all the wrong ways, pipes of packets, pages with a key poisoned. */
#include "probe.h"
static void zero(void)
{
	int z = open("/dev/zero", O_RDONLY), u = open("/dev/urandom", O_RDONLY);
	mm(0, 4, RW, PRV);
	int offs[] = {0, 1, 100, 4095, 4096, 5000, 8191, 12287, 12288, 16000, 16383};
	for (int i = 0; i < 11; i++)
		for (int l = 1; l <= 4; l++) {
			memset(at(0), 7, 4 * PG);
			long n = read(z, at(0) + offs[i], l * 5000);
			int e = errno;
			char *p = at(0) + offs[i];
			long k = 0;
			while (p + k < at(4) && p[k] == 0)
				k++;
			printf("zero %d %d: %ld %s zeroed %ld\n", offs[i], l * 5000, n,
			       n < 0 ? en(e) : "", k);
		}
	for (int i = 0; i < 11; i++) {
		long n = read(u, at(0) + offs[i], 20000);
		int e = errno;
		printf("random %d: %ld %s\n", offs[i], n, n < 0 ? en(e) : "");
	}
	mprotect(at(3), PG, PROT_READ);
	for (int i = 0; i < 9; i++) {
		long n = read(z, at(0) + offs[i], 20000);
		int e = errno;
		printf("zero ro %d: %ld %s\n", offs[i], n, n < 0 ? en(e) : "");
	}
	R(read(z, at(10), 0));
	R(read(z, at(10), 1));
	R(pread(z, at(2), 8192, 5));
	struct iovec v[3] = {{at(0), 100}, {at(2) + 4000, 1000}, {at(0), 50}};
	R(readv(z, v, 3));
	struct iovec w[3] = {{at(0), 100}, {at(4) - 5, 5}, {at(0), 50}};
	mprotect(at(3), PG, RW);
	R(readv(z, w, 3));
	struct iovec x[3] = {{at(0), 100}, {at(4) - 5, 50}, {at(0), 50}};
	R(readv(z, x, 3));
}
static void cfr(void)
{
	int a = tmpf(2), b = tmpf(2), m = memfd_create("m", 0), p[2], z = open("/dev/zero", O_RDWR);
	ftruncate(m, 8192);
	pipe(p);
	long o = 0;
	char n[] = "/dev/shm/cfrXXXXXX";
	int s = mkstemp(n);
	unlink(n);
	ftruncate(s, 8192);
	R(copy_file_range(a, (void *)8, m, 0, 10, 0));
	R(copy_file_range(a, 0, m, (void *)8, 10, 0));
	R(copy_file_range(a, (void *)8, b, 0, 10, 0));
	R(copy_file_range(a, 0, m, 0, 10, 0));
	R(copy_file_range(m, 0, s, 0, 10, 0));
	R(copy_file_range(s, (void *)8, a, 0, 10, 0));
	R(copy_file_range(a, (void *)8, p[1], 0, 10, 0));
	R(copy_file_range(p[0], (void *)8, a, 0, 10, 0));
	R(copy_file_range(z, (void *)8, a, 0, 10, 0));
	R(copy_file_range(a, (void *)8, z, 0, 10, 0));
	R(copy_file_range(a, 0, z, 0, 10, 0));
	R(copy_file_range(-1, (void *)8, z, 0, 10, 0));
	R(copy_file_range(a, (void *)8, -1, 0, 10, 0));
	R(copy_file_range(a, (void *)8, b, 0, 10, 1));
	R(copy_file_range(a, (void *)8, b, 0, 0, 0));
	R(copy_file_range(a, 0, b, 0, 0, 0));
	o = -1;
	R(copy_file_range(a, &o, b, 0, 10, 0));
	o = 100000;
	R(copy_file_range(a, &o, b, 0, 10, 0));
	o = 0;
	R(copy_file_range(a, &o, a, 0, 10, 0));
	int ro = open("/proc/self/exe", O_RDONLY);
	R(copy_file_range(a, (void *)8, ro, 0, 10, 0));
	int ap = open("/tmp/cfrap", O_RDWR | O_CREAT | O_APPEND, 0600);
	unlink("/tmp/cfrap");
	R(copy_file_range(a, (void *)8, ap, 0, 10, 0));
	R(copy_file_range(a, 0, ap, 0, 10, 0));
	int d = open("/tmp", O_RDONLY);
	R(copy_file_range(d, (void *)8, b, 0, 10, 0));
	R(copy_file_range(a, 0, d, 0, 10, 0));
	int pm = open("/proc/self/stat", O_RDONLY);
	R(copy_file_range(pm, 0, b, 0, 10, 0));
}
static void packets(void)
{
	int p[2];
	char b[20000];
	struct pollfd pf;
	int n;
	R(pipe2(p, O_DIRECT | O_NONBLOCK));
	printf("%x %x\n", fcntl(p[0], F_GETFL), fcntl(p[1], F_GETFL));
	R(write(p[1], "abc", 3));
	R(write(p[1], "defgh", 5));
	R(ioctl(p[0], FIONREAD, &n));
	printf("%d\n", n);
	R(read(p[0], b, 2));
	R(read(p[0], b, 100));
	printf("%.5s\n", b);
	R(read(p[0], b, 100));
	R(write(p[1], b, 0));
	R(read(p[0], b, 10));
	R(write(p[1], b, 10000));
	R(read(p[0], b, 20000));
	R(read(p[0], b, 20000));
	R(read(p[0], b, 20000));
	R(read(p[0], b, 20000));
	R(write(p[1], "abc", 3));
	R(write(p[1], "de", 2));
	struct iovec v[2] = {{b, 1}, {b + 10, 10}};
	R(readv(p[0], v, 2));
	printf("%c%c\n", b[0], b[10]);
	R(readv(p[0], v, 2));
	R(fcntl(p[1], F_SETFL, O_NONBLOCK));
	R(write(p[1], "abc", 3));
	R(write(p[1], "de", 2));
	R(read(p[0], b, 10));
	R(fcntl(p[1], F_SETFL, O_NONBLOCK | O_DIRECT));
	R(write(p[1], "abc", 3));
	R(fcntl(p[1], F_SETFL, O_NONBLOCK));
	R(write(p[1], "de", 2));
	R(write(p[1], "fg", 2));
	R(read(p[0], b, 10));
	R(read(p[0], b, 10));
	R(fcntl(p[0], F_SETFL, O_NONBLOCK | O_DIRECT));
	R(write(p[1], "xy", 2));
	R(fcntl(p[1], F_SETFL, O_NONBLOCK | O_DIRECT));
	R(write(p[1], "z", 1));
	R(write(p[1], "w", 1));
	R(read(p[0], b, 10));
	R(read(p[0], b, 10));
	R(read(p[0], b, 10));
	int k = 0;
	while (write(p[1], "q", 1) == 1)
		k++;
	printf("%d %s\n", k, en(errno));
	pf.fd = p[1];
	pf.events = POLLOUT;
	R(poll(&pf, 1, 0));
	R(read(p[0], b, 100));
	R(poll(&pf, 1, 0));
	while (read(p[0], b, 4096) > 0)
		;
	R(write(p[1], b, 5000));
	R(write(p[1], b, 100));
	R(read(p[0], b, 4095));
	R(read(p[0], b, 9999));
	R(read(p[0], b, 9999));
	R(read(p[0], b, 9999));
	int q[2];
	pipe2(q, O_NONBLOCK);
	write(p[1], "abc", 3);
	write(p[1], "de", 2);
	R(splice(p[0], 0, q[1], 0, 100, 0));
	R(read(q[0], b, 100));
	R(read(q[0], b, 100));
	R(read(p[0], b, 100));
	write(p[1], "abc", 3);
	write(p[1], "de", 2);
	R(tee(p[0], q[1], 100, 0));
	R(read(q[0], b, 100));
	R(read(q[0], b, 100));
	while (read(p[0], b, 4096) > 0)
		;
	write(q[1], "abc", 3);
	R(splice(q[0], 0, p[1], 0, 100, 0));
	write(p[1], "de", 2);
	R(read(p[0], b, 100));
	R(read(p[0], b, 100));
	struct iovec vv = {b, 10};
	R(vmsplice(p[1], &vv, 1, 0));
	R(vmsplice(p[1], &vv, 1, 0));
	R(read(p[0], b, 100));
	R(read(p[0], b, 100));
	write(p[1], "abc", 3);
	R(read(p[0], at(9), 2));
	R(read(p[0], b, 100));
	write(p[1], "abcdef", 6);
	mm(0, 1, RW, PRV);
	R(read(p[0], at(1) - 2, 6));
	R(read(p[0], b, 100));
	R(write(p[1], at(1) - 2, 6));
	R(read(p[0], b, 100));
	mkfifo("/tmp/abififo", 0600);
	int ff = open("/tmp/abififo", O_RDWR | O_DIRECT | O_NONBLOCK);
	unlink("/tmp/abififo");
	printf("%x\n", fcntl(ff, F_GETFL));
	R(write(ff, "abc", 3));
	R(write(ff, "de", 2));
	R(read(ff, b, 10));
	R(read(ff, b, 10));
	int sock[2];
	socketpair(AF_UNIX, SOCK_STREAM, 0, sock);
	R(fcntl(sock[0], F_SETFL, O_DIRECT));
}
static void resize(void)
{
	int p[2], k;
	char b[9000];
	pipe2(p, O_DIRECT | O_NONBLOCK);
	for (k = 0; k < 3; k++)
		R(write(p[1], "packet", 6 - k));
	R(fcntl(p[0], F_SETPIPE_SZ, 8192));
	R(read(p[0], b, 100));
	R(fcntl(p[0], F_SETPIPE_SZ, 8192));
	R(write(p[1], b, 1));
	R(read(p[0], b, 2));
	R(write(p[1], b, 9));
	R(fcntl(p[0], F_SETPIPE_SZ, 32768));
	for (k = 0; write(p[1], b, 7) == 7; k++)
		;
	printf("%d more\n", k);
	while ((k = read(p[0], b, 100)) > 0)
		printf("%d ", k);
	puts("");
	R(fcntl(p[1], F_SETFL, O_NONBLOCK));
	R(write(p[1], "plain", 5));
	R(read(p[0], b, 2));
	R(fcntl(p[1], F_SETFL, O_NONBLOCK | O_DIRECT));
	R(write(p[1], b, 4096));
	R(write(p[1], b, 4095));
	R(fcntl(p[0], F_SETPIPE_SZ, 65536));
	R(read(p[0], b, 9000));
	R(read(p[0], b, 9000));
}
static void blocked(void)
{
	int p[2], k;
	char b[64];
	pipe2(p, O_DIRECT);
	pid_t c = fork();
	if (!c) {
		for (k = 0; k < 200; k++)
			write(p[1], b, 1 + k % 50);
		_exit(0);
	}
	close(p[1]);
	long n, sum = 0, wrong = 0;
	for (k = 0; (n = read(p[0], b, 40)) > 0; k++) {
		sum += n;
		wrong += n != (1 + k % 50 > 40 ? 40 : 1 + k % 50);
	}
	waitpid(c, 0, 0);
	printf("%d packets, %ld bytes, %ld wrong\n", k, sum, wrong);
}
static void hwp(void)
{
	int k = syscall(SYS_pkey_alloc, 0, 2);
	R(k);
	mm(0, 3, RW, PRV);
	*at(0) = 1;
	*at(1) = 1;
	R(syscall(SYS_pkey_mprotect, at(0), 3 * PG, RW, k));
	R(madvise(at(0), PG, MADV_HWPOISON));
	R(madvise(at(2), PG, MADV_HWPOISON));
	R(madvise(at(1), PG, MADV_SOFT_OFFLINE));
	pm(at(0), 3);
	int k2 = syscall(SYS_pkey_alloc, 0, 1);
	mm(4, 2, RW, PRV);
	*at(4) = 1;
	R(syscall(SYS_pkey_mprotect, at(4), 2 * PG, RW, k2));
	R(madvise(at(4), PG, MADV_HWPOISON));
	R(madvise(at(5), PG, MADV_HWPOISON));
	pm(at(4), 2);
}
int main(int c, char **v)
{
	init();
	T(zero);
	T(cfr);
	T(hwp);
	T(packets);
	T(resize);
	T(blocked);
}
