"""The nouns of servers: the server, the host keys that it is known by, its facts and its samples."""

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from apps.core.fields import EncryptedTextField
from apps.core.ids import uuid7
from apps.servers.querysets import HostKeyQuerySet, SampleQuerySet, ServerManager


class Level(models.TextChoices):
    """What the gate on a server may do; each level holds the one before it."""

    OBSERVE = "observe", "Observe"
    OPERATE = "operate", "Operate"
    MANAGE = "manage", "Manage access"


class Server(models.Model):
    """One machine that is looked after, and the key pair that is for it alone."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=80)
    address = models.CharField(max_length=253)  # a host name or an IP address
    port = models.PositiveIntegerField(default=22)
    level = models.CharField(max_length=10, choices=Level.choices, default=Level.OBSERVE)
    tags = models.JSONField(default=list)  # lower-case words, sorted
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="servers")
    private_key = EncryptedTextField(null=True)  # OpenSSH, ed25519: signs in and signs requests, on this server only
    public_key = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    removed_at = models.DateTimeField(null=True, blank=True)
    seen_from = models.JSONField(default=list)  # the addresses from which the server sees Mainstay: its key's `from=`
    note = models.CharField(max_length=120, blank=True)  # what it is for, in a person's words
    # looking at host keys before one is confirmed: asked for by a person, done by the collector
    scan_asked_at = models.DateTimeField(null=True, blank=True)
    scanned_at = models.DateTimeField(null=True, blank=True)
    scan_said = models.TextField(blank=True)  # why the last look found none; empty when it did
    # what the last conversation showed
    reached_at = models.DateTimeField(null=True, blank=True)
    failing_since = models.DateTimeField(null=True, blank=True)
    failure = models.CharField(max_length=20, blank=True)  # ssh.Trouble code; empty while it answers
    failure_said = models.TextField(blank=True)
    gate_version = models.CharField(max_length=20, blank=True)
    gate_level = models.CharField(max_length=10, blank=True)  # the level that the server itself says it has
    gate_verbs = models.JSONField(default=list)
    clock_skew = models.FloatField(null=True, blank=True)  # seconds that its clock is ahead of ours
    boot_id = models.CharField(max_length=40, blank=True)
    booted_at = models.DateTimeField(null=True, blank=True)
    # when to ask next, and who drives it meanwhile
    next_sample_at = models.DateTimeField(default=timezone.now, db_index=True)
    next_facts_at = models.DateTimeField(default=timezone.now)
    driver = models.CharField(max_length=120, blank=True)  # the collector that holds its connection
    driver_until = models.DateTimeField(null=True, blank=True)
    series = models.JSONField(default=list)  # names of metrics; the index is the id in packed samples
    latest = models.JSONField(default=dict)  # the newest sample: {"at", "values": {metric: figure}, "totals": {…}}
    limits = models.JSONField(default=dict)  # metric or kind → changed fields of thresholds.Limit
    states = models.JSONField(default=dict)  # metric → thresholds.State, where it says something
    full = models.JSONField(default=dict)  # disk → forecast.Forecast, made anew each hour
    full_at = models.DateTimeField(null=True, blank=True)
    security_since = models.DateTimeField(null=True, blank=True)  # since when security updates wait
    # how it stands, kept by watch
    verdict = models.CharField(max_length=12, default="none")  # core.claims.Verdict
    verdict_said = models.TextField(blank=True)
    verdict_since = models.DateTimeField(null=True, blank=True)
    faults = models.JSONField(default=list)  # judge.Fault, the worst first
    judge_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects: ClassVar[Any] = ServerManager()
    everything: ClassVar[Any] = models.Manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(removed_at=None),
                name="server_name",
                violation_error_message="A server of this name exists.",
            ),
        ]

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    @property
    def url(self) -> str:
        """Return the address of its page."""
        return reverse("server", args=[self.pk])

    def matches(self, asked: str) -> bool:
        """Return whether every word that was asked for is in its name, address, note or tags."""
        said = " ".join((self.name, self.address, self.note, *self.tags)).lower()
        return all(word in said for word in asked.lower().split())


class HostKey(models.Model):
    """One host key that a server showed. Only a pinned one is ever spoken to; a changed one is a hard stop."""

    class State(models.TextChoices):
        """Where a key stands."""

        OFFERED = "offered", "Shown, not confirmed"
        PINNED = "pinned", "Pinned"
        CHANGED = "changed", "Another key than the pinned one"
        RETIRED = "retired", "No longer used"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="host_keys")
    type = models.CharField(max_length=40)
    blob = models.TextField()  # base64
    fingerprint = models.CharField(max_length=60, db_index=True)  # SHA256:…
    state = models.CharField(max_length=10, choices=State.choices, default=State.OFFERED)
    seen_at = models.DateTimeField(default=timezone.now)
    confirmed_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    confirmed_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = HostKeyQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["server", "fingerprint"], name="hostkey_once_a_server"),
        ]

    def __str__(self) -> str:
        """Return the fingerprint."""
        return self.fingerprint


class Facts(models.Model):
    """What a server is, as of the last time it was asked: parsed and bounded, never as the server wrote it."""

    server = models.OneToOneField(Server, primary_key=True, on_delete=models.CASCADE, related_name="facts")
    taken_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    data = models.JSONField(default=dict)  # facts.parse.Facts.to_json

    def __str__(self) -> str:
        """Return whose facts they are."""
        return f"facts of {self.server}"


class Sample(models.Model):
    """The figures of one server over one step: min, mean, max of each metric, packed; see samples.py."""

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="samples", db_index=False)
    step = models.PositiveSmallIntegerField()  # seconds: 60, 300 or 3600
    at = models.PositiveIntegerField()  # Unix time of the step's start, a multiple of the step
    packed = models.BinaryField()

    objects: ClassVar[Any] = SampleQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["server", "step", "at"], name="sample_once_a_step"),
        ]

    def __str__(self) -> str:
        """Return whose sample it is."""
        return f"{self.server_id} {self.step} {self.at}"
