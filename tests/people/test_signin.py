"""Signing in: password, second step, links; and what an attacker tries at that door."""

import io
import json
import re
import time
from datetime import datetime
from typing import Any, cast
from urllib.parse import quote

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from apps.core.keys import KeyRingError
from apps.people import services
from apps.people.factors import unseal_factor
from apps.people.models import AuditEntry, Link, Person
from tests.people.factories import PASSWORD
from tests.people.fixtures import client_of, confirm

pytestmark = pytest.mark.django_db
LOGIN = "/signin/"


def sign_in(client: Client, email: str, password: str = PASSWORD, **more: str) -> HttpResponse:
    """Send the sign-in form."""
    response: Any = client.post(LOGIN, {"login": email, "password": password, **more})
    return cast("HttpResponse", response)


def code_for(secret: str, step: int = 0) -> str:
    """Return the code of an authenticator app, `step` periods from now."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30 + step)))


def turn_on_totp(client: Client) -> tuple[str, list[str]]:
    """Turn on the authenticator app through the pages; return its secret and the recovery codes."""
    page = client.get(reverse("mfa_activate_totp")).content.decode()
    secret = re.search(r"[A-Z2-7]{32}", page)
    assert secret
    assert secret[0] not in json.dumps(dict(client.session.items()))
    client.post(reverse("mfa_activate_totp"), {"code": "000000"})  # a wrong code keeps the secret that was shown
    response = client.post(reverse("mfa_activate_totp"), {"code": code_for(secret[0])}, follow=True)
    codes = re.findall(r"<code>(\d{8})</code>", response.content.decode())
    assert len(codes) == 10
    return secret[0], codes


def test_the_right_password_signs_in_with_a_fresh_session_key(member: Person) -> None:
    client = Client()
    client.get(reverse("mfa_login_webauthn"), headers={"accept": "application/json"})  # a session before sign-in
    before = client.session.session_key
    response = sign_in(client, "MIRA@example.com")
    assert response.status_code == 302
    assert client.session.session_key != before
    assert client.get("/profile/").status_code == 200
    assert AuditEntry.objects.filter(verb="people.signed_in", actor=member).count() == 1


def test_a_known_and_an_unknown_address_get_the_same_answer_after_the_same_work(
    member: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def counted(name: str) -> None:
        real = getattr(Argon2PasswordHasher, name)

        def count(*args: object) -> object:
            hashed.append(name)
            return real(*args)

        monkeypatch.setattr(Argon2PasswordHasher, name, count)

    counted("encode")
    counted("verify")
    answers = []
    for email in (member.email, "nobody@example.com"):
        hashed.clear()
        page = sign_in(Client(), email, "wrong wrong wrong").content.decode()
        answers.append((len(hashed), re.sub(r'(csrf\w*|nonce)="?[^"> ]*"|value="[^"]*"', "", page)))
    assert answers[0] == answers[1]
    assert "do not belong together" in answers[0][1]


def test_a_failed_sign_in_is_written_down_without_what_was_typed(member: Person) -> None:
    sign_in(Client(), member.email, "wrong wrong wrong")
    sign_in(Client(), "my-secret-password@example.com", "wrong wrong wrong")
    subjects = list(AuditEntry.objects.filter(verb="people.sign_in_failed").values_list("subject", flat=True))
    assert sorted(subjects) == ["Mira Member", "an unknown address"]


def test_guessing_is_stopped_even_while_the_broker_is_down(member: Person, settings: Settings) -> None:
    settings.CACHES = {
        **settings.CACHES,
        "default": {"BACKEND": "apps.core.cache.SoftRedisCache", "LOCATION": "redis://127.0.0.1:1/0"},
    }
    for _ in range(5):
        sign_in(Client(), member.email, "wrong wrong wrong")
    client = Client()
    page = sign_in(client, member.email)
    assert "Too many tries" in page.content.decode()
    assert client.get("/profile/").status_code == 302
    caches["attempts"].clear()
    assert sign_in(client, member.email).status_code == 302


def test_somebody_who_left_cannot_sign_in(owner: Person, member: Person) -> None:
    Person.objects.filter(pk=member.pk).update(is_active=False)  # even with the password still there
    client = Client()
    sign_in(client, member.email)
    assert client.get("/profile/").status_code == 302


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "http:evil.example",
        "\thttps://evil.example",
    ],
)
def test_next_never_leads_away(target: str, member: Person) -> None:
    response = Client().post(
        f"{LOGIN}?next={quote(target)}", {"login": member.email, "password": PASSWORD, "next": target}
    )
    assert response.status_code == 302
    assert response.headers["Location"] == "/"


def test_next_leads_back_to_our_own_page(member: Person) -> None:
    response = sign_in(Client(), member.email, next="/profile/")
    assert response.headers["Location"] == "/profile/"


def test_a_foreign_host_header_is_refused_and_never_stands_in_a_link(owner: Person, settings: Settings) -> None:
    client = client_of(owner)
    assert client.get("/people/", headers={"host": "evil.example"}).status_code == 400
    settings.MAINSTAY_URL = "https://mainstay.example.com"
    page = client.post(reverse("people-invite"), {"email": "n@example.com", "role": "viewer"}).content.decode()
    assert "https://mainstay.example.com/join/" in page


@pytest.mark.parametrize(
    "path", ["/signin/", "/signout/", "/setup/", "/join/", "/profile/", "/people/invite/", "/profile/password/"]
)
def test_a_form_without_the_csrf_token_is_refused(path: str, owner: Person) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner, backend="allauth.account.auth_backends.AuthenticationBackend")
    confirm(client, owner)
    assert client.post(path, {}).status_code == 403


def test_a_link_alone_does_not_sign_out(member: Person) -> None:
    client = client_of(member)
    client.get("/signout/")
    assert client.get("/profile/").status_code == 200
    client.post("/signout/")
    assert client.get("/profile/").status_code == 302


# --- second step ------------------------------------------------------------------------------------


def test_a_second_factor_is_asked_for_and_its_secret_lies_sealed(member: Person) -> None:
    secret, codes = turn_on_totp(client_of(member))
    kept = json.dumps(list(Authenticator.objects.values_list("data", flat=True)))
    assert secret not in kept
    assert not any(code in kept for code in codes)
    client = Client()
    response = sign_in(client, member.email)
    assert response.headers["Location"] == reverse("mfa_authenticate")
    assert client.get("/profile/").status_code == 302
    assert client.get(reverse("mfa_authenticate")).status_code == 200
    assert client.post(reverse("mfa_authenticate"), {"code": "000000"}).status_code == 200
    assert client.post(reverse("mfa_authenticate"), {"code": code_for(secret)}).status_code == 302
    assert client.get("/profile/").status_code == 200


def test_a_code_and_a_recovery_code_work_once(member: Person) -> None:
    secret, codes = turn_on_totp(client_of(member))
    for code in (code_for(secret), codes[0]):
        first, again = Client(), Client()
        sign_in(first, member.email)
        sign_in(again, member.email)
        assert first.post(reverse("mfa_authenticate"), {"code": code}).status_code == 302
        assert again.post(reverse("mfa_authenticate"), {"code": code}).status_code == 200


def test_guessing_codes_is_stopped(member: Person) -> None:
    secret, _ = turn_on_totp(client_of(member))
    client = Client()
    sign_in(client, member.email)
    for _ in range(5):
        client.post(reverse("mfa_authenticate"), {"code": "000000"})
    page = client.post(reverse("mfa_authenticate"), {"code": code_for(secret)})
    assert "Too many tries" in page.content.decode()


def test_recovery_codes_are_shown_once(member: Person) -> None:
    client = client_of(member)
    _, codes = turn_on_totp(client)
    again = client.get(reverse("mfa_view_recovery_codes")).content.decode()
    assert not any(code in again for code in codes)
    assert "10 of 10" in again


def test_a_secret_moved_to_another_person_does_not_open(member: Person, viewer: Person) -> None:
    turn_on_totp(client_of(member))
    row = Authenticator.objects.get(user=member, type="totp")
    assert unseal_factor(row.data["secret"], person_id=member.pk)
    with pytest.raises(KeyRingError):
        unseal_factor(row.data["secret"], person_id=viewer.pk)


def test_a_sign_in_link_does_not_skip_the_second_step(member: Person) -> None:
    secret, _ = turn_on_totp(client_of(member))
    token = services.sign_in_link(email=member.email, drop_second_factor=False, now=timezone.now())
    client = Client()
    client.get(reverse("people-link-open", args=[token]))
    response = client.post(reverse("people-link"), {"password": "a whole new sentence"})
    assert response.headers["Location"] == reverse("mfa_authenticate")
    assert client.get("/profile/").status_code == 302
    client.post(reverse("mfa_authenticate"), {"code": code_for(secret)})
    assert client.get("/profile/").status_code == 200


def test_the_console_can_drop_a_lost_second_factor(member: Person) -> None:
    turn_on_totp(client_of(member))
    out = io.StringIO()
    call_command("signinlink", member.email, "--drop-second-factor", stdout=out)
    token = re.search(r"/signin/link/([\w-]+)/", out.getvalue())
    assert token
    client = Client()
    client.get(reverse("people-link-open", args=[token[1]]))
    client.post(reverse("people-link"), {"password": "a whole new sentence"})
    assert client.get("/profile/").status_code == 200
    assert AuditEntry.objects.get(verb="people.sign_in_link").detail == {"second_factor": "dropped"}
    with pytest.raises(CommandError, match="Nobody active"):
        call_command("signinlink", "nobody@example.com")


LONG = dict.fromkeys(("clientDataJSON", "authenticatorData", "signature", "attestationObject", "userHandle"), "AAAA")
JUNK = [
    "", "x", "[]", "{}", '"a"', "null", "1", '{"response": {"userHandle": "AAAA"}}', '{"id": 1, "response": []}',
    json.dumps({"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": LONG}),
    '{"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": {"userHandle": 5}, "clientExtensionResults": 3}',
]  # fmt: skip


@pytest.mark.parametrize("junk", JUNK)
def test_a_damaged_passkey_answer_is_refused_in_words(junk: str, member: Person) -> None:
    client = Client()
    client.get(reverse("mfa_login_webauthn"), headers={"accept": "application/json"})
    assert client.post(reverse("mfa_login_webauthn"), {"credential": junk}).status_code == 302
    mine = client_of(member)
    mine.get(reverse("mfa_add_webauthn"))
    assert mine.post(reverse("mfa_add_webauthn"), {"name": "k", "credential": junk}).status_code == 200
    assert not Authenticator.objects.exists()


# --- one-time links through the pages ------------------------------------------------------------------


def test_looking_at_a_link_does_not_use_it_up(now: datetime) -> None:
    token = services.first_admin(email="", password="", now=timezone.now())
    assert token
    for _ in range(3):
        client = Client()
        client.get(reverse("people-set-up-open", args=[token]))
        assert client.get(reverse("people-set-up")).status_code == 200
    assert token not in json.dumps(dict(client.session.items()))
    filled = {"name": "Ann", "email": "ann@example.com", "password": PASSWORD}
    response = client.post(reverse("people-set-up"), filled, follow=True)
    assert response.redirect_chain[-1][0] == reverse("mfa_index")
    assert Client().get(reverse("people-set-up-open", args=[token]), follow=True).status_code == 410


def test_the_first_owner_is_not_asked_again_before_the_first_second_factor(now: datetime) -> None:
    token = services.first_admin(email="", password="", now=timezone.now())
    client = Client()
    client.get(reverse("people-set-up-open", args=[token]))
    client.post(reverse("people-set-up"), {"name": "Ann", "email": "ann@example.com", "password": PASSWORD})
    assert client.get(reverse("mfa_activate_totp")).status_code == 200


@pytest.mark.parametrize("password", ["short", "password1234", "ann@example.com"])
def test_a_weak_password_is_refused_and_the_link_stays(password: str) -> None:
    token = services.first_admin(email="", password="", now=timezone.now())
    client = Client()
    client.get(reverse("people-set-up-open", args=[token]))
    response = client.post(reverse("people-set-up"), {"name": "Ann", "email": "ann@example.com", "password": password})
    assert response.status_code == 200
    assert not Person.objects.exists()
    assert Link.objects.get().used_at is None


def test_extra_fields_of_a_form_change_nothing(owner: Person) -> None:
    _, token = services.invite(actor=owner, email="new@example.com", role="viewer", now=timezone.now())
    client = Client()
    client.get(reverse("people-join-open", args=[token]))
    client.post(
        reverse("people-join"),
        {"name": "New", "password": PASSWORD, "role": "owner", "email": "eve@example.com", "is_active": "1"},
    )
    person = Person.objects.get(email="new@example.com")
    assert person.role == "viewer"
    mine = client_of(person)
    mine.post("/profile/", {"name": "New", "time_zone": "UTC", "role": "owner", "email": "x@example.com"})
    person.refresh_from_db()
    assert (person.role, person.email) == ("viewer", "new@example.com")


def test_an_admin_cannot_invite_an_owner_through_the_form(admin: Person) -> None:
    client_of(admin).post(reverse("people-invite"), {"email": "x@example.com", "role": "owner"})
    assert not AuditEntry.objects.filter(verb="people.invited").exists()


def test_somebody_signed_in_does_not_use_up_another_ones_invitation(owner: Person, member: Person) -> None:
    _, token = services.invite(actor=owner, email="new@example.com", role="viewer", now=timezone.now())
    client = client_of(member)
    response = client.get(reverse("people-join-open", args=[token]), follow=True)
    assert response.status_code == 409


def test_the_sign_in_page_tells_nothing(owner: Person) -> None:
    page = Client().get(LOGIN).content.decode()
    assert "olga" not in page.lower()
    for word in ("version", "0.1.0", "plans", "incident", "broker"):
        assert word not in page.lower()
