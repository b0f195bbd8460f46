"""A dimension that the shipped taxonomy lacks, from labels to scores, without a change of code."""

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from florilegium.classifiers import load
from florilegium.schemas.errors import ModelError
from florilegium.schemas.taxonomy import HARMS, PROSOCIAL, TAXONOMY_VARIABLE

from tests.classifiers.conftest import CARD, SENTENCE
from tests.commandline import florilegium_here

DIMENSION = """
    playfulness:
      definition: Plays with words or ideas for the joy of it, and lets others join in.
      not: Mockery; puns that sell.

harm:
"""
PLAY = [
    "let us pretend that the teapot is a ship and the cat its captain",
    "here is a riddle for you and I will not tell the answer before supper",
    "we made up a silly song about socks and everybody added a verse",
    "bet you cannot say toy boat ten times, I giggled at the third",
    "in our game the floor is lava and grandma is the mayor of the sofa",
]
PLAIN = [
    "the meeting starts at nine and the minutes are on the table",
    "please send the form back before the end of the month",
    "the road will be closed for repairs until the weekend",
    "bread is cheaper at the other shop and the milk is fresh",
    "the printer needs paper and the window does not close",
]
COMMANDS = """
import json, sys
from tests.commandline import florilegium_here
for line in json.load(sys.stdin):
    done = florilegium_here(*line)
    print(json.dumps([done.returncode, done.stdout, done.stderr]))
from florilegium.classifiers import load
from florilegium.schemas.errors import ModelError
try:
    load("prosocial")
except ModelError as error:
    print(json.dumps(str(error)))
"""


def write_labels(path: Path, rows: int, seed: int) -> None:
    """Playful and plain documents; the rest of the taxonomy was judged in every fourth alone."""
    random = np.random.default_rng(seed)
    records = []
    for index in range(rows):
        grade = int(random.integers(0, 4))
        sentences = list(random.choice(PLAY, grade)) + list(random.choice(PLAIN, 4 - grade))
        random.shuffle(sentences)
        others: list[int | None] = [None] * 20
        if index % 4 == 0:
            others = [int(random.integers(0, 3)) for _ in range(20)]
        grades = [*others[:12], grade, *others[12:]]
        text = ". ".join([*sentences, " ".join(random.choice(SENTENCE.split(), 6))])
        records.append({"id": f"{seed}-{index}", "text": text, "sampling": "random", "ship": True})
        records[-1]["annotations"] = [grades]
    pq.write_table(pa.Table.from_pylist(records), path)


@pytest.mark.long
def test_a_thirteenth_dimension(tmp_path: Path) -> None:
    """Trained and calibrated on 200 rows, evaluated on others, and a column of `score`; other models are refused."""
    shipped = files("florilegium.schemas").joinpath("taxonomy.yaml").read_text("utf-8")
    (tmp_path / "taxonomy.yaml").write_text(shipped.replace("\nharm:\n", DIMENSION, 1))
    write_labels(tmp_path / "labels.parquet", 200, seed=1)
    write_labels(tmp_path / "dev.parquet", 60, seed=2)
    config = {"name": "ours", "version": "1", "languages": ["en"], "buckets": 2000, "folds": 2, "card": CARD}
    (tmp_path / "ours.yaml").write_text(yaml.safe_dump(config))
    model, scored = str(tmp_path / "model"), str(tmp_path / "scored.parquet")
    documents = tmp_path / "documents.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "text": [". ".join(PLAY), ". ".join(PLAIN)]}), documents)
    lines = [
        ["train", str(tmp_path / "ours.yaml"), "--data", str(tmp_path / "labels.parquet"), "-o", model, "--json"],
        ["evaluate", model, str(tmp_path / "dev.parquet"), "--resamples", "20", "--json"],
        ["score", str(documents), "--language", "en", "--model", model, "--output", scored],
    ]
    (tmp_path / "posts.jsonl").write_text("\n".join(json.dumps({"text": ". ".join(PLAY)}) for _ in range(3)))
    made = [
        "run",
        "forum",
        "--output",
        str(tmp_path / "run"),
        "--workers",
        "1",
        "--set",
        f"stages.classify.model={model}",
    ]
    made += ["--set", f"inputs.posts.paths=[{tmp_path}/posts.jsonl]", "--set", "inputs.posts.fields={text: text}"]
    lines.append([*made, "--set", "weighing.domain_column=source"])
    ran = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        input=json.dumps(lines),
        env={**os.environ, TAXONOMY_VARIABLE: str(tmp_path / "taxonomy.yaml")},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    trained, evaluated, taken, run, refused = (json.loads(line) for line in ran.stdout.splitlines())
    assert trained[0] == evaluated[0] == taken[0] == run[0] == 0, (trained[2], evaluated[2], taken[2], run[2])
    for line in (["report"], ["query", "SELECT 1"], ["validate"]):
        ended = florilegium_here(line[0], tmp_path / "run", *line[1:])
        assert ended.returncode == 2
        assert ended.stderr.count("\n") == 1
        assert "scored by the dimension playfulness, which the taxonomy here lacks. Set FLORILEGIUM_TAX" in ended.stderr
    outputs = json.loads(trained[1])["natural"]["outputs"]
    assert outputs["playfulness>=2"]["roc_auc"] > 0.9
    assert outputs["playfulness>=2"]["positives"] == sum(
        row[0][12] >= 2 for row in pq.read_table(tmp_path / "labels.parquet")["annotations"].to_pylist()
    )
    assert "playfulness ≥ 2" in (tmp_path / "model" / "README.md").read_text()
    dev = json.loads(evaluated[1])["sets"][0]
    assert dev["outputs"]["playfulness>=2"]["roc_auc"]["value"] > 0.9
    assert dev["outputs"]["compassion>=2"]["rows"] == 15
    assert dev["calibration"]["playfulness>=2"]["brier_skill"]["value"] > 0.2
    table = pq.read_table(scored)
    prosocial, harm = table.schema.field("prosocial").type, table.schema.field("harm").type
    assert [prosocial.field(place).name for place in range(13)] == [*PROSOCIAL, "playfulness"]
    assert harm.num_fields == len(HARMS)
    playful, plain = (row["playfulness"] for row in table["prosocial"].to_pylist())
    assert playful > 0.7 > 0.3 > plain
    assert "playfulness>=2" in refused
    assert TAXONOMY_VARIABLE in refused
    with pytest.raises(ModelError, match=r"playfulness>=2.*train the model again"):
        load(model)
