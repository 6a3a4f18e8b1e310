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

    def ever_of(self, person: Any) -> Self:
        """Return every key that a person ever added, in use or not."""
        return self.filter(person=person).order_by("added_at")

    def to_end(self, key: Any, state: str) -> Self:
        """Return one key as long as it is neither revoked nor in a state already: the row to change by who wins."""
        return self.filter(pk=key.pk).exclude(state__in=["revoked", state])

    def known(self, fingerprint: str) -> Any:
        """Return whoever's key it is or was, if anybody's."""
        return self.filter(fingerprint=fingerprint).first()


class GrantQuerySet(models.QuerySet[Any]):
    """Reads of grants."""

    def in_force(self, now: datetime) -> Self:
        """Return the grants that open something now."""
        return self.filter(Q(until=None) | Q(until__gt=now), ended_at=None)

    def for_list(self, now: datetime) -> Self:
        """Return what is granted now, with whom and where, as the page lists it."""
        found = self.in_force(now).filter(Q(server=None) | Q(server__removed_at=None))
        found = found.filter(Q(person=None) | Q(person__is_active=True))
        return found.select_related("person", "server", "granted_by").order_by("-created_at")

    def same_as(self, now: datetime, **fields: Any) -> Self:
        """Return the grants in force that say the same."""
        return self.in_force(now).filter(**fields)

    def to_end(self, grant: Any) -> Self:
        """Return one grant as long as it did not end: the row to change by who wins."""
        return self.filter(pk=grant.pk, ended_at=None)


class AskingQuerySet(models.QuerySet[Any]):
    """Reads of askings."""

    def open(self) -> Self:
        """Return what waits for an answer, of people who are here and servers whose access is managed."""
        found = self.filter(state="open", person__is_active=True, server__removed_at=None, server__gate_level="manage")
        return found.select_related("person__account", "server").order_by("asked_at")

    def of(self, person: Any) -> Any:
        """Return the servers that a person waits for."""
        return set(self.open().filter(person=person).values_list("server_id", flat=True))

    def to_decide(self, asking: Any) -> Self:
        """Return one asking as long as nobody decided: the row to change by who wins."""
        return self.filter(pk=asking.pk, state="open")


class KeyPushQuerySet(RunQuerySet):
    """Reads of pushes."""

    def latest_of(self, server: Any) -> Any:
        """Return the newest push to a server, if any."""
        return self.filter(server=server).order_by("-created_at").first()

    def failed_last(self) -> dict[Any, Any]:
        """Return for each server its newest push where that failed."""
        newest = self.filter(server=models.OuterRef("server")).order_by("-created_at").values("pk")[:1]
        return {push.server_id: push for push in self.filter(state="failed", pk=models.Subquery(newest))}

    def busy(self) -> set[Any]:
        """Return the servers where a push is under way."""
        return set(self.filter(state__in=["waiting", "running"]).values_list("server_id", flat=True))


class DriftQuerySet(models.QuerySet[Any]):
    """Reads of drift."""

    def open(self) -> Self:
        """Return what waits for a decision or for being carried out."""
        return self.filter(state__in=["open", "asked", "removing"])

    def for_list(self) -> Self:
        """Return what waits, on servers that are looked after, the newest first."""
        found = self.open().filter(server__removed_at=None)
        return found.select_related("server", "decided_by", "asked").order_by("server__name", "-first_seen")

    def on(self, server: Any) -> Self:
        """Return the findings on one server."""
        return self.filter(server=server)

    def to_decide(self, drift: Any) -> Self:
        """Return one finding as long as it waits or was adopted: the row to change by who wins."""
        return self.filter(pk=drift.pk, state__in=["open", "asked", "adopted"])

    def asked_of(self, person: Any) -> Self:
        """Return what a person was asked about and did not answer."""
        found = self.filter(state="asked", asked=person, reply="", server__removed_at=None)
        return found.select_related("server", "decided_by").order_by("decided_at")

    def elsewhere(self, server: Any) -> Self:
        """Return the keys on a server that sshd takes from files that Mainstay did not write, adopted or not."""
        kinds = ["unknown_key", "root_key", "shared_key", "copy", "left_key", "ended_key"]
        found = self.on(server).filter(kind__in=kinds, state__in=["open", "asked", "adopted"])
        return found.exclude(detail__path__startswith="/etc/ssh/mainstay/").order_by("detail__user", "first_seen")

    def for_record(self) -> Self:
        """Return what was adopted, so that it can be looked at again."""
        found = self.filter(state="adopted", server__removed_at=None)
        return found.select_related("server", "decided_by").order_by("server__name", "-decided_at")

    def bad_by_server(self) -> dict[Any, int]:
        """Return how many open findings would let somebody in who should not, for each server that has some."""
        found = self.open().filter(detail__bad=True).values_list("server_id")
        return dict(found.annotate(number=models.Count("pk")).order_by())

    def revoked_texts(self) -> dict[Any, set[str]]:
        """Return for each server the keys ("type blob") that somebody decided to revoke there, carried out or not."""
        found: dict[Any, set[str]] = {}
        for server, text in self.filter(decision="remove").values_list("server_id", "detail__text"):
            if text:
                found.setdefault(server, set()).add(text)
        return found

    def taken_over(self, server: Any) -> set[str]:
        """Return the accounts on a server that were there before and that somebody handed to Mainstay."""
        return set(self.on(server).filter(decision="adopt", kind="account").values_list("detail__user", flat=True))

    def adopted(self, server: Any) -> set[str]:
        """Return what was adopted on a server."""
        return set(self.on(server).filter(state="adopted").values_list("key", flat=True))


class AccessStateQuerySet(models.QuerySet[Any]):
    """Reads of what is so on servers."""

    def managed(self) -> Self:
        """Return the states of servers whose gate manages access."""
        return self.filter(server__removed_at=None, server__gate_level="manage").select_related("server")

    def in_mode(self, state: Any, mode: str) -> Self:
        """Return one state as long as it has a mode: the row to change by who wins."""
        return self.filter(pk=state.pk, mode=mode)

    def for_list(self) -> Self:
        """Return the managed servers in the order of their names."""
        return self.managed().order_by("server__name")


class DepartureQuerySet(models.QuerySet[Any]):
    """Reads of departures."""

    def unproven(self) -> Self:
        """Return those with servers that have not proven it, and how many."""
        waiting = Q(goodbyes__proven_at=None, goodbyes__server__removed_at=None)
        found = self.filter(ended_at=None).annotate(waiting=models.Count("goodbyes", filter=waiting))
        return found.filter(waiting__gt=0).select_related("person").order_by("began_at")

    def begun(self) -> Self:
        """Return those that did not end."""
        return self.filter(ended_at=None)

    def begun_since(self, moment: datetime) -> bool:
        """Return whether somebody began to leave after a moment."""
        return self.begun().filter(began_at__gt=moment).exists()


class GoodbyeQuerySet(models.QuerySet[Any]):
    """Reads of the servers of departures."""

    def for_page(self) -> Self:
        """Return the clocks of one departure, the unproven first."""
        nulls = models.F("proven_at").asc(nulls_first=True)
        return self.select_related("server__access").order_by(nulls, "server__name")

    def waiting(self) -> Self:
        """Return those that have not proven it, on servers that are looked after."""
        return self.filter(proven_at=None, server__removed_at=None)

    def waiting_on(self, server: Any) -> Self:
        """Return those of one server that have not proven it."""
        found = self.waiting().filter(server=server, departure__ended_at=None)
        return found.select_related("departure__person")
