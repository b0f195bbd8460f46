"""How a task says how far it is, and who listens."""

from typing import Protocol

__all__ = ["SILENT", "Listener", "Progress", "Silent"]


class Progress(Protocol):
    """Receives what a task has done since its last call."""

    def advance(self, documents: int = 0, size: int = 0, rejects: int = 0) -> None:
        """So many rows, bytes of text, and rows left out more are done."""
        ...


class Listener(Protocol):
    """Receives the state of a phase while it runs; totals since the phase began."""

    def phase(self, name: str, tasks: int, finished: int) -> None:
        """A phase begins; `finished` of its tasks were done by an earlier attempt."""
        ...

    def update(self, finished: int, documents: int, size: int, rejects: int) -> None:
        """Tasks finished in this attempt, and what all of them have done so far."""
        ...

    def say(self, sentence: str) -> None:
        """Something worth a line."""
        ...


class Silent:
    """A Progress and a Listener that keep everything to themselves."""

    def advance(self, documents: int = 0, size: int = 0, rejects: int = 0) -> None:
        pass

    def phase(self, name: str, tasks: int, finished: int) -> None:
        pass

    def update(self, finished: int, documents: int, size: int, rejects: int) -> None:
        pass

    def say(self, sentence: str) -> None:
        pass


SILENT = Silent()
