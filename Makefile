# Everything a newcomer runs. Needed: Linux, Python 3.10 or newer with venv, a C++20 compiler (g++ 12 or newer).
# CMake and Ninja come from the Python package index, like everything else. CUDA=OFF leaves out the CUDA module.

PYTHON ?= python3
ifeq ($(origin CXX),default)
CXX := c++
endif
VENV ?= .venv
BUILD ?= build/dev
BUILD_TYPE ?= Release
CUDA ?= AUTO
# Architectures of the CUDA module; empty: all that the toolkit knows.
CUDA_ARCHITECTURES ?=
EMULATOR ?= OFF
SANITIZE ?=
PYTEST_ARGS ?=

BIN := $(VENV)/bin
# What the extension modules are made from. The install is editable, so Python files need no new one.
SOURCES := CMakeLists.txt pyproject.toml $(shell find cpp cuda python/bindings -type f 2>/dev/null)
CXX_FILES := $(shell find cpp cuda python/bindings -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')
INSTALL = $(BIN)/pip install --quiet --no-build-isolation -C build-dir=$(BUILD) -C cmake.build-type=$(BUILD_TYPE) \
          -C cmake.define.WQ_CUDA=$(CUDA) -C cmake.define.WQ_SANITIZE=$(SANITIZE) \
          -C cmake.define.WQ_EMULATOR=$(EMULATOR) \
          $(if $(CUDA_ARCHITECTURES),-C "cmake.define.CMAKE_CUDA_ARCHITECTURES=$(CUDA_ARCHITECTURES)") \
          $(EXTRA_SETTINGS) --editable

.DEFAULT_GOAL := help
.PHONY: help demo test soak stubs lint format docs bench asan tsan clean
.DELETE_ON_ERROR:

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 10

# ------------------------------------------------------------------------------------------ environments

$(VENV)/.tools:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: $(PYTHON) was not found; install Python 3.10 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "make: $$($(PYTHON) --version) is too old; name Python 3.10 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) has no venv module (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || { \
	  echo "make: $(PYTHON) comes without its C headers (Debian and Ubuntu: apt install python3-dev)" >&2; exit 1; }
	@command -v $(firstword $(CXX)) >/dev/null || { \
	  echo "make: no C++ compiler $(CXX) (Debian and Ubuntu: apt install g++), or name one: make CXX=g++-13" >&2; exit 1; }
	@printf '#include <concepts>\n#if !__has_builtin(__builtin_shufflevector)\n#error\n#endif\n' | \
	  $(CXX) -std=c++20 -x c++ -fsyntax-only - 2>/dev/null || { \
	  echo "make: $(CXX) is too old for C++20; g++ 12 or newer is needed: make CXX=g++-13" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "scikit-build-core>=1.0" "pybind11[global]>=3.0" "cmake>=3.24" ninja
	@touch $@

# The tests run CUDA kernels on simulated devices.
$(VENV)/.with-test%: EMULATOR = ON
$(VENV)/.with-test: EMULATOR = ON

# One stamp for each set of extras: made anew when the compiled sources change.
$(VENV)/.with-%: $(VENV)/.tools $(SOURCES)
	CXX="$(CXX)" $(INSTALL) ".[$(subst -,$(comma),$*)]"
	@touch $@
comma := ,

# ------------------------------------------------------------------------------------------ for everybody

demo: $(VENV)/.with-all ## scan the sample data and draw pictures of the result
	$(BIN)/warpquant scan --demo --plot demo-output
	$(BIN)/warpquant report --demo -o demo-output/report.html
	@echo "Pictures and report.html: $(CURDIR)/demo-output"

test: $(VENV)/.with-test ## run the test suite
	$(BIN)/python -m pytest $(PYTEST_ARGS)

soak: export WQ_SOAK = 20
soak: $(VENV)/.with-test ## run the device tests in many more orders and schedules
	$(BIN)/python -m pytest tests/test_devices.py tests/test_streams.py $(PYTEST_ARGS)

# ------------------------------------------------------------------------------------------ for contributors

lint: $(VENV)/.with-test-lint ## check format, lint, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)
	$(BIN)/codespell

format: $(VENV)/.with-test-lint ## put all code in the house format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

stubs: $(VENV)/.with-test-lint ## write the type stubs
	$(BIN)/python python/make_stubs.py

docs: $(VENV)/.with-docs ## build the documentation; a warning is an error
	$(BIN)/sphinx-build -W --keep-going -n -q -b html docs docs/_build/html
	@echo "Open: $(CURDIR)/docs/_build/html/index.html"

bench: $(VENV)/.with-bench ## measure this machine against other libraries
	$(BIN)/python -m benchmarks

# Instrumented kernels take minutes to compile with full optimisation and debug information of variables.
build/venv-asan/% build/venv-tsan/%: EXTRA_SETTINGS = -C "cmake.define.CMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1 -fno-var-tracking"

# The sanitizers' run-time libraries must be loaded before Python. The C++ library comes with them, because the
# interceptors look for its exception functions at start.
RUNTIME = $(shell $(CXX) -print-file-name=$(1))
# Reports are written to the process's stderr, which pytest would keep to itself.
UNDER_SANITIZER = -p no:cacheprovider --capture=sys -k "not notebook and not docs"
asan: export ASAN_OPTIONS = detect_leaks=0:abort_on_error=1
asan: export UBSAN_OPTIONS = print_stacktrace=1:halt_on_error=1
asan: ## run the test suite under AddressSanitizer and UndefinedBehaviorSanitizer
	$(MAKE) build/venv-asan/.with-test VENV=build/venv-asan BUILD=build/asan BUILD_TYPE=RelWithDebInfo \
	  CUDA=OFF SANITIZE=address,undefined
	LD_PRELOAD="$(call RUNTIME,libasan.so) $(call RUNTIME,libubsan.so) $(call RUNTIME,libstdc++.so)" \
	  build/venv-asan/bin/python -m pytest $(UNDER_SANITIZER) $(PYTEST_ARGS)

# ThreadSanitizer ends a forked child that starts threads, so the test of that is left out. Tests with Polars are
# skipped (tests/conftest.py).
tsan: export TSAN_OPTIONS = suppressions=$(CURDIR)/tests/tsan.supp:halt_on_error=1
tsan: ## run the test suite under ThreadSanitizer
	$(MAKE) build/venv-tsan/.with-test VENV=build/venv-tsan BUILD=build/tsan BUILD_TYPE=RelWithDebInfo \
	  CUDA=OFF SANITIZE=thread
	LD_PRELOAD="$(call RUNTIME,libtsan.so) $(call RUNTIME,libstdc++.so)" setarch $(shell uname -m) -R \
	  build/venv-tsan/bin/python -m pytest $(UNDER_SANITIZER) $(PYTEST_ARGS) --deselect tests/test_runtime.py::test_fork

clean: ## remove everything that was made
	rm -rf build dist $(VENV) docs/_build demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
