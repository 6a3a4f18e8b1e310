"""Every read of the servers room, named for the page or the loop that needs it."""

from datetime import datetime
from typing import Any, Self

from django.db import models
from django.db.models import Q


class ServerQuerySet(models.QuerySet[Any]):
    """Reads of servers."""

    def to_drive(self, now: datetime, driver: str) -> Self:
        """Return the servers that a collector may drive: nobody's, its own, or those of one that died."""
        return self.filter(Q(driver=driver) | Q(driver="") | Q(driver_until__lt=now) | Q(driver_until=None))

    def due(self, driver: str, now: datetime) -> Self:
        """Return the servers of a collector that it has something to do for."""
        mine = self.filter(driver=driver, driver_until__gt=now)
        facts = Q(failure="", next_facts_at__lte=now)
        return mine.filter(Q(next_sample_at__lte=now) | facts | Q(scan_asked_at__isnull=False))

    def managed(self) -> Self:
        """Return the servers whose gate manages access."""
        return self.filter(gate_level="manage")

    def operated(self) -> Self:
        """Return the servers whose gate may act, and so lend a database, by name."""
        return self.filter(gate_level__in=["operate", "manage"]).order_by("name")

    def to_judge(self, now: datetime) -> Self:
        """Return the servers whose judgement is due."""
        return self.filter(judge_at__lte=now).select_related("facts").order_by("judge_at")

    def for_list(self) -> Self:
        """Return every server for the list, those that need somebody first."""
        worst = models.Case(
            models.When(verdict="bad", then=0), models.When(verdict="warn", then=1), default=2,
            output_field=models.IntegerField(),
        )  # fmt: skip
        return self.select_related("facts").defer("private_key", "states").order_by(worst, "name")

    def troubled(self) -> Self:
        """Return the servers that need somebody."""
        return self.filter(verdict__in=["bad", "warn"])

    def at_level(self, *levels: str) -> Self:
        """Return the servers of some levels."""
        return self.filter(level__in=levels)


class ServerManager(models.Manager.from_queryset(ServerQuerySet)):  # type: ignore[misc] # built at run time
    """Servers that were not removed."""

    def get_queryset(self) -> Any:
        """Return those that were not removed."""
        return super().get_queryset().filter(removed_at=None)


class HostKeyQuerySet(models.QuerySet[Any]):
    """Reads of host keys."""

    def pinned(self) -> Self:
        """Return the keys that an admin confirmed."""
        return self.filter(state="pinned")

    def waiting(self) -> Self:
        """Return the keys that a server showed and that nobody confirmed."""
        return self.filter(state__in=["offered", "changed"]).order_by("type")

    def changed(self, servers: list[Any]) -> Self:
        """Return the keys that some servers showed instead of the pinned ones."""
        return self.filter(state="changed", server__in=servers)

    def of(self, servers: list[Any]) -> Any:
        """Return which of some servers have such a key."""
        return self.filter(server__in=servers).values_list("server_id", flat=True)

    def twins(self, server: Any, fingerprints: list[str]) -> Self:
        """Return the same keys, pinned for another server that is looked after."""
        others = self.pinned().filter(fingerprint__in=fingerprints, server__removed_at=None)
        return others.exclude(server=server).select_related("server")


class SampleQuerySet(models.QuerySet[Any]):
    """Reads of samples."""

    def between(self, server: Any, step: int, start: int, end: int) -> Any:
        """Return (at, packed) of one server and step, oldest first; Unix times, end excluded."""
        rows = self.filter(server=server, step=step, at__gte=start, at__lt=end)
        return rows.order_by("at").values_list("at", "packed")
