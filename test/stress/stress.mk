# Debian's stress-ng, unmodified: each stressor of memory and processes alone, with two
# processes, and all of them together.  Included from the Makefile.

STRESSORS := brk bigheap bad-altstack env malloc madvise mlock mlockmany mmap mmapaddr mmapfixed \
	mmapfork mmapmany mincore mprotect mremap msync munmap memfd shm shm-sysv stack stackmmap remap vm \
	vm-addr vm-rw vm-segv tlb-shootdown fork vfork clone pipe
STRESS_RUN = ./quire run --cpus 2 --ram $(or $(RAM),2G) --kernel $(BUILD)/kernel$(if $(filter 1,$(DEBUG)),-debug)/quire.elf -- \
	sh test/stress/inside

.PHONY: stress
stress: setup-run all $(if $(filter 1,$(DEBUG)),kernel-debug) ## stress-ng in the booted kernel: SECONDS= each alone, TOGETHER= all at once, ONLY='brk vm', RAM=2G, DEBUG=1
	@scripts/need "the stress test" stress-ng
	$(STRESS_RUN) alone $(if $(filter file,$(origin SECONDS)),4,$(SECONDS)) $(or $(ONLY),$(STRESSORS))
	$(STRESS_RUN) together $(or $(TOGETHER),300) $(or $(ONLY),$(STRESSORS))

# Races with invariants of their own: test/stress/race.c.
RACE := $(BUILD)/stress/race
$(RACE): $(addprefix test/stress/,race.c memory.c tracers.c race.h) test/fuzz/count.c test/fuzz/count.h
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -static -O1 -g -Wall -Wextra -Werror -o $@ $(filter %.c,$^) -lpthread
guest-progs: $(RACE)

.PHONY: race
race: all $(RACE) $(if $(filter 1,$(DEBUG)),kernel-debug) ## threads race over one address space, tracers over their tracees: SECONDS=, SEED=, DEBUG=1
	for what in memory tracers; do ./quire run --cpus 2 --check --kernel $(FUZZ_KERNEL) -- $(RACE) $$what $(or $(SECONDS),60) $(or $(SEED),1) || exit 1; done
