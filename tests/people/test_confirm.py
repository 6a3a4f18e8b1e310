"""Is it still you: recent sign-in before anything dangerous, and ending sessions."""

from urllib.parse import quote

import pytest
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.test import Client
from django.urls import reverse

from apps.people.models import AuditEntry, Person
from apps.people.sessions import device, key_in
from tests.people.factories import PASSWORD, PersonFactory
from tests.people.fixtures import client_of, confirm
from tests.people.test_signin import sign_in

pytestmark = pytest.mark.django_db


def test_a_dangerous_form_without_a_recent_sign_in_changes_nothing_and_says_so(owner: Person, member: Person) -> None:
    client = client_of(owner, recent=False)
    page = f"/people/{member.pk}/"
    response = client.post(f"{page}leave/", headers={"referer": f"http://testserver{page}"})
    assert response.headers["Location"] == f"{reverse('account_reauthenticate')}?next={quote(page, safe='')}"
    member.refresh_from_db()
    assert member.is_active
    confirmed = client.post(response.headers["Location"], {"password": PASSWORD, "next": page}, follow=True)
    assert confirmed.redirect_chain[-1][0] == page
    member.refresh_from_db()
    assert member.is_active
    assert client.post(f"{page}leave/").status_code == 302
    member.refresh_from_db()
    assert not member.is_active


@pytest.mark.parametrize(
    "referer", ["https://evil.example/x", "//evil.example", "http://testserver//evil.example/x", ""]
)
def test_confirming_never_leads_away(referer: str, owner: Person, member: Person) -> None:
    client = client_of(owner, recent=False)
    response = client.post(f"/people/{member.pk}/leave/", headers={"referer": referer})
    assert response.headers["Location"] == f"{reverse('account_reauthenticate')}?next=%2F"


def test_a_recent_sign_in_is_over_after_five_minutes(owner: Person) -> None:
    client = client_of(owner)
    confirm(client, owner, ago=299)
    assert client.get(reverse("people-invite")).status_code == 200
    confirm(client, owner, ago=301)
    assert client.get(reverse("people-invite")).status_code == 302
    confirm(client, owner, ago=-1000)
    assert client.get(reverse("people-invite")).status_code == 302


def test_another_persons_confirmation_does_not_count(owner: Person, admin: Person) -> None:
    client = client_of(owner, recent=False)
    confirm(client, admin)
    assert client.get(reverse("people-invite")).status_code == 302


def test_a_new_password_ends_every_other_session(member: Person) -> None:
    here, there = Client(), Client()
    sign_in(here, member.email)
    sign_in(there, member.email)
    new = "a whole new sentence"
    filled = {"oldpassword": PASSWORD, "password1": new, "password2": new}
    assert here.post(reverse("account_change_password"), filled).status_code == 302
    assert here.get("/profile/").status_code == 200
    assert there.get("/profile/").status_code == 302


def test_all_other_sessions_can_be_ended(member: Person) -> None:
    here, there = Client(), Client()
    sign_in(here, member.email)
    sign_in(there, member.email)
    here.post(reverse("usersessions_list"))
    assert here.get("/profile/").status_code == 200
    assert there.get("/profile/").status_code == 302


def test_one_session_can_be_ended_and_the_others_go_on(member: Person) -> None:
    here, there, elsewhere = Client(), Client(), Client()
    for browser in (here, there, elsewhere):
        sign_in(browser, member.email)
    page = here.get(reverse("usersessions_list")).content.decode()
    assert page.count("/end/") == 2, "each but this one"
    key = key_in(there.cookies[settings.SESSION_COOKIE_NAME].value)
    found = UserSession.objects.get(session_key=key)
    here.post(reverse("people-session-end", args=[found.pk]))
    assert there.get("/profile/").status_code == 302
    assert here.get("/profile/").status_code == elsewhere.get("/profile/").status_code == 200
    assert AuditEntry.objects.get(verb="people.session_ended").actor == member
    again = here.post(reverse("people-session-end", args=[found.pk]), follow=True)
    assert "had ended already" in again.content.decode()


def test_nobody_ends_a_session_of_somebody_else(owner: Person, member: Person) -> None:
    theirs = Client()
    sign_in(theirs, member.email)
    client_of(owner).post(reverse("people-session-end", args=[UserSession.objects.get(user=member).pk]))
    assert theirs.get("/profile/").status_code == 200
    assert not AuditEntry.objects.filter(verb="people.session_ended").exists()


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1 (KHTML) Version/19.0 Safari/605.1",
         "Safari on Mac"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64) AppleWebKit/537 Chrome/150.0 Safari/537 Edg/150.0", "Edge on Windows"),
        ("Mozilla/5.0 (Linux; Android 16) AppleWebKit/537 Chrome/150.0 Mobile Safari/537", "Chrome on Android"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605 CriOS/150 Mobile Safari/604",
         "Chrome on iPhone"),
        ("<script>", "An unknown browser"),
        ("", "An unknown browser"),
    ],
)  # fmt: skip
def test_a_browser_is_named_as_people_call_it(agent: str, said: str) -> None:
    assert device(agent) == said


def test_one_person_cannot_remove_anothers_passkey(owner: Person) -> None:
    other = PersonFactory()
    key = Authenticator.objects.create(user=other, type="webauthn", data={"name": "Key", "credential": {}})
    assert client_of(owner).post(reverse("mfa_remove_webauthn", args=[key.pk])).status_code == 404
    assert Authenticator.objects.filter(pk=key.pk).exists()
