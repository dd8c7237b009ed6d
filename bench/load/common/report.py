"""Markdown tables on standard output and, when asked, at the end of bench/RESULTS.md."""

import argparse
import pathlib
import shlex
import sys

from .cells import Result, ratio
from .content import show_size
from .machine import REPOSITORY, heading

RESULTS = REPOSITORY / "bench/RESULTS.md"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--record", action="store_true", help="append the result to bench/RESULTS.md")
    parser.add_argument("--dir", help="folder for caches and stores (default: the system's temporary one)")


def lists(parser: argparse.ArgumentParser, **known: tuple[str, ...]) -> argparse.Namespace:
    """Reads the arguments; those named in `known` are comma-separated choices among its values."""
    chosen = parser.parse_args()
    for name, values in known.items():
        picked = getattr(chosen, name).split(",")
        if unknown := set(picked) - set(values):
            parser.error(f"unknown: {', '.join(sorted(unknown))}")
        setattr(chosen, name, picked)
    return chosen


def aim(value: float, least: float) -> str:
    return f"≥ {least:,g} {'met' if value >= least else '**missed**'}"


def publish(title: str, servers: list[str], sections: list[str], record: bool) -> None:
    program = pathlib.Path(sys.argv[0]).name
    command = " ".join(["bench/load/" + program, *map(shlex.quote, sys.argv[1:])])
    text = "\n\n".join([heading(title, servers, command).rstrip(), *sections]) + "\n"
    print("\n" + text)
    if record:
        with open(RESULTS, "a", encoding="utf-8") as results:
            results.write("\n" + text)


def table(head: list[str], rows: list[list[str]]) -> str:
    """The first column is words, the others are figures."""
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(["---"] + ["---:"] * (len(head) - 1)) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def cells_table(results: list[Result]) -> str:
    """Everything measured, one row for each server and cell."""
    head = ["cell", "server", "requests/s", "MiB/s", "CPU s/GB", "server core", "load core", "RSS MiB"]
    rows = []
    for result in results:
        rows.append([
            _cell(result), result.server,
            f"{result.median('requests_per_second'):,.0f}", f"{result.median('bytes_per_second') / 2**20:,.0f}",
            f"{result.median('cpu_per_gb'):.3f}", f"{result.median('server_busy'):.0%}",
            f"{result.median('load_busy'):.0%}" + (" *" if result.load_limited() else ""),
            f"{result.median('rss') / 2**20:,.0f}",
        ])  # fmt: skip
    notes = ""
    if any(result.load_limited() for result in results):
        notes = "\n\n\\* The load generator's core was full, the server's was not: read CPU s/GB there."
    for result in results:
        if stalls := sum(sample.stalls for sample in result.samples):
            notes += f"\n\n{_cell(result)} {result.server}: h2load did not end {stalls} time(s) and was run again."
    return table(head, rows) + notes


def ratios_table(results: list[Result], subject: str, rivals: dict[str, list[str]], aims) -> str:
    """The subject against the best of each group of rivals, in rate and in CPU; `aims(cell)` gives (least rate, most CPU)."""
    head = ["cell", subject + ", rate"]
    head += [f"rate ÷ {name}" for name in rivals] + [f"CPU/GB ÷ {name}" for name in rivals] + ["aim (rate, CPU)"]
    rows = []
    for own in (result for result in results if result.server == subject):
        rates, cpus = [], []
        for names in rivals.values():
            found = [result for result in results if result.cell == own.cell and result.server in names]
            rates.append(min((ratio(own, rival, own.rate_field()) for rival in found), default=None))
            cpus.append(max((ratio(own, rival, "cpu_per_gb") for rival in found), default=None))
        least, most = aims(own.cell)
        met = all(r >= least for r in rates if r), all(c <= most for c in cpus if c)
        aim = ", ".join(
            f"{sign} {limit:g} {'met' if ok else '**missed**'}" for sign, limit, ok in (("≥", least, met[0]), ("≤", most, met[1]))
        )
        rows.append([_cell(own), _rate(own), *map(_show, rates), *map(_show, cpus), aim])
    return table(head, rows)


def _cell(result: Result) -> str:
    return f"{result.cell.mode} {result.cell.what or show_size(result.cell.size)} c={result.cell.connections}"


def _rate(result: Result) -> str:
    if result.rate_field() == "bytes_per_second":
        return f"{result.median('bytes_per_second') / 2**20:,.0f} MiB/s"
    return f"{result.median('requests_per_second'):,.0f}/s"


def _show(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
