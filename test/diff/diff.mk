# Programs of random operations, on this machine's Linux, on the userspace port and in
# Quire, that must tell the same story.  Included from the Makefile.

DIFF_SRCS := test/diff/run.c test/diff/gen.c test/diff/text.c
$(eval $(call HOST_VARIANT,diff,-O2))
$(BUILD)/diff/test/diff/%.o: HOST_CFLAGS += -Itest/diff

$(BUILD)/diff/diff-posix: $(DIFF_SRCS:%.c=$(BUILD)/diff/%.o) $(BUILD)/diff/test/diff/exec_posix.o $(BUILD)/diff/libquire-posix.a
	@echo "  LD      $@"
	$(Q)$(CC) -o $@ $^ -lpthread

$(BUILD)/diff/diff-linux: $(DIFF_SRCS:%.c=$(BUILD)/diff/%.o) $(BUILD)/diff/test/diff/exec_linux.o
	@echo "  LD      $@"
	$(Q)$(CC) -static -no-pie -o $@ $^

.PHONY: diff-progs diff diff-long
diff-progs: $(BUILD)/diff/diff-posix $(BUILD)/diff/diff-linux
