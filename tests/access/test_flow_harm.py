"""What goes wrong in the middle: a worker killed, a full disk, a panel dead for a month, a server talking nonsense."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from apps.access import services
from apps.access.models import Drift, KeyPush
from apps.access.services import pushing
from apps.core.runs import State
from apps.people.models import Person
from apps.servers import ssh
from tests.access.answers import answer
from tests.access.factories import key_of, managed
from tests.access.site import Site
from tests.fleet.machine import until
from tests.fleet.server import Server
from tests.people.factories import MemberFactory, OwnerFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def olga() -> Person:
    return OwnerFactory(name="Olga Owner", email="olga@example.com")


@pytest.fixture
def bob() -> Person:
    return MemberFactory(name="Bob Builder", email="bob@example.com")


@pytest.fixture
def site(server: Server, tmp_path: Path, olga: Person, bob: Person) -> Site:
    """A managed server that Olga may administer and Bob may open, nothing pushed yet."""
    made_site = Site(server, tmp_path / "keys")
    for person, sudo in ((olga, True), (bob, False)):
        made_site.add_key(person, person.email.partition("@")[0])
        services.grant(actor=olga, person=person, server=made_site.row, sudo=sudo, now=timezone.now())
    return made_site


def test_a_worker_killed_between_applying_and_proving_leaves_no_trace_and_its_successor_ends_the_work(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        """The process is gone."""

    def die(*_words: Any) -> None:
        assert site.opens("bob", "bob")  # it is applied
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(pushing._Push, "_prove", die)
        patch.setattr(pushing, "ROLLBACK", 10)
        services.look(timezone.now())
        run = KeyPush.objects.get()
        with pytest.raises(KilledError):
            services.push(run_id=str(run.pk))
    assert site.state.offered  # what may be there was written down before
    assert until(lambda: not site.opens("bob", "bob"), 40)  # the server undid it by itself
    assert site.server.ssh_root("true").code == 0
    KeyPush.objects.filter(pk=run.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    services.push(run_id=str(run.pk))
    run.refresh_from_db()
    assert run.state == State.DONE, run.error
    assert site.opens("bob", "bob")


def test_a_full_disk_is_said_and_changes_nothing(site: Site, bob: Person) -> None:
    site.done()
    site.add_key(bob, "bob-two")
    site.server.fill_disk()
    run = site.carry()
    assert run is not None
    assert run.state != State.DONE
    assert "No space left" in run.error
    assert site.opens("bob", "bob")
    assert not site.opens("bob", "bob-two")
    site.server.free_disk()
    KeyPush.objects.filter(pk=run.pk).update(state=State.WAITING, due_at=timezone.now())
    services.push(run_id=str(run.pk))
    assert site.opens("bob", "bob-two")


def test_with_the_panel_dead_for_thirty_days_an_admin_still_gets_in_and_nobody_else(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = timezone.now() - timedelta(days=30)
    with monkeypatch.context() as patch:
        patch.setattr("apps.access.services.pushing.timezone.now", lambda: then)
        site.done(then)
    assert site.login("olga", "olga", "sudo -n id -u").out == "0\n"
    assert not site.opens("bob", "bob")
    site.done()  # the panel is back
    assert site.opens("bob", "bob")


# --- answers that are not what they should be -----------------------------------------------------------


def told(data: Any) -> ssh.Answer:
    """Return an answer of a gate."""
    greeted: Any = None
    return ssh.Answer(data, "0" * 64, greeted, 0.0)


@pytest.mark.parametrize("data", [
    {}, {"accounts": "x"}, answer(twins=[{"user": "<script>", "uid": -5}]), answer(files=[{"path": 1}]),
    answer(accounts=[{"user": "a"}]), answer(effective=[{"error": "\x1b[2J", "options": "no"}]),
])  # fmt: skip
def test_a_server_that_talks_nonsense_is_refused_whole_and_nothing_is_sent_to_it(
    olga: Person, monkeypatch: pytest.MonkeyPatch, data: Any
) -> None:
    state, now = managed(), timezone.now()
    key_of(olga)
    services.grant(actor=olga, person=olga, server=state.server, sudo=True, now=now)
    asked: list[str] = []

    def ask(_server: Any, verb: str, *_words: Any, **_named: Any) -> ssh.Answer:
        asked.append(verb)
        return told(data)

    monkeypatch.setattr(ssh.Held, "ask", ask)
    services.look(now)
    run = KeyPush.objects.get()
    services.push(run_id=str(run.pk))
    run.refresh_from_db()
    state.refresh_from_db()
    assert (run.state, asked) == (State.FAILED, ["keys"])
    assert run.error == state.refused
    assert "answered what it should not" in run.error
    assert not any(mark in run.error for mark in ("<script>", "\x1b"))
    assert Drift.objects.count() == 0


@pytest.mark.parametrize("code", ["timeout", "host_key", "guard", "state", "full"])
def test_every_trouble_is_kept_as_its_sentence_and_tried_again_when_that_can_help(
    olga: Person, monkeypatch: pytest.MonkeyPatch, code: str, now: datetime
) -> None:
    state = managed()

    def ask(*_words: Any, **_named: Any) -> ssh.Answer:
        raise ssh.Trouble(code, f"It is {code}.")

    monkeypatch.setattr(ssh.Held, "ask", ask)
    run = services.ask_push(server=state.server, reason="look", now=now)
    assert run is not None
    services.push(run_id=str(run.pk))
    run.refresh_from_db()
    state.refresh_from_db()
    assert run.state == (State.FAILED if code in {"host_key", "guard"} else State.WAITING)
    assert state.refused == run.error == f"It is {code}."
