"""One measurement, interleaved rounds of it over the contestants, medians and ratios.

A cell is one mode, one size and one number of connections. Within it the contestants take turns, round by round
(A B C, B C A, …), so that a slow minute of the machine falls on all of them, and ratios are taken within a round.
"""

import dataclasses
import os
import pathlib
import statistics

from .generators import Drive, Load, Stalled, generate
from .machine import BenchError
from .servers import Server

WARM_UP_SECONDS = 1
# Lines that an access log may still hold back in its writer when a measurement has ended.
LOG_BEHIND = 20_000
# h2load has been seen not to end when the machine was busy: it is run again, and the result says so.
TRIES = 2


@dataclasses.dataclass(frozen=True)
class Cell:
    mode: str
    size: int
    connections: int
    # instead of the size, where that does not tell what was asked for
    what: str = ""


@dataclasses.dataclass
class Sample:
    requests_per_second: float
    bytes_per_second: float
    cpu_per_gb: float
    server_busy: float
    load_busy: float
    rss: int
    # runs of the generator before this one that did not end
    stalls: int = 0


@dataclasses.dataclass
class Result:
    cell: Cell
    server: str
    samples: list[Sample]

    def median(self, field: str) -> float:
        return statistics.median(getattr(sample, field) for sample in self.samples)

    def rate_field(self) -> str:
        """Bodies that many connections share out may not end within a round: those are counted in bytes."""
        return "bytes_per_second" if self.cell.size >= 1 << 20 else "requests_per_second"

    def load_limited(self) -> bool:
        """The generator's core was full while the server's was not: the rate says little, CPU per GB says all."""
        return self.median("load_busy") > 0.93 and self.median("server_busy") < 0.93


def ratio(one: Result, other: Result, field: str) -> float:
    """The median over rounds of one / other, each within its round."""
    return statistics.median(getattr(a, field) / getattr(b, field) for a, b in zip(one.samples, other.samples))


@dataclasses.dataclass
class Plan:
    rounds: int
    seconds: int
    streams: int = 1
    lua: pathlib.Path | None = None
    within: tuple[str, ...] = ()


def run_cell(cell: Cell, path: str, servers: list[Server], plan: Plan, progress=print) -> list[Result]:
    for server in servers:
        measure(server, cell, path, dataclasses.replace(plan, seconds=WARM_UP_SECONDS))
    results = [Result(cell, server.name, []) for server in servers]
    for turn in range(plan.rounds):
        # Another one begins each round, so that nobody always follows the same neighbour.
        first = turn % len(servers)
        for server, result in [*zip(servers, results)][first:] + [*zip(servers, results)][:first]:
            result.samples.append(measure(server, cell, path, plan))
    for result in results:
        progress(
            f"  {cell.mode} {cell.what or f'{cell.size} B'} c={cell.connections} {result.server}: "
            f"{result.median('requests_per_second'):,.0f}/s {result.median('bytes_per_second') / 2**20:,.0f} MiB/s "
            f"{result.median('cpu_per_gb'):.3f} CPU s/GB"
        )
    return results


def measure(server: Server, cell: Cell, path: str, plan: Plan) -> Sample:
    for stalls in range(TRIES - 1):
        try:
            return dataclasses.replace(_measure_once(server, cell, path, plan), stalls=stalls)
        except Stalled:
            continue
    return dataclasses.replace(_measure_once(server, cell, path, plan), stalls=TRIES - 1)


def _measure_once(server: Server, cell: Cell, path: str, plan: Plan) -> Sample:
    if server.access_log:
        # Both writers append, so that an emptied file stays a file; it shall not fill the disk.
        os.truncate(server.access_log, 0)
    cpu = server.process.cpu_seconds()
    drive = Drive(cell.connections, plan.seconds, plan.streams, plan.lua, plan.within, server.headers)
    load = generate(cell.mode, f"{server.host}:{server.port(cell.mode)}", path, drive)
    cpu = server.process.cpu_seconds() - cpu
    _check(server, cell, load)
    return Sample(
        requests_per_second=load.requests / load.seconds,
        bytes_per_second=load.bytes / load.seconds,
        cpu_per_gb=cpu / (load.bytes / 1e9),
        server_busy=cpu / load.seconds,
        load_busy=load.cpu / load.seconds,
        rss=server.process.memory()[0],
    )


def _check(server: Server, cell: Cell, load: Load) -> None:
    """What the generators do not refuse: bodies that are too short, an access log that was not written, a server that fell."""
    if not server.process.alive():
        raise BenchError(f"{server.name} has ended:\n{server.process.last_words()}")
    if load.bytes == 0 or load.bytes < load.requests * cell.size:
        raise BenchError(f"{server.name}: {load.requests} answers of {cell.size} bytes in {load.bytes} bytes")
    if server.access_log:
        lines = count_lines(server.access_log)
        dropped = server.metric("entrepot_access_log_dropped_total") or 0
        if lines + dropped + LOG_BEHIND < load.requests:
            raise BenchError(f"{server.name}: {load.requests} requests, {lines} lines in the access log, {dropped:.0f} dropped")


def count_lines(path: pathlib.Path) -> int:
    lines = 0
    with open(path, "rb") as log:
        while piece := log.read(1 << 20):
            lines += piece.count(b"\n")
    return lines
