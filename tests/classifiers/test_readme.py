"""What README.md shows somebody who lost Perspective API runs, and maps all seven names."""

import re
from pathlib import Path

import pyarrow as pa
from florilegium.schemas.taxonomy import PROSOCIAL

README = (Path(__file__).resolve().parents[2] / "classifiers" / "README.md").read_text("utf-8")


def test_the_seven_bridging_attributes_are_mapped() -> None:
    mapped = dict(re.findall(r"`([A-Z_]+)_EXPERIMENTAL` \| `([a-z_]+)`", README))
    assert len(mapped) == 7
    assert {name.lower(): name.lower() for name in mapped} == {name: name for name in mapped.values()}
    assert set(mapped.values()) <= set(PROSOCIAL)


def test_the_code_for_switching_runs() -> None:
    section = README.partition("## If you lost Perspective")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    table = names["table"]
    assert isinstance(table, pa.Table)
    assert table.num_rows == 2
