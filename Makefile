# maildrain: drains a Maildir-style spool of Django mail over SMTP.
#
#	make          build          make demo     see it work, with nothing to configure
#	make check    every test     make install  DESTDIR, PREFIX, SYSCONFDIR as usual
#	make help     the rest

VERSION := 0.1.0

CC         ?= cc
PKG_CONFIG ?= pkg-config
INSTALL    ?= install
PYTHON     ?= /usr/bin/python3
BUILD      ?= build

PREFIX      ?= /usr/local
BINDIR      ?= $(PREFIX)/bin
SBINDIR     ?= $(PREFIX)/sbin
LIBDIR      ?= $(PREFIX)/lib/maildrain
MANDIR      ?= $(PREFIX)/share/man
PYTHONDIR   ?= $(PREFIX)/share/maildrain/python
DOCDIR      ?= $(PREFIX)/share/doc/maildrain
SYSCONFDIR  ?= /etc
UNITDIR     ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
BASHDIR     ?= $(PREFIX)/share/bash-completion/completions
# Debian's zsh has a place for what packages bring, and one for what is installed by hand.
ZSHDIR      ?= $(PREFIX)/share/zsh/$(if $(filter /usr,$(PREFIX)),vendor-completions,site-functions)

# What the code needs, and what a packager may replace.
CFLAGS   ?= -O2 -g
WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wmissing-prototypes
HARDEN   ?= -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection
HARDLINK ?= -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack
NEEDED   := -std=c11 -D_GNU_SOURCE -DMAILDRAIN_VERSION='"$(VERSION)"' -DMAILDRAIN_CONFIG='"$(SYSCONFDIR)/maildrain.conf"' -fPIC -fvisibility=hidden -Isrc

CURL_CFLAGS  = $(shell $(PKG_CONFIG) --cflags libcurl)
CURL_LIBS    = $(shell $(PKG_CONFIG) --libs libcurl)
CONF_CFLAGS  = $(shell $(PKG_CONFIG) --cflags libconfuse)
CONF_LIBS    = $(shell $(PKG_CONFIG) --libs libconfuse)
JSON_CFLAGS  = $(shell $(PKG_CONFIG) --cflags jansson)
JSON_LIBS    = $(shell $(PKG_CONFIG) --libs jansson)
CMOCKA_LIBS  = $(shell $(PKG_CONFIG) --libs cmocka)

COMPILE = $(CC) $(NEEDED) $(WARNINGS) $(HARDEN) $(CPPFLAGS) $(CFLAGS) $(CURL_CFLAGS) $(CONF_CFLAGS) $(JSON_CFLAGS) -MMD -MP
LINK    = $(CC) $(CFLAGS) $(HARDLINK) $(LDFLAGS)

# libcurl and the thirty libraries behind it cost milliseconds at every start, so what needs them
# is a module of its own, loaded when there is mail to send. The build tree is laid out as the
# installed one: sbin/maildrain finds ../lib/maildrain/smtp.so. As RPATH, not RUNPATH: that one is
# not looked at when a sanitizer's dlopen stands in between.
SMTP_SOURCES := src/transport_smtp.c src/session.c src/curltls.c src/advice.c src/multi.c
HTTP_SOURCES := src/transport_http.c src/http_transfer.c src/http_probe.c src/curltls.c src/advice.c src/multi.c
MAIN_SOURCES := src/main.c
LIB_SOURCES  := $(filter-out $(SMTP_SOURCES) $(HTTP_SOURCES) $(MAIN_SOURCES),$(wildcard src/*.c))

LIB_OBJECTS  := $(LIB_SOURCES:src/%.c=$(BUILD)/obj/%.o)
SMTP_OBJECTS := $(SMTP_SOURCES:src/%.c=$(BUILD)/obj/%.o)
HTTP_OBJECTS := $(HTTP_SOURCES:src/%.c=$(BUILD)/obj/%.o)
MAIN_OBJECTS := $(MAIN_SOURCES:src/%.c=$(BUILD)/obj/%.o)

LIBRARY := $(BUILD)/obj/libmaildrain.a
PROGRAM := $(BUILD)/sbin/maildrain
MODULES := $(BUILD)/lib/maildrain/smtp.so $(BUILD)/lib/maildrain/http.so

UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/*.c))

.PHONY: all
all: $(PROGRAM) $(MODULES)

$(BUILD)/obj/%.o: src/%.c Makefile
	@mkdir -p $(@D)
	$(COMPILE) -c -o $@ $<

$(LIBRARY): $(LIB_OBJECTS)
	rm -f $@
	$(AR) rcs $@ $^

$(PROGRAM): $(MAIN_OBJECTS) $(LIBRARY)
	@mkdir -p $(@D)
	$(LINK) -pie -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/../lib/maildrain' -o $@ $(MAIN_OBJECTS) $(LIBRARY) $(CONF_LIBS) $(JSON_LIBS)

$(BUILD)/lib/maildrain/smtp.so: $(SMTP_OBJECTS) $(LIBRARY)
	@mkdir -p $(@D)
	$(LINK) -shared -o $@ $(SMTP_OBJECTS) $(LIBRARY) $(CURL_LIBS)

$(BUILD)/lib/maildrain/http.so: $(HTTP_OBJECTS) $(LIBRARY)
	@mkdir -p $(@D)
	$(LINK) -shared -o $@ $(HTTP_OBJECTS) $(LIBRARY) $(CURL_LIBS) $(JSON_LIBS)

$(BUILD)/unit/%: tests/unit/%.c $(LIBRARY) Makefile
	@mkdir -p $(@D)
	$(COMPILE) -Itests/unit -o $@ $< $(LDFLAGS) $(LIBRARY) $(CONF_LIBS) $(JSON_LIBS) $(CMOCKA_LIBS)

-include $(wildcard $(BUILD)/obj/*.d $(BUILD)/unit/*.d)

# ---- install ----

UNITS     := maildrain.service maildrain.timer maildrain.path \
	maildrain@.service maildrain@.timer maildrain@.path maildrain-alert@.service \
	maildrain-configured.service maildrain-configured.path
MAN5      := maildrain.conf.5 maildrain-spool.5
MAN7      := maildrain-django.7 maildrain-migrate.7
INSTALLED := $(addprefix $(UNITDIR)/,$(UNITS)) $(addprefix $(MANDIR)/man5/,$(MAN5)) \
	$(addprefix $(MANDIR)/man7/,$(MAN7)) $(MANDIR)/man8/maildrain.8 \
	$(SYSUSERSDIR)/maildrain.conf $(TMPFILESDIR)/maildrain.conf \
	$(LIBDIR)/smtp.so $(LIBDIR)/http.so $(SBINDIR)/maildrain $(DOCDIR)/README.md \
	$(DOCDIR)/maildrain.conf \
	$(DOCDIR)/maildrain.cron $(DOCDIR)/maildrain.rules.yml $(DOCDIR)/maildrain-dashboard.json \
	$(BASHDIR)/maildrain $(ZSHDIR)/_maildrain

EXAMPLES := $(wildcard etc/examples/*.conf)

# The units name the program where Debian has it; another PREFIX is written into the copies.
AT_PREFIX = sed 's|/usr/sbin/maildrain|$(SBINDIR)/maildrain|g'

.PHONY: install
install: all
	$(INSTALL) -d $(addprefix $(DESTDIR),$(SBINDIR) $(LIBDIR) $(MANDIR)/man5 $(MANDIR)/man7 \
		$(MANDIR)/man8 $(DOCDIR)/examples $(UNITDIR) $(SYSUSERSDIR) $(TMPFILESDIR) \
		$(BASHDIR) $(ZSHDIR) $(SYSCONFDIR))
	$(INSTALL) -d $(DESTDIR)$(SYSCONFDIR)/maildrain
	$(INSTALL) -m 755 $(PROGRAM) $(DESTDIR)$(SBINDIR)/maildrain
	$(INSTALL) -m 644 $(MODULES) $(DESTDIR)$(LIBDIR)/
	$(INSTALL) -m 644 src/maildrain.8 $(DESTDIR)$(MANDIR)/man8/
	$(INSTALL) -m 644 $(addprefix src/,$(MAN5)) $(DESTDIR)$(MANDIR)/man5/
	$(INSTALL) -m 644 $(addprefix src/,$(MAN7)) $(DESTDIR)$(MANDIR)/man7/
	$(INSTALL) -m 644 README.md etc/maildrain.conf etc/maildrain.rules.yml \
		etc/maildrain-dashboard.json $(DESTDIR)$(DOCDIR)/
	$(INSTALL) -m 644 $(EXAMPLES) $(DESTDIR)$(DOCDIR)/examples/
	for file in $$(cd src/django && find maildrain -type f ! -name '*.pyc'); do $(INSTALL) -D -m 644 \
		"src/django/$$file" "$(DESTDIR)$(PYTHONDIR)/$$file" || exit 1; done
	$(INSTALL) -m 644 systemd/maildrain.sysusers $(DESTDIR)$(SYSUSERSDIR)/maildrain.conf
	$(INSTALL) -m 644 systemd/maildrain.tmpfiles $(DESTDIR)$(TMPFILESDIR)/maildrain.conf
	$(INSTALL) -m 644 etc/completion/maildrain.bash $(DESTDIR)$(BASHDIR)/maildrain
	$(INSTALL) -m 644 etc/completion/_maildrain $(DESTDIR)$(ZSHDIR)/_maildrain
	for unit in $(UNITS); do \
		$(AT_PREFIX) "systemd/$$unit" > "$(DESTDIR)$(UNITDIR)/$$unit" || exit 1; done
	$(AT_PREFIX) etc/maildrain.cron > $(DESTDIR)$(DOCDIR)/maildrain.cron
	test -e $(DESTDIR)$(SYSCONFDIR)/maildrain.conf || \
		$(INSTALL) -m 644 etc/maildrain.conf $(DESTDIR)$(SYSCONFDIR)/maildrain.conf

# The names by which other programs know a mailer. What has one of them already stays.
SENDMAIL := $(SBINDIR)/sendmail $(BINDIR)/mailq $(BINDIR)/newaliases

.PHONY: install-sendmail
install-sendmail:
	$(INSTALL) -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(BINDIR)
	for name in $(addprefix $(DESTDIR),$(SENDMAIL)); do \
		case $$(readlink "$$name") in */maildrain | maildrain) continue ;; esac; \
		ln -sr $(DESTDIR)$(SBINDIR)/maildrain "$$name" || exit 1; done

# The config and the spool are the user's and stay.
.PHONY: uninstall
uninstall:
	for name in $(addprefix $(DESTDIR),$(SENDMAIL)); do \
		case $$(readlink "$$name") in */maildrain | maildrain) rm -f "$$name" ;; esac; done
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	rm -rf $(addprefix $(DESTDIR),$(PYTHONDIR) $(LIBDIR) $(DOCDIR))

# ---- work ----

.PHONY: help
help:
	@echo "make               build $(PROGRAM)"
	@echo "make demo          see it work: real Django mail through real SMTP, nothing to configure"
	@echo "make check         install what the tests need, run every test"
	@echo "make check-unit    only the unit tests of the C modules"
	@echo "make check-e2e     only the tests with real servers"
	@echo "make check-django  only the tests of the Django backend"
	@echo "make faults        the fault campaign in full: what each fault costs (a quarter of an hour)"
	@echo "make fuzz          fuzz what reads names, messages, replies and config (FUZZ_SECONDS each)"
	@echo "make check-package build the Debian packages and install them in chroots (root)"
	@echo "make check-systemd install them under a systemd of its own, and watch it send (root)"
	@echo "make check-matrix  the tests on other releases of Debian, in chroots (root, slow)"
	@echo "make bench         compare with other senders (a quarter of an hour; root for all of them)"
	@echo "make bench-quick   the same in a minute or two;  make bench-readme puts it into README.md"
	@echo "make bench-NAME    drain, scale, empty, syscalls, fair, instructions or path: tests/bench"
	@echo "make bench-drop    what Django pays for a message, beside the bare system calls"
	@echo "make deb           build Debian packages in build/"
	@echo "make deps          install what building needs (apt, with sudo when not root)"
	@echo "make install-sendmail  also as sendmail, mailq and newaliases for other programs"
	@echo "make install, uninstall, clean, format"

.PHONY: deps
deps:
	@tests/deps.sh build

# The build runs in a make of its own: pkg-config may only be there once deps is done.
.PHONY: demo
demo:
	@tests/deps.sh demo
	@$(MAKE) --no-print-directory --silent all
	@$(PYTHON) tests/demo/demo.py $(PROGRAM)

.PHONY: check
check:
	@tests/deps.sh check
	@tests/check.sh

.PHONY: check-unit
check-unit: all $(UNIT_TESTS)
	@tests/unit/run.sh $(BUILD)/unit

.PHONY: check-e2e
check-e2e: all
	MAILDRAIN=$(CURDIR)/$(PROGRAM) $(PYTHON) -m pytest -q tests/e2e

.PHONY: check-django
check-django: all
	MAILDRAIN=$(CURDIR)/$(PROGRAM) PYTHONPATH=src/django $(PYTHON) -m pytest -q tests/django

# The short form of both is in "make check". FAULTS names families: see tests/faults.
.PHONY: faults
faults:
	@tests/deps.sh check
	@$(MAKE) --no-print-directory --silent all
	@MAILDRAIN=$(CURDIR)/$(PROGRAM) PYTHONPATH=tests $(PYTHON) -m faults $(FAULTS)

FUZZ_SECONDS ?= 300

.PHONY: fuzz
fuzz:
	@tests/deps.sh check
	@tests/fuzz/run.sh $(FUZZ_SECONDS)

# For the release of Debian that this is; below etc/debian is how.
.PHONY: deb
deb:
	@tests/deps.sh deb
	@etc/debian/build.sh

# In fresh chroots: RELEASES="bookworm trixie" by default.
.PHONY: check-package
check-package:
	@tests/deps.sh check
	tests/package.sh $(RELEASES)

.PHONY: check-systemd
check-systemd:
	@tests/deps.sh check
	@etc/debian/build.sh
	$(PYTHON) -m pytest -q tests/package/test_systemd.py

.PHONY: check-matrix
check-matrix:
	tests/matrix.sh

# BENCH holds further options: see tests/bench/__main__.py.
BENCH_RUN = @tests/deps.sh bench; \
	$(MAKE) --no-print-directory --silent all && \
	MAILDRAIN=$(CURDIR)/$(PROGRAM) PYTHONPATH=tests $(PYTHON) -m bench

.PHONY: bench bench-quick bench-readme
bench:
	$(BENCH_RUN) compare $(BENCH)

bench-quick:
	$(BENCH_RUN) compare --quick $(BENCH)

bench-readme:
	$(BENCH_RUN) compare --write $(BENCH)

# drain, scale, empty, syscalls, fair, instructions, path
bench-%:
	$(BENCH_RUN) $* $(BENCH)

.PHONY: bench-drop
bench-drop:
	@tests/deps.sh check
	@$(PYTHON) tests/bench/drop.py

.PHONY: format
format:
	clang-format -i src/*.c src/*.h tests/unit/*.c tests/unit/*.h tests/fuzz/*.c tests/fuzz/*.h tests/bench/*.c

.PHONY: clean
clean:
	rm -rf build
