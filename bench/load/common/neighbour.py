"""The other client of bounds and logins: asks for one small thing at a steady pace and notes how long each answer took.

Run as a program (arguments: PORT PATH [AUTHORIZATION]) it asks until the end of its input; then it prints its times in seconds, as JSON.
"""

import http.client
import json
import sys
import threading
import time

from . import content

# So slow that it waits for nobody but the server, and its own answers seldom meet.
PACE_SECONDS = 0.01


def main(port: int, path: str, authorization: str | None = None) -> None:
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    connection = http.client.HTTPConnection(content.LOOPBACK, port, timeout=120)
    headers = {"Authorization": authorization} if authorization else {}
    times, due = [], time.monotonic()
    while not over.is_set():
        due = max(due + PACE_SECONDS, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        began = time.monotonic()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        times.append(time.monotonic() - began)
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status}")
    print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
