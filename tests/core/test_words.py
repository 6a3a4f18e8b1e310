"""Tests of how numbers and moments become words."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core import words

NOW = datetime(2026, 11, 23, 9, 41, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (None, "–"),
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (4_100_000_000, "4.1 GB"),
        (999_950, "1.0 MB"),
        (999_949, "999.9 kB"),
    ],
)
def test_a_size_has_one_digit_and_never_reads_a_thousand(number: int | None, said: str) -> None:
    assert words.size(number) == said


@given(st.integers(min_value=0, max_value=10**20))
def test_no_size_below_exabytes_shows_more_than_three_digits_before_the_point(number: int) -> None:
    figure = words.size(number).split(" ")[0].replace(",", "").split(".")[0]
    assert len(figure) <= 3


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.634, "634 ms"),
        (0.9996, "1.0 s"),
        (4.1, "4.1 s"),
        (59.96, "1 min"),
        (60, "1 min"),
        (702, "11 min 42 s"),
        (605, "10 min 05 s"),
        (3599.6, "1 h"),
        (3840, "1 h 04 min"),
        (86400, "24 h"),
        (3 * 86400 + 4 * 3600, "3 days 4 h"),
        (-4.1, "−4.1 s"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds: float | None, said: str) -> None:
    assert words.took(seconds) == said


@given(st.floats(min_value=0, max_value=10**8))
def test_no_duration_reads_sixty_seconds_or_sixty_minutes(seconds: float) -> None:
    said = words.took(seconds)
    assert "60 min" not in said
    assert not said.startswith(("60.", "60 s"))
    assert "1000 ms" not in said


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(0), "just now"),
        (timedelta(seconds=8), "8 s ago"),
        (timedelta(minutes=42), "42 min ago"),
        (timedelta(hours=6), "6 h ago"),
        (timedelta(days=1), "1 day ago"),
        (timedelta(days=2), "2 days ago"),
        (timedelta(days=11), "12 Nov"),
        (timedelta(days=400), "19 Oct 2025"),
        (timedelta(hours=-6), "in 6 h"),
    ],
)
def test_an_age_is_one_unit_and_a_date_from_a_week_on(age: timedelta, said: str) -> None:
    assert words.ago(NOW - age, NOW) == said


def test_what_never_happened_is_never() -> None:
    assert words.ago(None, NOW) == "never"


@given(
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=6, hours=23)),
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(hours=1)),
)
def test_an_older_moment_never_sounds_younger(age: timedelta, more: timedelta) -> None:
    def least(said: str) -> float:
        if said == "just now":
            return 0
        figure, unit = said.split(" ")[:2]
        return float(figure) * {"s": 1, "min": 60, "h": 3600, "day": 86400, "days": 86400}[unit]

    older = words.ago(NOW - age - more, NOW)
    assert age + more >= timedelta(days=7) or least(older) >= least(words.ago(NOW - age, NOW))


def test_a_day_and_a_clock_follow_the_zone() -> None:
    late = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
    assert words.day(late) == "22 Nov"
    assert words.day(late, BERLIN) == "23 Nov"
    assert words.clock(late, BERLIN) == "00:30"
    assert words.moment(late, BERLIN) == "Mon 23 Nov 2026, 00:30 CET"


def test_since_is_a_time_today_a_weekday_this_week_and_a_date_before() -> None:
    assert words.since(NOW - timedelta(minutes=29), NOW) == "since 09:12"
    assert words.since(datetime(2026, 11, 20, 17, 12, tzinfo=UTC), NOW) == "since Friday 17:12"
    assert words.since(datetime(2026, 11, 12, 17, 12, tzinfo=UTC), NOW) == "since 12 Nov"


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400)))
def test_a_loss_never_sounds_smaller_than_it_is(loss: timedelta) -> None:
    said = words.coarse(loss)
    assert "s" not in said.replace("days", "")
    if loss < timedelta(hours=1):
        assert timedelta(minutes=int(said.split(" ")[0])) >= loss or said == "1 h"


def test_counts_and_nouns() -> None:
    assert words.count(1_204_881) == "1,204,881"
    assert words.plural(1, "plan") == "1 plan"
    assert words.plural(2_000, "plan") == "2,000 plans"
    assert words.plural(2, "copy", "copies") == "2 copies"
    assert words.rate(84_200_000) == "84.2 MB/s"


@given(st.text(max_size=40))
def test_every_name_has_initials_and_a_hue(name: str) -> None:
    assert words.initials(name)
    assert 0 <= words.hue(name) < 360
