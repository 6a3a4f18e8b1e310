"""Watching: rows in, standing and incidents out; hysteresis is carried over from sample to sample."""

from datetime import timedelta
from typing import Any

import pytest

from apps.alerts.models import Incident
from apps.people.models import Person
from apps.servers import services
from apps.servers.models import Server
from apps.servers.services import watching
from tests.conftest import NOW
from tests.servers_room.factories import FACTS, VALUES, key_of, sampled, server_of

pytestmark = pytest.mark.django_db
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def watched(server: Server, now: Any = NOW) -> Server:
    """Let the clock look; return the server as it is then."""
    Server.objects.filter(pk=server.pk).update(judge_at=now)
    services.watch(now)
    found: Server = Server.objects.get(pk=server.pk)
    return found


def open_codes() -> set[str]:
    """Return the codes of what is open."""
    return set(Incident.objects.filter(closed_at=None).values_list("code", flat=True))


def test_a_server_that_answers_and_has_nothing_is_well_and_tells_nobody() -> None:
    server = watched(server_of(NOW, verdict="none", verdict_said=""))
    assert (server.verdict, server.faults) == ("ok", [])
    assert server.verdict_since == NOW
    assert not Incident.objects.exists()


def test_silence_becomes_unknown_by_itself() -> None:
    server = server_of(NOW)
    assert watched(server).verdict == "ok"
    assert watched(server, NOW + 6 * MINUTE).verdict == "none"


def test_a_limit_is_carried_over_from_sample_to_sample_and_clears_only_well_below() -> None:
    server = server_of(NOW, full_at=NOW + DAY)
    seen = []
    for minute, value in enumerate([0.91] * 8 + [0.87] * 8 + [0.80] * 8):
        now = NOW + minute * MINUTE
        latest = {"at": now.timestamp(), "values": {**VALUES, "disk:/": value}, "totals": {}}
        Server.objects.filter(pk=server.pk).update(latest=latest, reached_at=now)
        seen.append(watched(server, now).verdict)
        watched(server, now)  # the same sample twice changes nothing
    assert seen == ["ok"] * 5 + ["warn"] * 16 + ["ok"] * 3
    assert Incident.objects.get(code="servers.resource").closed_at


def test_every_kind_of_trouble_opens_one_incident_and_closes_it_when_mended(admin: Person) -> None:
    updates = {"pending": 9, "security": 4, "names": [], "lists_at": NOW.timestamp()}
    server = server_of(
        NOW, clock_skew=900.0, security_since=NOW - 9 * DAY,
        facts={**FACTS, "updates": updates, "reboot": "The kernel was updated.", "end_of_life": "2024-01-01"},
    )  # fmt: skip
    assert watched(server).verdict == "bad"
    watched(server, NOW + MINUTE)
    everything = {"servers.updates", "servers.reboot", "servers.end_of_life", "servers.clock"}
    assert open_codes() == everything
    assert Incident.objects.count() == 4
    server.facts.data = FACTS
    server.facts.save()
    Server.objects.filter(pk=server.pk).update(clock_skew=0.0, security_since=None, reached_at=NOW + MINUTE)
    assert watched(server, NOW + 2 * MINUTE).verdict == "ok"
    assert open_codes() == set()


def test_a_changed_host_key_is_told_at_once_and_stays_until_a_person_decides(admin: Person) -> None:
    server = server_of(NOW)
    services.found_host_keys(server=server, keys=[("ssh-ed25519", "AAAA", "SHA256:other")], now=NOW)
    server = watched(server)
    assert (server.verdict, server.faults[0]["code"]) == ("bad", "servers.host_key")
    services.found_host_keys(
        server=server, keys=[("ssh-ed25519", "AAAA", f"SHA256:pinned-{server.pk}")], now=NOW + MINUTE
    )
    server = watched(server, NOW + MINUTE)
    assert open_codes() == {"servers.host_key"}
    services.keep_host_key(actor=admin, server=server, now=NOW + 2 * MINUTE)
    watched(server, NOW + 2 * MINUTE)
    assert open_codes() == set()


def test_a_server_without_an_answer_is_told_and_nothing_else_of_it() -> None:
    server = server_of(NOW, failure="timeout", failure_said="It does not answer.", failing_since=NOW, clock_skew=900.0)
    assert [fault["code"] for fault in watched(server).faults] == ["servers.unreachable"]


def test_removing_a_server_ends_its_incidents(admin: Person) -> None:
    server = server_of(NOW, clock_skew=900.0)
    watched(server)
    assert open_codes() == {"servers.clock"}
    services.remove(actor=admin, server=server, typed=server.name, now=NOW)
    assert open_codes() == set()


def test_one_server_that_cannot_be_judged_leaves_the_others_judged(caplog: pytest.LogCaptureFixture) -> None:
    broken = server_of(NOW, states={"disk:/": {"since": "no moment"}}, verdict="none")
    whole = server_of(NOW, verdict="none")
    services.watch(NOW)
    assert Server.objects.get(pk=whole.pk).verdict == "ok"
    assert Server.objects.get(pk=broken.pk).verdict == "none"
    assert "could not be judged" in caplog.text


def test_a_disk_that_fills_is_foretold_from_its_samples() -> None:
    server = server_of(NOW)
    sampled(server, NOW, days=20, step=3600, metrics=("disk:/",))
    sampled(server, NOW, days=1, step=300, metrics=("disk:/",))
    told = watching.foretold(server, NOW)
    assert set(told) == {"disk:/", "disk:/srv", "inodes:/"}
    assert told["disk:/srv"]["trend"] == "unknown"
    assert told["disk:/"]["said"].endswith(".")


def test_claims_are_unproven_in_silence_at_risk_by_a_fault_and_proven_by_fresh_figures() -> None:
    updates = {"pending": 0, "security": 0, "names": [], "lists_at": NOW.timestamp()}
    facts = {**FACTS, "updates": updates}
    server_of(NOW, name="a-well", facts=facts)
    server_of(NOW - DAY, name="b-silent", facts=facts, verdict="none", verdict_said="It was last heard of 1 day ago.")
    full = [{"code": "servers.resource", "bad": False, "said": "The disk / is 95 % full.", "since": None}]
    server_of(NOW, name="c-full", facts=None, faults=full)
    found = {(claim.id, claim.subject): str(claim.standing) for claim in services.claims(NOW)}
    assert found == {
        ("S9", "a-well"): "proven", ("C3", "a-well"): "proven",
        ("S9", "b-silent"): "unproven", ("C3", "b-silent"): "proven",
        ("S9", "c-full"): "at risk", ("C3", "c-full"): "unproven",
    }  # fmt: skip


def test_needs_name_what_a_person_does_and_where() -> None:
    waiting = server_of(NOW, name="new", reached_at=None, pinned=False, verdict="none")
    stopped = server_of(NOW, name="stopped", faults=[
        {"code": "servers.host_key", "bad": True, "said": "It shows another key.", "since": NOW.isoformat()}
    ])  # fmt: skip
    key_of(stopped, "changed", NOW)
    found = {need.title: need for need in services.needs(NOW)}
    assert set(found) == {"new", "stopped"}
    assert found["stopped"].rank < found["new"].rank
    assert all(need.url.endswith("/connect") for need in found.values())
    assert str(waiting.pk) in found["new"].url
