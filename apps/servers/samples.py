"""Figures of a server over a step: packing one row, rolling rows up, and picking what a chart can show.

A row holds, for each metric that was measured, min, mean, max and count. Stored, it is one version byte and then, for
each metric, its index in the server's list of names and the count (uint16 each), and min, mean and max (float32 each),
little-endian. A single measurement is all three and is written once: 8 bytes instead of 16. Not measured, no entry.
"""

import math
import struct
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

STEPS = (60, 300, 3600)  # seconds; each divides the next
VERSION = 1
MOST_POINTS = 300
LEAST_POINTS = 150  # fewer look coarse
_HEAD, _ONE, _THREE = struct.Struct("<HH"), struct.Struct("<f"), struct.Struct("<fff")
_MANY = struct.Struct("<HHfff")
Entry = tuple[int, int, float, float, float]
_FLOAT32 = 3.4028234e38


@dataclass(slots=True)  # not frozen, which would double the time of the thousands that a page needs
class Figure:
    """One metric over one step. `count` is how many measurements stand behind it."""

    least: float
    mean: float
    most: float
    count: int = 1


Row = Mapping[str, Figure]


def single(values: Mapping[str, float]) -> dict[str, Figure]:
    """Return the row of one measurement; what is not a finite number was not measured."""
    return {name: Figure(value, value, value) for name, value in values.items() if math.isfinite(value)}


def pack(row: Row, names: Sequence[str]) -> tuple[bytes, list[str]]:
    """Return the row as bytes, and the list of names: unknown ones are appended, a known one keeps its index."""
    known = list(names)
    index = {name: i for i, name in enumerate(known)}
    out = bytearray((VERSION,))
    for name, figure in row.items():
        if name not in index:
            if len(known) > 0xFFFF:
                raise ValueError("A server cannot have more than 65,536 metrics.")
            index[name] = len(known)
            known.append(name)
        out += _HEAD.pack(index[name], min(figure.count, 0xFFFF))
        if figure.count == 1:
            out += _ONE.pack(_fit(figure.mean))
        else:
            out += _THREE.pack(_fit(figure.least), _fit(figure.mean), _fit(figure.most))
    return bytes(out), known


def unpack(packed: bytes, names: Sequence[str]) -> dict[str, Figure]:
    """Return the row of some bytes. An index without a name is left out; what is no row of this version is empty."""
    return {
        names[index]: Figure(least, mean, most, count)
        for index, count, least, mean, most in _entries(packed)
        if index < len(names)
    }


def _entries(packed: bytes) -> Sequence[Entry]:
    """Return (index, count, least, mean, most) of each metric in some bytes; none of what is no row of this version."""
    data = bytes(packed)
    if data[:1] != bytes((VERSION,)):
        return ()
    body = memoryview(data)[1:]
    # Nearly every row has entries of one shape; of others the first stands where it should, so its count shows it.
    if len(body) % _MANY.size == 0:
        many = list(_MANY.iter_unpack(body))
        if all(entry[1] > 1 for entry in many):
            return many
    found: list[Entry] = []
    at = 0
    try:
        while at < len(body):
            index, count = _HEAD.unpack_from(body, at)
            shape = _ONE if count == 1 else _THREE
            values = shape.unpack_from(body, at + _HEAD.size)
            at += _HEAD.size + shape.size
            if count:
                found.append((index, count, values[0], values[len(values) // 2], values[-1]))
    except struct.error:
        return ()
    return found


def roll_up(rows: Iterable[Row]) -> dict[str, Figure]:
    """Return one row for several: least of the least, most of the most, mean weighted by count, sum of counts."""
    gathered: dict[str, list[Figure]] = {}
    for row in rows:
        for name, figure in row.items():
            gathered.setdefault(name, []).append(figure)
    return {name: joined(figures) for name, figures in gathered.items()}


def joined(figures: Sequence[Figure]) -> Figure:
    """Return one figure for several of one metric."""
    count = sum(figure.count for figure in figures)
    mean = math.fsum(figure.mean * figure.count for figure in figures) / count
    return Figure(min(f.least for f in figures), mean, max(f.most for f in figures), count)


def start(at: float, step: int) -> int:
    """Return the start of the step that a Unix time lies in."""
    return int(at // step) * step


def grouped(rows: Iterable[tuple[int, Row]], step: int) -> dict[int, dict[str, Figure]]:
    """Return rows (time, row) rolled up to a longer step, by the start of each step."""
    groups: dict[int, list[Row]] = {}
    for at, row in rows:
        groups.setdefault(start(at, step), []).append(row)
    return {at: roll_up(groups[at]) for at in sorted(groups)}


def step_for(seconds: float) -> int:
    """Return the longest step that still fills a chart over a time; each of its rows keeps its peaks."""
    return next((step for step in reversed(STEPS) if seconds / step >= LEAST_POINTS), STEPS[0])


class Point(NamedTuple):
    """One place of a chart: when it begins, how long it is, and what was measured; None is a gap."""

    at: int
    step: int
    figure: Figure | None


def points(
    rows: Iterable[tuple[int, bytes]],
    names: Sequence[str],
    *,
    since: int,
    until: int,
    step: int,
    most: int = MOST_POINTS,
    only: Container[str] | None = None,
) -> dict[str, list[Point]]:
    """Return for each metric at most `most` points from `since` to `until`, evenly apart, for rows (time, packed).

    Each point rolls up the rows in its stretch, of whatever step they are, so that no peak is lost; a stretch without
    any is a gap. `only` names the metrics that are wanted; as a rule all of them.
    """
    if until <= since:
        return {}
    wide = step * max(1, math.ceil((until - start(since, step)) / step / most))
    while (first := start(since, wide)) + wide * most < until:
        wide += step  # counted from a multiple of its own width, the chart begins a little earlier
    groups: dict[int, dict[int, list[float]]] = {
        index: {} for index, name in enumerate(names) if only is None or name in only
    }
    for at, packed in rows:
        if not first <= at < until:
            continue
        place = start(at, wide)
        for index, count, least, mean, highest in _entries(packed):  # this loop is most of a page's time: no objects
            metric = groups.get(index)
            if metric is None:
                continue
            sums = metric.get(place)
            if sums is None:
                metric[place] = [least, mean * count, highest, count]
                continue
            sums[0] = min(sums[0], least)
            sums[1] += mean * count
            sums[2] = max(sums[2], highest)
            sums[3] += count
    places = range(first, until, wide)
    return {
        names[index]: [Point(at, wide, _figure(metric.get(at))) for at in places]
        for index, metric in groups.items()
        if metric
    }


def _figure(sums: list[float] | None) -> Figure | None:
    return None if sums is None else Figure(sums[0], sums[1] / sums[3], sums[2], int(sums[3]))


def gaps(drawn: Sequence[Point]) -> list[tuple[int, int]]:
    """Return the stretches (from, to) without any figure, for the words beside a chart."""
    out: list[tuple[int, int]] = []
    for point in drawn:
        if point.figure is not None:
            continue
        if out and out[-1][1] == point.at:
            out[-1] = (out[-1][0], point.at + point.step)
        else:
            out.append((point.at, point.at + point.step))
    return out


def series(drawn: Sequence[Point], of: Callable[[Figure], float]) -> list[float | None]:
    """Return one value a point, as core.charts takes them."""
    return [None if point.figure is None else of(point.figure) for point in drawn]


def _fit(value: float) -> float:
    """Return a number that 32 bits can hold."""
    return max(-_FLOAT32, min(_FLOAT32, value))
