# make            a release build            make test       everything under tests/, guest suite included
# make demo       see it work               make bench      figures beside other runtimes
# make compare    where rctr answers otherwise than Docker
# make install    PREFIX= DESTDIR= SYSTEMD_UNIT_DIR=         make audit      licences, bans, advisories
PREFIX ?= /usr/local
DESTDIR ?=
SYSTEMD_UNIT_DIR ?= $(PREFIX)/lib/systemd/system
CARGO ?= cargo
export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET := $(shell uname -m)-unknown-linux-gnu
RELEASE := $(or $(CARGO_TARGET_DIR),target)/$(TARGET)/release
# Where `place` takes the binaries from.
BUILT ?= $(RELEASE)
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

BUILD_PACKAGES := gcc libc6-dev libseccomp-dev pkg-config ca-certificates curl
DEMO_PACKAGES := $(BUILD_PACKAGES) busybox-static docker-registry python3 util-linux
TEST_PACKAGES := $(DEMO_PACKAGES) mmdebstrap skopeo nftables iptables iproute2 procps zstd criu \
	qemu-system-x86 kmod cpio e2fsprogs passwd systemd-sysv dbus git openssl xz-utils bzip2 openssh-client \
	containernetworking-plugins strace uidmap passt slirp4netns nfs-kernel-server libpam-systemd \
	dbus-user-session apparmor checkpolicy
BENCH_PACKAGES := $(TEST_PACKAGES) docker.io containerd podman runc crun buildah umoci python3-venv iperf3

.DELETE_ON_ERROR:
.PHONY: all build setup setup-build setup-demo setup-bench demo test guest bench compare audit install place clean

all: build

build: setup-build
	$(CARGO) build --release --locked --bins

# Instant when all is there; asks the package lists only when something is missing.
define need
	@dpkg -s $(1) >/dev/null 2>&1 || { \
	  had=$$(dpkg-query -W -f x docker-registry 2>/dev/null); \
	  $(SUDO) apt-get -q update && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $(1) && \
	  { [ -n "$$had" ] || [ ! -d /run/systemd/system ] || $(SUDO) systemctl -q disable --now docker-registry 2>/dev/null || :; }; }
	@command -v $(CARGO) >/dev/null || { \
	  echo "no cargo: installing Rust with rustup" >&2; \
	  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --component clippy,rustfmt; }
endef

setup-build:
	$(call need,$(BUILD_PACKAGES))
setup-demo:
	$(call need,$(DEMO_PACKAGES))
setup:
	$(call need,$(TEST_PACKAGES))
setup-bench:
	$(call need,$(BENCH_PACKAGES))

demo: setup-demo build
	$(SUDO) fixtures/demo.sh $(RELEASE)/rctr

test: guest
	tests/run.sh

# Some of its cases run the workspace's own tests inside.
guest: setup
	$(CARGO) build --locked --workspace --bins
	$(CARGO) test --locked --workspace --no-run
	tests/guest/run.sh

bench: setup-bench build
	benches/run.sh $(RELEASE)/rctr

compare: setup-bench build
	tests/docker/run.sh $(RELEASE)/rctr

# Advisories are a git repository on the network; the rest needs only the crates.
ADVISORIES := https://github.com/RustSec/advisory-db
audit:
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --all-features check bans licenses sources
	@if git ls-remote -q $(ADVISORIES) HEAD >/dev/null 2>&1; then $(CARGO) deny --all-features check advisories; \
	else echo 'audit: $(ADVISORIES) cannot be reached: advisories are not checked' >&2; fi

install: build place

# The files of an installation, from binaries that are built already.
place:
	install -D -m 755 $(BUILT)/rctr $(DESTDIR)$(PREFIX)/bin/rctr
	install -D -m 755 $(BUILT)/rctr-oci $(DESTDIR)$(PREFIX)/bin/rctr-oci
	install -D -m 755 $(BUILT)/rctr-monitor $(DESTDIR)$(PREFIX)/libexec/rctr/rctr-monitor
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d \
		$(DESTDIR)$(SYSTEMD_UNIT_DIR)
	$(BUILT)/rctr internal man $(DESTDIR)$(PREFIX)/share/man/man1
	$(BUILT)/rctr completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/rctr
	$(BUILT)/rctr completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_rctr
	$(BUILT)/rctr completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/rctr.fish
	for unit in rctr.service rctr@.service rctr-restart.service rctr-cri.service rctr-cri.socket; do \
		sed 's|@PREFIX@|$(PREFIX)|' dist/$$unit > $(DESTDIR)$(SYSTEMD_UNIT_DIR)/$$unit || exit 1; done

clean:
	$(CARGO) clean
