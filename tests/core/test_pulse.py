"""Tests of the heartbeat."""

from datetime import datetime, timedelta

import pytest

from apps.core import pulse


def test_without_a_tick_nothing_is_known(now: datetime) -> None:
    assert pulse.judge(None, now).stale


@pytest.mark.parametrize(("age", "stale"), [(0, False), (119, False), (120, False), (121, True)])
def test_more_than_two_minutes_without_a_tick_is_stale(now: datetime, *, age: int, stale: bool) -> None:
    assert pulse.judge(now - timedelta(seconds=age), now).stale is stale


@pytest.mark.django_db
def test_the_heartbeat_never_goes_back_in_time(now: datetime) -> None:
    pulse.beat(now)
    pulse.beat(now - timedelta(seconds=30))
    assert pulse.heartbeat(now).at == now
    pulse.beat(now + timedelta(seconds=10))
    assert pulse.heartbeat(now).at == now + timedelta(seconds=10)
