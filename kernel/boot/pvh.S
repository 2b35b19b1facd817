/* SPDX-License-Identifier: MIT */
/*
 * The first instructions: PVH entry in 32-bit protected mode without paging, up to
 * kernel_main() in long mode; and the start of the other CPUs, from real mode.
 *
 * The boot page tables map the first 1 GiB three times: at 0, at the view's base
 * and at the image's base.  The other CPUs use them again on their way up.
 */
#define BASE 0xffffffff80000000
#define PHYS(x) ((x) - BASE)

#define EFER 0xc0000080
#define CR0_ON 0x80050033 /* PG AM WP NE ET MP PE */

	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 8, 18 /* name size, value size, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad PHYS(pvh_start)

	.text
	.code32
	.globl pvh_start
pvh_start:
	cli
	cld
	movl %ebx, %edi /* struct hvm_start_info, kept to the end */
	xorl %eax, %eax
	cpuid
	cmpl $7, %eax
	jb 1f
	movl $7, %eax
	xorl %ecx, %ecx
	cpuid
	testl $0x10000, %ecx /* LA57: the MMU has five levels */
	jz 1f
	movl $0x1020, PHYS(trampoline_cr4)
	movl $PHYS(boot_pml5), PHYS(trampoline_cr3)
1:	movl PHYS(trampoline_cr3), %eax
	movl %eax, %cr3
	movl %cr4, %eax
	orl PHYS(trampoline_cr4), %eax
	movl %eax, %cr4
	movl $EFER, %ecx
	rdmsr
	orl $0x100, %eax /* LME */
	wrmsr
	movl $CR0_ON, %eax
	movl %eax, %cr0
	lgdt PHYS(boot_gdtr)
	ljmp $0x08, $PHYS(1f)
	.code64
1:	movabsq $2f, %rax
	jmp *%rax
2:	lgdt boot_gdtr64(%rip)
	movl $0x10, %eax
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	leaq boot_stack_top(%rip), %rsp
	xorl %ebp, %ebp
	movl %edi, %edi
	call kernel_main
	ud2

	/* ---- the other CPUs: copied to a page below 1 MiB, entered in real mode ------- */
	.balign 16
	.globl trampoline_start, trampoline_end
	.code16
trampoline_start:
	cli
	cld
	movw %cs, %ax
	movw %ax, %ds
	movl trampoline_cr3 - trampoline_start, %eax
	movl %eax, %cr3
	movl trampoline_cr4 - trampoline_start, %eax
	movl %eax, %cr4
	movl $EFER, %ecx
	rdmsr
	orl $0x100, %eax
	wrmsr
	lgdtl trampoline_gdtr - trampoline_start
	movl $CR0_ON, %eax
	movl %eax, %cr0
	ljmpl *(trampoline_jump - trampoline_start)
	.balign 8
trampoline_gdtr:
	.word 23
	.long PHYS(boot_gdt)
	.balign 8
trampoline_jump:
	.long PHYS(ap_start64)
	.word 0x08
	.balign 8
trampoline_cr3: /* set before it is copied; the first CPU starts with them, too */
	.long PHYS(boot_pml4)
trampoline_cr4:
	.long 0x20 /* PAE; and LA57 */
trampoline_end:

	.code64
ap_start64:
	movabsq $1f, %rax
	jmp *%rax
1:	movl $0x10, %eax
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	movl $1, %eax
	cpuid
	shrl $24, %ebx /* local APIC id */
	leaq ap_stack_by_apic_id(%rip), %rax
	movq (%rax, %rbx, 8), %rsp
	testq %rsp, %rsp
	jz 2f
	movl %ebx, %edi
	xorl %ebp, %ebp
	call ap_main
2:	cli
	hlt
	jmp 2b

	.data
	.balign 4096
	.globl boot_pml4
boot_pml5:
	.quad PHYS(boot_pml4) + 3
	.fill 510, 8, 0
	.quad PHYS(boot_pml4) + 3
boot_pml4:
	.quad PHYS(boot_pdpt) + 3
	.fill 272, 8, 0
	.quad PHYS(boot_pdpt) + 3 /* 273: the view, 0xffff888000000000 */
	.fill 237, 8, 0
	.quad PHYS(boot_pdpt) + 3 /* 511: the image */
boot_pdpt:
	.quad PHYS(boot_pd) + 3
	.fill 509, 8, 0
	.quad PHYS(boot_pd) + 3 /* 510: 0xffffffff80000000 */
	.quad 0
boot_pd:
	.set i, 0
	.rept 512
	.quad (i << 21) + 0x83
	.set i, i + 1
	.endr
	.balign 8
boot_gdt:
	.quad 0
	.quad 0x00af9b000000ffff
	.quad 0x00cf93000000ffff
boot_gdtr:
	.word 23
	.long PHYS(boot_gdt)
boot_gdtr64:
	.word 23
	.quad boot_gdt

	.section .bss.page, "aw", @nobits
	.balign 4096
	.globl boot_stack, boot_stack_top
boot_stack:
	.fill 12288
boot_stack_top:

	.section .note.GNU-stack, "", @progbits
