"""Tests of the pictures: gaps stay gaps, what they say is escaped, and no style attribute is needed."""

import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from apps.core import charts

VALUES = st.lists(st.none() | st.floats(min_value=0, max_value=1e12), max_size=400)


def test_a_gap_breaks_the_line_and_the_area() -> None:
    assert charts.path([1, 2, None, 3, 4], 0, 4).count("M") == 2
    assert charts.area([1, 2, None, 3, 4], 0, 4).count("Z") == 2


def test_a_lone_measurement_between_gaps_can_be_seen() -> None:
    assert "h0.1" in charts.path([None, 2, None], 0, 4)


@given(VALUES)
def test_a_picture_is_well_formed_whatever_was_measured(values: list[float | None]) -> None:
    picture = charts.line(
        "Restore time",
        values,
        said='a <b> & "c"',
        marks=[(0, "0"), (60, "60 s")],
        limit=(50, "goal"),
        words=["x"] * len(values),
    )
    ET.fromstring(str(picture))
    assert "style=" not in picture
    ET.fromstring(str(charts.spark(values, "sizes")) or "<i/>")


def test_what_a_name_holds_is_escaped() -> None:
    evil = '"><script>alert(1)</script>'
    assert "<script" not in charts.segs([[("b", evil)]], evil)
    assert "<script" not in charts.night([charts.Job(0.5, 0.1)], evil)
    assert "<script" not in charts.line(
        evil, [1], said=evil, now=evil, marks=[(1, evil)], limit=(1, evil), below=[evil], words=[evil]
    )
    assert "<script" not in charts.spark([1, 2], evil)
