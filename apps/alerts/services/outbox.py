"""Writes the message rows of an incident, in the transaction of the caller: what is written is sent at least once."""

from datetime import datetime

from django.conf import settings

from apps.alerts.models import Channel, Incident, Message
from apps.alerts.problems import CANNOT_DELIVER
from apps.core.runs import State, ring

_LEAD = {
    Message.Kind.OPENED: "",
    Message.Kind.CLOSED: "Mended: ",
    Message.Kind.REMINDER: "Still so: ",
}


def write(incident: Incident, *, kind: Message.Kind, now: datetime, channel: Channel | None = None) -> list[Message]:
    """Write one message per channel that has to hear it, and ring for each on commit.

    An opening and a reminder go to every active channel, or to the one that is named; a mending goes to those that were
    told of this spell.
    """
    channels = Channel.objects.active()
    if channel is not None:
        channels = channels.filter(pk=channel.pk)
    if incident.code == CANNOT_DELIVER.code:  # told through every other channel
        channels = channels.exclude(pk=incident.subject_key.rpartition(":")[2])
    if kind is Message.Kind.CLOSED:
        told = Message.objects.filter(incident=incident, spell=incident.spell).exclude(state=State.FAILED)
        channels = channels.filter(pk__in=told.values("channel"))
    rows = [
        Message(
            channel=each,
            incident=incident,
            spell=incident.spell,
            kind=kind,
            subject=_subject(incident, kind),
            body=_body(incident, kind),
            due_at=now,
            created_at=now,
        )
        for each in channels
    ]
    Message.objects.bulk_create(rows)
    for row in rows:
        ring(row)
    return rows


def incident_link(incident: Incident) -> str:
    """Return the whole address of an incident's page."""
    return f"{settings.MAINSTAY_URL}/incidents/{incident.pk}/"


def _subject(incident: Incident, kind: Message.Kind) -> str:
    again = "Back again: " if kind is Message.Kind.OPENED and incident.spell else ""
    return f"{_LEAD[kind]}{again}{incident.title}"[:200]


def _body(incident: Incident, kind: Message.Kind) -> str:
    seen = f"Seen since {incident.seen_at:%Y-%m-%d %H:%M} UTC."
    if kind is Message.Kind.CLOSED:
        lines = ["This is mended. Nothing more to do.", f"It was: {incident.said}", seen]
    else:
        lines = [incident.said, incident.advice, seen]
    return "\n\n".join(line for line in lines if line)
