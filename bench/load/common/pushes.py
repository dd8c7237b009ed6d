"""One measurement of pushes: clients as processes of their own, the server's CPU and memory meanwhile, the content checked."""

import dataclasses
import json
import os
import subprocess

from . import content
from .machine import ALL_CORES, LOAD_FOLDER, BenchError, program
from .processes import Process, Workspace
from .servers import Server


@dataclasses.dataclass
class Sample:
    bytes_per_second: float
    # of the server, of its storage's process, and of the clients
    cpu_per_gb: float
    storage_cpu_per_gb: float
    client_cpu_per_gb: float
    peak: int


def push(ws: Workspace, server: Server, clients: int, size: int, storage: Process | None = None, verify: bool = True) -> Sample:
    """`clients` pushes at once of `size` new bytes each, timed from the first POST to the last 201."""
    plan = {"port": server.plain, "repository": content.REPOSITORY_NAME, "clients": clients, "size": size}
    pusher = ws.start(
        "pusher", program("pusher"), ALL_CORES, cwd=LOAD_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    pusher.child.stdin.write(json.dumps(plan) + "\n")
    pusher.child.stdin.flush()
    _line(pusher, "ready")
    # What was written before is not paid for now.
    os.sync()
    server.process.forget_peak()
    watched = [server.process, *([storage] if storage else [])]
    before = [process.cpu_seconds() for process in watched]
    pusher.child.stdin.write("go\n")
    pusher.child.stdin.flush()
    outcomes = json.loads(_line(pusher))
    spent = [process.cpu_seconds() - cpu for process, cpu in zip(watched, before)]
    ws.stop(pusher)
    if wrong := [outcome["error"] for outcome in outcomes if "error" in outcome]:
        raise BenchError(f"{server.name}: {len(wrong)} of {clients} pushes failed:\n{wrong[0]}\n{server.process.last_words()}")
    if verify:
        for outcome in outcomes:
            _is_there(server, outcome["digest"], size)
    seconds = max(outcome["ended"] for outcome in outcomes) - min(outcome["began"] for outcome in outcomes)
    gigabytes = clients * size / 1e9
    return Sample(
        bytes_per_second=clients * size / seconds,
        cpu_per_gb=spent[0] / gigabytes,
        storage_cpu_per_gb=sum(spent[1:]) / gigabytes,
        client_cpu_per_gb=sum(outcome["cpu"] for outcome in outcomes) / gigabytes,
        peak=server.process.peak_memory(),
    )


def _line(pusher: Process, expected: str | None = None) -> str:
    line = pusher.child.stdout.readline().strip()
    if not line or (expected and line != expected):
        raise BenchError(f"the clients failed:\n{pusher.last_words()}")
    return line


def _is_there(server: Server, digest: str, size: int) -> None:
    """The registry verified the bytes before its 201; that it serves them is seen here."""
    connection = content.connect(server.plain)
    try:
        connection.request("HEAD", content.Blob(size, digest).path)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200 or int(answer.headers["Content-Length"]) != size:
            raise BenchError(f"{server.name} answered {answer.status} to HEAD of {digest}, which it had taken")
    finally:
        connection.close()
