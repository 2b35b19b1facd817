/* SPDX-License-Identifier: MIT */
/* The operations as system calls.  Locking: none. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "linux.h"

/* ---- calls ----------------------------------------------------------------------------------- */

static s64_t result(s64_t r)
{
	return r == -1 ? -errno : r;
}

static s64_t call_mincore(const u64_t *a, u64_t *value)
{
	static unsigned char vec[1 << 16];
	s64_t r;

	if (a[1] < PG * sizeof(vec))
		memset(vec, 0, (a[1] + PG - 1) / PG);
	r = result(syscall(SYS_mincore, a[0], a[1], vec));
	for (unsigned i = 0; !r && i < (a[1] + PG - 1) / PG; i++)
		*value = *value * 31 + (vec[i] & 1) + 1;
	return r;
}

static s64_t call_file(enum opcode code, const u64_t *a, u64_t *value)
{
	int fd = file[a[0] % FILES];

	switch (code) {
	case OP_FTRUNCATE:
		return result(ftruncate(fd, (off_t)a[1]));
	case OP_FALLOCATE:
		return result(fallocate(fd, (int)a[1], (off_t)a[2], (off_t)a[3]));
	case OP_PWRITE:
		return result(pwrite(fd, &a[2], 8, (off_t)a[1]));
	default:
		return result(pread(fd, value, 8, (off_t)a[1]));
	}
}

/* ---- limits and rights -------------------------------------------------------------------- */

/* Of address space and data there are pages more than now. */
static s64_t call_rlimit(const u64_t *a)
{
	static const int which[] = {RLIMIT_AS, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_MEMLOCK};
	int limit = which[a[0] % 4];
	struct rlimit r;
	struct usage u;
	u64_t base = 0;

	getrlimit(limit, &r);
	exec_usage(&u);
	if (limit == RLIMIT_AS)
		base = (u64_t)(u.size + at_start.size);
	if (limit == RLIMIT_DATA)
		base = (u64_t)(u.data + at_start.data);
	r.rlim_cur = a[1] == ~0UL ? r.rlim_max : (base + a[1]) * PG;
	return result(setrlimit(limit, &r));
}

static s64_t call_uncap(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		return -errno;
	data[0].effective &= ~(1u << CAP_IPC_LOCK | 1u << CAP_SYS_RAWIO | 1u << CAP_SYS_ADMIN);
	return result(syscall(SYS_capset, &head, data));
}

static s64_t call_clear_refs(u64_t what)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY);
	char digit = (char)('0' + what);
	s64_t r = result(write(fd, &digit, 1));

	close(fd);
	return r > 0 ? 0 : r;
}

/* ---- what a kernel has around the core --------------------------------------------------- */

static s64_t call_shm(enum opcode code, const u64_t *a, u64_t *value)
{
	struct shmid_ds ds;
	s64_t r;

	if (code == OP_SHMDT)
		return result(syscall(SYS_shmdt, a[0]));
	int id = a[0] < SEGMENTS ? segment[a[0]] : -1;
	if (code == OP_SHMAT)
		return result(syscall(SYS_shmat, id, a[1], a[2]));
	r = result(syscall(SYS_shmctl, id, a[1], &ds));
	if (!r && a[1] == IPC_STAT)
		*value = ds.shm_segsz * 64 + ds.shm_nattch;
	return r;
}

static s64_t call_stat(int fd, u64_t *value)
{
	struct stat st;
	s64_t r = result(fstat(fd, &st));

	*value = (u64_t)st.st_size << 16 | (u64_t)st.st_blocks;
	return r;
}

static int file_of(u64_t n)
{
	return n < FILES ? file[n] : -1;
}

static s64_t call_name(const u64_t *a)
{
	static const char longer[] = "0123456789012345678901234567890123456789"
				     "0123456789012345678901234567890123456789";
	const char *const names[] = {NULL, "a", "b", longer, "a[", (char *)PG};

	return result(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, a[0], a[1], names[a[2] % 6]));
}

static s64_t call_sendfile(const u64_t *a, u64_t *value)
{
	int out = file_of(a[0]);
	s64_t r = result(syscall(SYS_sendfile, out, file_of(a[2]), a[1], a[3]));

	*value = (u64_t)lseek(out, 0, SEEK_CUR) << 24 | (u64_t)lseek(file_of(a[2]), 0, SEEK_CUR);
	return r;
}

/* ---- protection keys ----------------------------------------------------------------------- */

static s64_t call_pkey_set(const u64_t *a, u64_t *value)
{
	unsigned pkru, high, shift = a[0] % 16 * 2;

	__asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(pkru), "=d"(high) : "c"(0));
	*value = pkru;
	if (shift) /* the program's own memory has key 0 */
		pkru = (pkru & ~(3u << shift)) | (unsigned)(a[1] & 3) << shift;
	__asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(pkru), "c"(0), "d"(0) : "memory");
	return 0;
}

static s64_t call_pkey(enum opcode code, const u64_t *a, u64_t *value)
{
	switch (code) {
	case OP_PKEY_ALLOC:
		return result(syscall(SYS_pkey_alloc, a[0], a[1]));
	case OP_PKEY_FREE:
		return result(syscall(SYS_pkey_free, a[0]));
	case OP_PKEY_MPROTECT:
		return result(syscall(SYS_pkey_mprotect, a[0], a[1], a[2], a[3]));
	default:
		return call_pkey_set(a, value);
	}
}

static s64_t call_system(enum opcode code, const u64_t *a, u64_t *value)
{
	struct iovec iov[2] = {{(void *)a[0], a[1]}, {(void *)a[2], a[3]}};

	switch (code) {
	case OP_PROCESS_MADVISE:
		return result(syscall(SYS_process_madvise, self_fd, iov, 2, a[4], a[5]));
	case OP_PREADV:
		return result(syscall(SYS_preadv, file_of(a[4]), iov, 2, a[5], 0));
	case OP_PWRITEV:
		return result(syscall(SYS_pwritev, file_of(a[4]), iov, 2, a[5], 0));
	case OP_VM_READV:
		return result(syscall(SYS_process_vm_readv, getpid(), iov, 1, iov + 1, 1, 0));
	case OP_VM_WRITEV:
		return result(syscall(SYS_process_vm_writev, getpid(), iov, 1, iov + 1, 1, 0));
	case OP_SEAL:
		return result(fcntl(file_of(a[0]), F_ADD_SEALS, (int)a[1]));
	case OP_SEEK:
		return result(lseek(file_of(a[0]), (off_t)a[1], (int)a[2]));
	case OP_STAT:
		return call_stat(file_of(a[0]), value);
	case OP_NAME:
		return call_name(a);
	case OP_MINCORE_TO:
		return result(syscall(SYS_mincore, a[0], a[1], a[2]));
	case OP_SENDFILE:
		return call_sendfile(a, value);
	case OP_PKEY_ALLOC:
	case OP_PKEY_FREE:
	case OP_PKEY_MPROTECT:
	case OP_PKEY_SET:
		return call_pkey(code, a, value);
	default:
		return call_shm(code, a, value);
	}
}

s64_t exec_call(enum opcode code, const u64_t *a, u64_t *value)
{
	switch (code) {
	case OP_MMAP:
		return result(syscall(SYS_mmap, a[0], a[1], a[2], a[3], file_of(a[4]), a[5]));
	case OP_MUNMAP:
		return result(syscall(SYS_munmap, a[0], a[1]));
	case OP_MPROTECT:
		return result(syscall(SYS_mprotect, a[0], a[1], a[2]));
	case OP_MREMAP:
		return result(syscall(SYS_mremap, a[0], a[1], a[2], a[3], a[4]));
	case OP_MADVISE:
		return result(syscall(SYS_madvise, a[0], a[1], a[2]));
	case OP_BRK:
		return syscall(SYS_brk, a[0]);
	case OP_MSYNC:
		return result(syscall(SYS_msync, a[0], a[1], a[2]));
	case OP_MINCORE:
		return call_mincore(a, value);
	case OP_MLOCK:
		return result(syscall(SYS_mlock, a[0], a[1]));
	case OP_MLOCK2:
		return result(syscall(SYS_mlock2, a[0], a[1], a[2]));
	case OP_MUNLOCK:
		return result(syscall(SYS_munlock, a[0], a[1]));
	case OP_MLOCKALL:
		return result(syscall(SYS_mlockall, a[0]));
	case OP_MUNLOCKALL:
		return result(syscall(SYS_munlockall));
	case OP_REMAP_FILE_PAGES:
		return result(syscall(SYS_remap_file_pages, a[0], a[1], a[2], a[3], a[4]));
	case OP_READ_INTO:
		return result(syscall(SYS_pread64, file_of(a[2]), a[0], a[1], a[3]));
	case OP_WRITE_FROM:
		return result(syscall(SYS_pwrite64, file_of(a[2]), a[0], a[1], a[3]));
	case OP_RLIMIT:
		return call_rlimit(a);
	case OP_UNCAP:
		return call_uncap();
	case OP_CLEAR_REFS:
		return call_clear_refs(a[0]);
	case OP_FTRUNCATE:
	case OP_FALLOCATE:
	case OP_PWRITE:
	case OP_PREAD:
		return call_file(code, a, value);
	default:
		return call_system(code, a, value);
	}
}
