"""Proving one backup: seven rungs, from the record of the run to a restored copy that equals its manifest."""

import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timedelta
from typing import IO, Any, cast

from django.db import transaction
from django.utils import timezone

from apps.backups import cipher, pipeline
from apps.backups.engines import engine_of
from apps.backups.engines.base import Engine
from apps.backups.facts import RUNGS, LostLease, Manifest, Rung, StoreTrouble, Trouble
from apps.backups.ledger import RunWork
from apps.backups.models import Backup, Plan, RestoreTest
from apps.backups.services.forgetting import after_loss
from apps.backups.services.perform import Clock, unforeseen, worker_died
from apps.backups.services.watching import judge_now
from apps.backups.stores import store_of
from apps.backups.stores.base import Store
from apps.core import words
from apps.core.runs import worker_name

log = logging.getLogger(__name__)

SHOWN = 2000  # compared tables or files kept as evidence; differing ones come first
CHUNK = 1024 * 1024
AGAIN_SOON = timedelta(hours=6)  # after a test that did not prove, unless a backup comes first


class Opener:
    """Opens one archive from its first byte, and remembers size and digest of the object once it was read whole."""

    def __init__(self, store: Store, key: str, identity: str, progress: Callable[[int], None]) -> None:
        """Keep what `pipeline.opened` needs."""
        self._store, self._key, self._identity, self._progress = store, key, identity, progress
        self.sha256, self.size = "", 0

    def __call__(self) -> AbstractContextManager[IO[bytes]]:
        """Return the open archive."""
        return self._open()

    @contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        with pipeline.opened(self._store, self._key, self._identity, self._progress) as archive:
            yield cast("IO[bytes]", archive)
            with suppress(ValueError):  # not read to its end
                self.sha256, self.size = archive.sha256, archive.size


class _Ladder:
    """The rungs of one test, in order; the first that does not hold ends it."""

    def __init__(self) -> None:
        self.rungs: list[Rung] = []
        self.restore_seconds: float | None = None
        self.compared: list[list[Any]] = []
        self.compared_total = 0
        self.engine = ""
        self.gone = ""  # why the backup counts as lost: missing, size or digest
        self.transient = False  # the rung that did not hold may hold later: nothing is known to be wrong

    def add(self, rung: Rung) -> bool:
        """Add a rung and return whether to go on."""
        self.rungs.append(rung)
        return rung.ok is True

    @property
    def verdict(self) -> str:
        """Return proven, failed or unproven."""
        if len(self.rungs) == len(RUNGS) and all(rung.ok for rung in self.rungs):
            return "proven"
        return "failed" if self.rungs and self.rungs[-1].ok is False and not self.transient else "unproven"


def prove(run_id: str | uuid.UUID, *, clock: Clock = timezone.now) -> None:
    """Claim and do one restore test; does nothing when it is not due, taken by another worker, or settled."""
    test = RestoreTest.claim(run_id, now=clock(), worker=worker_name())
    if test is None:
        return
    ladder, tools = _Ladder(), dict[str, str]()
    raw: tuple[str, ...] = ()
    try:
        if test.worn_out:
            died = worker_died("test", "The backup is untouched", "test a restore again")
            died.permanent = False
            raise died  # noqa: TRY301 told below
        with RunWork(test, clock=clock) as work:
            tools = work.tools
            _climb(ladder, test.backup, work)
    except LostLease:
        log.info("restore test %s belongs to another worker now, or was stopped; this attempt left nothing", test.pk)
        return
    except Trouble as trouble:
        raw = trouble.log
        _stop(ladder, trouble)
    except Exception as error:
        log.exception("restore test %s failed in a way that was not foreseen", test.pk)
        _stop(ladder, unforeseen(error))
    _settle(test, ladder, tools, list(raw)[:200], clock())


def _stop(ladder: _Ladder, trouble: Trouble) -> None:
    """End the ladder with a rung that says why; what may be mended by trying again is not known to be wrong."""
    name = RUNGS[min(len(ladder.rungs), len(RUNGS) - 1)]
    if ladder.rungs and ladder.rungs[-1].ok is not True:
        return
    ladder.transient = not trouble.permanent
    known = trouble.permanent and not trouble.untestable
    ladder.add(Rung(name, False if known else None, trouble.sentence, 0.0, {"code": trouble.code}, tuple(trouble.log)))


def _climb(ladder: _Ladder, backup: Backup, work: RunWork) -> None:
    if backup.pruned_at:
        raise Trouble("This backup was pruned before its test began. Test a newer one.", code="pruned", untestable=True)
    manifest = Manifest.from_json(backup.manifest or {})
    ladder.engine = manifest.engine
    where = backup.store or backup.plan.store
    store, engine = store_of(where.place()), engine_of(manifest.engine)
    if not ladder.add(_ran(backup)) or not ladder.add(_is_there(ladder, backup, store, work)):
        return
    stage = "reading the copy"
    opener = Opener(store, backup.object_key, cipher.identity(), lambda done: work.progress(stage, done, backup.size))
    if not _intact_and_readable(ladder, backup, store, engine, opener, manifest, work):
        return
    stage = "restoring"
    began = time.monotonic()
    for rung in engine.rehearse(opener, manifest, work):
        if rung.name == "restored":
            ladder.restore_seconds = time.monotonic() - began
            stage = "comparing"
        if rung.name == "complete" and rung.ok is not None:
            ladder.compared, ladder.compared_total = compared(manifest, rung)
        if not ladder.add(rung):
            return


def _ran(backup: Backup) -> Rung:
    took = (
        (backup.finished_at - backup.started_at).total_seconds() if backup.finished_at and backup.started_at else None
    )
    return Rung(
        "ran",
        True,
        f"The backup of {words.moment(backup.slot)} ended well in {words.took(took)}: every stage and every line.",
        0.0,
        {"attempt": backup.attempt, "seconds": took, "stages": backup.timings, "raw_bytes": backup.raw_bytes},
    )


def _is_there(ladder: _Ladder, backup: Backup, store: Store, work: RunWork) -> Rung:
    work.progress("asking the store")
    began = time.monotonic()
    there = store.stat(backup.object_key)
    seconds = time.monotonic() - began
    if there is None:
        ladder.gone = "missing"
        said = f"{backup.object_key} is not in the store any more. Find out who deleted it, and back up now."
        return Rung("is there", False, said, seconds)
    figures = {"size": there.size, "recorded": backup.size, "version_id": there.version_id}
    if there.size != backup.size:
        ladder.gone = "size"
        said = f"The object has {there.size:,} bytes where {backup.size:,} were stored: it was changed. Back up now."
        return Rung("is there", False, said, seconds, figures)
    if there.version_id and backup.version_id and there.version_id != backup.version_id:
        ladder.gone = "version"
        said = "The object was written over: the store shows another version than the one we sent. Back up now."
        return Rung("is there", False, said, seconds, figures)
    if there.locked_until:
        figures["locked_until"] = there.locked_until.isoformat()
    return Rung("is there", True, f"The store lists it with {words.size(there.size)}, as recorded.", seconds, figures)


def _intact_and_readable(
    ladder: _Ladder,
    backup: Backup,
    store: Store,
    engine: Engine,
    opener: Opener,
    manifest: Manifest,
    work: RunWork,
) -> bool:
    """Add "bytes intact" and "readable" from one reading; when that reading fails, a second tells which it was."""
    began = time.monotonic()
    trouble: Trouble | None = None
    said = ""
    try:
        said = engine.read(opener, manifest, work)
        if not opener.sha256:  # the engine stopped before the object's end: the digest needs the very last byte
            with opener() as archive:
                while archive.read(CHUNK):
                    pass
        sha256, size = opener.sha256, opener.size
    except Trouble as error:
        if not error.permanent:
            raise
        trouble = error
        sha256, size = _digest(store, backup, work)
    seconds = time.monotonic() - began
    figures = {"sha256": sha256, "recorded": backup.sha256, "bytes": size}
    if sha256 != backup.sha256:
        ladder.gone = "digest"
        return ladder.add(
            Rung(
                "bytes intact",
                False,
                "The object in the store is not the one that was sent: its SHA-256 differs. Bytes were changed there. "
                "Find out who can write to the store, and back up now.",
                seconds,
                figures,
            )
        )
    ladder.add(
        Rung(
            "bytes intact", True, f"All {words.size(size)} were read again; the SHA-256 is the same.", seconds, figures
        )
    )
    if trouble is not None:
        ok = None if trouble.untestable else False
        return ladder.add(Rung("readable", ok, trouble.sentence, seconds, {"code": trouble.code}, tuple(trouble.log)))
    return ladder.add(Rung("readable", True, said, seconds))


def _digest(store: Store, backup: Backup, work: RunWork) -> tuple[str, int]:
    digest, done = hashlib.sha256(), 0
    try:
        with store.open(backup.object_key) as stream:
            while piece := stream.read(CHUNK):
                digest.update(piece)
                done += len(piece)
                work.progress("reading the copy again", done, backup.size)
    except StoreTrouble as error:
        if not error.permanent:
            raise
        return "", done
    return digest.hexdigest(), done


def compared(manifest: Manifest, rung: Rung) -> tuple[list[list[Any]], int]:
    """Give [name, recorded count, restored count, digests equal] of each table or file, and how many there are.

    An engine says what it counted in figures["compared"]; a rung that holds without it found exactly the manifest.
    """
    rows = rung.figures.get("compared")
    if rows is None:
        rows = [[m.name, m.count, m.count if rung.ok else None, True if rung.ok else None] for m in manifest.members]
    ordered = sorted(rows, key=lambda row: (row[3] is True and row[1] == row[2], str(row[0])))
    return [list(row) for row in ordered[:SHOWN]], len(rows)


def _settle(test: RestoreTest, ladder: _Ladder, tools: dict[str, str], raw: list[str], now: datetime) -> None:
    backup, verdict = test.backup, ladder.verdict
    bad = next((number for number, rung in enumerate(ladder.rungs, 1) if rung.ok is not True), None)
    again = verdict != "proven" and ladder.transient
    if again and test.attempt < test.attempts:
        test.settle(now=now, error=ladder.rungs[-1].said, again=True, stage="", log=raw)
        return
    age = (now - backup.taken_at).total_seconds() if backup.taken_at else None
    rungs = [_short(rung) for rung in ladder.rungs]
    rungs += [Rung(name, None, "Not reached.", 0.0).to_json() for name in RUNGS[len(rungs) :]]
    with transaction.atomic():
        settled = test.settle(
            now=now,
            # A test that came to a verdict is done, whatever the verdict: the verdict is what it was for.
            stage="",
            verdict=verdict,
            rungs=rungs,
            compared=ladder.compared,
            compared_total=ladder.compared_total,
            said=_said(ladder, verdict, age),
            tools=tools,
            restore_seconds=ladder.restore_seconds if verdict == "proven" else None,
            data_age_seconds=age,
            log=raw,
        )
        if not settled:
            return
        if ladder.gone:
            Backup.objects.filter(pk=backup.pk, lost_at=None).update(lost_at=now, lost_why=ladder.gone)
        if verdict == "proven":
            Backup.objects.filter(pk=backup.pk).update(proven_at=now)
        _tell_plan(test, ladder, verdict, bad, now)
        judge_now(test.plan_id, now=now)


def _tell_plan(test: RestoreTest, ladder: _Ladder, verdict: str, bad: int | None, now: datetime) -> None:
    """Write what the plan's list shows; a test of an older backup never hides what is known of a newer one."""
    plan = Plan.everything.select_for_update().get(pk=test.plan_id)
    taken = test.backup.taken_at
    newer = (
        plan.restore_tests.settled()
        .filter(backup__taken_at__gt=taken, backup__taken_at__lte=now)
        .exclude(pk=test.pk)
        .exists()
    )
    soon = min(AGAIN_SOON, plan.prove_every)
    fields: dict[str, Any] = {"judge_at": now, "proof_due_at": now + (soon if newer or bad else plan.prove_every)}
    if not newer:
        fields["proven_rungs"] = len(RUNGS) if bad is None else bad - 1
        fields["failed_rung"] = bad if verdict == "failed" else None
    before = plan.proven_taken_at
    if verdict == "proven" and (before is None or taken >= before or before > now):
        fields |= {"proven_at": now, "proven_taken_at": taken, "proven_seconds": ladder.restore_seconds}
    if ladder.gone:
        fields = after_loss(plan) | fields
    Plan.everything.filter(pk=plan.pk).update(**fields)


def _said(ladder: _Ladder, verdict: str, age: float | None) -> str:
    last = ladder.rungs[-1]
    if verdict == "proven":
        what = "file" if ladder.engine == "directory" else "table"
        equal = "equals its record" if ladder.compared_total == 1 else "equal their record"
        many = f"{words.plural(ladder.compared_total, what)} {equal}"
        back = words.took(ladder.restore_seconds)
        return f"Restored in {back} from data {words.took(age)} old, and {many}."
    return f"Stopped at “{last.name}”: {last.said}"


def _short(rung: Rung) -> dict[str, Any]:
    """Return a rung for the record, without the list that `compared` keeps."""
    data = rung.to_json()
    data["figures"].pop("compared", None)
    return data
