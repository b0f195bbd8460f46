"""Beam's workers as processes of this machine that are forked ready and end with the driver.

FnApiRunner's own `multi_processing` starts an interpreter for each worker of each pipeline, waits for
ever for one that was killed, and leaves workers behind when the driver is. Here a fork server, which has
imported everything once, forks them; a worker that dies fails its bundle; a worker ends when the driver
does, however it ends.
"""

import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    FNAPI_RUNNER_CAPABILITIES,
    GrpcWorkerHandler,
    WorkerHandler,
)
from apache_beam.runners.worker.sdk_worker import SdkHarness
from apache_beam.transforms.environments import Environment, python_sdk_capabilities

from .beam_log import DRIVER_VARIABLE

__all__ = ["ProcessEnvironment", "WorkerLost", "lost_workers"]

URN = "florilegium:environment:process:v1"
PRELOADED = ["florilegium.pipelines.engines.beam_preload"]
PATIENCE_SECONDS = 10.0


class WorkerLost(Exception):
    """A worker process died."""


class ProcessEnvironment(Environment):
    """Where steps run: in processes forked by this module."""

    @classmethod
    def default(cls) -> "ProcessEnvironment":
        return cls(capabilities=python_sdk_capabilities(), artifacts=())

    def to_runner_api_parameter(self, context: Any) -> tuple[str, None]:
        return URN, None

    @staticmethod
    def from_runner_api_parameter(
        payload: None,
        capabilities: Iterable[str],
        artifacts: Iterable[Any],
        resource_hints: Mapping[str, bytes],
        context: Any,
    ) -> "ProcessEnvironment":
        return ProcessEnvironment(capabilities, artifacts, resource_hints)


class _ProcessHandler(GrpcWorkerHandler):
    """One worker process, watched."""

    lost: ClassVar[list[int]] = []

    def __init__(self, _payload: None, state: Any, provision_info: Any, grpc_server: Any) -> None:
        super().__init__(state, provision_info, grpc_server)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.process = context.Process(target=_work, args=(self.control_address, self.worker_id), daemon=True)
        self.stopping = False

    def start_worker(self) -> None:
        os.environ[DRIVER_VARIABLE] = str(os.getpid())
        self.process.start()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        self.process.join()
        if not self.stopping:
            self.lost.append(self.process.pid or 0)
            self.control_conn.abort(WorkerLost(f"worker process {self.process.pid} died"))

    def close(self) -> None:
        self.stopping = True
        if sys.exc_info()[0] is not None:  # interrupted, or another worker died: do not wait for what it is at
            self.process.kill()
        super().close()

    def stop_worker(self) -> None:
        self.process.join(PATIENCE_SECONDS)
        if self.process.is_alive():
            self.process.kill()


Environment.register_urn(URN, None)(ProcessEnvironment)
WorkerHandler.register_environment(URN, None)(_ProcessHandler)


def lost_workers() -> list[int]:
    """Process ids of the workers that died since the list was last cleared."""
    return _ProcessHandler.lost


def _work(control_address: str, worker_id: str) -> None:
    """Be a worker until the driver closes the connection, or is no more."""
    logging.disable(logging.CRITICAL)  # what goes wrong is in the notes
    threading.Thread(target=_end_with_driver, daemon=True).start()
    try:
        SdkHarness(control_address, worker_id=worker_id, runner_capabilities=FNAPI_RUNNER_CAPABILITIES).run()
    finally:
        os._exit(0)


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    assert driver is not None
    driver.join()
    os._exit(1)
