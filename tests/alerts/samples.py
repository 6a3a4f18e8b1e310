"""Sample arguments of the alerts room for the walk of every address."""

import json
from collections.abc import Callable
from typing import Any

from django.utils import timezone

from apps.alerts import services
from apps.alerts.channels.webhook import new_key
from apps.alerts.models import Channel, Message
from apps.core.ids import uuid7
from apps.people.models import Person
from tests.alerts.conftest import FAILED

Sample = Callable[[Person | None], list[Any]]


def an_incident(_visitor: Person | None = None) -> list[Any]:
    """Return an open incident."""
    key = str(uuid7())
    made = services.report(
        problem=FAILED,
        subject_key=key,
        subject="Customers",
        url="/",
        healthy=False,
        said="It broke.",
        now=timezone.now(),
    )
    assert made is not None
    return [made.pk]


def a_channel(_visitor: Person | None = None) -> list[Any]:
    """Return a webhook that leads nowhere."""
    channel = Channel(name=str(uuid7()), kind="webhook", config={"host": "127.0.0.1", "inside": True})
    channel.secret = json.dumps({"url": "http://127.0.0.1:1/", "key": new_key()})
    channel.save(force_insert=True)
    return [channel.pk]


def a_dead_letter(_visitor: Person | None = None) -> list[Any]:
    """Return a message that could not be delivered."""
    [channel] = a_channel()
    made = Message.objects.create(
        channel_id=channel, kind="test", subject="Test", body="Test", state="failed", error="No."
    )
    return [made.pk]


SAMPLES: dict[str, Sample] = {
    "incident": an_incident,
    "incident-take": an_incident,
    "incident-note": an_incident,
    "incident-close": an_incident,
    "channel-new": lambda _visitor: ["email"],
    "channel-proof": lambda _visitor: ["not-a-token"],
    "message-again": a_dead_letter,
    "message-dismiss": a_dead_letter,
    "channel": a_channel,
    "channel-change": a_channel,
    "channel-test": a_channel,
    "channel-pause": a_channel,
    "channel-resume": a_channel,
    "channel-remove": a_channel,
    "channel-key": a_channel,
}
