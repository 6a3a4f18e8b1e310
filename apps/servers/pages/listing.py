"""What the list of servers shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apps.core.words import plural
from apps.servers import thresholds
from apps.servers.models import Server


@dataclass(frozen=True, slots=True)
class Row:
    """One server: its fullest disk, and what else is compared at a glance, in per cent; None was not measured."""

    server: Server
    cpu: float | None
    memory: float | None
    disk: float | None
    disk_name: str
    limits: dict[str, int]
    security: int | None
    booted: Any


def rows(servers: Sequence[Server]) -> list[Row]:
    """Return a row for each server."""
    return [_row(server) for server in servers]


def _row(server: Server) -> Row:
    values: dict[str, float] = server.latest.get("values", {})
    disks = {metric: value for metric, value in values.items() if thresholds.kind(metric) == "disk"}
    fullest = max(disks, key=lambda metric: disks[metric], default="")
    facts = getattr(server, "facts", None)
    limits = {}
    for name, metric in (("cpu", "cpu"), ("memory", "memory"), ("disk", fullest or "disk")):
        rule = thresholds.limit(metric, server.limits)
        limits[name] = round(rule.above * 100) if rule else 100
    return Row(
        server,
        _percent(values.get("cpu")),
        _percent(values.get("memory")),
        _percent(disks.get(fullest)),
        fullest.partition(":")[2],
        limits,
        (facts.data.get("updates") or {}).get("security") if facts else None,
        server.booted_at,
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100


def said(servers: Sequence[Server]) -> str:
    """Return the sentence above the list."""
    if not servers:
        return "No server is looked after yet."
    worst = [server for server in servers if server.verdict in {"bad", "warn"}]
    silent = [server for server in servers if server.verdict == "none"]
    if worst:
        more = f", and {plural(len(worst) - 1, 'more server')}" if len(worst) > 1 else ""
        return f"{worst[0].name} needs you{more}. {worst[0].verdict_said}"
    if silent:
        return f"{silent[0].name} was not heard of lately. {silent[0].verdict_said}"
    who = "It answers" if len(servers) == 1 else f"All {len(servers)} answer"
    return f"{who}, and nothing is wrong."
