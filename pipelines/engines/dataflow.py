"""Engine `dataflow`: each phase is a job of Google Cloud Dataflow, with the graph of engine `beam`.

Workers run an image that holds the package and its models (`docker/`), read inputs from stores and
write to the run's folder on `gs://`. What is done is decided by the markers there, so a job that fails,
is cancelled or is lost sight of costs its unfinished tasks only. Jobs are named after folder and phase:
the service refuses a second one while the first still runs.
"""

import contextlib
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from ...schemas.errors import InputError, MissingExtraError, OutputError, RequestError, RunError
from ...schemas.hashing import digest
from ..progress import Listener
from ..sources import Split
from .beam import UNLOGGED, BeamEngine
from .beam_log import quiet

__all__ = ["DataflowEngine"]

PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")
BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/.*)?")
PACKAGED_BY = ("sdk_container_image", "setup_file", "requirements_file", "extra_packages")
FIXED = ("runner", "job_name", "streaming", "template_location", "update", "no_auth")
CONSOLE = "https://console.cloud.google.com/dataflow/jobs/{region}/{job}?project={project}"
QUOTA = re.compile(r"quota|RESOURCE_EXHAUSTED|RESOURCE_POOL_EXHAUSTED|rateLimitExceeded", re.IGNORECASE)
RERUN = "Finished tasks are kept: run the same command again to go on"


class DataflowEngine(BeamEngine):
    """Submits the tasks of each phase as one job and waits for it. Raises RequestError before anything is submitted."""

    def __init__(self, workers: int, options: Sequence[str] = ()) -> None:
        with quiet():
            try:
                from apache_beam.runners.dataflow.internal import apiclient as _  # noqa: F401
            except ImportError as error:
                raise MissingExtraError("--engine dataflow needs: pip install 'florilegium[gcp]'") from error
        super().__init__(workers, options)

    def _checked_runner(self) -> str:
        """The runner's name; every option is checked on the way."""
        values = self._parsed
        for option in self.options:
            name = option.partition("=")[0].removeprefix("--")
            if name in FIXED:
                raise RequestError(f"{option}: engine dataflow sets this by itself; leave it out")
        missing = [name for name in ("project", "region", "temp_location") if not values.get(name)]
        if missing:
            told = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
            raise RequestError(f"--engine dataflow needs {told}; see docker/README.md")
        if not PROJECT.fullmatch(values["project"]):
            raise RequestError(f"--project {values['project']}: no project id; give its id, not its name or number")
        if not REGION.fullmatch(values["region"]):
            raise RequestError(f"--region {values['region']}: no region; give one such as europe-west4, not a zone")
        for name in ("temp_location", "staging_location"):
            if values.get(name) and not BUCKET.fullmatch(values[name]):
                raise RequestError(f"--{name.replace('_', '-')} {values[name]}: give a folder such as gs://BUCKET/temp")
        if not any(values.get(name) for name in PACKAGED_BY):
            raise RequestError(
                "--engine dataflow needs --sdk-container-image, an image that holds this package; docker/README.md "
                "says how to build it"
            )
        return "DataflowRunner"

    def check(self, url: str, splits: Sequence[Split]) -> None:
        super().check(url, splits)
        _check_reach(url, splits)
        _check_credentials()

    def run(self, url: str, phase: str, indices: list[int], listener: Listener) -> None:
        self.check(url, [])
        super().run(url, phase, indices, listener)

    def job_options(self, url: str, phase: str) -> list[str]:
        """Beam's options of the job for a phase."""
        name = re.sub(r"[^a-z0-9]+", "-", url.removeprefix("gs://").lower()).strip("-")[-30:].strip("-")
        chosen = [f"--job_name=florilegium-{name}-{phase}-{digest(url)[:8]}", f"--experiments={UNLOGGED}"]
        if self._parsed.get("sdk_container_image"):
            chosen.append("--sdk_location=container")  # the image has Beam: nothing is sent or fetched
        if not self._parsed.get("staging_location"):
            chosen.append(f"--staging_location={self._parsed['temp_location'].rstrip('/')}/staging")
        return [*self.options, *chosen]

    def _attempt(self, url: str, phase: str, indices: list[int], scratch: str) -> list[int]:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        from ..plan import open_run
        from .beam_graph import add_phase

        pipeline = beam.Pipeline(runner=self.runner, options=PipelineOptions(self.job_options(url, phase)))
        add_phase(pipeline, url, phase, indices, open_run(url).recipe)
        result: Any = None
        try:
            result = pipeline.run()
            result.wait_until_finish()
            if result.state != "DONE":
                raise RuntimeError(result.state.lower())
        except KeyboardInterrupt:
            if result is not None:
                with contextlib.suppress(Exception):  # it may have ended; nothing else can be done
                    result.cancel()
            raise
        except Exception as error:
            raise self._explained(error, phase, result) from error
        with contextlib.suppress(Exception):  # counters are told beside the ledger, never instead of it
            self._add_counters(result)
        return []

    def _explained(self, error: Exception, phase: str, result: Any) -> RequestError | RunError:
        """The sentence for what the service refused or failed at, with the job's page where there is a job."""
        lines = [line for line in str(error).strip().splitlines() if line.strip() not in ("", "None")]
        said = lines[-1] if lines else type(error).__name__
        page = f"phase {phase} on Dataflow"
        if result is not None and result.has_job:
            place = {name: self._parsed[name] for name in ("region", "project")}
            page += f", {CONSOLE.format(job=result.job_id(), **place)}"
        status = getattr(error, "code", None)
        if type(error).__name__ == "DataflowJobAlreadyExistsError" or status == 409:
            return RequestError(f"{page}: a job for this folder still runs. Wait for it, or cancel it there")
        if QUOTA.search(str(error)):
            return RunError(
                f"{page}: a quota is used up ({said}). Ask for more of it, lower --max_num_workers or take another "
                f"--region. {RERUN}"
            )
        if status == 403:
            return RequestError(
                f"{page}: not allowed ({said}). Enable the Dataflow API in the project and grant Dataflow Admin"
            )
        if status in (400, 404):
            return RequestError(f"{page}: refused ({said}). Correct the options")
        if result is not None and result.has_job and result.state == "CANCELLED":
            return RunError(f"{page}: the job was cancelled. {RERUN}")
        return RunError(f"{page}: the job failed ({said}). Mend the cause. {RERUN}")


def _check_reach(url: str, splits: Sequence[Split]) -> None:
    if not url.startswith(("gs://", "gcs://")):
        raise OutputError(f"{url}: Dataflow's workers cannot reach it; choose an --output on gs://")
    for split in splits:
        if split.format != "huggingface" and "://" not in split.url:
            raise InputError(f"{split.url}: Dataflow's workers cannot reach it; copy the inputs to gs:// or s3://")


def _check_credentials() -> None:
    """Raise where there are none: Beam would go on without."""
    auth = import_module("google.auth")
    try:
        auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    except auth.exceptions.GoogleAuthError as error:
        raise RequestError(
            f"--engine dataflow: no credentials were found ({str(error).splitlines()[0]}). Run `gcloud auth "
            "application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a key file"
        ) from error
