"""Engine `slurm`: a job array for each attempt at a phase, submitted and watched by the driver.

datatrove's SlurmPipelineExecutor is not used: its completion marks are keyed by rank alone (traps.md 1), it
requeues what fails without telling why, and leaves its array behind when the driver is stopped. Here the
driver waits, reads what Slurm says of a job that was killed, cancels what it leaves, and tries again itself.
Nothing but Slurm's own commands is needed, and no accounting (`sacct`).
"""

import contextlib
import hashlib
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...schemas.errors import RequestError, RunError, TaskError
from ..phases import store_note
from ..progress import Listener
from ..storage import Folder
from . import Engine
from .elsewhere import SHARED, await_markers, environment, variables
from .options import OptionParser, positive
from .signals import ending_in_order
from .slurm_task import ORDER, UNFIT, share, told_name

__all__ = ["SlurmEngine"]

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol")
PASSED_ON = ("partition", "time", "mem", "account", "qos")
FIRST_POLL, LAST_POLL = 0.5, 15.0  # seconds; a tenth of the time that an array has taken lies between
PATIENCE_SECONDS = 600.0  # with a controller that does not answer
SAY_SECONDS = 30.0  # after which a wait is worth a line
HOPELESS_SECONDS = 10.0
ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
}
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # exit codes of a shell
COLUMNS = ("ArrayTaskID", "State", "Reason", "NodeList", "exit_code")

# What Slurm says of a job that it will not take, or never start, and what to do.
REMEDIES = {
    "Invalid partition": "give a --partition that `sinfo` lists",
    "Invalid account": "give an --account of yours, as `sacctmgr show associations user=$USER` lists them",
    "Invalid qos": "give a --qos that the account may use",
    "Memory specification": "lower --mem",
    "node configuration": "lower --mem or --cpus-per-task, or choose another --partition",
    "time limit": "lower --time, or choose another --partition",
    "QOS policy": "put more tasks into a job (--tasks-per-job), or ask for less",
    "PartitionConfig": "lower --time, --mem or --cpus-per-task, or choose another --partition",
    "PartitionTimeLimit": "lower --time, or choose another --partition",
    "PartitionNodeLimit": "choose another --partition",
    "BadConstraints": "ask for what some node has",
    "AccountNotAllowed": "give another --account or --partition",
    "QOSNotAllowed": "give another --qos or --partition",
    "InvalidAccount": "give another --account",
    "InvalidQOS": "give another --qos",
}
HOPELESS = {reason for reason in REMEDIES if " " not in reason}  # reasons for which a job waits for ever


class SlurmEngine(Engine):
    """Runs the tasks of each phase as a job array; `workers` bounds its jobs at once, None lets Slurm decide.

    Raises RequestError for options that cannot work, and where Slurm's commands are missing.
    """

    shares_memory = False

    def __init__(self, workers: int | None = None, options: Sequence[str] = ()) -> None:
        parser = OptionParser("slurm")
        for name in PASSED_ON:
            parser.add_argument(f"--{name}")
        parser.add_argument("--cpus-per-task", type=positive, default=1)
        parser.add_argument("--tasks-per-job", type=positive, default=1)
        parser.add_argument("--sbatch-arg", action="append", default=[])
        parser.add_argument("--venv")
        parser.add_argument("--setup", action="append", default=[])
        parser.add_argument("--logs")
        self.options = parser.parse(options)
        missing = [name for name in COMMANDS if shutil.which(name) is None]
        if missing:
            raise RequestError(
                f"--engine slurm: no `{missing[0]}` here; run this where Slurm's commands are, as on a login node"
            )
        self.workers = workers
        self.left_out: dict[str, str] = {}  # node → why its workers are not fit
        self._is_first = True

    def run(self, url: str, phase: str, indices: list[int], listener: Listener) -> None:
        folder = Folder(Folder(url).absolute_url())
        if self._is_first:
            self._is_first = False
            _cancel(_job_name(folder), every_phase=True)  # what a driver that was killed has left
        pending, lost = list(indices), Counter[str]()
        figures = [0, 0, 0, 0]
        while pending:
            attempt = _Attempt(self, folder, phase, pending, listener, figures)
            with ending_in_order():
                pending = attempt.run()
            figures = attempt.figures
            lost += attempt.lost
        for reason, tasks in lost.items():
            listener.say(f"{phase}: {tasks} to be tried again, since {reason}")

    def leave_out(self, node: str, reason: str, listener: Listener) -> None:
        """Let no job start on a node any more."""
        if node not in self.left_out:
            self.left_out[node] = reason
            listener.say(f"{reason}; its node is left out")

    def script(self, *arguments: str) -> str:
        """The job's script, for a node that need not have the driver's environment."""
        python = str(Path(self.options.venv, "bin/python")) if self.options.venv else sys.executable
        line = shlex.join([python, "-m", "florilegium.pipelines.engines.slurm_task", *arguments])
        lent = [f"export {name}={shlex.quote(value)}" for name, value in variables().items()]
        return "\n".join(["#!/bin/bash", *self.options.setup, *lent, f"exec {line}", ""])

    def sbatch_options(self) -> list[str]:
        options = [f"--{name}={value}" for name in PASSED_ON if (value := getattr(self.options, name))]
        options += [f"--cpus-per-task={self.options.cpus_per_task}", "--ntasks=1", "--no-requeue"]
        if self.left_out:
            options.append(f"--exclude={','.join(sorted(self.left_out))}")
        return options + self.options.sbatch_arg


@dataclass
class _Job:
    """What Slurm says of one job of an array."""

    state: str
    reason: str
    node: str
    status: int  # as `wait` gives it

    @property
    def code(self) -> int:
        return self.status >> 8 & 255

    @property
    def signal(self) -> int:
        return self.status & 127


class _Attempt:
    """One array, from its submission to what became of its tasks."""

    def __init__(
        self,
        engine: SlurmEngine,
        folder: Folder,
        phase: str,
        indices: list[int],
        listener: Listener,
        figures: list[int],
    ) -> None:
        self.engine, self.folder, self.phase, self.listener = engine, folder, phase, listener
        self.indices, self.before = indices, figures
        self.figures = figures
        self.excluded = set(engine.left_out)
        self.lost: Counter[str] = Counter()  # why → tasks
        self.count = min(math.ceil(len(indices) / engine.options.tasks_per_job), _largest_array())
        self.name = _job_name(folder, phase)
        self.place = f"logs/{phase}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        if engine.options.logs or not folder.is_local:
            self.logs = Path(engine.options.logs or "florilegium-logs", Path(self.place).name).absolute()
        else:
            self.logs = Path(folder.root, self.place)

    def run(self) -> list[int]:
        """Try the tasks; those that have still to be tried, since no worker came to them."""
        self.folder.write_json(f"{self.place}/{ORDER}", {"indices": self.indices, "jobs": self.count})
        self.logs.mkdir(parents=True, exist_ok=True)
        try:
            jobs = self._wait(self._submit())
        except BaseException:
            _cancel(self.name)
            raise
        told = self._told()
        pending = [index for job in range(self.count) for index in self._settle(job, jobs.get(job), told.get(job))]
        await_markers(self.folder.url, self.phase, [index for values in told.values() for index in values["tried"]])
        self._clean(told)
        return sorted(pending)

    def _submit(self) -> str:
        """The array's id. Raises RequestError where Slurm does not take it."""
        limit = f"%{self.engine.workers}" if self.engine.workers else ""
        arguments = [self.folder.url, self.phase, self.place, environment(), str(Path.cwd())]
        ended = _call(
            *("sbatch", "--parsable", f"--job-name={self.name}", f"--array=0-{self.count - 1}{limit}"),
            *(f"--output={self.logs}/%a.log", "--open-mode=truncate", *self.engine.sbatch_options()),
            text=self.engine.script(*arguments),
        )
        if ended.returncode == 0:
            return ended.stdout.strip().partition(";")[0]
        said = _last_line(ended.stderr)
        if self.engine.left_out and "configuration is not available" in said:
            reason = next(iter(self.engine.left_out.values()))
            raise RunError(f"no node of Slurm's is left that is fit for the tasks: {reason}")
        raise RequestError(f"Slurm takes no job ({said}); {_remedy(said) or 'look at the options after --'}")

    def _wait(self, array: str) -> dict[int, _Job]:
        """Wait until Slurm has ended all jobs; what it says of each."""
        jobs: dict[int, _Job] = {}
        began, pause, told = time.monotonic(), SAY_SECONDS, ""
        since, reason = began, ""  # all that have not ended wait for this
        while True:
            now = time.monotonic()
            time.sleep(min(max(FIRST_POLL, (now - began) / 10), LAST_POLL))
            listed = _jobs(array)
            jobs |= listed
            self._report()
            left = [job for job in listed.values() if job.state not in ENDED]
            if not left:
                return jobs
            before, reason = reason, left[0].reason if all(job.state == "PENDING" for job in left) else ""
            if not reason or reason != before:
                since = now
            elif reason in HOPELESS and now - since > HOPELESS_SECONDS:
                raise RequestError(f"Slurm will never start the jobs ({reason}); {_remedy(reason)}")
            elif now - since > (SAY_SECONDS if reason != told else pause):
                self.listener.say(f"{self.phase}: {len(left)} jobs wait in Slurm ({reason})")
                since, pause, told = now, pause * 2, reason

    def _told(self) -> dict[int, dict[str, Any]]:
        """Job → what it told."""
        told = {}
        for name in self.folder.names(f"{self.place}/told-*.json"):
            with contextlib.suppress(OSError):  # seen by the next call
                told[int(name[-10:-5])] = self.folder.read_json(name)
        return told

    def _report(self) -> None:
        told = self._told().values()
        finished = sum(len(values["tried"]) for values in told)
        done = [sum(values["figures"][at] for values in told) for at in range(3)]
        self.figures = [before + now for before, now in zip(self.before, [finished, *done], strict=True)]
        self.listener.update(*self.figures)

    def _settle(self, job: int, ended: _Job | None, told: dict[str, Any] | None) -> list[int]:
        """Note what became of a job's tasks; those that have still to be tried."""
        tried = told["tried"] if told else []
        rest = [index for index in share(self.indices, job, self.count) if index not in tried]
        if not rest:
            return []
        ended = ended or _Job("UNKNOWN", "", "", 0)
        log = self._log(job)
        unfit = self._unfit(ended, log, told)
        if unfit and ended.node and ended.node not in self.excluded:
            self.engine.leave_out(ended.node, unfit, self.listener)
            return rest
        if ended.state == "PREEMPTED":
            return rest
        if ended.state == "CANCELLED" and told is None:
            raise RunError("its jobs were cancelled in Slurm; run the same command again to go on where it stopped")
        reason = unfit or _sentence(ended, log, self.logs / f"{job}.log")
        failed = [told["task"]] if told and told["task"] in rest else rest
        for index in failed:
            self.lost[reason] += 1
            store_note(self.folder.url, self.phase, index, TaskError(reason))
        return [index for index in rest if index not in failed]

    def _unfit(self, ended: _Job, log: str, told: dict[str, Any] | None) -> str | None:
        """Why the worker of a job is not fit for the tasks, if that is so."""
        if told:
            return told["refused"]
        if ended.code == UNFIT and log:
            return f"{_last_line(log)}; {SHARED}"
        if ended.code in (NOT_FOUND, NOT_EXECUTABLE) or "No module named" in log:
            return (
                f"worker {ended.node}: {_last_line(log) or 'its Python does not start'}; install what the driver has "
                "there, or say with --venv or --setup where it is"
            )
        return None

    def _log(self, job: int) -> str:
        with contextlib.suppress(OSError):
            return Path(self.logs, f"{job}.log").read_text("utf-8", "replace")
        return ""

    def _clean(self, told: dict[int, dict[str, Any]]) -> None:
        """Remove what is not needed any more: all but the logs of jobs that did not end well."""
        for name in (ORDER, *(told_name(job) for job in told)):
            self.folder.remove(f"{self.place}/{name}")
        for job, values in told.items():
            if len(values["tried"]) == len(share(self.indices, job, self.count)):
                Path(self.logs, f"{job}.log").unlink(missing_ok=True)
        for place in (self.logs, self.logs.parent):
            with contextlib.suppress(OSError):
                place.rmdir()


def _sentence(job: _Job, log: str, file: Path) -> str:
    """What happened to a job that did not end by itself, and what may help."""
    place = f" on {job.node}" if job.node else ""
    if job.state == "OUT_OF_MEMORY" or re.search(r"oom.kill|memory limit", log, re.IGNORECASE):
        return f"it ran out of memory{place}; give more --mem"
    if job.state == "TIMEOUT":
        return f"it ran past its time limit{place}; give more --time"
    if job.state in ("NODE_FAIL", "BOOT_FAIL"):
        return f"its node failed ({job.node})"
    if job.state == "CANCELLED":
        return f"its job was cancelled{place}"
    if job.state == "FAILED" and job.signal:
        return f"its job was killed by signal {job.signal}{place}; out of memory? Give more --mem"
    if not file.exists():
        return f"its job failed{place} and left no log ({job.state}, {job.reason}); does that node see {file.parent}?"
    said = f": {_last_line(log)}" if log.strip() else ""
    return f"its job ended with exit code {job.code}{place} ({job.state}){said}; its log is {file}"


def _jobs(array: str) -> dict[int, _Job]:
    """What Slurm says of each job of an array; nothing when it has forgotten them all."""
    columns = ",".join(f"{name}:|" for name in COLUMNS)
    line = ("squeue", "--noheader", "--array", "--states=all", f"--jobs={array}", f"--Format={columns}")
    ended = _call(*line)
    if ended.returncode:
        if "Invalid job id" in ended.stderr:
            return {}
        raise RunError(f"`squeue` fails: {_last_line(ended.stderr)}; run the same command again to go on")
    jobs = {}
    for row in ended.stdout.splitlines():
        number, state, reason, node, status = row.split("|")[: len(COLUMNS)]
        if number.isdigit():
            jobs[int(number)] = _Job(state, reason, node, int(status) if status.isdigit() else 0)
    return jobs


def _call(*line: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Call a command of Slurm's, again where its controller does not answer. RunError if that lasts."""
    until, pause = time.monotonic() + PATIENCE_SECONDS, 1.0
    while True:
        ended = subprocess.run(line, input=text, capture_output=True, text=True, check=False)
        silent = re.search(r"Unable to contact|timed out|Connection refused|try again", ended.stderr)
        if ended.returncode == 0 or not silent:
            return ended
        if time.monotonic() > until:
            raise RunError(f"Slurm does not answer ({_last_line(ended.stderr)}); run the same command again to go on")
        if line[0] == "sbatch":  # it may have been heard all the same
            _cancel(next(part.partition("=")[2] for part in line if part.startswith("--job-name=")))
        time.sleep(pause)
        pause = min(pause * 2, 60.0)


def _cancel(name: str, every_phase: bool = False) -> None:
    """Cancel arrays by name, or all of a run's, and wait a while until they have gone."""
    until = time.monotonic() + 60
    line = ["squeue", "--noheader", f"--user={os.getuid()}", "--format=%A|%j"]
    while time.monotonic() < until:
        ended = subprocess.run(line, capture_output=True, text=True, check=False)
        rows = [row.split("|") for row in ended.stdout.splitlines()]
        jobs = {row[0] for row in rows if row[1] == name or (every_phase and row[1].startswith(f"{name}-"))}
        if not jobs:
            return
        subprocess.run(["scancel", *sorted(jobs)], capture_output=True, check=False)
        time.sleep(FIRST_POLL)


def _job_name(folder: Folder, phase: str = "") -> str:
    run = hashlib.sha256(folder.url.encode()).hexdigest()[:8]
    return f"florilegium-{run}-{phase}".removesuffix("-")


def _largest_array() -> int:
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _call("scontrol", "show", "config").stdout, re.MULTILINE)
    return max(int(found[1]), 1) if found else 1001


def _remedy(said: str) -> str:
    return next((remedy for sign, remedy in REMEDIES.items() if sign.lower() in said.lower()), "")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"^\w+: (error|fatal): ", "", lines[-1]) if lines else ""
