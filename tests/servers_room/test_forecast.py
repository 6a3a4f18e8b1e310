"""A disk's future: right when there is a trend, silent when there is none, and never a date without an interval."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.servers.forecast import DAY, HOUR, Forecast, Trend, forecast, peaks, slopes

NOW = datetime(2026, 11, 23, 9, 41, tzinfo=UTC)
GB = 1e9
SIZE = 500 * GB


def days(values: list[float], every: float = DAY) -> list[tuple[float, float]]:
    """Return values as points, the last of them now."""
    return [(NOW.timestamp() - (len(values) - 1 - i) * every, value) for i, value in enumerate(values)]


def foretell(values: list[float], every: float = DAY, size: float = SIZE) -> Forecast:
    """Return the forecast for values that end now."""
    return forecast(days(values, every), size, NOW)


def test_a_steady_rise_is_foretold_to_the_day() -> None:
    found = foretell([(300 + 10 * i) * GB for i in range(14)])  # 430 of 500 now, 10 a day
    assert found.trend == Trend.RISING
    assert found.said == "It is full in about 7 days."
    assert found.likely == NOW + timedelta(days=7)


def test_noise_widens_the_interval_and_the_truth_lies_in_it() -> None:
    hits, source = 0, random.Random(3)
    for _ in range(100):
        values = [(300 + 5 * i + source.gauss(0, 6)) * GB for i in range(20)]
        values[-1] = 395 * GB
        found = foretell(values)
        truth = NOW + timedelta(days=21)
        hits += bool(found.earliest and found.latest and found.earliest <= truth <= found.latest)
    assert hits >= 90  # of 100; 95 % are promised


def test_one_wild_day_changes_little() -> None:
    values = [(300 + 5 * i) * GB for i in range(15)]
    values[7] += 12 * GB
    found = foretell(values)
    assert found.likely
    assert abs(found.likely - (NOW + timedelta(days=26))) < timedelta(days=1)


@pytest.mark.parametrize("many", [0, 1, 2, 4])
def test_too_few_days_say_so(many: int) -> None:
    found = foretell([(300 + 10 * i) * GB for i in range(many)])
    assert found.trend == Trend.UNKNOWN
    assert found.likely is None
    if many:
        assert f"{many} day" in found.said


def test_old_figures_foretell_nothing() -> None:
    points = [(at - 3 * HOUR, value) for at, value in days([(300 + 10 * i) * GB for i in range(14)])]
    assert forecast(points, SIZE, NOW).said == "It cannot be told when it is full: there are no fresh figures."


def test_a_falling_disk_has_no_date() -> None:
    found = foretell([(400 - 2 * i) * GB for i in range(14)])
    assert (found.trend, found.earliest, found.likely) == (Trend.FALLING, None, None)


def test_a_disk_that_stands_still_has_no_date() -> None:
    assert foretell([400 * GB] * 20).trend == Trend.STEADY
    assert foretell([(400 + i * 0.01) * GB for i in range(20)]).trend == Trend.STEADY


def test_a_disk_that_goes_up_and_down_says_so() -> None:
    source = random.Random(5)
    found = foretell([(400 + source.uniform(-7, 7)) * GB for _ in range(8)], size=420 * GB)
    assert found.trend == Trend.UNKNOWN
    assert found.said == "It goes up and down too much to tell when it is full."


def test_only_the_trend_since_the_last_clean_up_counts() -> None:
    before = [(200 + 30 * i) * GB for i in range(9)]  # fast, then cleaned
    after = [(250 + 5 * i) * GB for i in range(10)]
    found = foretell([*before, *after])
    assert found.likely == NOW + timedelta(days=(500 - 295) / 5)
    few = foretell([*before, *after[:3]])
    assert few.said == (
        "It cannot be told yet when it is full: there are 3 days of figures since the last clean-up, 5 needed."
    )


def test_a_daily_rotation_is_no_trend() -> None:
    values = [(300 + 100 * (hour % 24) / 24) * GB for hour in range(24 * 14)]
    for last in range(24):
        assert foretell(values[: len(values) - last], HOUR).trend == Trend.STEADY


def test_what_fills_the_disk_now_is_foretold_in_hours() -> None:
    values = [300 * GB] * (24 * 7) + [(300 + 10 * i) * GB for i in range(1, 15)]
    found = foretell(values, HOUR)
    assert found.trend == Trend.RISING
    assert found.likely
    assert found.likely < NOW + timedelta(hours=14)
    assert "h" in found.said


def test_a_full_disk_is_full_now() -> None:
    assert foretell([500 * GB] * 6).trend == Trend.FULL
    assert foretell([510 * GB]).trend == Trend.FULL


def test_the_interval_is_sens() -> None:
    # Hollander, Wolfe, Chicken: n = 5, N = 10 slopes, C = 1.96 * sqrt(5*4*15/18) = 8.0 -> the first and the last slope
    points = [(0.0, 0.0), (1.0, 1.0), (2.0, 4.0), (3.0, 9.0), (4.0, 16.0)]
    assert slopes(points) == (1.0, 4.0, 7.0)
    assert slopes(points[:4]) is None


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.tuples(st.floats(-90 * DAY, DAY), st.floats(0, 1e12)), max_size=60), st.floats(0, 1e12))
def test_whatever_was_measured_there_is_one_sentence_and_an_ordered_interval(
    raw: list[tuple[float, float]], size: float
) -> None:
    found = forecast([(NOW.timestamp() + at, value) for at, value in raw], size, NOW)
    assert found.said.endswith(".")
    moments = [moment for moment in (found.earliest, found.likely, found.latest) if moment]
    assert moments == sorted(moments)
    assert all(moment >= NOW for moment in moments)
    if found.trend == Trend.RISING:
        assert found.earliest
        assert found.likely
        assert found.slope_low is not None
        assert found.slope_low > 0


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.floats(0, 1e6), min_size=5, max_size=40, unique=True), st.floats(0.1, 100), st.floats(-50, 50))
def test_scaling_and_tilting_the_points_scales_and_tilts_the_slopes(ys: list[float], by: float, tilt: float) -> None:
    plain = slopes(list(enumerate(ys)))
    changed = slopes([(x, y * by + tilt * x) for x, y in enumerate(ys)])
    assert plain
    assert changed
    assert changed == pytest.approx([slope * by + tilt for slope in plain], rel=1e-6, abs=1e-3)


def test_peaks_are_counted_back_from_now() -> None:
    assert peaks([(0, 5), (50, 9), (99, 1), (100, 7)], 100, 50, 3) == [(-2, 5), (-1, 9), (0, 7)]
