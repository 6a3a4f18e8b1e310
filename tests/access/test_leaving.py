"""Leaving as rows: a clock a server with the end of its lease, and what counts as a proof."""

from datetime import datetime, timedelta

import pytest

from apps.access import services
from apps.access.models import AccessState, Departure
from apps.access.services.ground import Ground
from apps.access.services.leaving import lease_end, notice, prove
from apps.access.services.pushing import lent
from apps.alerts.models import Incident
from apps.people import services as people
from apps.people.models import Person
from apps.servers import ssh
from tests.access.answers import account, line, source
from tests.access.factories import key_of, managed
from tests.access.test_drifting import seen

pytestmark = pytest.mark.django_db


def test_leaving_begins_a_clock_for_each_server_with_the_end_of_its_lease(
    owner: Person, member: Person, now: datetime
) -> None:
    key = key_of(member, now=now)
    until = now + timedelta(hours=40)
    leased = managed(offered={str(key.pk): until.isoformat()})
    free, never = managed(offered={str(key.pk): None}), managed()
    departure = services.off_board(actor=owner, person=member, now=now)
    ends = {one.server_id: one.lease_ends_at for one in departure.goodbyes.all()}
    assert ends == {leased.server_id: until, free.server_id: None, never.server_id: now}
    assert Person.objects.get(pk=member.pk).is_active is False
    assert set(AccessState.objects.values_list("next_look_at", flat=True)) == {now}
    services.watch(now)
    assert [need.title for need in services.needs(now) if need.rank == 0] == ["Mira Member has left"]
    assert Incident.objects.filter(code="access.leaving").count() == 1
    departure.goodbyes.update(proven_at=now)
    notice(now)
    assert Departure.objects.get().ended_at == now
    services.watch(now)
    assert Incident.objects.filter(code="access.leaving", closed_at=None, mended_at=None).count() == 0


def test_who_left_by_another_way_gets_the_same_clocks_once(owner: Person, member: Person, now: datetime) -> None:
    managed()
    key_of(member, now=now)
    people.leave(actor=owner, person=member, now=now)
    notice(now)
    notice(now)
    assert Departure.objects.get().person == member


def test_without_a_managed_server_leaving_is_over_at_once(owner: Person, member: Person, now: datetime) -> None:
    assert services.off_board(actor=owner, person=member, now=now).ended_at == now


def test_a_push_that_was_begun_counts_for_the_end_of_the_lease(owner: Person, now: datetime) -> None:
    key = key_of(owner, now=now)
    state = managed(leases={str(key.pk): now.isoformat()}, offered={str(key.pk): (now + timedelta(1)).isoformat()})
    assert lease_end({str(key.pk)}, state, now) == now + timedelta(days=1)
    services.grant(actor=owner, person=owner, server=state.server, sudo=True, now=now)
    assert lent(Ground.fetch(now).wanted_on(state.server, state)) == {str(key.pk): None}


KRL = {"path": "/etc/ssh/mainstay/revoked.krl", "sha256": "a" * 64, "uid": 0, "mode": 0o644, "wanted": "a" * 64}


@pytest.mark.parametrize(("hidden", "krl", "proven"), [
    (False, "", True), (True, "", False), (True, "listed", True), (True, "changed", False),
])  # fmt: skip
def test_a_key_that_hides_counts_as_gone_only_when_the_list_that_revokes_it_is_as_written(
    monkeypatch: pytest.MonkeyPatch, owner: Person, member: Person, now: datetime, *,
    hidden: bool, krl: str, proven: bool
) -> None:
    monkeypatch.setattr(ssh, "would_accept", lambda *_words: ssh.Offered(accepted=False, answered=1))
    state = managed()
    key_of(member, "mira", now)
    departure = services.off_board(actor=owner, person=member, now=now)
    files = [{**KRL, "sha256": ("b" if krl == "changed" else "a") * 64}] if krl else []
    held = [account("deploy", 1005, source("/people/deploy/.ssh/authorized_keys", line("mira")))] if hidden else []
    ground = Ground.fetch(now)
    prove(
        line=ssh.Held(state.server), server=state.server, ground=ground, wanted=ground.wanted_on(state.server, state),
        seen=seen(*held, files=files), told={}, now=now,
    )  # fmt: skip
    goodbye = departure.goodbyes.get()
    assert ("revoked" in goodbye.proofs, goodbye.proven_at is not None) == (proven, proven)
    assert bool(goodbye.remains) == hidden
