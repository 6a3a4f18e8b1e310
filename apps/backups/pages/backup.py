"""What the page of one backup shows: its facts, what its manifest recorded, its log, and the tests of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.backups.facts import Manifest
from apps.backups.models import Backup
from apps.backups.pages import ladder
from apps.core.runs import State

MEMBERS_SHOWN = 50
_SHOWN_ELSEWHERE = frozenset({"host", "port", "database", "told", "large_objects"})
_WORDS = {"postgresql": ("tables", "rows"), "sqlite": ("tables", "rows"), "directory": ("files", "bytes")}


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the manifest says, ready to be shown."""

    engine: str
    version: str
    members_word: str
    counts_word: str
    members: list[tuple[str, int]]  # the largest, with their counts
    number: int
    total: int
    tools: list[tuple[str, str]]
    facts: list[tuple[str, str]]


def recorded(backup: Backup) -> Recorded | None:
    """Return the figures of a manifest, or nothing where there is none or it cannot be read."""
    if not backup.manifest:
        return None
    try:
        manifest = Manifest.from_json(backup.manifest)
    except (KeyError, TypeError, ValueError):
        return None
    members_word, counts_word = _WORDS.get(manifest.engine, ("members", "rows"))
    largest = sorted(manifest.members, key=lambda member: (-member.count, member.name))
    return Recorded(
        engine=manifest.engine,
        version=manifest.version,
        members_word=members_word,
        counts_word=counts_word,
        members=[(member.name, member.count) for member in largest[:MEMBERS_SHOWN]],
        number=len(manifest.members),
        total=sum(member.count for member in manifest.members),
        tools=sorted(manifest.tools.items()),
        facts=[
            (key.replace("_", " "), said)
            for key, value in sorted(manifest.facts.items())
            if key not in _SHOWN_ELSEWHERE and (said := _fact(value))
        ],
    )


def _fact(value: Any) -> str:
    """Return one fact in words, or nothing where there is none of it; what is long is counted."""
    if isinstance(value, dict) and any(isinstance(item, dict | list) for item in value.values()):
        return ", ".join(f"{key} {len(item):,}" for key, item in value.items() if item)
    if isinstance(value, list | dict) and len(value) > 6:
        return f"{len(value):,} recorded"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):  # of names, or of rows that begin with a name and what is told of it
        return ", ".join(" ".join(map(str, item[:2])) if isinstance(item, list) else str(item) for item in value)[:300]
    return (str(value) if isinstance(value, int) and not isinstance(value, bool) else ladder.figure("", value))[:300]


def usable(backup: Backup) -> str:
    """Return why a backup cannot be restored, or nothing when it can as far as is known."""
    if backup.state != State.DONE or not backup.object_key:
        return "It was not finished, so there is nothing to restore."
    if backup.pruned_at:
        return "It was pruned as the plan says."
    if backup.lost_at:
        return "It is missing or changed in the store. A restore is still worth a try if nothing else is left."
    return ""


def can_restore(backup: Backup) -> bool:
    """Return whether a restore may be asked for."""
    return backup.state == State.DONE and bool(backup.object_key) and backup.pruned_at is None


def file_name(backup: Backup, taken_at: datetime | None) -> str:
    """Return a name for the decrypted download: plan, moment, the engine's standard ending."""
    plan = "".join(letter if letter.isalnum() else "-" for letter in backup.plan.name.lower()).strip("-") or "backup"
    ending = {"postgresql": "pgdump", "sqlite": "sqlite3"}.get(backup.plan.source.kind, "tar")
    return f"{plan.encode('ascii', 'ignore').decode() or 'backup'}-{taken_at or backup.slot:%Y%m%dT%H%MZ}.{ending}"
