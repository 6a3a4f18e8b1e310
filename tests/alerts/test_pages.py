"""The pages of incidents and channels: who sees what, forms that lose nothing, secrets that never come back."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.alerts import services
from apps.alerts.models import Channel, Incident, Message
from apps.alerts.services import sending
from apps.people.models import AuditEntry
from tests.alerts.conftest import FAILED, mail_config
from tests.servers.http import WebServer
from tests.servers.smtp import free_port, mail_server

pytestmark = pytest.mark.django_db
Make = Callable[..., Channel]
SECRET = "S3CRET-in-the-address"


def fail(number: int = 1, said: str = "It ran out of disk.") -> Incident:
    incident = services.report(
        problem=FAILED,
        subject_key=f"plan:{number}",
        subject=f"Plan {number}",
        url="/backups/",
        healthy=False,
        said=said,
        now=timezone.now(),
    )
    assert incident is not None
    return incident


def text_of(client: Client, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status
    return answer.content.decode()


def test_the_list_shows_open_ones_first_and_filters_by_the_query_string(viewer_client: Client) -> None:
    assert "No incidents yet" in text_of(viewer_client, "/incidents/")
    fail(1)
    services.report(problem=FAILED, subject_key="plan:1", subject="Plan 1", url="/", healthy=True, now=timezone.now())
    fail(2)
    page = text_of(viewer_client, "/incidents/")
    assert page.index("Plan 2: the backup failed") < page.index("Plan 1: the backup failed")
    assert "1 incident open" in page
    assert "Plan 1" not in text_of(viewer_client, "/incidents/?show=open")
    assert "Plan 2" not in text_of(viewer_client, "/incidents/?show=closed")
    assert "Nothing found" in text_of(viewer_client, "/incidents/?q=zebra")
    assert "Plan 2" in text_of(viewer_client, "/incidents/?show=rubbish&page=999&severity=%00")


def test_what_waits_out_its_patience_is_on_no_page(viewer_client: Client) -> None:
    incident = fail()
    Incident.objects.update(opened_at=None, told_at=None)
    assert "No incidents yet" in text_of(viewer_client, "/incidents/")
    assert viewer_client.get(f"/incidents/{incident.pk}/").status_code == 404


def test_the_list_makes_as_many_queries_for_fifty_as_for_two(viewer_client: Client) -> None:
    counts = []
    for number in (2, 50):
        for at in range(number):
            fail(at)
        viewer_client.get("/incidents/")
        with CaptureQueriesContext(
            connection,
        ) as seen:
            viewer_client.get("/incidents/")
        counts.append(len(seen))
    assert counts[0] == counts[1]


def test_an_incident_shows_every_message_with_its_receipt_or_why_it_failed(
    make_channel: Make, web: WebServer, viewer_client: Client
) -> None:
    make_channel("Good", url=web.url), make_channel("Gone", url=f"http://127.0.0.1:{free_port()}/")
    incident = fail(said="<script>alert(1)</script> broke")
    for message in Message.objects.all():
        sending.send(message_id=message.pk, worker="w")
    page = text_of(viewer_client, f"/incidents/{incident.pk}/")
    assert "Receipt: 200 ok" in page
    assert "nothing listens there" in page
    assert "try 1 of 6" in page
    assert "<script>alert" not in page
    assert "Look at its log." in page


def test_a_member_takes_notes_and_closes_and_a_viewer_may_not(member_client: Client, viewer_client: Client) -> None:
    incident = fail()
    base = f"/incidents/{incident.pk}/"
    for verb in ("take", "note", "close"):
        assert viewer_client.post(f"{base}{verb}/", {"text": "x"}).status_code == 403
    assert "Take it" not in text_of(viewer_client, base)
    member_client.post(f"{base}take/")
    assert member_client.post(f"{base}note/", {"text": ""}).status_code == 422
    member_client.post(f"{base}note/", {"text": "I see <b>it</b>"})
    member_client.post(f"{base}close/")
    page = text_of(member_client, base)
    assert "took it" in page
    assert "I see &lt;b&gt;it&lt;/b&gt;" in page
    assert "said that it is fixed" in page
    assert {"alerts.acknowledged", "alerts.noted", "alerts.closed"} <= set(
        AuditEntry.objects.values_list("verb", flat=True)
    )


def email_form(port: int, **more: Any) -> dict[str, Any]:
    shown = mail_config(port, inside="on", **more)
    return {
        **shown,
        "name": "Team mail",
        "to": "ana@example.com, bo@example.com",
        "password": SECRET if shown["user"] else "",
    }


@pytest.mark.real
def test_an_admin_adds_a_mail_channel_after_a_real_test(admin_client: Client) -> None:
    with mail_server() as server:
        form = email_form(server.port)
        page = admin_client.post("/channels/new/email/", {**form, "do": "test"})
        assert page.status_code == 200
        assert "The receiver took it" in page.content.decode()
        assert server.recipients == [["ana@example.com", "bo@example.com"]]
        assert not Channel.objects.exists()
        saved = admin_client.post("/channels/new/email/", {**form, "do": "save"})
        channel = Channel.objects.get()
        assert saved.headers["Location"] == f"/channels/{channel.pk}/"
        admin_client.post(f"/channels/{channel.pk}/test/")
        sending.send(message_id=Message.objects.get().pk, worker="w")
        link = next(line for line in server.mails[1].get_content().splitlines() if "/channels/proof/" in line)
        path = link.removeprefix("http://localhost:8000")
        assert "reaches you" in text_of(admin_client, path)
    listed = text_of(admin_client, "/channels/")
    assert "Proven" in listed
    assert "Every channel was confirmed" in listed
    assert path.split("/")[3] not in text_of(admin_client, f"/channels/{channel.pk}/")


@pytest.mark.real
def test_a_test_that_fails_says_why_and_the_form_keeps_all_but_the_secret(admin_client: Client) -> None:
    form = email_form(free_port(), user="mainstay")
    answer = admin_client.post("/channels/new/email/", {**form, "do": "test"})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "nothing listens there" in page
    assert "Nothing was saved" in page
    assert "bo@example.com" in page
    assert "Type it again" in page
    assert SECRET not in page
    part = admin_client.post("/channels/new/email/?do=test", form, headers={"HX-Request": "true"})
    assert part.status_code == 200
    assert "<html" not in part.content.decode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"to": "nobody"}, "“nobody” is not an e-mail address."),
        ({"to": "a@b.example\r\nBcc: x@y.example"}, "“Bcc:” is not an e-mail address."),
        ({"sender": "a@b.example\nBcc: x@y.example"}, "is not an e-mail address"),
        ({"to": " ,; "}, "Write at least one address."),
        ({"to": ",".join(f"a{n}@example.com" for n in range(21))}, "At most 20 addresses"),
        ({"host": "https://mail.example.com/"}, "Only the name of the server"),
        ({"port": "99999"}, "65535"),
        ({"port": "x"}, "Write a port from 1 to 65535"),
        ({"authority": "not pem"}, "not a PEM certificate"),
        ({"user": "u", "password": "p", "inside": ""}, "could be read on its way"),
        ({"password": "p"}, "A password needs a user"),
        ({"user": "u"}, "Write the password"),
        ({"name": "a\x00b"}, "cannot be typed"),
        ({"name": "a\tb"}, "cannot be typed"),
        ({"name": "x" * 81}, "at most 80"),
    ],
)
def test_each_wrong_field_has_one_clear_sentence_and_nothing_is_saved(
    admin_client: Client, change: dict[str, str], said: str
) -> None:
    answer = admin_client.post("/channels/new/email/", {**email_form(25), **change, "do": "save"})
    assert answer.status_code == 422
    assert said in answer.content.decode().replace("&#39;", "'").replace("&#34;", '"')
    assert not Channel.objects.exists()


@pytest.mark.parametrize(
    ("kind", "url", "inside", "said"),
    [
        ("slack", "https://example.com/services/x", "", "not an address of Slack"),
        ("slack", "http://hooks.slack.com/services/x", "", "must start with https://"),
        ("webhook", "http://example.com/", "", "must start with https://"),
        ("webhook", "https://u:p@example.com/", "", "with a user or a password"),
        ("webhook", "file:///etc/passwd", "on", "not a web address"),
        ("webhook", "", "", "Write the address that takes the messages"),
    ],
)
def test_an_address_that_will_not_do_is_refused_at_the_form(
    admin_client: Client, kind: str, url: str, inside: str, said: str
) -> None:
    answer = admin_client.post(f"/channels/new/{kind}/", {"name": "N", "url": url, "inside": inside, "do": "save"})
    assert answer.status_code == 422
    assert said in answer.content.decode()


def test_a_form_that_does_not_say_save_saves_nothing(admin_client: Client) -> None:
    assert admin_client.post("/channels/new/email/", email_form(25)).status_code == 422
    assert (
        admin_client.post("/channels/new/email/?do=test", {**email_form(free_port()), "do": "save"}).status_code == 422
    )
    assert not Channel.objects.exists()


def test_a_test_towards_metadata_or_a_private_address_is_refused_by_the_guard(
    admin_client: Client, web: WebServer
) -> None:
    for url, inside in ((f"https://127.0.0.1:{web.port}/", ""), ("http://169.254.169.254/latest/", "on")):
        answer = admin_client.post("/channels/new/webhook/", {"name": "N", "url": url, "inside": inside, "do": "test"})
        page = answer.content.decode()
        assert "private network" in page or "never talks to it" in page
    assert web.seen == []


def test_the_key_of_a_webhook_is_shown_once_and_the_address_never(admin_client: Client, web: WebServer) -> None:
    form = {"name": "Hook", "url": f"{web.url}/{SECRET}", "inside": "on", "do": "save"}
    answer = admin_client.post("/channels/new/webhook/", form)
    assert "whsec_" in answer.content.decode()
    assert answer.headers["Cache-Control"] == "no-store"
    channel = Channel.objects.get()
    key = channel.secrets["key"]
    for path in ("/channels/", f"/channels/{channel.pk}/", f"/channels/{channel.pk}/change/", "/incidents/"):
        page = text_of(admin_client, path)
        assert SECRET not in page
        assert "whsec_" not in page
    answer = admin_client.post(
        f"/channels/{channel.pk}/change/", {"name": "Hook 2", "url": "", "inside": "on", "do": "save"}
    )
    assert answer.status_code == 302
    channel.refresh_from_db()
    assert (channel.name, channel.secrets["url"], channel.secrets["key"]) == ("Hook 2", f"{web.url}/{SECRET}", key)
    assert "whsec_" in admin_client.post(f"/channels/{channel.pk}/key/").content.decode()
    channel.refresh_from_db()
    assert channel.secrets["key"] != key
    assert SECRET not in json.dumps(list(AuditEntry.objects.values_list("detail_json", flat=True)))


def test_a_kept_password_is_not_sent_to_another_server(admin_client: Client, make_channel: Make) -> None:
    config = mail_config(25, host="mail.example.com", user="u", security="tls")
    channel = make_channel("Team mail", "email", secrets={"password": SECRET}, config=config)
    form = {**email_form(25, host="evil.example.com", user="u", security="tls"), "password": ""}
    for do in ("save", "test"):
        answer = admin_client.post(f"/channels/{channel.pk}/change/", {**form, "do": do})
        assert "Type the password for it" in answer.content.decode()
    channel.refresh_from_db()
    assert channel.config["host"] == "mail.example.com"


def test_two_channels_cannot_have_one_name(admin_client: Client, make_channel: Make) -> None:
    make_channel("Team mail")
    answer = admin_client.post("/channels/new/email/", {**email_form(25), "do": "save"})
    assert "Another channel has this name" in answer.content.decode()


def test_pausing_resuming_and_removing(admin_client: Client, make_channel: Make) -> None:
    channel = make_channel()
    base = f"/channels/{channel.pk}/"
    admin_client.post(f"{base}pause/")
    assert "every channel is paused" in text_of(admin_client, "/channels/").lower()
    admin_client.post(f"{base}test/")
    assert not Message.objects.exists()
    admin_client.post(f"{base}resume/")
    admin_client.post(f"{base}remove/")
    assert admin_client.get(base).status_code == 404
    assert "Nobody would be told" in text_of(admin_client, "/channels/")


def test_a_dead_letter_is_visible_and_can_be_sent_again(
    admin_client: Client, viewer_client: Client, make_channel: Make, web: WebServer
) -> None:
    web.status, web.body = 404, b"no such hook"
    make_channel(url=web.url)
    incident = fail()
    message = incident.messages.get()
    sending.send(message_id=message.pk, worker="w")
    for client in (admin_client, viewer_client):
        page = text_of(client, "/channels/")
        assert "Dead letters" in page
        assert "answered 404: no such hook" in page
    assert viewer_client.post(f"/channels/messages/{message.pk}/again/").status_code == 403
    web.status, web.body = 200, b"ok"
    admin_client.post(f"/channels/messages/{message.pk}/again/")
    sending.send(message_id=message.pk, worker="w")
    assert "Dead letters" not in text_of(admin_client, "/channels/")


def test_a_stranger_cannot_prove_a_channel_and_a_wrong_link_says_so(
    stranger_client: Client, viewer_client: Client
) -> None:
    assert stranger_client.get("/channels/proof/x/").status_code == 302
    assert "proves nothing" in text_of(viewer_client, "/channels/proof/x/", 404)
    assert viewer_client.head("/channels/proof/x/").status_code == 405


def test_an_unknown_kind_of_channel_is_no_page(admin_client: Client) -> None:
    assert admin_client.get("/channels/new/pigeon/").status_code == 404


def test_a_page_of_fifty_and_the_next(viewer_client: Client, now: datetime) -> None:
    rows = [
        Incident(
            code="x",
            severity="warn",
            subject_key=str(n),
            subject="S",
            url="/",
            title=f"T{n:03d}",
            said="s",
            seen_at=now,
            tell_at=now,
            opened_at=now + timedelta(seconds=n),
            told_at=now,
        )
        for n in range(60)
    ]
    Incident.objects.bulk_create(rows)
    assert text_of(viewer_client, "/incidents/").count('class="cover"') == 50
    assert text_of(viewer_client, "/incidents/?page=2").count('class="cover"') == 10
