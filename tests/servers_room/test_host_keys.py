"""Host keys: pinned by one person's act, a hard stop when another is shown, and no way out of it but a person."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from apps.people.models import AuditEntry, Person
from apps.servers import services
from apps.servers.facts.sample import Measured
from apps.servers.models import HostKey, Server
from apps.servers.pages.connect import stage_of
from apps.servers.services import Refused, collecting
from apps.servers.ssh import HostKey as Shown
from apps.servers.ssh import Target, Trouble
from tests.conftest import NOW
from tests.servers_room.factories import BLOB, key_of, server_of

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def shows(server: Server, *prints: str, at: datetime = NOW, kind: str = "ssh-ed25519") -> Server:
    """Let a server show host keys; return it as it is then."""
    services.found_host_keys(server=server, keys=[(kind, BLOB, one) for one in prints], now=at)
    return fresh(server)


def fresh(server: Server) -> Server:
    """Return the row as it is."""
    found: Server = Server.objects.get(pk=server.pk)
    return found


def states(server: Server) -> dict[str, str]:
    """Return the state of each key."""
    return {key.fingerprint: str(key.state) for key in server.host_keys.all()}


def word(server: Server, at: datetime = NOW) -> str:
    """Return the stage of connecting."""
    return stage_of(fresh(server), at).word


def stopped(now: datetime = NOW) -> Server:
    """Return a server that is pinned and showed another key."""
    server = server_of(now - MINUTE)
    return shows(server, "SHA256:other", at=now)


def test_a_shown_key_waits_until_an_admin_pins_it(admin: Person) -> None:
    server = server_of(NOW, pinned=False, reached_at=None)
    assert word(server) == "look"
    shows(server, "SHA256:a", "SHA256:b")
    assert word(server) == "compare"
    services.pin_host_key(actor=admin, server=server, fingerprints=["SHA256:a", "SHA256:b"], now=NOW)
    assert states(server) == {"SHA256:a": "pinned", "SHA256:b": "pinned"}
    assert word(server) == "wait"
    entry = AuditEntry.objects.get(verb="servers.host_key_pinned")
    assert entry.detail["now"] == ["SHA256:a", "SHA256:b"]


def test_an_offered_key_that_is_not_shown_any_more_is_forgotten() -> None:
    server = server_of(NOW, pinned=False, reached_at=None)
    shows(server, "SHA256:a")
    shows(server, "SHA256:b")
    assert states(server) == {"SHA256:b": "offered"}


def test_keys_that_were_not_compared_cannot_be_pinned(admin: Person) -> None:
    server = server_of(NOW, pinned=False)
    shows(server, "SHA256:b")
    for prints in ([], ["SHA256:a"], ["SHA256:a", "SHA256:b"]):
        with pytest.raises(Refused, match="shows other keys by now"):
            services.pin_host_key(actor=admin, server=server, fingerprints=prints, now=NOW)
    assert states(server) == {"SHA256:b": "offered"}


def test_the_key_of_another_server_is_refused_with_the_way_out_of_a_cloned_image(admin: Person) -> None:
    first = server_of(NOW, name="web-1", pinned=False)
    key_of(first, "pinned", NOW, "SHA256:same")
    second = server_of(NOW, name="web-2", pinned=False)
    shows(second, "SHA256:same")
    with pytest.raises(Refused) as refused:
        services.pin_host_key(actor=admin, server=second, fingerprints=["SHA256:same"], now=NOW)
    assert refused.value.sentence == (
        "web-1 has the same host key, so one of the two is a clone of the other. Make new keys on the clone (rm "
        "/etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh), then look again. Nothing was changed."
    )
    services.remove(actor=admin, server=first, typed="web-1", now=NOW)
    services.pin_host_key(actor=admin, server=second, fingerprints=["SHA256:same"], now=NOW)


def test_another_key_stops_everything_at_once_and_the_name_must_be_typed_to_pin_it(admin: Person) -> None:
    server = stopped()
    assert (server.failure, word(server)) == ("host_key", "changed")
    old = f"SHA256:pinned-{server.pk}"
    for typed in ("", "web", server.name.upper()):
        with pytest.raises(Refused, match=f"Type the server's name, {server.name}"):
            services.pin_host_key(actor=admin, server=server, fingerprints=["SHA256:other"], typed=typed, now=NOW)
    assert states(server) == {old: "pinned", "SHA256:other": "changed"}
    services.pin_host_key(actor=admin, server=server, fingerprints=["SHA256:other"], typed=f" {server.name} ", now=NOW)
    assert states(server) == {old: "retired", "SHA256:other": "pinned"}
    assert fresh(server).failure == ""
    assert AuditEntry.objects.get(verb="servers.host_key_replaced").detail["before"] == [old]


def test_a_stopped_server_is_asked_for_nothing_and_no_answer_on_its_way_ends_the_stop() -> None:
    server = stopped()
    collecting.lease(driver="one", now=NOW)
    assert collecting.due(driver="one", now=NOW + timedelta(days=1)) == []
    due = due_of(server)
    for trouble in (None, Trouble("timeout", "It does not answer.")):
        heard = collecting.Heard(due, NOW + MINUTE, NOW + 2 * MINUTE, trouble=trouble, only_facts=False)
        if trouble is None:
            heard = answered(due)
        collecting.keep([heard], driver="one")
        assert fresh(server).failure == "host_key"


def due_of(server: Server) -> Any:
    """Return what the collector had under way before the stop."""
    target = Target(str(server.pk), server.name, server.address, server.port, "", (("ssh-ed25519", BLOB),))
    return collecting.Due(
        target=target, scan=False, sample=True, facts=False, next_sample_at=NOW, next_facts_at=NOW, reached=True,
        failing=False, boot_id="", booted_at=None, root=False, series=(),
    )  # fmt: skip


def answered(due: Any) -> Any:
    """Return a good sample that was under way."""
    nothing: dict[str, Any] = dict.fromkeys(Measured.__dataclass_fields__)
    measured = Measured(**{**nothing, "uptime": 5.0, "totals": {}, "boot_id": "b"})
    return collecting.Heard(due, NOW + MINUTE, NOW + 2 * MINUTE, measured=measured, figures={"cpu": 0.1})


def test_when_the_pinned_key_is_shown_again_only_an_admins_act_goes_on(admin: Person) -> None:
    server = stopped()
    services.ask_scan(server=server, now=NOW + MINUTE)
    assert stage_of(fresh(server), NOW + MINUTE).looking
    pinned = f"SHA256:pinned-{server.pk}"
    shows(server, pinned, at=NOW + 2 * MINUTE)
    assert (fresh(server).failure, word(server)) == ("host_key", "again")
    assert states(server) == {pinned: "pinned", "SHA256:other": "retired"}
    services.keep_host_key(actor=admin, server=server, now=NOW + 3 * MINUTE)
    server = fresh(server)
    assert (server.failure, server.failure_said, server.failing_since) == ("", "", None)
    assert server.next_sample_at == NOW + 3 * MINUTE
    entry = AuditEntry.objects.get(verb="servers.host_key_kept")
    assert (entry.detail["kept"], entry.detail["shown_between"]) == ([pinned], ["SHA256:other"])


def test_going_on_is_refused_while_the_pinned_key_is_not_what_is_shown(admin: Person) -> None:
    server = stopped()
    pinned = f"SHA256:pinned-{server.pk}"
    with pytest.raises(Refused, match="does not show the pinned host key"):
        services.keep_host_key(actor=admin, server=server, now=NOW)
    services.no_host_keys(server=server, said="Nothing listens there.", now=NOW + MINUTE)
    assert word(server) == "changed"
    shows(server, pinned, "SHA256:other", at=NOW + 2 * MINUTE)  # both: still somebody in the middle
    with pytest.raises(Refused):
        services.keep_host_key(actor=admin, server=server, now=NOW)
    shows(server, pinned, at=NOW + 3 * MINUTE)
    services.ask_scan(server=server, now=NOW + 4 * MINUTE)
    with pytest.raises(Refused):  # a look is under way: what it finds comes first
        services.keep_host_key(actor=admin, server=server, now=NOW + 4 * MINUTE)
    services.no_host_keys(server=server, said="Nothing listens there.", now=NOW + 5 * MINUTE)
    assert word(server) == "stopped"
    with pytest.raises(Refused):
        services.keep_host_key(actor=admin, server=server, now=NOW + 5 * MINUTE)
    assert not AuditEntry.objects.filter(verb="servers.host_key_kept").exists()
    healthy = server_of(NOW)
    with pytest.raises(Refused):
        services.keep_host_key(actor=admin, server=healthy, now=NOW)


def test_a_key_of_another_type_beside_the_pinned_one_is_no_stop_but_alone_it_is() -> None:
    server = server_of(NOW)
    pinned = f"SHA256:pinned-{server.pk}"
    both = [("ssh-ed25519", BLOB, pinned), ("ssh-rsa", "AAAA", "SHA256:rsa")]
    services.found_host_keys(server=server, keys=both, now=NOW)
    assert (states(server), fresh(server).failure) == ({pinned: "pinned"}, "")
    shows(server, "SHA256:rsa", kind="ssh-rsa")
    assert (fresh(server).failure, word(server)) == ("host_key", "changed")


def test_a_failed_connection_that_met_another_key_is_the_same_stop() -> None:
    server = server_of(NOW)
    collecting.lease(driver="one", now=NOW)
    due = collecting.due(driver="one", now=NOW)[0]
    shown = Shown("ssh-ed25519", BLOB, "SHA256:x")
    trouble = Trouble("host_key", "It shows another host key (SHA256:x).", offered=(shown,))
    collecting.keep([collecting.Heard(due, NOW, NOW + MINUTE, trouble=trouble)], driver="one")
    server = fresh(server)
    assert (server.failure, server.failure_said) == ("host_key", "It shows another host key (SHA256:x).")
    assert HostKey.objects.get(server=server, state="changed").fingerprint == shown.fingerprint


def test_a_retired_key_that_comes_back_is_a_changed_key() -> None:
    server = server_of(NOW)
    key_of(server, "retired", NOW, "SHA256:old")
    shows(server, "SHA256:old")
    assert states(server)["SHA256:old"] == "changed"
    assert fresh(server).failure == "host_key"


def test_a_look_that_nobody_takes_says_so_after_a_minute() -> None:
    server = server_of(NOW, pinned=False, reached_at=None)
    services.ask_scan(server=server, now=NOW)
    assert not stage_of(fresh(server), NOW + timedelta(seconds=30)).late
    assert stage_of(fresh(server), NOW + 2 * MINUTE).late
