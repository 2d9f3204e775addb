# Variables reach the recipes through the environment, never as text: a path may hold spaces, quotes and signs.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
# Address of another index of torch wheels (a CPU or CUDA build), if the default one does not suit.
TORCH_INDEX ?=
VARIABLES := CONFIG TIER LIMIT_SMALL FACTS DOCUMENTS SPLIT PHRASINGS COLUMNS NAME MAX_FACTS SET FORCE INDEX ROTATE_TO KEY_BY SHARDS ENCODER OUT ONLY ENGINE PYTHON TORCH_INDEX
export $(VARIABLES)
# Terminals keep their width and WSL its machine under these names: they count on the command line alone.
$(foreach name,COLUMNS NAME,$(if $(filter environment,$(origin $(name))),$(eval override $(name) :=)))
# Make would expand a `$` in them once more.
$(foreach name,$(VARIABLES),$(eval override $(name) := $$(value $(name))))
export PYTHONSAFEPATH := 1
# A mistyped variable would run something else without a word.
UNKNOWN := $(filter-out $(VARIABLES) SHELL,$(foreach name,$(.VARIABLES),$(if $(findstring command,$(origin $(name))),$(name))))
$(if $(UNKNOWN),$(error no target takes $(UNKNOWN); the variables are $(VARIABLES)))
export TOKENIZERS_PARALLELISM := false
# Modules are compiled where they are imported first: compiling all of torch's takes as long as installing it.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
RETROMEM := $(BIN)/python -m retromem
# faiss-cpu and faiss-gpu overwrite each other: what was chosen once stays until .venv is removed.
FAISS = $(if $(wildcard .venv/.gpu),gpu,cpu)
INSTALL := $(PIP) install --no-compile $${TORCH_INDEX:+--extra-index-url "$$TORCH_INDEX"} -c constraints.txt

.PHONY: help
help: ## this text
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  report, experiment: CONFIG=configs/x.yaml  FACTS=my.csv [PHRASINGS=my.yaml] [COLUMNS=subject=name or 1,2,3]"
	@echo "                      [NAME=mine] [MAX_FACTS=4000]  SET=\"a.b=c d.e=f\"  FORCE=1  ENGINE=ray, dask or slurm"
	@echo "  index:              FACTS=my.jsonl OUT=folder [INDEX=Flat] [ROTATE_TO=64] [KEY_BY=statement] [SHARDS=4] [ENCODER=folder] [PHRASINGS=my.yaml]"
	@echo "                      DOCUMENTS=folder OUT=folder [SPLIT=\"128 tokens, 32 shared\"] [INDEX=RaBitQ]"
	@echo "  FACTS:              .csv .tsv .txt .json .jsonl .parquet, packed (.gz .bz2 .xz .zst) or not, a folder of one kind, hf:org/name[:config][@split]"
	@echo "  COLUMNS:            ours=theirs,...  places without a header: 1,2,3  one relation for all rows: relation='\"capital of\"'"
	@echo "  DOCUMENTS:          .txt .text .md .markdown"
	@echo "  set-up:             PYTHON=python3.11  TORCH_INDEX=address of another index of torch wheels"

$(BIN)/python:
	@"$$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "retromem needs Python 3.11 or later; name one with PYTHON=..." >&2; exit 2; }
	@echo "making .venv and installing retromem: 1 to 3 minutes"
	"$$PYTHON" -m venv .venv

.venv/.cpu: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[$(FAISS)]"
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[$(FAISS),dev]"
	@touch .venv/.cpu $@

# An engine may need a package of its own; a wrong name is for the command to say. No such file is made: asked each time.
.venv/.engine: .venv/.cpu
	@case "$$ENGINE" in ray|dask|slurm) \
		test -f ".venv/.engine-$$ENGINE" || { $(INSTALL) -e ".[$(FAISS),$$ENGINE]" && touch ".venv/.engine-$$ENGINE"; } ;; esac

.PHONY: setup
setup: .venv/.engine ## make .venv and install what running needs

.PHONY: setup-gpu
setup-gpu: | $(BIN)/python ## the same with FAISS for CUDA 12 (Linux x86_64)
	-$(PIP) uninstall --yes faiss-cpu
	$(INSTALL) -e ".[gpu]"
	@touch .venv/.gpu .venv/.cpu

.PHONY: report
report: .venv/.engine ## compare weights and index, write reports/<name>/index.html
	@$(RETROMEM) compare $${CONFIG:+"$$CONFIG"} $${FACTS:+--facts "$$FACTS"} $${PHRASINGS:+--phrasings "$$PHRASINGS"} \
		$${COLUMNS:+--columns "$$COLUMNS"} $${NAME:+--name "$$NAME"} $${MAX_FACTS:+--max-facts "$$MAX_FACTS"} \
		$${SET:+--set "$$SET"} $${FORCE:+--force} $${ENGINE:+--engine "$$ENGINE"}

.PHONY: experiment
experiment: report ## the same, by the name of what it runs: CONFIG=... SET="a.b=c d.e=f"

.PHONY: reproduce
reproduce: .venv/.engine ## published numbers measured again beside ours, reports/reproduce/: TIER=full for the long ones, ONLY=Nichani, LIMIT_SMALL=folder
	@$(RETROMEM) reproduce $${TIER:+--tier "$$TIER"} $${ONLY:+--only "$$ONLY"} $${LIMIT_SMALL:+--limit-small "$$LIMIT_SMALL"} $${FORCE:+--force} $${ENGINE:+--engine "$$ENGINE"}

.PHONY: index
index: .venv/.cpu ## build a store from FACTS or DOCUMENTS into OUT and print its ledger
	@$(RETROMEM) index build "$$OUT" $${FACTS:+--facts "$$FACTS"} $${DOCUMENTS:+--documents "$$DOCUMENTS"} $${SPLIT:+--split "$$SPLIT"} $${PHRASINGS:+--phrasings "$$PHRASINGS"} \
		$${COLUMNS:+--columns "$$COLUMNS"} $${INDEX:+--index "$$INDEX"} $${ROTATE_TO:+--rotate-to "$$ROTATE_TO"} \
		$${KEY_BY:+--key-by "$$KEY_BY"} $${SHARDS:+--shards "$$SHARDS"} \
		$${ENCODER:+--encoder "$$ENCODER"}

.PHONY: bench
bench: .venv/.cpu ## our code beside bare FAISS, torch and the processor, timed in turns: ONLY=index, encoder, engines, training, decoder, search, curves or million; TIER=full
	@$(RETROMEM) bench $${ONLY:+--only "$$ONLY"} $${TIER:+--tier "$$TIER"}

.PHONY: doctor
doctor: .venv/.cpu ## print versions, threads, devices, encoder
	@$(RETROMEM) doctor

.PHONY: format
format: .venv/.dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lint
lint: .venv/.dev ## check format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

.PHONY: types
types: .venv/.dev ## check types
	$(BIN)/mypy

.PHONY: test
test: .venv/.dev ## the suite that is not slow
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not slow and not gpu"

.PHONY: test-slow
test-slow: .venv/.dev ## the long forms
	$(BIN)/python -m pytest -q -n auto -m "slow and not gpu"

.PHONY: test-gpu
test-gpu: ## tests that need a CUDA device, in the Python given
	"$$PYTHON" -m pytest -q -m gpu

.PHONY: check
check: lint types test test-slow ## all that CI runs

.PHONY: clean
clean: ## remove runs, reports and caches; .venv stays
	rm -rf runs reports .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist ./*.egg-info
