"""When a plan runs: four kinds of schedule, their next moments in a time zone, and how they are said in words. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

Kind = Literal["hourly", "days", "monthly", "cron"]
KINDS: tuple[Kind, ...] = ("hourly", "days", "monthly", "cron")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LAST_DAY = 31  # a month that is shorter runs on its last day
_EVERY_DAY = tuple(range(7))
_LOOK_DAYS, _LOOK_SLOTS = 400, 12_000  # how far widest_gap looks: a year and a bit, or this many slots


class ScheduleError(ValueError):
    """A schedule that cannot run; the message is a sentence for the form, `field` the one to mend."""

    def __init__(self, sentence: str, field: str = "") -> None:
        """Keep the sentence and the field."""
        super().__init__(sentence)
        self.field = field


@dataclass(frozen=True, slots=True)
class Schedule:
    """Every hour at a minute, on weekdays at a time, on a day of the month at a time, or a cron line of five fields.

    Times are wall-clock times of the plan's zone. One that does not exist (the clock went forward) runs at the first
    moment after, one that exists twice (it went back) runs once. What runs every hour runs every hour that passes.
    """

    kind: Kind
    minute: int = 0  # hourly
    at: time = time(2, 5)  # days, monthly
    weekdays: tuple[int, ...] = _EVERY_DAY  # days; Monday is 0
    day: int = 1  # monthly; 29 to 31 mean the last day where a month is shorter
    expression: str = ""  # cron

    @classmethod
    def hourly(cls, minute: int = 0) -> Self:
        """Return a checked schedule that runs each hour at a minute."""
        return cls("hourly", minute=minute).validate()

    @classmethod
    def days(cls, at: time, weekdays: tuple[int, ...] = _EVERY_DAY) -> Self:
        """Return a checked schedule that runs on weekdays at a time."""
        return cls("days", at=at, weekdays=weekdays).validate()

    @classmethod
    def monthly(cls, day: int, at: time) -> Self:
        """Return a checked schedule that runs on a day of each month at a time."""
        return cls("monthly", day=day, at=at).validate()

    @classmethod
    def cron(cls, expression: str) -> Self:
        """Return a checked schedule from a cron line."""
        return cls("cron", expression=" ".join(expression.split())).validate()

    def validate(self) -> Self:
        """Return itself, or raise ScheduleError."""
        if self.kind not in KINDS:
            raise ScheduleError("Choose how often: every hour, on days, monthly or cron.", "kind")
        if self.kind == "hourly" and not 0 <= self.minute <= 59:
            raise ScheduleError("Choose a minute from 0 to 59.", "minute")
        if self.kind == "days" and (not self.weekdays or not set(self.weekdays) <= set(_EVERY_DAY)):
            raise ScheduleError("Choose at least one day.", "weekdays")
        if self.kind == "monthly" and not 1 <= self.day <= 31:
            raise ScheduleError("Choose a day from 1 to 31, or the last day.", "day")
        if self.kind in {"days", "monthly"} and (self.at.second or self.at.microsecond or self.at.tzinfo):
            raise ScheduleError("Write the time as hours and minutes, for example 02:05.", "time")
        if self.kind == "cron":
            _check_cron(self.expression)
        return self

    def to_json(self) -> dict[str, Any]:
        """Return JSON types: only the fields of its kind."""
        data: dict[str, Any] = {"kind": self.kind}
        match self.kind:
            case "hourly":
                data["minute"] = self.minute
            case "days":
                data |= {"time": f"{self.at:%H:%M}", "weekdays": sorted(set(self.weekdays))}
            case "monthly":
                data |= {"time": f"{self.at:%H:%M}", "day": "last" if self.day == LAST_DAY else self.day}
            case "cron":
                data["expression"] = self.expression
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote. Raises ScheduleError for anything else."""
        try:
            match data["kind"]:
                case "hourly":
                    return cls.hourly(int(data["minute"]))
                case "days":
                    return cls.days(time.fromisoformat(data["time"]), tuple(int(day) for day in data["weekdays"]))
                case "monthly":
                    day = LAST_DAY if data["day"] == "last" else int(data["day"])
                    return cls.monthly(day, time.fromisoformat(data["time"]))
                case "cron":
                    return cls.cron(str(data["expression"]))
        except ScheduleError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise ScheduleError("This schedule cannot be read.", "kind") from error
        raise ScheduleError(f"There is no kind of schedule called {data['kind']}.", "kind")


def check_zone(tz: str) -> str:
    """Return the name of a time zone that exists, or raise ScheduleError."""
    if tz not in zones():
        raise ScheduleError(
            "There is no such time zone. Choose one from the list, for example Europe/Berlin.", "time_zone"
        )
    return tz


@lru_cache(maxsize=1)
def zones() -> tuple[str, ...]:
    """Return the names of all time zones, sorted, without the aliases that are not places."""
    odd = ("posix/", "right/", "Etc/", "SystemV/", "US/", "Canada/", "Brazil/", "Chile/", "Mexico/")
    return tuple(
        sorted(name for name in available_timezones() if name == "UTC" or ("/" in name and not name.startswith(odd)))
    )


def following(schedule: Schedule, tz: str, after: datetime) -> datetime:
    """Return the first moment (UTC) at which the schedule runs strictly after an aware moment."""
    return next(_moments(schedule, ZoneInfo(tz), after))


def upcoming(schedule: Schedule, tz: str, after: datetime, n: int) -> list[datetime]:
    """Return the next `n` moments (UTC) after an aware moment."""
    return list(islice(_moments(schedule, ZoneInfo(tz), after), n))


def widest_gap(schedule: Schedule, tz: str, now: datetime) -> timedelta:
    """Return the longest time between two runs in the year to come: what a loss just before a run would cost.

    Counted on the wall clock, so that "every day" is 24 hours although one night of the year has 25.
    """
    return _widest(schedule, now.astimezone(ZoneInfo(tz)).date())


@lru_cache(maxsize=2048)
def _widest(schedule: Schedule, today: date) -> timedelta:
    if _runs_each_hour(schedule) and schedule.kind == "hourly":
        return timedelta(hours=1)
    start, widest = datetime.combine(today, time()), timedelta()
    for number, (one, two) in enumerate(pairwise(_walls(schedule, start))):
        widest = max(widest, two - one)
        if number >= _LOOK_SLOTS or (number >= 2 and (two - start).days > _LOOK_DAYS):
            break
    return widest


def words(schedule: Schedule, tz: str) -> str:
    """Return the schedule as the beginning of a sentence: "Every day at 02:05 Berlin time"."""
    match schedule.kind:
        case "hourly":
            return f"Every hour at {schedule.minute} past" if schedule.minute else "Every hour on the hour"
        case "days":
            return f"{_days(schedule.weekdays)} at {schedule.at:%H:%M} {zone_words(tz)}"
        case "monthly":
            day = "last day" if schedule.day == LAST_DAY else ordinal(schedule.day)
            return f"On the {day} of every month at {schedule.at:%H:%M} {zone_words(tz)}"
        case "cron":
            said = CronSim(schedule.expression, datetime(2026, 1, 1)).explain()  # noqa: DTZ001 only its words are wanted
            return f"{said}, {zone_words(tz)}"


def clock_note(schedule: Schedule, tz: str, moment: datetime) -> str:
    """Return what the change of the clock does to one of the schedule's moments, as a sentence; "" on other nights."""
    zone = ZoneInfo(tz)
    local = moment.astimezone(zone)
    wall, hour = local.replace(tzinfo=None), timedelta(hours=1)
    before = (moment - hour).astimezone(zone)
    if _runs_each_hour(schedule):
        turned = (local.utcoffset() or timedelta()) - (before.utcoffset() or timedelta())
        if turned > timedelta():
            return f"The hour after {before:%H:%M}: the clock goes forward in between."
        return f"{local:%H:%M} a second time: the clock goes back in between." if turned < timedelta() else ""
    if next(_walls(schedule, wall - timedelta(microseconds=1)), None) != wall:
        return "Its time does not exist that night: the clock goes forward, and it runs at once after."
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        return f"{local:%H:%M} comes twice that night, as the clock goes back: it runs the first time."
    return ""


def zone_words(tz: str) -> str:
    """Return a time zone as people say it: "Berlin time", "UTC"."""
    return tz if "/" not in tz else f"{tz.rsplit('/', 1)[1].replace('_', ' ')} time"


def _days(weekdays: tuple[int, ...]) -> str:
    chosen = sorted(set(weekdays))
    if len(chosen) == 7:
        return "Every day"
    if chosen == [0, 1, 2, 3, 4]:
        return "Every weekday"
    names = [WEEKDAYS[day] for day in chosen]
    if len(names) == 1:
        return f"Every {names[0]}"
    return f"Every {', '.join(names[:-1])} and {names[-1]}"


def ordinal(day: int) -> str:
    """Return a day of the month as it is said: "1st", "22nd"."""
    ending = "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"


def _check_cron(expression: str) -> None:
    if len(expression) > 200 or len(expression.split()) != 5:
        raise ScheduleError("A cron line has five fields: minute, hour, day of month, month, weekday.", "expression")
    try:
        next(CronSim(expression, datetime(2026, 1, 1)))  # noqa: DTZ001 wall-clock time on purpose
    except StopIteration as error:
        raise ScheduleError("This cron line never runs.", "expression") from error
    except (CronSimError, AssertionError, ValueError, TypeError) as error:
        part = str(error).removeprefix("Bad ") if isinstance(error, CronSimError) else ""
        where = f" Look at the {part.replace('-', ' ')}." if part else ""
        raise ScheduleError(f"This cron line cannot be read.{where}", "expression") from error


def _runs_each_hour(schedule: Schedule) -> bool:
    """Return whether every hour of a day counts: then no hour is skipped or merged when the clock changes."""
    if schedule.kind == "hourly":
        return True
    return schedule.kind == "cron" and len(CronSim(schedule.expression, datetime(2026, 1, 1)).hours) == 24  # noqa: DTZ001


def _moments(schedule: Schedule, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield the moments (UTC) strictly after one, each once."""
    last = after.astimezone(UTC)
    if _runs_each_hour(schedule):
        yield from _each_hour(schedule, zone, last)
        return
    for wall in _walls(schedule, last.astimezone(zone).replace(tzinfo=None)):
        found = _real(wall, zone)
        if found > last:
            last = found
            yield found


def _each_hour(schedule: Schedule, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield the moments of a schedule that runs in each hour, also in the one that comes twice.

    Between two changes of the clock the offset is constant, so the wall clock is plain arithmetic; at a change the
    walk begins anew. (The library's own walk misses a time that comes twice where a clock turns by half an hour.)
    """
    fields = ["*", "*", "*"] if schedule.kind == "hourly" else schedule.expression.split()[2:]
    minute = schedule.minute if schedule.kind == "hourly" else schedule.expression.split()[0]
    line, last, start = f"{minute} * {' '.join(fields)}", after, after
    while True:
        offset = _offset(start, zone)
        begin = (start + offset).replace(tzinfo=None)
        for wall in CronSim(line, begin if start == after else begin - timedelta(microseconds=1)):
            found = (wall - offset).replace(tzinfo=UTC)
            if (change := _change(max(last, start), found, zone)) is not None:
                start = change
                break
            if found > last:
                last = found
                yield found


def _change(early: datetime, late: datetime, zone: ZoneInfo) -> datetime | None:
    """Return the first moment after `early`, up to `late`, at which the clock shows another offset; None for none."""
    offset = _offset(early, zone)
    while early < late:
        end = min(early + timedelta(days=1), late)
        if _offset(end, zone) != offset:
            while end - early > timedelta(seconds=1):
                middle = (early + (end - early) / 2).replace(microsecond=0)
                if middle <= early:
                    break
                early, end = (middle, end) if _offset(middle, zone) == offset else (early, middle)
            return end
        early = end
    return None


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _walls(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Yield the wall-clock times strictly after one, as if no clock ever changed."""
    if schedule.kind in {"cron", "hourly"}:
        yield from CronSim(schedule.expression or f"{schedule.minute} * * * *", after)
        return
    day = after.date()
    while True:
        if _on(schedule, day) and (wall := datetime.combine(day, schedule.at)) > after:
            yield wall
        day += timedelta(days=1)


def _on(schedule: Schedule, day: date) -> bool:
    if schedule.kind == "days":
        return day.weekday() in schedule.weekdays
    last = (day + timedelta(days=1)).day == 1
    return day.day == schedule.day or (last and day.day < schedule.day)


def _real(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment (UTC) of a wall-clock time: the first of two, or the end of the gap that swallowed it."""
    moment = wall.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    early, late = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), moment  # before and after the clock went forward
    before = early.astimezone(zone).utcoffset()
    while late - early > timedelta(seconds=1):
        middle = (early + (late - early) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == before:
            early = middle
        else:
            late = middle
    return late
