"""Adding, changing and removing servers, their level and their limits; who did it is in the audit log."""

from datetime import timedelta
from typing import Any

import pytest

from apps.people.models import AuditEntry, Person
from apps.servers import services
from apps.servers.models import Server
from apps.servers.services import Refused, collecting
from tests.conftest import NOW
from tests.servers_room.factories import server_of

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def added(actor: Person, **fields: Any) -> Server:
    """Add a server."""
    given = {"name": "web-1", "address": "192.0.2.7", "port": 22, "level": "observe"}
    return services.add(actor=actor, now=NOW, **{**given, **fields})


def verbs() -> list[str]:
    """Return what was written into the audit log."""
    return list(AuditEntry.objects.filter(verb__startswith="servers.").values_list("verb", flat=True))


def test_each_server_gets_a_key_pair_that_is_for_it_alone_and_encrypted(admin: Person) -> None:
    first, second = added(admin), added(admin, name="web-2")
    assert first.private_key != second.private_key
    assert first.public_key != second.public_key
    kept = Server.objects.filter(pk=first.pk).extra(select={"raw": "private_key"}).values_list("raw", flat=True)[0]
    assert "OPENSSH PRIVATE KEY" not in str(kept)
    assert first.owner == admin
    assert verbs() == ["servers.added", "servers.added"]
    assert "PRIVATE" not in str(list(AuditEntry.objects.values()))


def test_a_taken_name_is_refused_in_one_sentence_and_nothing_is_written(admin: Person) -> None:
    added(admin)
    with pytest.raises(Refused) as refused:
        added(admin, address="192.0.2.8")
    assert (refused.value.field, refused.value.sentence) == (
        "name", "A server named web-1 is there already. Choose another name.",
    )  # fmt: skip
    assert Server.objects.count() == 1
    assert verbs() == ["servers.added"]
    second = added(admin, name="web-2")
    with pytest.raises(Refused, match="named web-1 is there already"):
        change(admin, second, name="web-1")
    assert Server.objects.get(pk=second.pk).name == "web-2"


def test_the_name_of_a_removed_server_is_free(admin: Person) -> None:
    services.remove(actor=admin, server=added(admin), typed="web-1", now=NOW)
    assert added(admin).name == "web-1"


def change(actor: Person, server: Server, **fields: Any) -> Server:
    """Change a server."""
    given = {"name": server.name, "address": server.address, "port": server.port, "tags": server.tags,
             "seen_from": server.seen_from, "note": server.note}  # fmt: skip
    return services.change(actor=actor, server=server, now=NOW + HOUR, **{**given, **fields})


def test_a_change_keeps_what_the_collector_wrote_meanwhile(admin: Person) -> None:
    server = added(admin)
    on_page = Server.objects.get(pk=server.pk)
    Server.objects.filter(pk=server.pk).update(reached_at=NOW + HOUR, failure="timeout", series=["cpu"])
    change(admin, on_page, note="The shop", tags=["web", "production", "web"])
    kept = Server.objects.get(pk=server.pk)
    assert (kept.note, kept.tags, kept.series) == ("The shop", ["production", "web"], ["cpu"])
    assert (kept.failure, kept.reached_at) == ("timeout", NOW + HOUR)
    assert kept.next_sample_at == NOW


def test_another_address_is_asked_at_once_and_keeps_the_pinned_key(admin: Person) -> None:
    server = server_of(NOW)
    change(admin, server, address="192.0.2.99", port=2222)
    kept = Server.objects.get(pk=server.pk)
    assert (kept.address, kept.port, kept.next_sample_at) == ("192.0.2.99", 2222, NOW + HOUR)
    assert kept.host_keys.pinned().count() == 1
    assert AuditEntry.objects.get(verb="servers.changed").detail == {"moved": True}


def test_a_level_is_only_asked_for_until_the_server_itself_says_it(admin: Person) -> None:
    server = server_of(NOW)
    services.change_level(actor=admin, server=server, level="manage", now=NOW)
    kept = Server.objects.get(pk=server.pk)
    assert (kept.level, kept.gate_level) == ("manage", "observe")
    assert not Server.objects.managed().exists()
    services.change_level(actor=admin, server=kept, level="manage", now=NOW)
    assert verbs() == ["servers.level_changed"]
    assert AuditEntry.objects.get(verb="servers.level_changed").detail == {"from": "observe", "to": "manage"}
    with pytest.raises(ValueError, match="root"):
        services.change_level(actor=admin, server=kept, level="root", now=NOW)


@pytest.mark.parametrize("level", ["observe", "operate", "manage"])
def test_the_script_of_a_server_is_the_same_each_time_and_names_its_digest(admin: Person, level: str) -> None:
    server = added(admin, level=level, seen_from=["192.0.2.1"])
    one, two = services.script(server), services.script(Server.objects.get(pk=server.pk))
    assert one == two
    assert one.sha256 in one.cloud_init
    assert server.public_key in one.text
    assert str(server.private_key).splitlines()[1] not in one.text


def test_removing_needs_the_name_destroys_the_key_and_frees_the_collector(admin: Person) -> None:
    server = server_of(NOW)
    collecting.lease(driver="one", now=NOW)
    for typed in ("", "web", server.name + "x"):
        with pytest.raises(Refused) as refused:
            services.remove(actor=admin, server=server, typed=typed, now=NOW)
        assert (refused.value.field, server.name in refused.value.sentence) == ("typed", True)
    services.remove(actor=admin, server=server, typed=server.name, now=NOW)
    assert not Server.objects.exists()
    gone = Server.everything.get(pk=server.pk)
    assert (gone.private_key, gone.driver, gone.removed_at) == (None, "", NOW)
    assert collecting.due(driver="one", now=NOW + HOUR) == []
    assert verbs() == ["servers.removed"]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"disk": {"above": 0.5, "below": 0.6}}, "must be below the one that raises"),
        ({"disk": {"above": 1.5}}, "at most 100 %"),
        ({"disk": {"above": float("nan")}}, "from 0 on"),
        ({"disk": {"lasting": 86401}}, "between 0 and 24 hours"),
        ({"moon": {"above": 0.5}}, "no limit for that figure"),
    ],
)
def test_a_limit_that_cannot_work_is_refused_and_changes_nothing(
    admin: Person, limits: dict[str, dict[str, Any]], said: str
) -> None:
    server = server_of(NOW)
    with pytest.raises(Refused, match=said):
        services.change_limits(actor=admin, server=server, limits={"cpu": {"above": 0.9}, **limits}, now=NOW)
    assert Server.objects.get(pk=server.pk).limits == {}
    assert verbs() == []


def test_limits_count_from_the_next_look(admin: Person) -> None:
    server = server_of(NOW, judge_at=NOW + HOUR)
    services.change_limits(actor=admin, server=server, limits={"disk:/srv": {"above": 0.99}}, now=NOW)
    kept = Server.objects.get(pk=server.pk)
    assert (kept.limits, kept.judge_at) == ({"disk:/srv": {"above": 0.99}}, NOW)
    assert verbs() == ["servers.limits_changed"]
