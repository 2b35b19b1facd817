/* SPDX-License-Identifier: MIT */
/* /proc mounted with options: who sees which process. */
#include "probe.h"
#include <sys/mount.h>
#include <dirent.h>
#include <grp.h>
static int me, other;
static void look(const char *what)
{
	DIR *d = opendir("/tmp/hidepid");
	struct dirent *e;
	int pids = 0, o = 0, named = 0, mine = 0;
	while ((e = readdir(d))) {
		if (atoi(e->d_name)) {
			pids++;
			if (atoi(e->d_name) == other)
				o = 1;
			if (atoi(e->d_name) == getpid())
				mine = 1;
		} else if (e->d_name[0] != '.')
			named++;
	}
	closedir(d);
	char p[64];
	struct stat st;
	printf("%s: other listed %d mine %d named %s\n", what, o, mine,
	       named > 2    ? "many"
	       : named == 2 ? "2"
			    : "?");
	sprintf(p, "/tmp/hidepid/%d", other);
	R(stat(p, &st));
	R(access(p, X_OK));
	R(open(p, O_RDONLY) >= 0);
	sprintf(p, "/tmp/hidepid/%d/status", other);
	R(open(p, O_RDONLY) >= 0);
	R(stat(p, &st));
	sprintf(p, "/tmp/hidepid/%d/task", other);
	R(open(p, O_RDONLY) >= 0);
	sprintf(p, "/tmp/hidepid/%d/task/%d/comm", other, other);
	R(open(p, O_RDONLY) >= 0);
	sprintf(p, "/tmp/hidepid/%d/nothing", other);
	R(open(p, O_RDONLY));
	R(open("/tmp/hidepid/self/stat", O_RDONLY) >= 0);
	R(open("/tmp/hidepid/thread-self/stat", O_RDONLY) >= 0);
	R(open("/tmp/hidepid/meminfo", O_RDONLY) >= 0);
	R(open("/tmp/hidepid/sys/vm/overcommit_memory", O_RDONLY) >= 0);
	R(open("/tmp/hidepid/nothing", O_RDONLY));
	R(open("/tmp/hidepid/999999/stat", O_RDONLY));
}
static void opts(void)
{
	FILE *f = fopen("/proc/self/mountinfo", "r");
	char l[512], *p;
	while (fgets(l, 512, f))
		if (strstr(l, " /tmp/hidepid ")) {
			p = strstr(l, " - ");
			printf("   %s", p);
		}
	fclose(f);
}
static void one(const char *o, int gid)
{
	printf("## %s %d\n", o, gid);
	if (R(mount("p", "/tmp/hidepid", "proc", 0, o)))
		return;
	opts();
	fflush(stdout);
	pid_t c = fork();
	if (!c) {
		gid_t g[1] = {gid};
		setgroups(gid ? 1 : 0, g);
		setresgid(7, 7, 7);
		setresuid(7, 7, 7);
		look("user");
		fflush(stdout);
		_exit(0);
	}
	waitpid(c, 0, 0);
	look("root");
	fflush(stdout);
	umount2("/tmp/hidepid", MNT_DETACH);
}
int main()
{
	init();
	mkdir("/tmp/hidepid", 0755);
	unshare(CLONE_NEWNS);
	mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL);
	other = fork();
	if (!other) {
		pause();
		_exit(0);
	}
	me = getpid();
	one("", 0);
	one("hidepid=1", 0);
	one("hidepid=2", 0);
	one("hidepid=invisible,gid=12", 12);
	one("hidepid=noaccess,gid=12", 13);
	one("hidepid=4", 0);
	one("hidepid=ptraceable,gid=12", 12);
	one("subset=pid", 0);
	one("hidepid=2,subset=pid", 0);
	one("hidepid=3", 0);
	one("hidepid=5", 0);
	one("what", 0);
	one("gid=x", 0);
	one("subset=all", 0);
	one("hidepid", 0);
	one("hidepid=off,gid=0", 0);
	one("gid=7", 0);
	R(mount("p", "/tmp/hidepid", "proc", 0, "hidepid=1"));
	R(mount("p", "/tmp/hidepid", "proc", MS_REMOUNT, "hidepid=2,gid=5"));
	opts();
	R(mount("p", "/tmp/hidepid", "proc", MS_REMOUNT, "subset=pid"));
	opts();
	R(mount("p", "/tmp/hidepid", "proc", MS_REMOUNT, ""));
	opts();
	R(mount("p", "/tmp/hidepid", "proc", MS_REMOUNT, "hidepid=9"));
	opts();
	umount("/tmp/hidepid");
	rmdir("/tmp/hidepid");
	kill(other, 9);
}
