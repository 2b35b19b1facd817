// SPDX-License-Identifier: MIT
/*
 * snprintf, and log lines to port 0xe9.
 *
 * One lock, with interrupts off, keeps lines of several CPUs apart.  It is not
 * a ranked lock: a line may be logged with any lock held.
 */
#include "print.h"

#include "../arch/cpu.h"
#include "string.h"

#define LOG_PORT 0xe9
#define LINE_MAX 480

int log_level = 4;
static u8 log_lock;
static bool log_free_for_all;

struct out {
	char *buf;
	size_t size, len;
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void pad(struct out *o, char c, int n)
{
	while (n-- > 0)
		put(o, c);
}

struct spec {
	bool left, zero, plus, space, alt;
	int width, precision; /* precision -1: not given */
	int size;             /* bytes of the integer */
};

static void put_text(struct out *o, const struct spec *s, const char *text, size_t n)
{
	int fill = s->width - (int)n;
	if (!s->left)
		pad(o, ' ', fill);
	for (size_t i = 0; i < n; i++)
		put(o, text[i]);
	if (s->left)
		pad(o, ' ', fill);
}

static void put_number(struct out *o, const struct spec *s, u64 v, unsigned base, bool upper,
		       const char *prefix)
{
	char digits[24];
	const char *set = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	int n = 0, prefix_len = (int)strlen(prefix);

	do
		digits[n++] = set[v % base];
	while (v /= base);
	if (s->precision == 0 && n == 1 && digits[0] == '0')
		n = 0;
	int zeros = s->precision > n ? s->precision - n : 0;
	if (s->zero && !s->left && s->precision < 0 && s->width > n + prefix_len)
		zeros = s->width - n - prefix_len;
	int fill = s->width - n - zeros - prefix_len;

	if (!s->left)
		pad(o, ' ', fill);
	while (*prefix)
		put(o, *prefix++);
	pad(o, '0', zeros);
	while (n)
		put(o, digits[--n]);
	if (s->left)
		pad(o, ' ', fill);
}

static u64 take_integer(va_list *ap, int size, bool is_signed)
{
	u64 v = size == 8 ? va_arg(*ap, u64) : va_arg(*ap, u32);
	if (is_signed)
		switch (size) {
		case 1:
			return (u64)(s64)(signed char)v;
		case 2:
			return (u64)(s64)(s16)v;
		case 4:
			return (u64)(s64)(s32)v;
		default:
			return v;
		}
	return size == 1 ? (u8)v : size == 2 ? (u16)v : v;
}

static const char *parse_flags(const char *f, struct spec *s)
{
	for (;; f++) {
		if (*f == '-')
			s->left = true;
		else if (*f == '0')
			s->zero = true;
		else if (*f == '+')
			s->plus = true;
		else if (*f == ' ')
			s->space = true;
		else if (*f == '#')
			s->alt = true;
		else
			return f;
	}
}

static const char *parse_count(const char *f, va_list *ap, int *out)
{
	if (*f == '*') {
		*out = va_arg(*ap, int);
		return f + 1;
	}
	for (*out = 0; *f >= '0' && *f <= '9'; f++)
		*out = *out * 10 + (*f - '0');
	return f;
}

static const char *parse_size(const char *f, int *size)
{
	*size = 4;
	if (*f == 'h') {
		*size = 2;
		if (*++f == 'h') {
			*size = 1;
			f++;
		}
	} else if (*f == 'l' || *f == 'z' || *f == 't' || *f == 'j') {
		*size = 8;
		if (*f++ == 'l' && *f == 'l')
			f++;
	}
	return f;
}

static void put_conversion(struct out *o, const struct spec *s, char kind, va_list *ap)
{
	char c;
	const char *text;
	u64 v;

	switch (kind) {
	case 'd':
	case 'i':
		v = take_integer(ap, s->size, true);
		if ((s64)v < 0)
			put_number(o, s, -v, 10, false, "-");
		else
			put_number(o, s, v, 10, false, s->plus ? "+" : s->space ? " " : "");
		break;
	case 'u':
		put_number(o, s, take_integer(ap, s->size, false), 10, false, "");
		break;
	case 'o':
		put_number(o, s, take_integer(ap, s->size, false), 8, false, s->alt ? "0" : "");
		break;
	case 'x':
	case 'X':
		v = take_integer(ap, s->size, false);
		put_number(o, s, v, 16, kind == 'X',
			   s->alt && v ? (kind == 'X' ? "0X" : "0x") : "");
		break;
	case 'p':
		put_number(o, s, (u64)va_arg(*ap, void *), 16, false, "0x");
		break;
	case 'c':
		c = (char)va_arg(*ap, int);
		put_text(o, s, &c, 1);
		break;
	case 's':
		text = va_arg(*ap, const char *);
		if (!text)
			text = "(null)";
		put_text(o, s, text, strnlen(text, s->precision < 0 ? ~0UL : (size_t)s->precision));
		break;
	default:
		put(o, '%');
		if (kind != '%')
			put(o, kind);
	}
}

int vsnprintf(char *buf, size_t n, const char *fmt, va_list ap)
{
	struct out o = {buf, n, 0};
	va_list args;

	va_copy(args, ap);
	for (const char *f = fmt; *f; f++) {
		if (*f != '%') {
			put(&o, *f);
			continue;
		}
		struct spec s = {.precision = -1};
		f = parse_flags(f + 1, &s);
		f = parse_count(f, &args, &s.width);
		if (s.width < 0) {
			s.left = true;
			s.width = -s.width;
		}
		if (*f == '.')
			f = parse_count(f + 1, &args, &s.precision);
		f = parse_size(f, &s.size);
		if (!*f)
			break;
		put_conversion(&o, &s, *f, &args);
	}
	va_end(args);
	if (n)
		buf[o.len < n ? o.len : n - 1] = 0;
	return (int)o.len;
}

int snprintf(char *buf, size_t n, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int len = vsnprintf(buf, n, fmt, ap);
	va_end(ap);
	return len;
}

void print_log_unlock(void)
{
	log_free_for_all = true;
}

void vprint_log(int level, const char *fmt, va_list ap)
{
	char line[LINE_MAX];
	u64 flags;

	if (level > log_level)
		return;
	vsnprintf(line, sizeof(line), fmt, ap);
	__asm__ volatile("pushfq; popq %0; cli" : "=r"(flags) : : "memory");
	while (__atomic_exchange_n(&log_lock, 1, __ATOMIC_ACQUIRE) && !log_free_for_all)
		cpu_relax();
	outb(LOG_PORT, '<');
	outb(LOG_PORT, (u8)('0' + level));
	outb(LOG_PORT, '>');
	for (const char *p = line; *p; p++)
		outb(LOG_PORT, (u8)*p);
	outb(LOG_PORT, '\n');
	__atomic_store_n(&log_lock, 0, __ATOMIC_RELEASE);
	if (flags & RFLAGS_IF)
		irq_enable();
}

void print_log(int level, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vprint_log(level, fmt, ap);
	va_end(ap);
}
