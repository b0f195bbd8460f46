"""The Flex Template's program: a job of one worker whose only step is the driver of a run.

A run is several jobs, one a phase, and takes longer than a template's launcher may; so the launcher
submits this small job, and its worker runs `florilegium run --engine dataflow` and waits for the rest. If the
worker is lost, Dataflow starts the step again and the run goes on at its markers.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import fsspec
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, WorkerOptions

__all__ = ["Drive", "command", "main"]


def parser() -> argparse.ArgumentParser:
    """The template's parameters, as `metadata.json` lists them."""
    found = argparse.ArgumentParser(description=__doc__)
    found.add_argument("--recipe", required=True, help="A shipped recipe's name, or a YAML file on gs://")
    found.add_argument("--output", required=True, help="The run's folder on gs://")
    found.add_argument("--settings", default="", help="Settings KEY=VALUE parted by spaces, quoted as a shell would")
    found.add_argument("--phase_workers", type=int, default=100, help="Workers that a phase may grow to")
    return found


def command(given: argparse.Namespace, options: PipelineOptions, recipe: str) -> list[str]:
    """The driver's command line; `recipe` is a name or a local file."""
    cloud, image = options.view_as(GoogleCloudOptions), options.view_as(WorkerOptions).sdk_container_image
    line = [sys.executable, "-m", "florilegium.pipelines", "run", recipe, "--output", given.output]
    line += [part for setting in shlex.split(given.settings) for part in ("--set", setting)]
    line += ["--engine", "dataflow", "--project", cloud.project, "--region", cloud.region]
    line += ["--temp-location", cloud.temp_location, "--sdk-container-image", image]
    line += ["--", f"--max_num_workers={given.phase_workers}"]
    if cloud.service_account_email:
        line.append(f"--service_account_email={cloud.service_account_email}")
    return line


class Drive(beam.DoFn):
    """Arguments of `main` → the driver's exit code; raises with its last words where that is not 0."""

    def process(self, element: list[str], *args: Any, **kwargs: Any) -> Iterator[int]:
        given, rest = parser().parse_known_args(element)
        with tempfile.TemporaryDirectory() as scratch:
            recipe = given.recipe
            if "://" in recipe:
                recipe = str(Path(scratch, "recipe.yaml"))
                Path(recipe).write_bytes(fsspec.open(given.recipe, "rb").open().read())
            ended = subprocess.run(
                command(given, PipelineOptions(rest), recipe), stderr=subprocess.PIPE, text=True, check=False
            )
        if ended.returncode:
            raise RuntimeError(ended.stderr.strip()[-2000:])
        yield ended.returncode


def main(arguments: Sequence[str]) -> None:
    _, rest = parser().parse_known_args(arguments)
    options = PipelineOptions(rest)
    options.view_as(WorkerOptions).num_workers = options.view_as(WorkerOptions).max_num_workers = 1
    with beam.Pipeline(options=options) as pipeline:
        pipeline | "Arguments" >> beam.Create([list(arguments)], reshuffle=False) | "Drive" >> beam.ParDo(Drive())


if __name__ == "__main__":
    main(sys.argv[1:])
