"""The product agrees with an independent solver on thousands of random small corpora."""

import random
from itertools import pairwise

import numpy as np
import pytest
from florilegium.pipelines.weighing.histogram import Histogram
from florilegium.pipelines.weighing.plan import build_plan
from florilegium.schemas.charter import Charter
from florilegium.schemas.recipe import Weighing

from .solver import solve


def _corpus(generator: random.Random):
    domains = ["a", "b", "c"][: generator.randint(1, 3)]
    names = ["p", "q", "r", "s"][: generator.randint(1, 4)]
    accepts = {(c, g): generator.choice([0.2, 0.6, 1, 1]) for c in names for g in domains}
    documents = []
    for row in range(generator.randint(len(domains), 12)):
        g = domains[row % len(domains)]
        utilities = {
            c: generator.choice([0, 100, 250, 500, 900, 1000]) if generator.random() < accepts[c, g] else None
            for c in names
        }
        documents.append((g, generator.randint(1, 900), utilities))
    cuts = [0, *sorted(generator.sample(range(1, 10), len(names) - 1)), 10]  # ten voters: whole thousandths
    voters = {c: high - low for c, (low, high) in zip(names, pairwise(cuts), strict=True)}
    votes = {}
    for c in names:
        parts = [generator.randint(0, 5) for _ in domains]
        votes[c] = {g: part / sum(parts) for g, part in zip(domains, parts, strict=True)} if any(parts) else None
    pool = sum(tokens for _, tokens, _ in documents)
    budget = max(1, round(pool * generator.choice([0.3, 1, 1, 2, 3.5])))
    return documents, voters, votes, budget, generator.choice([1, 1.5, 2, 4, 7]), generator.random() < 0.7


@pytest.mark.parametrize("corpora", [150, pytest.param(2000, marks=pytest.mark.long)])
def test_agrees_with_the_independent_solver(corpora: int):
    generator = random.Random(20)
    kinds = {"default curve": 0, "q between": 0, "a lowered": 0, "short": 0, "unspendable": 0}
    for _ in range(corpora):
        documents, voters, votes, budget, cap, redistribute = _corpus(generator)
        names, domains = sorted(voters), sorted({g for g, _, _ in documents})
        charters = {c: Charter(version=1, name=c, shares=votes[c] or "natural") for c in names}
        weighing = Weighing(
            charters={c: voters[c] / sum(voters.values()) for c in names},
            budget_tokens=budget,
            epoch_cap=cap,
            unspent="redistribute" if redistribute else "leave",
        )
        utilities = np.array(
            [[-1 if row[c] is None else row[c] for c in names] for _, _, row in documents], dtype=np.int16
        )
        codes = np.array([domains.index(g) for g, _, _ in documents])
        histogram = Histogram.empty(names, domains)
        histogram.add(utilities, codes, np.array([tokens for _, tokens, _ in documents], dtype=np.int32))
        plan = build_plan(histogram, charters, weighing, seed=0)
        expected = solve(documents, voters, votes, budget, cap, redistribute)
        np.testing.assert_allclose(
            plan.weights(utilities, codes), [[row[c] for c in names] for row in expected], rtol=0, atol=2e-8
        )
        cells = [cell for domain in plan.domains.values() for cell in domain.charters.values()]
        kinds["default curve"] += any(cell.a == 0.4 and cell.q == 8 for cell in cells)
        kinds["q between"] += any(cell.q is not None and 1 < cell.q < 8 for cell in cells)
        kinds["a lowered"] += any(cell.a is not None and cell.a < 0.4 for cell in cells)
        kinds["short"] += any(cell.short > 0 for cell in cells)
        kinds["unspendable"] += plan.unspendable > 0
    assert min(kinds.values()) > corpora // 50, kinds
