# Everything happens in .venv; `make demo` and `make test` work on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
# glibc gives freed pages back between training steps and faults them in again; keeping them saves up to a third.
export MALLOC_MMAP_THRESHOLD_ = 1073741824
export MALLOC_TRIM_THRESHOLD_ = 1073741824

.PHONY: demo space test test-slow quality style bench clean

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,demo,lora,ner]"
	touch $@

demo: .venv/.installed
	rm -rf outputs/demo
	$(BIN)/accelerate launch --num_processes 1 train.py

# ROC_MODEL names another model: on the Hub, or a folder.
ROC_MODEL ?= outputs/demo
space: .venv/.installed $(if $(filter outputs/demo,$(ROC_MODEL)),outputs/demo/model.safetensors)
	ROC_MODEL=$(ROC_MODEL) $(BIN)/python space/app.py

outputs/demo/model.safetensors: | .venv/.installed
	$(BIN)/accelerate launch --num_processes 1 train.py

# A thread for each of the two workers: four on two cores would wait for one another.
test: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile

test-slow: .venv/.installed
	$(BIN)/pytest -m slow

quality: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

style: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.installed
	$(BIN)/python tests/bench.py

clean:
	rm -rf .venv outputs
