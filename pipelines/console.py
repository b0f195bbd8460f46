"""What a person sees while a run goes on: bars on a terminal, plain lines elsewhere; all on standard error."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from .progress import Listener

__all__ = ["listen"]

LINE_SECONDS = 10.0
WORDS = {
    "boilerplate": "Find boilerplate",
    "synthesize": "Synthesize",
    "score": "Score",
    "pair": "Pair near-duplicates",
    "cluster": "Cluster them",
    "rank": "Rank clusters",
    "keep": "Choose who stays",
    "decide": "Decide",
    "weigh": "Weigh",
    "shard": "Write shards",
    "reject": "Write rejects",
    "export": "Export",
}


@contextmanager
def listen() -> Iterator[Listener]:
    """A listener that suits standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress)


class _Phase:
    """A phase's figures, for people."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.before = 0

    def describe(self, documents: int, size: int, rejects: int) -> str:
        elapsed = max(time.monotonic() - self.started, 1e-3)
        parts = [f"{documents:,} documents", f"{documents / elapsed:,.0f}/s"]
        if size:
            parts.append(f"{size / elapsed / 1e6:.1f} MB/s")
        if rejects:
            parts.append(f"{rejects:,} left out")
        return " · ".join(parts) if documents else ""


class _Bars(_Phase):
    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress
        self.bar: TaskID | None = None

    def phase(self, name: str, tasks: int, finished: int) -> None:
        self.started, self.before = time.monotonic(), finished
        self.bar = self.progress.add_task(WORDS[name], total=tasks, completed=finished, rate="")

    def update(self, finished: int, documents: int, size: int, rejects: int) -> None:
        if self.bar is not None:
            rate = self.describe(documents, size, rejects)
            self.progress.update(self.bar, completed=self.before + finished, rate=rate)

    def say(self, sentence: str) -> None:
        self.progress.console.print(sentence)


class _Lines(_Phase):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self.name, self.tasks, self.spoken = "", 0, 0.0

    def phase(self, name: str, tasks: int, finished: int) -> None:
        self.started = self.spoken = time.monotonic()
        self.name, self.tasks, self.before = name, tasks, finished
        done = f", {finished} done before" if finished else ""
        self.say(f"{WORDS[name]}: {tasks} {'task' if tasks == 1 else 'tasks'}{done}")

    def update(self, finished: int, documents: int, size: int, rejects: int) -> None:
        if time.monotonic() - self.spoken > LINE_SECONDS:
            self.spoken = time.monotonic()
            self.say(
                f"{WORDS[self.name]}: {self.before + finished}/{self.tasks} · {self.describe(documents, size, rejects)}"
            )

    def say(self, sentence: str) -> None:
        self.console.print(sentence, highlight=False)
