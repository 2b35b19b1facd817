/* SPDX-License-Identifier: MIT */
/* The vdso's file, as the kernel carries it. */
	.section .rodata
	.balign 16
	.globl vdso_image, vdso_image_end
vdso_image:
	.incbin VDSO_FILE
vdso_image_end:
