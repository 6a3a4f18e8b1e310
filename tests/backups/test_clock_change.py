"""On the two nights when the clock changes the form shows what the scheduler does, and says so in words."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.backups.forms import SourceForm, StoreForm
from apps.backups.models import Backup
from apps.backups.pages.preview import preview
from apps.backups.schedule import Schedule, clock_note, following
from apps.backups.services.slots import take_slots
from apps.core.runs import State
from tests.backups import rows
from tests.backups.test_forms import PG, S3, plan_form, typed

BERLIN = "Europe/Berlin"
BACK = datetime(2026, 10, 24, 21, 45, tzinfo=UTC)  # the evening before Sunday 25 October: 03:00 becomes 02:00
FORWARD = datetime(2027, 3, 27, 23, 15, tzinfo=UTC)  # a quarter past midnight of Sunday 28 March: 02:00 becomes 03:00
TWICE = "02:30 comes twice that night, as the clock goes back: it runs the first time."
SKIPPED = "Its time does not exist that night: the clock goes forward, and it runs at once after."

HOURLY = {"freq": "hourly", "minute": "30"}
DAILY = {"freq": "days", "time": "02:30", "weekdays": [str(day) for day in range(7)]}

# Worked out by hand: (form, now, [(moment in UTC, what the page shows, what it says)])
NIGHTS = [
    (
        DAILY,
        BACK,
        [
            ("2026-10-25 00:30", "Sun 25 Oct 02:30", TWICE),
            ("2026-10-26 01:30", "Mon 26 Oct 02:30", ""),
            ("2026-10-27 01:30", "Tue 27 Oct 02:30", ""),
        ],
    ),
    (
        DAILY,
        FORWARD,
        [
            ("2027-03-28 01:00", "Sun 28 Mar 03:00", SKIPPED),
            ("2027-03-29 00:30", "Mon 29 Mar 02:30", ""),
            ("2027-03-30 00:30", "Tue 30 Mar 02:30", ""),
        ],
    ),
    (
        HOURLY,
        BACK + timedelta(hours=2),
        [
            ("2026-10-25 00:30", "Sun 25 Oct 02:30", ""),
            ("2026-10-25 01:30", "Sun 25 Oct 02:30", "02:30 a second time: the clock goes back in between."),
            ("2026-10-25 02:30", "Sun 25 Oct 03:30", ""),
        ],
    ),
    (
        HOURLY,
        FORWARD,
        [
            ("2027-03-27 23:30", "Sun 28 Mar 00:30", ""),
            ("2027-03-28 00:30", "Sun 28 Mar 01:30", ""),
            ("2027-03-28 01:30", "Sun 28 Mar 03:30", "The hour after 01:30: the clock goes forward in between."),
            ("2027-03-28 02:30", "Sun 28 Mar 04:30", ""),
        ],
    ),
]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "now", "expected"), NIGHTS, ids=["daily, back", "daily, on", "hourly, back", "hourly, on"]
)
def test_the_form_shows_what_the_scheduler_does(
    fields: dict[str, Any], now: datetime, expected: list[tuple[str, str, str]]
) -> None:
    form = plan_form(time_zone=BERLIN, **fields)
    source, store = SourceForm(typed("source", PG)), StoreForm(typed("store", S3))
    assert all([form.is_valid(), source.is_valid(), store.is_valid()])
    shown = [(f"{day} {at}", note) for day, at, note in preview(form, source, store, now).runs]
    assert shown[: len(expected)] == [(words, note) for _, words, note in expected]

    schedule = form.schedule
    assert schedule is not None
    made = rows.plan(schedule=schedule.to_json(), time_zone=BERLIN, next_due_at=following(schedule, BERLIN, now))
    taken = []
    for _ in expected:
        assert made.next_due_at is not None
        take_slots(made.next_due_at)
        Backup.objects.active().update(state=State.DONE)
        made.refresh_from_db()
        taken.append(f"{Backup.objects.latest('slot').slot:%Y-%m-%d %H:%M}")
    assert taken == [moment for moment, _, _ in expected]


@pytest.mark.parametrize(
    ("schedule", "moment", "said"),
    [
        (Schedule.cron("30 2 * * *"), datetime(2027, 3, 28, 1, 0, tzinfo=UTC), SKIPPED),
        (Schedule.cron("0 3 * * *"), datetime(2027, 3, 28, 1, 0, tzinfo=UTC), ""),
        (Schedule.cron("30 2 * * *"), datetime(2026, 10, 25, 0, 30, tzinfo=UTC), TWICE),
        (Schedule.cron("*/30 * * * *"), datetime(2026, 10, 25, 0, 30, tzinfo=UTC), ""),
        (Schedule.monthly(28, datetime(2027, 3, 1, 2, 30).time()), datetime(2027, 3, 28, 1, 0, tzinfo=UTC), SKIPPED),  # noqa: DTZ001 a wall time
        (Schedule.hourly(30), datetime(2026, 7, 1, 0, 30, tzinfo=UTC), ""),
    ],
)
def test_a_moment_says_what_the_clock_does_to_it(schedule: Schedule, moment: datetime, said: str) -> None:
    assert clock_note(schedule, BERLIN, moment) == said
