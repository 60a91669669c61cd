# One environment, made from setup.cfg: each target has the extra that it needs
# installed, as the stamp .venv/.examples has `.[examples]`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
BENCH ?= .venv-bench
DEMO = demo-output
# Where `test-slow` looks; everywhere if empty.
SLOW ?=
WHEEL = .venv-wheel
MATRIX = .venv-oldest .venv-middle .venv-newest .venv-python3.13
# TensorFlow's start-up notices say nothing of this project.
export TF_CPP_MIN_LOG_LEVEL ?= 2
# What the tests run on.
BACKEND ?= tensorflow
ifeq ($(filter $(BACKEND),tensorflow jax torch),)
$(error BACKEND must be tensorflow, jax or torch. Received: BACKEND=$(BACKEND))
endif
PYTEST = -m pytest --numprocesses 2 --dist worksteal
# XLA's programs are kept from one run to the next, by one version of TensorFlow
# alone; the tests that look at a compilation (`uncached`) are run without.
CACHED = TF_XLA_FLAGS="--tf_xla_persistent_cache_directory=$(abspath $(VENV))/xla"

.PHONY: demo demo-estimators docs test test-tensorflow test-jax test-torch test-slow nightly soak test-matrix dist \
  lint types check bench bench-gpu-check clean

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.%: setup.cfg pyproject.toml keras_gumbel/_version.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

demo: $(VENV)/.examples  ## an example and a study, small enough for two cores
	$(BIN)/python examples/differentiable_argmax.py
	$(BIN)/python studies/categorical_vae.py --output $(DEMO)

demo-estimators: $(VENV)/.examples  ## every estimator, tried: ten minutes
	$(BIN)/python studies/gradient_report.py --output $(DEMO)
	$(BIN)/python studies/choose_an_estimator.py --output $(DEMO)

docs: $(VENV)/.test  ## the site, into site/; any warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

test: test-$(BACKEND)  ## the whole suite, less what is marked slow

UNCACHED = $(shell grep -rl --include='test_*.py' uncached tests)
test-tensorflow: $(VENV)/.test
	$(CACHED) $(BIN)/python $(PYTEST) -m 'not slow and not gpu and not uncached'
	$(BIN)/python $(PYTEST) -m 'uncached and not slow and not gpu' $(UNCACHED)

# Where TensorFlow is not installed. JAX keeps its programs too.
ON_JAX = KERAS_BACKEND=jax JAX_ENABLE_X64=1 \
  JAX_COMPILATION_CACHE_DIR="$(abspath .venv-jax)/xla" \
  JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
  JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1 .venv-jax/bin/python
# What is made of operations of Keras alone is left to the night.
OF_KERAS = tests/diagnostics tests/metrics $(addprefix tests/test_, losses.py \
  bernoulli_kl.py) $(addprefix tests/estimators/test_, score_function.py \
  without_replacement.py)
test-jax: .venv-jax/.installed
	$(ON_JAX) $(PYTEST) -m 'not slow and not gpu' $(OF_KERAS:%=--ignore=%)

# Where neither TensorFlow nor JAX is installed.
ON_TORCH = KERAS_BACKEND=torch .venv-torch/bin/python
test-torch: .venv-torch/.installed
	$(ON_TORCH) $(PYTEST) -m 'not slow and not gpu'

.venv-jax/.installed .venv-torch/.installed: .venv-%/.installed: \
  tests/matrix/%.txt setup.cfg
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --upgrade pip
	.venv-$*/bin/python -m pip install --quiet --requirement $<
	.venv-$*/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

test-slow: $(VENV)/.test  ## what is too long for `make test`
	$(CACHED) $(BIN)/python $(PYTEST) -m 'slow and not nightly and not gpu and not uncached' $(SLOW)

# A folder at a time: TensorFlow frees no program before its process ends.
# `make -k nightly` goes on after a failure.
NIGHTLY = $(sort $(patsubst tests/%/,nightly-%,$(dir $(shell grep -l slow tests/*/test_*.py))))
nightly: $(NIGHTLY) nightly-files nightly-uncached  ## all slow tests, also those that CI leaves out

nightly-%: $(VENV)/.test
	$(CACHED) $(BIN)/python $(PYTEST) -m 'slow and not gpu and not uncached' tests/$*

nightly-jax: .venv-jax/.installed $(NIGHTLY:nightly-%=nightly-jax-%) \
  nightly-jax-files
	$(ON_JAX) $(PYTEST) -m 'not slow and not gpu' $(OF_KERAS)

# As on TensorFlow; of some folders nothing is collected, which pytest calls 5.
nightly-jax-%: .venv-jax/.installed
	$(ON_JAX) $(PYTEST) -m 'slow and not gpu' tests/$* || [ $$? = 5 ]

nightly-jax-files: .venv-jax/.installed
	$(ON_JAX) $(PYTEST) -m 'slow and not gpu' tests/test_*.py

nightly-torch: .venv-torch/.installed
	$(ON_TORCH) $(PYTEST) -m 'slow and not gpu'

nightly-files: $(VENV)/.test
	$(CACHED) $(BIN)/python $(PYTEST) -m 'slow and not gpu and not uncached' tests/test_*.py

nightly-uncached: $(VENV)/.test
	$(BIN)/python $(PYTEST) -m 'slow and uncached and not gpu' $(UNCACHED)

soak: $(VENV)/.test  ## 1e11 draws and 1e9 hard samples, each looked at
	$(BIN)/python -m tests.soak --output benchmarks/results/soak.md

# An environment for each set of versions, made with the Python that it names.
$(MATRIX:%=%/.installed): .venv-%/.installed: tests/matrix/%.txt setup.cfg
	$$(sed -n 's/^# Python: //p' $<) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --upgrade pip
	.venv-$*/bin/python -m pip install --quiet --requirement $<
	touch $@

test-matrix: $(MATRIX:%=%/.installed)  ## `test` with each; a table in docs/install.md
	.venv-newest/bin/python -m tests.matrix.run

# `build` makes the wheel from the sdist. It is then tried where nothing but
# what it asks for is installed, from a folder without its source.
dist: $(VENV)/.dev  ## sdist and wheel, into dist/, each looked at and tried
	rm -rf dist build $(WHEEL)
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tests/dist/contents.py dist
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python -m pip install --quiet dist/*.whl
	cd dist && ../$(WHEEL)/bin/python -I ../tests/dist/smoke.py
	cd dist && ../$(BIN)/python -m mypy --strict --config-file= \
	  --python-executable ../$(WHEEL)/bin/python \
	  -c "$$(cat ../tests/dist/typed.py)"
	@echo 'make dist: the wheel and the sdist are good'

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

check: test lint types

# The peers, in an environment of their own: torch 2.13.0 is its CPU build.
$(BENCH)/.installed: setup.cfg
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --upgrade pip
	$(BENCH)/bin/python -m pip install --quiet torch==2.13.0 jax==0.10.2
	$(BENCH)/bin/python -m pip install --quiet --editable '.[probability,plot]'
	touch $@

bench: $(BENCH)/.installed  ## ours beside its peers; close everything else
	set -e; for name in compare scaling memory fit embedding estimators family processes \
	  assignment; do \
	  $(BENCH)/bin/python benchmarks/$$name.py --output benchmarks/results; \
	done

# The GPU's benchmark, tried on the processor: the numbers must agree.
bench-gpu-check: $(BENCH)/.installed
	$(BENCH)/bin/python benchmarks/gpu/export.py --smoke --output $(DEMO)/programs
	$(BENCH)/bin/python benchmarks/gpu/run.py $(DEMO)/programs --no-compile

clean:
	rm -rf $(VENV) .venv-jax .venv-torch $(BENCH) $(MATRIX) $(WHEEL) $(DEMO) site build dist *.egg-info
