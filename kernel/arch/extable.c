// SPDX-License-Identifier: MIT
/*
 * The exception table: which instructions may fault on a user address, and where
 * each goes on then.  About a dozen entries, read-only: searched one by one.
 */
#include "arch.h"

struct entry {
	u64 from, to;
};
extern const struct entry extable_start[], extable_end[];

static const struct entry *find(u64 ip)
{
	for (const struct entry *e = extable_start; e != extable_end; e++)
		if (e->from == ip)
			return e;
	return NULL;
}

bool extable_covers(u64 ip)
{
	return find(ip) != NULL;
}

bool extable_fixup(struct regs *r)
{
	const struct entry *e = find(r->rip);
	if (!e)
		return false;
	r->rip = e->to;
	return true;
}
