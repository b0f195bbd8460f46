import csv
import re
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from florilegium.classifiers.alike import alike_pairs, read_alike
from florilegium.classifiers.audit import load_suite
from florilegium.classifiers.configs import CONFIGS
from florilegium.classifiers.labelled import read_labelled
from florilegium.classifiers.tokens import tokenize
from florilegium.pipelines.fairness import shipped_pairs
from florilegium.schemas.errors import RecipeError

SHIPPED = CONFIGS / "alike.yaml"
TESTS = Path(__file__).resolve().parents[1]


def lines(texts: list[str]) -> set[str]:
    """Without signs and case, so that a full stop makes no other sentence of one."""
    tokenised = tokenize(pa.array(texts, pa.string())).to_pylist()
    return {" ".join(token for token in line.split(" ") if any(sign.isalnum() for sign in token)) for line in tokenised}


def measured() -> list[str]:
    """Every sentence that an audit or a fairness test is measured on."""
    suites = SHIPPED.parent.parent / "suites"
    texts = [side for pair in shipped_pairs() for side in (pair.left, pair.right)]
    texts += [side for group in load_suite("dialects").values() for pair in group for side in pair.split(" => ")]
    passages = [text for passage in load_suite("passages") for text in passage.values()]
    texts += [*passages, *(sentence for text in passages for sentence in re.split(r"(?<=[.?!]) ", text))]
    identities = load_suite("identities")
    for person, people in [*identities["identities"].values(), ("a neighbour", "neighbours")]:
        texts += [template.format(person=person, people=people) for template in identities["templates"]]
    texts += [text for part in load_suite("innocent").values() for text in part]
    texts += read_labelled(suites / "hate.yaml").texts.to_pylist()
    for path in sorted((TESTS / "pipelines" / "pairs").glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            texts += [row[side] for row in csv.DictReader(file) for side in ("left", "right")]
    return texts


def test_no_sentence_is_also_one_that_measures() -> None:
    taught = lines([side for pairs in read_alike(SHIPPED).pairs().values() for pair in pairs for side in pair])
    tests = lines(measured())
    assert len(taught) > 2000
    assert len(tests) > 1000
    assert not taught & tests
    longest = {line for line in taught if len(line.split(" ")) >= 5}
    joined = f" {' | '.join(sorted(tests))} "
    assert not [line for line in longest if f" {line} " in joined]


def test_no_template_is_one_that_measures() -> None:
    """Nor with another group of people in it."""
    own = {text.lower().rstrip(".?") for text in read_alike(SHIPPED).swaps.sentences}
    assert not own & {text.lower().rstrip(".?") for text in load_suite("identities")["templates"]}


def test_pairs_are_two_texts_without_a_hole() -> None:
    templates = read_alike(SHIPPED)
    found = templates.pairs()
    assert set(load_suite("dialects")) <= set(found)
    for kind, pairs in found.items():
        assert len(pairs) >= 50, kind
        assert len(set(pairs)) == len(pairs)
        assert all(left != right and "{" not in left + right and "}" not in left + right for left, right in pairs)
    groups = [left for left, _ in found["swaps"]]
    for person, people in templates.swaps.groups:
        assert any(person.lower() in text.lower() or people.lower() in text.lower() for text in groups)
    assert alike_pairs(templates).lines == alike_pairs(read_alike(SHIPPED)).lines


def test_templates_with_one_side_are_named(tmp_path: Path) -> None:
    content = yaml.safe_load(SHIPPED.read_text("utf-8"))
    content["dialects"]["aae"] = ["he be working"]
    (tmp_path / "alike.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError, match=r"(?s)alike\.yaml.*'he be working' needs two sides"):
        read_alike(tmp_path / "alike.yaml")
