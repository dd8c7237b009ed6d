"""An origin that takes uploads and forgets them: it lets a push measure the proxy instead of the registry's disk.

Run as a program it prints its port. It answers what a registry answers to POST, PATCH and PUT of an upload, and GET /v2/.
"""

import re
import socket
import sys
import threading

HEAD_LIMIT = 64 << 10
PIECE = 1 << 20
LOCATION = b"/v2/bench/blobs/uploads/5ad0cf2e-4a1c-4b7f-9b51-6a4e9c0f2f11"


class Connection(threading.Thread):
    def __init__(self, connection: socket.socket):
        super().__init__(daemon=True)
        self.socket = connection
        self.buffer = bytearray(PIECE)
        self.rest = b""

    def run(self) -> None:
        try:
            while self._one():
                pass
        except OSError:
            pass
        finally:
            self.socket.close()

    def _one(self) -> bool:
        head = self._head()
        if head is None:
            return False
        method = head.split(b" ", 1)[0]
        if re.search(rb"^expect: *100-continue", head, re.IGNORECASE | re.MULTILINE):
            self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        taken = self._chunked() if re.search(rb"^transfer-encoding: *chunked", head, re.I | re.M) else self._sized(head)
        self.socket.sendall(_answer(method, taken))
        return True

    def _head(self) -> bytes | None:
        while b"\r\n\r\n" not in self.rest:
            piece = self.socket.recv(HEAD_LIMIT)
            if not piece or len(self.rest) > HEAD_LIMIT:
                return None
            self.rest += piece
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        return head

    def _sized(self, head: bytes) -> int:
        found = re.search(rb"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
        length = int(found[1]) if found else 0
        self._skip(length)
        return length

    def _chunked(self) -> int:
        total = 0
        while True:
            while b"\r\n" not in self.rest:
                self.rest += self._receive()
            line, _, self.rest = self.rest.partition(b"\r\n")
            size = int(line.split(b";")[0], 16)
            self._skip(size + 2)
            if size == 0:
                return total
            total += size

    def _skip(self, count: int) -> None:
        used = min(count, len(self.rest))
        self.rest, count = self.rest[used:], count - used
        while count > 0:
            got = self.socket.recv_into(self.buffer, min(count, PIECE))
            if got == 0:
                raise ConnectionError("the body ended early")
            count -= got

    def _receive(self) -> bytes:
        piece = self.socket.recv(HEAD_LIMIT)
        if not piece:
            raise ConnectionError("the body ended early")
        return piece


def _answer(method: bytes, taken: int) -> bytes:
    status, fields = {
        b"POST": (b"202 Accepted", b"Location: " + LOCATION + b"\r\nRange: 0-0\r\n"),
        b"PATCH": (b"202 Accepted", b"Location: " + LOCATION + b"\r\nRange: 0-%d\r\n" % max(taken - 1, 0)),
        b"PUT": (b"201 Created", b"Location: /v2/bench/blobs/sha256:0\r\n"),
    }.get(method, (b"200 OK", b""))
    return (
        b"HTTP/1.1 " + status + b"\r\nDocker-Distribution-Api-Version: registry/2.0\r\n" + fields + b"Content-Length: 0\r\n\r\n"
    )


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        Connection(connection).start()


if __name__ == "__main__":
    sys.exit(main())
