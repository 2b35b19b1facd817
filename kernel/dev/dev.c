/* SPDX-License-Identifier: MIT */
/* The order in which the devices come up; they need each other in this order. */
#include "dev.h"

#include "hostio.h"
#include "virtio.h"

void dev_init(void)
{
	virtio_probe();
	hostio_init();
	chardev_init();
	tty_init();
}
