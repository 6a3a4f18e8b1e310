"""Deleting what retention lets go: never the newest good or the last proven, never while backups or proofs fail."""

import logging
from datetime import datetime

from django.db import transaction

from apps.backups.facts import Trouble
from apps.backups.judge import deadline
from apps.backups.models import Backup, Plan, Store
from apps.backups.retention import Keep, Point, kept
from apps.backups.services.watching import facts_of
from apps.backups.stores import store_of
from apps.backups.stores.base import Store as Adapter
from apps.people.services import record

log = logging.getLogger(__name__)

PROVEN_KEPT = 3  # the newest proven backups stay, whatever the retention says


def prune(*, plan: Plan, now: datetime) -> int:
    """Delete what the plan's retention lets go and return how many; nothing when the plan is not well.

    The row is marked and the entry written first, then the object is deleted: a kill between leaves an object that the
    next look at the store deletes, never a row that promises an object which is gone.
    """
    if held(plan, now):
        return 0
    adapters: dict[object, Adapter] = {}
    gone = 0
    for backup in to_prune(plan, now):
        try:
            store = backup.store or plan.store
            adapter = adapters.setdefault(store.pk, store_of(store.place()))
            if not _mark(backup, plan, now):
                continue
            adapter.delete(backup.object_key)
            gone += 1
        except Trouble as trouble:
            log.warning("pruning %s: %s", backup.pk, trouble.code)
    return gone


def held(plan: Plan, now: datetime) -> str:
    """Return why nothing of a plan may be deleted now, as a sentence; "" when it may."""
    if plan.removed_at or plan.paused_at:
        return "The plan is paused or removed; nothing is pruned."
    facts = facts_of(plan)
    if facts.last and facts.last.verdict == "failed":
        return "The last backup failed; nothing is pruned until one ends well."
    if now > deadline(facts, now):
        return "The backup is late; nothing is pruned until one ends well."
    if facts.test and facts.test.verdict == "failed":
        return "The last restore test failed; nothing is pruned until one proves a backup."
    if plan.proven_at is None and facts.test is None:
        return "No backup was proven yet; nothing is pruned until one is."
    return ""


def to_prune(plan: Plan, now: datetime) -> list[Backup]:
    """Return what retention lets go of, the oldest first: not locked, not in use, not among the newest proven."""
    backups = list(
        plan.backups.catalogued().filter(store__removed_at=None).select_related("store").defer("manifest", "log")
    )
    good = [backup for backup in backups if backup.lost_at is None and backup.taken_at]
    points = [Point(str(backup.pk), backup.taken_at, backup.proven_at is not None) for backup in good]
    keep = Keep(plan.keep_daily, plan.keep_weekly, plan.keep_monthly, plan.keep_yearly)
    stay = set(kept(points, keep, plan.time_zone, now))
    proven = sorted((backup for backup in good if backup.proven_at), key=lambda b: b.taken_at, reverse=True)
    stay |= {str(backup.pk) for backup in proven[:PROVEN_KEPT]}
    used = set(plan.restore_tests.active().values_list("backup_id", flat=True))
    used |= set(
        Backup.objects.filter(plan=plan, restores__state__in=["waiting", "running"]).values_list("pk", flat=True)
    )
    return sorted(
        (
            backup
            for backup in good
            if str(backup.pk) not in stay
            and backup.pk not in used
            and not (backup.locked_until and backup.locked_until > now)
        ),
        key=lambda backup: backup.taken_at,
    )


def _mark(backup: Backup, plan: Plan, now: datetime) -> bool:
    with transaction.atomic():
        if not Backup.objects.good().filter(pk=backup.pk).order_by().update(pruned_at=now):
            return False
        record(
            actor=None,
            verb="backups.pruned",
            subject=str(backup),
            subject_id=backup.pk,
            detail={"plan": plan.name, "object": backup.object_key},
        )
    return True


def prune_store(store: Store, now: datetime) -> int:
    """Prune every plan that keeps its backups in a store."""
    return sum(prune(plan=plan, now=now) for plan in Plan.objects.live().filter(store=store).select_related("source"))
