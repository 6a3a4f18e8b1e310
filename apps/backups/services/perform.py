"""Taking one backup: dump, compress, encrypt, upload, look, read the copy back, catalogue, and ask for its proof."""

import hashlib
import json
import logging
import re
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from apps.backups import cipher, pipeline
from apps.backups.engines import engine_of
from apps.backups.facts import LostLease, Manifest, Stat, StoreTrouble, Trouble
from apps.backups.ledger import LONGEST, RunWork
from apps.backups.models import Backup, Plan
from apps.backups.notices import notices
from apps.backups.services.slots import prove_newest
from apps.backups.services.watching import judge_now
from apps.backups.stores import store_of
from apps.backups.stores.base import Store
from apps.core.runs import State, worker_name

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]
CHUNK = 1024 * 1024
EARLY_MOST = timedelta(hours=12)  # a proof that falls due this soon after a backup is done with that backup
_KEY = re.compile(r"-([0-9a-f]{32})-(\d+)\.[a-z0-9.]+$")


def folder_of(plan: Plan) -> str:
    """Return the folder of a plan's objects: readable for people, and the same whatever the plan is called later."""
    slug = re.sub(r"[^a-z0-9]+", "-", plan.name.lower()).strip("-")[:40] or "plan"
    return f"{slug}-{plan.pk.hex[-8:]}"


def key_of(backup: Backup, suffix: str) -> str:
    """Return the object's key: unique to each attempt, so that a successor never collides with a late worker."""
    return f"{folder_of(backup.plan)}/{backup.slot:%Y%m%dT%H%M%SZ}-{backup.pk.hex}-{backup.attempt}{suffix}.zst.age"


def run_of(key: str) -> uuid.UUID | None:
    """Return the id of the backup that an object's key names; None for an object that is none of ours."""
    found = _KEY.search(key)
    return uuid.UUID(hex=found.group(1)) if found else None


@dataclass(frozen=True, slots=True)
class _Made:
    """What an attempt left in the store, verified."""

    key: str
    size: int
    sha256: str
    version_id: str
    locked_until: datetime | None
    raw_bytes: int
    manifest: Manifest
    recipients: list[str]
    timings: dict[str, float]


def perform(run_id: str | uuid.UUID, *, clock: Clock = timezone.now) -> None:
    """Claim and take one backup; does nothing when the run is not due, taken by another worker, or settled."""
    run = Backup.claim(run_id, now=clock(), worker=worker_name())
    if run is None:
        return
    try:
        store = store_of(run.plan.store.place())
        if run.attempt > 1:
            _forget_attempts(store, run, before=run.attempt)
        if run.worn_out:
            raise worker_died("backup", "Earlier backups are untouched", "back up now")  # noqa: TRY301 told below
        # What was sent stays in the ledger until it is catalogued: whatever ends this block before, removes it.
        with RunWork(run, clock=clock) as work, ExitStack() as until_catalogued:
            _catalogue(run, _make(run, store, work, until_catalogued), clock)
    except LostLease:
        log.info("backup %s belongs to another worker now, or was stopped; this attempt left nothing", run.pk)
    except Trouble as trouble:
        _failed(run, trouble, clock())
    except Exception as error:
        log.exception("backup %s failed in a way that was not foreseen", run.pk)
        _failed(run, unforeseen(error), clock())


def worker_died(what: str, untouched: str, then: str) -> Trouble:
    """Return what is said of a run whose worker died with every attempt."""
    return Trouble(
        f"The worker stopped in the middle of this {what}. {untouched}. Find what ends it (memory, disk, restarts), "
        f"then {then}.",
        code="worker-died",
    )


def unforeseen(error: Exception) -> Trouble:
    """Return a fault of Mainstay's own as a sentence; its text may hold anything, so only its kind is told."""
    return Trouble(
        f"Mainstay itself made a mistake ({type(error).__name__}); its log has the details. What was there before is "
        "untouched. It is tried again; if it repeats, report it.",
        code="mistake",
        permanent=False,
    )


def _make(run: Backup, store: Store, work: RunWork, until_catalogued: ExitStack) -> _Made:
    plan = run.plan
    recipients = [cipher.recipient()]
    before = plan.backups.good().only("raw_bytes").first()
    total = before.raw_bytes if before else None
    until = work.now() + timedelta(days=plan.lock_days) if plan.lock_days else None
    work.progress("connecting")
    with engine_of(plan.source.kind).dump(plan.source.target(), work) as dump:
        key = key_of(run, dump.suffix)
        where = json.dumps({"store": str(plan.store_id), "prefix": key})
        until_catalogued.enter_context(work.leaves("upload", where, within=LONGEST))
        sent = pipeline.send(
            dump.stream,
            store=store,
            key=key,
            recipients=recipients,
            progress=lambda done: work.progress("copying", done, max(total, done) if total else None),
            until=until,
            finish=dump.finish,
        )
    manifest = _manifest(sent)
    began = time.monotonic()
    there = _look(store, key, sent.stored.size)
    _read_back(store, key, sent.stored.size, sent.stored.sha256, work)
    return _Made(
        key=key,
        size=sent.stored.size,
        sha256=sent.stored.sha256,
        version_id=sent.stored.version_id or there.version_id,
        locked_until=sent.stored.locked_until or there.locked_until,
        raw_bytes=sent.raw_bytes,
        manifest=manifest,
        recipients=recipients,
        timings={
            "copying": round(sent.seconds - sent.finish_seconds, 3),
            "counting": round(sent.finish_seconds, 3),
            "reading back": round(time.monotonic() - began, 3),
        },
    )


def _manifest(sent: pipeline.Sent) -> Manifest:
    if sent.manifest is None:
        raise Trouble("The dump ended without its manifest, so nothing could be compared later.", code="no-manifest")
    return sent.manifest


def _look(store: Store, key: str, size: int) -> Stat:
    there = store.stat(key)
    if there is None:
        raise StoreTrouble(
            "The upload was confirmed, but the store does not list the object. The source is untouched. Test the "
            "connection; if it is right, look for a rule that deletes new objects.",
            code="not-there",
            permanent=False,
        )
    if there.size != size:
        raise StoreTrouble(
            f"The store lists {there.size:,} bytes where {size:,} were sent. The source is untouched. Test the store.",
            code="incomplete",
            permanent=False,
        )
    return there


def _read_back(store: Store, key: str, size: int, sha256: str, work: RunWork) -> None:
    digest, done = hashlib.sha256(), 0
    with store.open(key) as stream:
        while piece := stream.read(CHUNK):
            digest.update(piece)
            done += len(piece)
            work.progress("reading the copy back", done, size)
    if digest.hexdigest() != sha256:
        raise StoreTrouble(
            "The copy in the store differs from what was sent. The source is untouched and the bad copy was deleted. "
            "Test the store; if it repeats, use another one.",
            code="copy-differs",
            permanent=False,
        )


def _catalogue(run: Backup, made: _Made, clock: Clock) -> None:
    now, plan = clock(), run.plan
    counted = made.manifest.members
    with transaction.atomic():
        fields: dict[str, Any] = {
            "stage": "",
            "store": plan.store,
            "object_key": made.key,
            "size": made.size,
            "sha256": made.sha256,
            "version_id": made.version_id,
            "locked_until": made.locked_until,
            "recipients": made.recipients,
            "manifest": made.manifest.to_json(),
            "taken_at": made.manifest.taken_at,
            "source_bytes": made.manifest.source_bytes,
            "raw_bytes": made.raw_bytes,
            "members": len(counted),
            "rows": sum(member.count for member in counted),
            "timings": made.timings,
            "notices": notices(
                made.manifest, _measure(plan), lock_days=plan.lock_days, locked=made.locked_until is not None
            ),
            "trouble_code": "",
            "log": [],
        }
        if not run.settle(now=now, **fields):
            raise LostLease
        Plan.everything.filter(pk=plan.pk).update(
            last_backup_at=made.manifest.taken_at, last_bytes=made.size, judge_at=now
        )
        current = Plan.everything.get(pk=plan.pk)
        if current.removed_at is None and _proof_is_due(current, now):
            prove_newest(backup=run, now=now)
        judge_now(plan.pk, now=now)


def _measure(plan: Plan) -> Manifest | None:
    """Return the manifest that a new backup is held against: of the last proven one, else of the newest."""
    good = plan.backups.good().filter(manifest__isnull=False)
    before = good.filter(proven_at__isnull=False).first() or good.first()
    return Manifest.from_json(before.manifest) if before else None


def _proof_is_due(plan: Plan, now: datetime) -> bool:
    """Return whether this backup is to be proven: the first, one after a failure, or one near the due moment."""
    if plan.proven_at is None or plan.failed_rung is not None or plan.proof_due_at is None:
        return True
    return now >= plan.proof_due_at - min(plan.prove_every / 8, EARLY_MOST)


def _failed(run: Backup, trouble: Trouble, now: datetime) -> None:
    with transaction.atomic():
        settled = run.settle(
            now=now,
            error=trouble.sentence,
            again=not trouble.permanent,
            trouble_code=trouble.code[:40],
            log=list(trouble.log)[:200],
        )
        if settled and run.state == State.FAILED:
            Plan.everything.filter(pk=run.plan_id).update(judge_at=now)
            judge_now(run.plan_id, now=now)
    if settled:
        log.warning("backup %s: %s", run.pk, trouble.code)


def _forget(store: Store, key: str) -> None:
    # What cannot be deleted now (locked, or no connection) is found by the next look at the store and deleted then.
    with suppress(Trouble):
        store.delete(key)


def _forget_attempts(store: Store, run: Backup, *, before: int) -> None:
    """Delete what earlier attempts of this run left: their workers are dead or have lost the lease."""
    with suppress(Trouble):
        for left in list(store.list(f"{folder_of(run.plan)}/")):
            found = _KEY.search(left.key)
            if found and found.group(1) == run.pk.hex and int(found.group(2)) < before:
                _forget(store, left.key)
