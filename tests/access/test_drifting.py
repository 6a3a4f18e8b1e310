"""Findings as rows: kept while they are there, decided by people, a key made somebody's, a file written anew."""

import base64
from datetime import datetime, timedelta
from typing import Any

import pytest

from apps.access import services
from apps.access.drift import Finding
from apps.access.found import read
from apps.access.models import AccessState, Drift, PublicKey
from apps.access.services.drifting import keep_drift
from apps.access.services.ground import Ground
from apps.people.models import Person
from tests.access.answers import account, answer, blob_of, line, source
from tests.access.factories import finding, managed, refused, text_of
from tests.people.factories import PersonFactory

pytestmark = pytest.mark.django_db


def seen(*accounts: dict[str, Any], **more: Any) -> Any:
    """Return what a server answered."""
    return read(answer(*accounts, **more))


def unknown(now: datetime) -> tuple[AccessState, Drift]:
    """Return a server with a stranger's key in deploy's file, kept as a look keeps it."""
    state = managed()
    return state, finding(state, first_seen=now, last_seen=now)


def test_a_finding_keeps_its_row_and_its_decision_until_it_is_gone(owner: Person, now: datetime) -> None:
    state = managed()
    told = seen(account("deploy", 1005, source("/people/deploy/.ssh/authorized_keys", line("stranger"))))
    mark = next(one.fingerprint for src in told.account("deploy").sources for one in src.lines)
    found = Finding("unknown_key", "unknown_key:1", True, "A key.", (), "deploy", "/p", 1, mark)

    def keep(*findings: Finding, revoked: frozenset[str] = frozenset(), at: datetime = now) -> Drift:
        keep_drift(server=state.server, findings=findings, seen=told, revoked=set(revoked), now=at)
        one: Drift = Drift.objects.get()
        return one

    assert keep(found).detail["text"] == f"ssh-ed25519 {blob_of('stranger')}"
    later = now + timedelta(hours=1)
    again = keep(found, at=later)
    assert (again.first_seen, again.last_seen, again.state) == (now, later, "open")
    Drift.objects.update(state="adopted", decision="adopt")
    assert keep(at=later).state == "adopted"  # an adopted one is not found any more, and stays adopted
    Drift.objects.update(state="removing", decision="remove")
    assert keep(found, revoked=frozenset({again.detail["text"]}), at=later).state == "gone"
    assert Drift.objects.revoked_texts() == {state.server_id: {again.detail["text"]}}
    Drift.objects.update(decision="ask")
    assert Drift.objects.revoked_texts() == {}  # only what somebody decided to remove
    back = keep(found, at=later)
    assert (back.state, back.decision, back.first_seen) == ("open", "", later)


def test_a_key_is_adopted_as_somebodys_asked_about_or_revoked(owner: Person, member: Person, now: datetime) -> None:
    state, drift = unknown(now)
    common: dict[str, Any] = {"actor": owner, "drift": drift, "now": now}
    assert "whom to ask" in refused(services.decide, answer="ask", **common)
    assert "cannot be decided" in refused(services.decide, answer="burn", **common)
    assert "has left" in refused(services.decide, answer="ask", person=PersonFactory(is_active=False), **common)
    services.decide(answer="ask", person=member, **common)
    assert list(Drift.objects.asked_of(member)) == [drift]
    assert "gone, already" in refused(services.reply, actor=owner, drift=drift, mine=True)  # was not asked
    services.reply(actor=member, drift=drift, mine=True)
    assert "gone, already" in refused(services.reply, actor=member, drift=drift, mine=False)
    services.decide(answer="adopt", person=member, **common)
    key = PublicKey.objects.get()
    assert (key.person, key.comment, text_of(key)) == (member, "stranger@laptop", drift.detail["text"])
    kinds = dict(Drift.objects.filter(state="adopted").values_list("kind", "key"))
    assert set(kinds) == {"unknown_key", "shared_key", "copy"}
    services.decide(answer="remove", **common)  # on second thoughts
    assert Drift.objects.revoked_texts() == {state.server_id: {drift.detail["text"]}}
    assert drift.detail["text"] in Ground.fetch(now).wanted_on(state.server, state).revoked
    assert "gone, already" in refused(services.decide, answer="adopt", **common)


def test_a_weak_key_becomes_nobodys(owner: Person, member: Person, now: datetime) -> None:
    _state, drift = unknown(now)
    raw = base64.b64encode(b"\0\0\0\7ssh-dss\0\0\0\1\3").decode()
    drift.detail["text"] = f"ssh-dss {raw}"
    drift.save()
    said = refused(services.decide, actor=owner, drift=drift, answer="adopt", person=member, now=now)
    assert said.endswith("Nothing was changed.")
    drift.refresh_from_db()
    assert (drift.state, PublicKey.objects.count()) == ("open", 0)


def test_a_file_of_ours_that_was_changed_is_written_anew_and_no_key_revoked(owner: Person, now: datetime) -> None:
    state = managed(pushed="a" * 64)
    drift = finding(state, kind="own_file")
    drift.detail["text"] = ""
    drift.save()
    services.decide(actor=owner, drift=drift, answer="remove", now=now)
    state.refresh_from_db()
    assert state.pushed == ""
    assert Drift.objects.revoked_texts() == {}
