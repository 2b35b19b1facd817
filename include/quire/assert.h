/* SPDX-License-Identifier: MIT */
/*
 * Assertions.  ASSERT: in debug and host builds.  REQUIRE: in every build, for
 * what would otherwise corrupt memory.  Both say where and stop.
 */
#ifndef QUIRE_ASSERT_H
#define QUIRE_ASSERT_H

#include <quire/host.h>

#define REQUIRE(cond)                                                                           \
	do {                                                                                    \
		if (__builtin_expect(!(cond), 0))                                               \
			quire_host_panic("%s:%d: %s: not so: %s", __FILE__, __LINE__, __func__, \
					 #cond);                                                \
	} while (0)

#ifdef QUIRE_DEBUG
#define ASSERT(cond) REQUIRE(cond)
#else
#define ASSERT(cond)                  \
	do {                          \
		if (0)                \
			(void)(cond); \
	} while (0)
#endif

#endif
