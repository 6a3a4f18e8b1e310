"""When a figure is trouble: limits that raise only after a while and clear only well below, so that nothing flaps.

Metrics are shares (0 to 1) unless their unit says otherwise. A threshold is judged anew from its kept state and the
newest figure, so any collector may do it; a time without figures neither raises nor clears.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from apps.core import words

STALE = timedelta(minutes=5)  # a longer silence breaks "for so long": what came between is not known


@dataclass(frozen=True, slots=True)
class Limit:
    """At or above `above` for `lasting` seconds raises; at or below `below` for `calm` seconds clears."""

    above: float
    below: float
    lasting: int  # seconds
    calm: int  # seconds
    unit: str = "share"  # share, or "load" for load per core
    on: bool = True

    def broken(self) -> str:
        """Return what is wrong with the limit in a sentence, "" when nothing."""
        numbers = (self.above, self.below)
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            return "A limit is a number from 0 on."
        if self.below >= self.above:
            return "The value that clears must be below the one that raises: else the alarm would flap."
        if self.unit == "share" and self.above > 1:
            return "A share is at most 100 %."
        if not 0 <= self.lasting <= 86400 or not 0 <= self.calm <= 86400:
            return "How long it lasts is between 0 and 24 hours."
        return ""


# Disk and inodes hardly fall by themselves, so they need no long patience; processor and load are busy by nature.
DEFAULTS: dict[str, Limit] = {
    "disk": Limit(0.90, 0.85, 300, 300),
    "inodes": Limit(0.90, 0.85, 300, 300),
    "memory": Limit(0.92, 0.85, 600, 600),
    "swap": Limit(0.60, 0.40, 900, 900),
    "cpu": Limit(0.95, 0.80, 1800, 600),
    "load": Limit(4.0, 2.0, 1800, 600, "load"),  # per core
    "pressure_cpu": Limit(0.60, 0.40, 900, 600),  # share of time that some task waited, see Linux' PSI
    "pressure_memory": Limit(0.20, 0.10, 600, 600),
    "pressure_io": Limit(0.60, 0.40, 900, 600),
}

SAID: dict[str, str] = {
    "disk": "The disk {what} is {value} full",
    "inodes": "The disk {what} has used {value} of its inodes",
    "memory": "Memory is {value} used",
    "swap": "Swap is {value} used",
    "cpu": "The processor is {value} busy",
    "load": "The load is {value} per core",
    "pressure_cpu": "Tasks wait for the processor {value} of the time",
    "pressure_memory": "Tasks wait for memory {value} of the time",
    "pressure_io": "Tasks wait for the disk {value} of the time",
}


@dataclass(frozen=True, slots=True)
class State:
    """Where one threshold stands. `since`: raised since when; `turning`: since when the figures say the opposite."""

    raised: bool = False
    since: datetime | None = None
    turning: datetime | None = None
    seen: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON types only."""
        return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(self).items() if v}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "State":
        """Return the state of what to_json gave."""
        moments = {k: datetime.fromisoformat(kept[k]) for k in ("since", "turning", "seen") if kept.get(k)}
        return cls(raised=bool(kept.get("raised")), **moments)


def kind(metric: str) -> str:
    """Return which limit a metric has: "disk:/srv" has that of disk."""
    return metric.partition(":")[0]


def limit(metric: str, changed: Mapping[str, Mapping[str, Any]]) -> Limit | None:
    """Return the limit of a metric: changed for itself, or for its kind, or the default; None when it has none."""
    base = DEFAULTS.get(kind(metric))
    if base is None:
        return None
    for key in (kind(metric), metric):
        fields = {k: v for k, v in changed.get(key, {}).items() if k in {"above", "below", "lasting", "calm", "on"}}
        base = replace(base, **fields)
    return base


def judge(rule: Limit, state: State, value: float, now: datetime) -> State:
    """Return where the threshold stands after one more figure; `state.since` is when the figures first said so."""
    if not rule.on:
        return State(seen=now)
    if state.seen is not None and now < state.seen:
        return state  # an older figure, or a clock that went back
    broken = state.seen is not None and now - state.seen > STALE
    turning = None if broken else state.turning
    opposite = value <= rule.below if state.raised else value >= rule.above
    if not opposite:
        return replace(state, turning=None, seen=now)
    turning = turning or now
    if now - turning < timedelta(seconds=rule.calm if state.raised else rule.lasting):
        return replace(state, turning=turning, seen=now)
    return State(seen=now) if state.raised else State(raised=True, since=turning, seen=now)


def said(metric: str, value: float, rule: Limit, state: State, now: datetime) -> str:
    """Return the sentence for a raised threshold."""
    _, _, what = metric.partition(":")
    text = SAID[kind(metric)].format(what=what, value=shown(value, rule.unit))
    lasting = f", for {words.lasting(state.since, now)}" if state.since else ""
    return f"{text}{lasting}; the limit is {shown(rule.above, rule.unit)}."


def shown(value: float, unit: str) -> str:
    """Return a figure in its unit: "91 %" or "4.2"."""
    return f"{value:.1f}" if unit == "load" else f"{math.floor(value * 100 + 1e-9)} %"
