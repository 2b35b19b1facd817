/* SPDX-License-Identifier: MIT */
/*
 * What `quire run` tells the kernel: a blob that QEMU loads as the initial RAM
 * disk (the first PVH module).  The command and the kernel both include this.
 *
 * The blob is CONFIG_MAGIC, then records: u32 type, u32 length, `length` bytes,
 * padded with zeros to 8 bytes; it ends with CONFIG_END.  Little-endian.
 * Strings are not terminated unless said.
 */
#ifndef KERNEL_BOOT_CONFIG_H
#define KERNEL_BOOT_CONFIG_H

#include <stdint.h>

#define CONFIG_MAGIC 0x31465243455251ull /* "QUERCF1" */

enum config_type {
	CONFIG_END = 0,
	CONFIG_PROGRAM, /* as typed: the kernel looks it up in PATH when it has no slash */
	CONFIG_ARGV,    /* strings, each with a zero byte */
	CONFIG_ENVP,    /* strings, each with a zero byte */
	CONFIG_CWD,     /* absolute path */
	CONFIG_CRED,    /* u32: uid, gid, then supplementary groups */
	CONFIG_RLIMITS, /* 16 pairs of u64: cur, max, Linux's order */
	CONFIG_RW,    /* repeated: absolute path of a folder that is written through; its 9p tag is
			 "rwN", N = 0.. */
	CONFIG_FLAGS, /* u64: CONFIG_FLAG_* */
	CONFIG_CLOCK, /* u64: ns since 1970 at start */
	CONFIG_SEED,  /* 32 random bytes */
	CONFIG_STDIO, /* struct config_stdio */
	CONFIG_UMASK, /* u32 */
	CONFIG_HOSTNAME,
	CONFIG_SIGNALS, /* u64 ignored, u64 blocked: dispositions the program inherits */
};

#define CONFIG_FLAG_STAT (1u << 0)          /* send the fault table at the end */
#define CONFIG_FLAG_DETERMINISTIC (1u << 1) /* poll devices with the clock stopped; trap rdtsc */
#define CONFIG_FLAG_NO_ASLR (1u << 2)
#define CONFIG_FLAG_KVM (1u << 3)     /* else TCG */
#define CONFIG_FLAG_TTY (1u << 4)     /* a terminal is attached: the kernel's tty drives it */
#define CONFIG_FLAG_CHECK (1u << 5)   /* at the end: run the whole-state checker and count frames */
#define CONFIG_FLAG_VERBOSE (1u << 6) /* log at level info to the log channel */

enum config_stdio_kind { STDIO_CLOSED, STDIO_STREAM, STDIO_FILE, STDIO_TTY };
struct config_stdio { /* what descriptors 0, 1 and 2 are on the host */
	struct {
		uint32_t kind;  /* enum config_stdio_kind; FILE: seekable, regular */
		uint32_t mode;  /* st_mode */
		uint32_t flags; /* O_* of fcntl(F_GETFL) */
		uint32_t same;  /* lowest fd that is the same open file (by st_dev, st_ino) */
		uint64_t dev, ino, rdev, size;
	} fd[3];
	uint16_t rows, cols; /* of the terminal */
	uint32_t pad;
};

#endif
