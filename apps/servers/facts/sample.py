"""One minute of a server: the kernel's amounts and counters, and the figures that two of them make.

Figures are shares (0 to 1) but `load` (per core), the rates (`…_in`, `…_out`, `io_…`: bytes a second) and `processes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.servers.facts.read import MalformedError, number, part, rows, text, whole

MOST_DISKS = 32
TICKS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
LONGEST_GAP = 900.0  # seconds between two samples after which a rate would only be a mean of unknown hours


@dataclass(frozen=True, slots=True)
class Measured:
    """What the kernel said at one moment; None is unknown. Counters only ever grow until a reboot."""

    taken: float  # Unix seconds by the server's clock
    boot_id: str  # empty is unknown
    uptime: float
    cores: int
    ticks: tuple[int, ...]  # as TICKS; empty is unknown
    counters: Mapping[str, int]
    values: Mapping[str, float]  # figures that need no second sample
    totals: Mapping[str, int]  # bytes behind the shares of disks, memory and swap


def parse(found: Mapping[str, Any]) -> Measured:
    """Take a gate's sample apart. Raises MalformedError when it does not even say when it is from."""
    taken, uptime = number(found.get("taken")), number(found.get("uptime"))
    if taken is None or uptime is None:
        raise MalformedError("The sample does not say when, and how long after a start, it was taken.")
    values: dict[str, float] = {}
    totals: dict[str, int] = {}
    cores = whole(part(found, "cpu").get("count"), most=65536) or 1
    _memory(part(found, "memory"), values, totals)
    _disks(found.get("disks"), values, totals)
    load = found.get("load")
    if isinstance(load, list) and load and (one := number(load[0], most=1e6)) is not None:
        values["load"] = one / cores
    for kind, share in part(found, "pressure").items():
        if kind in {"cpu", "memory", "io"} and (percent := number(share, most=100)) is not None:
            values[f"pressure_{kind}"] = percent / 100
    if (processes := whole(found.get("processes"), most=1e7)) is not None:
        values["processes"] = float(processes)
    ticks = [whole(part(found, "cpu").get(name)) for name in TICKS]
    known = tuple(tick for tick in ticks if tick is not None)
    return Measured(
        taken=taken,
        boot_id=text(found.get("boot_id"), 40),
        uptime=uptime,
        cores=cores,
        ticks=known if len(known) == len(TICKS) else (),
        counters=_counters(found),
        values=values,
        totals=totals,
    )


def figures(now: Measured, before: Measured | None) -> dict[str, float]:
    """Return every figure of a moment; those that need counters only with an earlier sample of the same boot."""
    out = dict(now.values)
    if before is None or before.boot_id != now.boot_id:
        return out
    gone = now.uptime - before.uptime
    if not 1 <= gone <= LONGEST_GAP:
        return out
    for name, count in now.counters.items():
        grown = count - before.counters.get(name, count + 1)
        if grown >= 0:
            out[name] = grown / gone
    if now.ticks and before.ticks:
        spent = {name: new - old for name, new, old in zip(TICKS, now.ticks, before.ticks, strict=True)}
        whole_time = sum(spent.values())
        if whole_time > 0 and min(spent.values()) >= 0:
            out["cpu"] = (whole_time - spent["idle"] - spent["iowait"]) / whole_time
            out["iowait"] = spent["iowait"] / whole_time
            out["steal"] = spent["steal"] / whole_time
    return out


def _memory(found: Mapping[str, Any], values: dict[str, float], totals: dict[str, int]) -> None:
    for name, most, left in (("memory", "total", "available"), ("swap", "swap_total", "swap_free")):
        total, free = whole(found.get(most)), whole(found.get(left))
        if total and free is not None and free <= total:
            values[name], totals[name] = 1 - free / total, total


def _disks(found: object, values: dict[str, float], totals: dict[str, int]) -> None:
    for row in rows(found, MOST_DISKS):
        path = text(row.get("path"), 120)
        if not path.startswith("/") or row.get("read_only") is True:
            continue  # what cannot be written to cannot fill up
        size, free = whole(row.get("size")), whole(row.get("free"))
        if size and free is not None and free <= size:
            values[f"disk:{path}"], totals[f"disk:{path}"] = 1 - free / size, size
        inodes, left = whole(row.get("inodes")), whole(row.get("inodes_free"))
        if inodes and left is not None and left <= inodes:
            values[f"inodes:{path}"] = 1 - left / inodes


def _counters(found: Mapping[str, Any]) -> dict[str, int]:
    places = (
        ("net_in", "net", "rx"),
        ("net_out", "net", "tx"),
        ("io_read", "io", "read"),
        ("io_written", "io", "written"),
    )
    counts = {name: whole(part(found, where).get(field)) for name, where, field in places}
    return {name: count for name, count in counts.items() if count is not None}
