/* SPDX-License-Identifier: MIT */
/* What an instruction fetch gives, from each kind of memory that isn't there or isn't for running.
 */
#include "probe.h"
/* One byte, "ret", in each place that is fetched from. */
static void fetch(const char *what, char *p)
{
	printf("-- %s\n", what);
	armed = 1;
	if (!sigsetjmp(jb, 1)) {
		((void (*)(void))p)();
		printf("  returned\n");
	}
	armed = 0;
}
static void anon(void)
{
	mm(0, 1, PROT_READ | PROT_WRITE, PRV);
	fetch("anonymous, absent, not for running", at(0));
	fetch("and again", at(0));
	pm(at(0), 1);
	mm(0, 1, RW, PRV);
	*at(0) = (char)0xc3;
	fetch("anonymous, present, not for running", at(0));
	mm(0, 1, PROT_NONE, PRV);
	fetch("anonymous, absent, PROT_NONE", at(0));
	mm(0, 1, RW, PRV);
	*at(0) = (char)0xc3;
	mprotect(at(0), PG, PROT_NONE);
	fetch("anonymous, present, PROT_NONE", at(0));
	mm(0, 1, PROT_EXEC, PRV);
	fetch("anonymous, absent, only for running", at(0));
	mm(0, 1, RW, PRV);
	*at(0) = (char)0xc3;
	mprotect(at(0), PG, PROT_EXEC);
	fetch("anonymous, present, only for running", at(0));
	mm(0, 1, PROT_WRITE, PRV);
	fetch("anonymous, absent, for writing alone", at(0));
	fetch("nothing there", at(100));
}
static char *file(int f, int prot, int flags, off_t off)
{
	return mmap(at(0), PG, prot, flags | MAP_FIXED, f, off);
}
static void files(void)
{
	int f = tmpf(1);
	char c = (char)0xc3;
	pwrite(f, &c, 1, 0);
	for (int k = 0; k < 2; k++) {
		int fl = k ? SHR : PRV;
		printf("   %s\n", k ? "shared" : "private");
		file(f, PROT_READ, fl, 0);
		fetch("file, absent, not for running", at(0));
		pm(at(0), 1);
		file(f, PROT_READ, fl, 0);
		c += *(volatile char *)at(0);
		fetch("file, present, not for running", at(0));
		file(f, PROT_READ, fl, PG);
		fetch("file, beyond its end, not for running", at(0));
		file(f, PROT_READ | PROT_EXEC, fl, PG);
		fetch("file, beyond its end, for running", at(0));
		file(f, PROT_EXEC, fl, PG);
		fetch("file, beyond its end, only for running", at(0));
		file(f, PROT_NONE, fl, PG);
		fetch("file, beyond its end, PROT_NONE", at(0));
		file(f, PROT_WRITE, fl, PG);
		fetch("file, beyond its end, for writing alone", at(0));
		file(f, PROT_NONE, fl, 0);
		fetch("file, absent, PROT_NONE", at(0));
		file(f, PROT_EXEC, fl, 0);
		fetch("file, absent, only for running", at(0));
		file(f, PROT_READ | PROT_EXEC, fl, 0);
		fetch("file, absent, for running", at(0));
	}
}
static void odd(void)
{
	fetch("address 0", 0);
	fetch("the last page of user addresses", (char *)0x7ffffffff000);
	fetch("kernel address", (char *)0xffff888000000000);
	fetch("not canonical", (char *)0x8000000000000000);
	/* across two pages: the second isn't for running */
	mm(0, 1, RW | PROT_EXEC, PRV);
	mm(1, 1, RW, PRV);
	memcpy(at(1) - 2, "\x48\xb8", 2);
	fetch("an instruction that goes on in memory not for running", at(1) - 2);
	int f = tmpf(1);
	mmap(at(1), PG, PROT_READ | PROT_EXEC, PRV | MAP_FIXED, f, PG);
	fetch("an instruction that goes on beyond a file's end", at(1) - 2);
}
int main(void)
{
	init();
	T(anon);
	T(files);
	T(odd);
}
