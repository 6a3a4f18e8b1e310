"""Setting up, inviting, joining, roles, leaving: who may, who may not, and what a link is worth."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator

from apps.people import services
from apps.people.models import AuditEntry, Invitation, Link, Person, Role
from apps.people.services import RefusedError
from tests.people.factories import PASSWORD, AdminFactory, OwnerFactory, PersonFactory
from tests.people.fixtures import client_of

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def test_the_environment_makes_the_first_owner_once(now: datetime) -> None:
    assert services.first_admin(email="Root@Example.com", password="a long enough one", now=now) is None
    person = Person.objects.get()
    assert (person.email, person.role) == ("root@example.com", Role.OWNER)
    before = person.password
    assert services.first_admin(email="root@example.com", password="another one entirely", now=now) is None
    assert services.first_admin(email="else@example.com", password="another one entirely", now=now) is None
    assert Person.objects.get().password == before


def test_a_set_up_link_works_once_and_only_the_newest(now: datetime) -> None:
    first = services.first_admin(email="", password="", now=now)
    second = services.first_admin(email="", password="", now=now)
    assert first
    assert second
    fields: dict[str, Any] = {
        "name": "Ann",
        "email": "Ann@example.com",
        "password": PASSWORD,
        "time_zone": "UTC",
        "now": now,
    }
    with pytest.raises(RefusedError):
        services.set_up(digest=services.digest_of(first), **fields)
    person = services.set_up(digest=services.digest_of(second), **fields)
    assert person.role == Role.OWNER
    assert person.email == "ann@example.com"
    with pytest.raises(RefusedError):
        services.set_up(digest=services.digest_of(second), **{**fields, "email": "eve@example.com"})
    assert services.first_admin(email="", password="", now=now) is None


def test_a_set_up_link_runs_out_after_an_hour(now: datetime) -> None:
    token = services.first_admin(email="", password="", now=now)
    assert token
    with pytest.raises(RefusedError):
        services.set_up(
            digest=services.digest_of(token), name="A", email="a@example.com", password=PASSWORD, time_zone="UTC",
            now=now + 61 * MINUTE,
        )  # fmt: skip


def test_no_token_lies_in_the_database(now: datetime, owner: Person) -> None:
    _, invited = services.invite(actor=owner, email="new@example.com", role="member", now=now)
    linked = services.sign_in_link(email=owner.email, drop_second_factor=False, now=now)
    kept = [
        *Link.objects.values_list("token_hash", flat=True),
        *Invitation.objects.values_list("token_hash", flat=True),
    ]
    kept += AuditEntry.objects.values_list("detail_json", flat=True)
    assert not any(token in text for token in (invited, linked) for text in kept)


def test_who_was_invited_joins_with_the_role_of_the_invitation(now: datetime, admin: Person) -> None:
    _, token = services.invite(actor=admin, email="New@example.com", role="member", now=now)
    person = services.join(
        digest=services.digest_of(token), name="New", password=PASSWORD, time_zone="Europe/Berlin", now=now
    )
    assert (person.email, person.role, person.time_zone) == ("new@example.com", "member", "Europe/Berlin")
    with pytest.raises(RefusedError):
        services.join(digest=services.digest_of(token), name="Eve", password=PASSWORD, time_zone="UTC", now=now)


@pytest.mark.parametrize("how", ["late", "withdrawn", "replaced", "host left", "host demoted"])
def test_an_invitation_that_no_longer_holds_is_refused(how: str, now: datetime, owner: Person, admin: Person) -> None:
    invitation, token = services.invite(actor=admin, email="new@example.com", role="admin", now=now)
    later = now
    if how == "late":
        later = now + timedelta(days=7, seconds=1)
    elif how == "withdrawn":
        services.withdraw(actor=owner, invitation=invitation, now=now)
    elif how == "replaced":
        services.invite(actor=admin, email="new@example.com", role="viewer", now=now)
    elif how == "host left":
        services.leave(actor=owner, person=admin, now=now)
    else:
        services.change_role(actor=owner, person=admin, role="member")
    with pytest.raises(RefusedError):
        services.join(digest=services.digest_of(token), name="N", password=PASSWORD, time_zone="UTC", now=later)


def test_nobody_gives_or_touches_a_role_above_their_own(
    now: datetime, owner: Person, admin: Person, member: Person
) -> None:
    with pytest.raises(RefusedError):
        services.invite(actor=admin, email="x@example.com", role="owner", now=now)
    with pytest.raises(RefusedError):
        services.change_role(actor=admin, person=member, role="owner")
    with pytest.raises(RefusedError):
        services.change_role(actor=admin, person=admin, role="owner")
    with pytest.raises(RefusedError):
        services.change_role(actor=admin, person=owner, role="viewer")
    with pytest.raises(RefusedError):
        services.leave(actor=admin, person=owner, now=now)
    for verb in (lambda: services.invite(actor=member, email="x@example.com", role="viewer", now=now),
                 lambda: services.change_role(actor=member, person=admin, role="viewer"),
                 lambda: services.leave(actor=member, person=admin, now=now)):  # fmt: skip
        with pytest.raises(RefusedError):
            verb()
    services.change_role(actor=admin, person=member, role="admin")
    member.refresh_from_db()
    assert member.role == "admin"


@pytest.mark.parametrize("role", ["root", "", "OWNER"])
def test_a_role_that_does_not_exist_is_refused(role: str, owner: Person, member: Person, now: datetime) -> None:
    with pytest.raises(RefusedError):
        services.change_role(actor=owner, person=member, role=role)
    with pytest.raises(RefusedError):
        services.invite(actor=owner, email="x@example.com", role=role, now=now)


def test_the_last_owner_stays(now: datetime, owner: Person) -> None:
    with pytest.raises(RefusedError, match="last owner"):
        services.change_role(actor=owner, person=owner, role="admin")
    with pytest.raises(RefusedError, match="last owner"):
        services.leave(actor=owner, person=owner, now=now)
    other = OwnerFactory()
    services.leave(actor=owner, person=owner, now=now)
    with pytest.raises(RefusedError, match="last owner"):
        services.change_role(actor=other, person=other, role="admin")


def test_a_role_taken_away_a_moment_ago_counts(now: datetime, owner: Person, admin: Person) -> None:
    stale = Person.objects.get(pk=admin.pk)
    services.change_role(actor=owner, person=admin, role="viewer")
    with pytest.raises(RefusedError):
        services.invite(actor=stale, email="x@example.com", role="viewer", now=now)


def test_who_leaves_is_out_at_once(now: datetime, owner: Person, member: Person) -> None:
    client = client_of(member)
    assert client.get("/profile/").status_code == 200
    Authenticator.objects.create(user=member, type="webauthn", data={"name": "k", "credential": {}})
    services.leave(actor=owner, person=member, now=now)
    assert client.get("/profile/").status_code == 302
    member.refresh_from_db()
    assert not member.is_active
    assert member.left_at == now
    assert not member.has_usable_password()
    assert not Authenticator.objects.filter(user=member).exists()
    with pytest.raises(RefusedError):
        services.sign_in_link(email=member.email, drop_second_factor=False, now=now)


def test_who_left_comes_back_as_the_same_person_by_invitation_only(
    now: datetime, owner: Person, member: Person
) -> None:
    services.leave(actor=owner, person=member, now=now)
    _, token = services.invite(actor=owner, email=member.email.upper(), role="viewer", now=now)
    back = services.join(digest=services.digest_of(token), name="Back", password=PASSWORD, time_zone="UTC", now=now)
    assert back.pk == member.pk
    assert back.role == "viewer"


def test_a_sign_in_link_sets_a_password_once_and_ends_every_session(now: datetime, member: Person) -> None:
    client = client_of(member)
    token = services.sign_in_link(email=member.email, drop_second_factor=False, now=now)
    digest = services.digest_of(token)
    services.use_sign_in_link(digest=digest, password="quite another one", now=now)
    assert client.get("/profile/").status_code == 302
    with pytest.raises(RefusedError):
        services.use_sign_in_link(digest=digest, password="and another one", now=now)
    assert AuditEntry.objects.filter(verb="people.sign_in_link").count() == 1


def test_a_sign_in_link_runs_out_after_a_quarter_of_an_hour(now: datetime, member: Person) -> None:
    token = services.sign_in_link(email=member.email, drop_second_factor=False, now=now)
    with pytest.raises(RefusedError):
        services.use_sign_in_link(digest=services.digest_of(token), password="quite another", now=now + 15 * MINUTE)


def test_a_link_of_one_kind_opens_no_other_door(now: datetime, member: Person) -> None:
    token = services.sign_in_link(email=member.email, drop_second_factor=False, now=now)
    Person.objects.all().update(is_active=True)
    with pytest.raises(RefusedError):
        services.set_up(
            digest=services.digest_of(token),
            name="E",
            email="e@example.com",
            password=PASSWORD,
            time_zone="UTC",
            now=now,
        )
    assert not Person.objects.owners().exists()


def _asked(now: datetime, person: Person) -> set[str]:
    return {need.title for need in services.needs(now) if need.concerns(str(person.pk))}


def test_needs_ask_for_a_second_person_and_for_second_factors(now: datetime) -> None:
    assert services.needs(now) == []
    one = OwnerFactory()
    assert _asked(now, one) == {"Invite a second person", "Turn on a second factor"}
    Authenticator.objects.create(user=one, type="totp", data={"secret": "x"})
    assert {need.title for need in services.needs(now)} == {"Invite a second person"}
    two = AdminFactory(name="Bea")
    assert _asked(now, two) == {"Turn on a second factor"}
    assert _asked(now, one) == {"Bea has no second factor"}  # who has one reads who lacks one, and where to look
    assert [need.url for need in services.needs(now) if need.concerns(str(one.pk))] == ["/people/"]
    Authenticator.objects.create(user=two, type="webauthn", data={})
    PersonFactory()
    assert services.needs(now) == []
