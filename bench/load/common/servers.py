"""The contestants and the origin: each configured as a careful operator would for speed, with bounded everything.

A `Server` knows its ports, where its access log is, and how to tell whether it is ready.
"""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import urllib.request

from . import content
from .machine import LOAD_CORE, SERVER_CORE, BenchError, entrepot, tool
from .processes import Process, Workspace, free_port

OPEN_FILES = 20_000
CACHE_DISK = "20g"


@dataclasses.dataclass
class Server:
    name: str
    process: Process
    plain: int
    tls: int | None = None
    admin: int | None = None
    access_log: pathlib.Path | None = None
    host: str = content.LOOPBACK
    # `Name: value`, what its clients send with every request
    headers: tuple[str, ...] = ()

    def port(self, mode: str) -> int:
        port = self.plain if mode == "plain" else self.tls
        if port is None:
            raise BenchError(f"{self.name} does not speak {mode}")
        return port

    def metric(self, name: str) -> float | None:
        """The sum of a metric's series on the admin port; None without one."""
        if self.admin is None:
            return None
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        values = [line.rpartition(" ")[2] for line in lines if re.match(rf"{name}[ {{]", line)]
        return sum(map(float, values)) if values else None


@dataclasses.dataclass
class Origin:
    """A docker-registry over its own folder, on the load generator's core."""

    process: Process
    port: int
    log: pathlib.Path

    def blob_gets(self) -> int:
        """GETs of blobs that it has answered so far, by its own access log."""
        return len(re.findall(rb'"GET /v2/[^" ]*/blobs/sha256:', self.log.read_bytes()))


def origin(ws: Workspace, name: str = "origin", remote: int | None = None, core: int = LOAD_CORE) -> Origin:
    """docker-registry; with `remote`, as distribution's own pull-through proxy of that port."""
    port = free_port()
    folder = ws.folder(name)
    config = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": False}},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "data")},
            "cache": {"blobdescriptor": "inmemory"},
        },
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if remote is not None:
        config["proxy"] = {"remoteurl": f"http://127.0.0.1:{remote}"}
    path = folder / "config.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    log = folder / "access.log"
    with open(log, "ab") as output:
        process = ws.start(
            name, [tool("docker-registry"), "serve", str(path)], core, stdout=output, env={"OTEL_TRACES_EXPORTER": "none"}
        )
    process.await_ready(lambda: content.status_of(port, "/v2/") == 200)
    return Origin(process, port, log)


def certificate(ws: Workspace) -> tuple[pathlib.Path, pathlib.Path]:
    """A self-signed ECDSA P-256 pair, made once in a workspace."""
    folder = ws.folder("tls")
    pair = folder / "certificate.pem", folder / "key.pem"
    if not pair[0].exists():
        subprocess.run(
            [tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", str(pair[1]), "-out", str(pair[0])],
            check=True, capture_output=True,
        )  # fmt: skip
    return pair


# What Entrepot's access log tells, as far as nginx knows it.
NGINX_LOG_FORMAT = (
    '\'{"time":"$time_iso8601","id":"$request_id","client":"$remote_addr","method":"$request_method",'
    '"host":"$host","path":"$request_uri","status":$status,"bytes_in":$request_length,"bytes_out":$bytes_sent,'
    '"cache":"$upstream_cache_status","peer":"$upstream_addr","duration":$request_time,'
    '"peer_time":"$upstream_response_time","protocol":"$server_protocol","tls":"$ssl_protocol",'
    '"user_agent":"$http_user_agent"}\''
)


@dataclasses.dataclass
class NginxOptions:
    sendfile: bool = False
    log: bool = True
    cache: bool = True
    # proxy_cache_lock_timeout and _age; nginx's own default is 5 s
    lock_seconds: int = 5
    request_buffering: bool = False
    # None leaves it to the kernel
    send_buffer: str | None = "256k"
    address: str = content.LOOPBACK


def nginx(ws: Workspace, name: str, origin_port: int, options: NginxOptions) -> Server:
    folder = ws.folder(name)
    plain, tls = free_port(), free_port()
    log = folder / "access.log" if options.log else None
    path = folder / "nginx.conf"
    path.write_text(_nginx_configuration(ws, folder, origin_port, plain, tls, log, options))
    process = ws.start(name, [tool("nginx"), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(path)], SERVER_CORE)
    process.await_ready(lambda: content.status_of(plain, "/v2/", options.address) == 200)
    return Server(name, process, plain, tls, access_log=log, host=options.address)


def _nginx_configuration(ws, folder, origin_port, plain, tls, log, options: NginxOptions) -> str:
    chain, key = certificate(ws)
    access = f"access_log {log} facts buffer=64k flush=1s;" if log else "access_log off;"
    buffer = f"sndbuf={options.send_buffer}" if options.send_buffer else ""
    cache = f"""
      proxy_cache blobs;
      proxy_cache_key $request_uri;
      proxy_cache_valid 200 1d;
      proxy_cache_lock on;
      proxy_cache_lock_timeout {options.lock_seconds}s;
      proxy_cache_lock_age {options.lock_seconds}s;"""
    return f"""
{"user root;" if os.geteuid() == 0 else ""}
daemon off;
worker_processes 1;
worker_rlimit_nofile {OPEN_FILES};
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 16384; multi_accept on; }}
http {{
  log_format facts escape=json {NGINX_LOG_FORMAT};
  {access}
  sendfile {"on" if options.sendfile else "off"};
  sendfile_max_chunk 2m;
  # With it and a fixed send buffer, sendfile on loopback waits 40 ms at the end of a body.
  tcp_nopush off;
  tcp_nodelay on;
  output_buffers 2 512k;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  client_body_buffer_size 512k;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/temp;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  open_file_cache max=16000 inactive=600s;
  open_file_cache_valid 600s;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=blobs:64m max_size={CACHE_DISK} inactive=1d use_temp_path=off;
  ssl_certificate {chain};
  ssl_certificate_key {key};
  ssl_protocols TLSv1.2 TLSv1.3;
  http2_chunk_size 64k;
  http2_body_preread_size 1m;
  upstream origin {{ server 127.0.0.1:{origin_port}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen {options.address}:{plain} backlog=4096 {buffer};
    listen {options.address}:{tls} ssl http2 backlog=4096 {buffer};
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_request_buffering {"on" if options.request_buffering else "off"};
      proxy_read_timeout 900s;
      {cache if options.cache else ""}
    }}
  }}
}}
"""


def varnish(ws: Workspace, name: str, origin_port: int, storage: str = "malloc,2g") -> Server:
    """`storage`: as varnishd's -s takes it; `file,SIZE` puts the file into the workspace."""
    folder = ws.folder(name)
    if storage.startswith("file,"):
        storage = f"file,{folder}/storage,{storage.removeprefix('file,')}"
    plain = free_port()
    vcl = folder / "bench.vcl"
    vcl.write_text(f"""vcl 4.1;
backend origin {{
  .host = "127.0.0.1"; .port = "{origin_port}";
  .first_byte_timeout = 900s; .between_bytes_timeout = 900s;
}}
sub vcl_recv {{
  if (req.method == "GET" || req.method == "HEAD") {{ return (hash); }}
}}
sub vcl_backend_response {{
  set beresp.ttl = 1d;
  set beresp.do_stream = true;
}}
""")
    parameters = {
        # One worker for each connection that is being answered, ready before the load comes.
        "thread_pools": 1, "thread_pool_min": 600, "thread_pool_max": 4000, "thread_pool_add_delay": 0,
        "listen_depth": 4096, "timeout_idle": 600, "send_timeout": 900, "idle_send_timeout": 900,
        "http_gzip_support": "off", "nuke_limit": 1000,
    }  # fmt: skip
    command = [tool("varnishd"), "-F", "-j", "none", "-n", str(folder / "work"), "-T", "none"]
    command += ["-a", f"127.0.0.1:{plain}", "-f", str(vcl), "-s", storage]
    for key, value in parameters.items():
        command += ["-p", f"{key}={value}"]
    process = ws.start(name, command, SERVER_CORE)
    process.await_ready(lambda: content.status_of(plain, "/v2/") == 200)
    return Server(name, process, plain)


@dataclasses.dataclass
class EntrepotOptions:
    log: bool = True
    memory: str = "256MiB"
    # None leaves the key out: Entrepot's own default
    send_buffer: str | None = "256KiB"
    permission: str = "ask_peer"
    address: str = content.LOOPBACK
    # the section [auth], with rules that judge who reads of the cluster
    auth: str = ""


def entrepot_server(ws: Workspace, name: str, origin_port: int, options: EntrepotOptions) -> Server:
    """Entrepot as it is meant to run: permissions asked of the peer, access log to a file."""
    folder = ws.folder(name)
    chain, key = certificate(ws)
    plain, tls, admin = free_port(), free_port(), free_port()
    log = folder / "access.log" if options.log else None
    listener = f'send_buffer = "{options.send_buffer}"' if options.send_buffer else ""
    patient = 'timeouts = { first_byte = "600s", keepalive = "600s", body = "600s" }\nmax_connections = 16000\nmin_body_rate = 0'
    path = folder / "entrepot.toml"
    path.write_text(f"""threads = 1

[[listener]]
address = "{options.address}:{plain}"
{listener}
{patient}

[[listener]]
address = "{options.address}:{tls}"
tls = [{{ certificate = "{chain}", key = "{key}" }}]
{listener}
{patient}

[admin]
address = "127.0.0.1:{admin}"

[log]
access = "{log or 'off'}"
level = "warn"

[drain]
timeout = "5s"

[cache]
memory = "{options.memory}"
disk = "20GiB"
path = "{folder}/cache"

[cluster.main]
peers = ["127.0.0.1:{origin_port}"]
permission = "{options.permission}"
timeouts = {{ first_byte = "600s", read = "600s" }}

{options.auth}
[[route]]
read = "cluster.main"
write = "cluster.main"
auth = "{"rules" if options.auth else "peers"}"
""")
    process = ws.start(name, [entrepot(), "serve", "--config", str(path)], SERVER_CORE)
    ready = (200, 401)
    process.await_ready(lambda: content.status_of(admin, "/readyz") == 200 and content.status_of(plain, "/v2/", options.address) in ready)
    return Server(name, process, plain, tls, admin, log, options.address)
