"""Draft → critique → revise, for any backend; every version is kept, and it stops when the gates pass.

`Written` is what becomes of a cell: accepted or refused by the gates, or failed because no text came. It is what the
journal holds, so everything in it is plain JSON.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ...schemas.charter import Charter
from ...schemas.recipe import Synthesis
from . import prompts
from .composer import compose, variants
from .gates import Checked, Draft, check
from .grid import Cell

__all__ = ["Answer", "Failed", "Written", "write_by_composer", "write_by_model"]


class Failed(Exception):
    """No text for a cell after all attempts; the message says why, without text or key."""


@dataclass(frozen=True)
class Answer:
    """A model's answer and what it cost."""

    text: str
    finished: bool = True
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass
class Written:
    """What became of a cell."""

    index: int
    id: str
    status: str = "failed"  # accepted, refused or failed
    text: str = ""
    reasons: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)  # all but the last
    critiques: list[str] = field(default_factory=list)
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str | None = None

    def judge(self, checked: Checked) -> None:
        self.status = "accepted" if checked.passes else "refused"
        self.reasons = checked.reasons
        self.evidence = [f"{finding.reason}: {finding.evidence}" for finding in checked.findings]
        self.scores = checked.scores
        if "privacy.personal_data" in self.reasons:
            self.text = checked.masked

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def write_by_composer(cells: list[Cell], options: Synthesis) -> list[Written]:
    """Documents of the offline backend; a surface that does not pass is replaced by the next, a few times."""
    written = [Written(cell.index, cell.id) for cell in cells]
    waiting = list(range(len(cells)))
    for variant in range(min(options.revisions + 1, variants())):
        drafts = [Draft(compose(cells[at], variant), cells[at]) for at in waiting]
        for at, draft, checked in zip(waiting, drafts, check(drafts, options.gates), strict=True):
            if written[at].text:
                written[at].versions.append(written[at].text)
            written[at].text = draft.text
            written[at].judge(checked)
        waiting = [at for at in waiting if written[at].status != "accepted"]
        if not waiting:
            break
    return written


Generate = Callable[[list[dict[str, str]], bool], Awaitable[Answer]]
Check = Callable[[Draft], Awaitable[Checked]]


async def write_by_model(
    cell: Cell, options: Synthesis, charter: Charter | None, seed_text: str, generate: Generate, gate: Check
) -> Written:
    """A document of a model. `generate` answers a chat, the second argument telling whether it is a critique.

    `Failed` of a draft makes the cell fail; a critique or a revision that fails leaves the last version as it is.
    """
    written = Written(cell.index, cell.id)
    messages = prompts.draft(cell, charter, seed_text)

    async def ask(chat: list[dict[str, str]], criticise: bool) -> Answer:
        written.requests += 1
        answer = await generate(chat, criticise)
        written.prompt_tokens += answer.prompt_tokens
        written.completion_tokens += answer.completion_tokens
        return answer

    try:
        answer = await ask(messages, False)
    except Failed as error:
        written.reasons, written.error = ["generation.failed"], str(error)
        return written
    told = messages[-1]["content"].split("<document>")[0]

    async def criticise() -> prompts.Critique:
        if len(written.critiques) >= options.critiques:
            return prompts.Critique()
        try:
            criticism = await ask(prompts.critique(written.text, charter), True)
            found = prompts.parse_critique(criticism.text, charter)
        except (Failed, ValueError) as error:
            written.critiques.append(f"none: {error}")
            return prompts.Critique()
        written.critiques.append(found.to_json())
        return found

    for revision in range(options.revisions + 1):
        written.text = answer.text.strip()
        draft = Draft(written.text, cell, seed_text, told, answer.finished)
        # The critique does not wait for the gates: a request is under way while they look.
        checked, found = await asyncio.gather(gate(draft), criticise())
        written.judge(checked)
        if revision == options.revisions or (checked.passes and not found.faults):
            break
        try:
            chat = prompts.revise(messages, written.text, checked.findings, found, charter)
            answer = await ask(chat, False)
        except Failed as error:
            written.error = str(error)
            break
        written.versions.append(written.text)
    return written
