# The core as a library: one relocatable object that exports only quire_*, the
# userspace port as an archive, headers, a pkg-config file and the plain list of
# sources.  Included from the Makefile.
#
# Without QUIRE_DEBUG, at any address (but not as part of a shared object), and with no assumption about the host
# but what the contract (quire/host.h) says.

LIBQUIRE := $(BUILD)/libquire
LIBQUIRE_CFLAGS := $(COMMON) -O2 -fPIE -ffreestanding -fno-stack-protector
LIBQUIRE_VM := $(VM_SRCS:%.c=$(LIBQUIRE)/%.o)
LIBQUIRE_PORT := $(POSIX_SRCS:%.c=$(LIBQUIRE)/%.o)
LIBQUIRE_HEADERS := $(wildcard include/quire/*.h)

$(LIBQUIRE)/vm/%.o: vm/%.c Makefile
	@mkdir -p $(@D)
	@echo "  CC      $@"
	$(Q)$(CC) $(LIBQUIRE_CFLAGS) -c $< -o $@

$(LIBQUIRE)/ports/%.o: ports/%.c Makefile
	@mkdir -p $(@D)
	@echo "  CC      $@"
	$(Q)$(CC) $(COMMON) -O2 -fPIE -D_GNU_SOURCE -Iports/posix -c $< -o $@

$(LIBQUIRE)/libquire.o: $(LIBQUIRE_VM)
	@echo "  LD      $@"
	$(Q)ld -r -o $@.tmp $^
	$(Q)objcopy --wildcard --keep-global-symbol='quire_*' $@.tmp $@ && rm $@.tmp

$(LIBQUIRE)/libquire-posix.a: $(LIBQUIRE)/libquire.o $(LIBQUIRE_PORT)
	@rm -f $@
	$(Q)ar rcs $@ $^

# A host that brings its own build system compiles these, with -Iinclude.
$(LIBQUIRE)/sources.txt: $(VM_SRCS) $(LIBQUIRE_HEADERS) $(wildcard vm/*/*.h)
	@mkdir -p $(@D)
	@printf '%s\n' $(sort $^) >$@

.PHONY: libquire install-libquire libquire-test
libquire: $(LIBQUIRE)/libquire.o $(LIBQUIRE)/libquire-posix.a $(LIBQUIRE)/sources.txt ## the core as a library, in build/libquire
	@mkdir -p $(LIBQUIRE)/include/quire
	@cp -p $(LIBQUIRE_HEADERS) ports/posix/posix.h $(LIBQUIRE)/include/quire/
	@sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' ports/posix/quire.pc.in >$(LIBQUIRE)/quire.pc

install-libquire: libquire ## install library, headers and quire.pc: PREFIX=/usr/local
	install -d $(DESTDIR)$(PREFIX)/include/quire $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/share/quire
	install -m 644 $(LIBQUIRE)/include/quire/*.h $(DESTDIR)$(PREFIX)/include/quire/
	install -m 644 $(LIBQUIRE)/libquire.o $(LIBQUIRE)/libquire-posix.a $(DESTDIR)$(PREFIX)/lib/
	install -m 644 $(LIBQUIRE)/quire.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/
	install -m 644 $(LIBQUIRE)/sources.txt $(DESTDIR)$(PREFIX)/share/quire/

libquire-test: libquire ## a program compiled against the installed library, by pkg-config
	@CC='$(CC)' MAKE='$(MAKE)' ports/posix/libquire-test

-include $(LIBQUIRE_VM:.o=.d) $(LIBQUIRE_PORT:.o=.d)
