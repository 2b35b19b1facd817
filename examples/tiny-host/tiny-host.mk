# The smallest host of the core, linked with the packed library.  Included from the Makefile.

$(BUILD)/libquire/tiny-host: examples/tiny-host/tiny-host.c $(BUILD)/libquire/libquire.o
	@echo "  LD      $@"
	$(Q)$(CC) $(COMMON) -O2 -o $@ $< $(BUILD)/libquire/libquire.o

.PHONY: tiny-host
tiny-host: $(BUILD)/libquire/tiny-host ## the smallest kernel-like host of the core: build and run it
	@timeout 20 $<
