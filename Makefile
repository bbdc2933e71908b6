PYTHON ?= python3
PYTEST_ARGS ?= -n 2

VENV := .venv
BIN := $(VENV)/bin
OLDEST_TFLM := $(VENV)/oldest-tflite-micro
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# What `make check` runs: cells, arithmetic, scales, rewriting, and a little of the rest.
CHECKED := $(addprefix tests/, \
	export/firmware/test_ends.py export/firmware/test_names.py \
	export/foreign/test_arrays.py export/lowering/test_end_types.py \
	export/lowering/test_integers.py export/tflite/test_schema.py export/tflite/test_write.py \
	graph/test_fixed_point.py graph/test_ranges.py graph/test_rewrite.py graph/test_trace.py \
	quantization/test_int8_scales.py quantization/test_int16_scales.py \
	quantization/test_limits.py quantization/test_units.py recipe/test_training_state.py \
	test_activations.py test_arguments.py test_cells.py test_edgeml_errors.py \
	test_models.py test_steps.py test_storage.py)

C_FILES := $(wildcard export/plain_c/*.[ch] export/plain_c/targets/*.h examples/firmware/*.[ch])

export KERAS_FASTGRNN_OLDEST_TFLM := $(CURDIR)/$(OLDEST_TFLM)

.PHONY: help demo firmware test check coverage lint clean
.DELETE_ON_ERROR:

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile

demo: $(VENV)/demo.stamp ## Train, convert and run a small model; writes build/demo/
	$(BIN)/python examples/digits.py

firmware: $(VENV)/demo.stamp ## Test a small model in C on four devices, in emulators
	$(BIN)/python -m examples.firmware.demo

# Both Keras flavors run even where the first one fails.
test: $(VENV)/dev.stamp $(OLDEST_TFLM).stamp ## Check the style, run all tests in Keras 3, then in tf_keras those that depend on it
	@failed=; \
	$(MAKE) --no-print-directory lint || failed="$$failed lint"; \
	echo "== Keras 3"; \
	(unset TF_USE_LEGACY_KERAS; $(BIN)/python -m pytest tests $(PYTEST_ARGS)) \
		|| failed="$$failed keras3"; \
	echo "== tf_keras"; \
	TF_USE_LEGACY_KERAS=1 $(BIN)/python -m pytest tests $(PYTEST_ARGS) \
		|| failed="$$failed tf_keras"; \
	if [ -n "$$failed" ]; then echo "make test failed:$$failed" >&2; exit 1; fi

check: $(VENV)/dev.stamp $(OLDEST_TFLM).stamp ## Check the style, run a third of the tests in Keras 3, in two minutes
	@$(MAKE) --no-print-directory lint
	unset TF_USE_LEGACY_KERAS; $(BIN)/python -m pytest $(CHECKED) $(PYTEST_ARGS)

coverage: $(VENV)/dev.stamp $(OLDEST_TFLM).stamp ## Run the tests in Keras 3 and count the branches they take
	unset TF_USE_LEGACY_KERAS; $(BIN)/python -m pytest tests $(PYTEST_ARGS) --cov

lint: $(VENV)/dev.stamp ## Check the style and the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pyright
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)

clean: ## Remove what was built, except .venv
	rm -rf build dist *.egg-info .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path "./$(VENV)/*" -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null || { \
		echo "$(PYTHON) is not Python 3.10 to 3.13; name one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make a venv; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: pyproject.toml setup.py | $(BIN)/python
	$(PIP) install -e '.[tflm,examples]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml setup.py | $(BIN)/python
	$(PIP) install -e '.[tflm,dev]'
	@touch $@

# Empty where no wheel exists for this machine: pip reads that from the requirement's marker.
$(OLDEST_TFLM).stamp: pyproject.toml | $(BIN)/python
	@rm -rf $(OLDEST_TFLM)
	@mkdir -p $(OLDEST_TFLM)
	sed -n "s/^tflm = \['\(.*\)>=\(.*\)'\]/\1==\2/p" pyproject.toml > $(OLDEST_TFLM).txt
	$(PIP) install --no-deps --target $(OLDEST_TFLM) -r $(OLDEST_TFLM).txt
	@touch $@
