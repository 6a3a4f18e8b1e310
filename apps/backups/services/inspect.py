"""The look at one store: what is there against what should be there, in both directions; then pruning."""

import hashlib
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
from apps.backups.services.forgetting import after_loss
from apps.backups.services.perform import Clock, run_of, unforeseen
from apps.backups.services.prune import prune_store
from apps.backups.services.watching import judge_now
from apps.backups.stores import store_of
from apps.backups.stores.base import Store as Adapter
from apps.core.runs import State, worker_name
from apps.people.services import record

log = logging.getLogger(__name__)

STALE_UPLOAD = timedelta(days=1)  # an upload that is not finished by then never will be
SKEW = timedelta(minutes=5)  # by which the clocks of store and machine may differ
MOST_READ = 5  # objects written to since the last look that are read again: one that differs is told, and enough
CHUNK = 1024 * 1024
LISTED_LOSSES = ("missing", "size")  # what a later listing can take back


def inspect(run_id: str | uuid.UUID, *, clock: Clock = timezone.now) -> None:
    """Claim and do the look at one store; does nothing when it is not due, taken by another worker, or settled."""
    run = Inspection.claim(run_id, now=clock(), worker=worker_name())
    if run is None:
        return
    store, error = run.store, ""
    try:
        with RunWork(run, clock=clock) as work:
            first_today = store.listed_at is None or store.listed_at.date() != work.now().date()
            work.progress("listing")
            look_at(store, now=work.now(), work=work, sample=first_today)
            work.progress("pruning")
            prune_store(store, work.now())
            work.progress("tidying")
            with suppress(StoreTrouble):
                store_of(store.place()).abort_stale("", before=work.now() - STALE_UPLOAD)
            if first_today or store.trouble:
                # As the form does: a bucket opened to the world, or a key that lost its rights, is seen within a day.
                work.progress("testing the connection")
                store_of(store.place()).check()
    except LostLease:
        return
    except Trouble as trouble:
        error = trouble.sentence
    except Exception as mistake:
        log.exception("the look at store %s failed in a way that was not foreseen", store.pk)
        error = unforeseen(mistake).sentence
    now = clock()
    with transaction.atomic():
        if run.settle(now=now, error=error, stage=""):
            Store.objects.filter(pk=store.pk).update(trouble=error, checked_at=now)
            if store.trouble != error:
                Plan.objects.filter(store=store).update(judge_at=now)


def look_at(store: Store, *, now: datetime, work: RunWork | None = None, sample: bool = False) -> int:
    """List a store and compare it with the catalogue, both ways; returns how many backups were newly found lost.

    What is missing or has another size is asked for once more by name before it counts as lost, and a backup that was
    lost and is there again as recorded counts as found. What was written to since the last look, and with `sample` one
    more that is another one each day, is read to its end and its digest compared. Objects that name a run of ours and
    belong to nobody any more are deleted. Raises StoreTrouble when the store cannot be listed: nothing is concluded.
    """
    adapter = store_of(store.place())
    # What is finished while we list may not be in the list: only what was there before counts.
    should = list(
        Backup.objects.catalogued().filter(store=store, finished_at__lt=now).defer("manifest", "log", "timings")
    )
    there = {stat.key: stat for stat in adapter.list("")}
    lost = 0
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
            Backup.objects.filter(pk=backup.pk).update(lost_at=None, lost_why="")
            backup.lost_at = None  # and so it is read below, if it was written to
            touched.add(backup.plan_id)
    lost += _read_some(adapter, should, there, store.listed_at, work, sample=sample, touched=touched, now=now)
    strangers = _strays(adapter, there.values(), {backup.object_key for backup in should}, now)
    Store.objects.filter(pk=store.pk).update(listed_at=now, strangers=strangers)
    for plan_id in touched:
        _tell_plan(plan_id, now)
    return lost


def _tell_plan(plan_id: uuid.UUID, now: datetime) -> None:
    """Write what a plan still holds and claims after a loss or a find, and judge it in the same transaction."""
    with transaction.atomic():
        plan = Plan.everything.select_for_update().get(pk=plan_id)
        fields = after_loss(plan)
        if fields["proven_at"] is None or fields["proven_at"] != plan.proven_at:
            fields["proof_due_at"] = now  # what is left is to be proven as soon as it can be
        Plan.everything.filter(pk=plan_id).update(**fields, judge_at=now)
        judge_now(plan_id, now=now)


def _read_some(
    adapter: Adapter,
    should: list[Backup],
    there: dict[str, Stat],
    since: datetime | None,
    work: RunWork | None,
    *,
    sample: bool,
    touched: set[uuid.UUID],
    now: datetime,
) -> int:
    """Read back what was written to since the last look, and the sample; return how many differ from what was sent."""
    whole = [each for each in should if not each.lost_at and each.object_key in there and each.sha256]
    wanted = [each for each in whole if _written_to(each, there[each.object_key], since)][:MOST_READ]
    if sample and whole:
        in_order = sorted(whole, key=lambda each: each.object_key)
        wanted.append(in_order[now.toordinal() % len(in_order)])
    lost = 0
    for backup in {each.pk: each for each in wanted}.values():
        stat = adapter.stat(backup.object_key)
        why = wrong(backup, stat)
        if not why and _digest(adapter, backup, work) != backup.sha256:
            why = "digest"
        if why:
            lost += _lose(backup, why, now)
            touched.add(backup.plan_id)
    return lost


def _written_to(backup: Backup, stat: Stat, since: datetime | None) -> bool:
    if backup.finished_at is None or since is None:
        return False
    return stat.modified > max(backup.finished_at, since - SKEW) + SKEW


def _digest(adapter: Adapter, backup: Backup, work: RunWork | None) -> str:
    digest, done = hashlib.sha256(), 0
    with adapter.open(backup.object_key) as stream:
        while piece := stream.read(CHUNK):
            digest.update(piece)
            done += len(piece)
            if work is not None:
                work.progress("reading an old backup", done, backup.size)
    return digest.hexdigest()


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
