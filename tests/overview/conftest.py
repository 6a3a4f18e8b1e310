"""Plans in every state, and people of every role."""

from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import Any

import pytest
from django.test import Client

from apps.backups.models import Backup, Plan, RestoreTest, Source, Store
from apps.backups.schedule import Schedule
from apps.core import pulse
from apps.people.models import Person, Role

MakePlan = Callable[..., Plan]


@pytest.fixture
def moment() -> datetime:
    """Return the present: pages ask the clock themselves."""
    from django.utils import timezone  # noqa: PLC0415

    return timezone.now()


@pytest.fixture
def make_plan(db: None, moment: datetime) -> MakePlan:
    """Return a maker of plans; proven six hours ago unless told otherwise."""

    def make(name: str, **fields: Any) -> Plan:
        store, _ = Store.objects.get_or_create(name="Backblaze", kind="s3")
        source = Source.objects.create(name=f"{name} source", kind="sqlite")
        values: dict[str, Any] = {
            "schedule": Schedule.days(time(2, 5)).to_json(),
            "next_due_at": moment + timedelta(hours=3),
            "verdict": "ok",
            "last_backup_at": moment - timedelta(hours=7),
            "proven_at": moment - timedelta(hours=6),
            "proven_seconds": 702.0,
            "proven_rungs": 7,
            **fields,
        }
        plan: Plan = Plan.objects.create(name=name, source=source, store=store, **values)
        return plan

    return make


@pytest.fixture
def make_test(moment: datetime) -> Callable[[Plan], RestoreTest]:
    """Return a maker of proven restore tests."""

    def make(plan: Plan) -> RestoreTest:
        slot = moment - timedelta(hours=7, microseconds=plan.backups.count())
        backup = Backup.objects.create(plan=plan, slot=slot, state="done")
        return RestoreTest.objects.create(
            plan=plan,
            backup=backup,
            state="done",
            verdict="proven",
            finished_at=moment - timedelta(hours=6),
            restore_seconds=702.0,
        )

    return make


@pytest.fixture
def as_role(client: Client, db: None) -> Callable[[str], Client]:
    """Return a client signed in as a fresh person of a role."""

    def sign_in(role: str) -> Client:
        person = Person.objects.create(email=f"{role}@quillbox.example", name=f"A {role}", role=role)
        client.force_login(person)
        return client

    return sign_in


@pytest.fixture
def owner(as_role: Callable[[str], Client]) -> Client:
    """Return a client signed in as an owner."""
    return as_role(Role.OWNER)


@pytest.fixture
def watching(db: None, moment: datetime) -> None:
    """Let a tick have run just now."""
    pulse.beat(moment)
