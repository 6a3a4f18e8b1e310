"""The work row: claimed once, leased, taken over after a death, and never overwritten by one who wakes late."""

from datetime import datetime, timedelta

import pytest
from django.db import transaction

from apps.backups.models import Backup, Plan, Restore
from apps.core import runs
from apps.core.runs import State, ring, ring_due
from tests.core.rows import backup, plan, process, restores

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def minutes(number: float) -> timedelta:
    """Return a span."""
    return timedelta(minutes=number)


def claimed(run: Backup, now: datetime, worker: str = "a") -> Backup:
    """Claim a run that must be free."""
    taken = Backup.claim(run.pk, now=now, worker=worker)
    assert taken is not None
    return taken


def test_a_due_run_is_claimed_by_one_and_nobody_else(now: datetime) -> None:
    run = backup(now)
    mine = claimed(run, now)
    assert (mine.state, mine.attempt, mine.lease_until, mine.started_at) == (State.RUNNING, 1, now + Backup.lease, now)
    assert Backup.claim(run.pk, now=now, worker="b") is None


def test_a_run_that_is_not_due_yet_or_does_not_exist_is_not_claimed(now: datetime) -> None:
    run = backup(now + minutes(1))
    assert Backup.claim(run.pk, now=now, worker="a") is None
    assert Backup.claim("01900000-0000-7000-8000-000000000000", now=now, worker="a") is None


def test_a_settled_run_is_never_claimed_again(now: datetime) -> None:
    run = claimed(backup(now), now)
    assert run.settle(now=now)
    assert Backup.claim(run.pk, now=now + minutes(10_000), worker="b") is None


def test_a_dead_workers_run_is_taken_over_only_after_its_lease(now: datetime) -> None:
    run = claimed(backup(now), now)
    assert Backup.claim(run.pk, now=now + Backup.lease, worker="b") is None
    taken = claimed(run, now + Backup.lease + timedelta(seconds=1), "b")
    assert (taken.attempt, taken.worker) == (2, "b")


def test_a_worker_that_wakes_late_can_neither_renew_nor_settle(now: datetime) -> None:
    late = claimed(backup(now), now)
    successor = claimed(late, now + minutes(5), "b")
    assert late.renew(now=now + minutes(5), stage="dumping") is False
    assert late.settle(now=now + minutes(5), size=1) is False
    assert late.settle(now=now + minutes(5), error="It broke.", again=True) is False
    fresh = Backup.objects.get(pk=late.pk)
    assert (fresh.state, fresh.attempt, fresh.size, fresh.stage) == (State.RUNNING, 2, None, "")
    assert successor.settle(now=now + minutes(6), size=2)
    assert late.renew(now=now + minutes(7)) is False
    assert Backup.objects.get(pk=late.pk).size == 2


def test_a_renewed_lease_keeps_the_run(now: datetime) -> None:
    run = claimed(backup(now), now)
    assert run.renew(now=now + minutes(1.5), stage="dumping", bytes_done=7)
    assert Backup.claim(run.pk, now=now + minutes(3), worker="b") is None
    assert Backup.objects.get(pk=run.pk).bytes_done == run.bytes_done == 7


def test_a_failure_waits_longer_each_time_and_then_has_failed_for_good(now: datetime) -> None:
    run = backup(now)
    waits = []
    at = now
    for _ in range(Backup.attempts):
        run = claimed(run, at)
        assert run.worn_out is False
        assert run.settle(now=at, error="The database did not answer.", again=True)
        waits.append(run.due_at - at)
        at = run.due_at
    assert waits[:2] == [minutes(1), minutes(2)]
    assert (run.state, run.error) == (State.FAILED, "The database did not answer.")
    assert Backup.claim(run.pk, now=at + minutes(9999), worker="a") is None


def test_a_failure_that_another_try_cannot_mend_is_final_at_once(now: datetime) -> None:
    run = claimed(backup(now), now)
    run.settle(now=now, error="The password is wrong.")
    assert (run.state, run.attempt) == (State.FAILED, 1)


def test_a_later_success_clears_the_error(now: datetime) -> None:
    run = claimed(backup(now), now)
    run.settle(now=now, error="Busy.", again=True)
    run = claimed(run, run.due_at)
    run.settle(now=now)
    assert Backup.objects.get(pk=run.pk).error == ""


def test_a_run_whose_worker_always_dies_is_worn_out_in_the_end(now: datetime) -> None:
    run = backup(now)
    at = now
    for attempt in range(1, Backup.attempts + 2):
        run = claimed(run, at)
        assert run.worn_out is (attempt > Backup.attempts)
        at += minutes(5)
    assert run.settle(now=at, error="The worker died each time.", again=True)
    assert run.state == State.FAILED


def test_a_slot_is_taken_by_one_of_all_who_saw_it(now: datetime) -> None:
    of = plan(now)
    seen = [Plan.objects.get(pk=of.pk) for _ in range(3)]
    assert [each.take_slot(now + minutes(60)) for each in seen] == [now, None, None]
    assert Plan.objects.get(pk=of.pk).next_due_at == now + minutes(60)
    of.next_due_at = None
    assert of.take_slot(now) is None


def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is rung, instead of a broker."""
    sent: list[str] = []

    def send(_kind: object, run_id: str) -> bool:
        sent.append(run_id)
        return True

    monkeypatch.setattr(runs, "_send", send)
    return sent


def test_ringing_needs_no_broker_and_tells_only_after_the_commit(
    now: datetime, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: object
) -> None:
    sent = heard(monkeypatch)
    run = backup(now)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        with transaction.atomic():
            ring(run)
        assert sent == []
    assert sent == [str(run.pk)]


def test_due_runs_are_rung_oldest_first_and_bounded(now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = heard(monkeypatch)
    monkeypatch.setattr(runs, "RING_AT_ONCE", 5)
    made = restores(8, now)
    Restore.objects.filter(pk=made[7].pk).update(due_at=now - minutes(5))
    assert ring_due(Restore, now) == 5
    assert sent[0] == str(made[7].pk)


CLAIMER = """
from datetime import datetime
from apps.backups.models import Restore
now = datetime.fromisoformat(sys.argv[1])
ids = list(Restore.objects.values_list("pk", flat=True))
print("ready", flush=True)
sys.stdin.readline()
won = 0
for run_id in ids:
    run = Restore.claim(run_id, now=now, worker=sys.argv[2])
    if run is not None:
        assert run.settle(now=now, said=sys.argv[2])
        won += 1
print(won, flush=True)
"""


@pytest.mark.real
@pytest.mark.django_db(transaction=True)
def test_six_processes_perform_three_hundred_runs_exactly_once_each(now: datetime) -> None:
    made = restores(300, now)
    workers = [process(CLAIMER, now.isoformat(), f"worker {number}") for number in range(6)]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        outputs = []
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        for worker in workers:
            said, _ = worker.communicate(timeout=200)
            outputs.append(int(said))
            assert worker.returncode == 0
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert sum(outputs) == 300
    rows = Restore.objects.filter(pk__in=[run.pk for run in made])
    assert set(rows.values_list("state", "attempt")) == {("done", 1)}
    assert sorted(rows.filter(said=f"worker {number}").count() for number in range(6)) == sorted(outputs)
