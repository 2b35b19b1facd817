# Fuzzers that run inside the booted kernel: system calls, and exec of mutated files.
# Included from the Makefile.

FUZZ_GUEST := $(BUILD)/fuzz-guest
FUZZ_GUEST_FLAGS := -std=gnu11 -D_GNU_SOURCE -static -O1 -g -Wall -Wextra -Werror -fno-stack-protector
FUZZ_TINY_FLAGS := -O1 -nostdlib -ffreestanding -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables
FUZZ_SEEDS := $(addprefix $(FUZZ_GUEST)/,tiny tiny-pie tiny-interp tiny-asks static static-pie dynamic dynamic-nopie script script-bare)

$(FUZZ_GUEST)/syscalls: $(addprefix test/fuzz/,syscalls.c batch.c args.c count.c syscalls.h count.h) kernel/syscall/table.h
	@mkdir -p $(@D)
	$(Q)$(CC) $(FUZZ_GUEST_FLAGS) -o $@ $(filter %.c,$^)
$(FUZZ_GUEST)/elf: test/fuzz/elf.c test/fuzz/count.c test/fuzz/count.h
	@mkdir -p $(@D)
	$(Q)$(CC) $(FUZZ_GUEST_FLAGS) -o $@ $(filter %.c,$^)

$(FUZZ_GUEST)/tiny: TINY := -static -no-pie
$(FUZZ_GUEST)/tiny-pie $(FUZZ_GUEST)/tiny-interp: TINY := -static-pie -fpie
$(FUZZ_GUEST)/tiny-asks: TINY := -fpie -pie -Wl,--dynamic-linker=/proc/self/fd/50 -Wl,--no-as-needed
$(FUZZ_GUEST)/tiny%: test/fuzz/tiny.c test/fuzz/fuzz.mk
	@mkdir -p $(@D)
	$(Q)$(CC) $(FUZZ_TINY_FLAGS) $(TINY) -o $@ $<
$(FUZZ_GUEST)/tiny: test/fuzz/tiny.c test/fuzz/fuzz.mk
	@mkdir -p $(@D)
	$(Q)$(CC) $(FUZZ_TINY_FLAGS) $(TINY) -o $@ $<
$(FUZZ_GUEST)/static: HELLO := -static
$(FUZZ_GUEST)/static-pie: HELLO := -static-pie
$(FUZZ_GUEST)/dynamic: HELLO := -pie
$(FUZZ_GUEST)/dynamic-nopie: HELLO := -no-pie
$(FUZZ_GUEST)/static $(FUZZ_GUEST)/static-pie $(FUZZ_GUEST)/dynamic $(FUZZ_GUEST)/dynamic-nopie: test/guest/prog/hello.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(HELLO) -O1 -o $@ $<
$(FUZZ_GUEST)/script: test/fuzz/fuzz.mk
	@mkdir -p $(@D)
	@printf '#! /proc/self/fd/51 argument\nx\n' >$@
$(FUZZ_GUEST)/script-bare: test/fuzz/fuzz.mk
	@mkdir -p $(@D)
	@printf '#!/proc/self/fd/51\n' >$@

.PHONY: fuzz-progs fuzz-syscalls fuzz-elf
fuzz-progs: $(FUZZ_GUEST)/syscalls $(FUZZ_GUEST)/elf $(FUZZ_SEEDS)

# DEBUG=1 takes the kernel with assertions and lock ranks.
FUZZ_KERNEL = $(BUILD)/kernel$(if $(filter 1,$(DEBUG)),-debug)/quire.elf

fuzz-syscalls: all fuzz-progs $(if $(filter 1,$(DEBUG)),kernel-debug) ## random system calls in the booted kernel: CALLS=, SEED=, DEBUG=1
	./quire run --kernel $(FUZZ_KERNEL) -- $(FUZZ_GUEST)/syscalls run --calls $(or $(CALLS),1000000) \
		--seed $(or $(SEED),$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '))

fuzz-elf: all fuzz-progs $(if $(filter 1,$(DEBUG)),kernel-debug) ## mutated programs and scripts, executed: TRIES=, SEED=, DEBUG=1, LINUX=1 compares with Linux 6.1
	test/fuzz/run-elf $(if $(filter 1,$(LINUX)),-l) -k $(FUZZ_KERNEL) $(FUZZ_GUEST) $(or $(TRIES),10000) \
		$(or $(SEED),$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '))
