"""Restoring into a new, empty place, and the decrypted download."""

import json
import sqlite3
from pathlib import Path

import pytest

from apps.backups import services as backups
from apps.backups.engines.base import Target
from apps.backups.models import Backup, Restore
from apps.people.models import AuditEntry
from tests.backups.factories import World, world

pytestmark = pytest.mark.django_db


@pytest.fixture
def made(tmp_path: Path) -> World:
    """Return a plan with one backup."""
    made = world(tmp_path)
    made.back_up()
    return made


def test_a_backup_is_restored_into_a_new_file_and_written_down(made: World) -> None:
    there = made.folder / "new.sqlite3"
    restore = made.restore(Backup.objects.get(), there)
    assert (restore.state, restore.error) == ("done", "")
    assert restore.said.endswith(".")
    with sqlite3.connect(there) as database:
        assert database.execute("SELECT count(*) FROM things_1").fetchone() == (500,)
    database.close()
    verbs = list(AuditEntry.objects.order_by("seq").values_list("verb", flat=True))
    assert verbs[-2:] == ["backups.restore_asked", "backups.restored"]


def test_a_place_that_exists_and_the_source_itself_are_refused_untouched(made: World) -> None:
    before = made.file.read_bytes()
    restore = made.restore(Backup.objects.get(), made.file)
    assert restore.state == "failed"
    assert "source itself" in restore.error
    link = made.folder / "link.sqlite3"
    link.symlink_to(made.file)
    assert made.restore(Backup.objects.get(), link).state == "failed"
    other = made.folder / "other.sqlite3"
    other.write_bytes(b"mine")
    assert made.restore(Backup.objects.get(), other).state == "failed"
    assert made.file.read_bytes() == before
    assert other.read_bytes() == b"mine"


def test_a_restore_works_when_the_source_is_gone(made: World) -> None:
    made.file.unlink()
    assert made.restore(Backup.objects.get(), made.folder / "new.sqlite3").state == "done"


def test_a_restore_whose_worker_died_is_not_done_twice(made: World) -> None:
    target = Target("sqlite", {"path": str(made.folder / "new.sqlite3")}, {})
    asked = backups.ask_restore(actor=made.owner, backup=Backup.objects.get(), target=target, now=made.now)
    assert Restore.claim(asked.pk, now=made.now, worker="dead")
    made.clock.on(minutes=5)
    backups.restore(asked.pk, clock=made.clock)
    asked.refresh_from_db()
    assert asked.state == "failed"
    assert "new place may hold a part" in asked.error
    assert not (made.folder / "new.sqlite3").exists()


def test_the_password_of_the_new_place_is_forgotten_at_the_end(made: World) -> None:
    target = Target("sqlite", {"path": str(made.folder / "new.sqlite3")}, {"password": "hunter2"})
    asked = backups.ask_restore(actor=made.owner, backup=Backup.objects.get(), target=target, now=made.now)
    assert json.loads(Restore.objects.get().secret) == {"password": "hunter2"}
    backups.restore(asked.pk, clock=made.clock)
    assert Restore.objects.get().secret is None
    assert not AuditEntry.objects.filter(detail_json__contains="hunter2").exists()


def test_a_place_of_another_kind_and_a_pruned_backup_are_refused_at_once(made: World) -> None:
    backup = Backup.objects.get()
    with pytest.raises(backups.Refused, match="same kind"):
        backups.ask_restore(actor=made.owner, backup=backup, target=Target("postgresql", {}, {}), now=made.now)
    backup.pruned_at = made.now
    with pytest.raises(backups.Refused, match="pruned"):
        backups.ask_restore(actor=made.owner, backup=backup, target=Target("sqlite", {"path": "/x"}, {}), now=made.now)


def test_the_download_is_the_plain_file_and_written_down_before_its_first_byte(made: World) -> None:
    pieces = backups.decrypted(actor=made.owner, backup=Backup.objects.get())
    assert AuditEntry.objects.filter(verb="backups.downloaded").count() == 1
    data = b"".join(pieces)
    assert data.startswith(b"SQLite format 3\0")
    stopped = backups.decrypted(actor=made.owner, backup=Backup.objects.get())
    next(stopped)
    stopped.close()  # type: ignore[attr-defined]


def test_a_damaged_object_restores_nothing(made: World) -> None:
    (file,) = made.objects()
    data = bytearray(file.read_bytes())
    data[-30] ^= 1
    file.write_bytes(data)
    restore = made.restore(Backup.objects.get(), made.folder / "new.sqlite3")
    assert restore.state == "failed"
    assert not (made.folder / "new.sqlite3").exists()
