# make demo    the main job on the embedded example      make test    all that CI checks
# make bench   documents/s and MB/s, stage by stage      make lock    pin the dependencies anew
# make test-long      what takes longer: whole runs, killed and started again; studies
# make test-engines   ray, slurm, dataflow and object stores on the real thing here; as root it installs Debian's Slurm
PYTHON ?= python3
BIN := .venv/bin
RUNS ?= runs
# The installed environment is remade when the lock or the packaging changes.
READY := .venv/.ready
# A process a core, since each imports everything, and the type checker fills what they leave. A file's tests stay
# together, so that its runs, its libraries and its models are made and loaded once.
PYTEST := $(BIN)/pytest --dist loadfile --numprocesses $(shell getconf _NPROCESSORS_ONLN)

# Every test that starts a process would otherwise compile the sources again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test pytest test-long test-engines check bench lock clean

demo: $(READY)
	rm -rf $(RUNS)/demo
	$(BIN)/florilegium run quickstart --output $(RUNS)/demo
	$(BIN)/florilegium validate $(RUNS)/demo

test: $(READY)
	+@$(MAKE) --no-print-directory --jobs=2 check pytest

pytest: $(READY)
	$(PYTEST)

# The other half of the time, for few tests; CI runs it too.
test-long: $(READY)
	$(PYTEST) -m long

test-engines: .venv-engines/.ready
	-which slurmctld slurmd sbatch munged > /dev/null || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq slurmctld slurmd slurm-client munge; }
	.venv-engines/bin/pytest -m engines -rs --numprocesses 2 --dist loadfile

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: .venv-bench/.ready .venv-dolma/.ready
	.venv-bench/bin/python -m tests.benchmarks.score_path
	.venv-bench/bin/python -m tests.benchmarks.engines
	.venv-bench/bin/python -m tests.benchmarks.near_duplicates
	.venv-bench/bin/python -m tests.benchmarks.extraction

# The lock of every machine leaves out torch, which everybody picks for their own device, and what only clusters and
# clouds need; the worker image's has that, and agrees else.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
LOCAL := baseline huggingface report spacy tokenizers trafilatura

lock: $(READY)
	$(COMPILE) $(addprefix --extra ,$(LOCAL)) --group dev pyproject.toml --output-file requirements.lock
	$(COMPILE) --extra gcp --extra s3 --constraint requirements.lock pyproject.toml --output-file docker/requirements.lock

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "uv>=0.9"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	$(BIN)/python -m florilegium.pipelines.kernels
	touch $@

.venv-engines/.ready: requirements.lock docker/requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv-engines
	.venv-engines/bin/python -m pip install --quiet "uv>=0.9"
	.venv-engines/bin/uv pip install --quiet --python .venv-engines/bin/python --require-hashes \
		--requirement requirements.lock --requirement docker/requirements.lock
	.venv-engines/bin/uv pip install --quiet --python .venv-engines/bin/python --editable '.[ray]' --group stores
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
	rm -rf .venv .venv-engines .venv-bench .venv-dolma $(RUNS) build dist *.egg-info
