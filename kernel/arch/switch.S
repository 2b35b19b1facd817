/* SPDX-License-Identifier: MIT */
/*
 * switch_stacks(u64 *save, u64 rsp): leave one kernel stack for another.  What C
 * expects to survive a call is on the stack; all else the scheduler switches.
 */
	.text
	.balign 16
	.globl switch_stacks
switch_stacks:
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, (%rdi)
	movq %rsi, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret

	.section .note.GNU-stack, "", @progbits
