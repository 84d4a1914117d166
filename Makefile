# Every target is one zclab command; `make setup` brings zclab about.
#   make report PROFILE=full        make verify RUN=data/runs/<run-id>
#   make test ARGS="-k table"       make measure ARGS="--protocol tcp"
#   make report PLAN=mine.yaml      make prove ARGS="coverage power"
#   make report PROFILE=nic DEV=eth1 DST=192.0.2.2 PEER=192.0.2.2:7800

PROFILE ?= quick
PLAN ?=
RUN ?=
PEER ?=
LIBURING ?=
ARGS ?=
# Of path nic, and never from the environment: device, address behind it, the peer's
# token (PEER above is where it runs), caps.
DEV =
DST =
TOKEN_FILE =
PORT =
RATE =
SECONDS_MAX =
TARGET = $(if $(DEV),--dev "$(DEV)") $(if $(DST),--dst "$(DST)") \
	$(if $(PEER),--peer "$(PEER)") $(if $(TOKEN_FILE),--token-file "$(TOKEN_FILE)") \
	$(if $(PORT),--port $(PORT)) $(if $(RATE),--rate $(RATE)) \
	$(if $(SECONDS_MAX),--seconds $(SECONDS_MAX))

# An activated conda environment is used, but not conda's base: bootstrap.py alike.
ifeq ($(filter-out base,$(and $(CONDA_PREFIX),$(or $(CONDA_DEFAULT_ENV),unnamed))),)
BIN := .venv/bin
else
BIN := $(CONDA_PREFIX)/bin
endif

# Only a machine without any Python needs this; bootstrap.py sees to all the rest.
define WITH_PYTHON3
command -v python3 >/dev/null || \
if [ "$$(id -u)" -ne 0 ]; then \
	echo "set-up: python3: not found; install Python 3.11, 3.12 or 3.13" >&2; exit 77; \
elif command -v apt-get; then apt-get update && apt-get install -y python3; \
elif command -v dnf; then dnf install -y python3; \
elif command -v zypper; then zypper --non-interactive install python3; \
else pacman -Sy --noconfirm python; fi
endef

.DEFAULT_GOAL := help
.PHONY: help setup report test lab measure bench prove verify sanitize lint clean

help: ## show this
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: ## make the environment and compile the shim; quick when nothing changed
	@$(WITH_PYTHON3)
	@python3 zclab/bootstrap.py

report: setup ## measure, explain and write reports/<id>/; RUN=<run> skips measuring
	@"$(BIN)/zclab" report $(RUN) $(if $(PLAN),--plan "$(PLAN)",--profile $(PROFILE)) $(TARGET) $(ARGS)

test: setup ## run the tests
	@"$(BIN)/zclab" test $(ARGS)

lab: setup ## open the notebooks in JupyterLab
	@"$(BIN)/zclab" lab $(ARGS)

measure: setup ## take one run into data/runs/
	@"$(BIN)/zclab" measure $(if $(PLAN),--plan "$(PLAN)") $(if $(filter file,$(origin PROFILE)),,--profile $(PROFILE)) $(TARGET) $(ARGS)

bench: setup ## zclab against liburing's example, docs/bench.md; or PEER=<its binary>
	@"$(BIN)/zclab" bench $(if $(PEER),--peer "$(PEER)") $(ARGS)

prove: setup ## put zclab's own claims to the test, docs/rigor.md; ARGS="coverage power"
	@"$(BIN)/zclab" prove $(ARGS)

verify: setup ## check every run and report against its hashes, or RUN=<run or report>
	@"$(BIN)/zclab" verify $(RUN) $(ARGS)

sanitize: setup ## the C tests: sanitizers, valgrind, libFuzzer; LIBURING=<path> FUZZ_SECONDS=30
	@"$(BIN)/zclab" sanitize LIBURING="$(abspath $(LIBURING))" $(if $(FUZZ_SECONDS),FUZZ_SECONDS=$(FUZZ_SECONDS)) $(ARGS)

lint: setup ## check style and types
	@"$(BIN)/zclab" lint $(ARGS)

clean: ## remove what was set up and built; never data or reports
	@python3 zclab/bootstrap.py clean
