"""Retention at work: what goes, what stays whatever happens, and that nothing goes while something fails."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from apps.backups import services as backups
from apps.backups.facts import StoreTrouble
from apps.backups.models import Backup, Plan, RestoreTest
from apps.backups.services.prune import held, to_prune
from apps.backups.stores.local import LocalStore
from apps.people.models import AuditEntry
from tests.backups.factories import World, changed, world

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture
def made(tmp_path: Path) -> World:
    """Return a plan that keeps three days and has ten real backups, one a day, the newest proven."""
    made = world(tmp_path, spec=changed(keep_daily=3, keep_weekly=0, keep_monthly=0), rows=20)
    made.clock.on(days=10)
    newest = made.proven()
    for ago in range(1, 10):
        made.copy(newest, days=ago)
    return made


def days(made: World) -> list[datetime]:
    """Return the moments of what is still there, newest first."""
    there = {str(path.relative_to(made.store.config["path"])) for path in made.objects()}
    good = list(Backup.objects.good())
    assert {backup.object_key for backup in good} == there
    return [backup.taken_at for backup in good]


def test_what_retention_lets_go_is_deleted_and_written_down(made: World) -> None:
    assert backups.prune(plan=made.plan, now=made.now) == 7
    assert len(days(made)) == 3
    assert Backup.objects.filter(pruned_at__isnull=False).count() == 7
    assert AuditEntry.objects.filter(verb="backups.pruned").count() == 7
    assert backups.prune(plan=made.plan, now=made.now) == 0


def test_the_look_at_the_store_prunes(made: World) -> None:
    made.clock.at -= timedelta(hours=1)
    made.inspect()
    assert len(days(made)) == 3


def test_forty_failing_days_prune_nothing(made: World) -> None:
    made.file.rename(made.folder / "aside")
    for _ in range(40):
        made.clock.on(days=1)
        failed = made.back_up()
        assert failed.state == "failed"
        assert backups.prune(plan=made.plan, now=made.now) == 0
    assert len(days(made)) == 10
    assert "failed" in held(made.plan, made.now)


def test_nothing_is_pruned_while_a_backup_is_late(made: World) -> None:
    assert backups.prune(plan=made.plan, now=made.now + 3 * DAY) == 0
    assert "late" in held(made.plan, made.now + 3 * DAY)


def test_nothing_is_pruned_before_the_first_proof_or_after_a_failed_one(made: World) -> None:
    RestoreTest.objects.all().delete()
    Plan.objects.update(proven_at=None)
    assert "proven yet" in held(made.reload(), made.now)
    newest = made.newest()
    path = Path(made.store.config["path"]) / newest.object_key
    path.write_bytes(path.read_bytes()[::-1])
    made.prove(newest)
    assert held(made.reload(), made.now)
    assert backups.prune(plan=made.plan, now=made.now) == 0


def test_the_last_proven_stays_however_old(made: World) -> None:
    oldest = list(Backup.objects.good())[-1]
    Backup.objects.update(proven_at=None)
    Backup.objects.filter(pk=oldest.pk).update(proven_at=made.now)
    backups.prune(plan=made.plan, now=made.now)
    left = days(made)
    assert oldest.taken_at in left
    assert len(left) == 4


def test_what_is_locked_or_in_use_stays_until_it_is_not(made: World) -> None:
    *_, second, oldest = list(Backup.objects.good())
    Backup.objects.filter(pk=oldest.pk).update(locked_until=made.now + DAY)
    backups.test_now(actor=made.owner, backup=second, now=made.now)
    gone = {backup.pk for backup in to_prune(made.reload(), made.now)}
    assert not {second.pk, oldest.pk} & gone
    assert len(gone) == 5
    assert oldest.pk in {backup.pk for backup in to_prune(made.plan, made.now + 2 * DAY)}


def test_a_paused_or_removed_plan_is_not_pruned(made: World) -> None:
    backups.pause(actor=made.owner, plan=made.plan, now=made.now)
    assert backups.prune(plan=made.plan, now=made.now) == 0
    backups.remove_plan(actor=made.owner, plan=made.plan, typed="Shop", now=made.now)
    assert backups.prune(plan=made.reload(), now=made.now) == 0
    assert len(days(made)) == 10


def test_a_clock_that_ran_ahead_deletes_nothing_that_is_needed(made: World) -> None:
    ahead = made.newest()
    Backup.objects.filter(pk=ahead.pk).update(taken_at=made.now + 400 * DAY)
    backups.prune(plan=made.plan, now=made.now)
    assert len(days(made)) == 4


def test_a_deletion_that_the_store_refuses_is_done_by_the_next_look(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: LocalStore, key: str) -> None:
        raise StoreTrouble("The object is locked.")

    monkeypatch.setattr(LocalStore, "delete", refuse)
    assert backups.prune(plan=made.plan, now=made.now) == 0
    assert len(made.objects()) == 10
    monkeypatch.undo()
    made.clock.at -= timedelta(hours=1)
    made.inspect()
    assert len(days(made)) == 3
