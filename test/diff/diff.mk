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

DIFF := test/diff/drive
# Protection keys in the guest's CPU where this machine has them: execute-only memory.
KEYS_AS_HERE = $(shell grep -qw ospke /proc/cpuinfo || echo --cpu max,-pku)
.PHONY: diff-progs diff diff-long diff-guest
diff-progs: $(BUILD)/diff/diff-posix $(BUILD)/diff/diff-linux

diff: diff-progs ## the same random programs on Linux and on the userspace port, a fixed short part
	@echo "== diff"
	@$(DIFF) --cases test/diff/cases
	@timeout 60 $(DIFF) --seed 1 --runs 5000

diff-long: diff-progs ## the same for SECONDS=, from a random seed (SEED= to choose)
	$(DIFF) --seconds $(SECONDS) --stop 20 --seed $(or $(SEED),$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '))

diff-guest: diff-progs all ## the same random programs on Linux and inside Quire: RUNS=, SEED=
	$(DIFF) --other './quire run $(KEYS_AS_HERE) -- $(BUILD)/diff/diff-linux' --runs $(or $(RUNS),200) --seed $(or $(SEED),1)
