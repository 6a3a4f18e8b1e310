"""What an admin may not name: Mainstay's own data folder, from which it serves pages and reads its settings."""

import threading
from pathlib import Path

import pytest
from django.conf import settings

from apps.backups.engines.base import Target
from apps.backups.facts import Checkup, StoreTrouble, Trouble
from apps.backups.models import Backup
from apps.backups.services import checking
from apps.backups.stores.base import Place
from apps.backups.stores.local import LocalStore
from tests.backups.factories import world

DATA = Path(settings.MAINSTAY_DATA)


@pytest.mark.django_db
@pytest.mark.parametrize("linked", [False, True])
def test_nothing_is_restored_into_the_data_folder(tmp_path: Path, *, linked: bool) -> None:
    made = world(tmp_path)
    made.back_up()
    (DATA / "static").mkdir(exist_ok=True)
    (tmp_path / "way").symlink_to(DATA)
    there = (tmp_path / "way" if linked else DATA) / "static" / "page.html"
    restore = made.restore(Backup.objects.get(), there)
    assert restore.state == "failed"
    assert "inside Mainstay's own data folder" in restore.error
    assert not there.exists()


@pytest.mark.parametrize("name", ["", "static", "built", "run", "static/deeper"])
@pytest.mark.parametrize("linked", [False, True])
def test_no_store_lies_among_what_mainstay_serves_and_runs(tmp_path: Path, name: str, *, linked: bool) -> None:
    (DATA / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / "way").symlink_to(DATA)
    path = (tmp_path / "way" if linked else DATA) / name
    with pytest.raises(StoreTrouble, match="own data folder"):
        LocalStore(Place("local", {"path": str(path)}, {})).check()


def test_the_folder_for_backups_in_the_data_folder_is_a_store() -> None:
    (DATA / "backups").mkdir(mode=0o700, exist_ok=True)
    assert "takes" in LocalStore(Place("local", {"path": str(DATA / "backups")}, {})).check().sentence


def test_connection_tests_that_hang_never_take_every_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    hang, begun = threading.Event(), threading.Semaphore(0)

    class Engine:
        def check(self, _target: Target) -> Checkup:
            begun.release()
            hang.wait(30)
            return Checkup("Good.")

    monkeypatch.setattr(checking, "engine_of", lambda _kind: Engine())
    target = Target("sqlite", {}, {})
    threads = [threading.Thread(target=checking.check_source, args=(target,)) for _ in range(checking.AT_ONCE)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert begun.acquire(timeout=10)
    with pytest.raises(Trouble, match="being tested already"):
        checking.check_source(target)
    hang.set()
    for thread in threads:
        thread.join(10)
    assert checking.check_source(target).sentence == "Good."
