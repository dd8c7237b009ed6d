"""An image of random layers, pushed to an origin and pulled as containerd does it: HEAD by tag, GET by digest, blobs three at once.

Run as a program with a JSON plan on its input (`port`, `repository`, `tag`, `at_once`, `limit` in seconds) it pulls once, hashing
every byte, and prints one JSON line.
"""

import concurrent.futures
import dataclasses
import hashlib
import http.client
import json
import sys
import time

from . import content, tree
from .machine import BenchError

PIECE = 256 << 10


@dataclasses.dataclass(frozen=True)
class Image:
    repository: str
    tag: str
    digest: str
    # config and layers
    blobs: tuple[content.Blob, ...]
    manifest_size: int

    def bytes(self) -> int:
        return self.manifest_size + sum(blob.size for blob in self.blobs)

    def requests(self, below: str = "") -> list[str]:
        """Paths in the order of a pull, as podman asks (wrk knows no HEAD); `below`: what a mirror's names begin with."""
        base = f"/v2/{below}{self.repository}"
        return [f"{base}/manifests/{self.tag}", *(f"{base}/blobs/{blob.digest}" for blob in self.blobs)]


def push(port: int, repository: str, tag: str, layers: list[int], seed: int) -> Image:
    connection = content.connect(port)
    try:
        config = content.push(connection, tree.CONFIG, repository)
        blobs = [content.push(connection, content.make(size, seed + at), repository) for at, size in enumerate(layers)]
        described = [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": b.digest, "size": b.size} for b in blobs]
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": tree.MANIFEST_TYPE,
            "config": {"mediaType": tree.CONFIG_TYPE, "digest": config.digest, "size": config.size},
            "layers": described,
        }).encode()  # fmt: skip
        connection.request("PUT", f"/v2/{repository}/manifests/{tag}", manifest, {"Content-Type": tree.MANIFEST_TYPE})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 201:
            raise BenchError(f"the origin answered {answer.status} to a manifest")
        return Image(repository, tag, content.of(manifest).digest, (config, *blobs), len(manifest))
    finally:
        connection.close()


class Puller:
    def __init__(self, plan: dict):
        self.plan = plan
        self.first_byte: float | None = None

    def fetch(self, method: str, path: str) -> tuple[http.client.HTTPResponse, bytes | str]:
        """The answer, and of a manifest its bytes, of a blob the digest of what came."""
        connection = http.client.HTTPConnection("127.0.0.1", self.plan["port"], timeout=self.plan["limit"])
        connection.request(method, f"/v2/{self.plan['repository']}/{path}", headers={"Accept": tree.MANIFEST_TYPE})
        answer = connection.getresponse()
        if answer.status != 200:
            raise BenchError(f"{method} {path}: {answer.status}")
        if "/manifests/" in f"/{path}":
            return answer, answer.read()
        hasher = hashlib.sha256()
        while piece := answer.read(PIECE):
            self.first_byte = self.first_byte or time.monotonic()
            hasher.update(piece)
        connection.close()
        return answer, f"sha256:{hasher.hexdigest()}"

    def blob(self, digest: str) -> None:
        _, found = self.fetch("GET", f"blobs/{digest}")
        if found != digest:
            raise BenchError(f"{found} came for {digest}")

    def pull(self) -> dict:
        began = time.monotonic()
        head, _ = self.fetch("HEAD", f"manifests/{self.plan['tag']}")
        _, manifest = self.fetch("GET", f"manifests/{head.headers['Docker-Content-Digest']}")
        named = json.loads(manifest)
        digests = [named["config"]["digest"], *(layer["digest"] for layer in named["layers"])]
        with concurrent.futures.ThreadPoolExecutor(self.plan["at_once"]) as pool:
            list(pool.map(self.blob, digests))
        return {"seconds": time.monotonic() - began, "first_byte": (self.first_byte or began) - began}


if __name__ == "__main__":
    print(json.dumps(Puller(json.load(sys.stdin)).pull()))
