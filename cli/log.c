/* SPDX-License-Identifier: MIT */
/*
 * The kernel's log: lines "<N>text".  Errors (N <= 3) are shown on standard error
 * always, the rest with --verbose, and all of it goes to --log FILE.  Code
 * addresses, "[<ffffffff80101234>]", get their function's name from the symbol
 * table of the kernel's ELF file.
 */
#include "quire.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct options *options;
static FILE *file;
static char *pending;
static size_t pending_len, pending_room;

struct elf {
	const char *base;
	size_t size;
};

static struct elf map_kernel(void)
{
	struct elf e = {0};
	struct stat st;
	int fd = open(kernel_path(options), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return e;
	if (!fstat(fd, &st) && (size_t)st.st_size > sizeof(Elf64_Ehdr)) {
		void *m = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (m != MAP_FAILED && !memcmp(m, ELFMAG, SELFMAG)) {
			e.base = m;
			e.size = (size_t)st.st_size;
		}
	}
	close(fd);
	return e;
}

/* The function that address is in: its name, and how far into it; null: unknown. */
static const char *symbol(uint64_t address, uint64_t *offset)
{
	static struct elf e;
	static bool mapped;
	const char *best = NULL;
	uint64_t best_value = 0;

	if (!mapped) {
		e = map_kernel();
		mapped = true;
	}
	if (!e.base)
		return NULL;
	const Elf64_Ehdr *h = (const void *)e.base;
	if (h->e_shoff > e.size || h->e_shnum * sizeof(Elf64_Shdr) > e.size - h->e_shoff)
		return NULL;
	const Elf64_Shdr *s = (const void *)(e.base + h->e_shoff);
	for (unsigned i = 0; i < h->e_shnum; i++) {
		if (s[i].sh_type != SHT_SYMTAB || s[i].sh_link >= h->e_shnum)
			continue;
		const Elf64_Shdr *str = &s[s[i].sh_link];
		if (s[i].sh_offset + s[i].sh_size > e.size ||
		    str->sh_offset + str->sh_size > e.size)
			return NULL;
		const Elf64_Sym *sym = (const void *)(e.base + s[i].sh_offset);
		for (size_t n = s[i].sh_size / sizeof(*sym); n--; sym++)
			if (sym->st_value <= address && sym->st_value >= best_value &&
			    ELF64_ST_TYPE(sym->st_info) != STT_SECTION &&
			    sym->st_shndx != SHN_ABS && sym->st_name < str->sh_size &&
			    e.base[str->sh_offset + sym->st_name]) {
				best = e.base + str->sh_offset + sym->st_name;
				best_value = sym->st_value;
			}
	}
	*offset = address - best_value;
	return best && *offset < (1u << 20) ? best : NULL;
}

static void print(FILE *to, const char *text)
{
	const char *mark;
	while ((mark = strstr(text, "[<"))) {
		char *end;
		uint64_t offset, address = strtoull(mark + 2, &end, 16);
		if (strncmp(end, ">]", 2)) {
			fprintf(to, "%.*s", (int)(mark + 2 - text), text);
			text = mark + 2;
			continue;
		}
		const char *name = symbol(address, &offset);
		fprintf(to, "%.*s", (int)(end + 2 - text), text);
		if (name)
			fprintf(to, " %s+0x%llx", name, (unsigned long long)offset);
		text = end + 2;
	}
	fputs(text, to);
	fputs(to == stderr && terminal_is_raw() ? "\r\n" : "\n", to);
}

static void log_line(char *text)
{
	int level = 6;
	if (text[0] == '<' && text[1] >= '0' && text[1] <= '9' && text[2] == '>') {
		level = text[1] - '0';
		text += 3;
	}
	if (file)
		print(file, text);
	if (level <= 3 || options->verbose) {
		fputs("quire: ", stderr);
		print(stderr, text);
	}
}

void log_start(const struct options *o)
{
	options = o;
	if (!o->log_file)
		return;
	file = fopen(o->log_file, "we");
	if (!file)
		die("--log %s: %s", o->log_file, strerror(errno));
	setvbuf(file, NULL, _IOLBF, 0);
}

void log_bytes(const char *p, size_t n)
{
	for (; n--; p++) {
		if (pending_len + 2 > pending_room) {
			pending_room = pending_room * 2 + 256;
			pending = xrealloc(pending, pending_room);
		}
		if (*p != '\n' && *p) {
			pending[pending_len++] = *p;
			continue;
		}
		pending[pending_len] = '\0';
		pending_len = 0;
		log_line(pending);
	}
}

void log_end(void)
{
	if (pending_len)
		log_bytes("\n", 1);
	if (file)
		fclose(file);
	file = NULL;
}
