"""Distribution's tree of very many repositories, straight onto a filesystem: a million blobs in minutes.

Each repository has `IMAGES` images of `LAYERS` layers of their own, a configuration, and one layer that many repositories have; one image has
no tag; `ORPHANS` layers are linked and named by nothing. Everything was written `AGE_SECONDS` ago.

Run as a program (arguments: ROOT FIRST END) it writes the repositories of these numbers, so that several can share the work.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

from . import machine, tree
from .processes import Workspace

IMAGES, LAYERS, ORPHANS, BASES = 8, 4, 2, 200
# Of one repository, not counting what others have too: manifests, configurations, layers.
BLOBS = IMAGES * (2 + LAYERS) + ORPHANS
AGE_SECONDS = 3 * 24 * 3600
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
SECONDS = 3600


def name(number: int) -> str:
    """Repositories of a hundred teams, some below others' names."""
    return f"team-{number % 100:02}/{'group/' if number % 7 == 0 else ''}app-{number:06}"


def make(ws: Workspace, root: pathlib.Path, repositories: int) -> None:
    """By as many processes as there are cores."""
    for folder in range(256):
        (root / tree.ROOT / "blobs/sha256" / f"{folder:02x}").mkdir(parents=True, exist_ok=True)
    cores = sorted(machine.ALL_CORES)
    edges = [repositories * part // len(cores) for part in range(len(cores) + 1)]
    makers = [
        ws.start(f"forest-{core}", machine.program("forest", root, first, end), core, cwd=machine.LOAD_FOLDER)
        for core, first, end in zip(cores, edges, edges[1:], strict=False)
    ]
    for maker in makers:
        if maker.child.wait(SECONDS) != 0:
            raise machine.BenchError(f"the tree was not made:\n{maker.last_words()}")
        ws.processes.remove(maker)
    subprocess.run([machine.tool("sync")], check=True)


@dataclasses.dataclass
class Grown:
    """What a repository holds: contents of blobs, and of manifests with their tags."""

    layers: list[bytes]
    manifests: list[tuple[bytes, str | None]]


def grow(number: int) -> Grown:
    """The same each time for the same number."""
    grown = Grown([], [])
    for image in range(IMAGES):
        config = json.dumps({"architecture": "amd64", "os": "linux", "of": f"{number} {image}"}).encode()
        layers = [f"layer {number} {image} {layer}".encode() for layer in range(LAYERS)]
        layers.append(f"base {(number * IMAGES + image) % BASES}".encode())
        grown.layers += [config, *layers]
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": tree.MANIFEST_TYPE,
            "config": {"mediaType": tree.CONFIG_TYPE, "digest": f"sha256:{digits_of(config)}", "size": len(config)},
            "layers": [{"mediaType": LAYER_TYPE, "digest": f"sha256:{digits_of(body)}", "size": len(body)} for body in layers],
        }).encode()  # fmt: skip
        grown.manifests.append((manifest, f"v{image}" if image else None))
    grown.layers += [f"orphan {number} {orphan}".encode() for orphan in range(ORPHANS)]
    return grown


def digits_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class Maker:
    def __init__(self, root: pathlib.Path):
        self.root = f"{root}/{tree.ROOT}"
        self.then = (time.time() - AGE_SECONDS,) * 2

    def file(self, folder: str, leaf: str, body: bytes) -> None:
        path = f"{folder}/{leaf}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(descriptor, body)
        os.close(descriptor)
        os.utime(path, self.then)

    def blob(self, body: bytes) -> str:
        digits = digits_of(body)
        self.file(f"{self.root}/blobs/sha256/{digits[:2]}/{digits}", "data", body)
        return digits

    def link(self, folder: str, digits: str) -> None:
        self.file(folder, "link", f"sha256:{digits}".encode())

    def repository(self, number: int) -> None:
        folder = f"{self.root}/repositories/{name(number)}"
        grown = grow(number)
        for body in grown.layers:
            digits = self.blob(body)
            self.link(f"{folder}/_layers/sha256/{digits}", digits)
        for body, tag in grown.manifests:
            digits = self.blob(body)
            self.link(f"{folder}/_manifests/revisions/sha256/{digits}", digits)
            if tag:
                self.link(f"{folder}/_manifests/tags/{tag}/index/sha256/{digits}", digits)
                self.link(f"{folder}/_manifests/tags/{tag}/current", digits)


if __name__ == "__main__":
    maker = Maker(pathlib.Path(sys.argv[1]))
    for at in range(int(sys.argv[2]), int(sys.argv[3])):
        maker.repository(at)
