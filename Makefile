# Berth. `make help` lists the targets.
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

PREFIX  ?= /usr/local
VERSION ?= $(shell git describe --tags --dirty 2>/dev/null)
COMMIT  ?= $(shell git describe --always --dirty --exclude '*' 2>/dev/null)

# One static binary: cgo for the walker and libseccomp, no name service, no user database, no urfave_cli documentation.
TAGS     := netgo,osusergo,urfave_cli_no_docs
LDFLAGS  := -s -w -linkmode external -extldflags -static \
	$(if $(VERSION),-X berth/cli.version=$(VERSION)) $(if $(COMMIT),-X berth/cli.commit=$(COMMIT))
# The heap's start is known, so that nsenter/prefault can have it ready before the Go runtime touches it.
GO_BUILD := GOEXPERIMENT=norandomizedheapbase64 CGO_ENABLED=1 go build -trimpath -tags '$(TAGS)' -ldflags '$(LDFLAGS)'
# musl asks the processor nothing when it starts: glibc's questions (CPUID) cost a millisecond of every command under a
# hypervisor. Of Debian's libraries for glibc only libseccomp is used, and of that what goes with any C library.
MUSL     := CC=musl-gcc PKG_CONFIG=true \
	CGO_CFLAGS="-O2 -idirafter /usr/include -idirafter /usr/include/$$(gcc -print-multiarch)" \
	CGO_LDFLAGS="$$(gcc -print-file-name=libseccomp.a)"
GO_TEST  := go test -tags '$(TAGS)'

C_FLAGS     := -std=gnu11 -O2 -Wall -Wextra -Werror
STATICCHECK := go tool -modfile=tests/tools/go.mod staticcheck

all: bin/berth bin/berth-layer ## build both binaries, static ones

.PHONY: bin/berth
bin/berth: setup-build ## (go build decides whether there is something to do)
	$(MUSL) $(GO_BUILD) -o $@ .

LAYER_LDFLAGS := $(if $(VERSION),-X berth/rootfs/cmd/command.version=$(VERSION)) $(if $(COMMIT),-X berth/rootfs/cmd/command.commit=$(COMMIT))
.PHONY: bin/berth-layer
bin/berth-layer: ## the layer tool; nothing of it is in berth
	CGO_ENABLED=0 go build -trimpath -tags '$(TAGS)' -ldflags '-s -w $(LAYER_LDFLAGS)' -o $@ ./rootfs/cmd/berth-layer

cross-arm64: setup-test ## build bin/berth-arm64 with Debian's cross compiler
	GOARCH=arm64 CC=aarch64-linux-gnu-gcc \
	PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig $(GO_BUILD) -o bin/berth-arm64 .

setup: setup-test setup-vm setup-managers setup-layers ## install the Debian packages that are missing (nothing to do takes no time)
setup-build setup-test setup-vm setup-managers setup-layers: setup-%:
	@tests/setup $*

check: bin/berth bin/berth-layer lint lint-c ## the inner loop: build, lints, all that needs no root; under two minutes
	$(GO_TEST) -short ./...

lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l .); \
	[ -z "$$unformatted" ] || { echo "gofmt -w $$unformatted"; exit 1; }
	go vet -tags '$(TAGS)' ./...
	$(STATICCHECK) -tags '$(TAGS)' ./...

C_FILES := nsenter/nsenter.c nsenter/birth.c nsenter/prefault/prefault.c libcontainer/supervise/signals.c

lint-c: ## the C under gcc's warnings and its analyzer
	@for file in $(C_FILES); do \
		gcc $(C_FLAGS) -c -o /dev/null $$file && gcc $(C_FLAGS) -fanalyzer -c -o /dev/null $$file || exit 1; done

test: ## everything: set-up, check, root tests, scripts, managers, validation suite, arm64, the virtual machine
	@tests/summary $(MAKE) test-all

# One package at a time: root tests look at the mounts and cgroups of the whole machine. The suite runs alone,
# because some of its programs race with the container they started, and load makes them lose,
# and the guests come last: they take both processors.
.PHONY: test-all
test-all: setup bin/berth bin/berth-layer lint lint-c cross-arm64
	@status=0; \
	$(GO_TEST) -count=1 -p 1 -v $$(go list ./... | grep -v /validation$$) || status=1; \
	$(GO_TEST) -count=1 -v ./tests/validation || status=1; \
	tests/vm/test || status=1; exit $$status

validation: bin/berth ## only runtime-tools' validation suite, what differs from the list
	go run ./tests/validation

validation-peers: setup-test ## what the suite's list says of runc and crun
	BERTH_PEERS=1 $(GO_TEST) -count=1 -v -run 'TestValidation/[rc]' ./tests/validation

test-security: bin/berth setup-test ## what got out of other runtimes, one line for each (root; BERTH_SECURITY_TRIES=N for longer races)
	@cd tests/security && $(GO_TEST) -count=1

test-managers: bin/berth bin/berth-layer setup-managers ## under Docker, Swarm, Podman, Buildah, containerd and by hand, beside runc (root; BERTH_MANAGERS=REGEXP for some cases)
	@cd tests/managers && $(GO_TEST) -count=1

bench-layers: bin/berth-layer setup-layers ## how fast an image of 1 GB is unpacked, beside other tools (root; ARGS='-n ROUNDS -tool REGEXP -on DIR')
	CGO_ENABLED=0 go run ./tests/layers/bench $(ARGS)

layers-matrix: bin/berth-layer setup-layers ## what layers can contain, through each tool that unpacks them (root; CASE=REGEXP, TOOL=REGEXP, WHY=1 for reasons)
	CGO_ENABLED=0 go run ./tests/layers/matrix -case '$(CASE)' -tool '$(TOOL)' $(if $(WHY),-why)

test-vm: bin/berth setup-test setup-vm ## scripts, validation and security suites in a virtual machine (Debian 12, systemd, cgroup v2; no KVM, no network)
	@tests/vm/test

vm-shell: bin/berth setup-vm ## run SCRIPT=file as root in that virtual machine
	@tests/vm/shell $(SCRIPT)

vulncheck: setup-build ## what the vulnerability database knows of the modules in the binary (needs vuln.go.dev or GOVULNDB)
	go tool -modfile=tests/tools/go.mod govulncheck -tags '$(TAGS)' .

bench: bin/berth setup-test ## berth, runc, crun and a floor, in one table
	go run ./tests/bench

demo: bin/berth bin/berth-layer setup-test ## a real container that shows who it is
	tests/demo

# Where a shell looks for completions; Debian's packages have another place for zsh's.
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR  ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
# The pages and completions are made by a program with the command table in it, which is built as berth is.
GEN     := CGO_ENABLED=1 go run -tags '$(TAGS)' ./cli/gen

man: setup-build ## bin/man: a manual page for each command
	@rm -rf bin/man
	$(GEN) -version '$(VERSION)' -date "$$(git log -1 --format=%cs 2>/dev/null)" man bin/man

completions: setup-build ## bin/completions: for bash, zsh and fish
	$(GEN) completions bin/completions

install: bin/berth bin/berth-layer man completions ## binaries, manual pages and completions, below $(DESTDIR)$(PREFIX)
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin bin/berth bin/berth-layer
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man8 bin/man/*.8
	@for name in berth berth-layer; do \
		install -D -m 644 bin/completions/$$name.bash $(DESTDIR)$(BASHDIR)/$$name && \
		install -D -m 644 -t $(DESTDIR)$(ZSHDIR) bin/completions/_$$name && \
		install -D -m 644 -t $(DESTDIR)$(FISHDIR) bin/completions/$$name.fish || exit 1; done

DEBDIR ?= bin
deb: bin/berth bin/berth-layer ## a Debian package in $(DEBDIR)
	@cli/package/deb $(DEBDIR)

clean: ## what the other targets made
	rm -rf bin .cache

help: ## this list
	@sed -n 's/^\([a-z0-9][a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' Makefile | while IFS=$$'\t' read -r name what; do \
		printf '%-18s%s\n' "$$name" "$$what"; done

.DEFAULT_GOAL := all
.PHONY: all setup setup-build setup-test setup-vm setup-managers check lint lint-c test validation validation-peers \
	test-security test-managers layers-matrix bench-layers test-vm vm-shell vulncheck bench demo man completions install deb clean \
	cross-arm64 help
