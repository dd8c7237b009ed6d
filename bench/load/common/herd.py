"""The clients of cold_herd: one process, many sockets, every byte compared with what was pushed.

Run as a program with a JSON plan on its input (`port`, `path`, `clients`, `size`, `seed`, `limit` in seconds) it prints one JSON
line when all have ended or the limit is reached.
"""

import json
import selectors
import socket
import sys
import time

from .content import make

PIECE = 256 << 10
HEAD_LIMIT = 64 << 10


class Client:
    """Asks once; compares as the bytes come, so that no second copy of the body is held."""

    def __init__(self, port: int, expected: bytes):
        self.expected = expected
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setblocking(False)
        self.head = b""
        self.at = -1  # of the body; -1 while the head is read
        self.status = 0
        self.first_byte = None
        self.ended = None
        self.right = False

    def ask(self, request: bytes) -> None:
        self.began = time.monotonic()
        self.socket.send(request)

    def readable(self) -> bool:
        """False when it is over."""
        try:
            piece = self.socket.recv(PIECE)
        except BlockingIOError:
            return True
        except OSError:
            piece = b""
        if not piece:
            return self._end(False)
        if self.at < 0:
            self.head += piece
            head, found, piece = self.head.partition(b"\r\n\r\n")
            if not found:
                return len(self.head) < HEAD_LIMIT or self._end(False)
            self.status = int(head.split(b" ", 2)[1])
            self.at = 0
            if self.status != 200 or b"transfer-encoding: chunked" in head.lower():
                return self._end(False)
        if piece:
            if self.first_byte is None:
                self.first_byte = time.monotonic() - self.began
            if not self.expected.startswith(piece, self.at):
                return self._end(False)
            self.at += len(piece)
        return self.at < len(self.expected) or self._end(True)

    def _end(self, right: bool) -> bool:
        self.ended = time.monotonic() - self.began
        self.right = right
        self.socket.close()
        return False


def run(plan: dict) -> dict:
    expected = make(plan["size"], plan["seed"])
    clients = [Client(plan["port"], expected) for _ in range(plan["clients"])]
    request = f"GET {plan['path']} HTTP/1.1\r\nHost: 127.0.0.1:{plan['port']}\r\nUser-Agent: herd\r\n\r\n".encode()
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
    began = time.monotonic()
    for client in clients:
        client.ask(request)
    under_way = len(clients)
    while under_way and time.monotonic() - began < plan["limit"]:
        for key, _ in selector.select(0.2):
            if not key.data.readable():
                selector.unregister(key.fileobj)
                under_way -= 1
    return {
        "seconds": time.monotonic() - began,
        "first_bytes": sorted(client.first_byte for client in clients if client.first_byte is not None),
        "right": sum(client.right for client in clients),
        "wrong": sum(client.ended is not None and not client.right for client in clients),
        "under_way": under_way,
        "received": sum(max(client.at, 0) for client in clients),
    }


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
