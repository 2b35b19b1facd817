/* SPDX-License-Identifier: MIT */
/* System V shared memory, process_vm_readv and writev, and what calls give when the
 * buffer ends within. */
#include "probe.h"
static void ds(int id)
{
	struct shmid_ds d;
	int r = shmctl(id, IPC_STAT, &d);
	printf("   stat %d mode %o segsz %zu nattch %ld cpid %d uid %d at %d dt %d ct %d\n", r,
	       d.shm_perm.mode, d.shm_segsz, d.shm_nattch, d.shm_cpid == getpid(), d.shm_perm.uid,
	       d.shm_atime != 0, d.shm_dtime != 0, d.shm_ctime != 0);
}
static void shm(void)
{
	struct shmid_ds d;
	int id = R(shmget(0x1234, 10000, IPC_CREAT | 0600));
	ds(id);
	R(shmget(0x1234, 10000, IPC_CREAT | IPC_EXCL | 0600));
	R(shmget(0x1234, 10001, 0));
	R(shmget(0x1234, 0, 0) == id);
	R(shmget(0x1234, 20000, IPC_CREAT));
	R(shmget(0x4321, 100, 0));
	R(shmget(IPC_PRIVATE, 0, 0600));
	R(shmget(IPC_PRIVATE, -1, 0600));
	R(shmget(IPC_PRIVATE, 1UL << 62, 0600));
	R(shmget(IPC_PRIVATE, 4096, 0600 | 04000));
	R(shmget(IPC_PRIVATE, 4096, 0600 | 04000 | (21 << 26)));
	R(shmget(IPC_PRIVATE, 4096, 0600 | 04000 | (19 << 26)));
	char *p = (char *)R(shmat(id, at(0), 0));
	maps();
	ds(id);
	vm(p, "VmFlags Size Rss");
	p[0] = 1;
	char *q = (char *)R(shmat(id, at(10), SHM_RDONLY));
	TRY(printf("%d\n", *q));
	TRY(*q = 1);
	R(mprotect(q, PG, RW));
	ds(id);
	R(shmat(id, at(0), 0));
	R(shmat(id, at(2), 0));
	R(shmat(id, at(2), SHM_REMAP));
	maps();
	ds(id);
	R(shmat(id, 0, SHM_REMAP));
	R(shmat(id, at(30) + 5, 0));
	R(shmat(id, at(30) + 5, SHM_RND));
	R(shmat(id, at(40), SHM_EXEC));
	maps();
	R(shmat(id, at(50), 0x100));
	R(shmat(99999, 0, 0));
	R(shmat(-1, 0, 0));
	R(shmdt(at(30) + 1));
	R(shmdt(at(31)));
	R(shmdt(at(30)));
	R(shmdt(at(30)));
	ds(id);
	R(munmap(at(41), PG));
	maps();
	ds(id);
	R(shmdt(at(40)));
	maps();
	ds(id);
	fflush(stdout);
	if (!fork()) {
		ds(id);
		R(shmdt(at(10)));
		ds(id);
		fflush(stdout);
		_exit(0);
	}
	wait(0);
	ds(id);
	R(mremap(at(10), 3 * PG, 3 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, at(60)));
	ds(id);
	R(shmdt(at(60)));
	R(mprotect(at(3), PG, PROT_READ));
	maps();
	ds(id);
	R(shmctl(id, SHM_LOCK, 0));
	ds(id);
	vm(at(2), "VmFlags");
	R(shmctl(id, SHM_UNLOCK, 0));
	R(shmctl(id, IPC_RMID, 0));
	ds(id);
	R(shmget(0x1234, 0, 0));
	R(shmat(id, at(70), 0));
	ds(id);
	R(shmctl(id, IPC_RMID, 0));
	maps();
	R(shmdt(at(2)));
	R(shmdt(at(0)));
	R(shmdt(at(50)));
	R(shmdt(at(70)));
	maps();
	R(shmctl(id, IPC_STAT, &d));
	R(shmctl(id, 99, &d));
	R(shmctl(-1, IPC_STAT, &d));
	id = shmget(IPC_PRIVATE, 100, 0600);
	R(shmctl(id, IPC_STAT, (void *)8));
	d.shm_perm.uid = 1000;
	d.shm_perm.gid = 1000;
	d.shm_perm.mode = 0777;
	R(shmctl(id, IPC_SET, &d));
	ds(id);
	R(shmctl(id, IPC_SET, (void *)8));
	struct shminfo si;
	memset(&si, 0, sizeof si);
	R(shmctl(0, IPC_INFO, (void *)&si) >= 0);
	printf("max %lx min %lu mni %lu seg %lu all %lx\n", si.shmmax, si.shmmin, si.shmmni,
	       si.shmseg, si.shmall);
	struct shm_info sj;
	memset(&sj, 0, sizeof sj);
	R(shmctl(0, SHM_INFO, (void *)&sj) >= 0);
	printf("used %d tot %lu rss %lu\n", sj.used_ids, sj.shm_tot, sj.shm_rss);
	R(shmctl(0, SHM_STAT, &d) >= 0);
	R(shmctl(500, SHM_STAT, &d));
	R(shmctl(0, 15, &d) >= 0);
	FILE *f = fopen("/proc/sysvipc/shm", "r");
	char l[256];
	while (f && fgets(l, 256, f)) {
		l[44] = 0;
		printf("%s\n", l);
	}
	char *fn[] = {"/proc/sys/kernel/shmmax", "/proc/sys/kernel/shmall",
		      "/proc/sys/kernel/shmmni", "/proc/sys/kernel/shm_rmid_forced",
		      "/proc/sys/kernel/shm_next_id"};
	for (int i = 0; i < 5; i++) {
		int g = open(fn[i], O_RDONLY);
		int n = read(g, l, 99);
		l[n > 0 ? n : 0] = 0;
		printf("%s %s", fn[i], l);
	}
	setresuid(1000, 1000, 1000);
	R(shmat(id, at(80), 0));
	R(shmctl(id, IPC_RMID, 0));
	int g = shmget(0x99, PG, IPC_CREAT | 0400);
	R(shmat(g, at(90), 0));
	R(shmat(g, at(95), SHM_RDONLY));
	R(shmget(0x99, PG, 0600));
	R(shmctl(g, SHM_LOCK, 0));
	struct rlimit rl = {0, 0};
	setrlimit(RLIMIT_MEMLOCK, &rl);
	R(shmctl(g, SHM_UNLOCK, 0));
	R(shmctl(g, SHM_LOCK, 0));
	R(shmctl(g, IPC_RMID, 0));
}
static void shm2(void)
{
	int id = shmget(IPC_PRIVATE, PG * 2, 0000);
	setresuid(1000, 1000, 1000);
	struct shmid_ds d;
	R(shmat(id, 0, 0));
	R(shmctl(id, IPC_STAT, &d));
	R(shmctl(id, IPC_SET, &d));
	R(shmctl(id, IPC_RMID, 0));
	R(shmctl(id, SHM_LOCK, 0));
	R(shmctl(0, SHM_STAT, &d));
	R(shmctl(0, 15, &d) >= 0);
}
static long pv(int w, int pid, void *l, int nl, void *r, int nr, int fl)
{
	errno = 0;
	return syscall(w ? SYS_process_vm_writev : SYS_process_vm_readv, pid, l, (long)nl, r,
		       (long)nr, (long)fl);
}
static void pvm(void)
{
	mm(0, 4, RW, PRV);
	memset(at(0), 'A', 4 * PG);
	mm(10, 4, RW, PRV);
	munmap(at(2), PG);
	int me = getpid();
	struct iovec l[3] = {{at(10), 100}, {at(11), PG * 2}, {at(13), PG}},
		     r[3] = {{at(0), 50}, {at(1) - 10, PG * 2}, {at(3), PG}};
	R(pv(0, me, l, 1, r, 1, 0));
	R(pv(0, me, l, 3, r, 3, 0));
	R(pv(0, me, l, 2, r + 1, 2, 0));
	R(pv(0, me, l, 0, r, 1, 0));
	R(pv(0, me, l, 1, r, 0, 0));
	R(pv(0, me, l, 1025, r, 1, 0));
	R(pv(0, me, l, 1, r, 1025, 0));
	R(pv(0, me, l, 1, r, -1, 0));
	R(pv(0, me, l, 1, r, 1, 1));
	R(pv(0, 99999, l, 1, r, 1, 0));
	R(pv(0, 0, l, 1, r, 1, 0));
	R(pv(0, -1, l, 1, r, 1, 0));
	R(pv(0, 99999, l, 0, r, 1, 0));
	R(pv(0, 99999, l, 1, r, 0, 0));
	R(pv(0, me, (void *)8, 1, r, 1, 0));
	R(pv(0, me, l, 1, (void *)8, 1, 0));
	struct iovec b = {at(2), 10}, n = {at(0), -1}, k = {(void *)-4096L, 10}, z = {0, 0};
	R(pv(0, me, l, 1, &b, 1, 0));
	R(pv(0, me, &b, 1, r, 1, 0));
	R(pv(0, me, l, 1, &n, 1, 0));
	R(pv(0, me, &n, 1, r, 1, 0));
	R(pv(0, me, l, 1, &k, 1, 0));
	R(pv(0, me, &k, 1, r, 1, 0));
	R(pv(0, me, l, 1, &z, 1, 0));
	R(pv(0, me, &z, 1, r, 1, 0));
	struct iovec e = {at(4) - 10, 20}, f = {at(14) - 10, 20};
	R(pv(0, me, l, 1, &e, 1, 0));
	R(pv(0, me, &f, 1, r + 1, 1, 0));
	R(pv(1, me, l, 1, &e, 1, 0));
	R(pv(1, me, &f, 1, r + 1, 1, 0));
	struct iovec ff[2] = {{at(14) - 10, 20}, {at(10), 5}};
	R(pv(0, me, ff, 2, r + 1, 1, 0));
	R(pv(1, me, ff, 2, r + 1, 1, 0));
	mprotect(at(3), PG, PROT_READ);
	R(pv(1, me, l, 1, r + 2, 1, 0));
	mprotect(at(3), PG, PROT_NONE);
	R(pv(0, me, l, 1, r + 2, 1, 0));
	mprotect(at(3), PG, PROT_EXEC);
	R(pv(0, me, l, 1, r + 2, 1, 0));
	mprotect(at(13), PG, PROT_READ);
	R(pv(0, me, l + 2, 1, r, 1, 0));
	char *v = (char *)getauxval(AT_SYSINFO_EHDR);
	struct iovec vd = {v, 10}, vv = {v - 4 * PG, 10}, vs = {(void *)0xffffffffff600000, 10};
	R(pv(0, me, l, 1, &vd, 1, 0));
	R(pv(0, me, l, 1, &vv, 1, 0));
	R(pv(0, me, l, 1, &vs, 1, 0));
	R(pv(1, me, l, 1, &vd, 1, 0));
	int c = fork();
	if (!c) {
		pause();
	}
	setresuid(1000, 1000, 1000);
	R(pv(0, c, l, 1, r, 1, 0));
	R(pv(0, me, l, 1, r, 1, 0));
	kill(c, 9);
}
static volatile int many = 1025;
static void *volatile nowhere = (void *)8;
static void part(void)
{
	char *b = mm(0, 4, RW, PRV);
	memset(b, 'x', 4 * PG);
	munmap(at(2), 2 * PG);
	char *e = at(2);
	mprotect(mm(5, 1, RW, PRV), PG, PROT_READ);
	char *ro = at(5);
	mm(4, 1, RW, PRV);
	int f = tmpf(6), m = memfd_create("m", 0), p[2], s[2], dg[2], sq[2];
	for (int i = 0; i < 6; i++)
		write(m, at(0), PG);
	pipe(p);
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	socketpair(AF_UNIX, SOCK_DGRAM, 0, dg);
	socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sq);
	struct {
		const char *n;
		int r, w;
	} k[] = {{"file", f, f},
		 {"memfd", m, m},
		 {"pipe", p[0], p[1]},
		 {"stream", s[0], s[1]},
		 {"dgram", dg[0], dg[1]},
		 {"seqpacket", sq[0], sq[1]},
		 {"null", open("/dev/null", O_RDONLY), open("/dev/null", O_WRONLY)},
		 {"urandom", open("/dev/urandom", O_RDONLY), open("/dev/full", O_WRONLY)},
		 {"version", open("/proc/sys/kernel/ostype", O_RDONLY), -1},
		 {"procmem", open("/proc/self/mem", O_RDWR), -1}};
	for (int i = 2; i < 6; i++) {
		fcntl(k[i].r, F_SETFL, O_NONBLOCK);
		fcntl(k[i].w, F_SETFL, O_NONBLOCK);
	}
	for (int i = 0; i < 10; i++) {
		int r = k[i].r, w = k[i].w;
		printf("- %s\n", k[i].n);
#define D                                     \
	if (i >= 2 && i < 6) {                \
		char t[70000];                \
		while (read(r, t, 70000) > 0) \
			;                     \
	}
#define FILL                 \
	if (i >= 2 && i < 6) \
	write(w, at(0), 100)
		if (w >= 0) {
			D;
			R(write(w, e - 10, 20));
			D;
			R(write(w, e, 1));
			D;
			R(write(w, e - PG - 10, 2 * PG));
			D;
			R(write(w, e - 2 * PG, 3 * PG));
			D;
			struct iovec v[3] = {{at(0), 10}, {e - 5, 10}, {at(0), 10}};
			R(writev(w, v, 3));
			D;
			struct iovec v2[2] = {{e, 10}, {at(0), 10}};
			R(writev(w, v2, 2));
			D;
			struct iovec v3[3] = {{at(0), 10}, {at(1), 10}, {e, 10}};
			R(writev(w, v3, 3));
			D;
			R(pwrite(w, e - 10, 20, 0));
			R(pwritev(w, v, 3, 0));
			struct msghdr mh = {.msg_iov = v, .msg_iovlen = 3};
			R(sendmsg(w, &mh, MSG_DONTWAIT));
			D;
			R(send(w, e - 10, 20, 0));
			D;
			R(write(w, (void *)0x7fffffffe000, PG * 2));
			R(write(w, (void *)-4096L, 1));
			R(write(w, at(0), 0));
			R(write(w, (void *)8, 0));
			R(writev(w, v, 0));
			R(writev(w, v, many));
			R(writev(w, nowhere, 1));
			struct iovec v4[2] = {{at(0), -1}, {at(0), 1}};
			R(writev(w, v4, 2));
			D;
		}
		lseek(r, 0, 0);
		if (i == 9)
			lseek(r, A, 0);
		FILL;
		R(read(r, e - 10, 20));
		D;
		FILL;
		R(read(r, e, 1));
		D;
		FILL;
		FILL;
		R(read(r, e - PG - 10, 2 * PG));
		D;
		lseek(r, i == 9 ? A : 0, 0);
		FILL;
		struct iovec v[3] = {{at(0), 10}, {e - 5, 10}, {at(0), 10}};
		R(readv(r, v, 3));
		D;
		FILL;
		struct iovec v2[2] = {{e, 10}, {at(0), 10}};
		R(readv(r, v2, 2));
		D;
		FILL;
		struct iovec v3[3] = {{at(0), 10}, {at(1), 10}, {e, 10}};
		R(readv(r, v3, 3));
		D;
		FILL;
		lseek(r, i == 9 ? A : 0, 0);
		R(read(r, ro, 10));
		D;
		FILL;
		R(read(r, ro - 10, 20));
		D;
		R(pread(r, e - 10, 20, i == 9 ? A : 0));
		R(preadv(r, v, 3, i == 9 ? A : 0));
		FILL;
		struct msghdr mh = {.msg_iov = v, .msg_iovlen = 3};
		R(recvmsg(r, &mh, MSG_DONTWAIT));
		D;
		FILL;
		R(recv(r, e - 10, 20, MSG_DONTWAIT));
		R(recv(r, at(0), 200, MSG_DONTWAIT));
		D;
		FILL;
		R(recv(r, e - 10, 20, MSG_DONTWAIT | MSG_PEEK));
		R(read(r, at(0), 0));
		R(read(r, (void *)8, 0));
		R(readv(r, v, 0));
		D;
	}
	// sendfile splice etc
	lseek(f, 0, 0);
	R(sendfile(p[1], f, (void *)8, 10));
	R(sendfile(p[1], f, (void *)e, 10));
	off_t *o = (void *)(ro);
	R(sendfile(p[1], f, o, 10));
	{
		char t[9000];
		while (read(p[0], t, 9000) > 0)
			;
	}
	R(splice(f, (void *)8, p[1], 0, 10, 0));
	R(splice(f, (void *)ro, p[1], 0, 10, 0));
	struct iovec v[2] = {{e - 10, 20}, {at(0), 10}};
	R(vmsplice(p[1], v, 2, 0));
	{
		char t[9000];
		while (read(p[0], t, 9000) > 0)
			;
	}
	R(vmsplice(p[1], (void *)8, 1, 0));
	int d = open("/proc/self", O_RDONLY | O_DIRECTORY), d2 = open("/", O_RDONLY | O_DIRECTORY);
	R(syscall(SYS_getdents64, d, e, 100));
	R(syscall(SYS_getdents64, d, e - 30, 100));
	R(syscall(SYS_getdents64, d2, e - 30, 100));
	R(syscall(SYS_getdents64, d2, e - 30, 10));
	R(syscall(SYS_getdents64, d2, e, 0));
	R(syscall(SYS_getcwd, e - 1, 100));
	R(syscall(SYS_getcwd, e - 2, 2));
	R(syscall(SYS_getcwd, e - 2, 1));
	R(readlink("/proc/self/exe", e - 2, 100));
	R(readlink("/proc/self/exe", e, 0));
	R(pipe((int *)(e - 4)));
	R(stat("/", (void *)(e - 10)));
	e[-1] = 0; /* the call before left a part of a number there */
	R(stat(e - 1, (void *)at(0)));
	e[-1] = '/';
	R(open(e - 1, O_RDONLY));
	R(ioctl(p[0], FIONREAD, e));
	R(syscall(SYS_uname, e - 10));
	R(syscall(SYS_clock_gettime, 0, e - 8));
	R(syscall(SYS_gettimeofday, e - 8, 0));
	R(syscall(SYS_gettimeofday, 0, e - 4));
	R(syscall(SYS_clock_gettime, 1, e - 8));
	R(syscall(SYS_time, e));
	R(poll((void *)(e - 4), 1, 0));
	R(select(1, (void *)(e - 4), 0, 0, 0));
	R(nanosleep((void *)(e - 8), 0));
	R(syscall(SYS_getrandom, e - 10, 20, 0));
	R(syscall(SYS_getrandom, e, 20, 0));
	R(syscall(SYS_rt_sigprocmask, 0, e - 4, 0, 8));
	R(syscall(SYS_rt_sigprocmask, 0, 0, e - 4, 8));
	R(syscall(SYS_sigaltstack, e - 8, 0));
	R(syscall(SYS_sigaltstack, 0, e - 8));
	R(syscall(SYS_futex, e, 0, 0, 0));
	R(syscall(SYS_futex, e - 2, 0, 5, 0));
	R(getrlimit(0, (void *)(e - 8)));
	R(wait4(-1, (void *)8, 0, 0));
	R(syscall(SYS_getgroups, 1, e));
	R(syscall(SYS_prlimit64, 0, 0, 0, e - 8));
	R(syscall(SYS_sched_getaffinity, 0, 8, e - 4));
	R(syscall(SYS_epoll_wait, epoll_create(1), e - 4, 1, 0));
	R(syscall(SYS_rt_sigpending, e - 4, 8));
	R(syscall(SYS_times, e - 8));
	R(syscall(SYS_sysinfo, e - 8));
	R(syscall(SYS_getrusage, 0, e - 8));
	R(syscall(SYS_accept, s[0], e, e));
	R(syscall(SYS_getsockname, s[0], e, at(0)));
	R(syscall(SYS_getsockopt, s[0], 1, 3, e - 2, at(1)));
}
int main()
{
	init();
	signal(SIGPIPE, SIG_IGN);
	T(shm);
	T(shm2);
	T(pvm);
	T(part);
}
