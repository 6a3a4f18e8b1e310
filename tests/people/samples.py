"""Sample arguments for addresses that take some, by URL name: a function that makes the rows and returns the arguments.

Another room adds tests/<room>/samples.py with a SAMPLES of its own; tests/people/test_walk.py imports each explicitly.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.utils import timezone

from apps.people.models import Invitation, Person
from tests.people.factories import OwnerFactory, PersonFactory

Sample = Callable[[Person | None], list[Any]]


def somebody(_visitor: Person | None) -> list[Any]:
    """Return somebody whom nobody else needs."""
    return [PersonFactory().pk]


def invitation(_visitor: Person | None) -> list[Any]:
    """Return an open invitation."""
    token = str(timezone.now().timestamp())
    made = Invitation.objects.create(
        email=f"{token}@example.com", role="viewer", token_hash=token, invited_by=OwnerFactory(),
        expires_at=timezone.now() + timedelta(days=1),
    )  # fmt: skip
    return [made.pk]


def passkey(visitor: Person | None) -> list[Any]:
    """Return a passkey of the visitor."""
    data = {"name": "Key", "credential": {}}
    return [Authenticator.objects.create(user=visitor or PersonFactory(), type="webauthn", data=data).pk]


def session(visitor: Person | None) -> list[Any]:
    """Return another session of the visitor."""
    key = str(timezone.now().timestamp())
    made = UserSession.objects.create(user=visitor or PersonFactory(), ip="192.0.2.1", session_key=key, user_agent="")
    return [made.pk]


SAMPLES: dict[str, Sample] = {
    "people-person": somebody,
    "people-role": somebody,
    "people-leave": somebody,
    "people-withdraw": invitation,
    "mfa_remove_webauthn": passkey,
    "people-session-end": session,
    "people-set-up-open": lambda _visitor: ["not-a-token"],
    "people-join-open": lambda _visitor: ["not-a-token"],
    "people-link-open": lambda _visitor: ["not-a-token"],
}
