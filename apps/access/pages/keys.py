"""What the page of one's own keys shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from apps.access import randomart, wanted
from apps.access.keys import Accepted
from apps.access.models import AccessState, Asking, PublicKey
from apps.access.services import Pasted
from apps.access.services.ground import Column, Ground
from apps.core.words import plural
from apps.people.models import Person
from apps.servers.models import Server


@dataclass(frozen=True, slots=True)
class Opens:
    """One server that a person may open: as whom, with sudo or not, until when, and what is so there."""

    server: Server
    command: str
    sudo: bool
    until: datetime | None
    leased_until: datetime | None
    free: bool  # some key of theirs works there without the panel
    verdict: wanted.Verdict


def picture(blob: str) -> SafeString:
    """Return OpenSSH's picture of a key as SVG: larger dots were visited more often, rings are start and end."""
    drawn = randomart.picture(blob)
    dots = "".join(
        f'<circle cx="{x * 10 + 5}" cy="{y * 10 + 5}" r="{min(1.2 + visits * 0.6, 4.6):.1f}"/>'
        for (x, y), visits in sorted(drawn.visits.items())
    )
    rings = "".join(
        f'<circle cx="{x * 10 + 5}" cy="{y * 10 + 5}" r="4.2" fill="none" stroke="currentColor"/>'
        for x, y in (drawn.start, drawn.end)
    )
    wide, high = randomart.WIDE * 10, randomart.HIGH * 10
    return format_html(
        '<svg viewBox="0 0 {} {}" fill="currentColor" role="img" aria-label="The picture of this key">{}</svg>',
        wide,
        high,
        mark_safe(dots + rings),  # noqa: S308 made of numbers
    )


def servers_of(person: Person, now: datetime) -> dict[str, Any]:
    """Return what a person may open, what they may ask for, and as whom they sign in there."""
    ground = Ground.fetch(now)
    who, asked = ground.person(person.pk), Asking.objects.of(person)
    opens, others = [], []
    for state in AccessState.objects.for_list():
        server = state.server
        given = ground.right(who, server, state)
        if given is None:
            others.append((server, server.pk in asked))
            continue
        column = Column.make(ground, state)
        account = column.accounts.get(who.id)
        leases = [key.until for key in account.keys if key.until is not None] if account else []
        leased = datetime.fromtimestamp(min(leases), now.tzinfo) if leases else None
        free = column.has_no_lease(who)
        port = f" -p {server.port}" if server.port != 22 else ""
        command = f"ssh {who.user}@{server.address}{port}"
        opens.append(Opens(server, command, given.sudo, given.until, leased, free, column.cell(who)))
    return {"opens": opens, "others": others, "account": who.user}


def asked_with_keys() -> list[tuple[Asking, str]]:
    """Return what waits for an answer, each with a sentence on the person's keys."""
    askings = list(Asking.objects.open())
    kinds: dict[Any, list[str]] = {}
    for key in PublicKey.objects.active():
        kinds.setdefault(key.person_id, []).append(kind_of(key))
    return [(one, _keys_said(kinds.get(one.person_id, []))) for one in askings]


def _keys_said(kinds: list[str]) -> str:
    return f"{plural(len(kinds), 'key')} added: {', '.join(kinds)}." if kinds else "No key added yet."


def kind_of(key: PublicKey) -> str:
    """Return what sort of key it is: "Ed25519", "RSA 4096", "ECDSA 256, security key"."""
    family = "Ed25519" if "ed25519" in key.type else "RSA" if "rsa" in key.type else "ECDSA"
    sized = family if family == "Ed25519" else f"{family} {key.bits}"
    return f"{sized}, security key" if key.type.startswith("sk-") else sized


def again(pasted: Sequence[Pasted]) -> str:
    """Return what the field shows after a paste: understood keys that were not kept, as we write them, nothing else.

    What was refused is never shown again: it may be a piece of a private key.
    """
    lines = [one.verdict for one in pasted if isinstance(one.verdict, Accepted) and not one.kept]
    return "\n".join(f"{verdict.type} {verdict.blob} {verdict.comment}".rstrip() for verdict in lines)


def said_of(kept: Sequence[Pasted]) -> str:
    """Return the sentence after keys were kept."""
    return f"{plural(len(kept), 'key')} added. The servers that you may open get it within a minute."
