"""Schedules run when they say they do, over every change of the clock."""

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.backups.schedule import (
    Schedule,
    ScheduleError,
    check_zone,
    following,
    upcoming,
    widest_gap,
    words,
    zones,
)

ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca",
    "Asia/Kathmandu", "America/Havana", "Asia/Beirut", "Pacific/Apia", "Pacific/Chatham", "America/Sao_Paulo",
    "Africa/Cairo", "America/Scoresbysund", "Antarctica/Troll", "Asia/Gaza",
]  # fmt: skip
times = st.builds(time, st.integers(0, 23), st.integers(0, 59))
CRONS = [
    "*/15 * * * *",
    "5 */6 * * *",
    "30 2 * * *",
    "*/20 1-3 * * *",
    "0 0 * * *",
    "59 23 * * 7",
    "0 3 L * *",
    "10 0-23 * * 1-5",
]
schedules = st.one_of(
    st.builds(Schedule.hourly, st.integers(0, 59)),
    st.builds(Schedule.days, times, st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days)))),
    st.builds(Schedule.monthly, st.integers(1, 31), times),
    st.builds(Schedule.cron, st.sampled_from(CRONS)),
)
moments = st.integers(1_100_000_000, 2_080_000_000).map(lambda second: datetime.fromtimestamp(second, UTC))


def _clock_changes(tz: str) -> list[datetime]:
    """Return the hours (UTC) around which a zone's clock changed or will change."""
    zone, hour, found = ZoneInfo(tz), datetime(2009, 1, 1, tzinfo=UTC), []
    offset = hour.astimezone(zone).utcoffset()
    while hour.year < 2030:
        hour += timedelta(hours=12)
        if (new := hour.astimezone(zone).utcoffset()) != offset:
            found.append(hour)
            offset = new
    return found


CHANGES = [(tz, change) for tz in ZONES for change in _clock_changes(tz)]


def _matches(schedule: Schedule, wall: datetime) -> bool:
    """Return whether a wall-clock minute is on the schedule; written apart from the code under test."""
    match schedule.kind:
        case "hourly":
            return wall.minute == schedule.minute
        case "days":
            return wall.weekday() in schedule.weekdays and wall.time() == schedule.at
        case "monthly":
            last = (wall + timedelta(days=1)).day == 1
            return wall.time() == schedule.at and (wall.day == schedule.day or (last and wall.day < schedule.day))
    return next(CronSim(schedule.expression, wall - timedelta(minutes=1))) == wall


def _slow(schedule: Schedule, tz: str, after: datetime, until: datetime) -> list[datetime]:
    """Walk minute by minute through real time and note each run: slow and plainly right."""
    zone, minute = ZoneInfo(tz), timedelta(minutes=1)
    each_hour = schedule.kind == "hourly" or (
        schedule.kind == "cron" and len(CronSim(schedule.expression, after).hours) == 24
    )
    moment = after.replace(second=0, microsecond=0) - timedelta(hours=30)
    before = seen = moment.astimezone(zone).replace(tzinfo=None)
    runs = []
    while moment <= until:
        wall = moment.astimezone(zone).replace(tzinfo=None)
        due = _matches(schedule, wall) and (each_hour or wall > seen)
        if not each_hour and wall - before > minute:  # the clock went forward: what was swallowed runs now
            swallowed = before + minute
            while swallowed < wall:
                due = due or (swallowed > seen and _matches(schedule, swallowed))
                swallowed += minute
        if due and moment > after:
            runs.append(moment)
        before, seen = wall, max(seen, wall)
        moment += minute
    return runs


def test_a_time_that_comes_twice_where_the_clock_turns_by_half_an_hour_runs_twice() -> None:
    before = datetime(2009, 4, 4, 14, 0, tzinfo=UTC)
    runs = upcoming(Schedule.hourly(30), "Australia/Lord_Howe", before, 3)
    assert [run.astimezone(ZoneInfo("Australia/Lord_Howe")).strftime("%H:%M") for run in runs] == [
        "01:30", "01:30", "02:30",
    ]  # fmt: skip
    assert runs[1] - runs[0] == timedelta(minutes=30)


@given(schedules, st.sampled_from(CHANGES), st.integers(-1500, 1500))
@settings(max_examples=60, deadline=None)
def test_around_every_change_of_the_clock_it_agrees_with_a_walk_through_every_minute(
    schedule: Schedule, change: tuple[str, datetime], shift: int
) -> None:
    tz, hour = change
    after = hour - timedelta(hours=14) + timedelta(minutes=shift)
    until = after + timedelta(hours=40)
    slow = _slow(schedule, tz, after, until)
    assert upcoming(schedule, tz, after, len(slow) + 1)[:-1] == slow
    assert following(schedule, tz, until) > until


@given(schedules, st.sampled_from(ZONES), moments)
@settings(max_examples=150, deadline=None)
def test_the_moments_rise_strictly_and_one_after_the_other_gives_the_same(
    schedule: Schedule, tz: str, after: datetime
) -> None:
    runs = upcoming(schedule, tz, after, 6)
    assert runs[0] > after
    assert all(one < two for one, two in pairwise(runs))
    assert all(run.tzinfo is UTC and run.second == 0 for run in runs)
    step, walked = after, []
    for _ in runs:
        step = following(schedule, tz, step)
        walked.append(step)
    assert walked == runs


@given(schedules, st.sampled_from(ZONES), moments)
@settings(max_examples=150, deadline=None)
def test_no_wall_clock_time_runs_twice_but_for_what_runs_each_hour(
    schedule: Schedule, tz: str, after: datetime
) -> None:
    if schedule.kind in {"hourly", "cron"}:
        return
    walls = [run.astimezone(ZoneInfo(tz)).replace(tzinfo=None) for run in upcoming(schedule, tz, after, 40)]
    assert len(set(walls)) == len(walls)
    assert len({wall.date() for wall in walls}) == len(walls)


@given(schedules)
def test_json_gives_the_same_schedule_back(schedule: Schedule) -> None:
    again = Schedule.from_json(schedule.to_json())
    assert again.to_json() == schedule.to_json()
    assert upcoming(again, "Europe/Berlin", datetime(2026, 1, 1, tzinfo=UTC), 3) == upcoming(
        schedule, "Europe/Berlin", datetime(2026, 1, 1, tzinfo=UTC), 3
    )


@given(schedules, st.sampled_from(ZONES))
@settings(max_examples=60, deadline=None)
def test_the_widest_gap_holds_for_a_year_of_runs_but_for_the_hour_of_the_clock(schedule: Schedule, tz: str) -> None:
    now = datetime(2026, 2, 1, tzinfo=UTC)
    runs = upcoming(schedule, tz, now, 400)
    gap = widest_gap(schedule, tz, now)
    slack = timedelta(hours=2, minutes=1)
    assert all(two - one <= gap + slack for one, two in pairwise(runs))


def test_a_time_that_does_not_exist_runs_at_the_first_moment_after() -> None:
    daily = Schedule.days(time(2, 30))
    assert upcoming(daily, "Europe/Berlin", datetime(2026, 3, 28, 12, tzinfo=UTC), 2) == [
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
        datetime(2026, 3, 30, 0, 30, tzinfo=UTC),
    ]


def test_a_time_that_exists_twice_runs_once_the_first_time() -> None:
    daily = Schedule.days(time(2, 30))
    assert upcoming(daily, "Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC), 2) == [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
    ]
    assert following(daily, "Europe/Berlin", datetime(2026, 10, 25, 1, 0, tzinfo=UTC)) == datetime(
        2026, 10, 26, 1, 30, tzinfo=UTC
    )


def test_a_day_that_never_was_runs_when_the_next_begins() -> None:
    assert following(Schedule.days(time(2, 5)), "Pacific/Apia", datetime(2011, 12, 30, 9, tzinfo=UTC)) == datetime(
        2011, 12, 30, 10, tzinfo=UTC
    )


def test_the_last_day_of_the_month_is_the_last_day_of_each() -> None:
    last = Schedule.from_json({"kind": "monthly", "day": "last", "time": "23:00"})
    days = [run.day for run in upcoming(last, "UTC", datetime(2028, 1, 1, tzinfo=UTC), 4)]
    assert days == [31, 29, 31, 30]
    assert words(last, "UTC") == "On the last day of every month at 23:00 UTC"


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"kind": "hourly", "minute": 60}, "minute"),
        ({"kind": "days", "time": "02:05", "weekdays": []}, "weekdays"),
        ({"kind": "days", "time": "02:05", "weekdays": [7]}, "weekdays"),
        ({"kind": "days", "time": "2 o'clock", "weekdays": [1]}, "kind"),
        ({"kind": "monthly", "day": 0, "time": "02:05"}, "day"),
        ({"kind": "monthly", "day": 32, "time": "02:05"}, "day"),
        ({"kind": "cron", "expression": "* * * *"}, "expression"),
        ({"kind": "cron", "expression": "* * * * * *"}, "expression"),
        ({"kind": "cron", "expression": "61 * * * *"}, "expression"),
        ({"kind": "cron", "expression": "0 0 30 2 *"}, "expression"),
        ({"kind": "cron", "expression": "0 0 L/2,x * *"}, "expression"),
        ({"kind": "cron", "expression": "0 0 * * 1#6"}, "expression"),
        ({"kind": "cron", "expression": "0 0 * * 1#2/3"}, "expression"),
        ({"kind": "yearly"}, "kind"),
        ({}, "kind"),
    ],
)
def test_what_cannot_run_is_refused_and_names_its_field(data: dict[str, Any], field: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        Schedule.from_json(data)
    assert refused.value.field == field


@given(st.text(max_size=40))
def test_no_cron_line_whatever_it_holds_breaks_the_parser(text: str) -> None:
    try:
        Schedule.cron(text)
    except ScheduleError:
        return
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert following(Schedule.cron(text), "UTC", start) > start


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (Schedule.days(time(2, 5)), "Every day at 02:05 Berlin time"),
        (Schedule.days(time(2, 5), (0, 1, 2, 3, 4)), "Every weekday at 02:05 Berlin time"),
        (Schedule.days(time(2, 5), (6,)), "Every Sunday at 02:05 Berlin time"),
        (Schedule.days(time(2, 5), (0, 3, 5)), "Every Monday, Thursday and Saturday at 02:05 Berlin time"),
        (Schedule.hourly(5), "Every hour at 5 past"),
        (Schedule.hourly(0), "Every hour on the hour"),
        (Schedule.monthly(22, time(4, 0)), "On the 22nd of every month at 04:00 Berlin time"),
        (Schedule.monthly(11, time(4, 0)), "On the 11th of every month at 04:00 Berlin time"),
    ],
)
def test_a_schedule_is_said_in_words(schedule: Schedule, said: str) -> None:
    assert words(schedule, "Europe/Berlin") == said


def test_the_widest_gap_of_common_schedules() -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    gaps = {
        Schedule.hourly(5): timedelta(hours=1),
        Schedule.days(time(2, 5)): timedelta(days=1),
        Schedule.days(time(2, 5), (0, 1, 2, 3, 4)): timedelta(days=3),
        Schedule.monthly(1, time(2, 5)): timedelta(days=31),
        Schedule.cron("0 */6 * * *"): timedelta(hours=6),
        Schedule.cron("0 9-17 * * 1-5"): timedelta(hours=64),
        Schedule.cron("0 0 29 2 *"): timedelta(days=1461),
    }
    assert {schedule: widest_gap(schedule, "Europe/Berlin", now) for schedule in gaps} == gaps


def test_zones_are_checked_by_name() -> None:
    assert check_zone("Europe/Berlin") == "Europe/Berlin"
    assert {"UTC", "America/Argentina/Buenos_Aires"} <= set(zones())
    for wrong in ("Mars/Olympus", "", "../../etc/passwd", "europe/berlin"):
        with pytest.raises(ScheduleError):
            check_zone(wrong)
