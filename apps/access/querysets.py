"""Every read of the access room, named for the page or the judge that needs it."""

from datetime import datetime
from typing import Any, Self

from django.db import models
from django.db.models import Q

from apps.core.runs import RunQuerySet


class PublicKeyQuerySet(models.QuerySet[Any]):
    """Reads of public keys."""

    def active(self) -> Self:
        """Return the keys in use."""
        return self.filter(state="active")


class GrantQuerySet(models.QuerySet[Any]):
    """Reads of grants."""

    def in_force(self, now: datetime) -> Self:
        """Return the grants that open something now."""
        return self.filter(Q(until=None) | Q(until__gt=now), ended_at=None)


class KeyPushQuerySet(RunQuerySet):
    """Reads of pushes."""


class DriftQuerySet(models.QuerySet[Any]):
    """Reads of drift."""

    def open(self) -> Self:
        """Return what waits for a decision or for being carried out."""
        return self.filter(state__in=["open", "asked", "removing"])
