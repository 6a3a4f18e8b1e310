"""What a run lends to its adapters, and the ledger of what may be left behind in the world."""

import json
import logging
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from apps.backups import scratch
from apps.backups.engines.paths import open_up
from apps.backups.facts import LostLease, Trouble
from apps.backups.models import Backup, Leftover, Store
from apps.backups.stores import store_of
from apps.core.runs import Run, State

log = logging.getLogger(__name__)

EVERY = 2.0  # seconds between two writes of progress within one stage
LONGEST = timedelta(hours=48)  # no run lives longer; its folder is removed then
SLACK = 1.5  # leases after the last renewal until a leftover may be swept: a successor can claim after one


class RunWork:
    """The Work of one attempt of a run. As a context manager it makes the run's scratch folder and removes it.

    Use it in the thread that claimed the run: progress writes to the database over that thread's connection.
    """

    def __init__(self, run: Run, *, clock: Callable[[], datetime] = timezone.now) -> None:
        """Take a run that was just claimed, and the clock."""
        self.run, self.now = run, clock
        self.tools: dict[str, str] = {}
        self.folder = scratch_folder() / f"{run.pk.hex}-{run.attempt}"
        self._stage, self._stage_at = "", clock()
        self._written = time.monotonic()
        self._told: set[str] = set()  # stages that were written once
        self._open: dict[Leftover, datetime] = {}  # row → the end that no renewal moves
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        """Write the ledger row, then make the folder (mode 0700)."""
        self._ends.enter_context(self.leaves("folder", str(self.folder), within=LONGEST))
        try:
            scratch_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
            remove_folder(str(self.folder))
            self.folder.mkdir(mode=0o700)
        except OSError as error:
            self._ends.close()
            raise Trouble(
                f"The scratch folder of this run could not be made in {scratch_folder()}: {error.strerror}. "
                "Nothing was changed. Check the data folder's disk and its owner.",
                code="no-room",
                permanent=False,
            ) from error
        self._ends.callback(remove_folder, str(self.folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the folder whatever happened, and strike it out."""
        self._ends.__exit__(kind, error, trace)

    def progress(self, stage: str, done: int | None = None, total: int | None = None) -> None:
        """Write where the run is and renew its lease: at once for a stage that is new, else about every two seconds.

        Two tellers that take turns (the archive's reader and the engine) so cost no write for each piece.

        `done` and `total` are bytes. Raises LostLease when the run is no longer ours. A database that cannot be written
        for a moment is borne while the lease lasts.
        """
        if stage in self._told and time.monotonic() - self._written < EVERY:
            return
        now = self.now()
        if stage != self._stage:
            self._stage, self._stage_at = stage, now
        try:
            kept = self.run.renew(
                now=now, stage=stage[:40], stage_at=self._stage_at, bytes_done=done or 0, bytes_total=total
            )
            if kept:
                self._postpone(now)
        except DatabaseError as error:
            if time.monotonic() - self._written > self.run.lease.total_seconds() * 0.8:
                raise LostLease from error
            log.warning("progress of run %s could not be written (%s); trying again", self.run.pk, type(error).__name__)
            return
        if not kept:
            raise LostLease
        self._written = time.monotonic()
        self._told.add(stage)

    @contextmanager
    def leaves(self, kind: str, where: str, *, within: timedelta) -> Iterator[None]:
        """Write a ledger row for the block. Its deadline moves with each renewal of the lease, up to `within` from now.

        So what a killed worker leaves is swept soon after its lease, and what a hanging one leaves after `within`.
        """
        now = self.now()
        row = Leftover(run_id=self.run.pk, kind=kind, where=where, created_at=now)
        row.deadline = self._deadline(now, now + within)
        row.save(force_insert=True)
        self._open[row] = now + within
        try:
            yield
        except GeneratorExit:
            raise  # the block was forgotten, as by a kill: the sweep has its row, and a collector asks no database
        except BaseException:
            # The block may or may not have removed it: make sure. The first error is the one that is told.
            self._open.pop(row, None)
            remove(row, now=self.now())
            raise
        self._open.pop(row, None)
        with suppress(DatabaseError):  # a row that cannot be struck out now is swept later, and nothing is found
            Leftover.objects.filter(pk=row.pk).update(removed_at=self.now())

    def _deadline(self, now: datetime, end: datetime) -> datetime:
        return min(end, now + self.run.lease * SLACK)

    def _postpone(self, now: datetime) -> None:
        for row, end in self._open.items():
            deadline = self._deadline(now, end)
            if deadline - row.deadline > self.run.lease / 4:  # not at every write
                Leftover.objects.filter(pk=row.pk, removed_at=None).update(deadline=deadline)
                row.deadline = deadline


def scratch_folder() -> Path:
    """Return where the folders of runs lie: on the data folder's disk, closed to everybody else."""
    return Path(settings.MAINSTAY_DATA) / "scratch" / "runs"


def sweep_leftovers(now: datetime) -> int:
    """Remove what is past its deadline and return how many were removed. One bad row never stops the others."""
    removed = 0
    for row in Leftover.objects.filter(removed_at=None, deadline__lt=now).order_by("deadline")[:100]:
        removed += remove(row, now=now)
    return removed


def remove(row: Leftover, *, now: datetime) -> bool:
    """Remove one leftover and strike it out; False when it is still there, which the row then says. Never raises."""
    try:
        REMOVERS[row.kind](row.where, row)
    except Exception as error:  # noqa: BLE001 one bad row never stops the others; the row and the log say why
        said = error.sentence if isinstance(error, Trouble) else f"{type(error).__name__}: {error}"
        log.warning("leftover %s %s could not be removed: %s", row.kind, row.pk, said)
        with suppress(DatabaseError):
            Leftover.objects.filter(pk=row.pk).update(error=said[:500])
        return False
    with suppress(DatabaseError):
        Leftover.objects.filter(pk=row.pk).update(removed_at=now, error="")
    return True


def remove_folder(where: str, _row: Leftover | None = None) -> None:
    """Remove a folder of a run, whatever modes a restored tree has. Anything outside the scratch folder is refused."""
    path = Path(where)
    _inside(path)
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    open_up(path)
    shutil.rmtree(path)


def _remove_socket(where: str, _row: Leftover) -> None:
    path = Path(where)
    _inside(path)
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise Trouble(f"{path} is not a socket; it was left alone.")
        path.unlink()


def _remove_server(where: str, _row: Leftover) -> None:
    scratch.sweep(where)


def _remove_upload(where: str, row: Leftover) -> None:
    """Abort what a dead attempt sent, and delete its object unless a finished backup is catalogued under that key."""
    place = json.loads(where)
    kept = Store.objects.filter(pk=place["store"]).first()
    if kept is None:
        raise Trouble(
            "The store was removed from Mainstay before this upload was cleaned up. Look for it there by hand."
        )
    store, key = store_of(kept.place()), str(place["prefix"])
    # The dead attempt renewed its lease for the last time before this; a successor begins after it.
    store.abort_stale(key, before=row.deadline - Backup.lease * (SLACK - 1))
    if not Backup.objects.filter(object_key=key, state=State.DONE).exists():
        store.delete(key)


def _inside(path: Path) -> None:
    """Raise Trouble unless a path lies in the scratch folder: a row of the database never removes anything else."""
    home = Path(os.path.realpath(Path(settings.MAINSTAY_DATA) / "scratch"))
    parent = Path(os.path.realpath(path.parent))
    if not path.is_absolute() or path.name in {"", ".", ".."} or not (parent == home or home in parent.parents):
        raise Trouble(f"{path} does not lie in the scratch folder; it was left alone.", code="not-ours")


REMOVERS: dict[str, Callable[[str, Leftover], None]] = {
    "folder": remove_folder,
    "socket": _remove_socket,
    "scratch-server": _remove_server,
    "upload": _remove_upload,
}
