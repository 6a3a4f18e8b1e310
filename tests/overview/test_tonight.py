"""Tests of what runs tonight."""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from apps.backups.models import Plan
from apps.backups.schedule import Schedule
from apps.overview import reads

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("now", "start"),
    [
        ("2026-11-23T09:41+01:00", "2026-11-23T21:00+01:00"),
        ("2026-11-23T23:30+01:00", "2026-11-23T21:00+01:00"),
        ("2026-11-24T05:59+01:00", "2026-11-23T21:00+01:00"),
        ("2026-11-24T06:00+01:00", "2026-11-24T21:00+01:00"),
        ("2026-10-25T02:30+01:00", "2026-10-24T21:00+02:00"),  # the night on which the clock goes back
    ],
)
def test_tonight_is_the_night_that_is_on_or_the_next_one(now: str, start: str) -> None:
    first, last = reads.window(datetime.fromisoformat(now), BERLIN)
    assert first == datetime.fromisoformat(start)
    assert first < last
    assert last.astimezone(BERLIN).time() == time(6)


@pytest.mark.django_db
def test_plans_and_restore_tests_of_the_night_are_listed_in_order(make_plan: Callable[..., Plan]) -> None:
    now = datetime(2026, 11, 23, 9, 41, tzinfo=UTC)
    night = datetime(2026, 11, 24, tzinfo=UTC)
    make_plan("hourly", schedule=Schedule.hourly(5).to_json(), next_due_at=now + timedelta(minutes=24))
    make_plan("late", schedule=Schedule.days(time(4)).to_json(), next_due_at=night + timedelta(hours=4))
    make_plan(
        "noon",
        schedule=Schedule.days(time(12)).to_json(),
        next_due_at=now + timedelta(hours=3),
        proof_due_at=night + timedelta(hours=1),
    )
    found = reads.tonight(now, UTC)
    assert [(row.at.hour, row.said, row.test, row.hourly) for row in found.rows] == [
        (21, "Back up hourly", False, True),
        (1, "Restore noon and compare it", True, False),
        (4, "Back up late", False, False),
    ]
    assert (found.backups, found.tests) == (2, 1)
    assert sum(job.kind == "often" for job in found.jobs) == 9
    assert all(0 <= job.at <= 1 for job in found.jobs)


@pytest.mark.django_db
def test_a_paused_plan_does_not_run_tonight(make_plan: Callable[..., Plan]) -> None:
    now = datetime(2026, 11, 23, 9, 41, tzinfo=UTC)
    make_plan("paused", next_due_at=datetime(2026, 11, 24, 2, 5, tzinfo=UTC), paused_at=now)
    assert reads.tonight(now, UTC).rows == []
    assert reads.tonight(now, UTC).label == "Nothing runs between 21:00 and 06:00"


@pytest.mark.django_db
def test_many_hourly_plans_leave_room_for_the_others_and_all_are_counted(make_plan: Callable[..., Plan]) -> None:
    now = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)
    for number in range(reads.TONIGHT_PLANS + 10):
        make_plan(
            f"hourly {number}", schedule=Schedule.hourly(5).to_json(), next_due_at=now + timedelta(minutes=number % 60)
        )
    late = Schedule.days(time(4)).to_json()
    make_plan("late", schedule=late, next_due_at=now + timedelta(hours=8), proof_due_at=now + timedelta(hours=9))
    found = reads.tonight(now, UTC)
    assert (found.backups, found.tests) == (reads.TONIGHT_PLANS + 11, 1)
    assert [row.said for row in found.rows if not row.hourly] == ["Back up late", "Restore late and compare it"]
