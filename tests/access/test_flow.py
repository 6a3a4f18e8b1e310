"""From a pasted key to a real login and back: grants, lost keys, leaving and drift, on real servers with real sshd."""

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from apps.access import services
from apps.access.models import Drift, Grant
from apps.core.refused import Refused
from apps.core.runs import State
from apps.people.models import Person
from tests.access.site import Site
from tests.access.ssh_keys import made
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


def write_key(site: Site, user: str, name: str) -> None:
    """Hide somebody's key where sshd has always read a user's own."""
    site.server.inside(f"install -d -m 700 -o {user} ~{user}/.ssh")
    words = f"cat >> ~{user}/.ssh/authorized_keys; chown {user} ~{user}/.ssh/authorized_keys"
    site.server.inside(words, input=made("ed25519", 0, name)[0] + "\n")


def test_a_key_opens_what_was_granted_and_nothing_once_that_has_ended(site: Site, olga: Person, bob: Person) -> None:
    site.done()
    assert site.login("olga", "olga", "sudo -n id -u").out == "0\n"
    assert site.opens("bob", "bob")
    assert "password is required" in site.login("bob", "bob", "sudo -n id").err
    assert not site.opens("olga", "bob")
    assert site.carry() is None  # nothing is to be done twice
    # a second key, by the same person; the first one is lost
    site.add_key(bob, "bob-two")
    first = bob.public_keys.order_by("added_at")[0]
    services.remove_key(actor=bob, key=first, lost=True, now=timezone.now())
    site.done()
    assert site.opens("bob", "bob-two")
    write_key(site, "bob", "bob")
    assert not site.opens("bob", "bob")  # wherever it hides
    # the grant ends
    grant = Grant.objects.get(person=bob)
    services.end_grant(actor=olga, grant=grant, now=timezone.now())
    site.done()
    assert not site.opens("bob", "bob-two")
    assert site.opens("olga", "olga")
    # and one that has an end of its own needs no panel for it
    now = timezone.now()
    services.grant(actor=olga, person=bob, server=site.row, until=now + timedelta(seconds=25), now=now)
    site.done()
    assert site.opens("bob", "bob-two")
    assert until(lambda: not site.opens("bob", "bob-two"), 40)


def test_leaving_ends_everything_and_each_server_proves_it(site: Site, olga: Person, bob: Person) -> None:
    site.done()
    live = subprocess.Popen(
        [*site.server.ssh_words("bob", site.keys / "bob"), "sleep 300"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert until(lambda: site.server.inside("pgrep -u bob sleep", check=False).code == 0, 20)
    write_key(site, "root", "bob")
    departure = services.off_board(actor=olga, person=bob, now=timezone.now())
    site.done()
    goodbye = departure.goodbyes.get()
    assert goodbye.proven_at, goodbye.proofs
    assert set(goodbye.proofs) == {"keys", "revoked", "sessions", "locked", "login"}
    assert any(".ssh/authorized_keys, line" in said for said in goodbye.remains)
    assert live.wait(20) == 255
    assert not site.opens("bob", "bob")
    assert not site.opens("root", "bob")
    assert site.opens("olga", "olga")
    services.look(timezone.now())
    departure.refresh_from_db()
    assert departure.ended_at


def test_a_server_that_is_away_while_somebody_leaves_shows_when_the_lease_ends(
    site: Site, olga: Person, bob: Person
) -> None:
    site.done()
    site.server.unplug()
    departure = services.off_board(actor=olga, person=bob, now=timezone.now())
    run = site.carry()
    assert run is not None
    assert run.state == State.WAITING  # again later
    assert site.server.address in run.error
    goodbye = departure.goodbyes.get()
    assert goodbye.proven_at is None
    assert goodbye.lease_ends_at is not None
    assert timedelta(hours=71) < goodbye.lease_ends_at - timezone.now() <= timedelta(hours=72)
    site.server.plug()
    assert until(site.server.answers, 20)
    services.push(run_id=str(run.pk))  # too early for the row
    type(run).objects.filter(pk=run.pk).update(due_at=timezone.now())
    services.push(run_id=str(run.pk))
    goodbye.refresh_from_db()
    assert goodbye.proven_at, goodbye.proofs


def test_the_last_admin_is_not_locked_out_and_the_page_says_why(site: Site, olga: Person, bob: Person) -> None:
    site.done()
    services.end_grant(actor=olga, grant=Grant.objects.get(person=olga), now=timezone.now())
    run = site.carry()
    assert run is not None
    assert run.state == State.FAILED
    assert site.server.name in site.state.refused
    assert site.opens("olga", "olga")
    services.grant(actor=olga, person=olga, server=site.row, sudo=True, now=timezone.now())
    site.carry()  # as before, so there is nothing to push
    site.server.inside("echo 'DenyUsers olga' > /etc/ssh/sshd_config.d/05-theirs.conf")
    site.add_key(bob, "bob-two")
    run = site.carry()
    assert run is not None
    assert run.state == State.FAILED
    assert "DenyUsers" in site.state.refused
    assert not site.opens("bob", "bob-two")
    site.server.inside("rm /etc/ssh/sshd_config.d/05-theirs.conf")


def test_keys_that_nobody_knows_are_found_adopted_as_somebodys_or_revoked_and_enforcing_ends_them(
    site: Site, olga: Person, bob: Person
) -> None:
    for name in ("stranger", "known"):
        (site.keys / name).write_text(made("ed25519", 0, name)[1])
        (site.keys / name).chmod(0o600)
        site.server.inside(f"useradd -m -s /bin/bash u-{name}")
        write_key(site, f"u-{name}", name)
    site.server.inside("useradd -m -s /bin/bash carol")
    carol = MemberFactory(name="Carol", email="carol@example.com")
    site.add_key(carol, "carol")
    services.grant(actor=olga, person=carol, server=site.row, now=timezone.now())
    site.done()
    assert site.opens("u-stranger", "stranger")  # nothing that was there stops working
    assert not site.opens("carol", "carol")  # her name was there before
    assert site.opens("bob", "bob")
    services.decide(actor=olga, drift=site.found("account"), answer="adopt", now=timezone.now())
    site.done()
    assert site.opens("carol", "carol")
    unknown = {one.detail["user"]: one for one in Drift.objects.open().filter(kind="unknown_key")}
    assert set(unknown) == {"u-stranger", "u-known"}
    services.decide(actor=olga, drift=unknown["u-known"], answer="adopt", person=bob, now=timezone.now())
    services.decide(actor=olga, drift=unknown["u-stranger"], answer="remove", now=timezone.now())
    site.done()
    assert not site.opens("u-stranger", "stranger")
    assert site.opens("u-known", "known")
    assert site.opens("bob", "known")  # it is Bob's own now
    assert not Drift.objects.open().filter(kind__in=["unknown_key", "shared_key"]).exists()
    services.change_mode(actor=olga, state=site.state, mode="enforced", now=timezone.now())
    for run in site.state.server.key_pushes.filter(state=State.WAITING):
        services.push(run_id=str(run.pk))
    assert site.state.refused == ""
    assert not site.opens("u-known", "known")
    assert site.opens("bob", "known")
    assert site.opens("olga", "olga")
    with pytest.raises(Refused, match="so already"):
        services.change_mode(actor=olga, state=site.state, mode="enforced", now=timezone.now())
