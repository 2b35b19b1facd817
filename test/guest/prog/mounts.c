/* SPDX-License-Identifier: MIT */
/* Mounts and their namespaces, as Linux 6.1 has them: all in a namespace of its own, on a tmpfs. */
#include "probe.h"
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#define TOP "/tmp/mounts"
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif
#ifndef FALLOC_FL_KEEP_SIZE
#define FALLOC_FL_KEEP_SIZE 1
#endif

/* The mounts below TOP: point, root, options, type, source, its options. */
static void list(void)
{
	FILE *f = fopen("/proc/self/mountinfo", "r");
	char l[1024], root[256], point[256], rest[512], *p;

	while (fgets(l, sizeof(l), f)) {
		if (sscanf(l, "%*d %*d %*s %255s %255s %511[^\n]", root, point, rest) != 3)
			continue;
		if (strncmp(point, TOP, strlen(TOP)))
			continue;
		if ((p = strstr(rest, ",inode64")))
			*p = 0;
		printf("   %s %s %s\n", point + strlen(TOP), root, rest);
	}
	fclose(f);
}

static void show(const char *path)
{
	char b[64];
	int f = open(path, O_RDONLY), n = read(f, b, 63);

	if (f < 0)
		printf("   %s: %s\n", path + strlen(TOP), en(errno));
	else
		printf("   %s: %.*s\n", path + strlen(TOP), n > 0 ? n : 0, b);
	close(f);
}

static int put(const char *path, const char *text)
{
	int f = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644), r = f < 0 ? -1 : 0;

	if (f >= 0 && write(f, text, strlen(text)) < 0)
		r = -1;
	if (f >= 0)
		close(f);
	return r;
}

/* A namespace with a fresh tmpfs at TOP. */
static void fresh(void)
{
	mkdir(TOP, 0755);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) ||
	    mount("top", TOP, "tmpfs", 0, "mode=755,nr_inodes=60"))
		puts("no namespace");
	chdir(TOP);
}

static void room(const char *path)
{
	struct statfs s;

	if (statfs(path, &s))
		printf("   statfs: %s\n", en(errno));
	else
		printf("   type %lx blocks %ld free %ld files %ld free %ld flags %lx name %ld\n",
		       (long)s.f_type, (long)s.f_blocks, (long)s.f_bfree, (long)s.f_files,
		       (long)s.f_ffree, (long)s.f_flags, (long)s.f_namelen);
}

static void calls(void)
{
	fresh();
	list();
	R(mount("x", "nowhere", "tmpfs", 0, NULL));
	R(mount("x", (char *)8, "tmpfs", 0, NULL));
	R(mount((char *)8, "nowhere", "tmpfs", 0, NULL));
	R(mount("x", "nowhere", (char *)8, 0, NULL));
	R(mount("x", "nowhere", "tmpfs", 0, (char *)8));
	mkdir("d", 0755);
	put("f", "file");
	symlink("d", "l");
	R(mount("x", "d", NULL, 0, NULL));
	R(mount("x", "d", "nosuchfs", 0, NULL));
	R(mount("x", "f", "tmpfs", 0, NULL));
	R(mount("x", "d", "tmpfs", 0, "size=64k,what"));
	R(mount("x", "d", "tmpfs", 0, "size=6x"));
	R(mount("x", "d", "tmpfs", 0, "mode=9"));
	R(mount("x", "d", "tmpfs", 0, "uid=-1"));
	R(mount("x", "d", "tmpfs", 0, "size"));
	R(mount(NULL, "l", "tmpfs", MS_NOSUID | MS_NODEV, ",,size=64k,"));
	list();
	R(mount("y", "d", "tmpfs", MS_RDONLY | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME,
		"nr_blocks=10,nr_inodes=3k,mode=1700,uid=12,gid=13"));
	R(mount("y", "d", "tmpfs", MS_STRICTATIME | MS_NOSYMFOLLOW, "size=0,nr_inodes=0"));
	list();
	R(umount2("d", 16));
	R(umount2("nowhere", 0));
	R(umount2("f", 0));
	R(umount2("l", UMOUNT_NOFOLLOW));
	R(umount2("l", 0));
	R(umount2("d", MNT_DETACH));
	R(umount2("d", MNT_FORCE));
	R(umount2("d", 0));
	list();
	R(mount("x", "d", "tmpfs", MS_REMOUNT, NULL));
	R(mount("nowhere", "d", NULL, MS_BIND, NULL));
	R(mount(NULL, "d", NULL, MS_BIND, NULL));
	R(mount("", "d", NULL, MS_MOVE, NULL));
	R(mount("d", "f", NULL, MS_MOVE, NULL));
	R(mount("d", "f", NULL, MS_BIND, NULL));
	R(mount("f", "d", NULL, MS_BIND, NULL));
	R(mount(NULL, "d", NULL, MS_PRIVATE, NULL));
	R(mount(NULL, ".", NULL, MS_PRIVATE | MS_SLAVE, NULL));
	R(mount(NULL, ".", NULL, MS_PRIVATE | MS_NOEXEC, NULL));
	R(mount(NULL, ".", NULL, MS_PRIVATE, NULL));
	R(mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL));
	R(mount("p", "d", "proc", 0, NULL));
	R(mount("p", "d", "proc", 0, NULL));
	list();
	R(umount2("d", MNT_DETACH));
	R(umount2("d", MNT_DETACH));
	R(umount2("d", MNT_DETACH));
	setresuid(7, 7, 7);
	R(mount("x", "nowhere", "tmpfs", 0, NULL));
	R(mount("x", "d", "tmpfs", 0, NULL));
	R(mount("x", "d", NULL, 0, NULL));
	R(umount2("d", 0));
	R(umount2("nowhere", 0));
	R(umount2("d", 16));
	R(unshare(CLONE_NEWNS));
	R(syscall(SYS_unshare, 0x40000000000UL));
}

static void binds(void)
{
	fresh();
	mkdir("a", 0755), mkdir("a/b", 0755), mkdir("c", 0755), mkdir("e", 0755);
	put("a/b/x", "in a/b");
	put("g", "g"), put("h", "h");
	R(mount("sub", "a/b", "tmpfs", MS_NOEXEC, "size=1M,nr_inodes=30"));
	put("a/b/x", "in sub");
	R(mount("a", "c", NULL, MS_BIND | MS_NODEV, NULL));
	show(TOP "/c/b/x");
	R(mount("a", "e", NULL, MS_BIND | MS_REC, NULL));
	show(TOP "/e/b/x");
	list();
	R(mount("g", "h", NULL, MS_BIND, NULL));
	show(TOP "/h");
	R(put("h", "new"));
	show(TOP "/g");
	R(unlink("h"));
	R(rename("h", "i"));
	R(rename("g", "h"));
	R(unlink("g"));
	show(TOP "/h");
	list();
	R(umount("h"));
	show(TOP "/h");
	R(rmdir("c"));
	R(rename("a/b", "a/z"));
	R(mount(NULL, "e/b", NULL, MS_UNBINDABLE, NULL));
	R(mount("e/b", "c", NULL, MS_BIND, NULL));
	R(umount("c"));
	R(mount("e", "c", NULL, MS_BIND | MS_REC, NULL));
	list();
	R(umount("c"));
	R(umount("e"));
	R(umount2("e", MNT_DETACH));
	R(link("a/b/x", "a/y"));
	R(rename("a/b/x", "a/y"));
	mkdir("a/b/deep", 0755);
	R(mount("a/b/deep", "c", NULL, MS_BIND, NULL));
	R(link("a/b/x", "c/y"));
	list();
	R(rmdir("a/b/deep"));
	list();
	R(put("c/new", "x"));
	R(umount("c"));
}

static void moves(void)
{
	fresh();
	mkdir("a", 0755), mkdir("b", 0755), put("f", "f");
	R(mount("a", "a", "tmpfs", 0, "size=1M,nr_inodes=30"));
	mkdir("a/sub", 0755);
	R(mount("sub", "a/sub", "tmpfs", 0, "size=1M,nr_inodes=30"));
	put("a/sub/x", "x");
	R(mount("b", "a", NULL, MS_MOVE, NULL));
	R(mount("a", "a/sub", NULL, MS_MOVE, NULL));
	R(mount("a", "f", NULL, MS_MOVE, NULL));
	R(mount("a", "nowhere", NULL, MS_MOVE, NULL));
	R(mount("a", "b", NULL, MS_MOVE, NULL));
	show(TOP "/b/sub/x");
	show(TOP "/a/sub/x");
	list();
	int d = open("b/sub", O_RDONLY | O_DIRECTORY);
	R(umount("b"));
	R(umount("b/sub"));
	chdir("b/sub");
	R(umount2(TOP "/b", MNT_DETACH));
	show(TOP "/b/sub/x");
	char cwd[256];
	R(syscall(SYS_getcwd, cwd, 256));
	puts(cwd);
	R(access("x", F_OK));
	R(put("y", "y"));
	R(openat(d, "y", O_RDONLY) >= 0);
	R(chdir(".."));
	R(syscall(SYS_getcwd, cwd, 256));
	puts(cwd);
	R(mount("z", ".", "tmpfs", 0, NULL));
	R(mount(".", TOP "/a", NULL, MS_BIND, NULL));
	R(umount2(".", MNT_DETACH));
	memset(cwd, 0, 256);
	R(readlink("/proc/self/cwd", cwd, 255));
	puts(cwd);
	R(fchdir(d));
	R(chdir(TOP));
}

static void expiry(void)
{
	fresh();
	mkdir("a", 0755);
	R(mount("a", "a", "tmpfs", 0, "size=1M,nr_inodes=30"));
	R(umount2("a", MNT_EXPIRE | MNT_DETACH));
	R(umount2("a", MNT_EXPIRE));
	R(access("a/x", F_OK));
	R(umount2("a", MNT_EXPIRE));
	int f = open("a", O_RDONLY);
	R(umount2("a", MNT_EXPIRE));
	close(f);
	R(umount2("a", MNT_EXPIRE));
	R(umount2("a", MNT_EXPIRE));
	R(umount2("a", MNT_EXPIRE));
}

static void readonly(void)
{
	fresh();
	mkdir("a", 0755);
	R(mount("a", "a", "tmpfs", 0, "size=1M,nr_inodes=30"));
	put("a/f", "f"), mkdir("a/d", 0755), symlink("f", "a/l"), mkfifo("a/p", 0666);
	int f = open("a/f", O_RDWR), g;
	R(mount(NULL, "a", NULL, MS_REMOUNT | MS_RDONLY, NULL));
	R(mount(NULL, "a", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	close(f);
	f = open("a/f", O_RDONLY);
	for (int k = 0; k < 2; k++) {
		R(mount(NULL, "a", NULL, MS_REMOUNT | (k ? 0 : MS_BIND) | MS_RDONLY | MS_NOEXEC,
			NULL));
		list();
		R(open("a/f", O_RDWR));
		R(open("a/f", O_RDONLY | O_TRUNC));
		R(open("a/f", O_RDONLY | O_CREAT, 0644) >= 0);
		R(open("a/new", O_RDONLY | O_CREAT, 0644));
		R(open("a/f", O_RDONLY | O_CREAT | O_EXCL, 0644));
		R(open("a", O_RDWR | O_TMPFILE, 0644));
		R(open("a/p", O_RDWR) >= 0);
		R(mkdir("a/new", 0755));
		R(mkdir("a/d", 0755));
		R(rmdir("a/d"));
		R(rmdir("a/no"));
		R(unlink("a/f"));
		R(unlink("a/no"));
		R(rename("a/f", "a/g"));
		R(link("a/f", "a/g"));
		R(symlink("x", "a/g"));
		R(mknod("a/g", S_IFIFO | 0644, 0));
		R(chmod("a/f", 0600));
		R(fchmod(f, 0600));
		R(chown("a/f", 1, 1));
		R(truncate("a/f", 0));
		R(truncate("a/d", 0));
		R(utimensat(AT_FDCWD, "a/f", NULL, 0));
		R(access("a/f", W_OK));
		R(access("a/p", W_OK));
		R(access("a/d", W_OK));
		R(access("a/f", X_OK));
		room("a");
		R(mount(NULL, "a", NULL, MS_REMOUNT, NULL));
		list();
	}
	R((g = open("a/f", O_RDWR)) >= 0);
	R(mount(NULL, "a", NULL, MS_REMOUNT | MS_RDONLY | MS_BIND, NULL));
	close(g);
	mkdir("b", 0755);
	R(mount("a", "b", NULL, MS_BIND, NULL));
	R(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	R(put("b/x", "x"));
	R(put("a/x", "x"));
	R(link("a/f", "b/g"));
	R(rename("a/f", "b/g"));
	list();
	room("a");
	room("b");
}

static void flags(void)
{
	fresh();
	mkdir("a", 0755);
	R(mount("a", "a", "tmpfs", 0, "size=2M,nr_inodes=30"));
	mknod("a/null", S_IFCHR | 0666, makedev(1, 3));
	symlink("run", "a/link");
	put("a/run", "#!/bin/sh\n");
	chmod("a/run", 0755);
	int f = open("a/run", O_RDONLY);
	R(open("a/null", O_RDWR) >= 0);
	R(mmap(0, PG, PROT_READ | PROT_EXEC, MAP_PRIVATE, f, 0) != MAP_FAILED);
	R(access("a/run", X_OK));
	R(mount(NULL, "a", NULL, MS_REMOUNT | MS_BIND | MS_NODEV | MS_NOEXEC | MS_NOSYMFOLLOW,
		NULL));
	R(open("a/null", O_RDWR));
	R(open("a/null", O_PATH) >= 0);
	R(access("a/null", W_OK));
	R(mmap(0, PG, PROT_READ | PROT_EXEC, MAP_PRIVATE, f, 0));
	char *p = mmap(0, PG, PROT_READ, MAP_PRIVATE, f, 0);
	R(mprotect(p, PG, PROT_READ | PROT_EXEC));
	R(access("a/run", X_OK));
	R(execl("a/run", "run", NULL));
	R(fexecve(f, (char *[]){"run", NULL}, environ));
	R(open("a/link", O_RDONLY));
	R(open("a/link", O_PATH | O_NOFOLLOW) >= 0);
	char b[8];
	R(readlink("a/link", b, 8));
	list();
	room("a");
}

static void full(void)
{
	struct stat st;
	static char buf[65536];

	fresh();
	mkdir("a", 0755);
	R(mount("a", "a", "tmpfs", 0, "size=32k,nr_inodes=6"));
	room("a");
	int f = open("a/f", O_RDWR | O_CREAT, 0644);
	R(write(f, buf, 10000));
	room("a");
	R(write(f, buf, 65536));
	R(write(f, buf, 65536));
	R(pwrite(f, buf, 10, 0));
	fstat(f, &st);
	printf("   size %ld blocks %ld\n", (long)st.st_size, (long)st.st_blocks);
	R(ftruncate(f, 0));
	room("a");
	R(fallocate(f, 0, 0, 65536));
	room("a");
	R(fallocate(f, 0, 0, 16384));
	R(fallocate(f, FALLOC_FL_KEEP_SIZE, 16384, 16384));
	room("a");
	R(fallocate(f, 0, 32768, 4096));
	R(ftruncate(f, 65536));
	char *m = mmap(at(0), 65536, RW, SHR | MAP_FIXED, f, 0);
	TRY(m[0] = 1);
	TRY(m[32768] = 1);
	TRY(m[32768] += m[36864]);
	R(pread(f, buf, 1, 32768));
	R(read(open("/dev/zero", O_RDONLY), m + 28672, 8192));
	R(madvise(m + 32768, 4096, MADV_POPULATE_WRITE));
	R(fallocate(f, FALLOC_FL_KEEP_SIZE | 2, 0, 4096));
	TRY(m[32768] = 1);
	TRY(m[0] = 1);
	R(mmap(at(16), 65536, RW, PRV | MAP_FIXED, f, 0) != MAP_FAILED);
	TRY(*at(16 + 9) = 1);
	R(ftruncate(f, 0));
	R(mount(NULL, "a", NULL, MS_REMOUNT, "size=4k"));
	R(pwrite(f, buf, 8192, 0));
	R(mount(NULL, "a", NULL, MS_REMOUNT, "size=16k"));
	R(pwrite(f, buf, 8192, 0));
	R(mount(NULL, "a", NULL, MS_REMOUNT, "size=4k"));
	R(mount(NULL, "a", NULL, MS_REMOUNT, "nr_inodes=1"));
	R(mount(NULL, "a", NULL, MS_REMOUNT, "mode=1,what"));
	list();
	room("a");
	for (int k = 0; k < 6; k++) {
		char name[16];
		sprintf(name, "a/%d", k);
		R(k & 1 ? mkdir(name, 0755) : symlink("x", name));
	}
	R(open("a/x", O_RDWR | O_CREAT, 0644));
	R(open("a", O_RDWR | O_TMPFILE, 0644));
	R(mknod("a/x", S_IFIFO | 0644, 0));
	R(link("a/f", "a/g"));
	R(unlink("a/0"));
	R(link("a/f", "a/g"));
	room("a");
	R(unlink("a/f"));
	room("a");
	R(unlink("a/g"));
	room("a");
	close(f);
	munmap(m, 131072);
	room("a");
	R(mount(NULL, "a", NULL, MS_REMOUNT, "size=0,nr_inodes=0"));
	R(mount(NULL, "a", NULL, MS_REMOUNT, "size=1M,nr_inodes=30"));
	room("a");
	R(umount("a"));
	f = memfd_create("m", 0);
	struct statfs s;
	R(fstatfs(f, &s));
	printf("   type %lx blocks %ld files %ld\n", (long)s.f_type, (long)s.f_blocks,
	       (long)s.f_files);
}

/* Files without a name, which may get one. */
static void unnamed(void)
{
	struct stat st;
	char p[64];

	fresh();
	R(open(".", O_RDWR | O_TMPFILE | O_CREAT, 0644));
	R(open(".", O_RDONLY | O_TMPFILE, 0644));
	R(open(".", O_RDWR | (O_TMPFILE & ~O_DIRECTORY), 0644));
	R(open(".", O_RDWR | O_TMPFILE | O_PATH, 0644) >= 0);
	int f = open(".", O_RDWR | O_TMPFILE, 0644);
	R(fcntl(f, F_GETFL) & ~0100000);
	R(linkat(f, "", AT_FDCWD, "1", AT_EMPTY_PATH));
	R(stat("1", &st));
	printf("   links %d\n", (int)st.st_nlink);
	R(linkat(f, "", AT_FDCWD, "2", AT_EMPTY_PATH));
	R(unlink("1"));
	R(unlink("2"));
	R(linkat(f, "", AT_FDCWD, "1", AT_EMPTY_PATH));
	f = open(".", O_RDWR | O_TMPFILE | O_EXCL, 0644);
	R(linkat(f, "", AT_FDCWD, "1", AT_EMPTY_PATH));
	f = open(".", O_RDWR | O_TMPFILE, 0644);
	sprintf(p, "/proc/self/fd/%d", f);
	R(linkat(AT_FDCWD, p, AT_FDCWD, "1", AT_SYMLINK_FOLLOW));
	chmod(".", 0777);
	setresuid(7, 7, 7);
	f = open(".", O_RDWR | O_TMPFILE, 0644);
	R(linkat(f, "", AT_FDCWD, "3", AT_EMPTY_PATH));
	sprintf(p, "/proc/self/fd/%d", f);
	R(linkat(AT_FDCWD, p, AT_FDCWD, "3", AT_SYMLINK_FOLLOW));
}

static int ready[2], go[2];
static void step(int *p)
{
	char c = 0;
	write(p[1], &c, 1);
}
static void await(int *p)
{
	char c;
	read(p[0], &c, 1);
}

static void namespaces(void)
{
	char mine[64] = "", other[64] = "", path[64];
	struct stat a, b;

	fresh();
	mkdir("a", 0755), mkdir("b", 0755), put("file", "file");
	pipe(ready), pipe(go);
	R(readlink("/proc/self/ns/mnt", mine, 63) > 0);
	pid_t p = syscall(SYS_clone, CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
	if (!p) {
		char cwd[64];
		R(mount("a", "a", "tmpfs", 0, "size=1M,nr_inodes=30"));
		put("a/x", "in the child's");
		R(mount("b", "b", "tmpfs", 0, "size=1M,nr_inodes=30"));
		R(mount("a/x", "file", NULL, MS_BIND, NULL));
		show(TOP "/a/x");
		show(TOP "/file");
		R(!!getcwd(cwd, 64));
		puts(cwd);
		R(chdir("b"));
		fflush(stdout);
		step(ready);
		await(go);
		list();
		R(access("a/x", F_OK));
		R(access("../b/x", F_OK));
		fflush(stdout);
		_exit(0);
	}
	await(ready);
	R(access("a/x", F_OK));
	show(TOP "/file");
	list();
	sprintf(path, "/proc/%d/ns/mnt", p);
	R(readlink(path, other, 63) > 0);
	R(!!strcmp(mine, other));
	R(strncmp(other, "mnt:[40265", 10));
	R(stat(path, &a));
	R(lstat(path, &b));
	printf("   %o %o %d %d\n", a.st_mode, b.st_mode, (int)b.st_size,
	       other[strlen(other) - 1] == ']');
	R(atoi(other + 5) == (int)a.st_ino);
	sprintf(path, "/proc/%d/root/tmp/mounts/a/x", p);
	show(path - 0);
	sprintf(path, "/proc/%d/mounts", p);
	R(access(path, R_OK));
	/* What is a mount point only there can go. */
	R(rmdir("a"));
	R(unlink("file"));
	R(rename("b", "moved"));
	sprintf(path, "/proc/%d/ns/mnt", p);
	int f = open(path, O_RDONLY);
	R(ioctl(f, 0xb703));
	R(ioctl(f, 0xb704));
	R(ioctl(f, 0x5401));
	R(read(f, path, 1));
	R(write(f, path, 1));
	R(setns(f, CLONE_NEWUTS));
	R(setns(0, 0));
	R(setns(-1, 0));
	pid_t q = fork();
	if (!q) {
		R(setns(f, CLONE_NEWNS));
		char cwd[64];
		R(!!getcwd(cwd, 64));
		puts(cwd);
		R(access(TOP "/moved/x", F_OK));
		list();
		fflush(stdout);
		_exit(0);
	}
	waitpid(q, NULL, 0);
	q = fork();
	if (!q) {
		int pf = syscall(SYS_pidfd_open, p, 0);
		R(setns(pf, 0));
		R(setns(pf, 1));
		R(setns(pf, CLONE_NEWNS));
		list();
		R(chroot(TOP));
		show("/proc/self/mounts" - 0);
		setresuid(7, 7, 7);
		R(setns(pf, CLONE_NEWNS));
		R(setns(f, CLONE_NEWNS));
		fflush(stdout);
		_exit(0);
	}
	waitpid(q, NULL, 0);
	step(go);
	waitpid(p, NULL, 0);
	list();
	/* The namespace lives on in the file. */
	q = fork();
	if (!q) {
		R(setns(f, 0));
		list();
		fflush(stdout);
		_exit(0);
	}
	waitpid(q, NULL, 0);
}

/* A name goes on which two other namespaces have a mount each. */
static void two_others(void)
{
	pid_t p[2];

	fresh();
	mkdir("d", 0755), mkdir("d/in", 0755);
	R(mount("x", "d", "tmpfs", 0, "size=1M,nr_inodes=30"));
	pipe(ready), pipe(go);
	for (int k = 0; k < 2; k++) {
		p[k] = syscall(SYS_clone, CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
		if (!p[k]) {
			step(ready);
			await(go);
			_exit(access("d", F_OK) ? errno : 0);
		}
		await(ready);
	}
	R(rmdir("d/in"));
	R(umount("d"));
	R(rmdir("d/in"));
	R(rmdir("d"));
	step(go), step(go);
	for (int k = 0; k < 2; k++) {
		int s;
		waitpid(p[k], &s, 0);
		printf("   %s\n", en(WEXITSTATUS(s)));
	}
	mkdir("d", 0755);
	list();
}

static void where(void)
{
	char b[256];
	int n;

	n = syscall(SYS_getcwd, b, sizeof(b));
	printf("   %s\n", n < 0 ? en(errno) : b);
	n = readlink("/proc/self/cwd", b, sizeof(b));
	printf("   %.*s\n", n < 0 ? 0 : n, b);
}

/* A directory is moved out of what a mount shows. */
static void escapes(void)
{
	fresh();
	mkdir("a", 0755), mkdir("a/b", 0755), mkdir("a/b/c", 0755), mkdir("a/b/c/d", 0755);
	mkdir("m", 0755), put("a/secret", "x");
	R(mount("a/b", "m", NULL, MS_BIND, NULL));
	R(chdir("m/c/d"));
	where();
	R(rename(TOP "/a/b/c", TOP "/a/c"));
	where();
	R(access("..", F_OK));
	R(access("../..", F_OK));
	R(access("../../secret", F_OK));
	R(chdir(".."));
	R(chdir(".."));
	where();
	R(rename(TOP "/a/c", TOP "/a/b/c"));
	R(chdir(".."));
	where();
	R(chdir(".."));
	where();
}

static void limits(void)
{
	int n = 0;

	fresh();
	mkdir("d", 0755);
	R(put("/proc/sys/fs/mount-max", "0"));
	R(access("/proc/sys/fs/mount-max", W_OK));
	R(put("/proc/sys/fs/mount-max", "200"));
	while (n < 20 && !mount(TOP, "d", NULL, MS_BIND | MS_REC, NULL))
		n++;
	printf("   %d times, then %s\n", n, en(errno));
	R(mount("x", "nowhere", "tmpfs", 0, NULL));
	R(unshare(CLONE_NEWNS));
	R(put("/proc/sys/fs/mount-max", "3"));
	R(mount("x", "d", "tmpfs", 0, NULL));
	R(umount2("d", MNT_DETACH));
	R(mount("x", "d", "tmpfs", 0, NULL));
	R(put("/proc/sys/fs/mount-max", "100000"));
	R(mount("x", "d", "tmpfs", 0, "size=64k,nr_inodes=30"));
	R(umount("d"));
}

/* The old mark of mount(2)'s flags has a bit in common with MS_RELATIME; what fails leaves
 * everything as it was. */
static void remounts(void)
{
	fresh();
	mkdir("d", 0755);
	R(mount("x", "d", "tmpfs", 0xc0ed0000 | MS_NOATIME, "size=64k,nr_inodes=30"));
	R(mount(NULL, "d", NULL, 0xc0ed0000 | MS_REMOUNT | MS_BIND | MS_NOSUID, NULL));
	list();
	put("d/f", "x");
	int f = open("d/f", O_RDWR);
	R(mount(NULL, "d", NULL, MS_REMOUNT | MS_RDONLY, "size=128k"));
	list();
	R(fallocate(f, FALLOC_FL_KEEP_SIZE, 10 * PG, 5 * PG));
	int g = open("d/g", O_RDWR | O_CREAT, 0644);
	R(fallocate(g, 0, 0, 4 * PG));
	/* There is room for so much, but for the pages that are there. */
	R(fallocate(f, 0, 0, 16 * PG));
	struct stat s;
	R((fstat(f, &s), s.st_blocks));
	room("d");
	R(ftruncate(g, 0));
	R(fallocate(f, 0, 1, 16 * PG - 1));
	R((fstat(f, &s), s.st_blocks));
}

static void *wait_long(void *p)
{
	await(go);
	return p;
}

static void sharing(void)
{
	char a[64] = "", b[64] = "";
	pthread_t t;

	fresh();
	pipe(go);
	R(syscall(SYS_clone, CLONE_NEWNS | CLONE_FS | SIGCHLD, 0, 0, 0, 0));
	int f = open("/proc/self/ns/mnt", O_RDONLY);
	readlink("/proc/thread-self/ns/mnt", a, 63);
	R(setns(f, 0));
	R(chdir(TOP));
	pthread_create(&t, NULL, wait_long, NULL);
	R(setns(f, 0));
	R(unshare(CLONE_NEWNS));
	readlink("/proc/thread-self/ns/mnt", b, 63);
	R(!!strcmp(a, b));
	/* On its own now. */
	R(setns(f, 0));
	R(unshare(CLONE_FS));
	R(unshare(CLONE_VM));
	R(unshare(CLONE_THREAD));
	R(unshare(CLONE_SIGHAND));
	R(unshare(1));
	step(go);
	pthread_join(t, NULL);
	usleep(50000); /* it goes a moment later */
	R(unshare(CLONE_VM | CLONE_THREAD | CLONE_SIGHAND));
	R(unshare(CLONE_FILES | CLONE_FS | CLONE_SYSVSEM));
	setresuid(7, 7, 7);
	R(syscall(SYS_clone, CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0));
	R(syscall(SYS_clone, CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0));
}

int main(int argc, char **argv)
{
	init();
	T(calls);
	T(binds);
	T(moves);
	T(expiry);
	T(readonly);
	T(flags);
	T(full);
	T(unnamed);
	T(namespaces);
	T(sharing);
	T(two_others);
	T(escapes);
	T(limits);
	T(remounts);
	rmdir(TOP);
}
