# make demo    the main job on the embedded example      make test    all that CI checks
# make bench   documents/s and MB/s, stage by stage      make lock    pin the dependencies anew
# The lock leaves out the extra `semantic`, whose torch everybody picks for their own device.
EXTRAS := baseline huggingface report spacy tokenizers trafilatura
PYTHON ?= python3
BIN := .venv/bin
RUNS ?= runs
# The installed environment is remade when the lock or the packaging changes.
READY := .venv/.ready

# Every test that starts a process would otherwise compile the sources again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check bench lock clean

demo: $(READY)
	rm -rf $(RUNS)/demo
	$(BIN)/florilegium run quickstart --output $(RUNS)/demo
	$(BIN)/florilegium validate $(RUNS)/demo

test: $(READY) check
	$(BIN)/pytest --numprocesses auto

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: .venv-bench/.ready .venv-dolma/.ready
	.venv-bench/bin/python -m tests.benchmarks.score_path
	.venv-bench/bin/python -m tests.benchmarks.engines
	.venv-bench/bin/python -m tests.benchmarks.near_duplicates

lock: $(READY)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		$(EXTRAS:%=--extra %) --group dev pyproject.toml --output-file requirements.lock

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "uv>=0.9"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

.venv-bench/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet "uv>=0.9"
	.venv-bench/bin/uv pip install --quiet --python .venv-bench/bin/python --require-hashes \
		--requirement requirements.lock
	.venv-bench/bin/uv pip install --quiet --python .venv-bench/bin/python --editable . --group bench
	touch $@

# Dolma needs NumPy 1; where it has no wheel, the benchmark says so and goes on.
.venv-dolma/.ready: .venv-bench/.ready
	$(PYTHON) -m venv .venv-dolma
	-.venv-bench/bin/uv pip install --quiet --python .venv-dolma/bin/python dolma==1.2.1 'numpy<2'
	touch $@

clean:
	rm -rf .venv .venv-bench .venv-dolma $(RUNS) build dist *.egg-info
