# make demo | test | clients | lint | format | tsan | clean
#
# Uses the python3 on PATH where it already has torch; else makes .venv with TORCH in it.
PYTHON ?= python3
TORCH ?= torch==2.13.0
# Where a CPU build of torch comes from, a tenth of the size; with a GPU at hand, PyPI's CUDA build.
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi),,https://download.pytorch.org/whl/cpu)
PYTEST_ARGS ?=

HAS_TORCH := $(shell $(PYTHON) -c 'from importlib.util import find_spec; print(1 if find_spec("torch") else "")')
ifeq ($(HAS_TORCH),1)
  PY := $(shell command -v $(PYTHON))
  ENVIRONMENT :=
else
  PY := $(CURDIR)/.venv/bin/python
  ENVIRONMENT := .venv/.made
endif

# A folder's own time changes when a file in it comes or goes.
SOURCES := $(shell find csrc -type d -o -name '*.cpp' -o -name '*.cu' -o -name '*.h' -o -name '*.cuh') setup.py pyproject.toml
# What was built for another torch, or with other settings, is built again.
TORCH_IS := $(shell $(PY) -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null)
SETTINGS := $(shell echo '$(PINNEDPG_CUDA)|$(PINNEDPG_WERROR)|$(PINNEDPG_SANITIZE)|$(TORCH_CUDA_ARCH_LIST)|$(CUDA_HOME)|$(CXX)' | cksum | cut -d' ' -f1)
BUILT := build/made-$(or $(TORCH_IS),new)-$(SETTINGS)
CLIENTS := $(BUILT)-clients
LINT := $(BUILT)-lint
CXX_FILES = $(shell find csrc tests -name '*.cpp' -o -name '*.cu' -o -name '*.h' -o -name '*.cuh')
# Its scripts, found without an activated environment.
TOOL = "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("scripts"))')"/

.PHONY: demo test build clients lint format tsan clean
.SILENT:

demo: $(BUILT)
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PY) -m torch.distributed.run --standalone --nproc-per-node 2 examples/ddp_digits.py
	$(PY) examples/tensor_parallel.py

test: $(BUILT)
	$(PY) -m pytest tests $(PYTEST_ARGS)

build: $(BUILT)

# The libraries of tests/libraries and docs/recipes.md, which are skipped without them.
clients: $(CLIENTS)

.venv/.made:
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q --no-deps --retries 1 '$(TORCH)' $(addprefix --extra-index-url ,$(TORCH_INDEX))
	.venv/bin/python -m pip install -q '$(TORCH)'  # what it needs, from the default index
	touch $@

$(BUILT): $(ENVIRONMENT) $(SOURCES)
	echo "building pinnedpg for $(PY): a few minutes"
	$(PY) -m pip install -q 'setuptools>=64' wheel ninja
	$(PY) -m pip install -q --no-build-isolation -e '.[test]'
	$(PY) -c 'import runpy; b = runpy.run_path("pinnedpg/_build.py"); print("built for torch", b["torch_version"], "with CUDA " + b["cuda_release"] if b["cuda_release"] else "for the CPU alone")'
	mkdir -p $(@D) && rm -f build/made-* && touch $@
	touch "build/made-$$($(PY) -c 'import importlib.metadata as m; print(m.version("torch"))')-$(SETTINGS)"

# pinnedpg is there already: these add what its extra names, and nothing else.
$(LINT): $(BUILT) pyproject.toml
	$(PY) -m pip install -q 'pinnedpg[lint]'
	touch $@

$(CLIENTS): $(BUILT) pyproject.toml
	$(PY) -m pip install -q 'pinnedpg[clients]'
	touch $@

lint: $(LINT)
	$(TOOL)ruff check .
	$(TOOL)ruff format --check .
	$(TOOL)clang-format --dry-run -Werror $(CXX_FILES)
	$(TOOL)codespell
	$(TOOL)mypy

format: $(LINT)
	$(TOOL)ruff check --fix .
	$(TOOL)ruff format .
	$(TOOL)clang-format -i $(CXX_FILES)

tsan:
	tests/cpp/run_sanitizers

clean:
	rm -rf build dist *.egg-info pinnedpg/_C*.so pinnedpg/_build.py .pytest_cache .ruff_cache .mypy_cache
	find pinnedpg tests examples -name __pycache__ -prune -exec rm -rf {} +
