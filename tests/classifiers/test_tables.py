import pytest
from florilegium.classifiers import load
from florilegium.schemas.document import SHARD


def test_a_table_has_the_columns_of_a_shard() -> None:
    model = load("prosocial")
    texts = ["Thank you, I was wrong about this.", "", "You are a worthless idiot."]
    table, scores = model.table(texts), model.score(texts)
    assert table.schema.names == ["quality", "harm", "prosocial"]
    for name in table.schema.names:
        assert table.schema.field(name).type == SHARD.field(name).type
    rows = table.to_pylist()
    assert rows[1] == {"quality": None, "harm": None, "prosocial": None}
    assert list(rows[0]["prosocial"].values()) == pytest.approx(scores.prosocial[0].tolist())
    assert rows[2]["harm"]["harassment"]["topical"] == pytest.approx(float(scores.topical[2, 1]))
    assert rows[2]["harm"]["manipulation"]["toxic"] == pytest.approx(float(scores.toxic[2, 6]))
