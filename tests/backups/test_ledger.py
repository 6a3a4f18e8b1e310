"""The ledger: what a run leaves is written down first, and gone in the end whoever was killed whenever."""

import os
import socket
import stat
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import DatabaseError

from apps.backups import ledger
from apps.backups.facts import LostLease, Trouble
from apps.backups.ledger import RunWork, scratch_folder, sweep_leftovers
from apps.backups.models import Backup, Leftover, Store
from tests.backups.factories import Clock
from tests.core.rows import backup, process

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def claimed(clock: Clock) -> Backup:
    """Return a run that was just claimed."""
    run = Backup.claim(backup(clock()).pk, now=clock(), worker="a")
    assert run is not None
    return run


def rows() -> list[tuple[str, bool]]:
    """Return (kind, removed) of the ledger."""
    return [(row.kind, row.removed_at is not None) for row in Leftover.objects.order_by("created_at", "pk")]


def test_a_run_has_a_folder_of_its_own_and_leaves_none() -> None:
    clock = Clock()
    with RunWork(claimed(clock), clock=clock) as work:
        assert stat.S_IMODE(work.folder.stat().st_mode) == 0o700
        assert rows() == [("folder", False)]
        (work.folder / "deep" / "er").mkdir(parents=True)
        (work.folder / "deep" / "er" / "file").touch()
        (work.folder / "deep").chmod(0o000)
    assert not work.folder.exists()
    assert rows() == [("folder", True)]


def test_a_run_that_fails_leaves_none_either() -> None:
    clock = Clock()
    work = RunWork(claimed(clock), clock=clock)

    def fail() -> None:
        with work:
            (work.folder / "file").touch()
            raise Trouble("It broke.")

    with pytest.raises(Trouble, match="It broke"):
        fail()
    assert not work.folder.exists()
    assert rows() == [("folder", True)]


def test_progress_is_written_at_once_for_a_new_stage_and_then_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, tick = Clock(), [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: tick[0])
    run = claimed(clock)
    with RunWork(run, clock=clock) as work:
        work.progress("dumping", 10, 100)
        began = clock()
        clock.on(seconds=1)
        tick[0] += 1
        work.progress("dumping", 20, 100)
        assert Backup.objects.get(pk=run.pk).bytes_done == 10
        clock.on(seconds=1.5)
        tick[0] += 1.5
        work.progress("dumping", 30, 100)
        seen = Backup.objects.get(pk=run.pk)
        assert (seen.stage, seen.stage_at, seen.bytes_done, seen.bytes_total) == ("dumping", began, 30, 100)
        assert seen.lease_until == clock() + Backup.lease
        work.progress("counting")
        seen = Backup.objects.get(pk=run.pk)
        assert (seen.stage, seen.stage_at, seen.bytes_done, seen.bytes_total) == ("counting", clock(), 0, None)


def test_a_run_that_belongs_to_a_successor_stops() -> None:
    clock = Clock()
    run = claimed(clock)
    work = RunWork(run, clock=clock)
    with work:
        assert Backup.claim(run.pk, now=clock.on(minutes=5), worker="b") is not None
        with pytest.raises(LostLease):
            work.progress("dumping")
    assert not work.folder.exists()


def test_a_database_that_cannot_be_written_for_a_moment_is_borne_while_the_lease_lasts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, tick = Clock(), [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: tick[0])
    run = claimed(clock)
    with RunWork(run, clock=clock) as work:

        def broken(**_: object) -> bool:
            raise DatabaseError

        monkeypatch.setattr(run, "renew", broken)
        work.progress("dumping")
        tick[0] += Backup.lease.total_seconds()
        with pytest.raises(LostLease):
            work.progress("dumping", 1)


def test_deadlines_move_with_the_lease_but_never_past_their_end() -> None:
    clock = Clock()
    with RunWork(claimed(clock), clock=clock) as work, work.leaves("socket", "/x", within=timedelta(minutes=10)):
        first = Leftover.objects.get(kind="socket").deadline
        assert first == clock() + Backup.lease * 1.5
        clock.on(minutes=1.5)
        work.progress("dumping")
        assert Leftover.objects.get(kind="socket").deadline == first + timedelta(minutes=1.5)
        clock.on(minutes=8)
        work.progress("counting")
        assert Leftover.objects.get(kind="socket").deadline == first - Backup.lease * 1.5 + timedelta(minutes=10)


def test_only_what_is_past_its_deadline_is_swept() -> None:
    clock = Clock()
    run = claimed(clock)
    work = RunWork(run, clock=clock)
    work.__enter__()  # and then its worker is gone
    (work.folder / "copy").write_text("data")
    assert sweep_leftovers(clock()) == 0
    assert work.folder.exists()
    assert sweep_leftovers(clock.on(minutes=4)) == 1
    assert not work.folder.exists()
    assert rows() == [("folder", True)]
    assert sweep_leftovers(clock.on(minutes=4)) == 0


def left(kind: str, where: str, clock: Clock) -> Leftover:
    """Write a row whose deadline is over."""
    made: Leftover = Leftover.objects.create(
        run_id="01900000-0000-7000-8000-000000000000", kind=kind, where=where, deadline=clock() - timedelta(minutes=1)
    )
    return made


@pytest.mark.parametrize(
    "where", ["/etc", "/", "relative", "{keys}", "{data}", "{scratch}", "{scratch}/..", "{link}/etc"]
)
def test_a_row_of_the_database_never_removes_anything_but_scratch(where: str) -> None:
    clock = Clock()
    home = Path(settings.MAINSTAY_DATA) / "scratch"
    home.mkdir(exist_ok=True)
    if not (home / "way").is_symlink():
        (home / "way").symlink_to("/")
    path = where.format(keys=settings.MAINSTAY_KEYS, data=settings.MAINSTAY_DATA, scratch=home, link=home / "way")
    row = left("folder", path, clock)
    assert sweep_leftovers(clock()) == 0
    row.refresh_from_db()
    assert "left alone" in row.error
    assert Path("/etc/passwd").exists()
    assert Path(settings.MAINSTAY_KEYS, "ring.json").exists()


def test_one_bad_row_stops_no_other(tmp_path: Path) -> None:
    clock = Clock()
    scratch_folder().mkdir(parents=True, exist_ok=True)
    folder = scratch_folder() / "dead-1"
    folder.mkdir()
    left("no such kind", "x", clock)
    left("scratch-server", "not json", clock)
    left("upload", "{}", clock)
    left("folder", str(folder), clock)
    assert sweep_leftovers(clock()) == 1
    assert not folder.exists()
    assert Leftover.objects.filter(removed_at=None).exclude(error="").count() == 3


def test_a_socket_is_removed_and_a_file_in_its_place_is_not() -> None:
    clock = Clock()
    folder = Path(settings.MAINSTAY_DATA) / "scratch" / "s"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").touch()
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(folder)
        listener.bind("sock")
        os.chdir(here)
    for name in ("sock", "file", "gone"):
        left("socket", str(folder / name), clock)
    assert sweep_leftovers(clock()) == 2
    assert [each.name for each in folder.iterdir()] == ["file"]


def test_an_upload_of_a_dead_worker_is_removed_and_a_catalogued_backup_is_not(tmp_path: Path) -> None:
    clock = Clock()
    (tmp_path / "store").mkdir()
    run = claimed(clock)
    store = Store.objects.create(name="here", kind="local", config={"path": str(tmp_path / "store")})
    Backup.objects.filter(pk=run.pk).update(state="done", object_key="kept", store=store)
    for name in ("kept", "orphan", ".orphan.0123456789ab.partial"):
        (tmp_path / "store" / name).touch()
        os.utime(tmp_path / "store" / name, (0, 0))
    for key in ("kept", "orphan"):
        left("upload", f'{{"store": "{store.pk}", "prefix": "{key}"}}', clock)
    assert sweep_leftovers(clock()) == 2
    assert [each.name for each in (tmp_path / "store").iterdir()] == ["kept"]


def test_what_a_block_that_failed_did_not_remove_is_removed_at_once() -> None:
    clock = Clock()
    scratch_folder().mkdir(parents=True, exist_ok=True)
    folder = scratch_folder() / "half"
    with RunWork(claimed(clock), clock=clock) as work:

        def fail() -> None:
            with work.leaves("folder", str(folder), within=timedelta(hours=1)):
                folder.mkdir()
                raise ValueError("half")

        with pytest.raises(ValueError, match="half"):
            fail()
        assert not folder.exists()
        assert sorted(rows()) == [("folder", False), ("folder", True)]  # two of one moment, in either order


KILLED = """
from datetime import datetime, timedelta
from apps.backups.models import Backup
from apps.backups.ledger import RunWork
run = Backup.claim(sys.argv[1], now=datetime.fromisoformat(sys.argv[2]), worker="killed")
with RunWork(run, clock=lambda: datetime.fromisoformat(sys.argv[2])) as work:
    work.progress("restoring", 1, 2)
    (work.folder / "copy").write_text("customers")
    print(work.folder, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_killed_leaves_nothing_behind() -> None:
    clock = Clock()
    run = backup(clock())
    worker = process(KILLED, str(run.pk), clock().isoformat())
    assert worker.stdout is not None
    folder = Path(worker.stdout.readline().strip())
    worker.kill()
    worker.communicate()
    assert (folder / "copy").exists()
    assert Backup.claim(run.pk, now=clock.on(minutes=1), worker="b") is None
    taken = Backup.claim(run.pk, now=clock.on(minutes=1.1), worker="b")
    assert taken is not None
    with RunWork(taken, clock=clock) as work:
        assert sweep_leftovers(clock.on(minutes=1)) == 1
        assert not folder.exists()
        assert work.folder.exists()  # the successor's own is not touched
    assert not Leftover.objects.filter(removed_at=None).exists()
    assert list(ledger.scratch_folder().iterdir()) == []
