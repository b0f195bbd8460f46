"""An estimate rests on a real run of a part of the input."""

import json
from pathlib import Path

import pytest
from florilegium.pipelines.estimate import Prices, estimate, sample_splits
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe

from tests.commandline import florilegium_here

WORDS = "I was sure that the ladder would hold, and I was wrong about that and said so to my neighbour."


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    for part in range(8):
        lines = [json.dumps({"id": f"{part}-{line}", "text": f"{part} {line} {WORDS} {WORDS}"}) for line in range(20)]
        (tmp_path / f"posts-{part}.jsonl").write_text("\n".join(lines))
    return [
        f"inputs.posts.paths=['{tmp_path}/*.jsonl']",
        "inputs.posts.fields={text: text}",
        "weighing.domain_column=source",
    ]


def test_a_sample_is_spread_over_the_input(settings: list[str]) -> None:
    plan = plan_run(load_recipe("forum", settings))
    size = sum(split.size for split in plan.splits)
    assert [split.file for split in sample_splits(plan, size // 4).splits] == ["posts-2.jsonl", "posts-6.jsonl"]
    assert len(sample_splits(plan, 1).splits) == 1
    assert sample_splits(plan, 10 * size).splits == plan.splits


def test_figures_follow_from_what_was_measured(settings: list[str]) -> None:
    plan = plan_run(load_recipe("forum", settings))
    size = sum(split.size for split in plan.splits)
    found = estimate(plan, size // 4, Prices(vcpu_hour=2.0, thousand_reads=1.0))
    assert found["measured"]["documents"] == 40
    assert found["measured"]["cpu_seconds"] > 0
    assert found["input"]["tasks"] == {"score": 8, "merge": 0, "ranges": 1}
    per_terabyte = found["per_terabyte"]
    assert per_terabyte["vcpu_hours"] == pytest.approx(found["rates"]["cpu_seconds_per_mb"] * 1e6 / 3600)
    assert per_terabyte["costs"]["compute"] == pytest.approx(2 * per_terabyte["vcpu_hours"])
    assert per_terabyte["costs"]["reads"] == pytest.approx(per_terabyte["reads"] / 1000)
    assert per_terabyte["costs"]["writes"] == 0
    assert per_terabyte["merge_levels"] > 2  # 10^8 files of this size, which every range would have to open
    assert per_terabyte["reads"] < 2000 * per_terabyte["tasks"]["score"]


def test_wrong_prices_are_refused(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("vcpu_hour: cheap\n")
    ended = florilegium_here("estimate", "quickstart", "--prices", tmp_path / "prices.yaml")
    assert ended.returncode == 2
    assert "vcpu_hour is no price" in ended.stderr
    (tmp_path / "prices.yaml").write_text("gpu: 3\n")
    assert "by these names" in florilegium_here("estimate", "quickstart", "--prices", tmp_path / "prices.yaml").stderr
