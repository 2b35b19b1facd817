/* SPDX-License-Identifier: MIT */
/*
 * The story of a program: after each operation its result and all that can be seen of
 * the memory in the windows.
 *
 * Locking: none; where a program has threads, one runs while the others wait.
 */
#include <stdio.h>
#include <string.h>

#include "diff.h"

#define REGIONS 512

static char line[1 << 17];
static unsigned depth; /* of forks, threads */

static u64_t resolve(const struct arg *a)
{
	u64_t base = a->base == 'a'   ? ARENA
		     : a->base == 't' ? window_top
		     : a->base == 'h' ? window_heap
				      : 0;

	return base + (u64_t)a->v;
}

/* ---- the state -------------------------------------------------------------------------- */

static const unsigned sampled[] = {0, 296, 4088};

static char *page_text(char *at, const struct region *r, u64_t addr, unsigned char bits)
{
	u64_t w[3], h = 0;

	*at++ = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-"[bits];
	if (!(bits & PAGE_PRESENT) || r->perms[0] != 'r')
		return at;
	exec_peek(addr, w, sampled, 3);
	for (unsigned i = 0; i < 3; i++)
		h = (h ^ w[i]) * 0x9e3779b97f4a7c15u;
	if (w[0] | w[1] | w[2]) {
		*at++ = ':';
		at = number_text(at, h >> 48, 16);
	}
	return at;
}

#define RUN 4096

/* Regions with nothing between them, one after the other. */
static char *run_text(char *at, const struct region *r, unsigned n)
{
	static unsigned char bits[RUN];
	u64_t start = r->start, all = (r[n - 1].end - start) / PG;

	exec_pages(start, all > RUN ? RUN : (unsigned)all, bits);
	for (unsigned i = 0; i < n; i++, r++) {
		*at++ = ' ', *at++ = ' ';
		at = address_text(at, r->start);
		*at++ = '.', *at++ = '.';
		at = address_text(at, r->end);
		*at++ = ' ';
		at = stpcpy(at, r->perms);
		*at++ = ' ', *at++ = r->what, *at++ = '@';
		at = number_text(at, r->offset / PG, 16);
		for (u64_t k = (r->start - start) / PG; k < RUN && start + k * PG < r->end; k++) {
			*at++ = ' ';
			at = page_text(at, r, start + k * PG, bits[k]);
		}
		*at++ = '\n';
	}
	return at;
}

static char *state_text(char *at)
{
	static struct region region[REGIONS];
	unsigned n = exec_regions(region, REGIONS);

	for (unsigned i = 0, k; i < n; i = k) {
		for (k = i + 1; k < n && region[k].start == region[k - 1].end;)
			k++;
		at = run_text(at, region + i, k - i);
	}
	return at;
}

static char *smaps_text(char *at)
{
	static struct region region[REGIONS];
	static struct sizes sizes[REGIONS];
	unsigned n = exec_sizes(region, sizes, REGIONS);
	struct usage u;

	exec_usage(&u);
	at += sprintf(at, "size %ld data %ld", u.size, u.data);
	if (!told->all_locked)
		at += sprintf(at, " locked %ld", u.locked);
	if (!newer && !depth && !told->free_stack) /* a child's executor has memory of its own */
		at += sprintf(at, " committed %ld", u.committed);
	for (unsigned i = 0; i < n; i++) {
		const struct sizes *s = &sizes[i];

		at += sprintf(at, "\n    ");
		at = address_text(at, region[i].start);
		/* The executor's heap may be the lower part of it. */
		if (region[i].start == window_heap) {
			at += sprintf(at, " %s", s->flags);
			continue;
		}
		at += sprintf(at,
			      " rss %lu pss %lu shared %lu+%lu private %lu+%lu anon %lu "
			      "locked %lu %s",
			      s->rss, s->pss, s->shared_clean, s->shared_dirty, s->private_clean,
			      s->private_dirty, s->anonymous, s->locked, s->flags);
		if (s->key)
			at += sprintf(at, "key %lu", s->key);
	}
	return at;
}

/* ---- operations --------------------------------------------------------------------------- */

static char *result_text(char *at, s64_t r)
{
	if (r < 0 && r > -4096)
		return at + sprintf(at, "error %ld", -r);
	if (in_window((u64_t)r) && (u64_t)r >= 0x100000)
		return address_text(at, (u64_t)r);
	return at + sprintf(at, "%#lx", (u64_t)r);
}

/* The program may jump where it finds a return, or a fault.  True: *r is the end of it. */
static bool must_not_jump(u64_t addr, struct access_result *r)
{
	static struct region all[REGIONS];
	unsigned n = exec_regions(all, REGIONS), i = 0;

	while (i < n && all[i].end <= addr)
		i++;
	if (i == n || all[i].perms[2] != 'x')
		return false;
	if (all[i].start > addr) { /* it may be a stack that grows */
		r->value = 0xbad;
		return all[i].start - addr <= 64UL << 20;
	}
	exec_access(OP_LOAD, addr, 0, r);
	if (!r->signo && (unsigned char)r->value == 0xc3)
		return false;
	return true;
}

static char *access_text(char *at, const struct op *o, u64_t *arg)
{
	struct access_result r = {0};

	if (o->code != OP_EXEC || !must_not_jump(arg[0], &r)) {
		r = (struct access_result){0};
		exec_access(o->code, arg[0], arg[1], &r);
	}
	if (!r.signo)
		return at + sprintf(at, "%#lx", r.value);
	at += sprintf(at, "signal %d code %d at ", r.signo, r.code);
	return address_text(at, r.addr);
}

/*
 * Where the Linux that judges is newer than 6.1, which Quire follows, an operation that
 * changed since is left out on all sides: the arguments and what is mapped decide, and those agree.
 *
 * Which VMAs become one changed, too: there the core has a switch (newer_merging).
 *
 * MAP_STACK keeps huge pages away since 6.7, which keeps regions apart.
 * MADV_POPULATE_* stops at a hole now.  MADV_REMOVE of shared memory that can't be written is
 * allowed now. mremap to a given place takes several regions at once since 6.17, and looks at the
 * new address before the old one; pwrite makes the page of the file before it reads
 * memory since 6.14: the memory is read first here, which may fault.
 */
static bool in_one_region(u64_t start, u64_t len)
{
	static struct region r[REGIONS];
	unsigned n = exec_regions(r, REGIONS);

	for (unsigned i = 0; i < n; i++)
		if (start >= r[i].start && start < r[i].end)
			return len <= r[i].end - start;
	return false;
}

/* Is nothing in it unmapped? */
static bool all_mapped(u64_t start, u64_t len)
{
	static struct region r[REGIONS];
	unsigned n = exec_regions(r, REGIONS);
	u64_t end = start + len;

	for (unsigned i = 0; i < n && start < end; i++)
		if (start >= r[i].start && start < r[i].end)
			start = r[i].end;
	return start >= end;
}

/* Frames that programs share must not be retired: only what is this one's alone, or
 * isn't there. */
static bool spares(u64_t addr, u64_t len)
{
	static struct region r[REGIONS];
	unsigned n = exec_regions(r, REGIONS);
	unsigned char bits;

	if (len > PG || (addr & (PG - 1)))
		return true;
	for (unsigned i = 0; i < n; i++) {
		if (addr < r[i].start || addr >= r[i].end)
			continue;
		exec_pages(addr, 1, &bits);
		return (bits & (PAGE_PRESENT | PAGE_EXCLUSIVE | PAGE_FILE)) !=
		       (PAGE_PRESENT | PAGE_EXCLUSIVE);
	}
	return false;
}

static bool left_out(enum opcode code, const u64_t *arg)
{
	if (code == OP_MADVISE && ((int)arg[2] == 100 || (int)arg[2] == 101))
		return spares(arg[0], arg[1]);
	if (!newer)
		return false;
	/* Since some version what is replaced is unmapped before the limits are looked at. */
	if (code == OP_RLIMIT && arg[0] < 2)
		return true;
	/* Not every Linux has soft-dirty bits. */
	if (code == OP_CLEAR_REFS && arg[0] == 4)
		return true;
	if (code == OP_UNCAP)
		return true;
	if (code == OP_MMAP)
		return arg[3] & 0x20000;
	if (code == OP_MREMAP && arg[2] >> 47)
		return true;
	if (code == OP_MREMAP && (arg[3] & 4))
		return true;
	if (code == OP_MREMAP && (arg[3] & 6))
		return !arg[1] || !in_one_region(arg[0], arg[1]);
	if (code == OP_MADVISE && ((int)arg[2] == 22 || (int)arg[2] == 23))
		return !all_mapped(arg[0], arg[1]);
	if (code == OP_WRITE_FROM)
		for (u64_t at = arg[0]; at < arg[0] + arg[1]; at = (at | (PG - 1)) + 1) {
			struct access_result r = {0};

			exec_access(OP_LOAD, at & ~7UL, 0, &r);
			if (r.signo)
				return true;
		}
	return false;
}

static void run_op(unsigned i)
{
	const struct op *o = &program.op[i];
	u64_t arg[MAX_ARGS], value = 0;
	char *at = line;

	for (unsigned k = 0; k < MAX_ARGS; k++)
		arg[k] = resolve(&o->arg[k]);
	if (in_full) {
		at += sprintf(at, "%u: ", i + 1);
		at = op_text(at, o);
	}
	at += sprintf(at, " = ");
	if (o->code == OP_LOAD || o->code == OP_STORE || o->code == OP_EXEC) {
		at = access_text(at, o, arg);
	} else if (o->code == OP_SMAPS) {
		at = smaps_text(at);
	} else if (left_out(o->code, arg)) {
		at += sprintf(at, "left out");
	} else {
		s64_t r = exec_call(o->code, arg, &value);

		told->all_locked |= o->code == OP_MLOCKALL && !r;
		told->free_stack |=
		    o->code == OP_MMAP && (arg[3] & 0x100) && (!(arg[2] & 2) || (arg[3] & 0x4000));
		at = result_text(at, r);
		if (value)
			at += sprintf(at, " value %#lx", value);
	}
	*at++ = '\n';
	at = state_text(at);
	told->ops++;
	tell(line, at);
}

static void run_nested(unsigned i, unsigned end)
{
	const struct op *o = &program.op[i];
	char *at = line;
	s64_t r = -1;

	if (in_full) {
		at += sprintf(at, "%u: ", i + 1);
		at = op_text(at, o);
	}
	at += sprintf(at, " {\n");
	tell(line, at);
	if (depth < DEEPEST) {
		depth++;
		r = exec_nested(o->code, i + 1, end);
		depth--;
	} else {
		run_ops(i + 1, end);
	}
	at = line + sprintf(line, "} = %ld\n", r);
	at = state_text(at);
	told->ops++;
	tell(line, at);
}

void run_ops(unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		enum opcode code = program.op[i].code;

		if (code != OP_FORK && code != OP_THREAD && code != OP_VFORK) {
			run_op(i);
			continue;
		}
		u64_t n = (u64_t)program.op[i].arg[0].v;
		unsigned end = n > to - i - 1 ? to : i + 1 + (unsigned)n;

		run_nested(i, end);
		i = end - 1;
	}
}
