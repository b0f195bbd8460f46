"""A Slurm cluster of this one machine, with two CPUs, its own ports and all its files in one folder.

Needs root and Debian's packages `slurmctld`, `slurmd`, `slurm-client` and `munge`. Without a test:

    python -m tests.pipelines.engines.one_node_slurm     prints what to export, and ends at Ctrl-C
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.pipelines.engines.clusters import free_ports

__all__ = ["OneNodeSlurm", "missing"]

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
SECONDS = 120.0
CONFIGURATION = """\
ClusterName=florilegium
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=2
MinJobAge=60
MaxArraySize={array_size}
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
DefMemPerCPU=1000
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=3000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=brief Nodes=ALL MaxTime=1 State=UP
"""


def missing() -> str | None:
    """Why Slurm cannot run here; None where it can."""
    absent = [name for name in COMMANDS if shutil.which(name) is None]
    if absent:
        return f"Slurm is not installed (no {absent[0]}); `make test-engines` installs Debian's packages"
    return None if os.geteuid() == 0 else "Slurm's daemons need root"


class OneNodeSlurm:
    """A context in which SLURM_CONF names a running cluster with the partitions `main` and `brief` (a minute)."""

    def __init__(self, array_size: int = 1001) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="florilegium-slurm-"))
        self.folder.chmod(0o755)  # munge wants its socket seen by all
        self.host = socket.gethostname().partition(".")[0]
        self.daemons: list[subprocess.Popen[bytes]] = []
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        text = CONFIGURATION.format(host=self.host, folder=self.folder, ports=free_ports(), array_size=array_size)
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "cgroup.conf").write_text(f"CgroupPlugin={_cgroup_plugin()}\n")  # loaded, but not used
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)

    def __enter__(self) -> "OneNodeSlurm":
        os.environ["SLURM_CONF"] = str(self.folder / "slurm.conf")
        try:
            at = self.folder
            files = [f"--socket={at}/munge.socket", f"--pid-file={at}/munge.pid", f"--log-file={at}/munge.log"]
            self._start(
                "munged", "--foreground", "--force", f"--key-file={at}/munge.key", f"--seed-file={at}/seed", *files
            )
            self._wait((at / "munge.socket").exists)
            self._start("slurmctld", "-D", "-i")
            self._start("slurmd", "-D", "-N", self.host)
            self._wait(lambda: "idle" in _said("sinfo", "--noheader", "--format=%T"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        _said("scancel", "--user=root")
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        os.environ.pop("SLURM_CONF", None)
        shutil.rmtree(self.folder, ignore_errors=True)

    def jobs(self) -> list[str]:
        """Lines of squeue: tasks that wait, run or end."""
        return _said("squeue", "--noheader", "--array").splitlines()

    def running(self) -> list[str]:
        """Jobs that run, as ARRAY_TASK."""
        return _said("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%i").split()

    def set_node(self, state: str) -> None:
        """Take the node down, or back if it is not: "DOWN", "RESUME"."""
        _said("scontrol", "update", f"NodeName={self.host}", f"State={state}", "Reason=test")

    def _start(self, *line: str) -> None:
        with (self.folder / f"{line[0]}.out").open("w") as output:
            self.daemons.append(subprocess.Popen(line, stdout=output, stderr=output, start_new_session=True))

    def _wait(self, holds: object) -> None:
        until = time.monotonic() + SECONDS
        while not holds():  # type: ignore[operator]
            ended = [daemon.args for daemon in self.daemons if daemon.poll() is not None]
            if ended or time.monotonic() > until:
                logs = "\n".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("*.out")))
                raise RuntimeError(f"Slurm does not start ({ended}):\n{logs}")
            time.sleep(0.1)


def _said(*line: str) -> str:
    return subprocess.run(line, capture_output=True, text=True, check=False).stdout


def _cgroup_plugin() -> str:
    """A plugin that slurmd loads anywhere; versions before 23.11 cannot do without."""
    version = tuple(map(int, _said("slurmd", "-V").split()[-1].split(".")[:2]))
    return "disabled" if version >= (23, 11) else "cgroup/v1"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with OneNodeSlurm() as slurm:
        print(f"export SLURM_CONF={slurm.folder}/slurm.conf", flush=True)
        signal.pause()
