"""An object store that speaks S3 and holds a forest that is nowhere: its lists and manifests are made when they are asked for.

What is written to it is kept in memory; what is deleted is remembered to be gone. It checks no signature. Run as a program (arguments: PORT
REPOSITORIES) it serves one bucket until it is ended; `GET /counts` tells how often each kind of request was made, as JSON.
"""

import bisect
import collections
import datetime
import hashlib
import heapq
import http.server
import json
import sys
import threading
import urllib.parse
import xml.sax.saxutils

from . import content, forest, tree

PAGE = 1000
BUCKET = "forest"
OLD = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=forest.AGE_SECONDS)
BLOBS, REPOSITORIES = f"{tree.ROOT}/blobs/sha256/", f"{tree.ROOT}/repositories/"
# After every key that begins with something.
LAST = "\U0010ffff"


def time_text(time: datetime.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03}Z"


class Forest:
    """What was there from the beginning."""

    def __init__(self, repositories: int):
        self.names = sorted((forest.name(number) + "/", number) for number in range(repositories))
        sizes: dict[bytes, int] = {}
        # By digest: the repository that has it.
        self.manifests: dict[bytes, int] = {}
        for number in range(repositories):
            grown = forest.grow(number)
            for body in [*grown.layers, *(body for body, _ in grown.manifests)]:
                sizes[hashlib.sha256(body).digest()] = len(body)
            for body, _ in grown.manifests:
                self.manifests[hashlib.sha256(body).digest()] = number
        self.digests = sorted(sizes)
        self.sizes = sizes

    def keys(self, after: str, end: str):
        """(key, size) in order: those after one, up to another."""
        if after < BLOBS + LAST and end > BLOBS:
            yield from self._blobs(after, end)
        if after < REPOSITORIES + LAST and end > REPOSITORIES:
            yield from self._repositories(after, end)

    def _blobs(self, after: str, end: str):
        at = 0
        if after > BLOBS:
            hexes = after.removeprefix(BLOBS).partition("/")[2].partition("/")[0] or after.removeprefix(BLOBS)[:2]
            digits = "".join(digit for digit in hexes if digit in "0123456789abcdef")
            at = max(0, bisect.bisect_left(self.digests, bytes.fromhex(digits.ljust(64, "0")[:64])) - 1)
        for digest in self.digests[at:] if at == 0 else (self.digests[index] for index in range(at, len(self.digests))):
            digits = digest.hex()
            key = f"{BLOBS}{digits[:2]}/{digits}/data"
            if key > end:
                return
            if key > after:
                yield key, self.sizes[digest]

    def _repositories(self, after: str, end: str):
        at = 0
        if after > REPOSITORIES:
            at = max(0, bisect.bisect_right(self.names, (after.removeprefix(REPOSITORIES), 0)) - 1)
        for name, number in self.names[at:]:
            if f"{REPOSITORIES}{name}" > end:
                return
            for key in links(name, number):
                if after < key <= end:
                    yield key, 71

    def get(self, key: str) -> bytes | None:
        if key.startswith(BLOBS):
            digest = bytes.fromhex(key.removeprefix(BLOBS).split("/")[1])
            number = self.manifests.get(digest)
            bodies = [] if number is None else [body for body, _ in forest.grow(number).manifests]
            return next((body for body in bodies if hashlib.sha256(body).digest() == digest), b"" if digest in self.sizes else None)
        if key.startswith(REPOSITORIES) and next(self.keys(key[:-1], key), ("",))[0] == key:
            return link_of(self.names, key)
        return None

    def size(self, key: str) -> int | None:
        return next((size for found, size in self.keys(key[:-1], key) if found == key), None)


def links(name: str, number: int) -> list[str]:
    folder, grown = f"{REPOSITORIES}{name}", forest.grow(number)
    keys = [f"{folder}_layers/sha256/{forest.digits_of(body)}/link" for body in grown.layers]
    for body, tag in grown.manifests:
        digits = forest.digits_of(body)
        keys.append(f"{folder}_manifests/revisions/sha256/{digits}/link")
        if tag:
            keys.append(f"{folder}_manifests/tags/{tag}/index/sha256/{digits}/link")
            keys.append(f"{folder}_manifests/tags/{tag}/current/link")
    return sorted(set(keys))


def link_of(names: list[tuple[str, int]], key: str) -> bytes:
    parts = key.split("/")
    if parts[-2] != "current":
        return f"sha256:{parts[-2]}".encode()
    name = key.removeprefix(REPOSITORIES).partition("_manifests/")[0]
    number = names[bisect.bisect_left(names, (name, 0))][1]
    return next(f"sha256:{forest.digits_of(body)}".encode() for body, tag in forest.grow(number).manifests if tag == parts[-3])


class Bucket:
    def __init__(self, repositories: int):
        self.forest, self.lock = Forest(repositories), threading.Lock()
        # (body, when) of what was written; keys of the forest that are gone.
        self.own: dict[str, tuple[bytes, datetime.datetime]] = {}
        self.order: list[str] = []
        self.gone: set[str] = set()
        self.counts: collections.Counter[str] = collections.Counter()

    def put(self, key: str, body: bytes) -> None:
        if key not in self.own:
            bisect.insort(self.order, key)
        self.own[key] = (body, datetime.datetime.now(datetime.timezone.utc))

    def delete(self, key: str) -> None:
        if self.own.pop(key, None):
            del self.order[bisect.bisect_left(self.order, key)]
        if key.startswith(tree.ROOT):
            self.gone.add(key)

    def get(self, key: str) -> bytes | None:
        if key in self.own:
            return self.own[key][0]
        return None if key in self.gone else self.forest.get(key)

    def keys(self, after: str, end: str):
        """(key, size, when), in order."""
        own = self.order[bisect.bisect_right(self.order, after) : bisect.bisect_right(self.order, end)]
        written = ((key, len(self.own[key][0]), self.own[key][1]) for key in own)
        grown = ((key, size, OLD) for key, size in self.forest.keys(after, end) if key not in self.gone and key not in self.own)
        return heapq.merge(written, grown)

    def list(self, prefix: str, delimiter: str, after: str) -> str:
        """A page, as ListObjectsV2 answers."""
        found, folders, last, more = [], [], max(after, prefix[:-1] if prefix else ""), True
        end = prefix + LAST
        while more and len(found) + len(folders) < PAGE:
            more = False
            for key, size, when in self.keys(last, end):
                if not key.startswith(prefix):
                    last = max(last, key)
                    continue
                rest = key.removeprefix(prefix)
                folder = prefix + rest.partition(delimiter)[0] + delimiter if delimiter and delimiter in rest else ""
                if folder:
                    folders.append(folder)
                    last, more = folder + LAST, True
                    break
                found.append((key, size, when))
                last = key
                if len(found) + len(folders) >= PAGE:
                    more = True
                    break
        return page(prefix, found, folders, last if more else "")


def page(prefix: str, found: list, folders: list[str], token: str) -> str:
    escape = xml.sax.saxutils.escape
    parts = ['<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>', f"<Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix>"]
    parts.append(f"<KeyCount>{len(found) + len(folders)}</KeyCount><MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(bool(token)).lower()}</IsTruncated>")
    if token:
        parts.append(f"<NextContinuationToken>{token.encode().hex()}</NextContinuationToken>")
    for key, size, when in found:
        etag = hashlib.md5(key.encode()).hexdigest()
        parts.append(
            f'<Contents><Key>{escape(key)}</Key><LastModified>{time_text(when)}</LastModified><ETag>"{etag}"</ETag>'
            f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )
    parts += [f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders]
    return "".join([*parts, "</ListBucketResult>"])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def do_GET(self):
        path, query, key = self._asked()
        if path == "/counts":
            return self._answer(200, json.dumps(self.bucket.counts).encode())
        if not key:
            self.bucket.counts["LIST"] += 1
            after = bytes.fromhex(query.get("continuation-token", "")).decode() or query.get("start-after", "")
            with self.bucket.lock:
                text = self.bucket.list(query.get("prefix", ""), query.get("delimiter", ""), after)
            return self._answer(200, text.encode(), {"Content-Type": "application/xml"})
        return self._object(key)

    do_HEAD = do_GET

    def _object(self, key: str):
        self.bucket.counts[self.command] += 1
        with self.bucket.lock:
            body = self.bucket.get(key)
            when = self.bucket.own[key][1] if key in self.bucket.own else OLD
            size = self.bucket.forest.size(key) if body == b"" and key not in self.bucket.own else None
        if body is None:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        told = {"ETag": etag(body), "Last-Modified": when.strftime("%a, %d %b %Y %H:%M:%S GMT")}
        return self._answer(200, body, told, size)

    def do_PUT(self):
        _, _, key = self._asked()
        self.bucket.counts["PUT"] += 1
        body = self._body()
        with self.bucket.lock:
            before = self.bucket.get(key)
            if source := self.headers.get("x-amz-copy-source"):
                body = self.bucket.get(urllib.parse.unquote(source).removeprefix("/").partition("/")[2]) or b""
            fails = self.headers.get("If-None-Match") == "*" and before is not None
            if (wanted := self.headers.get("If-Match")) is not None:
                fails = before is None or wanted != etag(before)
            if not fails:
                self.bucket.put(key, body)
        if fails:
            return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        copied = f"<CopyObjectResult><ETag>{etag(body)}</ETag><LastModified>{time_text(OLD)}</LastModified></CopyObjectResult>"
        return self._answer(200, copied.encode() if source else b"", {"ETag": etag(body)})

    def do_DELETE(self):
        _, _, key = self._asked()
        self.bucket.counts["DELETE"] += 1
        with self.bucket.lock:
            self.bucket.delete(key)
        self._answer(204, b"")

    def _asked(self) -> tuple[str, dict[str, str], str]:
        path, _, query = self.path.partition("?")
        key = urllib.parse.unquote(path).removeprefix(f"/{BUCKET}").removeprefix("/")
        return path, dict(urllib.parse.parse_qsl(query)), key

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "aws-chunked" not in (self.headers.get("Content-Encoding") or ""):
            return body
        whole, rest = b"", body
        while rest:
            head, _, rest = rest.partition(b"\r\n")
            size = int(head.partition(b";")[0] or b"0", 16)
            if size == 0:
                break
            whole, rest = whole + rest[:size], rest[size + 2 :]
        return whole

    def _answer(self, status: int, body: bytes, fields: dict[str, str] | None = None, size: int | None = None):
        self.send_response_only(status)
        for name, value in (fields or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if size is None or self.command == "GET" else size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Handler.bucket = Bucket(int(sys.argv[2]))
    Server((content.LOOPBACK, int(sys.argv[1])), Handler).serve_forever()
