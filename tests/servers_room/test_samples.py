"""Rows of figures: packed and read back, rolled up, thinned out for charts; nothing is lost and nothing is made up."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.servers import samples
from apps.servers.samples import Figure, grouped, joined, pack, points, roll_up, single, unpack

floats = st.floats(-(2**40), 2**40, width=32)


@st.composite
def figures(draw: Any) -> Figure:
    """Draw a figure whose mean lies between least and most."""
    low, mean, high = sorted(draw(st.lists(floats, min_size=3, max_size=3)))
    count = draw(st.integers(1, 60))
    return Figure(low, mean, high, count) if count > 1 else Figure(mean, mean, mean)


names = st.text("abcdefgh:/", min_size=1, max_size=6)
rows = st.dictionaries(names, figures(), max_size=8)


@settings(deadline=None)  # a busy machine is no fault
@given(rows, st.lists(names, unique=True, max_size=8))
def test_a_row_is_read_back_as_it_was_packed(row: dict[str, Figure], known: list[str]) -> None:
    packed, all_names = pack(row, known)
    assert all_names[: len(known)] == known
    assert unpack(packed, all_names) == row
    assert len(packed) == 1 + sum(16 if figure.count > 1 else 8 for figure in row.values())


def test_an_old_row_stays_readable_when_names_were_added() -> None:
    first, names = pack(single({"cpu": 0.5}), [])
    second, names = pack(single({"disk:/": 0.25, "cpu": 0.75}), names)
    assert names == ["cpu", "disk:/"]
    assert unpack(first, names) == {"cpu": Figure(0.5, 0.5, 0.5)}
    assert unpack(second, names)["disk:/"].mean == 0.25


@settings(deadline=None)  # a busy machine is no fault
@given(st.binary(max_size=80))
def test_bytes_that_are_no_row_are_nothing(data: bytes) -> None:
    for figure in unpack(data, ["cpu"]).values():
        assert figure.count > 0


def test_what_is_no_number_was_not_measured() -> None:
    assert list(single({"a": math.nan, "b": math.inf, "c": 0.0})) == ["c"]
    packed, names = pack({"x": Figure(-1e300, 0, 1e300)}, [])
    assert math.isfinite(unpack(packed, names)["x"].most)


def same(one: dict[str, Figure], two: dict[str, Figure]) -> None:
    """Assert that two rows are equal, their means up to rounding."""
    assert one.keys() == two.keys()
    for name, figure in one.items():
        other = two[name]
        assert (figure.least, figure.most, figure.count) == (other.least, other.most, other.count)
        spread = max(abs(figure.least), abs(figure.most), 1e-9)
        assert figure.mean == pytest.approx(other.mean, rel=1e-9, abs=1e-9 * spread)


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.tuples(st.integers(0, 7199), rows), max_size=30))
def test_rolling_up_twice_equals_rolling_up_once(taken: list[tuple[int, dict[str, Figure]]]) -> None:
    twice, once = grouped(grouped(taken, 300).items(), 3600), grouped(taken, 3600)
    assert twice.keys() == once.keys()
    for at, row in once.items():
        same(twice[at], row)


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(figures(), min_size=1, max_size=20))
def test_a_rolled_up_figure_lies_within_its_parts(parts: list[Figure]) -> None:
    whole = joined(parts)
    assert whole.least == min(p.least for p in parts)
    assert whole.most == max(p.most for p in parts)
    assert whole.count == sum(p.count for p in parts)
    slack = 1e-9 * max(abs(whole.least), abs(whole.most), 1)
    assert whole.least - slack <= whole.mean <= whole.most + slack


def test_a_metric_that_was_not_measured_each_time_counts_only_when_it_was() -> None:
    row = roll_up([single({"cpu": 1.0}), single({"cpu": 0.0, "swap": 0.5}), single({"cpu": 0.5})])
    assert row == {"cpu": Figure(0.0, 0.5, 1.0, 3), "swap": Figure(0.5, 0.5, 0.5, 1)}


@settings(deadline=None)  # a busy machine is no fault
@given(
    st.integers(0, 10**9), st.integers(1, 90 * 86400), st.sampled_from(samples.STEPS),
    st.lists(st.tuples(st.integers(0, 90 * 86400), figures()), max_size=30),
)  # fmt: skip
def test_a_chart_never_has_more_than_300_points_and_loses_no_peak(
    since: int, lasting: int, step: int, taken: list[tuple[int, Figure]]
) -> None:
    until = since + lasting
    rows = [(since + at, pack({"cpu": figure}, ["cpu"])[0]) for at, figure in taken if at < lasting]
    inside = [(at, unpack(packed, ["cpu"])["cpu"]) for at, packed in rows]
    found = points(rows, ["cpu"], since=since, until=until, step=step)
    assert set(found) == ({"cpu"} if rows else set())
    if not rows:
        return
    drawn = found["cpu"]
    assert 1 <= len(drawn) <= 300
    assert drawn[0].at <= since < drawn[0].at + drawn[0].step
    assert drawn[-1].at < until <= drawn[-1].at + drawn[-1].step
    assert all(two.at - one.at == one.step for one, two in pairwise(drawn))
    seen = [point.figure for point in drawn if point.figure]
    assert sum(figure.count for figure in seen) == sum(figure.count for _, figure in inside)
    assert max((f.most for f in seen), default=None) == max((f.most for _, f in inside), default=None)


def test_a_gap_stays_a_gap() -> None:
    packed, names = pack({"cpu": Figure(1, 1, 1)}, [])
    taken = [(at, packed) for at in range(0, 3600, 60) if not 1200 <= at < 1800]
    drawn = points(taken, names, since=0, until=3600, step=60)["cpu"]
    assert len(drawn) == 60
    assert samples.gaps(drawn) == [(1200, 1800)]
    assert samples.series(drawn, lambda figure: figure.mean)[19:21] == [1, None]
    assert points(taken, names, since=5, until=5, step=60) == {}
    assert points(taken, [], since=0, until=3600, step=60) == {}  # an index without a name


@pytest.mark.parametrize(("days", "step"), [(1 / 24, 60), (0.5, 60), (1, 300), (7, 3600), (90, 3600), (365, 3600)])
def test_a_longer_chart_reads_coarser_rows(days: float, step: int) -> None:
    assert samples.step_for(days * 86400) == step


def test_rows_of_mixed_shapes_and_broken_ones_read_the_same_by_either_way() -> None:
    one, three = Figure(1, 1, 1), Figure(1, 2, 3, 60)
    names = ["a", "b", "c", "d"]
    for shapes in ((one, one), (three, three), (three, one, one), (one, three, one, three), (three, three, one, one)):
        row = dict(zip(names, shapes, strict=False))
        assert unpack(pack(row, names)[0], names) == row
    assert unpack(pack({"a": three}, names)[0][:-1], names) == {}
    assert unpack(b"\x02" + bytes(16), names) == {}
    assert unpack(b"\x01" + bytes(16), names) == {}
