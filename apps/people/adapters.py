"""How the sign-in library is bent to this house: sign-up closed, secrets through the key ring, one idea of "recent"."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from django.http import HttpRequest

from apps.people.context import client_ip
from apps.people.guard import recently


class AccountAdapter(DefaultAccountAdapter):
    """Accounts are made by invitation only."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Return False: nobody signs up by themselves."""
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the address that limits count by; 0.0.0.0 for a peer without one (a Unix socket)."""
        return client_ip(request) or "0.0.0.0"  # noqa: S104 a stand-in, nothing binds to it

    def is_reauthentication_required(self, *, app: str, **_: Any) -> bool:
        """Ask again unless this session saw a password, a code or a passkey within the time-out."""
        return not recently(context.request)


class MFAAdapter(DefaultMFAAdapter):
    """Second factors."""
