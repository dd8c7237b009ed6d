"""Distribution's tree as a tar archive: thousands of tags and repositories in seconds, the same for every contestant."""

import io
import json
import pathlib
import tarfile

from . import content

ROOT = "docker/registry/v2"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'


def image(config: content.Blob, note: str = "") -> bytes:
    """A small manifest: one config, no layer. The same for the same note."""
    return json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": config.digest, "size": config.size},
        "layers": [], "annotations": {"note": note},
    }).encode()  # fmt: skip


class Tree:
    """Written as it grows; `close` before use."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self._archive = tarfile.open(path, "w")
        self._blobs: set[str] = set()

    def blob(self, body: bytes) -> content.Blob:
        """Content alone, held by no repository yet."""
        blob = content.of(body)
        if blob.digest not in self._blobs:
            self._blobs.add(blob.digest)
            digits = _digits(blob)
            self._file(f"blobs/sha256/{digits[:2]}/{digits}/data", body)
        return blob

    def layer(self, repository: str, blob: content.Blob) -> None:
        self._link(f"repositories/{repository}/_layers/sha256/{_digits(blob)}", blob)

    def manifest(self, repository: str, body: bytes, tags: list[str]) -> content.Blob:
        blob = self.blob(body)
        folder = f"repositories/{repository}/_manifests"
        self._link(f"{folder}/revisions/sha256/{_digits(blob)}", blob)
        for tag in tags:
            self._link(f"{folder}/tags/{tag}/index/sha256/{_digits(blob)}", blob)
            self._link(f"{folder}/tags/{tag}/current", blob)
        return blob

    def close(self) -> pathlib.Path:
        self._archive.close()
        return self.path

    def _link(self, folder: str, blob: content.Blob) -> None:
        self._file(f"{folder}/link", blob.digest.encode())

    def _file(self, name: str, body: bytes) -> None:
        entry = tarfile.TarInfo(f"{ROOT}/{name}")
        entry.size = len(body)
        self._archive.addfile(entry, io.BytesIO(body))


def tag_link(repository: str, tag: str) -> str:
    """The key of what a read by tag must look at."""
    return f"{ROOT}/repositories/{repository}/_manifests/tags/{tag}/current/link"


def _digits(blob: content.Blob) -> str:
    return blob.digest.removeprefix("sha256:")
