"""What the first page hears of servers: S9, there are enough resources, and C3, systems are up to date."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.urls import reverse

from apps.core.claims import Claim, Need, Standing
from apps.servers import judge
from apps.servers.models import Server

ENOUGH = ("servers.resource", "servers.full_soon")
UPKEEP = ("servers.updates", "servers.reboot", "servers.end_of_life")
RANK = {"servers.host_key": 0, "servers.end_of_life": 0, "servers.updates": 0}
VERB = {"servers.host_key": "Compare the key", "servers.refused": "Mend the way in"}


def claims(now: datetime, kept: Sequence[Server] | None = None) -> list[Claim]:
    """Return S9 and C3 of each server. What could not be asked lately is unproven, never well.

    `kept`, here and in `needs`, is every server as the list reads them, for a caller that has asked already.
    """
    found = []
    for server in Server.objects.for_list() if kept is None else kept:
        codes = {fault["code"]: fault["said"] for fault in server.faults}
        facts = getattr(server, "facts", None)
        heard = server.reached_at is not None and now - server.reached_at <= judge.SILENT
        fresh = facts is not None and now - facts.taken_at <= judge.STALE_FACTS
        known = facts is not None and facts.data.get("updates") is not None
        found.append(_claim("S9", "There are enough resources", server, codes, ENOUGH, server.reached_at, known=heard))
        found.append(
            _claim(
                "C3", "Systems are up to date", server, codes, UPKEEP, facts and facts.taken_at, known=fresh and known
            )
        )
    return found


def _claim(
    claim: str,
    title: str,
    server: Server,
    codes: dict[str, str],
    mine: tuple[str, ...],
    at: datetime | None,
    *,
    known: bool,
) -> Claim:
    wrong = next((codes[code] for code in mine if code in codes), "")
    if not known:
        said = server.verdict_said or "It has not answered yet."
        return Claim(claim, title, server.name, Standing.UNPROVEN, said, server.url, "Open the server's page.")
    if wrong:
        return Claim(claim, title, server.name, Standing.AT_RISK, wrong, server.url, "Open the server's page.", at)
    said = "Every figure is within its limit." if claim == "S9" else "No security update waits."
    return Claim(claim, title, server.name, Standing.PROVEN, said, server.url, proven_at=at)


def needs(_now: datetime, kept: Sequence[Server] | None = None) -> list[Need]:
    """Return what a person must do about servers; those that were never connected last."""
    found = []
    for server in Server.objects.for_list() if kept is None else kept:
        found += [_need(server, fault) for fault in server.faults]
        if server.reached_at is None and not server.faults:
            url = reverse("server-connect", args=[server.pk])
            said = "It was added, but has not answered yet."
            found.append(Need(4, "none", server.name, said, "Connect it", url, server.created_at, "servers.manage"))
    return found


def _need(server: Server, fault: Mapping[str, Any]) -> Need:
    code = fault["code"]
    return Need(
        RANK.get(code, 2),
        "bad" if fault["bad"] else "warn",
        server.name,
        fault["said"],
        VERB.get(code, "Look at it"),
        reverse("server-connect", args=[server.pk]) if code == "servers.host_key" else server.url,
        datetime.fromisoformat(fault["since"]) if fault["since"] else None,
    )
