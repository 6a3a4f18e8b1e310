"""The look at one store: what is there against what should be there, in both directions; then pruning."""

import logging
import uuid
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from apps.backups.facts import LostLease, Stat, StoreTrouble, Trouble
from apps.backups.ledger import RunWork
from apps.backups.models import Backup, Inspection, Plan, Store
from apps.backups.services.perform import Clock, run_of, unforeseen, worker_name
from apps.backups.services.prune import prune_store
from apps.backups.stores import store_of
from apps.backups.stores.base import Store as Adapter
from apps.core.runs import State
from apps.people.services import record

log = logging.getLogger(__name__)

STALE_UPLOAD = timedelta(days=1)  # an upload that is not finished by then never will be
LISTED_LOSSES = ("missing", "size")  # what a later listing can take back


def inspect(run_id: str | uuid.UUID, *, clock: Clock = timezone.now) -> None:
    """Claim and do the look at one store; does nothing when it is not due, taken by another worker, or settled."""
    run = Inspection.claim(run_id, now=clock(), worker=worker_name())
    if run is None:
        return
    store, error = run.store, ""
    try:
        with RunWork(run, clock=clock) as work:
            work.progress("listing")
            look_at(store, now=work.now())
            work.progress("pruning")
            prune_store(store, work.now())
            work.progress("tidying")
            with suppress(StoreTrouble):
                store_of(store.place()).abort_stale("", before=work.now() - STALE_UPLOAD)
    except LostLease:
        return
    except Trouble as trouble:
        error = trouble.sentence
    except Exception as mistake:
        log.exception("the look at store %s failed in a way that was not foreseen", store.pk)
        error = unforeseen(mistake).sentence
    now = clock()
    if run.settle(now=now, error=error, stage=""):
        if store.trouble != error:
            Plan.objects.filter(store=store).update(judge_at=now)
        Store.objects.filter(pk=store.pk).update(trouble=error, checked_at=now)


def look_at(store: Store, *, now: datetime) -> int:
    """List a store and compare it with the catalogue, both ways; returns how many backups were newly found lost.

    What is missing or has another size is asked for once more by name before it counts as lost, and a backup that was
    lost and is there again as recorded counts as found. Objects that name a run of ours and belong to nobody any more
    are deleted. Raises StoreTrouble when the store cannot be listed; then nothing is concluded.
    """
    adapter = store_of(store.place())
    # What is finished while we list may not be in the list: only what was there before counts.
    should = list(
        Backup.objects.catalogued().filter(store=store, finished_at__lt=now).defer("manifest", "log", "timings")
    )
    there = {stat.key: stat for stat in adapter.list("")}
    lost = found = 0
    touched: set[uuid.UUID] = set()
    for backup in should:
        stat = there.get(backup.object_key)
        why = wrong(backup, stat)
        if why and not backup.lost_at:
            why = wrong(backup, adapter.stat(backup.object_key))
            if why:
                lost += _lose(backup, why, now)
                touched.add(backup.plan_id)
        elif not why and backup.lost_at and backup.lost_why in LISTED_LOSSES:
            found += Backup.objects.filter(pk=backup.pk).update(lost_at=None, lost_why="")
            touched.add(backup.plan_id)
    strangers = _strays(adapter, there.values(), {backup.object_key for backup in should}, now)
    Store.objects.filter(pk=store.pk).update(listed_at=now, strangers=strangers)
    for plan_id in touched:
        newest = Backup.objects.good().filter(plan_id=plan_id).first()
        Plan.everything.filter(pk=plan_id).update(
            last_backup_at=newest.taken_at if newest else None,
            last_bytes=newest.size if newest else None,
            judge_at=now,
        )
    return lost


def wrong(backup: Backup, stat: Stat | None) -> str:
    """Return what is wrong with an object as the store lists it: missing, size, version; "" when it is as recorded."""
    if stat is None:
        return "missing"
    if stat.size != backup.size:
        return "size"
    if stat.version_id and backup.version_id and stat.version_id != backup.version_id:
        return "version"
    return ""


def _lose(backup: Backup, why: str, now: datetime) -> int:
    with transaction.atomic():
        lost: int = Backup.objects.filter(pk=backup.pk, lost_at=None).update(lost_at=now, lost_why=why)
        if lost:
            record(actor=None, verb="backups.lost", subject=str(backup), subject_id=backup.pk, detail={"why": why})
    return lost


def _strays(adapter: Adapter, there: Iterable[Stat], known: set[str], now: datetime) -> int:
    """Delete the objects of our own ended runs that no row promises, and return how many objects are strangers."""
    strangers = 0
    ours: dict[uuid.UUID, list[Stat]] = {}
    for stat in there:
        if stat.key in known:
            continue
        run_id = run_of(stat.key)
        if run_id is None:
            strangers += 1
        else:
            ours.setdefault(run_id, []).append(stat)
    rows = {row.pk: row for row in Backup.objects.filter(pk__in=list(ours)).only("state", "object_key", "pruned_at")}
    for run_id, stats in ours.items():
        row = rows.get(run_id)
        if row is None:
            strangers += len(stats)
            continue
        if row.state not in {State.DONE, State.FAILED}:
            continue
        for stat in stats:
            promised = stat.key == row.object_key and row.pruned_at is None
            if not promised and not (stat.locked_until and stat.locked_until > now):
                with suppress(StoreTrouble):
                    adapter.delete(stat.key)
    return strangers
