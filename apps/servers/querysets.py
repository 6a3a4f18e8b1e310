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


class SampleQuerySet(models.QuerySet[Any]):
    """Reads of samples."""

    def between(self, server: Any, step: int, start: int, end: int) -> Any:
        """Return (at, packed) of one server and step, oldest first; Unix times, end excluded."""
        rows = self.filter(server=server, step=step, at__gte=start, at__lt=end)
        return rows.order_by("at").values_list("at", "packed")
