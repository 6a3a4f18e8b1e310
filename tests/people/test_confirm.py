"""Is it still you: recent sign-in before anything dangerous, and ending sessions."""

from urllib.parse import quote

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client
from django.urls import reverse

from apps.people.models import Person
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


def test_one_person_cannot_remove_anothers_passkey(owner: Person) -> None:
    other = PersonFactory()
    key = Authenticator.objects.create(user=other, type="webauthn", data={"name": "Key", "credential": {}})
    assert client_of(owner).post(reverse("mfa_remove_webauthn", args=[key.pk])).status_code == 404
    assert Authenticator.objects.filter(pk=key.pk).exists()
