"""The clients of idle: TLS connections that ask once and then stay open.

Run as a program (arguments: PORT PATH CONNECTIONS PROTOCOL, the last h1 or h2) it opens them one after the other and prints
`open`; for each line on its input it asks again on every connection and prints how many answered as they should. The end of
its input closes all.
"""

import socket
import ssl
import sys

from . import h2frames
from .h2frames import ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RESET, SETTINGS

ANSWER_SECONDS = 30


class Http1:
    def __init__(self, connection: ssl.SSLSocket, path: str):
        self.connection = connection
        self.request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: holder\r\n\r\n".encode()

    def ask(self) -> bool:
        self.connection.sendall(self.request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += _some(self.connection)
        head, _, body = answer.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        missing = int(fields[b"content-length"]) - len(body)
        while missing > 0:
            missing -= len(_some(self.connection))
        return head.startswith(b"HTTP/1.1 200 ") and b"close" not in fields.get(b"connection", b"")


class Http2:
    """As much of HTTP/2 as one GET at a time needs."""

    def __init__(self, connection: ssl.SSLSocket, path: str):
        self.connection = connection
        self.buffer = b""
        self.stream = -1
        self.block = h2frames.request(path, scheme=h2frames.SCHEME_HTTPS)
        # The kernel's default of 64 KiB is enough for the answers here; nothing is raised.
        connection.sendall(PREFACE + h2frames.frame(SETTINGS, 0, 0, b""))

    def ask(self) -> bool:
        self.stream += 2
        self.connection.sendall(h2frames.frame(HEADERS, END_STREAM | END_HEADERS, self.stream, self.block))
        right = False
        while True:
            kind, flags, stream, body = self._read()
            if kind == SETTINGS and not flags & ACK:
                self.connection.sendall(h2frames.frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                self.connection.sendall(h2frames.frame(PING, ACK, 0, body))
            elif kind in (GOAWAY, RESET):
                return False
            elif stream == self.stream and kind == HEADERS:
                # :status 200 is entry 8 of the static table; a table size update may stand before it.
                right = b"\x88" in body[:8]
            elif kind == DATA and body:
                more = len(body)
                self.connection.sendall(h2frames.window_update(0, more) + h2frames.window_update(stream, more))
            if stream == self.stream and flags & END_STREAM and kind in (DATA, HEADERS):
                return right

    def _read(self) -> tuple[int, int, int, bytes]:
        head = self._take(9)
        length = int.from_bytes(head[:3], "big")
        return head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF, self._take(length)

    def _take(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self.buffer += _some(self.connection)
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken


def _some(connection: ssl.SSLSocket) -> bytes:
    piece = connection.recv(64 << 10)
    if not piece:
        raise ConnectionError("closed by the server")
    return piece


def open_one(context: ssl.SSLContext, port: int, path: str, protocol: str):
    raw = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
    connection = context.wrap_socket(raw, server_hostname="localhost")
    return (Http2 if protocol == "h2" else Http1)(connection, path)


def main(port: int, path: str, count: int, protocol: str) -> None:
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["h2" if protocol == "h2" else "http/1.1"])
    held = [open_one(context, port, path, protocol) for _ in range(count)]
    if not all(client.ask() for client in held):
        raise SystemExit("an answer was not 200")
    print("open", flush=True)
    while sys.stdin.readline():
        print(sum(_asks(client) for client in held), flush=True)


def _asks(client) -> bool:
    try:
        return client.ask()
    except OSError:
        return False


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
