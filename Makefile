# SPDX-License-Identifier: Apache-2.0
# A thin face over meson and ninja. `make help` tells what there is.
BUILD ?= build

.PHONY: help deps build demo run test check prove bench fuzz simulate soak install clean

help:
	@echo 'make demo    a picture and a video through a running gateway, fetched and verified'
	@echo 'make run     the gateway, staying up; prints a key and a curl line'
	@echo 'make build   build/render-gateway, build/render-signer, build/render'
	@echo 'make test    every test; the last line counts them'
	@echo 'make check   format, tidy rules, layers'
	@echo 'make prove   what proofs/ promises, proved anew where a source has changed'
	@echo 'make bench   the table of docs/benchmarks.md, measured here'
	@echo 'make fuzz    every fuzz target for SECONDS=600 each'
	@echo 'make simulate  SEEDS=100000 runs of the queue with faults and virtual time'
	@echo 'make soak    the long runs'

deps:
	@scripts/install-deps build

build: deps
	@[ -e $(BUILD)/build.ninja ] || meson setup $(BUILD) --buildtype=release -Db_lto=false >/dev/null
	@ninja -C $(BUILD) --quiet
	@ln -sf src/gateway/render-gateway src/signer/render-signer src/cli/render $(BUILD)/

demo: build
	@scripts/demo $(BUILD)

run: build
	@scripts/run $(BUILD)

test:
	@scripts/test

check:
	@scripts/check

prove:
	@scripts/install-deps test
	@scripts/prove

bench:
	@scripts/bench

fuzz:
	@scripts/fuzz $(or $(SECONDS),600)

simulate: build
	@$(BUILD)/tests/simulate/simulate --seeds $(or $(SEEDS),100000) --jobs $(shell nproc)

soak:
	@scripts/soak

install: build
	meson install -C $(BUILD)

clean:
	rm -rf build build-*
