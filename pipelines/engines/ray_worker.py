"""What Ray's workers run. The code travels with the task, so that even a worker without Florilegium can say so."""

from typing import Any

__all__ = ["Figures", "run_attempt"]

REPORT_SECONDS = 1.0


class Figures:
    """An actor that adds up what the tasks of a phase tell."""

    def __init__(self) -> None:
        self.attempt, self.values = "", [0, 0, 0, 0]

    def add(self, attempt: str, *more: int) -> None:
        """Tasks finished, documents, bytes and rejects; those of an earlier attempt at a phase are dropped."""
        if attempt != self.attempt:
            self.attempt, self.values = attempt, [0, 0, 0, 0]
        self.values = [total + number for total, number in zip(self.values, more, strict=True)]

    def of(self, attempt: str) -> list[int]:
        return self.values if attempt == self.attempt else [0, 0, 0, 0]


def run_attempt(task: dict[str, Any], name: str, figures: Any) -> tuple[str, str] | None:
    """Try a task; its node and the reason where this worker is not fit for it."""
    import platform
    from importlib import import_module

    import ray  # type: ignore[import-not-found]

    node = ray.get_runtime_context().get_node_id()
    try:
        elsewhere, totals = (import_module(f"florilegium.pipelines.engines.{part}") for part in ("elsewhere", "totals"))
    except ImportError as error:
        remedy = "install what the driver has (requirements.lock) on every worker"
        return node, f"worker {platform.node()}: {error}; {remedy}"

    progress = totals.Throttled(lambda *done: figures.add.remote(name, *done), REPORT_SECONDS)
    reason = elsewhere.attempt(**task, progress=progress)
    progress.flush(finished=int(reason is None))
    return reason and (node, reason)
