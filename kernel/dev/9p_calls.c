/* SPDX-License-Identifier: MIT */
/*
 * The 9P2000.L client: the calls, one message each.  See 9p.c for how a request
 * travels, 9p.h for what each call does.
 *
 * Locking: none here.
 */
#include <quire/assert.h>
#include <quire/page.h>

#include "9p_msg.h"

/* ---- walking, attributes ---------------------------------------------------------------- */

static void put_walk(struct request *r, struct p9_fid *from, struct p9_fid *to, const char *name)
{
	put32(r, from->id);
	put32(r, to->id);
	put16(r, name ? 1 : 0);
	if (name)
		put_string(r, name);
}

int p9_walk(struct p9_fid *from, const char *name, struct p9_fid **out, struct p9_qid *qid)
{
	struct p9_client *c = from->client;
	struct p9_fid *f = p9_fid_new(c);
	struct request *r = f ? p9_begin(c, T_WALK, 0) : NULL;
	int err;

	if (!r) {
		if (f)
			p9_fid_free(f);
		return -ENOMEM;
	}
	put_walk(r, from, f, name);
	err = p9_call(r, RX_INLINE, NULL, 0, false);
	if (!err) {
		u16 n = get16(r);

		if (n != (name ? 1 : 0))
			err = -ENOENT;
		else if (name && qid)
			get_qid(r, qid);
	}
	p9_end(r);
	if (err) {
		p9_fid_free(f);
		return err;
	}
	*out = f;
	return 0;
}

static void put_getattr(struct request *r, struct p9_fid *fid)
{
	put32(r, fid->id);
	put64(r, 0x7ff); /* the basic set: all of stat(2) */
}

static int get_attr(struct request *r, struct p9_attr *a)
{
	get64(r); /* which are valid: the basic set always is */
	get_qid(r, &a->qid);
	a->mode = get32(r);
	a->uid = get32(r);
	a->gid = get32(r);
	a->nlink = get64(r);
	a->rdev = get64(r);
	a->size = get64(r);
	a->blksize = get64(r);
	a->blocks = get64(r);
	a->atime = (s64)get64(r);
	a->atime_ns = (s64)get64(r);
	a->mtime = (s64)get64(r);
	a->mtime_ns = (s64)get64(r);
	a->ctime = (s64)get64(r);
	a->ctime_ns = (s64)get64(r);
	return r->overflow ? -EIO : 0;
}

int p9_getattr(struct p9_fid *fid, struct p9_attr *a)
{
	struct request *r = p9_begin(fid->client, T_GETATTR, 0);
	int err;

	if (!r)
		return -ENOMEM;
	put_getattr(r, fid);
	err = p9_call(r, RX_INLINE, NULL, 0, false);
	if (!err)
		err = get_attr(r, a);
	p9_end(r);
	return err;
}

/* Send one step of a look-up; null when it can't be sent. */
static struct request *send_step(struct p9_fid *dir, struct p9_lookup *v, u8 type, bool first)
{
	struct p9_client *c = dir->client;
	struct request *r = first ? p9_begin(c, type, 0) : p9_try_begin(c, type);

	if (!r)
		return NULL;
	if (type == T_WALK)
		put_walk(r, dir, v->fid, v->name);
	else
		put_getattr(r, v->fid);
	r->more = true;
	if (p9_send(r, RX_INLINE, NULL, 0, false)) {
		p9_end(r);
		return NULL;
	}
	return r;
}

/* Send this step for all that are in `want` state, then take all the answers. */
static void run_step(struct p9_fid *dir, struct p9_lookup *v, unsigned n, u8 type)
{
	struct request *r[P9_BATCH];
	unsigned sent = 0;

	for (unsigned i = 0; i < n; i++) {
		r[i] = v[i].err ? NULL : send_step(dir, &v[i], type, !sent);
		if (r[i])
			sent++;
		else if (!v[i].err)
			v[i].err = -EAGAIN;
	}
	if (sent)
		virtio_kick(dir->client->queue, sent);
	for (unsigned i = 0; i < n; i++) {
		if (!r[i])
			continue;
		v[i].err = p9_finish(r[i]);
		if (!v[i].err && type == T_WALK && get16(r[i]) != 1)
			v[i].err = -ENOENT;
		if (!v[i].err && type == T_GETATTR)
			v[i].err = get_attr(r[i], &v[i].attr);
		p9_end(r[i]);
	}
}

void p9_lookup_many(struct p9_fid *dir, struct p9_lookup *v, unsigned n)
{
	bool walked[P9_BATCH];

	REQUIRE(n <= P9_BATCH);
	for (unsigned i = 0; i < n; i++) {
		v[i].fid = p9_fid_new(dir->client);
		v[i].err = v[i].fid ? 0 : -ENOMEM;
	}
	run_step(dir, v, n, T_WALK);
	for (unsigned i = 0; i < n; i++) {
		walked[i] = !v[i].err;
		if (v[i].err && v[i].fid) {
			p9_fid_free(v[i].fid);
			v[i].fid = NULL;
		}
	}
	run_step(dir, v, n, T_GETATTR);
	for (unsigned i = 0; i < n; i++) {
		if (walked[i] && v[i].err) {
			p9_clunk(v[i].fid);
			v[i].fid = NULL;
		}
	}
}

int p9_setattr(struct p9_fid *fid, const struct p9_setattr *a)
{
	struct request *r = p9_begin(fid->client, T_SETATTR, 0);

	if (!r)
		return -ENOMEM;
	put32(r, fid->id);
	put32(r, a->valid);
	put32(r, a->mode);
	put32(r, a->uid);
	put32(r, a->gid);
	put64(r, a->size);
	put64(r, (u64)a->atime);
	put64(r, (u64)a->atime_ns);
	put64(r, (u64)a->mtime);
	put64(r, (u64)a->mtime_ns);
	return p9_simple_call(r);
}

int p9_readlink(struct p9_fid *fid, char *buf, size_t max)
{
	struct request *r = p9_begin(fid->client, T_READLINK, 0);
	u8 *target = quire_kmalloc(QUIRE_PAGE_SIZE, GFP_NOFAIL_OOM);
	int err = -ENOMEM;
	u16 len;

	if (r && target) {
		struct vbuf in = {target, QUIRE_PAGE_SIZE};

		put32(r, fid->id);
		/* The fixed part ends behind the length, which errors are longer than. */
		err = p9_call(r, REPLY_HEAD, &in, 1, true);
		if (!err) {
			/* size, type, tag, u16 length, then text: two bytes of it are in rx. */
			len = get16(r);
			if (len > max)
				len = (u16)max;
			memcpy(buf, r->rx + 9, quire_min(len, (u16)2));
			if (len > 2)
				memcpy(buf + 2, target, len - 2);
			err = len;
		}
	}
	if (r)
		p9_end(r);
	quire_kfree(target);
	return err;
}

int p9_statfs(struct p9_fid *fid, struct p9_statfs *s)
{
	struct request *r = p9_begin(fid->client, T_STATFS, 0);
	int err;

	if (!r)
		return -ENOMEM;
	put32(r, fid->id);
	err = p9_call(r, RX_INLINE, NULL, 0, false);
	if (!err) {
		s->type = get32(r);
		s->bsize = get32(r);
		s->blocks = get64(r);
		s->bfree = get64(r);
		s->bavail = get64(r);
		s->files = get64(r);
		s->ffree = get64(r);
		s->fsid = get64(r);
		s->namelen = get32(r);
	}
	p9_end(r);
	return err;
}

/* ---- input and output
 * ----------------------------------------------------------------------------- */

int p9_lopen(struct p9_fid *fid, u32 flags)
{
	struct request *r = p9_begin(fid->client, T_LOPEN, 0);

	if (!r)
		return -ENOMEM;
	put32(r, fid->id);
	put32(r, flags);
	return p9_simple_call(r);
}

int p9_lcreate(struct p9_fid *fid, const char *name, u32 flags, u32 mode, u32 gid)
{
	struct request *r = p9_begin(fid->client, T_LCREATE, 0);

	if (!r)
		return -ENOMEM;
	put32(r, fid->id);
	put_string(r, name);
	put32(r, flags);
	put32(r, mode);
	put32(r, gid);
	return p9_simple_call(r);
}

/* The pages as buffers, neighbours in memory joined; how many. */
static unsigned page_bufs(struct vbuf *bufs, struct page **pages, unsigned n, size_t bytes)
{
	unsigned used = 0;

	for (unsigned i = 0; i < n && bytes; i++) {
		u32 len = (u32)quire_min(bytes, QUIRE_PAGE_SIZE);
		u8 *at = page_view(pages[i]);

		if (used && (u8 *)bufs[used - 1].addr + bufs[used - 1].len == at)
			bufs[used - 1].len += len;
		else
			bufs[used++] = (struct vbuf){at, len};
		bytes -= len;
	}
	return used;
}

static s64 transfer(struct p9_fid *fid, u64 pos, struct page **pages, unsigned n, size_t bytes,
		    bool write)
{
	struct request *r = p9_begin(fid->client, write ? T_WRITE : T_READ, 0);
	struct vbuf *bufs = quire_kmalloc(n * sizeof(*bufs), GFP_NOFAIL_OOM);
	s64 result = -ENOMEM;

	if (r && bufs) {
		unsigned used = page_bufs(bufs, pages, n, bytes);

		put32(r, fid->id);
		put64(r, pos);
		put32(r, (u32)bytes);
		result = p9_call(r, REPLY_HEAD, bufs, used, !write);
		if (!result) {
			u32 count = get32(r);

			result = count > bytes ? -EIO : (s64)count;
		}
	}
	if (r)
		p9_end(r);
	quire_kfree(bufs);
	return result;
}

static s64 transfer_all(struct p9_fid *fid, u64 pos, struct page **pages, unsigned n, size_t bytes,
			bool write)
{
	unsigned most = (fid->client->msize - 24) / (u32)QUIRE_PAGE_SIZE;
	size_t done = 0;

	bytes = quire_min(bytes, n * QUIRE_PAGE_SIZE);
	while (done < bytes) {
		unsigned first = (unsigned)(done >> QUIRE_PAGE_SHIFT);
		unsigned count = quire_min(n - first, most);
		size_t want = quire_min(bytes - done, (size_t)count << QUIRE_PAGE_SHIFT);
		s64 got = transfer(fid, pos + done, pages + first, count, want, write);

		if (got < 0)
			return got;
		/* A read that ends inside a page is the end of the file: the server goes on
		 * until then by itself. */
		done += (size_t)got;
		if ((size_t)got < want)
			break;
	}
	return write && done < bytes ? -EIO : (s64)done;
}

s64 p9_read_pages(struct p9_fid *fid, u64 pos, struct page **pages, unsigned n, size_t bytes)
{
	return transfer_all(fid, pos, pages, n, bytes, false);
}

s64 p9_write_pages(struct p9_fid *fid, u64 pos, struct page **pages, unsigned n, size_t bytes)
{
	return transfer_all(fid, pos, pages, n, bytes, true);
}

int p9_fsync(struct p9_fid *fid, bool data_only)
{
	struct request *r = p9_begin(fid->client, T_FSYNC, 0);

	if (!r)
		return -ENOMEM;
	put32(r, fid->id);
	put32(r, data_only);
	return p9_simple_call(r);
}

int p9_readdir(struct p9_fid *fid, u64 pos, void *buf, u32 max)
{
	struct request *r = p9_begin(fid->client, T_READDIR, 0);
	struct vbuf in = {buf, quire_min(max, fid->client->msize - 24)};
	int result;

	if (!r)
		return -ENOMEM;
	put32(r, fid->id);
	put64(r, pos);
	put32(r, in.len);
	result = p9_call(r, REPLY_HEAD, &in, 1, true);
	if (!result) {
		u32 count = get32(r);

		result = count > in.len ? -EIO : (int)count;
	}
	p9_end(r);
	return result;
}

/* ---- changing directories
 * ------------------------------------------------------------------------ */

int p9_mkdir(struct p9_fid *dir, const char *name, u32 mode, u32 gid)
{
	struct request *r = p9_begin(dir->client, T_MKDIR, 0);

	if (!r)
		return -ENOMEM;
	put32(r, dir->id);
	put_string(r, name);
	put32(r, mode);
	put32(r, gid);
	return p9_simple_call(r);
}

int p9_symlink(struct p9_fid *dir, const char *name, const char *target, u32 gid)
{
	struct request *r = p9_begin(dir->client, T_SYMLINK, strlen(target));

	if (!r)
		return -ENOMEM;
	put32(r, dir->id);
	put_string(r, name);
	put_string(r, target);
	put32(r, gid);
	return p9_simple_call(r);
}

int p9_link(struct p9_fid *dir, struct p9_fid *target, const char *name)
{
	struct request *r = p9_begin(dir->client, T_LINK, 0);

	if (!r)
		return -ENOMEM;
	put32(r, dir->id);
	put32(r, target->id);
	put_string(r, name);
	return p9_simple_call(r);
}

int p9_renameat(struct p9_fid *from, const char *name, struct p9_fid *to, const char *new_name)
{
	struct request *r = p9_begin(from->client, T_RENAMEAT, 0);

	if (!r)
		return -ENOMEM;
	put32(r, from->id);
	put_string(r, name);
	put32(r, to->id);
	put_string(r, new_name);
	return p9_simple_call(r);
}

int p9_unlinkat(struct p9_fid *dir, const char *name, bool directory)
{
	struct request *r = p9_begin(dir->client, T_UNLINKAT, 0);

	if (!r)
		return -ENOMEM;
	put32(r, dir->id);
	put_string(r, name);
	put32(r, directory ? 0x200 : 0); /* AT_REMOVEDIR */
	return p9_simple_call(r);
}
