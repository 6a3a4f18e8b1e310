"""What the first page shows: claims with their newest proof, and needs that only a person can meet. Plain facts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Standing(StrEnum):
    """How a claim stands. Only a proof younger than its policy makes it proven; unknown is never green."""

    PROVEN = "proven"
    AT_RISK = "at risk"  # it was looked at and is not so, or the proof is too old
    UNPROVEN = "unproven"  # never tested, or cannot be tested here


class Verdict(StrEnum):
    """How a thing that is looked after stands. What was never tried, or is silent, is none: never ok."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Claim:
    """One line of the checklist."""

    id: str  # of mission.md: "S1", "S6", "S10" …
    title: str  # the claim as a sentence: "Restores are tested"
    subject: str  # what it is about: "Mainstay itself", a plan's name …
    standing: Standing
    said: str  # one sentence of evidence, or what is missing
    url: str  # the evidence page, or where to act
    todo: str = ""  # what to do; empty when proven
    proven_at: datetime | None = None  # of the newest proof
    since: datetime | None = None  # of this standing, where known
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that only a person can do. Rank: security 0, data at risk 1, customers 2, time left 3, set-up 4."""

    rank: int
    severity: str  # "bad", "warn" or "none"
    title: str
    said: str  # since when and why
    verb: str  # the button: exactly what happens
    url: str
    since: datetime | None = None
    action: str = ""  # what one must be allowed to do for the button; empty: everybody may follow it
    only: frozenset[str] = frozenset()  # ids of the people whom it concerns; empty: everybody
    never: frozenset[str] = frozenset()  # ids of the people who are told otherwise

    def concerns(self, person_id: str) -> bool:
        """Return whether this person is to read it."""
        return person_id not in self.never and (not self.only or person_id in self.only)
