"""The machine: which core does what, what is installed, and what a result must say of both."""

import datetime
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

SERVER_CORE = 0
# The load generator and the origin: so the server under test has its core for itself.
LOAD_CORE = 1
# What is not measured by the core: pushes, where storage, hashing and clients share the machine as they do elsewhere.
ALL_CORES = frozenset(range(os.cpu_count() or 1))

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
LOAD_FOLDER = REPOSITORY / "bench/load"
# Debian keeps servers where ordinary users' PATH does not look.
SEARCH_PATH = os.environ.get("PATH", "") + os.pathsep + os.pathsep.join(["/usr/sbin", "/sbin"])


# On a machine that others use, the benches before them: a number as nice(1) has it, for root below 0.
NICE = int(os.environ.get("BENCH_NICE") or 0)


def weigh(nice: int) -> None:
    """This process's part of its cores, and its session's: some kernels share out between sessions first (sched(7), autogroup)."""
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    try:
        pathlib.Path("/proc/self/autogroup").write_text(str(nice))
    except OSError:
        pass


class BenchError(Exception):
    """A run whose figures must not be believed, or that cannot begin."""


def tool(name: str) -> str:
    """The path of an installed program."""
    found = shutil.which(name, path=SEARCH_PATH)
    if not found:
        raise BenchError(f"{name} is not installed; bench/README.md says what the benches need")
    return found


def kept(name: str) -> str:
    """A program that scripts/install built and keeps: minio, registry (distribution v3). $BENCH_MINIO, $BENCH_REGISTRY name others."""
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    path = pathlib.Path(os.environ.get(f"BENCH_{name.upper()}") or pathlib.Path(cache) / "entrepot/bin" / name)
    if not os.access(path, os.X_OK):
        raise BenchError(f"no {name} at {path}; bench/README.md says what the benches need")
    return str(path)


def program(module: str, *arguments: object) -> list[str]:
    """The command that runs a module of `common` as a program of its own; its folder must be LOAD_FOLDER."""
    return [sys.executable, "-m", f"common.{module}", *map(str, arguments)]


def entrepot() -> str:
    """The Entrepot under test: $ENTREPOT, else the release build of this repository."""
    path = pathlib.Path(os.environ.get("ENTREPOT") or REPOSITORY / "target/release/entrepot").resolve()
    if not os.access(path, os.X_OK):
        raise BenchError(
            f"no Entrepot at {path}: run `cargo build --release`, set ENTREPOT=path, "
            "or leave it out with --servers"
        )
    return str(path)


class Watch:
    """How much of the processors others used while we worked: all that was busy, less ourselves and our ended children."""

    # of all cores together; beyond it, figures are noise
    NOISE = 0.05

    def __init__(self):
        self.began, self.busy, self.own = time.monotonic(), _busy_seconds(), _own_seconds()

    def others(self) -> float:
        """0 to 1, of all cores together. Servers must have been stopped."""
        foreign = (_busy_seconds() - self.busy) - (_own_seconds() - self.own)
        return max(0.0, foreign / (time.monotonic() - self.began) / (os.cpu_count() or 1))


def _busy_seconds() -> float:
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, _read("/proc/stat").split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    usages = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def bound(minutes: float) -> None:
    """Ends this run after `minutes`, and on SIGTERM, through the ordinary way out, so that servers are stopped."""

    def over(signum, _frame):
        # The way out is walked once: what comes now must not interrupt the stopping of servers.
        for later in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
            signal.signal(later, signal.SIG_IGN)
        if signum == signal.SIGALRM:
            raise BenchError(f"not finished within the bound of {minutes:g} minutes")
        raise SystemExit(128 + signum)

    signal.signal(signal.SIGALRM, over)
    signal.signal(signal.SIGTERM, over)
    signal.signal(signal.SIGINT, over)
    signal.alarm(max(1, round(minutes * 60)))


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""


def _commit() -> str:
    git = ["git", "-C", str(REPOSITORY)]
    commit = _first_line(*git, "rev-parse", "--short=12", "HEAD") or "unknown"
    # The results file itself changes with every recorded run.
    changed = _first_line(*git, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/RESULTS.md")
    return commit + (" with changes" if changed else "")


def _read(path: str) -> str:
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return ""


def _processor() -> str:
    model = re.search(r"model name\s*:\s*(.+)", _read("/proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s*(\d+)", _read("/proc/meminfo"))
    gibibytes = int(memory[1]) / (1 << 20) if memory else 0
    congestion = _read("/proc/sys/net/ipv4/tcp_congestion_control")
    return (
        f"{model[1] if model else 'unknown processor'}, {os.cpu_count()} cores, {gibibytes:.0f} GiB, "
        f"Linux {os.uname().release}, TCP {congestion}"
    )


def _versions(servers: list[str]) -> list[str]:
    versions = []
    if any(name.startswith("entrepot") for name in servers):
        versions.append(_first_line(entrepot(), "--version"))
    if any(name.startswith("nginx") for name in servers):
        versions.append(_first_line(tool("nginx"), "-v").removeprefix("nginx version: "))
    if any(name.startswith("varnish") for name in servers):
        found = re.search(r"varnish-[\d.]+", _first_line(tool("varnishd"), "-V"))
        versions.append(found[0] if found else "varnish")
    if "distribution-v3" in servers:
        found = re.search(r"\S+$", _first_line(kept("registry"), "--version"))
        versions.append(f"distribution {found[0] if found else ''}".strip())
    elif "filesystem" not in servers and "minio" not in servers:
        found = re.search(r"\S+$", _first_line(tool("docker-registry"), "--version"))
        versions.append(f"docker-registry {found[0] if found else ''}".strip())
    if "minio" in servers:
        versions.append(_first_line(kept("minio"), "--version"))
    return versions


def heading(title: str, servers: list[str], command: str) -> str:
    """The opening of one result, when its servers have ended: date, commit, machine, versions, what others took of it."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    others = _watch.others()
    noise = " **That is too much: these figures are noise.**" if others > Watch.NOISE else ""
    if noise and NICE < 0:
        noise = f" They came after the bench (BENCH_NICE={NICE}): ratios and CPU can be read, rates hardly."
    return (
        f"## {title}\n\n"
        f"{now}, commit {_commit()}, `{command}`\n\n"
        f"{_processor()}; others used {others:.0%} of the processors meanwhile.{noise}\n"
        f"{'; '.join(filter(None, _versions(servers)))}\n"
    )


# It watches from the import on, which is before anything is started.
_watch = Watch()
if NICE:
    weigh(NICE)
