"""Who is asking: the address of the request under way, for the audit log and for limits."""

import ipaddress
from collections.abc import Callable
from contextvars import ContextVar

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

_ip: ContextVar[str] = ContextVar("mainstay_ip", default="")


def current_ip() -> str:
    """Return the address of the request under way; empty in a task or a command."""
    return _ip.get()


def remember_request(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware, the first one: keeps the caller's address, and drops forwarding headers that no trusted proxy wrote."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        address = client_ip(request)
        if not _trusted(str(request.META.get("REMOTE_ADDR", ""))):
            for name in ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST"):
                request.META.pop(name, None)
        token = _ip.set(address)
        try:
            return get_response(request)
        finally:
            _ip.reset(token)

    return middleware


def client_ip(request: HttpRequest) -> str:
    """Return the caller's address: the peer's, or behind trusted proxies the last address that none of them is."""
    address = str(request.META.get("REMOTE_ADDR", ""))
    if _trusted(address):
        for hop in reversed(str(request.META.get("HTTP_X_FORWARDED_FOR", "")).split(",")):
            if not _valid(hop.strip()):
                break
            address = hop.strip()
            if not _trusted(address):
                break
    return address if _valid(address) else ""


def _valid(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _trusted(address: str) -> bool:
    if not _valid(address):
        return False
    ip = ipaddress.ip_address(address)
    return any(ip in ipaddress.ip_network(proxy, strict=False) for proxy in settings.MAINSTAY_TRUSTED_PROXIES)
