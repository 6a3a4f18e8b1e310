"""Looking at stores from both sides, and telling alerts what is wrong and what was mended."""

from datetime import timedelta
from pathlib import Path

import pytest

from apps.alerts.models import Incident
from apps.backups import services as backups
from apps.backups.models import Backup, Inspection, Leftover, Plan, Store
from apps.backups.services.perform import key_of
from apps.core.claims import Standing
from tests.backups.factories import World, execute, world

pytestmark = pytest.mark.django_db


@pytest.fixture
def made(tmp_path: Path) -> World:
    """Return a plan with one proven backup."""
    made = world(tmp_path)
    made.proven()
    return made


def incidents() -> list[str]:
    """Return the codes of what is not closed and not mended."""
    return sorted(Incident.objects.filter(closed_at=None, mended_at=None).values_list("code", flat=True))


def test_a_well_plan_raises_nothing_in_days_of_looking(made: World) -> None:
    backups.prove_recovery_key(
        actor=made.owner, word=backups.recovery_key().groups[backups.asked_word(made.owner) - 1], now=made.now
    )
    for _ in range(9):
        made.clock.at = made.due
        backups.take_slots(made.now)
        backups.perform(Backup.objects.active().get().pk, clock=made.clock)
        for test in made.plan.restore_tests.active():
            backups.prove(test.pk, clock=made.clock)
        made.inspect()
        backups.watch(made.now)
        assert incidents() == []
    assert made.reload().verdict == "ok"
    assert made.plan.verdict_said.startswith("Restore proven")


def test_an_object_that_was_deleted_is_found_told_and_mended_by_a_newer_proof(made: World) -> None:
    (file,) = made.objects()
    file.unlink()
    assert made.inspect().error == ""
    backups.watch(made.now)
    backup = Backup.objects.get()
    assert (backup.lost_why, made.reload().last_backup_at) == ("missing", None)
    assert made.plan.proven_taken_at is None  # what would be lost is everything again
    assert "backups.lost" in incidents()
    assert made.plan.verdict == "bad"
    incident = Incident.objects.get(code="backups.lost")
    assert incident.url == made.plan.url
    assert "object lock" in incident.said
    made.clock.on(minutes=1)
    made.proven()
    assert made.judge() == []
    assert "backups.lost" not in incidents()


def test_an_object_that_comes_back_as_recorded_is_found_again(made: World) -> None:
    (file,) = made.objects()
    aside = file.rename(made.folder / "aside")
    made.inspect()
    assert "backups.lost" in made.judge()
    aside.rename(file)
    made.inspect()
    assert made.judge() == []
    assert made.plan.last_backup_at is not None


def test_losing_the_newest_proven_backup_leaves_the_older_proven_data(made: World) -> None:
    (first,) = made.objects()
    taken = made.reload().proven_taken_at
    made.clock.on(days=1)
    made.proven()
    newer = made.reload().proven_taken_at
    assert taken is not None
    assert newer is not None
    assert newer > taken
    (second,) = set(made.objects()) - {first}
    second.unlink()
    made.inspect()
    plan = made.reload()
    assert plan.proven_taken_at == taken
    assert plan.proven_at is not None
    assert plan.proven_at < made.clock.at - timedelta(hours=23), "the proof that is left is as old as it is"
    assert plan.proven_seconds is not None
    assert plan.proof_due_at is not None
    assert plan.proof_due_at <= made.now, "what is left is to be proven at once"


def test_a_claim_never_stands_on_a_lost_object(made: World) -> None:
    assert Plan.objects.filter(Plan.objects.all().proven(made.now)).exists()
    (file,) = made.objects()
    file.unlink()
    made.inspect()
    plan = made.reload()
    assert not Plan.objects.filter(Plan.objects.all().proven(made.now)).exists(), "as the first page counts"
    assert (plan.proven_at, plan.proven_taken_at, plan.proven_seconds, plan.proven_rungs) == (None, None, None, 0)
    assert {claim.standing for claim in backups.claims(made.now)} == {Standing.AT_RISK, Standing.UNPROVEN}
    assert plan.verdict == "bad"
    assert "backups.lost" in incidents(), "page and incident agree at once, without a tick"


def test_a_lost_object_of_another_source_gives_no_proof_back_when_it_is_found(made: World) -> None:
    (file,) = made.objects()
    aside = file.rename(made.folder / "aside")
    made.inspect()
    Plan.objects.update(expected_from=made.clock.on(minutes=1))  # as a change of the source leaves it
    aside.rename(file)
    made.inspect()
    assert made.reload().proven_at is None


def test_what_a_run_settled_is_judged_in_the_same_breath(made: World) -> None:
    assert made.reload().verdict == "ok", "no tick ran since the proof"
    source = Path(made.plan.source.config["path"])
    aside = source.rename(made.folder / "gone.sqlite3")
    made.clock.on(days=1)
    backups.back_up_now(actor=made.owner, plan=made.plan, now=made.now)
    backups.perform(Backup.objects.active().get().pk, clock=made.clock)
    assert made.reload().verdict == "bad"
    assert "backups.failed" in incidents()
    aside.rename(source)
    made.clock.on(minutes=5)
    backups.back_up_now(actor=made.owner, plan=made.plan, now=made.now)
    backups.perform(Backup.objects.active().get().pk, clock=made.clock)
    assert "backups.failed" not in incidents()


def test_a_plan_that_cannot_be_judged_does_not_undo_what_was_settled(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.backups.judge.faults", lambda *_: 1 / 0)
    made.clock.on(days=1)
    made.proven()
    assert Backup.objects.count() == 2
    assert made.reload().proven_at is not None
    assert made.plan.judge_at <= made.now, "the next tick judges it"


def test_an_object_of_another_size_is_lost_and_so_is_one_of_the_same_size_with_other_bytes(made: World) -> None:
    (file,) = made.objects()
    data = file.read_bytes()
    file.write_bytes(data + b"x")
    made.inspect()
    assert Backup.objects.get().lost_why == "size"
    file.write_bytes(bytes(len(data)))
    made.inspect()
    assert Backup.objects.get().lost_why == "digest", "what was written to since the last look is read again"


def test_a_whole_store_emptied_is_one_trouble_and_a_store_that_is_gone_another(made: World) -> None:
    root = Path(made.store.config["path"])
    root.rename(made.folder / "elsewhere")
    inspection = made.inspect()
    assert inspection.error
    assert made.store.trouble == inspection.error
    assert Backup.objects.get().lost_at is None, "what could not be listed is not known to be lost"
    assert "backups.store" in made.judge()
    (made.folder / "elsewhere").rename(root)
    made.inspect()
    assert made.store.trouble == ""
    assert made.judge() == []


def test_strangers_are_counted_and_never_touched(made: World) -> None:
    root = Path(made.store.config["path"])
    stranger = root / "somebody" / "elses.tar"
    stranger.parent.mkdir()
    stranger.write_bytes(b"precious")
    theirs = root / "shop-00000000" / key_of(Backup(plan=made.plan, slot=made.now, attempt=1), ".tar").split("/")[1]
    theirs.parent.mkdir()
    theirs.write_bytes(b"of another Mainstay")
    made.inspect()
    assert stranger.exists()
    assert theirs.exists()
    assert Store.objects.get().strangers == 2


def test_an_object_of_a_run_that_ended_without_it_is_deleted(made: World) -> None:
    failed = backups.back_up_now(actor=made.owner, plan=made.plan, now=made.now)
    claimed = Backup.claim(failed.pk, now=made.now, worker="dead")
    assert claimed is not None
    stray = Path(made.store.config["path"]) / key_of(claimed, ".sqlite3")
    stray.write_bytes(b"left by a worker that woke late")
    made.inspect()
    assert stray.exists(), "the run is not over"
    backups.stop(actor=made.owner, run=failed, now=made.now)
    made.inspect()
    assert not stray.exists()
    assert len(made.objects()) == 1


def test_a_store_is_looked_at_once_an_hour_in_one_row(made: World) -> None:
    backups.ask_inspections(made.now)
    backups.ask_inspections(made.now)
    (inspection,) = Inspection.objects.all()
    backups.inspect(inspection.pk, clock=made.clock)
    backups.ask_inspections(made.clock.on(minutes=59))
    inspection.refresh_from_db()
    assert inspection.state == "done"
    backups.ask_inspections(made.clock.on(minutes=2))
    inspection.refresh_from_db()
    assert (inspection.state, inspection.attempt) == ("waiting", 0)


def test_a_late_backup_opens_one_incident_and_closes_it_when_it_is_there(made: World) -> None:
    made.clock.on(days=2)
    Plan.objects.update(next_due_at=None)  # the scheduler is dead
    backups.watch(made.now)
    backups.watch(made.clock.on(minutes=2))
    assert incidents().count("backups.late") == 1
    made.back_up()
    backups.watch(made.clock.on(seconds=1))
    assert "backups.late" not in incidents()


def test_a_clock_that_ran_a_year_ahead_stops_no_plan_and_hides_nothing(made: World) -> None:
    right = made.now
    made.clock.on(days=365)
    backups.take_slots(made.now)
    backups.perform(Backup.objects.active().get().pk, clock=made.clock)
    Plan.objects.update(judge_at=made.now)
    made.inspect()
    backups.watch(made.now)
    made.clock.at = right
    assert made.due > right + timedelta(days=300)
    backups.watch(made.clock.on(minutes=1))
    assert made.due < right + timedelta(days=1)
    backups.ask_inspections(made.now)
    assert Inspection.objects.active().exists()
    made.clock.on(days=2)
    assert "backups.late" in made.judge()


def test_a_proof_from_a_clock_that_was_ahead_is_not_green_and_is_done_again(made: World) -> None:
    ahead = made.now + timedelta(days=365)
    Plan.objects.update(proven_at=ahead, proven_taken_at=ahead, proof_due_at=ahead + timedelta(days=7))
    assert made.judge() == ["backups.stale"]
    assert {claim.standing for claim in backups.claims(made.now) if claim.id == "S6"} == {Standing.AT_RISK}
    backups.take_slots(made.now)
    assert made.prove().verdict == "proven"
    assert made.judge() == []


def test_a_plan_that_lost_its_next_moment_gets_it_back(made: World) -> None:
    due = made.due
    Plan.objects.update(next_due_at=None)
    made.judge()
    assert made.due == due
    backups.pause(actor=None, plan=made.plan, now=made.now)
    made.judge()
    assert made.reload().next_due_at is None


def test_one_cause_is_told_once(made: World) -> None:
    Store.objects.update(trouble="The bucket is gone.")
    made.file.unlink()
    made.back_up()
    Plan.objects.update(judge_at=made.now)
    made.clock.on(minutes=1)
    backups.watch(made.now)
    failed = Incident.objects.get(code="backups.failed")
    assert "backups.store" in failed.quiet_while


def test_an_owner_who_leaves_is_noticed(made: World) -> None:
    made.owner.is_active = False
    made.owner.save()
    backups.watch(made.clock.on(minutes=2))
    assert made.reload().verdict == "warn"
    assert "backups.no_owner" in incidents()


def test_rows_deleted_at_the_source_are_told_as_shrunk(made: World) -> None:
    for _ in range(2):
        made.clock.on(hours=1)
        made.back_up()
    assert made.judge() == []
    execute(made.file, "DELETE FROM things_0", "DELETE FROM things_1 WHERE id > 100")
    made.clock.on(hours=1)
    made.back_up()
    assert made.judge() == ["backups.shrunk", "backups.source"]


def test_the_verdict_is_written_only_when_it_changes(made: World) -> None:
    made.judge()
    since = made.reload().verdict_since
    made.clock.on(hours=1)
    made.judge()
    assert made.reload().verdict_since == since


def test_a_plan_whose_facts_cannot_be_read_does_not_stop_the_others(made: World) -> None:
    Plan.objects.create(
        name="Broken",
        source=made.source,
        store=made.store,
        schedule={"kind": "moon"},
        owner=made.owner,
        judge_at=made.now,
    )
    Plan.objects.filter(pk=made.plan.pk).update(judge_at=made.now, verdict="none")
    backups.watch(made.now)
    assert made.reload().verdict == "ok"


def test_an_unproven_recovery_key_and_a_leftover_are_told(made: World) -> None:
    backups.watch(made.now)
    assert "backups.recovery_key" in incidents()
    Leftover.objects.create(
        run_id=made.plan.pk,
        kind="folder",
        where="/somewhere",
        deadline=made.now - timedelta(hours=2),
        created_at=made.now,
    )
    backups.watch(made.now)
    assert "backups.leftover" in incidents()
    Leftover.objects.update(removed_at=made.now)
    backups.watch(made.now)
    assert "backups.leftover" not in incidents()


def test_a_removed_plan_is_not_judged_and_its_incidents_close(made: World) -> None:
    made.file.unlink()
    made.back_up()
    made.judge()
    assert incidents()
    backups.remove_plan(actor=made.owner, plan=made.plan, typed="Shop", now=made.now)
    assert not [code for code in incidents() if code != "backups.recovery_key"]
