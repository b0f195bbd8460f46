"""Engine `beam`: Apache Beam runs the tasks; FnApiRunner here, by name.

Beam's DirectRunner would try Prism, whose binary comes from the net (traps.md 8). Tasks are spread by
Create and Reshuffle; no document passes through a GroupByKey. Beam's metrics are attempted, not
exactly-once, so the ledger comes from the markers that each task stores.
"""

import logging
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from ..progress import Listener

__all__ = ["BeamEngine"]


class _RunTask(beam.DoFn):
    """Runs one task a element."""

    def __init__(self, url: str, phase: str) -> None:
        self.url, self.phase = url, phase

    def process(self, element: int, *args: Any, **kwargs: Any) -> Any:
        from ..phases import run_task

        yield element, run_task(self.url, self.phase, element)


class BeamEngine:
    """Runs tasks on FnApiRunner, in this process with one worker or in several processes."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.shares_memory = workers == 1

    def run(self, url: str, phase: str, indices: list[int], listener: Listener) -> None:
        logging.getLogger("apache_beam").setLevel(logging.ERROR)
        arguments = ["--direct_num_workers", str(self.workers)]
        if self.workers > 1:
            arguments += ["--direct_running_mode", "multi_processing"]
        with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(arguments)) as pipeline:
            tasks = pipeline | "Tasks" >> beam.Create(indices) | "Spread" >> beam.Reshuffle()
            _ = tasks | f"Run {phase}" >> beam.ParDo(_RunTask(url, phase))
        listener.update(len(indices), 0, 0, 0)
