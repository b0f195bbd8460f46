import random
from pathlib import Path

import pytest
import yaml
from florilegium.pipelines.weighing.ballots import build_charter, charter_yaml, opinion_groups, read_ballots
from florilegium.pipelines.weighing.charters import load_charter
from florilegium.schemas.errors import RecipeError

COLUMNS = "participant,domain.forum,domain.essays,dimension.compassion,dimension.reasoning,harm.hate.toxic"


def _file(folder: Path, *rows: str, columns: str = COLUMNS) -> Path:
    path = folder / "ballots.csv"
    path.write_text("\n".join([columns, *rows]) + "\n", "utf-8")
    return path


def _build(path: Path):
    people, remarks = read_ballots(path)
    return build_charter(people, "ours", remarks)


def test_points_by_markets_and_the_rest_by_medians(tmp_path):
    charter = _build(_file(tmp_path, "a,100,0,10,0,2", "b,100,0,8,2,3", "c,0,100,0,9,5"))
    assert charter.shares == pytest.approx({"forum": 2 / 3, "essays": 1 / 3}, abs=1e-6)  # single-minded: in proportion
    assert {name: value.weight for name, value in charter.values.items()} == {"compassion": 8, "reasoning": 2}
    assert charter.tolerance.harm["hate"].toxic == 0.3
    assert charter.ballots is not None
    assert charter.ballots.participants == 3
    spread = charter.ballots.spread["dimension.compassion"]
    assert (spread.answers, spread.low, spread.median, spread.high) == (3, 0, 8, 10)
    assert charter.ballots.remarks == []


def test_even_numbers_take_the_lower_median(tmp_path):
    """An answer that somebody gave, so that nobody can pull the middle of two; for harm, the stricter one."""
    charter = _build(_file(tmp_path, "a,,,2,0,2", "b,,,6,0,8"))
    assert charter.values["compassion"].weight == 2
    assert charter.tolerance.harm["hate"].toxic == 0.2
    assert charter.shares == "natural"


def test_neither_the_order_of_rows_nor_the_names_matter(tmp_path):
    rows = [
        f"{name},{p},{100 - p},{c},{r},{h}"
        for name, p, c, r, h in zip(
            "abcdefgh", [5, 10, 90, 95, 40, 60, 20, 80], [1, 9, 3, 7, 5, 8, 2, 6], range(8), range(1, 9), strict=True
        )
    ]
    expected = _build(_file(tmp_path, *rows))
    random.Random(2).shuffle(rows)
    renamed = [f"x{number}{row[1:]}" for number, row in enumerate(rows)]
    assert _build(_file(tmp_path, *renamed)) == expected


FAULTS = [
    ("b,-20,120,5,5,5", "row 3: domain.forum: negative points (-20); the points are set aside"),
    ("b,20,50,5,5,5", "row 3: the points sum to 70, not 100; taken in proportion"),
    ("b,0,0,5,5,5", "row 3: all points are 0; abstains from the domains"),
    ("b,many,0,5,5,5", "row 3: domain.forum: 'many' is no number; the points are set aside"),
    ("b,50,50,11,5,5", "row 3: dimension.compassion: 11 is not from 0 to 10; this answer is set aside"),
    ("b,50,50,5,x,5", "row 3: dimension.reasoning: 'x' is no number; this answer is set aside"),
    ("b,50,50,5,nan,5", "row 3: dimension.reasoning: 'nan' is no number; this answer is set aside"),
    ("b,,,,,", "row 3: no answer that counts; abstains from everything"),
    (",50,50,5,5,5", "row 3: no participant is named; set aside"),
]


@pytest.mark.parametrize(("row", "remark"), FAULTS)
def test_a_faulty_ballot_is_named_and_spoils_no_other(tmp_path, row, remark):
    charter = _build(_file(tmp_path, "a,70,30,6,4,3", row, "c,70,30,6,4,3"))
    assert charter.ballots is not None
    assert charter.ballots.remarks == [remark]
    assert isinstance(charter.shares, dict)
    if "proportion" not in remark and "x'" not in remark and "nan" not in remark and "11" not in remark:
        assert charter.shares == {"essays": 0.3, "forum": 0.7}


def test_one_participant_a_thousand_times_is_one_participant(tmp_path):
    rows = ["a,100,0,10,0,2", "b,0,100,0,10,2", *["c,0,100,1,9,9"] * 999, "c,0,100,0,9,1"]
    charter = _build(_file(tmp_path, *rows))
    assert charter.ballots is not None
    assert charter.ballots.participants == 3
    assert charter.ballots.remarks == ["row 1003: one participant sent 1000 rows; the last one counts, once"]
    assert charter == _build(_file(tmp_path, rows[0], rows[1], rows[-1])).model_copy(
        update={"ballots": charter.ballots}
    )


@pytest.mark.parametrize(
    ("columns", "rows", "sentence"),
    [
        (COLUMNS, [], "no ballot holds an answer"),
        (COLUMNS, ["a,,,,,", "b,-1,2,,,"], "no ballot holds an answer that counts. row 2"),
        ("name,dimension.growth", ["a,1"], "no column `participant`"),
        ("participant", ["a"], "no column of answers"),
        ("participant,dimension.grwth", ["a,1"], "did you mean 'dimension.growth'"),
        ("participant,harm.hate", ["a,1"], "unknown column 'harm.hate'"),
        ("participant,shares", ["a,1"], "write domain.NAME"),
        ("participant,domain.a,domain.a", ["a,1,2"], "two columns have one name"),
    ],
)
def test_what_is_no_table_of_ballots(tmp_path, columns, rows, sentence):
    with pytest.raises(RecipeError) as error:
        _build(_file(tmp_path, *rows, columns=columns))
    assert sentence in str(error.value)
    with pytest.raises(RecipeError, match="cannot be read"):
        read_ballots(tmp_path / "none.csv")


def test_groups_of_opinion_are_kept(tmp_path):
    rows = [f"a{n},{90 + n % 5},{10 - n % 5},{8 + n % 3},{n % 2},1" for n in range(12)]
    rows += [f"b{n},{n % 5},{100 - n % 5},{n % 3},{9 - n % 2},9" for n in range(6)]
    people, remarks = read_ballots(_file(tmp_path, *rows))
    charter = build_charter(people, "ours", remarks)
    assert charter.ballots is not None
    assert [group.participants for group in charter.ballots.opinions] == [12, 6]
    first, second = (group.medians for group in charter.ballots.opinions)
    assert first["dimension.compassion"] >= 8 > 2 >= second["dimension.compassion"]
    assert [len(group) for group in opinion_groups(people)] == [12, 6]
    alike = [f"p{n},50,50,{5 + n % 2},5,5" for n in range(12)]
    assert len(opinion_groups(read_ballots(_file(tmp_path, *alike))[0])) == 1


def test_the_file_that_is_written_is_a_charter_without_names(tmp_path):
    charter = _build(_file(tmp_path, "anna,70,30,6,4,3", "berta,20,80,2,8,10", "cem,50,20,0,4,"))
    text = charter_yaml(charter)
    (tmp_path / "ours.yaml").write_text(text, "utf-8")
    assert load_charter("ours.yaml", tmp_path) == charter
    assert not any(name in text for name in ("anna", "berta", "cem"))
    assert yaml.safe_load(text)["ballots"]["participants"] == 3
    assert charter.digest() == charter.model_copy(update={"ballots": None}).digest()


def test_nothing_valued_is_said(tmp_path):
    charter = _build(_file(tmp_path, "a,50,50,0,0,10", "b,50,50,0,0,10"))
    assert charter.values == {}
    assert charter.tolerance.harm == {}
    assert charter.ballots is not None
    assert "no dimension has a median above 0" in charter.ballots.remarks[0]


def test_a_refusal_at_the_slightest_sign_asks_for_no_more_than_the_model_can_tell(tmp_path):
    charter = _build(_file(tmp_path, "a,50,50,5,5,0", "b,50,50,5,5,0"))
    assert charter.tolerance.harm["hate"].toxic == 0.05
    assert charter.ballots is not None
    assert charter.ballots.remarks[0].startswith("harm.hate.toxic: a median of 0 is the limit 0.05")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_spreadsheets_that_write_commas_in_numbers_separate_by_something_else(tmp_path, separator):
    rows = ["a,62.5,37.5,6.5,4,3", "b,70,30,6,4,3"]
    expected = _build(_file(tmp_path, *rows))
    theirs = [row.replace(",", separator).replace(".", ",") for row in rows]
    path = _file(tmp_path, *theirs, columns="\ufeff" + COLUMNS.replace(",", separator))
    assert _build(path) == expected


def test_rows_are_numbered_as_in_a_spreadsheet(tmp_path):
    path = _file(tmp_path, "a,50,50,5,5,5", "", ",,,,,", "b,-1,101,5,5,5", "c,50,50,5,5,5,,")
    _, remarks = read_ballots(path)
    assert remarks == ["row 5: domain.forum: negative points (-1); the points are set aside"]


def test_a_row_with_too_many_cells_is_not_read_askew(tmp_path):
    charter = _build(_file(tmp_path, "a,70,30,6,4,3", "Doe, Jane,50,50,9,9,9"))
    assert charter.ballots is not None
    assert charter.ballots.participants == 1
    assert charter.ballots.remarks == ["row 3: more cells than columns, so no answer is sure; set aside"]


@pytest.mark.parametrize("text", ["1e999999999", "1/2", "5_0", "0x5", "٣٣٣٣٣٣٣٣٣٣٣"])
def test_a_number_is_written_out(tmp_path, text):
    charter = _build(_file(tmp_path, "a,70,30,6,4,3", f"b,70,30,{text},4,3"))
    assert charter.ballots is not None
    assert charter.ballots.remarks == [f"row 3: dimension.compassion: {text!r} is no number; this answer is set aside"]


def test_an_unknown_dimension_is_told_the_known_ones(tmp_path):
    with pytest.raises(RecipeError, match=r"'dimension\.kindness'; dimensions are .*compassion"):
        read_ballots(_file(tmp_path, "a,1", columns="participant,dimension.kindness"))
    (tmp_path / "latin.csv").write_bytes(b"participant,dimension.growth\nRen\xe9,5\n")
    with pytest.raises(RecipeError, match="CSV UTF-8"):
        read_ballots(tmp_path / "latin.csv")
