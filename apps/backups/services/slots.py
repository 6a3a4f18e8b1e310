"""When work falls due: a backup for each slot of each plan, and a restore test when the proof is due."""

import logging
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F

from apps.backups.models import Backup, Plan, RestoreTest
from apps.backups.schedule import Schedule, following
from apps.core.runs import ring

log = logging.getLogger(__name__)

AT_ONCE = 200  # plans a tick looks at; the rest follows ten seconds later
COUNTED = 10_000  # missed slots are counted up to here
APART, MOST_APART = timedelta(seconds=2), timedelta(minutes=5)  # how plans due at one moment are spread


def take_slots(now: datetime) -> None:
    """Make one backup for each plan whose moment has come, and one restore test for each whose proof is due.

    A plan that was due many times while everything was down is caught up once, and the row says how many were missed.
    """
    for number, plan in enumerate(Plan.objects.live().due(now)[:AT_ONCE]):
        try:
            _take(plan, now, later=min(number * APART, MOST_APART))
        except Exception:  # one plan that cannot be read must not stop the others
            log.exception("the slot of plan %s could not be taken", plan.pk)
    for plan in Plan.objects.proof_due(now).idle()[:AT_ONCE]:
        newest = plan.backups.good().filter(store__removed_at=None, taken_at__lte=now).first()
        if newest is not None:
            prove_newest(backup=newest, now=now)


def prove_newest(*, backup: Backup, now: datetime) -> RestoreTest | None:
    """Make a restore test of a backup and ring for it; None when one of its plan is on already."""
    test = RestoreTest(plan_id=backup.plan_id, backup=backup, due_at=now, created_at=now)
    try:
        with transaction.atomic():
            test.save(force_insert=True)
            ring(test)
    except IntegrityError:
        return None
    return test


def _take(plan: Plan, now: datetime, *, later: timedelta) -> None:
    schedule = Schedule.from_json(plan.schedule)
    if plan.next_due_at is None:
        return
    upcoming, missed = following(schedule, plan.time_zone, now), 0
    after = plan.next_due_at
    while missed < COUNTED and (after := following(schedule, plan.time_zone, after)) <= now:
        missed += 1
    with transaction.atomic():
        slot = plan.take_slot(upcoming)
        if slot is None:
            return  # another tick won it
        backup = Backup(plan=plan, slot=slot, missed=missed, due_at=now + later, created_at=now)
        try:
            with transaction.atomic():
                backup.save(force_insert=True)
        except IntegrityError:
            # One is on, or this slot has one: the slot is written down with it, not queued behind it.
            plan.backups.active().update(missed=F("missed") + missed + 1)
            return
        if not later:
            ring(backup)
