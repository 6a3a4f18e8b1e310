"""What every request passes first: whom a proxy speaks for, and the headers that every answer carries."""

import ipaddress
import secrets
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from apps.core.environment import Network, networks

Answer = Callable[[HttpRequest], HttpResponseBase]

FORWARDED = (
    *(f"HTTP_X_FORWARDED_{name}" for name in ("FOR", "PROTO", "HOST", "PORT", "PREFIX", "SSL")),
    "HTTP_X_REAL_IP",
    "HTTP_FORWARDED",
)

POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; report-uri /csp-report"
)

HEADERS = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Robots-Tag": "noindex, nofollow",
}


def client_address(peer: str, forwarded_for: str, trusted: tuple[Network, ...]) -> str:
    """Return who asks: the rightmost address of X-Forwarded-For that is no trusted proxy.

    Each proxy appends the address that spoke to it, so only entries right of the first stranger can be believed. A
    damaged entry ends the walk at the last address that was understood.
    """
    client = peer
    for entry in reversed([part.strip() for part in forwarded_for.split(",") if part.strip()]):
        if not _among(client, trusted):
            break
        try:
            client = str(ipaddress.ip_address(entry))
        except ValueError:
            break
    return client


def proxies(answer: Answer) -> Answer:
    """Believe X-Forwarded-* only from MAINSTAY_TRUSTED_PROXIES; from anyone else the headers are dropped.

    Afterwards REMOTE_ADDR is the client's address, for the audit log and the rate limits alike.
    """
    trusted = networks(settings.MAINSTAY_TRUSTED_PROXIES)

    def middleware(request: HttpRequest) -> HttpResponseBase:
        peer = str(request.META.get("REMOTE_ADDR", ""))
        if _among(peer, trusted):
            request.META["REMOTE_ADDR"] = client_address(
                peer, str(request.META.get("HTTP_X_FORWARDED_FOR", "")), trusted
            )
        else:
            for name in FORWARDED:
                request.META.pop(name, None)
        return answer(request)

    return middleware


def security_headers(answer: Answer) -> Answer:
    """Add the content security policy and its companions to every answer, and keep pages out of every cache."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        nonce = secrets.token_urlsafe(16)
        request.csp_nonce = nonce  # type: ignore[attr-defined] # base.html reads it for the one start-up script
        response = answer(request)
        response.headers.setdefault("Content-Security-Policy", POLICY.format(nonce=nonce))
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if hasattr(request, "user"):  # the answer came from a view, not from a static file
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    return middleware


def _among(address: str, trusted: tuple[Network, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return any((mapped or parsed) in network for network in trusted)
