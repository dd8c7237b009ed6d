"""Attackers' HTTP/2 connections on a plain listener, all in one loop: what each sends is a `Behaviour`, how it ended is counted.

Who is thrown out comes again, as an attacker would.
"""

import collections
import selectors
import socket
import time

from . import content, h2frames
from .h2frames import ACK, DATA, END_STREAM, GOAWAY, HEADERS, PING, RESET, SETTINGS

CONNECT_SECONDS = 3
PIECE = 64 << 10
TICK_SECONDS = 1
# So many connections in a row that nobody takes: the server is deaf, and asking on would only take its time.
DEAF = 5


class Behaviour:
    """What one connection does. The methods that send return bytes, which leave as fast as the server takes them."""

    settings: dict[int, int] = {}
    # whether it takes what the server sends, once it has its SETTINGS
    reads = True
    # whether another connection follows when the server ended this one
    again = True
    # what `sent` counts
    unit = "requests"

    def __init__(self, plan: dict, number: int):
        self.plan, self.number, self.sent, self.stream = plan, number, 0, -1

    def more(self, link: "Link") -> bytes:
        """Asked whenever nothing waits to be sent; nothing for now: asked again when a frame came or a second has passed."""
        return b""

    def ended(self, link: "Link", stream: int, how: str) -> None:
        """The server is done with a stream."""

    def tick(self, link: "Link") -> bytes:
        """Once a second."""
        return b""

    def over(self, how: str) -> None:
        """The connection has ended."""

    def next_stream(self) -> int:
        self.stream += 2
        return self.stream


class Link:
    """One connection: what waits to be sent, what came of it."""

    def __init__(self, port: int, behaviour: Behaviour):
        self.behaviour = behaviour
        self.socket = socket.create_connection((content.LOOPBACK, port), timeout=CONNECT_SECONDS)
        self.socket.setblocking(False)
        self.waiting = h2frames.PREFACE + h2frames.settings(h2frames.NO_TABLE | behaviour.settings)
        self.reader = h2frames.Reader()
        # None until the server's SETTINGS came
        self.max_streams: int | None = None
        self.said: str | None = None


class Siege:
    def __init__(self, port: int, make, count: int):
        self.port, self.make, self.wanted = port, make, count
        self.selector = selectors.DefaultSelector()
        self.links: list[Link] = []
        self.made, self.deaf, self.bytes, self.sent = 0, 0, 0, 0
        # by cause: ended connections, streams that the server reset; answers by status
        self.ends, self.resets, self.answers = collections.Counter(), collections.Counter(), collections.Counter()

    def open(self) -> None:
        while len(self.links) < self.wanted and self.deaf < DEAF:
            behaviour = self.make(self.made)
            try:
                link = Link(self.port, behaviour)
            except OSError:
                self.deaf += 1
                continue
            self.made, self.deaf = self.made + 1, 0
            self.links.append(link)
            self.selector.register(link.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, link)

    def run(self, seconds: float) -> None:
        began = ticked = time.monotonic()
        while (now := time.monotonic()) - began < seconds:
            ready = self.selector.select(0.1)
            for key, events in ready:
                self._serve(key.data, events)
            if now - ticked >= TICK_SECONDS:
                ticked = now
                self._tick()
            if not ready and not self.links:
                time.sleep(0.1)

    def close(self) -> dict:
        for link in self.links:
            self.sent += link.behaviour.sent
            link.socket.close()
        return {
            "made": self.made, "deaf": self.deaf, "sent": self.sent, "bytes": self.bytes,
            "held": len(self.links), "ends": self.ends, "resets": self.resets, "answers": self.answers,
        }  # fmt: skip

    def _tick(self) -> None:
        for link in self.links[:]:
            if link.max_streams is not None:
                link.waiting += link.behaviour.tick(link)
                self._wants(link, True)

    def _serve(self, link: Link, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                self._read(link)
            if events & selectors.EVENT_WRITE:
                self._write(link)
        except OSError as error:
            self._last_words(link)
            self._end(link, link.said or ("reset" if isinstance(error, ConnectionResetError) else "closed"))

    def _read(self, link: Link) -> None:
        try:
            piece = link.socket.recv(PIECE)
        except BlockingIOError:
            return
        if not piece:
            raise ConnectionError("closed")
        for kind, flags, stream, body in link.reader.frames(piece):
            self._frame(link, kind, flags, stream, body)
        self._wants(link, True)

    def _last_words(self, link: Link) -> None:
        """What came before the connection was closed: the GOAWAY that says why, perhaps."""
        try:
            while piece := link.socket.recv(PIECE):
                for kind, flags, stream, body in link.reader.frames(piece):
                    self._frame(link, kind, flags, stream, body)
        except OSError:
            pass

    def _frame(self, link: Link, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            link.max_streams = _max_streams(body)
            link.waiting += h2frames.frame(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            link.waiting += h2frames.frame(PING, ACK, 0, body)
        elif kind == GOAWAY:
            link.said = f"GOAWAY {h2frames.error(body[4:])}"
        elif kind == RESET:
            self.resets[h2frames.error(body)] += 1
            link.behaviour.ended(link, stream, f"RST_STREAM {h2frames.error(body)}")
        elif kind == HEADERS:
            status = h2frames.status(body)
            self.answers[status] += 1
            if flags & END_STREAM:
                link.behaviour.ended(link, stream, f"{status}")
        elif kind == DATA and flags & END_STREAM:
            link.behaviour.ended(link, stream, "an answer")

    def _write(self, link: Link) -> None:
        if not link.waiting and link.max_streams is not None:
            link.waiting = link.behaviour.more(link)
        if link.waiting:
            try:
                taken = link.socket.send(link.waiting)
            except BlockingIOError:
                return
            self.bytes += taken
            link.waiting = link.waiting[taken:]
        else:
            self._wants(link, False)

    def _wants(self, link: Link, to_write: bool) -> None:
        reads = link.behaviour.reads or link.max_streams is None
        events = (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if to_write or not reads else 0)
        if self.selector.get_key(link.socket).events != events:
            self.selector.modify(link.socket, events, link)

    def _end(self, link: Link, how: str) -> None:
        self.selector.unregister(link.socket)
        link.socket.close()
        self.links.remove(link)
        self.ends[how] += 1
        self.sent += link.behaviour.sent
        link.behaviour.over(how)
        if link.behaviour.again:
            self.open()
        else:
            self.wanted -= 1


def _max_streams(body: bytes) -> int:
    """What the server's SETTINGS allow; 100 where they allow any number."""
    values = {int.from_bytes(body[at : at + 2], "big"): int.from_bytes(body[at + 2 : at + 6], "big") for at in range(0, len(body), 6)}
    return values.get(h2frames.MAX_STREAMS, 100)
