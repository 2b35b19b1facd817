# Programs of random operations, on this machine's Linux, on the userspace port and in
# Quire, that must tell the same story.  Included from the Makefile.

DIFF_SRCS := $(addprefix test/diff/,run.c story.c text.c gen.c gensys.c genargs.c)
$(eval $(call HOST_VARIANT,diff,-O2))
$(BUILD)/diff/test/diff/%.o: HOST_CFLAGS += -Itest/diff

$(BUILD)/diff/diff-posix: $(DIFF_SRCS:%.c=$(BUILD)/diff/%.o) $(BUILD)/diff/test/diff/exec_posix.o $(BUILD)/diff/libquire-posix.a
	@echo "  LD      $@"
	$(Q)$(CC) -o $@ $^ -lpthread

$(BUILD)/diff/diff-linux: $(DIFF_SRCS:%.c=$(BUILD)/diff/%.o) $(patsubst %,$(BUILD)/diff/test/diff/%_linux.o,exec state calls)
	@echo "  LD      $@"
	$(Q)$(CC) -static -no-pie -Wl,-z,noseparate-code -o $@ $^

DIFF := test/diff/drive
# Debian's Linux 6.1 in QEMU decides; where it can't be fetched, this machine's Linux.
JUDGE = $(shell test/linux61/run --prepare >/dev/null 2>&1 && echo linux61 || echo host)
.PHONY: diff-progs diff diff-long diff-guest
diff-progs: $(BUILD)/diff/diff-posix $(BUILD)/diff/diff-linux

diff: diff-progs all ## the same random programs on Linux 6.1, on the userspace port and in Quire, a fixed short part
	@echo "== diff"
	@$(DIFF) --judge $(JUDGE) --on port,quire --cases test/diff/cases
	@timeout 60 $(DIFF) --judge host --seed 1 --runs 3000
	@timeout 60 $(DIFF) --judge $(JUDGE) --on port,quire --seed 1 --runs 200

diff-long: diff-progs ## the same for SECONDS=, on the userspace port, from a random seed (SEED= to choose)
	$(DIFF) --judge $(JUDGE) --seconds $(SECONDS) --stop 20 --seed $(or $(SEED),$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '))

diff-guest: diff-progs all ## random programs with system calls, on Linux 6.1 and inside Quire: RUNS=, SEED=
	$(DIFF) --judge $(JUDGE) --on quire --runs $(or $(RUNS),200) --seed $(or $(SEED),1)
