"""What somebody gains who can read the sessions' table: nothing."""

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client

from apps.people.models import Person
from apps.people.sessions import key_in, signed
from tests.people.factories import PASSWORD
from tests.people.fixtures import client_of

NAME = settings.SESSION_COOKIE_NAME


@pytest.mark.django_db
def test_a_key_read_from_the_database_opens_no_session(owner: Person) -> None:
    client_of(owner)
    thief = Client()
    for key in Session.objects.values_list("session_key", flat=True):
        for cookie in (key, f"{key}:", f"{key}:{key}", signed("x" * 32).replace("x" * 32, key)):
            thief.cookies[NAME] = cookie
            assert thief.get("/").status_code == 302


@pytest.mark.django_db
def test_a_browser_that_signs_in_gets_a_signed_cookie_and_keeps_it(owner: Person) -> None:
    browser = Client()
    browser.get("/signin/")
    answer = browser.post("/signin/", {"login": owner.email, "password": PASSWORD})
    assert answer.status_code == 302
    cookie = answer.cookies[NAME]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    key = key_in(cookie.value)
    assert key is not None
    assert Session.objects.filter(session_key=key).exists()
    assert not Session.objects.filter(session_key=cookie.value).exists()
    assert browser.get("/").status_code == 200
    browser.post("/signout/")
    assert browser.get("/").status_code == 302
