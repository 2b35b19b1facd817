/* SPDX-License-Identifier: MIT */
/* Between the files of the userspace port. */
#ifndef QUIRE_PORT_H
#define QUIRE_PORT_H

#include "posix.h"

/* mmu.c: CPU i gets an empty TLB, and loses it. */
void port_tlb_enter(unsigned cpu);
void port_tlb_leave(unsigned cpu);

/* mmu.c: what the core is told of protection keys. */
extern const struct quire_pkey_ops port_pkey_ops;

/* Move bytes that other threads may be using at the same time, as a machine's loads
 * and stores do: no tearing within aligned words, no order. */
void port_copy(void *dst, const void *src, size_t n);

#endif
