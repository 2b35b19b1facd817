/* SPDX-License-Identifier: MIT */
/* The engine of the model: picks operations, keeps the last ones, checks after each. */
#include <signal.h>
#include <unistd.h>

#include "world.h"

#define KEPT 40

struct world world;
u64 model_seed;

static char kept[KEPT][160];
static u64 nr_kept;

/* ---- the source ---------------------------------------------------------------------- */

static u8 next_byte(struct model_source *s)
{
	if (s->data)
		return s->at < s->size ? s->data[s->at++] : 0;
	s->seed = s->seed * 6364136223846793005u + 1442695040888963407u;
	return (u8)(s->seed >> 56);
}

static bool at_end(const struct model_source *s)
{
	return s->data && s->at >= s->size;
}

unsigned pick(unsigned n)
{
	unsigned x = next_byte(world.source);

	if (n > 256)
		x |= (unsigned)next_byte(world.source) << 8;
	return x % n;
}

/* ---- telling --------------------------------------------------------------------------------- */

void note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(kept[nr_kept++ % KEPT], sizeof(kept[0]), fmt, ap);
	va_end(ap);
}

static void show_kept(int sig)
{
	char head[60];
	int k = snprintf(head, sizeof(head), "model: in the run of seed %lu\n", model_seed);

	if (write(2, head, (size_t)k) < 0)
		return;
	for (u64 i = nr_kept > KEPT ? nr_kept - KEPT : 0; i < nr_kept; i++) {
		char line[200];
		int n = snprintf(line, sizeof(line), "  %lu: %s\n", i, kept[i % KEPT]);

		if (write(2, line, (size_t)n) < 0)
			break;
	}
	signal(sig, SIG_DFL);
	raise(sig);
}

void disagree(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "model: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "; the last operations:\n");
	abort();
}

void expect(s64 got, s64 wanted, const char *what)
{
	if (got != wanted)
		disagree("%s gave %ld, the model says %ld", what, got, wanted);
}

void model_boot(void)
{
	struct posix_config c = {.ram = 16u << 20, .cpus = 2, .deterministic = true};

	posix_boot(&c);
	signal(SIGABRT, show_kept);
}

/* ---- the world ---------------------------------------------------------------------------------
 */

static void make_world(struct model_source *s)
{
	struct mproc *p = &world.proc[0];

	memset(&world, 0, sizeof(world));
	world.source = s;
	if (quire_mm_create(NULL, &p->mm))
		disagree("no address space");
	posix_limits.stack = ~0UL;
	quire_mm_layout(p->mm)->mmap_base = BASE + WINDOW * PAGE;
	quire_mm_layout(p->mm)->task_size = QUIRE_USER_END;
	quire_mm_layout(p->mm)->start_brk = HEAP_BASE;
	expect(quire_brk(p->mm, 0), HEAP_BASE, "first brk");
	for (unsigned i = 0; i < FILES; i++) {
		struct mfile *f = &world.file[i];

		f->pages = 16;
		f->f = i == FILES - 1 ? posix_shmem_new(16 * PAGE) : posix_file_new(16 * PAGE, 0);
	}
}

static void end_world(void)
{
	for (unsigned i = 0; i < PROCS; i++)
		if (world.proc[i].mm)
			posix_mm_put(world.proc[i].mm);
	for (unsigned i = 0; i < FILES; i++)
		posix_file_put(world.file[i].f);
}

static void (*const operations[])(struct mproc *) = {
    op_mmap,    op_mmap,  op_munmap, op_mprotect, op_mprotect, op_mremap, op_mremap, op_madvise,
    op_madvise, op_mlock, op_brk,    op_fork,     op_exit,     op_quiet,  op_read,   op_read,
    op_write,   op_write, op_write,  op_exec,     op_file,     op_file,
};

unsigned model_run(struct model_source *s, unsigned steps)
{
	static bool warm;
	u64 before = posix_settled_free(), after;
	unsigned n;

	make_world(s);
	for (n = 0; n < steps && !at_end(s); n++) {
		struct mproc *p = &world.proc[pick(PROCS)];

		if (!p->mm)
			p = &world.proc[0];
		operations[pick(quire_array_size(operations))](p);
		quire_check_all();
		check_layout(p);
		posix_quiescent();
	}
	for (unsigned i = 0; i < PROCS; i++)
		if (world.proc[i].mm)
			check_words(&world.proc[i]);
	note("the end");
	end_world();
	quire_check_all();
	after = posix_settled_free();
	if (warm && after != before)
		disagree("%ld frames leaked", (s64)before - (s64)after);
	warm = true;
	return n;
}
