"""Sends one message: claims its row, delivers, and writes the receipt, the next try or the dead letter."""

import logging
import uuid
from collections.abc import Callable
from datetime import datetime

from django.conf import settings
from django.core import signing
from django.db import transaction
from django.utils import timezone

from apps.alerts.channels import ADAPTERS
from apps.alerts.channels.base import Outgoing
from apps.alerts.models import Channel, Message
from apps.alerts.problems import CANNOT_DELIVER
from apps.alerts.services import incidents, outbox
from apps.core.keys import KeyRingError
from apps.core.outbound import OutboundError

log = logging.getLogger(__name__)

PROOF_SALT = "alerts.proof"


def send(*, message_id: uuid.UUID | str, worker: str, clock: Callable[[], datetime] = timezone.now) -> Message | None:
    """Send one message if it is due and free; None when it is not ours to send.

    At least once: a worker that dies between the delivery and the receipt leaves a lease that runs out, and a successor
    sends the same text with the same id again.
    """
    message = Message.claim(message_id, now=clock(), worker=worker)
    if message is None:
        return None
    channel: Channel = message.channel
    unused = _unused(channel)
    if unused:
        message.settle(now=clock(), error=unused)
        return message
    if message.worn_out:
        _lost(message, "The worker died at every try. Nothing is known of the delivery.", clock())
        return message
    try:
        receipt = ADAPTERS[channel.kind](channel.config, channel.secrets).send(outgoing(message, clock()))
    except OutboundError as error:
        _failed(message, str(error), clock(), permanent=error.permanent)
    except KeyRingError as error:
        _failed(message, f"The channel's secret cannot be opened: {error}", clock(), permanent=False)
    except Exception as error:
        log.exception("message %s: the %s adapter failed", message.pk, channel.kind)
        _failed(message, f"Mainstay failed to send it ({type(error).__name__}).", clock(), permanent=False)
    else:
        _delivered(message, receipt, clock())
    return message


def outgoing(message: Message, now: datetime) -> Outgoing:
    """Return what the adapter gets. The proof link is made here, so that it lies nowhere but in the message."""
    incident = message.incident
    return Outgoing(
        id=str(message.pk),
        kind=message.kind,
        subject=message.subject,
        text=message.body,
        url=outbox.incident_link(incident) if incident else proof_link(message),
        at=now,
        severity=incident.severity if incident else "",
        about=incident.subject if incident else "",
        incident_id=str(incident.pk) if incident else "",
    )


def proof_link(message: Message) -> str:
    """Return the link that proves a channel when a signed-in person opens it."""
    token = signing.dumps(str(message.pk), salt=PROOF_SALT)
    return f"{settings.MAINSTAY_URL}/channels/proof/{token}/"


def _unused(channel: Channel) -> str:
    if channel.removed_at:
        return "The channel was removed before this was sent."
    return "The channel was paused before this was sent." if channel.paused_at else ""


def _delivered(message: Message, receipt: str, now: datetime) -> None:
    with transaction.atomic():
        if not message.settle(now=now, receipt=receipt[:300]):
            return
        Channel.objects.filter(pk=message.channel_id).update(delivered_at=now, trouble="", trouble_at=None)
        _report(message.channel, "", now)


def _failed(message: Message, said: str, now: datetime, *, permanent: bool) -> None:
    if permanent or message.attempt >= message.attempts:
        _lost(message, said, now)
    else:
        message.settle(now=now, error=said, again=True)


def _lost(message: Message, said: str, now: datetime) -> None:
    """Leave a dead letter, mark the channel, and tell the other channels."""
    with transaction.atomic():
        if message.settle(now=now, error=said):
            Channel.objects.filter(pk=message.channel_id).update(trouble=said, trouble_at=now)
            _report(message.channel, said, now)


def _report(channel: Channel, said: str, now: datetime) -> None:
    incidents.report(
        problem=CANNOT_DELIVER,
        subject_key=incidents.channel_key(channel),
        subject=channel.name,
        url=incidents.channel_url(channel),
        healthy=not said,
        said=said,
        now=now,
    )
