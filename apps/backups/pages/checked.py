"""What "Test connection" shows: still waiting, what a worker found, or that no worker answered."""

from dataclasses import dataclass
from datetime import datetime

from apps.backups.models import ConnectionTest
from apps.backups.services.checking import PATIENCE

NOBODY = "No worker has answered, so nothing is known yet. See that Mainstay's workers run, then test again."


@dataclass(frozen=True, slots=True)
class Found:
    """One sentence, whether it is good, and what else was seen; `ok` None while a worker is at it."""

    ok: bool | None
    said: str
    version: str = ""
    size: int | None = None
    warnings: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    test: ConnectionTest | None = None


def found(test: ConnectionTest, now: datetime) -> Found:
    """Return what there is to say of a test."""
    if test.found is not None:
        told = test.found
        warnings, log = tuple(told.get("warnings", ())), tuple(told["log"])
        return Found(told["ok"], told["said"], told.get("version", ""), told.get("size"), warnings, log)
    if now - test.created_at > PATIENCE:
        return Found(False, NOBODY)
    return Found(None, "Testing the connection …", test=test)
