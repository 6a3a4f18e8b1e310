"""What a kind of trouble is; each room declares its own once, in its problems.py."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Severity(StrEnum):
    """How bad a trouble is: the worst first."""

    BAD = "bad"
    WARN = "warn"


@dataclass(frozen=True, slots=True)
class Problem:
    """A declared kind of trouble. Call sites only say healthy or not; alerts decides who hears it and when."""

    code: str  # dotted: "backups.failed"
    title: str  # "{subject}: the backup failed"
    severity: Severity
    patience: timedelta  # how long it must last before people are told
    advice: str  # what to do next, one or two sentences
    depends_on: tuple[str, ...] = ()  # codes of the same subject that, while open, keep this one quiet
