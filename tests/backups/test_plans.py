"""Plans, sources and stores: made, changed, paused, removed, and refused with a sentence."""

from dataclasses import replace
from datetime import datetime, time, timedelta
from pathlib import Path

import pytest

from apps.backups import services as backups
from apps.backups.engines.base import Target
from apps.backups.facts import EngineTrouble, StoreTrouble
from apps.backups.models import Backup, Plan, Source, Store
from apps.backups.schedule import Schedule
from apps.backups.services import PlanSpec, Refused
from apps.backups.stores.base import Place
from apps.people.models import AuditEntry
from apps.servers.models import Server
from tests.backups.factories import DAILY, NOW, World, world

pytestmark = pytest.mark.django_db


@pytest.fixture
def made(tmp_path: Path) -> World:
    """Return a plan that was just made."""
    return world(tmp_path)


def spec_of(made: World, **fields: object) -> PlanSpec:
    """Return what the plan was made from, with other fields."""
    spec = PlanSpec(name="Shop", source=made.source, store=made.store, owner=made.owner, schedule=DAILY)
    return replace(spec, **fields)  # type: ignore[arg-type]


def verbs() -> list[str]:
    """Return what the audit log says was done, in order."""
    return list(AuditEntry.objects.order_by("seq").values_list("verb", flat=True))


def test_a_new_plan_is_due_at_its_next_moment_and_written_in_the_audit_log(made: World) -> None:
    assert made.plan.next_due_at == datetime(2026, 11, 24, 2, 5, tzinfo=NOW.tzinfo)
    assert verbs() == ["backups.source_added", "backups.store_added", "backups.planned"]
    assert made.plan.verdict == "none"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "Shop"}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "b", "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}, "keep_daily"),
        ({"name": "b", "prove_every": timedelta(minutes=1)}, "prove_every"),
        ({"name": "b", "prove_every": timedelta(days=500)}, "prove_every"),
        ({"name": "b", "time_zone": "Mars/Olympus"}, "time_zone"),
    ],
)
def test_a_plan_that_protects_nothing_is_refused(made: World, fields: dict[str, object], field: str) -> None:
    with pytest.raises(Refused) as refused:
        backups.plan(actor=made.owner, spec=spec_of(made, **fields), now=NOW)
    assert refused.value.field == field
    assert refused.value.sentence.endswith(".")
    assert Plan.objects.count() == 1
    assert verbs().count("backups.planned") == 1


def test_an_owner_who_left_cannot_be_given_a_plan(made: World) -> None:
    made.owner.is_active = False
    with pytest.raises(Refused, match="Ana has left"):
        backups.plan(actor=made.owner, spec=spec_of(made, name="Other"), now=NOW)


def test_a_new_schedule_counts_from_now_and_other_changes_do_not_move_it(made: World) -> None:
    due = made.plan.next_due_at
    later = NOW + timedelta(hours=1)
    backups.change_plan(actor=made.owner, plan=made.plan, spec=spec_of(made, keep_daily=3), now=later)
    assert made.reload().next_due_at == due
    hourly = spec_of(made, keep_daily=3, schedule=Schedule.hourly(15))
    backups.change_plan(actor=made.owner, plan=made.plan, spec=hourly, now=later)
    plan = made.reload()
    assert plan.next_due_at == datetime(2026, 11, 23, 11, 15, tzinfo=NOW.tzinfo)
    assert plan.expected_from == later
    assert AuditEntry.objects.filter(verb="backups.plan_changed", detail_json__contains="schedule").exists()


def test_another_source_starts_without_proof(made: World) -> None:
    Plan.objects.update(proven_at=NOW, proven_taken_at=NOW, last_backup_at=NOW, proven_rungs=7)
    other = backups.add_source(
        actor=made.owner, name="Other", kind="sqlite", config={"path": "/x"}, secret={}, domain={}, now=NOW
    )
    backups.change_plan(actor=made.owner, plan=made.reload(), spec=spec_of(made, source=other), now=NOW)
    plan = made.reload()
    assert (plan.proven_at, plan.last_backup_at, plan.proven_rungs) == (None, None, 0)


def test_a_source_that_points_elsewhere_starts_its_plans_without_proof(made: World) -> None:
    Plan.objects.update(proven_at=NOW, proven_taken_at=NOW, last_backup_at=NOW, proven_rungs=7)

    def change(config: dict[str, str], name: str) -> Plan:
        backups.change_source(
            actor=made.owner, source=made.source, name=name, config=config, secret=None, domain={}, now=NOW
        )
        return made.reload()

    assert change(dict(made.source.config), "Another name").proven_at == NOW
    assert change({"path": "/y"}, "Another name").proven_at is None
    assert made.plan.proven_rungs == 0


def test_a_source_through_another_server_starts_its_plans_without_proof_and_the_log_says_so(made: World) -> None:
    Plan.objects.update(proven_at=NOW)
    server = Server.objects.create(name="db-1", address="192.0.2.8", level="operate", public_key="x")
    backups.change_source(
        actor=made.owner, source=made.source, name="Shop", config=dict(made.source.config), secret=None,
        domain=made.source.domain, now=NOW, through=server,
    )  # fmt: skip
    assert made.reload().proven_at is None
    assert Source.objects.get().target().through == server
    assert '"through"' in AuditEntry.objects.filter(verb="backups.source_changed").latest("seq").detail_json


def test_the_first_backup_in_another_store_is_proven_at_once(made: World) -> None:
    Plan.objects.update(proven_at=NOW, proven_taken_at=NOW, proof_due_at=NOW + timedelta(days=7))
    other = backups.add_store(
        actor=made.owner, name="Other", kind="local", config={"path": "/x"}, secret={}, domain={}, now=NOW
    )
    backups.change_plan(actor=made.owner, plan=made.reload(), spec=spec_of(made, store=other), now=NOW)
    assert made.reload().proof_due_at == NOW


def test_a_paused_plan_takes_no_slots_and_resumes_from_now(made: World) -> None:
    backups.pause(actor=made.owner, plan=made.plan, now=NOW)
    backups.take_slots(NOW + timedelta(days=3))
    assert not Backup.objects.exists()
    later = NOW + timedelta(days=3)
    backups.resume(actor=made.owner, plan=made.plan, now=later)
    assert made.plan.next_due_at == datetime(2026, 11, 27, 2, 5, tzinfo=NOW.tzinfo)
    assert made.plan.expected_from == later
    backups.resume(actor=made.owner, plan=made.plan, now=later)
    backups.pause(actor=made.owner, plan=made.plan, now=later)
    backups.pause(actor=made.owner, plan=made.plan, now=later)
    assert [verb for verb in verbs() if verb in {"backups.paused", "backups.resumed"}] == [
        "backups.paused",
        "backups.resumed",
        "backups.paused",
    ]


def test_a_plan_is_removed_only_by_its_typed_name_and_its_name_is_free_again(made: World) -> None:
    with pytest.raises(Refused, match="Type Shop"):
        backups.remove_plan(actor=made.owner, plan=made.plan, typed="shop", now=NOW)
    assert backups.remove_plan(actor=made.owner, plan=made.plan, typed="Shop", now=NOW).startswith("Shop was removed.")
    assert not Plan.objects.exists()
    assert Plan.everything.count() == 1
    backups.take_slots(NOW + timedelta(days=9))
    assert not Backup.objects.exists()
    backups.plan(actor=made.owner, spec=spec_of(made), now=NOW)
    with pytest.raises(Refused, match="already removed"):
        backups.remove_plan(actor=made.owner, plan=made.plan, typed="Shop", now=NOW)


def test_what_a_plan_uses_cannot_be_removed_and_goes_with_its_secret(made: World) -> None:
    with pytest.raises(Refused, match="still used by Shop"):
        backups.remove_store(actor=made.owner, store=made.store, typed="Safe", now=NOW)
    with pytest.raises(Refused, match="still used by Shop"):
        backups.remove_source(actor=made.owner, source=made.source, typed="Shop", now=NOW)
    backups.change_source(
        actor=made.owner,
        source=made.source,
        name="Shop",
        config={"path": "/y"},
        secret={"password": "s3"},
        domain={},
        now=NOW,
    )
    assert Source.objects.get().secrets == {"password": "s3"}
    backups.remove_plan(actor=made.owner, plan=made.plan, typed="Shop", now=NOW)
    backups.remove_source(actor=made.owner, source=made.source, typed="Shop", now=NOW)
    backups.remove_store(actor=made.owner, store=made.store, typed="Safe", now=NOW)
    assert not Source.objects.exists()
    assert not Store.objects.exists()
    assert Source.everything.get().secrets == {}


def test_a_secret_is_kept_when_a_form_leaves_it_empty_and_never_written_in_the_audit_log(made: World) -> None:
    source = backups.add_source(
        actor=made.owner,
        name="Db",
        kind="postgresql",
        config={"host": "h"},
        secret={"password": "hunter2"},
        domain={},
        now=NOW,
    )
    backups.change_source(
        actor=made.owner, source=source, name="Db 2", config={"host": "i"}, secret=None, domain={}, now=NOW
    )
    assert Source.objects.get(pk=source.pk).secrets == {"password": "hunter2"}
    assert not AuditEntry.objects.filter(detail_json__contains="hunter2").exists()
    assert "hunter2" not in repr(source.target())


def test_a_store_with_backups_is_not_moved_under_them(made: World) -> None:
    Backup.objects.create(plan=made.plan, slot=NOW, state="done", store=made.store, object_key="a/b", taken_at=NOW)
    with pytest.raises(Refused, match="no longer be found"):
        backups.change_store(
            actor=made.owner, store=made.store, name="Safe", config={"path": "/else"}, secret=None, domain={}, now=NOW
        )
    backups.change_store(
        actor=made.owner,
        store=made.store,
        name="Safer",
        config=made.store.config,
        secret=None,
        domain={"site": "cellar"},
        now=NOW,
    )
    assert Store.objects.get().domain == {"site": "cellar"}


def test_a_second_run_of_one_plan_is_refused_with_a_sentence(made: World) -> None:
    backups.back_up_now(actor=made.owner, plan=made.plan, now=NOW)
    with pytest.raises(Refused, match="is on since 09:41 UTC"):
        backups.back_up_now(actor=made.owner, plan=made.plan, now=NOW + timedelta(minutes=1))
    assert Backup.objects.count() == 1


def test_a_connection_is_tested_with_a_sentence_either_way(made: World, tmp_path: Path) -> None:
    assert "2 tables" in backups.check_source(made.source.target()).sentence
    assert backups.check_store(made.store.place()).sentence
    with pytest.raises(EngineTrouble):
        backups.check_source(Target("sqlite", {"path": str(tmp_path / "nothing.sqlite3")}, {}))
    with pytest.raises(EngineTrouble):
        backups.check_source(Target("oracle", {}, {}))
    with pytest.raises(StoreTrouble):
        backups.check_store(Place("tape", {}, {}))


def test_a_check_that_hangs_ends_with_a_sentence(made: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os  # noqa: PLC0415

    from apps.backups.services import checking  # noqa: PLC0415

    monkeypatch.setattr(checking, "CHECK_SECONDS", 0.2)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    late = EngineTrouble("No answer.", code="timeout")

    def hang() -> backups.Refused:
        with fifo.open("rb") as file:  # opens only when somebody writes
            file.read()
        raise AssertionError

    with pytest.raises(EngineTrouble, match="No answer"):
        checking._bounded(hang, late)  # type: ignore[arg-type]
    with fifo.open("wb"):
        pass  # let the thread go


def test_times_of_day_are_those_of_the_plan(made: World) -> None:
    spec = spec_of(made, name="Berlin", time_zone="Europe/Berlin", schedule=Schedule.days(time(2, 5)))
    assert backups.plan(actor=None, spec=spec, now=NOW).next_due_at == datetime(2026, 11, 24, 1, 5, tzinfo=NOW.tzinfo)
