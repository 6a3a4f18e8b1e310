"""Persons, invitations, one-time links, the audit log, and the counters that slow down guessing."""

import json
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from apps.core.fields import EncryptedTextField
from apps.core.ids import uuid7
from apps.people.audit import GENESIS, Fields
from apps.people.querysets import AuditQuerySet, InvitationQuerySet, PersonManager


class Role(models.TextChoices):
    """What a person may do; apps/people/roles.py holds the table."""

    OWNER = "owner", "Owner"
    ADMIN = "admin", "Admin"
    MEMBER = "member", "Member"
    VIEWER = "viewer", "Viewer"


class Person(AbstractBaseUser):
    """Somebody with an account of their own. Never deleted: who leaves is deactivated, and the log keeps the name."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=80)
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.VIEWER)
    time_zone = models.CharField(max_length=64, default="UTC")
    is_active = models.BooleanField(default=True)
    joined_at = models.DateTimeField(default=timezone.now, editable=False)
    left_at = models.DateTimeField(null=True, blank=True)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]

    objects: ClassVar[Any] = PersonManager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(Lower("email"), name="person_email_once"),
        ]

    def __str__(self) -> str:
        """Return the name."""
        return self.name or self.email


class Invitation(models.Model):
    """An offer to join with a role. Only the digest of its link is kept."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField()
    role = models.CharField(max_length=10, choices=Role.choices)
    token_hash = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    joined = models.OneToOneField(Person, null=True, on_delete=models.PROTECT, related_name="invitation")
    closed_at = models.DateTimeField(null=True, blank=True)  # used, withdrawn or replaced

    objects: ClassVar[Any] = InvitationQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(Lower("email"), condition=Q(closed_at=None), name="invitation_one_open"),
        ]

    def __str__(self) -> str:
        """Return whom it is for."""
        return self.email


class Link(models.Model):
    """A one-time link printed on the console: to set up the first owner, or for somebody who is locked out."""

    class Kind(models.TextChoices):
        """What the link opens."""

        SETUP = "setup", "Set up"
        SIGNIN = "signin", "Sign in"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    token_hash = models.CharField(max_length=64, unique=True)
    person = models.ForeignKey(Person, null=True, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        """Return the kind."""
        return self.kind


class AuditHead(models.Model):
    """The one row that every writer of the audit log locks: the last entry, and the key of the chain.

    The key is random, made with the first entry and sealed with the key ring; so it is the same on every machine, and
    a rotation of the master key re-seals it without touching an entry.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    seq = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64, default=GENESIS)
    key = EncryptedTextField()

    def __str__(self) -> str:
        """Return the last entry's number."""
        return str(self.seq)


class AuditEntry(models.Model):
    """One thing that somebody did. The database refuses every change of it."""

    seq = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField(db_index=True)
    actor = models.ForeignKey(Person, null=True, on_delete=models.PROTECT, related_name="+")
    actor_name = models.CharField(max_length=120)
    ip = models.CharField(max_length=45, blank=True)
    verb = models.CharField(max_length=60, db_index=True)
    subject = models.CharField(max_length=200)
    subject_id = models.CharField(max_length=64, blank=True)
    detail_json = models.TextField(default="{}")  # canonical text, exactly as hashed
    prev_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64, unique=True)

    objects: ClassVar[Any] = AuditQuerySet.as_manager()

    def __str__(self) -> str:
        """Return number and verb."""
        return f"{self.seq} {self.verb}"

    @property
    def detail(self) -> dict[str, Any]:
        """Return the details."""
        return dict(json.loads(self.detail_json))

    @property
    def says(self) -> str:
        """Return the verb as words: "people.role_changed" is "role changed"."""
        return self.verb.partition(".")[2].replace("_", " ")

    def fields(self) -> Fields:
        """Return what is hashed."""
        return Fields(
            seq=self.seq,
            at=self.at,
            actor_id=str(self.actor_id or ""),
            actor_name=self.actor_name,
            ip=self.ip,
            verb=self.verb,
            subject=self.subject,
            subject_id=self.subject_id,
            detail=self.detail_json,
        )


class Attempts(models.Model):
    """When somebody last tried: the moments that a limit counts. In the database: a dead cache opens nothing."""

    key = models.CharField(max_length=255, primary_key=True)
    value = models.JSONField(default=list)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        """Return the key."""
        return self.key
