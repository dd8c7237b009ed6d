"""MinIO: started over a folder, filled by one archive instead of thousands of requests, and asked without a library."""

import dataclasses
import datetime
import hashlib
import hmac
import http.client
import os
import pathlib
import urllib.parse

from .machine import BenchError, kept
from .processes import Process, Workspace, free_port

USER, PASSWORD, REGION = "minio", "minio123456", "us-east-1"
UNSIGNED = "UNSIGNED-PAYLOAD"
# An archive of tens of thousands of small files takes MinIO seconds to unpack.
ARCHIVE_SECONDS = 300
PRESIGNED_SECONDS = 3600


@dataclasses.dataclass
class MinIO:
    process: Process
    port: int
    folder: pathlib.Path

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bucket(self, name: str) -> str:
        """A new one."""
        self._request("PUT", f"/{name}")
        return name

    def unpack(self, bucket: str, archive: pathlib.Path) -> None:
        """Puts every file of a tar archive into the bucket, under its own name."""
        with open(archive, "rb") as body:
            self._request(
                "PUT", f"/{bucket}/archive.tar", body,
                {"x-amz-meta-snowball-auto-extract": "true", "content-length": str(archive.stat().st_size)},
            )  # fmt: skip

    def put(self, bucket: str, key: str, body) -> None:
        """`body`: bytes, or a file whose length the caller's system knows."""
        size = len(body) if isinstance(body, (bytes, memoryview)) else os.fstat(body.fileno()).st_size
        self._request("PUT", f"/{bucket}/{key}", body, {"content-length": str(size)})

    def presigned(self, bucket: str, key: str) -> str:
        """Path and query of a GET that needs no header: for wrk."""
        path = f"/{bucket}/{urllib.parse.quote(key)}"
        now = _now()
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{USER}/{_scope(now)}", "X-Amz-Date": now,
            "X-Amz-Expires": str(PRESIGNED_SECONDS), "X-Amz-SignedHeaders": "host",
        }  # fmt: skip
        encoded = urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote, safe="")
        signature = _signature("GET", path, encoded, {"host": f"127.0.0.1:{self.port}"}, now)
        return f"{path}?{encoded}&X-Amz-Signature={signature}"

    def answers(self) -> bool:
        """Whether it takes requests: its health says so some seconds too early on a busy machine."""
        try:
            self.bucket("ready")
        except BenchError:
            return False
        return True

    def _request(self, method: str, path: str, body=None, headers: dict[str, str] | None = None) -> None:
        now = _now()
        path = urllib.parse.quote(path)
        headers = {"host": f"127.0.0.1:{self.port}", "x-amz-date": now, "x-amz-content-sha256": UNSIGNED} | (headers or {})
        signed = {name: value for name, value in headers.items() if name != "content-length"}
        names = ";".join(sorted(signed))
        signature = _signature(method, path, "", signed, now)
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={USER}/{_scope(now)}, SignedHeaders={names}, Signature={signature}"
        )
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ARCHIVE_SECONDS)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise BenchError(f"MinIO answered {answer.status} to {method} {path}: {said[:300]!r}")


def start(ws: Workspace, name: str, cores: frozenset[int]) -> MinIO:
    folder = ws.folder(name)
    port, console = free_port(), free_port()
    command = [kept("minio"), "server", "--quiet", "--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}"]
    environment = {"MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD, "MINIO_BROWSER": "off", "HOME": str(folder)}
    process = ws.start(name, [*command, str(folder / "data")], cores, env=environment)
    minio = MinIO(process, port, folder)
    process.await_ready(minio.answers)
    return minio


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def _scope(now: str) -> str:
    return f"{now[:8]}/{REGION}/s3/aws4_request"


def _signature(method: str, path: str, query: str, headers: dict[str, str], now: str) -> str:
    """AWS Signature Version 4, with the payload left out of it."""
    canonical = "\n".join(
        [method, path, query, *(f"{name}:{headers[name]}" for name in sorted(headers)), "", ";".join(sorted(headers)), UNSIGNED]
    )
    text = "\n".join(["AWS4-HMAC-SHA256", now, _scope(now), hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{PASSWORD}".encode()
    for part in _scope(now).split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
