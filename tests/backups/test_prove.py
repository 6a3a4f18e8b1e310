"""Restore tests: seven rungs, the first that fails stops, what cannot be tested is unproven, evidence is kept."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from apps.backups import services as backups
from apps.backups.engines.sqlite import SqliteEngine
from apps.backups.facts import RUNGS, EngineTrouble, Rung, StoreTrouble
from apps.backups.models import Backup, Leftover, Plan, RestoreTest
from apps.backups.services.prove import compared
from apps.backups.stores.local import LocalStore
from apps.core.identity import identity_path
from tests.backups.factories import World, changed, world

pytestmark = pytest.mark.django_db


@pytest.fixture
def made(tmp_path: Path) -> World:
    """Return a plan that was just made."""
    return world(tmp_path)


def oks(test: RestoreTest) -> list[bool | None]:
    """Return whether each rung held."""
    assert [rung["name"] for rung in test.rungs] == list(RUNGS)
    return [rung["ok"] for rung in test.rungs]


def test_a_good_backup_is_proven_rung_by_rung_with_figures(made: World) -> None:
    backup = made.back_up()
    made.clock.on(minutes=30)
    test = made.prove()
    assert (test.state, test.verdict, oks(test)) == ("done", "proven", [True] * 7)
    assert test.restore_seconds is not None
    assert test.restore_seconds > 0
    assert test.data_age_seconds == pytest.approx(1800, abs=5)
    assert test.tools
    assert test.compared == [["things_0", 500, 500, True], ["things_1", 500, 500, True]]
    assert test.compared_total == 2
    assert all(rung["said"].endswith(".") for rung in test.rungs)
    assert test.rungs[2]["figures"]["sha256"] == backup.sha256
    plan = made.plan
    assert (plan.proven_at, plan.proven_taken_at) == (made.now, backup.taken_at)
    assert (plan.proven_rungs, plan.failed_rung, plan.proven_seconds) == (7, None, test.restore_seconds)
    assert plan.proof_due_at == made.now + plan.prove_every
    backup.refresh_from_db()
    assert backup.proven_at == made.now
    assert not Leftover.objects.filter(removed_at=None).exists()


def test_a_folder_is_proven_too(tmp_path: Path) -> None:
    made = world(tmp_path, kind="directory")
    (made.file.parent / "deep" / "er").mkdir(parents=True)
    (made.file.parent / "deep" / "er" / "ünïcode.txt").write_text("hello")
    made.back_up()
    test = made.prove()
    assert (test.verdict, oks(test)) == ("proven", [True] * 7), test.said


def test_a_missing_object_fails_at_the_second_rung_and_counts_as_lost(made: World) -> None:
    backup = made.back_up()
    (file,) = made.objects()
    file.unlink()
    test = made.prove()
    assert oks(test) == [True, False, None, None, None, None, None]
    assert (test.verdict, test.state) == ("failed", "done")
    assert test.rungs[3]["said"] == "Not reached."
    backup.refresh_from_db()
    assert backup.lost_why == "missing"
    assert (made.plan.failed_rung, made.plan.proven_rungs, made.plan.last_backup_at) == (2, 1, None)
    assert made.judge()[:2] == ["backups.lost", "backups.proof_failed"]


def test_a_cut_object_fails_at_the_second_rung(made: World) -> None:
    made.back_up()
    (file,) = made.objects()
    file.write_bytes(file.read_bytes()[:-10])
    assert oks(made.prove())[:3] == [True, False, None]


@pytest.mark.parametrize("where", [0.1, 0.5, 0.99])
def test_one_flipped_bit_fails_at_the_third_rung(made: World, where: float) -> None:
    backup = made.back_up()
    (file,) = made.objects()
    data = bytearray(file.read_bytes())
    data[int(len(data) * where)] ^= 4
    file.write_bytes(data)
    test = made.prove()
    assert oks(test)[:4] == [True, True, False, None]
    assert "SHA-256" in test.said
    backup.refresh_from_db()
    assert backup.lost_why == "digest"
    assert "backups.lost" in made.judge()


def test_a_lost_key_fails_at_the_fourth_rung_and_says_which_paper_helps(made: World) -> None:
    made.back_up()
    path, aside = identity_path(), identity_path().with_name("aside")
    path.rename(aside)
    try:
        test = made.prove()
        assert "backups.key_lost" in made.judge()
    finally:
        aside.rename(path)
    assert test.verdict == "failed"
    assert "recovery key" in test.said


def test_a_row_that_was_changed_after_the_manifest_fails_at_correct(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = made.back_up()
    manifest = backup.manifest
    assert manifest is not None
    manifest["members"][0][2] = "0" * len(str(manifest["members"][0][2]))
    Backup.objects.filter(pk=backup.pk).update(manifest=manifest)
    test = made.prove()
    assert oks(test) == [True] * 6 + [False]
    assert test.verdict == "failed"
    assert made.plan.failed_rung == 7


def test_a_missing_row_fails_at_complete(made: World) -> None:
    backup = made.back_up()
    manifest = backup.manifest
    assert manifest is not None
    manifest["members"][0][1] += 1
    Backup.objects.filter(pk=backup.pk).update(manifest=manifest)
    test = made.prove()
    assert oks(test) == [True] * 5 + [False, None]
    assert "501" in test.said
    assert test.restore_seconds is None


def test_what_cannot_be_tested_here_is_unproven_and_never_green(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def rehearse(self: SqliteEngine, *_: Any) -> Any:
        yield from ()
        raise EngineTrouble("PostgreSQL 9.6 is not here. Install postgresql-9.6.", untestable=True)

    monkeypatch.setattr(SqliteEngine, "rehearse", rehearse)
    made.back_up()
    test = made.prove()
    assert (test.verdict, test.state) == ("unproven", "done")
    assert oks(test) == [True] * 4 + [None] * 3
    assert "postgresql-9.6" in test.said
    assert (made.plan.proven_at, made.plan.failed_rung, made.plan.proven_rungs) == (None, None, 4)
    assert made.judge() == ["backups.untestable"]
    assert all(claim.standing != "proven" for claim in backups.claims(made.now))


def test_an_engine_that_leaves_rungs_out_proves_nothing(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def rehearse(self: SqliteEngine, *_: Any) -> Any:
        yield Rung("restored", ok=True, said="Restored.", seconds=0.1)

    monkeypatch.setattr(SqliteEngine, "rehearse", rehearse)
    made.back_up()
    test = made.prove()
    assert test.verdict == "unproven"
    assert made.plan.proven_at is None


def test_a_store_that_is_away_is_tried_again_and_then_unproven_not_failed(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: LocalStore, key: str) -> None:
        raise StoreTrouble("The store is away.", permanent=False)

    made.back_up()
    monkeypatch.setattr(LocalStore, "stat", away)
    test = made.prove()
    assert (test.state, test.attempt, test.verdict) == ("waiting", 1, "")
    test = made.prove()
    assert (test.state, test.verdict) == ("done", "unproven")
    assert made.plan.failed_rung is None


def test_the_test_of_an_older_backup_hides_nothing_of_a_newer_one(made: World) -> None:
    old = made.proven()
    made.clock.on(days=8)
    new = made.back_up()
    next(path for path in made.objects() if str(path).endswith(new.object_key)).unlink()
    assert made.prove().verdict == "failed"
    assert made.prove(old).verdict == "proven"
    plan = made.plan
    assert plan.failed_rung == 2
    Plan.objects.update(next_due_at=None)
    backups.take_slots(made.clock.on(seconds=10))
    assert not RestoreTest.objects.active().exists(), "an older good backup is not tested at every tick"
    assert "backups.proof_failed" in made.judge()
    made.clock.on(hours=1)
    made.proven()
    assert made.judge() == []


def test_a_worker_that_died_with_every_attempt_leaves_an_unproven_test(made: World) -> None:
    made.back_up()
    waiting = RestoreTest.objects.get()
    for _ in range(RestoreTest.attempts):
        assert RestoreTest.claim(waiting.pk, now=made.clock.on(minutes=5), worker="dead")
    made.clock.on(minutes=5)
    backups.prove(waiting.pk, clock=made.clock)
    waiting.refresh_from_db()
    assert (waiting.state, waiting.verdict) == ("done", "unproven")
    assert "worker stopped" in waiting.said


def test_a_stopped_test_has_no_verdict_and_changes_nothing(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = LocalStore.stat
    made.back_up()

    def stop_now(self: LocalStore, key: str) -> Any:
        backups.stop(actor=made.owner, run=RestoreTest.objects.get(), now=made.now)
        return real(self, key)

    monkeypatch.setattr(LocalStore, "stat", stop_now)
    test = made.prove()
    assert (test.state, test.verdict, test.error) == ("failed", "", "Stopped by Ana.")
    assert made.plan.proven_at is None
    backups.take_slots(made.clock.on(seconds=10))
    assert not RestoreTest.objects.active().exists(), "a stopped test is not begun again at once"
    assert not Leftover.objects.filter(removed_at=None).exists()


def test_a_second_test_of_one_plan_is_refused(made: World) -> None:
    backup = made.back_up()
    with pytest.raises(backups.Refused, match="is on"):
        backups.test_now(actor=made.owner, backup=backup, now=made.now)


def test_a_backup_that_was_not_finished_cannot_be_tested(made: World) -> None:
    with pytest.raises(backups.Refused, match="not finished"):
        backups.test_now(actor=made.owner, backup=Backup(plan=made.plan, slot=made.now), now=made.now)


def test_the_tick_asks_for_a_proof_when_it_is_due_without_a_new_backup(made: World) -> None:
    made.proven()
    backups.pause(actor=None, plan=made.plan, now=made.now)
    backups.resume(actor=None, plan=made.plan, now=made.now)
    made.plan.__class__.objects.update(next_due_at=None)
    backups.take_slots(made.now)
    assert not RestoreTest.objects.active().exists()
    made.clock.on(days=7, minutes=1)
    backups.take_slots(made.now)
    backups.take_slots(made.now)
    assert RestoreTest.objects.active().count() == 1
    assert made.prove().verdict == "proven"


def test_long_lists_of_evidence_are_cut_with_what_differs_first() -> None:
    rows = [[f"t{n:05}", 1, 1, True] for n in range(5000)] + [["zz", 5, 4, False]]
    shown, total = compared(None, Rung("complete", ok=False, said="", seconds=0, figures={"compared": rows}))  # type: ignore[arg-type]
    assert (len(shown), total, shown[0]) == (2000, 5001, ["zz", 5, 4, False])


def test_a_backup_pruned_before_its_test_raises_no_alarm(made: World) -> None:
    backup = made.back_up()
    Backup.objects.update(pruned_at=made.now)
    assert made.prove().verdict == "unproven"
    backup.refresh_from_db()
    assert backup.lost_at is None


def test_a_backup_is_proven_by_the_engine_that_made_it_whatever_the_plan_is_now(made: World) -> None:
    backup = made.back_up()
    made.source.kind, made.source.config = "directory", {"path": str(made.folder / "source")}
    made.source.save()
    assert made.prove(backup).verdict == "proven"
    assert made.restore(backup, made.folder / "new.sqlite3").state == "done"


def test_evidence_is_never_written_over(made: World) -> None:
    made.back_up()
    test = made.prove()
    before = test.rungs
    backups.prove(test.pk, clock=made.clock)
    test.refresh_from_db()
    assert test.rungs == before
    assert not test.settle(now=made.now, rungs=[])


def test_hourly_proofs_do_not_pile_up(tmp_path: Path) -> None:
    made = world(tmp_path, spec=changed(prove_every=timedelta(hours=1)))
    made.proven()
    for _ in range(5):
        backups.take_slots(made.clock.on(minutes=20))
    assert RestoreTest.objects.active().count() == 1
