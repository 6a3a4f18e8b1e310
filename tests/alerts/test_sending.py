"""At least once: servers that refuse, vanish, come back and lie; killed workers; dead letters that are seen."""

import json
import multiprocessing
import os
import signal
import threading
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections

from apps.alerts import services
from apps.alerts.channels.webhook import new_key, sign
from apps.alerts.models import Channel, Incident, Message
from apps.alerts.services import channels as channel_services
from apps.alerts.services import sending
from apps.people.models import AuditEntry, Person
from tests.alerts.conftest import FAILED, mail_config
from tests.servers.http import WebServer
from tests.servers.smtp import BOUNCE, free_port, mail_server

pytestmark = [pytest.mark.django_db, pytest.mark.real]
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
Make = Callable[..., Channel]


def fail(now: datetime) -> Incident:
    incident = services.report(
        problem=FAILED,
        subject_key="backups.plan:1",
        subject="Customers",
        url="/backups/1",
        healthy=False,
        said="Sunday's test ran out of disk at step 4.",
        now=now,
    )
    assert incident is not None
    return incident


def send_due(now: datetime, worker: str = "w") -> list[Message]:
    """Do what one tick makes the workers do."""
    ids = list(Message.objects.due(now).values_list("pk", flat=True))
    sent = [sending.send(message_id=pk, worker=worker, clock=lambda: now) for pk in ids]
    return [message for message in sent if message is not None]


def mail(make: Make, port: int, name: str = "Mail", password: str = "", **config: Any) -> Channel:
    return make(name, "email", secrets={"password": password}, config=mail_config(port, **config))


def test_a_message_is_delivered_and_its_receipt_is_the_servers_own_answer(make_channel: Make, now: datetime) -> None:
    with mail_server() as server:
        mail(make_channel, server.port)
        incident = fail(now)
        [message] = send_due(now)
        assert (message.state, message.receipt) == ("done", "250 2.0.0 Ok: queued as 0001")
        [got] = server.mails
        assert got["Subject"] == "Customers: the backup failed"
        assert got["Message-ID"] == f"<{message.pk}@example.com>"
        assert str(incident.pk) in got["References"]
        assert "ran out of disk at step 4" in got.get_content()
        assert f"/incidents/{incident.pk}/" in got.get_content()
        assert send_due(now + HOUR) == []


def test_a_mail_that_bounces_for_good_is_a_dead_letter_and_the_other_channel_hears_of_it(
    make_channel: Make, web: WebServer, now: datetime
) -> None:
    with mail_server() as server:
        server.refuse_data = BOUNCE
        broken = mail(make_channel, server.port)
        make_channel("Hook", url=web.url)
        fail(now)
        send_due(now)
        dead = Message.objects.dead_letters().get()
        assert dead.channel == broken
        assert "550 5.7.26" in dead.error
        broken.refresh_from_db()
        assert "550 5.7.26" in broken.trouble
        assert services.needs(now)[0].title == "Mail does not deliver"
        send_due(now + MINUTE)
        told = [json.loads(seen.body)["data"]["title"] for seen in web.seen]
        assert told == ["Customers: the backup failed", "Mail: messages do not arrive"]
        assert not Message.objects.filter(channel=broken, incident__code="alerts.channel").exists()
        server.refuse_data = ""
        channel_services.send_again(actor=None, message=dead, now=now + HOUR)  # type: ignore[arg-type]
        send_due(now + HOUR)
        assert len(server.mails) == 1
        broken.refresh_from_db()
        assert broken.trouble == ""
        send_due(now + HOUR + MINUTE)
        assert json.loads(web.seen[-1].body)["data"]["title"] == "Mended: Mail: messages do not arrive"


def test_a_mail_server_that_is_down_and_comes_back_gets_the_mail(make_channel: Make, now: datetime) -> None:
    port = free_port()
    channel = mail(make_channel, port)
    fail(now)
    send_due(now)
    message = Message.objects.get()
    assert (message.state, message.attempt) == ("waiting", 1)
    assert "nothing listens there" in message.error
    channel.refresh_from_db()
    assert channel.trouble == ""
    assert send_due(now + timedelta(seconds=29)) == []
    with mail_server(port=port) as server:
        send_due(now + timedelta(seconds=31))
        assert len(server.mails) == 1
    message.refresh_from_db()
    assert (message.state, message.error) == ("done", "")


def test_six_tries_each_later_than_the_one_before_and_then_a_dead_letter(make_channel: Make, now: datetime) -> None:
    mail(make_channel, free_port())
    fail(now)
    waits, moment = [], now
    while (message := Message.objects.get(kind="opened")).state == "waiting":
        waits.append((message.due_at - moment).total_seconds())
        moment = message.due_at
        send_due(moment)
    assert waits == [0, 30, 60, 120, 240, 480]
    assert (message.state, message.attempt) == ("failed", 6)
    assert Incident.objects.open().filter(code="alerts.channel").exists()


def test_a_channel_that_hangs_does_not_delay_another(make_channel: Make, web: WebServer, now: datetime) -> None:
    make_channel("A", url="http://127.0.0.1:1/"), make_channel("B", url=web.url)
    fail(now)
    Message.objects.filter(channel__name="A").update(state="running", attempt=1, lease_until=now + MINUTE)
    assert [message.channel.name for message in send_due(now)] == ["B"]


def test_a_mending_never_overtakes_its_opening_on_one_channel(
    make_channel: Make, web: WebServer, now: datetime
) -> None:
    web.status = 503
    make_channel(url=web.url)
    fail(now)
    send_due(now)
    services.report(
        problem=FAILED,
        subject_key="backups.plan:1",
        subject="Customers",
        url="/",
        healthy=True,
        now=now + timedelta(seconds=9),
    )
    assert send_due(now + timedelta(seconds=10)) == []
    web.status = 200
    send_due(now + timedelta(seconds=31)), send_due(now + timedelta(seconds=32))
    types = [json.loads(seen.body)["type"] for seen in web.seen]
    assert types == ["incident.opened", "incident.opened", "incident.closed"]
    assert web.seen[0].headers["webhook-id"] == web.seen[1].headers["webhook-id"]


@pytest.mark.db
@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_between_delivery_and_receipt_is_followed_by_one_that_sends_the_same_message_again(
    make_channel: Make, web: WebServer, now: datetime
) -> None:
    make_channel(url=web.url)
    message = fail(now).messages.get()
    web.hang = threading.Event()  # the receiver has the message, the worker waits for the answer
    connections.close_all()
    child = multiprocessing.get_context("fork").Process(
        target=sending.send, kwargs={"message_id": message.pk, "worker": "killed", "clock": lambda: now}
    )
    child.start()
    waited = threading.Event()
    for _ in range(600):
        if web.seen or waited.wait(0.05):
            break
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join(10)
    web.hang.set()
    message.refresh_from_db()
    assert (message.state, message.worker) == ("running", "killed")
    assert send_due(now + MINUTE) == []
    web.hang = None
    [again] = send_due(now + 3 * MINUTE, "successor")
    assert (again.state, again.attempt) == ("done", 2)
    ids = {seen.headers["webhook-id"] for seen in web.seen}
    assert (len(web.seen), ids) == (2, {str(message.pk)})


@pytest.mark.db
@pytest.mark.django_db(transaction=True)
def test_six_workers_with_one_ring_send_one_message(make_channel: Make, web: WebServer, now: datetime) -> None:
    make_channel(url=web.url)
    message = fail(now).messages.get()
    gate = threading.Barrier(6)

    def work() -> None:
        gate.wait(10)
        sending.send(message_id=message.pk, worker="w", clock=lambda: now)
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(web.seen) == 1
    assert connection.vendor in {"sqlite", "postgresql"}


def test_a_worker_that_wakes_late_does_not_overwrite_its_successor(
    make_channel: Make, web: WebServer, now: datetime
) -> None:
    channel = make_channel(url=web.url)
    message = fail(now).messages.get()
    late = Message.claim(message.pk, now=now, worker="late")
    assert late is not None
    send_due(now + 3 * MINUTE, "successor")
    sending._failed(late, "I thought it failed", now + 4 * MINUTE, permanent=True)
    message.refresh_from_db()
    channel.refresh_from_db()
    assert (message.state, channel.trouble) == ("done", "")


def test_a_message_whose_every_worker_died_ends_as_a_dead_letter(make_channel: Make, now: datetime) -> None:
    make_channel()
    message = fail(now).messages.get()
    Message.objects.update(state="running", attempt=6, lease_until=now)
    send_due(now + MINUTE)
    message.refresh_from_db()
    assert message.state == "failed"
    assert "worker died" in message.error


def test_what_was_written_for_a_channel_that_is_now_removed_or_paused_is_not_sent(
    make_channel: Make, web: WebServer, now: datetime
) -> None:
    channel = make_channel(url=web.url)
    fail(now)
    Channel.objects.update(paused_at=now)
    [message] = send_due(now)
    assert "paused" in message.error
    channel.refresh_from_db()
    assert (web.seen, channel.trouble) == ([], "")


def test_a_webhook_is_signed_as_standard_webhooks_says(make_channel: Make, web: WebServer, now: datetime) -> None:
    key = new_key()
    make_channel(secrets={"url": f"{web.url}/hook?x=1", "key": key})
    incident = fail(now)
    send_due(now)
    seen = web.seen[0]
    at = seen.headers["webhook-timestamp"]
    assert int(at) == int(now.timestamp())
    assert seen.headers["webhook-signature"] == sign(key, seen.headers["webhook-id"], at, seen.body)
    assert (seen.method, seen.path) == ("POST", "/hook?x=1")
    assert json.loads(seen.body) == {
        "type": "incident.opened",
        "timestamp": "2026-11-23T09:41:00+00:00",
        "data": {
            "id": str(incident.pk),
            "subject": "Customers",
            "severity": "bad",
            "title": "Customers: the backup failed",
            "text": Message.objects.get().body,
            "url": f"http://localhost:8000/incidents/{incident.pk}/",
        },
    }


def test_the_signature_is_that_of_the_specifications_own_example() -> None:
    key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    assert (
        sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@pytest.mark.parametrize(
    ("status", "dies"), [(400, True), (404, True), (410, True), (301, True), (429, False), (500, False)]
)
def test_what_a_web_receiver_answers_decides_whether_another_try_makes_sense(
    make_channel: Make,
    web: WebServer,
    now: datetime,
    status: int,
    dies: bool,  # noqa: FBT001
) -> None:
    web.status, web.body = status, b"no\x00\x1b[31m <b>such</b>\n hook" + b"x" * 500
    make_channel(url=web.url)
    message = fail(now).messages.get()
    send_due(now)
    message.refresh_from_db()
    assert message.state == ("failed" if dies else "waiting")
    assert str(status) in message.error
    assert "\x1b" not in message.error
    assert len(message.error) < 300


def test_slack_counts_only_ok_and_never_shows_its_address(make_channel: Make, web: WebServer, now: datetime) -> None:
    url = f"{web.url}/services/T00/B00/SECRET"
    make_channel("Slack", "slack", url=url)
    message = fail(now).messages.get()
    web.body = f"invalid_token for {url} /services/T00/B00/SECRET".encode()
    send_due(now)
    message.refresh_from_db()
    assert message.state == "failed"
    assert "SECRET" not in message.error
    web.body = b"ok"
    channel_services.send_again(actor=None, message=message, now=now)  # type: ignore[arg-type]
    send_due(now)
    message.refresh_from_db()
    assert (message.state, message.receipt) == ("done", "200 ok")


def test_slack_text_cannot_mention_everybody(make_channel: Make, web: WebServer, now: datetime) -> None:
    make_channel("Slack", "slack", url=web.url)
    services.report(
        problem=FAILED,
        subject_key="k",
        subject="<!channel> & <http://evil|x>",
        url="/",
        healthy=False,
        said="<@U1>",
        now=now,
    )
    send_due(now)
    text = json.loads(web.seen[0].body)["text"]
    assert "<!channel>" not in text
    assert "<@U1>" not in text
    assert "&lt;!channel&gt; &amp;" in text


def test_only_a_click_on_the_link_of_a_fresh_test_to_this_very_target_proves_a_channel(
    make_channel: Make, web: WebServer, now: datetime, admin: Person
) -> None:
    channel = make_channel(url=web.url, proven_at=None)
    message = channel_services.drill(actor=admin, channel=channel, now=now)
    send_due(now)
    link = json.loads(web.seen[0].body)["data"]["url"]
    token = link.rstrip("/").rpartition("/")[2]
    assert token not in message.body
    assert services.needs(now)[0].verb == "Send a test"
    for wrong in ("", "x", token[:-1], token + "x", str(message.pk)):
        assert channel_services.prove(actor=admin, token=wrong, now=now) is None
    assert channel_services.prove(actor=admin, token=token, now=now + timedelta(days=8)) is None
    assert channel_services.prove(actor=admin, token=token, now=now + HOUR) == channel
    channel.refresh_from_db()
    assert channel.proven_at == now + HOUR
    channel_services.prove(actor=admin, token=token, now=now + 2 * HOUR)
    channel.refresh_from_db()
    assert channel.proven_at == now + HOUR
    assert AuditEntry.objects.filter(verb="alerts.channel_proven").count() == 1
    channel_services.change_channel(
        actor=admin,
        channel=channel,
        name="Hook",
        config=channel.config,
        secrets={"url": "http://127.0.0.1:2", "key": new_key()},
        now=now + 3 * HOUR,
    )
    assert Channel.objects.get().proven_at is None
    assert channel_services.prove(actor=admin, token=token, now=now + 4 * HOUR) is None


def test_a_message_that_is_gone_or_no_id_at_all_is_no_error_for_a_worker(db: None, now: datetime) -> None:
    assert sending.send(message_id=uuid.uuid4(), worker="w", clock=lambda: now) is None


def test_a_secret_that_cannot_be_opened_is_retried_and_named(make_channel: Make, now: datetime) -> None:
    make_channel("A"), make_channel("B")
    first, second = Channel.objects.order_by("name")
    Channel.objects.filter(pk=first.pk).update(secret=second.__dict__["secret"])
    message = fail(now).messages.get(channel=first)
    sending.send(message_id=message.pk, worker="w", clock=lambda: now)
    message.refresh_from_db()
    assert message.state == "waiting"
    assert "secret cannot be opened" in message.error
