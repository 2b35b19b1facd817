/* SPDX-License-Identifier: MIT */
/*
 * Programs on the userspace port: the core's calls, and accesses through the
 * software MMU.  What a kernel checks before it calls the core is checked here.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

#include "posix.h"

#include "diff.h"

#define TOP 0x7f0000000000UL
#define HEAP 0x1000000UL
#define USER_END 0x7ffffffff000UL

static struct quire_mm *mm;
static struct posix_file *file[FILES - 1];

/* The last file is the one before it, opened for reading only. */
static void again_get(struct quire_file *f)
{
	(void)f;
	file[FILES - 2]->file.ops->get(&file[FILES - 2]->file);
}

static void again_put(struct quire_file *f)
{
	(void)f;
	posix_file_put(file[FILES - 2]);
}

static struct quire_file again = {
    .ops = &(const struct quire_file_ops){.get = again_get, .put = again_put}};

static struct posix_file *file_of(u64 n)
{
	return file[quire_min(n % FILES, FILES - 2UL)];
}

static bool only_read(u64 n)
{
	return n % FILES == FILES - 1;
}

void exec_boot(char **argv)
{
	struct posix_config c = {.ram = 64u << 20, .cpus = 2 + DEEPEST, .deterministic = true};

	(void)argv;
	posix_boot(&c);
	quire_sysctl.newer_merging = newer;
}

void *exec_shared(size_t n)
{
	return mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void usage_begin(void);

void exec_start(void)
{
	for (int i = 0; i < FILES - 1; i++) {
		file[i] = posix_shmem_new(i == 1 ? 5000 : 16 * PG);
		file[i]->map.charged = true;
	}
	again.mapping = &file[FILES - 2]->map;
	if (quire_mm_create(NULL, &mm))
		abort();
	posix_limits.may_lock = posix_limits.may_map_low = posix_limits.may_admin = true;
	quire_mm_layout(mm)->mmap_base = TOP + PG;
	quire_mm_layout(mm)->task_size = USER_END;
	quire_mm_layout(mm)->start_brk = HEAP;
	window_heap = HEAP + (2UL << 20);
	quire_brk(mm, window_heap);
	user_touch(mm, window_heap - 1, true);
	/* A stack in the window at the top would grow down to here; elsewhere segments end it. */
	quire_mmap(mm, 0x1000000000, PG, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, NULL, 0,
		   0x70);
	window_top =
	    (u64)quire_mmap(mm, 0, PG, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, NULL, 0, 0x70);
	usage_begin();
}

/* ---- what is there --------------------------------------------------------------------- */

static char what_of(const struct quire_vma_info *v)
{
	for (int i = 0; i < FILES - 1; i++)
		if (v->file && v->file->mapping == &file[i]->map)
			return (char)('0' + i);
	return v->name && strstr(v->name, "/dev/zero") ? 'z' : '-';
}

unsigned exec_regions(struct region *out, unsigned max)
{
	struct quire_vma_info v;
	unsigned n = 0;

	for (u64 at = 0; n < max && quire_mm_vma_at(mm, at, &v); at = v.end) {
		struct region *r = &out[n];

		if (v.file)
			v.file->ops->put(v.file);
		r->start = v.start < window_heap && v.end > window_heap ? window_heap : v.start;
		if (!in_window(r->start))
			continue;
		r->end = v.end;
		r->offset = v.pgoff * PG;
		snprintf(r->perms, sizeof(r->perms), "%c%c%c%c", v.flags & VM_READ ? 'r' : '-',
			 v.flags & VM_WRITE ? 'w' : '-', v.flags & VM_EXEC ? 'x' : '-',
			 v.flags & VM_MAYSHARE ? 's' : 'p');
		r->what = what_of(&v);
		n++;
	}
	posix_quiescent();
	return n;
}

static s64 mincore_all(u64 start, u64 n, u8 *vec)
{
	s64 r;

	for (u64 i = 0; i < n; i += (u64)r) {
		r = quire_mincore(mm, start + i * PG, n - i, vec + i);
		if (r < 0)
			return r;
	}
	return 0;
}

void exec_pages(u64_t start, unsigned n, unsigned char *out)
{
	static u64 word[4096];

	quire_mm_pagemap(mm, start, n, word);
	if (mincore_all(start, n, out))
		memset(out, 0, n);
	for (unsigned i = 0; i < n; i++)
		out[i] = page_bits(word[i], out[i]);
}

static void flags_text(char *at, u64 flags)
{
	static const struct {
		u64 bit;
		char name[4];
	} names[] = {
	    {VM_READ, "rd "},       {VM_WRITE, "wr "},       {VM_EXEC, "ex "},
	    {VM_SHARED, "sh "},     {VM_MAYREAD, "mr "},     {VM_MAYWRITE, "mw "},
	    {VM_MAYEXEC, "me "},    {VM_MAYSHARE, "ms "},    {VM_GROWSDOWN, "gd "},
	    {VM_PFNMAP, "pf "},     {VM_LOCKED, "lo "},      {VM_IO, "io "},
	    {VM_SEQ_READ, "sr "},   {VM_RAND_READ, "rr "},   {VM_DONTCOPY, "dc "},
	    {VM_DONTEXPAND, "de "}, {VM_LOCKONFAULT, "?? "}, {VM_ACCOUNT, "ac "},
	    {VM_NORESERVE, "nr "},  {VM_SYNC, "sf "},        {VM_WIPEONFORK, "wf "},
	    {VM_DONTDUMP, "dd "},   {VM_SOFTDIRTY, "sd "},
	};

	for (unsigned i = 0; i < quire_array_size(names); i++)
		if (flags & names[i].bit &&
		    !(newer && names[i].bit & (VM_SOFTDIRTY | VM_LOCKONFAULT)))
			at = stpcpy(at, names[i].name);
	*at = 0;
}

unsigned exec_sizes(struct region *out, struct sizes *s, unsigned max)
{
	struct quire_smaps m;
	unsigned n = exec_regions(out, max);

	for (unsigned i = 0; i < n; i++) {
		struct quire_vma_info v;

		if (!quire_mm_vma_at(mm, out[i].start, &v))
			abort();
		if (v.file)
			v.file->ops->put(v.file);
		memset(&m, 0, sizeof(m));
		quire_mm_smaps(mm, v.start, v.end, &m);
		s[i] = (struct sizes){.rss = m.rss >> 10,
				      .pss = m.pss >> QUIRE_PSS_SHIFT >> 10,
				      .shared_clean = m.shared_clean >> 10,
				      .shared_dirty = m.shared_dirty >> 10,
				      .private_clean = m.private_clean >> 10,
				      .private_dirty = m.private_dirty >> 10,
				      .anonymous = m.anonymous >> 10,
				      .locked = m.locked >> QUIRE_PSS_SHIFT >> 10};
		flags_text(s[i].flags, v.flags);
	}
	posix_quiescent();
	return n;
}

static struct usage at_start;

void exec_usage(struct usage *u)
{
	struct quire_mm_usage now;

	quire_mm_usage(mm, &now);
	u->size = (s64)now.total_vm - at_start.size;
	u->locked = (s64)now.locked_vm - at_start.locked;
	u->data = (s64)now.data_vm - at_start.data;
	if (!newer) {
		struct quire_meminfo all;

		quire_meminfo(&all);
		u->committed = (s64)all.committed - at_start.committed;
	}
}

static void usage_begin(void)
{
	at_start = (struct usage){0};
	exec_usage(&at_start);
}

void exec_peek(u64_t page, u64_t *word, const unsigned *offset, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (user_read(mm, page + offset[i], &word[i], 8))
			word[i] = 0xdead;
}

/* ---- accesses ------------------------------------------------------------------------------ */

static void fill(struct access_result *r, u64 addr, enum quire_outcome o)
{
	switch (o) {
	case QUIRE_DONE_MINOR:
	case QUIRE_DONE_MAJOR:
		return;
	case QUIRE_SEGV_MAPERR:
	case QUIRE_SEGV_ACCERR:
		r->signo = SIGSEGV;
		r->code = o == QUIRE_SEGV_MAPERR ? 1 : 2;
		break;
	case QUIRE_SIGBUS:
		r->signo = SIGBUS;
		r->code = 2;
		break;
	default:
		r->signo = 1000 + (int)o;
	}
	r->addr = addr;
}

void exec_access(enum opcode code, u64_t addr, u64_t value, struct access_result *r)
{
	u64 word = 0;

	if (code == OP_LOAD)
		fill(r, addr, user_read(mm, addr, &word, 8));
	else if (code == OP_STORE)
		fill(r, addr, user_write(mm, addr, &value, 8));
	else
		fill(r, addr, user_exec(mm, addr));
	r->value = word;
	posix_quiescent();
}

/* ---- calls ----------------------------------------------------------------------------------- */

struct user_copy {
	u64 addr;
	bool store;
};

static size_t copy_user(void *arg, void *p, size_t n)
{
	struct user_copy *c = arg;
	size_t done = 0;

	while (done < n) {
		size_t k = quire_min(n - done, PG - (c->addr & (PG - 1)));
		enum quire_outcome o = c->store ? user_write(mm, c->addr, (char *)p + done, k)
						: user_read(mm, c->addr, (char *)p + done, k);

		if (o)
			break;
		done += k;
		c->addr += k;
	}
	return done;
}

static s64 transfer(const u64 *a, bool into)
{
	struct user_copy c = {a[0], into};
	struct posix_file *f = file_of(a[2]);
	s64 n, done = 0;

	if (!into && only_read(a[2]))
		return -EBADF;
	if (a[0] > USER_END || a[1] > USER_END - a[0])
		return -EFAULT;
	if (into)
		return quire_cache_read(&f->map, &f->file, a[3], a[1], copy_user, &c);
	do { /* as a kernel does it: the bytes may be there now that the file has grown */
		u64 at = a[3] + (u64)done, left = a[1] - (u64)done;
		n = left ? quire_cache_write(&f->map, at, left, copy_user, &c) : 0;
		if (n > 0 && at + (u64)n > f->size)
			f->size = at + (u64)n;
		done += n > 0 ? n : 0;
	} while (n > 0);
	return done ? done : n;
}

static s64 allocate(const u64 *a)
{
	struct posix_file *f = file_of(a[0]);
	u64 end = a[2] + a[3];
	s64 r = 0;

	if ((s64)a[2] < 0 || (s64)a[3] <= 0)
		return -EINVAL;
	if (only_read(a[0]) && a[1] != 2)
		return -EBADF;
	if (a[1] != 0 && a[1] != 1 && a[1] != 3)
		return -EOPNOTSUPP;
	if (a[1] == 3)
		return quire_cache_punch(&f->map, a[2], end);
	r = quire_cache_fill(&f->map, a[2], end);
	if (!r && !a[1] && end > f->size)
		posix_file_truncate(f, end);
	return r;
}

static s64 call_mmap(const u64 *a)
{
	struct quire_file *f = NULL;
	u64 may = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;

	if (a[5] & (PG - 1))
		return -EINVAL;
	if (!(a[3] & MAP_ANONYMOUS)) {
		if (a[4] >= FILES)
			return -EBADF;
		f = only_read(a[4]) ? &again : &file[a[4]]->file;
		if (f == &again && (a[3] & MAP_TYPE) != MAP_PRIVATE)
			may &= ~VM_MAYWRITE;
	}
	return quire_mmap(mm, a[0], a[1], a[2], a[3], f, a[5], may);
}

static s64 call_mincore(const u64 *a, u64 *value)
{
	static u8 vec[1 << 16];
	u64 n = (a[1] + PG - 1) / PG;
	s64 r;

	if (a[0] & (PG - 1))
		return -EINVAL;
	if (a[0] > USER_END || a[1] > USER_END - a[0])
		return -ENOMEM;
	if (n > sizeof(vec))
		return -EFAULT;
	r = mincore_all(a[0], n, vec);
	for (unsigned i = 0; !r && i < n; i++)
		*value = *value * 31 + (vec[i] & 1) + 1;
	return r;
}

static s64 call_file(enum opcode code, const u64 *a, u64 *value)
{
	struct posix_file *f = file_of(a[0]);

	switch (code) {
	case OP_FTRUNCATE:
		if (only_read(a[0]))
			return -EINVAL;
		posix_file_truncate(f, a[1]);
		return 0;
	case OP_FALLOCATE:
		return allocate(a);
	case OP_PWRITE:
		return only_read(a[0]) ? -EBADF : posix_file_write(f, a[1], &a[2], 8);
	default:
		return posix_file_read(f, a[1], value, 8);
	}
}

static s64 call_rlimit(const u64 *a)
{
	struct posix_limits *l = &posix_limits;
	struct quire_mm_usage now;

	quire_mm_usage(mm, &now);
	u64 *which[] = {&l->as, &l->data, &l->stack, &l->memlock};
	u64 base[] = {now.total_vm, now.data_vm, 0, 0};
	unsigned i = a[0] % 4;
	*which[i] = a[1] == ~0UL ? ~0UL : (base[i] + a[1]) * PG;
	return 0;
}

static s64 call_uncap(void)
{
	posix_limits.may_lock = posix_limits.may_map_low = posix_limits.may_admin = false;
	return 0;
}

static s64 call(enum opcode code, const u64 *a, u64 *value)
{
	switch (code) {
	case OP_MMAP:
		return call_mmap(a);
	case OP_MUNMAP:
		return quire_munmap(mm, a[0], a[1]);
	case OP_MPROTECT:
		return quire_mprotect(mm, a[0], a[1], a[2], -1);
	case OP_MREMAP:
		return quire_mremap(mm, a[0], a[1], a[2], a[3], a[4]);
	case OP_MADVISE:
		return quire_madvise(mm, a[0], a[1], (int)a[2]);
	case OP_BRK:
		return quire_brk(mm, a[0]);
	case OP_MSYNC:
		return quire_msync(mm, a[0], a[1], (int)a[2]);
	case OP_MINCORE:
		return call_mincore(a, value);
	case OP_MLOCK:
		return quire_mlock(mm, a[0], a[1], false);
	case OP_MLOCK2:
		return a[2] & ~1UL ? -EINVAL : quire_mlock(mm, a[0], a[1], a[2]);
	case OP_MUNLOCK:
		return quire_munlock(mm, a[0], a[1]);
	case OP_MLOCKALL:
		return quire_mlockall(mm, (int)a[0]);
	case OP_MUNLOCKALL:
		return quire_munlockall(mm);
	case OP_REMAP_FILE_PAGES:
		return quire_remap_file_pages(mm, a[0], a[1], a[2], a[3], a[4]);
	case OP_RLIMIT:
		return call_rlimit(a);
	case OP_UNCAP:
		return call_uncap();
	case OP_CLEAR_REFS:
		return quire_mm_clear_refs(mm, (int)a[0]);
	case OP_READ_INTO:
		return transfer(a, true);
	case OP_WRITE_FROM:
		return transfer(a, false);
	default:
		return call_file(code, a, value);
	}
}

s64_t exec_call(enum opcode code, const u64_t *arg, u64_t *value)
{
	s64 r = call(code, arg, value);

	posix_quiescent();
	return r;
}

struct job {
	unsigned from, to;
};

static void run_job(void *arg, unsigned i)
{
	const struct job *job = arg;

	(void)i;
	run_ops(job->from, job->to);
}

s64_t exec_nested(enum opcode code, unsigned from, unsigned to)
{
	struct job job = {from, to};
	struct quire_mm *parent = mm;
	struct posix_limits own = posix_limits;

	if (code == OP_THREAD) {
		posix_parallel(1, run_job, &job);
		return 0;
	}
	int err = quire_mm_fork(parent, NULL, &mm);
	if (err) {
		mm = parent;
		return err;
	}
	run_job(&job, 0);
	posix_mm_put(mm);
	mm = parent;
	posix_limits = own;
	posix_quiescent();
	return 0;
}
