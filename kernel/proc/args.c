/* SPDX-License-Identifier: MIT */
/*
 * The arguments and environment of a program on their way from the old address
 * space (or the configuration) to the stack of the new one: copied into pieces of a page
 * each, changed where a script's first line names an interpreter, written out again.
 *
 * An argbuf is its task's alone: no locks.  Limits are Linux's: a quarter of the
 * stack limit for all, 128 KiB for one string.
 */
#include "internal.h"

#define STRING_MAX (32 * QUIRE_PAGE_SIZE) /* one argument, its terminator included */
#define ARGS_LEAST (32 * QUIRE_PAGE_SIZE)
#define ARGS_MOST (6UL << 20)

static int grow_pieces(struct argbuf *b)
{
	u32 n = b->maxpieces ? 2 * b->maxpieces : 16;
	char **p = quire_krealloc(b->piece, n * sizeof(*p), GFP_KERNEL);
	if (!p)
		return -ENOMEM;
	b->piece = p;
	b->maxpieces = n;
	return 0;
}

/* Room for at least one more byte; how much contiguous room there is, or -errno. */
static s64 argbuf_room(struct argbuf *b, char **at)
{
	u64 off = b->len % QUIRE_PAGE_SIZE;
	if (b->len == b->npieces * QUIRE_PAGE_SIZE) {
		if (b->npieces == b->maxpieces && grow_pieces(b))
			return -ENOMEM;
		char *p = quire_kmalloc(QUIRE_PAGE_SIZE, GFP_KERNEL);
		if (!p)
			return -ENOMEM;
		b->piece[b->npieces++] = p;
	}
	*at = b->piece[b->len / QUIRE_PAGE_SIZE] + off;
	return (s64)(QUIRE_PAGE_SIZE - off);
}

int argbuf_add(struct argbuf *b, const char *bytes, size_t n)
{
	char *at;
	while (n) {
		s64 room = argbuf_room(b, &at);
		if (room < 0)
			return (int)room;
		size_t k = quire_min((size_t)room, n);
		memcpy(at, bytes, k);
		b->len += k;
		bytes += k;
		n -= k;
		if (b->limit && b->len > b->limit)
			return -E2BIG;
	}
	return 0;
}

void argbuf_free(struct argbuf *b)
{
	for (u32 i = 0; i < b->npieces; i++)
		quire_kfree(b->piece[i]);
	quire_kfree(b->piece);
	quire_kfree(b->head);
	memset(b, 0, sizeof(*b));
}

/* One user string with its terminator. */
static int add_user_string(struct argbuf *b, u64 ustr)
{
	u64 total = 0;
	char *at;
	for (;;) {
		s64 room = argbuf_room(b, &at);
		if (room < 0)
			return (int)room;
		room = quire_min(room, (s64)STRING_MAX);
		long n = copy_string_from_user(at, ustr, (size_t)room);
		if (n >= 0) {
			total += (u64)n + 1;
			b->len += (u64)n + 1;
			return total > STRING_MAX || b->len > b->limit ? -E2BIG : 0;
		}
		if (n != -ENAMETOOLONG)
			return (int)n;
		total += (u64)room;
		b->len += (u64)room;
		ustr += (u64)room;
		if (total > STRING_MAX || b->len > b->limit)
			return -E2BIG;
	}
}

/* A null-terminated array of user pointers to strings; null itself is empty. */
static int add_user_vector(struct argbuf *b, u64 uvec, u64 *count)
{
	*count = 0;
	for (; uvec; uvec += sizeof(u64)) {
		u64 ustr;
		if (get_user_u64(&ustr, uvec))
			return -EFAULT;
		if (!ustr)
			break;
		int err = add_user_string(b, ustr);
		if (err)
			return err;
		++*count;
		if (b->len + (b->argc + *count) * sizeof(u64) > b->limit)
			return -E2BIG;
		if (!(*count % 64) && signal_fatal_pending())
			return -EINTR;
	}
	return 0;
}

int argbuf_from_user(struct argbuf *b, u64 uargv, u64 uenvp)
{
	u64 stack = current()->process->rlim[RLIMIT_STACK].cur;
	b->limit = quire_max(quire_min(stack / 4, ARGS_MOST), ARGS_LEAST);
	int err = add_user_vector(b, uargv, &b->argc);
	if (!err && !b->argc) {
		/* As Linux: there always is an argv[0]. */
		err = argbuf_add(b, "", 1);
		b->argc = 1;
	}
	if (err)
		return err;
	b->argv_len = b->len;
	err = add_user_vector(b, uenvp, &b->envc);
	b->envp_len = b->len - b->argv_len;
	return err;
}

/* The byte of the run at pos. */
static char arg_byte(const struct argbuf *b, u64 pos)
{
	return b->piece[pos / QUIRE_PAGE_SIZE][pos % QUIRE_PAGE_SIZE];
}

int argbuf_replace_first(struct argbuf *b, const char *interp, const char *arg, const char *path)
{
	const char *add[3] = {interp, arg ? arg : path, arg ? path : NULL};
	u64 drop = 0, size = 0, n = 0;
	if (b->head_len) {
		drop = strlen(b->head) + 1;
		b->argc--;
	} else if (b->skip < b->argv_len) {
		while (b->skip < b->argv_len && arg_byte(b, b->skip))
			b->skip++;
		b->skip++;
		b->argc--;
	}
	for (unsigned i = 0; i < 3 && add[i]; i++)
		size += strlen(add[i]) + 1;
	char *head = quire_kmalloc(size + b->head_len - drop, GFP_KERNEL);
	if (!head)
		return -ENOMEM;
	for (unsigned i = 0; i < 3 && add[i]; i++) {
		size_t k = strlen(add[i]) + 1;
		memcpy(head + n, add[i], k);
		n += k;
		b->argc++;
	}
	if (b->head_len > drop)
		memcpy(head + n, b->head + drop, b->head_len - drop);
	b->head_len = size + b->head_len - drop;
	quire_kfree(b->head);
	b->head = head;
	return 0;
}

int argbuf_write(struct argbuf *b, u64 at)
{
	u64 pos = b->skip;
	if (b->head_len && copy_to_user(at, b->head, b->head_len))
		return -EFAULT;
	at += b->head_len;
	while (pos < b->len) {
		u64 n = quire_min(QUIRE_PAGE_SIZE - pos % QUIRE_PAGE_SIZE, b->len - pos);
		if (copy_to_user(at, b->piece[pos / QUIRE_PAGE_SIZE] + pos % QUIRE_PAGE_SIZE, n))
			return -EFAULT;
		at += n;
		pos += n;
	}
	return 0;
}

int argbuf_write_pointers(u64 *sp, u64 count, u64 *at, struct argbuf *b, u64 *pos)
{
	u64 chunk[64];
	unsigned n = 0;
	for (u64 i = 0; i < count; i++) {
		chunk[n++] = *at;
		char ch;
		do { /* to the end of this string, in the head or in the pieces */
			ch = *pos < b->head_len ? b->head[*pos]
						: arg_byte(b, *pos - b->head_len + b->skip);
			++*pos;
			++*at;
		} while (ch);
		if (n == quire_array_size(chunk) || i + 1 == count) {
			if (copy_to_user(*sp, chunk, n * sizeof(u64)))
				return -EFAULT;
			*sp += n * sizeof(u64);
			n = 0;
		}
	}
	if (put_user_u64(*sp, 0))
		return -EFAULT;
	*sp += sizeof(u64);
	return 0;
}
