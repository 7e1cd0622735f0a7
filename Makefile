# sanstick. `make help` lists what there is to do.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Debian packages that `make run` needs on the host, and those that the tests
# need beside them. The packages that go into the image are another list: they
# are fetched without being installed (imagebuild/apt).
RUN_PACKAGES  := ca-certificates qemu-system-x86 qemu-utils qemu-block-extra ipxe-qemu libiscsi-bin
TEST_PACKAGES := gcc libc6-dev btrfs-progs cryptsetup-bin dosfstools e2fsprogs exfatprogs f2fs-tools gdisk grub-common grub-pc-bin iproute2 mount mtools ntfs-3g ovmf qemu-system-common sbsigntool tgt xfsprogs xorriso zstd
BENCH_PACKAGES := tgt iperf3 fio
CONFORMANCE_PACKAGES := tshark wireshark-common
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

export CGO_ENABLED ?= 1
GO := go

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: deps-run image ## build the image, boot it in QEMU and serve a LUN on localhost
	@$(GO) run ./imagebuild run $(RUN_FLAGS)

image: ## build build/sanstick.img and build/sanstick.iso
	@$(GO) run ./imagebuild build $(IMAGE_FLAGS)

# How many machines at a time: each takes 512 MiB, and at times two cores.
LANES := 2
# What takes many minutes in QEMU: make e2e runs it, make test leaves it out.
E2E_LONG := ^TestArrayOfAnotherMachine$$|^TestBootMedia$$|^TestCustomImage$$|^TestConfigPowerCut$$|^TestDamagedMetadata$$|^TestDisksComeAndGo$$|^TestFlash$$|^TestRebuildLeavesHalf$$|^TestISO|^TestLayouts$$|^TestMendPowerCut$$|^TestReservations$$|^TestSpace$$|^TestStick|^TestTransfer$$|^TestUpdate|^TestVolumes$$

test: deps-test check unit e2e-slice ## check, unit tests with -race, end to end in QEMU but for the longest

check: ## format, vet, staticcheck, import arrows
	@bad="$$(gofmt -l $$(git ls-files '*.go'))"; [ -z "$$bad" ] || { echo "gofmt would change: $$bad"; exit 1; }
	@$(GO) vet -tags e2e ./...
	@$(GO) tool staticcheck -tags e2e ./...
	@$(GO) test -count 1 . # Go's cache doesn't see that other packages import something else

unit: ## unit tests with -race
	@$(GO) test -race -timeout 10m ./...

e2e: deps-test image ## in QEMU: the real image, used by initiators; and Linux as an initiator of targetd (LANES machines at a time)
	@$(GO) test -tags e2e -count 1 -p 1 -parallel $(LANES) -v -timeout 120m ./imagebuild/image ./appliance/e2e ./target/e2e

e2e-slice: deps-test image
	@$(GO) test -tags e2e -count 1 -p 2 -parallel 1 -v -timeout 25m -skip '$(E2E_LONG)' ./appliance/e2e ./target/e2e

CUTS ?= 100

update-cuts: deps-test image ## cut the power at CUTS (100) random moments of updates in QEMU; adds to appliance/e2e/UPDATES.md
	@UPDATE_CUTS=$(CUTS) UPDATE_MOMENTS=$(CUTS) UPDATE_LEDGER=UPDATES.md $(GO) test -tags e2e -count 1 -v -timeout 6h -run '^TestUpdate(Moments|PowerCut)$$' ./appliance/e2e

mend-cuts: deps-test image ## cut the power at CUTS (100) random moments while a disk of a mirror is replaced in QEMU; adds to appliance/e2e/MENDING.md
	@MEND_CUTS=$(CUTS) MEND_LEDGER=MENDING.md $(GO) test -tags e2e -count 1 -v -timeout 6h -run '^TestMendPowerCut$$' ./appliance/e2e

conformance: deps-conformance ## foreign initiators and long tests against targetd; writes target/CONFORMANCE.md (root; CONFORMANCE_FLAGS)
	@$(GO) run ./target/conformance $(CONFORMANCE_FLAGS)

bench: deps-bench ## targetd beside tgt, in turn; writes target/BENCHMARKS.md (BENCH_FLAGS)
	@$(GO) run ./target/bench --out target/BENCHMARKS.md $(BENCH_FLAGS)

PROFILE_CASE ?= ^4 KiB random read, QD 32$$

profile: ## where targetd's time goes: a CPU profile of random reads (PROFILE_CASE)
	@$(GO) run ./target/bench --seconds 5 --case '$(PROFILE_CASE)' --profile build/bench/targetd.pprof
	@$(GO) tool pprof -top -nodecount 40 build/bench/targetd.pprof

gobench: ## Go benchmarks of the target's hot paths
	@$(GO) test -run '^$$' -bench . -benchmem ./target/...

fuzz: ## fuzz every decoder, FUZZTIME (10s) each; totals go to target/FUZZ.md
	@.ci/fuzz

fresh: ## prove `make test` and `make run` on a fresh Debian root (root, slow)
	@.ci/fresh

clean: ## remove build/, with the disks of make run
	@rm -rf --one-file-system build

deps-run: PACKAGES := $(RUN_PACKAGES)
deps-test: PACKAGES := $(RUN_PACKAGES) $(TEST_PACKAGES)
deps-bench: PACKAGES := $(RUN_PACKAGES) $(BENCH_PACKAGES)
deps-conformance: PACKAGES := $(RUN_PACKAGES) $(TEST_PACKAGES) $(CONFORMANCE_PACKAGES)
deps-run deps-test deps-bench deps-conformance:
	@missing=; for p in $(PACKAGES); do \
	  dpkg-query -W -f='$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing$$missing"; \
	  $(SUDO) apt-get update -q && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -q --no-install-recommends $$missing; fi

.PHONY: help run image test check unit e2e e2e-slice update-cuts mend-cuts conformance bench profile gobench fuzz fresh clean deps-run deps-test deps-bench deps-conformance
