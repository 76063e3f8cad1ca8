"""A real SLURM cluster of one node with two GPUs that are no GPUs, in a temporary folder.

By hand, as root, with Debian's packages slurm-wlm and munge:

    python tests/slurm/cluster.py bash      # a shell in which sbatch, squeue, scontrol … work

Daemons, sockets, keys and state live in the folder and end with it.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
GPUS = 2
WAIT = 120.0

CONF = """
ClusterName=tiny
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=0,defer_batch
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=2
MinJobAge=3600
RebootProgram=/bin/true
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus}
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why a cluster cannot be started here; empty if it can."""
    if os.geteuid() != 0:
        return "a SLURM cluster of one's own needs root"
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"needs Debian's packages slurm-wlm and munge: no {', '.join(lacking)}"
    return ""


@dataclass
class Cluster:
    """A running cluster.

    Attributes:
        folder: logs and state, removed at the end.
        daemons: its processes, by name.
    """

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]]

    def start(self, name: str, *options: str) -> None:
        """Start one of SLURM's daemons."""
        with (self.folder / "daemons.log").open("a") as log:
            self.daemons[name] = subprocess.Popen([name, *options], stdout=log, stderr=log)

    def lose_node(self) -> None:
        """Let the node lose its power: its daemon and its jobs end, and SLURM hears of it.

        SLURM takes the jobs of such a node for ended, and starts them anew when it is back. If they
        went on there, or the daemon did, a job could be started while the same one still ends.
        """
        daemon = self.daemons.pop("slurmd")
        daemon.kill()
        daemon.wait()
        while end_jobs():
            time.sleep(0.1)
        self._set_node("State=DOWN", "Reason=test")

    def bring_node_back(self) -> None:
        """Start the daemon of the node again, and wait until it takes jobs."""
        self.start("slurmd", "-D")

        def back() -> bool:
            self._set_node("State=RESUME")  # refused if it has reported back by itself
            return _state_of_node() in ("idle", "mixed", "allocated")

        _wait_for("the node", self.folder, back)

    def _set_node(self, *changes: str) -> None:
        node = f"NodeName={os.uname().nodename.partition('.')[0]}"
        command = ["scontrol", "update", node, *changes]
        subprocess.run(command, check=False, capture_output=True)


@contextmanager
def cluster(cpus: int = 4, memory: int = 40_000) -> Iterator[Cluster]:
    """Run the daemons; the environment of this process then leads to them.

    Args:
        cpus: that the node says it has; the machine may have fewer.
        memory: MB that it says it has.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm."))
    running = Cluster(folder, {})
    before = {name: os.environ.get(name) for name in ("SLURM_CONF", "PATH")}
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    os.environ["PATH"] = f"{folder}/bin{os.pathsep}{before['PATH']}"
    try:
        _configure(folder, cpus, memory)
        running.daemons["munged"] = _munge(folder)
        running.start("slurmctld", "-D", "-i")
        running.start("slurmd", "-D")
        _wait_for("the node", folder, lambda: _state_of_node() == "idle")
        yield running
    finally:
        subprocess.run(["scancel", "--user=root"], check=False, capture_output=True)
        for daemon in reversed(running.daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(WAIT)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        end_jobs()
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _configure(folder: Path, cpus: int, memory: int) -> None:
    host = os.uname().nodename.partition(".")[0]
    facts = {"host": host, "folder": folder, "cpus": cpus, "memory": memory, "gpus": GPUS}
    ports = {"port": _free_port(), "node_port": _free_port()}
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    # Snakemake's plugin clears the names that start with SLURM_ before it calls srun in a job.
    srun = folder / "bin/srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    (folder / "slurm.conf").write_text(CONF.format(**facts, **ports))
    # Any device file does: the count of GPUs is what the tests are about.
    devices = [f"Name=gpu File=/dev/{name}" for name in ("zero", "full")]
    (folder / "gres.conf").write_text("\n".join(devices) + "\n")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _munge(folder: Path) -> subprocess.Popen[bytes]:
    """A munge daemon of its own, with a key of its own."""
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    folder.chmod(0o755)
    names = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={folder}/munge.{end}" for option, end in names.items()]
    daemon = subprocess.Popen(
        ["munged", "--foreground", "--force", f"--key-file={key}", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait_for("munged", folder, lambda: (folder / "munge.socket").exists())
    return daemon


def _state_of_node() -> str:
    command = ["sinfo", "--noheader", "--format=%T"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _wait_for(what: str, folder: Path, ready) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + WAIT
    while not ready():
        if time.monotonic() > end:
            logs = "\n".join(
                f"== {log.name}\n{log.read_text()[-2000:]}" for log in folder.glob("*.log")
            )
            raise RuntimeError(f"{what} did not come up in {WAIT:g} s\n{logs}")
        time.sleep(0.2)


def end_jobs() -> int:
    """Kill the processes of all jobs of this cluster, and first the daemons that watch them.

    A daemon that still watches would report the end of its job. Without control groups, SLURM loses
    processes that lost their parents.

    Returns:
        How many there were.
    """
    here = f"SLURM_CONF={os.environ['SLURM_CONF']}".encode()
    watching, working = [], []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            variables = (process / "environ").read_bytes().split(b"\0")
            if here not in variables:
                continue
            if (process / "comm").read_text() == "slurmstepd\n":
                watching.append(int(process.name))
            elif any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables):
                working.append(int(process.name))
    for pid in [*watching, *working]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(watching) + len(working)


if __name__ == "__main__":
    if missing():
        sys.exit(missing())
    with cluster():
        sys.exit(subprocess.run(sys.argv[1:] or ["bash"], check=False).returncode)
