"""The table of limits that a person changes: in per cent and minutes, as they are typed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.servers import thresholds
from apps.servers.models import Server
from apps.servers.pages.server import TITLES


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One kind of figure as it stands in the form."""

    kind: str
    title: str
    unit: str
    above: str
    below: str
    minutes: str
    on: bool
    wrong: str = ""


def rows(server: Server) -> list[LimitRow]:
    """Return the limits as they are."""
    out = []
    for kind in thresholds.DEFAULTS:
        rule = thresholds.limit(kind, server.limits) or thresholds.DEFAULTS[kind]
        scale, unit = (1, "") if rule.unit == "load" else (100, "%")
        numbers = f"{rule.above * scale:g}", f"{rule.below * scale:g}", f"{rule.lasting / 60:g}"
        out.append(LimitRow(kind, TITLES[kind], unit, *numbers, rule.on))
    return out


def read(server: Server, posted: Mapping[str, Any]) -> tuple[list[LimitRow], dict[str, dict[str, Any]], str]:
    """Return what was typed, the limits that it means, and the first thing that is wrong with it."""
    out, changed, first = [], {}, ""
    for row in rows(server):
        above, below, minutes = (
            str(posted.get(f"{row.kind}-{name}", "")).strip().replace(",", ".")[:12]
            for name in ("above", "below", "minutes")
        )
        on, wrong, scale = f"{row.kind}-on" in posted, "", 100 if row.unit else 1
        try:
            fields = {
                "above": float(above) / scale, "below": float(below) / scale, "lasting": round(float(minutes) * 60),
                "on": on,
            }  # fmt: skip
            rule = thresholds.limit(row.kind, {**server.limits, row.kind: fields})
            wrong = rule.broken() if rule else ""
            changed[row.kind] = fields
        except (ValueError, OverflowError):
            wrong = "Write numbers."
        out.append(LimitRow(row.kind, row.title, row.unit, above, below, minutes, on, wrong))
        if wrong and not first:
            first = f"{row.title}: {wrong}"
    return out, changed, first
