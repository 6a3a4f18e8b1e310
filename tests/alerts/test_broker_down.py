"""A dead broker: what is written waits in the database, and nobody waits for it."""

import time
from collections.abc import Callable
from datetime import datetime

import pytest

from apps.alerts.models import Channel, Message
from apps.core.runs import ring, ring_due

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.db
def test_with_a_dead_broker_a_ring_costs_no_time_and_loses_nothing(
    make_channel: Callable[..., Channel], now: datetime
) -> None:
    channel = make_channel()
    for number in range(50):
        Message.objects.create(channel=channel, kind="test", subject=f"T{number}", body="b", due_at=now)
    began = time.monotonic()
    ring(Message.objects.all()[0])
    assert ring_due(Message, now) == 0
    assert time.monotonic() - began < 5
    assert Message.objects.due(now).count() == 50
