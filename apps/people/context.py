"""Who is asking: the address of the request under way, and when a session was last seen."""

from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

SEEN_EVERY = timedelta(minutes=5)  # how often a session's last sight is written: not at every page

_ip: ContextVar[str] = ContextVar("mainstay_ip", default="")

Answer = Callable[[HttpRequest], HttpResponseBase]


def current_ip() -> str:
    """Return the address of the request under way; empty in a task or a command."""
    return _ip.get()


def client_ip(request: HttpRequest) -> str:
    """Return the caller's address. core's `proxies` middleware has put it into REMOTE_ADDR; empty on a Unix socket."""
    return str(request.META.get("REMOTE_ADDR", ""))


def remember_request(answer: Answer) -> Answer:
    """Middleware, after core's `proxies`: keeps the caller's address for `record`."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        token = _ip.set(client_ip(request))
        try:
            return answer(request)
        finally:
            _ip.reset(token)

    return middleware


def track_seen(answer: Answer) -> Answer:
    """Middleware: writes when a session was last seen, at most every five minutes."""
    from allauth.usersessions.models import UserSession  # noqa: PLC0415 the apps are not ready when settings load this

    def middleware(request: HttpRequest) -> HttpResponseBase:
        now = timezone.now()
        if request.user.is_authenticated and request.session.get("seen", 0) < (now - SEEN_EVERY).timestamp():
            request.session["seen"] = now.timestamp()
            UserSession.objects.filter(session_key=request.session.session_key).update(last_seen_at=now)
        return answer(request)

    return middleware
