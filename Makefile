# Two commands: `make run` starts a host on a pipeline that needs nothing else, `make test` shows that everything holds.
# `make soak` runs the tests at their full sizes, `make bench` the benchmarks, `make lint` the checks of form alone.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TARGET := $(or $(CARGO_TARGET_DIR),target)
NODE_ORACLES := ot-text-unicode@4.0.0 ot-json1@1.0.2
PYTHON_PEERS := websockets==17.4 confluent-kafka==2.16.1 paho-mqtt==2.2.0 redis==8.1.0
CARGO_TEST := cargo test --profile ci --workspace --locked --no-fail-fast

# $(call stage,what happens,limit in seconds,command): says what it does, for how long, and ends it at the limit.
define stage
printf '\n==> %s\n' '$(1)'; start=$$SECONDS; \
timeout -k 10 $(2) $(3) && code=0 || code=$$?; \
if [ $$code = 124 ]; then printf '==> ended after its limit of %s s: %s\n' '$(2)' '$(1)'; fi; \
printf '==> %s s: %s\n' $$((SECONDS - start)) '$(1)'; exit $$code
endef

.PHONY: help run test soak bench lint tools servers peer kafka oracles build changed-abi suite

help:
	@sed -n 's/^# \(.*`make.*\)/\1/p' Makefile

run: tools
	@printf '\n==> building the release (some minutes the first time)\n'
	cargo build --release --locked
	@printf '\n==> starting the host on pipelines/quickstart.yaml; Ctrl-C drains and ends it\n'
	@printf '    two terminals, in this folder:\n'
	@printf '              %s/release/lockstep watch\n' '$(TARGET)'
	@printf '              %s/release/lockstep set app.database.port 5432\n' '$(TARGET)'
	@printf '    clients   ws://127.0.0.1:8765, for example: make peer && %s/venv/bin/python3 -m websockets ws://127.0.0.1:8765\n' '$(TARGET)'
	@printf '              then type: {"type":"config_change","id":1,"config_key":"app.database.host","new_value":"db1.example"}\n'
	@printf '              every client, every `watch` and lockstep-data/changes.ndjson get it with its revision\n'
	@printf '    questions http://127.0.0.1:8780/readyz?verbose  /v1/pipelines  /v1/keys  /v1/metrics  /metrics\n'
	@printf '              README.md goes on from there\n\n'
	@exec $(TARGET)/release/lockstep run pipelines/quickstart.yaml

test: servers peer kafka oracles
	@$(call stage,checking the format of the code,60,cargo fmt --check)
	@$(MAKE) --no-print-directory build changed-abi lint suite

soak: servers peer kafka oracles
	@LOCKSTEP_SCALE=full $(MAKE) --no-print-directory build changed-abi suite SUITE_LIMIT=14400

bench: servers peer kafka
	@$(call stage,running the benchmarks,7200,cargo bench --workspace --locked)

lint:
	@$(call stage,checking the code with clippy,900,cargo clippy --profile ci --workspace --all-targets --locked -- -D warnings)
	@if command -v cargo-deny >/dev/null; then cargo deny check; fi

# One set of features for everything, so that what is built here is what the tests find.
build:
	@$(call stage,building the host and the plugins and the tests,1500,cargo build --profile ci --workspace --lib --bins --examples --tests --locked)

# A second host and a plugin against a changed record, for the tests of the handshake.
changed-abi:
	@$(call stage,building a host and a plugin whose records have another layout,900,tests/support/changed_abi.sh $(TARGET))

SUITE_LIMIT := 1500
suite:
	@($(call stage,running the tests,$(SUITE_LIMIT),bash -c 'set -o pipefail; $(CARGO_TEST) 2>&1 | tee $(TARGET)/test.log')) \
	&& code=0 || code=$$?; $(SUM); exit $$code

# Each test that failed with what it said last, and one line that sums up what every test binary said; a run of no test is a
# failure.
SUM = awk '/^---- .* stdout ----$$/ { printf "\n%s failed:\n", $$2; n_lines = 0; next } \
	/ panicked at / { n_lines = 8 } \
	/^(stack backtrace|note: run with|failures:|----)/ { n_lines = 0 } \
	n_lines > 0 { n_lines--; print "    " substr($$0, 1, 400) } \
	/^test result:/ { passed += $$4; failed += $$6 } \
	END { printf "\n%d passed, %d failed\n", passed, failed; exit passed == 0 }' $(TARGET)/test.log || code=1

# $(call install,packages,what for): asks the system for packages, if there are any. None of them starts a server: tests start
# their own, on ports of their own.
define install
missing=($(1)); \
if [ $${#missing[@]} = 0 ]; then echo 'everything is there for $(2)'; exit 0; fi; \
echo "installing $${missing[*]}"; \
[ "$$(id -u)" = 0 ] && as_root= || as_root=sudo; \
policy=/usr/sbin/policy-rc.d; \
if [ ! -e $$policy ]; then \
	printf '#!/bin/sh\nexit 101\n' | $$as_root install -m 755 /dev/stdin $$policy; \
	trap "$$as_root rm -f $$policy" EXIT; \
fi; \
$$as_root apt-get update -qq; \
$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}"
endef

# What building needs of the system. Asked for only if it is missing.
tools:
	@printf '==> looking for what building needs\n'
	@command -v cargo >/dev/null || { echo 'Rust is missing: https://rustup.rs'; exit 1; }
	@$(call install,$$( \
	command -v cc >/dev/null || echo gcc; \
	command -v c++ >/dev/null || echo g++; \
	[ -e /usr/include/stdio.h ] || echo libc6-dev; \
	command -v cmake >/dev/null || echo cmake; \
	command -v pkg-config >/dev/null || echo pkg-config; \
	pkg-config --exists openssl 2>/dev/null || echo libssl-dev; \
	[ -e /usr/include/zlib.h ] || echo zlib1g-dev),building)

# What the tests start and talk to. The servers are looked for where only root has them in its path, too.
servers: tools
	@printf '==> looking for what the tests start\n'
	@PATH=$$PATH:/usr/sbin; $(call install,$$( \
	command -v redis-server >/dev/null || echo redis-server; \
	command -v mosquitto >/dev/null || echo mosquitto; \
	command -v java >/dev/null || echo default-jre-headless; \
	command -v mvn >/dev/null || echo maven; \
	command -v npm >/dev/null || echo nodejs npm; \
	python3 -c 'import venv, ensurepip' 2>/dev/null || echo python3 python3-venv),the tests)

# The Python clients that the tests talk to.
peer: $(TARGET)/venv/peers-$(subst $() ,-,$(PYTHON_PEERS))

$(TARGET)/venv/peers-$(subst $() ,-,$(PYTHON_PEERS)):
	@printf '\n==> preparing Python clients: %s\n' '$(PYTHON_PEERS)'
	@rm -rf $(TARGET)/venv && mkdir -p $(TARGET)
	@python3 -m venv $(TARGET)/venv
	@$(TARGET)/venv/bin/pip install --quiet --disable-pip-version-check $(PYTHON_PEERS)
	@touch '$@'

# What operational transform is compared with.
oracles: $(TARGET)/oracles/complete-$(subst $() ,-,$(NODE_ORACLES))

$(TARGET)/oracles/complete-$(subst $() ,-,$(NODE_ORACLES)):
	@printf '\n==> preparing what operational transform is compared with: %s\n' '$(NODE_ORACLES)'
	@rm -rf $(TARGET)/oracles && mkdir -p $(TARGET)/oracles
	@npm install --prefix $(TARGET)/oracles --no-audit --no-fund --loglevel=error $(NODE_ORACLES)
	@touch '$@'

# Apache Kafka, as jars.
kafka: $(TARGET)/kafka/complete

$(TARGET)/kafka/complete: tests/support/kafka/pom.xml
	@printf '\n==> preparing Apache Kafka\n'
	@rm -rf $(TARGET)/kafka
	@mvn -q -B -Dstyle.color=never -f $< dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(abspath $(TARGET))/kafka
	@touch '$@'
