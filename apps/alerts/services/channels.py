"""What people do with channels: add, change, pause, remove, try, drill, prove, and send a dead letter again."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core import signing
from django.db import transaction
from django.db.models import F

from apps.alerts.channels import ADAPTERS
from apps.alerts.channels.base import Outgoing
from apps.alerts.channels.webhook import new_key
from apps.alerts.models import Channel, Message
from apps.alerts.services import incidents
from apps.alerts.services.sending import PROOF_SALT
from apps.core.ids import uuid7
from apps.core.runs import State, ring
from apps.people.models import Person
from apps.people.services import record

PROOF_WITHIN = timedelta(days=7)  # how long the link of a test works


def add_channel(
    *, actor: Person, kind: str, name: str, config: Mapping[str, Any], secrets: Mapping[str, str], now: datetime
) -> Channel:
    """Keep a new channel; it is told of what is open and from now on; unproven until a person clicks a test's link."""
    with transaction.atomic():
        channel = Channel(name=name, kind=kind, config=dict(config), created_at=now, target_at=now)
        channel.secret = json.dumps(dict(secrets))
        channel.save(force_insert=True)
        record(actor=actor, verb="alerts.channel_added", subject=name, subject_id=channel.pk, detail={"kind": kind})
        incidents.tell_channel(channel, now)
    return channel


def change_channel(
    *, actor: Person, channel: Channel, name: str, config: Mapping[str, Any], secrets: Mapping[str, str], now: datetime
) -> None:
    """Change a channel. Another target is another channel: its proof is gone with the old one."""
    with transaction.atomic():
        moved = dict(config) != channel.config or dict(secrets) != channel.secrets
        channel.name, channel.config = name, dict(config)
        channel.secret = json.dumps(dict(secrets))
        fields = ["name", "config", "secret"]
        if moved:
            channel.proven_at, channel.proven_by, channel.target_at = None, None, now
            fields += ["proven_at", "proven_by", "target_at"]
        channel.save(update_fields=fields)
        record(
            actor=actor, verb="alerts.channel_changed", subject=name, subject_id=channel.pk, detail={"target": moved}
        )


def new_signing_key(*, actor: Person, channel: Channel) -> str:
    """Give a webhook a new signing key and return it; the old one signs nothing from now on."""
    made = new_key()
    with transaction.atomic():
        channel.secret = json.dumps({**channel.secrets, "key": made})
        channel.save(update_fields=["secret"])
        record(actor=actor, verb="alerts.key_changed", subject=channel.name, subject_id=channel.pk)
    return made


def pause(*, actor: Person, channel: Channel, now: datetime) -> None:
    """Stop telling a channel until it is resumed; what was wrong with it is nobody's trouble meanwhile."""
    with transaction.atomic():
        incidents.forget(subject_key=incidents.channel_key(channel), now=now)
        _set(actor, channel, "alerts.channel_paused", paused_at=now)


def resume(*, actor: Person, channel: Channel, now: datetime) -> None:
    """Tell a channel again, first of what opened meanwhile and still is."""
    with transaction.atomic():
        _set(actor, channel, "alerts.channel_resumed", paused_at=None)
        incidents.tell_channel(channel, now)


def remove(*, actor: Person, channel: Channel, now: datetime) -> None:
    """Take a channel out of use for ever and forget its secret; what it was told stays on the incidents' pages."""
    with transaction.atomic():
        channel.secret = None
        channel.save(update_fields=["secret"])
        _set(actor, channel, "alerts.channel_removed", removed_at=now)
        incidents.forget(subject_key=incidents.channel_key(channel), now=now)


def try_out(*, actor: Person, kind: str, config: Mapping[str, Any], secrets: Mapping[str, str], now: datetime) -> str:
    """Send one real text with settings that are not saved yet, and return the receipt, within ten seconds.

    Raises OutboundError with the sentence for the form. It proves nothing: only a drill does.
    """
    message = Outgoing(
        id=str(uuid7()),
        kind="test",
        subject="Mainstay can write to you",
        text=f"{actor} tries out this channel before saving it. Nothing is wrong.",
        url=incidents.channels_link(),
        at=now,
    )
    return ADAPTERS[kind](config, secrets).send(message)


def drill(*, actor: Person, channel: Channel, now: datetime) -> Message:
    """Send a test whose link proves the channel once a signed-in person opens it."""
    with transaction.atomic():
        message: Message = Message.objects.create(
            channel=channel,
            kind=Message.Kind.TEST,
            subject="Test: click to prove that this arrives",
            body=f"{actor} sent this test to {channel.name}. Nothing is wrong.\n\n"
            "Open the link within seven days. Mainstay then knows that messages here reach a person.",
            due_at=now,
            created_at=now,
        )
        record(actor=actor, verb="alerts.drilled", subject=channel.name, subject_id=channel.pk)
        ring(message)
    return message


def prove(*, actor: Person, token: str, now: datetime) -> Channel | None:
    """Prove the channel of the test that this link came with; None when it is wrong, too old or of another target."""
    try:
        message_id = signing.loads(token, salt=PROOF_SALT)
    except signing.BadSignature:
        return None
    with transaction.atomic():
        fresh = Message.objects.filter(pk=message_id, kind=Message.Kind.TEST, created_at__gt=now - PROOF_WITHIN)
        same_target = fresh.filter(channel__removed_at=None, channel__target_at__lte=F("created_at"))
        message = same_target.select_related("channel").first()
        if message is None:
            return None
        channel: Channel = message.channel
        newer = Channel.objects.filter(pk=channel.pk).exclude(proven_at__gte=message.created_at)
        if newer.update(proven_at=now, proven_by=actor):  # a second click on one link proves nothing new
            channel.refresh_from_db()
            record(actor=actor, verb="alerts.channel_proven", subject=channel.name, subject_id=channel.pk)
    return channel


def send_again(*, actor: Person, message: Message, now: datetime) -> bool:
    """Try a dead letter from the start; False when it is not one any more."""
    with transaction.atomic():
        dead = Message.objects.dead_letters().order_by().filter(pk=message.pk)
        if not dead.update(state=State.WAITING, attempt=0, due_at=now, error="", finished_at=None, lease_until=None):
            return False
        record(actor=actor, verb="alerts.sent_again", subject=str(message.channel), subject_id=message.pk)
        ring(message)
    return True


def dismiss(*, actor: Person, message: Message, now: datetime) -> bool:
    """Take a dead letter off the page: nobody needs it any more. It stays on its incident's page and in the audit log.

    False when it is not a dead letter any more.
    """
    with transaction.atomic():
        if not Message.objects.dead_letters().order_by().filter(pk=message.pk).update(dismissed_at=now):
            return False
        detail = {"channel": str(message.channel), "error": message.error[:200]}
        record(actor=actor, verb="alerts.dismissed", subject=message.subject, subject_id=message.pk, detail=detail)
    return True


def _set(actor: Person, channel: Channel, verb: str, **values: datetime | None) -> None:
    with transaction.atomic():
        for name, value in values.items():
            setattr(channel, name, value)
        channel.save(update_fields=list(values))
        record(actor=actor, verb=verb, subject=channel.name, subject_id=channel.pk)
