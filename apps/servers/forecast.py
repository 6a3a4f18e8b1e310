"""When a disk will be full: a robust trend with an interval, or one sentence on why that cannot be told.

The trend is the median of the slopes of all pairs of points (Theil 1950, Sen 1968); its interval is the rank-based one
that Sen gives with Kendall's variance n(n-1)(2n+5)/18, at 95 %. Two views are taken. *Days*: the peak of each 24 hours
back from now, since the last clean-up, so that a daily rotation is no trend. *Hours*: the peaks of the last 24 hours,
which count only when the disk is fuller than on any day before: then something is filling it now.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import combinations, pairwise
from statistics import median

from apps.core import words

DAY, HOUR = 86400, 3600
WINDOW = 30  # days looked at
LEAST = 5  # points; with fewer the interval has no bounds
CLEANED = 0.03  # of the size: a fall by more from one day to the next, and beyond the usual, is a clean-up
AHEAD = 365  # days; further away is not worth a date
SOON = 3  # days: what the hours may foretell
Z = 1.96  # of the normal distribution, for 95 %
GAP = 2 * HOUR  # the newest figure must not be older


class Trend(StrEnum):
    """What can be said."""

    FULL = "full"
    RISING = "rising"
    STEADY = "steady"
    FALLING = "falling"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is foretold. `latest` None while RISING: it may also take longer than a year. Slopes in units a day."""

    trend: Trend
    said: str
    earliest: datetime | None = None
    likely: datetime | None = None
    latest: datetime | None = None
    slope: float | None = None
    slope_low: float | None = None
    slope_high: float | None = None


def slopes(points: Sequence[tuple[float, float]]) -> tuple[float, float, float] | None:
    """Return the median slope of all pairs and its 95 % interval (low, middle, high); None with too few points.

    Points (x, y) have different x. Sen (1968), J. Am. Stat. Assoc. 63, section 3.
    """
    n = len(points)
    if n < LEAST:
        return None
    found = sorted((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2))
    spread = Z * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low, high = (len(found) - spread) / 2, (len(found) + spread) / 2
    return found[max(math.floor(low) - 1, 0)], median(found), found[min(math.ceil(high), len(found) - 1)]


def peaks(points: Sequence[tuple[float, float]], now: float, width: float, most: int) -> list[tuple[float, float]]:
    """Return the highest value of each stretch of `width` back from now, oldest first; x is the stretch's number."""
    highest: dict[int, float] = {}
    for at, value in points:
        back = int((now - at) // width)
        if 0 <= back < most:
            highest[back] = max(highest.get(back, value), value)
    return [(-back, highest[back]) for back in sorted(highest, reverse=True)]


def forecast(points: Sequence[tuple[float, float]], size: float, now: datetime) -> Forecast:
    """Return when (Unix time, used) reaches `size`; both in one unit, bytes or inodes, size without what root keeps."""
    moment = now.timestamp()
    known = sorted((at, value) for at, value in points if at <= moment and math.isfinite(value))
    if not known or moment - known[-1][0] > GAP or size <= 0:
        return Forecast(Trend.UNKNOWN, "It cannot be told when it is full: there are no fresh figures.")
    room = size - known[-1][1]
    if room <= 0:
        return Forecast(Trend.FULL, "It is full now.", now, now, now)
    days = peaks(known, moment, DAY, WINDOW)
    hours = peaks(known, moment, HOUR, 24)
    before = [value for back, value in days if back < 0]
    new_height = not before or known[-1][1] > max(before)
    fast = slopes([(x / 24, y) for x, y in hours]) if new_height and hours[0][0] <= -LEAST else None
    if fast and fast[0] > 0 and room / fast[1] <= SOON:
        return _rising(fast, room, now)
    return _by_days(days, room, size, now)


def _by_days(days: list[tuple[float, float]], room: float, size: float, now: datetime) -> Forecast:
    since, cleaned = days, False
    usual = median([abs(two[1] - one[1]) for one, two in pairwise(days)] or [0.0])
    fall = max(CLEANED * size, 3 * usual)
    for i, (one, two) in enumerate(pairwise(days), 1):
        if two[1] < one[1] - fall:
            since, cleaned = days[i:], True
    found = slopes(since)
    if found is None:
        have = words.plural(len(since), "day")
        after = " since the last clean-up" if cleaned else ""
        return Forecast(
            Trend.UNKNOWN, f"It cannot be told yet when it is full: there are {have} of figures{after}, {LEAST} needed."
        )
    low, middle, high = found
    if high <= 0 and middle < 0:
        return Forecast(Trend.FALLING, "It is getting emptier.", None, None, None, middle, low, high)
    if high <= 0 or room / high > AHEAD or (middle <= 0 and room / high > 90):
        return Forecast(Trend.STEADY, "It will not be full within a year." if high <= 0 or room / high > AHEAD else
                        "It is not filling up.", None, None, None, middle, low, high)  # fmt: skip
    if low <= 0:
        said = "It goes up and down too much to tell when it is full."
        return Forecast(Trend.UNKNOWN, said, _after(now, room / high), None, None, middle, low, high)
    return _rising(found, room, now)


def _rising(found: tuple[float, float, float], room: float, now: datetime) -> Forecast:
    low, middle, high = found
    first, likely, last = room / high, room / middle, room / low
    latest = _after(now, last) if last <= AHEAD else None
    if likely > AHEAD:
        return Forecast(
            Trend.STEADY, "It will hardly be full within a year.", _after(now, first), None, latest, middle, low, high
        )
    until = f"and {far(last)}" if latest else "and more than a year"
    said = f"It is full in about {far(likely)} (between {far(first)} {until})."
    if far(first) == far(last):
        said = f"It is full in about {far(likely)}."
    return Forecast(Trend.RISING, said, _after(now, first), _after(now, likely), latest, middle, low, high)


def _after(now: datetime, days: float) -> datetime:
    return now.astimezone(UTC) + timedelta(days=min(days, 36500))


def far(days: float) -> str:
    """Return a time ahead in one honest unit: "13 h", "9 days", "5 weeks", "7 months"."""
    if days < 1 / 24:
        return f"{max(round(days * 1440), 1)} min"
    if days < 2:
        return f"{round(days * 24)} h"
    if days < 21:
        return f"{round(days)} days"
    return f"{round(days / 7)} weeks" if days < 70 else f"{round(days / 30.44)} months"
