"""Servers as child processes: started on a core, measured as a whole tree, ended by their own pids.

Knows nothing of what it starts.
"""

import ctypes
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time

from .machine import NICE, BenchError, weigh

START_SECONDS = 20
STOP_SECONDS = 15
TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A server and whatever it forks."""

    def __init__(self, name: str, command: list[str], core: int | frozenset[int], log: pathlib.Path, env=None, nice=NICE, **popen):
        def prepare():
            os.sched_setaffinity(0, {core} if isinstance(core, int) else core)
            if nice:
                weigh(nice)
            # When a bench is killed outright, its servers end too.
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

        self.name = name
        self.log = log
        with open(log, "ab") as output:
            popen.setdefault("stdout", output)
            self.child = subprocess.Popen(
                command,
                stderr=output,
                preexec_fn=prepare,
                start_new_session=True,
                env={**os.environ, **(env or {})},
                **popen,
            )

    def await_ready(self, probe, seconds: float = START_SECONDS) -> None:
        """Waits until `probe()` is true; an exception counts as not yet."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                raise BenchError(f"{self.name} ended with {self.child.returncode}:\n{self.last_words()}")
            try:
                if probe():
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise BenchError(f"{self.name} is not ready after {seconds:g} s:\n{self.last_words()}")

    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def pids(self) -> list[int]:
        """The process and all its descendants."""
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (fields := _stat(int(entry))):
                children.setdefault(int(fields[1]), []).append(int(entry))
        found, queue = [], [self.child.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue += children.get(pid, [])
        return found

    def cpu_seconds(self) -> float:
        """User and system time so far. Without the kernel's IRQ_TIME_ACCOUNTING it holds the network's soft interrupts too."""
        ticks = 0
        for pid in self.pids():
            if fields := _stat(pid):
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def memory(self) -> tuple[int, int]:
        """(RSS, PSS) in bytes; PSS counts a page shared by n processes as 1/n."""
        rss = pss = 0
        for pid in self.pids():
            try:
                lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            for line in lines:
                if line.startswith("Rss:"):
                    rss += int(line.split()[1]) * 1024
                elif line.startswith("Pss:"):
                    pss += int(line.split()[1]) * 1024
        return rss, pss

    def forget_peak(self) -> None:
        """`peak_memory` counts from here on."""
        for pid in self.pids():
            try:
                pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
            except OSError:
                continue

    def peak_memory(self) -> int:
        """The most RSS so far, in bytes; of several processes the sum of each one's most."""
        peak = 0
        for pid in self.pids():
            try:
                found = re.search(r"^VmHWM:\s*(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
            except OSError:
                continue
            peak += int(found[1]) * 1024 if found else 0
        return peak

    def alive(self) -> bool:
        return self.child.poll() is None

    def stop(self) -> None:
        if not self.alive():
            return
        pids = self.pids()
        self.child.terminate()
        try:
            self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.child.wait(STOP_SECONDS)


def _stat(pid: int) -> list[str] | None:
    """/proc/PID/stat from the state on: [0] state, [1] parent, [11] utime, [12] stime."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


class Workspace:
    """A temporary folder and the processes that live in it; both are gone when it closes."""

    def __init__(self, parent: str | None = None):
        self._folder = tempfile.TemporaryDirectory(prefix="entrepot-bench-", dir=parent, ignore_cleanup_errors=True)
        self.path = pathlib.Path(self._folder.name)
        self.processes: list[Process] = []

    def folder(self, name: str) -> pathlib.Path:
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def start(self, name: str, command: list[str], core: int | frozenset[int], **options) -> Process:
        process = Process(name, command, core, self.path / f"{name}.log", **options)
        self.processes.append(process)
        return process

    def stop(self, process: Process) -> None:
        process.stop()
        self.processes.remove(process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.stop()
        self._folder.cleanup()
