"""Which backups of a plan are kept: the newest of each day, week, month and year, the newest, and the proven. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

Period = tuple[int, ...]
_PERIODS: dict[str, Callable[[date], Period]] = {
    "daily": lambda day: (day.year, day.month, day.day),
    "weekly": lambda day: day.isocalendar()[:2],
    "monthly": lambda day: (day.year, day.month),
    "yearly": lambda day: (day.year,),
}
NONE_KEPT = "With 0 everywhere only the newest and the last proven backup stay: there is no older day to go back to."
MOST = {"daily": 366, "weekly": 260, "monthly": 120, "yearly": 25}  # what a form accepts


@dataclass(frozen=True, slots=True)
class Keep:
    """How many days, weeks, months and years keep their newest backup. All nought keeps the newest and the proven."""

    daily: int = 7
    weekly: int = 4
    monthly: int = 12
    yearly: int = 0

    def count(self, name: str) -> int:
        """Return the number for one of "daily", "weekly", "monthly", "yearly"."""
        return int(getattr(self, name))


@dataclass(frozen=True, slots=True)
class Point:
    """One backup that can be gone back to."""

    id: str
    taken_at: datetime  # aware
    proven: bool = False


class Mark(NamedTuple):
    """One kept backup in the picture: how old it will be, and the widest period that keeps it."""

    age_days: int
    period: str


def kept(points: Iterable[Point], keep: Keep, tz: str, now: datetime) -> dict[str, tuple[str, ...]]:
    """Return what is kept and why: id → reasons ("newest", "proven", "daily", …); what is absent may be deleted.

    Periods are counted from the newest that holds a backup, so that a plan that stood still for a month loses nothing.
    A moment after `now` (a clock was wrong) is kept and counts for no period: it must not push out the real ones.
    """
    ordered = sorted(points, key=lambda point: (point.taken_at, point.id), reverse=True)
    why: dict[str, list[str]] = {}
    for point in ordered:
        if point.taken_at > now:
            why.setdefault(point.id, []).append("ahead")
    past = [point for point in ordered if point.taken_at <= now]
    for point in past[:1]:
        why.setdefault(point.id, []).append("newest")
    for point in [point for point in past if point.proven][:1]:
        why.setdefault(point.id, []).append("proven")
    zone = ZoneInfo(tz)
    for name, period_of in _PERIODS.items():
        seen: set[Period] = set()
        for point in past:
            period = period_of(point.taken_at.astimezone(zone).date())
            if period in seen:
                continue
            if len(seen) >= keep.count(name):
                break
            seen.add(period)
            why.setdefault(point.id, []).append(name)
    return {id_: tuple(reasons) for id_, reasons in why.items()}


@lru_cache(maxsize=512)
def picture(keep: Keep) -> tuple[Mark, ...]:
    """Return what there will be once every period is filled, with one backup a day, newest first."""
    days = max(keep.daily, keep.weekly * 7 + 7, keep.monthly * 31 + 31, keep.yearly * 366 + 366) + 1
    today = datetime(2027, 6, 16, 12, tzinfo=UTC)  # any day will do; the middle of a week, a month and a year
    points = [Point(str(age), today - timedelta(days=age)) for age in range(days)]
    marks = kept(points, keep, "UTC", today)
    return tuple(sorted(Mark(int(id_), reasons[-1]) for id_, reasons in marks.items()))


def reach(keep: Keep) -> timedelta:
    """Return how far back one can go once every period is filled, with one backup a day."""
    return timedelta(days=picture(keep)[-1].age_days)


def words(keep: Keep) -> str:
    """Return "7 daily, 4 weekly and 12 monthly", or that only the newest stays."""
    parts = [f"{keep.count(name)} {name}" for name in _PERIODS if keep.count(name)]
    if not parts:
        return "only the newest and the last proven"
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
