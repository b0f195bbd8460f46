"""Commands about charters: `charter build|check|diff|audit`, `why`, and `weigh` without shards."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ...schemas.errors import InputError, ModelError, OutputError, RecipeError

__all__ = ["register", "weigh_lightly"]

charter_app = typer.Typer(help="Write, check and compare charters.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
MOST_MOVERS = 10
MOST_BREAKS = 6
MOST_LANGUAGES = 12


def register(app: typer.Typer) -> None:
    """Add `charter …` and `why` to the command line."""
    app.add_typer(charter_app, name="charter")
    app.command()(why)


@charter_app.command(epilog="Example:  florilegium charter build ballots.csv --name ours -o charters/ours.yaml")
def build(
    ballots: Annotated[Path, typer.Argument(help="A CSV table of ballots, a row for each participant.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The charter file to write.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="The charter's name; default: the file's.")] = None,
    author: Annotated[str, typer.Option(help="Who wrote it.")] = "",
    community: Annotated[str, typer.Option(help="Whose it is.")] = "",
    tradition: Annotated[str, typer.Option(help="The tradition that it stands in.")] = "",
    utility_floor: Annotated[float, typer.Option(help="Below this utility a document means nothing to it.")] = 0.05,
    quality_floor: Annotated[float, typer.Option(help="The lowest quality that it accepts.")] = 0.0,
    language: Annotated[
        list[str], typer.Option("--language", help="A language that it speaks for; default: all.")
    ] = [],  # noqa: B006
    groups: Annotated[
        Path | None, typer.Option("--groups", help="Also write a charter for each group of opinion, to this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build one charter from people's ballots: points for domains, ratings of dimensions, tolerances for harm."""
    from pydantic import ValidationError

    from ..weighing.ballots import build_charter, charter_yaml, opinion_groups, read_ballots
    from ..weighing.charters import sentences

    people, remarks = read_ballots(ballots)
    about: dict[str, Any] = {"utility_floor": utility_floor, "quality_floor": quality_floor}
    texts = {"author": author, "community": community, "tradition": tradition, "languages": list(language)}
    about |= {key: value for key, value in texts.items() if value}
    called = name or output.stem
    try:
        charter = build_charter(people, called, remarks, **about)
        parts = opinion_groups(people) if groups else []
        parts = parts if len(parts) > 1 else []  # one group is everybody
        own = [build_charter(part, f"{called}-{number}", **about) for number, part in enumerate(parts, start=1)]
    except ValidationError as error:
        raise RecipeError(f"charter {called}: {sentences(error)}") from error
    _write(output, charter_yaml(charter))
    for part in own if groups else ():
        _write(groups / f"{part.name}.yaml", charter_yaml(part))  # type: ignore[operator]
    if as_json:
        print(json.dumps(charter.model_dump(mode="json", exclude_none=True), indent=2, ensure_ascii=False))
        return
    from ..weighing.words import charter_in_words, doubts

    print("\n".join([*charter_in_words(charter), *doubts(charter)]))
    print(f"\nWritten to {output}")
    if own:
        print(f"and its {len(own)} groups of opinion to {groups}; give each a share of its own to keep them apart")


@charter_app.command()
def check(
    charters: Annotated[list[str], typer.Argument(help="Charter files, or names of shipped ones.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Check charters and say in plain words what they ask for, and what a reader should ask back."""
    from ..weighing.charters import load_charter
    from ..weighing.words import charter_in_words, doubts

    loaded = {item: load_charter(item) for item in charters}
    names = [charter.name for charter in loaded.values()]
    for item, charter in loaded.items():
        if names.count(charter.name) > 1:
            raise RecipeError(f"{item}: two of these charters are named {charter.name!r}; rename one")
    if as_json:
        told = {
            charter.name: {"digest": charter.digest(), "meaning": charter.meaning(), "doubts": doubts(charter)}
            for charter in loaded.values()
        }
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return
    for number, charter in enumerate(loaded.values()):
        print(("\n" if number else "") + "\n".join([*charter_in_words(charter), *doubts(charter)]))


@charter_app.command()
def diff(
    first: Annotated[str, typer.Argument(help="A charter file or a shipped one.", show_default=False)],
    second: Annotated[str, typer.Argument(help="Another.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Say where two charters decide differently; prose does not count."""
    from ..weighing.charters import load_charter
    from ..weighing.words import differences

    found = differences(load_charter(first), load_charter(second))
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    elif not found:
        print(f"{first} and {second} decide alike.")
    for place, (here, there) in found.items() if not as_json else ():
        print(f"{place:<28} {here!s:<24} {there!s}")


@charter_app.command(epilog="Example:  florilegium charter audit runs/forum pairs.csv")
def audit(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or URL.", show_default=False)],
    pairs: Annotated[
        Path | None,
        typer.Argument(help="CSV of texts that ought to fare alike (kind, left, right, group); default: the shipped."),
    ] = None,
    rewrite: Annotated[
        int | None,
        typer.Option(min=1, help="Instead: so many of the run's own documents, rewritten in each variety of English."),
    ] = None,
    domain: Annotated[str | None, typer.Option(help="The domain to weigh them in; default: all, by tokens.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Weigh matched pairs, such as dialects and identity swaps, by a run's charters; exit code 1 if they part."""
    from dataclasses import asdict

    from ..fairness import ALIKE, audit_pairs, read_pairs, rewritten_pairs, shipped_pairs

    if pairs is not None and rewrite is not None:
        raise InputError(f"{pairs} and --rewrite: give one of them")
    if rewrite is not None:
        texts = rewritten_pairs(run_folder, rewrite)
    else:
        texts = shipped_pairs() if pairs is None else read_pairs(pairs)
    fared = audit_pairs(run_folder, texts, domain)
    if as_json:
        print(json.dumps({kind: asdict(found) for kind, found in fared.items()}, indent=2, ensure_ascii=False))
    for kind, found in fared.items() if not as_json else ():
        ratio = "-" if found.ratio is None else f"{found.ratio:.3f}"
        between = "" if found.interval is None else " [{:.2f}, {:.2f}]".format(*found.interval)
        print(
            f"{'ok ' if found.alike else 'BAD'}  {kind}: {found.pairs} pairs weigh {found.left:.3f} and "
            f"{found.right:.3f}, ratio {ratio}{between}: {found.verdict} (alike from {ALIKE[0]:g} to {ALIKE[1]:g})"
        )
        if not found.alike or found.breaks:
            print(f"     by charter: {_uneven(found.by_charter) or 'each within the bounds'}")
        if found.by_group:
            print(f"     by group: {_uneven(found.by_group) or 'each within the bounds'}")
        for name, other in list(found.without.items())[:MOST_BREAKS]:
            print(f"     without {name}: ratio {other:.2f}")
        for threshold, number in list(found.breaks.items())[:MOST_BREAKS]:
            print(f"     {threshold} parts {number} of {found.pairs} pairs")
    if not all(found.alike for found in fared.values()):
        raise typer.Exit(1)


def _uneven(ratios: dict[str, float | None]) -> str:
    from ..fairness import ALIKE

    known = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    return ", ".join(f"{name} {ratio:.2f}" for name, ratio in known.items() if not ALIKE[0] <= ratio <= ALIKE[1])


def why(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or URL.", show_default=False)],
    document: Annotated[
        str, typer.Argument(metavar="ID", help="A document's id, its beginning, or the input's own id.")
    ],
    with_evidence: Annotated[
        bool, typer.Option("--evidence/--no-evidence", help="Show the passages that speak for clear scores.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Explain one document: its scores and what speaks for them, its decision, every charter's part in its weight."""
    from ..why import explain, in_words, model_evidence

    evidence = None
    if with_evidence:
        try:
            evidence = model_evidence(run_folder)
        except ModelError as error:  # the rest can be told without the model
            print(f"florilegium: no evidence: {error}", file=sys.stderr)
    found = explain(run_folder, document, evidence)
    print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False) if as_json else "\n".join(in_words(found)))


def weigh_lightly(
    run_folder: str, charters: str | None, output: str, overrides: list[str], changes: list[str], as_json: bool
) -> None:
    """`weigh` without shards: the side table, or with `changes` only what they would change."""
    from .. import comparing
    from ..candidates import read_candidates
    from ..plan import open_run
    from ..reweigh import weigh_candidates, wish, write_side_table
    from ..weighing.words import plan_in_words, remarks

    run = open_run(run_folder)
    asked = wish(run, charters, overrides)
    documents = read_candidates(run.folder)
    weighed = weigh_candidates(documents, asked.charters, asked.weighing, run.recipe.seed)
    if changes:
        other = comparing.imagine(run, asked, changes)
        then = weigh_candidates(documents, other.charters, other.weighing, run.recipe.seed)
        known = remarks(weighed.plan, asked.charters)
        told = [sentence for sentence in remarks(then.plan, other.charters) if sentence not in known]
        _print_difference(run, documents, weighed, then, changes, told, as_json)
        return
    name = write_side_table(run, documents, weighed, output)
    upweighted, unweighted = int((weighed.weight > 1).sum()), int(((weighed.weight == 0) & ~weighed.rejected).sum())
    if as_json:
        figures = {
            "table": f"{output}/{name}",
            "documents": {
                "weighed": len(documents) - int(weighed.rejected.sum()) - unweighted,
                "unweighted": unweighted,
                "rejected": int(weighed.rejected.sum()),
            },
            "upweighted": upweighted,
            "tokens": {
                "pool": comparing.pool_tokens(documents, weighed),
                "weighted": comparing.weighted_tokens(documents, weighed),
                "effective": comparing.effective(documents, weighed),
            },
        }
        print(json.dumps(figures, indent=2, ensure_ascii=False))
        return
    print("\n".join(plan_in_words(weighed.plan, asked.charters)))
    print()
    print("\n".join(_shares(comparing.pool_tokens(documents, weighed), comparing.weighted_tokens(documents, weighed))))
    print(f"\nUpweighted  {upweighted:>12,} (weight above 1)")
    print(f"Unweighted  {unweighted:>12,} (no charter asks for them)")
    print(f"Rejected    {int(weighed.rejected.sum()):>12,} (by the charters' quorum, beside what the policy rejects)")
    print(f"Worth       {comparing.effective(documents, weighed):>12,.0f} tokens seen once")
    print(f"Look at     {output}/{name} · {output}/weights/plan.json")


def _print_difference(
    run: Any, documents: Any, before: Any, after: Any, changes: list[str], remarks: list[str], as_json: bool
) -> None:
    from dataclasses import asdict

    from .. import comparing

    tokens = [comparing.weighted_tokens(documents, weighed) for weighed in (before, after)]
    worth = [comparing.effective(documents, weighed) for weighed in (before, after)]
    moved = comparing.movers(documents, before, after, MOST_MOVERS)
    if as_json:
        figures = {
            "changes": changes,
            "before": {**tokens[0], "effective": worth[0], "spent": before.plan.spent},
            "after": {**tokens[1], "effective": worth[1], "spent": after.plan.spent},
            "movers": [asdict(mover) for mover in moved],
            "remarks": remarks,  # what does not work out then, and did before
        }
        print(json.dumps(figures, indent=2, ensure_ascii=False))
        return
    print(f"What if {' and '.join(changes)}? Tokens that training would see:\n")
    print("\n".join(_shares(*tokens)))
    print(f"\n{'spent':<24} {before.plan.spent:>14,.0f} {after.plan.spent:>14,.0f}")
    print(f"{'worth, seen once':<24} {worth[0]:>14,.0f} {worth[1]:>14,.0f}")
    out = [int(weighed.rejected.sum()) for weighed in (before, after)]
    print(f"{'rejected by the quorum':<24} {out[0]:>14,} {out[1]:>14,} documents")
    print("".join(f"\n{sentence}" for sentence in remarks), end="\n" if remarks else "")
    print("\nDocuments that move most:" if moved else "\nNo document's weight changes.")
    texts = _beginnings(run, [mover.id for mover in moved])
    for mover in moved:
        by = ", ".join(f"{name} {part:+.3f}" for name, part in mover.by_charter.items())
        print(f"{mover.id}  {mover.before:6.3f} → {mover.after:6.3f}  ({by})")
        print(f"    {mover.domain} · {mover.tokens:,} tokens · {texts.get(mover.id, '')}")


def _shares(before: Any, after: Any) -> list[str]:
    lines = []
    for kind in ("charter", "domain", "language", "dimension"):
        whole = [sum(part["domain"].values()) or 1.0 for part in (before, after)]
        lines.append(f"{kind:<24} {'before':>14} {'':>7} {'after':>14} {'':>7} {'change':>8}")
        names = list(dict.fromkeys([*before[kind], *after[kind]]))
        if kind == "language":  # a crawl has a hundred of them
            sizes = {name: max(before[kind].get(name, 0.0), after[kind].get(name, 0.0)) for name in names}
            names = sorted(names, key=lambda name, sizes=sizes: (-sizes[name], name))[:MOST_LANGUAGES]
        for name in names:
            old, new = before[kind].get(name, 0.0), after[kind].get(name, 0.0)
            if old or new:
                change = f"{new / old - 1:+z.1%}" if old else "new"
                parts = f"{old:>14,.0f} {old / whole[0]:>7.1%} {new:>14,.0f} {new / whole[1]:>7.1%}"
                lines.append(f"  {name:<22} {parts} {change:>8}")
    return lines


def _beginnings(run: Any, ids: list[str]) -> dict[str, str]:
    """The first words of some documents; the only texts that weighing anew reads."""
    from ..why import locate

    found = locate(run, ids)
    return {row["id"]: " ".join(row["text"].split())[:70] for row in found}


def _write(path: Path, text: str) -> None:
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file")
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"{path}: a charter's file ends in .yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
