"""The e-mail channel that EMAIL_URL describes: made once, changed when the setting changes, left alone once removed."""

import json
from datetime import datetime

from django.conf import settings
from django.db import IntegrityError, transaction

from apps.alerts.models import Channel
from apps.people.services import record

NAME = "Mail from the environment"


def follow_environment(now: datetime) -> None:
    """Make the channel of the environment, or change it as the setting did; cheap when nothing changed.

    A person may pause it, or remove it for good: then the setting makes no other one.
    """
    if settings.MAIL_SERVER is None:
        return
    config, password = settings.MAIL_SERVER
    secrets = {"password": password} if config["user"] else {}
    known: Channel | None = Channel.objects.filter(from_environment=True).first()
    if known is None:
        _make(config, secrets, now)
    elif known.removed_at is None and (known.config != config or known.secrets != secrets):
        with transaction.atomic():
            known.config, known.secret, known.target_at = config, json.dumps(secrets), now
            known.proven_at, known.proven_by = None, None
            known.save(update_fields=["config", "secret", "target_at", "proven_at", "proven_by"])
            detail = {"target": True, "from": "the environment"}
            record(actor=None, verb="alerts.channel_changed", subject=known.name, subject_id=known.pk, detail=detail)


def _make(config: dict[str, object], secrets: dict[str, str], now: datetime) -> None:
    channel = Channel(
        name=NAME, kind=Channel.Kind.EMAIL, config=config, created_at=now, target_at=now, from_environment=True
    )
    channel.secret = json.dumps(secrets)
    try:
        with transaction.atomic():
            channel.save(force_insert=True)
            detail = {"kind": channel.kind, "from": "the environment"}
            record(actor=None, verb="alerts.channel_added", subject=NAME, subject_id=channel.pk, detail=detail)
    except IntegrityError:
        return  # another tick made it, or a person gave its name to a channel of their own
