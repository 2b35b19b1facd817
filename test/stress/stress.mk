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
