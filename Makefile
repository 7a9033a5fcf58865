# Two commands are enough on a fresh machine: `make demo` and `make test`.
# Each makes .venv and installs what it needs; nothing is done again while pyproject.toml is unchanged.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
# tflite-runtime must not share a process with TensorFlow and needs numpy < 2: an environment of its own.
TFLITE := .venv-tflite
# Keras 2 and what prunes and trains quantised, without what they ask for: a second TensorFlow, which would overwrite
# the first, and an older absl. For one child process of a benchmark; nothing else sees the folder.
LEGACY := .legacy-keras
# The peer of the schedule's benchmark (1.1 GB); it shares no library with anything here.
EMHASS := .venv-emhass
# A process for each core, four at most: many tests wait for a clock, a disk or a broker. Files stay whole, since their
# tests share what is made once, and in their order, in which the longest do not come last.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
PIP    := -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check bench soak clean servers broker compiler
.DELETE_ON_ERROR:

$(BIN)/python:
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "edgewatt needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python cannot make environments: apt-get install python3-venv"; exit 1; }

$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	@echo "installing edgewatt[$*] into $(VENV) (a few minutes the first time)"
	@$(BIN)/python $(PIP) --editable '.[$*]'
	@touch $@

# Everything the device needs but LiteRT, with the oldest runtime and numpy that it supports.
$(TFLITE)/.installed: pyproject.toml
	@echo "making $(TFLITE) (tflite-runtime 2.14)"
	@$(PYTHON) -m venv $(TFLITE)
	@$(TFLITE)/bin/python $(PIP) 'tflite-runtime==2.14.0' 'numpy>=1.24,<2' tzdata pytest pytest-timeout hypothesis \
	  'cryptography>=50,<51' 'tuf>=7,<8' 'sqlite-utils>=4,<5' 'paho-mqtt>=2.1,<3' 'click>=8.1,<9'
	@touch $@

$(LEGACY)/.installed: pyproject.toml | $(BIN)/python
	@echo "filling $(LEGACY) (tf-keras, tensorflow-model-optimization)"
	@rm -rf $(LEGACY)
	@$(BIN)/python $(PIP) --no-deps --target $(LEGACY) 'tensorflow-model-optimization>=0.8.1,<0.9' \
	  'tf-keras>=2.21,<2.22' 'dm-tree>=0.1.8,<0.2'
	@touch $@

$(EMHASS)/.installed:
	@echo "making $(EMHASS) (emhass 0.18.7, a few minutes)"
	@$(PYTHON) -m venv $(EMHASS)
	@$(EMHASS)/bin/python $(PIP) 'emhass==0.18.7'
	@touch $@

broker:
	@command -v mosquitto >/dev/null || PATH=$$PATH:/usr/sbin command -v mosquitto >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then echo "installing mosquitto"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq mosquitto >/dev/null; \
	  else echo "Mosquitto is missing: sudo apt-get install mosquitto"; exit 1; fi; }

servers: broker
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ]; then echo "installing postgresql"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null; \
	  else echo "PostgreSQL is missing: sudo apt-get install postgresql"; exit 1; fi; }

# For the shim under the fault campaigns, and for nothing else.
compiler:
	@command -v cc >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then echo "installing gcc"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq gcc libc6-dev >/dev/null; \
	  else echo "A C compiler is missing: sudo apt-get install gcc libc6-dev"; exit 1; fi; }

demo: $(VENV)/.installed-demo
	@command -v mosquitto >/dev/null || [ "$$(id -u)" != 0 ] || $(MAKE) --no-print-directory broker || true
	@$(BIN)/python -m demo

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/.installed-dev $(TFLITE)/.installed $(LEGACY)/.installed servers check
	$(TFLITE)/bin/python -m pytest -q tests/agent/contract tests/agent/inference
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

bench: $(VENV)/.installed-bench $(TFLITE)/.installed $(LEGACY)/.installed $(if $(filter schedule,$(or $(BENCH),schedule)),$(EMHASS)/.installed)
	$(BIN)/python -m tests.benchmarks $(BENCH)

soak: $(VENV)/.installed-dev servers compiler
	$(BIN)/python -m tests.soak $(SOAK)

clean:
	rm -rf build .venv .venv-tflite .venv-emhass .legacy-keras .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
