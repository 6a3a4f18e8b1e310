"""Channels, incidents, the notes on them, and messages."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.alerts.querysets import ChannelQuerySet, IncidentQuerySet, MessageQuerySet
from apps.core.fields import EncryptedTextField
from apps.core.ids import uuid7
from apps.core.runs import Run


class Channel(models.Model):  # type: ignore[django-manager-missing, unused-ignore]  # only a cold run sees it
    """One way to reach people: e-mail, Slack or a signed webhook."""

    class Kind(models.TextChoices):
        """The adapters."""

        EMAIL = "email", "E-mail"
        SLACK = "slack", "Slack"
        WEBHOOK = "webhook", "Webhook"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    config = models.JSONField(default=dict)
    secret = EncryptedTextField(null=True)  # JSON object of strings
    from_environment = models.BooleanField(default=False)  # made from EMAIL_URL, and follows it
    paused_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    target_at = models.DateTimeField(default=timezone.now, editable=False)  # when the address last changed
    proven_at = models.DateTimeField(null=True, blank=True)  # when a person last clicked the link of a test message
    proven_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    delivered_at = models.DateTimeField(null=True, blank=True)
    trouble = models.TextField(blank=True)  # why the last delivery failed; empty is fine
    trouble_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = ChannelQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["name"], condition=Q(removed_at=None), name="channel_name_once"),
            models.UniqueConstraint(
                fields=["from_environment"], condition=Q(from_environment=True), name="channel_one_of_environment"
            ),
        ]

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    @property
    def secrets(self) -> Mapping[str, str]:
        """Return the opened secret settings. Never put them in a page, a log line or a task."""
        return dict(json.loads(self.secret)) if self.secret else {}


class Incident(models.Model):  # type: ignore[django-manager-missing, unused-ignore]  # only a cold run sees it
    """One trouble with one subject, from when it was seen until it was mended. One is open per cause.

    A *spell* is one stretch of trouble. Trouble that comes back soon after it was mended opens the same incident again
    with the next spell, so that what flaps is one incident and few messages.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    code = models.CharField(max_length=60)  # Problem.code
    severity = models.CharField(max_length=10)
    subject_key = models.CharField(max_length=120)  # "backups.plan:<id>"
    subject = models.CharField(max_length=120)  # as text, so that nothing below points up
    url = models.CharField(max_length=200)
    title = models.CharField(max_length=200)
    said = models.TextField()  # what is wrong now, one sentence
    advice = models.TextField(blank=True)
    quiet_while = models.JSONField(default=list)  # Problem.depends_on
    seen_at = models.DateTimeField()  # first seen; visible once the problem's patience has passed
    tell_at = models.DateTimeField()  # when the patience of this spell is over
    opened_at = models.DateTimeField(null=True, blank=True)  # when people were first told
    told_at = models.DateTimeField(null=True, blank=True)  # when people were told of this spell
    reminded_at = models.DateTimeField(null=True, blank=True)
    mended_at = models.DateTimeField(null=True, blank=True)  # healthy since; closes when that has held
    spell = models.PositiveIntegerField(default=0)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    objects: ClassVar[Any] = IncidentQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["code", "subject_key"], condition=Q(closed_at=None), name="incident_one_open_per_cause"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["closed_at", "-opened_at"], name="incident_list"),
            models.Index(fields=["code", "subject_key", "-closed_at"], name="incident_cause"),
        ]

    def __str__(self) -> str:
        """Return the title."""
        return self.title


class Note(models.Model):
    """What a person wrote on an incident."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="notes")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    text = models.TextField()
    at = models.DateTimeField()

    def __str__(self) -> str:
        """Return the text."""
        return self.text


class Message(Run):
    """One text to one channel, sent at least once, with its receipt; a dead letter when every attempt failed."""

    class Kind(models.TextChoices):
        """Why it is sent."""

        OPENED = "opened", "Opened"
        CLOSED = "closed", "Mended"
        REMINDER = "reminder", "Reminder"
        TEST = "test", "Test"

    task: ClassVar[str] = "alerts.send"
    attempts: ClassVar[int] = 6
    backoff: ClassVar[timedelta] = timedelta(seconds=30)

    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="messages")
    incident = models.ForeignKey(Incident, null=True, on_delete=models.CASCADE, related_name="messages")
    spell = models.PositiveIntegerField(default=0)  # Incident.spell when it was written
    kind = models.CharField(max_length=10, choices=Kind.choices)
    subject = models.CharField(max_length=200)
    body = models.TextField()
    receipt = models.CharField(max_length=300, blank=True)  # what the receiver answered
    dismissed_at = models.DateTimeField(null=True, blank=True)  # when a person said that nobody needs it any more

    objects: ClassVar[Any] = MessageQuerySet.as_manager()

    class Meta(Run.Meta):
        abstract = False
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["incident", "channel", "kind", "spell"],
                condition=Q(kind__in=["opened", "closed"]),
                name="message_once_a_spell",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            *Run.Meta.indexes,
            models.Index(fields=["channel", "state", "-created_at"], name="message_by_channel"),
        ]

    def __str__(self) -> str:
        """Return the subject."""
        return self.subject
