"""HTTP/2 by hand: frames, and as much of HPACK as a client needs that wants to be odd.

Knows no connection. Fields are indexed or literal without Huffman (RFC 7541); what comes is cut into frames, and of an answer's
fields only the status is read, by clients that allow no dynamic table (`NO_TABLE`).
"""

import struct
from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Frame types and flags (RFC 9113, 6)
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
# Settings (6.5.2)
TABLE_SIZE, MAX_STREAMS, INITIAL_WINDOW = 1, 3, 4
NO_TABLE = {TABLE_SIZE: 0}
MOST_WINDOW = (1 << 31) - 1
CANCEL = 8
ERRORS = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
    "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip

# Entries of HPACK's static table (RFC 7541, A)
AUTHORITY, METHOD, PATH, COOKIE = 1, 2, 4, 32
GET, SCHEME_HTTP, SCHEME_HTTPS = 2, 6, 7
STATUS, STATUSES = 8, (200, 204, 206, 304, 400, 404, 500)
# The newest entry of the dynamic table.
NEWEST = 62
# What each field counts beyond its own bytes, in the table and in SETTINGS_MAX_HEADER_LIST_SIZE.
FIELD_OVERHEAD = 32


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def settings(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in values.items()))


def window_update(stream: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, more.to_bytes(4, "big"))


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RESET, 0, stream, code.to_bytes(4, "big"))


def error(body: bytes) -> str:
    """The name of the code in RST_STREAM, or behind the stream's number in GOAWAY."""
    code = int.from_bytes(body[:4], "big")
    return ERRORS[code] if code < len(ERRORS) else f"error {code}"


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """An HPACK integer with a prefix of so many bits; `first` is what stands before it in its byte."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    encoded, value = bytearray([first | most]), value - most
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes(encoded + bytes([value]))


def text(value: bytes) -> bytes:
    return integer(len(value), 7) + value


def indexed(index: int) -> bytes:
    return integer(index, 7, 0x80)


def literal(name: int | bytes, value: bytes, keep: bool = False) -> bytes:
    """`name` is bytes or an entry that has it; with `keep` the field becomes the newest entry of the dynamic table."""
    bits, first = (6, 0x40) if keep else (4, 0)
    known = integer(name, bits, first) if isinstance(name, int) else integer(0, bits, first) + text(name)
    return known + text(value)


def request(path: str, method: str = "GET", more: bytes = b"", scheme: int = SCHEME_HTTP) -> bytes:
    """A block of fields; `more` are encoded ones."""
    verb = indexed(GET) if method == "GET" else literal(METHOD, method.encode())
    return verb + indexed(scheme) + literal(AUTHORITY, b"localhost") + literal(PATH, path.encode()) + more


def status(block: bytes) -> int:
    """Of an answer to a client with NO_TABLE: it stands first, behind what says that there is no table. 0 when it does not."""
    at = 0
    while at < len(block) and block[at] & 0xE0 == 0x20:
        at += 1
    first = block[at] if at < len(block) else 0
    if first & 0x80:
        index = first & 0x7F
        return STATUSES[index - STATUS] if STATUS <= index < STATUS + len(STATUSES) else 0
    length, value = block[at + 1] & 0x7F, block[at + 2 :]
    digits = _digits(value[:length]) if block[at + 1] & 0x80 else value[:length].decode(errors="replace")
    return int(digits) if digits.isdigit() else 0


def _digits(packed: bytes) -> str:
    """Huffman's code of decimal digits: 0 to 2 have five bits, 3 to 9 six (RFC 7541, B)."""
    bits, found = "".join(f"{byte:08b}" for byte in packed), ""
    while len(bits) >= 5 and len(found) < 3:
        short = int(bits[:5], 2)
        taken, digit = (5, short) if short < 3 else (6, int(bits[:6], 2) - 0b011001 + 3)
        bits, found = bits[taken:], found + str(digit)
    return found


class Reader:
    """Cuts what came into frames."""

    def __init__(self):
        self.buffer = b""

    def frames(self, piece: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """(type, flags, stream, body) of each that is whole now."""
        self.buffer += piece
        at = 0
        while len(self.buffer) - at >= 9:
            end = at + 9 + int.from_bytes(self.buffer[at : at + 3], "big")
            if end > len(self.buffer):
                break
            kind, flags = self.buffer[at + 3], self.buffer[at + 4]
            stream = int.from_bytes(self.buffer[at + 5 : at + 9], "big") & 0x7FFFFFFF
            yield kind, flags, stream, self.buffer[at + 9 : end]
            at = end
        self.buffer = self.buffer[at:]
