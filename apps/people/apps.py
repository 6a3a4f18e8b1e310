"""Registers the people room with Django."""

from django.apps import AppConfig
from django.core.cache import caches


class PeopleConfig(AppConfig):
    """The people room."""

    name = "apps.people"
    label = "people"

    def ready(self) -> None:
        """Let the sign-in library count in the database: it has no setting for which cache it uses."""
        from allauth.core.internal import ratelimit  # noqa: PLC0415 the apps are ready only now
        from allauth.mfa.totp.internal import auth as totp  # noqa: PLC0415

        ratelimit.cache = caches["attempts"]
        totp.cache = caches["attempts"]
