"""What a plan stops claiming when its data is other data: a proof of one source says nothing about another."""

from datetime import datetime
from typing import Any

NO_PROOF: dict[str, Any] = {
    "proven_at": None,
    "proven_taken_at": None,
    "proven_seconds": None,
    "last_backup_at": None,
    "last_bytes": None,
    "proof_due_at": None,
    "failed_rung": None,
    "proven_rungs": 0,
}
# Where a source is: another value of one of these is another source, however alike its name.
PLACE = ("host", "port", "database", "path")


def no_proof(now: datetime) -> dict[str, Any]:
    """Return the columns of a plan that has proven nothing yet and counts from `now`."""
    return {**NO_PROOF, "expected_from": now}


def moved(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Return whether two configurations of a source name different places (pure)."""
    return any(before.get(key) != after.get(key) for key in PLACE)
