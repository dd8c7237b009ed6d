"""A TCP relay before a slow origin: one rate for all that comes back, requests and bytes counted.

Run as a program (arguments: ORIGIN_PORT BYTES_PER_SECOND) it prints its port, then answers each line on its input
with its counts; `Throttle` starts and asks it.
"""

import asyncio
import json
import re
import subprocess
import sys

from .machine import LOAD_FOLDER, program

PIECE = 16 << 10
BURST_SECONDS = 0.05
REQUEST_LINE = re.compile(rb"^([A-Z]+) (\S+) HTTP/1\.[01]\r$", re.MULTILINE)


class Bucket:
    """Hands out `rate` bytes per second to all connections together, in turns; what a late wake-up lost is made up."""

    def __init__(self, rate: float):
        self.rate = rate
        self.free_at = 0.0

    async def take(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.free_at = max(self.free_at, now - BURST_SECONDS) + count / self.rate
        if self.free_at > now:
            await asyncio.sleep(self.free_at - now)


class Relay:
    def __init__(self, origin_port: int, rate: float):
        self.origin_port = origin_port
        self.bucket = Bucket(rate)
        self.counts = {"bytes": 0, "connections": 0, "blob_gets": 0, "blob_heads": 0, "others": 0}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts["connections"] += 1
        try:
            origin_reader, origin_writer = await asyncio.open_connection("127.0.0.1", self.origin_port, limit=PIECE)
        except OSError:
            writer.close()
            return
        back = asyncio.create_task(self._back(origin_reader, writer))
        try:
            while request := await reader.read(PIECE):
                self._count(request)
                origin_writer.write(request)
                await origin_writer.drain()
        except OSError:
            pass
        finally:
            # A client that has gone away takes no more of the rate.
            back.cancel()
            for side in (writer, origin_writer):
                side.close()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(PIECE):
                await self.bucket.take(len(piece))
                writer.write(piece)
                self.counts["bytes"] += len(piece)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def _count(self, request: bytes) -> None:
        """Requests without bodies arrive one at a time and whole."""
        for found in REQUEST_LINE.finditer(request):
            blob = b"/blobs/sha256:" in found[2]
            kind = {b"GET": "blob_gets", b"HEAD": "blob_heads"}.get(found[1], "others") if blob else "others"
            self.counts[kind] += 1


async def main(origin_port: int, rate: float) -> None:
    relay = Relay(origin_port, rate)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0, limit=PIECE)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(relay.counts), flush=True)


class Throttle:
    """The relay as a child of a bench."""

    def __init__(self, ws, name: str, origin_port: int, rate: float, core: int):
        self.process = ws.start(
            name, program("throttle", origin_port, rate), core,
            cwd=LOAD_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.port = int(self.process.child.stdout.readline())

    def counts(self) -> dict[str, int]:
        self.process.child.stdin.write("counts\n")
        self.process.child.stdin.flush()
        return json.loads(self.process.child.stdout.readline())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
