"""A signed webhook as Standard Webhooks describes it: id, timestamp and HMAC-SHA256 over "id.timestamp.body"."""

import base64
import hashlib
import hmac
import json
import secrets as randomness
from collections.abc import Mapping
from typing import Any

from apps.alerts.channels.base import SECONDS, Outgoing, status_error, tidy
from apps.core.outbound import fetch, parse

PREFIX = "whsec_"


class Webhook:
    """A web address that takes JSON and can check that it comes from this Mainstay."""

    def __init__(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        """Take `inside` from config, `url` and `key` from secrets."""
        self.inside = bool(config.get("inside"))
        self.secrets = secrets

    def send(self, message: Outgoing) -> str:
        """Post the message; any 2xx is a receipt, a redirect is an error."""
        event = "test" if message.kind == "test" else f"incident.{message.kind}"
        data = {
            "id": message.incident_id or None,
            "subject": message.about or None,
            "severity": message.severity or None,
            "title": message.subject,
            "text": message.text,
            "url": message.url,
        }
        body = json.dumps({"type": event, "timestamp": message.at.isoformat(timespec="seconds"), "data": data}).encode()
        at = str(int(message.at.timestamp()))
        answer = fetch(
            self.secrets["url"],
            method="POST",
            headers={
                "Content-Type": "application/json",
                "webhook-id": message.id,
                "webhook-timestamp": at,
                "webhook-signature": sign(self.secrets["key"], message.id, at, body),
            },
            body=body,
            private=self.inside,
            seconds=SECONDS,
            most=4096,
        )
        said = tidy(answer.body, self.secrets)
        if not 200 <= answer.status < 300:
            raise status_error(answer.status, said, where=parse(self.secrets["url"]).host)
        return f"{answer.status} {said}".strip()


def new_key() -> str:
    """Return a fresh signing key: "whsec_" and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(randomness.token_bytes(32)).decode("ascii")


def sign(key: str, message_id: str, at: str, body: bytes) -> str:
    """Return the value of the webhook-signature header (Standard Webhooks, scheme v1)."""
    raw = base64.b64decode(key.removeprefix(PREFIX))
    digest = hmac.new(raw, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode('ascii')}"
