# The tests of the core in its userspace port.  Included from the Makefile.
#
# Each program ends with cmocka's line "[  PASSED  ] n test(s).", and so do those
# that aren't cmocka's; a failure stops the target with the program's output.

SECONDS ?= 60
MODEL_SRCS := test/model/model.c test/model/access.c test/model/calls.c test/model/layout.c
FUZZ := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
ASAN_RUN := ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1

$(eval $(call HOST_VARIANT,fuzz,$(FUZZ)))
$(BUILD)/fuzz/%.o: CC := clang

UNIT_RUNS := $(UNIT_SRCS:test/unit/test_%.c=run-unit-%)
.PHONY: $(UNIT_RUNS) test-unit model model-long tsan-test fuzz fuzz-short core-test

$(BUILD)/host/test/model/%.o: HOST_CFLAGS += -Itest/model
$(BUILD)/fuzz/test/%.o: HOST_CFLAGS += -Itest/model

$(UNIT_RUNS): run-unit-%: $(BUILD)/host/test_%
	@echo "== unit $*"
	@$(ASAN_RUN) timeout 120 $<

test-unit: $(UNIT_RUNS) ## run the unit tests of each room of vm/, under ASan and UBSan

$(BUILD)/host/model: $(MODEL_SRCS:%.c=$(BUILD)/host/%.o) $(BUILD)/host/test/model/main.o $(BUILD)/host/libquire-posix.a
	@echo "  LD      $@"
	$(Q)$(CC) $(ASAN) -o $@ $^ -lpthread

model: $(BUILD)/host/model ## random operations against the reference model, short
	@echo "== model"
	@$(ASAN_RUN) timeout 120 $< --runs 60

model-long: $(BUILD)/host/model ## the same for SECONDS=, from a random seed (SEED= to choose)
	$(ASAN_RUN) $< --seconds $(SECONDS) --seed $(or $(SEED),$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '))

# Address-space randomisation can place things where TSan's shadow doesn't reach.
$(BUILD)/tsan/tsan: $(BUILD)/tsan/test/tsan/tsan.o $(BUILD)/tsan/libquire-posix.a
	@echo "  LD      $@"
	$(Q)$(CC) $(TSAN) -o $@ $^ -lpthread

tsan-test: $(BUILD)/tsan/tsan ## concurrent faults, mmap, munmap, fork and file I/O under TSan
	@echo "== tsan"
	@TSAN_OPTIONS=halt_on_error=1:history_size=7:suppressions=test/tsan/suppressions timeout 120 setarch -R $<

$(BUILD)/fuzz/fuzz: $(MODEL_SRCS:%.c=$(BUILD)/fuzz/%.o) $(BUILD)/fuzz/test/fuzz/fuzz.o $(BUILD)/fuzz/libquire-posix.a
	@echo "  LD      $@"
	$(Q)clang -fsanitize=fuzzer,address,undefined -o $@ $^ -lpthread

fuzz: $(BUILD)/fuzz/fuzz ## libFuzzer over the model's operations for SECONDS=; finds go to build/fuzz/corpus
	@mkdir -p $(BUILD)/fuzz/corpus
	$< -max_total_time=$(SECONDS) -max_len=2048 -artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/fuzz/corpus test/fuzz/corpus

fuzz-short: $(BUILD)/fuzz/fuzz ## the committed corpus once, and ten seconds more
	@echo "== fuzz"
	@mkdir -p $(BUILD)/fuzz/corpus
	@timeout 100 $< -max_total_time=10 -max_len=2048 -verbosity=0 -artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/fuzz/corpus test/fuzz/corpus && echo "[  PASSED  ] 1 test(s)."

core-test: test-unit model tsan-test fuzz-short ## all tests of the core in userspace

-include $(wildcard $(BUILD)/*/test/*/*.d)
