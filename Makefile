# Quire.  `make help` lists the targets.
#
# Variants are built side by side under build/: kernel (what runs), kernel-debug
# (assertions and lock ranks), host (the userspace port with ASan and UBSan),
# tsan, fuzz.  One list of sources for each part serves all of them.

MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

CC := gcc
PREFIX ?= /usr/local
VERSION := 0.1.0
BUILD := build
V ?= 0
Q := $(if $(filter 1,$(V)),,@)

# ---- sources ---------------------------------------------------------------------
VM_SRCS := $(sort $(wildcard vm/*/*.c))
KERNEL_SRCS := $(sort $(wildcard kernel/*/*.c))
KERNEL_ASM := $(sort $(wildcard kernel/*/*.S))
POSIX_SRCS := $(sort $(wildcard ports/posix/*.c))
CLI_SRCS := $(sort $(wildcard cli/*.c))
UNIT_SRCS := $(sort $(wildcard test/unit/test_*.c))

# ---- flags -----------------------------------------------------------------------
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla \
	-Wpointer-arith -Wwrite-strings -Wno-sign-compare -Werror
COMMON := -std=gnu11 -g -Iinclude $(WARN) -fno-strict-aliasing -fno-common -MMD -MP
FREESTANDING := -ffreestanding -nostdinc -isystem $(shell $(CC) -print-file-name=include) \
	-fno-pic -fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables \
	-fno-omit-frame-pointer -fcf-protection=none
KERNEL_CFLAGS := $(COMMON) $(FREESTANDING) -O2 -mcmodel=kernel -mno-red-zone -mgeneral-regs-only \
	-DQUIRE_HOST_INLINE='"../../kernel/mem/host_inline.h"'
HOST_CFLAGS := $(COMMON) -O1 -DQUIRE_DEBUG -fno-omit-frame-pointer
ASAN := -fsanitize=address,undefined -fno-sanitize-recover=all
TSAN := -fsanitize=thread

.PHONY: all
all: quire $(BUILD)/kernel/quire.elf $(BUILD)/kernel/quire-gdb.py ## build the command and its kernel

$(BUILD)/kernel/quire-gdb.py: scripts/quire-gdb.py
	@mkdir -p $(@D)
	@cp $< $@

# ---- the kernel: vm/ linked into one object that exports only quire_*, then the rest ----
# $(1) variant, $(2) extra flags
define KERNEL_VARIANT
$(1)_VM := $$(VM_SRCS:%.c=$(BUILD)/$(1)/%.o)
$(1)_OBJS := $$(KERNEL_SRCS:%.c=$(BUILD)/$(1)/%.o) $$(KERNEL_ASM:%.S=$(BUILD)/$(1)/%.o)

$(BUILD)/$(1)/%.o: %.c Makefile
	@mkdir -p $$(@D)
	@echo "  CC      $$@"
	$$(Q)$$(CC) $$(KERNEL_CFLAGS) $(2) -c $$< -o $$@

$(BUILD)/$(1)/%.o: %.S Makefile
	@mkdir -p $$(@D)
	@echo "  AS      $$@"
	$$(Q)$$(CC) $$(KERNEL_CFLAGS) $(2) -D__ASSEMBLY__ -c $$< -o $$@

$(BUILD)/$(1)/libquire.o: $$($(1)_VM)
	@echo "  LD      $$@"
	$$(Q)ld -r -o $$@.tmp $$^
	$$(Q)objcopy --wildcard --keep-global-symbol='quire_*' $$@.tmp $$@ && rm $$@.tmp

$(BUILD)/$(1)/quire.elf: $$($(1)_OBJS) $(BUILD)/$(1)/libquire.o kernel/boot/kernel.ld
	@echo "  LD      $$@"
	$$(Q)ld -nostdlib -static -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments -T kernel/boot/kernel.ld -o $$@ \
		$$($(1)_OBJS) $(BUILD)/$(1)/libquire.o

-include $$($(1)_VM:.o=.d) $$($(1)_OBJS:.o=.d)
endef
$(eval $(call KERNEL_VARIANT,kernel,))
$(eval $(call KERNEL_VARIANT,kernel-debug,-DQUIRE_DEBUG))

.PHONY: kernel kernel-debug
kernel: $(BUILD)/kernel/quire.elf
kernel-debug: $(BUILD)/kernel-debug/quire.elf

# ---- the command -----------------------------------------------------------------
$(BUILD)/cli/%.o: cli/%.c Makefile
	@mkdir -p $(@D)
	@echo "  CC      $@"
	$(Q)$(CC) $(COMMON) -O2 -D_GNU_SOURCE -DQUIRE_VERSION='"$(VERSION)"' -c $< -o $@

quire: $(CLI_SRCS:cli/%.c=$(BUILD)/cli/%.o)
	@echo "  LD      $@"
	$(Q)$(CC) -o $@ $^
-include $(CLI_SRCS:cli/%.c=$(BUILD)/cli/%.d)

# ---- the userspace port, in variants: $(1) name, $(2) flags ------------------------
define HOST_VARIANT
$(1)_LIB := $$(VM_SRCS:%.c=$(BUILD)/$(1)/%.o) $$(POSIX_SRCS:%.c=$(BUILD)/$(1)/%.o)
$(BUILD)/$(1)/%.o: %.c Makefile
	@mkdir -p $$(@D)
	@echo "  CC      $$@"
	$$(Q)$$(CC) $$(HOST_CFLAGS) $(2) -D_GNU_SOURCE -Iports/posix -c $$< -o $$@
$(BUILD)/$(1)/libquire-posix.a: $$($(1)_LIB)
	@rm -f $$@
	$$(Q)ar rcs $$@ $$^
$(BUILD)/$(1)/test_%: $(BUILD)/$(1)/test/unit/test_%.o $(BUILD)/$(1)/libquire-posix.a
	@echo "  LD      $$@"
	$$(Q)$$(CC) $(2) -o $$@ $$^ -lcmocka -lpthread
-include $$($(1)_LIB:.o=.d)
endef
$(eval $(call HOST_VARIANT,host,$(ASAN)))
$(eval $(call HOST_VARIANT,tsan,$(TSAN)))

# ---- tests -------------------------------------------------------------------------
include $(wildcard test/test.mk)
include $(wildcard test/diff/diff.mk)
include $(wildcard test/fuzz/fuzz.mk)
include $(wildcard test/stress/stress.mk)
include $(wildcard kernel/*/*.mk)
include $(wildcard ports/*/*.mk)
include $(wildcard examples/*/*.mk)

GUEST_PROGS := $(addprefix $(BUILD)/test/guest/,hello-dynamic hello-static hello-musl-dynamic hello-musl-static) \
	$(patsubst test/guest/prog/%.c,$(BUILD)/test/guest/%,$(filter-out %/hello.c,$(wildcard test/guest/prog/*.c)))
$(GUEST_PROGS): $(wildcard test/guest/prog/*.h)
$(BUILD)/test/guest/hello-%: test/guest/prog/hello.c
	@mkdir -p $(@D)
	$(Q)$(if $(findstring musl,$*),musl-gcc,$(CC)) $(if $(findstring static,$*),-static) -O1 -o $@ $<
$(BUILD)/test/guest/%: test/guest/prog/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) -static -O1 -Wall -Wno-infinite-recursion -o $@ $< -lpthread
.PHONY: guest-progs
guest-progs: $(GUEST_PROGS) fuzz-progs kernel-debug

NEED_BUILD := gcc libc6-dev binutils make
NEED_RUN := $(NEED_BUILD) qemu-system-x86 python3
NEED_TEST := $(NEED_RUN) clang libclang-rt-14-dev libcmocka-dev musl-tools busybox-static perl \
	sqlite3 xz-utils gzip tar findutils diffutils clang-format clang-tidy cppcheck pkg-config \
	procps lsof strace

.PHONY: run test guest setup-run setup-test
setup-run:
	@scripts/need "running Quire" $(NEED_RUN)
setup-test:
	@scripts/need "testing Quire" $(NEED_TEST)

CMD ?=
run: setup-run ## run a program on Quire with a table of its page faults: make run CMD='ls -l /'
	@$(MAKE) --no-print-directory -s all
	@if [ -n '$(subst ','\'',$(CMD))' ]; then ./quire run --stat -- sh -c '$(subst ','\'',$(CMD))'; \
	else ./quire run --stat -- python3 examples/primes.py; fi

test: setup-test ## run every test; ends in "N passed, N failed".  SUITES='unit guest' runs some
	@$(MAKE) --no-print-directory -s -j2 all guest-progs
	@test/run $(SUITES)

guest: all guest-progs ## the tests inside the booted kernel: make guest TEST=pattern
	@test/guest/run $(TEST)

.PHONY: selftests
selftests: setup-run all ## Linux's own selftests, on Linux 6.1 and on Quire: TEST=pattern
	@test/selftests/run $(TEST)

.PHONY: bench
bench: setup-run all guest-progs ## measure: instructions for each kind of fault, start-up, memory
	@scripts/bench

# ---- checks of the text -------------------------------------------------------------
FORMATTED = $(shell git ls-files '*.c' '*.h' | grep -v '/table\.h$$')
.PHONY: lint
lint: ## formatting, warnings of gcc and clang, clang-tidy, cppcheck, lock annotations, who includes whom
	@scripts/lint

# ---- documents ----------------------------------------------------------------------
docs/syscalls.md: kernel/syscall/table.h scripts/syscalls-doc
	scripts/syscalls-doc <$< >$@

# ---- installation ---------------------------------------------------------------------
.PHONY: install uninstall
install: all ## install the command, its kernel, man page and completions: PREFIX=/usr/local
	install -D -m 755 quire $(DESTDIR)$(PREFIX)/bin/quire
	install -D -m 644 $(BUILD)/kernel/quire.elf $(DESTDIR)$(PREFIX)/lib/quire/quire.elf
	install -D -m 644 scripts/quire-gdb.py $(DESTDIR)$(PREFIX)/lib/quire/quire-gdb.py
	install -D -m 644 docs/quire.1 $(DESTDIR)$(PREFIX)/share/man/man1/quire.1
	install -D -m 644 scripts/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/quire
	install -D -m 644 scripts/completion.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_quire
uninstall: ## remove what install put there
	rm -rf $(DESTDIR)$(PREFIX)/bin/quire $(DESTDIR)$(PREFIX)/lib/quire $(DESTDIR)$(PREFIX)/share/man/man1/quire.1 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/quire $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_quire

.PHONY: clean help
clean: ## remove everything that was built
	rm -rf $(BUILD) quire
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(filter Makefile %.mk,$(MAKEFILE_LIST))
