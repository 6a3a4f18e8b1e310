"""Walks every address of Mainstay as owner, admin, member, viewer and stranger against the one table of actions."""

import importlib
import importlib.util
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from apps.people.models import Role
from apps.people.roles import ACTIONS
from tests.people.factories import PersonFactory
from tests.people.fixtures import client_of
from tests.people.samples import Sample

# Rooms that bring sample arguments: tests/<room>/samples.py with SAMPLES.
ROOMS = ("people", "alerts", "backups", "overview", "servers_room", "access")

# The few addresses that answer without a sign-in. Nothing else may.
PUBLIC = {
    "healthz", "csp_report", "account_login", "account_logout", "mfa_authenticate", "mfa_login_webauthn",
    "people-set-up", "people-set-up-open", "people-join", "people-join-open", "people-link", "people-link-open",
}  # fmt: skip

VISITORS = [*Role.values, "stranger"]
METHODS = ("get", "head", "post", "put", "patch", "delete", "options")

# Of the sign-in library: what must never be reachable, whatever a later version adds to its own list.
CLOSED = {
    "account_signup", "account_email", "account_confirm_email", "account_reset_password", "account_set_password",
    "account_request_login_code", "account_inactive", "account_email_verification_sent", "mfa_signup_webauthn",
    "mfa_download_recovery_codes", "mfa_trust", "mfa_edit_webauthn",
}  # fmt: skip


def patterns(node: URLResolver | None = None) -> Iterator[URLPattern]:
    """Return every pattern of the whole tree."""
    for entry in (node or get_resolver()).url_patterns:
        if isinstance(entry, URLResolver):
            yield from patterns(entry)
        else:
            yield entry


def samples() -> dict[str, Sample]:
    """Return the sample arguments of every room that has some."""
    found: dict[str, Sample] = {}
    for room in ROOMS:
        if importlib.util.find_spec(f"tests.{room}.samples"):
            found |= importlib.import_module(f"tests.{room}.samples").SAMPLES
    return found


def to_sign_in(response: HttpResponse) -> bool:
    """Return whether an answer sends its reader to the sign-in page."""
    return urlsplit(response.headers.get("Location", "")).path == reverse("account_login")


def is_public(view: object) -> bool:
    """Return whether the middleware lets strangers through to a view."""
    return getattr(view, "login_required", True) is False


@pytest.mark.django_db
def test_every_view_names_an_action_or_is_on_the_list() -> None:
    wrong = []
    for entry in patterns():
        action = getattr(entry.callback, "action", None)
        if entry.name is None:
            wrong.append(f"{entry.pattern} has no name")
        elif entry.name in PUBLIC:
            if not is_public(entry.callback) or action:
                wrong.append(f"{entry.name} is on the list of public views but is guarded")
        elif action not in ACTIONS:
            wrong.append(f"{entry.name} has no action: {action}")
        elif is_public(entry.callback):
            wrong.append(f"{entry.name} lets strangers in and is not on the list")
    assert wrong == []


@pytest.mark.django_db
def test_every_address_with_arguments_has_a_sample() -> None:
    missing = [entry.name for entry in patterns() if entry.pattern.converters and entry.name not in samples()]
    assert missing == []


@pytest.mark.django_db
def test_names_are_unique_and_the_closed_pages_of_the_library_are_not_there() -> None:
    names = [str(entry.name) for entry in patterns()]
    assert sorted(set(names)) == sorted(names)
    assert CLOSED.isdisjoint(names)


@pytest.mark.django_db
@pytest.mark.parametrize("visitor", VISITORS)
def test_every_visitor_reaches_exactly_what_the_table_allows(visitor: str) -> None:
    known = samples()
    wrong = []
    for entry in patterns():
        name = str(entry.name)
        if name in PUBLIC or (entry.pattern.converters and name not in known):
            continue
        action = str(getattr(entry.callback, "action", ""))
        person = None if visitor == "stranger" else PersonFactory(role=visitor)
        client = Client() if person is None else client_of(person)
        client.raise_request_exception = False
        url = reverse(name, args=known[name](person) if entry.pattern.converters else None)
        for method in METHODS:
            response = getattr(client, method)(url)
            if visitor == "stranger":
                fine = response.status_code == 302 and to_sign_in(response)
            elif visitor in ACTIONS[action]:
                fine = response.status_code not in {401, 403} and not to_sign_in(response)
            else:
                fine = response.status_code == 403
            if not fine or response.status_code >= 500:
                wrong.append(f"{visitor} {method.upper()} {name}: {response.status_code}")
    assert wrong == []


@pytest.mark.django_db
@pytest.mark.parametrize("role", Role.values)
def test_without_a_recent_sign_in_the_dangerous_pages_ask_again(role: str) -> None:
    known = samples()
    for entry in patterns():
        name = str(entry.name)
        if (
            not getattr(entry.callback, "recent", False)
            or role not in ACTIONS[str(getattr(entry.callback, "action", ""))]
        ):
            continue
        if entry.pattern.converters and name not in known:
            continue
        person = PersonFactory(role=role)
        client = client_of(person, recent=False)
        url = reverse(name, args=known[name](person) if entry.pattern.converters else None)
        for method in ("get", "post"):
            response = getattr(client, method)(url)
            assert response.status_code == 302, (name, method)
            assert response.headers["Location"].startswith(reverse("account_reauthenticate")), (name, method)
