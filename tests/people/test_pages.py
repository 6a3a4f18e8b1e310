"""Every page of people answers, for every state that it can show, with the same number of queries for 2 and 20 rows."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apps.people import services
from apps.people.models import AuditEntry, Invitation, Person
from tests.people.factories import PersonFactory

PAGES = [
    "people", "people-invite", "audit", "profile", "account_change_password", "usersessions_list", "mfa_index",
    "mfa_activate_totp", "mfa_add_webauthn", "account_reauthenticate", "account_logout",
]  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
def test_the_page_answers(owner_client: Client, name: str) -> None:
    response = owner_client.get(reverse(name))
    assert response.status_code == 200, response
    assert b"style=" not in response.content
    assert b"onclick" not in response.content


@pytest.mark.parametrize("name", ["account_login"])
def test_the_page_answers_a_stranger(stranger_client: Client, name: str) -> None:
    response = stranger_client.get(reverse(name))
    assert response.status_code == 200
    assert b"style=" not in response.content


def test_a_page_of_a_spent_link_says_so(stranger_client: Client) -> None:
    for name in ("people-set-up", "people-join", "people-link"):
        response = stranger_client.get(reverse(name))
        assert response.status_code == 410
        assert "This link does not work" in response.content.decode()


def test_the_team_page_shows_who_is_here_invited_and_gone(owner_client: Client, owner: Person) -> None:
    now = timezone.now()
    services.invite(actor=owner, email="new@example.com", role="member", now=now)
    gone = PersonFactory(name="Gone Person")
    services.leave(actor=owner, person=gone, now=now)
    page = owner_client.get(reverse("people")).content.decode()
    for text in ("Olga Owner", "new@example.com", "Gone Person", "Password alone"):
        assert text in page
    assert owner_client.get(reverse("people-person", args=[gone.pk])).status_code == 200
    assert owner_client.get(reverse("people-person", args=[owner.pk])).status_code == 200


@pytest.mark.parametrize("name", ["people", "audit"])
def test_a_list_costs_the_same_for_two_rows_and_for_twenty(
    owner_client: Client, owner: Person, name: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    def fill(count: int) -> None:
        for number in range(count):
            person = PersonFactory()
            token = f"{name}{number}{person.pk}"
            Invitation.objects.create(
                email=f"i{token}@example.com", role="member", token_hash=services.digest_of(token), invited_by=person,
                expires_at=timezone.now() + timedelta(days=1),
            )  # fmt: skip
            services.record(actor=person, verb="people.tested", subject="x")

    fill(2)
    owner_client.get(reverse(name))  # the first sight of a session is written once
    with django_assert_max_num_queries(40) as few:
        owner_client.get(reverse(name))
    fill(20)
    with django_assert_max_num_queries(40) as many:
        owner_client.get(reverse(name))
    assert len(few) == len(many)


def test_the_audit_page_filters_and_pages(owner_client: Client, owner: Person) -> None:
    for number in range(60):
        services.record(actor=owner, verb="people.tested", subject=f"thing {number}")
    services.record(actor=None, verb="backups.planned", subject="only this one")
    assert AuditEntry.objects.count() >= 61
    first = owner_client.get(reverse("audit")).content.decode()
    assert "only this one" in first
    assert "thing 0<" not in first
    second = owner_client.get(reverse("audit") + "?page=2").content.decode()
    assert "thing 0<" in second
    found = owner_client.get(reverse("audit") + "?what=backups&q=only").content.decode()
    assert "only this one" in found
    assert "thing 1" not in found
    nothing = owner_client.get(reverse("audit") + "?what='--&who=x&page=-3")
    assert nothing.status_code == 200
