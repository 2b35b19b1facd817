/* SPDX-License-Identifier: MIT */
/*
 * Text files of /proc: the text is made when it is first read, and again when a
 * reader goes back to the start, so that small reads see one consistent whole.
 * Long texts are made and kept in parts, whatever the size of the reads.
 *
 * Locking: text->lock (mutex, RANK_HOST_OUTER + 5) guards the text of one open file;
 * the file's pos_lock (+ 2) may be held.
 */
#include <quire/string.h>

#include "../lib/print.h"
#include "../lib/string.h"
#include "proc_text.h"

#define WRITE_MAX 4096u

struct text { /* file->private */
	struct mutex lock;
	struct seq s;
	u64 base;     /* position of the part that s holds */
	bool started; /* s holds something */
	u64 mm_id;    /* for the contexts */
};

/* ---- making text ------------------------------------------------------------------------ */

static bool seq_room(struct seq *s, size_t n)
{
	if (s->failed)
		return false;
	if (s->room - s->len > n)
		return true;
	size_t room = s->room ? s->room : 512;
	while (room - s->len <= n)
		room *= 2;
	char *buf = quire_krealloc(s->buf, room, GFP_NOFAIL_OOM);
	if (!buf) {
		s->failed = true;
		return false;
	}
	s->buf = buf;
	s->room = room;
	return true;
}

void seq_printf(struct seq *s, const char *fmt, ...)
{
	va_list ap;
	if (!seq_room(s, 127))
		return;
	va_start(ap, fmt);
	int n = vsnprintf(s->buf + s->len, s->room - s->len, fmt, ap);
	va_end(ap);
	if ((size_t)n >= s->room - s->len) {
		if (!seq_room(s, (size_t)n))
			return;
		va_start(ap, fmt);
		vsnprintf(s->buf + s->len, s->room - s->len, fmt, ap);
		va_end(ap);
	}
	s->len += (size_t)n;
}

void seq_write(struct seq *s, const void *bytes, size_t n)
{
	if (!seq_room(s, n))
		return;
	memcpy(s->buf + s->len, bytes, n);
	s->len += n;
}

void seq_puts(struct seq *s, const char *text)
{
	seq_write(s, text, strlen(text));
}

void seq_putc(struct seq *s, char c)
{
	seq_write(s, &c, 1);
}

void seq_escape(struct seq *s, const char *text, const char *also)
{
	for (; *text; text++) {
		if (strchr(also, *text))
			seq_printf(s, "\\%03o", (unsigned)(u8)*text);
		else
			seq_putc(s, *text);
	}
}

void seq_path(struct seq *s, const struct path *p)
{
	seq_path_escaped(s, p, "\n");
}

void seq_path_escaped(struct seq *s, const struct path *p, const char *also)
{
	char *buf = quire_kmalloc(PATH_MAX, GFP_KERNEL);
	char *name = buf ? path_name(p, buf, PATH_MAX) : NULL;
	if (name)
		seq_escape(s, name, also);
	else
		s->failed |= !buf;
	quire_kfree(buf);
}

/* ---- the file --------------------------------------------------------------------------- */

static int make(struct text *t, const struct proc_node *n)
{
	struct proc_ctx c;
	int r = proc_ctx_get(n, &c);
	if (r)
		return r;
	c.mm_id = t->mm_id;
	t->s.more = false;
	r = n->entry->show(&t->s, &c);
	proc_ctx_put(&c);
	return r ? r : t->s.failed ? -ENOMEM : 0;
}

/* Have the part that pos lies in: 1, 0 behind the end, or -errno. */
static int part_at(struct text *t, const struct proc_node *n, u64 pos)
{
	if (!t->started || pos < t->base || !pos) {
		t->s.len = 0;
		t->s.cursor = 0;
		t->s.failed = false;
		t->base = 0;
		int r = make(t, n);
		if (r)
			return r;
		t->started = true;
	}
	while (pos >= t->base + t->s.len) {
		if (!t->s.more)
			return 0;
		t->base += t->s.len;
		t->s.len = 0;
		int r = make(t, n);
		if (r)
			return r;
	}
	return 1;
}

static s64 text_read(struct file *f, struct iter *it, u64 *pos)
{
	struct text *t = f->private;
	const struct proc_node *n = proc_node_of(f);
	s64 total = 0;
	int r = 0;
	if (!n->entry->show) /* as Linux has it: about a process, or not */
		return n->pid ? -EINVAL : -EIO;
	mutex_lock(&t->lock);
	while (it->left) {
		r = part_at(t, n, *pos);
		if (r <= 0)
			break;
		size_t at = *pos - t->base, want = quire_min(t->s.len - at, it->left);
		size_t done = iter_copy_to(it, t->s.buf + at, want);
		*pos += done;
		total += (s64)done;
		if (done < want) {
			r = -EFAULT;
			break;
		}
	}
	mutex_unlock(&t->lock);
	return total ? total : r;
}

static s64 text_write(struct file *f, struct iter *it, u64 *pos)
{
	const struct proc_node *n = proc_node_of(f);
	struct proc_ctx c;
	size_t len = it->left;
	if (!n->entry->write)
		return n->pid ? -EINVAL : -EIO;
	if (len >= WRITE_MAX)
		return -EINVAL;
	char *buf = quire_kmalloc(len + 1, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	s64 r = -EFAULT;
	if (iter_copy_from(it, buf, len) == len) {
		buf[len] = 0;
		r = proc_ctx_get(n, &c);
		if (!r) {
			r = n->entry->write(&c, buf, len);
			proc_ctx_put(&c);
			if (r >= 0)
				*pos += len;
		}
	}
	quire_kfree(buf);
	return r < 0 ? r : (s64)len;
}

static void text_release(struct file *f)
{
	struct text *t = f->private;
	quire_kfree(t->s.buf);
	quire_kfree(t);
}

static int text_mmap(const struct file *f)
{
	return proc_node_of(f)->pid ? -ENODEV : -EIO;
}

static const struct file_ops text_ops = {
    .read = text_read,
    .write = text_write,
    .seek = file_seek,
    .mmap = text_mmap,
    .release = text_release,
};

int proc_text_open(struct file *f, u64 mm_id)
{
	struct text *t = quire_kmalloc(sizeof(*t), GFP_KERNEL | GFP_ZERO);
	if (!t)
		return -ENOMEM;
	mutex_init(&t->lock, RANK_HOST_OUTER + 5);
	t->mm_id = mm_id;
	f->private = t;
	f->ops = &text_ops;
	f->seekable = true;
	return 0;
}
