"""Plain fixtures for the root conftest: people and clients of each role, and a database that can be emptied."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.account.internal.flows.login import (
    _AUTHENTICATION_METHODS_USER_SESSION_KEY,
    AUTHENTICATION_METHODS_SESSION_KEY,
)
from allauth.account.internal.userkit import user_id_to_str
from django.db import connection
from django.test import Client

from apps.people.audit import guard_sql, unguard_sql
from apps.people.models import Person
from tests.people.factories import AdminFactory, MemberFactory, OwnerFactory, PersonFactory


def client_of(person: Person, *, recent: bool = True) -> Client:
    """Return a browser where a person is signed in; `recent` as if the password had been typed just now."""
    client = Client()
    client.force_login(person, backend="allauth.account.auth_backends.AuthenticationBackend")
    if recent:
        confirm(client, person)
    return client


def confirm(client: Client, person: Person, *, ago: float = 0) -> None:
    """Write into the session that the person gave the password `ago` seconds ago."""
    session = client.session
    session[AUTHENTICATION_METHODS_SESSION_KEY] = [{"method": "password", "at": time.time() - ago}]
    session[_AUTHENTICATION_METHODS_USER_SESSION_KEY] = user_id_to_str(person)
    session.save()


@pytest.fixture
def owner(db: None) -> Person:
    """Return an owner."""
    return OwnerFactory(name="Olga Owner", email="olga@example.com")


@pytest.fixture
def admin(db: None) -> Person:
    """Return an admin."""
    return AdminFactory(name="Adam Admin", email="adam@example.com")


@pytest.fixture
def member(db: None) -> Person:
    """Return a member."""
    return MemberFactory(name="Mira Member", email="mira@example.com")


@pytest.fixture
def viewer(db: None) -> Person:
    """Return a viewer."""
    return PersonFactory(name="Vera Viewer", email="vera@example.com")


@pytest.fixture
def owner_client(owner: Person) -> Client:
    """Return a browser of the owner, with a recent sign-in."""
    return client_of(owner)


@pytest.fixture
def admin_client(admin: Person) -> Client:
    """Return a browser of the admin, with a recent sign-in."""
    return client_of(admin)


@pytest.fixture
def member_client(member: Person) -> Client:
    """Return a browser of the member, with a recent sign-in."""
    return client_of(member)


@pytest.fixture
def viewer_client(viewer: Person) -> Client:
    """Return a browser of the viewer, with a recent sign-in."""
    return client_of(viewer)


@pytest.fixture
def stranger_client(db: None) -> Client:
    """Return a browser where nobody is signed in."""
    return Client()


@pytest.fixture(autouse=True, scope="session")
def audit_can_be_emptied() -> Iterator[None]:
    """Let pytest-django empty the tables after a transactional test: the guard comes off for that moment only."""
    operations: Any = type(connection.ops)
    flush = operations.execute_sql_flush
    if flush.__name__ == "without_guard":  # a test file that brings this fixture along again
        yield
        return

    def without_guard(self: object, sql_list: list[str]) -> None:
        with connection.cursor() as cursor:
            for statement in unguard_sql(connection.vendor):
                cursor.execute(statement)
        flush(self, sql_list)
        with connection.cursor() as cursor:
            for statement in guard_sql(connection.vendor):
                cursor.execute(statement)

    operations.execute_sql_flush = without_guard
    yield
    operations.execute_sql_flush = flush
