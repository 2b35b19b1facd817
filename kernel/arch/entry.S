/* SPDX-License-Identifier: MIT */
/*
 * Ways into the kernel and back: SYSCALL, exceptions, interrupts.
 *
 * Every entry leaves a struct regs on the stack.  In kernel mode gs is the CPU's
 * struct percpu; SWAPGS happens exactly when user mode was left or is entered.
 * Direction and access flags are clear while C runs.
 *
 * Page faults come on their own interrupt stack, since the faulting address
 * may be the kernel stack's own unmapped page; so do interrupts.  From user mode the frame moves to
 * the task's stack at once (whose top page is always there).  From kernel mode,
 * pf_kernel() first maps a lazy page in place; other faults continue on the
 * interrupted stack.
 */
	.set REGS_RCX, 11 * 8
	.set REGS_R11, 6 * 8
	.set REGS_RIP, 16 * 8
	.set REGS_CS, 17 * 8
	.set REGS_RFLAGS, 18 * 8
	.set REGS_RSP, 19 * 8
	.set REGS_SS, 20 * 8
	.set REGS_SIZE, 21 * 8
	.set USER_SS, 0x2b
	.set USER_CS, 0x33
	.set ENOSYS, 38
	.set SELECTOR_LDT, 4
	.set PERCPU_KERNEL_RSP, 8
	.set PERCPU_USER_RSP, 16
	.set PERCPU_CURRENT, 24
	.set PERCPU_RESCHED, 40

/* Three bytes that become CLAC on CPUs with SMAP. */
.macro CLEAR_AC
771:	.byte 0x0f, 0x1f, 0x00
	.pushsection .smap_sites, "a"
	.quad 771b, 0xca
	.popsection
.endm

/* All registers below rdi. */
.macro PUSH_FROM_RSI
	pushq %rsi
	pushq %rdx
	pushq %rcx
	pushq %rax
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
.endm

.macro POP_TO_RAX
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rax
.endm

	.text
	/* ---- SYSCALL: rcx is the user's rip, r11 its rflags; interrupts are off -------- */
	.balign 16
	.globl syscall_entry
syscall_entry:
	swapgs
	movq %rsp, %gs:PERCPU_USER_RSP
	movq %gs:PERCPU_KERNEL_RSP, %rsp
	pushq $USER_SS
	pushq %gs:PERCPU_USER_RSP
	pushq %r11
	pushq $USER_CS
	pushq %rcx
	pushq %rax
	pushq %rdi
	pushq %rsi
	pushq %rdx
	pushq %rcx
	pushq $-ENOSYS
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	xorl %ebp, %ebp
	movq %rsp, %rdi
	sti
	call syscall_dispatch

syscall_exit:
	cli
	movq %gs:PERCPU_CURRENT, %rax
	cmpl $0, TASK_SIG_FLAG(%rax)
	jne syscall_work
	cmpl $0, %gs:PERCPU_RESCHED
	jne syscall_work
	/* SYSRET restores less than IRET: only where nothing more is needed */
	movq REGS_RIP(%rsp), %rcx
	movq REGS_RFLAGS(%rsp), %r11
	cmpq REGS_RCX(%rsp), %rcx
	jne restore_user
	cmpq REGS_R11(%rsp), %r11
	jne restore_user
	testl $0x10100, %r11d /* RF, TF */
	jne restore_user
	movq %rcx, %rax
	shrq $47, %rax
	jne restore_user
	cmpl $USER_CS, REGS_CS(%rsp)
	jne restore_user
	cmpl $USER_SS, REGS_SS(%rsp)
	jne restore_user
	POP_TO_RAX
	addq $8, %rsp
	popq %rdx
	popq %rsi
	popq %rdi
	movq 4 * 8(%rsp), %rsp
	swapgs
	sysretq

syscall_work:
	movq %rsp, %rdi
	movl $1, %esi
	call user_work
	jmp syscall_exit

	/* SYSCALL from 32-bit code: there are no such calls. */
	.globl syscall_compat
syscall_compat:
	movl $-ENOSYS, %eax
	sysretl

	/* A new task's first steps: the scheduler's half of the switch, then its regs. */
	.globl ret_from_fork
ret_from_fork:
	xorl %ebp, %ebp
	call sched_finish_switch
	jmp syscall_exit

	/* r12: function, r13: its argument */
	.globl kthread_entry
kthread_entry:
	xorl %ebp, %ebp
	call sched_finish_switch
	movq %r13, %rdi
	call *%r12
	call kthread_finish /* returns only for a thread that became a user's */
	movq %rax, %rsp
	jmp return_user

	/* ---- exceptions and interrupts ------------------------------------------------- */
	.globl return_to_user
return_to_user:
	movq %rdi, %rsp
return_user:
	cli
	movq %gs:PERCPU_CURRENT, %rax
	movl TASK_SIG_FLAG(%rax), %ecx
	orl %gs:PERCPU_RESCHED, %ecx
	jnz return_work

restore_user:
	testb $SELECTOR_LDT, REGS_SS(%rsp)
	jnz restore_stack16
restore_plain:
	POP_TO_RAX
	popq %rcx
	popq %rdx
	popq %rsi
	popq %rdi
	addq $8, %rsp
	swapgs
	.globl iret_user
iret_user:
	iretq

return_work:
	movq %rsp, %rdi
	xorl %esi, %esi
	call user_work
	jmp return_user

	/* The stack segment is one of the LDT: if it has 16 bits, IRET is to happen on a stack
	 * at an address of the user's choice (see segment.c), and can't fail. */
restore_stack16:
	movq %rsp, %rdi
	call stack16_frame
	testq %rax, %rax
	jz restore_plain
	movq %rax, %gs:PERCPU_USER_RSP
	POP_TO_RAX
	popq %rcx
	popq %rdx
	popq %rsi
	popq %rdi
	movq %gs:PERCPU_USER_RSP, %rsp
	swapgs
	iretq

	/* The vector is in edi; on the stack: the user's rdi, the error code, the CPU's frame. */
.macro COMMON name, function
\name:
	testb $3, 24(%rsp)
	jz 1f
	swapgs
1:	CLEAR_AC
	cld
	PUSH_FROM_RSI
	movl %edi, %esi
	movq %rsp, %rdi
	call \function
	testb $3, REGS_CS(%rsp)
	jnz return_user
	jmp restore_kernel
.endm
	.balign 16
	COMMON exception_common, trap
	/*
	 * Interrupts have a stack of their own for the CPU's frame only: a fault on a lazy
	 * stack page while the CPU pushes it would lose the interrupt, which the APIC
	 * counts as in service already.  The frame then moves to the task's stack, or to
	 * the interrupted one, where such a fault is an ordinary one.
	 */
.macro MOVE_FRAME
	pushq 56(%rsi)
	pushq 48(%rsi)
	pushq 40(%rsi)
	pushq 32(%rsi)
	pushq 24(%rsi)
	pushq 16(%rsi)
	pushq 8(%rsi)
	movq (%rsi), %rsi
	PUSH_FROM_RSI
	movl %edi, %esi
	movq %rsp, %rdi
.endm
	.balign 16
interrupt_common:
	pushq %rsi
	movq %rsp, %rsi
	CLEAR_AC
	cld
	testb $3, 32(%rsi)
	jz 1f
	swapgs
	movq %gs:PERCPU_KERNEL_RSP, %rsp
	MOVE_FRAME
	call irq_handler
	jmp return_user
1:	movq 48(%rsi), %rsp
	andq $-16, %rsp
	MOVE_FRAME
	call irq_handler
	jmp restore_kernel

restore_kernel:
	POP_TO_RAX
	popq %rcx
	popq %rdx
	popq %rsi
	popq %rdi
	addq $8, %rsp
	iretq

	.balign 16
	.globl entry_pf
entry_pf:
	testb $3, 16(%rsp)
	jz 1f
	swapgs
	CLEAR_AC
	cld
	pushq %rdi
	movq %rsp, %rdi
	movq %gs:PERCPU_KERNEL_RSP, %rsp
	pushq 48(%rdi)
	pushq 40(%rdi)
	pushq 32(%rdi)
	pushq 24(%rdi)
	pushq 16(%rdi)
	pushq 8(%rdi)
	pushq (%rdi)
	PUSH_FROM_RSI
	xorl %ebp, %ebp
	movq %cr2, %rsi
	movq %rsp, %rdi
	sti
	call page_fault
	jmp return_user

1:	CLEAR_AC
	cld
	pushq %rdi
	PUSH_FROM_RSI
	movq %cr2, %r12
	movq %rsp, %rdi
	movq %r12, %rsi
	call pf_kernel /* 0: mapped it; else the copy of regs on the interrupted stack */
	testq %rax, %rax
	jz restore_kernel
	movq %rax, %rsp
	movq %rax, %rdi
	movq %r12, %rsi
	testl $0x200, REGS_RFLAGS(%rsp)
	jz 2f
	sti
2:	call page_fault
	cli
	jmp restore_kernel

	/* Nothing returns from these.  gs may be anyone's: the stack's top knows the CPU. */
.macro FATAL name, vector, error
	.globl \name
\name:
	.if !\error
	pushq $0
	.endif
	pushq %rdi
	CLEAR_AC
	cld
	PUSH_FROM_RSI
	movl $0xc0000101, %ecx
	movl REGS_SIZE(%rsp), %eax
	movl REGS_SIZE + 4(%rsp), %edx
	wrmsr
	movq %rsp, %rdi
	movl $\vector, %esi
	call trap_fatal
	ud2
.endm
	FATAL entry_nmi, 2, 0
	FATAL entry_df, 8, 1
	FATAL entry_mc, 18, 0

	/* ---- one stub for each vector, and tables of them for the IDT ------------------- */
	.pushsection .rodata
	.balign 8
	.globl exception_stubs
exception_stubs:
	.popsection
	.set i, 0
	.rept 32
	.pushsection .text
	.balign 4
1:
	/* these push an error code: 8, 10-14, 17, 21, 29, 30 */
	.if !((1 << i) & 0x60227d00)
	pushq $0
	.endif
	pushq %rdi
	movl $i, %edi
	jmp exception_common
	.popsection
	.pushsection .rodata
	.quad 1b
	.popsection
	.set i, i + 1
	.endr

	.globl irq_stubs, own_stubs
	.balign 16
irq_stubs: /* 16 bytes each: vectors 0x30 .. 0x6f */
	.set i, 0x30
	.rept 64
	.balign 16
	pushq $-1
	pushq %rdi
	movl $i, %edi
	jmp interrupt_common
	.set i, i + 1
	.endr
	.balign 16
own_stubs: /* vectors 0xf0 .. 0xff */
	.set i, 0xf0
	.rept 16
	.balign 16
	pushq $-1
	pushq %rdi
	movl $i, %edi
	jmp interrupt_common
	.set i, i + 1
	.endr

	.section .note.GNU-stack, "", @progbits
