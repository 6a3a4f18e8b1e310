"""Slack by an incoming webhook: the address is the secret, and only the body "ok" counts as delivered."""

import json
from collections.abc import Mapping
from typing import Any

from apps.alerts.channels.base import SECONDS, ChannelError, Outgoing, status_error, tidy
from apps.core.outbound import fetch

HOSTS = frozenset({"hooks.slack.com", "hooks.slack-gov.com"})


class Slack:
    """A Slack channel, or something inside the network that speaks the same (Mattermost, Rocket.Chat)."""

    def __init__(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        """Take `inside` from config and `url` from secrets."""
        self.inside = bool(config.get("inside"))
        self.secrets = secrets

    def send(self, message: Outgoing) -> str:
        """Post the text; Slack answers errors in the body, some of them with status 200."""
        text = f"*{_plain(message.subject)}*\n{_plain(message.text)}\n<{message.url}|{_verb(message)}>"
        answer = fetch(
            self.secrets["url"],
            method="POST",
            headers={"Content-Type": "application/json"},
            body=json.dumps({"text": text, "unfurl_links": False}).encode(),
            private=self.inside,
            seconds=SECONDS,
            most=4096,
        )
        said = tidy(answer.body, self.secrets)
        if answer.status != 200:
            raise status_error(answer.status, said, where="Slack")
        if answer.body.strip() != b"ok":
            raise ChannelError(f"Slack answered 200 but not “ok”: {said}", permanent=True)
        return "200 ok"


def _plain(text: str) -> str:
    """Escape as Slack asks, so that no text becomes a mention or a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _verb(message: Outgoing) -> str:
    return "I got this" if message.kind == "test" else "Open the incident"
