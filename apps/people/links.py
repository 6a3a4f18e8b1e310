"""Whole addresses of one-time links: always of MAINSTAY_URL, whatever Host header a request carries."""

from django.conf import settings
from django.urls import reverse


def address(url_name: str, token: str) -> str:
    """Return the link that opens a page with a token."""
    return f"{settings.MAINSTAY_URL}{reverse(url_name, args=[token])}"
