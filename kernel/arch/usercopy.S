/* SPDX-License-Identifier: MIT */
/*
 * The instructions that touch user memory.  Each has an entry in the exception
 * table: where to go on when the fault can't be resolved.  They check no range;
 * arch/uaccess.c does.
 */
.macro STAC_
771:	.byte 0x0f, 0x1f, 0x00
	.pushsection .smap_sites, "a"
	.quad 771b, 0xcb
	.popsection
.endm
.macro CLAC_
771:	.byte 0x0f, 0x1f, 0x00
	.pushsection .smap_sites, "a"
	.quad 771b, 0xca
	.popsection
.endm
.macro ON_FAULT from, to
	.pushsection .extable, "a"
	.quad \from, \to
	.popsection
.endm

	.text
	/* size_t user_copy(void *dst, const void *src, size_t n): bytes not copied.  Words
	 * first; after a fault in them the rest byte by byte, so that the count is exact. */
	.balign 16
	.globl user_copy
user_copy:
	STAC_
	movq %rdx, %rcx
	andl $7, %edx
	shrq $3, %rcx
1:	rep movsq
	movl %edx, %ecx
	testl %edx, %edx
	jz 4f
2:	rep movsb
4:	movq %rcx, %rax
	CLAC_
	ret
3:	leaq (%rdx, %rcx, 8), %rcx
	jmp 2b
	ON_FAULT 1b, 3b
	ON_FAULT 2b, 4b

	/* size_t user_clear(void *dst, size_t n): bytes not cleared.  As on Linux, of less than
	 * 64 bytes whole words are cleared up to a fault, else every byte. */
	.balign 16
	.globl user_clear
user_clear:
	STAC_
	xorl %eax, %eax
	movq %rsi, %rcx
	movl %esi, %edx
	andl $7, %edx
	shrq $3, %rcx
1:	rep stosq
	movl %edx, %ecx
2:	rep stosb
4:	movq %rcx, %rax
	CLAC_
	ret
3:	leaq (%rdx, %rcx, 8), %rcx
	cmpq $64, %rsi
	jae 2b
	jmp 4b
	ON_FAULT 1b, 3b
	ON_FAULT 2b, 4b

	/* int user_read64(u64 *v, u64 addr), user_read32, user_read8: 0 or -EFAULT */
.macro READ name, load, store, reg
	.balign 16
	.globl \name
\name:
	STAC_
1:	\load (%rsi), %\reg
	CLAC_
	\store %\reg, (%rdi)
	xorl %eax, %eax
	ret
	ON_FAULT 1b, user_fault
.endm
	READ user_read64, movq, movq, rax
	READ user_read32, movl, movl, eax
	READ user_read8, movb, movb, al

	/* int user_write64(u64 addr, u64 v), user_write32 */
	.balign 16
	.globl user_write64
user_write64:
	STAC_
1:	movq %rsi, (%rdi)
	CLAC_
	xorl %eax, %eax
	ret
	ON_FAULT 1b, user_fault
	.balign 16
	.globl user_write32
user_write32:
	STAC_
1:	movl %esi, (%rdi)
	CLAC_
	xorl %eax, %eax
	ret
	ON_FAULT 1b, user_fault

	/* int user_cmpxchg32(u64 addr, u32 expected, u32 new, u32 *old) */
	.balign 16
	.globl user_cmpxchg32
user_cmpxchg32:
	STAC_
	movl %esi, %eax
1:	lock cmpxchgl %edx, (%rdi)
	CLAC_
	movl %eax, (%rcx)
	xorl %eax, %eax
	ret
	ON_FAULT 1b, user_fault

user_fault:
	CLAC_
	movl $-14, %eax
	ret

	.section .note.GNU-stack, "", @progbits
