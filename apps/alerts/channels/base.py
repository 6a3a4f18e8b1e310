"""What every kind of channel is: it takes one outgoing text and returns the receiver's own answer, or raises."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from apps.core.outbound import OutboundError

SECONDS = 10.0  # everything about one delivery: look-up, connection, encryption, talk
RECEIPT_LENGTH = 200


class ChannelError(OutboundError):
    """The receiver did not take the message; a sentence for people, free of secrets."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One text on its way to one channel. `id` stays the same over every try, so that a receiver can drop doubles."""

    id: str
    kind: str  # opened, closed, reminder, test
    subject: str
    text: str
    url: str  # the incident's page, or the link that proves the channel
    at: datetime
    severity: str = ""
    about: str = ""  # the subject of the incident
    incident_id: str = ""


class Adapter(Protocol):
    """One kind of channel."""

    def __init__(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        """Take the settings that may be shown and those that may not."""

    def send(self, message: Outgoing) -> str:
        """Deliver and return the receipt: what the receiver answered. Raises OutboundError (ChannelError is one)."""


def tidy(answer: str | bytes, secrets: Mapping[str, str]) -> str:
    """Return a receiver's answer fit for a page: one line, no control characters, no secret of ours, 200 characters."""
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    hidden = {form for value in secrets.values() for form in (value, _path(value), _base64(value)) if len(form) > 3}
    for form in sorted(hidden, key=len, reverse=True):
        text = text.replace(form, "•••")
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:RECEIPT_LENGTH]


def _path(value: str) -> str:
    return value.partition("://")[2].partition("/")[2]


def _base64(value: str) -> str:
    return base64.b64encode(value.encode()).decode("ascii")


def status_error(status: int, answer: str, *, where: str) -> ChannelError:
    """Return the error for a web receiver that answered `status`; RFC 9110 says which may pass by themselves."""
    if 300 <= status < 400:
        return ChannelError(
            f"{where} answered with a redirect ({status}), which is never followed. Enter the final address.",
            permanent=True,
        )
    passing = status >= 500 or status in {408, 425, 429}
    said = f": {answer}" if answer else ""
    return ChannelError(f"{where} answered {status}{said}", permanent=not passing)
