import numpy as np
import pytest
from florilegium.pipelines.weighing.histogram import HISTOGRAM, Histogram
from florilegium.schemas.errors import RecipeError
from hypothesis import given
from hypothesis import strategies as st

ROWS = st.lists(
    st.tuples(
        st.tuples(st.integers(-1, 1000), st.integers(-1, 1000)),
        st.integers(0, 2),
        st.integers(0, 2**31 - 1),
        st.booleans(),
    ),
    max_size=30,
)


def _filled(rows, domains=("a", "b", "c")) -> Histogram:
    histogram = Histogram.empty(["y", "x"], domains)
    utilities = np.array([row[0] for row in rows], np.int16).reshape(-1, 2)
    domain, tokens = (np.array([row[i] for row in rows], np.int32) for i in (1, 2))
    histogram.add(utilities, domain, tokens, np.array([row[3] for row in rows], np.bool_))
    return histogram


def _same(one: Histogram, two: Histogram) -> bool:
    return (one.charters, one.domains) == (two.charters, two.domains) and all(
        (getattr(one, part) == getattr(two, part)).all() for part in ("accepted", "pool", "unscored")
    )


def test_counts():
    histogram = _filled(
        [((5, -1), 0, 7, False), ((5, 1000), 0, 3, False), ((0, 0), 2, 11, False), ((9, 9), 1, 4, True)]
    )
    assert histogram.charters == ("x", "y")
    found = np.argwhere(histogram.accepted).tolist()
    assert {tuple(where): int(histogram.accepted[tuple(where)]) for where in found} == {
        (0, 0, 0, 5): 2,
        (0, 0, 2, 0): 1,
        (0, 1, 0, 1000): 1,
        (0, 1, 2, 0): 1,
        (1, 0, 0, 5): 10,
        (1, 0, 2, 0): 11,
        (1, 1, 0, 1000): 3,
        (1, 1, 2, 0): 11,
    }
    assert histogram.pool.tolist() == [[2, 0, 1], [10, 0, 11]]
    assert histogram.unscored.tolist() == [1, 4]


@given(ROWS, ROWS)
def test_merging_parts_equals_counting_all(one, two):
    assert _same(Histogram.merged([_filled(one), _filled(two)]), _filled(one + two))


@given(ROWS, st.randoms())
def test_the_order_of_documents_does_not_matter(rows, random):
    shuffled = rows[:]
    random.shuffle(shuffled)
    assert _same(_filled(rows), _filled(shuffled))


@given(ROWS)
def test_survives_a_table(rows):
    histogram = _filled(rows)
    table = histogram.to_table()
    assert table.schema.equals(HISTOGRAM)
    assert _same(Histogram.from_table(table), histogram)


def test_an_empty_histogram_survives_a_table():
    for empty in (Histogram.empty(["x"], []), Histogram.empty([], ["a"])):
        assert _same(Histogram.from_table(empty.to_table()), empty)


def test_merging_unites_domains_by_name():
    one = _filled([((5, 5), 0, 7, False)], domains=("news", "forum"))
    two = _filled([((5, 5), 0, 1, False), ((5, 5), 1, 2, False)], domains=("essays", "news"))
    whole = Histogram.merged([one, two])
    assert whole.domains == ("essays", "forum", "news")
    assert whole.pool[1].tolist() == [1, 0, 9]
    assert whole.accepted[1, 0, :, 5].tolist() == [1, 0, 9]


def test_other_charters_cannot_be_merged():
    with pytest.raises(ValueError, match="same charters"):
        Histogram.merged([Histogram.empty(["x"], []), Histogram.empty(["y"], [])])


def test_too_many_domains_are_refused():
    with pytest.raises(RecipeError, match="65 domains, at most 64"):
        Histogram.empty(["x"], [f"d{i}" for i in range(65)])
