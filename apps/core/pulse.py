"""The heartbeat: each tick writes when it looked, so that every page can say when nothing is watching any more."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from apps.core.models import Pulse

SILENT = timedelta(minutes=2)  # without a tick for so long, what pages show are not claims any more
THE_ONE = 1


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """When Mainstay last looked, and what that means at present."""

    at: datetime | None  # None: it never looked
    stale: bool


def beat(now: datetime) -> None:
    """Write that a tick looked at everything. Never goes back in time, whichever of two ticks ends last."""
    changed = Pulse.objects.filter(pk=THE_ONE, at__lt=now).update(at=now)
    if not changed:
        Pulse.objects.get_or_create(pk=THE_ONE, defaults={"at": now})


def judge(at: datetime | None, now: datetime) -> Heartbeat:
    """Return the heartbeat: stale without a tick, or when the last is older than two minutes."""
    return Heartbeat(at, at is None or now - at > SILENT)


def heartbeat(now: datetime) -> Heartbeat:
    """Read the last tick and judge it; one query."""
    return judge(Pulse.objects.filter(pk=THE_ONE).values_list("at", flat=True).first(), now)
