"""Who guesses passwords: so many wrong logins a second, each another one, half of them of a user who is there.

Run as a program (arguments: PORT PER_SECOND SECONDS) it prints JSON: how many it sent, and how often each status was answered.
"""

import collections
import http.client
import itertools
import json
import sys
import threading
import time

from . import content, guarded

# So many that those who wait for their answers leave no guess out: the server lets 64 wait.
CLIENTS = 200


class Guesses:
    """Numbers, each at its time, for whichever client is free."""

    def __init__(self, per_second: float, seconds: float):
        self._pace, self._end = 1 / per_second, time.monotonic() + seconds
        self._due, self._numbers, self._lock = time.monotonic(), itertools.count(), threading.Lock()

    def __iter__(self):
        return self

    def __next__(self) -> int:
        with self._lock:
            time.sleep(max(0.0, self._due - time.monotonic()))
            if time.monotonic() >= self._end:
                raise StopIteration
            self._due += self._pace
            return next(self._numbers)


class Client:
    def __init__(self, port: int):
        self.port = port
        self.statuses: collections.Counter = collections.Counter()
        self.connection: http.client.HTTPConnection | None = None

    def run(self, guesses: Guesses) -> None:
        for number in guesses:
            self._guess(number)

    def _guess(self, number: int) -> None:
        user = guarded.USER if number % 2 else f"user-{number}"
        try:
            # Not from where good clients are: what one address may have waiting is bounded.
            away = http.client.HTTPConnection(content.LOOPBACK, self.port, timeout=content.TIMEOUT, source_address=("127.0.0.2", 0))
            self.connection = self.connection or away
            authorization = guarded.basic(user, f"guess {number}")
            self.connection.request("GET", "/token?service=entrepot", headers={"Authorization": authorization})
            answer = self.connection.getresponse()
            answer.read()
            self.statuses[str(answer.status)] += 1
        except (OSError, http.client.HTTPException) as error:
            self.statuses[type(error).__name__] += 1
            if self.connection:
                self.connection.close()
            self.connection = None


def main(port: int, per_second: float, seconds: float) -> None:
    clients, guesses = [Client(port) for _ in range(CLIENTS)], Guesses(per_second, seconds)
    threads = [threading.Thread(target=client.run, args=(guesses,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = sum((client.statuses for client in clients), collections.Counter())
    print(json.dumps({"sent": statuses.total(), "statuses": statuses}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
