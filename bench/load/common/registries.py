"""Registries that store: distribution v3 and Entrepot's integrated one, over a folder or over a bucket of one MinIO."""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess

from . import content, minio
from .machine import LOAD_CORE, entrepot, kept, tool
from .processes import Workspace, free_port
from .servers import NGINX_LOG_FORMAT, Server

STORAGES = ("filesystem", "minio")
# In this order tables name them: the rival, the subject.
CONTESTANTS = ("distribution-v3", "entrepot")
# nginx that sends the blobs of the tree as the files that they are, by sendfile: what a file server can do with them.
FILES = "nginx-files"
# Entrepot that asks Redis, where else it asks storage, whether a repository holds something.
WITH_REDIS = "entrepot-redis"


@dataclasses.dataclass
class Store:
    """One registry's own root: contestants never share one, so that neither pays for what the other wrote."""

    kind: str
    folder: pathlib.Path
    minio: minio.MinIO | None
    bucket: str

    def fill(self, archive: pathlib.Path) -> None:
        """Unpacks a tree made by `tree`."""
        if self.minio:
            self.minio.unpack(self.bucket, archive)
        else:
            subprocess.run([tool("tar"), "-xf", str(archive), "-C", str(self.folder)], check=True)


class Stores:
    """The storage of one kind for all contestants: a folder each, or a bucket each of one MinIO."""

    def __init__(self, ws: Workspace, kind: str, cores: frozenset[int]):
        self.ws, self.kind = ws, kind
        self.minio = minio.start(ws, "minio", cores) if kind == "minio" else None

    def new(self, name: str) -> Store:
        folder = self.ws.folder(f"{self.kind}-{name}")
        bucket = self.minio.bucket(name) if self.minio else ""
        return Store(self.kind, folder, self.minio, bucket)

    def close(self) -> None:
        """Stops MinIO and frees the disk. The registries over it must have been stopped."""
        if self.minio:
            self.ws.stop(self.minio.process)
        stored = self.ws.path.glob("minio" if self.minio else f"{self.kind}-*")
        for folder in [*stored, *self.ws.path.glob(f"*-{self.kind}-server")]:
            if folder.is_dir():
                subprocess.run(["rm", "-rf", str(folder)], check=True)


def start(ws: Workspace, name: str, store: Store, cores: frozenset[int], sections: str = "") -> Server:
    """A contestant over a store, ready; `sections` are more of Entrepot's configuration. Each start is a new process with empty
    caches in memory."""
    if name == "distribution-v3":
        return _distribution(ws, name, store, cores)
    if name == FILES:
        return _files(ws, name, store, cores)
    redis = f'[redis]\nurl = "{_redis(ws, name, store)}"\n' if name == WITH_REDIS else ""
    return _entrepot(ws, name, store, cores, redis + sections)


def _redis(ws: Workspace, name: str, store: Store) -> str:
    """On the load core, as the rest of what a server asks."""
    port = free_port()
    command = [tool("redis-server"), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    process = ws.start(f"{name}-{store.kind}-redis", command, LOAD_CORE)

    def answers() -> bool:
        with socket.create_connection((content.LOOPBACK, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")

    process.await_ready(answers)
    return f"redis://127.0.0.1:{port}/0"


def _distribution(ws: Workspace, name: str, store: Store, cores: frozenset[int]) -> Server:
    port = free_port()
    folder = ws.folder(f"{name}-{store.kind}-server")
    config = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": False}},
        "storage": {
            "cache": {"blobdescriptor": "inmemory"},
            "delete": {"enabled": True},
            # Entrepot sends the bytes itself, too.
            "redirect": {"disable": True},
            **_distribution_driver(store),
        },
        "http": {"addr": f"127.0.0.1:{port}", "secret": "bench"},
    }
    path, log = folder / "config.yml", folder / "access.log"
    path.write_text(json.dumps(config))  # JSON is YAML
    with open(log, "ab") as output:
        process = ws.start(
            f"{name}-{store.kind}", [kept("registry"), "serve", str(path)], cores,
            stdout=output, env={"OTEL_TRACES_EXPORTER": "none"},
        )  # fmt: skip
    process.await_ready(lambda: content.status_of(port, "/v2/") == 200)
    return Server(name, process, port, access_log=log)


def _files(ws: Workspace, name: str, store: Store, cores: frozenset[int]) -> Server:
    port = free_port()
    folder = ws.folder(f"{name}-{store.kind}-server")
    log, path = folder / "access.log", folder / "nginx.conf"
    blobs = f"{store.folder}/docker/registry/v2/blobs/sha256"
    path.write_text(f"""
{"user root;" if os.geteuid() == 0 else ""}
daemon off;
worker_processes {len(cores)};
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; multi_accept on; }}
http {{
  log_format facts escape=json {NGINX_LOG_FORMAT};
  access_log {log} facts buffer=64k flush=1s;
  sendfile on;
  sendfile_max_chunk 2m;
  tcp_nopush off;
  tcp_nodelay on;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  open_file_cache max=16000 inactive=600s;
  open_file_cache_valid 600s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/temp;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096 sndbuf=256k;
    location = /v2/ {{ return 200; }}
    location ~ "^/v2/.+/blobs/sha256:((..).*)$" {{ alias {blobs}/$2/$1/data; }}
  }}
}}
""")
    command = [tool("nginx"), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(path)]
    process = ws.start(f"{name}-{store.kind}", command, cores)
    process.await_ready(lambda: content.status_of(port, "/v2/") == 200)
    return Server(name, process, port, access_log=log)


def _distribution_driver(store: Store) -> dict:
    if not store.minio:
        return {"filesystem": {"rootdirectory": str(store.folder)}}
    return {
        "s3": {
            "accesskey": minio.USER, "secretkey": minio.PASSWORD, "region": minio.REGION,
            "regionendpoint": store.minio.endpoint, "forcepathstyle": True, "secure": False,
            "bucket": store.bucket, "rootdirectory": "/", "loglevel": "off",
        }
    }  # fmt: skip


def _entrepot(ws: Workspace, name: str, store: Store, cores: frozenset[int], sections: str) -> Server:
    folder = ws.folder(f"{name}-{store.kind}-server")
    port, admin = free_port(), free_port()
    log, path = folder / "access.log", folder / "entrepot.toml"
    if store.minio:
        storage = f"""driver = "s3"
bucket = "{store.bucket}"
endpoint = "{store.minio.endpoint}"
region = "{minio.REGION}"
access_key_id = "{minio.USER}"
secret_access_key = "{minio.PASSWORD}"
"""
    else:
        storage = f'driver = "filesystem"\nroot = "{store.folder}"\n'
    path.write_text(f"""threads = {len(cores)}

[[listener]]
address = "127.0.0.1:{port}"
send_buffer = "256KiB"
timeouts = {{ keepalive = "600s", body = "600s" }}

[admin]
address = "127.0.0.1:{admin}"

[log]
access = "{log}"
level = "warn"

[drain]
timeout = "2s"

[cache]
memory = "256MiB"
disk = "20GiB"
path = "{folder}/cache"

[storage]
{storage}
[registry]
spool = "{folder}/spool"

{sections}
[[route]]
read = "registry"
write = "registry"
""")
    process = ws.start(f"{name}-{store.kind}", [entrepot(), "serve", "--config", str(path)], cores)
    process.await_ready(lambda: content.status_of(admin, "/readyz") == 200 and content.status_of(port, "/v2/") in (200, 401))
    return Server(name, process, port, admin=admin, access_log=log)
