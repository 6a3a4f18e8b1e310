"""Teaches Django's test client that the session's cookie is signed."""

from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client

from apps.people.sessions import key_in, signed


def sign_cookies_of_the_test_client() -> None:
    """Make `force_login` and `client.session` use signed cookies, as browsers do."""
    set_cookies = Client._set_login_cookies  # type: ignore[attr-defined]  # the stubs leave it out

    def _set_login_cookies(self: Client, request: Any) -> None:
        set_cookies(self, request)
        self.cookies[settings.SESSION_COOKIE_NAME] = signed(str(request.session.session_key))

    def session(self: Client) -> SessionStore:
        cookie = self.cookies.get(settings.SESSION_COOKIE_NAME)
        if cookie and (key := key_in(cookie.value)):
            return SessionStore(key)
        fresh = SessionStore()
        fresh.save()
        self.cookies[settings.SESSION_COOKIE_NAME] = signed(str(fresh.session_key))
        return fresh

    Client._set_login_cookies = _set_login_cookies  # type: ignore[attr-defined]
    Client.session = property(session)  # type: ignore[assignment, method-assign]
