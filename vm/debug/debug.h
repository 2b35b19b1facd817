/* SPDX-License-Identifier: MIT */
/* What the files of vm/debug share. */
#ifndef VM_DEBUG_H
#define VM_DEBUG_H

#include "../mm/mm.h"

typedef void check_page_fn(struct page *p, void *arg);
/* quire_check_mm(), and fn for the page of every entry that counts in its mapcount. */
void check_mm_pages(struct quire_mm *mm, check_page_fn *fn, void *arg);

#endif
