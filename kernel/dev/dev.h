/* SPDX-License-Identifier: MIT */
/* Start-up of the devices. */
#ifndef KERNEL_DEV_DEV_H
#define KERNEL_DEV_DEV_H

/* Find the devices, open the channel to the host, and register the character devices.
 * Before vfs_init().  Sleeps. */
void dev_init(void);

#endif
