"""What the page of one's own keys shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from apps.access import randomart, wanted
from apps.access.models import AccessState, Account
from apps.access.services import Pasted
from apps.access.services.ground import Ground, place_of
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


def account(person: Person) -> str:
    """Return the name of a person's account, or nothing while there is none."""
    known = Account.objects.filter(person=person).first()
    return known.user if known else ""


def opens(person: Person, now: datetime) -> list[Opens]:
    """Return the servers that a person may open, with what is so there."""
    ground = Ground.fetch(now)
    who = next((one for one in ground.people if one.id == str(person.pk)), None)
    if who is None:
        return []
    out = []
    for state in AccessState.objects.managed().order_by("server__name"):
        server = state.server
        place = place_of(server, state)
        given = wanted.right(who, place, ground.grants, now)
        if given is None:
            continue
        accounts = ground.wanted_on(server, state).accounts
        mine = next((one for one in accounts if one.user == who.user), None)
        kept = next((row for row in state.actual if row["user"] == who.user), None) if who.user else None
        actual = wanted.Actual.from_json(kept) if kept else None
        verdict = wanted.compare(who, place, given, mine, actual, looked_at=state.looked_at, now=now)
        leases = [key.until for key in mine.keys if key.until is not None] if mine else []
        leased = datetime.fromtimestamp(min(leases), now.tzinfo) if leases else None
        port = f" -p {server.port}" if server.port != 22 else ""
        command = f"ssh {who.user}@{server.address}{port}"
        out.append(Opens(server, command, given.sudo, given.until, leased, verdict))
    return out


def said_of(kept: Sequence[Pasted]) -> str:
    """Return the sentence after keys were kept."""
    return f"{plural(len(kept), 'key')} added. The servers that you may open get it within a minute."
