"""Entrepot's registry with users and rules, and what its users show."""

import base64
import json
import subprocess
import urllib.parse

from . import content, registries
from .machine import BenchError, entrepot
from .processes import Workspace
from .servers import Server

USER, PASSWORD = "bob", "correct horse battery"
# Bob has his own corner, and everybody may read what is public.
RULES = """
[[auth.rule]]
repositories = "bob/**"
who = ["user:bob"]
allow = ["push", "overwrite", "delete"]
[[auth.rule]]
repositories = "public/**"
who = ["anonymous"]
allow = ["pull"]
"""


def start(ws: Workspace, store: registries.Store, cores: frozenset[int], cost: int) -> Server:
    """`cost` is bcrypt's."""
    folder = ws.folder(f"users-{store.kind}")
    users, word = folder / "htpasswd", folder / "password"
    word.write_text(PASSWORD)
    command = [entrepot(), "user", "add", str(users), USER, "--password-file", str(word), "--cost", str(cost)]
    subprocess.run(command, check=True, capture_output=True)
    return registries.start(ws, "entrepot", store, cores, f'[auth]\nhtpasswd = "{users}"\n{RULES}')


def basic(user: str = USER, password: str = PASSWORD) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def bearer(server: Server, scopes: list[str]) -> str:
    """What bob is given of these."""
    query = urllib.parse.urlencode([("service", "entrepot"), *(("scope", scope) for scope in scopes)])
    connection = content.connect(server.plain)
    connection.request("GET", f"/token?{query}", headers={"Authorization": basic()})
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    if answer.status != 200:
        raise BenchError(f"no token: {answer.status} {said[:300]!r}")
    return "Bearer " + json.loads(said)["token"]
