"""What `tags` and `catalog` share: lists asked for cold, warm and right after a change, of each contestant in turn.

*cold* is the first answer of a server just started, *warm* the same again, *after a push* the first one after the list has
changed, which must hold what was pushed.
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
import time
from collections.abc import Callable

from . import content, machine, registries, report, tree
from .processes import Workspace
from .servers import Server

STATES = ("cold", "warm", "after a push")
AIM = 10
# Of warm answers: so many, unless they take longer than this in all.
WARM = 50
WARM_SECONDS = 4


@dataclasses.dataclass
class Question:
    """A list as a client asks for it, and the field of the answer that holds it."""

    label: str
    path: str
    field: str
    # names expected, when `pushed` more have been pushed since the archive was unpacked
    expected: Callable[[int], int]
    # whether a Link must lead on
    more: bool


@dataclasses.dataclass
class Subject:
    """What is asked and what changes the list."""

    title: str
    archive: Callable[[Workspace], object]
    questions: list[Question]
    # the path of a manifest's PUT, and the name that it adds; sorted among the first of any page
    change: Callable[[int], tuple[str, str]]
    manifest: bytes
    method: str


def options(description: str, rounds: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--servers", default=",".join(registries.CONTESTANTS))
    parser.add_argument("--storages", default=",".join(registries.STORAGES))
    parser.add_argument("--rounds", type=int, default=rounds, help="each with servers started anew")
    parser.add_argument("--changes", type=int, default=5, help="pushes in each round, each followed by every list")
    parser.add_argument("--bound", type=float, default=15, metavar="MINUTES")
    report.add_options(parser)
    return report.lists(parser, servers=registries.CONTESTANTS, storages=registries.STORAGES)


class Asker:
    """One client on one kept connection."""

    def __init__(self, server: Server):
        self.server, self.connection = server, content.connect(server.plain)

    def ask(self, question: Question, pushed: int, newest: str | None = None) -> float:
        """Seconds until the whole answer is there; it is checked afterwards."""
        began = time.perf_counter()
        self.connection.request("GET", question.path)
        answer = self.connection.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - began
        if answer.status != 200:
            raise machine.BenchError(f"{self.server.name} answered {answer.status} to {question.path}: {body[:300]!r}")
        names = json.loads(body)[question.field]
        if names != sorted(names) or len(names) != question.expected(pushed) or bool(answer.headers["Link"]) != question.more:
            raise machine.BenchError(
                f"{self.server.name}: {len(names)} names in answer to {question.path}, "
                f"{question.expected(pushed)} expected; Link: {answer.headers['Link']}"
            )
        if newest and newest not in names:
            raise machine.BenchError(f"{self.server.name}: {newest} has been pushed and is not in {question.path}")
        return seconds

    def put(self, path: str, body: bytes) -> float:
        began = time.perf_counter()
        self.connection.request("PUT", path, body=body, headers={"Content-Type": tree.MANIFEST_TYPE})
        answer = self.connection.getresponse()
        said = answer.read()
        if answer.status != 201:
            raise machine.BenchError(f"{self.server.name} answered {answer.status} to {path}: {said[:300]!r}")
        return time.perf_counter() - began

    def close(self) -> None:
        self.connection.close()


class Contestant:
    def __init__(self, ws: Workspace, name: str, store: registries.Store):
        self.ws, self.name, self.store, self.pushed = ws, name, store, 0
        # by question and state
        self.seconds: dict[tuple[str, str], list[float]] = {}

    def note(self, question: str, state: str, seconds: float) -> None:
        self.seconds.setdefault((question, state), []).append(seconds)

    def round(self, subject: Subject, changes: int) -> None:
        for question in subject.questions:
            server = self._start()
            asker = Asker(server)
            self.note(question.label, "cold", asker.ask(question, self.pushed))
            self._warm(asker, question)
            if question is subject.questions[-1]:
                self._change(asker, subject, changes)
            asker.close()
            self.ws.stop(server.process)

    def _start(self) -> Server:
        return registries.start(self.ws, self.name, self.store, frozenset({machine.SERVER_CORE}))

    def _warm(self, asker: Asker, question: Question) -> None:
        deadline = time.monotonic() + WARM_SECONDS
        for _ in range(WARM):
            self.note(question.label, "warm", asker.ask(question, self.pushed))
            if time.monotonic() > deadline:
                break

    def _change(self, asker: Asker, subject: Subject, changes: int) -> None:
        """Each question comes first after a change once in as many changes as there are questions."""
        for turn in range(changes * len(subject.questions)):
            path, newest = subject.change(self.pushed)
            self.note("the push itself", "after a push", asker.put(path, subject.manifest))
            self.pushed += 1
            question = subject.questions[turn % len(subject.questions)]
            self.note(question.label, "after a push", asker.ask(question, self.pushed, newest))

    def median(self, question: str, state: str) -> float:
        return statistics.median(self.seconds[question, state]) * 1e3


def run(subject: Subject, chosen: argparse.Namespace) -> None:
    machine.bound(chosen.bound)
    # This process is the client.
    os.sched_setaffinity(0, {machine.LOAD_CORE})
    rows = []
    with Workspace(chosen.dir) as ws:
        archive = subject.archive(ws)
        for kind in chosen.storages:
            stores = registries.Stores(ws, kind, frozenset({machine.LOAD_CORE}))
            contestants = [Contestant(ws, name, stores.new(name)) for name in chosen.servers]
            for contestant in contestants:
                print(f"  filling {kind} of {contestant.name}", file=sys.stderr, flush=True)
                contestant.store.fill(archive)
            for turn in range(chosen.rounds):
                for contestant in contestants if turn % 2 == 0 else reversed(contestants):
                    contestant.round(subject, chosen.changes)
                print(f"  {kind} round {turn + 1} of {chosen.rounds} done", file=sys.stderr, flush=True)
            rows += table_rows(kind, subject, contestants)
            stores.close()
    method = (
        f"{subject.method} One client on core {machine.LOAD_CORE} beside MinIO, server on core {machine.SERVER_CORE}; milliseconds, medians "
        f"of {chosen.rounds} interleaved rounds, in each of which servers are started anew for each *cold* list; up to {WARM} *warm* "
        "answers a round; *after a push* the new name had to be in the answer. Every answer's order and length was checked."
    )
    head = ["storage, list", "state", "distribution ms", "entrepot ms", "times faster", "aim"]
    report.publish(subject.title, chosen.servers + chosen.storages, [method, report.table(head, rows)], chosen.record)


def table_rows(kind: str, subject: Subject, contestants: list[Contestant]) -> list[list[str]]:
    by_name = {contestant.name: contestant for contestant in contestants}
    cells = [(question.label, state) for question in subject.questions for state in STATES] + [("the push itself", "after a push")]
    rows = []
    for label, state in cells:
        shown, found = [], []
        for name in registries.CONTESTANTS:
            value = by_name[name].median(label, state) if name in by_name else None
            shown.append("" if value is None else f"{value:,.2f}")
            found.append(value)
        verdict = ["", ""]
        if all(found):
            ratio = found[0] / found[1]
            # Issue 4 asks for it on MinIO, and of lists only.
            asked = kind == "minio" and label != "the push itself"
            verdict = [f"{ratio:,.1f}", report.aim(ratio, AIM) if asked else ""]
        rows.append([f"{kind}, {label}", "" if label == "the push itself" else state, *shown, *verdict])
    return rows
