"""The clients of handshakes: TLS connections that are made and ended, nothing else.

Run as a program it prints `ready`; for each line on its input, a JSON plan (`port`, `version`, `resumed`, `seconds`), it shakes hands
one after the other that long and prints one JSON line.

Not `openssl s_time`: under TLS 1.3 it is gone before the ticket comes, so that its -reuse resumes nothing.
"""

import json
import socket
import ssl
import struct
import sys
import time

from . import content

ANSWER_SECONDS = 10
PIECE = 16 << 10
VERSIONS = {"1.3": ssl.TLSVersion.TLSv1_3, "1.2": ssl.TLSVersion.TLSv1_2}
# So that ports of the thousands of ended connections can be used again at once.
NO_LINGER = struct.pack("ii", 1, 0)


def context(version: str) -> ssl.SSLContext:
    made = ssl._create_unverified_context()
    made.minimum_version = made.maximum_version = VERSIONS[version]
    made.set_alpn_protocols(["http/1.1"])
    return made


class Connection:
    """TLS over memory, so that a session can still be asked for when the connection has ended."""

    def __init__(self, tls: ssl.SSLContext, port: int, session: ssl.SSLSession | None = None, receive_buffer: int = 0):
        """`receive_buffer`: the kernel's, instead of what it thinks best."""
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(ANSWER_SECONDS)
        self.socket.connect((content.LOOPBACK, port))
        # What ends a resumed TLS 1.2 handshake would wait 40 ms for the acknowledgement of what went before.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.came, self.leaves = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = tls.wrap_bio(self.came, self.leaves, server_hostname="localhost", session=session)

    def shake(self) -> None:
        if not self._drive(self.tls.do_handshake):
            raise ConnectionError("closed by the server within the handshake")

    def end(self) -> None:
        """Says goodbye and waits for the server's end: whatever it sends after a handshake, such as tickets, is taken before."""
        self._drive(self.tls.unwrap)
        self.socket.close()

    def send(self, body: bytes) -> None:
        if body:
            self.tls.write(body)
            self._send()

    def _drive(self, step) -> bool:
        """False when the server closed first; nginx leaves its goodbye out."""
        while True:
            try:
                step()
            except ssl.SSLWantReadError:
                pass
            else:
                self._send()
                return True
            self._send()
            piece = self.socket.recv(PIECE)
            if not piece:
                return False
            self.came.write(piece)

    def _send(self) -> None:
        if self.leaves.pending:
            self.socket.sendall(self.leaves.read())


def handshake(tls: ssl.SSLContext, port: int, session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession]:
    """(resumed, session for the next)."""
    connection = Connection(tls, port, session)
    try:
        connection.shake()
        connection.end()
        return bool(connection.tls.session_reused), connection.tls.session
    finally:
        connection.socket.close()


def run(contexts: dict[str, ssl.SSLContext], plan: dict) -> dict:
    tls, session, count = contexts[plan["version"]], None, 0
    if plan["resumed"]:
        _, session = handshake(tls, plan["port"], None)
    began, cpu = time.monotonic(), time.process_time()
    while time.monotonic() - began < plan["seconds"]:
        resumed, latest = handshake(tls, plan["port"], session)
        if resumed != plan["resumed"]:
            raise SystemExit(f"a handshake of TLS {plan['version']} was {'' if resumed else 'not '}resumed")
        # Each ticket is used once, as TLS 1.3 wants it.
        session = latest if plan["resumed"] else None
        count += 1
    return {"handshakes": count, "seconds": time.monotonic() - began, "cpu": time.process_time() - cpu}


def main() -> None:
    contexts = {version: context(version) for version in VERSIONS}
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(contexts, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
