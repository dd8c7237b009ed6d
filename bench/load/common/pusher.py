"""The clients of `push`: each pushes one blob as docker does: POST, one streamed PATCH in chunks of 32 KiB, empty PUT.

Run as a program with a JSON plan on its input's first line (`port`, `repository`, `clients`, `size`), it makes the content, says
`ready`, waits for a line, pushes, and prints one JSON line. What costs the processor other than sending (random bytes,
chunk headers, hashes) is done before `ready`. A client is a process of its own; they share all pages of the content
but the few that make each one's different.
"""

import hashlib
import json
import os
import resource
import socket
import sys
import time
import traceback

from .content import LOOPBACK, local_target, make

# What Go's HTTP client, and so docker, makes of a stream of unknown length.
CHUNK = 32 << 10
END = b"0\r\n\r\n"
HEAD_LIMIT = 64 << 10
ANSWER_SECONDS = 300
# Places in a blob that are different in each.
MARKS = 64
MARK = 16


class Content:
    """A chunked body, ready to be sent, that each process can make its own by overwriting some of it."""

    def __init__(self, size: int):
        data = make(size)
        self.size, self.body, self.places = size, bytearray(), []
        for at in range(0, size, CHUNK):
            piece = data[at : at + CHUNK]
            self.body += b"%x\r\n" % len(piece)
            self.places.append((len(self.body), len(piece)))
            self.body += piece + b"\r\n"
        self.body += END

    def make_own(self) -> str:
        """The digest of content that nobody has pushed before."""
        for place, length in self.places[:: max(1, len(self.places) // MARKS)]:
            self.body[place : place + min(MARK, length)] = os.urandom(min(MARK, length))
        view, hasher = memoryview(self.body), hashlib.sha256()
        for place, length in self.places:
            hasher.update(view[place : place + length])
        return "sha256:" + hasher.hexdigest()


class Client:
    def __init__(self, port: int):
        self.host = f"{LOOPBACK}:{port}".encode()
        self.socket = socket.create_connection((LOOPBACK, port), timeout=ANSWER_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def ask(self, method: bytes, target: str, status: int, fields: bytes = b"Content-Length: 0\r\n", body=b"") -> dict[str, str]:
        """The answer's fields. Raises unless it has the status wanted."""
        head = method + b" " + target.encode() + b" HTTP/1.1\r\nHost: " + self.host + b"\r\nUser-Agent: bench\r\n" + fields
        self.socket.sendall(head + b"\r\n")
        if body:
            self.socket.sendall(body)
        while b"\r\n\r\n" not in self.rest:
            piece = self.socket.recv(HEAD_LIMIT)
            if not piece or len(self.rest) > HEAD_LIMIT:
                raise ConnectionError(f"no answer to {method.decode()}")
            self.rest += piece
        answer, _, self.rest = self.rest.partition(b"\r\n\r\n")
        first, *lines = answer.decode().split("\r\n")
        found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if int(first.split()[1]) != status:
            raise ConnectionError(f"{method.decode()} was answered with {first}: {self.rest[:300]!r}")
        if int(found.get("content-length", 0)) != len(self.rest):
            raise ConnectionError(f"{method.decode()} was answered with an unexpected body")
        return found


def push(port: int, repository: str, content: Content, digest: str) -> tuple[float, float]:
    """Begin and end by the clock that all processes share."""
    began = time.monotonic()
    client = Client(port)
    opened = client.ask(b"POST", f"/v2/{repository}/blobs/uploads/", 202)
    streamed = b"Transfer-Encoding: chunked\r\nContent-Type: application/octet-stream\r\n"
    patched = client.ask(b"PATCH", local_target(opened["location"]), 202, streamed, content.body)
    target = local_target(patched["location"])
    client.ask(b"PUT", target + ("&" if "?" in target else "?") + "digest=" + digest, 201)
    return began, time.monotonic()


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def child(plan: dict, content: Content, ready: int, go: int, result: int) -> None:
    """Never returns: what a client learns goes through the pipe."""
    try:
        digest = content.make_own()
        os.write(ready, b".")
        os.read(go, 1)
        cpu = cpu_seconds()
        began, ended = push(plan["port"], plan["repository"], content, digest)
        line = {"began": began, "ended": ended, "digest": digest, "cpu": cpu_seconds() - cpu}
    except BaseException:  # a client's end is never the parent's
        line = {"error": traceback.format_exc()}
    os.write(result, json.dumps(line).encode() + b"\n")
    os._exit(0)


def main() -> None:
    plan = json.loads(sys.stdin.readline())
    content = Content(plan["size"])
    ready, go, result = os.pipe(), os.pipe(), os.pipe()
    for _ in range(plan["clients"]):
        if os.fork() == 0:
            child(plan, content, ready[1], go[0], result[1])
    for _ in range(plan["clients"]):
        os.read(ready[0], 1)
    print("ready", flush=True)
    sys.stdin.readline()
    os.write(go[1], b"." * plan["clients"])
    with os.fdopen(result[0]) as lines:
        outcomes = [json.loads(lines.readline()) for _ in range(plan["clients"])]
    for _ in range(plan["clients"]):
        os.wait()
    print(json.dumps(outcomes), flush=True)


if __name__ == "__main__":
    main()
