"""How a plan stands: facts in, faults out. Each disaster beside its healthy twin."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from apps.backups import judge, problems
from apps.backups.judge import Ended, PlanFacts, Taken
from apps.backups.schedule import Schedule
from apps.core.claims import Verdict

NOW = datetime(2026, 11, 23, 9, 41, tzinfo=UTC)
DAY = timedelta(days=1)
LAST = datetime(2026, 11, 23, 2, 5, tzinfo=UTC)
BY_CODE = {problem.code: problem for problem in problems.PROBLEMS}


def taken(days: int = 0, *, size: int = 100_000, rows: int = 1000, members: int = 10, proven: bool = True) -> Taken:
    """Return the good backup of so many days ago."""
    at = LAST - days * DAY
    return Taken(taken_at=at, slot=at, size=size, members=members, rows=rows, seconds=30, proven=proven)


HEALTHY = PlanFacts(
    name="Shop",
    schedule=Schedule.days(time(2, 5)),
    time_zone="UTC",
    expected_from=NOW - 30 * DAY,
    prove_every=7 * DAY,
    source="shop",
    store="bucket",
    source_domain={"provider": "aws", "account": "1", "region": "eu-central-1"},
    store_domain={"provider": "hetzner", "account": "x", "region": "fsn1"},
    owner="Ana",
    owner_active=True,
    good=tuple(taken(days) for days in range(6)),
    last=Ended(LAST, "", "done"),
    test=Ended(LAST + timedelta(minutes=5), "Restored.", "proven"),
    proven_at=LAST + timedelta(minutes=5),
    proven_taken_at=LAST,
    proven_seconds=42.0,
)


def codes(facts: PlanFacts, now: datetime = NOW) -> list[str]:
    """Return the codes of what is wrong."""
    return [fault.code for fault in judge.faults(facts, now)]


def test_a_healthy_plan_has_no_fault_and_says_its_proof() -> None:
    assert codes(HEALTHY) == []
    assert judge.verdict(HEALTHY, [], NOW) == (Verdict.OK, "Restore proven 7 h ago, back within 42.0 s.")


def test_every_code_of_the_judge_is_a_declared_problem() -> None:
    worst = replace(
        HEALTHY,
        owner_active=False,
        store_domain={},
        paused_at=NOW - 9 * DAY,
        lost=1,
        lost_at=NOW,
        lost_said="the store does not list it any more.",
        store_trouble="The bucket is gone.",
        unreadable=2,
        last=Ended(LAST, "No such table.", "failed"),
        proven_at=NOW - 30 * DAY,
        goal_loss=timedelta(hours=1),
        goal_back=timedelta(seconds=1),
        good=(taken(rows=0), *HEALTHY.good[1:]),
    )
    found = judge.faults(worst, NOW)
    assert {fault.code for fault in found} <= set(BY_CODE)
    assert len(found) >= 9
    assert all(fault.said.endswith(".") for fault in found)
    for fault in found:
        assert fault.bad is (BY_CODE[fault.code].severity == "bad")


def test_a_plan_before_its_first_moment_is_neither_well_nor_ill() -> None:
    fresh = replace(
        HEALTHY,
        good=(),
        last=None,
        test=None,
        proven_at=None,
        proven_taken_at=None,
        expected_from=NOW - timedelta(hours=1),
    )
    assert codes(fresh) == []
    verdict, said = judge.verdict(fresh, [], NOW)
    assert verdict is Verdict.NONE
    assert said == "No backup yet: the first is due Tue 24 Nov 2026, 02:05 UTC."


def test_a_plan_that_never_ran_is_told_at_its_deadline_and_not_before() -> None:
    never = replace(
        HEALTHY, good=(), last=None, test=None, proven_at=None, proven_taken_at=None, expected_from=LAST - DAY
    )
    by = judge.deadline(never, NOW)
    assert by == LAST + timedelta(hours=3)
    assert codes(never, by) == []
    assert codes(never, by + timedelta(seconds=1)) == ["backups.never_ran"]


@pytest.mark.parametrize(("minutes", "late"), [(0, False), (150, False), (182, True), (600, True)])
def test_a_backup_is_late_only_after_its_grace(minutes: int, *, late: bool) -> None:
    now = LAST + DAY + timedelta(minutes=minutes)
    assert ("backups.late" in codes(HEALTHY, now)) is late


def test_a_run_that_catches_up_is_not_late_at_once_but_one_that_hangs_is() -> None:
    now = LAST + 5 * DAY
    catching = replace(HEALTHY, active_since=now - timedelta(minutes=1))
    assert "backups.late" not in codes(catching, now)
    hanging = replace(HEALTHY, active_since=now - timedelta(hours=4))
    assert "backups.late" in codes(hanging, now)
    assert "stop it" in judge.faults(hanging, now)[0].todo
    assert "check that a worker runs" in judge.faults(replace(hanging, active_waits=True), now)[0].todo


def test_one_late_backup_makes_up_for_every_moment_before_it() -> None:
    now = LAST + 5 * DAY + timedelta(hours=3)
    caught_up = replace(taken(), slot=LAST, taken_at=now - timedelta(minutes=10))
    assert "backups.late" not in codes(replace(HEALTHY, good=(caught_up,)), now)


def test_a_paused_plan_is_not_late_and_is_told_after_a_week() -> None:
    paused = replace(HEALTHY, paused_at=NOW)
    assert codes(paused, NOW + 6 * DAY) == []
    assert codes(paused, NOW + 8 * DAY) == ["backups.paused", "backups.stale"] or "backups.paused" in codes(
        paused, NOW + 8 * DAY
    )


def test_a_failed_run_is_told_with_its_own_sentence() -> None:
    failed = replace(HEALTHY, last=Ended(LAST, "The password is wrong.", "failed"))
    (fault,) = judge.faults(failed, NOW)
    assert fault.code == "backups.failed"
    assert "The password is wrong." in fault.said


@pytest.mark.parametrize(
    ("newest", "code"),
    [
        (taken(rows=0), "backups.empty"),
        (taken(members=0, rows=0), "backups.empty"),
        (taken(rows=500), "backups.shrunk"),
        (taken(members=6), "backups.shrunk"),
        (taken(size=50_000), "backups.shrunk"),
        (taken(rows=900), None),
        (taken(members=9), None),
        (taken(size=80_000), None),
        (taken(size=900_000, rows=9000), None),
    ],
)
def test_the_content_of_the_newest_is_measured_against_the_ones_before(newest: Taken, code: str | None) -> None:
    assert codes(replace(HEALTHY, good=(newest, *HEALTHY.good[1:]))) == ([code] if code else [])


def test_a_small_database_may_lose_a_few_bytes() -> None:
    good = (taken(size=1500), *(taken(days, size=4000) for days in range(1, 6)))
    assert codes(replace(HEALTHY, good=good)) == []


def test_a_meant_shrinking_is_forgiven_once_it_is_the_measure() -> None:
    small = tuple(taken(days, rows=100) for days in range(4))
    assert codes(replace(HEALTHY, good=(*small, taken(4), taken(5)))) == []


def test_no_proof_and_an_old_proof_are_told_apart() -> None:
    assert codes(replace(HEALTHY, test=None, proven_at=None, proven_taken_at=None)) == ["backups.unproven"]
    old = replace(HEALTHY, proven_at=NOW - 8 * DAY)
    assert codes(old) == ["backups.stale"]
    assert judge.verdict(old, judge.faults(old, NOW), NOW)[0] is Verdict.WARN


def test_a_failed_test_is_bad_however_green_the_runs_are() -> None:
    failed = replace(HEALTHY, test=Ended(NOW, "7 rows are missing in orders.", "failed", 6))
    (fault,) = judge.faults(failed, NOW)
    assert fault.code == "backups.proof_failed"
    assert '"complete"' in fault.said
    assert fault.bad


def test_what_cannot_be_tested_here_is_never_green_and_never_failed() -> None:
    facts = replace(HEALTHY, test=Ended(NOW, "PostgreSQL 9.6 is not here: install postgresql-9.6.", "unproven"))
    found = judge.faults(facts, NOW)
    assert [fault.code for fault in found] == ["backups.untestable"]
    assert judge.verdict(facts, found, NOW)[0] is Verdict.WARN


@pytest.mark.parametrize(
    ("source", "store", "common"),
    [
        ({}, {}, "unknown"),
        ({"provider": "aws"}, {}, "unknown"),
        ({"provider": "aws"}, {"provider": "gcp"}, ""),
        ({"provider": "aws"}, {"provider": "AWS"}, "provider aws"),
        ({"provider": "aws", "account": "1", "region": "a"}, {"provider": "aws", "account": "2", "region": "b"}, ""),
        (
            {"provider": "aws", "account": "1", "region": "a"},
            {"provider": "aws", "account": "1", "region": "b"},
            "account 1",
        ),
        (
            {"provider": "aws", "account": "1", "region": "a"},
            {"provider": "aws", "account": "2", "region": "a"},
            "region a",
        ),
        ({"site": "office"}, {"site": "office"}, "site office"),
        ({"account": "1"}, {"account": "2"}, "place"),
        ({"site": "a"}, {"site": "b"}, "account"),
    ],
)
def test_unknown_counts_as_the_same_failure_domain(source: dict[str, str], store: dict[str, str], common: str) -> None:
    assert judge.shared(source, store) == common
    facts = replace(HEALTHY, source_domain=source, store_domain=store)
    assert codes(facts) == (["backups.same_domain"] if common else [])


def test_a_plan_whose_owner_left_is_at_risk() -> None:
    (fault,) = judge.faults(replace(HEALTHY, owner_active=False), NOW)
    assert fault.code == "backups.no_owner"
    assert fault.said == "Its owner Ana has left."
    assert codes(replace(HEALTHY, owner="", owner_active=False)) == ["backups.no_owner"]


def test_the_goals_are_measured_at_the_newest_proven_point() -> None:
    goal = replace(HEALTHY, goal_loss=DAY, goal_back=timedelta(minutes=1))
    assert codes(goal) == []
    assert codes(replace(goal, proven_taken_at=NOW - 2 * DAY)) == ["backups.goal_loss"]
    assert codes(replace(goal, proven_seconds=61.0)) == ["backups.goal_back"]


def test_a_key_that_is_gone_is_bad() -> None:
    assert codes(replace(HEALTHY, unreadable=3)) == ["backups.key_lost"]


def test_a_lost_object_names_the_store_and_what_happened() -> None:
    lost = replace(HEALTHY, lost=2, lost_at=NOW, lost_said="the store does not list it any more.")
    (fault,) = judge.faults(lost, NOW)
    assert fault.code == "backups.lost"
    assert "2 backups are gone from bucket" in fault.said
    assert "object lock" in fault.todo


def test_a_plan_that_lost_its_only_backup_did_run_once() -> None:
    lost = replace(HEALTHY, good=(), lost=1, lost_at=NOW, lost_said="it was written over.", expected_from=NOW - 9 * DAY)
    assert codes(lost) == ["backups.late", "backups.lost"]
    assert "no whole one is left" in judge.faults(lost, NOW)[0].said


def test_the_worst_comes_first() -> None:
    found = judge.faults(replace(HEALTHY, owner_active=False, unreadable=1), NOW)
    assert [fault.bad for fault in found] == [True, False]


def test_five_hundred_healthy_days_raise_no_alarm() -> None:
    for day in range(500):
        now = NOW + day * DAY
        good = tuple(
            replace(
                taken(ago), taken_at=LAST + (day - ago) * DAY, slot=LAST + (day - ago) * DAY, rows=1000 + day * 3 - ago
            )
            for ago in range(6)
        )
        facts = replace(HEALTHY, good=good, proven_at=now - timedelta(days=day % 7), proven_taken_at=good[0].taken_at)
        assert codes(facts, now) == [], day


def test_no_problem_depends_on_a_code_that_nobody_declares() -> None:
    for problem in problems.PROBLEMS:
        assert set(problem.depends_on) <= set(BY_CODE), problem.code
        assert problem.code not in problem.depends_on
