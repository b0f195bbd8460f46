"""The graph that runners get: one transform a stage, pieces as Arrow bytes, no shuffle of text."""

import itertools
import json
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.pipeline_context import PipelineContext
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from florilegium.pipelines.engines.beam_graph import PieceCoder, _Write, add_phase
from florilegium.pipelines.phases import scoring_of
from florilegium.pipelines.plan import Run, plan_run, start_run
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.scoring import Piece, read_pieces, ready_stages, score_piece
from florilegium.pipelines.stages import ORDER
from florilegium.schemas.document import RECORD


def records(*texts: str) -> pa.RecordBatch:
    rows = [
        {"source": "posts", "provenance": {"file": "a", "offset": at}, "text": text, "flags": []}
        for at, text in enumerate(texts)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=RECORD)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of one split whose scoring is planned."""
    (tmp_path / "posts.jsonl").write_text(json.dumps({"id": "a", "text": "A post about a bridge."}) + "\n")
    plan = plan_run(load_recipe("forum", [f"inputs.posts.paths=[{tmp_path}/posts.jsonl]"]))
    run = start_run(plan, str(tmp_path / "run"))
    run.plan_tasks("score", [{"split": values} for values in run.folder.read_json("splits.json")])
    return run


PIECES = [
    Piece(3, 0, records("one", "two with ümlaut", ""), seconds={"read": 0.25}),
    Piece(3, 1, records("a", "b", "c").slice(1, 2)),
    Piece(3, 2, records()),
    Piece(3, 3, counts={"skipped": {"x": {"posts": 2}}, "bytes_read": 7}),
    Piece(3, 4),
]


@pytest.mark.parametrize("piece", PIECES, ids=["batch", "slice", "empty", "end", "given up"])
def test_pieces_come_back_from_their_bytes(piece: Piece) -> None:
    coder = PieceCoder()
    encoded = coder.encode(piece)
    back = coder.decode(encoded)
    assert back == piece
    assert back.is_given_up == piece.is_given_up
    assert coder.encode(back) == encoded == coder.encode(piece)
    assert coder.is_deterministic()
    assert coder.estimate_size(piece) > 0


def test_runners_carry_pieces_by_this_coder() -> None:
    assert isinstance(beam.coders.registry.get_coder(Piece), PieceCoder)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        pieces = pipeline | beam.Create(PIECES).with_output_types(Piece) | beam.Reshuffle()
        texts = pieces | beam.FlatMap(lambda piece: piece.batch["text"].to_pylist() if piece.batch else [])
        assert_that(texts, equal_to(["one", "two with ümlaut", "", "b", "c"]))


def test_scoring_is_one_transform_for_each_stage(run: Run) -> None:
    pipeline = beam.Pipeline(runner=FnApiRunner())
    add_phase(pipeline, run.folder.url, "score", [0], run.recipe)
    proto = pipeline.to_runner_api()
    assert isinstance(proto, beam_runner_api_pb2.Pipeline)
    parts = proto.components
    steps = [part for part in parts.transforms.values() if "/Score/" in part.unique_name and not part.subtransforms]
    by_name = {step.unique_name.rpartition("/")[2]: step for step in steps}
    chain = ["Read", *ORDER, "Write"]
    assert sorted(by_name) == sorted(chain)
    coders = PipelineContext(parts).coders
    for before, after in itertools.pairwise(chain):
        (output,), (read,) = by_name[before].outputs.values(), by_name[after].inputs.values()
        assert output == read
        assert isinstance(coders.get_by_id(parts.pcollections[output].coder_id), PieceCoder)
    leaves = [part for part in parts.transforms.values() if part.spec.urn and not part.subtransforms]
    environments = {part.environment_id for part in leaves if part.environment_id}
    assert len(environments) == 1, "steps of other environments would not be fused"
    hints = parts.environments[environments.pop()].resource_hints
    assert list(hints) == ["beam:resources:min_ram_bytes:v1"]
    grouped = [part for part in parts.transforms.values() if part.spec.urn == "beam:transform:group_by_key:v1"]
    assert all("/Spread/" in part.unique_name for part in grouped)


def test_pieces_that_come_apart_store_nothing_and_say_so(run: Run) -> None:
    (payload,) = run.payloads("score")
    stages = ready_stages(run.recipe.stages.model_dump_json())
    first, last = read_pieces(scoring_of(run, 0, payload))
    for at in range(len(stages)):
        first = score_piece(stages, at, first)
    write = _Write(run.folder.url, "")
    write.setup()
    write.start_bundle()
    assert list(write.process(first)) == []
    write.finish_bundle()  # the rest came in another bundle
    assert "does not fuse" in _note(run)
    run.folder.remove("tasks/score/failed-000000.json")
    write.start_bundle()
    assert list(write.process(last)) == []
    write.finish_bundle()
    assert "does not fuse" in _note(run)
    assert run.finished("score", 1) == {}
    assert run.folder.names("scored/*") == []
    write.start_bundle()
    assert [*write.process(first), *write.process(last)] == [0]
    write.finish_bundle()
    assert run.folder.names("tasks/score/failed*") == []


def _note(run: Run) -> str:
    return run.folder.read_json("tasks/score/failed-000000.json")["error"]


def test_elements_may_be_repeated(run: Run) -> None:
    """A runner that does everything twice gives the same run as one that does not."""
    with beam.Pipeline(runner=FnApiRunner(bundle_repeat=1)) as pipeline:
        add_phase(pipeline, run.folder.url, "score", [0, 0], run.recipe)
    (marker,) = run.finished("score", 1).values()
    assert marker["read"] == {"posts": 1}
    assert [stored["name"] for stored in marker["outputs"]] == run.folder.names("scored/*")
