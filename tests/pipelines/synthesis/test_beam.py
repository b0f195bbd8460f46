"""The transform on Beam writes what the runner writes, each cell once, never above the limit."""

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from florilegium.classifiers import chat as chat_module
from florilegium.pipelines.synthesis.beam import WriteCells
from florilegium.pipelines.synthesis.grid import plan_cells
from florilegium.schemas.recipe import Synthesis

from .server import KEY, Server, serve


def test_every_cell_comes_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv("FLORILEGIUM_API_KEY", KEY)
    with serve(Server(lambda number: "429" if number % 4 == 1 else "", latency=0.02)) as server:
        backend = {"name": "tiny", "endpoint": server.address, "model": "tiny-1", "concurrency": 3, "attempts": 12}
        options = Synthesis.model_validate({"documents": 20, "backends": [backend]})
        cells = plan_cells(options, 7)

        def once(written: list) -> None:
            assert sorted(result.index for result in written) == list(range(20))
            assert {result.status for result in written} <= {"accepted", "refused"}
            assert all(result.text for result in written)

        with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as pipeline:
            written = pipeline | beam.Create(cells) | WriteCells(options, options.backends[0])
            assert_that(written, once)
    assert 1 < max(count for _, count in server.busy) <= 3
