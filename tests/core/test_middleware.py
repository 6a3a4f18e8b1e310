"""Whom a proxy speaks for, and the headers of every answer."""

import re
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pytest_django import Settings

from apps.core.environment import networks
from apps.core.middleware import client_address, proxies, security_headers

INSIDE = networks(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "198.51.100.4", "198.51.100.4"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.4", "198.51.100.4"),  # the left one is what a stranger wrote
        ("10.0.0.1", "198.51.100.4, 10.2.3.4, 192.0.2.7", "198.51.100.4"),
        ("10.0.0.1", "10.9.9.9", "10.9.9.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.4, <script>", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.4, nonsense, 10.2.3.4", "10.2.3.4"),
        ("198.51.100.4", "10.0.0.1", "198.51.100.4"),
        ("::ffff:10.0.0.1", "198.51.100.4", "198.51.100.4"),
        ("2001:db8::1", "2001:db9::5", "2001:db9::5"),
        ("", "198.51.100.4", ""),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_trusted_proxy(peer: str, forwarded: str, client: str) -> None:
    assert client_address(peer, forwarded, INSIDE) == client


def seen(settings: Settings, trusted: list[str], peer: str, **headers: str) -> HttpRequest:
    """Return the request as a view sees it behind the middleware."""
    settings.MAINSTAY_TRUSTED_PROXIES = networks(trusted)
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if trusted else None
    requests: list[HttpRequest] = []

    def view(request: HttpRequest) -> HttpResponse:
        requests.append(request)
        return HttpResponse()

    proxies(view)(RequestFactory().get("/", REMOTE_ADDR=peer, headers=headers))
    return requests[0]


def test_a_header_of_an_untrusted_peer_counts_for_nothing(settings: Settings) -> None:
    lies = {"X_Forwarded_For": "127.0.0.1", "X_Forwarded_Proto": "https", "X_Real_IP": "::1"}
    request = seen(settings, ["10.0.0.0/8"], "198.51.100.4", **lies)
    assert request.META["REMOTE_ADDR"] == "198.51.100.4"
    assert not request.is_secure()
    assert not [name for name in request.META if "FORWARDED" in name or name == "HTTP_X_REAL_IP"]


def test_without_trusted_proxies_even_loopback_is_a_stranger(settings: Settings) -> None:
    request = seen(settings, [], "127.0.0.1", X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="https")
    assert request.META["REMOTE_ADDR"] == "127.0.0.1"
    assert not request.is_secure()


def test_a_trusted_proxy_is_believed(settings: Settings) -> None:
    request = seen(settings, ["127.0.0.1"], "127.0.0.1", X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="https")
    assert request.META["REMOTE_ADDR"] == "203.0.113.9"
    assert request.is_secure()


@pytest.mark.parametrize("entry", ["the proxy", "10.0.0.0/33", "10.0.0.1:80", ""])
def test_an_unclear_proxy_refuses_to_start(entry: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="MAINSTAY_TRUSTED_PROXIES"):
        networks([entry])


def answer(response: HttpResponse | None = None) -> tuple[HttpResponse, str]:
    """Return an answer behind the middleware and the nonce that its page was given."""
    nonces: list[str] = []

    def view(request: HttpRequest) -> HttpResponse:
        request.user = None  # type: ignore[assignment]
        nonces.append(request.csp_nonce)  # type: ignore[attr-defined]
        return response or HttpResponse("page")

    found = security_headers(view)(RequestFactory().get("/"))
    assert isinstance(found, HttpResponse)
    return found, nonces[0]


def test_the_policy_is_the_one_of_the_contract_with_a_fresh_nonce_each_time() -> None:
    first, nonce = answer()
    _, other = answer()
    assert first.headers["Content-Security-Policy"] == (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self'; img-src 'self'; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; report-uri /csp-report"
    )
    assert nonce != other
    assert re.fullmatch(r"[\w-]{22}", nonce)


def test_every_answer_carries_the_companions_and_is_never_cached() -> None:
    response, _ = answer()
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response.headers["Cache-Control"] == "no-store"


def test_a_view_that_says_how_it_is_cached_is_left_alone() -> None:
    response, _ = answer(HttpResponse(headers={"Cache-Control": "private, max-age=60"}))
    assert response.headers["Cache-Control"] == "private, max-age=60"


@pytest.mark.django_db
def test_every_page_of_django_carries_the_headers_also_where_none_is(client: Client) -> None:
    for path in ("/", "/nowhere", "/healthz"):
        response = client.get(path)
        assert "default-src 'none'" in response.headers["Content-Security-Policy"], path
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_htmx_writes_no_styles_of_its_own() -> None:
    base = (Path(__file__).parents[2] / "templates" / "core" / "base.html").read_text(encoding="utf-8")
    assert '"includeIndicatorCSS":false' in base.replace(" ", "")
