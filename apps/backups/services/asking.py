"""What a person asks for: a backup now, a restore test now, a restore, a decrypted copy, or that a run stops."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.backups import cipher
from apps.backups.engines.base import Target
from apps.backups.models import Backup, Inspection, Plan, Restore, RestoreTest, Source, Store
from apps.backups.recorded import opened_as_recorded
from apps.backups.stores import store_of
from apps.core.refused import Refused
from apps.core.runs import State, ring
from apps.people.models import Person
from apps.people.services import record

CHUNK = 1024 * 1024
AGAIN_SOON = timedelta(hours=6)  # until a stopped restore test is begun by itself again


def back_up_now(*, actor: Person | None, plan: Plan, now: datetime) -> Backup:
    """Ask for a backup at once, also of a paused plan. Raises Refused when one is on."""
    last = plan.backups.filter(slot__gte=now, slot__lt=now + timedelta(seconds=1)).order_by("-slot").first()
    slot = last.slot + timedelta(microseconds=1) if last else now  # a slot is one run's own, down to the microsecond
    backup = Backup(plan=plan, slot=slot, trigger="person", asked_by=actor, due_at=now, created_at=now)
    try:
        with transaction.atomic():
            backup.save(force_insert=True)
            record(actor=actor, verb="backups.asked", subject=plan.name, subject_id=plan.pk)
            ring(backup)
    except IntegrityError as error:
        active = plan.backups.active().first()
        since = f"since {active.started_at or active.created_at:%H:%M} UTC" if active else "already"
        raise Refused(f"A backup of {plan} is on {since}. Watch it, or stop it first; nothing was started.") from error
    return backup


def test_now(*, actor: Person | None, backup: Backup, now: datetime) -> RestoreTest:
    """Ask for a restore test of one backup at once. Raises Refused when one is on, or for an unreadable backup."""
    _readable(backup)
    test = RestoreTest(
        plan_id=backup.plan_id, backup=backup, trigger="person", asked_by=actor, due_at=now, created_at=now
    )
    try:
        with transaction.atomic():
            test.save(force_insert=True)
            record(actor=actor, verb="backups.test_asked", subject=str(backup), subject_id=backup.pk)
            ring(test)
    except IntegrityError as error:
        raise Refused(f"A restore test of {backup.plan} is on. Watch it; nothing was started.") from error
    return test


def look_now(*, actor: Person | None, store: Store, now: datetime) -> Inspection:
    """Ask for the look at a store at once: both listings are compared, and what is lost is told. Raises Refused."""
    try:
        with transaction.atomic():
            look, made = Inspection.objects.get_or_create(store=store, defaults={"due_at": now, "created_at": now})
            again = Inspection.objects.ended().filter(pk=look.pk)
            if not made and not again.update(state=State.WAITING, due_at=now, attempt=0, lease_until=None):
                raise Refused(f"{store} is being looked at already. Watch it; nothing was started.")
            record(actor=actor, verb="backups.look_asked", subject=store.name, subject_id=store.pk)
            ring(look)
    except IntegrityError as error:  # the tick made the row in the same moment
        raise Refused(f"{store} is being looked at already. Watch it; nothing was started.") from error
    look.refresh_from_db()
    return look


test_now.__test__ = False  # type: ignore[attr-defined]  # pytest must not take the verb for a test


def ask_restore(*, actor: Person | None, backup: Backup, target: Target, now: datetime) -> Restore:
    """Ask for a restore into a new, empty place that `target` names. The worker refuses any other.

    Raises Refused.
    """
    _readable(backup)
    kind = (backup.manifest or {}).get("engine", "")
    if target.kind != kind:
        raise Refused(f"This backup is of a {Source.Kind(kind).label}. Name a place of the same kind.")
    restore = Restore(backup=backup, asked_by=actor, config=dict(target.config), due_at=now, created_at=now)
    restore.secret = json.dumps(dict(target.secret)) if target.secret else None
    with transaction.atomic():
        restore.save(force_insert=True)
        record(
            actor=actor,
            verb="backups.restore_asked",
            subject=str(backup),
            subject_id=backup.pk,
            detail={"into": _where(target.config)},
        )
        ring(restore)
    return restore


def decrypted(*, actor: Person | None, backup: Backup) -> Iterator[bytes]:
    """Return the decrypted, decompressed archive piece by piece. The audit entry is written first.

    Raises Refused at once, and StoreTrouble while reading; a reader that stops early closes everything.
    """
    _readable(backup)
    with transaction.atomic():
        record(actor=actor, verb="backups.downloaded", subject=str(backup), subject_id=backup.pk)
    return _pieces(backup)


def _pieces(backup: Backup) -> Iterator[bytes]:
    store = store_of((backup.store or backup.plan.store).place())
    with opened_as_recorded(store, backup, cipher.identity()) as stream:
        while piece := stream.read(CHUNK):
            yield piece


def stop(*, actor: Person | None, run: Backup | RestoreTest | Restore, now: datetime | None = None) -> None:
    """Stop a run. Its row ends at once; its worker finds at the next progress that it lost the lease and cleans up.

    Raises Refused when it has already ended.
    """
    who = str(actor) if actor else "Mainstay"
    said = f"Stopped by {who}."
    fields: dict[str, Any] = {"state": State.FAILED, "error": said, "lease_until": None}
    fields["finished_at"] = now or timezone.now()
    if isinstance(run, Backup):
        fields["trouble_code"] = "stopped"
    with transaction.atomic():
        if not type(run).objects.active().filter(pk=run.pk).update(**fields):
            raise Refused("This run has already ended. Nothing was changed.")
        if isinstance(run, RestoreTest):  # else the next tick would begin it again
            Plan.everything.filter(pk=run.plan_id).update(proof_due_at=fields["finished_at"] + AGAIN_SOON)
        record(actor=actor, verb="backups.stopped", subject=str(run), subject_id=run.pk)
    run.refresh_from_db(fields=list(fields))


def _readable(backup: Backup) -> None:
    if backup.state != State.DONE or not backup.object_key or not backup.manifest:
        raise Refused("This backup was not finished, so there is nothing to restore. Choose another one.")
    if backup.pruned_at:
        raise Refused(f"This backup was pruned on {backup.pruned_at:%d %b %Y} as the plan says. Choose another one.")
    if backup.store is None or backup.store.removed_at:
        raise Refused("The store of this backup was removed from Mainstay. Add it again and use the recovery steps.")


def _where(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {config[key]}" for key in ("host", "port", "database", "path") if config.get(key))
