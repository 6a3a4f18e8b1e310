"""Channels, incidents and messages."""

from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.core.fields import EncryptedTextField
from apps.core.ids import uuid7
from apps.core.runs import Run


class Channel(models.Model):
    """One way to reach people: e-mail, Slack or a signed webhook."""

    class Kind(models.TextChoices):
        """The adapters."""

        EMAIL = "email", "E-mail"
        SLACK = "slack", "Slack"
        WEBHOOK = "webhook", "Webhook"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=80, unique=True)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    config = models.JSONField(default=dict)
    secret = EncryptedTextField(null=True)  # JSON object of strings
    paused_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    proven_at = models.DateTimeField(null=True, blank=True)  # when a person last clicked the link of a test message
    delivered_at = models.DateTimeField(null=True, blank=True)
    trouble = models.TextField(blank=True)  # why the last delivery failed; empty is fine

    def __str__(self) -> str:
        """Return the name."""
        return self.name


class Incident(models.Model):
    """One trouble with one subject, from when it was seen until it was mended. One is open per cause."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    code = models.CharField(max_length=60)  # Problem.code
    severity = models.CharField(max_length=10)
    subject_key = models.CharField(max_length=120)  # "backups.plan:<id>"
    subject = models.CharField(max_length=120)  # as text, so that nothing below points up
    url = models.CharField(max_length=200)
    title = models.CharField(max_length=200)
    said = models.TextField()  # what is wrong now, one sentence
    advice = models.TextField(blank=True)
    seen_at = models.DateTimeField()  # first seen; visible once the problem's patience has passed
    opened_at = models.DateTimeField(null=True, blank=True)  # when people were told
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["code", "subject_key"], condition=Q(closed_at=None), name="incident_one_open_per_cause"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["closed_at", "-opened_at"], name="incident_list")]

    def __str__(self) -> str:
        """Return the title."""
        return self.title


class Message(Run):
    """One text to one channel, sent at least once, with its receipt; a dead letter when every attempt failed."""

    task: ClassVar[str] = "alerts.send"
    attempts: ClassVar[int] = 6
    backoff: ClassVar[timedelta] = timedelta(seconds=30)

    class Meta(Run.Meta):
        abstract = False

    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="messages")
    incident = models.ForeignKey(Incident, null=True, on_delete=models.CASCADE, related_name="messages")
    kind = models.CharField(max_length=10)  # opened, closed, reminder, test
    subject = models.CharField(max_length=200)
    body = models.TextField()
    receipt = models.CharField(max_length=300, blank=True)  # what the receiver answered

    def __str__(self) -> str:
        """Return the subject."""
        return self.subject
