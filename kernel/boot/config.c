// SPDX-License-Identifier: MIT
/*
 * The configuration blob: records that `quire run` wrote, as boot/config.h says.
 * Read-only after boot, so no lock.  A blob that isn't well-formed counts as
 * none from the first bad record on.
 */
#include "../lib/print.h"
#include "../lib/string.h"
#include "boot.h"

static const u8 *config_blob;
static size_t config_len;

void config_init(const void *blob, size_t len)
{
	u64 magic = 0;

	if (len >= sizeof(magic))
		memcpy(&magic, blob, sizeof(magic));
	if (magic != CONFIG_MAGIC) {
		print_log(3, "no configuration from the quire command");
		return;
	}
	config_blob = blob;
	config_len = len;
}

const void *config_get(uint32_t type, unsigned nth, size_t *len)
{
	size_t pos = 8;

	while (pos + 8 <= config_len) {
		u32 head[2];
		memcpy(head, config_blob + pos, sizeof(head));
		pos += 8;
		if (head[0] == CONFIG_END || head[1] > config_len - pos)
			break;
		if (head[0] == type && nth-- == 0) {
			*len = head[1];
			return config_blob + pos;
		}
		pos += quire_round_up((size_t)head[1], 8);
	}
	*len = 0;
	return NULL;
}

u64 config_flags(void)
{
	size_t len;
	const void *p = config_get(CONFIG_FLAGS, 0, &len);
	u64 flags = 0;

	if (p && len >= sizeof(flags))
		memcpy(&flags, p, sizeof(flags));
	return flags;
}
