"""When a server is asked next: spread over the minute, and never so often that sshd or fail2ban shuts us out."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.servers.collector import pace

NOW = datetime(2026, 11, 23, 9, 41, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 hypothesis asks for naive ones


@given(st.uuids(), MOMENTS)
def test_one_sample_falls_into_each_minute(server: object, now: datetime) -> None:
    first = pace.following(str(server), now, pace.SAMPLE)
    second = pace.following(str(server), first, pace.SAMPLE)
    assert now < first <= now + timedelta(seconds=73)
    assert second - first == timedelta(seconds=60)
    late = pace.following(str(server), first + timedelta(seconds=5), pace.SAMPLE)  # a look every 5 s comes this late
    assert late == second


def test_servers_are_spread_over_the_minute() -> None:
    seconds = [pace.offset(f"server-{number}", pace.SAMPLE) for number in range(600)]
    busiest = max(sum(1 for second in seconds if at <= second < at + 5) for at in range(60))
    assert busiest < 600 / 60 * 5 * 2
    assert set(seconds) <= set(range(5, 55))


def attempts(code: str, seconds: int, *, reached: bool) -> int:
    """Return how often a server is tried within some seconds of failing each time."""
    at, tries = NOW, 0
    while at < NOW + timedelta(seconds=seconds):
        tries += 1
        at = pace.after_trouble(code, tries, at, reached=reached)
    return tries


@pytest.mark.parametrize("reached", [True, False])
@pytest.mark.parametrize("code", ["auth", "closed"])
def test_sign_ins_that_fail_stay_below_what_fail2ban_counts(code: str, reached: bool) -> None:  # noqa: FBT001 a parameter
    assert attempts(code, 600, reached=reached) <= 4
    assert attempts(code, 86400, reached=reached) < 120


def test_a_script_that_is_pasted_late_is_noticed_within_two_minutes() -> None:
    assert attempts("auth", 120, reached=False) == 3


def test_a_silent_server_is_asked_each_minute_at_first_and_then_every_ten() -> None:
    assert attempts("timeout", 150, reached=True) == 3
    assert attempts("timeout", 86400, reached=True) < 160


@given(st.text(max_size=20), st.integers(-5, 10**9), st.booleans(), MOMENTS)
def test_no_trouble_is_tried_again_at_once(code: str, failures: int, reached: bool, now: datetime) -> None:  # noqa: FBT001
    assert now + timedelta(seconds=45) <= pace.after_trouble(code, failures, now, reached=reached)
