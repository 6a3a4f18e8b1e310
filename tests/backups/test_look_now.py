"""“Look now” on the page of stores: asked once, done by a worker, its progress and outcome on the page."""

from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from apps.backups import services as backups
from apps.backups.models import Inspection
from apps.backups.services import Refused
from apps.people.models import AuditEntry
from tests.backups.factories import World, world
from tests.people.factories import AdminFactory, PersonFactory
from tests.people.fixtures import client_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def made(tmp_path: Path) -> World:
    """Return a plan with one proven backup."""
    made = world(tmp_path)
    made.proven()
    return made


@pytest.fixture
def admin(made: World) -> Client:
    """Return the browser of an admin."""
    return client_of(AdminFactory())


def page(client: Client, *, polled: bool = False) -> str:
    """Return the page of stores, or what its poll gets."""
    headers = {"HX-Request": "true"} if polled else {}
    return client.get(reverse("stores"), headers=headers).content.decode()


def test_a_look_is_asked_for_done_and_told_on_the_page(made: World, admin: Client) -> None:
    assert "Look now" in page(admin)
    assert 'hx-trigger="every 2s"' not in page(admin)
    assert admin.post(reverse("store-look", args=[made.store.pk])).status_code == 302
    waiting = page(admin)
    assert "Waiting for a worker" in waiting
    assert 'hx-trigger="every 2s"' in waiting
    assert "Look now" not in waiting
    polled = page(admin, polled=True)
    assert "<html" not in polled
    assert "Waiting for a worker" in polled
    backups.inspect(Inspection.objects.get().pk)
    done = page(admin, polled=True)
    assert "each backup as recorded" in done
    assert 'hx-trigger="every 2s"' not in done, "the poll ends with the look"
    assert AuditEntry.objects.filter(verb="backups.look_asked", subject=made.store.name).count() == 1


def test_what_a_look_finds_lost_stands_on_the_page(made: World, admin: Client) -> None:
    (file,) = made.objects()
    file.unlink()
    admin.post(reverse("store-look", args=[made.store.pk]))
    backups.inspect(Inspection.objects.get().pk)
    found = page(admin)
    assert "1 backup gone or changed there" in found
    assert "nothing wrong" not in found
    assert "as recorded" not in found


def test_a_look_under_way_is_not_begun_twice(made: World) -> None:
    first = backups.look_now(actor=made.owner, store=made.store, now=made.now)
    with pytest.raises(Refused, match="looked at already"):
        backups.look_now(actor=made.owner, store=made.store, now=made.now)
    backups.inspect(first.pk, clock=made.clock)
    again = backups.look_now(actor=made.owner, store=made.store, now=made.now)
    assert (again.pk, again.state, again.attempt) == (first.pk, "waiting", 0)


def test_who_only_reads_sees_the_outcome_and_no_button(made: World) -> None:
    reader = client_of(PersonFactory(role="viewer"))
    assert "Look now" not in page(reader)
    assert reader.post(reverse("store-look", args=[made.store.pk])).status_code == 403
