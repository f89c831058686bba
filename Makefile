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
SBINDIR     ?= $(PREFIX)/sbin
LIBDIR      ?= $(PREFIX)/lib/maildrain
MANDIR      ?= $(PREFIX)/share/man
PYTHONDIR   ?= $(PREFIX)/share/maildrain/python
DOCDIR      ?= $(PREFIX)/share/doc/maildrain
SYSCONFDIR  ?= /etc
UNITDIR     ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d

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
CMOCKA_LIBS  = $(shell $(PKG_CONFIG) --libs cmocka)

COMPILE = $(CC) $(NEEDED) $(WARNINGS) $(HARDEN) $(CPPFLAGS) $(CFLAGS) $(CURL_CFLAGS) $(CONF_CFLAGS) -MMD -MP
LINK    = $(CC) $(CFLAGS) $(HARDLINK) $(LDFLAGS)

# libcurl and the thirty libraries behind it cost milliseconds at every start, so what needs them
# is a module of its own, loaded when there is mail to send. The build tree is laid out as the
# installed one: sbin/maildrain finds ../lib/maildrain/smtp.so.
SMTP_SOURCES := src/transport_smtp.c src/session.c
MAIN_SOURCES := src/main.c
LIB_SOURCES  := $(filter-out $(SMTP_SOURCES) $(MAIN_SOURCES),$(wildcard src/*.c))

LIB_OBJECTS  := $(LIB_SOURCES:src/%.c=$(BUILD)/obj/%.o)
SMTP_OBJECTS := $(SMTP_SOURCES:src/%.c=$(BUILD)/obj/%.o)
MAIN_OBJECTS := $(MAIN_SOURCES:src/%.c=$(BUILD)/obj/%.o)

LIBRARY := $(BUILD)/obj/libmaildrain.a
PROGRAM := $(BUILD)/sbin/maildrain
MODULE  := $(BUILD)/lib/maildrain/smtp.so

UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/*.c))

.PHONY: all
all: $(PROGRAM) $(MODULE)

$(BUILD)/obj/%.o: src/%.c Makefile
	@mkdir -p $(@D)
	$(COMPILE) -c -o $@ $<

$(LIBRARY): $(LIB_OBJECTS)
	rm -f $@
	$(AR) rcs $@ $^

$(PROGRAM): $(MAIN_OBJECTS) $(LIBRARY)
	@mkdir -p $(@D)
	$(LINK) -pie -Wl,-rpath,'$$ORIGIN/../lib/maildrain' -o $@ $(MAIN_OBJECTS) $(LIBRARY) $(CONF_LIBS)

$(MODULE): $(SMTP_OBJECTS) $(LIBRARY)
	@mkdir -p $(@D)
	$(LINK) -shared -o $@ $(SMTP_OBJECTS) $(LIBRARY) $(CURL_LIBS)

$(BUILD)/unit/%: tests/unit/%.c $(LIBRARY) Makefile
	@mkdir -p $(@D)
	$(COMPILE) -Itests/unit -o $@ $< $(LDFLAGS) $(LIBRARY) $(CONF_LIBS) $(CMOCKA_LIBS)

-include $(wildcard $(BUILD)/obj/*.d $(BUILD)/unit/*.d)
