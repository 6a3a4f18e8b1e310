"""No page, preview, test of a connection or paper holds a secret; the recovery key has a page of its own."""

import re
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from apps.backups import cipher
from apps.backups import services as backups
from apps.core.keys import ring_path
from apps.people.models import AuditEntry, Person
from tests.backups import rows
from tests.backups.own_key import have_identity
from tests.people.fixtures import *  # noqa: F403 the people and their browsers
from tests.people.fixtures import client_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _identity() -> None:
    have_identity()


def secrets() -> list[str]:
    """Return what no page may hold."""
    identity = cipher.identity()
    ring = ring_path().read_text(encoding="ascii")
    return [*rows.CANARIES, identity, identity.lower(), identity[20:40], *re.findall(r'"key": "([^"]+)"', ring)]


def test_no_page_of_the_room_holds_a_secret(owner_client: Client, owner: Person) -> None:
    plan = rows.plan(owner)
    backup = rows.backup(plan)
    test, restore = rows.proof(backup), rows.restore(backup)
    failed = rows.proof(backup, held=3)
    addresses: list[tuple[str, list[Any]]] = [
        ("backups", []), ("backups-new", []), ("stores", []), ("store-new", []), ("recovery-key", []),
        ("plan", [plan.pk]), ("plan-edit", [plan.pk]), ("plan-progress", [plan.pk]), ("plan-remove", [plan.pk]),
        ("store-edit", [plan.store_id]), ("store-remove", [plan.store_id]), ("backup", [backup.pk]),
        ("backup-steps", [backup.pk]), ("backup-restore", [backup.pk]), ("backup-download", [backup.pk]),
        ("restore-test", [test.pk]), ("restore-test", [failed.pk]), ("restore", [restore.pk]),
    ]  # fmt: skip
    for name, args in addresses:
        answer = owner_client.get(reverse(name, args=args), follow=True)
        assert answer.status_code == 200, name
        page = answer.content.decode()
        assert not [secret for secret in secrets() if secret in page], name
        assert not re.search(r'type="password"[^>]*value="[^"]', page), name


@pytest.mark.parametrize("act", ["save", "run", "preview", "test-source", "test-store"])
def test_what_was_typed_as_a_secret_is_never_sent_back(admin_client: Client, act: str) -> None:
    url = f"postgresql://app:{rows.PASSWORD}@127.0.0.1:1/shop"
    for source in ({"source-by": "url", "source-url": url}, {"source-by": "url", "source-url": url.replace("@", "#")}):
        data = {
            **source, "source-kind": "postgresql", "source-password": rows.PASSWORD, "store-kind": "s3",
            "store-bucket": "No Such Bucket", "store-endpoint": f"https://a:{rows.SECRET}@127.0.0.1:1",
            "store-access_key": rows.ACCESS, "store-secret_key": rows.SECRET, "plan-time": "late", "act": act,
        }  # fmt: skip
        for name in ("backups-new", "backups-preview", "backups-check-source", "backups-check-store", "store-new"):
            answer = admin_client.post(reverse(name), data, follow=True)
            page = answer.content.decode()
            assert not [canary for canary in rows.CANARIES if canary in page], (name, act)
            assert not [canary for canary in rows.CANARIES if canary in answer.request["PATH_INFO"]]


def test_the_audit_log_names_places_and_no_secret(admin_client: Client) -> None:
    plan = rows.plan()
    data = {
        "store-kind": "s3", "store-bucket": "safe", "store-endpoint": "https://s3.example.com", "store-label": "New",
        "store-access_key": rows.ACCESS, "store-secret_key": rows.SECRET, "act": "save",
    }  # fmt: skip
    assert admin_client.post(reverse("store-new"), data).status_code == 302
    assert admin_client.post(reverse("store-edit", args=[plan.store_id]), data).status_code in {302, 422}
    said = str(list(AuditEntry.objects.values()))
    assert "backups.store_added" in said
    assert not [canary for canary in rows.CANARIES if canary in said]


def test_the_recovery_key_is_shown_on_demand_audited_first_and_never_kept(owner_client: Client) -> None:
    url = reverse("recovery-key")
    answer = owner_client.get(url)
    assert "no-store" in answer.headers["Cache-Control"]
    assert cipher.identity() not in answer.content.decode()
    assert not AuditEntry.objects.filter(verb="backups.recovery_key_shown").exists()
    answer = owner_client.post(url, {"act": "show"})
    assert AuditEntry.objects.filter(verb="backups.recovery_key_shown").count() == 1
    assert "no-store" in answer.headers["Cache-Control"]
    page = answer.content.decode()
    assert cipher.identity() in page
    assert all(secret in page.replace("&#34;", '"') for secret in secrets()[6:])
    assert "data-print" in page
    assert "Word " not in page  # the word is asked for on a page that does not show it
    assert answer.request["QUERY_STRING"] == ""
    assert cipher.identity() not in str(list(AuditEntry.objects.values()))


def test_when_the_audit_log_cannot_be_written_the_key_is_not_shown(
    owner_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("apps.backups.services.recovery.record", full)
    owner_client.raise_request_exception = False
    answer = owner_client.post(reverse("recovery-key"), {"act": "show"})
    assert answer.status_code == 500
    assert cipher.identity() not in answer.content.decode()


def test_a_word_of_the_paper_proves_the_key_and_another_does_not(owner_client: Client, owner: Person) -> None:
    url = reverse("recovery-key")
    number = backups.asked_word(owner)
    assert f"Word {number} of your paper" in owner_client.get(url).content.decode()
    answer = owner_client.post(url, {"act": "prove", "word": "AAAAAA"})
    assert answer.status_code == 422
    assert f"That is not word {number}" in answer.content.decode()
    assert not backups.key_is_proven()
    word = backups.recovery_key().groups[number - 1]
    answer = owner_client.post(url, {"act": "prove", "word": word.lower()}, follow=True)
    assert "your paper opens every backup" in answer.content.decode()
    assert backups.key_is_proven()
    assert word not in str(list(AuditEntry.objects.values()))


@pytest.mark.parametrize("act", ["", "show", "prove"])
def test_the_recovery_key_is_for_owners_with_a_recent_sign_in(
    owner: Person, admin_client: Client, member_client: Client, viewer_client: Client, stranger_client: Client, act: str
) -> None:
    url, data = reverse("recovery-key"), {"act": act, "word": "x"}
    answers = [client.post(url, data) for client in (admin_client, member_client, viewer_client)]
    assert [answer.status_code for answer in answers] == [403, 403, 403]
    for client in (stranger_client, client_of(owner, recent=False)):
        answer = client.post(url, data)
        assert answer.status_code == 302
        assert url not in answer.headers["Location"].split("?")[0]
    assert not AuditEntry.objects.filter(verb="backups.recovery_key_shown").exists()


def test_a_missing_identity_is_a_sentence_and_no_error(owner_client: Client, tmp_path: Any) -> None:
    from apps.core.identity import identity_path  # noqa: PLC0415

    hidden = identity_path().rename(tmp_path / "identity")
    try:
        answer = owner_client.get(reverse("recovery-key"))
        assert answer.status_code == 200
        assert "cannot be shown" in answer.content.decode()
        assert "Put it back from your recovery key" in answer.content.decode()
    finally:
        hidden.rename(identity_path())
    assert settings.MAINSTAY_KEYS.exists()
