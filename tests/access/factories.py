"""Rows of access for tests: a managed server, people's keys, findings, and what a server answered."""

import base64
import itertools
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.utils import timezone

from apps.access import services
from apps.access.drift import ALL, Finding
from apps.access.models import AccessState, Drift, PublicKey
from apps.core.refused import Refused
from apps.people.models import Person
from apps.servers.gate.wire import fingerprint, new_pair
from apps.servers.models import HostKey, Server
from tests.access.answers import blob_of

NUMBER = itertools.count(1)
HOST = "AAAAC3NzaC1lZDI1NTE5AAAAIJ" + "A" * 42


def managed(**fields: Any) -> AccessState:
    """Make a server whose gate manages access, and what is known of its access."""
    now = timezone.now()
    private, public = new_pair()
    given = {"name": f"web-{next(NUMBER)}", "address": "192.0.2.7", "level": "manage", "gate_level": "manage"}
    mine = {name: fields.pop(name) for name in list(fields) if name in {"name", "address", "port", "tags", "failure"}}
    server = Server.objects.create(private_key=private, public_key=public, reached_at=now, **{**given, **mine})
    HostKey.objects.create(
        server=server, type="ssh-ed25519", blob=HOST, fingerprint=f"SHA256:{server.pk}", state="pinned"
    )
    state: AccessState = AccessState.objects.create(server=server, **{"looked_at": now, **fields})
    return state


def key_of(person: Person, name: str = "", now: datetime | None = None) -> PublicKey:
    """Add a key to a person, as that person does."""
    text = f"ssh-ed25519 {blob_of(name or f'{person.pk}-{next(NUMBER)}')} {person.name.split()[0].lower()}@laptop"
    kept = services.add_keys(actor=person, text=text, now=now or timezone.now())[0].kept
    assert kept
    return kept


def text_of(key: PublicKey) -> str:
    """Return type and blob."""
    return f"{key.type} {key.blob}"


def finding(place: AccessState, name: str = "stranger", kind: str = "unknown_key", **fields: Any) -> Drift:
    """Make an open finding of a key in somebody's file."""
    blob = blob_of(name)
    path = "/people/deploy/.ssh/authorized_keys"
    mark = fingerprint(base64.b64decode(blob))
    found = Finding(
        kind, f"{kind}:deploy:{path}:{mark}:abc", True, f"A key of nobody known here opens deploy ({path}, line 1).",
        ALL, "deploy", path, 1, mark, f"{name}@laptop", options="abc",
    )  # fmt: skip
    detail = {**found.to_json(), "text": f"ssh-ed25519 {blob}"}
    made: Drift = Drift.objects.create(server=place.server, kind=kind, key=found.key, **{"detail": detail, **fields})
    return made


def refused(verb: Callable[..., Any], **arguments: Any) -> str:
    """Return the sentence with which a service says no."""
    with pytest.raises(Refused) as told:
        verb(**arguments)
    return told.value.sentence
