/* SPDX-License-Identifier: MIT */
/* The vdso's file, as the kernel carries it. */
	.section .rodata
	.balign 16
	.globl vdso_image, vdso_image_size
vdso_image:
	.incbin VDSO_FILE
1:
	.balign 8
vdso_image_size:
	.quad 1b - vdso_image
