"""The pages of servers: what each role sees, every field's bad input as one sentence, hostile text, and their cost."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from apps.people.models import Person
from apps.servers import services
from apps.servers.gate import wire
from apps.servers.models import Server
from tests.people.fixtures import client_of
from tests.servers_room.factories import FACTS, VALUES, key_of, sampled, server_of

pytestmark = pytest.mark.django_db
GOOD = {"name": "web-1", "address": "web-1.example.com", "port": "22", "level": "observe", "tags": "web, production",
        "note": "The shop", "seen_from": "192.0.2.1"}  # fmt: skip
EVIL = wire.printable("</script><b>x</b>\x1b[31mred\u202egnp")  # as every word of a server goes into a row


def text(client: Client, name: str, *args: object, query: str = "") -> str:
    """Return a page's text."""
    answer = client.get(reverse(name, args=args) + query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_an_admin_adds_a_server_and_sees_its_script(admin_client: Client) -> None:
    answer = admin_client.post(reverse("server-new"), GOOD)
    server = Server.objects.get()
    assert answer.headers["Location"] == reverse("server-connect", args=[server.pk])
    assert (server.tags, server.seen_from) == (["production", "web"], ["192.0.2.1"])
    page = text(admin_client, "server-connect", server.pk)
    script = services.script(server)
    assert script.sha256 in page
    assert server.public_key in page
    assert str(server.private_key).splitlines()[1] not in page
    assert "Look at its host keys" in page


@pytest.mark.parametrize(("field", "value", "said"), [
    ("name", "", "Write what you call this server, for example web-1."),
    ("name", "a\nb", "letters, digits, blanks, dots and dashes."),
    ("name", "$(id)", "letters, digits, blanks, dots and dashes."),
    ("name", "n" * 81, "letters, digits, blanks, dots and dashes."),
    ("name", "a\x00b", "cannot be typed"),
    ("address", "", "Write a host name or an IP address"),
    ("address", "ssh://web-1", "without ssh://, user or path"),
    ("address", "root@web-1", "without ssh://, user or path"),
    ("address", "web-1:2222", "Write the port into its own field"),
    ("address", "10.0.0", "Write a host name or an IP address"),
    ("address", "-oProxyCommand=id", "Write a host name or an IP address"),
    ("address", "web;id", "Write a host name or an IP address"),
    ("address", "`id`.example.com", "Write a host name or an IP address"),
    ("port", "0", "The port is a number from 1 to 65535"),
    ("port", "65536", "The port is a number from 1 to 65535"),
    ("port", "twenty-two", "The port is a number from 1 to 65535"),
    ("port", "²²", "The port is a number from 1 to 65535"),
    ("level", "root", "Choose one of the three levels."),
    ("tags", "we$b", "“we$b” is no tag."),
    ("tags", " ".join(f"t{n}" for n in range(21)), "At most 20 tags."),
    ("note", "n" * 121, "Write at most 120 characters."),
    ("seen_from", "everywhere", "“everywhere” is no IP address."),
    ("seen_from", "0.0.0.0/0", "the whole internet is no limit."),
    ("seen_from", '1.2.3.4",command="id', "is no IP address."),
])  # fmt: skip
def test_bad_input_is_one_sentence_at_its_field_and_nothing_else_is_lost(
    admin_client: Client, field: str, value: str, said: str
) -> None:
    answer = admin_client.post(reverse("server-new"), {**GOOD, field: value})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert page.count('class="error"') == 1
    assert said in page
    assert not Server.objects.exists()
    for name, kept in GOOD.items():
        if name not in {field, "level"}:
            assert f'value="{kept}"' in page


def test_a_taken_name_is_said_at_its_field(admin_client: Client) -> None:
    server_of(timezone.now(), name="web-1")
    answer = admin_client.post(reverse("server-new"), GOOD)
    assert answer.status_code == 422
    assert "A server named web-1 is there already. Choose another name." in answer.content.decode()


def test_a_server_can_be_edited_and_keeps_its_level(admin_client: Client) -> None:
    server = server_of(timezone.now(), level="manage")
    page = text(admin_client, "server-edit", server.pk)
    assert f'value="{server.name}"' in page
    admin_client.post(reverse("server-edit", args=[server.pk]), {**GOOD, "name": "shop", "level": "observe"})
    kept = Server.objects.get()
    assert (kept.name, kept.level) == ("shop", "manage")


def test_mainstays_own_address_is_filled_in_where_it_is_known_and_explained_where_not(admin_client: Client) -> None:
    page = text(admin_client, "server-own", query="?address=127.0.0.9")
    assert 'value="127.0.0.1"' in page
    page = text(admin_client, "server-own", query="?address=127.0.0.9&seen_from=192.0.2.77")
    assert 'value="192.0.2.77"' in page  # what a person typed stays
    page = text(admin_client, "server-own", query="?address=web-1.example.com")
    assert "value=" not in page.partition('name="seen_from"')[2].partition(">")[0]
    assert "Left empty, the key works from every address." in page


def test_what_only_admins_may_is_not_offered_to_others_and_refused(
    admin_client: Client, owner_client: Client, member_client: Client, viewer_client: Client, stranger_client: Client
) -> None:
    server = server_of(timezone.now())
    names = ("server-new",)
    acts = ("server-edit", "server-connect", "server-limits", "server-remove")
    for client, may in (
        (owner_client, True), (admin_client, True), (member_client, False), (viewer_client, False),
    ):  # fmt: skip
        page = text(client, "servers") + text(client, "server", server.pk)
        assert server.name in page
        for url in [reverse(name) for name in names] + [reverse(name, args=[server.pk]) for name in acts[:3]]:
            assert (f'href="{url}"' in page) is may, url
        for name in acts:
            assert (client.get(reverse(name, args=[server.pk])).status_code == 200) is may
        for name in ("look", "pin", "keep", "level", "remove"):
            answer = client.post(reverse(f"server-{name}", args=[server.pk]))
            assert (answer.status_code == 403) is not may, name
    assert stranger_client.get(reverse("server", args=[server.pk])).status_code == 302
    assert Server.objects.count() == 1


def test_pinning_and_going_on_need_a_recent_sign_in(admin: Person) -> None:
    server = server_of(timezone.now(), pinned=False)
    key_of(server, "offered", timezone.now(), "SHA256:a")
    stale = client_of(admin, recent=False)
    for name in ("server-pin", "server-keep"):
        assert stale.post(reverse(name, args=[server.pk]), {"fingerprint": "SHA256:a"}).status_code == 302
    assert server.host_keys.get().state == "offered"


def test_a_host_key_is_compared_pinned_stopped_and_kept_on_the_page(admin_client: Client) -> None:
    now = timezone.now()
    server = server_of(now, pinned=False, reached_at=None)
    page = reverse("server-connect", args=[server.pk])
    admin_client.post(reverse("server-look", args=[server.pk]))
    assert "Looking at 192.0.2.7" in admin_client.get(page).content.decode()
    services.found_host_keys(server=server, keys=[("ssh-ed25519", "AAAA", "SHA256:a")], now=now)
    assert "SHA256:a" in admin_client.get(page).content.decode()
    admin_client.post(reverse("server-pin", args=[server.pk]), {"fingerprint": "SHA256:a"})
    assert "Waiting for the gate's first answer" in admin_client.get(page).content.decode()
    services.found_host_keys(server=server, keys=[("ssh-ed25519", "BBBB", "SHA256:b")], now=now)
    seen = admin_client.get(page).content.decode()
    assert "shows another host key than the pinned one" in seen
    answer = admin_client.post(reverse("server-pin", args=[server.pk]), {"fingerprint": "SHA256:b"}, follow=True)
    assert f"Type the server&#39;s name, {server.name}" in answer.content.decode()
    services.found_host_keys(server=server, keys=[("ssh-ed25519", "AAAA", "SHA256:a")], now=now + timedelta(minutes=1))
    assert "Go on with the pinned key" in admin_client.get(page).content.decode()
    answer = admin_client.post(reverse("server-keep", args=[server.pk]), follow=True)
    assert "speaks with" in answer.content.decode()
    assert Server.objects.get().failure == ""


def test_only_the_stage_comes_back_to_a_page_that_polls(admin_client: Client) -> None:
    server = server_of(timezone.now(), reached_at=None)
    answer = admin_client.get(reverse("server-connect", args=[server.pk]), headers={"HX-Request": "true"})
    page = answer.content.decode()
    assert page.lstrip().startswith('<div id="stage" hx-get=')
    assert "<html" not in page


def test_limits_that_cannot_work_are_said_in_their_row_and_what_was_typed_stays(admin_client: Client) -> None:
    server = server_of(timezone.now())
    url = reverse("server-limits", args=[server.pk])
    good = {f"{kind}-{part}": value for kind in ("disk", "inodes", "memory", "swap", "cpu", "load", "pressure_cpu",
            "pressure_memory", "pressure_io") for part, value in (("above", "88,5"), ("below", "70"), ("minutes", "5"),
            ("on", "on"))}  # fmt: skip
    for field, value, said in (
        ("disk-above", "lots", "Disk: Write numbers."), ("disk-above", "nan", "Disk: "),
        ("memory-above", "101", "100 %"),
        ("cpu-below", "90", "must be below"), ("swap-minutes", "99999", "between 0 and 24 hours"),
        ("load-above", "1e999", "Load per core: "), ("disk-minutes", "", "Disk: Write numbers."),
    ):  # fmt: skip
        answer = admin_client.post(url, {**good, field: value})
        page = answer.content.decode()
        assert answer.status_code == 422
        assert said in page
        assert 'value="88.5"' in page
        assert Server.objects.get().limits == {}
    assert admin_client.post(url, good).status_code == 302
    assert Server.objects.get().limits["disk"] == {"above": 0.885, "below": 0.7, "lasting": 300, "on": True}


def test_removing_needs_the_name_and_says_what_stays_on_the_server(admin_client: Client) -> None:
    server = server_of(timezone.now())
    url = reverse("server-remove", args=[server.pk])
    assert "mainstay-gate detach" in text(admin_client, "server-remove", server.pk)
    answer = admin_client.post(url, {"typed": "no"})
    assert answer.status_code == 422
    assert f"Type the server&#39;s name, {server.name}" in answer.content.decode()
    answer = admin_client.post(url, {"typed": server.name}, follow=True)
    assert f"{server.name} was removed." in answer.content.decode()
    assert admin_client.get(reverse("server", args=[server.pk])).status_code == 404


def test_text_of_a_hostile_server_is_only_text(viewer_client: Client, admin_client: Client) -> None:
    now = timezone.now()
    evil = {
        **FACTS, "system": EVIL, "support_said": EVIL, "reboot": EVIL, "lacks": [EVIL],
        "updates": {"pending": 1, "security": 1, "names": [EVIL] * 20, "lists_at": None},
        "services": [{"name": EVIL, "state": "failed", "result": EVIL, "restart": EVIL, "enabled": EVIL,
                      "restarts": 1}],
        "listeners": [{"port": 1, "proto": EVIL, "address": EVIL, "program": EVIL}],
    }  # fmt: skip
    metrics = (*VALUES, f"disk:/{EVIL}")
    latest = {"at": now.timestamp(), "values": dict.fromkeys(metrics, 0.5), "totals": {}, "cores": 2}
    faults = [{"code": "servers.resource", "bad": True, "said": EVIL, "since": None}]
    server = server_of(
        now, facts=evil, note=EVIL, latest=latest, faults=faults, verdict="bad", verdict_said=EVIL,
        failure="gate", failure_said=EVIL, gate_version=EVIL[:20], scan_said=EVIL,
    )  # fmt: skip
    sampled(server, now, days=1, step=60, metrics=metrics)
    pages = [text(viewer_client, name, server.pk) for name in ("server", "server-charts")]
    for page in (*pages, text(viewer_client, "servers"), text(admin_client, "server-connect", server.pk)):
        assert "</script><b>" not in page
        assert "<b>x" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page


def test_the_page_of_a_server_says_what_is_not_known(viewer_client: Client) -> None:
    server = server_of(timezone.now(), facts=None, reached_at=None, booted_at=None, latest={}, verdict="none",
                       verdict_said="It has not answered yet.", gate_version="", pinned=False)  # fmt: skip
    page = text(viewer_client, "server", server.pk)
    for said in ("It has not answered yet.", "Nothing was measured in", "Its services are not known.",
                 "Its ports are not known.", "It is not known what waits.", "not seen", "never"):  # fmt: skip
        assert said in page
    assert "Not measured" in text(viewer_client, "servers")


@pytest.mark.parametrize("key", ["1h", "24h", "7d", "30d", "90d", "nonsense"])
def test_every_time_range_draws_what_was_kept_of_it(viewer_client: Client, key: str) -> None:
    now = timezone.now()
    server = server_of(now)
    for days, step in ((2, 60), (8, 300), (91, 3600)):
        sampled(server, now, days=days, step=step, metrics=("cpu", "disk:/"))
    page = text(viewer_client, "server", server.pk, query=f"?range={key}")
    assert page.count('class="chart') >= 2
    assert "Disk /" in page
    assert "Load per core" not in page


def test_the_other_charts_and_the_table_come_when_asked_for(viewer_client: Client) -> None:
    now = timezone.now()
    server = server_of(now)
    sampled(server, now, days=1, step=60)
    assert "?range=24h&amp;all=1#all" in text(viewer_client, "server", server.pk)
    page = text(viewer_client, "server", server.pk, query="?range=24h&all=1")
    assert "Load per core" in page
    assert page.count('scope="row"') > 8
    assert page.count('class="chart"') == len(VALUES)


def test_the_list_is_searched_by_name_note_and_tag(viewer_client: Client) -> None:
    now = timezone.now()
    server_of(now, name="alpha", tags=["web"])
    server_of(now, name="beta", note="The mail")
    for asked, shown, hidden in (("web", "alpha", "beta"), ("mail", "beta", "alpha"), ("ALPHA", "alpha", "beta")):
        page = text(viewer_client, "servers", query=f"?q={asked}").partition('id="h-list"')[2]
        assert shown in page
        assert hidden not in page
    assert "No server matches" in text(viewer_client, "servers", query="?q=zzz")


def counted() -> CaptureQueriesContext:
    """Count the queries."""
    return CaptureQueriesContext(connection)


def test_the_list_costs_as_much_for_twenty_servers_as_for_two(admin_client: Client) -> None:
    now = timezone.now()
    costs = []
    for wanted in (2, 20):
        while Server.objects.count() < wanted:
            key_of(server_of(now), "changed", now)
        admin_client.get(reverse("servers"))
        with counted() as found:
            text(admin_client, "servers")
        costs.append(len(found))
    assert costs[0] == costs[1]
    assert costs[0] <= 12


def test_the_page_of_a_server_costs_as_much_with_many_samples_and_servers(admin_client: Client) -> None:
    now = timezone.now()
    server = server_of(now)
    costs = []
    for days in (1, 20):
        sampled(server, now - timedelta(days=days), days=days, step=3600)
        for _ in range(days):
            server_of(now)
        text(admin_client, "server", server.pk)
        with counted() as found:
            text(admin_client, "server", server.pk, query="?range=90d")
        costs.append(len(found))
    assert costs[0] == costs[1]
