/* SPDX-License-Identifier: MIT */
/*
 * The table of `quire run --stat`: how many page faults there were and why.
 * Made from the core's totals; no locks.
 */
#include "internal.h"

static size_t add(char *buf, size_t max, size_t n, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static size_t add(char *buf, size_t max, size_t n, const char *fmt, ...)
{
	va_list ap;
	if (n >= max)
		return max;
	va_start(ap, fmt);
	int k = vsnprintf(buf + n, max - n, fmt, ap);
	va_end(ap);
	return k < 0 ? n : quire_min(n + (size_t)k, max - 1);
}

size_t stat_table(char *buf, size_t max)
{
	struct quire_fault_totals t;
	u64 faults = 0, pages = 0, cost = 0;
	size_t n = 0;
	quire_fault_totals(&t);
	for (unsigned c = 0; c < QUIRE_CAUSE_COUNT; c++) {
		faults += t.count[c];
		pages += t.brought[c];
		cost += t.cost[c];
	}
	n = add(buf, max, n, "%-14s %10s %10s %7s  %s\n", "cause", "faults", "pages", "time",
		"what it means");
	for (unsigned c = 0; c < QUIRE_CAUSE_COUNT; c++) {
		u64 share = cost ? t.cost[c] * 1000 / cost : 0;
		if (!t.count[c])
			continue;
		n = add(buf, max, n, "%-14s %10lu %10lu %4lu.%lu%%  %s\n", quire_cause_name[c],
			t.count[c], t.brought[c], share / 10, share % 10, quire_cause_text[c]);
	}
	n = add(buf, max, n, "%-14s %10lu %10lu %6s\n", "all", faults, pages, "100.0%");
	u64 invalid = t.outcome[QUIRE_SEGV_MAPERR] + t.outcome[QUIRE_SEGV_ACCERR] +
		      t.outcome[QUIRE_SEGV_PKUERR] + t.outcome[QUIRE_SIGBUS] +
		      t.outcome[QUIRE_SIGBUS_MCE];
	n = add(buf, max, n,
		"minor %lu, major %lu, invalid %lu; %lu us in faults; peak RSS %lu KiB\n",
		t.outcome[QUIRE_DONE_MINOR], t.outcome[QUIRE_DONE_MAJOR], invalid, cost / 1000,
		init_process ? init_process->cmaxrss : 0);
	return n;
}
