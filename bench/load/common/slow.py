"""Clients that are slow: readers over TLS, uploads over HTTP/2, and connections that are merely idle."""

import collections
import socket
import time

from . import h2frames, shaker
from .h2frames import DATA, END_HEADERS, HEADERS
from .siege import DEAF, TICK_SECONDS, Behaviour, Link

# The kernel shall not take for a reader what it has not read.
SMALL_BUFFER = 4 << 10
READ = 1 << 10


class Upload(Behaviour):
    """One PATCH whose body does not come; notes when and how the server ended it."""

    again = False
    unit = "uploads"
    piece = b""

    def __init__(self, plan: dict, number: int):
        super().__init__(plan, number)
        self.began = 0.0
        self.end: tuple[float, str] | None = None

    def more(self, link: Link) -> bytes:
        if self.sent:
            return b""
        self.sent, self.began = 1, time.monotonic()
        path = self.plan["uploads"][self.number % len(self.plan["uploads"])]
        return h2frames.frame(HEADERS, END_HEADERS, self.next_stream(), h2frames.request(path, "PATCH"))

    def tick(self, link: Link) -> bytes:
        return self.piece if self.sent and self.end is None else b""

    def ended(self, link: Link, stream: int, how: str) -> None:
        if self.end is None:
            self.end = time.monotonic() - self.began, how

    def over(self, how: str) -> None:
        self.ended(None, self.stream, how)


class Silent(Upload):
    pass


class Empty(Upload):
    piece = h2frames.frame(DATA, 0, 1)


class Dripping(Upload):
    piece = h2frames.frame(DATA, 0, 1, b"x")


class Readers:
    """Connections over TLS that ask for a large blob and read a KiB a second of what the network carries."""

    request = True

    def __init__(self, plan: dict):
        self.plan, self.sockets, self.deaf, self.bytes = plan, [], 0, 0
        self.ends = collections.Counter()

    def open(self) -> None:
        tls = shaker.context("1.3")
        asks = f"GET {self.plan['large']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() if self.request else b""
        while len(self.sockets) < self.plan["connections"] and self.deaf < DEAF:
            try:
                connection = shaker.Connection(tls, self.plan["port"], receive_buffer=SMALL_BUFFER)
                connection.shake()
                connection.send(asks)
            except OSError:
                self.deaf += 1
                continue
            self.deaf = 0
            # The rest is not decrypted: nobody wants it.
            connection.socket.setblocking(False)
            self.sockets.append(connection.socket)

    def run(self, seconds: float) -> None:
        began = time.monotonic()
        due = began
        while (now := time.monotonic()) - began < seconds:
            time.sleep(max(0.0, due - now))
            due = max(due, now) + TICK_SECONDS
            self.sockets = [one for one in self.sockets if self._reads(one)]

    def close(self) -> dict:
        for one in self.sockets:
            one.close()
        made = len(self.sockets) + sum(self.ends.values())
        return {
            "made": made, "deaf": self.deaf, "sent": made, "bytes": self.bytes, "held": len(self.sockets),
            "ends": self.ends, "resets": {}, "answers": {},
        }  # fmt: skip

    def _reads(self, one: socket.socket) -> bool:
        """False when the server has ended it."""
        try:
            piece = one.recv(READ)
        except BlockingIOError:
            return True
        except OSError:
            piece = b""
        self.bytes += len(piece)
        if not piece:
            one.close()
            self.ends["closed"] += 1
        return bool(piece)


class IdleTls(Readers):
    """Connections that did their handshake."""

    request = False
