"""Fixtures of the alerts room: channels that write to real servers on loopback, and the servers."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from apps.alerts.channels.webhook import new_key
from apps.alerts.models import Channel
from apps.alerts.problem import Problem, Severity
from apps.people.models import Person, Role
from tests.people.fixtures import (  # noqa: F401 pytest finds them here
    admin_client,
    member_client,
    stranger_client,
    viewer_client,
)
from tests.servers.http import WebServer, web_server

FAILED = Problem(
    code="test.failed",
    title="{subject}: the backup failed",
    severity=Severity.BAD,
    patience=timedelta(0),
    advice="Look at its log.",
)
LATE = Problem(
    code="test.late",
    title="{subject}: the backup is late",
    severity=Severity.WARN,
    patience=timedelta(hours=1),
    advice="Look whether a worker runs.",
    depends_on=("test.failed",),
)


@pytest.fixture
def admin(db: None) -> Person:
    """Return an admin."""
    person: Person = Person.objects.create(email="ana@example.com", name="Ana", role=Role.ADMIN)
    return person


@pytest.fixture
def web() -> Iterator[WebServer]:
    """Run a web server that answers "ok"."""
    with web_server() as server:
        yield server


@pytest.fixture
def make_channel(db: None, now: datetime) -> Callable[..., Channel]:
    """Return a function that makes a webhook, Slack or mail channel."""

    def make(name: str = "Hook", kind: str = "webhook", url: str = "http://127.0.0.1:1", **more: Any) -> Channel:
        secrets = more.pop("secrets", None) or ({"url": url, "key": new_key()} if kind == "webhook" else {"url": url})
        config = more.pop("config", {"inside": True, "host": "127.0.0.1"})
        more.setdefault("proven_at", now)
        channel = Channel(name=name, kind=kind, config=config, created_at=now, target_at=now, **more)
        channel.secret = json.dumps(secrets)
        channel.save(force_insert=True)
        return channel

    return make


def mail_config(port: int, **more: Any) -> dict[str, Any]:
    """Return the settings of a mail channel on loopback."""
    return {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "user": "",
        "sender": "mainstay@example.com",
        "to": ["ana@example.com"],
        "inside": True,
        "authority": "",
        **more,
    }
