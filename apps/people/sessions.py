"""Sessions whose cookie carries a signature: reading the sessions' table is not enough to be somebody else.

Django keeps session keys in the database as they are in the cookie. Whoever reads that table (a restored copy of
Mainstay's own backup, a replica, an administrator of the database) could walk in as an owner. The signature is made
with SECRET_KEY, which lies in the keys folder and in no database.
"""

from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.signing import BadSignature, Signer
from django.http import HttpRequest, HttpResponse


def signed(session_key: str) -> str:
    """Return what the cookie of a session holds."""
    return _signer().sign(session_key)


def key_in(cookie: str) -> str | None:
    """Return the session key of a cookie, or None for one that was not made here."""
    try:
        return _signer().unsign(cookie)
    except BadSignature:
        return None


def device(user_agent: str) -> str:
    """Return a browser and its system as people call them, as far as its own word tells: "Firefox on Linux"."""
    browser = next((name for sign, name in _BROWSERS if sign in user_agent), "")
    system = next((name for sign, name in _SYSTEMS if sign in user_agent), "")
    if browser and system:
        return f"{browser} on {system}"
    return browser or (f"A browser on {system}" if system else "An unknown browser")


# The more special sign stands first: Edge also says Chrome, Chrome also says Safari, Android also says Linux.
_BROWSERS = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("FxiOS", "Firefox"), ("CriOS", "Chrome"),
    ("Chrome/", "Chrome"), ("Safari/", "Safari"), ("curl/", "curl"),
)  # fmt: skip
_SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"), ("Mac OS X", "Mac"),
    ("CrOS", "Chromebook"), ("Linux", "Linux"),
)  # fmt: skip


def _signer() -> Signer:
    return Signer(salt="people.session")


class SignedSessionMiddleware(SessionMiddleware):
    """Django's own, with a signature on the way out and a check of it on the way in."""

    def process_request(self, request: HttpRequest) -> None:
        """Take the session of a cookie that was made here; any other cookie is no session."""
        request.session = self.SessionStore(key_in(request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")))

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Sign the cookie when one is set."""
        answer = super().process_response(request, response)
        cookie = answer.cookies.get(settings.SESSION_COOKIE_NAME)
        if cookie is not None and cookie.value:
            answer.cookies[settings.SESSION_COOKIE_NAME] = signed(cookie.value)
        return answer
