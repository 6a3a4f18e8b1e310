"""Taking backups: slots, catch-up, one at a time, verified copies, failures told, nothing left behind."""

import hashlib
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import pytest

from apps.backups import cipher
from apps.backups import services as backups
from apps.backups.engines import sqlite
from apps.backups.facts import EngineTrouble, StoreTrouble
from apps.backups.models import Backup, Leftover, Plan, RestoreTest
from apps.backups.services.perform import key_of, run_of
from apps.backups.stores.local import LocalStore
from apps.core.identity import identity_path
from tests.backups.factories import DAILY, NOW, World, execute, world

pytestmark = pytest.mark.django_db


@pytest.fixture
def made(tmp_path: Path) -> World:
    """Return a plan that was just made."""
    return world(tmp_path)


def clean(made: World) -> None:
    """Assert that nothing is left but what the catalogue promises."""
    promised = set(Backup.objects.good().values_list("object_key", flat=True))
    root = Path(made.store.config["path"])
    assert {str(path.relative_to(root)) for path in made.objects()} == promised
    assert not Leftover.objects.filter(removed_at=None).exists()


def test_a_backup_is_whole_verified_and_catalogued(made: World) -> None:
    backup = made.back_up()
    assert (backup.state, backup.error) == ("done", "")
    (file,) = made.objects()
    assert backup.size == file.stat().st_size
    assert backup.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert backup.recipients == [cipher.recipient()]
    assert (backup.members, backup.rows) == (2, 1000)
    assert backup.manifest is not None
    assert set(backup.timings) == {"copying", "counting", "reading back"}
    assert backup.stage == ""
    plan = made.reload()
    assert (plan.last_backup_at, plan.last_bytes) == (backup.taken_at, backup.size)
    clean(made)


def test_the_object_opens_with_age_and_zstd_alone(made: World, tmp_path: Path) -> None:
    made.back_up()
    (file,) = made.objects()
    key = tmp_path / "key.txt"
    key.write_text(cipher.identity())
    sealed = subprocess.run(["age", "-d", "-i", str(key), str(file)], check=True, capture_output=True).stdout
    plain = subprocess.run(["zstd", "-d"], input=sealed, check=True, capture_output=True).stdout
    copy = tmp_path / "copy.sqlite3"
    copy.write_bytes(plain)
    with sqlite3.connect(copy) as database:
        assert database.execute("SELECT count(*) FROM things_0").fetchone() == (500,)
    database.close()


def test_the_first_backup_asks_for_its_proof_at_once_and_the_next_only_when_it_is_due(made: World) -> None:
    first = made.back_up()
    test = RestoreTest.objects.get()
    assert (test.backup_id, test.state, test.trigger) == (first.pk, "waiting", "schedule")
    assert made.prove().verdict == "proven"
    made.back_up()
    assert RestoreTest.objects.count() == 1
    made.clock.on(days=6, hours=13)
    made.back_up()
    assert RestoreTest.objects.count() == 2


def test_a_slot_becomes_one_backup_however_many_ticks_look(made: World) -> None:
    due = made.due
    for _ in range(3):
        backups.take_slots(due)
    backup = Backup.objects.get()
    assert (backup.slot, backup.missed, backup.trigger) == (due, 0, "schedule")
    assert made.due == due + timedelta(days=1)


def test_what_was_due_while_everything_was_down_is_caught_up_once(made: World) -> None:
    due = made.due
    made.clock.at = due + timedelta(days=5, hours=3)
    backups.take_slots(made.now)
    backup = Backup.objects.get()
    assert (backup.slot, backup.missed) == (due, 5)
    backups.perform(backup.pk, clock=made.clock)
    backups.take_slots(made.clock.on(seconds=10))
    assert Backup.objects.count() == 1
    assert made.due == due + timedelta(days=6)


def test_a_slot_that_falls_due_while_a_run_is_on_is_written_down_with_it(made: World) -> None:
    backups.back_up_now(actor=made.owner, plan=made.plan, now=NOW)
    backups.take_slots(made.due)
    backup = Backup.objects.get()
    assert (backup.trigger, backup.missed) == ("person", 1)
    assert made.due > made.plan.expected_from + timedelta(days=1)


def test_many_plans_due_at_one_moment_are_spread(made: World) -> None:
    spec = backups.PlanSpec("x", made.source, made.store, made.owner, DAILY)
    for number in range(4):
        backups.plan(actor=None, spec=replace(spec, name=f"p{number}"), now=NOW)
    backups.take_slots(made.due)
    moments = sorted(Backup.objects.values_list("due_at", flat=True))
    assert len(set(moments)) == 5
    assert moments[-1] - moments[0] <= timedelta(minutes=5)


def test_one_broken_plan_does_not_stop_the_others(made: World) -> None:
    Plan.objects.create(
        name="Broken",
        source=made.source,
        store=made.store,
        schedule={"kind": "moon"},
        next_due_at=NOW,
        owner=made.owner,
    )
    backups.take_slots(made.due)
    assert list(Backup.objects.values_list("plan__name", flat=True)) == ["Shop"]


def test_a_source_that_is_gone_is_a_failure_with_a_sentence_and_leaves_nothing(made: World) -> None:
    good = made.back_up()
    made.file.unlink()
    failed = made.back_up()
    assert failed.state == "failed"
    assert failed.error.endswith(".")
    assert str(made.file) in failed.error or "not" in failed.error
    assert failed.trouble_code
    assert made.reload().last_backup_at == good.taken_at
    clean(made)


def test_a_failure_that_may_pass_is_tried_again_later_and_then_told(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: LocalStore, key: str, *_: Any, **__: Any) -> None:
        raise StoreTrouble("The store is away.", code="away", permanent=False)

    monkeypatch.setattr(LocalStore, "put", refuse)
    backup = made.back_up()
    assert (backup.state, backup.attempt, backup.error) == ("waiting", 1, "The store is away.")
    while backup.state == "waiting":
        made.clock.at = backup.due_at
        backups.perform(backup.pk, clock=made.clock)
        backup.refresh_from_db()
    assert (backup.state, backup.attempt) == ("failed", Backup.attempts)
    monkeypatch.undo()
    assert made.judge() == ["backups.failed"]
    clean(made)


def test_a_copy_that_differs_from_what_was_sent_does_not_count_and_is_deleted(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LocalStore.open

    @contextmanager
    def rotten(self: LocalStore, key: str) -> Iterator[IO[bytes]]:
        path = Path(self._path) / key
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with real(self, key) as stream:
            yield stream

    monkeypatch.setattr(LocalStore, "open", rotten)
    backup = made.back_up()
    assert (backup.state, backup.trouble_code) == ("waiting", "copy-differs")
    clean(made)


def test_a_store_that_loses_the_object_at_once_is_not_believed(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalStore, "stat", lambda *_: None)
    backup = made.back_up()
    assert (backup.state, backup.trouble_code) == ("waiting", "not-there")
    clean(made)


def test_a_mistake_of_our_own_is_told_without_its_text(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: LocalStore, key: str) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(LocalStore, "stat", broken)
    backup = made.back_up()
    assert backup.trouble_code == "mistake"
    assert "hunter2" not in backup.error
    assert "RuntimeError" in backup.error
    clean(made)


def test_a_stopped_run_ends_at_once_cleans_up_and_raises_no_alarm(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    good = made.proven()
    real = LocalStore.stat

    def stop_now(self: LocalStore, key: str) -> Any:
        run = Backup.objects.get(state="running")
        backups.stop(actor=made.owner, run=run, now=made.now)
        return real(self, key)

    monkeypatch.setattr(LocalStore, "stat", stop_now)
    stopped = made.back_up()
    monkeypatch.undo()
    assert (stopped.state, stopped.error, stopped.trouble_code) == ("failed", "Stopped by Ana.", "stopped")
    assert made.reload().last_backup_at == good.taken_at
    clean(made)
    assert made.judge() == []
    with pytest.raises(backups.Refused, match="already ended"):
        backups.stop(actor=made.owner, run=stopped)


def test_a_worker_that_lost_its_lease_removes_its_own_object_and_writes_nothing(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LocalStore.stat
    taken_over: list[Backup] = []

    def overtaken(self: LocalStore, key: str) -> Any:
        if not taken_over:
            run = Backup.objects.get(state="running")
            made.clock.on(minutes=5)  # the lease is over
            taken_over.append(run)
            backups.perform(run.pk, clock=made.clock)  # the successor
        return real(self, key)

    monkeypatch.setattr(LocalStore, "stat", overtaken)
    backup = made.back_up()
    assert (backup.state, backup.attempt) == ("done", 2)
    assert "-2.sqlite3" in backup.object_key
    clean(made)


def test_a_run_whose_worker_died_each_time_is_failed_and_its_objects_are_removed(made: World) -> None:
    backup = backups.back_up_now(actor=made.owner, plan=made.plan, now=made.now)
    for attempt in range(1, Backup.attempts + 1):
        claimed = Backup.claim(backup.pk, now=made.clock.on(minutes=5), worker="dead")
        assert claimed is not None
        key = key_of(claimed, ".sqlite3")
        path = Path(made.store.config["path"]) / key
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"whole, but never catalogued")
        assert claimed.attempt == attempt
    made.clock.on(minutes=5)
    backups.perform(backup.pk, clock=made.clock)
    backup.refresh_from_db()
    assert (backup.state, backup.trouble_code) == ("failed", "worker-died")
    clean(made)


def test_every_attempt_has_a_key_of_its_own(made: World) -> None:
    run = Backup(plan=made.plan, slot=NOW, attempt=1)
    again = Backup(pk=run.pk, plan=made.plan, slot=NOW, attempt=2)
    assert key_of(run, ".tar") != key_of(again, ".tar")
    assert run_of(key_of(run, ".tar")) == run.pk
    assert run_of("somebody/elses.file") is None


def test_a_plan_removed_in_the_middle_leaves_no_object_that_nobody_knows(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LocalStore.stat

    def removed(self: LocalStore, key: str) -> Any:
        if made.plan.removed_at is None:
            backups.remove_plan(actor=made.owner, plan=made.plan, typed="Shop", now=made.now)
        return real(self, key)

    monkeypatch.setattr(LocalStore, "stat", removed)
    backup = made.back_up()
    assert backup.state == "failed"
    clean(made)


def test_an_empty_database_is_taken_and_told(made: World) -> None:
    execute(made.file, "DROP TABLE things_0", "DROP TABLE things_1")
    backup = made.back_up()
    if backup.state == "done":
        assert "backups.empty" in made.judge()
    else:
        assert backup.error


def test_without_the_key_nothing_is_read_and_the_sentence_says_which_key(made: World) -> None:
    path, aside = identity_path(), identity_path().with_name("aside")
    path.rename(aside)
    try:
        backup = made.back_up()
    finally:
        aside.rename(path)
    assert backup.state == "failed"
    assert "recovery key" in backup.error
    clean(made)


def test_an_engine_that_says_nothing_at_the_end_is_no_backup(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def bad_end(self: Any) -> None:
        raise EngineTrouble("The dump ended with an error.", code="dump")

    monkeypatch.setattr(sqlite._Dump, "finish", bad_end)
    backup = made.back_up()
    assert (backup.state, backup.error) == ("failed", "The dump ended with an error.")
    clean(made)


def test_a_run_that_is_not_due_or_taken_is_left_alone(made: World) -> None:
    backup = backups.back_up_now(actor=made.owner, plan=made.plan, now=made.now)
    Backup.claim(backup.pk, now=made.now, worker="another")
    backups.perform(backup.pk, clock=made.clock)
    backup.refresh_from_db()
    assert (backup.state, backup.worker) == ("running", "another")
