"""Blobs: made, pushed through the registry's own API, fetched through a server and checked."""

import dataclasses
import hashlib
import http.client
import random
import re
import ssl
import subprocess
import urllib.parse

from .machine import LOAD_CORE, BenchError, tool

REPOSITORY_NAME = "bench"
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
TIMEOUT = 120
LOOPBACK = "127.0.0.1"


@dataclasses.dataclass(frozen=True)
class Blob:
    size: int
    digest: str

    @property
    def path(self) -> str:
        return f"/v2/{REPOSITORY_NAME}/blobs/{self.digest}"


def parse_size(text: str) -> int:
    """`4k`, `16m`, `64KiB`, `512`: bytes."""
    found = re.fullmatch(r"(\d+)\s*([kmg]?)(ib|b)?", text.strip().lower())
    if not found:
        raise BenchError(f"{text!r} is not a size such as 4k, 1m, 64KiB")
    return int(found[1]) * UNITS[found[2]]


def show_size(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def make(size: int, seed: int = 1) -> bytes:
    """The same incompressible bytes for the same size and seed."""
    return random.Random(f"{size}/{seed}").randbytes(size)


def of(body: bytes) -> Blob:
    return Blob(len(body), "sha256:" + hashlib.sha256(body).hexdigest())


def connect(port: int, tls: bool = False, host: str = LOOPBACK) -> http.client.HTTPConnection:
    if not tls:
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    # The certificate is the bench's own, made minutes ago; who the server is, is not in question.
    context = ssl._create_unverified_context()
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)


def status_of(port: int, path: str, host: str = LOOPBACK) -> int:
    """One GET; the status. Raises OSError while nobody listens."""
    connection = connect(port, host=host)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


def local_target(location: str) -> str:
    """The path and query of a Location, absolute or not."""
    parts = urllib.parse.urlsplit(location)
    return parts.path + ("?" + parts.query if parts.query else "")


def push(connection: http.client.HTTPConnection, body: bytes, repository: str = REPOSITORY_NAME) -> Blob:
    """POST, then PUT with the whole body."""
    blob = of(body)
    connection.request("POST", f"/v2/{repository}/blobs/uploads/", headers={"Content-Length": "0"})
    opened = connection.getresponse()
    opened.read()
    if opened.status != 202:
        raise BenchError(f"the registry answered {opened.status} to an upload's POST")
    target = local_target(opened.headers["Location"])
    target += ("&" if "?" in target else "?") + "digest=" + blob.digest
    connection.request("PUT", target, body=body, headers={"Content-Type": "application/octet-stream"})
    stored = connection.getresponse()
    stored.read()
    if stored.status != 201:
        raise BenchError(f"the registry answered {stored.status} to an upload's PUT")
    return blob


def push_all(port: int, sizes: list[int], seeds: range = range(1)) -> list[Blob]:
    connection = connect(port)
    try:
        return [push(connection, make(size, seed)) for size in sizes for seed in seeds]
    finally:
        connection.close()


def check(port: int, blobs: list[Blob], tls: bool = False, times: int = 2, host: str = LOOPBACK) -> None:
    """Fetches each blob `times` times: fills the cache and proves every byte. Raises on anything wrong."""
    connection = connect(port, tls, host)
    try:
        for blob in blobs:
            for _ in range(times):
                connection.request("GET", blob.path)
                response = connection.getresponse()
                body = response.read()
                if response.status != 200 or of(body) != blob:
                    raise BenchError(
                        f"port {port} answered {response.status} with {len(body)} bytes "
                        f"that are not {blob.digest} ({blob.size} bytes)"
                    )
    finally:
        connection.close()


def check_h2(port: int, blobs: list[Blob]) -> None:
    """The same over HTTP/2, with curl."""
    for blob in blobs:
        done = subprocess.run(
            ["taskset", "-c", str(LOAD_CORE), tool("curl"), "-sSk", "--http2", "--max-time", str(TIMEOUT),
             "-w", "%{stderr}%{http_version} %{http_code}", f"https://127.0.0.1:{port}{blob.path}"],
            capture_output=True, check=False,
        )  # fmt: skip
        if done.stderr.decode(errors="replace").strip() != "2 200" or of(done.stdout) != blob:
            raise BenchError(f"port {port} over HTTP/2: {done.stderr.decode(errors='replace')}, {len(done.stdout)} bytes")
