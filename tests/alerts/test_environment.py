"""EMAIL_URL is one e-mail channel: made at the first tick, following the setting, gone for good once removed."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from apps.alerts import services
from apps.alerts.models import Channel
from apps.alerts.services import channels as channel_services
from apps.core.environment import mail_server
from apps.people.models import AuditEntry, Person

TICK = timedelta(seconds=10)
URL = "smtp+tls://user:p%40ss@mail.example.com?from=mainstay@example.com&to=ops@example.com,ana@example.com"


def read(url: str = URL, to: str = "") -> tuple[dict[str, Any], str]:
    """Return what a URL says."""
    found = mail_server(url, to=to)
    assert found is not None
    return found


def test_a_url_says_server_encryption_user_and_people() -> None:
    config, password = read()
    assert password == "p@ss"
    assert config == {
        "host": "mail.example.com", "port": 587, "security": "starttls", "user": "user", "inside": True,
        "sender": "mainstay@example.com", "to": ["ops@example.com", "ana@example.com"], "authority": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("url", "security", "port"),
    [
        ("smtp://mail.example.com?from=a@b.c", "none", 25),
        ("smtps://mail.example.com?from=a@b.c", "tls", 465),
        ("smtp+ssl://mail.example.com:2465?from=a@b.c", "tls", 2465),
        ("smtp+tls://a%40b.c:x@mail.example.com/", "starttls", 587),
    ],
)
def test_each_way_to_encrypt_has_its_port_and_the_first_admin_is_written_to(url: str, security: str, port: int) -> None:
    config, _ = read(url, to="ana@example.com")
    assert (config["security"], config["port"], config["to"], config["sender"]) == (
        security, port, ["ana@example.com"], "a@b.c",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mail.example.com", "must be written like"),
        ("http://user:sesame@mail.example.com", "must be written like"),
        ("smtp://user:sesame@:25", "must be written like"),
        ("smtp://user:sesame@mail.example.com:port", "must be written like"),
        ("smtp://user:sesame@mail.example.com?from=a@b.c&cc=d@e.f", "must be written like"),
        ("smtp://user:sesame@mail.example.com/inbox?from=a@b.c", "must be written like"),
        ("smtp://user:sesame@mail.example.com", "who writes"),
        ("smtp://user:sesame@mail.example.com?from=a@b.c", "whom to write to"),
        ("smtp://user:sesame@mail.example.com?from=a@b.c&to=everybody", "whom to write to"),
    ],
)
def test_an_unclear_url_refuses_to_start_and_never_shows_the_password(url: str, said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said) as caught:
        mail_server(url, to="")
    assert "sesame" not in str(caught.value)


def test_without_the_setting_there_is_no_channel(db: None, now: datetime) -> None:
    assert mail_server("", to="ana@example.com") is None
    services.watch(now)
    assert not Channel.objects.exists()


def test_the_setting_makes_one_channel_that_follows_it(db: None, now: datetime, settings: Any) -> None:
    settings.MAIL_SERVER = read()
    for second in range(3):
        services.watch(now + second * TICK)
    made = Channel.objects.get()
    assert made.from_environment
    assert made.secrets == {"password": "p@ss"}
    assert AuditEntry.objects.get(verb="alerts.channel_added").actor is None
    assert "p@ss" not in AuditEntry.objects.get(verb="alerts.channel_added").detail_json
    Channel.objects.update(proven_at=now)
    services.watch(now + 3 * TICK)
    assert Channel.objects.get().proven_at == now
    settings.MAIL_SERVER = read(URL.replace("mail.", "post."))
    services.watch(now + 4 * TICK)
    made.refresh_from_db()
    assert made.config["host"] == "post.example.com"
    assert made.proven_at is None, "another server was proven by nobody"


def test_a_removed_channel_of_the_environment_stays_removed(admin: Person, now: datetime, settings: Any) -> None:
    settings.MAIL_SERVER = read()
    services.watch(now)
    channel_services.remove(actor=admin, channel=Channel.objects.get(), now=now)
    settings.MAIL_SERVER = read(URL.replace("mail.", "post."))
    services.watch(now + TICK)
    assert not Channel.objects.kept().exists()
    assert not Channel.objects.get().secrets


def test_its_page_says_where_it_comes_from_and_only_the_setting_changes_it(
    admin_client: Client, now: datetime, settings: Any
) -> None:
    settings.MAIL_SERVER = read()
    services.watch(now)
    made = Channel.objects.get()
    assert "from the environment" in admin_client.get("/channels/").content.decode()
    page = admin_client.get(f"/channels/{made.pk}/").content.decode()
    assert "follows EMAIL_URL" in page
    assert "/change/" not in page
    answer = admin_client.get(f"/channels/{made.pk}/change/", follow=True)
    assert "Change the setting; nothing was changed here." in answer.content.decode()
    settings.MAIL_SERVER = None  # the setting is gone: it is a channel like any other
    assert admin_client.get(f"/channels/{made.pk}/change/").status_code == 200
