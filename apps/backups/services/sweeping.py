"""Removing what runs left behind in the world and did not remove themselves."""

from datetime import datetime

from apps.backups.ledger import sweep_leftovers


def sweep(now: datetime) -> None:
    """Remove what is past its deadline in the ledger."""
    sweep_leftovers(now)
