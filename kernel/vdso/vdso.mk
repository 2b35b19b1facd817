# The vdso: code for user mode, linked as a shared object of its own that the kernel
# carries.  Included from the Makefile.

VDSO := $(BUILD)/vdso/vdso.so
VDSO_CFLAGS := $(filter-out -g,$(COMMON)) -O2 -fPIC -ffreestanding -nostdinc -mgeneral-regs-only \
	-isystem $(shell $(CC) -print-file-name=include) \
	-fno-stack-protector -fcf-protection=none -fasynchronous-unwind-tables

$(BUILD)/vdso/vdso.o: kernel/vdso/user/vdso.c Makefile
	@mkdir -p $(@D)
	@echo "  CC      $@"
	$(Q)$(CC) $(VDSO_CFLAGS) -c $< -o $@

$(VDSO): $(BUILD)/vdso/vdso.o kernel/vdso/user/vdso.ld
	@echo "  LD      $@"
	$(Q)ld -shared -soname linux-vdso.so.1 --hash-style=both --eh-frame-hdr --build-id=none -Bsymbolic \
		-z max-page-size=4096 -z noexecstack -z nodynamic-undefined-weak --no-undefined --strip-all \
		-T kernel/vdso/user/vdso.ld -o $@ $<

$(BUILD)/kernel/kernel/vdso/image.o $(BUILD)/kernel-debug/kernel/vdso/image.o: $(VDSO)
$(BUILD)/kernel/kernel/vdso/image.o $(BUILD)/kernel-debug/kernel/vdso/image.o: KERNEL_CFLAGS += -DVDSO_FILE='"$(VDSO)"'

-include $(BUILD)/vdso/vdso.d
