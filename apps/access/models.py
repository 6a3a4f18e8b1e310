"""The nouns of access: a person's account and keys, asking and grants, pushes to servers, leaving, and drift."""

from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.access.querysets import (
    AccessStateQuerySet,
    AskingQuerySet,
    DepartureQuerySet,
    DriftQuerySet,
    GoodbyeQuerySet,
    GrantQuerySet,
    KeyPushQuerySet,
    PublicKeyQuerySet,
)
from apps.core.ids import uuid7
from apps.core.runs import Run
from apps.servers.models import Server

PERSON = settings.AUTH_USER_MODEL


class Account(models.Model):
    """The account that one person has on every server: a name of one's own, never shared, never given twice."""

    person = models.OneToOneField(PERSON, primary_key=True, on_delete=models.CASCADE, related_name="account")
    user = models.CharField(max_length=31, unique=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        """Return the account's name."""
        return self.user


class PublicKey(models.Model):
    """One public key of one person, kept as type and blob; its line is rebuilt, never the pasted text."""

    class State(models.TextChoices):
        """Where a key stands."""

        ACTIVE = "active", "In use"
        REMOVED = "removed", "Removed"
        REVOKED = "revoked", "Revoked on every server"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    person = models.ForeignKey(PERSON, on_delete=models.CASCADE, related_name="public_keys")
    type = models.CharField(max_length=60)
    blob = models.TextField()  # base64
    fingerprint = models.CharField(max_length=60, unique=True)  # SHA256:…; one key is one person's, for ever
    bits = models.PositiveIntegerField()
    comment = models.CharField(max_length=64, blank=True)  # printable, for display only
    state = models.CharField(max_length=10, choices=State.choices, default=State.ACTIVE)
    added_at = models.DateTimeField(default=timezone.now, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = PublicKeyQuerySet.as_manager()

    def __str__(self) -> str:
        """Return the fingerprint."""
        return self.fingerprint


class Grant(models.Model):
    """What a person, or everybody of a role, may open: one server, or every server of a tag."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    person = models.ForeignKey(PERSON, null=True, blank=True, on_delete=models.CASCADE, related_name="grants")
    role = models.CharField(max_length=10, blank=True)
    server = models.ForeignKey(Server, null=True, blank=True, on_delete=models.CASCADE, related_name="grants")
    tag = models.CharField(max_length=40, blank=True)
    sudo = models.BooleanField(default=False)
    until = models.DateTimeField(null=True, blank=True)
    granted_by = models.ForeignKey(PERSON, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = GrantQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=Q(person__isnull=False, role="") | (Q(person=None) & ~Q(role="")), name="grant_one_whom"
            ),
            models.CheckConstraint(
                condition=Q(server__isnull=False, tag="") | (Q(server=None) & ~Q(tag="")), name="grant_one_where"
            ),
        ]

    def __str__(self) -> str:
        """Return whom and where."""
        return f"{self.person or self.role} on {self.server or self.tag}"


class Asking(models.Model):
    """A person asks for access to one server; who manages access grants or declines it."""

    class State(models.TextChoices):
        """What came of it."""

        OPEN = "open", "To decide"
        GRANTED = "granted", "Granted"
        DECLINED = "declined", "Declined"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    person = models.ForeignKey(PERSON, on_delete=models.CASCADE, related_name="askings")
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="askings")
    why = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    asked_at = models.DateTimeField(default=timezone.now)
    decided_by = models.ForeignKey(PERSON, null=True, on_delete=models.SET_NULL, related_name="+")
    decided_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = AskingQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["person", "server"], condition=Q(state="open"), name="asking_once_a_server"
            ),
        ]

    def __str__(self) -> str:
        """Return who asks for what."""
        return f"{self.person} asks for {self.server}"


class AccessState(models.Model):
    """What is so on one server: the digest that was last proven there, what the server answered, and when."""

    server = models.OneToOneField(Server, primary_key=True, on_delete=models.CASCADE, related_name="access")
    mode = models.CharField(max_length=10, default="adopt")  # adopt: .ssh/authorized_keys still counts; enforced
    wanted = models.CharField(max_length=64, blank=True)  # digest of what was wanted when it was last looked at
    pushed = models.CharField(max_length=64, blank=True)  # digest of what was last proven
    pushed_at = models.DateTimeField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)  # the earliest lease that was pushed
    leases = models.JSONField(default=dict)  # key id → until when its lease there was last proven (ISO)
    offered = models.JSONField(default=dict)  # key id → until when, of every push that was begun; None is no lease
    managed = models.JSONField(default=list)  # the accounts there that are open through Mainstay, or may be
    made = models.JSONField(default=list)  # the accounts there that Mainstay ever made or took over, or began to
    foreign = models.JSONField(default=list)  # people's account names that were there before and are not taken over
    actual = models.JSONField(default=list)  # accounts as the server last answered: user, keys, sudo, accepts, why
    refused = models.TextField(blank=True)  # why the last change was refused or failed; empty is none
    unsure = models.JSONField(default=list)  # what could not be looked at there, as sentences
    looked_at = models.DateTimeField(null=True, blank=True)  # when drift was last looked for
    next_look_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects: ClassVar[Any] = AccessStateQuerySet.as_manager()

    def __str__(self) -> str:
        """Return whose it is."""
        return f"access on {self.server}"


class KeyPush(Run):
    """One push of everything that is wanted to one server: planned, simulated, applied, proven, committed."""

    task: ClassVar[str] = "access.push"
    queue: ClassVar[str] = "quick"
    lease: ClassVar[timedelta] = timedelta(minutes=5)
    attempts: ClassVar[int] = 5

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="key_pushes")
    reason = models.CharField(max_length=20)  # wanted, look, drift, mode, person
    asked_by = models.ForeignKey(PERSON, null=True, on_delete=models.SET_NULL, related_name="+")
    wanted = models.CharField(max_length=64, blank=True)  # digest of what this push carried
    change = models.CharField(max_length=40, blank=True)  # the gate's id of the change, while a rollback is timed
    said = models.TextField(blank=True)
    outcome = models.JSONField(default=dict)

    objects: ClassVar[Any] = KeyPushQuerySet.as_manager()

    class Meta(Run.Meta):
        abstract = False
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["server"], condition=Q(state__in=["waiting", "running"]), name="keypush_one_at_a_time"
            ),
        ]

    def __str__(self) -> str:
        """Return where it goes."""
        return f"push to {self.server}"


class Departure(models.Model):
    """One person's leaving, with a clock per server until the proof."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    person = models.ForeignKey(PERSON, on_delete=models.CASCADE, related_name="departures")
    began_at = models.DateTimeField(default=timezone.now)
    asked_by = models.ForeignKey(PERSON, null=True, on_delete=models.SET_NULL, related_name="+")
    ended_at = models.DateTimeField(null=True, blank=True)  # proven on every server

    objects: ClassVar[Any] = DepartureQuerySet.as_manager()

    def __str__(self) -> str:
        """Return who leaves."""
        return f"{self.person} leaves"


class Goodbye(models.Model):
    """One server of a departure: what was proven there, when, and what remains to do."""

    departure = models.ForeignKey(Departure, on_delete=models.CASCADE, related_name="goodbyes")
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="+")
    proofs = models.JSONField(default=dict)  # keys, revoked, sessions, locked, login → {"at", "said"}
    proven_at = models.DateTimeField(null=True, blank=True)
    lease_ends_at = models.DateTimeField(null=True, blank=True)  # what ends it where the server cannot be reached
    remains = models.JSONField(default=list)  # sentences: files, processes, crontabs that stayed

    objects: ClassVar[Any] = GoodbyeQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["departure", "server"], name="goodbye_once_a_server"),
        ]

    def __str__(self) -> str:
        """Return who leaves where."""
        return f"{self.departure} {self.server}"


class Drift(models.Model):
    """Something on a server that is not as it was agreed; never removed silently."""

    class State(models.TextChoices):
        """What was decided."""

        OPEN = "open", "To decide"
        ASKED = "asked", "Somebody was asked"
        ADOPTED = "adopted", "Adopted"
        REMOVING = "removing", "To be removed"
        GONE = "gone", "No longer there"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="drifts")
    kind = models.CharField(max_length=30)
    key = models.CharField(max_length=200)  # drift.Finding.key: the same thing keeps its row
    detail = models.JSONField(default=dict)
    first_seen = models.DateTimeField(default=timezone.now)
    last_seen = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    decided_by = models.ForeignKey(PERSON, null=True, on_delete=models.SET_NULL, related_name="+")
    decided_at = models.DateTimeField(null=True, blank=True)
    decision = models.CharField(max_length=10, blank=True)  # adopt, ask or remove; kept when the thing is gone
    asked = models.ForeignKey(PERSON, null=True, blank=True, on_delete=models.SET_NULL, related_name="asked_about")
    reply = models.CharField(max_length=10, blank=True)  # of whom was asked: mine, not_mine

    objects: ClassVar[Any] = DriftQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["server", "key"], name="drift_once_a_server"),
        ]

    def __str__(self) -> str:
        """Return what and where."""
        return f"{self.kind} on {self.server}"
