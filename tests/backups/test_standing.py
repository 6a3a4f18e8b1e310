"""What the first page shows: claims green only by a fresh proof, needs a person can meet, a fixed number of queries."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from apps.backups import services as backups
from apps.backups.models import Plan
from apps.core.claims import Claim, Standing
from tests.backups.factories import World, changed, world

pytestmark = pytest.mark.django_db


@pytest.fixture
def made(tmp_path: Path) -> World:
    """Return a plan that was just made."""
    return world(tmp_path)


def standing(made: World) -> dict[str, Standing]:
    """Return how each claim stands."""
    return {claim.id: claim.standing for claim in backups.claims(made.now)}


def test_a_plan_without_a_backup_is_unproven(made: World) -> None:
    made.judge()
    assert standing(made) == {"S1": Standing.UNPROVEN, "S4": Standing.UNPROVEN, "S6": Standing.UNPROVEN}


def test_a_proven_plan_is_green_with_its_figures(made: World) -> None:
    made.proven()
    made.judge()
    claims = backups.claims(made.now)
    assert {claim.standing for claim in claims} == {Standing.PROVEN}
    proof = claims[2]
    assert proof.title == "Restores are tested"
    assert proof.proven_at == made.plan.proven_at
    assert proof.figures["restore_seconds"] == made.plan.proven_seconds
    assert proof.url == made.plan.url
    assert proof.todo == ""


def test_a_proof_older_than_its_policy_is_not_green_even_when_nothing_looks(made: World) -> None:
    made.proven()
    made.judge()
    made.clock.on(days=8)
    assert set(standing(made).values()) == {Standing.AT_RISK}


def test_the_same_failure_domain_is_at_risk_while_the_restore_is_proven(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.source.domain = made.store.domain = {"site": "office"}
    made.source.save()
    made.store.save()
    made.proven()
    made.judge()
    assert standing(made) == {"S1": Standing.AT_RISK, "S4": Standing.PROVEN, "S6": Standing.PROVEN}
    (need,) = [need for need in backups.needs(made.now) if "off this site" in need.title]
    assert need.verb == "Add an off-site store"
    assert not [need for need in backups.needs(made.now) if need.title.startswith("Shop:")]


def test_a_failed_backup_is_a_need_with_its_reason_and_a_later_good_one_ends_it(made: World) -> None:
    made.proven()
    aside = made.file.rename(made.folder / "aside")
    made.clock.on(hours=1)
    made.back_up()
    made.judge()
    found = standing(made)
    assert (found["S1"], found["S4"], found["S6"]) == (Standing.AT_RISK, Standing.AT_RISK, Standing.PROVEN)
    (need,) = [need for need in backups.needs(made.now) if need.title.startswith("Shop:")]
    assert (need.severity, need.title) == ("bad", "Shop: the backup failed")
    assert need.since is not None
    aside.rename(made.file)
    made.clock.on(hours=1)
    made.back_up()
    assert made.judge() == []
    assert set(standing(made).values()) == {Standing.PROVEN}


def test_the_recovery_key_is_a_need_until_it_is_proven(made: World) -> None:
    def titles() -> list[str]:
        return [need.title for need in backups.needs(made.now)]

    assert "Recovery key not proven" in titles()
    paper = backups.recovery_key()
    word = paper.groups[backups.asked_word(made.owner) - 1]
    backups.prove_recovery_key(actor=made.owner, word=word, now=made.now)
    assert "Recovery key not proven" not in titles()


def test_many_plans_need_as_many_queries_as_few_and_the_rest_is_one_line(
    made: World, django_assert_max_num_queries: Any, django_assert_num_queries: Any
) -> None:
    made.judge()
    with django_assert_max_num_queries(9) as few:
        backups.claims(made.now)
        backups.needs(made.now)
    trouble = [{"code": "backups.failed", "bad": True, "said": "It failed.", "todo": "Look.", "since": None}]
    Plan.objects.bulk_create(
        Plan(
            name=f"P{n}", source=made.source, store=made.store, owner=made.owner, schedule=made.plan.schedule,
            verdict="bad", verdict_since=made.now, troubles=trouble, last_backup_at=made.now,
        )
        for n in range(60)
    )  # fmt: skip
    with django_assert_num_queries(len(few)):
        claims: list[Claim] = backups.claims(made.now)
        needs = backups.needs(made.now)
    assert len(claims) == 61 * 3
    assert len(needs) <= 20 + 3
    assert [need.title for need in needs if "more plan" in need.title] == ["40 more plans at risk"]


def test_a_folder_is_a_claim_of_files(tmp_path: Path) -> None:
    made = world(tmp_path, kind="directory", spec=changed(prove_every=timedelta(days=1)))
    assert [claim.id for claim in backups.claims(made.now)] == ["S1", "S5", "S6"]
