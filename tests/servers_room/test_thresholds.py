"""Limits raise after their time, clear well below, and never flap."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.servers.thresholds import DEFAULTS, SAID, Limit, State, judge, limit, said

NOW = datetime(2026, 11, 23, 9, 41, tzinfo=UTC)
RULE = Limit(0.9, 0.8, lasting=300, calm=300)


def run(values: list[float], rule: Limit = RULE, state: State | None = None, every: int = 60) -> list[bool]:
    """Return whether the threshold is raised after each figure, one a minute."""
    out, state = [], state or State()
    for i, value in enumerate(values):
        state = judge(rule, state, value, NOW + timedelta(seconds=i * every))
        out.append(state.raised)
    return out


def test_a_short_peak_raises_nothing() -> None:
    assert not any(run([0.95] * 5 + [0.5] + [0.95] * 5))


def test_it_raises_after_its_time_and_says_since_when() -> None:
    assert run([0.95] * 7) == [False] * 5 + [True] * 2
    state = State()
    for i in range(8):
        state = judge(RULE, state, 0.9, NOW + timedelta(minutes=i))
    assert state.since == NOW
    assert said("disk:/srv", 0.914, DEFAULTS["disk"], state, NOW + timedelta(minutes=42)) == (
        "The disk /srv is 91 % full, for 42 min; the limit is 90 %."
    )


def test_between_the_two_values_nothing_changes() -> None:
    raised = State(raised=True, since=NOW, seen=NOW)
    assert all(run([0.85] * 30, state=raised))
    assert not any(run([0.85] * 30))


def test_it_clears_only_after_its_calm_time() -> None:
    raised = State(raised=True, since=NOW, seen=NOW)
    assert run([0.7] * 5 + [0.85] + [0.7] * 6, state=raised) == [True] * 11 + [False]


def test_a_silence_breaks_the_time_that_it_must_last() -> None:
    state = judge(RULE, State(), 0.95, NOW)
    state = judge(RULE, state, 0.95, NOW + timedelta(hours=2))
    assert not state.raised
    assert state.turning == NOW + timedelta(hours=2)


def test_a_silence_does_not_clear_what_is_raised() -> None:
    raised = State(raised=True, since=NOW, seen=NOW)
    assert judge(RULE, raised, 0.5, NOW + timedelta(hours=2)).raised


def test_a_figure_from_the_past_changes_nothing() -> None:
    state = State(raised=True, since=NOW, seen=NOW)
    assert judge(RULE, state, 0.1, NOW - timedelta(minutes=1)) == state


def test_a_limit_that_is_off_is_never_raised() -> None:
    rule = Limit(0.9, 0.8, 0, 0, on=False)
    assert not any(run([1.0] * 5, rule=rule))
    assert not judge(rule, State(raised=True, since=NOW), 1.0, NOW).raised


def test_a_limit_may_be_changed_for_all_disks_and_again_for_one() -> None:
    changed: dict[str, dict[str, Any]] = {
        "disk": {"above": 0.8, "below": 0.7},
        "disk:/srv": {"above": 0.95, "unit": "nonsense"},
    }
    all_disks, one_disk = limit("disk:/", changed), limit("disk:/srv", changed)
    assert all_disks
    assert one_disk
    assert (all_disks.above, one_disk.above, one_disk.below, one_disk.unit) == (0.8, 0.95, 0.7, "share")
    assert limit("uptime", {}) is None


def test_every_default_is_sound_and_has_its_sentence() -> None:
    assert {name: rule.broken() for name, rule in DEFAULTS.items() if rule.broken()} == {}
    assert DEFAULTS.keys() == SAID.keys()


@pytest.mark.parametrize(
    "rule",
    [Limit(0.8, 0.8, 0, 0), Limit(1.2, 0.8, 0, 0), Limit(float("nan"), 0, 0, 0), Limit(0.9, 0.8, -1, 0)],
)
def test_a_limit_that_would_flap_or_never_hold_is_refused(rule: Limit) -> None:
    assert rule.broken()


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.floats(0, 1), max_size=120))
def test_it_never_changes_twice_within_its_times(values: list[float]) -> None:
    raised = run(values)
    changes = [i for i in range(1, len(raised)) if raised[i] != raised[i - 1]]
    assert all(two - one >= 5 for one, two in pairwise(changes))
    for i in changes:
        window = values[max(i - 5, 0) : i + 1]
        assert all(v >= 0.9 for v in window) if raised[i] else all(v <= 0.8 for v in window)


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.floats(0, 1), max_size=30))
def test_the_state_survives_being_kept(values: list[float]) -> None:
    state = State()
    for i, value in enumerate(values):
        state = State.from_json(judge(RULE, state, value, NOW + timedelta(minutes=i)).to_json())
    assert state.raised == (run(values)[-1] if values else False)
