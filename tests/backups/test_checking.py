"""A page asks for the test of a connection, a worker does it, and the secret is gone with the answer."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from apps.backups import services
from apps.backups.engines.base import Target
from apps.backups.models import ConnectionTest
from apps.backups.pages.checked import NOBODY, found
from apps.backups.services import Refused
from apps.backups.services.checking import AT_ONCE, KEPT, PATIENCE
from apps.backups.stores.base import Place
from apps.core.runs import State
from apps.people.models import Person
from config.work import KINDS, LOOKS
from tests.people.fixtures import client_of
from tests.servers_room.factories import server_of

pytestmark = pytest.mark.django_db
SECRET = "correct horse battery"


def asked(owner: Person, now: datetime, **config: object) -> ConnectionTest:
    """Ask for the test of a PostgreSQL where none is."""
    where = {"host": "127.0.0.1", "port": 1, "database": "shop", "user": "app", **config}
    return services.ask_check(actor=owner, what=Target("postgresql", where, {"password": SECRET}), now=now)


def stored() -> str:
    """Return all rows as they lie in the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM backups_connectiontest")
        rows = [bytes(value) if isinstance(value, memoryview) else value for row in cursor.fetchall() for value in row]
    return repr(rows)


def test_the_page_only_asks_and_the_worker_answers(owner: Person, now: datetime) -> None:
    test = asked(owner, now)
    assert (test.state, found(test, now).ok) == (State.WAITING, None)
    assert SECRET not in stored()
    services.check(test.pk, clock=lambda: now)
    test = ConnectionTest.objects.get()
    said = found(test, now)
    assert said.ok is False
    assert "Nothing answers at 127.0.0.1:1" in said.said
    assert (test.state, test.secret, test.config) == (State.DONE, None, {})
    assert SECRET not in repr(test.found)


def test_a_source_through_a_server_is_tested_through_it(owner: Person, now: datetime) -> None:
    server = server_of(now, gate_level="operate", pinned=False)
    where = {"host": "127.0.0.1", "port": 5432, "database": "shop", "user": "app"}
    test = services.ask_check(actor=owner, what=Target("postgresql", where, {}, server), now=now)
    services.check(test.pk, clock=lambda: now)
    said = found(ConnectionTest.objects.get(), now)
    assert said.ok is False
    assert server.name in said.said  # nobody has confirmed its host key: nothing was sent, neither there nor from here


def test_a_good_store_says_so_with_what_else_was_seen(owner: Person, now: datetime, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o755)
    test = services.ask_check(actor=owner, what=Place("local", {"path": str(tmp_path / "store")}, {}), now=now)
    services.check(test.pk, clock=lambda: now)
    said = found(ConnectionTest.objects.get(), now)
    assert said.ok
    assert "takes" in said.said


def test_a_test_is_done_once_however_often_it_is_rung_for(owner: Person, now: datetime) -> None:
    test = asked(owner, now)
    for _ in range(3):
        services.check(test.pk, clock=lambda: now)
    assert ConnectionTest.objects.get().attempt == 1


def test_a_worker_that_died_with_it_is_told(owner: Person, now: datetime) -> None:
    test = asked(owner, now)
    assert ConnectionTest.claim(test.pk, now=now, worker="dead:1") is not None
    later = now + ConnectionTest.lease + timedelta(seconds=1)
    services.check(test.pk, clock=lambda: later)
    assert "worker stopped in the middle" in found(ConnectionTest.objects.get(), later).said


def test_an_unforeseen_mistake_is_a_sentence_without_its_text(
    owner: Person, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_target: Target) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr("apps.backups.services.checking.check_source", broken)
    test = asked(owner, now)
    services.check(test.pk, clock=lambda: now)
    said = found(ConnectionTest.objects.get(), now)
    assert "Mainstay itself made a mistake (RuntimeError)" in said.said
    assert SECRET not in said.said


def test_so_many_at_once_and_no_more_until_they_are_too_old(owner: Person, now: datetime) -> None:
    for _ in range(AT_ONCE):
        asked(owner, now)
    with pytest.raises(Refused, match="being tested already"):
        asked(owner, now)
    asked(owner, now + PATIENCE + timedelta(seconds=1))


def test_without_a_worker_the_page_says_so_and_stops_asking(owner: Person, owner_client: Client, now: datetime) -> None:
    test = asked(owner, now)
    late = now + PATIENCE + timedelta(seconds=1)
    assert found(test, late).said == NOBODY
    ConnectionTest.objects.update(created_at=now - timedelta(days=365))
    page = owner_client.get(reverse("connection-test", args=[test.pk]), headers={"HX-Request": "true"}).content.decode()
    assert "hx-get" not in page
    assert "No worker has answered" in page


def test_what_nobody_waits_for_is_removed_with_its_secret(owner: Person, now: datetime) -> None:
    asked(owner, now)
    services.forget_checks(now + KEPT)
    assert ConnectionTest.objects.count() == 1
    services.forget_checks(now + KEPT + timedelta(seconds=1))
    assert not ConnectionTest.objects.exists()
    assert services.forget_checks in LOOKS
    assert ConnectionTest in KINDS


def test_only_who_asked_sees_the_answer(owner: Person, admin: Person, now: datetime) -> None:
    address = reverse("connection-test", args=[asked(owner, now).pk])
    assert client_of(owner).get(address).status_code == 200
    assert client_of(admin).get(address).status_code == 404
