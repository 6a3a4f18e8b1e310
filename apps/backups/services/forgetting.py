"""What a plan stops claiming: a proof of one source says nothing about another, one of a lost object about none."""

from datetime import datetime
from typing import Any

from apps.backups.facts import RUNGS
from apps.backups.models import Plan

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


def after_loss(plan: Plan) -> dict[str, Any]:
    """Return what a plan's row may still say once an object of its store was found lost, or found again.

    A plan that claims no proof takes one back only from data since it counts: older data may be another source's.
    """
    held: dict[str, Any] = plan.backups.all().held()
    if plan.proven_at is None and held["proven_taken_at"] and held["proven_taken_at"] < plan.expected_from:
        held |= {"proven_at": None, "proven_taken_at": None}
    test = plan.restore_tests.settled().of_data(held["proven_taken_at"]).first() if held["proven_at"] else None
    held["proven_seconds"] = test.restore_seconds if test else None
    if plan.failed_rung is None:
        held["proven_rungs"] = len(RUNGS) if held["proven_at"] else 0
    return held
