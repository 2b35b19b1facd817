/* SPDX-License-Identifier: MIT */
/* Programs as text.  Locking: none, one thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diff.h"

static const struct {
	const char *name, *args;
} table[] = {
#define X(id, name, args, feature) {name, args},
    OPERATIONS(X)
#undef X
};

/* As printf would, which would take half of the time of it all. */
char *number_text(char *at, u64_t v, unsigned base)
{
	char digit[24];
	unsigned n = 0;

	do
		digit[n++] = "0123456789abcdef"[v % base];
	while (v /= base);
	while (n)
		*at++ = digit[--n];
	return at;
}

static char *relative(char *at, char base, s64_t v)
{
	s64_t pages = v >> 12, rest = v & 4095;

	*at++ = base;
	if (pages < 0)
		*at++ = '-';
	at = number_text(at, (u64_t)(pages < 0 ? -pages : pages), 10);
	if (rest) {
		at = stpcpy(at, "+0x");
		at = number_text(at, (u64_t)rest, 16);
	}
	return at;
}

char *address_text(char *at, u64_t addr)
{
	if (addr >= ARENA - 0x400000 && addr < 0x80000000)
		return relative(at, 'a', (s64_t)(addr - ARENA));
	if (addr >= window_top - (64UL << 20) && addr <= window_top)
		return relative(at, 't', (s64_t)(addr - window_top));
	if (addr >= window_heap && addr < window_heap + (64UL << 20))
		return relative(at, 'h', (s64_t)(addr - window_heap));
	return at + sprintf(at, "%#lx", addr);
}

char *op_text(char *at, const struct op *op)
{
	at += sprintf(at, "%s", table[op->code].name);
	for (unsigned i = 0; table[op->code].args[i]; i++) {
		const struct arg *a = &op->arg[i];

		*at++ = ' ';
		if (a->base)
			at = relative(at, a->base, a->v);
		else
			at += sprintf(at, a->v < 10 && a->v > -10 ? "%ld" : "%#lx", a->v);
	}
	return at;
}

static bool parse_arg(const char *s, struct arg *a)
{
	char *end;

	if (*s == 'a' || *s == 't' || *s == 'h') {
		a->base = *s;
		a->v = strtol(s + 1, &end, 10) * (s64_t)PG;
		if (*end == '+')
			a->v += strtol(end + 1, &end, 0);
		return !*end;
	}
	a->base = 0;
	a->v = *s == '-' ? strtol(s, &end, 0) : (s64_t)strtoul(s, &end, 0);
	return !*end;
}

static bool parse_op(char *line, struct op *op)
{
	char *save, *word = strtok_r(line, " \t", &save);

	for (unsigned c = 0; c < OP_COUNT; c++) {
		if (strcmp(word, table[c].name))
			continue;
		op->code = c;
		for (unsigned i = 0; table[c].args[i]; i++) {
			word = strtok_r(NULL, " \t", &save);
			if (!word || !parse_arg(word, &op->arg[i]))
				return false;
		}
		return true;
	}
	return false;
}

bool program_parse(struct program *p, char *text)
{
	char *save;

	p->n = 0;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		line += strspn(line, " \t");
		if (!*line || *line == '#')
			continue;
		if (p->n == MAX_OPS || !parse_op(line, &p->op[p->n])) {
			fprintf(stderr, "diff: can't read operation %u: %s\n", p->n + 1, line);
			return false;
		}
		p->n++;
	}
	return true;
}
