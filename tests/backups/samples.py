"""Sample arguments for the addresses of backups that take some; tests/people/test_walk.py uses them."""

from collections.abc import Callable
from typing import Any

from apps.backups.models import Backup, ConnectionTest
from apps.people.models import Person
from tests.backups import rows
from tests.people.factories import PersonFactory

Sample = Callable[[Person | None], list[Any]]


def a_plan(_visitor: Person | None) -> list[Any]:
    """Return a plan of its own."""
    return [rows.plan().pk]


def a_store(_visitor: Person | None) -> list[Any]:
    """Return a local store, so that no test of it reaches for the net."""
    return [rows.store(kind="local", config={"path": "/nonexistent/mainstay-test"}).pk]


def a_backup(_visitor: Person | None) -> list[Any]:
    """Return a finished backup in a local store."""
    return [_backup().pk]


def a_test(_visitor: Person | None) -> list[Any]:
    """Return a proven restore test."""
    return [rows.proof(_backup()).pk]


def a_restore(_visitor: Person | None) -> list[Any]:
    """Return a finished restore."""
    return [rows.restore(_backup()).pk]


def a_connection_test(visitor: Person | None) -> list[Any]:
    """Return a connection test that the visitor asked for."""
    asker = visitor or PersonFactory()
    return [ConnectionTest.objects.create(asked_by=asker, side="store", kind="local", config={"path": "/none"}).pk]


def _backup() -> Backup:
    local = rows.store(kind="local", config={"path": "/nonexistent/mainstay-test"})
    return rows.backup(rows.plan(store=local))


SAMPLES: dict[str, Sample] = {
    **dict.fromkeys(
        ("plan", "plan-edit", "plan-progress", "plan-back-up", "plan-test", "plan-pause", "plan-resume", "plan-remove"),
        a_plan,
    ),
    **dict.fromkeys(("store-edit", "store-check", "store-look", "store-remove"), a_store),
    **dict.fromkeys(
        ("backup", "backup-stop", "backup-test", "backup-steps", "backup-restore", "backup-download"), a_backup
    ),
    **dict.fromkeys(("restore", "restore-stop"), a_restore),
    "connection-test": a_connection_test,
    **dict.fromkeys(("restore-test", "restore-test-stop"), a_test),
}
