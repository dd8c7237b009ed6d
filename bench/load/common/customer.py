"""The good client of attacks: asks for one small blob at a steady pace on a kept connection, and now and then on a new one.

Run as a program (arguments: PORT PATH) it asks until the end of its input; then it prints JSON: the times in seconds and how many
requests failed. A time counts from when the request was due, so that a server which stands still is late for all that
it kept waiting.
"""

import json
import socket
import sys
import threading
import time

from . import content
from .holder import Http1

PACE_SECONDS = 0.005
NEW_EACH = 10
ANSWER_SECONDS = 5


class Customer:
    def __init__(self, port: int, path: str):
        self.port, self.path, self.kept = port, path, None
        self.times: list[float] = []
        self.errors, self.causes = 0, {}

    def run(self, over: threading.Event) -> None:
        due, asked = time.monotonic(), 0
        while not over.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            asked += 1
            self._ask(due, anew=asked % NEW_EACH == 0)
            due += PACE_SECONDS

    def _ask(self, due: float, anew: bool) -> None:
        try:
            client = self._connect() if anew or not self.kept else self.kept
            if not anew:
                self.kept = client
            right = client.ask()
            if anew:
                client.connection.close()
            if not right:
                raise ConnectionError("not the answer")
            self.times.append(time.monotonic() - due)
        except (OSError, ValueError, KeyError) as error:
            self.errors += 1
            cause = f"{type(error).__name__}: {error}"
            self.causes[cause] = self.causes.get(cause, 0) + 1
            if not anew and self.kept:
                self.kept.connection.close()
                self.kept = None

    def _connect(self) -> Http1:
        return Http1(socket.create_connection((content.LOOPBACK, self.port), timeout=ANSWER_SECONDS), self.path)


def main(port: int, path: str) -> None:
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    customer = Customer(port, path)
    customer.run(over)
    print(json.dumps({"times": customer.times, "errors": customer.errors, "causes": customer.causes}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
