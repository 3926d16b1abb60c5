# Every target sets up what it needs.
VENV   ?= .venv
PYTHON ?= python3
ARGS   ?=
BIN     = $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help train test proofs soak slurm check bench gpu

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1	\2/' | expand -t 18

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "installing what training needs into $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/tested: $(VENV)/installed
	@echo "installing what the tests need into $(VENV)"
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

train: $(VENV)/installed  ## train the default recipe; ARGS="optim.lr=1e-3" changes it
	$(BIN)/python -m gptx.train $(ARGS)

test: $(VENV)/tested  ## the quick tests, under five minutes on two cores
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not soak and not slurm" $(ARGS)

proofs: $(VENV)/tested  ## the slow tests: real runs, killed runs, installations
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "slow and not alone" $(ARGS)
	$(BIN)/python -m pytest -m "slow and alone" $(ARGS) || [ $$? -eq 5 ]  # 5: ARGS names none of them

soak: $(VENV)/tested  ## a run that is killed thirty times, on one process and on two; GPTX_SOAK_SEED=... repeats a plan
	$(BIN)/python -m pytest -s -m soak $(ARGS)

slurm: $(VENV)/tested  ## sweeps on the SLURM that is there; skipped, with the reason, where none is
	$(BIN)/python -m pytest -rs -m slurm $(ARGS)

check: $(VENV)/tested  ## format, lint, types and the quick tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

bench: $(VENV)/tested  ## tokens/s and memory against a plain loop and the machine's ceiling
	$(BIN)/python -m gptx bench $(ARGS)

gpu: $(VENV)/tested  ## what needs a GPU: the checks of tests/job/test_device.py, then speed and MFU of GPT-2 124M
	$(BIN)/python -m pytest -m slow tests/job/test_device.py
	$(BIN)/python -m gptx.train --multirun experiment=gpu_speed $(ARGS)
	$(BIN)/python -m gptx report runs/gpu_speed
