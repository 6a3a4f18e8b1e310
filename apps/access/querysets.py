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

    def of(self, person: Any) -> Self:
        """Return a person's keys in use, the oldest first."""
        return self.active().filter(person=person).order_by("added_at")


class GrantQuerySet(models.QuerySet[Any]):
    """Reads of grants."""

    def in_force(self, now: datetime) -> Self:
        """Return the grants that open something now."""
        return self.filter(Q(until=None) | Q(until__gt=now), ended_at=None)

    def for_list(self, now: datetime) -> Self:
        """Return what is granted now, with whom and where, as the page lists it."""
        found = self.in_force(now).filter(Q(server=None) | Q(server__removed_at=None))
        return found.select_related("person", "server", "granted_by").order_by("-created_at")


class KeyPushQuerySet(RunQuerySet):
    """Reads of pushes."""

    def latest_of(self, server: Any) -> Any:
        """Return the newest push to a server, if any."""
        return self.filter(server=server).order_by("-created_at").first()


class DriftQuerySet(models.QuerySet[Any]):
    """Reads of drift."""

    def open(self) -> Self:
        """Return what waits for a decision or for being carried out."""
        return self.filter(state__in=["open", "asked", "removing"])

    def for_list(self) -> Self:
        """Return what waits, on servers that are looked after, the newest first."""
        found = self.open().filter(server__removed_at=None)
        return found.select_related("server", "decided_by").order_by("server__name", "-first_seen")

    def revoked_on(self, server: Any) -> Self:
        """Return the findings on a server whose key somebody decided to revoke there, carried out or not."""
        return self.filter(server=server, decided_at__isnull=False, state__in=["removing", "gone"])

    def taken_over(self, server: Any) -> set[str]:
        """Return the accounts on a server that were there before and that somebody handed to Mainstay."""
        found = self.filter(server=server, state="adopted", kind="account")
        return set(found.values_list("detail__user", flat=True))

    def adopted(self, server: Any) -> set[str]:
        """Return what was adopted on a server."""
        return set(self.filter(server=server, state="adopted").values_list("key", flat=True))


class AccessStateQuerySet(models.QuerySet[Any]):
    """Reads of what is so on servers."""

    def managed(self) -> Self:
        """Return the states of servers whose gate manages access."""
        return self.filter(server__removed_at=None, server__gate_level="manage").select_related("server")


class DepartureQuerySet(models.QuerySet[Any]):
    """Reads of departures."""

    def unproven(self) -> Self:
        """Return those with servers that have not proven it, and how many."""
        waiting = Q(goodbyes__proven_at=None, goodbyes__server__removed_at=None)
        found = self.filter(ended_at=None).annotate(waiting=models.Count("goodbyes", filter=waiting))
        return found.filter(waiting__gt=0).select_related("person").order_by("began_at")
