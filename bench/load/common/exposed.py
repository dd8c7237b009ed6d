"""Entrepot as strangers reach it: its limits as they come, two workers, a plain and a TLS listener before one registry.

Servers of one `Site` follow each other over one cache folder, so that the disk tier is filled once.
"""

import pathlib
import threading

from . import content, machine, processes, servers
from .processes import Process, Workspace

WORKERS = 2
SMALL, LARGE, DISK = 4 << 10, 1 << 20, 2 << 20
DISK_BLOBS = 200
REPOSITORY_PATH = f"/v2/{content.REPOSITORY_NAME}/blobs"
ABSENT = f"{REPOSITORY_PATH}/sha256:{'0' * 64}"
SAMPLE_SECONDS = 0.1


class Site:
    """The registry and what is kept of it."""

    def __init__(self, ws: Workspace):
        self.ws, self.started = ws, 0
        self.origin = servers.origin(ws)
        self.small, self.large = content.push_all(self.origin.port, [SMALL, LARGE])
        self.disk = content.push_all(self.origin.port, [DISK], range(DISK_BLOBS))
        self.cache = ws.folder("cache")
        server = self.start()
        content.check(server.plain, self.disk, times=1)
        ws.stop(server.process)

    def start(self, body: str | None = None, open_files: int = servers.OPEN_FILES) -> servers.Server:
        """`body` is timeouts.body, `open_files` the process's limit; the cache holds all blobs, memory the small and the large one."""
        self.started += 1
        name = f"entrepot-{self.started}"
        plain, tls, admin = (processes.free_port() for _ in range(3))
        path = self.ws.folder(name) / "entrepot.toml"
        path.write_text(self._configuration(name, plain, tls, admin, body))
        limit = [machine.tool("prlimit"), f"--nofile={open_files}:{open_files}"]
        process = self.ws.start(name, [*limit, machine.entrepot(), "serve", "--config", str(path)], machine.ALL_CORES)
        process.await_ready(lambda: content.status_of(admin, "/readyz") == 200 and content.status_of(plain, "/v2/") == 200)
        content.check(plain, [self.small, self.large])
        return servers.Server(name, process, plain, tls, admin)

    def uploads(self, server: servers.Server, count: int) -> list[str]:
        """Opened and empty; what PATCH is sent to."""
        # A registry that another run kept from answering in time is out for some seconds.
        server.process.await_ready(lambda: self._upload(server) is not None)
        opened = [self._upload(server) for _ in range(count)]
        if None in opened:
            raise machine.BenchError(f"{server.name} does not open uploads")
        return opened

    def _upload(self, server: servers.Server) -> str | None:
        connection = content.connect(server.plain)
        connection.request("POST", f"{REPOSITORY_PATH}/uploads/", headers={"Content-Length": "0"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return content.local_target(answer.headers["Location"]) if answer.status == 202 else None

    def _configuration(self, name: str, plain: int, tls: int, admin: int, body: str | None) -> str:
        chain, key = servers.certificate(self.ws)
        timeouts = f'timeouts = {{ body = "{body}" }}' if body else ""
        # What a peer said holds for the whole run, and the disk's blobs are too large for the memory tier.
        return f"""threads = {WORKERS}

[[listener]]
address = "127.0.0.1:{plain}"
{timeouts}

[[listener]]
address = "127.0.0.1:{tls}"
tls = [{{ certificate = "{chain}", key = "{key}" }}]
{timeouts}

[admin]
address = "127.0.0.1:{admin}"

[log]
access = "{self.ws.path / name}/access.log"
level = "warn"

[drain]
timeout = "1s"

[cache]
memory = "64MiB"
memory_max_object = "{LARGE}"
disk = "10GiB"
path = "{self.cache}"

[cluster.main]
peers = ["127.0.0.1:{self.origin.port}"]
permission = "ask_peer"
verdict_ttl = "1h"

[[route]]
read = "cluster.main"
write = "cluster.main"
"""


class OpenFiles(threading.Thread):
    """The most that a process had, looked at ten times a second."""

    def __init__(self, process: Process):
        super().__init__(daemon=True)
        self.folder = pathlib.Path(f"/proc/{process.child.pid}/fd")
        self.most, self.over = 0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.wait(SAMPLE_SECONDS):
            try:
                self.most = max(self.most, sum(1 for _ in self.folder.iterdir()))
            except OSError:
                continue

    def end(self) -> int:
        self.over.set()
        self.join()
        return self.most
