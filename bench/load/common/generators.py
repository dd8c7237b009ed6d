"""wrk and h2load: run on the load core, read, and refused when anything but the wanted answers came."""

import dataclasses
import json
import pathlib
import re
import resource
import subprocess

from .machine import LOAD_CORE, BenchError, tool

HERE = pathlib.Path(__file__).resolve().parent
# Above this no answer is late, it is lost.
ANSWER_SECONDS = 60
STOP_SECONDS = 75
H2LOAD_STOP_SECONDS = 20


@dataclasses.dataclass
class Load:
    """What the generator saw."""

    requests: int
    bytes: int
    seconds: float
    # CPU seconds of the generator itself
    cpu: float


class Stalled(BenchError):
    """The generator did not end."""


@dataclasses.dataclass
class Drive:
    """How hard, and from where."""

    connections: int
    seconds: int
    # requests at once on an h2 connection
    streams: int = 1
    # wrk's script; none: the same address again and again
    lua: pathlib.Path | None = None
    # stands before the generator's command, such as `ip netns exec NAME`
    within: tuple[str, ...] = ()
    # `Name: value`, with every request
    headers: tuple[str, ...] = ()

    def shown(self) -> list[str]:
        return [word for header in self.headers for word in ("-H", header)]


def generate(mode: str, authority: str, path: str, drive: Drive) -> Load:
    """`mode`: plain and tls are HTTP/1.1 by wrk, h2 is HTTP/2 over TLS by h2load."""
    url = f"{'http' if mode == 'plain' else 'https'}://{authority}{path}"
    return _h2load(url, drive) if mode == "h2" else _wrk(url, drive)


def _run(command: list[str], drive: Drive, stop_seconds: int) -> tuple[str, float]:
    """(output, CPU seconds). Servers are not waited for meanwhile, so the children's usage is the generator's."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            ["taskset", "-c", str(LOAD_CORE), *drive.within, *command],
            capture_output=True, text=True, timeout=drive.seconds + stop_seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Stalled(f"{' '.join(command)} did not end within {error.timeout:g} s") from error
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, cpu


def _wrk(url: str, drive: Drive) -> Load:
    command = [tool("wrk"), "-t1", f"-c{drive.connections}", f"-d{drive.seconds}s", "--timeout", f"{ANSWER_SECONDS}s"]
    output, cpu = _run([*command, *drive.shown(), "-s", str(drive.lua or HERE / "report.lua"), url], drive, STOP_SECONDS)
    found = re.search(r"^summary (\{.*\})$", output, re.MULTILINE)
    if not found:
        raise BenchError(f"wrk did not end as expected:\n{output}")
    summary = json.loads(found[1])
    wrong = {kind: summary[kind] for kind in ("connect", "read", "write", "status", "timeout") if summary[kind]}
    if wrong:
        raise BenchError(f"wrk against {url}: errors {wrong}; the figures would be worth nothing")
    return Load(summary["requests"], summary["bytes"], summary["microseconds"] / 1e6, cpu)


def _h2load(url: str, drive: Drive) -> Load:
    command = [tool("h2load"), "-t1", f"-c{drive.connections}", f"-m{drive.streams}", f"-D{drive.seconds}"]
    output, cpu = _run([*command, *drive.shown(), f"-N{ANSWER_SECONDS}s", url], drive, H2LOAD_STOP_SECONDS)
    requests = re.search(
        r"requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output
    )
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
    traffic = re.search(r"traffic: \S+ \((\d+)\) total", output)
    finished = re.search(r"finished in ([\d.]+)(m?s)", output)
    if not (requests and codes and traffic and finished):
        raise BenchError(f"h2load did not end as expected:\n{output}")
    if any(int(requests[n]) for n in (4, 5, 6)) or any(int(codes[n]) for n in (2, 3, 4)):
        raise BenchError(f"h2load against {url}: {requests[0]}; {codes[0]}; the figures would be worth nothing")
    unit = 1 if finished[2] == "s" else 1e-3
    return Load(int(requests[2]), int(traffic[1]), float(finished[1]) * unit, cpu)
