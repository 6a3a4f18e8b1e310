"""Restoring one backup into a new, empty place that an admin named; never over anything, never twice by itself."""

import logging
import uuid
from contextlib import suppress
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from apps.backups import cipher
from apps.backups.engines import engine_of
from apps.backups.engines.base import Engine, Target
from apps.backups.facts import LostLease, Manifest, Trouble
from apps.backups.ledger import RunWork
from apps.backups.models import Restore
from apps.backups.recorded import RecordedOpener
from apps.backups.services.perform import Clock, unforeseen, worker_died
from apps.backups.stores import store_of
from apps.core.runs import worker_name
from apps.people.models import Person
from apps.people.roles import may
from apps.people.services import record

log = logging.getLogger(__name__)


def restore(run_id: str | uuid.UUID, *, clock: Clock = timezone.now) -> None:
    """Claim and do one restore; does nothing when it is not due, taken by another worker, or settled."""
    run = Restore.claim(run_id, now=clock(), worker=worker_name())
    if run is None:
        return
    try:
        if run.worn_out:
            part = "The backup and its source are untouched; the new place may hold a part, so empty or remove it"
            raise worker_died("restore", part, "restore into a new, empty place")  # noqa: TRY301 told below
        _refuse_who_may_not(run)
        with RunWork(run, clock=clock) as work:
            said = _restore(run, work)
        _settled(run, clock(), said=said)
    except LostLease:
        log.info("restore %s was stopped or belongs to another worker; this one wrote nothing more", run.pk)
    except Trouble as trouble:
        _settled(run, clock(), error=trouble.sentence, log=trouble.log)
    except Exception as error:
        log.exception("restore %s failed in a way that was not foreseen", run.pk)
        _settled(run, clock(), error=unforeseen(error).sentence)


def _restore(run: Restore, work: RunWork) -> str:
    backup, target = run.backup, run.target()
    manifest = Manifest.from_json(backup.manifest or {})
    engine, source = engine_of(manifest.engine), backup.plan.source
    if source.kind == manifest.engine:
        _refuse_the_source(engine, source.target(), target)
    where = backup.store or backup.plan.store
    opener = RecordedOpener(
        store_of(where.place()),
        backup,
        cipher.identity(),
        lambda done: work.progress("restoring", done, backup.size),
    )
    work.progress("looking at the new place")
    return engine.restore(opener, manifest, target, work)


def _refuse_who_may_not(run: Restore) -> None:
    """Work acts with the rights of who asked, as they are now: somebody who left meanwhile gets no data."""
    if run.asked_by_id is None:
        return
    person = Person.objects.active().filter(pk=run.asked_by_id).first()
    if person is None or not may(person.role, "backups.restore"):
        raise Trouble(
            "Whoever asked for this restore may not do so any more. Nothing was restored. "
            "An owner or an admin can ask again.",
            code="not-allowed",
        )


def _refuse_the_source(engine: Engine, source: Target, target: Target) -> None:
    """Refuse a restore over the source, whatever it is called. The engine refuses what is not empty or newer."""
    mine = theirs = ""
    with suppress(Trouble):  # a source that is gone is the very reason to restore
        mine = engine.identity(source)
    with suppress(Trouble):  # a place that is not made yet has no identity
        theirs = engine.identity(target)
    if mine and mine == theirs:
        raise Trouble(
            "That is the source itself. Nothing was changed. Name a new, empty database or folder.", code="is-source"
        )


def _settled(run: Restore, now: datetime, *, said: str = "", error: str = "", log: tuple[str, ...] = ()) -> None:
    # The password of the new place is not needed any more, whatever the end.
    with transaction.atomic():
        if run.settle(now=now, error=error, said=said or error, stage="", log=list(log)[:200], secret=None):
            record(
                actor=run.asked_by,
                verb="backups.restored" if not error else "backups.restore_failed",
                subject=str(run.backup),
                subject_id=run.pk,
            )
