"""Mainstay protects its own database at the first tick, once, whoever ticks, and says honestly what is missing."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from apps.backups import cipher
from apps.backups import services as backups
from apps.backups.models import Backup, Plan, Source, Store
from apps.core.claims import Standing
from tests.backups.factories import NOW, Clock, person, sqlite_file
from tests.backups.own_key import have_identity

pytestmark = pytest.mark.django_db


def test_the_first_tick_makes_the_plan_and_its_first_backup_and_the_others_nothing() -> None:
    for _ in range(4):
        backups.protect_self(NOW)
    plan = backups.own_plan()
    assert plan is not None
    assert (plan.name, plan.source.is_self, plan.owner) == ("Mainstay itself", True, None)
    backup = Backup.objects.get()
    assert (backup.plan, backup.state, backup.due_at) == (plan, "waiting", NOW)
    assert Path(plan.store.config["path"]) == Path(settings.MAINSTAY_DATA) / "backups"
    assert Path(plan.store.config["path"]).stat().st_mode & 0o777 == 0o700


def test_the_first_owner_becomes_its_owner_when_there_is_one() -> None:
    backups.protect_self(NOW)
    owner = person()
    backups.protect_self(NOW)
    plan = backups.own_plan()
    assert plan is not None
    assert plan.owner == owner
    Plan.objects.update(owner=person("Raj"))
    backups.protect_self(NOW)
    assert Plan.objects.get().owner.name == "Raj"


def test_a_plan_that_a_person_removed_is_not_made_again() -> None:
    backups.protect_self(NOW)
    plan = backups.own_plan()
    assert plan is not None
    backups.remove_plan(actor=person(), plan=plan, typed=plan.name, now=NOW)
    backups.protect_self(NOW)
    assert backups.own_plan() is None
    assert Source.objects.count() == 1


def test_its_names_give_way_to_those_that_are_taken() -> None:
    Store.objects.create(name="Data folder", kind="local", config={"path": "/x"})
    backups.protect_self(NOW)
    plan = backups.own_plan()
    assert plan is not None
    assert plan.store.name == "Data folder (2)"


def test_no_password_of_its_own_database_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    backups.protect_self(NOW)
    source = Source.objects.get(is_self=True)
    assert source.secret is None
    monkeypatch.setitem(connection.settings_dict, "PASSWORD", "hunter2")
    monkeypatch.setattr(connection, "vendor", "postgresql")
    target = source.target()
    assert (target.kind, target.secret) == ("postgresql", {"password": "hunter2"})
    assert "hunter2" not in repr(target)


def test_its_restore_is_proven_while_its_store_is_at_risk_and_no_key_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The test database lives in memory: a file stands in for it, the rest is real.
    have_identity()
    file = sqlite_file(tmp_path / "mainstay.sqlite3")
    at: dict[str, Any] = {**connection.settings_dict, "NAME": str(file)}
    monkeypatch.setattr("apps.backups.itself.connection", type("C", (), {"vendor": "sqlite", "settings_dict": at}))
    clock, owner = Clock(), person()
    backups.protect_self(clock())
    backups.perform(Backup.objects.get().pk, clock=clock)
    backup = Backup.objects.get()
    assert backup.state == "done", backup.error
    (test,) = backup.restore_tests.all()
    backups.prove(test.pk, clock=clock)
    backups.watch(clock.on(minutes=2))
    found = {claim.id: claim.standing for claim in backups.claims(clock())}
    assert found == {"S1": Standing.AT_RISK, "S4": Standing.PROVEN, "S6": Standing.PROVEN}
    plan = Plan.objects.get()
    assert plan.owner == owner
    assert [one["code"] for one in plan.troubles] == ["backups.same_domain"]
    plain = b"".join(backups.decrypted(actor=owner, backup=backup))
    assert cipher.identity().encode() not in plain
    copy = tmp_path / "copy.sqlite3"
    copy.write_bytes(plain)
    with sqlite3.connect(copy) as database:
        assert database.execute("SELECT count(*) FROM things_0").fetchone() == (500,)
    database.close()
    assert not [need for need in backups.needs(clock()) if need.title.startswith("Mainstay itself")]
