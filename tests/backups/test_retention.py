"""Retention keeps the newest of each period and can be run again and again without losing more."""

from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from apps.backups.retention import Keep, Point, kept, picture, reach, words

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ZONES = ["UTC", "Europe/Berlin", "Pacific/Apia", "America/St_Johns"]
keeps = st.builds(Keep, st.integers(0, 12), st.integers(0, 8), st.integers(0, 14), st.integers(0, 5))
ages = st.one_of(
    st.integers(0, 100_000), st.integers(0, 3_000_000), st.sampled_from([0, 1440, 10080, 43200, 525600])
)  # minutes
point_lists = st.lists(st.tuples(ages, st.booleans()), max_size=80).map(
    lambda entries: [
        Point(f"b{number}", NOW - timedelta(minutes=age), proven) for number, (age, proven) in enumerate(entries)
    ]
)
args = (point_lists, keeps, st.sampled_from(ZONES))


def _left(points: list[Point], keep: Keep, tz: str, now: datetime = NOW) -> list[Point]:
    marks = kept(points, keep, tz, now)
    return [point for point in points if point.id in marks]


@given(*args)
@settings(deadline=None)
def test_pruning_again_keeps_the_same(points: list[Point], keep: Keep, tz: str) -> None:
    left = _left(points, keep, tz)
    assert kept(left, keep, tz, NOW) == kept(points, keep, tz, NOW)


@given(*args, st.randoms())
@settings(deadline=None)
def test_the_order_of_the_points_does_not_matter(points: list[Point], keep: Keep, tz: str, chance: Random) -> None:
    shuffled = points.copy()
    chance.shuffle(shuffled)
    assert kept(shuffled, keep, tz, NOW) == kept(points, keep, tz, NOW)


@given(*args, keeps)
@settings(deadline=None)
def test_more_to_keep_never_keeps_less(points: list[Point], keep: Keep, tz: str, more: Keep) -> None:
    larger = Keep(
        keep.daily + more.daily, keep.weekly + more.weekly, keep.monthly + more.monthly, keep.yearly + more.yearly
    )
    assert set(kept(points, keep, tz, NOW)) <= set(kept(points, larger, tz, NOW))


@given(*args)
@settings(deadline=None)
def test_the_newest_and_the_last_proven_always_stay(points: list[Point], keep: Keep, tz: str) -> None:
    marks = kept(points, keep, tz, NOW)
    if points:
        newest = max(points, key=lambda point: (point.taken_at, point.id))
        assert "newest" in marks[newest.id]
    proven = [point for point in points if point.proven]
    if proven:
        assert "proven" in marks[max(proven, key=lambda point: (point.taken_at, point.id)).id]


@given(*args)
@settings(deadline=None)
def test_each_kept_day_keeps_its_newest_and_no_count_is_exceeded(points: list[Point], keep: Keep, tz: str) -> None:
    marks = kept(points, keep, tz, NOW)
    for name in ("daily", "weekly", "monthly", "yearly"):
        assert sum(name in reasons for reasons in marks.values()) <= keep.count(name)
    assert all(reasons for reasons in marks.values())


@given(keeps, st.sampled_from(ZONES), st.integers(1, 40))
@settings(deadline=None, max_examples=40)
def test_pruning_each_day_ends_with_what_pruning_once_would_keep(keep: Keep, tz: str, days: int) -> None:
    all_points: list[Point] = []
    left: list[Point] = []
    for day in range(days):
        now = NOW + timedelta(days=day)
        point = Point(f"p{day:03}", now)
        all_points.append(point)
        left = _left([*left, point], keep, tz, now)
    now = NOW + timedelta(days=days - 1)
    assert {point.id for point in left} == set(kept(all_points, keep, tz, now))


def test_a_plan_that_stood_still_for_a_year_loses_nothing() -> None:
    keep = Keep(7, 4, 12, 0)
    points = [Point(str(day), NOW - timedelta(days=day)) for day in range(60)]
    assert set(kept(points, keep, "UTC", NOW)) == set(kept(points, keep, "UTC", NOW + timedelta(days=365)))


def test_a_moment_in_the_future_is_kept_and_pushes_nothing_out() -> None:
    points = [Point("ahead", NOW + timedelta(days=400)), Point("a", NOW), Point("b", NOW - timedelta(days=1))]
    marks = kept(points, Keep(2, 0, 0, 0), "UTC", NOW)
    assert marks == {"ahead": ("ahead",), "a": ("newest", "daily"), "b": ("daily",)}


def test_days_are_days_of_the_plans_zone() -> None:
    late, early = (
        Point("late", datetime(2026, 11, 23, 22, 30, tzinfo=UTC)),
        Point("early", datetime(2026, 11, 23, 21, 30, tzinfo=UTC)),
    )
    assert set(kept([late, early], Keep(2, 0, 0, 0), "UTC", NOW)) == {"late"}
    assert set(kept([late, early], Keep(2, 0, 0, 0), "Europe/Athens", NOW)) == {"late", "early"}


def test_the_newest_of_a_day_wins() -> None:
    points = [Point(str(hour), NOW - timedelta(hours=hour)) for hour in range(12)]
    assert kept(points, Keep(1, 0, 0, 0), "UTC", NOW) == {"0": ("newest", "daily")}


def test_nothing_to_keep_keeps_the_newest() -> None:
    points = [Point("a", NOW), Point("b", NOW - timedelta(days=1), proven=True), Point("c", NOW - timedelta(days=2))]
    assert kept(points, Keep(0, 0, 0, 0), "UTC", NOW) == {"a": ("newest",), "b": ("proven",)}
    assert kept([], Keep(), "UTC", NOW) == {}


def test_the_picture_shows_what_there_will_be() -> None:
    keep = Keep(7, 4, 12, 0)
    marks = picture(keep)
    assert len(marks) == 20  # 7 + 4 + 12, less those that are kept for two reasons
    assert [mark.age_days for mark in marks[:7]] == list(range(7))
    assert marks[-1].period == "monthly"
    assert reach(keep) == timedelta(days=marks[-1].age_days)
    assert len(picture(Keep(0, 0, 0, 0))) == 1


@given(keeps)
def test_the_picture_never_promises_more_than_the_numbers(keep: Keep) -> None:
    assert 1 <= len(picture(keep)) <= max(1, keep.daily + keep.weekly + keep.monthly + keep.yearly)


def test_the_numbers_are_said_in_words() -> None:
    assert words(Keep(7, 4, 12, 0)) == "7 daily, 4 weekly and 12 monthly"
    assert words(Keep(3, 0, 0, 0)) == "3 daily"
    assert words(Keep(0, 0, 0, 0)) == "only the newest and the last proven"
