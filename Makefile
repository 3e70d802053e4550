# Everything happens in .venv; `make demo` and `make test` work on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
# What accelerate would otherwise fill in by itself, and say so.
LAUNCH := $(BIN)/accelerate launch --quiet --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no
# glibc gives freed pages back between training steps and faults them in again; keeping them saves up to a third.
export MALLOC_MMAP_THRESHOLD_ = 1073741824
export MALLOC_TRIM_THRESHOLD_ = 1073741824

.PHONY: demo space serve test test-slow test-min quality style bench bench-quick clean

.venv/.installed: pyproject.toml constraints.txt
	@echo "Making .venv and installing the project into it, PyTorch and transformers included: a minute or more."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --constraint constraints.txt --editable ".[dev,demo,graph,lora,ner,ray,serve]"
	@touch $@

demo: .venv/.installed
	@echo "Drawing the demo set, training on it, and scoring the model: a few minutes on a CPU."
	rm -rf outputs/demo
	$(LAUNCH) train.py

# ROC_MODEL names another model: on the Hub, or a folder.
ROC_MODEL ?= outputs/demo
space serve: .venv/.installed $(if $(filter outputs/demo,$(ROC_MODEL)),outputs/demo/model.safetensors)
space:
	ROC_MODEL=$(ROC_MODEL) $(BIN)/python space/app.py

serve:
	$(BIN)/python -m training_roc.serve --model $(ROC_MODEL)

outputs/demo/model.safetensors: | .venv/.installed
	@echo "There is no demo model yet: training it takes a few minutes on a CPU."
	$(LAUNCH) train.py

# A thread for each of the two workers: four on two cores would wait for one another.
test: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile

test-slow: .venv/.installed
	$(BIN)/pytest -m slow

# The quick tests with the lowest versions that pyproject.toml allows, in a .venv-min of their own. TESTS names some.
.venv-min/.installed: pyproject.toml constraints.txt tests/lowest_versions.py
	@echo "Making .venv-min and installing the lowest versions into it: a minute or more."
	$(PYTHON) -m venv --clear .venv-min
	$(PYTHON) tests/lowest_versions.py > .venv-min/lowest.txt
	.venv-min/bin/pip install --constraint .venv-min/lowest.txt --editable ".[dev,demo,graph,lora,ner,ray,serve]"
	@touch $@

TESTS ?= tests
test-min: .venv-min/.installed
	OMP_NUM_THREADS=1 .venv-min/bin/pytest --numprocesses 2 --dist loadfile $(TESTS)

quality: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

style: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Base size: half an hour on 2 free cores. bench-quick: small encoders, two minutes.
bench: .venv/.installed
	$(BIN)/python tests/bench.py --output outputs/bench.json

bench-quick: .venv/.installed
	$(BIN)/python tests/bench.py --quick --output outputs/bench.json

clean:
	rm -rf .venv .venv-min outputs
