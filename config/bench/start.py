"""Seconds from `./mainstay up` to the first page, with the packages installed: the first start and the next ones."""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from config.bench.figure import Figure
from config.bench.running import mainstay

RUNS = 5
LIMIT = 5.0  # seconds that a start may take


def measure() -> Iterator[Figure]:
    """Start on an empty data folder, then again and again on the same one."""
    with tempfile.TemporaryDirectory(prefix="mainstay-bench-") as folder:
        data = Path(folder) / "data"
        with mainstay(data) as first:
            yield Figure("start", "first start: database, keys, fonts, pages", round(first.seconds, 2), "s")
        times = []
        for _ in range(RUNS):
            with mainstay(data) as again:
                times.append(again.seconds)
        yield Figure("start", "next start, median", round(statistics.median(times), 2), "s", LIMIT, RUNS)
        yield Figure("start", "next start, slowest", round(max(times), 2), "s", LIMIT, RUNS)
