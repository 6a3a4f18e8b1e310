"""Memory of the whole embedded set: the proportional share (PSS) of every process of one `./mainstay up`.

PSS counts a page that several processes share in equal parts, so the sum is what the machine really spends
(Linux, /proc/PID/smaps_rollup). It is read after the pages and the workers were used once.
"""

import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from config.bench.figure import Figure
from config.bench.running import family, mainstay

PAGES = ("/", "/healthz", "/accounts/login/", "/static/core/app.js")
ROUNDS = 20


def measure() -> Iterator[Figure]:
    """Start on an empty folder, ask for a few pages, and read the share of each process."""
    with tempfile.TemporaryDirectory(prefix="mainstay-bench-") as folder, mainstay(Path(folder) / "data") as running:
        for page in PAGES * ROUNDS:
            ask(f"{running.url}{page}")
        shares = [(name(pid), share(pid)) for pid in family(running.pid)]
    for what, kib in shares:
        yield Figure("memory", what, round(kib / 1024, 1), "MiB")
    yield Figure("memory", f"all {len(shares)} processes", round(sum(kib for _, kib in shares) / 1024, 1), "MiB")


def ask(url: str) -> None:
    """Ask for a page, whatever it answers."""
    try:
        urllib.request.urlopen(url, timeout=30).read()  # noqa: S310 our own address
    except OSError:
        return


def share(pid: int) -> int:
    """Return the PSS of a process in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def name(pid: int) -> str:
    """Return what a process is called on the console (its comm, which `up` sets)."""
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
