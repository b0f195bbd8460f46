"""A stand-in for the Dataflow service: takes jobs from the real client and runs their graphs on FnApiRunner."""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec

__all__ = ["Service", "key_file", "service"]

JOB = re.compile(r"/v1b3/projects/([^/]+)/locations/([^/]+)/jobs(?:/([^/?]+))?(?:/(messages|metrics))?")


class Service:
    """Jobs by id, as they were submitted; `refuse` may answer a submission with a status and a message."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.refuse: Callable[[dict[str, Any]], tuple[int, str] | None] = lambda job: None
        self.final_state: str | None = None  # in place of running a job
        self.url = ""

    def graph(self, job: dict[str, Any]) -> Any:
        """The pipeline that was staged for a job."""
        from apache_beam.portability.api import beam_runner_api_pb2

        options = job["environment"]["sdkPipelineOptions"]["options"]
        return beam_runner_api_pb2.Pipeline.FromString(fsspec.open(options["pipelineUrl"], "rb").open().read())

    def run(self, job: dict[str, Any]) -> None:
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.portability import python_urns
        from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

        try:
            graph = self.graph(job)
            for environment in graph.components.environments.values():  # here there is no Docker to run the image
                environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
                del environment.dependencies[:]
            FnApiRunner().run_via_runner_api(graph, PipelineOptions([]))
            job["currentState"] = "JOB_STATE_DONE"
        except Exception as error:
            job["currentState"], job["error"] = "JOB_STATE_FAILED", str(error)

    def submit(self, job: dict[str, Any], project: str, region: str) -> dict[str, Any]:
        job |= {"id": f"job-{len(self.jobs)}", "projectId": project, "location": region}
        job["currentState"] = self.final_state or "JOB_STATE_RUNNING"
        self.jobs[job["id"]] = job
        if self.final_state is None:
            threading.Thread(target=self.run, args=(job,), daemon=True).start()
        return job

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        match = JOB.match(path)
        assert match, path
        project, region, job, part = match.groups()
        if method == "POST":
            submitted = json.loads(body)
            refused = self.refuse(submitted)
            if refused:
                return refused[0], {"error": {"code": refused[0], "message": refused[1], "status": "REFUSED"}}
            return 200, self.told(self.submit(submitted, project, region))
        if method == "PUT":
            self.jobs[job]["currentState"] = json.loads(body)["requestedState"]
        return 200, {} if part else self.told(self.jobs[job])

    def told(self, job: dict[str, Any]) -> dict[str, Any]:
        return {name: job[name] for name in ("id", "name", "projectId", "location", "currentState")}


@contextlib.contextmanager
def service() -> Iterator[Service]:
    found = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path == "/token":
                status, value = 200, {"access_token": "a", "expires_in": 3600, "token_type": "Bearer"}
            else:
                status, value = found.answer(self.command, self.path, body)
            content = json.dumps(value).encode()
            self.send_response_only(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _do

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    found.url = f"http://localhost:{server.server_address[1]}"
    yield found
    server.shutdown()
    server.server_close()


def key_file(folder: Path, token_url: str) -> Path:
    """A throwaway service account whose tokens come from `token_url`."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    path = folder / "key.json"
    values = {"type": "service_account", "project_id": "my-project", "private_key_id": "1", "private_key": pem}
    values |= {"client_email": "me@my-project.iam.gserviceaccount.com", "client_id": "1", "token_uri": token_url}
    path.write_text(json.dumps(values))
    return path
