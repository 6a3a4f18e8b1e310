"""An object that somebody replaced in the store decrypts well, and still nothing of it is restored or handed out."""

import io
from pathlib import Path

import pytest

from apps.backups import cipher, pipeline
from apps.backups import services as backups
from apps.backups.engines.base import Target
from apps.backups.facts import StoreTrouble
from apps.backups.models import Backup
from apps.backups.recorded import opened_as_recorded
from apps.backups.stores import store_of
from apps.people.models import Role
from tests.backups.factories import World, world

pytestmark = pytest.mark.django_db


@pytest.fixture
def made(tmp_path: Path) -> World:
    """Return a plan with one backup."""
    made = world(tmp_path)
    made.back_up()
    return made


def forge(made: World, content: bytes) -> Backup:
    """Put another archive in the place of the only backup, encrypted to the public key as anybody can."""
    backup: Backup = Backup.objects.get()
    store = store_of(made.store.place())
    pipeline.send(
        io.BytesIO(content),
        store=store,
        key=backup.object_key,
        recipients=[cipher.recipient()],
        progress=lambda _sent: None,
    )
    return backup


def test_a_replaced_archive_of_the_same_kind_is_not_restored(made: World) -> None:
    content = bytearray(made.file.read_bytes())
    content[-1] ^= 1
    backup = forge(made, bytes(content))
    restore = made.restore(backup, made.folder / "new.sqlite3")
    assert restore.state == "failed"
    assert "is not the object that was stored" in restore.error
    assert not (made.folder / "new.sqlite3").exists()


def test_a_replaced_archive_is_never_downloaded_as_if_it_were_whole(made: World) -> None:
    backup = forge(made, b"#!/bin/sh\necho owned\n")
    with pytest.raises(StoreTrouble, match="is not the object that was stored"):
        list(backups.decrypted(actor=made.owner, backup=backup))


def test_an_archive_that_expands_beyond_its_record_stops_at_once(made: World) -> None:
    backup = forge(made, b"\0" * 300_000_000)  # a few kilobytes in the store
    assert backup.raw_bytes is not None
    store, taken = store_of(made.store.place()), 0

    def take() -> None:
        nonlocal taken
        with opened_as_recorded(store, backup, cipher.identity()) as archive:
            while piece := archive.read(1024 * 1024):
                taken += len(piece)

    with pytest.raises(StoreTrouble, match="is not the object that was stored"):
        take()
    assert taken <= backup.raw_bytes + 1024 * 1024


@pytest.mark.parametrize("change", [{"is_active": False}, {"role": Role.MEMBER}, {"role": Role.VIEWER}])
def test_a_restore_asked_for_by_somebody_who_may_not_any_more_is_not_done(
    made: World, change: dict[str, object]
) -> None:
    there = made.folder / "new.sqlite3"
    asked = backups.ask_restore(
        actor=made.owner, backup=Backup.objects.get(), target=Target("sqlite", {"path": str(there)}, {}), now=made.now
    )
    type(made.owner).objects.filter(pk=made.owner.pk).update(**change)
    backups.restore(asked.pk, clock=made.clock)
    asked.refresh_from_db()
    assert asked.state == "failed"
    assert "may not do so any more" in asked.error
    assert not there.exists()
