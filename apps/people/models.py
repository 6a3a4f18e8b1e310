"""Persons, invitations and the audit log."""

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.utils import timezone

from apps.core.ids import uuid7


class Role(models.TextChoices):
    """What a person may do; apps/people/roles.py holds the table."""

    OWNER = "owner", "Owner"
    ADMIN = "admin", "Admin"
    MEMBER = "member", "Member"
    VIEWER = "viewer", "Viewer"


class PersonManager(BaseUserManager["Person"]):
    """Reads of people."""

    def active(self) -> "models.QuerySet[Person]":
        """Return the people who may sign in."""
        return self.filter(is_active=True)


class Person(AbstractBaseUser):
    """Somebody with an account of their own."""

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

    def __str__(self) -> str:
        """Return the name."""
        return self.name or self.email
