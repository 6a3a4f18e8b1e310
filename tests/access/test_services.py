"""Keys, grants, asking, deciding and leaving as rows: what is kept, what is refused, and who wins when two try."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from apps.access import services
from apps.access.models import AccessState, Account, Asking, Drift, Grant, KeyPush, PublicKey
from apps.access.services.ground import Ground
from apps.access.services.leaving import begin
from apps.access.services.pushing import NO_ADMIN
from apps.alerts.models import Incident
from apps.core.claims import Standing
from apps.core.refused import Refused
from apps.core.runs import State
from apps.people.models import AuditEntry, Person
from apps.servers.models import Server
from tests.access.answers import blob_of
from tests.access.factories import finding, key_of, managed, refused, text_of
from tests.people.factories import MemberFactory, OwnerFactory, PersonFactory

pytestmark = pytest.mark.django_db


# --- keys ---------------------------------------------------------------------------------------------


def test_a_key_is_one_persons_for_ever(owner: Person, member: Person, now: datetime) -> None:
    key = key_of(owner, "one", now)
    assert (key.type, key.state, key.comment) == ("ssh-ed25519", "active", "olga@laptop")
    text = f"{text_of(key)} stolen"
    (pasted,) = services.add_keys(actor=member, text=text, now=now)
    assert pasted.kept is None
    assert "somebody else's" in pasted.problem
    (pasted,) = services.add_keys(actor=owner, text=text, now=now)
    assert "already" in pasted.problem
    services.remove_key(actor=owner, key=key, lost=False, now=now)
    assert "taken out of use" in services.add_keys(actor=owner, text=text, now=now)[0].problem
    assert "somebody else's" in services.add_keys(actor=member, text=text, now=now)[0].problem
    services.remove_key(actor=owner, key=key, lost=True, now=now)  # it turns out that it was lost
    assert "already" in refused(services.remove_key, actor=owner, key=key, lost=True, now=now)
    assert list(AuditEntry.objects.order_by("seq").values_list("verb", flat=True)) == [
        "access.key_added", "access.key_removed", "access.key_revoked",
    ]  # fmt: skip


def test_no_more_keys_than_ten_are_kept(owner: Person, now: datetime) -> None:
    for number in range(10):
        key_of(owner, f"k{number}", now)
    (pasted,) = services.add_keys(actor=owner, text=f"ssh-ed25519 {blob_of('eleven')}", now=now)
    assert "Remove one first" in pasted.problem


@pytest.mark.parametrize(("email", "user"), [
    ("mira.okafor@example.com", "mira-okafor"), ("Tomás@example.com", "tomas"), ("root@example.com", "root2"),
    ("postgres@example.com", "postgres2"), ("9lives@example.com", "u-9lives"), ("a+b@example.com", "a"),
    ("李@example.com", "u-"), ("x" * 60 + "@example.com", "x" * 28), ("-rf@example.com", "rf"),
    ("$(id)@example.com", "id"), ("a;b@example.com", "a-b"),
])  # fmt: skip
def test_an_account_name_is_one_that_every_server_takes(email: str, user: str) -> None:
    made = services.account_of(PersonFactory(email=email)).user
    assert made == (user.rstrip("-") or "user")
    assert services.account_of(PersonFactory(email=f"{email.partition('@')[0]}@other.example")).user != made


# --- grants and asking --------------------------------------------------------------------------------


def test_a_grant_says_whom_and_where_and_is_taken_back_once(owner: Person, member: Person, now: datetime) -> None:
    server = managed().server
    common: dict[str, Any] = {"actor": owner, "now": now}
    assert "person or one role" in refused(services.grant, server=server, **common)
    assert "person or one role" in refused(services.grant, person=member, role="viewer", server=server, **common)
    assert "server or one tag" in refused(services.grant, person=member, **common)
    assert "no such role" in refused(services.grant, role="king", server=server, **common)
    assert "passed" in refused(services.grant, person=member, server=server, until=now, **common)
    gone = PersonFactory(is_active=False)
    assert "has left" in refused(services.grant, person=gone, server=server, **common)
    assert Grant.objects.count() == 0
    made = services.grant(person=member, server=server, **common)
    assert "already" in refused(services.grant, person=member, server=server, **common)
    assert Account.objects.get(person=member).user == "mira"
    services.end_grant(actor=owner, grant=made, now=now)
    assert "ended already" in refused(services.end_grant, actor=owner, grant=made, now=now)
    assert list(Grant.objects.in_force(now)) == []


def test_who_asks_is_answered_once_and_gets_no_sudo(owner: Person, member: Person, now: datetime) -> None:
    server, other = managed().server, Server.objects.create(name="not managed", address="192.0.2.9")
    assert "Choose" in refused(services.ask, actor=member, servers=[], why="", now=now)
    assert "not managed" in refused(services.ask, actor=member, servers=[other], why="", now=now)
    (asking,) = services.ask(actor=member, servers=[server], why="  to look\nat logs " + "x" * 300, now=now)
    assert asking.why.startswith("to look at logs x")
    assert len(asking.why) == 200
    assert services.ask(actor=member, servers=[server], why="again", now=now) == []
    assert [need.said[:30] for need in services.needs(now)] == [f"Mira Member asks for access to {server}"[:30]]
    services.answer(actor=owner, asking=asking, yes=True, now=now)
    assert "answered already" in refused(services.answer, actor=owner, asking=asking, yes=False, now=now)
    grant = Grant.objects.get()
    assert (grant.person, grant.server, grant.sudo, grant.until) == (member, server, False, None)
    (asking,) = services.ask(actor=member, servers=[server], why="", now=now)
    services.answer(actor=owner, asking=asking, yes=False, now=now)
    assert Asking.objects.get(pk=asking.pk).state == "declined"
    assert Grant.objects.count() == 1


# --- what is pushed when ------------------------------------------------------------------------------


def pushes() -> list[str]:
    """Return why each push was asked for."""
    return list(KeyPush.objects.order_by("created_at").values_list("reason", flat=True))


def test_a_server_on_which_nothing_was_granted_is_only_looked_at_once_an_hour(now: datetime) -> None:
    state = managed(next_look_at=now)
    services.look(now)
    services.look(now)
    assert pushes() == ["look"]
    KeyPush.objects.update(state=State.DONE)
    services.look(now + timedelta(minutes=59))
    assert pushes() == ["look"]
    services.look(now + timedelta(minutes=61))
    assert pushes() == ["look", "look"]
    KeyPush.objects.update(state=State.DONE)
    Server.objects.filter(pk=state.server_id).update(failure="timeout")
    services.look(now + timedelta(hours=5))
    assert pushes() == ["look", "look"]


def test_a_push_that_failed_waits_unless_something_else_is_wanted_or_somebody_leaves(
    owner: Person, member: Person, now: datetime
) -> None:
    state = managed(next_look_at=now + timedelta(days=1))
    services.grant(actor=owner, person=owner, server=state.server, sudo=True, now=now)
    key_of(owner, now=now)
    services.look(now)
    assert pushes() == ["wanted"]
    digest = Ground.fetch(now).wanted_on(state.server, state).digest
    KeyPush.objects.update(state=State.FAILED, wanted=digest, finished_at=now)
    services.look(now)
    assert pushes() == ["wanted"]
    key_of(owner, now=now)
    services.look(now)
    assert pushes() == ["wanted"] * 2
    KeyPush.objects.update(state=State.FAILED, wanted="", finished_at=now)
    services.look(now)
    assert pushes() == ["wanted"] * 2
    begin(person=member, asked_by=owner, now=now + timedelta(seconds=1))
    services.look(now)
    assert pushes() == ["wanted"] * 3


def test_a_refusal_is_looked_at_again_once_what_was_refused_is_not_wanted_any_more(now: datetime) -> None:
    state = managed(next_look_at=now + timedelta(minutes=50), refused="No admin would be left.")
    failed = {"state": State.FAILED, "wanted": "x" * 64, "finished_at": now, "created_at": now}
    KeyPush.objects.create(server=state.server, reason="wanted", **failed)
    services.look(now)
    assert pushes() == ["wanted", "look"]
    KeyPush.objects.update(state=State.FAILED, wanted="", finished_at=now)
    services.look(now)
    assert pushes() == ["wanted", "look"]


def test_nothing_is_sent_where_no_admin_would_be_left(owner: Person, member: Person, now: datetime) -> None:
    state = managed()
    services.grant(actor=owner, person=member, server=state.server, now=now)
    key_of(member, now=now)
    wanted = Ground.fetch(now).wanted_on(state.server, state)
    assert not any(one.admin for one in wanted.accounts)
    assert state.server.name in NO_ADMIN.format(state.server.name)


def test_an_account_that_was_there_before_is_wanted_only_once_it_is_adopted(
    owner: Person, member: Person, now: datetime
) -> None:
    state = managed(foreign=["mira"])
    services.grant(actor=owner, person=member, server=state.server, now=now)
    key_of(member, now=now)
    assert Ground.fetch(now).wanted_on(state.server, state).accounts == ()
    drift = finding(state, kind="account")
    drift.detail |= {"user": "mira", "text": "", "answers": ["adopt", "ask"]}
    drift.save()
    services.decide(actor=owner, drift=drift, answer="adopt", now=now)
    state.refresh_from_db()
    assert state.foreign == []
    assert [one.user for one in Ground.fetch(now).wanted_on(state.server, state).accounts] == ["mira"]


def test_enforcing_is_refused_until_an_admin_was_seen_to_get_in(owner: Person, now: datetime) -> None:
    state = managed(looked_at=now)
    change: dict[str, Any] = {"actor": owner, "state": state, "now": now}
    assert "was seen to get in" in refused(services.change_mode, mode="enforced", **change)
    services.grant(actor=owner, person=owner, server=state.server, sudo=True, now=now)
    key = key_of(owner, now=now)
    assert "was seen to get in" in refused(services.change_mode, mode="enforced", **change)
    state.actual = [{"user": "olga", "keys": [text_of(key)], "sudo": True, "accepts": True, "why": ""}]
    state.save()
    assert "no such mode" in refused(services.change_mode, mode="loose", **change)
    services.change_mode(mode="enforced", **change)
    assert AccessState.objects.get().mode == "enforced"
    assert pushes() == ["mode"]
    assert "at this moment" in refused(services.change_mode, mode="enforced", **change)  # a page from before


# --- how it stands ------------------------------------------------------------------------------------


def test_a_claim_is_proven_by_a_look_that_found_nothing_and_by_nothing_else(now: datetime) -> None:
    fine = managed(looked_at=now, actual=[{"user": "mainstay"}, {"user": "mira"}])
    old, unsure = managed(looked_at=now - timedelta(hours=3)), managed(looked_at=now, unsure=["sudo is missing."])
    drifted, stuck = managed(looked_at=now), managed(looked_at=now, refused="No admin.")
    finding(drifted)
    found = {claim.subject: claim for claim in services.claims(now)}
    assert found[fine.server.name].standing == Standing.PROVEN
    assert found[fine.server.name].said.startswith("1 account with keys")
    for state, standing in ((old, "UNPROVEN"), (unsure, "UNPROVEN"), (drifted, "AT_RISK"), (stuck, "AT_RISK")):
        assert found[state.server.name].standing == Standing[standing]
    services.watch(now)
    told = set(Incident.objects.values_list("code", "subject"))
    assert told == {("access.drift", drifted.server.name), ("access.push", stuck.server.name),
                    ("access.unseen", old.server.name)}  # fmt: skip


# --- two at once --------------------------------------------------------------------------------------


def both(work: Callable[[int], Any]) -> list[str]:
    """Do the same twice at the same moment; return how each ended."""
    ends: list[str] = ["", ""]
    gate = threading.Barrier(2)

    def run(number: int) -> None:
        try:
            gate.wait(10)
            work(number)
            ends[number] = "done"
        except Refused as told:
            ends[number] = told.sentence
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return sorted(ends)


@pytest.mark.db
@pytest.mark.django_db(transaction=True)
def test_one_key_pasted_by_two_people_at_once_is_kept_for_one() -> None:
    pair = [OwnerFactory(), MemberFactory()]
    text = f"ssh-ed25519 {blob_of('both')}"
    kept: list[Any] = []
    both(lambda number: kept.extend(services.add_keys(actor=pair[number], text=text, now=timezone.now())))
    assert sorted(one.kept is not None for one in kept) == [False, True]
    assert PublicKey.objects.count() == 1


@pytest.mark.db
@pytest.mark.django_db(transaction=True)
def test_two_admins_who_decide_or_answer_at_once_do_it_once() -> None:
    admin, asker = OwnerFactory(), MemberFactory()
    now = timezone.now()
    state = managed()
    asking = services.ask(actor=asker, servers=[state.server], why="", now=now)[0]
    ends = both(lambda _number: services.answer(actor=admin, asking=asking, yes=True, now=now))
    assert ends == ["This was answered already. Nothing was changed.", "done"]
    assert Grant.objects.count() == 1
    drift = finding(state)
    both(lambda _number: services.decide(actor=admin, drift=drift, answer="remove", now=now))
    assert Drift.objects.get().state == "removing"
    assert AuditEntry.objects.filter(verb="access.drift_remove").count() == 1


@pytest.mark.db
@pytest.mark.django_db(transaction=True)
def test_two_ticks_at_once_make_one_push() -> None:
    managed()
    now = timezone.now()
    both(lambda _number: services.look(now))
    assert KeyPush.objects.count() == 1
